"""Steps 1 and 2 of the paper: core distances and mutual reachability.

The distance is Euclidean on unit rows; it orders pairs as the angle and the cosine do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import Progress, Rows

_BLOCK = 1024


def distances(rows: Rows, progress: Progress) -> NDArray[np.float32]:
    """Every distance, n x n: 4 n^2 bytes.

    The products are taken in double precision: near 1, a single-precision cosine cannot tell
    distances under 5e-4 from zero.

    Args:
        rows: float32 [n, d], unit length.
        progress: called with the stage ``distances``.

    Returns:
        float32 [n, n], symmetric, zero on the diagonal.
    """
    n = len(rows)
    wide = rows.astype(np.float64)
    squares = np.einsum("ij,ij->i", wide, wide)
    out = np.empty((n, n), np.float32)
    for start in range(0, n, _BLOCK):
        stop = min(n, start + _BLOCK)
        # Only the columns from `start` on; the mirror gives the rest and exact symmetry.
        block = wide[start:stop] @ wide[start:].T
        block *= -2
        block += squares[start:stop, None]
        block += squares[None, start:]
        np.maximum(block, 0, out=block)
        np.sqrt(block, out=block)
        out[start:stop, start:] = block
        out[start:, start:stop] = block.T
        progress("distances", stop, n)
    np.fill_diagonal(out, 0)
    return out


def core_distances(matrix: NDArray[np.float32], min_samples: int) -> NDArray[np.float32]:
    """Distance of each point to its min_samples-th other point.

    The point itself does not count, as in the hdbscan package; scikit-learn counts it.

    Args:
        matrix: float32 [n, n] of distances, zero on the diagonal.
        min_samples: 1 .. n - 1.

    Returns:
        float32 [n].
    """
    n = len(matrix)
    out = np.empty(n, np.float32)
    for start in range(0, n, _BLOCK):
        stop = min(n, start + _BLOCK)
        # The zero of the point itself is among the smallest, so this is the k-th other point.
        out[start:stop] = np.partition(matrix[start:stop], min_samples, axis=1)[:, min_samples]
    return out
