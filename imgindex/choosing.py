"""Which files below a folder are to be indexed: patterns, ignore files, folders without media.

Patterns are those of gitignore. Those of a ``Choice`` are relative to the folder that is walked;
those of a file ``.imgindexignore`` to its own folder, and hold in all that lies below. The first
of these that knows a name decides: the ``Choice``, then the nearest ignore file, then those above.
"""
# Called for every entry of a walk; no Path objects are made:
# ruff: noqa: PTH118, PTH120

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .errors import PictureError, SettingError
from .records import Choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pathspec import GitIgnoreSpec

IGNORE_FILE = ".imgindexignore"
"""Holds patterns, one a line, for its folder and all below."""

NO_MEDIA = ".nomedia"
"""Hides the folder that it lies in, unless that is walked from."""

MARKS = frozenset((IGNORE_FILE, NO_MEDIA))

_LARGEST_IGNORE_FILE = 1 << 20  # bytes

_MOST_STARS = 3


@dataclass(frozen=True, slots=True)
class Scope:
    """What is chosen in one folder.

    Attributes:
        start: where names begin that are relative to the folder walked from.
        include: files must match it; None lets all through.
        exclude: what matches it is left out.
        ignored: patterns of ignore files and where names relative to these begin; nearest first.
    """

    start: int = 0
    include: GitIgnoreSpec | None = None
    exclude: GitIgnoreSpec | None = None
    ignored: tuple[tuple[int, GitIgnoreSpec], ...] = ()

    def takes(self, path: str, *, folder: bool) -> bool:
        """Whether a file or folder directly in this folder is chosen."""
        end = "/" if folder else ""
        if self.exclude is not None:
            verdict = self.exclude.check_file(path[self.start :] + end).include
        else:
            verdict = None
        for start, spec in self.ignored:
            if verdict is not None:
                break
            verdict = spec.check_file(path[start:] + end).include
        if verdict:
            return False
        return folder or self.include is None or self.include.match_file(path[self.start :])


class Chooser:
    """What one run takes of the folders it walks."""

    def __init__(self, choice: Choice | None = None) -> None:
        """Take a choice; None takes all but hidden names.

        Raises:
            SettingError: a pattern is none.
        """
        self._choice = choice or Choice()
        self.hidden = self._choice.hidden
        _spec(self._choice.include)
        _spec(self._choice.exclude)
        self._scopes: dict[tuple[str, str], Scope | None] = {}
        self._closed: set[tuple[str, str]] = set()

    def begin(self, root: str) -> Scope | None:
        """What holds in a folder to walk from, its own ignore file aside; None while all is taken.

        Ignore files above it hold as well, unless they leave the whole folder out: it was named.
        """
        start = _start(root)
        include, exclude = (
            _spec([_below(pattern, root) for pattern in patterns]) if patterns else None
            for patterns in (self._choice.include, self._choice.exclude)
        )
        scope = Scope(start, include, exclude)
        above, folder = scope, root
        while (parent := os.path.dirname(folder)) != folder:
            folder = parent
            spec = None
            try:
                spec = _read(folder)
            except (OSError, PictureError):
                continue  # not the folder that was asked for
            if spec is not None:
                above = replace(above, ignored=(*above.ignored, (_start(folder), spec)))
        if above.ignored and replace(above, exclude=None).takes(root, folder=True):
            scope = above
        return scope if scope != Scope(start) else None

    def enter(self, scope: Scope | None, folder: str) -> Scope | None:
        """What holds in a folder whose ignore file is to be heeded.

        Raises:
            OSError: that cannot be read; then nothing of the folder may be taken.
            PictureError: it is too large, or a line of it is no pattern.
        """
        spec = _read(folder)
        if spec is None:
            return scope
        scope = scope or Scope()
        return replace(scope, ignored=((_start(folder), spec), *scope.ignored))

    def leaves_out(self, path: str, roots: Sequence[str]) -> bool:
        """Whether walks from these folders leave a file out that is there below some of them.

        Names with a dot are not asked about: who named such a file or folder meant it.
        """
        over = [root for root in roots if path.startswith(root.rstrip(os.sep) + os.sep)]
        return bool(over) and all(self._leaves_out(root, path) for root in over)

    def _leaves_out(self, root: str, path: str) -> bool:
        folder = os.path.dirname(path)
        way = [folder]
        while way[-1] != root:
            way.append(os.path.dirname(way[-1]))
        for one in reversed(way):
            if (root, one) in self._closed:
                return True
            if (root, one) not in self._scopes and not self._look(root, one):
                self._closed.add((root, one))
                return True
        scope = self._scopes[root, folder]
        return scope is not None and not scope.takes(path, folder=False)

    def _look(self, root: str, folder: str) -> bool:
        """Take in a folder after the one that it lies in; whether it is walked."""
        if folder == root:
            scope = self.begin(root)
        else:
            scope = self._scopes[root, os.path.dirname(folder)]
            hides = scope is not None and not scope.takes(folder, folder=True)
            if hides or os.path.lexists(os.path.join(folder, NO_MEDIA)):
                return False
        try:
            self._scopes[root, folder] = self.enter(scope, folder)
        except (OSError, PictureError):
            self._scopes[root, folder] = None  # what cannot be told changes nothing
        return True


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe is not waited at


def _start(folder: str) -> int:
    return len(folder.rstrip(os.sep)) + 1


def _below(pattern: str, root: str) -> str:
    """A pattern that a shell made a whole path of, relative to the folder walked."""
    sign = "!" if pattern.startswith("!") else ""
    base = root.rstrip(os.sep)
    if pattern[len(sign) :].startswith(base + os.sep):
        return sign + pattern[len(sign) + len(base) :].replace(os.sep, "/")
    return pattern


def _spec(patterns: Sequence[str]) -> GitIgnoreSpec | None:
    if not patterns:
        return None
    for pattern in patterns:
        try:
            meant = any(one.include is not None for one in _compiled([pattern]).patterns)
        except ValueError:
            meant = False
        if not meant:
            raise SettingError(
                f"{pattern!r} is no pattern; write it as in a gitignore file, for example '*.png'"
            )
    return _compiled(patterns)


def _read(folder: str) -> GitIgnoreSpec | None:
    """The patterns of a folder's ignore file; None if there is none, or nothing in it."""
    try:
        with open(os.path.join(folder, IGNORE_FILE), "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise PictureError(f"its {IGNORE_FILE} is not understood: it is no file")
            data = file.read(_LARGEST_IGNORE_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(data) > _LARGEST_IGNORE_FILE:
        raise PictureError(f"its {IGNORE_FILE} is not understood: over the limit of 1 MiB")
    lines = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).splitlines()
    if endless := next((one for one in lines if _stars(one) > _MOST_STARS), None):
        raise PictureError(
            f"its {IGNORE_FILE} is not understood: over {_MOST_STARS} stars in {endless[:60]!r}"
        )
    try:
        spec = _compiled(lines)
    except ValueError as error:
        raise PictureError(f"its {IGNORE_FILE} is not understood: {error}") from error
    return spec if any(one.include is not None for one in spec.patterns) else None


def _stars(line: str) -> int:
    """How many stars of a pattern multiply the time that a name takes by the name's length.

    Whoever wrote the file may mean to keep us at it for ever. A star at the end costs nothing, nor
    does "**/" at the beginning.
    """
    pattern = line.strip().removeprefix("!").removeprefix("**/").rstrip("/").rstrip("*")
    return 0 if line.startswith("#") else len(re.findall(r"\*+", pattern))


def _compiled(lines: Sequence[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)
