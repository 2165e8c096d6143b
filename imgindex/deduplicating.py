"""The journey to copies: sketches, candidates, a close look at each, sets with a best one."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, defaultdict
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from .ahead import ahead
from .copies import Held, Related, best_of, check_kind, families, present, told
from .errors import LibraryBusyError, PictureError
from .records import CopyKind, Duplicates, Skipped, Twin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .duplicates import Candidate
    from .records import Picture, Pixels, Progress
    from .resources import Resources
    from .store import Store

_NEIGHBOURS = 15
_FEW = 2  # pictures, from which on there are pairs
_AT_ONCE = 512
_OPEN = 600  # small pictures that are kept at hand
_WHOLLY_ALIKE = 0.98  # so much two decodings of the same pixels are alike at least
_SURE = 0.9999  # most that is said of pictures that are not the same in every pixel
_ALL_OF_IT = 0.93  # of a picture's area: who shows less shows a part
_PATIENCE = 60  # seconds to wait for another process that writes


def find(resources: Resources, up_to: CopyKind, progress: Progress) -> Duplicates:
    """Look at what is new, and tell of all copies; see ``Library.duplicates``."""
    check_kind(up_to)
    store, _ = resources.filled()
    skipped = [] if up_to == "exact" else _Examination(resources, store, progress).run()
    sets, changed = told(store, up_to, asked=resources.settings.hosts)
    return Duplicates(sets, (*skipped, *changed))


class _Examination:
    """One search for the twins of the pictures that came since the last one."""

    def __init__(self, resources: Resources, store: Store, progress: Progress) -> None:
        self._resources = resources
        self._store = store
        self._progress = progress
        self._looked_at: list[str] = []
        self._twins: list[Twin] = []

    def run(self) -> list[Skipped]:
        """Find and keep them; the files that could not be read."""
        store = self._store
        here = present(store).keys()
        known = store.examined()
        if away := known - here:
            # When they come back, they are compared with what came meanwhile.
            _patiently(lambda: store.forget_examined(away))
        if not here - known:
            return []
        skipped = self._draw(
            [one for one, picture in store.pictures(here).items() if not picture.sketch]
        )
        with _waiting(store):
            pictures = store.pictures(present(store))
            ids = sorted(one for one, picture in pictures.items() if picture.sketch)
            fresh = {one for one in ids if one not in known}
            near = self._neighbours(ids, fresh)
        if len(ids) < _FEW or not fresh:
            _patiently(lambda: store.save_twins(ids, []))
            return skipped
        look = _Look(self._resources, pictures)
        try:
            self._same_pixels(look, pictures, fresh)
            self._compare(look, [pictures[one] for one in ids], near, fresh)
        finally:  # what was found is kept when the run is stopped
            self._keep()
        self._complete(look, pictures, fresh)
        return skipped + [Skipped(*one) for one in sorted(look.unread.values())]

    def _draw(self, todo: Sequence[str]) -> list[Skipped]:
        """Make the sketches that are missing: an older imgindex made none."""
        skipped: list[Skipped] = []
        made: dict[str, bytes] = {}

        def draw(picture_id: str) -> tuple[str, bytes | Skipped]:
            try:
                return picture_id, self._resources.sketch(self._resources.held(picture_id))
            except PictureError as error:
                paths = self._store.paths([picture_id]).get(picture_id, [picture_id])
                return picture_id, Skipped(paths[0], str(error))

        threads = os.cpu_count() or 1
        with closing(ahead(draw, todo, threads=threads, depth=_AT_ONCE)) as drawn:
            for done, (picture_id, sketch) in enumerate(drawn, start=1):
                if isinstance(sketch, Skipped):
                    skipped.append(sketch)
                else:
                    made[picture_id] = sketch
                if len(made) >= _AT_ONCE or done == len(todo):
                    _patiently(lambda: self._store.put_sketches(made))
                    made.clear()
                self._progress("draw", done, len(todo))
        return skipped

    def _neighbours(self, ids: Sequence[str], fresh: set[str]) -> NDArray[np.int64]:
        """Others that are near as embeddings, int64 [n, m], -1 for none."""
        import numpy as np

        k = min(_NEIGHBOURS, len(ids) - 1)
        if k < 1:
            return np.full((len(ids), 1), -1)
        if len(fresh) * 4 > len(ids):
            return self._store.neighbours(ids, k, self._progress)[0]
        place = {one: at for at, one in enumerate(ids)}
        near = np.full((len(ids), k + 1), -1)
        asked, rows = self._store.vectors(fresh)
        if len(asked):
            _, found = self._store.search(rows, k + 1)
            for one, hits in zip(asked, found, strict=True):
                others = [place[hit.id] for hit in hits if hit.id in place]
                near[place[one], : len(others)] = others
        return near

    def _same_pixels(self, look: _Look, pictures: Mapping[str, Picture], fresh: set[str]) -> None:
        """Pictures of one size and sketch, by the names of their pixels."""
        alike: dict[tuple[int, int, bytes], list[str]] = defaultdict(list)
        for one, picture in pictures.items():
            if picture.sketch:
                alike[picture.width, picture.height, picture.sketch].append(one)
        for some in alike.values():
            if len(some) < _FEW or not fresh.intersection(some):
                continue
            first: dict[str, str] = {}
            for one in sorted(some):
                name = look.name(one)
                if name is not None and first.setdefault(name, one) != one:
                    self._twins.append(Twin(first[name], one, "pixels", 1.0))

    def _compare(
        self,
        look: _Look,
        pictures: Sequence[Picture],
        near: NDArray[np.int64],
        fresh: set[str],
    ) -> None:
        import numpy as np

        from .duplicates import candidates

        new = np.array([one.id in fresh for one in pictures])
        pairs = candidates(*_drawn(pictures), near, new, self._progress)
        last = {at: done for done, pair in enumerate(pairs) for at in (pair.whole, pair.part)}
        closed = sorted((last.get(at, -1), pictures[at].id) for at in np.flatnonzero(new).tolist())
        self._progress("compare", 0, len(pairs))
        kept = 0
        for done, twin in enumerate(look.all(pictures, pairs), start=1):
            if twin is not None:
                self._twins.append(twin)
            self._progress("compare", done, len(pairs))
            if done % _AT_ONCE == 0:
                while kept < len(closed) and closed[kept][0] < done:
                    self._done(look, closed[kept][1])
                    kept += 1
                self._keep(at_once=True)
        for _, one in closed[kept:]:
            self._done(look, one)

    def _done(self, look: _Look, picture_id: str) -> None:
        if picture_id not in look.unread:
            self._looked_at.append(picture_id)

    def _keep(self, *, at_once: bool = False) -> None:
        """Keep what was found so far; another process that writes is waited for in the end."""

        def save() -> None:
            self._store.save_twins(self._looked_at, self._twins)

        if at_once:
            try:
                save()
            except LibraryBusyError:
                return
        else:
            _patiently(save)
        self._looked_at, self._twins = [], []

    def _complete(self, look: _Look, pictures: Mapping[str, Picture], fresh: set[str]) -> None:
        """Compare the best of every set with those that nobody compared it with."""
        from .duplicates import between

        held = {
            one: Held(pictures[one], files[0])
            for one, files in present(self._store).items()
            if one in pictures
        }
        related = Related(self._store.twins())
        missing: list[tuple[str, str]] = []
        for some in families(self._store):
            if not fresh.intersection(some):
                continue
            left = [held[one] for one in some if one in held]
            if len(left) < _FEW:
                continue
            best = best_of(left, related)
            missing += [
                (best.picture.id, one.picture.id)
                for one in left
                if one is not best and related.copy(one, best) is None
            ]
        if not missing:
            return
        ids = sorted({one for pair in missing for one in pair})
        place = {one: at for at, one in enumerate(ids)}
        some_pictures = [pictures[one] for one in ids]
        pairs = between(*_drawn(some_pictures), [(place[a], place[b]) for a, b in missing])
        self._twins = [twin for twin in look.all(some_pictures, pairs) if twin is not None]
        self._keep()


def _drawn(pictures: Sequence[Picture]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Sketches, uint8 [n, side, side], and aspects, float64 [n]."""
    import numpy as np

    from .records import SKETCH_SIDE

    sketches = np.frombuffer(b"".join(one.sketch for one in pictures), np.uint8)
    aspects = np.array([one.width / one.height for one in pictures])
    return sketches.reshape(-1, SKETCH_SIDE, SKETCH_SIDE), aspects


class _Look:
    """A close look at pictures, in threads; small ones are kept at hand for the next pair.

    Attributes:
        unread: id of a picture -> a path of it, and why it cannot be read.
    """

    def __init__(self, resources: Resources, pictures: Mapping[str, Picture]) -> None:
        self.unread: dict[str, tuple[str, str]] = {}
        self._resources = resources
        self._pictures = pictures
        self._open: OrderedDict[str, Pixels | None] = OrderedDict()
        self._turn = threading.Lock()

    def all(self, pictures: Sequence[Picture], pairs: Sequence[Candidate]) -> Iterator[Twin | None]:
        """The verdict on each pair, in order."""

        def at(pair: Candidate) -> Twin | None:
            return self._at(pictures[pair.whole].id, pictures[pair.part].id, pair)

        threads = os.cpu_count() or 1
        with closing(ahead(at, pairs, threads=threads, depth=_AT_ONCE)) as verdicts:
            yield from verdicts

    def name(self, picture_id: str) -> str | None:
        """The name of a picture's pixels; None where it cannot be told, or there are more."""
        try:
            data = self._held(picture_id)
            return None if self._resources.several(data) else self._resources.digest(data)
        except PictureError:
            return None

    def _at(self, whole: str, part: str, pair: Candidate) -> Twin | None:
        from .duplicates import likeness

        try:
            shown = self._small(whole), self._small(part)
        except PictureError:
            return None
        if shown[0] is None or shown[1] is None:
            return None
        found = likeness(shown[0], shown[1], *pair.place)
        if found is None:
            return None
        one, other = sorted((whole, part))
        if found.score > _WHOLLY_ALIKE and self._has_same_pixels(whole, part):
            return Twin(one, other, "pixels", 1.0)
        rotated = pair.angle != 0  # corners are lost
        less = part if found.share < _ALL_OF_IT or rotated else None
        share = found.share if less and not rotated else 1.0
        return Twin(one, other, "near", min(found.score, _SURE), less, share)

    def _has_same_pixels(self, one: str, other: str) -> bool:
        """A JPEG file and a lossless copy have them, and yet other sketches."""
        sizes = {(self._pictures[at].width, self._pictures[at].height) for at in (one, other)}
        if len(sizes) > 1:
            return False
        name = self.name(one)
        return name is not None and name == self.name(other)

    def _small(self, picture_id: str) -> Pixels | None:
        """A picture small; None if its file shows several, of which this is but the first."""
        from .duplicates import ALIGNED_SIDE

        with self._turn:
            if picture_id in self._open:
                self._open.move_to_end(picture_id)
                return self._open[picture_id]
        data = self._held(picture_id)
        try:
            several = self._resources.several(data)
            small = None if several else self._resources.small(data, ALIGNED_SIDE)
        except PictureError as error:
            self._note(picture_id, error)
            raise
        with self._turn:
            self._open[picture_id] = small
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return small

    def _held(self, picture_id: str) -> bytes:
        try:
            return self._resources.held(picture_id)
        except PictureError as error:
            self._note(picture_id, error)
            raise

    def _note(self, picture_id: str, error: PictureError) -> None:
        paths = self._resources.store().paths([picture_id]).get(picture_id, [picture_id])
        self.unread[picture_id] = (paths[0], str(error))


def _patiently(write: Callable[[], None]) -> None:
    """Write to the library, when no other process does."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return write()
        except LibraryBusyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


@contextmanager
def _waiting(store: Store) -> Iterator[None]:
    """Hold the writer's lock, so that pictures stay; another process that has it is waited for."""
    with ExitStack() as held:
        _patiently(lambda: held.enter_context(store.writing()))
        yield
