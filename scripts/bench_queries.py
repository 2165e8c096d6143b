"""Measure what a search gains by its options, on labelled pictures.

    python scripts/bench_queries.py rerank FILE.npz...    the first 200 put in order again
    python scripts/bench_queries.py away FILE.npz...      weights of a picture to steer away from
    python scripts/bench_queries.py regions FOLDER        rows for regions, to find parts by

FILE.npz holds ``rows`` [n, d] and ``classes`` [n]. Beside reranking stands query expansion, the
other usual way (Chum et al., doi:10.1109/ICCV.2007.4408891). For ``away`` each picture is steered
from the first of its neighbours that is of another class, and the ten then nearest are counted.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from bench_grouping import read
from benches.regions import regions

from imgindex.reranking import POOL, reranked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from imgindex.records import Rows

    Order = NDArray[np.int64]

_MOST = 4000
_QUERIES = 400
_EXPANDED = 5
_WEIGHTS = (0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


def plain(rows: Rows, at: int) -> Order:
    """All others by falling cosine."""
    order = np.argsort(-(rows @ rows[at]), kind="stable")
    return np.asarray(order[order != at], np.int64)


def by_neighbours(rows: Rows, at: int) -> Order:
    """The first of them as imgindex orders them again."""
    order = plain(rows, at)
    pool = order[:POOL]
    return np.concatenate([pool[reranked(rows[at], rows[pool])], order[POOL:]])


def expanded(rows: Rows, at: int) -> Order:
    """All others by their cosine to the query and its first neighbours."""
    first = plain(rows, at)[:_EXPANDED]
    order = np.argsort(-(rows @ (rows[at] + (rows[first] @ rows[at]) @ rows[first])), kind="stable")
    return np.asarray(order[order != at], np.int64)


def average_precision(right: NDArray[np.bool_]) -> float:
    """Mean, over all that are right, of the precision at the rank of each."""
    places = np.flatnonzero(right)
    return float((np.arange(1, len(places) + 1) / (places + 1)).mean()) if len(places) else 0.0


def rerank(rows: Rows, classes: NDArray[np.int64]) -> list[str]:
    """Mean average precision and precision of the first ten, by order."""
    ways: dict[str, Callable[[Rows, int], Order]] = {
        "cosine": plain,
        "reranked": by_neighbours,
        "query expansion": expanded,
    }
    lines = []
    for name, way in ways.items():
        found = [classes[way(rows, at)] == classes[at] for at in _drawn(classes)]
        precision = np.mean([average_precision(right) for right in found])
        tenth, thirtieth = (np.mean([right[:k].mean() for right in found]) for k in (10, 30))
        lines.append(f"{name}: mAP {precision:.4f}, P@10 {tenth:.4f}, P@30 {thirtieth:.4f}")
    return lines


def away(rows: Rows, classes: NDArray[np.int64]) -> list[str]:
    """Precision of the first ten, by the weight of what is not wanted."""
    hits: dict[float, list[float]] = {weight: [] for weight in _WEIGHTS}
    for at in _drawn(classes):
        wrong = [other for other in plain(rows, at)[:20] if classes[other] != classes[at]]
        for weight in _WEIGHTS if wrong else ():
            scores = rows @ (rows[at] - weight * rows[wrong[0]])
            scores[[at, wrong[0]]] = -np.inf
            hits[weight].append(float((classes[np.argsort(-scores)[:10]] == classes[at]).mean()))
    return [f"-{weight:g}: P@10 {np.mean(some):.4f}" for weight, some in hits.items() if some]


def _drawn(classes: NDArray[np.int64]) -> list[int]:
    counts = np.bincount(classes)
    several = np.flatnonzero(counts[classes] > 1)
    draw = np.random.default_rng(0)
    return [int(at) for at in draw.permutation(several)[:_QUERIES]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments, measure, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["rerank", "away", "regions"])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--model", default="untrained", help="for regions")
    asked = parser.parse_args(arguments)
    if asked.what == "regions":
        for folder in asked.files:
            print("\n".join(regions(folder, asked.model)))
        return
    for file in asked.files:
        rows, classes = read(file)
        _, numbers = np.unique(classes, return_inverse=True)
        if len(rows) > _MOST:
            kept = np.random.default_rng(0).permutation(len(rows))[:_MOST]
            rows, numbers = rows[kept], numbers[kept]
        print(f"{file.stem}: {len(rows):,} pictures in {numbers.max() + 1} classes")
        for line in (rerank if asked.what == "rerank" else away)(rows, numbers):
            print(f"  {line}")


if __name__ == "__main__":
    main()
