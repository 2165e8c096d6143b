"""The minimum spanning tree from chosen pairs instead of all: Kruskal's algorithm, chunk by chunk.

A minimum spanning forest of A and B is one of (the forest of A) and (the forest of B), so pairs can
come in chunks, and memory stays with the points; or be found on several machines, each of which
tells the others of its forest only. Which pairs: the neighbour lists make the dense parts right,
and the long links of the index's own graph make clusters meet at the right level; lists alone are
connected, and still merge clusters late and swallow noise first.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
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
class Edges:
    """Pairs of points; those of a forest come by rising weight, then distance.

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

    def __len__(self) -> int:
        """How many."""
        return len(self.first)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(getattr(self, one.name).nbytes for one in fields(self))

    def array(self) -> NDArray[np.float64]:
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
    core = neighbours.core_distances(min_samples)
    forest = reduced()
    total = neighbours.lists.size + len(links)
    done = 0
    for first, second, distances in _pairs(rows, neighbours, links):
        forest = reduced(forest, weighed(first, second, distances, core))
        done += len(first)
        progress("spanning tree", done, total)
    return joined(forest, core, rows).array()


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


def weighed(
    first: Ends, second: Ends, distances: NDArray[np.float32], core: NDArray[np.float32]
) -> Edges:
    """Pairs as edges of the mutual reachability graph.

    Args:
        first: int32 [m].
        second: int32 [m].
        distances: float32 [m].
        core: float32 [n], core distances of all points.
    """
    weights = np.maximum(distances, np.maximum(core[first], core[second]))
    return Edges(first, second, weights, distances)


def reduced(*some: Edges) -> Edges:
    """A minimum spanning forest of edges, those of forests among them."""
    nothing, none = np.empty(0, np.int32), np.empty(0, np.float32)
    edges = Edges(
        np.concatenate([nothing, *(part.first for part in some)]),
        np.concatenate([nothing, *(part.second for part in some)]),
        np.concatenate([none, *(part.weights for part in some)]),
        np.concatenate([none, *(part.distances for part in some)]),
    )
    # Many pairs share one core distance as their weight: the nearer pair comes first. Bits of
    # numbers that are not negative are in the order of the numbers.
    keys = edges.weights.view(np.uint32).astype(np.uint64) << np.uint64(32)
    order = np.argsort(keys | edges.distances.view(np.uint32), kind="stable")
    n = 1 + int(max(edges.first.max(initial=-1), edges.second.max(initial=-1)))
    kept = order[_kruskal(order, edges.first, edges.second, n)]
    return Edges(edges.first[kept], edges.second[kept], edges.weights[kept], edges.distances[kept])


def joined(forest: Edges, core: NDArray[np.float32], rows: Rows) -> Edges:
    """A forest with the bridges that make it a tree.

    Args:
        forest: of the points.
        core: float32 [n], core distances.
        rows: float32 [n, d], unit length.
    """
    while len(forest) < len(rows) - 1:
        bridges = _bridges(rows, core, parts(forest, len(rows)))
        forest = reduced(forest, weighed(*bridges, core))
    return forest


def parts(forest: Edges, n: int) -> NDArray[np.int64]:
    """Number of the connected part of each point, int64 [n], from 0."""
    roots = np.arange(n, dtype=np.int32)
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
def _find(roots: NDArray[np.int32], point: int) -> int:
    while roots[point] != point:
        roots[point] = roots[roots[point]]
        point = roots[point]
    return point


@compiled
def _kruskal(order: NDArray[np.int64], first: Ends, second: Ends, n: int) -> NDArray[np.int64]:
    """Places in ``order`` of the edges that join what was apart."""
    roots = np.arange(n, dtype=np.int32)
    kept = np.empty(min(len(order), max(0, n - 1)), np.int64)
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
def _unite(first: Ends, second: Ends, roots: NDArray[np.int32]) -> None:
    for edge in range(len(first)):
        one, other = _find(roots, first[edge]), _find(roots, second[edge])
        roots[max(one, other)] = min(one, other)
    for point in range(len(roots)):
        roots[point] = _find(roots, point)
