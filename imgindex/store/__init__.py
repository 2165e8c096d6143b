"""Where a library lives: one Protocol, several stores behind it, one contract suite for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgindex.errors import SettingError

from .base import Store, check_pin, remote, shown, within

if TYPE_CHECKING:
    import os

__all__ = ["Store", "check_pin", "open_store", "remote", "salvage", "shown", "within"]


def open_store(url: str | os.PathLike[str], *, create: bool = False) -> Store:
    """Open the store at a place.

    Args:
        url: a folder for the local store, ``milvus://HOST:PORT/NAME`` for one on a Milvus server,
            or ``memory:`` for one that ends when it is closed.
        create: make an empty one if there is none.

    Raises:
        LibraryNotFoundError: there is none and ``create`` is False.
        LibraryFormatError: it was written by a newer imgindex, or the folder holds other things.
        LibraryDamagedError: its files contradict each other.
        SettingError: the scheme of the URL is unknown.
    """
    text = str(url)
    if text == "memory:":
        from .memory import MemoryStore

        return MemoryStore()
    if remote(text):
        from .milvus import MilvusStore

        return MilvusStore(text, create=create)
    scheme, separator, _ = text.partition("://")
    if separator:
        raise SettingError(
            f"unknown kind of library {scheme!r}; give a folder, or milvus://HOST:PORT/NAME"
        )
    from .local import LocalStore

    return LocalStore(text, create=create)


def salvage(url: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """Write the database of a library anew if it is damaged, from what can be read of it.

    Returns:
        What was done, a line each, and the tables that lack something now; nothing for a sound
        one, and nothing on a server.

    Raises:
        LibraryBusyError: another process is writing to it.
        LibraryDamagedError: too little can be read.
        StoreError: anything else, a full disk for one.
    """
    text = str(url)
    if "://" in text or text == "memory:":
        return [], []
    from .local import folder_of
    from .salvage import written_anew

    return written_anew(folder_of(text))
