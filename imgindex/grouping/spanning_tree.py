"""Step 3 of the paper: the minimum spanning tree of the mutual reachability graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import Progress

_REPORT_EVERY = 512


def spanning_tree(
    matrix: NDArray[np.float32], core: NDArray[np.float32], progress: Progress
) -> NDArray[np.float64]:
    """The exact tree by Prim's algorithm (doi:10.1002/j.1538-7305.1957.tb01515.x).

    The weight of a pair is max(core_i, core_j, distance_ij). Many pairs share one core distance as
    their weight, and the order of merging decides what becomes a group; so of equal weights the
    smaller distance comes first, and the tree does not depend on the order of the points.

    Args:
        matrix: float32 [n, n] of distances.
        core: float32 [n] core distances.
        progress: called with the stage ``spanning tree``.

    Returns:
        float64 [n - 1, 3]: edges as (from, to, weight), by ascending weight, then distance.
    """
    n = len(matrix)
    edges = np.empty((max(0, n - 1), 3), np.float64)
    apart = np.empty(len(edges), np.float32)
    nearest = np.full(n, np.inf, np.float32)
    distance = np.full(n, np.inf, np.float32)
    source = np.zeros(n, np.intp)
    # Core distances of what is still outside; infinity takes a point out of every minimum below.
    outside = core.copy()
    current = 0
    outside[0] = np.inf
    for step in range(n - 1):
        reach = np.maximum(matrix[current], core[current])
        np.maximum(reach, outside, out=reach)
        closer = reach < nearest
        closer |= (reach == nearest) & (matrix[current] < distance)
        nearest[closer] = reach[closer]
        distance[closer] = matrix[current][closer]
        source[closer] = current
        nearest[current] = np.inf
        equal = np.flatnonzero(nearest == nearest.min())
        after = int(equal[distance[equal].argmin()])
        edges[step] = source[after], after, nearest[after]
        apart[step] = distance[after]
        outside[after] = np.inf
        current = after
        if step % _REPORT_EVERY == 0:
            progress("spanning tree", step, n)
    progress("spanning tree", n, n)
    return edges[np.lexsort((apart, edges[:, 2]))]
