"""The neighbourhood embedding: a few coordinates in which near means sharing neighbours.

The neighbour lists become a fuzzy graph, and the graph is laid out by gradient steps: edges pull,
random pairs push (McInnes, Healy and Melville, "UMAP", arXiv:1802.03426). Descriptors of photos lie
almost equally far apart; here dense places are dense, which is what HDBSCAN looks for.

Unlike the paper's, a step moves all points at once, each by what it sees of the last positions. So
the points can be shared out among processors and the result is the same for any number of them.

Where two groups touch, one layout parts them here and the next one there. Several side by side, as
further coordinates, agree far better from run to run, and a little better with people.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]  # no stubs

from .compiled import compiled, in_slices

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from imgindex.records import Progress, Rows

    from .neighbours import Neighbours

DIMENSIONS = 5
NEIGHBOURS = 15
_LAYOUTS, _LAID_OUT = 16, 80_000  # at most; and points in all of them
_STEPS = 200
_PUSHES = 5  # random pairs for each pull
_SPREAD, _STEEPNESS = (
    np.float32(1.929),
    np.float32(0.7915),
)  # of 1 / (1 + a x^2b), fitted to a minimal distance of 0
_EXTENT = 10.0
_SOFT, _LONGEST_STEP = np.float32(0.001), np.float32(4)
_HALVINGS = 64


def embed(  # noqa: PLR0913 - each is a setting of its own, by keyword
    rows: Rows,
    neighbours: Neighbours,
    progress: Progress,
    *,
    dimensions: int = DIMENSIONS,
    layouts: int = 1,
    seed: int = 0,
    places: Rows | None = None,
) -> Rows:
    """Lay points out by their neighbourhoods.

    Args:
        rows: float32 [n, d], unit length: where they begin is their first principal components.
        neighbours: of each point.
        progress: called with the stage ``neighbourhood``.
        dimensions: of one layout; rows with fewer have no more.
        layouts: how many to make, side by side.
        seed: of the random pairs.
        places: float32 [n, w], where an earlier embedding of the same dimensions has the points,
            NaN where it has not. Those stay there, and only the others find their places among
            them, in each of its layouts.

    Returns:
        float32 [n, layouts * dimensions], or as wide as ``places``.
    """
    graph = fuzzy_graph(neighbours)
    width = min(dimensions, rows.shape[1])
    if places is not None:
        layouts = places.shape[1] // width
    start = _start(rows, width) if places is None else places
    made = []
    for layout in range(layouts):
        told = partial(_told, progress, layout, layouts)
        luck = seed * _LAYOUTS + layout
        if places is None:
            made.append(_laid_out(graph, start.copy(), told, luck))
        else:
            known = places[:, layout * width : (layout + 1) * width]
            made.append(_fitted_in(graph, known, told, luck))
    return made[0] if layouts == 1 else np.hstack(made)


def _told(progress: Progress, layout: int, layouts: int, step: int) -> None:
    progress("neighbourhood", layout * _STEPS + step, layouts * _STEPS)


def layouts_for(points: int) -> int:
    """How many layouts so many points are worth: some ten seconds' work on two processors."""
    return max(1, min(_LAYOUTS, _LAID_OUT // max(1, points)))


def _fitted_in(
    graph: sparse.csr_array, places: Rows, told: Callable[[int], None], seed: int
) -> Rows:
    """Lay out the points without places, the others being where they are."""
    new = np.isnan(places[:, 0])
    known = np.flatnonzero(~new)
    order = np.concatenate([known, np.flatnonzero(new)])
    graph = graph[order][:, order].tocsr()
    graph.sort_indices()
    here = places[order]
    # They begin amid their neighbours; who has none that is placed yet, in the middle of all.
    weights = graph[len(known) :, : len(known)]
    total = weights.sum(axis=1)[:, None]
    here[len(known) :] = np.where(
        total > 0,
        weights @ here[: len(known)] / np.maximum(total, np.finfo(np.float32).tiny),
        here[: len(known)].mean(axis=0),
    )
    out = np.empty_like(places)
    out[order] = _laid_out(graph, here, told, seed, first=len(known))
    return out


def _laid_out(
    graph: sparse.csr_array, here: Rows, told: Callable[[int], None], seed: int, first: int = 0
) -> Rows:
    """Move the points from ``first`` on by the gradient steps; ``here`` is used up."""
    there = here.copy()
    # An edge of full weight pulls in every step, one of half the weight in every second.
    chance = (graph.data / graph.data.max(initial=1) * 2**32).astype(np.uint64)
    for step in range(_STEPS):
        rate = np.float32(1 - step / _STEPS)
        salt = np.uint64((seed * _STEPS + step + 1) * 0x9E3779B97F4A7C15 % 2**64)
        edges = graph.indptr, graph.indices, chance
        in_slices(partial(_move, here, there, *edges, rate, salt), len(here), first)
        here, there = there, here
        told(step + 1)
    return here


def fuzzy_graph(neighbours: Neighbours) -> sparse.csr_array:
    """What both ends of a pair see, on average: a symmetric graph with weights in (0, 1].

    To a point its nearest neighbour has weight 1, the others fall off exponentially at the rate
    that makes them log2(k) in all. (The paper's union of both sides gave the same groups.)

    Args:
        neighbours: lists of k of each of n points.

    Returns:
        float32 [n, n], about 2 n k entries.
    """
    n, k = neighbours.lists.shape
    weights = memberships(neighbours.distances)
    ends = np.arange(0, n * k + 1, k)
    seen = sparse.csr_array((weights.ravel(), neighbours.lists.ravel(), ends), shape=(n, n))
    graph = ((seen + seen.T) / np.float32(2)).tocsr()
    graph.sort_indices()
    return graph


def memberships(distances: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each point sees of its neighbours, float32 [n, k] in [0, 1]; see ``fuzzy_graph``.

    Args:
        distances: float32 [n, k], rising.
    """
    weights = np.empty(distances.shape, np.float32)
    in_slices(lambda start, stop: _memberships(distances, weights, start, stop), len(distances))
    return weights


def _start(rows: Rows, width: int) -> Rows:
    """First principal components, the widest one from -10 to 10."""
    mean = rows.mean(axis=0, dtype=np.float64)
    # Not of centred rows: they would be a copy of everything.
    _, axes = np.linalg.eigh(rows.T @ rows / np.float64(len(rows)) - np.outer(mean, mean))
    axes = axes[:, ::-1][:, :width]
    # Whatever the linear algebra library made of its sign.
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
    start = rows @ axes.astype(np.float32) - mean @ axes
    widest = np.abs(start).max(initial=0)
    return np.ascontiguousarray(start * (_EXTENT / widest if widest else 1), np.float32)


@compiled
def _memberships(
    distances: NDArray[np.float32], weights: NDArray[np.float32], start: int, stop: int
) -> None:
    k = distances.shape[1]
    wanted = np.log2(k)
    for point in range(start, stop):
        nearest = distances[point, 0]
        low, high, rate = 0.0, np.inf, 1.0
        for _ in range(_HALVINGS):
            total = 0.0
            for place in range(k):
                total += np.exp(-(distances[point, place] - nearest) / rate)
            if total > wanted:
                high = rate
                rate = (low + high) / 2
            else:
                low = rate
                rate = rate * 2 if high > 1e30 else (low + high) / 2  # noqa: PLR2004 - not yet met
        # Where all are equally far the search runs to 0; then all count in full.
        rate = max(rate, 1e-3 * distances[point].mean(), 1e-12)
        for place in range(k):
            weights[point, place] = np.exp(-(distances[point, place] - nearest) / rate)


@compiled
def _move(  # noqa: PLR0913, PLR0917 - a compiled loop takes plain arrays
    here: Rows,
    there: Rows,
    ends: NDArray[np.int32],
    others: NDArray[np.int32],
    chance: NDArray[np.uint64],
    rate: np.float32,
    salt: np.uint64,
    start: int,
    stop: int,
) -> None:
    n, width = here.shape
    pull = np.empty(width, np.float32)
    for point in range(start, stop):
        # Begun anew for each point: its luck depends on no other's.
        state = _next(
            (salt ^ (np.uint64(point + 1) * np.uint64(0xBF58476D1CE4E5B9))) | np.uint64(1)
        )
        pull[:] = 0
        for edge in range(ends[point], ends[point + 1]):
            state = _next(state)
            if (state >> np.uint64(32)) >= chance[edge]:
                continue
            other = others[edge]
            square = _square(here, point, other)
            if square > 0:
                raised = square**_STEEPNESS
                force = (
                    np.float32(-2)
                    * _SPREAD
                    * _STEEPNESS
                    * raised
                    / square
                    / (np.float32(1) + _SPREAD * raised)
                )
                for at in range(width):
                    # Twice: the paper's step moves both ends, here the other end does its own.
                    pull[at] += np.float32(2) * _clipped(
                        force * (here[point, at] - here[other, at])
                    )
            for _ in range(_PUSHES):
                state = _next(state)
                other = np.int64((state >> np.uint64(11)) % np.uint64(n))
                square = _square(here, point, other)
                force = (
                    np.float32(2)
                    * _STEEPNESS
                    / ((_SOFT + square) * (np.float32(1) + _SPREAD * square**_STEEPNESS))
                )
                for at in range(width):
                    pull[at] += _clipped(force * (here[point, at] - here[other, at]))
        for at in range(width):
            there[point, at] = here[point, at] + rate * pull[at]


@compiled
def _next(state: np.uint64) -> np.uint64:
    """Marsaglia's xorshift, doi:10.18637/jss.v008.i14."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@compiled
def _square(here: Rows, one: int, other: int | np.int64) -> np.float32:
    square = np.float32(0)
    for at in range(here.shape[1]):
        step = here[one, at] - here[other, at]
        square += step * step
    return square


@compiled
def _clipped(step: np.float32) -> np.float32:
    if step > _LONGEST_STEP:
        return _LONGEST_STEP
    return max(step, -_LONGEST_STEP)
