"""What is exported: one grouping, file by file, in the order that every kind of export keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgindex.errors import ExportError
from imgindex.records import NOISE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgindex.records import Group, GroupingSettings, Member


@dataclass(frozen=True, slots=True)
class Export:
    """A grouping as exports see it.

    Attributes:
        members: one a file; a picture with several copies has several.
        groups: the groups; every member's group is among them or is noise.
        settings: how the grouping was made.
        created: when it was made, ISO 8601 in UTC.
        library: where the library lies.

    Raises:
        ExportError: a member names a group that is not there.
    """

    members: Sequence[Member]
    groups: Sequence[Group]
    settings: GroupingSettings
    created: str
    library: str

    def __post_init__(self) -> None:
        """Refuse a member that an export by groups would lose."""
        known = {NOISE, *(group.id for group in self.groups)}
        for member in self.members:
            if member.group not in known:
                raise ExportError(
                    f"{member.path} is said to be in group {member.group}, which is not among the "
                    f"{len(self.groups)} groups; group the library anew"
                )

    def by_group(self) -> dict[int, list[Member]]:
        """The members of each group that has any.

        Groups ascend, noise comes last; inside a group exemplars come first, then the strongest
        members, then the paths in order.
        """
        grouped: dict[int, list[Member]] = {}
        for member in sorted(self.members, key=_rank):
            grouped.setdefault(member.group, []).append(member)
        return grouped


def _rank(member: Member) -> tuple[bool, int, bool, float, str]:
    noise = member.group == NOISE
    return noise, member.group, not member.exemplar, -member.strength, member.path
