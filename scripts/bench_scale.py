"""Measure how a spanning forest is brought together by many workers, one after the other, here.

    python scripts/bench_scale.py 10000000               64 workers, figures as lines
    python scripts/bench_scale.py 1000000 --workers 16 --json

The points are made: half of them scattered over a square, half in round heaps of about 100, in
random order. In the plane their 15 nearest cost next to nothing; a library's are asked of its
server instead. Further pairs are the 4 nearest in each worker's range. From there on all is what
``imgindex cluster --engine ray --space descriptor`` does, with the same functions: core distances
to all, a forest of each worker's pairs, and forests merged eight by eight. At the end the whole is
done once more in one piece, and the weights of both are compared.

Times are seconds of one processor, not of the clock, so other work beside it counts little.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from benches.measuring import peak
from scipy.spatial import cKDTree  # type: ignore[import-untyped]  # no stubs

from imgindex.distributed.forests import MERGED
from imgindex.grouping import forest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from imgindex.grouping.forest import Edges

    Points = NDArray[np.float32]

NEAREST, FURTHER, SAMPLES = 15, 4, 5
_HEAP = 100
_CHUNK = 20_000_000


def main() -> None:
    """Read the arguments, measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("points", type=int)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(asked.points, asked.workers, Path(folder))
    if asked.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name:32} {value}" for name, value in found.items()))


def measured(count: int, workers: int, folder: Path) -> dict[str, Any]:
    """Reduce made neighbours to one tree, by workers and in one piece.

    Args:
        count: of points, at least 100 for each worker.
        workers: how many.
        folder: where what the workers found is put, 152 bytes a point.

    Returns:
        Figures by their names; see the code for what each is.
    """
    clock = Clock()
    points = made(count, np.random.default_rng(0))
    ends = [count * at // workers for at in range(workers + 1)]
    whole = clock.timed("tree", cKDTree, points)
    core = np.empty(count, np.float32)
    for at in range(workers):
        pairs, near = clock.timed("neighbours", _near, points, whole, ends[at], ends[at + 1])
        core[ends[at] : ends[at + 1]] = near
        np.save(folder / f"{at}.npy", pairs)
    del whole
    forests = [clock.timed("local", _local, folder / f"{at}.npy", core) for at in range(workers)]
    sizes = [one.nbytes for one in forests]
    moved, rounds = [sum(sizes)], 0
    while len(forests) > 1:
        rounds += 1
        merged = []
        while forests:
            some, forests = forests[:MERGED], forests[MERGED:]
            merged.append(clock.timed(f"merge {rounds}", forest.reduced, *some))
            del some
        forests = merged
        moved.append(sum(one.nbytes for one in forests))
    tree, peak_gb = forests[0], peak() / 1e6
    again = clock.timed("in one piece", _in_one_piece, folder, workers, core)
    by_workers, by_one = (float(one.weights.sum(dtype=np.float64)) for one in (tree, again))
    return {
        "points": count,
        "workers": workers,
        "pairs_per_point": NEAREST + FURTHER,
        "neighbours_s_per_worker": clock.mean("neighbours"),
        "local_forest_s_per_worker": clock.mean("local"),
        "sent_mb_per_worker": round(sum(sizes) / workers / 1e6, 2),
        "received_mb_per_worker": round(core.nbytes / 1e6, 2),
        "sent_edges_per_point": round(sum(sizes) / 16 / count, 3),
        **{f"merge_{at}_s_per_task": clock.mean(f"merge {at}") for at in range(1, rounds + 1)},
        **{f"merge_{at}_mb_out": round(moved[at] / 1e6, 1) for at in range(1, rounds + 1)},
        "peak_gb": round(peak_gb, 2),
        "in_one_piece_s": clock.mean("in one piece"),
        "edges": len(tree),
        "parts": count - len(tree),
        "weight": round(by_workers, 6),
        "weight_in_one_piece": round(by_one, 6),
        "same_edges": bool(np.array_equal(tree.weights, again.weights)),
    }


class Clock:
    """Seconds of this processor that each kind of step took."""

    def __init__(self) -> None:
        """None so far."""
        self._spent: dict[str, list[float]] = {}

    def timed(self, name: str, work: Callable[..., Any], *given: Any) -> Any:
        """Do something, and note how long it took."""
        began = time.process_time()
        found = work(*given)
        self._spent.setdefault(name, []).append(time.process_time() - began)
        return found

    def mean(self, name: str) -> float:
        """Of the steps of this name, in seconds."""
        spent = self._spent[name]
        return round(sum(spent) / len(spent), 3)


def made(count: int, rng: np.random.Generator) -> Points:
    """Points of the plane, shuffled: half of them in heaps, half scattered."""
    points = rng.random((count, 2), np.float32)
    heaped = count // 2
    centres = rng.random((max(1, heaped // _HEAP), 2), np.float32)
    width = 0.2 / np.sqrt(len(centres))
    points[:heaped] = centres[rng.integers(0, len(centres), heaped)]
    points[:heaped] += (width * rng.standard_normal((heaped, 2))).astype(np.float32)
    rng.shuffle(points)
    return points


def _near(
    points: Points, whole: cKDTree, start: int, stop: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """A worker's pairs, int32 [3, m]: two ends, and the bits of the distance; core distances."""
    order = np.lexsort(np.floor(points[start:stop] * 512).T)  # one after the other what is near
    mine = points[start:stop][order]
    far, near = whole.query(mine, NEAREST + 1)
    inner_far, inner = cKDTree(mine).query(mine, FURTHER + 1)
    back = np.argsort(order)
    far, near, inner_far, inner = far[back], near[back], inner_far[back], order[inner[back]]
    others = np.concatenate([near[:, 1:], inner[:, 1:] + start], axis=1)
    distances = np.concatenate([far[:, 1:], inner_far[:, 1:]], axis=1).astype(np.float32)
    first = np.repeat(np.arange(start, stop), others.shape[1])
    pairs = np.stack([first, others.ravel(), distances.ravel().view(np.int32)]).astype(np.int32)
    return pairs, distances[:, SAMPLES - 1]


def _read(file: Path, core: NDArray[np.float32]) -> Edges:
    first, second, bits = np.load(file)
    return forest.weighed(first, second, bits.view(np.float32), core)


def _local(file: Path, core: NDArray[np.float32]) -> Edges:
    return forest.reduced(_read(file, core))


def _in_one_piece(folder: Path, workers: int, core: NDArray[np.float32]) -> Edges:
    """The forest of all pairs as one process finds it, chunk by chunk."""
    tree, waiting = forest.reduced(), list[Any]()
    for at in range(workers):
        waiting.append(_read(folder / f"{at}.npy", core))
        if sum(map(len, waiting)) > _CHUNK:
            tree, waiting = forest.reduced(tree, *waiting), []
    return forest.reduced(tree, *waiting)


if __name__ == "__main__":
    main()
