"""How well embeddings and groups agree with known classes: pure functions over arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from imgindex.records import NOISE, no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import Labels, Progress, Rows

    Classes = NDArray[np.int64]

DEPTHS = (1, 5, 10, 20, 50, 100)
_BLOCK = 256  # pictures looked up at a time
_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """What pictures find among all others, by falling cosine.

    Attributes:
        queries: int64 [q], the pictures looked up: those that are not alone in their class.
        right: int64 [q], how many others are in the class of each.
        found: int64 [q, len(DEPTHS)], how many of those are among the first DEPTHS.
        precision: float64 [q], average precision: the mean, over all that are right, of the
            precision at the rank of each; over the whole ranking, not interpolated (Manning,
            Raghavan, Schütze: Introduction to Information Retrieval, 2008, section 8.4).
    """

    queries: NDArray[np.int64]
    right: NDArray[np.int64]
    found: NDArray[np.int64]
    precision: NDArray[np.float64]


def rank(rows: Rows, classes: Classes, progress: Progress = no_progress) -> Ranking:
    """Look up every picture among all others.

    Args:
        rows: float32 [n, d], of length 1.
        classes: int64 [n], numbered from 0.
        progress: stage ``rank``.
    """
    right = np.bincount(classes)[classes] - 1
    queries = np.flatnonzero(right)
    found = np.empty((len(queries), len(DEPTHS)), np.int64)
    precision = np.empty(len(queries))
    last = np.minimum(DEPTHS, len(rows) - 1) - 1
    exact = rows.astype(np.float64)  # cosines may lie so close that rounding would decide
    for start in range(0, len(queries), _BLOCK):
        block = slice(start, start + _BLOCK)
        own = queries[block]
        cosines = exact[own] @ exact.T
        cosines[np.arange(len(own)), own] = -np.inf
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :-1]
        hit = classes[order] == classes[own, None]
        hits = hit.cumsum(axis=1)
        found[block] = hits[:, last]
        precision[block] = (hit * hits / np.arange(1, len(rows))).sum(axis=1) / right[own]
        progress("rank", start + len(own), len(queries))
    return Ranking(queries, right[queries], found, precision)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Where the mean of float64 [q] lies: 95% percentile bootstrap (Efron, 1979), seeded."""
    # Tenths are few: how often each is drawn has a multinomial law, which is cheap for any q.
    different, counts = np.unique(values, return_counts=True)
    draws = np.random.default_rng(0).multinomial(len(values), counts / len(values), _RESAMPLES)
    low, high = np.quantile(draws @ different / len(values), (0.025, 0.975))
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Groups:
    """How groups agree with classes: 1 is fully, 0 is as by chance.

    Attributes:
        groups: how many there are.
        noise: share of the pictures that are in none.
        ari: adjusted Rand index (Hubert, Arabie, 1985), with noise as one more group.
        ami: adjusted mutual information (Vinh, Epps, Bailey, 2010), with noise as one more group.
        ari_grouped: ``ari`` of the pictures in groups alone; None if there are none.
        ami_grouped: ``ami`` of the pictures in groups alone.
    """

    groups: int
    noise: float
    ari: float
    ami: float
    ari_grouped: float | None
    ami_grouped: float | None


def agreement(classes: Classes, labels: Labels) -> Groups:
    """Compare classes, int64 [n], with groups, int32 [n], -1 for noise."""
    grouped = labels != NOISE
    known, given = classes[grouped], labels[grouped]
    return Groups(
        groups=len(np.unique(given)),
        noise=float((~grouped).mean()),
        ari=float(adjusted_rand_score(classes, labels)),
        ami=float(adjusted_mutual_info_score(classes, labels)),
        ari_grouped=float(adjusted_rand_score(known, given)) if len(given) else None,
        ami_grouped=float(adjusted_mutual_info_score(known, given)) if len(given) else None,
    )
