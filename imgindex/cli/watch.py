"""The command that keeps a library current."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from itertools import chain
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from imgindex import Library
from imgindex.records import Choice, to_json

from .index import remarks
from .options import (
    ISOLATE,
    DeviceOption,
    ExcludeOption,
    HiddenOption,
    IncludeOption,
    IsolateOption,
    JsonOption,
    LibraryOption,
    MegapixelsOption,
    ModelOption,
)
from .show import as_columns, as_json, command, counted, line, note, progress_bar

if TYPE_CHECKING:
    from imgindex.records import AddReport, Skipped

EXAMPLES = """\b
Examples:
  imgindex watch ~/Pictures
  imgindex watch ~/Pictures --exclude 'drafts/' --json
  imgindex watch /mnt/nas/photos --poll 300

A system does not tell of what others change on a network share: there --poll looks
at all names every so many seconds. Nothing is forgotten for good; that is what
imgindex index --prune is for.
"""


@command
def keep(  # noqa: PLR0913 - one parameter an option
    paths: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders to watch, and files.")
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
    poll: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="Look every so often, instead of waiting to be told of changes.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Keep a library current: index now, and again whenever pictures come, change or go.

    Writes a line for the first run and for each that changed something; with --json an object a
    line, that of index with the time. Ctrl-C and SIGTERM end it; what was done is kept. The exit
    code is 0 then, or 130 if the first run was not through.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    choice = Choice(tuple(include or ()), tuple(exclude or ()), hidden)
    with Library(
        library, model=model, device=device, max_megapixels=max_megapixels, isolate=isolate
    ) as opened:
        last: AddReport | None = None
        with progress_bar() as progress:
            rounds = opened.watch(paths, choice=choice, poll=poll, progress=progress)
            first = next(rounds)
        with suppress(KeyboardInterrupt):  # from here on it is the way to end
            note(f"watching {counted(len(paths), 'place')}; Ctrl-C ends it")
            for met in chain([first], rounds):
                if met.report is None:
                    note(f"{met.time}  {met.problem}")
                else:
                    _tell(met.time, met.report, last, json=json)
                    last = met.report


def _tell(time: str, report: AddReport, last: AddReport | None, *, json: bool) -> None:
    """Write what a round did, and what it could not read that the one before could."""
    if json:
        as_json({"time": time, **to_json(report)}, compact=True)
    else:
        figures = {
            "embedded": report.added,
            "reused": report.reused,
            "moved": report.moved,
            "removed": report.removed,
            "skipped": len(report.skipped),
        }
        told = " · ".join(f"{what} {number:,}" for what, number in figures.items() if number)
        line(f"{time}  {told or 'nothing new'}")
        before: set[Skipped] = set(last.skipped) if last else set()
        new = [one for one in report.skipped if one not in before]
        as_columns([(one.path, one.reason) for one in new], indent="  ")
    sys.stdout.flush()
    # What holds for every round is said with the first.
    if last is None:
        remarks(report)
    elif report.note and report.note != last.note:
        note(f"note: {report.note}")
