"""The library: pictures in, neighbours and groups out.

Its three journeys are ``add``, ``search`` and ``cluster``; the rest is a look at what they left.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .decisions import decide, decided
from .errors import (
    GroupingError,
    LibraryDamagedError,
    PictureError,
    QueryError,
    SettingError,
)
from .indexing import index
from .records import (
    MIN_CLUSTER_SIZE,
    Grouping,
    QueryFailure,
    no_progress,
)
from .regrouping import cluster
from .resources import Resources
from .searching import Wanted, check_recall, identify, search

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from .config import Settings
    from .export import Kind, Link
    from .mapping import MapReport
    from .records import (
        AddReport,
        Change,
        Decision,
        ExportReport,
        Member,
        Progress,
        SearchResult,
        Space,
        Status,
    )
    from .searching import Query, RecallReport
    from .store import Store
    from .telling import GroupReport

_THUMBNAIL = 320


class Library:
    """Pictures, their embeddings and their groups, in one place.

    >>> from imgindex import Library
    >>> with Library("photos.imgindex", model="untrained") as library:  # doctest: +SKIP
    ...     report = library.add(["~/Pictures"])
    ...     result = library.search("holiday.jpg", k=5)
    ...     grouping = library.cluster(min_cluster_size=10)
    ...     grouping.labels  # int32, -1 for noise

    Every method may be called from several threads. Nothing is printed; long work reports through
    ``progress(stage, done, total)``.
    """

    def __init__(
        self,
        location: str | os.PathLike[str] | Store | None = None,
        *,
        model: str | os.PathLike[str] | None = None,
        device: str | None = None,
        max_megapixels: float | None = None,
    ) -> None:
        """Name a library; it is opened when it is first used, and made by the first ``add``.

        Args:
            location: a folder, an open store, or ``memory:`` for a library that ends when it is
                closed; None for the default of ``Settings``.
            model: name or file of a model; None for the library's own, else a trained one.
            device: ``auto``, ``cpu``, ``openvino``, ``cuda``, ``cuda:N`` or ``tensorrt``.
            max_megapixels: the largest picture to decode; None derives it from the memory.

        Raises:
            SettingError: a setting is out of range or the settings file is broken.
        """
        self._resources = Resources(location, model, device, max_megapixels)

    def __enter__(self) -> Self:
        """Use as a context manager, so that it is closed."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    @property
    def settings(self) -> Settings:
        """Where the library and its model are."""
        return self._resources.settings

    def close(self) -> None:
        """Let go of the library's files; a later call opens them again."""
        self._resources.close()

    def add(
        self,
        roots: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
        *,
        prune: bool = False,
        progress: Progress = no_progress,
    ) -> AddReport:
        """Index pictures: new and changed ones are embedded, all else is only looked at.

        Where there is a grouping, new pictures join its groups, or are noise, at once.

        What was done is kept batch by batch; a run that is stopped loses at most one batch, and the
        next one goes on from there.

        Args:
            roots: folders, walked with all that lies below them, and files.
            prune: forget files that have vanished, and pictures that no file holds any more.
            progress: stages ``scan``, ``embed``, ``index`` and ``join``.

        Raises:
            SettingError: a root does not exist.
            ModelNotFoundError: the library has no model yet and there is none to take.
            ModelMismatchError: another model is asked for than the library was built with.
            LibraryBusyError: another process is writing to the library.
            StoreError: the disk is full, or the library is damaged.
        """
        if isinstance(roots, str | os.PathLike):
            roots = [roots]
        return index(self._resources, roots, progress, prune=prune)

    def search(
        self,
        query: Query,
        k: int = 20,
        *,
        min_score: float | None = None,
        exact: bool = False,
    ) -> SearchResult:
        """Find what looks like a picture.

        Args:
            query: a picture file, which need not be in the library, or the id of an indexed
                picture (its beginning is enough where it is unique).
            k: how many matches at most. A picture of the library finds itself first.
            min_score: leave out matches with a lower cosine.
            exact: compare every vector; otherwise the store chooses.

        Returns:
            Matches by falling score, one a picture however many copies of it there are.

        Raises:
            QueryError: the query is neither a readable picture nor the id of one.
            LibraryNotFoundError: there is no library.
        """
        (result,) = self.search_many([query], k, min_score=min_score, exact=exact)
        if isinstance(result, QueryFailure):
            raise QueryError(result.error)
        return result

    def search_many(
        self,
        queries: Iterable[Query],
        k: int = 20,
        *,
        min_score: float | None = None,
        exact: bool = False,
    ) -> Iterator[SearchResult | QueryFailure]:
        """Answer a stream of queries in order; one that fails does not stop the others.

        Args:
            queries: as for ``search``; read as they come, answered in batches of what is there.
            k: as for ``search``.
            min_score: as for ``search``.
            exact: as for ``search``.

        Raises:
            SettingError: k or min_score is out of range.
            LibraryNotFoundError: there is no library.
        """
        wanted = Wanted(k, min_score, "exact" if exact else None)
        return search(self._resources, queries, wanted)

    def cluster(  # noqa: PLR0913 - each is a setting of its own, by keyword
        self,
        *,
        min_cluster_size: int = MIN_CLUSTER_SIZE,
        about: int | None = None,
        min_samples: int = 5,
        space: Space = "neighbourhood",
        anew: bool = False,
        progress: Progress = no_progress,
    ) -> Grouping:
        """Discover groups by HDBSCAN, and keep the grouping.

        A group that was there before keeps its id. Unless the last grouping is stale, what was
        found is a starting point: pictures stay where they were laid out, and groups stay unless
        others are clearly better.

        Args:
            min_cluster_size: smallest number of pictures that counts as a group, at least 2.
            about: how many groups are wished for; chooses ``min_cluster_size``, on the same tree.
            min_samples: how many neighbours make a place dense, at least 1; more gives fewer,
                tighter groups and more noise.
            space: ``neighbourhood``, in which pictures are near when they share neighbours: groups
                as people see them; or ``descriptor``, the embeddings as they are: faithful to
                their cosines, and on photos mostly a few large groups and noise.
            anew: begin as if there were no grouping yet; ids are kept all the same.
            progress: stages ``neighbours``, ``neighbourhood``, ``distances``, ``spanning tree``.

        Returns:
            The grouping; ``labels`` has the ids of groups, -1 for noise.

        Raises:
            SettingError: a setting is out of range.
            GroupingError: there are no pictures.
            LibraryNotFoundError: there is no library.
        """
        return cluster(
            self._resources,
            min_cluster_size=min_cluster_size,
            about=about,
            min_samples=min_samples,
            space=space,
            anew=anew,
            progress=progress,
        )

    def grouping(self) -> Grouping:
        """The grouping made last, with new pictures in it and decisions applied.

        Raises:
            GroupingError: there is none yet.
            LibraryNotFoundError: there is no library.
        """
        store, _ = self._resources.filled()
        kept = decided(store)
        if kept is None:
            raise GroupingError(f"the library {store.url} has no groups yet; run: imgindex cluster")
        return kept

    def group(self, group_id: int) -> GroupReport:
        """All that can be told of one group.

        Raises:
            GroupingError: there is no grouping yet.
            QueryError: there is no such group.
        """
        from .telling import report

        kept = self.grouping()
        self._check_group(kept, group_id)
        return report(self._resources.store(), kept, group_id)

    def history(self) -> list[Change]:
        """What became of groups in every run so far, oldest first."""
        return self._resources.store().history()

    def name_group(self, group_id: int, name: str) -> Decision:
        """Call a group by a name, in place of the one it has.

        Raises:
            GroupingError: there is no grouping yet.
            QueryError: there is no such group.
            SettingError: the name is empty.
        """
        if not name.strip():
            raise SettingError("a name cannot be empty; forget the decision to take one away")
        self._check_group(self.grouping(), group_id)
        return decide(self._resources.store(), "name", group=group_id, name=name)

    def pin_cover(self, group_id: int, picture: Query) -> Decision:
        """Have a picture stand for its group, in place of the medoid.

        Raises:
            GroupingError: there is no grouping yet.
            QueryError: there is no such group, or the picture is not in it.
        """
        kept = self.grouping()
        self._check_group(kept, group_id)
        picture_id = identify(self._resources, picture)
        if picture_id not in {kept.ids[at] for at in kept.members()[group_id]}:
            raise QueryError(f"{os.fspath(picture)} is not in group {group_id}; choose a member")
        return decide(self._resources.store(), "cover", group=group_id, pictures=[picture_id])

    def together(self, pictures: Sequence[Query]) -> Decision:
        """Say that pictures belong together, in the group of the one that is firmest in its own.

        Where all of them are noise they form a group.

        Raises:
            QueryError: one is not a picture of the library.
            SettingError: there are fewer than two different ones.
        """
        ids = [identify(self._resources, picture) for picture in pictures]
        return decide(self._resources.store(), "together", pictures=ids)

    def apart(self, pictures: Sequence[Query]) -> Decision:
        """Say that pictures do not belong in the group of the first one.

        They go where their neighbours in other groups are, or become noise.

        Raises:
            QueryError: one is not a picture of the library.
            SettingError: there are fewer than two different ones.
        """
        ids = [identify(self._resources, picture) for picture in pictures]
        return decide(self._resources.store(), "apart", pictures=ids)

    def decisions(self) -> list[Decision]:
        """What was decided and holds, by number."""
        return self._resources.store().decisions()

    def forget(self, number: int) -> None:
        """Forget a decision: everything is as if it had never been made.

        Raises:
            QueryError: there is none of that number.
        """
        if not self._resources.store().withdraw(number):
            raise QueryError(f"there is no decision {number}; see: imgindex groups decisions")

    @staticmethod
    def _check_group(kept: Grouping, group_id: int) -> None:
        if all(group.id != group_id for group in kept.every_group):
            raise QueryError(f"there is no group {group_id}; see: imgindex groups")

    def members(self) -> list[Member]:
        """Every present file of the grouping made last, with its picture's place in it.

        Raises:
            GroupingError: there is no grouping yet.
        """
        from .exporting import members

        kept = self.grouping()
        return members(self._resources.store(), kept)

    def export(
        self,
        target: str | os.PathLike[str],
        *,
        kind: Kind | None = None,
        link: Link = "symlink",
        force: bool = False,
        progress: Progress = no_progress,
    ) -> ExportReport:
        """Write the grouping made last as CSV, JSON, a tree of folders or a gallery page.

        Args:
            target: ``.csv``, ``.json`` or ``.html`` file, or a folder that is new or empty.
            kind: ``csv``, ``json``, ``html`` or ``folders``; None goes by the target's suffix.
            link: what the folders hold: ``symlink``, ``hardlink`` or ``copy``.
            force: replace a file that is there; folders are never replaced.
            progress: stage ``export``.

        Raises:
            GroupingError: there is no grouping yet.
            ExportError: the target is taken, or cannot be written.
        """
        from . import export
        from .exporting import export_of

        kept = self.grouping()
        return export.write(
            self._resources.target(target, force=force),
            export_of(self._resources.store(), kept),
            kind=kind,
            link=link,
            thumbnail=self.thumbnail,
            force=force,
            progress=progress,
        )

    def map(
        self,
        target: str | os.PathLike[str],
        *,
        size: tuple[int, int] = (2400, 1800),
        force: bool = False,
        progress: Progress = no_progress,
    ) -> MapReport:
        """Draw the library on a map: what is alike lies together, coloured by group.

        Args:
            target: an ``.html`` file, a page to walk about in, or a ``.png`` file.
            size: width and height of the PNG file in pixels.
            force: replace a file that is there.
            progress: stages ``neighbours``, ``layout`` and ``thumbnails``.

        Raises:
            ExportError: the target is of no such kind, is taken, or cannot be written.
            SettingError: the size is out of range.
            GroupingError: there are no pictures.
        """
        from . import mapping

        place = self._resources.target(target, force=force)
        return mapping.draw(self._resources, place, size, force=force, progress=progress)

    def save_page(
        self, result: SearchResult, target: str | os.PathLike[str], *, force: bool = False
    ) -> None:
        """Write the matches of a search as one self-contained page.

        Args:
            result: the matches.
            target: the ``.html`` file to make.
            force: replace a file that is there.

        Raises:
            ExportError: the target is taken, or cannot be written.
        """
        from . import results

        place = self._resources.target(target, force=force)
        results.write_page(result, place, thumbnail=self.thumbnail, force=force)

    def save_montage(
        self, result: SearchResult, target: str | os.PathLike[str], *, force: bool = False
    ) -> None:
        """Draw the matches of a search as a contact sheet, a PNG file; see ``save_page``."""
        from . import results

        place = self._resources.target(target, force=force)
        results.write_montage(result, place, thumbnail=self.thumbnail, force=force)

    def paths(self, ids: Collection[str]) -> dict[str, list[str]]:
        """The files of some pictures, those that are present; unknown ids are left out.

        Args:
            ids: whole ids, as matches and groupings give them.
        """
        return self._resources.store().paths(ids)

    def thumbnail(self, path: str, side: int = _THUMBNAIL) -> bytes | None:
        """A small JPEG of a picture file, or None if it cannot be read.

        Args:
            path: the file.
            side: its longer side in pixels.
        """
        try:
            return self._resources.thumbnail(path, side)
        except PictureError:
            return None

    def status(self) -> Status:
        """The library at a glance.

        Raises:
            LibraryNotFoundError: there is none.
        """
        from .telling import glance

        return glance(self._resources.store())

    def check_recall(
        self, k: int = 10, *, queries: int = 200, progress: Progress = no_progress
    ) -> RecallReport:
        """Measure on this library what searching by the graph misses.

        Args:
            k: how many nearest others should be found, at least 1.
            queries: how many pictures to look up, both ways; drawn at random, the same every time.
            progress: stage ``recall``.

        Raises:
            SettingError: k or queries is below 1.
        """
        store, _ = self._resources.filled()
        return check_recall(store, k, queries, progress)

    def verify(self, progress: Progress = no_progress) -> list[str]:
        """Check the library's files against each other; each contradiction is a line.

        Raises:
            LibraryNotFoundError: there is none.
        """
        try:
            return self._resources.store().verify(progress)
        except LibraryDamagedError as error:  # so badly that the check could not go on
            return [str(error)]
