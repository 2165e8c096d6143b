"""The library: pictures in, neighbours and groups out.

Its three journeys are ``add``, ``search`` and ``cluster``; the rest is a look at what they left.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .copied import Copied
from .errors import LibraryDamagedError, PictureError, QueryError
from .grouped import Grouped
from .held import Held
from .indexing import index
from .queried import Queried
from .records import QueryFailure, Term, no_progress
from .resources import Resources
from .searching import Wanted, check_recall, search
from .seen import Seen
from .shown import Shown
from .store import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import BinaryIO, Self

    from .asking import Query
    from .config import Settings
    from .records import (
        AddReport,
        Choice,
        Engine,
        Progress,
        SearchResult,
        Status,
        Way,
        Where,
    )
    from .repairing import Repaired
    from .searching import RecallReport
    from .store import Store
    from .watching import Round


class Library(Grouped, Copied, Held, Queried, Seen, Shown):
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
        isolate: bool = False,
    ) -> None:
        """Name a library; it is opened when it is first used, and made by the first ``add``.

        Args:
            location: a folder, an open store, or ``memory:`` for a library that ends when it is
                closed; None for the default of ``Settings``.
            model: name or file of a model; None for the library's own, else a trained one.
            device: ``auto``, ``cpu``, ``openvino``, ``cuda``, ``cuda:N`` or ``tensorrt``.
            max_megapixels: the largest picture to decode; None derives it from the memory.
            isolate: decode in processes of their own, so that a picture which crashes its decoder,
                or takes too long or too much memory, is skipped like any that cannot be read; see
                ``imgindex.isolation``.

        Raises:
            SettingError: a setting is out of range or the settings file is broken, or this system
                cannot isolate.
        """
        self._resources = Resources(location, model, device, max_megapixels, isolate=isolate)

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

    @property
    def place(self) -> str:
        """Where the library is, as messages name it: without a server's token."""
        return shown(self.settings.library)

    def close(self) -> None:
        """Let go of the library's files; a later call opens them again."""
        self._resources.close()

    def add(  # noqa: PLR0913 - each is a setting of its own, by keyword
        self,
        roots: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
        *,
        prune: bool = False,
        choice: Choice | None = None,
        settle: bool = True,
        manifest: bool = False,
        engine: Engine = "local",
        address: str | None = None,
        progress: Progress = no_progress,
    ) -> AddReport:
        """Index pictures: new and changed ones are embedded, all else is only looked at.

        Where there is a grouping, new pictures join its groups, or are noise, at once.

        What was done is kept batch by batch; a run that is stopped loses at most one batch, and the
        next one goes on from there.

        Args:
            roots: folders, walked with all that lies below them, and files; also addresses of
                such elsewhere (``s3://bucket/folder``, see ``imgindex.addresses``).
            prune: forget files that have vanished, and pictures that no file holds any more; also
                where a folder has lost every file at once, which otherwise is taken for a share
                that is away: then its files are kept, and the report's note says so.
            choice: which of the files below the folders are taken. Of those that are known already
                the others leave the results, until a run takes them again; they are not embedded
                anew then, unless they were pruned.
            settle: bring the graph up to date in the end. Otherwise that is put off until
                ``settle``, or until so many pictures came that searching would suffer: those that
                the graph lacks are compared one by one, and found all the same.
            manifest: the roots are lists of files to index; see ``imgindex.manifests``.
            engine: what reads and embeds: this process, or with ``ray`` a cluster, which needs
                a library on Milvus and pictures under the same paths on all machines.
            address: of the cluster; see ``imgindex.distributed.session``.
            progress: stages ``scan``, ``embed``, ``index`` and ``join``.

        Raises:
            SettingError: a root does not exist, or a pattern of the choice is none.
            ModelNotFoundError: the library has no model yet and there is none to take.
            ModelMismatchError: another model is asked for than the library was built with.
            LibraryBusyError: another process is writing to the library.
            StoreError: the disk is full, or the library is damaged.
            EngineError: the cluster cannot be used.
        """
        if isinstance(roots, str | os.PathLike):
            roots = [roots]
        return index(
            self._resources,
            roots,
            progress,
            prune=prune,
            choice=choice,
            settle=settle,
            manifest=manifest,
            engine=engine,
            address=address,
        )

    def watch(
        self,
        roots: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
        *,
        choice: Choice | None = None,
        poll: float | None = None,
        progress: Progress = no_progress,
    ) -> Iterator[Round]:
        """Index pictures, and go on doing so whenever files change; see ``add``.

        A round follows each second without a change, and comes after ten seconds at the latest.
        Files that are still being written are left for the next one. What may pass, such as
        another process that writes or a full disk, is told and tried again.

        Args:
            roots: as for ``add``.
            choice: as for ``add``.
            poll: seconds between rounds, where the system does not tell of changes (on network
                shares); None listens to the system.
            progress: as for ``add``.

        Returns:
            An iterator over the rounds: the first, those that changed something or met with a new
            problem. It waits in between, and ends with the interrupt key while it waits.

        Raises:
            SettingError: ``poll`` is not above 0.
        """
        from .watching import watch

        if isinstance(roots, str | os.PathLike):
            roots = [roots]
        return watch(self._resources, roots, progress, choice=choice, poll=poll)

    def search(  # noqa: PLR0913 - each is a setting of its own, by keyword
        self,
        query: Query,
        k: int = 20,
        *,
        min_score: float | None = None,
        exact: bool = False,
        where: Where | None = None,
        offset: int = 0,
        rerank: bool = False,
        diverse: bool = False,
    ) -> SearchResult:
        """Find what looks like a picture, or like several.

        Args:
            query: a picture file, which need not be in the library; the id of an indexed picture
                (its beginning is enough where it is unique), as a ``PictureId`` where no file of
                that name shall count; the bytes of a picture file; an embedding, float32 [d]; a
                ``Term``, which can name a part of a picture; or several terms, whose weighted sum
                is looked for: what is like all of them, and unlike those of negative weight.
            k: how many matches at most. A whole picture of the library finds itself first.
            min_score: leave out matches with a lower cosine.
            exact: compare every vector; otherwise the store chooses.
            where: only pictures that it lets through, by files that it lets through.
            offset: how many of the best matches to pass over: the page after k matches is at k.
                Pages of one library object neither overlap nor leave anything out.
            rerank: put the 200 best matches in order by the neighbours that they share with the
                query, which brings more of its kind to the front; see ``imgindex.reranking``.
            diverse: of pictures that are copies of each other only the best match; see
                ``duplicates``.

        Returns:
            Matches by falling score (unless they are reranked), one a picture however many files it
            has; to several terms the score is the cosine to their sum.

        Raises:
            QueryError: the query is neither a readable picture nor the id of one, a box does not
                fit, or the terms cancel each other out; ``diverse`` before ``duplicates``.
            SettingError: k, min_score or offset is out of range.
            LibraryNotFoundError: there is no library.
        """
        (result,) = self.search_many(
            [query],
            k,
            min_score=min_score,
            exact=exact,
            where=where,
            offset=offset,
            rerank=rerank,
            diverse=diverse,
        )
        if isinstance(result, QueryFailure):
            raise QueryError(result.error)
        return result

    def search_many(  # noqa: PLR0913 - as above
        self,
        queries: Iterable[Query],
        k: int = 20,
        *,
        min_score: float | None = None,
        exact: bool = False,
        where: Where | None = None,
        offset: int = 0,
        rerank: bool = False,
        diverse: bool = False,
    ) -> Iterator[SearchResult | QueryFailure]:
        """Answer a stream of queries in order; one that fails does not stop the others.

        Args:
            queries: as for ``search``; read as they come, answered in batches of what is there.
            k: as for ``search``.
            min_score: as for ``search``.
            exact: as for ``search``.
            where: as for ``search``.
            offset: as for ``search``.
            rerank: as for ``search``.
            diverse: as for ``search``.

        Raises:
            SettingError: k, min_score or offset is out of range.
            LibraryNotFoundError: there is no library.
        """
        if where is not None and where.anything:
            where = None
        way: Way | None = "exact" if exact else None
        wanted = Wanted(k, min_score, way, where, offset, rerank, diverse)
        return search(self._resources, queries, wanted)

    def fetch(self, address: str) -> Term:
        """Fetch a picture from the web, to search for what looks like it.

        Only public addresses are asked, on every redirect; see ``imgindex.fetch``.

        Args:
            address: an http or https address.

        Raises:
            QueryError: the address is none of those, or what lies there cannot be had.
        """
        from . import fetch

        return Term(fetch.fetch(address, limit=self._resources.max_bytes), name=address)

    def receive(self, stream: BinaryIO, name: str = "the stream") -> Term:
        """Take a picture from a stream, to search for what looks like it.

        Args:
            stream: a buffered one, such as ``sys.stdin.buffer``; read to its end.
            name: what messages call it.

        Raises:
            QueryError: the stream is empty, too long, or does not begin like a picture.
        """
        try:
            return Term(self._resources.receive(stream))
        except PictureError as error:
            raise QueryError(f"{name} holds no picture: {error}") from error

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

    def paths(self, ids: Collection[str], where: Where | None = None) -> dict[str, list[str]]:
        """The files of some pictures, those that are present; unknown ids are left out.

        Args:
            ids: whole ids, as matches and groupings give them.
            where: only files that it lets through; None for all.
        """
        return self._resources.store().paths(ids, where)

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

        Args:
            progress: stage ``verify``.

        Raises:
            LibraryNotFoundError: there is none.
        """
        try:
            return self._resources.store().verify(progress)
        except LibraryDamagedError as error:  # so badly that the check could not go on
            return [str(error)]

    def repair(self, progress: Progress = no_progress) -> Repaired:
        """Mend what ``verify`` finds, as far as the truth is still there.

        A database that SQLite cannot read in full is written anew from all that can be read, and
        the damaged one kept beside it; files and pictures that it lost come back with the next
        ``add``. The graph is built anew, and what a killed run left is cut off. A picture whose
        embedding is damaged is read and embedded again; where no file holds it any more, it leaves
        the library and is named.

        Args:
            progress: stages ``verify``, ``repair`` and ``index``.

        Raises:
            LibraryNotFoundError: there is none.
            LibraryBusyError: another process is writing to it.
            LibraryDamagedError: too little of the database can be read.
            ModelNotFoundError: pictures are to be embedded again, and the model is not here.
        """
        from .repairing import repair

        return repair(self._resources, progress)
