"""What the network sees: the maps of its layers, and what draws two pictures together."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from . import pixels
from .asking import opened
from .errors import ExportError, PictureError, QueryError, SettingError
from .records import (
    Channel,
    Explanation,
    Features,
    Frame,
    LayerInfo,
    Layers,
    Place,
    Term,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .inner import Layer
    from .insight import Insight
    from .records import Maps, Rectangle
    from .resources import Resources

    Edges = NDArray[np.intp]

Shown: TypeAlias = str | os.PathLike[str] | bytes
"""A file, the id of an indexed picture, or the bytes of a file."""

_SIDE = 28  # places along a side that are compared; finer maps are brought together
_APART = 7  # places that are named keep a seventh of the side between them
_UNIT = 1e-3
_SAME = 1e-4
_TINY = 1e-12
_DRAWN = 1200


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A picture that went through the network: its file, its embedding [d], maps [c, h, w].

    Its bytes are there if it came as these.
    """

    path: str
    data: bytes | None
    row: NDArray[np.float32]
    maps: list[Maps]
    frame: Frame


def layers(resources: Resources) -> Layers:
    """See ``Library.layers``."""
    insight = resources.insight()
    anatomy = insight.anatomy
    convolutions = [one for one in anatomy.layers if one.convolution]
    numbers = {one.name: number for number, one in enumerate(convolutions, start=1)}
    is_vgg16 = insight.card.architecture == "vgg16"
    try:
        last = anatomy.last().name
    except SettingError:
        last = None
    return Layers(
        model=insight.card.name,
        layers=tuple(
            LayerInfo(one.name, numbers.get(one.name), *sides)
            for one in anatomy.layers
            if (sides := anatomy.sides(one)) is not None
        ),
        blocks=tuple(one.name for one in anatomy.blocks()) if is_vgg16 else (),
        last=last,
    )


def features(resources: Resources, query: Shown, layer: str | int | None) -> Features:
    """See ``Library.features``."""
    insight = resources.insight()
    chosen = [insight.anatomy.named(layer)]
    return _features(_look(resources, insight, chosen, query), insight, chosen)[0]


def blocks(resources: Resources, query: Shown) -> list[Features]:
    """See ``Library.features_by_block``."""
    insight = resources.insight()
    chosen = insight.anatomy.blocks()
    return _features(_look(resources, insight, chosen, query), insight, chosen)


def _features(seen: _Seen, insight: Insight, chosen: Sequence[Layer]) -> list[Features]:
    made = []
    model = insight.card.name
    for layer, maps in zip(chosen, seen.maps, strict=True):
        means, most = maps.mean((1, 2)), maps.max((1, 2))
        channels = tuple(
            Channel(at, float(means[at]), float(most[at]))
            for at in (-means).argsort(kind="stable").tolist()
        )
        made.append(Features(seen.path, model, layer.name, channels, maps, seen.frame, seen.data))
    return made


def explain(resources: Resources, a: Shown, b: Shown, k: int) -> Explanation:
    """See ``Library.explain``."""
    import numpy as np

    if k < 1:
        raise SettingError(f"k must be at least 1, not {k}")
    insight = resources.insight()
    layer = insight.anatomy.last()
    both = [_look(resources, insight, [layer], one) for one in (a, b)]
    for one in both:
        if not abs(float(np.linalg.norm(one.row)) - 1) < _UNIT:
            raise QueryError(f"{one.path}: the model finds nothing in this picture")
    score = float(np.clip(both[0].row @ both[1].row, -1, 1))
    means = [one.maps[0].mean((1, 2), dtype=np.float64) for one in both]
    lengths = [max(float(np.linalg.norm(mean)), _TINY) for mean in means]
    exact = all(
        len(mean) == len(one.row) and np.abs(mean / length - one.row).max() < _SAME
        for mean, length, one in zip(means, lengths, both, strict=True)
    )
    sides = both[0].maps[0].shape[1:]
    edges = [_edges(side) for side in sides]
    # Vectors of places, float64 [places, c]: sums over the map's own, so that all add up.
    sums = [_brought_together(one.maps[0], edges) for one in both]
    units = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY) for rows in sums]
    cosines = units[0] @ units[1].T
    grid = (len(edges[0]) - 1, len(edges[1]) - 1)
    shares = None
    if exact:
        whole = sides[0] * sides[1]
        # The mean's length is divided out once for each picture: what is left adds up to the score.
        scaled = [rows / (whole * length) for rows, length in zip(sums, lengths, strict=True)]
        shares = scaled[0] @ scaled[1].T
        maps = [shares.sum(1), shares.sum(0)]
    else:
        maps = [cosines.max(1), cosines.max(0)]
    map_a, map_b = (one.reshape(grid).astype(np.float32) for one in maps)
    frames = (both[0].frame, both[1].frame)
    return Explanation(
        a=both[0].path,
        b=both[1].path,
        score=score,
        model=insight.card.name,
        layer=layer.name,
        exact=exact,
        map_a=map_a,
        map_b=map_b,
        frame_a=frames[0],
        frame_b=frames[1],
        places=_places(cosines, shares, edges, frames, k),
        data_a=both[0].data,
        data_b=both[1].data,
    )


def _look(resources: Resources, insight: Insight, chosen: Sequence[Layer], query: Shown) -> _Seen:
    """Send a picture through a model that reveals some layers."""
    import numpy as np

    card, called = insight.card, Term(query).called
    try:
        path, data = opened(resources, query)
        decoded = resources.decode(data, card=card)
    except PictureError as error:
        raise QueryError(f"cannot read {called}: {error}") from error
    row, *arrays = insight.look(decoded.pixels, chosen)
    maps = []
    for layer, array in zip(chosen, arrays, strict=True):
        found = array[0].astype(np.float32)
        if found.ndim != len("chw"):
            raise SettingError(f"{layer.name} of {card.name} gives no maps; choose another")
        maps.append(found.transpose(2, 0, 1) if layer.channels_last else found)
    if not all(np.isfinite(some).all() for some in maps):
        raise QueryError(f"{path}: the model gives numbers that are not finite")
    square = pixels.square(decoded.width, decoded.height, card.size, card.fit)
    frame = Frame(decoded.width, decoded.height, square)
    return _Seen(path, data if isinstance(query, bytes) else None, row[0], maps, frame)


def _edges(side: int) -> Edges:
    """Where places begin and end along one side of a map."""
    import numpy as np

    return np.linspace(0, side, min(side, _SIDE) + 1).round().astype(np.intp)


def _brought_together(maps: Maps, edges: Sequence[Edges]) -> NDArray[np.float64]:
    """Sums of a map [c, h, w] over places, float64 [places, c]."""
    import numpy as np

    rows = np.add.reduceat(maps.astype(np.float64), edges[0][:-1], axis=1)
    both = np.add.reduceat(rows, edges[1][:-1], axis=2)
    return both.reshape(len(maps), -1).T


def _places(
    cosines: NDArray[np.float64],
    shares: NDArray[np.float64] | None,
    edges: Sequence[Edges],
    frames: tuple[Frame, Frame],
    k: int,
) -> tuple[Place, ...]:
    """Pairs of places that are each other's best match, k at most, some way apart."""
    import numpy as np

    best_b, best_a = cosines.argmax(1), cosines.argmax(0)
    mutual = np.flatnonzero(best_a[best_b] == np.arange(len(best_b)))
    weight = (cosines if shares is None else shares)[mutual, best_b[mutual]]
    across = len(edges[1]) - 1
    gap = max(1, across // _APART)
    taken: list[tuple[int, ...]] = []
    found: list[Place] = []
    for p in mutual[(-weight).argsort(kind="stable")].tolist():
        q = int(best_b[p])
        cell = (*divmod(p, across), *divmod(q, across))
        a, b = _box(frames[0], cell[:2], edges), _box(frames[1], cell[2:], edges)
        near = any(_near(cell[:2], one[:2], gap) or _near(cell[2:], one[2:], gap) for one in taken)
        if a is None or b is None or near or cosines[p, q] <= 0:
            continue
        taken.append(cell)
        share = None if shares is None else float(shares[p, q])
        found.append(Place(a, b, float(cosines[p, q]), share))
        if len(found) == k:
            break
    return tuple(found)


def _near(one: tuple[int, ...], other: tuple[int, ...], gap: int) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= gap


def _box(frame: Frame, cell: tuple[int, ...], edges: Sequence[Edges]) -> Rectangle | None:
    """The box of a place, if at least half of it lies in the picture."""
    (top, bottom), (left, right) = (
        (float(some[at] / some[-1]), float(some[at + 1] / some[-1]))
        for some, at in zip(edges, cell, strict=True)
    )
    box = frame.box(top, left, bottom, right)
    x, y, end, foot = frame.square
    whole = (end - x) * (right - left) * (foot - y) * (bottom - top)
    if box is None or (box[2] - box[0]) * (box[3] - box[1]) < whole / 2:
        return None
    return box


def draw_features(
    resources: Resources,
    shown: Features,
    top: int | None,
    overlay: bool,  # noqa: FBT001 - handed through
) -> bytes:
    """See ``Library.draw_features``."""
    _check_top(top)
    picture = _picture(resources, shown.picture, shown.data)
    if overlay:
        return pixels.activation_sheet(picture, shown)
    return pixels.maps_sheet(picture, shown, top)


def draw_map(shown: Features, channel: int) -> bytes:
    """See ``Library.draw_map``."""
    if not 0 <= channel < len(shown.maps):
        raise SettingError(
            f"{shown.layer} has the channels 0 to {len(shown.maps) - 1}, not {channel}"
        )
    return pixels.map_tile(shown.maps[channel])


def draw_overlay(resources: Resources, shown: Features) -> bytes:
    """See ``Library.draw_overlay``."""
    return pixels.overlay_tile(_picture(resources, shown.picture, shown.data), shown)


def draw_explanation(resources: Resources, shown: Explanation) -> bytes:
    """See ``Library.draw_explanation``."""
    pictures = (
        _picture(resources, shown.a, shown.data_a),
        _picture(resources, shown.b, shown.data_b),
    )
    return pixels.matches_sheet(pictures, shown)


def _check_top(top: int | None) -> None:
    if top is not None and top < 1:
        raise SettingError(f"top must be at least 1, not {top}")


def save_features(  # noqa: PLR0913, PLR0917 - what to draw, and how
    resources: Resources,
    shown: Features | Sequence[Features],
    target: str | os.PathLike[str],
    top: int | None,
    overlay: bool,  # noqa: FBT001 - handed through
    force: bool,  # noqa: FBT001
) -> list[str]:
    """See ``Library.save_features``."""
    from . import export

    _check_top(top)
    if isinstance(shown, Features):
        shown, names = [shown], [os.fspath(target)]
    else:
        stem, suffix = os.path.splitext(os.fspath(target))  # noqa: PTH122 - Path's drops what ends in a slash
        names = [f"{stem}-{one.layer.partition('_')[0]}{suffix}" for one in shown]
    places = [_free(resources, name, [one.picture for one in shown], force) for name in names]
    for one, place in zip(shown, places, strict=True):
        export.write_bytes(place, draw_features(resources, one, top, overlay), force=force)
    return places


def save_explanation(
    resources: Resources,
    shown: Explanation,
    target: str | os.PathLike[str],
    force: bool,  # noqa: FBT001 - handed through
) -> str:
    """See ``Library.save_explanation``."""
    from . import export

    place = _free(resources, target, [shown.a, shown.b], force)
    export.write_bytes(place, draw_explanation(resources, shown), force=force)
    return place


def _free(
    resources: Resources,
    target: str | os.PathLike[str],
    pictures: Sequence[str],
    force: bool,  # noqa: FBT001
) -> str:
    """Where to draw: a ``.png`` file that is none of the pictures, nor of the library's."""
    from . import export

    place = resources.target(target, force=force)
    if not place.lower().endswith(".png"):
        raise ExportError(f"{place}: sheets are drawn as PNG; name a file that ends in .png")
    if os.path.lexists(place) and any(
        os.path.exists(one) and os.path.samefile(place, one)  # noqa: PTH110, PTH121 - text
        for one in pictures
    ):
        raise ExportError(f"{place} is the picture itself; choose another name")
    export.check_target(place, force=force)
    return place


def _picture(resources: Resources, path: str, data: bytes | None) -> bytes:
    try:
        if data is not None:
            return resources.preview(data, _DRAWN)
        return resources.thumbnail(path, _DRAWN)
    except PictureError as error:
        raise QueryError(f"cannot read {path}: {error}") from error
