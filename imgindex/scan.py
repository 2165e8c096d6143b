"""Folders to files: walking for pictures, reading their bytes, and their identity by content.

Nothing here opens a picture; whatever goes wrong with one file is a record or a ``PictureError``
and never ends a walk.
"""
# A walk over 100,000 files makes no Path objects:
# ruff: noqa: PTH112, PTH114, PTH116

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from itertools import chain
from operator import attrgetter
from stat import S_ISREG
from typing import TYPE_CHECKING

from . import addresses
from .choosing import IGNORE_FILE, MARKS, NO_MEDIA, Chooser
from .errors import PictureError, SettingError
from .formats import BESIDE, RAW
from .records import Found, Paired, Skipped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .choosing import Scope

_KINDS = {
    stat.S_IFIFO: "is a named pipe",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
    stat.S_IFDIR: "is a folder",
}


def walk(
    roots: Sequence[str | os.PathLike[str]],
    suffixes: frozenset[str],
    chooser: Chooser | None = None,
) -> Iterator[Found | Skipped | Paired]:
    """Find the picture files under some folders.

    Links to files and folders are followed. Every folder is walked once, however many roots and
    links lead to it, so loops end; folders behind links come after all others, so that a folder
    keeps its own name when a link to it lies under the roots as well. Names that start with a dot
    are passed over, folders that hold a ``.nomedia``, and what ignore files name. Inside a folder
    the files come sorted by name, then the folders: the order is the same on every run.

    Args:
        roots: folders to walk, and files to take whatever their suffix (these come first).
        suffixes: endings of pictures, lower-case with the dot. Raw files among them are taken
            where no rendered picture of the same name lies beside, or only such as are empty or
            may not be read.
        chooser: what is taken; None takes all but hidden names.

    Returns:
        An iterator over each file once, under an absolute path in which links are not resolved: a
        ``Found``, or a ``Skipped`` for what looks like a picture and is not a readable file, and
        for every folder that cannot be read, or a ``Paired``.

    Raises:
        SettingError: a root does not exist; raised by the call itself, before anything is walked.
    """
    files: list[str] = []
    folders: list[str] = []
    elsewhere: list[str] = []
    for path in dict.fromkeys(map(place, roots)):
        if not there(path):
            raise SettingError(f"there is no file or folder {path!r}; check the path")
        if addresses.is_address(path):
            elsewhere.append(path)
        else:
            (folders if os.path.isdir(path) else files).append(path)
    chooser = chooser or Chooser()
    here = _walk(files, folders, suffixes, chooser)
    return chain(here, *(_walk_elsewhere(root, suffixes, chooser) for root in elsewhere))


def place(root: str | os.PathLike[str]) -> str:
    """A root as files below it have it: an absolute path, or an address; see ``addresses``.

    Raises:
        SettingError: it is an address of which nothing here can read.
    """
    return addresses.settled(os.fspath(root))


def there(path: str) -> bool:
    """Whether there is something of any kind.

    Raises:
        SettingError: it is an address of which that cannot be said.
    """
    return addresses.exists(path) if addresses.is_address(path) else os.path.lexists(path)


def load(path: str, limit: int) -> tuple[Found, bytes]:
    """Read one file whole.

    Args:
        path: the file.
        limit: the most bytes it may have.

    Returns:
        The file as it is at this moment, and its bytes.

    Raises:
        PictureError: it is empty, too large, no regular file, unreadable, or changed on the way.
    """
    if addresses.is_address(path):
        return addresses.load(path, limit)
    path = os.path.abspath(path)
    try:
        _require_file(os.stat(path), limit)  # opening a device may already set it in motion
        with open(path, "rb", opener=_open_at_once) as file:
            before = os.fstat(file.fileno())
            _require_file(before, limit)
            data = file.read(before.st_size + 1)
            after = os.fstat(file.fileno())
    except (OSError, ValueError) as error:
        raise PictureError(_reason(error)) from error
    if len(data) != before.st_size or _version(before) != _version(after):
        raise PictureError("changed while it was read")
    return Found(path, *_version(after)), data


def look(path: str) -> Found | Skipped:
    """Look at one path without walking; nothing is opened."""
    return addresses.look(path) if addresses.is_address(path) else _look(path)


def holds(status: os.stat_result, size: int, mtime_ns: int) -> bool:
    """Whether a file that was looked at is a regular one of this size and time."""
    return S_ISREG(status.st_mode) and _version(status) == (size, mtime_ns)


def vanished(path: str) -> bool:
    """Whether no regular file is there; what just cannot be looked at has not vanished."""
    if addresses.is_address(path):
        return addresses.vanished(path)
    try:
        return not S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def content_id(data: bytes) -> str:
    """Name a file by its content: BLAKE2b with 16 bytes (RFC 7693) as 32 hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def companions(path: str) -> list[str]:
    """Name the files beside a picture that belong to it, whatever the case of their letters.

    These are the raw twin of a rendered picture, the moving part of a Live Photo, and edits kept
    as ``.xmp`` (``a.xmp`` or ``a.jpg.xmp``) or ``.aae``.

    Returns:
        Paths by name; none if the folder cannot be read.
    """
    folder, name = os.path.split(os.path.abspath(path))
    stem, suffix = _parted(name)
    kinds = BESIDE if suffix in RAW else BESIDE | RAW
    names = {name.lower() + ".xmp", *(stem + kind for kind in kinds)} - {name.lower()}
    try:
        with os.scandir(folder) as listing:
            return sorted(
                entry.path for entry in listing if entry.name.lower() in names and entry.is_file()
            )
    except OSError:
        return []


def _walk(
    files: list[str],
    folders: list[str],
    suffixes: frozenset[str],
    chooser: Chooser,
) -> Iterator[Found | Skipped | Paired]:
    raw = suffixes & RAW
    suffixes -= RAW
    yield from _named(files, suffixes, raw)
    named = frozenset(files)
    seen: set[tuple[int, int]] = set()
    stack = [(folder, chooser.begin(folder)) for folder in folders[::-1]]
    roots = frozenset(folders)
    links: deque[tuple[str, Scope | None]] = deque()
    while stack or links:
        folder, scope = stack.pop() if stack else links.popleft()
        try:
            entries, scope = _chosen(folder, scope, seen, chooser, root=folder in roots)
        except PictureError as error:
            yield Skipped(folder, str(error))
            continue
        inner: list[tuple[str, Scope | None]] = []
        rendered = _Rendered(entries, suffixes)
        for entry in entries:
            name = entry.name
            try:
                if entry.is_dir():
                    (links if entry.is_symlink() else inner).append((entry.path, scope))
                    continue
            except OSError as error:
                yield Skipped(entry.path, _reason(error))
                continue
            suffix = name[name.rfind(".") :]
            if (suffix in suffixes or suffix.lower() in suffixes) and entry.path not in named:
                # The common case here, not in _look: a call a file is a fifth of the walk.
                try:
                    status = entry.stat()
                except OSError:
                    yield _look(entry)
                    continue
                regular = S_ISREG(status.st_mode)
                found = Found(entry.path, status.st_size, status.st_mtime_ns)
                yield found if regular else _look(entry)
            elif suffix.lower() in raw and entry.path not in named:
                twins = rendered.beside(entry.path)
                yield Paired(entry.path, twins) if twins else _look(entry)
        stack.extend(reversed(inner))


def _walk_elsewhere(
    root: str, suffixes: frozenset[str], chooser: Chooser
) -> Iterator[Found | Skipped | Paired]:
    """Walk below an address; ignore files are not looked for there."""
    try:
        listed = list(addresses.files(root))
    except PictureError as error:
        yield Skipped(root, f"cannot read the folder: {error}")
        return
    top = os.sep + "root"  # patterns are relative, to whatever it is
    scope = chooser.begin(top)
    taken: dict[str, Found] = {}
    for name, found in listed:
        suffix = _parted(name)[1]
        hidden = not chooser.hidden and any(one.startswith(".") for one in name.split("/"))
        if not name or (
            suffix in suffixes
            and not hidden
            and (scope is None or scope.takes(f"{top}/{name}", folder=False))
        ):
            taken[name] = found
    stems = _stems(taken, suffixes - RAW)
    for name, found in taken.items():
        stem, suffix = _parted(name)
        twins = [taken[one] for one in stems.get(stem, ())] if suffix in RAW else []
        full = tuple(one.path for one in twins if one.size)
        yield Paired(found.path, full) if full else found


class _Rendered:
    """The rendered pictures in a folder, looked for when the first raw file asks."""

    __slots__ = ("_entries", "_stems", "_suffixes")

    def __init__(self, entries: list[os.DirEntry[str]], suffixes: frozenset[str]) -> None:
        self._entries, self._suffixes = entries, suffixes
        self._stems: dict[str, list[str]] | None = None

    def beside(self, path: str) -> tuple[str, ...]:
        if self._stems is None:
            self._stems = _stems((one.path for one in self._entries), self._suffixes)
        return _readable(self._stems.get(_parted(path)[0], ()))


def _named(
    files: list[str], suffixes: frozenset[str], raw: frozenset[str]
) -> Iterator[Found | Skipped | Paired]:
    """The files given by name; of a pair that is given whole, the raw one is passed over."""
    stems = _stems(files, suffixes)
    for path in files:
        stem, suffix = _parted(path)
        twins = _readable(stems.get(stem, ())) if suffix in raw else ()
        yield Paired(path, twins) if twins else _look(path)


def _stems(paths: Iterable[str], suffixes: frozenset[str]) -> dict[str, list[str]]:
    """Pictures by their lower-case paths without endings."""
    stems: dict[str, list[str]] = {}
    for path in paths:
        stem, suffix = _parted(path)
        if suffix in suffixes:
            stems.setdefault(stem, []).append(path)
    return stems


def _readable(paths: Iterable[str]) -> tuple[str, ...]:
    """Those that can stand in for a raw file: regular, not empty, and may be read."""
    return tuple(
        path
        for path in paths
        if isinstance(met := _look(path), Found) and met.size and os.access(path, os.R_OK)
    )


def _parted(name: str) -> tuple[str, str]:
    stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122 - no Path objects, see above
    return stem, suffix


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # told where it is looked at
        return False


def _chosen(
    folder: str,
    scope: Scope | None,
    seen: set[tuple[int, int]],
    chooser: Chooser,
    *,
    root: bool,
) -> tuple[list[os.DirEntry[str]], Scope | None]:
    """What is to be looked at in a folder, by name, and what is chosen there and below.

    Nothing, if it was walked before.

    Raises:
        PictureError: the folder cannot be read, or its ignore file.
    """
    marks: set[str] = set()

    def shown(name: str) -> bool:
        if name in MARKS:
            marks.add(name)
        return chooser.hidden

    try:
        status = os.stat(folder)
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            return [], scope
        seen.add(identity)
        with os.scandir(folder) as listing:
            entries = [entry for entry in listing if entry.name[0] != "." or shown(entry.name)]
        if NO_MEDIA in marks and not root:
            return [], scope
        if IGNORE_FILE in marks:
            scope = chooser.enter(scope, folder)
    except OSError as error:
        raise PictureError(f"cannot read the folder: {_reason(error)}") from error
    if scope is not None:
        entries = [one for one in entries if scope.takes(one.path, folder=_is_folder(one))]
    return sorted(entries, key=attrgetter("name")), scope


def _look(file: os.DirEntry[str] | str) -> Found | Skipped:
    path = os.fspath(file)
    try:
        status = os.stat(file) if isinstance(file, str) else file.stat()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        return Skipped(path, "broken link" if missing and os.path.islink(path) else _reason(error))
    if stat.S_ISREG(status.st_mode):
        return Found(path, status.st_size, status.st_mtime_ns)
    return Skipped(path, _kind(status))


def _open_at_once(path: str, flags: int) -> int:
    # A pipe that took the file's place since it was looked at must not hang the run.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _require_file(status: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise PictureError(_kind(status))
    if status.st_size == 0:
        raise PictureError("empty file")
    if status.st_size > limit:
        size, most = _amount(status.st_size), _amount(limit)
        raise PictureError(f"file of {size}, over the limit of {most}")


def _version(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _kind(status: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(status.st_mode), "is not a regular file")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "vanished"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return "not a possible file name"  # a NUL in it, or characters the file system cannot spell


def _amount(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004 - SI prefixes step by a thousand
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
