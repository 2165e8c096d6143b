"""What a library holds, and how that is kept in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .records import no_progress

if TYPE_CHECKING:
    from .records import Progress
    from .resources import Resources


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
