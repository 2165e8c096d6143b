"""The command that draws the map."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from imgindex import Library
from imgindex.errors import SettingError

from .options import (  # noqa: TC001 - typer reads the annotations
    JsonOption,
    LibraryOption,
    MegapixelsOption,
)
from .show import SKIPPED, as_json, command, counted, line, note, progress_bar, skipped_lines

EXAMPLES = """\b
Examples:
  imgindex map map.html                        a page to walk about in
  imgindex map map.png --size 4000x3000
"""


@command
def draw(  # noqa: PLR0913 - one parameter an option
    out: Annotated[Path, typer.Argument(metavar="OUT", help=".html or .png file.")],
    *,
    size: Annotated[
        str, typer.Option(metavar="WIDTHxHEIGHT", help="Of a .png file, in pixels.")
    ] = "2400x1800",
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it is a file.")] = False,
    library: LibraryOption = None,
    max_megapixels: MegapixelsOption = None,
    json: JsonOption = False,
) -> None:
    """Draw the library on a map: what is alike lies together, coloured by group.

    The page shows more thumbnails the nearer one comes, finds files and groups by name, and loads
    nothing from anywhere. Exits with 3 when thumbnails could not be made.
    """
    sides = re.fullmatch(r"(\d{1,6})x(\d{1,6})", size.lower())
    if sides is None:
        raise SettingError(f"--size takes WIDTHxHEIGHT, such as 2400x1800, not {size!r}")
    with (
        Library(library, max_megapixels=max_megapixels) as opened,
        progress_bar() as progress,
    ):
        report = opened.map(
            out, size=(int(sides[1]), int(sides[2])), force=force, progress=progress
        )
    if json:
        as_json(report)
    else:
        line(
            f"{report.target}: {counted(report.pictures, 'picture')}, "
            f"{counted(report.groups, 'group')}, {counted(report.thumbnails, 'thumbnail')}"
        )
        skipped_lines(report.skipped)
    if not report.groups:
        note("note: there are no groups to colour; find some with: imgindex cluster")
    if report.skipped:
        raise typer.Exit(SKIPPED)
