"""The service behind the routes: the library, and the ways in which requests come to it."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast
from weakref import WeakValueDictionary

import numpy as np
import structlog

from imgindex.errors import LibraryBusyError, LibraryNotFoundError, QueryError, SettingError
from imgindex.records import PictureId, QueryFailure, Term

from .batching import Batcher, Pool, Threads
from .browse import Charts, Snapshots
from .events import Broadcast, Event
from .jobs import Jobs
from .metrics import Metrics
from .problems import Problem, no_picture, problem_of, too_busy
from .readers import Reader
from .thumbnails import Thumbnails
from .uploads import Uploads
from .wishes import Wish, search_together

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence

    from imgindex import Library
    from imgindex.records import AddReport, Box, Features, Pixels, Rows, SearchResult

    from .settings import ServiceSettings
    from .wishes import Query

_Found: TypeAlias = "SearchResult | QueryFailure"
_Searches: TypeAlias = "Batcher[tuple[Query, Wish], _Found]"
_Readings: TypeAlias = "Batcher[tuple[PictureId, Wish], bytes]"

_WATCH = 0.5  # seconds between two looks for changes
_SETTLED = 20  # looks without a change, after which the graph is brought up to date
_AT_ONCE = 16  # searches in a batch; larger ones are hardly quicker, and others wait longer
_AT_ONCE_DEEP = 4
_SEARCHING = 2  # batches of searches at once: one walks while another one is prepared
_FIRST_PAGES = 4096  # of which it is known who answered them
_EMBEDDED = 8  # pictures in a batch, until the model says how many it wants
_ADDED = 64
_FETCHED = 8
_IN_FLIGHT = 512_000_000  # bytes


class Service:
    """One library that is served.

    Attributes:
        library: the library.
        settings: what is allowed.
        in_flight: bytes of bodies that are read or worked on, and of files that are handed out.
        ready: the model and the graph are loaded, or there is no library to load them for.
        pool: threads for all that reads files or the database.
        decoding: threads that decode pictures.
        looking: one that looks into the network.
        fetching: those that wait for other servers.
        adding: brings files that several clients sent into the library at once.
        charts: the map.
        snapshots: what is kept of the library until it changes.
        uploads: pictures that clients ask with.
        features: what layers made of pictures, by kind, id and layer; the latest last.
        thumbnails: small forms of pictures.
        jobs: long work.
        broadcast: tells of jobs and changes.
        metrics: what is counted.
    """

    def __init__(self, library: Library, settings: ServiceSettings) -> None:
        """Make what needs no event loop."""
        self.library = library
        self.settings = settings
        self.ready = False
        self.in_flight = 0
        self.metrics = Metrics()
        cores, room = os.cpu_count() or 1, settings.room
        self.pool = Pool("work", max(4, cores), room)
        self.decoding = Pool("decode", cores, room)
        self.looking = Pool("look", 1, 8)
        self.fetching = Pool("fetch", _FETCHED, room)
        self._quick = self._searches("search", _AT_ONCE)
        self._deep = self._searches("deep", _AT_ONCE_DEEP)
        self._readers = [Reader(library.settings.library) for _ in range(settings.readers)]
        seen = self.metrics.batch("read")
        self._first_pages: dict[str, _Readings] = {}
        self._reading: list[_Readings] = [
            Batcher(reader, most=_AT_ONCE, room=room, seen=seen) for reader in self._readers
        ]
        self._embedding: Batcher[Pixels, Rows] = Batcher(
            Threads("embed", self._embed),
            most=_EMBEDDED,
            room=room,
            seen=self.metrics.batch("embed"),
        )
        self.adding: Batcher[str, AddReport] = Batcher(
            Threads("add", self._add), most=_ADDED, room=room, seen=self.metrics.batch("add")
        )
        self.snapshots = Snapshots(library)
        self.charts = Charts(library, self.snapshots)
        self.uploads = Uploads()
        self.features: dict[tuple[str, str, str | None], Features] = {}
        self.thumbnails = Thumbnails(settings.thumbnails, settings.thumbnail_bytes)
        self.broadcast = Broadcast()
        self.jobs = Jobs(self.broadcast)
        self._tasks: list[asyncio.Task[None]] = []
        self._storing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._log = structlog.get_logger()
        gauge = self.metrics.gauge
        gauge(
            "waiting_search",
            "Searches that wait.",
            lambda: self._quick.waiting + sum(one.waiting for one in self._reading),
        )
        gauge("waiting_deep", "Searches that take longer and wait.", lambda: self._deep.waiting)
        gauge(
            "waiting_embed", "Pictures that wait to be embedded.", lambda: self._embedding.waiting
        )
        gauge("waiting_add", "Files that wait to be added.", lambda: self.adding.waiting)
        gauge("thumbnail_bytes", "Bytes of thumbnails on disk.", lambda: self.thumbnails.held)

    def _searches(self, name: str, most: int) -> _Searches:
        seen = self.metrics.batch(name)
        room = self.settings.room
        threads: list[Threads[tuple[Query, Wish], _Found]] = [
            Threads(name, self._search) for _ in range(_SEARCHING)
        ]
        return Batcher(*threads, most=most, room=room, seen=seen)

    async def start(self) -> None:
        """Look for changes from now on, and load what the first requests need."""
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._warm())]

    async def stop(self) -> None:
        """Finish what runs; jobs end where nothing is lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.broadcast.close()
        await self.jobs.close()
        for reading in self._reading:
            await reading.close()
        for lane in (self._quick, self._deep, self._embedding, self.adding):
            await lane.close()
        await asyncio.to_thread(self._settle)
        for threads in (self.pool, self.decoding, self.looking, self.fetching):
            threads.close()

    async def search(self, query: Query, wish: Wish) -> SearchResult | bytes:
        """Answer a query, with those of others.

        Returns:
            The result, or the JSON of it.

        Raises:
            Problem: a picture is not in the library, or too much is asked for.
            ImgindexError: it cannot be answered.
        """
        if self._reading and wish.light and isinstance(query, PictureId):
            text = await self._reader(query, wish).ask((query, wish))
            if text:
                return text
        lane = self._quick if wish.light else self._deep
        found = await lane.ask((query, wish))
        if isinstance(found, QueryFailure) and (named := _named(query)):
            for picture in named:
                await self.check_picture(picture)
            found = await lane.ask((query, wish))  # one may have come back meanwhile
        if isinstance(found, QueryFailure):
            raise QueryError(found.error)
        return found

    async def search_sent(
        self,
        terms: Callable[[], Awaitable[Sequence[Term]]],
        wish: Wish,
        named: Collection[str | None] = (),
    ) -> SearchResult | bytes:
        """Answer a query with pictures that were sent; see ``search``.

        Args:
            terms: makes the terms; once more if a picture that was found in the library left it
                before the search, as it is embedded then.
            wish: see ``search``.
            named: ids that the client gave: they are not sent pictures.
        """
        made = await terms()
        try:
            return await self.search(made, wish)
        except Problem as problem:
            sent = [picture for picture in _named(made) if picture not in named]
            if not any(problem.body == no_picture(picture).body for picture in sent):
                raise
        return await self.search(await terms(), wish)

    def _reader(self, picture: str, wish: Wish) -> _Readings:
        """Who answers: for a later page whoever has the first one, else who has least to do."""
        reading = self._first_pages.get(picture) if wish.offset else None
        if reading is None:
            reading = min(self._reading, key=lambda one: one.inside)
            self._first_pages[picture] = reading
            if len(self._first_pages) > _FIRST_PAGES:
                del self._first_pages[next(iter(self._first_pages))]
        return reading

    async def term_of(self, data: bytes, name: str, box: Box | None, weight: float = 1) -> Term:
        """A term of a picture that was sent: where to look for what is like it.

        Raises:
            Problem: too much is asked for.
            ImgindexError: the picture cannot be read, or the model finds nothing in it.
        """
        key = str(box or "")
        row = self.uploads.row(name, key)
        if row is None:
            seen = await self.decoding.run(self.library.see, Term(data, box=box, name=name))
            if seen.ndim == 1:  # it may have no file, and is no picture to ask by then
                known = await self.knows(name)
                return Term(PictureId(name) if known else cast("Rows", seen), weight, name=name)
            row = await self._embedding.ask(cast("Pixels", seen))
            if np.isnan(row[0]):
                raise QueryError("the model finds nothing in this picture; send another one")
            self.uploads.remember(name, key, row)
        return Term(row, weight, name=name if box is None else f"{name} [{box}]")

    async def check_picture(self, picture_id: str) -> None:
        """Refuse an id that is none of the library's.

        Raises:
            Problem: it is none.
        """
        if not await self.knows(picture_id):
            raise no_picture(picture_id)

    async def knows(self, picture_id: str) -> bool:
        """Whether a picture is in the library."""
        try:
            return bool(await self.pool.run(self.library.paths, [picture_id]))
        except LibraryNotFoundError:
            return False

    def storing(self, picture_id: str) -> asyncio.Lock:
        """To be held by whoever puts a picture's file into the service's folder, or takes it."""
        return self._storing.setdefault(picture_id, asyncio.Lock())

    def check_room(self, size: int) -> None:
        """Refuse to hold more bytes than there is room for; any one thing has room alone.

        Raises:
            Problem: others hold too much.
        """
        if self.in_flight and self.in_flight + size > max(_IN_FLIGHT, self.settings.max_upload):
            raise too_busy(1)

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Count bytes that are held until the end of the block."""
        self.in_flight += size
        try:
            yield
        finally:
            self.in_flight -= size

    def discard(self, paths: Sequence[str]) -> None:
        """Delete files that were added through the service; no others."""
        folder = self.settings.uploads
        for path in paths:
            if folder is not None and Path(path).is_relative_to(folder.absolute()):
                Path(path).unlink(missing_ok=True)

    async def change(self) -> str:
        """Another text whenever the library has changed; empty where there is none."""
        return await self.pool.run(self.snapshots.change)

    def check_free(self) -> None:
        """Refuse to write while a job does.

        Raises:
            Problem: one does.
        """
        running = self.jobs.running
        if running is not None and running.kind in {"index", "duplicates"}:
            raise problem_of(
                LibraryBusyError(
                    f"the job {running.id} ({running.kind}) is writing to the library; "
                    "try again when it has ended, or cancel it"
                )
            )

    def _search(self, asked: Sequence[tuple[Query, Wish]]) -> Sequence[_Found | Exception]:
        return search_together(self.library, asked)

    def _embed(self, images: Sequence[Pixels]) -> list[Rows]:
        return list(self.library.embed(images))

    def _add(self, files: Sequence[str]) -> list[AddReport | Exception]:
        try:
            report = self.library.add(files, settle=False)
            return [report] * len(files)
        except SettingError as error:  # one has vanished meanwhile; the others have not
            return [error] if len(files) == 1 else [self._add([file])[0] for file in files]
        finally:
            self.snapshots.anew()

    async def _watch(self) -> None:
        """Tell of changes, by whomever; bring the graph up to date when there were none."""
        last, quiet = "", _SETTLED
        while True:
            change = await asyncio.to_thread(self._change, last)
            if change != last:
                self.broadcast.tell(Event("library", {"change": change}))
                last, quiet = change, 0
            elif quiet < _SETTLED:
                quiet += 1
                if quiet == _SETTLED and self.jobs.running is None:
                    await asyncio.to_thread(self._settle)
            await asyncio.sleep(_WATCH)

    def _change(self, last: str) -> str:
        try:
            return self.snapshots.change()
        except Exception as error:  # noqa: BLE001 - it may pass, and then there is news again
            self._log.warning("the library cannot be looked at", reason=str(error))
            return last

    def _settle(self) -> None:
        try:
            self.library.settle()
        except LibraryNotFoundError:
            pass
        except Exception as error:  # noqa: BLE001 - searches find all the same, only slower
            self._log.warning("the graph is not up to date", reason=str(error))

    async def _warm(self) -> None:
        try:
            await asyncio.to_thread(self.library.warm)
            nobody = PictureId("0" * 32), Wish(k=1)
            await asyncio.gather(*(reading.ask(nobody) for reading in self._reading))
            self._embedding.most = await asyncio.to_thread(lambda: self.library.batch)
        except LibraryNotFoundError:
            pass
        except Exception as error:  # noqa: BLE001 - whoever asks for it is told
            self._log.warning("not everything can be asked", reason=str(error))
        self.ready = True


def _named(query: Query) -> list[PictureId]:
    """The pictures of the library that a query names."""
    pictures = [query] if isinstance(query, PictureId) else [term.picture for term in query]
    return [picture for picture in pictures if isinstance(picture, PictureId)]
