"""The Protocol of every store.

A store holds pictures by content, one unit row each, and files by path. Methods are safe to call
from several threads. Those that change pictures, files or vectors take the writer's lock for their
own length; ``writing`` holds it over many. Every change is whole or absent, also after a kill.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from imgindex.errors import ModelMismatchError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from imgindex.records import (
        Change,
        Decision,
        Grouping,
        Hit,
        IndexedFile,
        ModelPin,
        Order,
        Picture,
        Progress,
        Rows,
        StoreStats,
        Twin,
        Way,
        Where,
    )

_SERVERS = ("milvus", "milvus+tls")
_COLUMNS = ("labels", "parts", "strengths", "outliers", "exemplars", "joined", "places")


class Store(Protocol):
    """What a library asks of the place it lives in."""

    @property
    def url(self) -> str:
        """Where it is, as messages name it."""

    def writing(self) -> AbstractContextManager[None]:
        """Hold the writer's lock; may be nested.

        Raises:
            LibraryBusyError: another process or store object holds it.
        """

    def pinned(self) -> ModelPin | None:
        """The model of the vectors; None while nothing was ever added."""

    def pin(self, pin: ModelPin) -> None:
        """Fix the model for good.

        Raises:
            ModelMismatchError: another one is fixed already.
        """

    def version(self) -> str:
        """Another one whenever pictures, files, groupings or decisions have changed.

        Whoever changed them, this process or another one; it takes some microseconds.
        """

    def files(self, roots: Sequence[str] | None = None) -> list[IndexedFile]:
        """Every file known, missing and unreadable ones included, by path.

        Args:
            roots: only these paths and what lies below them; None for all.
        """

    def has(self, ids: Collection[str]) -> set[str]:
        """Those of the ids that have a vector here, whether or not a file is present."""

    def add(
        self, pictures: Sequence[Picture], rows: Rows, files: Sequence[IndexedFile] = ()
    ) -> None:
        """Add pictures and put files, in one step that happens whole or not at all.

        A picture that is here already keeps its row; a path that is here already is replaced.

        Args:
            pictures: the pictures of the rows.
            rows: float32 [len(pictures), d], finite, of length 1.
            files: what to put under their paths; each id is among ``pictures`` or here already.

        Raises:
            StoreError: rows of the wrong shape, not finite or not of length 1; an unknown id.
        """

    def mark_missing(self, paths: Collection[str]) -> None:
        """Note that files have vanished; no result names them from now on."""

    def forget(self, paths: Collection[str]) -> None:
        """Drop what is known of these paths; pictures and vectors stay."""

    def prune(self) -> tuple[int, int]:
        """Drop missing files, then pictures without files; how many of each."""

    def remove(self, ids: Collection[str]) -> int:
        """Drop pictures with all that is known of their files; how many there were."""

    def listing(self, order: Order, where: Where | None = None) -> tuple[str, ...]:
        """Ids of all pictures with a present file, in order.

        Args:
            order: ``path``: by the first of their files; ``taken``: the oldest first; ``newest``:
                the latest first. Pictures without a date come last; those of one date, and those
                without, go by path.
            where: only pictures that it lets through, by the first file that it lets through.
        """

    def resolve(self, prefix: str, limit: int = 2) -> list[str]:
        """Ids that begin with the prefix, ascending, at most ``limit``; present pictures only."""

    def picture(self, picture_id: str) -> Picture | None:
        """One picture by its whole id."""

    def pictures(self, ids: Collection[str]) -> dict[str, Picture]:
        """Those of the pictures that are here, by id, with their sketches."""

    def put_sketches(self, sketches: Mapping[str, bytes]) -> None:
        """Keep sketches of pictures that are here, by id; others are left out."""

    def twins(self) -> list[Twin]:
        """The pairs of pictures that were verified to be copies, by ids."""

    def examined(self) -> set[str]:
        """Ids of the pictures whose twins were looked for, among all that were examined."""

    def save_twins(self, examined: Collection[str], twins: Sequence[Twin]) -> None:
        """Keep pairs, in one step with the pictures whose pairs they are all of.

        Pictures that are not here any more are left out.
        """

    def forget_examined(self, ids: Collection[str]) -> None:
        """Have the twins of these pictures looked for again; pairs that are known stay."""

    def paths(self, ids: Collection[str], where: Where | None = None) -> dict[str, list[str]]:
        """Present files of each picture, paths ascending; a picture without any is left out.

        Args:
            ids: which pictures; unknown ones are left out.
            where: only files, and files of pictures, that it lets through; None for all.
        """

    def vector(self, picture_id: str) -> Rows | None:
        """The row of one picture, float32 [d], or None if it is not here."""

    def vectors(self, ids: Collection[str] | None = None) -> tuple[tuple[str, ...], Rows]:
        """Pictures with a present file: ids ascending, and their rows, float32 [n, d].

        Args:
            ids: which of them; None for all. Others are left out.
        """

    def block(self, after: str, limit: int) -> tuple[tuple[str, ...], Rows]:
        """The next pictures by id, whether or not a file of them is present, with their rows.

        Args:
            after: the id that they come after; empty for the first ones.
            limit: how many at most, at least 1.

        Returns:
            Ids ascending, fewer than ``limit`` only where there are no more, and float32 [n, d].
        """

    def search(
        self, queries: Rows, k: int, *, way: Way | None = None, where: Where | None = None
    ) -> tuple[Way, list[list[Hit]]]:
        """Nearest pictures that have a present file.

        Args:
            queries: float32 [q, d], unit length.
            k: how many at most, at least 1.
            way: compare every vector, or walk the graph; None lets the store choose. A graph is
                walked only where that is quicker than comparing all that ``where`` lets through.
            where: only pictures that it lets through, k of them if there are as many; None for all.

        Returns:
            The way that really ran, and for each query its hits by falling score.
        """

    def neighbours(
        self, ids: Sequence[str], k: int, progress: Progress
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Propose the nearest others of many pictures, among these pictures only.

        Args:
            ids: pictures that are here, each once; below, a picture is its place in them.
            k: how many, below the number of pictures.
            progress: called with the stage ``neighbours``.

        Returns:
            int64 [n, m], m > k, in no order: at least k others of each picture, besides itself and
            -1; and further pairs that lie near by the index's own structure, int32 [l, 2], perhaps
            none.
        """

    def refresh(self, progress: Progress, *, lazily: bool = False) -> None:
        """Bring what is derived from the vectors (the HNSW graph) up to date.

        Args:
            progress: called with the stage ``index``.
            lazily: only where it lacks so many that searching, which compares those one by one,
                would suffer.
        """

    def save_grouping(self, grouping: Grouping, changes: Sequence[Change] = ()) -> None:
        """Keep a grouping in place of the last one; also while another process adds pictures.

        Args:
            grouping: what to keep.
            changes: what became of the groups of the last one; they are added to the history.
        """

    def history(self) -> list[Change]:
        """What became of groups in every run so far, oldest first."""

    def ungrouped(self) -> list[str]:
        """Present pictures without a place in the kept grouping, ascending; none if there is none.

        It is kept that a picture is noise, so noise is not among them.
        """

    def join(self, joined: Grouping) -> None:
        """Add pictures to the kept grouping, beside those that it has.

        Args:
            joined: the pictures, with the groups, settings and time of the grouping that they
                were compared with. If that is not the one kept any more, nothing is done.
        """

    def grouping(self) -> Grouping | None:
        """The grouping kept last; pictures pruned since then are left out."""

    def decide(self, decision: Decision) -> int:
        """Keep what a user decided; its own number does not count, the one it gets is returned.

        No new group will get the id of the group in it, not even when it is forgotten.
        """

    def decisions(self) -> list[Decision]:
        """The decisions that hold, by number."""

    def withdraw(self, number: int) -> bool:
        """Forget a decision; False if there is none of that number."""

    def decided(self) -> int:
        """The highest number that a decision has or had; 0 if there never was one."""

    def put_decisions(self, decisions: Sequence[Decision], decided: int) -> None:
        """Keep decisions of another store under the numbers that they have there.

        Args:
            decisions: what to keep; one that is here already is the same, or its beginning.
            decided: no number up to this one is given again.
        """

    def origin(self) -> str | None:
        """What this library is an unfinished copy of; None for a whole library."""

    def put_origin(self, origin: str | None) -> None:
        """Note that it is an unfinished copy, or that it is whole."""

    def stats(self) -> StoreStats:
        """The store's figures."""

    def verify(self, progress: Progress) -> list[str]:
        """Check everything against everything; each contradiction in a line of its own."""

    def repair(
        self, embed: Callable[[Sequence[str]], Mapping[str, Rows]], progress: Progress
    ) -> tuple[list[str], list[str]]:
        """Mend what ``verify`` finds, as far as it can be.

        Args:
            embed: gives rows of pictures by ids, float32 [d] each; those that it cannot embed again
                are left out.
            progress: called with the stages ``verify``, ``repair`` and ``index``.

        Returns:
            What was mended, a line each; and ids of pictures whose rows are lost, which have left
            the store.

        Raises:
            LibraryBusyError: another process is writing to it.
            LibraryDamagedError: it cannot be mended.
        """

    def close(self) -> None:
        """Let go of files and locks; may be called twice."""


def remote(url: str) -> bool:
    """Whether a place is on a server."""
    return url.partition("://")[0] in _SERVERS


def shown(url: str) -> str:
    """A place as messages name it: without the token and the settings of a server's URL."""
    if not remote(url):
        return url
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def check_pin(url: str, pinned: ModelPin | None, pin: ModelPin) -> None:
    """Let a model through if its vectors may lie beside those of the pinned one.

    Raises:
        ModelMismatchError: they may not.
    """
    if pinned is None or replace(pinned, name=pin.name) == pin:
        return

    def told(pin: ModelPin) -> str:
        return (
            f"{pin.name} (fingerprint {pin.fingerprint[:12]}, {pin.dimension} numbers, "
            f"preprocessing {pin.preprocessing})"
        )

    raise ModelMismatchError(
        f"the library {url} was built with {told(pinned)}, not with {told(pin)}; "
        "their vectors cannot be compared. Use that model, or another --library"
    )


def check_file(file: IndexedFile) -> None:
    """Let a file through if it holds a picture, or says why not.

    Raises:
        StoreError: it does neither, or both.
    """
    if (file.id is None) == (file.reason is None):
        raise StoreError(f"{file.path} needs either the id of a picture or the reason for none")


def within(path: str, roots: Sequence[str]) -> bool:
    """Whether a path is one of the roots or lies below one."""
    return any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)


def joined_by(grouping: Grouping, joined: Grouping) -> Grouping:
    """A grouping with further pictures, which replace those of the same ids."""
    import numpy as np

    new = set(joined.ids)
    old = without(grouping, {one for one in grouping.ids if one not in new})
    order = sorted(range(len(old.ids) + len(new)), key=[*old.ids, *joined.ids].__getitem__)
    ids = tuple([*old.ids, *joined.ids][at] for at in order)
    merged: dict[str, Any] = {
        name: np.concatenate([getattr(old, name), getattr(joined, name)])[order]
        for name in _COLUMNS
    }
    return replace(grouping, ids=ids, **merged).counted()


def without(grouping: Grouping, here: Container[str]) -> Grouping:
    """A grouping less the pictures that are not here any more; group numbers stay."""
    keep = [at for at, picture_id in enumerate(grouping.ids) if picture_id in here]
    if len(keep) == len(grouping.ids):
        return grouping
    kept: dict[str, Any] = {name: getattr(grouping, name)[keep] for name in _COLUMNS}
    ids = tuple(grouping.ids[at] for at in keep)
    return replace(grouping, ids=ids, **kept).counted()
