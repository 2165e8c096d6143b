"""The command that brings a library to another place."""

from __future__ import annotations

from typing import Annotated

import typer

from imgindex import Library

from .options import JsonOption  # noqa: TC001 - typer reads the annotations
from .show import FAILED, as_json, command, counted, duration, line, note, progress_bar

EXAMPLES = """\b
Examples:
  imgindex copy ~/photos.imgindex milvus://db.example:19530/photos
  imgindex copy milvus://db.example:19530/photos /mnt/backup/photos.imgindex
  imgindex copy ~/photos.imgindex /mnt/disk/photos.imgindex --json

Groups, names, decisions, and which copies were found go along, files that are
missing or cannot be read as well. Pictures stay where they are, and so does the
model: index on another machine with the same model.
"""


@command
def copy(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="Folder or URL of the library; only read.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="Folder or URL of a new one, or of a copy begun.")
    ],
    *,
    json: JsonOption = False,
) -> None:
    """Bring a whole library to another place, without embedding anything again.

    A copy that was stopped goes on when the command is run again; until it is finished, no other
    command opens it. In the end both are compared; exits with 1 if they differ.
    """
    with Library(source) as opened, progress_bar() as progress:
        report = opened.copy(target, progress=progress)
    if json:
        as_json(report)
    else:
        line(
            f"{counted(report.pictures, 'picture')} in {counted(report.files, 'file')}, "
            f"{counted(report.groups, 'group')}, {counted(report.decisions, 'decision')}, "
            f"{counted(report.twins, 'pair')} of copies; {report.sent:,} of the pictures sent in "
            f"{duration(report.seconds)}"
        )
        if not report.differences:
            line(f"both hold the same; checksum of the rows {report.checksum}")
        line(f"library {report.target}")
    for difference in report.differences:
        note(f"not the same: {difference}")
    if report.differences:
        raise typer.Exit(FAILED)
