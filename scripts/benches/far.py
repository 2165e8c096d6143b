"""Pairs that a spanning tree needs beside the nearest: groups by some pairs against all pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import adjusted_rand_score

from imgindex.grouping import forest, ranges
from imgindex.grouping.condensed_tree import select
from imgindex.grouping.hdbscan import distinct
from imgindex.grouping.mutual_reachability import core_distances, distances
from imgindex.grouping.neighbours import measure
from imgindex.grouping.spanning_tree import spanning_tree
from imgindex.records import no_progress

from .made import made_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from imgindex.records import Rows

    Pairs = NDArray[np.int32]

NEAREST, SAMPLES, SIZE = 15, 5, 10
_LINES = 1024
_DIMENSION = 128


def sets(count: int, seed: int, real: Path | None) -> Iterator[tuple[str, Rows]]:
    """Sets of unit rows, shuffled as content hashes would shuffle them, each with its name.

    Args:
        count: of rows in each.
        seed: of what is made, and of what is drawn.
        real: an ``.npz`` file with ``code`` [m, d] and ``scale`` [d], of real descriptors.
    """
    rng = np.random.default_rng(seed)
    for size in (60, 250, 1000):
        yield f"groups of {size}", _shuffled(made_rows(count, rng, size)[0], rng)
    yield "groups of 12 to a tenth", _shuffled(_varied(count, rng), rng)
    if real is not None:
        with np.load(real) as file:
            drawn = np.sort(rng.choice(len(file["code"]), count, replace=False))
            rows = file["code"][drawn] * file["scale"]
        yield "real descriptors", _shuffled(rows, rng)


def agreement(rows: Rows) -> Iterator[dict[str, Any]]:
    """How the groups by each choice of pairs agree with those by all pairs."""
    matrix = distances(rows, no_progress)
    whole = spanning_tree(matrix, core_distances(matrix, SAMPLES), no_progress)
    exact = select(whole, SIZE).labels
    proposed = _listed(matrix, np.arange(len(rows)), ranges.LISTED)
    lists = measure(rows, proposed, NEAREST)
    longer, further = ranges.listed(proposed), ranges.near(rows, proposed[:, :0], no_progress)
    levels = [len(rows) // 4**level for level in range(1, 10) if len(rows) > 16 * 4**level]
    upper = [ranges.listed(_listed(matrix[:n, :n], np.arange(n), NEAREST)) for n in levels]
    choices = {
        "15 nearest": longer[:0],
        "15 nearest, and 15 among every 4th, 16th, ... of those": np.concatenate(upper),
        "64 nearest": longer,
        "15 nearest, and 32 in ranges": further,
        "64 nearest, and 32 in ranges": np.concatenate([longer, further]),
    }
    for name, links in choices.items():
        tree = forest.spanning_tree(rows, lists, links, SAMPLES, no_progress)
        labels = select(tree, SIZE).labels
        yield {
            "pairs": name,
            "ari_to_exact": round(float(adjusted_rand_score(exact, labels)), 4),
            "tree_weight_ratio": round(float(tree[:, 2].sum() / whole[:, 2].sum()), 6),
            "noise": round(float((labels < 0).mean()), 4),
            "noise_exact": round(float((exact < 0).mean()), 4),
        }


def _listed(matrix: Rows, points: NDArray[np.intp], k: int) -> NDArray[np.int64]:
    """Each point's nearest by the matrix of distances, itself among them, int64 [n, k + 1]."""
    parts = [
        np.argpartition(matrix[points[start : start + _LINES]], k, axis=1)[:, : k + 1]
        for start in range(0, len(points), _LINES)
    ]
    return np.concatenate(parts)


def _varied(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Groups whose sizes and widths differ much, and three tenths of noise or more."""
    sizes = np.clip(rng.pareto(1.0, count) * 20, 12, count // 10).astype(int)
    sizes = sizes[np.cumsum(sizes) < 0.7 * count]
    truth = np.repeat(np.arange(len(sizes)), sizes)
    rows = rng.standard_normal((count, _DIMENSION))
    rows[: len(truth)] *= rng.uniform(0.3, 0.9, len(sizes))[truth][:, None]
    rows[: len(truth)] += rng.standard_normal((len(sizes), _DIMENSION))[truth]
    return rows


def _shuffled(rows: NDArray[Any], rng: np.random.Generator) -> Rows:
    rows = rows[rng.permutation(len(rows))].astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows[distinct(rows)[0]])
