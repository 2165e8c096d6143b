"""What a library can do with copies: find them, put them aside, hear which are none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .asking import identify_all
from .copies import check_kind, looked_for, told, unexamined
from .decisions import decide
from .errors import SettingError
from .records import Duplicates, no_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .records import Burst, CopyKind, Decision, Progress
    from .resources import Resources
    from .tidying import Tidied


class Copied:
    """The part of a ``Library`` that deals with copies."""

    _resources: Resources
    thumbnail: Callable[..., bytes | None]

    def duplicates(
        self, up_to: CopyKind = "near", *, progress: Progress = no_progress
    ) -> Duplicates:
        """Find the files that show the same picture: copies, not pictures that are merely alike.

        Copies of other bytes are looked for among pictures that came since the last time: resized,
        compressed again, cropped a little, brightened, grey, mirrored or rotated. Each
        pair is verified in pixels. What was said to be distinct is kept apart.

        Args:
            up_to: ``exact`` for copies with the same bytes, ``pixels`` for those with the same
                pixels as well, ``near`` for all.
            progress: stages ``draw``, ``neighbours``, ``sketches`` and ``compare``.

        Raises:
            LibraryNotFoundError: there is no library.
            LibraryBusyError: another process is writing to the library.
        """
        from .deduplicating import find

        return find(self._resources, up_to, progress)

    def known_duplicates(self, up_to: CopyKind = "near") -> Duplicates:
        """Tell the copies that were found so far, without looking at any picture.

        Copies of the same bytes are always known; ``unexamined`` tells of how many pictures others
        were not looked for yet. Only the files of the sets are looked at, whether they are there
        and of the size and time that they had; nothing is written.

        Args:
            up_to: see ``duplicates``.

        Raises:
            SettingError: there is no such kind.
            LibraryNotFoundError: there is no library.
        """
        check_kind(up_to)
        asked = self._resources.settings.hosts
        return Duplicates(*told(self._resources.filled()[0], up_to, asked=asked))

    def unexamined(self) -> int:
        """How many pictures there are whose copies were not looked for; see ``duplicates``.

        Those that cannot be read are among them every time.
        """
        return unexamined(self._resources.store())

    def tidy(
        self,
        found: Duplicates,
        folder: str | os.PathLike[str] | None = None,
        *,
        dry_run: bool = True,
        progress: Progress = no_progress,
    ) -> Tidied:
        """Put copies aside, all but the best of each set. Nothing is deleted or overwritten.

        A file is moved only while it and the best copy of its set hold what they were judged by.

        Args:
            found: see ``duplicates``.
            folder: where they go, each to the path that it has below the folder that holds them
                all; None to name them only.
            dry_run: tell what would be moved, and move nothing.
            progress: stage ``move``.

        Raises:
            SettingError: there is no folder to move to.
            ExportError: the folder cannot be made.
        """
        from .tidying import carry_out, plan

        place = None if folder is None else os.fspath(folder)
        if dry_run:
            return plan(found.sets, place)
        if place is None:
            raise SettingError("name a folder to move the copies to")
        return carry_out(self._resources, found.sets, place, progress)

    def put_aside(
        self,
        keep: str | os.PathLike[str],
        files: Sequence[str | os.PathLike[str]],
        folder: str | os.PathLike[str],
    ) -> Tidied:
        """Put some files of one set of copies aside, whichever of them is to stay; see ``tidy``.

        A file that the kept one cannot stand for, because it shows more or is larger, stays too.

        Args:
            keep: the file that stays.
            files: those that go, all known to be copies of it.
            folder: where they go, each to the path that it has below the folder that holds all
                files of the library.

        Returns:
            What was moved, and what stayed and why.

        Raises:
            QueryError: the files are not in one set of copies, as known, or have changed since
                they were indexed; or the one to stay lies in the folder.
            SettingError: no files are named, or the one to stay is among them.
            ExportError: the folder cannot be made.
            LibraryBusyError: another process is writing to the library; nothing is moved.
        """
        from .tidying import put_aside

        going = [os.fspath(one) for one in files]
        return put_aside(self._resources, os.fspath(keep), going, os.fspath(folder))

    def save_duplicates(
        self, found: Duplicates, target: str | os.PathLike[str], *, force: bool = False
    ) -> None:
        """Write sets of copies as one self-contained page; see ``save_page``."""
        from . import results

        place = self._resources.target(target, force=force)
        results.write_copies(found, place, thumbnail=self.thumbnail, force=force)

    def bursts(self, within: float = 2.0) -> tuple[Burst, ...]:
        """Find shots in quick succession: in one folder, of much the same view.

        Args:
            within: most seconds from one shot to the next, by the camera's clock.

        Returns:
            Bursts of two shots and more, by time.

        Raises:
            SettingError: ``within`` is below 0.
            LibraryNotFoundError: there is no library.
        """
        from .bursts import bursts

        return bursts(self._resources.filled()[0], within)

    def with_copies(self) -> frozenset[str]:
        """Ids of the pictures that there are copies of, of the same bytes or others, as known.

        Raises:
            QueryError: copies were never looked for; see ``duplicates``.
        """
        store, asked = looked_for(self._resources.store()), self._resources.settings.hosts
        return frozenset(copy.id for one in told(store, asked=asked)[0] for copy in one.files)

    def without_copies(self) -> frozenset[str]:
        """Ids of all other pictures; see ``with_copies``."""
        copied = self.with_copies()
        files = self._resources.store().files()
        return frozenset(file.id for file in files if file.id and not file.missing) - copied

    def distinct(self, pictures: Sequence[str | os.PathLike[str]]) -> Decision:
        """Say that no two of these pictures are copies of each other.

        Raises:
            QueryError: one is not a picture of the library.
            SettingError: there are fewer than two different ones.
        """
        ids = identify_all(self._resources, pictures)
        return decide(self._resources.store(), "distinct", pictures=ids)
