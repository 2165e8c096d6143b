"""The result of a search, in the shapes that ``imgindex search`` offers."""

from __future__ import annotations

import os
import sys
from enum import Enum
from typing import TYPE_CHECKING, TypedDict

from imgindex.errors import QueryError, SettingError

from .show import as_csv, as_json, line, note, visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console, RenderableType

    from imgindex import Library
    from imgindex.records import SearchResult, Where

_THUMBNAIL_CELLS = 12
_THUMBNAIL_PIXELS = 192
_CHUNK = 65_536


class How(TypedDict):
    """The settings of a search, as ``Library.search`` takes them."""

    k: int
    offset: int
    min_score: float | None
    exact: bool
    where: Where | None
    rerank: bool
    diverse: bool


def answer_batch(library: Library, source: str, how: How) -> None:
    """Answer the queries of a file, or of standard input, in order, as JSON Lines."""
    for result in library.search_many(_queries(source), **how):
        as_json(result, compact=True)
        sys.stdout.flush()


def _queries(source: str) -> Iterator[str]:
    try:
        if source == "-":
            yield from _lines(sys.stdin.fileno())
            return
        with open(os.path.expanduser(source), "rb") as file:  # noqa: PTH111, PTH123 - Path's raises for unknown users
            yield from _lines(file.fileno())
    except (OSError, ValueError) as error:
        raise QueryError(f"cannot read the queries in {source}: {error}") from error


def _lines(handle: int) -> Iterator[str]:
    """The lines of an open file as they come, empty ones left out.

    Not through a buffered file: whoever still waits in one when the program ends, brings it down.
    """
    rest = b""
    while chunk := os.read(handle, _CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (os.fsdecode(query) for one in lines if (query := one.rstrip(b"\r")))
    if query := rest.rstrip(b"\r"):
        yield os.fsdecode(query)


class Shape(Enum):
    """How the matches are written."""

    TABLE = "table"
    JSON = "--json"
    CSV = "--csv"
    PATHS = "--paths"
    PATHS_NUL = "--paths -0"

    @classmethod
    def chosen(cls, *, json: bool, csv: bool, paths: bool, null: bool) -> Shape:
        """The one shape that was asked for.

        Raises:
            SettingError: several were, or ``-0`` without ``--paths``.
        """
        if null and not paths:
            raise SettingError("-0 goes with --paths")
        asked = [
            shape
            for shape, wanted in (
                (cls.JSON, json),
                (cls.CSV, csv),
                (cls.PATHS, paths and not null),
                (cls.PATHS_NUL, null),
            )
            if wanted
        ]
        if len(asked) > 1:
            raise SettingError(f"choose one of {' and '.join(one.value for one in asked)}")
        return asked[0] if asked else cls.TABLE


def write_files(
    library: Library,
    result: SearchResult,
    *,
    html: Path | None,
    montage: Path | None,
    force: bool,
) -> None:
    """Write the page and the contact sheet that were asked for, and say where they are."""
    for target, save in ((html, library.save_page), (montage, library.save_montage)):
        if target is not None:
            save(result, target, force=force)
            note(f"wrote {target}")


def show(
    library: Library, result: SearchResult, shape: Shape, how: How, *, thumbnails: bool
) -> None:
    """Write the matches to standard output."""
    if shape is Shape.JSON:
        as_json(result)
    elif shape is Shape.CSV:
        as_csv(
            ("rank", "path", "id", "score"),
            [(match.rank, match.path, match.id, f"{match.score:.6f}") for match in result.matches],
        )
    elif shape is Shape.TABLE:
        _table(library, result, how, thumbnails=thumbnails)
    else:
        for match in result.matches:
            line(match.path, "\n" if shape is Shape.PATHS else "\0")


def _table(library: Library, result: SearchResult, how: How, *, thumbnails: bool) -> None:
    """For a person: a table, with thumbnails where the terminal can show them."""
    if not result.matches:
        reasons = [
            *(["the list ends before --offset"] if how["offset"] else []),
            *(["no picture passes the filters"] if how["where"] else []),
            *(["no match is above --min-score"] if how["min_score"] is not None else []),
            "no file is at its place any more",
        ]
        note(f"nothing found: {', or '.join(reasons)}")
        return
    if sys.stdout.isatty():
        _draw_table(library, result, thumbnails=thumbnails)
    else:
        for match in result.matches:
            line(f"{match.rank:>4}  {match.score:.4f}  {match.path}")
    if len(result.matches) == how["k"]:
        sys.stdout.flush()
        note(f"for the next {how['k']} add: --offset {how['offset'] + how['k']}")


def _draw_table(library: Library, result: SearchResult, *, thumbnails: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    drawn = thumbnails and console.color_system in {"256", "truecolor"}
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", justify="right", style="dim")
    table.add_column("score", justify="right")
    if drawn:
        table.add_column("")
    table.add_column("path", overflow="fold")
    for match in result.matches:
        cells: list[RenderableType] = [str(match.rank), f"{match.score:.4f}"]
        if drawn:
            cells.append(_drawn(library, match.path, console))
        cells.append(Text(visible(match.path).encode("utf-8", "replace").decode()))
        table.add_row(*cells)
    console.print(table)


def _drawn(library: Library, path: str, console: Console) -> RenderableType:
    import io

    from textual_image.renderable import Image

    jpeg = library.thumbnail(path, _THUMBNAIL_PIXELS)
    if jpeg is None:
        return "?"
    width = min(_THUMBNAIL_CELLS, max(4, console.width // 6))
    return Image(io.BytesIO(jpeg), width=width, height="auto")
