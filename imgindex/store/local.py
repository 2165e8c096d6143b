"""The embedded store: a folder with SQLite, a vector file and a graph derived from it.

    library.sqlite   the truth: pictures, files, settings, groupings; WAL, synchronous
    vectors.f32      float32 rows; row i of d numbers begins at byte 4 * i * d; append-only
    graph.hnsw/.json the HNSW graph and its checksum; rebuilt when it is missing, stale or damaged
    lock             held by the one writer

Rows are appended and synced before the transaction that names them, so a kill at any instant
leaves at most a tail of rows that nothing names; the next writer cuts it off.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from imgindex.errors import (
    LibraryBusyError,
    LibraryDamagedError,
    LibraryFormatError,
    LibraryNotFoundError,
    StoreError,
)
from imgindex.records import StoreStats

from .base import check_pin
from .database import PRESENT, Database, portions
from .disk import holding, lock_of, make_folder
from .filters import passing_paths
from .groupings import KeptGroupings
from .growth import Growth
from .hnsw import Graph
from .mending import Mending
from .strangers import refuse_links
from .twins import KeptTwins, put_sketches
from .view import View, worth_walking
from .vouching import CHEAP, checksums

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Sequence

    import numpy as np
    from filelock import FileLock
    from numpy.typing import NDArray

    from imgindex.records import (
        Hit,
        IndexedFile,
        ModelPin,
        Picture,
        Progress,
        Rows,
        Way,
        Where,
    )

    from .vectors import VectorFile

# Loading the graph costs about as much as this many scans of every row, whatever their number.
_SCANS_WORTH_A_LOAD = 24
_COMPARED = 10_000  # pictures whose every pair is compared: no graph is built twice the same
_MANY = 64
_LACKING = 0.25  # of all rows: where a graph lacks more, it is hardly quicker than the scan
# A walk costs about as much as comparing 4,000 rows. So many may be compared besides before the
# graph is brought up to date; in a large library more, as that costs by its size.
_FEW, _BEHIND = 4096, 1 / 64
# What may be there without a database, where the power failed while the library was made.
_BEGUN = {"lock", *(f"library.sqlite-{what}" for what in ("journal", "wal", "shm"))}


class LocalStore(Mending, KeptTwins, KeptGroupings):
    """The Protocol of ``base`` in a folder."""

    def __init__(self, folder: str | os.PathLike[str], *, create: bool = False) -> None:
        """Open a library, or make one.

        Raises:
            LibraryNotFoundError: there is none and ``create`` is False.
            LibraryFormatError: the folder holds other things, or a newer imgindex wrote it.
            LibraryDamagedError: its files contradict each other.
        """
        self._folder = folder_of(folder)
        self.url = str(self._folder)
        self._prepare(create=create)
        self._writer = threading.RLock()  # one writing thread, for as long as it writes
        self._db = Database(self._folder / "library.sqlite")
        self._file: VectorFile | None = None
        self._graph: Graph | None = None
        self._growth = Growth()
        self._view: View | None = None
        self._scans = 0.0
        try:
            self._open(create=create)
        except BaseException:
            self.close()
            raise

    def _prepare(self, *, create: bool) -> None:
        try:
            (self._folder / "library.sqlite").stat()
            refuse_links(self._folder)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot open a library at {self._folder}: {error}") from error
        else:
            return
        if not create:
            raise LibraryNotFoundError(
                f"there is no library at {self._folder}; make one with: imgindex index FOLDER"
            )
        try:
            make_folder(self._folder)
            refuse_links(self._folder)
            strangers = {entry.name for entry in self._folder.iterdir()} - _BEGUN
        except OSError as error:
            raise StoreError(f"cannot make a library at {self._folder}: {error}") from error
        if strangers:
            raise LibraryFormatError(
                f"{self._folder} holds other things ({min(strangers)}); "
                "a library needs a folder of its own: give another --library"
            )

    def _open(self, *, create: bool) -> None:
        if self._db.version() == 0 and not create:
            raise LibraryNotFoundError(
                f"the library at {self.url} is empty; fill it with: imgindex index FOLDER"
            )
        if self._db.outdated():
            with self._held() if self._db.writable else nullcontext():
                self._db.migrate(self._seal)

    def _seal(self, db: sqlite3.Connection) -> None:
        """Give the rows of a library from before there were checksums theirs."""
        rows = self._mapped()
        named = [row for (row,) in db.execute("SELECT row FROM picture")]
        if beyond := [row for row in named if not 0 <= row < len(rows)]:
            raise self._db.damaged(f"it names row {beyond[0]} of {len(rows)}")
        sums = zip(checksums(rows[named]), named, strict=True)
        db.executemany("UPDATE picture SET checksum = ? WHERE row = ?", sums)
        if file := self._vectors():
            self._remember(file)

    def close(self) -> None:
        """See ``Store.close``."""
        self._db.close()
        self._file = self._graph = self._view = None

    @cached_property
    def _lock(self) -> FileLock:
        return lock_of(self._folder)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """See ``Store.writing``."""
        with self._held():
            outermost = self._lock.lock_counter == 1
            if outermost and (file := self._vectors()):
                self._sweep()
                if file.cut(self._count()):
                    self._remember(file)
            try:
                yield
            except BaseException:
                self._growth.end(early=True)
                raise
            finally:
                if outermost:
                    self._growth.end()

    @contextmanager
    def _held(self) -> Iterator[None]:
        with self._writer, holding(self._lock, self.url):
            yield

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self.writing(), self._db.transaction() as db:
            yield db

    def pin(self, pin: ModelPin) -> None:
        """See ``Store.pin``."""
        with self._transaction():
            pinned = self.pinned()
            check_pin(self.url, pinned, pin)
            if pinned is None:
                self._db.put("model", asdict(pin))

    def origin(self) -> str | None:
        """See ``Store.origin``."""
        origin = self._db.get("origin")
        return None if origin is None else str(origin)

    def put_origin(self, origin: str | None) -> None:
        """See ``Store.put_origin``."""
        with self._transaction():
            self._db.put("origin", origin)

    def version(self) -> str:
        """See ``Store.version``."""
        view = self._unchanged()
        return view.change if view else self._db.change()

    def files(self, roots: Sequence[str] | None = None) -> list[IndexedFile]:
        """See ``Store.files``."""
        from . import files

        with self._db.reading() as db:
            try:
                return files.load(db, roots)
            except (AttributeError, TypeError) as error:  # columns of other types
                raise self._db.damaged("its list of files cannot be read") from error

    def add(
        self, pictures: Sequence[Picture], rows: Rows, files: Sequence[IndexedFile] = ()
    ) -> None:
        """See ``Store.add``."""
        from .files import put
        from .rows import checked

        with self.writing():
            vectors = self._vectors()
            if vectors is None:
                raise StoreError("pin a model before adding pictures")
            rows = checked(rows, len(pictures), vectors.dimension)
            known = self.has([picture.id for picture in pictures])
            places: dict[str, int] = {}
            for place, picture in enumerate(pictures):
                if picture.id not in known:
                    places.setdefault(picture.id, place)
            at = list(places.values())
            fresh, rows = [pictures[place] for place in at], rows[at]
            sums = checksums(rows)
            first = self._count()
            if at:
                vectors.append(rows, first)
            with self._transaction() as db:
                db.executemany(
                    "INSERT INTO picture VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [
                        (row, p.id, p.width, p.height, p.format, p.taken, checksum)
                        for row, (p, checksum) in enumerate(zip(fresh, sums, strict=True), first)
                    ],
                )
                if sketched := [p for p in fresh if p.sketch]:
                    put_sketches(db, [(p.id, p.sketch) for p in sketched])
                self._db.put("rows", first + len(at))
                if at:
                    self._remember(vectors)
                put(db, files)
            if graph := self._derived():
                self._growth.begin(graph, first + len(at), self._mapped)

    def mark_missing(self, paths: Collection[str]) -> None:
        """See ``Store.mark_missing``."""
        with self._transaction() as db:
            db.executemany(
                "UPDATE file SET missing = 1 WHERE path = ?",
                [(os.fsencode(path),) for path in paths],
            )

    def forget(self, paths: Collection[str]) -> None:
        """See ``Store.forget``."""
        with self._transaction() as db:
            db.executemany(
                "DELETE FROM file WHERE path = ?", [(os.fsencode(path),) for path in paths]
            )

    def prune(self) -> tuple[int, int]:
        """See ``Store.prune``; their rows go with ``refresh``, once they are many."""
        with self._transaction() as db:
            files = db.execute("DELETE FROM file WHERE missing").rowcount
            pictures = db.execute(
                "DELETE FROM picture WHERE NOT EXISTS (SELECT 1 FROM file WHERE picture = row)"
            ).rowcount
        return files, pictures

    def remove(self, ids: Collection[str]) -> int:
        """See ``Store.remove``; see ``prune``."""
        gone = 0
        with self._transaction() as db:
            for marks, some in portions(dict.fromkeys(ids)):
                these = f"FROM picture WHERE id IN ({marks})"
                db.execute(f"DELETE FROM file WHERE picture IN (SELECT row {these})", some)
                gone += db.execute(f"DELETE {these}", some).rowcount
        return gone

    def search(
        self, queries: Rows, k: int, *, way: Way | None = None, where: Where | None = None
    ) -> tuple[Way, list[list[Hit]]]:
        """See ``Store.search``; few pictures are compared one by one, many go by the graph."""
        passing, view = None, self._unchanged()
        if view is None or where is not None:
            with self._looking() as (db, rows):
                view = self._unchanged()
                if view is None:
                    view = self._view = self._viewed(rows)
                passing = None if where is None else view.passing(db, where)
        count, graph = len(view.rows), None
        if count == 0 or (passing and not len(passing.rows)):
            return "exact", [[] for _ in queries]
        worth = way == "hnsw" or worth_walking(k, count)
        if worth if passing is None else passing.worth_walking(k):
            graph = self._walkable(count, len(queries), way)
        return view.search(queries, k, graph, passing)

    def _viewed(self, rows: Rows) -> View:
        """See the library inside a snapshot, its rows as ``vouching`` has it."""
        vouched, file = self._vouched(), self._vectors()
        if len(rows) <= CHEAP or (file and self._db.get("written") != file.written()):
            vouched.check(self._db, rows)
        self._derived()  # lets go of a graph of rows that were renumbered
        return View(self._db, self._db.moment(), rows, vouched)

    def _unchanged(self) -> View | None:
        """What was seen last, if it is so still."""
        view = self._view
        return view if view is not None and view.version == self._db.moment() else None

    def vectors(self, ids: Collection[str] | None = None) -> tuple[tuple[str, ...], Rows]:
        """See ``Store.vectors``."""
        view = None if ids is None else self._unchanged()
        known = view.vectors(ids) if view and ids is not None else None
        return known or super().vectors(ids)

    def paths(self, ids: Collection[str], where: Where | None = None) -> dict[str, list[str]]:
        """See ``Store.paths``."""
        view = None if where is not None else self._unchanged()
        known = view.known_paths(ids) if view else None
        if known is not None:
            return known
        with self._db.snapshot() as db:
            view = None if where is not None else self._unchanged()
            return view.paths(db, ids) if view else passing_paths(db, ids, where)

    def neighbours(
        self, ids: Sequence[str], k: int, progress: Progress
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """See ``Store.neighbours``; few pictures are compared one by one, many go by the graph."""
        import numpy as np

        from .rows import all_nearest

        with self._looking() as (db, mapped):
            named = dict(db.execute("SELECT id, row FROM picture"))
            self._vouched().check(self._db, mapped)
        rows = np.array([named[picture_id] for picture_id in ids])
        graph = None
        if len(rows) > _COMPARED:
            with suppress(LibraryBusyError):  # whoever writes brings it up to date in the end
                self.refresh(progress)
            graph = self._walkable(len(mapped), len(mapped), "hnsw", whole=True)
        if graph is None:
            return all_nearest(mapped[rows], k, progress), np.empty((0, 2), np.int32)
        return graph.neighbours(mapped, rows, k, progress), graph.links(rows, len(mapped))

    def _walkable(
        self, count: int, queries: int, way: Way | None, *, whole: bool = False
    ) -> Graph | None:
        """The loaded graph if it shall answer, else None for the exact scan.

        Args:
            count: rows that there are.
            queries: how many come at once.
            way: what was asked for.
            whole: it must hold every row; else the last ones may be missing, if they are few.
        """
        # So many at once are one matrix product, which beats as many walks.
        at_once = way is None and queries >= _MANY and count <= _COMPARED
        if way == "exact" or at_once:
            return None
        least = count if whole else count - int(count * _LACKING)
        graph = self._graph
        if graph and least <= graph.rows <= count:
            if not self._outdone(graph, count, queries):
                return graph
        else:
            graph = self._derived()
            if graph is None or not least <= graph.saved <= count:
                return None
            # Scanning is the better way until it has cost as much as loading would.
            self._scans += queries
            if graph.state(count) == "damaged" or (
                way is None and self._scans <= _SCANS_WORTH_A_LOAD
            ):
                return None
        try:
            graph.load(count)
        except (LibraryDamagedError, OSError):
            self._mistrust(graph, count)
            return None
        return graph

    def _outdone(self, graph: Graph, count: int, queries: int) -> bool:
        """Whether a newer graph is there, and comparing what this one lacks has cost a load."""
        self._scans += queries * (count - graph.rows) / count
        if graph.rows == count or self._scans <= _SCANS_WORTH_A_LOAD:
            return False
        self._scans = 0.0
        return graph.rows < graph.saved <= count

    def _mistrust(self, graph: Graph, rows: int) -> None:
        """Have the next index run build a damaged graph anew; a writer at work does so anyway."""
        if not self._writer.acquire(blocking=False):
            return
        try:
            with suppress(StoreError, OSError), self._held():
                try:
                    graph.load(rows)  # a writer may have put another one meanwhile
                except (LibraryDamagedError, OSError):
                    graph.discard()
        finally:
            self._writer.release()

    def _derived(self) -> Graph | None:
        with self._db.reading():
            pin, generation = self.pinned(), self._db.get("generation")
        if pin is None:
            return None
        if self._graph is None or self._graph.generation != generation:
            self._graph = Graph(self._folder, pin.dimension, str(generation))
        return self._graph

    def refresh(self, progress: Progress, *, lazily: bool = False) -> None:
        """See ``Store.refresh``."""
        graph, count = self._derived(), self._count()
        if graph is None:
            return
        if lazily and count - graph.saved <= max(_FEW, count * _BEHIND):
            return
        if graph.trusted(count) and not self._sparse():
            return
        with self.writing():
            self._growth.end()
            self._compact(progress)
            if graph := self._derived():
                graph.update(self._vouched_rows(), progress)

    def stats(self) -> StoreStats:
        """See ``Store.stats``."""
        with self._db.snapshot() as db:
            files, missing, unreadable = db.execute(
                "SELECT coalesce(sum(picture IS NOT NULL AND NOT missing), 0), "
                "coalesce(sum(missing), 0), "
                "coalesce(sum(reason IS NOT NULL AND NOT missing), 0) FROM file"
            ).fetchone()
            pictures = db.execute(f"SELECT count(*) FROM picture WHERE {PRESENT}").fetchone()[0]
            rows = self._count()
        graph = self._derived()
        return StoreStats(
            pictures=pictures,
            files=files,
            missing=missing,
            unreadable=unreadable,
            vectors=rows,
            index=graph.state(rows) if graph else "none",
            bytes=sum(map(_size, self._folder.iterdir())),
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a temporary file of the writer
        return 0


def folder_of(place: str | os.PathLike[str]) -> Path:
    """The folder that a user means."""
    return Path(os.path.abspath(os.path.expanduser(place)))  # noqa: PTH111 - Path's raises for unknown users
