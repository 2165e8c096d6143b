"""Groups of pictures: what was found, what users decided, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from .base import Skipped, Space  # noqa: TC001 - the service's description reads the annotations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .base import Labels

DecisionKind = Literal["name", "cover", "together", "apart", "form", "distinct"]
ChangeKind = Literal["kept", "split", "merged", "new", "gone"]

MIN_CLUSTER_SIZE = 8
"""The default: of 5 to 20 it agreed best with the classes of six labelled sets."""


@dataclass(frozen=True, slots=True)
class Group:
    """One group of pictures, or a group inside another.

    Attributes:
        id: its number. It stays from run to run while the group is the same; no other group ever
            gets it.
        size: pictures in it.
        medoid: id of the member nearest to the group's mean direction.
        exemplars: ids of the members at the densest level of the group, or of its innermost parts.
        name: what users call it.
        cover: id of the member that users pinned to stand for it; None lets the medoid.
        parent: the group that it is a part of; None for none.
    """

    id: int
    size: int
    medoid: str
    exemplars: tuple[str, ...]
    name: str | None = None
    cover: str | None = None
    parent: int | None = None


def lineages(groups: Iterable[Group]) -> dict[int, tuple[int, ...]]:
    """Each group's id, with the ids of those among the others that it lies in, itself first."""
    parents = {group.id: group.parent for group in groups}

    def climb(group: int | None) -> Iterator[int]:
        while group is not None and group in parents:
            yield group
            group = parents[group]

    return {group: tuple(climb(group)) for group in parents}


@dataclass(frozen=True, slots=True)
class Decision:
    """What a user said of a group or of pictures; it holds for every run until it is forgotten.

    Attributes:
        number: what it goes by; from 1, no number is used twice.
        kind: ``name`` (a group is called so), ``cover`` (a picture stands for a group),
            ``together`` (pictures belong in one group), ``apart`` (all but the first picture do
            not belong in the first one's group), ``form`` (pictures are a group of their own) or
            ``distinct`` (no two of them are copies).
        group: the group named, covered or formed; for ``together`` the one that the pictures go
            into when any of them is in it, and that they form when all of them are noise; else
            None.
        name: the name; else None.
        pictures: ids of the pictures.
    """

    number: int
    kind: DecisionKind
    group: int | None
    name: str | None
    pictures: tuple[str, ...]


class SizedGroup(NamedTuple):
    """A group as history names it: its id, and how many pictures it had."""

    id: int
    size: int


@dataclass(frozen=True, slots=True)
class Change:
    """What became of groups in one run of grouping.

    Attributes:
        created: the run, by its time; ISO 8601 in UTC.
        kind: ``kept``, ``split`` (one became several), ``merged`` (several became one), ``new`` or
            ``gone``.
        before: the groups of the run before, by id.
        after: the groups of this run, by id.
    """

    created: str
    kind: ChangeKind
    before: tuple[SizedGroup, ...]
    after: tuple[SizedGroup, ...]


@dataclass(frozen=True, slots=True)
class GroupingSettings:
    """How a grouping was made.

    Attributes:
        min_cluster_size: smallest number of pictures that counts as a group.
        min_samples: the core distance of a picture reaches to its min_samples-th neighbour.
        space: what HDBSCAN ran on.
        model: name of the embedding model.
    """

    min_cluster_size: int
    min_samples: int
    space: Space
    model: str


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """A grouping of the library; row i of every array is picture ``ids[i]``.

    Attributes:
        ids: picture ids, ascending.
        labels: int32 [n], group of each picture, -1 for noise.
        parts: int32 [n], the smallest group each picture is in: one of ``subgroups``, or where it
            is in none of them the same as in ``labels``.
        strengths: float32 [n] in [0, 1], how firmly a picture sits in its group; 0 for noise.
        outliers: float32 [n] in [0, 1], GLOSH outlier scores.
        exemplars: bool [n], True for a picture at the densest level of its innermost group.
        joined: bool [n], True for a picture that was put into its group, or found to be noise,
            when it came, after the run.
        places: float32 [n, w], where the neighbourhood embedding has each picture; NaN for those
            that came after the run, and w is 0 in other spaces.
        groups: the groups, by falling size, equal sizes by id; one whose pictures were all pruned
            since the run is left out.
        subgroups: the groups inside others, in the same order.
        settings: how it was made.
        created: when, ISO 8601 in UTC.
        next_id: the first number that no group has had yet.
    """

    ids: tuple[str, ...]
    labels: Labels
    parts: Labels
    strengths: NDArray[np.float32]
    outliers: NDArray[np.float32]
    exemplars: NDArray[np.bool_]
    joined: NDArray[np.bool_]
    places: NDArray[np.float32]
    groups: tuple[Group, ...]
    subgroups: tuple[Group, ...]
    settings: GroupingSettings
    created: str
    next_id: int

    @property
    def every_group(self) -> tuple[Group, ...]:
        """The groups and those inside them."""
        return self.groups + self.subgroups

    def fixed(self) -> Grouping:
        """The same; none of its arrays can be changed from now on, so that many may share it."""
        for array in (self.labels, self.parts, self.strengths, self.outliers, self.exemplars):
            array.flags.writeable = False
        self.joined.flags.writeable = self.places.flags.writeable = False
        return self

    def members(self) -> dict[int, list[int]]:
        """The places in ``ids`` of each group's pictures, those of its parts included."""
        around = lineages(self.every_group)
        members: dict[int, list[int]] = {group: [] for group in around}
        for at, part in enumerate(self.parts.tolist()):
            for group in around.get(part, ()):
                members[group].append(at)
        return members

    def counted(self, further: Sequence[Group] = ()) -> Grouping:
        """The same with its groups as the arrays have them.

        A medoid that is no member any more gives way to the strongest one, and a group without
        members is left out.

        Args:
            further: groups that are not among its own yet.
        """
        known = replace(self, groups=(*self.groups, *further))
        members = known.members()
        groups = [
            self._told(group, members[group.id]) for group in known.every_group if members[group.id]
        ]
        groups.sort(key=lambda group: (-group.size, group.id))
        return replace(
            self,
            groups=tuple(group for group in groups if group.parent is None),
            subgroups=tuple(group for group in groups if group.parent is not None),
        )

    def _told(self, group: Group, own: Sequence[int]) -> Group:
        strongest = max(own, key=lambda at: (self.exemplars[at], self.strengths[at]))
        ids = {self.ids[at] for at in own}
        return replace(
            group,
            size=len(own),
            medoid=group.medoid if group.medoid in ids else self.ids[strongest],
            exemplars=tuple(self.ids[at] for at in own if self.exemplars[at]),
        )


@dataclass(frozen=True, slots=True)
class ChartedGroup:
    """A group on a chart, or what is in none.

    Attributes:
        id: its number; -1 for what is in none.
        name: what users call it.
        size: pictures in it.
        cover: id of the picture that stands for it.
        place: where that one is in the chart's arrays.
        light: its colour on light paper, in CSS.
        dark: its colour on dark paper.
    """

    id: int
    name: str | None
    size: int
    cover: str
    place: int
    light: str
    dark: str


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """Every picture on a plane, near those like it; row i of every array is picture ``ids[i]``.

    Attributes:
        ids: picture ids, those first that deserve a thumbnail most: the covers of the groups, by
            falling size, then those with the most room.
        x: float32 [n], from 0 to ``width``.
        y: float32 [n], from 0 to ``height``, downwards.
        rooms: float32 [n], the side of the square that each may have to itself.
        labels: int32 [n], a group's id or -1.
        strengths: float32 [n], how firmly each sits in its group.
        width: of the plane, 1 at most.
        height: of the plane, 1 at most.
        groups: by falling size; what is in none comes last.
        grouped: False where there is no grouping.
    """

    ids: tuple[str, ...]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    rooms: NDArray[np.float32]
    labels: Labels
    strengths: NDArray[np.float32]
    width: float
    height: float
    groups: tuple[ChartedGroup, ...]
    grouped: bool


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """What one run of grouping found: counts of pictures, groups, and pictures that are noise."""

    pictures: int
    groups: int
    noise: int
    settings: GroupingSettings
    seconds: float


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a grouping, as exports list it; group -1 is noise, part as ``Grouping.parts``."""

    path: str
    id: str
    group: int
    strength: float
    outlier: float
    exemplar: bool
    part: int


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote: where, of which kind, how many files of the library it names."""

    target: str
    kind: str
    pictures: int
    files: int
    groups: int
    skipped: tuple[Skipped, ...]
