"""The vector file of a library: float32 rows, appended and never changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgindex.errors import LibraryDamagedError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from imgindex.records import Rows

_BYTES = 4


class VectorFile:
    """Rows of d numbers; row i begins at byte 4 * i * d, little-endian."""

    def __init__(self, path: Path, dimension: int) -> None:
        """Name the file; it comes into being with its first row."""
        self.path = path
        self.dimension = dimension
        self._map: Rows | None = None

    def append(self, rows: Rows, first: int) -> None:
        """Write rows from row ``first`` on and wait until the disk has them.

        Raises:
            StoreError: the disk is full, or the file cannot be written.
        """
        try:
            new = not self.path.exists()
            with self.path.open("w+b" if new else "r+b") as file:
                file.seek(first * self.dimension * _BYTES)
                file.write(rows.astype("<f4", copy=False).tobytes())
                file.flush()
                os.fsync(file.fileno())
            if new:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from error

    def cut(self, count: int) -> None:
        """Drop rows beyond the first ``count``, which a killed run left without a name.

        Raises:
            LibraryDamagedError: there are fewer.
            StoreError: the file cannot be written.
        """
        named = count * self.dimension * _BYTES
        try:
            held = self.path.stat().st_size if self.path.exists() else 0
            if held > named:
                os.truncate(self.path, named)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from error
        if held < named:
            raise LibraryDamagedError(self._short(held, named))

    def rows(self, count: int) -> Rows:
        """Map the first ``count`` rows, float32 [count, d], read-only.

        Raises:
            LibraryDamagedError: there are fewer.
        """
        import numpy as np

        if count == 0:
            return np.empty((0, self.dimension), np.float32)
        mapped = self._map  # another thread may map more of the file meanwhile
        if mapped is None or len(mapped) != count:
            try:
                held = self.path.stat().st_size if self.path.exists() else 0
                if held < count * self.dimension * _BYTES:
                    raise LibraryDamagedError(self._short(held, count * self.dimension * _BYTES))
                mapped = np.memmap(self.path, "<f4", mode="r", shape=(count, self.dimension))
            except OSError as error:
                raise StoreError(f"cannot read {self.path}: {error.strerror}") from error
            self._map = mapped
        return mapped

    def _short(self, held: int, named: int) -> str:
        return (
            f"{self.path} has {held} bytes, but the library names {named}; "
            "restore it from a backup, or index into a new --library"
        )


def _sync_folder(folder: Path) -> None:
    """Make a new file's name last as well; Windows cannot open folders, and need not."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
