"""The command that indexes pictures."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from imgindex import Library

from .options import (  # noqa: TC001 - typer reads the annotations
    DeviceOption,
    JsonOption,
    LibraryOption,
    MegapixelsOption,
    ModelOption,
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
"""


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
    prune: Annotated[
        bool, typer.Option("--prune", help="Forget files that have vanished for good.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Index pictures: embed the new and changed ones, look briefly at the others.

    A run that is stopped keeps what it has done; the next one goes on from there. Hidden files
    and folders (.name) are passed over. Exits with 3 when files had to be skipped.
    """
    with (
        Library(library, model=model, device=device, max_megapixels=max_megapixels) as opened,
        progress_bar() as progress,
    ):
        report = opened.add(paths, prune=prune, progress=progress)
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
        )
        line(f"library {where}")
        skipped_lines(report.skipped)
    if report.note:
        note(f"note: {report.note}")
    if report.model.startswith("untrained"):
        note(
            f"note: the model '{report.model}' has random weights; it finds only very similar "
            "pictures. For real use: imgindex model pull, and a new library"
        )
    if report.skipped:
        raise typer.Exit(SKIPPED)
