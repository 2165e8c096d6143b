"""Steps 4 and 5 of the paper: the condensed tree, the stable clusters in it, GLOSH outlier scores.

All but the first step are the hdbscan package's own functions. They are private there, so its
version is pinned and a test holds this module against the package's public class.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from hdbscan._hdbscan_tree import (
    compute_stability,
    condense_tree,
    get_clusters,
    outlier_scores,
)

from imgindex.records import NOISE

from .compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from imgindex.records import Labels

_LOYALTY = 3
_SAME = 0.5  # of the points of both
_AS_DENSE = 1 - 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The clusters taken out of a tree, and those inside them.

    Attributes:
        labels: int32 [n], -1 for noise.
        strengths: float32 [n] in [0, 1].
        outliers: float32 [n] in [0, 1].
        exemplars: bool [n]; the points at the largest lambda of a cluster with none inside it.
        parts: int32 [n], the smallest group of each point: its label, or a number above all labels.
        parents: int32 [groups], the group that each lies in; -1 for those that are labels, which
            come first.
    """

    labels: Labels
    strengths: NDArray[np.float32]
    outliers: NDArray[np.float32]
    exemplars: NDArray[np.bool_]
    parts: Labels
    parents: Labels


def select(
    edges: NDArray[np.float64],
    min_cluster_size: int,
    *,
    largest: float = 1,
    before: Labels | None = None,
) -> Selection:
    """Cut the tree into the clusters of greatest stability (excess of mass).

    Args:
        edges: float64 [n - 1, 3], a spanning tree by ascending weight, every weight above 0.
        min_cluster_size: at least 2.
        largest: share of the points that a cluster may hold if there are clusters inside it;
            without a limit the tree's first fork may win over everything below it.
        before: int32 [n], the groups of an earlier run, -1 for noise. Where the tree still has
            them they stay, unless another cut is `_LOYALTY` times as stable; otherwise near ties
            would be cut one way today and another way tomorrow.
    """
    tree = condense_tree(single_linkage(edges), min_cluster_size)
    stability = compute_stability(tree)
    if before is not None:
        for cluster in _known(tree, before):
            stability[cluster] *= _LOYALTY
    most = _most(tree, largest, len(edges) + 1)
    parts, parents = _parts(tree, stability, most)
    labels, strengths, _ = get_clusters(tree, stability, max_cluster_size=most)
    outliers = np.nan_to_num(outlier_scores(tree), nan=0.0)
    return Selection(
        np.asarray(labels, np.int32),
        np.asarray(strengths, np.float32),
        np.clip(outliers, 0, 1).astype(np.float32),
        _densest(tree) & (parts != NOISE),
        parts,
        parents,
    )


def _densest(tree: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which points are at the largest lambda of a cluster that does not divide, bool [n]."""
    root = int(tree["parent"].min(initial=len(tree) + 1))
    points = tree[tree["child"] < root]
    largest = np.zeros(int(tree["parent"].max(initial=root)) + 1)
    np.maximum.at(largest, points["parent"], points["lambda_val"])
    largest[tree["parent"][tree["child"] >= root]] = np.inf
    out = np.zeros(root, np.bool_)
    out[points["child"]] = points["lambda_val"] >= largest[points["parent"]] * _AS_DENSE
    return out


def _parts(
    tree: NDArray[np.void], stability: Mapping[int, float], most: int
) -> tuple[Labels, Labels]:
    """Every cluster that is more stable than what is best inside it, not only the largest of them.

    Args:
        tree: what ``condense_tree`` gives.
        stability: of each cluster.
        most: points that a cluster may hold.

    Returns:
        As in ``Selection``; the labels are those that ``get_clusters`` finds.
    """
    root = int(tree["parent"].min(initial=len(tree) + 1))
    points, links = tree[tree["child"] < root], tree[tree["child"] >= root]
    above = dict(zip(links["child"].tolist(), links["parent"].tolist(), strict=True))
    sizes = dict(zip(links["child"].tolist(), links["child_size"].tolist(), strict=True))
    inside: dict[int, float] = defaultdict(float)
    taken = []
    # A child has a greater number than its parent.
    for cluster in sorted(above, reverse=True):
        if inside[cluster] > stability[cluster] or sizes[cluster] > most:
            mass = inside[cluster]
        else:
            mass = stability[cluster]
            taken.append(cluster)
        inside[above[cluster]] += mass
    smallest = {root: root}
    chosen = set(taken)
    for cluster in sorted(above):
        smallest[cluster] = cluster if cluster in chosen else smallest[above[cluster]]
    around = {cluster: smallest[above[cluster]] for cluster in sorted(taken)}
    ordered = sorted(around, key=lambda cluster: around[cluster] != root)
    numbers = {cluster: number for number, cluster in enumerate(ordered)} | {root: NOISE}
    parts = np.full(root, NOISE, np.int32)
    parts[points["child"]] = [numbers[smallest[one]] for one in points["parent"].tolist()]
    return parts, np.array([numbers[around[cluster]] for cluster in ordered], np.int32)


def _most(tree: NDArray[np.void], largest: float, n: int) -> int:
    clusters = tree[tree["child_size"] > 1]
    undivided = ~np.isin(clusters["child"], clusters["parent"])
    return max(int(largest * n), int(clusters["child_size"][undivided].max(initial=0)))


def _known(tree: NDArray[np.void], before: Labels) -> list[int]:
    """The cluster of the tree that is nearest to each group of before, if it is the same mostly.

    Args:
        tree: what ``condense_tree`` gives.
        before: int32 [n].
    """
    n = len(before)
    sizes = Counter(before.tolist())
    points = tree[tree["child"] < n]
    counts: dict[int, Counter[int]] = {}
    for cluster, group in zip(
        points["parent"].tolist(), before[points["child"]].tolist(), strict=True
    ):
        counts.setdefault(cluster, Counter())[group] += 1
    links = tree[tree["child"] >= n]
    # A child has a greater number than its parent, so what it holds is complete when it is added.
    for parent, child in sorted(
        zip(links["parent"].tolist(), links["child"].tolist(), strict=True),
        key=lambda link: -link[1],
    ):
        counts.setdefault(parent, Counter()).update(counts[child])
    best: dict[int, tuple[float, int]] = {}
    for cluster, held in counts.items():
        for group, both in held.items():
            share = both / (held.total() + sizes[group] - both)
            if group != NOISE and share > max(_SAME, best.get(group, (0, 0))[0]):
                best[group] = share, cluster
    return [cluster for _, cluster in best.values()]


@compiled
def single_linkage(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The hierarchy of a spanning tree, as scipy spells linkages: float64 [n - 1, 4].

    Row i joins the clusters of its first two columns at the weight of the third into cluster n + i,
    of as many points as the fourth says. The package's own takes a hundred times as long.

    Args:
        edges: float64 [n - 1, 3], (from, to, weight) by ascending weight.
    """
    n = len(edges) + 1
    parents = np.arange(2 * n - 1)
    sizes = np.ones(2 * n - 1, np.int64)
    joins = np.empty((n - 1, 4))
    for step in range(n - 1):
        ends = np.empty(2, np.int64)
        for side in range(2):
            cluster = np.int64(edges[step, side])
            while parents[cluster] != cluster:
                parents[cluster] = parents[parents[cluster]]
                cluster = parents[cluster]
            ends[side] = cluster
        joined = n + step
        parents[ends] = joined
        sizes[joined] = sizes[ends[0]] + sizes[ends[1]]
        joins[step, 0], joins[step, 1] = ends[0], ends[1]
        joins[step, 2], joins[step, 3] = edges[step, 2], sizes[joined]
    return joins
