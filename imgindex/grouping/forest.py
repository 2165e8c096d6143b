"""The minimum spanning tree from chosen pairs instead of all: Kruskal's algorithm, chunk by chunk.

A minimum spanning forest of A and B is one of (the forest of A) and B, so pairs can come in chunks
and memory stays with the points. Which pairs: the neighbour lists make the dense parts right, and
the long links of the index's own graph make clusters meet at the right level; lists alone are
connected, and still merge clusters late and swallow noise first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .compiled import compiled
from .neighbours import apart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from imgindex.records import Progress, Rows

    from .neighbours import Neighbours

    Ends = NDArray[np.int32]

_CHUNK = 2_000_000
_SCOUTS = 64
"""Points of a part that look for the nearest one outside."""
_BLOCK = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Edges of a minimum spanning forest, by rising weight, then distance.

    Attributes:
        first: int32 [m].
        second: int32 [m].
        weights: float32 [m], mutual reachability.
        distances: float32 [m].
    """

    first: Ends
    second: Ends
    weights: NDArray[np.float32]
    distances: NDArray[np.float32]

    def edges(self) -> NDArray[np.float64]:
        """float64 [m, 3]: edges as (from, to, weight)."""
        return np.column_stack([self.first, self.second, self.weights]).astype(np.float64)


def spanning_tree(
    rows: Rows,
    neighbours: Neighbours,
    links: NDArray[np.int32],
    min_samples: int,
    progress: Progress,
) -> NDArray[np.float64]:
    """The tree over the neighbour lists and further links; what is still apart is joined last.

    Args:
        rows: float32 [n, d], unit length, no two equal.
        neighbours: at least min_samples of each.
        links: int32 [m, 2], further pairs; may be none.
        min_samples: see ``Neighbours.core_distances``.
        progress: called with the stage ``spanning tree``.

    Returns:
        float64 [n - 1, 3]: edges as (from, to, weight), by ascending weight, then distance.
    """
    n = len(rows)
    core = neighbours.core_distances(min_samples)
    nothing, none = np.empty(0, np.int32), np.empty(0, np.float32)
    forest = Forest(nothing, nothing, none, none)
    total = neighbours.lists.size + len(links)
    done = 0
    for first, second, distances in _pairs(rows, neighbours, links):
        forest = _grown(forest, first, second, distances, core)
        done += len(first)
        progress("spanning tree", done, total)
    while len(forest.first) < n - 1:
        forest = _grown(forest, *_bridges(rows, core, parts(forest, n)), core)
    return forest.edges()


def _pairs(
    rows: Rows, neighbours: Neighbours, links: NDArray[np.int32]
) -> Iterator[tuple[Ends, Ends, NDArray[np.float32]]]:
    n, k = neighbours.lists.shape
    lines = max(1, _CHUNK // k)
    for start in range(0, n, lines):
        stop = min(n, start + lines)
        first = np.repeat(np.arange(start, stop, dtype=np.int32), k)
        yield (
            first,
            neighbours.lists[start:stop].ravel(),
            neighbours.distances[start:stop].ravel(),
        )
    for start in range(0, len(links), _CHUNK):
        first, second = np.ascontiguousarray(links[start : start + _CHUNK].T)
        distances = np.empty(len(first), np.float32)
        apart(rows, first, second, distances)
        yield first, second, distances


def _grown(
    forest: Forest,
    first: Ends,
    second: Ends,
    distances: NDArray[np.float32],
    core: NDArray[np.float32],
) -> Forest:
    """The forest of a forest and further pairs."""
    weights = np.maximum(distances, np.maximum(core[first], core[second]))
    first = np.concatenate([forest.first, first])
    second = np.concatenate([forest.second, second])
    weights = np.concatenate([forest.weights, weights])
    distances = np.concatenate([forest.distances, distances])
    # Many pairs share one core distance as their weight: the nearer pair comes first.
    order = np.lexsort((distances, weights))
    kept = order[_kruskal(order, first, second, len(core))]
    return Forest(first[kept], second[kept], weights[kept], distances[kept])


def parts(forest: Forest, n: int) -> NDArray[np.int64]:
    """Number of the connected part of each point, int64 [n], from 0."""
    roots = np.arange(n)
    _unite(forest.first, forest.second, roots)
    return np.unique(roots, return_inverse=True)[1]


def _bridges(
    rows: Rows, core: NDArray[np.float32], part: NDArray[np.int64]
) -> tuple[Ends, Ends, NDArray[np.float32]]:
    """The best pair found from each part but the largest to outside, as Boruvka's algorithm does.

    Every point outside is looked at, from a few scouts inside.
    """
    sizes = np.bincount(part)
    order = np.argsort(part, kind="stable")
    ends = np.cumsum(sizes)
    scouts = []
    for number in np.delete(np.arange(len(sizes)), sizes.argmax()):
        members = order[ends[number] - sizes[number] : ends[number]]
        # The densest points hold a part together, so bridges tend to end there.
        scouts.append(members[np.argsort(core[members], kind="stable")[:_SCOUTS]])
    scout = np.concatenate(scouts)
    best = np.full(len(scout), np.inf, np.float32)
    cosine = np.full(len(scout), -np.inf, np.float32)
    target = np.zeros(len(scout), np.int64)
    for start in range(0, len(rows), _BLOCK):
        stop = min(len(rows), start + _BLOCK)
        cosines = rows[scout] @ rows[start:stop].T
        reach = np.sqrt(np.maximum(2 - 2 * cosines, 0))
        np.maximum(reach, core[start:stop], out=reach)
        np.maximum(reach, core[scout, None], out=reach)
        reach[part[scout, None] == part[None, start:stop]] = np.inf
        least = reach.min(axis=1)
        # Of equal reaches the nearest point, as everywhere.
        cosines[reach > least[:, None]] = -np.inf
        at = cosines.argmax(axis=1)
        near = cosines[np.arange(len(scout)), at]
        better = (least < best) | ((least == best) & (near > cosine))
        best[better], cosine[better] = least[better], near[better]
        target[better] = at[better] + start
    ranked = np.lexsort((-cosine, best, part[scout]))
    chosen = ranked[np.unique(part[scout][ranked], return_index=True)[1]]
    first, second = scout[chosen].astype(np.int32), target[chosen].astype(np.int32)
    distances = np.empty(len(first), np.float32)
    apart(rows, first, second, distances)
    return first, second, distances


@compiled
def _find(roots: NDArray[np.int64], point: int) -> int:
    while roots[point] != point:
        roots[point] = roots[roots[point]]
        point = roots[point]
    return point


@compiled
def _kruskal(order: NDArray[np.int64], first: Ends, second: Ends, n: int) -> NDArray[np.int64]:
    """Places in ``order`` of the edges that join what was apart."""
    roots = np.arange(n)
    kept = np.empty(max(0, n - 1), np.int64)
    held = 0
    for place in range(len(order)):
        one = _find(roots, first[order[place]])
        other = _find(roots, second[order[place]])
        if one != other:
            roots[max(one, other)] = min(one, other)
            kept[held] = place
            held += 1
            if held == n - 1:
                break
    return kept[:held]


@compiled
def _unite(first: Ends, second: Ends, roots: NDArray[np.int64]) -> None:
    for edge in range(len(first)):
        one, other = _find(roots, first[edge]), _find(roots, second[edge])
        roots[max(one, other)] = min(one, other)
    for point in range(len(roots)):
        roots[point] = _find(roots, point)
