"""The nearest others of every point: what an index proposes, measured exactly and put in order.

The distance is Euclidean on unit rows; it orders pairs as the angle and the cosine do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .compiled import compiled, in_slices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The k nearest others of n points.

    Attributes:
        lists: int32 [n, k], by rising distance, equal distances by number.
        distances: float32 [n, k].
    """

    lists: NDArray[np.int32]
    distances: NDArray[np.float32]

    def core_distances(self, min_samples: int) -> NDArray[np.float32]:
        """Distance of each point to its min_samples-th other point, float32 [n].

        The point itself does not count, as in the hdbscan package; scikit-learn counts it.
        """
        return np.ascontiguousarray(self.distances[:, min_samples - 1])


def measure(rows: Rows, proposed: NDArray[np.int64], k: int) -> Neighbours:
    """Measure what an index proposes, and keep the nearest k of each point.

    Args:
        rows: float32 [n, d], unit length.
        proposed: int64 [n, m]; the point itself and -1 are passed over, and at least k others are
            left in every line.
        k: how many to keep.
    """
    lists = np.empty((len(rows), k), np.int32)
    distances = np.empty((len(rows), k), np.float32)
    in_slices(
        lambda start, stop: _measure(rows, proposed, lists, distances, start, stop), len(rows)
    )
    return Neighbours(lists, distances)


@compiled
def _measure(  # noqa: PLR0913, PLR0917 - a compiled loop takes plain arrays
    rows: Rows,
    proposed: NDArray[np.int64],
    lists: NDArray[np.int32],
    distances: NDArray[np.float32],
    start: int,
    stop: int,
) -> None:
    k = lists.shape[1]
    for point in range(start, stop):
        held = 0
        for place in range(proposed.shape[1]):
            other = proposed[point, place]
            if other in (-1, point):
                continue
            total = np.float32(0)
            for at in range(rows.shape[1]):
                step = rows[point, at] - rows[other, at]
                total += step * step
            distance = np.sqrt(total)
            # Insertion into the sorted beginning of the line.
            if held < k:
                slot = held
                held += 1
            elif distance < distances[point, k - 1] or (
                distance == distances[point, k - 1] and other < lists[point, k - 1]
            ):
                slot = k - 1
            else:
                continue
            while slot > 0 and (
                distances[point, slot - 1] > distance
                or (distances[point, slot - 1] == distance and lists[point, slot - 1] > other)
            ):
                distances[point, slot] = distances[point, slot - 1]
                lists[point, slot] = lists[point, slot - 1]
                slot -= 1
            distances[point, slot] = distance
            lists[point, slot] = other


@compiled
def apart(
    rows: Rows, first: NDArray[np.int32], second: NDArray[np.int32], out: NDArray[np.float32]
) -> None:
    """Write the distance of each pair, float32 [m]; ``first`` and ``second`` are int32 [m]."""
    for pair in range(len(first)):
        total = np.float32(0)
        for at in range(rows.shape[1]):
            step = rows[first[pair], at] - rows[second[pair], at]
            total += step * step
        out[pair] = np.sqrt(total)
