"""The vector file of a library: float32 rows, appended and never changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgindex.errors import LibraryDamagedError, StoreError

from .disk import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from imgindex.records import Rows

_BYTES = 4
NAME = "vectors.f32"


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
                sync_folder(self.path.parent)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from error

    def write(self, blocks: Iterable[Rows], progress: Callable[[int], None]) -> None:
        """Make the file out of blocks of rows, and wait until the disk has it.

        Raises:
            StoreError: the disk is full, or the file cannot be written.
        """
        done = 0
        try:
            with self.path.open("xb") as file:
                for block in blocks:
                    file.write(block.astype("<f4", copy=False).tobytes())
                    done += len(block)
                    progress(done)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self.path.parent)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from error

    def put(self, rows: Rows, numbers: Iterable[int]) -> None:
        """Write rows in the place of damaged ones, or of those that the file lost.

        Raises:
            StoreError: the disk is full, or the file cannot be written.
        """
        try:
            with self.path.open("r+b" if self.path.exists() else "w+b") as file:
                for row, number in zip(rows.astype("<f4", copy=False), numbers, strict=True):
                    file.seek(number * self.dimension * _BYTES)
                    file.write(row.tobytes())
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self.path.parent)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from error

    def written(self) -> int:
        """When the file was written to last, in nanoseconds; 0 if there is none."""
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return 0

    def held(self) -> int:
        """How many whole rows there are in the file."""
        try:
            return self.path.stat().st_size // (self.dimension * _BYTES)
        except OSError:
            return 0

    def problems(self, count: int) -> list[str]:
        """What is wrong with the file's size, if it shall have so many rows; more are lawful."""
        size = self.path.stat().st_size if self.path.exists() else 0
        named = count * self.dimension * _BYTES
        return [self._short(size, named)] if size < named else []

    def cut(self, count: int) -> bool:
        """Drop rows beyond the first ``count``, which a killed run left without a name.

        Returns:
            Whether there were any.

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
        return held > named

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
            "mend it with: imgindex verify --repair"
        )
