"""Making a disk have what was written, names included; and being the only one who writes."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgindex.errors import LibraryBusyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from filelock import FileLock


def sync(path: Path) -> None:
    """Wait until the disk has the bytes of a file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder; Windows cannot open folders, and need not."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, each to last."""
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in new:
        sync_folder(one.parent)


def lock_of(folder: Path) -> FileLock:
    """The lock of whoever writes to a library, not held yet; not waited for."""
    from filelock import FileLock  # brings asyncio along: not for those who only read

    return FileLock(folder / "lock", timeout=0, thread_local=False)


@contextmanager
def holding(lock: FileLock, place: object) -> Iterator[None]:
    """Hold the lock of the library at a place; may be nested.

    Raises:
        LibraryBusyError: another process holds it.
        StoreError: nothing can be written there.
    """
    from filelock import Timeout

    try:
        lock.acquire()
    except Timeout:
        raise LibraryBusyError(
            f"another process is writing to {place}; wait for it to end"
        ) from None
    except OSError as error:
        raise StoreError(f"cannot write to {place}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()
