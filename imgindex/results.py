"""The result of a search as a page or a contact sheet."""

from __future__ import annotations

import os
import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from . import export, pixels

if TYPE_CHECKING:
    from collections.abc import Callable

    from .records import Duplicates, SearchResult

_CARD = 320
_TILE = 200
_LARGEST_ROW = 6


def write_page(
    result: SearchResult,
    target: str | os.PathLike[str],
    *,
    thumbnail: Callable[[str, int], bytes | None],
    force: bool = False,
) -> None:
    """Write the matches as one self-contained page.

    Args:
        result: the matches.
        target: the file to make.
        thumbnail: a path's thumbnail of so many pixels as JPEG, or None if it cannot be read.
        force: replace a file that is there.

    Raises:
        ExportError: the target is taken or cannot be written.
    """
    cards = [
        export.Card(
            thumbnail=thumbnail(match.path, _CARD),
            path=match.path,
            caption=PurePath(match.path).name,
            badge=f"{match.score:.3f}",
            note=f"rank {match.rank}, cosine {match.score:.6f}, id {match.id}",
        )
        for match in result.matches
    ]
    export.write_page(
        target,
        title=_title(result),
        subtitle=f"{result.model} · {result.way} search",
        sections=[export.Section("Matches", "most alike first", cards)],
        force=force,
    )


def write_copies(
    found: Duplicates,
    target: str | os.PathLike[str],
    *,
    thumbnail: Callable[[str, int], bytes | None],
    force: bool = False,
) -> None:
    """Write sets of copies as one self-contained page, the best of each set first.

    Args:
        found: the sets.
        target: the file to make.
        thumbnail: a path's thumbnail of so many pixels as JPEG, or None if it cannot be read.
        force: replace a file that is there.

    Raises:
        ExportError: the target is taken or cannot be written.
    """
    sections = [
        export.Section(
            f"Set {number}",
            f"best is {one.why}",
            [
                export.Card(
                    thumbnail=thumbnail(copy.path, _CARD),
                    path=copy.path,
                    caption=PurePath(copy.path).name,
                    badge="best" if copy is one.files[0] else f"{copy.kind} {copy.score:.3f}",
                    note=f"{copy.kind}, {copy.score:.6f}, id {copy.id}",
                )
                for copy in one.files
            ],
        )
        for number, one in enumerate(found.sets, start=1)
    ]
    files = sum(len(one.files) for one in found.sets)
    export.write_page(
        target,
        title="Copies",
        subtitle=f"{len(found.sets):,} sets of {files:,} files",
        sections=sections,
        force=force,
    )


def write_montage(
    result: SearchResult,
    target: str | os.PathLike[str],
    *,
    thumbnail: Callable[[str, int], bytes | None],
    force: bool = False,
) -> None:
    """Draw the matches as a contact sheet, a PNG file.

    Args:
        result: the matches.
        target: the file to make.
        thumbnail: a path's thumbnail of so many pixels as JPEG, or None if it cannot be read.
        force: replace a file that is there.

    Raises:
        ExportError: the target is taken or cannot be written.
    """
    tiles = [
        (jpeg, f"{match.score:.3f} {PurePath(match.path).name}")
        for match in result.matches
        if (jpeg := thumbnail(match.path, 2 * _TILE)) is not None
    ]
    columns = min(_LARGEST_ROW, max(1, round(len(tiles) ** 0.5)))
    sheet = pixels.montage(tiles, columns, _TILE, _title(result))
    export.write_bytes(target, sheet, force=force)


def _title(result: SearchResult) -> str:
    """What was searched for; of files the names will do."""
    if os.path.lexists(result.query):
        return f"Like {PurePath(result.query).name}"
    if "://" in result.query:
        return f"Like {result.query}"
    return "Like " + re.sub(r"[^\s:]*/", "", result.query)
