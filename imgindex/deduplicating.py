"""The journey to copies: sketches, candidates, a close look at each, sets with a best one."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, defaultdict
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .ahead import ahead
from .copies import KINDS, families
from .errors import PictureError, SettingError
from .records import Copy, CopyKind, Duplicates, DuplicateSet, Skipped, Twin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .duplicates import Candidate
    from .records import IndexedFile, Picture, Pixels, Progress
    from .resources import Resources
    from .store import Store

_NEIGHBOURS = 15
_FEW = 2  # pictures, from which on there are pairs
_AT_ONCE = 512
_OPEN = 600  # small pictures that are kept at hand
_WHOLLY_ALIKE = 0.98  # so much two decodings of the same pixels are alike at least
_SURE = 0.9999  # above it a picture may be the same in every pixel


def find(resources: Resources, up_to: CopyKind, progress: Progress) -> Duplicates:
    """Look at what is new, and tell of all copies; see ``Library.duplicates``."""
    if up_to not in KINDS:
        raise SettingError(f"up_to must be one of {', '.join(KINDS)}, not {up_to!r}")
    store, _ = resources.filled()
    skipped = [] if up_to == "exact" else _examine(resources, store, progress)
    return Duplicates(told(store, up_to), tuple(skipped))


def told(store: Store, up_to: CopyKind = "near") -> tuple[DuplicateSet, ...]:
    """The sets that are known; see ``Library.duplicates``."""
    held: dict[str, list[IndexedFile]] = defaultdict(list)
    for file in store.files():
        if file.id is not None and not file.missing:
            held[file.id].append(file)
    found = [[one for one in some if one in held] for some in families(store, up_to)]
    found = [some for some in found if len(some) > 1]
    joined = {picture for some in found for picture in some}
    found += [[one] for one, files in held.items() if len(files) > 1 and one not in joined]
    pictures = store.pictures({picture for some in found for picture in some})
    by_picture: dict[str, dict[str, Twin]] = defaultdict(dict)
    for twin in store.twins():
        by_picture[twin.a][twin.b] = by_picture[twin.b][twin.a] = twin
    made = [
        _set([_Held(pictures[one], file) for one in some for file in held[one]], by_picture)
        for some in found
    ]
    return tuple(sorted(made, key=lambda one: (-len(one.files), one.best)))


@dataclass(frozen=True, slots=True)
class _Held:
    picture: Picture
    file: IndexedFile

    @property
    def pixels(self) -> int:
        return self.picture.width * self.picture.height

    @property
    def taken(self) -> str:
        return self.picture.taken or "~"  # after every date


def _set(files: Sequence[_Held], twins: Mapping[str, Mapping[str, Twin]]) -> DuplicateSet:
    best = min(
        files,
        key=lambda one: (
            os.path.islink(one.file.path),  # noqa: PTH114 - no Path for each
            -one.pixels,
            -one.file.size,
            one.taken,
            one.file.mtime_ns,
            len(one.file.path),
            one.file.path,
        ),
    )
    copies = [_copy(one, best, twins) for one in files if one is not best]
    copies.sort(key=lambda one: (KINDS.index(one.kind), -one.score, one.path))
    first = Copy(best.file.path, best.picture.id, "exact", 1.0)
    return DuplicateSet(best.file.path, _why(best, files), (first, *copies))


def _copy(one: _Held, best: _Held, twins: Mapping[str, Mapping[str, Twin]]) -> Copy:
    if one.picture.id == best.picture.id:
        return Copy(one.file.path, one.picture.id, "exact", 1.0)
    own = twins.get(one.picture.id, {})
    twin = own.get(best.picture.id)
    if twin is not None:
        return Copy(one.file.path, one.picture.id, twin.kind, twin.score)
    # Not compared with the best one itself, but with others of the set.
    score = max((twin.score for twin in own.values()), default=0.0)
    return Copy(one.file.path, one.picture.id, "near", min(score, _SURE))


def _why(best: _Held, files: Sequence[_Held]) -> str:
    """What sets the best copy apart from the next best."""
    size = f"{best.picture.width} x {best.picture.height}"
    level = [one for one in files if one.pixels == best.pixels]
    if len(level) < len(files) and len(level) == 1:
        return f"the largest, {size}"
    of_all = "" if len(level) == len(files) else f" of those with {size}"
    level = [one for one in level if one.file.size == best.file.size]
    if len(level) == 1:
        return f"the most bytes, {best.file.size:,}{of_all}"
    level = [one for one in level if one.taken == best.taken]
    if len(level) == 1:
        return f"taken first, {best.taken}{of_all}"
    level = [one for one in level if one.file.mtime_ns == best.file.mtime_ns]
    if len(level) == 1:
        return f"the oldest file{of_all}"
    return f"the shortest path{of_all}"


def _examine(resources: Resources, store: Store, progress: Progress) -> list[Skipped]:
    """Find the twins of the pictures that came since the last time."""
    import numpy as np

    from .duplicates import candidates

    present = {file.id for file in store.files() if file.id is not None and not file.missing}
    known = store.examined()
    if not present - known:
        return []
    pictures = store.pictures(present)
    skipped = _sketch(resources, store, pictures, progress)
    ids = sorted(one for one, picture in pictures.items() if picture.sketch)
    fresh = np.array([one not in known for one in ids])
    if len(ids) < _FEW or not fresh.any():
        store.save_twins(ids, [])
        return skipped
    near, _ = store.neighbours(ids, min(_NEIGHBOURS, len(ids) - 1), progress)
    pairs = candidates(
        np.stack([_as_square(pictures[one].sketch) for one in ids]),
        np.array([pictures[one].width / pictures[one].height for one in ids]),
        near,
        fresh,
        progress,
    )
    look = _Look(resources, store, [pictures[one] for one in ids])
    progress("compare", 0, len(pairs))
    twins: list[Twin] = []
    with closing(ahead(look.at, pairs, threads=os.cpu_count() or 1, depth=_AT_ONCE)) as verdicts:
        for done, twin in enumerate(verdicts, start=1):
            if twin is not None:
                twins.append(twin)
            if len(twins) >= _AT_ONCE:  # what was found is kept when the run is stopped
                store.save_twins([], twins)
                twins.clear()
            progress("compare", done, len(pairs))
    store.save_twins([one for one in ids if one not in look.unread], twins)
    return skipped + [Skipped(*one) for one in sorted(look.unread.values())]


def _as_square(sketch: bytes) -> Pixels:
    import numpy as np

    from .records import SKETCH_SIDE

    return np.frombuffer(sketch, np.uint8).reshape(SKETCH_SIDE, SKETCH_SIDE)


def _sketch(
    resources: Resources, store: Store, pictures: dict[str, Picture], progress: Progress
) -> list[Skipped]:
    """Make the sketches that are missing: an older imgindex made none."""
    from dataclasses import replace

    todo = [one for one, picture in pictures.items() if not picture.sketch]
    if not todo:
        return []
    paths = store.paths(todo)
    skipped: list[Skipped] = []
    made: dict[str, bytes] = {}

    def draw(picture_id: str) -> tuple[str, bytes | Skipped]:
        path = paths[picture_id][0]
        try:
            return picture_id, resources.sketch(path)
        except PictureError as error:
            return picture_id, Skipped(path, str(error))

    with closing(ahead(draw, todo, threads=os.cpu_count() or 1, depth=_AT_ONCE)) as drawn:
        for done, (picture_id, sketch) in enumerate(drawn, start=1):
            if isinstance(sketch, Skipped):
                skipped.append(sketch)
            else:
                made[picture_id] = sketch
                pictures[picture_id] = replace(pictures[picture_id], sketch=sketch)
            if len(made) >= _AT_ONCE or done == len(todo):
                store.put_sketches(made)
                made.clear()
            progress("draw", done, len(todo))
    return skipped


class _Look:
    """A close look at pairs, in threads; small pictures are kept at hand for the next pair."""

    def __init__(self, resources: Resources, store: Store, pictures: Sequence[Picture]) -> None:
        self.unread: dict[str, tuple[str, str]] = {}
        self._resources = resources
        self._pictures = pictures
        self._paths = store.paths([one.id for one in pictures])
        self._open: OrderedDict[str, Pixels] = OrderedDict()
        self._turn = threading.Lock()

    def at(self, pair: Candidate) -> Twin | None:
        from .duplicates import likeness

        whole, part = self._pictures[pair.whole], self._pictures[pair.part]
        try:
            score = likeness(self._small(whole), self._small(part), *pair.place)
        except PictureError:
            return None
        if score is None:
            return None
        kind: CopyKind = "near"
        size = (whole.width, whole.height)
        if score > _WHOLLY_ALIKE and size == (part.width, part.height) and self._same(whole, part):
            kind, score = "pixels", 1.0
        one, other = sorted((whole.id, part.id))
        return Twin(one, other, kind, score if kind == "pixels" else min(score, _SURE))

    def _small(self, picture: Picture) -> Pixels:
        from .duplicates import ALIGNED_SIDE

        with self._turn:
            if picture.id in self._open:
                self._open.move_to_end(picture.id)
                return self._open[picture.id]
        path = self._path(picture)
        try:
            small = self._resources.small(path, ALIGNED_SIDE)
        except PictureError as error:
            self.unread[picture.id] = (path, str(error))
            raise
        with self._turn:
            self._open[picture.id] = small
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return small

    def _same(self, one: Picture, other: Picture) -> bool:
        try:
            return self._digest(one) == self._digest(other)
        except PictureError:
            return False

    def _digest(self, picture: Picture) -> str:
        return self._resources.digest(self._path(picture))

    def _path(self, picture: Picture) -> str:
        return self._paths[picture.id][0]
