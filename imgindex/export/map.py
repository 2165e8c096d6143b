"""A library as a map: one page to walk about in, made as ``page`` makes its own."""

from __future__ import annotations

import base64
import html
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imgindex.records import NOISE

from .colours import ALL_COLOUR, NOISE_COLOUR, colours
from .page import filled, island

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from imgindex.records import Group, Labels

PAGE_THUMBNAILS = 12_000
"""Thumbnails in one page at most."""
PAGE_CHARACTERS = 36_000_000
"""What they may take up, each a third more than its JPEG; browsers bear that."""

_STEPS = 65_535  # to which places are rounded
_CHUNK = 200  # thumbnails that the browser reads at a time


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """Pictures and their groups on a plane; row i of every array is picture i.

    Attributes:
        title: the page's name.
        subtitle: a line below it.
        paths: the present files of each picture, at least one.
        places: float32 [n, 2] in [0, 1]; y grows downwards.
        rooms: float32 [n], the side of the square each picture may have to itself.
        labels: int32 [n], a group's id or -1.
        strengths: float32 [n].
        groups: by falling size; each has a picture.
        covers: the picture that stands for each group.
        grouped: False where there is no grouping.
    """

    title: str
    subtitle: str
    paths: Sequence[Sequence[str]]
    places: NDArray[np.float32]
    rooms: NDArray[np.float32]
    labels: Labels
    strengths: NDArray[np.float32]
    groups: Sequence[Group]
    covers: Sequence[int]
    grouped: bool

    def colours(self) -> dict[int, tuple[str, str]]:
        """The colours of each group by id, noise included: on light and on dark paper."""
        centres = np.empty((len(self.groups), 2), np.float32)
        radii = np.empty(len(self.groups), np.float32)
        for at, group in enumerate(self.groups):
            own = self.places[self.labels == group.id]
            centres[at] = np.median(own, axis=0)
            radii[at] = np.median(np.linalg.norm(own - centres[at], axis=1))
        ids = [group.id for group in self.groups]
        found = dict(zip(ids, colours(centres, radii), strict=True))
        return found | {NOISE: NOISE_COLOUR if self.grouped else ALL_COLOUR}


def name_of(group: Group) -> str:
    """What a map calls a group."""
    return group.name or f"Group {group.id}"


def map_text(
    drawn: Map, thumbnails: Iterable[tuple[int, bytes | None]], side: int
) -> Iterator[str]:
    """The page, piece by piece; few thumbnails are held at a time.

    Encode with ``xmlcharrefreplace``: a title that is not UTF-8 has surrogate escapes.

    Args:
        drawn: the map.
        thumbnails: pictures with their JPEG, or None if one cannot be read; those to be seen from
            farthest away first.
        side: longer side of the thumbnails in pixels.
    """
    parts: dict[str, Iterable[str]] = {
        "title": [html.escape(drawn.title)],
        "subtitle": [html.escape(drawn.subtitle)],
        "data": _data(drawn, thumbnails, side),
    }
    return filled("map.html", parts)


def _data(drawn: Map, thumbnails: Iterable[tuple[int, bytes | None]], side: int) -> Iterator[str]:
    shown: list[int] = []
    chunk: list[str] = []
    left = PAGE_CHARACTERS
    for picture, jpeg in thumbnails:
        if jpeg is None:
            continue
        shown.append(picture)
        chunk.append(base64.b64encode(jpeg).decode())
        left -= len(chunk[-1])
        if len(chunk) == _CHUNK:
            yield island(f"thumbnails-{len(shown) // _CHUNK - 1}", chunk)
            chunk = []
        if left <= 0:
            break
    if chunk:
        yield island(f"thumbnails-{len(shown) // _CHUNK}", chunk)
    yield island("map-data", _outline(drawn) | {"shown": shown, "chunk": _CHUNK, "side": side})


def _outline(drawn: Map) -> dict[str, Any]:
    numbers = {group.id: at for at, group in enumerate(drawn.groups)}
    folders: dict[str, int] = {}
    names, where = [], []
    for path, *_ in drawn.paths:
        name = os.path.basename(path)  # noqa: PTH119 - a Path drops "."
        names.append(name)
        where.append(folders.setdefault(path[: len(path) - len(name)], len(folders)))
    painted = drawn.colours()
    return {
        "steps": _STEPS,
        "x": np.rint(drawn.places[:, 0] * _STEPS).astype(int).tolist(),
        "y": np.rint(drawn.places[:, 1] * _STEPS).astype(int).tolist(),
        "rooms": np.floor(drawn.rooms * _STEPS).astype(int).tolist(),
        "group": [numbers.get(label, NOISE) for label in drawn.labels.tolist()],
        "strength": np.rint(drawn.strengths * 100).astype(int).tolist(),
        "folders": list(folders),
        "folder": where,
        "names": names,
        "copies": {at: paths[1:] for at, paths in enumerate(drawn.paths) if len(paths) > 1},
        "groups": [
            {
                "name": name_of(group),
                "named": group.name is not None,
                "size": group.size,
                "cover": cover,
                "colours": painted[group.id],
            }
            for group, cover in zip(drawn.groups, drawn.covers, strict=True)
        ],
        "noise": painted[NOISE],
        "grouped": drawn.grouped,
    }
