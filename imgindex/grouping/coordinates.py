"""The exact minimum spanning tree in a few coordinates, by Boruvka's algorithm over a k-d tree.

March, Ram and Gray, "Fast Euclidean Minimum Spanning Tree", KDD 2010, doi:10.1145/1835804.1835882,
in the hdbscan package's form for mutual reachability. It is private there, like the functions of
``condensed_tree``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hdbscan._hdbscan_boruvka import KDTreeBoruvkaAlgorithm
from sklearn.neighbors import KDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import Progress, Rows

_LEAF = 40


def spanning_tree(places: Rows, min_samples: int, progress: Progress) -> NDArray[np.float64]:
    """The tree of the mutual reachability graph.

    Args:
        places: float32 [n, few].
        min_samples: the core distance reaches to this many other points, 1 .. n - 1.
        progress: called with the stage ``spanning tree``.

    Returns:
        float64 [n - 1, 3]: edges as (from, to, weight), by ascending weight.
    """
    progress("spanning tree", 0, len(places))
    tree = KDTree(places.astype(np.float64), leaf_size=_LEAF)
    search = KDTreeBoruvkaAlgorithm(
        tree, min_samples, leaf_size=_LEAF // 3, approx_min_span_tree=False, n_jobs=1
    )
    edges: NDArray[np.float64] = search.spanning_tree()
    progress("spanning tree", len(places), len(places))
    return edges[np.argsort(edges[:, 2], kind="stable")]
