"""Keeping a library current: a run of indexing after each quiet moment, for as long as it is asked.

A round is an ordinary run over all the folders, which costs little where nothing changed; what the
system tells of changes only says when. So nothing is lost when it tells too little.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from . import pixels, scan
from .choosing import MARKS
from .errors import LibraryBusyError, SettingError, StoreError
from .indexing import index

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .records import AddReport, Choice, Found, Progress
    from .resources import Resources

QUIET = 1.0
"""Seconds without a change before a round; a file changed since then is still being written."""

_LONGEST = 10.0  # seconds of changes without a quiet moment before a round all the same
_AGAIN = 5.0  # seconds before a round that failed is tried again
_REGULARLY = 600.0  # seconds before a round for what the system did not tell, such as a new mount
_BLIND = 60.0  # seconds between rounds where the system cannot tell of changes


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one look at the folders.

    Attributes:
        time: when it ended, ISO 8601 with the zone, to the second.
        report: what it did; None if it could not be done.
        problem: why not, or what is done differently from now on; empty if all is well.
    """

    time: str
    report: AddReport | None
    problem: str = ""


def watch(
    resources: Resources,
    roots: Sequence[str | os.PathLike[str]],
    progress: Progress,
    *,
    choice: Choice | None,
    poll: float | None,
) -> Iterator[Round]:
    """Index, and again whenever something changes; see ``Library.watch``."""
    if poll is not None and not poll > 0:
        raise SettingError(f"poll must be above 0 seconds, not {poll}")
    places = [os.path.abspath(os.path.expanduser(root)) for root in roots]  # noqa: PTH111 - Path's raises for unknown users
    run = partial(index, resources, places, progress, prune=False, choice=choice)
    return _watch(run, places, resources.settings.library, poll)


def _watch(
    run: partial[AddReport], places: list[str], library: str, poll: float | None
) -> Iterator[Round]:
    moments = _polled(poll) if poll is not None else _told(places, library)
    told: tuple[object, ...] | None = None  # what was said last of what cannot be read
    problem = ""
    due, next_try, next_look = True, 0.0, 0.0
    while True:
        now = time.monotonic()
        if (due and now >= next_try) or now >= next_look:
            writing: list[str] = []
            try:
                report = run(ready=partial(_ready, writing))
            except (StoreError, SettingError, OSError) as error:
                if not _passes(error, first=told is None):
                    raise
                due, next_try = True, time.monotonic() + _AGAIN
                if str(error) != problem:
                    problem = str(error)
                    yield Round(_now(), None, problem)
            else:
                due, problem = bool(writing), ""
                said = (report.skipped, report.note)
                if told is None or _changed(report) or said != told:
                    yield Round(_now(), report)
                told = said
            next_look = time.monotonic() + _REGULARLY
        try:
            moment = next(moments)
        except KeyboardInterrupt:  # nothing is under way
            return
        if isinstance(moment, str):
            yield Round(_now(), None, moment)
        else:
            due |= moment


def _passes(error: Exception, *, first: bool) -> bool:
    """Whether a run may succeed later: the lock is taken, the disk full, all folders away."""
    if isinstance(error, SettingError):
        return not first  # in the first run it is a mistake of whoever gave the folders
    return isinstance(error, OSError | LibraryBusyError) or type(error) is StoreError


def _changed(report: AddReport) -> bool:
    return bool(report.added or report.reused or report.moved or report.removed)


def _ready(writing: list[str], found: Found) -> bool:
    """Whether a file lies still; others are noted."""
    still = abs(time.time() - found.mtime_ns / 1e9) > QUIET and scan.look(found.path) == found
    if not still:
        writing.append(found.path)
    return still


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _polled(seconds: float) -> Iterator[bool]:
    while True:
        time.sleep(seconds)
        yield True


def _told(places: list[str], library: str) -> Iterator[bool | str]:
    """Say about every second whether the system told of changes; in words, if it never will."""
    from watchfiles import watch

    matters = partial(_matters, library.rstrip(os.sep) + os.sep)
    before: list[tuple[int, int] | None] = []
    while True:
        identities = [_identity(place) for place in places]
        there = [place for place, one in zip(places, identities, strict=True) if one]
        if not there:
            time.sleep(QUIET)
            yield identities != before
            before = identities
            continue
        before, fresh = identities, True  # what changed before it listens is not told
        try:
            for changes in watch(
                *there,
                watch_filter=matters,
                debounce=int(_LONGEST * 1000),
                step=int(QUIET * 1000),
                rust_timeout=int(QUIET * 1000),
                yield_on_timeout=True,
                force_polling=False,
                ignore_permission_denied=True,
            ):
                yield bool(changes) or fresh
                fresh = False
                if [_identity(place) for place in places] != identities:
                    yield True  # a folder came or went, with the ear that was on it
                    break
        except FileNotFoundError:  # it went in this moment
            time.sleep(QUIET)
        except (OSError, RuntimeError) as error:
            yield f"the system cannot tell of changes ({error}); looking every {_BLIND:.0f} s"
            yield from _polled(_BLIND)


def _identity(place: str) -> tuple[int, int] | None:
    try:
        status = os.stat(place)  # noqa: PTH116 - a path is text here
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _matters(library: str, _: object, path: str) -> bool:
    """Whether a change may concern a picture; a folder's name may look like anything."""
    if path.startswith(library):
        return False
    name = os.path.basename(path)  # noqa: PTH119 - a path is text here
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - the same
    return suffix in pixels.SUFFIXES or name in MARKS or not os.path.isfile(path)  # noqa: PTH113 - the same
