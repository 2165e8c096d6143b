"""Pairs of pictures that may be copies, found without opening a file.

Turned, mirrored, brightened and grey copies have the same long waves, up to signs and order;
cropped ones lie near each other as embeddings. A sketch that is found inside the other then says
where to look closely.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from imgindex.records import SKETCH_SIDE as SIDE

from .rotation import rotation, spectrum
from .waves import TURNS, Turn, turned, waves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from imgindex.records import Progress

    from .rotation import Spectrum

    Pair = tuple[int, int]
    _Nearest = Callable[[NDArray[np.float32]], Iterator[tuple[int, int, float]]]

_SAME_WAVES = 0.85  # least cosine of the waves of copies
_SAME_CIRCLES = 0.92  # least correlation of circles in rotated copies
_ALL = (0.0, 0.0, 1.0, 1.0)
_SAME_SKETCH = 0.8  # least correlation of a sketch with its place in another
_SMALLEST_PART = 17  # of SIDE: what is left of a side that was cropped
_STEP, _PROMISING = 3, 0.6  # sizes of parts are tried in steps, and those between if it looks good
_MOST = 8  # pairs a picture that its waves give
_COMPARED = 20_000  # up to here every pair of waves is compared
_BLOCK, _CHUNK = 512, 4096


class Candidate(NamedTuple):
    """A pair that may be copies.

    Attributes:
        whole: the picture that holds the other one, by its place.
        part: the other one.
        turn: how ``whole`` has to be turned.
        box: where ``part`` then lies in it: left, top, width, height as shares of its sides.
        correlation: of the sketches there, at most 1.
        angle: by which ``part`` is rotated on top of that around the middle, in degrees.
    """

    whole: int
    part: int
    turn: Turn
    box: tuple[float, float, float, float]
    correlation: float
    angle: float = 0.0

    @property
    def place(self) -> tuple[Turn, tuple[float, float, float, float], float]:
        """What `likeness` wants to know beside the pictures."""
        return self.turn, self.box, self.angle


def candidates(
    sketches: NDArray[np.uint8],
    aspects: NDArray[np.float64],
    neighbours: NDArray[np.int64],
    fresh: NDArray[np.bool_],
    progress: Progress,
) -> list[Candidate]:
    """Find the pairs that are worth a close look.

    Args:
        sketches: uint8 [n, SIDE, SIDE].
        aspects: [n], width by height of the pictures.
        neighbours: [n, m], for each picture others that are near as embeddings; -1 for none.
        fresh: [n]; only pairs with one of these are looked for.
        progress: called with the stage ``sketches``.
    """
    pairs = _by_waves(waves(sketches), fresh)
    for pair in _by_neighbours(neighbours, fresh):
        pairs.setdefault(pair, TURNS[0])
    ordered = sorted(pairs.items())
    chunks = [ordered[at : at + _CHUNK] for at in range(0, len(ordered), _CHUNK)]
    found: list[Candidate] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for some in pool.map(lambda chunk: _register(sketches, aspects, chunk), chunks):
            found += some
            progress("sketches", len(found), 0)
    return found


def between(
    sketches: NDArray[np.uint8], aspects: NDArray[np.float64], pairs: Sequence[Pair]
) -> list[Candidate]:
    """How the pictures of given pairs may be copies of each other; see `candidates`."""
    spectra = waves(sketches)

    def turn(one: int, other: int) -> Turn:
        agree = [float((turned(spectra[[one]], way) * spectra[other]).sum()) for way in TURNS]
        return TURNS[int(np.argmax(agree))]

    return _register(sketches, aspects, [(pair, turn(*pair)) for pair in pairs])


def _by_neighbours(neighbours: NDArray[np.int64], fresh: NDArray[np.bool_]) -> Iterator[Pair]:
    rows = np.repeat(np.arange(len(neighbours)), neighbours.shape[1])
    others = neighbours.ravel()
    wanted = (others >= 0) & (others != rows) & (fresh[rows] | fresh[others])
    low, high = np.minimum(rows, others)[wanted], np.maximum(rows, others)[wanted]
    for pair in np.unique(np.stack([low, high], axis=1), axis=0).tolist():
        yield pair[0], pair[1]


def _by_waves(spectra: NDArray[np.float32], fresh: NDArray[np.bool_]) -> dict[Pair, Turn]:
    """Pairs (i, j), i < j, whose waves agree, with the turn of i that makes them agree best."""
    best: dict[Pair, tuple[float, Turn]] = {}
    flat = spectra.reshape(len(spectra), -1)
    new = np.flatnonzero(fresh & flat.any(axis=1))
    if not len(new):
        return {}
    nearest = partial(_every_pair, flat) if len(flat) <= _COMPARED else _by_graph(flat)
    for turn in TURNS:
        asked = turned(spectra[new], turn).reshape(len(new), -1)
        for at, other, cosine in nearest(asked):
            one = int(new[at])
            if one == other:
                continue
            pair, way = ((one, other), turn) if one < other else ((other, one), turn.back)
            if cosine > best.get(pair, (-1.0, way))[0]:
                best[pair] = cosine, way
    return {pair: way for pair, (_, way) in best.items()}


def _every_pair(
    flat: NDArray[np.float32], asked: NDArray[np.float32]
) -> Iterator[tuple[int, int, float]]:
    keep = min(_MOST, len(flat) - 1)
    for start in range(0, len(asked), _BLOCK):
        cosines = asked[start : start + _BLOCK] @ flat.T
        rows, others = np.nonzero(cosines >= _SAME_WAVES)
        values = cosines[rows, others]
        order = np.lexsort((-values, rows))
        rows, others, values = rows[order], others[order], values[order]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        kept = rank <= keep
        yield from zip(
            (rows[kept] + start).tolist(),
            others[kept].tolist(),
            values[kept].tolist(),
            strict=True,
        )


def _by_graph(flat: NDArray[np.float32]) -> _Nearest:
    import hnswlib

    graph = hnswlib.Index("ip", flat.shape[1])
    graph.init_index(len(flat), ef_construction=100, M=16)
    graph.add_items(flat)
    graph.set_ef(64)
    keep = min(_MOST + 1, len(flat))

    def nearest(asked: NDArray[np.float32]) -> Iterator[tuple[int, int, float]]:
        for start in range(0, len(asked), _CHUNK):
            labels, distances = graph.knn_query(asked[start : start + _CHUNK], keep)
            rows, columns = np.nonzero(1 - distances >= _SAME_WAVES)
            yield from zip(
                (rows + start).tolist(),
                labels[rows, columns].astype(np.int64).tolist(),
                (1 - distances[rows, columns]).tolist(),
                strict=True,
            )

    return nearest


def _register(
    sketches: NDArray[np.uint8],
    aspects: NDArray[np.float64],
    pairs: Sequence[tuple[Pair, Turn]],
) -> list[Candidate]:
    """Those of the pairs where one sketch is found in the other, and where."""
    found = []
    circles: dict[int, Spectrum] = {}

    def around(at: int) -> Spectrum:
        if at not in circles:
            circles[at] = spectrum(sketches[at], float(aspects[at]))
        return circles[at]

    for (one, other), turn in pairs:
        best: Candidate | None = None
        for whole, part, way in ((one, other, turn), (other, one, turn.back)):
            aspect = aspects[whole] ** (-1 if way.transpose else 1)
            correlation, box = _place(
                way.of(sketches[whole]), sketches[part], aspects[part] / aspect
            )
            if best is None or correlation > best.correlation:
                best = Candidate(whole, part, way, box, correlation)
        if best is not None and best.correlation >= _SAME_SKETCH:
            found.append(best)
            continue
        alike, angle, mirrored = rotation(around(one), around(other))
        if alike >= _SAME_CIRCLES:
            way = Turn(columns=mirrored)
            found.append(Candidate(one, other, way, _ALL, alike, angle))
            back = angle if mirrored else -angle
            found.append(Candidate(other, one, way, _ALL, alike, back))
    return found


def _place(
    whole: NDArray[np.uint8], part: NDArray[np.uint8], aspect: float
) -> tuple[float, tuple[float, float, float, float]]:
    """Where a sketch lies best in another one of any size, and how well it fits there.

    Args:
        whole: uint8 [SIDE, SIDE].
        part: the same.
        aspect: the part's aspect by the whole's; what is not cropped alike on both sides has
            another one.
    """
    wide, high = min(1.0, aspect), min(1.0, 1 / aspect)
    best, best_side, box = -1.0, SIDE, _ALL

    def attempt(side: int, wide: float = wide, high: float = high) -> None:
        nonlocal best, best_side, box
        width, height = max(8, round(side * wide)), max(8, round(side * high))
        small = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
        fits = cv2.matchTemplate(whole, small, cv2.TM_CCOEFF_NORMED)
        _, fit, _, (left, top) = cv2.minMaxLoc(fits)
        if best < fit <= 1.001:  # noqa: PLR2004 - where all is of one tone OpenCV gives infinity
            best, best_side = fit, side
            box = (left / SIDE, top / SIDE, width / SIDE, height / SIDE)

    attempt(SIDE, 1.0, 1.0)  # all of it, perhaps stretched
    for side in range(SIDE, _SMALLEST_PART - 1, -_STEP):
        attempt(side)
    if best >= _PROMISING:
        for side in range(min(SIDE, best_side + _STEP - 1), best_side - _STEP, -1):
            attempt(side)
    return best, box
