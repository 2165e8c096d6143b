"""A store that ends when it is let go: exact, small; for tests and for trying things out."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from imgindex.errors import StoreError
from imgindex.records import Hit, StoreStats

from .base import check_file, check_pin, joined_by, within, without
from .filters import in_order, of_files, passes
from .rows import all_nearest, checked, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from imgindex.records import (
        Change,
        Decision,
        Grouping,
        IndexedFile,
        ModelPin,
        Order,
        Picture,
        Progress,
        Rows,
        Twin,
        Way,
        Where,
    )


class MemoryStore:
    """The Protocol of ``base`` over dictionaries."""

    url = "memory:"

    def __init__(self) -> None:
        """Make an empty store."""
        self._writer = threading.RLock()  # one writing thread, for as long as it writes
        self._lock = threading.RLock()  # whoever touches the dictionaries, for a moment
        self._pin: ModelPin | None = None
        self._pictures: dict[str, Picture] = {}
        self._rows: dict[str, Rows] = {}
        self._files: dict[str, IndexedFile] = {}
        self._examined: set[str] = set()
        self._twins: dict[tuple[str, str], Twin] = {}
        self._grouping: Grouping | None = None
        self._history: list[Change] = []
        self._decisions: dict[int, Decision] = {}
        self._decided = 0
        self._origin: str | None = None
        self._changes = 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """See ``Store.writing``; other threads go on reading."""
        with self._writer:
            yield

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            yield
            self._changes += 1

    def version(self) -> str:
        """See ``Store.version``."""
        return str(self._changes)

    def pinned(self) -> ModelPin | None:
        """See ``Store.pinned``."""
        return self._pin

    def pin(self, pin: ModelPin) -> None:
        """See ``Store.pin``."""
        with self._writer, self._lock:
            check_pin(self.url, self._pin, pin)
            if self._pin is None:
                self._pin = pin
                self._changes += 1

    def files(self, roots: Sequence[str] | None = None) -> list[IndexedFile]:
        """See ``Store.files``."""
        with self._lock:
            chosen = [f for path, f in self._files.items() if roots is None or within(path, roots)]
        return sorted(chosen, key=lambda file: os.fsencode(file.path))

    def has(self, ids: Collection[str]) -> set[str]:
        """See ``Store.has``."""
        with self._lock:
            return {picture_id for picture_id in ids if picture_id in self._pictures}

    def add(
        self, pictures: Sequence[Picture], rows: Rows, files: Sequence[IndexedFile] = ()
    ) -> None:
        """See ``Store.add``."""
        with self._writer, self._changing():
            if self._pin is None:
                raise StoreError("pin a model before adding pictures")
            rows = checked(rows, len(pictures), self._pin.dimension)
            known = self._pictures.keys() | {picture.id for picture in pictures}
            for file in files:
                check_file(file)
                if file.id is not None and file.id not in known:
                    raise StoreError(f"{file.path}: there is no picture {file.id}")
            for picture, row in zip(pictures, rows, strict=True):
                if picture.id not in self._pictures:
                    self._pictures[picture.id] = picture
                    self._rows[picture.id] = row.copy()
            self._files.update((file.path, file) for file in files)

    def mark_missing(self, paths: Collection[str]) -> None:
        """See ``Store.mark_missing``."""
        with self._writer, self._changing():
            for path in paths:
                if path in self._files:
                    self._files[path] = self._files[path]._replace(missing=True)

    def forget(self, paths: Collection[str]) -> None:
        """See ``Store.forget``."""
        with self._writer, self._changing():
            for path in paths:
                self._files.pop(path, None)

    def prune(self) -> tuple[int, int]:
        """See ``Store.prune``."""
        with self._writer, self._lock:
            gone = [path for path, file in self._files.items() if file.missing]
            if gone:
                self.forget(gone)
            used = {file.id for file in self._files.values()}
            return len(gone), self.remove(self._pictures.keys() - used)

    def remove(self, ids: Collection[str]) -> int:
        """See ``Store.remove``."""
        with self._writer, self._lock:
            dead = self._pictures.keys() & set(ids)
            self._changes += bool(dead)
            self._files = {path: file for path, file in self._files.items() if file.id not in dead}
            for picture_id in dead:
                del self._pictures[picture_id], self._rows[picture_id]
            self._examined -= dead
            self._twins = {pair: t for pair, t in self._twins.items() if not dead & set(pair)}
            return len(dead)

    def listing(self, order: Order, where: Where | None = None) -> tuple[str, ...]:
        """See ``Store.listing``."""
        with self._lock:
            return in_order({one: self._pictures[one].taken for one in self._present(where)}, order)

    def resolve(self, prefix: str, limit: int = 2) -> list[str]:
        """See ``Store.resolve``."""
        with self._lock:
            return sorted(i for i in self._present() if i.startswith(prefix))[:limit]

    def picture(self, picture_id: str) -> Picture | None:
        """See ``Store.picture``."""
        return self._pictures.get(picture_id)

    def pictures(self, ids: Collection[str]) -> dict[str, Picture]:
        """See ``Store.pictures``."""
        with self._lock:
            return {one: self._pictures[one] for one in ids if one in self._pictures}

    def put_sketches(self, sketches: Mapping[str, bytes]) -> None:
        """See ``Store.put_sketches``."""
        with self._writer, self._changing():
            for one in sketches.keys() & self._pictures.keys():
                self._pictures[one] = replace(self._pictures[one], sketch=sketches[one])

    def twins(self) -> list[Twin]:
        """See ``Store.twins``."""
        with self._lock:
            return [twin for _, twin in sorted(self._twins.items())]

    def examined(self) -> set[str]:
        """See ``Store.examined``."""
        with self._lock:
            return self._examined & self._pictures.keys()

    def save_twins(self, examined: Collection[str], twins: Sequence[Twin]) -> None:
        """See ``Store.save_twins``."""
        with self._writer, self._changing():
            here = self._pictures.keys()
            self._twins |= {(t.a, t.b): t for t in twins if {t.a, t.b} <= here}
            self._examined |= here & set(examined)

    def forget_examined(self, ids: Collection[str]) -> None:
        """See ``Store.forget_examined``."""
        with self._writer, self._changing():
            self._examined -= set(ids)

    def paths(self, ids: Collection[str], where: Where | None = None) -> dict[str, list[str]]:
        """See ``Store.paths``."""
        with self._lock:
            present = self._present(where)
        return {picture_id: present[picture_id] for picture_id in ids if picture_id in present}

    def vector(self, picture_id: str) -> Rows | None:
        """See ``Store.vector``."""
        return self._rows.get(picture_id)

    def vectors(self, ids: Collection[str] | None = None) -> tuple[tuple[str, ...], Rows]:
        """See ``Store.vectors``."""
        with self._lock:
            present = self._present()
            kept = tuple(sorted(present if ids is None else set(present) & set(ids)))
            dimension = self._pin.dimension if self._pin else 0
            rows = np.empty((len(kept), dimension), np.float32)
            for at, picture_id in enumerate(kept):
                rows[at] = self._rows[picture_id]
        return kept, rows

    def block(self, after: str, limit: int) -> tuple[tuple[str, ...], Rows]:
        """See ``Store.block``."""
        with self._lock:
            ids = tuple(sorted(one for one in self._rows if one > after)[:limit])
            dimension = self._pin.dimension if self._pin else 0
            rows = np.array([self._rows[one] for one in ids], np.float32)
        return ids, rows.reshape(len(ids), dimension)

    def search(
        self,
        queries: Rows,
        k: int,
        *,
        way: Way | None = None,  # noqa: ARG002 - there is one way here
        where: Where | None = None,
    ) -> tuple[Way, list[list[Hit]]]:
        """See ``Store.search``."""
        with self._lock:
            ids, rows = self.vectors(None if where is None else self._present(where))
        if not ids:
            return "exact", [[] for _ in queries]
        places, cosines = nearest(rows, queries, min(k, len(ids)))
        return "exact", [
            [Hit(ids[at], float(cosine)) for at, cosine in zip(line, scores, strict=True)]
            for line, scores in zip(places, cosines, strict=True)
        ]

    def neighbours(
        self, ids: Sequence[str], k: int, progress: Progress
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """See ``Store.neighbours``."""
        with self._lock:
            rows = np.stack([self._rows[picture_id] for picture_id in ids])
        return all_nearest(rows, k, progress), np.empty((0, 2), np.int32)

    def refresh(self, progress: Progress, *, lazily: bool = False) -> None:
        """See ``Store.refresh``; nothing is derived here."""

    def save_grouping(self, grouping: Grouping, changes: Sequence[Change] = ()) -> None:
        """See ``Store.save_grouping``."""
        with self._changing():
            self._grouping = grouping
            self._history += changes

    def history(self) -> list[Change]:
        """See ``Store.history``."""
        with self._lock:
            return list(self._history)

    def ungrouped(self) -> list[str]:
        """See ``Store.ungrouped``."""
        with self._lock:
            if self._grouping is None:
                return []
            return sorted(self._present().keys() - set(self._grouping.ids))

    def join(self, joined: Grouping) -> None:
        """See ``Store.join``."""
        with self._changing():
            if self._grouping is not None and self._grouping.created == joined.created:
                self._grouping = joined_by(self._grouping, joined)

    def grouping(self) -> Grouping | None:
        """See ``Store.grouping``."""
        with self._lock:
            if self._grouping is None:
                return None
            return without(self._grouping, self._pictures.keys())

    def decide(self, decision: Decision) -> int:
        """See ``Store.decide``."""
        with self._changing():
            number = self._decided + 1
            self.put_decisions([replace(decision, number=number)], number)
            return number

    def decisions(self) -> list[Decision]:
        """See ``Store.decisions``."""
        with self._lock:
            return list(self._decisions.values())

    def withdraw(self, number: int) -> bool:
        """See ``Store.withdraw``."""
        with self._lock:
            gone = self._decisions.pop(number, None) is not None
            self._changes += gone
            return gone

    def decided(self) -> int:
        """See ``Store.decided``."""
        return self._decided

    def put_decisions(self, decisions: Sequence[Decision], decided: int) -> None:
        """See ``Store.put_decisions``."""
        with self._changing():
            self._decisions |= {one.number: one for one in decisions}
            self._decisions = dict(sorted(self._decisions.items()))
            self._decided = max([self._decided, decided, *self._decisions])
            if self._grouping is not None:
                groups = [one.group for one in decisions if one.group is not None]
                free = max([self._grouping.next_id, *(group + 1 for group in groups)])
                self._grouping = replace(self._grouping, next_id=free)

    def origin(self) -> str | None:
        """See ``Store.origin``."""
        return self._origin

    def put_origin(self, origin: str | None) -> None:
        """See ``Store.put_origin``."""
        with self._writer, self._changing():
            self._origin = origin

    def stats(self) -> StoreStats:
        """See ``Store.stats``."""
        with self._lock:
            files = self._files.values()
            return StoreStats(
                pictures=len(self._present()),
                files=sum(file.id is not None and not file.missing for file in files),
                missing=sum(file.missing for file in files),
                unreadable=sum(file.reason is not None and not file.missing for file in files),
                vectors=len(self._rows),
                index="none",
                bytes=0,
            )

    def verify(self, progress: Progress) -> list[str]:
        """See ``Store.verify``."""
        with self._lock:
            progress("verify", len(self._files), len(self._files))
            return [
                f"{file.path}: there is no picture {file.id}"
                for file in self._files.values()
                if file.id is not None and file.id not in self._pictures
            ]

    def repair(
        self, embed: Callable[[Sequence[str]], Mapping[str, Rows]], progress: Progress
    ) -> tuple[list[str], list[str]]:
        """See ``Store.repair``; what lies in memory is not damaged."""
        del embed, progress
        return [], []

    def close(self) -> None:
        """See ``Store.close``; there is nothing to let go of."""

    def _present(self, where: Where | None = None) -> dict[str, list[str]]:
        let = None if where is None else of_files(where)
        present: dict[str, list[str]] = {}
        for path in sorted(self._files, key=os.fsencode):
            file = self._files[path]
            if file.id is not None and not file.missing and (let is None or let(path)):
                present.setdefault(file.id, []).append(path)
        if where is None:
            return present
        return {
            one: copies for one, copies in present.items() if passes(where, self._pictures[one])
        }
