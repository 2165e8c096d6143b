"""Steps 4 and 5 of the paper: the condensed tree, the stable clusters in it, GLOSH outlier scores.

These are the hdbscan package's own functions. They are private there, so its version is pinned and
a test holds this module against the package's public class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hdbscan._hdbscan_linkage import label
from hdbscan._hdbscan_tree import (
    compute_stability,
    condense_tree,
    get_clusters,
    outlier_scores,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


def select(
    edges: NDArray[np.float64], min_cluster_size: int
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Cut the tree into the clusters of greatest stability (excess of mass).

    Args:
        edges: float64 [n - 1, 3], a spanning tree by ascending weight, every weight above 0.
        min_cluster_size: at least 2.

    Returns:
        labels int32 [n] with -1 for noise, strengths float32 [n] in [0, 1],
        outlier scores float32 [n] in [0, 1].
    """
    tree = condense_tree(label(np.ascontiguousarray(edges)), min_cluster_size)
    labels, strengths, _ = get_clusters(tree, compute_stability(tree))
    outliers = np.nan_to_num(outlier_scores(tree), nan=0.0)
    return (
        np.asarray(labels, np.int32),
        np.asarray(strengths, np.float32),
        np.clip(outliers, 0, 1).astype(np.float32),
    )
