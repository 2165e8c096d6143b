"""The command that indexes pictures."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from imgindex import Library
from imgindex.records import AddReport, Choice

from .options import (  # noqa: TC001 - typer reads the annotations
    DeviceOption,
    ExcludeOption,
    HiddenOption,
    IncludeOption,
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

\b
Patterns are those of gitignore, relative to the folder that is walked: 'thumbs/' is
a folder of that name anywhere, '/thumbs/' the one at the top, '*.gif' a file
anywhere. What shall hold in every run, write into files named .imgindexignore:
one pattern a line, for the folder that the file lies in and all below. A folder
with a file .nomedia is passed over. --exclude beats ignore files, and what is named
as PATH is taken in any case.

\b
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
        list[Path], typer.Argument(metavar="PATH...", help="Folders to walk, and files.")
    ],
    *,
    library: LibraryOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    max_megapixels: MegapixelsOption = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    hidden: HiddenOption = False,
    prune: PruneOption = False,
    json: JsonOption = False,
) -> None:
    """Index pictures: embed the new and changed ones, look briefly at the others.

    A run that is stopped keeps what it has done; the next one goes on from there. Hidden files
    and folders (.name) are passed over. A raw file beside a picture of the same name is that
    picture. Exits with 3 when files had to be skipped.
    """
    choice = Choice(tuple(include or ()), tuple(exclude or ()), hidden)
    with (
        Library(library, model=model, device=device, max_megapixels=max_megapixels) as opened,
        progress_bar() as progress,
    ):
        report = opened.add(paths, prune=prune, choice=choice, progress=progress)
        where = opened.settings.library
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
