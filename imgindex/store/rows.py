"""What every store does to rows alike: the check at the door, and the exact scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imgindex.errors import StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import Progress, Rows

_UNIT_TOLERANCE = 1e-3
_BLOCK, _LINES = 65_536, 512


def checked(rows: Rows, count: int, dimension: int) -> Rows:
    """Rows as a store takes them.

    Raises:
        StoreError: the shape is not [count, dimension], or a row is not finite or not of length 1.
    """
    rows = np.ascontiguousarray(rows, np.float32)
    if rows.shape != (count, dimension):
        raise StoreError(
            f"rows of shape {rows.shape} cannot be stored; expected {count, dimension}"
        )
    for row, length in not_unit(rows):
        raise StoreError(f"row {row} has length {length:.4g}; embeddings must have length 1")
    return rows


def not_unit(rows: Rows) -> list[tuple[int, float]]:
    """The rows whose length is not 1, not finite ones among them, each with its length."""
    with np.errstate(over="ignore", invalid="ignore"):  # damaged ones hold anything
        lengths = np.linalg.norm(rows, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < _UNIT_TOLERANCE))
    return [(int(row), float(lengths[row])) for row in wrong]


def all_nearest(rows: Rows, k: int, progress: Progress) -> NDArray[np.int64]:
    """Each row's k nearest others by comparing every pair, and itself: int64 [n, k + 1]."""
    out = np.empty((len(rows), k + 1), np.int64)
    for start in range(0, len(rows), _LINES):
        stop = min(len(rows), start + _LINES)
        cosines = rows[start:stop] @ rows.T
        # No other row is nearer than the row itself, however its own cosine was rounded.
        cosines[np.arange(stop - start), np.arange(start, stop)] = np.inf
        out[start:stop] = np.argpartition(-cosines, k, axis=1)[:, : k + 1]
        progress("neighbours", stop, len(rows))
    return out


def nearest(
    rows: Rows, queries: Rows, k: int, among: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compare every row with every query.

    Args:
        rows: float32 [n, d]; may be a memory map, which is read once, block by block.
        queries: float32 [q, d].
        k: how many, 1 .. n.
        among: int64 [m], ascending: compare these rows only, k of them at most; None for all.

    Returns:
        Row numbers int64 [q, k] and cosines float32 [q, k], falling; equal ones by row number.
    """
    best = np.empty((len(queries), 0), np.float32)
    where = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(rows if among is None else among), _BLOCK):
        stop = start + _BLOCK
        cosines = queries @ rows[slice(start, stop) if among is None else among[start:stop]].T
        keep = min(k, cosines.shape[1])
        if keep < cosines.shape[1]:
            local = _largest(cosines, keep)
        else:
            local = np.broadcast_to(np.arange(keep), cosines.shape)
        best = np.concatenate([best, np.take_along_axis(cosines, local, 1)], axis=1)
        where = np.concatenate([where, local + start], axis=1)
        order = np.lexsort((where, -best))[:, :k]
        best = np.take_along_axis(best, order, 1)
        where = np.take_along_axis(where, order, 1)
    return where if among is None else among[where], np.clip(best, -1, 1)


def _largest(cosines: Rows, keep: int) -> NDArray[np.int64]:
    """The places of the largest in each line, [q, keep], in no order; of equal ones the first."""
    local = np.argpartition(-cosines, keep - 1, axis=1)[:, :keep]
    least = np.take_along_axis(cosines, local, 1).min(axis=1)
    # Which of several equal ones come first must not depend on how many are asked for: a list in
    # pages would name some twice and others never.
    for line in np.flatnonzero((cosines >= least[:, None]).sum(axis=1) > keep):
        larger = np.flatnonzero(cosines[line] > least[line])
        equal = np.flatnonzero(cosines[line] == least[line])
        local[line] = np.concatenate([larger, equal])[:keep]
    return local
