"""The layout of hnswlib's graph files, private to its version 0.8.0, and whether a file is sound.

hnswlib follows every number in a file without a look: one that points outside makes it read and
write foreign memory. A library may come from somebody else, with a checksum that fits; so before a
graph is loaded, every number in it that is followed is checked.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_LINES = 65_536

# offset of level 0, room, points, bytes a point, offset of the label, offset of the vector,
# highest level, entry point, links a point above level 0 / on it / wanted, factor, ef
_HEAD = struct.Struct("<6QiI3QdQ")


def sound(path: Path, rows: int, dimension: int, m: int) -> bool:
    """Whether a graph file holds so many rows, and no number in it leads outside.

    Args:
        path: the file.
        rows: how many points it must have; their labels are these rows, each once.
        dimension: length of a row.
        m: links a point above level 0; twice that on it.

    Raises:
        OSError: the file cannot be read.
    """
    import numpy as np

    points = _points(path, rows, m, 4 * dimension)
    if points is None:
        return False
    records, top, entry = points
    labels = _labels(records)
    if labels.max() >= rows or len(np.unique(labels)) != rows:
        return False
    for words in _lines(records, m):
        # The third byte marks deleted points, which we never have.
        if (words[:, 0] > 2 * m).any() or not _lead_inside(words, rows):
            return False
    levels = _levels(path, rows, m, _HEAD.size + records.size)
    return levels is not None and levels[entry] == top == levels.max()


def links(path: Path, rows: int, m: int) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint64]]]:
    """Links of the lowest level of a saved graph, by label, in blocks; none of another file."""
    import numpy as np

    points = _points(path, rows, m)
    if points is None:
        return
    labels = _labels(points[0])
    if labels.max() >= rows:
        return
    for at, words in enumerate(_lines(points[0], m)):
        used = np.arange(2 * m) < (words[:, 0] & 0xFFFF)[:, None]
        ends = words[:, 1:][used]
        if ends.max(initial=0) >= rows:
            return
        first = np.repeat(labels[at * _LINES : (at + 1) * _LINES], used.sum(axis=1))
        yield first, labels[ends]


def _points(
    path: Path, rows: int, m: int, vector: int | None = None
) -> tuple[NDArray[np.uint8], int, int] | None:
    """The records of all points [rows, bytes], the highest level and where a search enters.

    None, if the file is not of so many points with so many links and bytes of numbers.
    """
    import numpy as np

    with path.open("rb") as file:
        head = file.read(_HEAD.size)
    if len(head) < _HEAD.size or rows < 1:
        return None
    level0, room, points, stride, label, start, top, entry, *most, _, _ = _HEAD.unpack(head)
    here = (level0, points, label, start, *most)
    if here != (0, rows, stride - 8, 4 + 8 * m, m, 2 * m, m) or room < rows or stride < start + 8:
        return None
    if vector is not None and stride != start + vector + 8:
        return None
    if path.stat().st_size < _HEAD.size + rows * stride or entry >= rows:
        return None
    return np.memmap(path, np.uint8, "r", _HEAD.size, (rows, stride)), top, entry


def _labels(records: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The row of each point: its number inside is another where several threads added points."""
    import numpy as np

    return np.ascontiguousarray(records[:, -8:]).view("<u8")[:, 0]


def _lines(records: NDArray[np.uint8], m: int) -> Iterator[NDArray[np.uint32]]:
    """How many links each point has on level 0, and behind that, where they lead; in blocks."""
    import numpy as np

    for start in range(0, len(records), _LINES):
        yield np.ascontiguousarray(records[start : start + _LINES, : 4 + 8 * m]).view("<u4")


def _lead_inside(lists: NDArray[np.uint32], limit: int) -> bool:
    import numpy as np

    used = np.arange(lists.shape[1] - 1) < lists[:, :1]
    return bool((lists[:, 1:][used] < limit).all())


def _levels(path: Path, rows: int, m: int, behind: int) -> NDArray[np.int64] | None:
    """The highest level of each point; None if a list above level 0 leads where it must not.

    Behind the records comes the size of each point's lists in bytes and, where it has any, they:
    one a level, of a number and room for m links.
    """
    import numpy as np

    size = path.stat().st_size - behind
    if size < 4 * rows or size % 4:
        return None
    words = np.memmap(path, "<u4", "r", behind, (size // 4,))
    filled = np.flatnonzero(words).tolist()  # most points have no lists
    levels = np.zeros(rows, np.int64)
    starts = list[int]()  # of each list, and its level
    heights = list[int]()
    at = point = 0
    while (next_ := bisect_left(filled, at)) < len(filled):
        point += filled[next_] - at
        at = filled[next_]
        each, rest = divmod(int(words[at]), 4 * (m + 1))
        if rest or point >= rows or at + 1 + each * (m + 1) > len(words):
            return None
        levels[point] = each
        starts += range(at + 1, at + 1 + each * (m + 1), m + 1)
        heights += range(1, each + 1)
        at += 1 + each * (m + 1)
        point += 1
    if rows - point != len(words) - at:
        return None
    if starts:
        lists = words[np.asarray(starts)[:, None] + np.arange(m + 1)]
        used = np.arange(m) < lists[:, :1]
        ends = lists[:, 1:]
        if (lists[:, 0] > m).any() or not _lead_inside(lists, rows):
            return None
        # Where a list of a level leads, there must be one of that level, too.
        high = levels[np.where(used, ends, 0)] >= np.asarray(heights)[:, None]
        if not high[used].all():
            return None
    return levels
