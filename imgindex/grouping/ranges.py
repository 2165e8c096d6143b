"""Long edges for an index that tells no links of its own: near ones among fewer and fewer points.

Where all nearest neighbours of a group's points are in the group, their lists do not say at what
distance it meets the rest. Among every eighth point, every 64th and so on they do, as the upper
levels of an HNSW graph do (Malkov and Yashunin, doi:10.1109/TPAMI.2018.2889473). Points that come
in the order of content hashes are shuffled, so a range of them is as good as any sample.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import Progress, Rows

LISTED = 64
"""Nearest of all that are to be in a point's list as well; groups of fewer are left by these."""
MOST = 16_384
"""Points of the largest range: what one processor compares in some seconds."""
_NEAREST = 32
_FACTOR = 8
_LEAST = 64  # points of the smallest range
_BLOCK = 512


def tops(count: int) -> list[tuple[int, int]]:
    """The largest ranges of so many points, as (start, stop): an eighth of them, at most `MOST`."""
    parts = max(_FACTOR, -(-count // MOST))
    return _split(0, count, parts)


def near_within(rows: Rows) -> NDArray[np.int32]:
    """Near pairs in a range, in the eighths of it, in the eighths of those, and so on.

    Args:
        rows: float32 [n, d], unit length, of one of the `tops`.

    Returns:
        int32 [m, 2], places in the range.
    """
    found = [np.empty((0, 2), np.int32)]
    level = [(0, len(rows))]
    while level:
        found += [_nearest(rows[start:stop]) + np.int32(start) for start, stop in level]
        level = [
            part
            for start, stop in level
            if stop - start >= _FACTOR * _LEAST
            for part in _split(start, stop, _FACTOR)
        ]
    return np.concatenate(found)


def near(rows: Rows, proposed: NDArray[np.int64], progress: Progress) -> NDArray[np.int32]:
    """All pairs that a tree needs beside the nearest few: of the index's lists, and of the ranges.

    Args:
        rows: float32 [n, d], unit length, shuffled.
        proposed: int64 [n, m], what the index proposes, best `LISTED` of each; see ``measure``.
        progress: called with the stage ``ranges``.

    Returns:
        int32 [l, 2].
    """
    found = [listed(proposed)]
    for start, stop in tops(len(rows)):
        found.append(near_within(rows[start:stop]) + np.int32(start))
        progress("ranges", stop, len(rows))
    return np.concatenate(found)


def listed(proposed: NDArray[np.int64], start: int = 0) -> NDArray[np.int32]:
    """The lists of the points from ``start`` on as pairs, int32 [l, 2]."""
    points = np.arange(start, start + len(proposed))[:, None]
    real = (proposed >= 0) & (proposed != points)
    pairs = np.broadcast_to(points, proposed.shape)[real], proposed[real]
    return np.stack(pairs, axis=1).astype(np.int32)


def _nearest(rows: Rows) -> NDArray[np.int32]:
    """Each row's nearest others as pairs."""
    n = len(rows)
    k = min(_NEAREST, n - 1)
    if k < 1:
        return np.empty((0, 2), np.int32)
    others = np.empty((n, k), np.int32)
    for start in range(0, n, _BLOCK):
        stop = min(n, start + _BLOCK)
        cosines = rows[start:stop] @ rows.T
        cosines[np.arange(stop - start), np.arange(start, stop)] = -np.inf
        others[start:stop] = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
    return np.stack([np.repeat(np.arange(n, dtype=np.int32), k), others.ravel()], axis=1)


def _split(start: int, stop: int, parts: int) -> list[tuple[int, int]]:
    ends = [start + (stop - start) * part // parts for part in range(parts + 1)]
    return [(one, other) for one, other in pairwise(ends) if other > one]
