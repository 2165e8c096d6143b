"""Pictures and files as the server keeps them, and what a filter says of them as conditions."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from typing import TYPE_CHECKING

from imgindex.records import IndexedFile, Picture

from .server import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

    from imgindex.records import Where

    from .server import Entity

PICTURE = {
    "width": int,
    "height": int,
    "shape": int,  # 1 for landscape, 0 for square, -1 for portrait
    "format": str,
    "kind": str,  # the format in capitals
    "taken": str,  # empty where it is not known
    "sketch": str,
    "present": bool,  # a file of it is
}
FILE = {
    "path": str,
    "size": int,
    "mtime": int,
    "picture": str,  # empty where it could not be read
    "reason": str,
    "missing": bool,
}

PRESENT = 'picture != "" and missing == false'
_FACTS = ("width", "height", "format", "taken")
FACTS: Sequence[str] = ("id", *_FACTS)
"""What ``picture_of`` needs; with ``sketch`` it reads that, too."""

_SHAPES = {"landscape": 1, "square": 0, "portrait": -1}
_ESCAPED = re.compile(rb"\\(\\|x[0-9a-f]{2})")


def spelled(path: str) -> str:
    r"""A path as text that is UTF-8, whatever its bytes: those that are not become ``\\xff``."""
    return os.fsencode(path).replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def unspelled(text: str) -> str:
    """The path again."""

    def plain(found: re.Match[bytes]) -> bytes:
        return b"\\" if found[1] == b"\\" else bytes([int(found[1][1:], 16)])

    return os.fsdecode(_ESCAPED.sub(plain, text.encode()))


def key_of(path: str) -> str:
    """The key of a file."""
    return hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()


def picture_entity(picture: Picture, row: np.ndarray, *, present: bool) -> Entity:
    """A picture with its row, float32 [d]."""
    return {
        "id": picture.id,
        "row": row,
        "width": picture.width,
        "height": picture.height,
        "shape": (picture.width > picture.height) - (picture.width < picture.height),
        "format": picture.format,
        "kind": picture.format.upper(),
        "taken": picture.taken or "",
        "sketch": base64.b64encode(picture.sketch).decode(),
        "present": present,
    }


def picture_of(entity: Entity) -> Picture:
    """The picture again."""
    return Picture(
        entity["id"],
        entity["width"],
        entity["height"],
        entity["format"],
        entity["taken"] or None,
        base64.b64decode(entity.get("sketch", "")),
    )


def file_entity(file: IndexedFile) -> Entity:
    """A file."""
    return {
        "id": key_of(file.path),
        "row": [1.0, 0.0],
        "path": spelled(file.path),
        "size": file.size,
        "mtime": file.mtime_ns,
        "picture": file.id or "",
        "reason": "" if file.reason is None else spelled(file.reason),
        "missing": file.missing,
    }


def file_of(entity: Entity) -> IndexedFile:
    """The file again."""
    return IndexedFile(
        unspelled(entity["path"]),
        entity["size"],
        entity["mtime"],
        entity["picture"] or None,
        None if entity["picture"] else unspelled(entity["reason"]),
        entity["missing"],
    )


def of_pictures(where: Where | None) -> str:
    """What a filter says of pictures, but for their ids; empty for nothing."""
    if where is None:
        return ""
    parts = []
    if where.formats:
        parts.append(f"kind in {quoted(where.formats)}")
    if where.after is not None:
        parts.append(f"taken >= {quoted(where.after)}")
    if where.before is not None:
        parts.append(f'taken < {quoted(where.before)} and taken != ""')
    for sides, sign in ((where.larger, ">="), (where.smaller, "<=")):
        if sides is not None:
            long, short = max(sides), min(sides)
            ways = [
                f"({one} {sign} {long} and {other} {sign} {short})"
                for one, other in (("width", "height"), ("height", "width"))
            ]
            parts.append(f"({' or '.join(ways)})")
    if where.orientation is not None:
        parts.append(f"shape == {_SHAPES[where.orientation]}")
    return " and ".join(parts)


def below(folders: Iterable[str]) -> str:
    """The condition that a file is one of the folders or lies below one; empty for no folders."""
    parts = []
    for folder in folders:
        low = spelled(folder.rstrip(os.sep) + os.sep)
        high = low[:-1] + chr(ord(low[-1]) + 1)
        parts.append(
            f"path == {quoted(spelled(folder))} "
            f"or (path >= {quoted(low)} and path < {quoted(high)})"
        )
    return " or ".join(parts)
