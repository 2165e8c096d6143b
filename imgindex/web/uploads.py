"""Pictures that clients send: some are kept in memory to be asked with, some on disk to stay."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from .problems import Problem

if TYPE_CHECKING:
    from imgindex.records import Picture, Rows

_BYTES = 256_000_000
_ROWS = 4096
_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "PPM": ".ppm", "DIB": ".bmp"}


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture that is kept in memory for a while: what it is, and the bytes of its file."""

    picture: Picture
    data: bytes


class Uploads:
    """Pictures to ask with; those asked for longest ago go first when there are too many."""

    def __init__(self, most: int = _BYTES) -> None:
        """Keep none yet.

        Args:
            most: bytes to keep.
        """
        self._most = most
        self._kept: OrderedDict[str, Upload] = OrderedDict()
        self._bytes = 0
        self._rows: OrderedDict[tuple[str, str], Rows] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, upload: Upload) -> None:
        """Keep a picture, at the cost of old ones."""
        with self._lock:
            old = self._kept.pop(upload.picture.id, None)
            self._bytes += len(upload.data) - (len(old.data) if old else 0)
            self._kept[upload.picture.id] = upload
            while self._bytes > self._most and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1].data)

    def get(self, upload_id: str) -> Upload:
        """A picture that is still kept.

        Raises:
            Problem: it is not.
        """
        with self._lock:
            if upload_id not in self._kept:
                raise Problem(
                    404,
                    "no-such-upload",
                    "No such upload",
                    f"the upload {upload_id} is not kept any more; send the picture again",
                )
            self._kept.move_to_end(upload_id)
            return self._kept[upload_id]

    def row(self, upload_id: str, box: str) -> Rows | None:
        """The row of an upload's part, if it was embedded before: pages ask for it again."""
        with self._lock:
            return self._rows.get((upload_id, box))

    def remember(self, upload_id: str, box: str, row: Rows) -> None:
        """Keep the row of a part of an upload, if that is kept itself."""
        with self._lock:
            if upload_id not in self._kept:
                return
            self._rows[upload_id, box] = row
            while len(self._rows) > _ROWS:
                self._rows.popitem(last=False)


def store(folder: Path, picture: Picture, data: bytes) -> tuple[Path, bool]:
    """Put a picture's file into a folder, under a name made from its content.

    Args:
        folder: where; made if it is not there.
        picture: what the bytes are.
        data: the file; it is on the disk when this returns.

    Returns:
        The file, and whether it is new.
    """
    suffix = _SUFFIXES.get(picture.format, f".{picture.format.lower()}")
    path = folder / picture.id[:2] / f"{picture.id}{suffix}"
    if path.exists():
        return path, False
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)  # noqa: PTH105 - the name is text
        except OSError:
            with suppress(OSError):
                Path(file.name).unlink()
            raise
    if hasattr(os, "O_DIRECTORY"):  # the name, too, where a folder can be synced
        for parent in (path.parent, folder):
            opened = os.open(parent, os.O_RDONLY)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)
    return path, True
