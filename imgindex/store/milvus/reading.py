"""Reading a library on Milvus: its pictures, their files, and what looks like what."""

from __future__ import annotations

import os
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from imgindex.errors import StoreError
from imgindex.records import Hit
from imgindex.store.filters import in_order, of_files
from imgindex.store.rows import all_nearest, nearest

from . import entities
from .entities import FACTS, PRESENT
from .server import MOST, quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from imgindex.records import ModelPin, Order, Picture, Progress, Rows, Way, Where

    from .place import Place
    from .server import Entity, Server

_SCANNED = 4_000  # rows of a scan that are held at once
_COMPARED = 4_000  # pictures that are quicker compared than searched among
_NAMED = 400_000  # ids that one condition may name: 14 MB
_ASKED = 256  # pictures whose neighbours are asked for at once
_LISTED = 64  # neighbours that a spanning tree wants of an index which tells no links
_FURTHER = 8  # times as many are asked for where too few were of any use


class Reading:
    """That part of the Protocol of ``imgindex.store`` which only reads pictures."""

    _place: Place
    _server: Server
    _pictures: str
    _files: str

    def pinned(self) -> ModelPin | None:
        """See ``Store.pinned``."""
        raise NotImplementedError

    def listing(self, order: Order, where: Where | None = None) -> tuple[str, ...]:
        """See ``Store.listing``."""
        present = self._passing(where)
        first = sorted(present, key=lambda one: os.fsencode(present[one][0]))
        if order == "path" or not first:
            return tuple(first)
        dates = {one["id"]: one["taken"] or None for one in self._every_picture(["taken"])}
        return in_order({one: dates.get(one) for one in first}, order)

    def resolve(self, prefix: str, limit: int = 2) -> list[str]:
        """See ``Store.resolve``."""
        if self.pinned() is None:
            return []
        condition = f"id >= {quoted(prefix)} and id < {quoted(prefix + 'g')} and present == true"
        return sorted(one["id"] for one in self._server.first(self._pictures, [], condition, limit))

    def picture(self, picture_id: str) -> Picture | None:
        """See ``Store.picture``."""
        return self.pictures([picture_id]).get(picture_id)

    def pictures(self, ids: Collection[str]) -> dict[str, Picture]:
        """See ``Store.pictures``."""
        if self.pinned() is None:
            return {}
        found = self._server.get(self._pictures, ids, [*FACTS, "sketch"])
        return {one["id"]: entities.picture_of(one) for one in found}

    def paths(self, ids: Collection[str], where: Where | None = None) -> dict[str, list[str]]:
        """See ``Store.paths``."""
        return self._passing(where, list(dict.fromkeys(ids)))

    def vector(self, picture_id: str) -> Rows | None:
        """See ``Store.vector``."""
        if self.pinned() is None:
            return None
        for one in self._server.get(self._pictures, [picture_id], ["row"]):
            return np.array(one["row"], np.float32)
        return None

    def vectors(self, ids: Collection[str] | None = None) -> tuple[tuple[str, ...], Rows]:
        """See ``Store.vectors``."""
        pin = self.pinned()
        kept: list[str] = []
        blocks = [np.empty((0, pin.dimension if pin else 0), np.float32)]
        for names, rows in self._rows(ids):
            kept += names
            blocks.append(rows)
        whole = np.concatenate(blocks)
        order = sorted(range(len(kept)), key=kept.__getitem__)
        return tuple(kept[at] for at in order), whole[order]

    def block(self, after: str, limit: int) -> tuple[tuple[str, ...], Rows]:
        """See ``Store.block``."""
        found: list[Entity] = []
        while self.pinned() is not None and len(found) < limit:
            behind = f"id > {quoted(found[-1]['id'] if found else after)}"
            most = min(_SCANNED, limit - len(found))
            more = self._server.first(self._pictures, ["row"], behind, most)
            found += sorted(more, key=itemgetter("id"))
            if len(more) < most:
                break
        rows = np.array([one["row"] for one in found], np.float32)
        return tuple(one["id"] for one in found), rows.reshape(len(found), self._dimension())

    def search(
        self, queries: Rows, k: int, *, way: Way | None = None, where: Where | None = None
    ) -> tuple[Way, list[list[Hit]]]:
        """See ``Store.search``."""
        if self.pinned() is None:
            return "exact", [[] for _ in queries]
        condition = entities.of_pictures(where)
        condition = f"present == true and {condition}" if condition else "present == true"
        ids = None if where is None else self._named(where)
        if ids is not None:
            if (len(ids) <= _COMPARED and way != "hnsw") or len(ids) > _NAMED:
                way = "exact"
            condition += f" and id in {quoted(sorted(ids))}"

        def among() -> Collection[str] | None:
            return None if where is None else self._passing(where).keys()

        if way == "exact" or k > MOST:
            return "exact", self._compared(queries, k, among())
        found = self._server.search(self._pictures, queries, k, condition, self._place.consistency)
        lines = [[Hit(one, min(1.0, max(-1.0, score))) for one, score in line] for line in found]
        least = min(map(len, lines), default=k)
        if least < k and least < self._server.count(self._pictures, condition):
            # Filters that let little through lead walks astray.
            return "exact", self._compared(queries, k, among())
        return ("hnsw" if any(lines) else "exact"), [sorted(line, key=_falling) for line in lines]

    def neighbours(
        self, ids: Sequence[str], k: int, progress: Progress
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """See ``Store.neighbours``."""
        rows = self.rows_of(ids)
        if len(ids) <= _COMPARED:
            return all_nearest(rows, k, progress), np.empty((0, 2), np.int32)
        names = np.array(ids, np.bytes_)
        order = np.argsort(names)
        found, _ = self.nearby(names[order], 0, rows[order], max(k, _LISTED), progress)
        lines = np.empty_like(found)
        lines[order] = np.where(found < 0, -1, order[found])
        return lines, np.empty((0, 2), np.int32)

    def rows_of(self, ids: Sequence[str]) -> Rows:
        """The rows of pictures that are here, float32 [n, d]; they may be without a file."""
        places = {one: at for at, one in enumerate(ids)}
        rows = np.full((len(ids), self._dimension()), np.nan, np.float32)
        for one in self._server.get(self._pictures, ids, ["id", "row"]):
            rows[places[one["id"]]] = one["row"]
        if len(lost := np.flatnonzero(np.isnan(rows[:, 0]))):
            raise StoreError(f"picture {ids[lost[0]]} is gone from {self._place.url}; run it again")
        return rows

    def nearby(
        self, ids: NDArray[np.bytes_], start: int, rows: Rows, k: int, progress: Progress
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The nearest of chosen pictures to some of them.

        Args:
            ids: bytes [n], the chosen pictures, ascending.
            start: the first of those to look for; they follow each other.
            rows: float32 [m, d], theirs.
            k: how many others of each, where there are so many.
            progress: called with the stage ``neighbours``.

        Returns:
            Places among the chosen, int64 [m, k + 1], -1 for none, and their cosines, as the
            server has them, float32 [m, k + 1]; each is likely to be among its own nearest.
        """
        k = min(k, len(ids) - 1)
        places = np.full((len(rows), k + 1), -1, np.int64)
        cosines = np.full((len(rows), k + 1), -1, np.float32)
        for first in range(0, len(rows), _ASKED):
            left = np.arange(first, min(first + _ASKED, len(rows)))
            # Nearer ones may be none of the chosen, as copies of each other.
            fetch = min(MOST, k + 1 + max(8, k // 8))
            while len(left):
                found = self._server.search(
                    self._pictures, rows[left], fetch, "present == true", "Bounded"
                )
                for at, line in zip(left.tolist(), found, strict=True):
                    near, scores = _among(ids, line, k + 1)
                    places[at, : len(near)], cosines[at, : len(near)] = near, scores
                left = left[places[left, k] < 0] if fetch < MOST else left[:0]
                fetch = min(MOST, fetch * _FURTHER)
            progress("neighbours", min(first + _ASKED, len(rows)), len(rows))
        # Behind too many others: the nearest of those at hand.
        for at in np.flatnonzero(places[:, k] < 0).tolist():
            some = min(k + 1, len(rows))
            (near,), (scores,) = nearest(rows, rows[at : at + 1], some)
            places[at, :some], cosines[at, :some] = near + start, scores
        return places, cosines

    def _dimension(self) -> int:
        pin = self.pinned()
        return 0 if pin is None else pin.dimension

    def _every_picture(self, fields: Sequence[str], condition: str = "") -> Iterator[Entity]:
        if self.pinned() is None:
            return
        yield from self._server.every(self._pictures, fields, condition, page=_SCANNED)

    def _all_ids(self) -> Iterator[str]:
        return (one["id"] for one in self._every_picture([]))

    def _present_ids(self) -> Iterator[str]:
        return (one["id"] for one in self._every_picture([], "present == true"))

    def _files_of(self, ids: Iterable[str], condition: str = "") -> Iterator[Entity]:
        return self._server.get(self._files, ids, ["path", "picture"], condition, key="picture")

    def _copies(self, ids: Iterable[str]) -> set[str]:
        """Those of the pictures that have a present file."""
        return {one["picture"] for one in self._files_of(ids, "missing == false")}

    def _rows(self, ids: Collection[str] | None) -> Iterator[tuple[list[str], Rows]]:
        """Present pictures with their rows, in blocks."""
        if ids is None:
            found = self._every_picture(["row"], "present == true")
        elif self.pinned() is None:
            return
        else:
            found = self._server.get(self._pictures, ids, ["id", "row"], "present == true")
        names, rows = list[str](), list[Any]()
        for one in found:
            names.append(one["id"])
            rows.append(np.asarray(one["row"], np.float32))
            if len(rows) == _SCANNED:
                yield names, np.stack(rows)
                names, rows = [], []
        if rows:
            yield names, np.stack(rows)

    def _compared(self, queries: Rows, k: int, among: Collection[str] | None) -> list[list[Hit]]:
        """The best of all, or of some, by comparing every row."""
        best: list[list[Hit]] = [[] for _ in queries]
        for names, rows in self._rows(among):
            places, cosines = nearest(rows, queries, min(k, len(names)))
            for at, line in enumerate(best):
                line += [
                    Hit(names[place], float(cosine))
                    for place, cosine in zip(places[at], cosines[at], strict=True)
                ]
                best[at] = sorted(line, key=_falling)[:k]
        return best

    def _named(self, where: Where) -> set[str] | None:
        """Ids of the pictures that a filter lets through by their files or by name."""
        if not (where.paths or where.folders):
            return None if where.ids is None else set(where.ids)
        let = of_files(where)
        named = {
            one["picture"]
            for one in self._server.every(
                self._files, ["path", "picture"], _and(PRESENT, entities.below(where.folders))
            )
            if let(entities.unspelled(one["path"]))
        }
        return named if where.ids is None else named & where.ids

    def _passing(
        self, where: Where | None, ids: Sequence[str] | None = None
    ) -> dict[str, list[str]]:
        """Present files that a filter lets through, by picture, ascending."""
        folders = "" if where is None else entities.below(where.folders)
        condition = _and(PRESENT, folders)
        if where is not None and where.ids is not None:
            ids = [one for one in (where.ids if ids is None else ids) if one in where.ids]
        found = (
            self._server.every(self._files, ["path", "picture"], condition)
            if ids is None
            else self._files_of(ids, condition)
        )
        let = None if where is None else of_files(where)
        present: dict[str, list[str]] = {}
        for one in found:
            path = entities.unspelled(one["path"])
            if let is None or let(path):
                present.setdefault(one["picture"], []).append(path)
        facts = entities.of_pictures(where)
        if facts and present:
            meets = {one["id"] for one in self._server.get(self._pictures, present, ["id"], facts)}
            present = {one: copies for one, copies in present.items() if one in meets}
        order = [one for one in (present if ids is None else ids) if one in present]
        return {one: sorted(present[one], key=os.fsencode) for one in order}


def _among(
    ids: NDArray[np.bytes_], line: Sequence[tuple[str, float]], most: int
) -> tuple[NDArray[np.intp], list[float]]:
    """The places of hits among chosen pictures, ascending ones, and their cosines."""
    names = np.array([one for one, _ in line], np.bytes_)
    at = np.minimum(np.searchsorted(ids, names), len(ids) - 1)
    chosen = np.flatnonzero(ids[at] == names)[:most]
    return at[chosen], [line[one][1] for one in chosen.tolist()]


def _and(*conditions: str) -> str:
    return " and ".join(f"({one})" for one in conditions if one)


def _falling(hit: Hit) -> tuple[float, str]:
    return -hit.score, hit.id
