"""A grouping as a tree of folders, one a group, that hold links to the pictures or copies."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import unicodedata
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from imgindex.errors import ExportError, PictureError
from imgindex.records import NOISE, Skipped

from .target import check_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imgindex.records import Member, Progress

    from .content import Export

Link = Literal["symlink", "hardlink", "copy"]

_LONGEST_NAME = 255  # bytes, on every common file system
_LONGEST_SUFFIX = 16  # bytes; a longer one is no suffix but part of the name
_BLOCK = 1 << 20  # bytes


def write_tree(
    target: str, export: Export, *, link: Link, progress: Progress
) -> tuple[Sequence[Member], Sequence[Skipped]]:
    """Make ``group-0000``, ... and ``noise`` under the target and fill them.

    Everything is created exclusively: nothing that exists is written to, and an entry is always a
    direct child of its group's folder. After a failure what was made is taken away again.

    Args:
        target: a folder that is empty or not there yet.
        export: the grouping.
        link: ``symlink`` (absolute), ``hardlink``, or ``copy`` (keeps the modification time).
        progress: called after each file.

    Returns:
        The members that have an entry now, and the files that have vanished or cannot be read.

    Raises:
        ExportError: the target is not an empty folder, ``link`` is unknown, or an entry cannot be
            made.
    """
    make = _MAKERS.get(link)
    if make is None:
        raise ExportError(f"no kind of link {link!r}; known are {', '.join(_MAKERS)}")
    root = Path(target)
    made: list[Member] = []
    skipped: list[Skipped] = []
    with ExitStack() as undo:
        try:
            _open_root(root, undo)
            for folder, members in _folders(export):
                (root / folder).mkdir()
                undo.callback(_remove, root / folder)
                taken = Names()
                for member in members:
                    try:
                        source = _source(member.path)
                        entry = root / folder / taken.choose(member.path)
                        make(source, entry, undo)
                        made.append(member)
                    except PictureError as reason:
                        skipped.append(Skipped(member.path, str(reason)))
                    progress("export", len(made) + len(skipped), len(export.members))
        except OSError as error:
            raise ExportError(f"cannot export to {target}: {_explain(error, link)}") from error
        undo.pop_all()
    return made, skipped


class Names:
    """Chooses names inside one folder, so that no two are the same to any file system."""

    def __init__(self) -> None:
        """Start with an empty folder."""
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def choose(self, path: str) -> str:
        """A name for a file: its own base name, or that with `` (2)``, `` (3)``, ... added.

        Names that differ in case or in Unicode normalisation only are the same to macOS and
        Windows, so they count as the same here. Separators become ``_``; a name longer than 255
        bytes is cut and keeps its suffix.
        """
        base = os.path.basename(path).replace("\\", "_").replace("/", "_")  # noqa: PTH119 - a Path drops "."
        if base in {"", ".", ".."}:
            base = "_"
        number = self._next.get(_key(base), 1)
        while _key(name := _numbered(base, number)) in self._taken:
            number += 1
        self._next[_key(base)] = number + 1
        self._taken.add(_key(name))
        return name


def _numbered(base: str, number: int) -> str:
    stem, suffix = os.path.splitext(base)  # noqa: PTH122 - a Path reads "a." otherwise
    if len(os.fsencode(suffix)) > _LONGEST_SUFFIX:
        stem, suffix = base, ""
    tail = suffix if number == 1 else f" ({number}){suffix}"
    while len(os.fsencode(stem + tail)) > _LONGEST_NAME:
        stem = stem[:-1]
    return stem + tail


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _open_root(root: Path, undo: ExitStack) -> None:
    check_parent(root)
    if not os.path.lexists(root):
        root.mkdir()
        undo.callback(_remove, root)
    elif not root.is_dir():
        raise ExportError(f"cannot export to {root}: it is not a folder; choose another name")
    elif any(root.iterdir()):
        raise ExportError(
            f"cannot export to {root}: the folder is not empty, and nothing in it is ever "
            "replaced; empty it or choose another"
        )


def _remove(folder: Path) -> None:
    with suppress(OSError):  # somebody else may have put something into it
        folder.rmdir()


def _folders(export: Export) -> Iterator[tuple[str, list[Member]]]:
    width = max(4, *(len(str(group.id)) for group in export.groups), 0)
    for group, members in export.by_group().items():
        yield "noise" if group == NOISE else f"group-{group:0{width}}", members


def _source(path: str) -> Path:
    """The file to link, checked to be one."""
    source = Path(path).absolute()
    try:
        mode = source.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise PictureError("the file has vanished") from None
    except OSError as error:
        raise PictureError(f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise PictureError("not a regular file any more")
    return source


def _symlink(source: Path, entry: Path, undo: ExitStack) -> None:
    entry.symlink_to(source)
    undo.callback(_unlink, entry)


def _hardlink(source: Path, entry: Path, undo: ExitStack) -> None:
    entry.hardlink_to(source.resolve())  # else the link would be to a symlink itself
    undo.callback(_unlink, entry)


def _copy(source: Path, entry: Path, undo: ExitStack) -> None:
    blocks = _blocks(source)
    first = next(blocks, b"")  # an unreadable source fails before there is an entry
    part = entry.with_name(f".imgindex-{secrets.token_hex(8)}.tmp")  # a kill leaves no torn copy
    with ExitStack() as partial:
        with part.open("xb") as copy:
            partial.callback(_unlink, part)
            copy.write(first)
            copy.writelines(blocks)
            copy.flush()
            os.fsync(copy.fileno())
        times = source.stat()
        os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))
        if os.path.lexists(entry):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(entry))
        part.rename(entry)
        partial.pop_all()
        undo.callback(_unlink, entry)


def _unlink(entry: Path) -> None:
    with suppress(OSError):  # the first failure is the one to tell of
        entry.unlink()


def _blocks(source: Path) -> Iterator[bytes]:
    # A failure to read costs one file; a failure to write, outside, ends the export.
    try:
        with source.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
    except OSError as error:
        raise PictureError(f"cannot be read: {error.strerror}") from error


_MAKERS: dict[str, Callable[[Path, Path, ExitStack], None]] = {
    "symlink": _symlink,
    "hardlink": _hardlink,
    "copy": _copy,
}


def _explain(error: OSError, link: Link) -> str:
    reason = error.strerror or str(error)
    if error.errno == errno.EEXIST:
        return f"{error.filename2 or error.filename} was put there meanwhile"
    if error.errno == errno.EXDEV:
        return (
            f"{error.filename} lies on another file system, and a hard link cannot cross over; "
            "export copies or symbolic links"
        )
    if link != "copy" and error.errno in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}:
        return f"no {link} can be made there ({reason}); export copies"
    return reason
