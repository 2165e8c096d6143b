"""The bookkeeping of one run of indexing: what is new, changed, moved, vanished or unreadable.

A file is unchanged while its size and time are those of the last run. Content decides the rest:
bytes that the library has are never embedded again, whatever path they turn up under.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from . import absent, addresses, pixels, regrouping, scan
from .ahead import ahead
from .choosing import Chooser
from .errors import LibraryNotFoundError, SettingError
from .manifests import read as read_manifest
from .readings import blank, embed, read
from .records import AddReport, Found, IndexedFile, Paired, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .readings import Reading
    from .records import Choice, Engine, Progress, Rows
    from .resources import Resources
    from .store import Store

_FILES_A_COMMIT = 512  # so that many copies of known pictures cost few transactions
_FILES_A_REPORT = 1000
_LOOKS = 32  # at files elsewhere, at once
_ASKED_BY_NAME = 100  # places that a store is asked about one by one


def index(  # noqa: PLR0913 - what the callers of Library.add and watching choose
    resources: Resources,
    roots: Sequence[str | os.PathLike[str]],
    progress: Progress,
    *,
    prune: bool,
    choice: Choice | None = None,
    ready: Callable[[Found], bool] | None = None,
    settle: bool = True,
    manifest: bool = False,
    engine: Engine = "local",
    address: str | None = None,
) -> AddReport:
    """Bring the store up to date with what lies under the roots; see ``Library.add``.

    Files that are not ``ready`` to be read are left as they are known.
    """
    started = time.perf_counter()
    if engine == "ray":
        from . import distributed

        distributed.require(resources.settings.library)
    elif address is not None:
        raise SettingError("an address of a cluster needs the engine ray: give --engine ray")
    chooser = Chooser(choice)
    places, walk = (_listed if manifest else _walked)(resources, roots, chooser)
    pin = resources.settle_model()
    store = resources.store(create=True)
    with store.writing():
        store.pin(pin)
        run = Run(store, {file.path: file for file in _known(store, places)})
        run.meet(walk, progress)
        if gone := run.walked(places, chooser, prune=prune, listed=manifest):
            store.mark_missing(gone)
        run.put_off(pixels.lacking(), ready)
        embedding = time.perf_counter()
        computed = _Computed()
        if run.todo and engine == "ray":
            computed = _embed_afar(resources, run, progress, address)
        elif run.todo:
            computed = _embed(resources, run, progress)
        seconds = time.perf_counter() - embedding
        if prune:
            store.prune()
        store.refresh(progress, lazily=not settle)
        regrouping.join(store, progress)  # also what a run left that was killed before it did
    if not run.added:
        computed = _Computed()
    return AddReport(
        added=run.added,
        reused=run.reused,
        moved=run.moved,
        removed=len(run.gone) + len(run.left),
        unchanged=run.unchanged,
        skipped=tuple(run.skipped),
        model=pin.name,
        device=computed.device,
        seconds=round(time.perf_counter() - started, 3),
        images_per_second=round(run.added / seconds, 3) if run.added else 0.0,
        precision=computed.precision,
        note="; ".join(filter(None, [computed.note, *run.notes()])),
        paired=len(run.paired),
    )


def _walked(
    resources: Resources, roots: Sequence[str | os.PathLike[str]], chooser: Chooser
) -> tuple[list[str], Iterable[Found | Skipped | Paired]]:
    """The places to look at, and what is there."""
    places = [scan.place(root) for root in roots]
    here, unreachable = _walkable(resources, places)
    return places, chain(unreachable, scan.walk(here, pixels.SUFFIXES, chooser))


def _listed(
    _resources: Resources, manifests: Sequence[str | os.PathLike[str]], _chooser: Chooser
) -> tuple[list[str], Iterable[Found | Skipped | Paired]]:
    """The files that manifests name, and what is there of them."""
    names = chain.from_iterable(read_manifest(os.fspath(one)) for one in manifests)
    places = list(dict.fromkeys(names))
    return places, ahead(scan.look, places, threads=_LOOKS, depth=2 * _LOOKS)


def _known(store: Store, places: Sequence[str]) -> Iterable[IndexedFile]:
    """What the store knows of places and of all below them."""
    if len(places) > _ASKED_BY_NAME:  # of a manifest
        named = frozenset(places)
        return (file for file in store.files() if file.path in named)
    if not any("::" in place for place in places):
        return store.files(places)
    # What lies in an archive has names that do not begin with the archive's.
    return (file for file in store.files() if addresses.lies_in(file.path, places))


def _walkable(resources: Resources, places: list[str]) -> tuple[list[str], list[Skipped]]:
    """The places less those that are not there and held files; and which of these may be there."""
    gone = {place for place in places if not scan.there(place)}
    if not gone:
        return places, []
    try:
        store = resources.store()
    except LibraryNotFoundError:
        return places, []
    gone = {place for place in gone if any(_known(store, [place]))}
    unreachable = [
        met
        for place in places
        if place in gone
        and not scan.vanished(place)
        and isinstance(met := scan.look(place), Skipped)
    ]
    return [place for place in places if place not in gone], unreachable


class _Computed(NamedTuple):
    """What embedded: see ``AddReport``."""

    device: str | None = None
    precision: str | None = None
    note: str = ""


def _embed(resources: Resources, run: Run, progress: Progress) -> _Computed:
    """Read and decode, embed, and keep what is to do: each step works while the next one does."""
    size = resources.embedder().batch
    progress("embed", 0, len(run.todo))
    done = 0
    with (
        closing(
            ahead(
                lambda found: read(resources, found),
                run.todo,
                threads=os.cpu_count() or 1,
                depth=2 * size,  # the next batch is decoded while this one is embedded
            )
        ) as readings,
        closing(
            ahead(
                lambda batch: _embedded(resources, run, batch),
                _batches(readings, size),
                threads=1,
                depth=2,  # the next batch is embedded while this one is kept
            )
        ) as batches,
    ):
        for batch, fresh, rows in batches:
            run.keep(batch, fresh, rows)
            done += len(batch)
            progress("embed", done, len(run.todo))
    embedder = resources.embedder()
    return _Computed(embedder.device, embedder.precision, embedder.note)


def _embed_afar(
    resources: Resources, run: Run, progress: Progress, address: str | None
) -> _Computed:
    """Have a cluster do it; only the books are kept here."""
    from . import distributed

    store = distributed.shareable(resources.store())
    nothing = resources.encode([])
    order = {found.path: at for at, found in enumerate(run.todo)}
    first = len(run.skipped)
    stored, done = set[str | None](), 0
    told = set[_Computed]()
    progress("embed", 0, len(run.todo))
    with store.sharing() as right:
        before = store.stats().vectors
        with closing(distributed.embed_all(resources, run.todo, right, address)) as batches:
            for batch in batches:
                new = {one.id: one for one in batch.readings if one.picture is not None}
                fresh = [one for name, one in new.items() if name not in stored]
                stored |= new.keys()
                run.keep(batch.readings, fresh, nothing)
                if batch.note:
                    store.settled(batch.note)
                    told.add(_Computed(batch.device, batch.precision, batch.remark))
                done += len(batch.readings)
                progress("embed", done, len(run.todo))
        run.recount(store.stats().vectors - before)
    run.skipped[first:] = sorted(run.skipped[first:], key=lambda one: order.get(one.path, -1))
    columns = zip(*told, strict=True)
    return _Computed(*(", ".join(sorted({one for one in some if one})) for some in columns))


def _batches(readings: Iterable[Reading], size: int) -> Iterator[list[Reading]]:
    """Cut into parts with so many pictures to embed."""
    batch: list[Reading] = []
    for reading in readings:
        batch.append(reading)
        decoded = sum(one.pixels is not None for one in batch)
        if decoded == size or len(batch) >= max(size, _FILES_A_COMMIT):
            yield batch
            batch = []
    if batch:
        yield batch


def _embedded(
    resources: Resources, run: Run, batch: list[Reading]
) -> tuple[list[Reading], list[Reading], Rows]:
    """Embed what is new in a batch; those that the model finds nothing in become unreadable."""
    fresh, rows, empty = embed(resources, run.fresh(batch))
    run.empty |= empty
    return blank(batch, run.empty), fresh, rows


class Run:
    """One run over some roots.

    Attributes:
        todo: files to read, in the order of the walk.
        added: files with new content.
        reused: files whose content was here already.
        moved: the same, where the path it was here under is gone.
        unchanged: files that need not be opened.
        gone: paths that have vanished, less those that moved.
        left: paths that are there and not to be indexed any more.
        paired: raw files passed over for their rendered twins.
        skipped: what cannot be read.
        empty: ids of pictures that the model finds nothing in.
    """

    def __init__(self, store: Store, known: Mapping[str, IndexedFile]) -> None:
        """Begin a run.

        Args:
            store: where the pictures go.
            known: what the store knows of the paths under the roots, by path.
        """
        self.todo: list[Found] = []
        self.added = self.reused = self.moved = self.unchanged = 0
        self.gone: set[str] = set()
        self.left: set[str] = set()
        self.paired: set[str] = set()
        self.skipped: list[Skipped] = []
        self.empty: set[str | None] = set()
        self._coming: set[str] = set()  # embedded, or about to be, and not kept yet
        self._store = store
        self._known = known
        self._seen: set[str] = set()
        self._gone_copies: dict[str, list[str]] = {}
        self._away: dict[str, set[str]] = {}

    def meet(self, walk: Iterable[Found | Skipped | Paired], progress: Progress) -> None:
        """Take in the files of the walk."""
        known, seen = self._known.get, self._seen.add
        for at, met in enumerate(walk):
            if at % _FILES_A_REPORT == 0:
                progress("scan", at, 0)
            if isinstance(met, Skipped):
                self.skipped.append(met)
                continue
            if isinstance(met, Paired):
                raw = scan.look(met.path) if self._unreadable(met.twins) else met
                if not isinstance(raw, Found):
                    self.paired.add(met.path)
                    continue
                met = raw  # noqa: PLW2901 - it counts like any other file
            seen(met.path)
            file = known(met.path)
            if (
                file is None
                or file.missing
                or file.mtime_ns != met.mtime_ns
                or file.size != met.size
            ):
                self.todo.append(met)
            elif file.reason is None:
                self.unchanged += 1
            else:
                self.skipped.append(Skipped(met.path, file.reason))

    def _unreadable(self, paths: Sequence[str]) -> bool:
        """Whether all of these are known to be no pictures, and have not changed since."""
        return bool(paths) and all(
            (file := self._known.get(path)) is not None
            and file.reason is not None
            and scan.look(path) == Found(path, file.size, file.mtime_ns)
            for path in paths
        )

    def walked(
        self, roots: Sequence[str], chooser: Chooser, *, prune: bool, listed: bool = False
    ) -> set[str]:
        """End the walk; the paths that are to leave the results.

        Args:
            roots: what was to be walked.
            chooser: what of it was taken.
            prune: believe that files are gone where a share may be away.
            listed: the roots were files, each looked at.
        """
        failed = [one.path for one in self.skipped if one.path not in self._seen]
        if listed:
            # Each of them failed for itself; that all did may be their folder's fault.
            shared = os.path.commonprefix(roots)  # noqa: RUF071 - cut at a folder, and of addresses
            failed, roots = [], [shared.rpartition(os.sep)[0] or os.sep]
        there = self._seen.copy()
        for path in sorted(self._known.keys() - self._seen):
            file = self._known[path]
            # A file may be there without being met: behind a link to a folder that has another
            # name here, below a folder that cannot be read just now, or under a name that only an
            # argument gave.
            if file.missing:
                self._gone_copy(path, file)  # it may turn up in this run
                continue
            met = scan.look(path)
            if isinstance(met, Found):
                there.add(path)
                if path in self.paired or chooser.leaves_out(path, roots):
                    self.left.add(path)
                elif (met.size, met.mtime_ns) != (file.size, file.mtime_ns):
                    self.todo.append(met)
            elif scan.vanished(path):
                self.gone.add(path)
                self._gone_copy(path, file)
            else:
                there.add(path)
        if not prune:
            self._away = absent.away(self.gone, there, roots, failed)
            self.gone.difference_update(*self._away.values())
        return self.gone | self.left

    def _gone_copy(self, path: str, file: IndexedFile) -> None:
        """Note that a picture was at a path, if that has vanished."""
        if file.id is not None and scan.vanished(path):
            self._gone_copies.setdefault(file.id, []).append(path)

    def put_off(
        self, lacking: frozenset[str], ready: Callable[[Found], bool] | None = None
    ) -> None:
        """Take from what is to do what cannot be read now.

        Args:
            lacking: endings of files that an extra is needed for.
            ready: whether a file may be read; asked for each.
        """
        todo: list[Found] = []
        for met in self.todo:
            if os.path.splitext(met.path)[1].lower() in lacking:  # noqa: PTH122 - a path is text here
                self.skipped.append(Skipped(met.path, pixels.LACKING))
            elif ready is None or ready(met):
                todo.append(met)
        self.todo = todo

    def notes(self) -> Iterator[str]:
        """What is to be said of the run beside its figures."""
        for place, files in self._away.items():
            if files:
                yield absent.told(place, len(files))
        if self.left:
            yield (
                f"{len(self.left):,} of the removed are there still; they are left out now, by a "
                "pattern or for the picture of the same name beside a raw file"
            )

    def fresh(self, batch: list[Reading]) -> list[Reading]:
        """Those readings of a batch that have to be embedded, each content once.

        Called in turn for every batch, by one thread; another may be keeping those before.
        """
        known = self.empty | self._coming.copy()  # first, as `keep` takes ids out once they are in
        known |= self._store.has({item.id for item in batch if item.id is not None})
        first: dict[str, Reading] = {}
        for item in batch:
            if item.id is not None and item.picture is not None and item.id not in known:
                first.setdefault(item.id, item)
        self._coming.update(first)
        return list(first.values())

    def keep(self, batch: list[Reading], fresh: list[Reading], rows: Rows) -> None:
        """Store a batch in one step, and count it.

        Args:
            batch: everything that was read.
            fresh: what ``fresh`` gave for it.
            rows: float32 [len(fresh), d]; [0, d] if the pictures are stored already.
        """
        new = {id(item) for item in fresh}
        moved_from: list[str] = []
        outdated: list[str] = []  # whatever was known of them, it is not what lies there now
        counts = {"added": 0, "reused": 0, "moved": 0}
        skipped = []
        files = []
        for item in batch:
            if item.id is None:
                reason = item.reason or "unreadable"
                skipped.append(Skipped(item.found.path, reason))
                if item.lasting:
                    files.append(_file(item.found, reason=reason))
                else:
                    outdated.append(item.found.path)
                continue
            files.append(_file(item.found, picture_id=item.id))
            if id(item) in new:
                counts["added"] += 1
            elif old := self._left_behind(item.id, item.found.path):
                counts["moved"] += 1
                moved_from.append(old)
            else:
                counts["reused"] += 1
        pictures = [item.picture for item in fresh if item.picture is not None]
        if moved_from or outdated:  # first: a run killed in between begins with the files again
            self._store.forget(moved_from + outdated)
        self._store.add(pictures if len(rows) else [], rows, files)
        self._coming.difference_update(picture.id for picture in pictures)
        if moved_from:
            for paths in (self.gone, *self._away.values()):
                paths.difference_update(moved_from)
        self.skipped += skipped
        self.added += counts["added"]
        self.reused += counts["reused"]
        self.moved += counts["moved"]

    def recount(self, added: int) -> None:
        """Correct what was counted of work that may have been done twice.

        Args:
            added: how many pictures have come in truth.
        """
        self.reused -= added - self.added
        self.added = added

    def _left_behind(self, picture_id: str, path: str) -> str | None:
        """A path that held this content and is gone, if there is one; each counts once."""
        if copies := self._gone_copies.get(picture_id):
            return copies.pop()
        # It may have come from outside the roots of this run.
        for other in self._store.paths([picture_id]).get(picture_id, []):
            # Nobody named its server in this run.
            if other != path and not addresses.hosts(other) and scan.vanished(other):
                return other
        return None


def _file(found: Found, *, picture_id: str | None = None, reason: str | None = None) -> IndexedFile:
    return IndexedFile(found.path, found.size, found.mtime_ns, picture_id, reason)
