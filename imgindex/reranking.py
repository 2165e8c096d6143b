"""Search results put in a better order, by the neighbours that pictures share.

Zhong, Cao, Cao & Li, "Re-ranking Person Re-identification with k-reciprocal Encoding",
doi:10.1109/CVPR.2017.389, with that paper's settings, among the best matches only: what is near to
one of them but not among them is not looked at, so no second search is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .records import Rows

POOL = 200
"""How many matches are put in order; those behind them stay as they are."""

_NEIGHBOURS, _SMOOTHED = 20, 6
_OWN_SHARE = 0.3  # of the distance itself; the rest is of the neighbours
_MOSTLY = 2 / 3


def reranked(query: Rows, rows: Rows) -> NDArray[np.int64]:
    """Order the best matches of a query.

    Args:
        query: float32 [d], unit length.
        rows: float32 [n, d], the matches by falling cosine, n at most some hundreds.

    Returns:
        int64 [n], places in ``rows``, the best first.
    """
    import numpy as np

    every = np.concatenate([query[None], rows])
    cosines = every @ every.T
    near = min(_NEIGHBOURS, len(rows)) + 1
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :near]
    mutual, core = _mutual(order), _mutual(order[:, : near // 2 + 1])
    # Whoever has most of its core among a picture's mutual neighbours brings all of it along.
    shared = mutual.astype(np.float32) @ core.T.astype(np.float32)
    joins = mutual & (shared > _MOSTLY * core.sum(axis=1))
    around = mutual | ((joins.astype(np.float32) @ core.astype(np.float32)) > 0)
    weights = np.where(around, np.exp(2 * (cosines - 1)), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    weights = weights[order[:, : min(_SMOOTHED, near)]].mean(axis=1)
    overlap = np.minimum(weights[0], weights[1:]).sum(axis=1)
    distances = (1 - _OWN_SHARE) * (1 - overlap / (2 - overlap))
    return np.argsort(distances + _OWN_SHARE * (1 - cosines[0, 1:]), kind="stable")


def _mutual(order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Who is among the neighbours of whom, both ways: [n, n] of lists [n, k] with themselves."""
    import numpy as np

    near = np.zeros((len(order), len(order)), np.bool_)
    np.put_along_axis(near, order, values=True, axis=1)
    near |= np.eye(len(order), dtype=np.bool_)
    return near & near.T
