"""The Protocol of ``imgindex.store`` over a Milvus server."""

from __future__ import annotations

import os
import secrets
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from imgindex.errors import LibraryFormatError, LibraryNotFoundError, StoreError
from imgindex.records import ModelPin, StoreStats, to_json
from imgindex.store.base import check_file, check_pin, within
from imgindex.store.rows import checked, not_unit

from . import entities
from .entities import FACTS, PRESENT
from .groupings import KeptGroupings
from .notes import Lease, Notes
from .place import Place
from .reading import Reading
from .server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from imgindex.records import (
        IndexedFile,
        Picture,
        Progress,
        Rows,
    )

    from .server import Entity

_FORMAT = 1
_FRESH = 0.2  # seconds for which others may not have changed anything
_PENDING = 1_500  # ids in one note
_FILED = tuple(entities.FILE)
_EVERY = (*FACTS, "shape", "kind", "sketch", "present", "row")


class MilvusStore(Reading, KeptGroupings):
    """A library in three collections of a server: ``NAME``, ``NAME_files`` and ``NAME_notes``."""

    def __init__(self, text: str | Place, *, create: bool = False) -> None:
        """Open it.

        Args:
            text: ``milvus://HOST:PORT/NAME``; see ``Place.parse``. Or what that gave.
            create: make an empty one if there is none.

        Raises:
            SettingError: the URL is none.
            LibraryNotFoundError: there is none and ``create`` is False.
            LibraryFormatError: it was written by a newer imgindex, or is not a library.
            StoreError: the server cannot be reached, or cannot do it.
        """
        self._place = Place.parse(text) if isinstance(text, str) else text
        self.url = self._place.url
        self._server = Server(self._place)
        name = self._place.name
        self._pictures, self._files = name, f"{name}_files"
        self._notes = Notes(self._server, f"{name}_notes")
        self._writer = Lease(self._notes, "write", self.url)
        self._grouping_lease = Lease(self._notes, "groups", self.url)
        self._pin: ModelPin | None = None
        self._seen = threading.Lock()
        self._version, self._looked = "", 0.0
        self._closed = False
        if not self._server.has(f"{name}_notes"):
            if self._server.has(name):
                raise LibraryFormatError(
                    f"{self.url} is a collection of somebody else's; choose another name"
                )
            if not create:
                raise LibraryNotFoundError(
                    f"there is no library at {self.url}; make one with: "
                    f"imgindex index --library {self.url} FOLDER"
                )
            self._server.create(self._files, entities.FILE, 2)
            self._notes.create()
            self._notes.put({"format": _FORMAT})
        self._check_format(create=create)

    def _check_format(self, *, create: bool) -> None:
        found = self._notes.get("format", strong=True)
        if found is None and create:  # whoever made it died before this was noted
            self._notes.put({"format": _FORMAT})
            return
        if found != _FORMAT:
            raise LibraryFormatError(
                f"{self.url} has format {found}; this imgindex reads {_FORMAT}: install a newer one"
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """See ``Store.writing``; the right to write ends by itself when its holder dies."""
        with self._writer.held() as first:
            if first:
                self._mend()
            yield

    @property
    def place(self) -> Place:
        """Where it is; it opens the same library on another machine."""
        return self._place

    @contextmanager
    def sharing(self) -> Iterator[str]:
        """Write, and let processes elsewhere put pictures meanwhile; see ``put``.

        What they put and no file came to hold is dropped in the end, or by the next writer.

        Returns:
            What they need to do so.
        """
        with self.writing():
            self._server.shared = True
            try:
                yield self._writer.key
                self._mend()
                self._notes.drop([f"pending/{key}" for key in self._notes.below("pending")])
            finally:
                self._server.shared = False

    def put(self, right: str, pictures: Sequence[Picture], rows: Rows) -> str:
        """Put pictures under the right of another process to write; files of them are its part.

        Putting the same ones again changes nothing.

        Args:
            right: what ``sharing`` gave there.
            pictures: what to put.
            rows: float32 [len(pictures), d], of length 1.

        Returns:
            What to call ``settled`` with, once there are files of them.

        Raises:
            LibraryBusyError: that process has ended.
        """
        rows = checked(rows, len(pictures), self._dimension())
        ids = sorted(one.id for one in pictures)
        note = f"pending/{entities.key_of(''.join(ids))}"
        self._writer.require(right)
        self._notes.put({note: ids})
        entity = entities.picture_entity
        self._server.put(
            self._pictures,
            (entity(one, row, present=True) for one, row in zip(pictures, rows, strict=True)),
        )
        return note

    def settled(self, note: str) -> None:
        """Note that the pictures of a ``put`` have their files."""
        self._notes.put({note: ()})

    @contextmanager
    def _changing(self, ids: Callable[[], Iterable[str]]) -> Iterator[None]:
        """Change pictures or files; their ids are noted before, and dropped when all is done."""
        with self.writing():
            self._writer.check()
            every = list(ids())
            keys = [f"pending/{at:08}" for at in range(0, len(every), _PENDING)]
            some = [every[at : at + _PENDING] for at in range(0, len(every), _PENDING)]
            self._notes.put(dict(zip(keys, some, strict=True)))
            yield
            self._notes.put(dict.fromkeys(keys, ()))
            self._changed()

    def _mend(self) -> None:
        """Set right what a writer that died left half done."""
        pending = self._notes.below("pending")
        if any(pending.values()):
            self._settle((one for some in pending.values() for one in some), roll_back=True)
            self._notes.put({f"pending/{key}": () for key in pending})
            self._changed()

    def _settle(self, ids: Iterable[str], *, roll_back: bool = False) -> None:
        """Have every picture say whether a file of it is present.

        Args:
            ids: pictures.
            roll_back: drop those without any file, as if they had never been added.
        """
        ids = list(dict.fromkeys(ids))
        there = self._copies(ids)
        if roll_back:
            known = {one["picture"] for one in self._files_of(ids)}
            dead = [one for one in ids if one not in known]
            self._server.take(self._pictures, dead)
            ids = [one for one in ids if one in known]
        wrong = [
            one["id"]
            for one in self._server.get(self._pictures, ids, ["id", "present"])
            if one["present"] != (one["id"] in there)
        ]
        changed = (
            one | {"present": one["id"] in there}
            for one in self._server.get(self._pictures, wrong, _EVERY)
        )
        self._server.put(self._pictures, map(_rowed, changed))

    def _changed(self) -> None:
        version = secrets.token_hex(8)
        self._notes.put({"version": version})
        with self._seen:
            self._version, self._looked = version, time.monotonic()

    def version(self) -> str:
        """See ``Store.version``; of others' changes it knows a fifth of a second later."""
        with self._seen:
            if time.monotonic() - self._looked > _FRESH:
                self._version = self._notes.get("version") or ""
                self._looked = time.monotonic()
            return self._version

    def pinned(self) -> ModelPin | None:
        """See ``Store.pinned``."""
        if self._pin is None:
            told = self._notes.get("pin")
            self._pin = None if told is None else ModelPin(**told)
        return self._pin

    def pin(self, pin: ModelPin) -> None:
        """See ``Store.pin``."""
        check_pin(self.url, self.pinned(), pin)
        if self.pinned() is None:
            with self.writing():
                if not self._server.has(self._pictures):
                    self._server.create(self._pictures, entities.PICTURE, pin.dimension, graph=True)
                self._notes.put({"pin": to_json(pin)})
                self._changed()

    def origin(self) -> str | None:
        """See ``Store.origin``."""
        origin = self._notes.get("origin", strong=True)
        return None if origin is None else str(origin)

    def put_origin(self, origin: str | None) -> None:
        """See ``Store.put_origin``."""
        with self.writing():
            self._notes.put({"origin": origin})
            self._changed()

    def files(self, roots: Sequence[str] | None = None) -> list[IndexedFile]:
        """See ``Store.files``."""
        if roots is not None and not roots:
            return []
        condition = "" if roots is None else entities.below(roots)
        found = map(entities.file_of, self._server.every(self._files, _FILED, condition))
        chosen = [one for one in found if roots is None or within(one.path, roots)]
        return sorted(chosen, key=lambda one: os.fsencode(one.path))

    def has(self, ids: Collection[str]) -> set[str]:
        """See ``Store.has``."""
        if self.pinned() is None:
            return set()
        return {one["id"] for one in self._server.get(self._pictures, ids, ["id"])}

    def add(
        self, pictures: Sequence[Picture], rows: Rows, files: Sequence[IndexedFile] = ()
    ) -> None:
        """See ``Store.add``."""
        pin = self.pinned()
        if pin is None:
            raise StoreError("pin a model before adding pictures")
        rows = checked(rows, len(pictures), pin.dimension)
        for file in files:
            check_file(file)
        new: dict[str, tuple[Picture, Rows]] = {}
        for picture, row in zip(pictures, rows, strict=True):
            new.setdefault(picture.id, (picture, row))
        put = {file.path: file for file in files}
        with self.writing():
            named = {file.id for file in files if file.id is not None}
            here = self.has({*new, *named})
            for file in files:
                if file.id is not None and file.id not in here and file.id not in new:
                    raise StoreError(f"{file.path}: there is no picture {file.id}")
            keys = list(map(entities.key_of, put))
            before = {one["picture"] for one in self._server.get(self._files, keys, ["picture"])}
            touched = (named | before) - {""}
            with self._changing(lambda: touched | new.keys()):
                present = {one.id for one in put.values() if not one.missing}
                self._server.put(
                    self._pictures,
                    (
                        entities.picture_entity(picture, row, present=picture.id in present)
                        for picture, row in new.values()
                        if picture.id not in here
                    ),
                )
                self._server.put(self._files, map(entities.file_entity, put.values()))
                self._settle(touched & (here | before))

    def mark_missing(self, paths: Collection[str]) -> None:
        """See ``Store.mark_missing``."""
        self._change_files(paths, lambda one: one._replace(missing=True))

    def forget(self, paths: Collection[str]) -> None:
        """See ``Store.forget``."""
        self._change_files(paths, lambda _: None)

    def _change_files(
        self, paths: Collection[str], change: Callable[[IndexedFile], IndexedFile | None]
    ) -> None:
        with self.writing():
            keys = [entities.key_of(path) for path in dict.fromkeys(paths)]
            found = list(map(entities.file_of, self._server.get(self._files, keys, _FILED)))
            touched = {one.id for one in found if one.id is not None}
            with self._changing(lambda: touched):
                after = [(one.path, change(one)) for one in found]
                left = (entities.file_entity(one) for _, one in after if one is not None)
                self._server.put(self._files, left)
                gone = [entities.key_of(path) for path, one in after if one is None]
                self._server.take(self._files, gone)
                self._settle(touched)

    def prune(self) -> tuple[int, int]:
        """See ``Store.prune``."""
        with self.writing():
            gone = [
                entities.unspelled(one["path"])
                for one in self._server.every(self._files, ["path"], "missing == true")
            ]
            if gone:
                self.forget(gone)
            used = {one["picture"] for one in self._server.every(self._files, ["picture"])}
            every = self._all_ids()
            return len(gone), self.remove([one for one in every if one not in used])

    def remove(self, ids: Collection[str]) -> int:
        """See ``Store.remove``."""
        with self.writing():
            dead = self.has(ids)
            if not dead:
                return 0
            with self._changing(lambda: dead):
                files = [one["id"] for one in self._files_of(dead)]
                self._server.take(self._files, files)
                self._server.take(self._pictures, list(dead))
                self._forget_twins(dead)
            return len(dead)

    def put_sketches(self, sketches: Mapping[str, bytes]) -> None:
        """See ``Store.put_sketches``."""
        from base64 import b64encode

        with self.writing():
            found = self._server.get(self._pictures, sketches, _EVERY)
            self._server.put(
                self._pictures,
                (_rowed(e) | {"sketch": b64encode(sketches[e["id"]]).decode()} for e in found),
            )
            self._changed()

    def refresh(self, progress: Progress, *, lazily: bool = False) -> None:
        """See ``Store.refresh``; the server sees to that by itself."""

    def stats(self) -> StoreStats:
        """See ``Store.stats``; how large it is on the server's disks is not known here."""
        here = self.pinned() is not None
        count = self._server.count
        pictures = count(self._pictures, "present == true") if here else 0
        return StoreStats(
            pictures=pictures,
            files=count(self._files, PRESENT),
            missing=count(self._files, "missing == true"),
            unreadable=count(self._files, 'picture == "" and missing == false'),
            vectors=count(self._pictures) if here else 0,
            index="ready" if pictures else "none",
            bytes=0,
        )

    def verify(self, progress: Progress) -> list[str]:
        """See ``Store.verify``."""
        wrong = []
        if any(self._notes.below("pending").values()):
            wrong.append("a change was begun and not ended; the next one sets it right")
        files = self.files()
        present = {one.id for one in files if not one.missing}
        known = set[str]()
        for at, one in enumerate(self._every_picture(["present", "row"])):
            known.add(one["id"])
            if one["present"] != (one["id"] in present):
                wrong.append(f"picture {one['id']}: it is not known whether a file is present")
            for _, length in not_unit(np.array([one["row"]], np.float32)):
                wrong.append(f"picture {one['id']}: its embedding has length {length:.4g}, not 1")
            progress("verify", at, at + len(files))
        wrong += [
            f"{file.path}: there is no picture {file.id}"
            for file in files
            if file.id is not None and file.id not in known
        ]
        progress("verify", len(known) + len(files), len(known) + len(files))
        return wrong

    def repair(
        self, embed: Callable[[Sequence[str]], Mapping[str, Rows]], progress: Progress
    ) -> tuple[list[str], list[str]]:
        """See ``Store.repair``; the server looks after its files itself."""
        del embed, progress
        return [], []

    def drop(self) -> None:
        """Delete the whole library from the server."""
        for name in (self._pictures, self._files, f"{self._place.name}_notes"):
            if self._server.has(name):
                self._server.drop(name)

    def close(self) -> None:
        """See ``Store.close``."""
        if not self._closed:
            self._closed = True
            self._server.close()


def _rowed(entity: Entity) -> Entity:
    """An entity as it may be put again."""
    return {**entity, "row": np.asarray(entity["row"], np.float32)}
