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

from .neighbours import Neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import Progress, Rows

_LEAF = 40


def nearest(places: Rows, of: NDArray[np.intp], k: int) -> Neighbours:
    """The nearest others of some points.

    Args:
        places: float32 [n, few].
        of: intp [m], the points.
        k: how many others, 1 .. n - 1.

    Returns:
        Lists of the m points.
    """
    distances, found = KDTree(places, leaf_size=_LEAF).query(places[of], k + 1)
    others = found != of[:, None]
    # At equal places a point need not be first among its own nearest, or there at all.
    others[others.all(axis=1), -1] = False
    shape = len(of), k
    return Neighbours(
        found[others].reshape(shape).astype(np.int32),
        distances[others].reshape(shape).astype(np.float32),
    )


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
