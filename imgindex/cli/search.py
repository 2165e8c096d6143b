"""The command that finds what looks like a picture, or like several."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Literal

import typer

from imgindex import Library
from imgindex.errors import SettingError
from imgindex.records import Orientation  # noqa: TC001 - as above

from . import asked, found
from .options import (  # noqa: TC001 - typer reads the annotations
    DeviceOption,
    JsonOption,
    LibraryOption,
    MegapixelsOption,
    ModelOption,
)
from .show import command

EXAMPLES = """\b
Queries:
  imgindex search photo.jpg                    a picture file, or the id of an indexed one
  imgindex search 4f3a21                       its beginning is enough where it is unique
  imgindex search photo.jpg --box 40,30,200,100     a part of it: x,y,width,height in pixels
  imgindex search photo.jpg --box 10%,20%,50%,50%   or in percent
  imgindex search beach.jpg + dog.jpg          like both
  imgindex search beach.jpg - crowd.jpg        like this, and unlike that
  imgindex search 2:beach.jpg + dog.jpg - 0.3:crowd.jpg
  curl ... | imgindex search -                 a picture on standard input
  imgindex search https://... --allow-url
\b
Only some pictures:
  imgindex search photo.jpg --folder ~/Pictures/2024 --match '*.png'
  imgindex search photo.jpg --after 2023-06 --before 2024
  imgindex search photo.jpg --larger 1920x1080 --orientation portrait --format jpeg
  imgindex search photo.jpg --group 3 --group 5
  imgindex search photo.jpg --copies without
\b
Results:
  imgindex search photo.jpg -k 50 --min-score 0.8 --json
  imgindex search photo.jpg -k 20 --offset 20  the next page
  imgindex search photo.jpg --rerank           more of its kind among the first
  imgindex search photo.jpg --diverse          one of each set of copies; see: imgindex duplicates
  imgindex search photo.jpg --paths -0 | xargs -0 open
  imgindex search photo.jpg --html found.html
  ls *.jpg | imgindex search --batch - > found.jsonl
"""


@command
def find(  # noqa: PLR0913 - one parameter an option
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUERY",
            help="A picture file, the id of an indexed picture, or - for a picture on standard "
            "input; or several, with + and - between them and weights before them, as 2:PICTURE.",
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
    offset: Annotated[
        int, typer.Option("--offset", min=0, metavar="N", help="Pass over the N best matches.")
    ] = 0,
    exact: Annotated[bool, typer.Option("--exact", help="Compare every picture.")] = False,
    box: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H",
            help="Look at this part of the one QUERY, in pixels or, with % behind each, percent.",
            show_default=False,
        ),
    ] = None,
    allow_url: Annotated[
        bool, typer.Option("--allow-url", help="Fetch a QUERY that is an http(s) address.")
    ] = False,
    match: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Only files like '*.png' (at any depth), 'trip/**/*.jpg', or 'trip/' for all "
            "below; may be repeated.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR", help="Only files below this folder; may be repeated.", show_default=False
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="Only pictures taken then or later: 2024, 2024-05 or 2024-05-01.",
            show_default=False,
        ),
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Only pictures taken earlier.", show_default=False),
    ] = None,
    larger: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="Only pictures with at least these sides, either way round.",
            show_default=False,
        ),
    ] = None,
    smaller: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="Only pictures with at most these sides, either way round.",
            show_default=False,
        ),
    ] = None,
    orientation: Annotated[
        Orientation | None,
        typer.Option(help="Only pictures that are wide, high, or neither.", show_default=False),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Only files of this format, as JPEG or png; may be repeated.",
            show_default=False,
        ),
    ] = None,
    group: Annotated[
        list[int] | None,
        typer.Option(
            metavar="ID",
            help="Only pictures of this group, -1 for those in none; may be repeated.",
            show_default=False,
        ),
    ] = None,
    copies: Annotated[
        Literal["with", "without"] | None,
        typer.Option(
            help="Only pictures that there are copies of, or that there are none of.",
            show_default=False,
        ),
    ] = None,
    diverse: Annotated[
        bool, typer.Option("--diverse", help="Of copies of one picture only the best match.")
    ] = False,
    rerank: Annotated[
        bool,
        typer.Option(
            "--rerank", help="Put the 200 best in order by the neighbours that they share."
        ),
    ] = False,
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
    """Find what looks like a picture: the query itself first, if it is indexed.

    Filters of different kinds must all hold; values of a repeated one are alternatives. With
    several pictures the score is the cosine to their weighted sum.
    """
    if (not query) == (batch is None):
        raise SettingError("give a picture (or its id) as QUERY, or many with --batch FILE")
    shape = found.Shape.chosen(json=json, csv=csv, paths=paths, null=null)
    if batch is not None and (html or montage or shape is not found.Shape.TABLE):
        raise SettingError(
            "--batch writes JSON Lines: leave --json, --csv, --paths, --html and --montage out"
        )
    if batch is not None and (box or allow_url):
        raise SettingError("--box and --allow-url go with a QUERY, not with --batch")
    terms = asked.terms(query, box, allow_url=allow_url) if query else []
    with Library(library, model=model, device=device, max_megapixels=max_megapixels) as opened:
        where = asked.where(
            opened,
            match=match or (),
            folder=folder or (),
            after=after,
            before=before,
            larger=larger,
            smaller=smaller,
            orientation=orientation,
            formats=formats or (),
            group=group or (),
            copies=copies,
        )
        how = found.How(
            k=k,
            offset=offset,
            min_score=min_score,
            exact=exact,
            where=where,
            rerank=rerank,
            diverse=diverse,
        )
        if batch is not None:
            found.answer_batch(opened, batch, how)
            return
        result = opened.search([asked.load(opened, term) for term in terms], **how)
        found.write_files(opened, result, html=html, montage=montage, force=force)
        if shape is not found.Shape.TABLE or not (html or montage):
            found.show(opened, result, shape, how, thumbnails=thumbnails)
