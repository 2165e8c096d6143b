"""Neighbours and spanning forests on many machines, for grouping.

A task takes a range of the pictures, asks the store for their neighbours, and keeps what it found;
when all core distances are known it makes the forest of its own pairs, and tasks merge forests to
one. A machine that dies takes what it found along, and others find it again.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from imgindex.grouping import forest, ranges
from imgindex.grouping.neighbours import apart
from imgindex.records import no_progress
from imgindex.store.milvus import MilvusStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from imgindex.grouping.forest import Edges
    from imgindex.records import Progress, Rows
    from imgindex.store.milvus import Place

    Names = NDArray[np.bytes_]
    Pairs = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]

MERGED = 8  # forests that one task merges
_TRIES = 5  # of a task whose machine or whose server died
_BLURRED = 0.999  # cosines above are too near to 1 for float32 to tell their distances
_FETCHED = 4_000
_AT_ONCE = 32


class Machines:
    """The machines of a cluster, as ``grouping.grow`` asks them; within a ``session``."""

    def __init__(self, place: Place, ids: Sequence[str], progress: Progress) -> None:
        """Nothing is done yet.

        Args:
            place: the library.
            ids: its pictures, ascending.
            progress: called with the stages ``neighbours`` and ``spanning tree``.
        """
        self._place = place
        self._ids = np.array(ids, np.bytes_)
        self._progress = progress

    def propose(
        self, kept: NDArray[np.intp], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The nearest others of pictures, as ``grouping.grow`` takes them.

        Args:
            kept: intp [m], ascending, the pictures by their places.
            k: how many others of each.

        Returns:
            int64 [m, > k], and no further pairs.
        """
        import ray

        ask = ray.remote(num_cpus=1, max_retries=_TRIES, retry_exceptions=True)(listed)
        names = ray.put(self._ids[kept])
        out = np.empty((len(kept), min(k, len(kept) - 1) + 1), np.int64)
        asked = {
            ask.remote(self._place, names, start, stop, k): (start, stop)
            for start, stop in ranges.tops(len(kept))
        }
        for answer, start, stop in self._ended(len(kept), asked):
            out[start:stop] = answer
        return out, np.empty((0, 2), np.int32)

    def span(
        self, kept: NDArray[np.intp], k: int, min_samples: int
    ) -> tuple[Edges, NDArray[np.float32]]:
        """A minimum spanning forest over the pictures' neighbours; see ``grouping.grow``.

        Args:
            kept: intp [m], ascending, the pictures by their places.
            k: how many nearest others are certain to be among the pairs.
            min_samples: the core distance reaches to this many others.

        Returns:
            The forest, and the core distances, float32 [m].
        """
        import ray

        settings: dict[str, Any] = {"max_retries": _TRIES, "retry_exceptions": True}
        ask = ray.remote(num_cpus=1, num_returns=2, **settings)(found)
        reduce = ray.remote(num_cpus=1, **settings)(local)
        merge = ray.remote(num_cpus=1, **settings)(merged)
        names = ray.put(self._ids[kept])
        wanted = max(k, ranges.LISTED)
        asked: list[tuple[Any, tuple[int, int]]] = [
            (ask.remote(self._place, names, start, stop, wanted, min_samples), (start, stop))
            for start, stop in ranges.tops(len(kept))
        ]
        core = np.empty(len(kept), np.float32)
        cores = {near: ends for (near, _), ends in asked}
        for answer, start, stop in self._ended(len(kept), cores):
            core[start:stop] = answer
        shared = ray.put(core)
        forests = [reduce.remote(pairs, shared) for (_, pairs), _ in asked]
        steps = list(forests)
        while len(forests) > 1:
            forests = [
                merge.remote(*forests[at : at + MERGED]) for at in range(0, len(forests), MERGED)
            ]
            steps += forests
        for done, _ in enumerate(_ready(steps), 1):
            self._progress("spanning tree", done, len(steps))
        tree: Edges = ray.get(forests[0])
        return tree, core

    def _ended(self, total: int, waiting: Mapping[Any, tuple[int, int]]) -> Iterator[Any]:
        """What tasks say, each with its range, as they end."""
        import ray

        done = 0
        for one in _ready(list(waiting)):
            start, stop = waiting[one]
            yield ray.get(one), start, stop
            done += stop - start
            self._progress("neighbours", done, total)


def _ready(tasks: list[Any]) -> Iterator[Any]:
    """Tasks as they end."""
    import ray

    while tasks:
        ended, tasks = ray.wait(
            tasks, num_returns=min(len(tasks), _AT_ONCE), timeout=1, fetch_local=False
        )
        yield from ended


# What tasks do


def listed(place: Place, names: Names, start: int, stop: int, k: int) -> NDArray[np.int64]:
    """The nearest of chosen pictures to a range of them, int64 [stop - start, > k]."""
    with closing(MilvusStore(place)) as store:
        rows = store.rows_of(_spelled(names[start:stop]))
        return store.nearby(names, start, rows, k, no_progress)[0]


def found(  # noqa: PLR0913, PLR0917 - a task takes plain values
    place: Place, names: Names, start: int, stop: int, k: int, min_samples: int
) -> tuple[NDArray[np.float32], Pairs]:
    """Core distances of a range of pictures, and all pairs that a tree needs of them.

    Args:
        place: the library.
        names: bytes [n], the ids of all pictures, ascending.
        start: of the range.
        stop: of the range.
        k: how many nearest others are to be among the pairs.
        min_samples: see ``grouping.grow``.
    """
    with closing(MilvusStore(place)) as store:
        rows = store.rows_of(_spelled(names[start:stop]))
        near, cosines = store.nearby(names, start, rows, k, no_progress)
        distances = np.sqrt(np.maximum(2 - 2 * cosines, 0))
        _sharpen(store, names, rows, near, cosines, distances)
    here = np.arange(start, stop)[:, None]
    real = (near >= 0) & (near != here)
    distances[~real] = np.inf
    core = np.partition(distances, min_samples - 1, axis=1)[:, min_samples - 1]
    inner = ranges.near_within(rows)
    first, second = np.ascontiguousarray(inner.T)
    within = np.empty(len(first), np.float32)
    apart(rows, first, second, within)
    return core, (
        np.concatenate([np.broadcast_to(here, near.shape)[real], first + start], dtype=np.int32),
        np.concatenate([near[real], second + start], dtype=np.int32),
        np.concatenate([distances[real], within]),
    )


def local(pairs: Pairs, core: NDArray[np.float32]) -> Edges:
    """The forest of some pairs."""
    return forest.reduced(forest.weighed(*pairs, core))


def merged(*forests: Edges) -> Edges:
    """The forest of forests."""
    return forest.reduced(*forests)


def _sharpen(  # noqa: PLR0913, PLR0917 - all that is known of the neighbours
    store: MilvusStore,
    names: Names,
    rows: Rows,
    near: NDArray[np.int64],
    cosines: NDArray[np.float32],
    distances: NDArray[np.float32],
) -> None:
    """Measure anew, from the rows themselves, what is so near that a cosine cannot tell."""
    at, place = np.nonzero((cosines > _BLURRED) & (near >= 0))
    others, which = np.unique(near[at, place], return_inverse=True)
    order = np.argsort(which, kind="stable")
    for first in range(0, len(others), _FETCHED):
        some = others[first : first + _FETCHED]
        theirs = store.rows_of(_spelled(names[some]))
        begin, end = np.searchsorted(which[order], [first, first + len(some)])
        chosen = order[begin:end]
        steps = rows[at[chosen]] - theirs[which[chosen] - first]
        distances[at[chosen], place[chosen]] = np.sqrt(np.einsum("ij,ij->i", steps, steps))


def _spelled(names: Names) -> list[str]:
    return [name.decode() for name in names.tolist()]
