"""What is exported: one grouping, file by file, in the order that every kind of export keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgindex.errors import ExportError
from imgindex.records import NOISE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from imgindex.records import Decision, Group, GroupingSettings, Member

    Near = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Export:
    """A grouping as exports see it.

    Attributes:
        members: one a file; a picture with several copies has several.
        groups: the groups, in the order of the export; every member's group is among them or is
            noise.
        subgroups: the groups inside them, in the same order; every member's part is among both.
        settings: how the grouping was made.
        created: when it was made, ISO 8601 in UTC.
        library: where the library lies.
        decisions: what users said of groups and pictures; it is applied already.
        near: of some pictures, by id, the groups nearest to each and their shares, largest first;
            None where nobody knows.
        tightness: of some pictures, by id, the mean cosine to their mean direction; likewise.

    Raises:
        ExportError: a member names a group that is not there.
    """

    members: Sequence[Member]
    groups: Sequence[Group]
    settings: GroupingSettings
    created: str
    library: str
    decisions: Sequence[Decision] = ()
    subgroups: Sequence[Group] = ()
    near: Callable[[Sequence[str]], Sequence[Near]] | None = None
    tightness: Callable[[Sequence[str]], float] | None = None

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

        Groups come as in ``groups``, noise comes last; inside a group exemplars come first, then
        the strongest members, then the paths in order.
        """
        grouped: dict[int, list[Member]] = {group.id: [] for group in self.groups}
        grouped[NOISE] = []
        for member in sorted(self.members, key=_rank):
            grouped[member.group].append(member)
        return {group: members for group, members in grouped.items() if members}


def _rank(member: Member) -> tuple[bool, float, str]:
    return not member.exemplar, -member.strength, member.path
