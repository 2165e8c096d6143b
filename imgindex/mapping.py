"""The journey onto a map: every picture finds its place in the plane, beside those like it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from . import export
from .ahead import ahead
from .decisions import decided
from .errors import ExportError, GroupingError, PictureError, SettingError
from .records import NOISE, Chart, ChartedGroup, Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .records import Grouping, Progress
    from .resources import Resources

_SUFFIXES = {".html": "html", ".htm": "html", ".png": "png"}
_SIDES = (160, 96)  # of a page's thumbnails: when there are few, and when there are many
_FEW = 2500
_SMALLEST, _LARGEST = 200, 10_000  # sides of a PNG file
_TILE, _LARGEST_TILE = 66, 200
_APART, _TIGHT = 1.15, 1.04  # in tiles; the second where every picture has room for one
_SNUG = 0.7  # of the room a picture has on average, for any thumbnail to fit
_DOT = 0.4  # of the room that a picture has on average
_EDGE = 0.03  # of the shorter side
_NAMED = 40  # of the largest groups, if nobody named them


@dataclass(frozen=True, slots=True)
class MapReport:
    """What a map shows.

    Attributes:
        target: the file.
        kind: ``html`` or ``png``.
        pictures: how many have a dot.
        groups: how many have a colour.
        thumbnails: how many pictures can be seen.
        skipped: files whose thumbnail could not be made.
    """

    target: str
    kind: str
    pictures: int
    groups: int
    thumbnails: int
    skipped: tuple[Skipped, ...]


class _Thumbnails:
    """Makes thumbnails in threads, and remembers what could not be seen."""

    def __init__(
        self, resources: Resources, paths: Sequence[Sequence[str]], progress: Progress
    ) -> None:
        self._resources, self._paths, self._progress = resources, paths, progress
        self.made = 0
        self.skipped: list[Skipped] = []

    def of(self, pictures: Sequence[int], side: int) -> Iterator[tuple[int, bytes | None]]:
        """Each picture with its JPEG, None if no file of it can be read."""
        threads = os.cpu_count() or 1
        jpegs = ahead(
            lambda picture: self._first(picture, side), pictures, threads=threads, depth=4 * threads
        )
        for done, (picture, jpeg) in enumerate(zip(pictures, jpegs, strict=True), start=1):
            if isinstance(jpeg, Skipped):
                self.skipped.append(jpeg)
                yield picture, None
            else:
                self.made += 1
                yield picture, jpeg
            self._progress("thumbnails", done, len(pictures))

    def _first(self, picture: int, side: int) -> bytes | Skipped:
        skipped = None
        for path in self._paths[picture]:
            try:
                return self._resources.thumbnail(path, side)
            except PictureError as error:
                skipped = skipped or Skipped(path, str(error))
        return skipped or Skipped("", "no file")


def draw(
    resources: Resources,
    target: str,
    size: tuple[int, int],
    *,
    force: bool,
    progress: Progress,
) -> MapReport:
    """Draw every picture on a map and write it; see ``Library.map``."""
    kind = _SUFFIXES.get(Path(target).suffix.lower())
    if kind is None:
        raise ExportError(f"cannot draw a map as {target}; name an .html or a .png file")
    if not _SMALLEST <= min(size) <= max(size) <= _LARGEST:
        raise SettingError(
            f"both sides must have {_SMALLEST} to {_LARGEST:,} pixels, not {size[0]}x{size[1]}"
        )
    export.check_target(target, force=force)
    _, drawn, order = _charted(resources, progress)
    thumbnails = _Thumbnails(resources, drawn.paths, progress)
    if kind == "html":
        chosen = order[: export.MAP_THUMBNAILS]
        side = _SIDES[len(chosen) > _FEW]
        export.write_map(
            target, drawn, thumbnails=thumbnails.of(chosen, side), side=side, force=force
        )
    else:
        export.write_bytes(target, _sheet(drawn, order, size, thumbnails), force=force)
    return MapReport(
        target=target,
        kind=kind,
        pictures=len(drawn.paths),
        groups=len(drawn.groups),
        thumbnails=thumbnails.made,
        skipped=tuple(thumbnails.skipped),
    )


def chart(resources: Resources, progress: Progress) -> Chart:
    """Every picture on a plane, as data; see ``Library.chart``."""
    import numpy as np

    ids, drawn, order = _charted(resources, progress)
    at = np.array(order, np.intp)
    labels, painted = drawn.labels[at], drawn.colours()
    groups = [
        ChartedGroup(group.id, group.name, group.size, ids[cover], place, *painted[group.id])
        for place, (group, cover) in enumerate(zip(drawn.groups, drawn.covers, strict=True))
    ]
    others = np.flatnonzero(labels == NOISE)
    if len(others):
        first = int(others[0])
        groups.append(
            ChartedGroup(NOISE, None, len(others), ids[order[first]], first, *painted[NOISE])
        )
    width, height = drawn.places.max(axis=0).tolist()
    return Chart(
        ids=tuple(ids[one] for one in order),
        x=np.ascontiguousarray(drawn.places[at, 0], np.float32),
        y=np.ascontiguousarray(drawn.places[at, 1], np.float32),
        rooms=np.ascontiguousarray(drawn.rooms[at], np.float32),
        labels=labels,
        strengths=drawn.strengths[at],
        width=width,
        height=height,
        groups=tuple(groups),
        grouped=drawn.grouped,
    )


def _charted(
    resources: Resources, progress: Progress
) -> tuple[tuple[str, ...], export.Map, list[int]]:
    """Ids, their map, and its pictures in the order in which they deserve a thumbnail."""
    import numpy as np

    from . import grouping

    store, pin = resources.filled()
    ids, rows = store.vectors()
    paths, kept = store.paths(ids), decided(store)
    if len(paths) < len(ids):  # others went this moment
        here = [at for at, picture_id in enumerate(ids) if picture_id in paths]
        ids, rows = tuple(ids[at] for at in here), rows[here]
    if not ids:
        raise GroupingError(
            f"the library {store.url} has no pictures; add some with: imgindex index FOLDER"
        )
    labels = np.full(len(ids), NOISE, np.int32)
    strengths = np.zeros(len(ids), np.float32)
    known = None
    where = {picture_id: at for at, picture_id in enumerate(ids)}
    if kept is not None:
        old, new = _shared(kept, where)
        labels[new], strengths[new] = kept.labels[old], kept.strengths[old]
        known = np.full((len(ids), kept.places.shape[1]), np.nan, np.float32)
        known[new] = kept.places[old]
    places = grouping.lay_out(
        rows,
        known,
        lambda some, k: store.neighbours([ids[at] for at in some.tolist()], k, progress),
        progress,
    )
    groups = [group for group in kept.groups if (labels == group.id).any()] if kept else []
    covers = [
        where.get(group.cover or group.medoid, int((labels == group.id).argmax()))
        for group in groups
    ]
    rest = np.lexsort((-strengths, labels == NOISE))
    order = np.append(np.array(covers, np.intp), rest[~np.isin(rest, covers)])
    rooms = grouping.rooms(places, order, len(covers))
    groups_told = _counted(len(groups), "group") if kept else "no groups yet"
    drawn = export.Map(
        title=PurePath(store.url).name or store.url,
        subtitle=f"{_counted(len(ids), 'picture')} · {groups_told} · {pin.name}",
        paths=[paths[picture_id] for picture_id in ids],
        places=places,
        rooms=rooms,
        labels=labels,
        strengths=strengths,
        groups=groups,
        covers=covers,
        grouped=kept is not None,
    )
    # Every group's cover, and then whoever can be seen from farthest away.
    widest = np.argsort(-rooms[order[len(covers) :]], kind="stable")
    return ids, drawn, [*covers, *order[len(covers) :][widest].tolist()]


def _shared(kept: Grouping, where: dict[str, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where pictures that are on the map are in the grouping, and where they are on the map."""
    import numpy as np

    pairs = [(at, where[one]) for at, one in enumerate(kept.ids) if one in where]
    old, new = np.array(pairs, np.intp).reshape(-1, 2).T
    return old, new


def _sheet(
    drawn: export.Map, order: Sequence[int], size: tuple[int, int], thumbnails: _Thumbnails
) -> bytes:
    """The map as a PNG file."""
    import numpy as np

    from . import pixels

    extent = drawn.places.max(axis=0)
    edge = min(size) * _EDGE
    own = _room(drawn, size, edge)[1]
    side = int(min(max(_SNUG * own, _TILE * max(size) / 2400), _LARGEST_TILE, min(size) / 4))
    scale, own = _room(drawn, size, edge + side / 2)
    need = side * (_TIGHT if _SNUG * own >= side else _APART)
    middle = (np.array(size) - scale * extent) / 2
    spots = (middle + scale * drawn.places).tolist()
    painted = {group: light for group, (light, _) in drawn.colours().items()}
    labels = drawn.labels.tolist()
    dots = [
        (*spots[at], painted[labels[at]])
        for at in np.argsort(drawn.labels != NOISE, kind="stable").tolist()
    ]
    chosen = [at for at in order if len(order) == 1 or scale * drawn.rooms[at] >= need]
    tiles = [
        (jpeg, *spots[at], painted[labels[at]])
        for at, jpeg in thumbnails.of(chosen, 2 * side)
        if jpeg is not None
    ]
    shown = set(chosen)
    # Names that somebody gave come before numbers where both would take the same place.
    groups = sorted(enumerate(drawn.groups), key=lambda pair: pair[1].name is None)
    names = [
        (export.name_of(group), spots[cover][0], spots[cover][1] + side / 2, painted[group.id])
        for at, group in groups
        if (cover := drawn.covers[at]) in shown and (group.name or at < _NAMED)
    ]
    return pixels.chart(size, (max(1.0, _DOT * min(own, side / 3)), dots), tiles, side, names)


def _room(drawn: export.Map, size: tuple[int, int], edge: float) -> tuple[float, float]:
    """Pixels to the map's unit, and those that a picture has on average."""
    import numpy as np

    wide, high = drawn.places.max(axis=0).tolist()
    if len(drawn.paths) == 1:
        return 1.0, float(min(size))
    free = np.array(size) - 2 * edge
    scale = float(min(free[0] / wide, free[1] / max(high, 1e-9)))
    return scale, scale * float((wide * max(high, wide / 4) / len(drawn.paths) / 5) ** 0.5)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
