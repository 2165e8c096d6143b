"""The command that indexes pictures."""

from __future__ import annotations

from typing import Annotated

import typer

from imgindex import Library
from imgindex.records import AddReport, Choice

from .options import (
    ISOLATE,
    AddressOption,
    DeviceOption,
    EngineOption,
    ExcludeOption,
    HiddenOption,
    IncludeOption,
    IsolateOption,
    JsonOption,
    LibraryOption,
    MegapixelsOption,
    ModelOption,
    PruneOption,
)
from .show import (
    SKIPPED,
    as_json,
    command,
    counted,
    duration,
    line,
    note,
    progress_bar,
    skipped_lines,
)

EXAMPLES = """\b
Examples:
  imgindex index ~/Pictures
  imgindex index ~/Pictures /mnt/archive --prune
  imgindex index catalogue/ --library catalogue.imgindex --json
  imgindex index ~/Pictures --exclude 'thumbs/' --exclude '*.gif'
  imgindex index ~/Pictures --include '2024/' --include 'best*.jpg'
  imgindex index s3://bucket/photos 'zip://::archive.zip'
  imgindex index photos.parquet --manifest
  imgindex index /mnt/photos --library milvus://db/photos --engine ray --address head:6379

Patterns are those of gitignore, relative to the folder that is walked: 'thumbs/' is
a folder of that name anywhere, '/thumbs/' the one at the top, '*.gif' a file
anywhere. What shall hold in every run, write into files named .imgindexignore:
one pattern a line, for the folder that the file lies in and all below. A folder
with a file .nomedia is passed over. --exclude beats ignore files, and what is named
as PATH is taken in any case.

An address needs what speaks its protocol: s3fs for s3://, gcsfs for gs://, and so on.
A manifest has its paths in a column (or under a key) path, address, uri, url or file;
what it does not name stays as it is.

With --engine ray the machines of a cluster read and embed. All of them need this
imgindex with its extras ray and milvus, the files under the same paths, and the
library on a Milvus server. A machine may die; a run that is stopped is gone on with.

Files that are known already and left out now leave the results, until a run takes
them again; nothing is embedded anew then, unless --prune forgot it.
"""


def remarks(report: AddReport) -> None:
    """Say what is to be said of a run beside its result."""
    if report.note:
        note(f"note: {report.note}")
    if report.model.startswith("untrained"):
        note(
            f"note: the model '{report.model}' has random weights; it finds only very similar "
            "pictures. For real use: imgindex model pull, and a new library"
        )


@command
def add(  # noqa: PLR0913 - one parameter an option
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Folders to walk, and files; or addresses as s3://bucket/folder.",
        ),
    ],
    *,
    library: LibraryOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    max_megapixels: MegapixelsOption = None,
    isolate: IsolateOption = ISOLATE,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    hidden: HiddenOption = False,
    prune: PruneOption = False,
    manifest: Annotated[
        bool,
        typer.Option(
            "--manifest", help="PATH is a list of files: Parquet or JSON Lines with a path a row."
        ),
    ] = False,
    engine: EngineOption = "local",
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Index pictures: embed the new and changed ones, look briefly at the others.

    A run that is stopped keeps what it has done; the next one goes on from there. Hidden files
    and folders (.name) are passed over. A raw file beside a picture of the same name is that
    picture. Exits with 3 when files had to be skipped.
    """
    choice = Choice(tuple(include or ()), tuple(exclude or ()), hidden)
    with (
        Library(
            library, model=model, device=device, max_megapixels=max_megapixels, isolate=isolate
        ) as opened,
        progress_bar() as progress,
    ):
        report = opened.add(
            paths,
            prune=prune,
            choice=choice,
            manifest=manifest,
            engine=engine,
            address=address,
            progress=progress,
        )
        where = opened.place
    if json:
        as_json(report)
    else:
        speed = f", {report.images_per_second:.1f} a second" if report.added else ""
        device_used = f" on {report.device}" if report.device else ""
        if report.precision not in {None, "float32"}:
            device_used += f" in {report.precision}"
        line(
            f"{counted(report.added, 'picture')} embedded{device_used} with {report.model} "
            f"in {duration(report.seconds)}{speed}"
        )
        line(
            f"reused {report.reused:,} · moved {report.moved:,} · removed {report.removed:,} · "
            f"unchanged {report.unchanged:,} · skipped {len(report.skipped):,}"
            + (f" · paired {report.paired:,}" if report.paired else "")
        )
        line(f"library {where}")
        skipped_lines(report.skipped)
    remarks(report)
    if report.skipped:
        raise typer.Exit(SKIPPED)
