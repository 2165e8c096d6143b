"""What every command shares: results to standard output, everything else to standard error."""

from __future__ import annotations

import csv
import functools
import json
import os
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

import typer

from imgindex.errors import ImgindexError, SettingError
from imgindex.records import no_progress, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from imgindex.records import Progress, Skipped

Arguments = ParamSpec("Arguments")

# Control characters, ends of lines, and those that have what follows them written backwards.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

FAILED, USAGE, SKIPPED, FOUND, INTERRUPTED = 1, 2, 3, 11, 130


def command(
    function: Callable[Arguments, None],
) -> Callable[Arguments, None]:
    """Turn what imgindex raises on purpose into a line and an exit code."""

    @functools.wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except SettingError as error:
            stop(str(error), USAGE)
        except ImgindexError as error:
            stop(str(error), FAILED)
        except KeyboardInterrupt:
            stop("interrupted; what was done is kept", INTERRUPTED)
        except BrokenPipeError:
            # The reader has seen enough. Python would complain when it flushes at the end.
            sys.stdout = None
            raise typer.Exit(FAILED) from None
        except OSError as error:
            # What the library does comes as ImgindexError: most likely the disk behind ">" is full.
            _drop_output()
            stop(f"reading or writing failed: {error}", FAILED)

    return run


def _drop_output() -> None:
    """Keep Python from failing a second time when it flushes at the end."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open to the end


def stop(message: str, code: int) -> NoReturn:
    """End with an error line."""
    note(f"imgindex: {message}")
    raise typer.Exit(code)


def note(text: str) -> None:
    """Say something beside the result."""
    sys.stderr.write((visible(text) if sys.stderr.isatty() else text) + "\n")
    sys.stderr.flush()


def line(text: str = "", end: str = "\n") -> None:
    """Write a line of the result; into a pipe, names come out as the bytes they are."""
    sys.stdout.write((visible(text) if sys.stdout.isatty() else text) + end)


def visible(text: str) -> str:
    """A line with control characters spelled out: a file's name must not steer the terminal.

    Nor may it pass for further lines, or look like another name.
    """
    return _CONTROL.sub(lambda found: _spelled(ord(found[0])), text)


def _spelled(code: int) -> str:
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - a byte


def as_json(record: Any, *, compact: bool = False) -> None:
    """Write a record as JSON: ASCII, so that any name survives any pipe."""
    sys.stdout.write(json.dumps(to_json(record), indent=None if compact else 2) + "\n")


def as_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows as CSV (RFC 4180)."""
    writer = csv.writer(sys.stdout, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(rows)


def as_columns(rows: Sequence[Sequence[str]], *, indent: str = "") -> None:
    """Write rows with aligned columns; the last one runs free."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        line(indent + "  ".join([*padded, row[-1]]).rstrip())


def skipped_lines(skipped: Sequence[Skipped], what: str = "skipped") -> None:
    """Write one line for each file that could not be read."""
    if skipped:
        line(f"{counted(len(skipped), 'file')} {what}:")
        as_columns([(one.path, one.reason) for one in skipped], indent="  ")


def counted(number: int, noun: str) -> str:
    """``1 picture``, ``1,035 pictures``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """``4.2 s``, ``3 min 12 s``, ``2 h 5 min``."""
    if seconds < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - minutes in an hour
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def amount(size: float) -> str:
    """``812 B``, ``58.9 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:  # noqa: PLR2004 - decimal units
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show progress on standard error if that is a terminal."""
    if not sys.stderr.isatty():
        yield no_progress
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Amount(ProgressColumn):
        """How much is done, and how fast."""

        def render(self, task: Task) -> Text:
            if task.description == "download":
                speed = f" {amount(task.speed)}/s" if task.speed else ""
                return Text(f"{amount(task.completed)}{speed}")
            total = f"/{task.total:,.0f}" if task.total else ""
            speed = f" {task.speed:,.1f}/s" if task.speed and task.total else ""
            return Text(f"{task.completed:,.0f}{total}{speed}")

    bar = Progress(
        TextColumn("{task.description:13}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        Amount(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
        expand=True,
    )
    stages: dict[str, Any] = {}

    def report(stage: str, done: int, total: int) -> None:
        if stage not in stages:
            for earlier in stages.values():
                bar.update(earlier, visible=False)
            stages[stage] = bar.add_task(stage, total=total or None)
        bar.update(stages[stage], completed=done, total=total or None)

    with bar:
        yield report
