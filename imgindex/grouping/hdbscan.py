"""HDBSCAN from embeddings to groups, in one of two spaces.

In the descriptors as they are it is exact for small libraries (time n^2 d, memory 4 n^2 bytes),
and goes over the neighbour lists and links of an index for large ones. In the neighbourhood
embedding of those lists it finds what people take for groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from imgindex.errors import SettingError
from imgindex.records import NOISE, no_progress

from . import coordinates, forest, neighbourhood, ranges
from .condensed_tree import select
from .identity import heirs
from .joining import REACH, Standing, join
from .mutual_reachability import core_distances, distances
from .neighbours import measure
from .spanning_tree import spanning_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from imgindex.records import Labels, Progress, Rows, Space

    Propose = Callable[[NDArray[np.intp], int], tuple[NDArray[np.int64], NDArray[np.int32]]]
    """Given rows (intp [m], distinct) and k: at least k nearest others of each among them, int64
    [m, > k] of places in the given, with -1 for none; and further pairs, int32 [l, 2]."""

    Span = Callable[[NDArray[np.intp], int, int], tuple[forest.Edges, NDArray[np.float32]]]
    """Given rows (intp [m], distinct), k and min_samples: a minimum spanning forest over at least
    the k nearest others of each, and the core distances, float32 [m]."""

EXACT_UP_TO = 10_000
"""Distinct rows whose distances are all taken, unless asked otherwise."""
_SMALLEST_GROUP = 2
_LARGEST_SHARE = 0.5  # of what the neighbourhood embedding may put into one divisible group


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """What HDBSCAN says of n points.

    Attributes:
        labels: int32 [n]; 0 is the largest group, -1 is noise.
        parts: int32 [n]; the smallest group of each point: a number above all labels for one that
            lies inside another, else as in ``labels``.
        parents: int32 [groups]; the group that each lies in, -1 for those that are labels.
        strengths: float32 [n] in [0, 1]; 0 for noise.
        outliers: float32 [n] in [0, 1]; GLOSH, higher is farther out.
        exemplars: bool [n]; the members at the largest lambda of their group, or of one inside it
            that has none inside itself.
        medoids: intp [groups]; the member nearest to its group's mean direction.
        places: float32 [n, w]; the neighbourhood embedding. Without one w is 0.
    """

    labels: Labels
    parts: Labels
    parents: Labels
    strengths: NDArray[np.float32]
    outliers: NDArray[np.float32]
    exemplars: NDArray[np.bool_]
    medoids: NDArray[np.intp]
    places: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Before:
    """An earlier run, for the points of this one.

    Attributes:
        labels: int32 [n]; -1 is noise, or not known.
        places: float32 [n, w]; NaN where not known, w is 0 if there is no layout.
    """

    labels: Labels
    places: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """The spanning tree of n points: all that a grouping of any resolution needs.

    Attributes:
        edges: float64 [m - 1, 3], (from, to, weight) over m distinct points, by ascending weight.
        first: intp [m], the row where each distinct point first appears.
        which: intp [n], the distinct point of each row.
        places: float32 [m, w], their neighbourhood embedding; without one w is 0.
        largest: share of the distinct points that one divisible group may hold.
    """

    edges: NDArray[np.float64]
    first: NDArray[np.intp]
    which: NDArray[np.intp]
    places: Rows
    largest: float


def cluster(  # noqa: PLR0913 - each is a setting of its own, by keyword
    rows: Rows,
    *,
    min_cluster_size: int = 5,
    min_samples: int = 5,
    space: Space = "descriptor",
    exact: bool | None = None,
    propose: Propose | None = None,
    before: Before | None = None,
    progress: Progress = no_progress,
) -> Clusters:
    """Group unit rows by density, with no preset number of groups: `cut` of `grow`.

    Args:
        rows: float32 [n, d], unit length.
        min_cluster_size: see ``cut``.
        min_samples: see ``grow``, as all others.
        space: see ``grow``.
        exact: see ``grow``.
        propose: see ``grow``.
        before: an earlier run in the same space, to stay near to: its layout is kept, and its
            groups where they are still there.
        progress: called stage by stage.

    Raises:
        SettingError: a setting is out of range.
    """
    _check_size(min_cluster_size)
    tree = grow(
        rows,
        min_samples=min_samples,
        space=space,
        exact=exact,
        propose=propose,
        places=None if before is None else before.places,
        progress=progress,
    )
    labels = None if before is None else before.labels
    return cut(tree, rows, min_cluster_size=min_cluster_size, before=labels)


def grow(  # noqa: PLR0913 - each is a setting of its own, by keyword
    rows: Rows,
    *,
    min_samples: int = 5,
    space: Space = "descriptor",
    exact: bool | None = None,
    propose: Propose | None = None,
    span: Span | None = None,
    places: Rows | None = None,
    progress: Progress = no_progress,
) -> Tree:
    """Find the minimum spanning tree of the mutual reachability graph.

    Args:
        rows: float32 [n, d], unit length. Equal rows are one point, whose density would be
            infinite otherwise.
        min_samples: the core distance reaches to this many other points, at least 1.
        space: what to look for dense places in: ``descriptor``, the rows as they are, or
            ``neighbourhood``, their neighbourhood embedding.
        exact: in the descriptors, take every distance; None does up to `EXACT_UP_TO` rows.
        propose: the index; needed for all that is not exact.
        span: others who find the forest in the descriptors, instead of this process.
        places: float32 [n, w], an earlier neighbourhood embedding to keep; NaN for new rows.
        progress: called stage by stage.

    Raises:
        SettingError: a setting is out of range.
    """
    if min_samples < 1:
        raise SettingError(f"min_samples must be at least 1, not {min_samples}")
    if propose is None and space != "descriptor":
        raise SettingError("the neighbourhood embedding needs the neighbours of an index")
    first, which = distinct(rows)
    largest = 1 if space == "descriptor" else _LARGEST_SHARE
    found = np.empty((len(first), 0), np.float32)
    if len(first) <= 1:
        return Tree(np.empty((0, 3)), first, which, found, largest)
    points = rows if len(first) == len(rows) else rows[first]
    samples = min(min_samples, len(points) - 1)
    few = len(points) <= EXACT_UP_TO if exact is None else exact
    k = min(max(neighbourhood.NEIGHBOURS, samples), len(points) - 1)
    known = known_of(places, which) if places is not None and places.size else None
    if space == "neighbourhood" and known is not None and np.isfinite(known).all():
        found = known
        edges = coordinates.spanning_tree(found, samples, progress)
    elif propose is None or (space == "descriptor" and few):
        matrix = distances(points, progress)
        edges = spanning_tree(matrix, core_distances(matrix, samples), progress)
    elif span is not None and space == "descriptor":
        edges = forest.joined(*span(first, k, samples), points).array()
    else:
        proposed, links = propose(first, k)
        lists = measure(points, proposed, k)
        if space == "descriptor":
            if not len(links):
                links = ranges.near(points, proposed, progress)
            edges = forest.spanning_tree(points, lists, links, samples, progress)
        else:
            layouts = neighbourhood.layouts_for(len(points))
            found = neighbourhood.embed(points, lists, progress, layouts=layouts, places=known)
            edges = coordinates.spanning_tree(found, samples, progress)
    # Rows that differ only in rounding can be 0 apart in float32; a density must stay finite.
    np.maximum(edges[:, 2], np.finfo(np.float32).eps, out=edges[:, 2])
    return Tree(edges, first, which, found, largest)


def cut(
    tree: Tree, rows: Rows, *, min_cluster_size: int = 5, before: Labels | None = None
) -> Clusters:
    """Take the clusters of greatest stability out of a tree.

    Args:
        tree: of the rows.
        rows: float32 [n, d], unit length.
        min_cluster_size: smallest group in distinct rows, at least 2.
        before: int32 [n], groups of an earlier run, to be kept where they are still there; -1 for
            noise and new rows.

    Returns:
        The groups, numbered by size; equal sizes by the first member's row. Equal rows get equal
        results. In the neighbourhood embedding noise whose neighbours are in a group joins it.
        Inside a group lie the parts of it that would be groups if it were not.

    Raises:
        SettingError: min_cluster_size is out of range.
    """
    _check_size(min_cluster_size)
    if len(tree.edges) + 1 < min_cluster_size:
        n = len(rows)
        return Clusters(
            np.full(n, NOISE, np.int32),
            np.full(n, NOISE, np.int32),
            np.empty(0, np.int32),
            np.zeros(n, np.float32),
            np.zeros(n, np.float32),
            np.zeros(n, np.bool_),
            np.empty(0, np.intp),
            tree.places[tree.which],
        )
    known = None
    if before is not None:
        known = np.full(len(tree.first), NOISE, np.int32)
        known[tree.which[before != NOISE]] = before[before != NOISE]
    found = select(tree.edges, min_cluster_size, largest=tree.largest, before=known)
    labels, strengths, parts = found.labels, found.strengths, found.parts
    if tree.places.size:
        run = Standing(labels, strengths, found.outliers)
        labels, strengths = _taken_in(tree.places, run, known)
        parts = np.where(parts == NOISE, labels, parts)
    numbers = by_size(labels[tree.which], len(found.parents))
    # The last number is that of noise and of no parent.
    parts = numbers[parts[tree.which]]
    parents = np.empty_like(found.parents)
    parents[numbers[:-1]] = numbers[found.parents]
    return Clusters(
        numbers[labels[tree.which]],
        parts,
        parents,
        strengths[tree.which],
        found.outliers[tree.which],
        found.exemplars[tree.which],
        medoids(rows, parts, parents),
        tree.places[tree.which],
    )


def _taken_in(
    places: Rows, run: Standing, before: Labels | None
) -> tuple[Labels, NDArray[np.float32]]:
    """Labels and strengths once the noise at the edge of groups has joined them.

    HDBSCAN drops whatever a group loses before it is densest; people count that in.

    Args:
        places: float32 [n, w].
        run: the n points.
        before: int32 [n], groups of an earlier run.
    """
    noise = np.flatnonzero(run.labels == NOISE)
    labels, strengths = run.labels.copy(), run.strengths.copy()
    if len(noise):
        near = coordinates.nearest(places, noise, min(REACH, len(places) - 1))
        were = None if before is None else heirs(before, run.labels)[noise]
        found = join(run, near, were)
        labels[noise], strengths[noise] = found.labels, found.strengths
    return labels, strengths


def size_for(tree: Tree, groups: int) -> int:
    """The min_cluster_size whose cut has about so many groups; the smaller of equally good ones.

    Args:
        tree: to be cut.
        groups: how many are wished for, at least 1.

    Raises:
        SettingError: the wish is out of range.
    """
    if groups < 1:
        raise SettingError(f"the number of groups must be at least 1, not {groups}")
    points = len(tree.edges) + 1
    tried: dict[int, int] = {}

    def count(size: int) -> int:
        if size not in tried:
            parents = select(tree.edges, size, largest=tree.largest).parents
            tried[size] = int((parents == NOISE).sum())
        return tried[size]

    low, high = _SMALLEST_GROUP, max(_SMALLEST_GROUP, points // 2)
    # The number of groups falls with the size, if not at every step.
    while high - low > 1:
        middle = round((low * high) ** 0.5)
        middle = min(max(middle, low + 1), high - 1)
        if count(middle) >= groups:
            low = middle
        else:
            high = middle
    for size in (low, high):
        count(size)
    return min(tried, key=lambda size: (abs(tried[size] - groups), size))


def _check_size(min_cluster_size: int) -> None:
    if min_cluster_size < _SMALLEST_GROUP:
        raise SettingError(f"min_cluster_size must be at least 2, not {min_cluster_size}")


def by_size(labels: Labels, groups: int) -> Labels:
    """New numbers for groups: the largest is 0; of equal ones that of the earliest row comes first.

    Args:
        labels: int32 [n], -1 for noise.
        groups: how many there are; those above all labels keep their numbers.

    Returns:
        int32 [groups + 1], the new number of each, and in the last place, which -1 reads, -1.
    """
    found, first, counts = np.unique(labels, return_index=True, return_counts=True)
    real = found != NOISE
    found, first, counts = found[real], first[real], counts[real]
    numbers = np.append(np.arange(groups, dtype=np.int32), np.int32(NOISE))
    numbers[found[np.lexsort((first, -counts))]] = np.arange(len(found), dtype=np.int32)
    return numbers


def medoids(rows: Rows, parts: Labels, parents: Labels) -> NDArray[np.intp]:
    """Row of the member nearest to each group's mean direction, intp [groups].

    Args:
        rows: float32 [n, d], unit length.
        parts: int32 [n], the smallest group of each row, -1 for noise; each of the groups has some
            row, or a part has.
        parents: int32 [groups], the group that each lies in, -1 for none; a part comes after what
            it is a part of.
    """
    order = np.argsort(parts, kind="stable")
    ends = np.searchsorted(parts[order], np.arange(len(parents) + 1))
    inside: list[list[NDArray[np.intp]]] = [[order[at:to]] for at, to in pairwise(ends.tolist())]
    out = np.empty(len(parents), np.intp)
    for group in range(len(parents) - 1, -1, -1):
        members = np.sort(np.concatenate(inside[group]))
        out[group] = members[(rows[members] @ rows[members].mean(axis=0)).argmax()]
        if parents[group] != NOISE:
            inside[parents[group]].append(members)
    return out


def known_of(places: Rows, which: NDArray[np.intp]) -> Rows:
    """Where an earlier embedding has distinct rows, if it has any row equal to them.

    Args:
        places: float32 [n, w]; NaN where not known.
        which: intp [n], the distinct row of each.

    Returns:
        float32 [m, w].
    """
    known = np.full((int(which.max()) + 1, places.shape[1]), np.nan, np.float32)
    placed = np.flatnonzero(np.isfinite(places).all(axis=1))
    known[which[placed]] = places[placed]
    return known


def distinct(rows: Rows) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where distinct rows first appear, intp [m] ascending, and which of them each row is, [n]."""
    # By digest: sorting the rows themselves would take their memory twice more.
    numbers: dict[bytes, int] = {}
    first: list[int] = []
    which = np.empty(len(rows), np.intp)
    for at, row in enumerate(rows):
        number = numbers.setdefault(blake2b(row, digest_size=16).digest(), len(first))
        if number == len(first):
            first.append(at)
        which[at] = number
    return np.array(first, np.intp), which
