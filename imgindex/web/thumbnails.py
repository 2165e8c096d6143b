"""Small forms of pictures, kept on disk within a bound.

A thumbnail is named by the content of its picture, so it never goes out of date.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Callable

Size = Literal["small", "medium", "large"]
SIDES: dict[Size, int] = {"small": 160, "medium": 400, "large": 1600}
"""Longer sides in pixels."""

_BLOCK = 4096  # what a small file takes on disk


class Thumbnails:
    """A folder of JPEG files; those asked for longest ago go first when it is full."""

    def __init__(self, folder: Path | None, most: int) -> None:
        """Look at what is there.

        Args:
            folder: made when it is needed; None keeps nothing.
            most: bytes that it may hold.
        """
        self._folder = folder
        self._most = most
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._bytes = 0
        if folder is not None:
            for _, name, size in sorted(_found(folder)):
                self._sizes[name] = size
                self._bytes += size

    @property
    def held(self) -> int:
        """Bytes on disk."""
        return self._bytes

    def get(self, picture_id: str, size: Size, make: Callable[[], bytes]) -> bytes:
        """A thumbnail, made if it is not there.

        Args:
            picture_id: whose; 32 hex digits, checked by the caller.
            size: which.
            make: gives its bytes.
        """
        if self._folder is None:
            return make()
        name = f"{picture_id}-{size}.jpg"
        path = self._folder / picture_id[:2] / name
        with suppress(OSError):
            data = path.read_bytes()
            if data.endswith(b"\xff\xd9"):  # whole, whatever the disk did
                with self._lock:
                    if name in self._sizes:
                        self._sizes.move_to_end(name)
                return data
        data = make()
        with suppress(OSError):  # a full disk costs time, not answers
            _write(path, data)
            self._count(name, len(data))
        return data

    def forget(self, picture_id: str) -> None:
        """Drop the thumbnails of a picture that leaves the library."""
        for size in SIDES:
            self._drop(f"{picture_id}-{size}.jpg")

    def _drop(self, name: str) -> None:
        with self._lock:
            self._bytes -= self._sizes.pop(name, 0)
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / name[:2] / name).unlink()

    def _count(self, name: str, size: int) -> None:
        room = -(-size // _BLOCK) * _BLOCK
        with self._lock:
            self._bytes += room - self._sizes.pop(name, 0)
            self._sizes[name] = room
            over, old = self._bytes - self._most, list[str]()
            for other, freed in self._sizes.items():
                if over <= 0 or other == name:
                    break
                old.append(other)
                over -= freed
        for other in old:
            self._drop(other)


def _found(folder: Path) -> list[tuple[float, str, int]]:
    """Thumbnails in a folder: when each was made, its name, and the room that it takes."""
    found = []
    endings = tuple(f"-{size}.jpg" for size in get_args(Size))
    for part in folder.glob("[0-9a-f][0-9a-f]"):
        with suppress(OSError), os.scandir(part) as entries:
            for entry in entries:
                if entry.name.endswith(endings):
                    told = entry.stat()
                    room = -(-told.st_size // _BLOCK) * _BLOCK
                    found.append((told.st_mtime, entry.name, room))
                else:
                    Path(entry.path).unlink()  # what a kill left half written
    return found


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.replace(file.name, path)  # noqa: PTH105 - the name is text
        except OSError:
            Path(file.name).unlink()
            raise
