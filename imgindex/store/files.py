"""The files in the tables of a library: what is known of each path."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from imgindex.errors import StoreError
from imgindex.records import IndexedFile

from .base import check_file

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

_LATEST = 2**63 - 1  # nanoseconds; a file may claim to be from after the year 2262
_SELECT = (
    "SELECT path, size, mtime_ns, picture.id, reason, missing "
    "FROM file LEFT JOIN picture ON picture = row"
)


def put(db: sqlite3.Connection, files: Iterable[IndexedFile]) -> None:
    """Put files under their paths; inside a transaction of the caller's.

    Raises:
        StoreError: a picture is not here, or a file has neither a picture nor a reason.
    """
    for file in files:
        check_file(file)
        row = None
        if file.id is not None:
            found = db.execute("SELECT row FROM picture WHERE id = ?", (file.id,)).fetchone()
            if found is None:
                raise StoreError(f"{file.path}: there is no picture {file.id}")
            row = found[0]
        db.execute(
            "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?)",
            (
                os.fsencode(file.path),
                file.size,
                min(file.mtime_ns, _LATEST),
                row,
                file.reason,
                file.missing,
            ),
        )


def load(db: sqlite3.Connection, roots: Sequence[str] | None) -> list[IndexedFile]:
    """Every file known, by path; only the roots and what lies below them, unless None."""
    found = []
    if roots is None:
        found = db.execute(_SELECT + " ORDER BY path").fetchall()
    else:
        for root in roots:
            # Everything below a folder lies between "folder/" and "folder0".
            low = os.fsencode(root.rstrip(os.sep) + os.sep)
            high = low[:-1] + bytes([low[-1] + 1])
            found += db.execute(f"{_SELECT} WHERE path = ?", (os.fsencode(root),))
            found += db.execute(
                f"{_SELECT} WHERE path >= ? AND path < ? ORDER BY path", (low, high)
            )
        if len(roots) > 1:
            found = sorted(set(found))
    coding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    return [
        IndexedFile._make((path.decode(coding, errors), size, mtime_ns, name, reason, missing != 0))
        for path, size, mtime_ns, name, reason, missing in found
    ]
