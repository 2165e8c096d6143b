"""HDBSCAN from embeddings to groups, in the exact way: time n^2 d, memory 4 n^2 bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from imgindex.errors import SettingError
from imgindex.records import NOISE, no_progress

from .condensed_tree import select
from .mutual_reachability import core_distances, distances
from .spanning_tree import spanning_tree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import Labels, Progress, Rows

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
    """

    labels: Labels
    strengths: NDArray[np.float32]
    outliers: NDArray[np.float32]
    exemplars: NDArray[np.bool_]
    medoids: NDArray[np.intp]


def cluster(
    rows: Rows,
    *,
    min_cluster_size: int = 5,
    min_samples: int = 5,
    progress: Progress = no_progress,
) -> Clusters:
    """Group unit rows by density, with no preset number of groups.

    Equal rows are one point to the algorithm, which gives infinite densities otherwise, and all
    get that point's result; so a group never counts fewer than min_cluster_size distinct rows.

    Args:
        rows: float32 [n, d], unit length.
        min_cluster_size: smallest group, at least 2.
        min_samples: the core distance reaches to this many other points, at least 1.
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
    points, inverse = _distinct(rows)
    if len(points) < min_cluster_size:
        n = len(rows)
        return Clusters(
            np.full(n, NOISE, np.int32),
            np.zeros(n, np.float32),
            np.zeros(n, np.float32),
            np.zeros(n, np.bool_),
            np.empty(0, np.intp),
        )
    matrix = distances(points, progress)
    core = core_distances(matrix, min(min_samples, len(points) - 1))
    edges = spanning_tree(matrix, core, progress)
    # Rows that differ only in rounding can be 0 apart in float32; a density must stay finite.
    np.maximum(edges[:, 2], np.finfo(np.float32).eps, out=edges[:, 2])
    labels, strengths, outliers = select(edges, min_cluster_size)
    labels = by_size(labels[inverse])
    strengths = strengths[inverse]
    return Clusters(
        labels,
        strengths,
        outliers[inverse],
        (labels != NOISE) & (strengths >= _FULL_STRENGTH),
        medoids(rows, labels),
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


def _distinct(rows: Rows) -> tuple[Rows, NDArray[np.intp]]:
    """Distinct rows in the order of their first appearance, and the way back."""
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1] * 4))).ravel()
    _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return rows[first[order]], place[inverse]
