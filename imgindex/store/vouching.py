"""Rows are believed when they are what was stored: each has its checksum in the database.

A checksum is CRC-32. Whoever reads many rows compares all of them first, each once in the life of a
process; so does a search that compares every row, where they are few. In a large library that would
cost more than the search: there a file that nobody has written to since the last writer did is
trusted, as an untouched graph is, until a row of it goes out.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from imgindex.errors import LibraryDamagedError

from .database import portions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from imgindex.records import Rows

    from .database import Database

CHEAP = 20_000  # rows: comparing them takes some hundredths of a second
_NAMED = 3


def checksums(rows: Rows) -> list[int]:
    """CRC-32 of each row, float32 [n, d], as the bytes that the vector file has."""
    return [zlib.crc32(row) for row in _bytes(rows, range(len(rows)))]


def differing(rows: Rows, sums: Sequence[tuple[int, str, int]]) -> list[tuple[int, str]]:
    """Of rows of a file, float32 [n, d], those that are not what was stored.

    Args:
        rows: the file.
        sums: numbers of rows, the pictures that they are of, and their checksums.

    Returns:
        Those that differ or are not there, each with its picture.
    """
    there = [one for one in sums if 0 <= one[0] < len(rows)]
    wrong = [(row, picture) for row, picture, _ in sums if not 0 <= row < len(rows)]
    data = _bytes(rows, [row for row, _, _ in there])
    return wrong + [
        (row, picture)
        for (row, picture, checksum), held in zip(there, data, strict=True)
        if zlib.crc32(held) != checksum
    ]


def _bytes(rows: Rows, some: Iterable[int]) -> Iterator[memoryview]:
    """The bytes of some rows, without an array for each."""
    import numpy as np

    flat = np.ascontiguousarray(rows, "<f4").reshape(-1).view(np.uint8).data
    size = rows.shape[1] * rows.itemsize
    return (flat[row * size : (row + 1) * size] for row in some)


class Vouched:
    """Which rows of a vector file this process has compared with their checksums."""

    def __init__(self, path: Path) -> None:
        """Begin with none."""
        self.path = path
        self._checked: NDArray[np.bool_] | None = None

    def check(self, db: Database, rows: Rows, some: NDArray[np.int64] | None = None) -> None:
        """Compare rows with their checksums, each once in the life of this object.

        Args:
            db: where those are; rows that no picture has are not looked at.
            rows: float32 [n, d], the whole file.
            some: int64 of any shape, which of them; None for all.

        Raises:
            LibraryDamagedError: some are not what was stored.
        """
        import numpy as np

        checked = self._checked
        if checked is None or len(checked) < len(rows):
            grown = np.zeros(len(rows), np.bool_)
            if checked is not None:
                grown[: len(checked)] = checked
            self._checked = checked = grown
        todo = np.flatnonzero(~checked[: len(rows)]) if some is None else np.unique(some)
        if len(todo) and not 0 <= todo[0] <= todo[-1] < len(rows):
            raise db.damaged(f"it names rows beyond its {len(rows)}")
        todo = todo[~checked[todo]]
        if not len(todo):
            return
        query = "SELECT row, id, checksum FROM picture"
        with db.reading() as connection:
            if len(todo) == len(rows):
                found = connection.execute(query).fetchall()
            else:
                found = [
                    one
                    for marks, these in portions(todo.tolist())
                    for one in connection.execute(f"{query} WHERE row IN ({marks})", these)
                ]
        if wrong := differing(rows, found):
            raise self.damaged(wrong)
        checked[todo] = True

    def damaged(self, wrong: list[tuple[int, str]]) -> LibraryDamagedError:
        """The error that names pictures whose rows are not what was stored."""
        named = ", ".join(str(picture) for _, picture in wrong[:_NAMED])
        more = f" and {len(wrong) - _NAMED:,} more" if len(wrong) > _NAMED else ""
        return LibraryDamagedError(
            f"{self.path} is damaged: the numbers of {named}{more} are not those that were stored; "
            "mend it with: imgindex verify --repair"
        )
