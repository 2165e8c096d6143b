"""Putting copies aside: a plan to look at first, and moves that never overwrite anything.

Nothing is ever deleted. A file is moved only while the best copy of its set lies unchanged at its
place, and while it still holds what it was judged by.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import scan
from .asking import absolute
from .copies import with_best
from .errors import ExportError, PictureError, QueryError, SettingError
from .records import CopyKind, Skipped, no_progress
from .store import within

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .records import Copy, DuplicateSet, Progress
    from .resources import Resources


@dataclass(frozen=True, slots=True)
class Move:
    """One copy that may go.

    Attributes:
        path: the file.
        target: where it goes; None if it is only named.
        best: the copy that stays.
        kind: what the file is of that one; see ``Copy``.
        bytes: size of the file.
        left: files that belong to it and stay where they are: notes, a raw file, a video.
    """

    path: str
    target: str | None
    best: str
    kind: CopyKind
    bytes: int
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tidied:
    """What became of a plan.

    Attributes:
        moves: the plan; once it was carried out, what was moved.
        done: whether it was carried out.
        skipped: files that stay, and why.
    """

    moves: tuple[Move, ...]
    done: bool = False
    skipped: tuple[Skipped, ...] = ()


def plan(sets: Iterable[DuplicateSet], folder: str | None, root: str | None = None) -> Tidied:
    """Which files may go, the best of each set left out, and where to.

    What the best copy cannot stand for stays, and so does what lies below the folder already.

    Args:
        sets: see ``Library.duplicates``.
        folder: where they shall go, each to the path that it has below the folder that holds them
            all; None to name them only.
        root: another folder that holds them all, whose paths they take along.

    Raises:
        SettingError: the folder has no name.
    """
    if folder is not None and not folder:
        raise SettingError("the folder to move to has no name")
    place = None if folder is None else absolute(folder)
    aside = [] if place is None else [place]
    chosen = [one for one in sets if not within(one.best, aside)]
    going = [
        (copy, one.best)
        for one in chosen
        for copy in one.files[1:]
        if copy.path not in one.stays and not within(copy.path, aside)
    ]
    root = root or common([copy.path for copy, _ in going])
    moves = [
        Move(
            copy.path,
            None if place is None else os.path.join(place, os.path.relpath(copy.path, root)),  # noqa: PTH118 - no Path for each
            best,
            copy.kind,
            _size(copy.path),
            tuple(scan.companions(copy.path)),
        )
        for copy, best in going
    ]
    reason = "shows more than the best copy, or is larger than its place in it"
    staying = [Skipped(path, reason) for one in chosen for path in one.stays]
    return Tidied(tuple(moves), skipped=tuple(staying))


def put_aside(resources: Resources, keep: str, going: Sequence[str], folder: str) -> Tidied:
    """Move some files of one set of copies; see ``Library.put_aside``."""
    store = resources.store()
    files = [absolute(path) for path in dict.fromkeys(going)]
    keep = absolute(keep)
    if not files or keep in files:
        raise SettingError(f"name copies of {keep} to put aside, and not itself")
    if within(keep, [absolute(folder)]):
        raise QueryError(f"{keep} is in {folder} already; keep one that is not")
    chosen = with_best(store, keep, files, asked=resources.settings.hosts)
    # So files of one name, put aside one after the other, do not meet.
    root = common([file.path for file in store.files() if file.id is not None])
    return carry_out(resources, [chosen], folder, no_progress, root)


def carry_out(
    resources: Resources,
    sets: Sequence[DuplicateSet],
    folder: str,
    progress: Progress,
    root: str | None = None,
) -> Tidied:
    """Move the copies of a plan; see ``plan``.

    Raises:
        ExportError: the folder cannot be made.
        LibraryBusyError: another process is writing to the library; nothing is moved.
    """
    planned = plan(sets, folder, root)
    ids = {copy.path: copy for one in sets for copy in one.files}
    moved: list[Move] = []
    skipped = list(planned.skipped)
    store = resources.store()
    with store.writing():
        try:
            Path(absolute(folder)).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExportError(f"cannot make the folder {folder}: {error.strerror}") from error
        checked = None
        try:
            for done, move in enumerate(planned.moves, start=1):
                best = ids[move.best]
                reason = None if checked == move.best else _doubt(resources, best)
                checked = move.best if reason is None else None
                reason = reason or _doubt(resources, ids[move.path]) or _move(move)
                if reason is None:
                    moved.append(move)
                else:
                    skipped.append(Skipped(move.path, reason))
                progress("move", done, len(planned.moves))
        finally:
            if moved:
                store.mark_missing([move.path for move in moved])
    return Tidied(tuple(moved), done=True, skipped=tuple(skipped))


def _doubt(resources: Resources, copy: Copy) -> str | None:
    """Why a file is not what it was judged to be; None if it is."""
    if os.path.islink(copy.path):  # noqa: PTH114 - no Path for each
        return f"{copy.path} is a link"
    try:
        _, data = resources.load(copy.path)
    except PictureError as error:
        return f"{copy.path}: {error}"
    if scan.content_id(data) != copy.id:
        return f"{copy.path} has changed since it was indexed; run: imgindex index"
    return None


def _move(move: Move) -> str | None:
    """Move one file; why it could not be, None if it was."""
    if move.target is None or os.path.lexists(move.target):
        return f"{move.target} is there already"
    target = Path(move.target)
    made = False
    try:
        if os.path.samefile(move.best, move.path):  # noqa: PTH121 - text, as the plan has it
            return f"is the same file as {move.best}, under another name"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(move.path, target, follow_symlinks=False)  # never over another file
        except FileExistsError:
            return f"{target} is there already"
        except OSError:  # another disk, or one without hard links
            _copy(move.path, move.target)
        made = True
        Path(move.path).unlink()
    except OSError as error:
        if made:
            with suppress(OSError):
                target.unlink()
        return f"cannot be moved: {error.strerror or error}"
    return None


def _copy(path: str, target: str) -> None:
    """Copy a file with its times to a name that nobody has."""
    with open(path, "rb") as source, open(target, "xb") as copy:  # noqa: PTH123 - no Path for each
        try:
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
        except BaseException:
            with suppress(OSError):
                Path(target).unlink()
            raise
    with suppress(OSError):  # not every disk keeps times and rights
        shutil.copystat(path, target)


def common(paths: Sequence[str]) -> str:
    """The folder that holds them all."""
    return os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else os.sep  # noqa: PTH120 - text in, text out


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - no Path for each
    except OSError:
        return 0
