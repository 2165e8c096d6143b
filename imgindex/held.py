"""What a library holds, and how that is kept in order."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, get_args

from .errors import QueryError, SettingError
from .records import Order, no_progress
from .store import open_store

if TYPE_CHECKING:
    from collections.abc import Collection

    from .moving import CopyReport
    from .records import Progress, Where
    from .resources import Resources
    from .store import Store


class Held:
    """The part of a ``Library`` that deals with its pictures as a whole."""

    _resources: Resources

    def version(self) -> str:
        """Another text whenever pictures, files, groups or decisions have changed.

        Whoever changed them, this process or another one. It costs some microseconds.

        Raises:
            LibraryNotFoundError: there is no library.
        """
        return self._resources.store().version()

    def listing(self, order: Order = "path", where: Where | None = None) -> tuple[str, ...]:
        """Ids of all pictures that have a present file, in order.

        Args:
            order: ``path``: by the first of their files; ``taken``: the oldest first; ``newest``:
                the latest first. Pictures without a date come last; those of one date, and those
                without, go by path.
            where: only pictures that it lets through, by files that it lets through; None for all.

        Raises:
            SettingError: there is no such order.
            LibraryNotFoundError: there is no library.
        """
        if order not in get_args(Order):
            raise SettingError(f"order must be one of {', '.join(get_args(Order))}, not {order!r}")
        if where is not None and where.anything:
            where = None
        return self._resources.store().listing(order, where)

    def remove(self, ids: Collection[str]) -> int:
        """Have pictures leave the library; their files stay where they are.

        A later ``add`` over their folders takes them in again, as new ones.

        Args:
            ids: whole ids.

        Returns:
            How many there were.

        Raises:
            QueryError: the library has no picture of one of these ids; then none is removed.
            LibraryNotFoundError: there is no library.
            LibraryBusyError: another process is writing to it.
        """
        store = self._resources.store()
        with store.writing():
            if unknown := set(ids) - store.has(ids):
                raise QueryError(f"no indexed picture has the id {min(unknown)}")
            return store.remove(ids)

    def copy(
        self, target: str | os.PathLike[str] | Store, *, progress: Progress = no_progress
    ) -> CopyReport:
        """Bring the whole library to another place, of whichever kind; this one is only read.

        Rows, groups, decisions and all else go along, and nothing is embedded again. What is there
        already is not sent, so a copy that was stopped goes on where it was; until it is finished
        nothing else can be done with it. In the end both are compared.

        Args:
            target: a folder or URL, as for ``Library``, or an open store.
            progress: stages ``check``, ``copy``, ``index`` and ``compare``.

        Raises:
            LibraryNotFoundError: there is no library here, or nothing was ever added.
            ModelMismatchError: the target was built with another model.
            StoreError: the target holds what this library does not.
            LibraryBusyError: another process is writing to the target.
        """
        from .moving import copy

        source, _ = self._resources.filled()
        if not isinstance(target, str | os.PathLike):
            return copy(source, target, progress)
        with closing(open_store(target, create=True)) as opened:
            return copy(source, opened, progress)

    def settle(self, progress: Progress = no_progress) -> None:
        """Bring the graph up to date with pictures that ``add`` left out of it.

        Args:
            progress: stage ``index``.

        Raises:
            LibraryNotFoundError: there is no library.
            LibraryBusyError: another process is writing to it.
            StoreError: the disk is full.
        """
        self._resources.store().refresh(progress)
