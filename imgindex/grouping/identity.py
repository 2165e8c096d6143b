"""Which group of one run is which group of the run before, told by the pictures they share.

A group that shares more than half of all their pictures with an old one (intersection over union)
is that group; such pairs are unique. Then the same goes for groups inside others, and for those
that came out of one or went into one. Then the largest overlaps of groups inside none that are more
than half of either side inherit. What is left gets a fresh number, never one that was used before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from imgindex.records import NOISE, Change, SizedGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgindex.records import ChangeKind, Labels


@dataclass(frozen=True, slots=True, eq=False)
class Nest:
    """Groups inside groups.

    Attributes:
        parts: int32 [n], the smallest group of each picture, -1 for noise.
        parents: of every group, the one that it lies in; -1 for none. A group may have none of
            these pictures.
    """

    parts: Labels
    parents: Mapping[int, int]

    def around(self, group: int) -> list[int]:
        """A group and those that it lies in, the smallest first; none around noise."""
        found = []
        while group != NOISE:
            found.append(group)
            group = self.parents[group]
        return found

    def outermost(self) -> Labels:
        """The largest group of each picture, int32 [n]."""
        found, which = np.unique(self.parts, return_inverse=True)
        outer = [[NOISE, *self.around(one)][-1] for one in found.tolist()]
        return np.array(outer, np.int32)[which]


def inherit(before: Nest, after: Nest, next_id: int) -> dict[int, int]:
    """Give the groups of a new run their ids.

    Args:
        before: the last run's groups, by id, for the pictures of both runs.
        after: the new run's groups, for the same pictures.
        next_id: the first id that was never used.

    Returns:
        The id of each new group; all different.
    """
    ids: dict[int, int] = {}
    taken: set[int] = set()
    outer = before.outermost(), after.outermost()
    old_sizes, new_sizes = _sizes(outer[0]), _sizes(outer[1])
    overlaps = _overlaps(*outer)

    def same(old: int, new: int, both: int) -> bool:
        return 2 * both > old_sizes[old] + new_sizes[new] - both

    def most(old: int, new: int, both: int) -> bool:
        return 2 * both > old_sizes[old] or 2 * both > new_sizes[new]

    pairs = [pair for pair, both in overlaps if same(*pair, both)]
    pairs += _alike(before, after)
    pairs += [pair for pair, both in overlaps if most(*pair, both)]
    for old, new in pairs:
        if old not in taken and new not in ids:
            ids[new] = old
            taken.add(old)
    for group in after.parents:
        if group not in ids:
            ids[group] = next_id
            next_id += 1
    return ids


def heirs(before: Labels, after: Labels) -> Labels:
    """Where the group that each point was in went to: the group of after that most of it is in.

    Args:
        before: int32 [n], -1 for noise.
        after: int32 [n], the same.

    Returns:
        int32 [n], -1 for a point that was in none, or in one that is gone.
    """
    sizes = _sizes(before)
    heir = {old: new for (old, new), both in _overlaps(before, after) if 2 * both > sizes[old]}
    return np.array([heir.get(old, NOISE) for old in before.tolist()], np.int32)


def _alike(before: Nest, after: Nest) -> list[tuple[int, int]]:
    """Pairs of groups, at any depth, that share more than half of their pictures: most first."""
    counts = Counter(zip(before.parts.tolist(), after.parts.tolist(), strict=True))
    both, olds, news = Counter[tuple[int, int]](), Counter[int](), Counter[int]()
    for (one, other), count in counts.items():
        here, there = before.around(one), after.around(other)
        for old in here:
            olds[old] += count
        for new in there:
            news[new] += count
        for old in here:
            for new in there:
                both[old, new] += count
    shares = {
        (old, new): shared / (olds[old] + news[new] - shared)
        for (old, new), shared in both.items()
        if 2 * shared > olds[old] + news[new] - shared
    }
    return sorted(shares, key=lambda pair: (-shares[pair], pair))


def changes(
    before: Labels,
    after: Labels,
    sizes_before: Mapping[int, int],
    sizes_after: Mapping[int, int],
    created: str,
) -> list[Change]:
    """Tell what became of every group.

    A group comes of an old one that most of its pictures were in, and an old group went into one
    that most of its pictures are in. Several that come of one are its split, several that went
    into one are merged; one group can be in both.

    Args:
        before: int32 [n], ids for the pictures of both runs, -1 for noise.
        after: the same of the new run, once it has ids.
        sizes_before: pictures of each old group, those that have left since included.
        sizes_after: pictures of each new group, those that have come since included.
        created: when the new run was.

    Returns:
        Every id of either run is in at least one change: splits first, then mergers, groups that
        are gone, new ones, and those that were kept.
    """
    old_sizes, new_sizes = _sizes(before), _sizes(after)
    pieces = {old: {old} & sizes_after.keys() for old in sizes_before}
    sources = {new: {new} & sizes_before.keys() for new in sizes_after}
    for (old, new), both in _overlaps(before, after):
        if 2 * both > new_sizes[new]:
            pieces[old].add(new)
        if 2 * both > old_sizes[old]:
            pieces[old].add(new)
            sources[new].add(old)
    split = {old for old, some in pieces.items() if some - {old} and len(some) > 1}
    merged = {new for new, some in sources.items() if len(some) > 1}

    def change(kind: ChangeKind, olds: set[int], news: set[int]) -> Change:
        return Change(
            created,
            kind,
            tuple(SizedGroup(one, sizes_before[one]) for one in sorted(olds)),
            tuple(SizedGroup(one, sizes_after[one]) for one in sorted(news)),
        )

    told = [change("split", {old}, pieces[old]) for old in sorted(split)]
    told += [change("merged", sources[new], {new}) for new in sorted(merged)]
    olds = {group.id for one in told for group in one.before}
    news = {group.id for one in told for group in one.after}
    stayed = sizes_before.keys() & sizes_after.keys()
    told += [change("gone", {old}, set()) for old in sorted(sizes_before.keys() - olds - stayed)]
    told += [change("new", set(), {new}) for new in sorted(sizes_after.keys() - news - stayed)]
    return told + [change("kept", {one}, {one}) for one in sorted(stayed - (olds & news))]


def _sizes(labels: Labels) -> Counter[int]:
    return Counter(labels[labels != NOISE].tolist())


def _overlaps(before: Labels, after: Labels) -> list[tuple[tuple[int, int], int]]:
    """Pairs of an old and a new group with the pictures they share: the largest overlap first."""
    both = (before != NOISE) & (after != NOISE)
    shared = Counter(zip(before[both].tolist(), after[both].tolist(), strict=True))
    return sorted(shared.items(), key=lambda item: (-item[1], item[0]))
