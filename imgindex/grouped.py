"""What a library can do with its groups: find them, tell of them, take decisions, write them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .asking import identify, identify_all
from .decisions import decide, decided
from .errors import GroupingError, PictureError, QueryError, SettingError
from .records import MIN_CLUSTER_SIZE, NOISE, Grouping, no_progress
from .regrouping import cluster

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .export import Kind, Link
    from .mapping import MapReport
    from .records import Change, Chart, Decision, Engine, ExportReport, Member, Progress, Space
    from .resources import Resources
    from .telling import GroupReport

_THUMBNAIL = 320


class Grouped:
    """The part of a ``Library`` that deals with groups."""

    _resources: Resources

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

    def cluster(  # noqa: PLR0913 - each is a setting of its own, by keyword
        self,
        *,
        min_cluster_size: int = MIN_CLUSTER_SIZE,
        about: int | None = None,
        min_samples: int = 5,
        space: Space = "neighbourhood",
        anew: bool = False,
        engine: Engine = "local",
        address: str | None = None,
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
            engine: who looks for neighbours and, in the descriptors, for the spanning tree: this
                process, or with ``ray`` a cluster, which needs a library on Milvus. This process
                holds every vector in either case.
            address: of the cluster; see ``imgindex.distributed.session``.
            progress: stages ``neighbours``, ``neighbourhood``, ``distances``, ``ranges``,
                ``spanning tree``.

        Returns:
            The grouping; ``labels`` has the ids of groups, -1 for noise.

        Raises:
            SettingError: a setting is out of range.
            GroupingError: there are no pictures.
            LibraryNotFoundError: there is no library.
            EngineError: the cluster cannot be used.
        """
        return cluster(
            self._resources,
            min_cluster_size=min_cluster_size,
            about=about,
            min_samples=min_samples,
            space=space,
            anew=anew,
            engine=engine,
            address=address,
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

    def group(self, group_id: int, *, offset: int = 0, limit: int | None = None) -> GroupReport:
        """All that can be told of one group, or of what is in none.

        Args:
            group_id: the group; -1 for the pictures in none.
            offset: how many of the members, the firmest first, to pass over.
            limit: how many members to tell of at most; None for all.

        Raises:
            GroupingError: there is no grouping yet.
            QueryError: there is no such group.
            SettingError: the offset is below 0, or the limit below 1.
        """
        from .telling import report

        if offset < 0:
            raise SettingError(f"the offset must be at least 0, not {offset}")
        if limit is not None and limit < 1:
            raise SettingError(f"the limit must be at least 1, not {limit}")
        kept = self.grouping()
        if group_id != NOISE:
            self._check_group(kept, group_id)
        return report(self._resources.store(), kept, group_id, offset, limit)

    def ids_of(self, groups: Iterable[int]) -> frozenset[str]:
        """The ids of all pictures in some groups, those in groups inside them included.

        Args:
            groups: ids of groups; -1 for the pictures in none.

        Raises:
            GroupingError: there is no grouping yet.
            QueryError: there is no such group.
        """
        kept = self.grouping()
        members = kept.members()
        members[NOISE] = [at for at, label in enumerate(kept.labels.tolist()) if label == NOISE]
        wanted = set(groups)
        for group_id in wanted - {NOISE}:
            self._check_group(kept, group_id)
        return frozenset(kept.ids[at] for group_id in wanted for at in members[group_id])

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
        _check_name(name)
        self._check_group(self.grouping(), group_id)
        return decide(self._resources.store(), "name", group=group_id, name=name)

    def pin_cover(self, group_id: int, picture: str | os.PathLike[str]) -> Decision:
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

    def together(self, pictures: Sequence[str | os.PathLike[str]]) -> Decision:
        """Say that pictures belong together, in the group of the one that is firmest in its own.

        Where all of them are noise they form a group.

        Raises:
            QueryError: one is not a picture of the library.
            SettingError: there are fewer than two different ones.
        """
        ids = identify_all(self._resources, pictures)
        return decide(self._resources.store(), "together", pictures=ids)

    def apart(self, pictures: Sequence[str | os.PathLike[str]]) -> Decision:
        """Say that pictures do not belong in the group of the first one.

        They go where their neighbours in other groups are, or become noise.

        Raises:
            QueryError: one is not a picture of the library.
            SettingError: there are fewer than two different ones.
        """
        ids = identify_all(self._resources, pictures)
        return decide(self._resources.store(), "apart", pictures=ids)

    def form_group(
        self, pictures: Sequence[str | os.PathLike[str]], name: str | None = None
    ) -> Decision:
        """Say that pictures are a group of their own, wherever they are now.

        Args:
            pictures: files, or ids of indexed pictures.
            name: what to call the group, which is a further decision; None for nothing.

        Returns:
            The decision; its ``group`` is the new group's id, which no group ever had.

        Raises:
            QueryError: one is not a picture of the library.
            SettingError: there are fewer than two different ones, or the name is empty.
        """
        if name is not None:
            _check_name(name)
        store = self._resources.store()
        made = decide(store, "form", pictures=identify_all(self._resources, pictures))
        if name is not None:
            decide(store, "name", group=made.group, name=name)
        return made

    def merge_groups(self, groups: Iterable[int]) -> Decision:
        """Say that all pictures of some groups belong together.

        The group that stays is one that has a name, else the largest.

        Args:
            groups: ids of two groups or more; parts may be among them, and go into the others.

        Returns:
            The decision, of kind ``together``; its ``group`` is the one that all are in now.

        Raises:
            GroupingError: there is no grouping yet.
            QueryError: there is no such group.
            SettingError: these are not several groups, or all of them are parts.
        """
        kept = self.grouping()
        known = {group.id: group for group in kept.every_group}
        wanted = list(dict.fromkeys(groups))
        for group_id in wanted:
            self._check_group(kept, group_id)
        listed = ", ".join(map(str, wanted))
        whole = [known[one] for one in wanted if known[one].parent is None]
        if not whole:
            raise SettingError(
                "name two different groups or more to merge, not all of them parts"
                + (f"; given: {listed}" if listed else "")
            )
        stays = max(whole, key=lambda group: (group.name is not None, group.size, -group.id))
        members = kept.members()
        wanted.sort(key=lambda one: one != stays.id)
        own = [at for group_id in wanted for at in members[group_id]]
        if (kept.labels[own] == stays.id).all():
            raise SettingError(f"name two different groups or more to merge; {listed} are one")
        store = self._resources.store()
        made = decide(store, "together", group=stays.id, pictures=[kept.ids[at] for at in own])
        name = next((known[one].name for one in wanted if known[one].name is not None), None)
        if stays.name is None and name is not None:  # it was a part's
            decide(store, "name", group=stays.id, name=name)
        return made

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

    def chart(self, progress: Progress = no_progress) -> Chart:
        """Lay every picture out on a plane, beside those like it; see ``map``.

        Args:
            progress: stages ``neighbours`` and ``layout``.

        Raises:
            GroupingError: there are no pictures.
            LibraryNotFoundError: there is no library.
        """
        from . import mapping

        return mapping.chart(self._resources, progress)


def _check_name(name: str) -> None:
    if not name.strip():
        raise SettingError("a name cannot be empty; forget the decision to take one away")
