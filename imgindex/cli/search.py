"""The command that finds what looks like a picture."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from imgindex import Library
from imgindex.errors import SettingError

from . import found
from .options import (  # noqa: TC001 - typer reads the annotations
    DeviceOption,
    JsonOption,
    LibraryOption,
    MegapixelsOption,
    ModelOption,
)
from .show import command

EXAMPLES = """\b
Examples:
  imgindex search photo.jpg
  imgindex search photo.jpg -k 50 --min-score 0.8 --json
  imgindex search photo.jpg --paths -0 | xargs -0 open
  imgindex search photo.jpg --html found.html
  ls *.jpg | imgindex search --batch - > found.jsonl
"""


@command
def find(  # noqa: PLR0913 - one parameter an option
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="QUERY",
            help="A picture file, or the id of an indexed picture.",
            show_default=False,
        ),
    ] = None,
    *,
    k: Annotated[int, typer.Option("-k", min=1, help="How many matches at most.")] = 20,
    min_score: Annotated[
        float | None,
        typer.Option(
            min=-1, max=1, help="Leave out matches with a lower cosine.", show_default=False
        ),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare every picture.")] = False,
    json: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="Write the matches as CSV.")] = False,
    paths: Annotated[bool, typer.Option("--paths", help="Write paths only, one a line.")] = False,
    null: Annotated[
        bool, typer.Option("-0", help="With --paths: end each with NUL, for xargs -0.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page.", show_default=False)
    ] = None,
    montage: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw a contact sheet.", show_default=False),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file of --html or --montage.")
    ] = False,
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Answer the queries in this file (- for standard input), one a line, "
            "as JSON Lines.",
            show_default=False,
        ),
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option(help="Show thumbnails in a terminal that can.")
    ] = True,
    library: LibraryOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    max_megapixels: MegapixelsOption = None,
) -> None:
    """Find what looks like a picture: the query itself first, if it is indexed."""
    if (query is None) == (batch is None):
        raise SettingError("give one picture (or its id) as QUERY, or many with --batch FILE")
    shape = found.Shape.chosen(json=json, csv=csv, paths=paths, null=null)
    if batch is not None and (html or montage or shape is not found.Shape.TABLE):
        raise SettingError(
            "--batch writes JSON Lines: leave --json, --csv, --paths, --html and --montage out"
        )
    with Library(library, model=model, device=device, max_megapixels=max_megapixels) as opened:
        if batch is not None:
            found.answer_batch(opened, batch, k, min_score, exact=exact)
            return
        result = opened.search(str(query), k, min_score=min_score, exact=exact)
        found.write_files(opened, result, html=html, montage=montage, force=force)
        if shape is not found.Shape.TABLE or not (html or montage):
            found.show(opened, result, shape, thumbnails=thumbnails)
