"""A disk after a power cut, from what the seam wrote down of one run.

What a program may rely on is what POSIX says, not what a file system happens to do: bytes and sizes
of a file last once it was synced, names once their folder was. Whatever came since may have reached
the disk or not, in any order, and a write in pieces of a sector. Pillai et al., "All File Systems
Are Not Created Equal", OSDI 2014, found most programs to rely on more.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_HEAD = struct.Struct("=6Q")
SECTOR = 512
LOSSES = ("nothing", "everything", "data", "names", "some", "some", "some")


@dataclass(frozen=True, slots=True)
class Change:
    """One change that the seam saw.

    Attributes:
        kind: a letter: c(reate), w(rite), t(runcate), f(sync), d: a folder was synced, r(ename),
            u(nlink), m(kdir), l(ink), s(ymlink), a: something was promised.
        file: number of the file; of one that was there before its first name.
        offset: of a write; the size of a truncation.
        path: what was changed, or promised.
        to: the new name of a rename or link.
        data: what was written.
    """

    kind: str
    file: int | str
    offset: int
    path: str
    to: str
    data: bytes


def numbers(folder: Path) -> dict[int, str]:
    """The files below a folder, by the numbers that the file system gives them."""
    return {path.stat().st_ino: str(path) for path in folder.rglob("*") if path.is_file()}


def read(log: Path, known: dict[int, str] | None = None) -> list[Change]:
    """What a run did, in order.

    Args:
        log: what the seam wrote down; none if it is not there.
        known: see ``numbers``.
    """
    if not log.exists():
        return []
    raw = log.read_bytes()
    changes, at = list[Change](), 0
    named: dict[int, int | str] = dict(
        known or {}
    )  # a file system gives the number of a deleted file to another one
    while at < len(raw):
        kind, file, offset, length, first, second = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        path, to = raw[at : at + first], raw[at + first : at + first + second]
        at += first + second
        has_data = chr(kind) == "w"
        data = raw[at : at + length] if has_data else b""
        at += length if has_data else 0
        if chr(kind) == "c" or file not in named:
            named[file] = len(changes)
        file = named[file]
        changes.append(Change(chr(kind), file, offset, os.fsdecode(path), os.fsdecode(to), data))
    return changes


@dataclass(frozen=True, slots=True)
class Entry:
    """What a name stands for: a file, the text of a link, or a folder."""

    file: int | str | None = None
    link: str | None = None


@dataclass(slots=True)
class _File:
    """A file's bytes that last, and what was done to them since."""

    held: bytearray = field(default_factory=bytearray)
    since: list[Change] = field(default_factory=list)


@dataclass(slots=True)
class Disk:
    """What is certain, and what may come."""

    files: dict[int | str, _File] = field(default_factory=dict)
    names: dict[str, Entry] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)  # changes of names
    promised: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, root: Path) -> Disk:
        """A disk that surely holds what a folder does, under the names that it has in the root."""
        disk = cls()
        for path in sorted(folder.rglob("*")):
            name = str(root / path.relative_to(folder))
            if path.is_dir():
                disk.names[name] = Entry()
            else:
                disk.files[name] = _File(bytearray(path.read_bytes()))
                disk.names[name] = Entry(name)
        return disk

    def take(self, change: Change) -> None:
        """Follow one change."""
        kind = change.kind
        if kind == "a":
            self.promised.append(change.path)
        elif kind in "wt":
            self.files.setdefault(change.file, _File()).since.append(change)
        elif kind == "f":
            file = self.files.setdefault(change.file, _File())
            for one in file.since:
                _apply(file.held, one)
            file.since.clear()
        elif kind == "d":
            here = [one for one in self.pending if _folder(one) == change.path]
            for one in here:
                _rename(self.names, one)
            self.pending = [one for one in self.pending if one not in here]
        else:
            if kind == "c":
                self.files[change.file] = _File()
            self.pending.append(change)

    def write(self, root: str, into: Path, loss: str, chance: random.Random) -> None:
        """Make a folder that holds what a power cut may have left.

        Args:
            root: the folder of the run.
            into: the folder to fill.
            loss: of what no sync has made sure: ``nothing``, ``everything``, all of the ``data`` or
                of the ``names``, or ``some`` of either.
            chance: draws which.
        """
        names = dict(self.names)
        for change in self.pending:
            lost = loss in {"everything", "names"} or (loss == "some" and chance.random() < 0.5)  # noqa: PLR2004 - a coin
            if not lost:
                _rename(names, change)
        for path, what in sorted(names.items()):
            place = into / os.path.relpath(path, root)
            if not place.parent.is_dir():  # its folder was lost
                continue
            if what.link is not None:
                place.symlink_to(what.link)
            elif what.file is None:
                place.mkdir(exist_ok=True)
            else:
                place.write_bytes(self._bytes(what.file, loss, chance))

    def _bytes(self, number: int | str, loss: str, chance: random.Random) -> bytes:
        file = self.files.get(number, _File())
        data = bytearray(file.held)
        for change in file.since:
            if loss in {"nothing", "names"}:
                _apply(data, change)
            elif loss == "some":
                for piece in _sectors(change):
                    if chance.random() < 0.5:  # noqa: PLR2004 - a coin
                        _apply(data, piece)
        return bytes(data)


def _sectors(change: Change) -> Iterator[Change]:
    if change.kind != "w":
        yield change
        return
    start, end = change.offset, change.offset + len(change.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        data = change.data[start - change.offset : stop - change.offset]
        yield Change("w", change.file, start, change.path, "", data)
        start = stop


def _apply(data: bytearray, change: Change) -> None:
    end = change.offset + len(change.data)
    if change.kind == "t":
        del data[change.offset :]
        end = change.offset
    if len(data) < end:
        data.extend(bytes(end - len(data)))
    if change.kind == "w":
        data[change.offset : end] = change.data


def _folder(change: Change) -> str:
    return os.path.dirname((change.to if change.kind in "rls" else change.path).rstrip("/"))  # noqa: PTH120 - text


def _rename(names: dict[str, Entry], change: Change) -> None:
    kind = change.kind
    if kind == "c":
        names[change.path] = Entry(change.file)
    elif kind == "m":
        names[change.path] = Entry()
    elif kind == "u":
        names.pop(change.path, None)
    elif kind == "s":
        names[change.to] = Entry(link=change.path)
    elif kind == "l" and change.path in names:
        names[change.to] = names[change.path]
    elif kind == "r" and change.path in names:
        names[change.to] = names.pop(change.path)
        for below in [name for name in names if name.startswith(change.path + "/")]:
            names[change.to + below[len(change.path) :]] = names.pop(below)


def states(changes: Sequence[Change], disk: Disk) -> Iterator[tuple[int, Disk]]:
    """The disk after each change; the same object every time."""
    for number, change in enumerate(changes, 1):
        disk.take(change)
        if change.kind != "a":
            yield number, disk
