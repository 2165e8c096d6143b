"""HDBSCAN from embeddings to groups, in one of two spaces.

In the descriptors as they are it is exact for small libraries (time n^2 d, memory 4 n^2 bytes),
and goes over the neighbour lists and links of an index for large ones. In the neighbourhood
embedding of those lists it finds what people take for groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from imgindex.errors import SettingError
from imgindex.records import NOISE, no_progress

from . import coordinates, forest, neighbourhood
from .condensed_tree import select
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

EXACT_UP_TO = 10_000
"""Distinct rows whose distances are all taken, unless asked otherwise."""
_FULL_STRENGTH = 1 - 1e-6
_SMALLEST_GROUP = 2


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """What HDBSCAN says of n points.

    Attributes:
        labels: int32 [n]; 0 is the largest group, -1 is noise.
        strengths: float32 [n] in [0, 1]; 0 for noise.
        outliers: float32 [n] in [0, 1]; GLOSH, higher is farther out.
        exemplars: bool [n]; the members at their group's largest lambda.
        medoids: intp [groups]; the member nearest to its group's mean direction.
        places: float32 [n, w]; the neighbourhood embedding. Without one w is 0.
    """

    labels: Labels
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
    """Group unit rows by density, with no preset number of groups.

    Equal rows are one point to the algorithm, which gives infinite densities otherwise, and all
    get that point's result; so a group never counts fewer than min_cluster_size distinct rows.

    Args:
        rows: float32 [n, d], unit length.
        min_cluster_size: smallest group, at least 2.
        min_samples: the core distance reaches to this many other points, at least 1.
        space: what to look for dense places in: ``descriptor``, the rows as they are, or
            ``neighbourhood``, their neighbourhood embedding.
        exact: in the descriptors, take every distance; None does up to `EXACT_UP_TO` rows.
        propose: the index; needed for all that is not exact.
        before: an earlier run in the same space, to stay near to: its layout is kept, and its
            groups where they are still there.
        progress: called stage by stage.

    Returns:
        The groups, numbered by size; equal sizes by the first member's row.

    Raises:
        SettingError: a setting is out of range.
    """
    if min_cluster_size < _SMALLEST_GROUP:
        raise SettingError(f"min_cluster_size must be at least 2, not {min_cluster_size}")
    if min_samples < 1:
        raise SettingError(f"min_samples must be at least 1, not {min_samples}")
    first, inverse = distinct(rows)
    if len(first) < min_cluster_size:
        n = len(rows)
        return Clusters(
            np.full(n, NOISE, np.int32),
            np.zeros(n, np.float32),
            np.zeros(n, np.float32),
            np.zeros(n, np.bool_),
            np.empty(0, np.intp),
            np.empty((n, 0), np.float32),
        )
    points = rows if len(first) == len(rows) else rows[first]
    samples = min(min_samples, len(points) - 1)
    places = np.empty((len(points), 0), np.float32)
    if propose is None or (
        space == "descriptor" and (len(points) <= EXACT_UP_TO if exact is None else exact)
    ):
        if space != "descriptor":
            raise SettingError("the neighbourhood embedding needs the neighbours of an index")
        matrix = distances(points, progress)
        edges = spanning_tree(matrix, core_distances(matrix, samples), progress)
    else:
        k = min(max(neighbourhood.NEIGHBOURS, samples), len(points) - 1)
        proposed, links = propose(first, k)
        lists = measure(points, proposed, k)
        if space == "descriptor":
            edges = forest.spanning_tree(points, lists, links, samples, progress)
        else:
            known = before.places[first] if before is not None and before.places.size else None
            places = neighbourhood.embed(points, lists, progress, places=known)
            edges = coordinates.spanning_tree(places, samples, progress)
    # Rows that differ only in rounding can be 0 apart in float32; a density must stay finite.
    np.maximum(edges[:, 2], np.finfo(np.float32).eps, out=edges[:, 2])
    labels, strengths, outliers = select(
        edges, min_cluster_size, None if before is None else before.labels[first]
    )
    labels = by_size(labels[inverse])
    strengths = strengths[inverse]
    return Clusters(
        labels,
        strengths,
        outliers[inverse],
        (labels != NOISE) & (strengths >= _FULL_STRENGTH),
        medoids(rows, labels),
        places[inverse],
    )


def by_size(labels: Labels) -> Labels:
    """Renumber groups: the largest is 0; of equal ones the group of the earliest row comes first.

    Args:
        labels: int32 [n], -1 for noise.
    """
    found, first, counts = np.unique(labels, return_index=True, return_counts=True)
    real = found != NOISE
    found, first, counts = found[real], first[real], counts[real]
    renumbered = np.full(int(labels.max(initial=NOISE)) + 2, NOISE, np.int32)
    renumbered[found[np.lexsort((first, -counts))]] = np.arange(len(found), dtype=np.int32)
    # Noise (-1) reads the last place, which no group has.
    return renumbered[labels]


def medoids(rows: Rows, labels: Labels) -> NDArray[np.intp]:
    """Row of the member nearest to each group's mean direction, intp [groups]."""
    groups = int(labels.max(initial=NOISE)) + 1
    out = np.empty(groups, np.intp)
    for group in range(groups):
        members = np.flatnonzero(labels == group)
        out[group] = members[(rows[members] @ rows[members].mean(axis=0)).argmax()]
    return out


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
