"""What a library made by somebody else must not bring along: files that are none of its own."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from imgindex.errors import LibraryFormatError

if TYPE_CHECKING:
    from pathlib import Path

_OURS = ("library.sqlite", "vectors", "graph.", "lock")


def refuse_links(folder: Path) -> None:
    """Refuse a library whose files are links or anything but files.

    Its files are written, cut and replaced: what a link leads to would be, too. A pipe would be
    waited at for ever. The folder itself may be a link, and lie anywhere.

    Raises:
        LibraryFormatError: one of them is.
        OSError: the folder cannot be read.
    """
    with os.scandir(folder) as listing:
        for entry in listing:
            try:
                mode = entry.stat(follow_symlinks=False).st_mode
            except FileNotFoundError:  # a temporary file of the writer
                continue
            if entry.name.startswith(_OURS) and not stat.S_ISREG(mode):
                raise LibraryFormatError(
                    f"cannot open a library with {entry.path}: that is a link or no file at all, "
                    "which imgindex never makes and whoever made it may mean to do harm with; put "
                    "the file itself there (the folder as a whole may be a link)"
                )
