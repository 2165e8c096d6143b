"""Making a model small: learn from some pictures, build it, and say how well the two agree."""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import embed, models, pixels, scan
from .errors import ImgindexError, ModelError, ModelFileError, PictureError, SettingError
from .graph import brief
from .precision import EIGHT, eight_bits
from .records import Found, no_progress

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from .records import ModelCard, Pixels, Progress, Rows

_LEARNED, _COMPARED, _LEAST = 64, 400, 44
_NEAREST = 10
_LARGEST_FILE = 2**28
_BATCH = 8


@dataclass(frozen=True, slots=True)
class QuantizeReport:
    """A model in eight bits, beside the one it was made from.

    Attributes:
        name: what it is called.
        path: its file.
        fingerprint: ``ModelCard.fingerprint``.
        learned: pictures that the ranges were learned from.
        compared: other pictures, which both models looked at.
        cosine: between both embeddings of a picture, mean.
        overlap: share of a picture's ten nearest among the compared that both name, mean.
        speed: pictures a second of the small one here.
        speed_before: of the other.
        exact: whether this processor computes in eight bits; else in float, no faster than before.
    """

    name: str
    path: Path
    fingerprint: str
    learned: int
    compared: int
    cosine: float
    overlap: float
    speed: float
    speed_before: float
    exact: bool


def quantize(
    model: str | None,
    pictures: Sequence[str | os.PathLike[str]],
    folder: Path,
    *,
    name: str | None = None,
    progress: Progress = no_progress,
) -> QuantizeReport:
    """Make a VGG16 in eight bits and install it beside the float one.

    Args:
        model: see `models.resolve`.
        pictures: files and folders like those it will be used on; some hundreds are drawn.
        folder: where installed models lie.
        name: what to call it; by default the model's name and ``-int8``.
        progress: stages ``read``, ``quantize`` and ``compare``.

    Raises:
        SettingError: the model is none of VGG16 in float, or there are too few pictures.
        ModelNotFoundError: it is not here.
        ModelError: another model has that name, or the temporary folder is full.
    """
    path = models.resolve(model, folder)
    card = models.read_card(path)
    name = models.free_name(name or f"{path.stem}-{EIGHT}", folder)
    sample = _sample(pictures, card, progress)
    learned, compared = np.split(sample, [min(_LEARNED, len(sample) // 3)])
    try:
        small = eight_bits(
            path.read_bytes(),
            lambda one: embed.outputs(one, learned, EIGHT),
            name=name,
            progress=progress,
        )
    except ImgindexError:
        raise
    except Exception as error:  # ORT raises its own kinds, all direct children of Exception
        raise ModelFileError(f"cannot quantize {path}: {brief(error)}; import it again") from error
    with ExitStack() as stack:
        try:
            place = stack.enter_context(tempfile.TemporaryDirectory())
            beside = Path(place) / f"{name}.onnx"
            beside.write_bytes(small)
        except OSError as error:
            raise ModelError(
                f"cannot quantize {path}: no temporary folder takes {len(small):,} bytes "
                f"({error.strerror or error}); make room, or name another folder in TMPDIR"
            ) from error
        before, after, speeds = _both(path, beside, compared, progress)
    placed = models.put(name, small, folder)
    shared = [
        len(np.intersect1d(*pair)) for pair in zip(_nearest(before), _nearest(after), strict=True)
    ]
    return QuantizeReport(
        name=placed.stem,
        path=placed,
        fingerprint=models.read_card(placed).fingerprint,
        learned=len(learned),
        compared=len(before),
        cosine=round(float((before * after).sum(1).mean()), 5),
        overlap=round(statistics.fmean(shared) / _NEAREST, 4),
        speed=round(speeds[1], 2),
        speed_before=round(speeds[0], 2),
        exact=embed.adds_exactly(),
    )


def _sample(
    places: Sequence[str | os.PathLike[str]], card: ModelCard, progress: Progress
) -> Pixels:
    """Pixels of pictures drawn at random, uint8 [n, s, s, 3], without those that fail."""
    found = [one for one in scan.walk(places, pixels.SUFFIXES) if isinstance(one, Found)]
    order = np.random.default_rng(0).permutation(len(found))
    limit = pixels.default_max_megapixels()
    most = min(len(found), _LEARNED + _COMPARED)
    kept: dict[str, Pixels] = {}
    for at in order.tolist():
        if len(kept) == most:
            break
        try:
            _, data = scan.load(found[at].path, _LARGEST_FILE)
            decoded = pixels.decode(data, size=card.size, fit=card.fit, max_megapixels=limit)
        except PictureError:
            continue
        kept[scan.content_id(data)] = decoded.pixels
        progress("read", len(kept), most)
    if len(kept) < _LEAST:
        raise SettingError(
            f"{len(kept)} different pictures were found, and {_LEAST} are needed to learn from; "
            "give more folders"
        )
    return np.stack(list(kept.values()))


def _both(
    whole: Path, small: Path, compared: Pixels, progress: Progress
) -> tuple[Rows, Rows, list[float]]:
    """Both models' rows, and the pictures a second of each; run in turn, on the CPU."""
    embedders = [embed.Embedder(one, "cpu") for one in (whole, small)]
    rows: list[list[Rows]] = [[], []]
    spent: list[list[float]] = [[], []]
    for start in range(0, len(compared), _BATCH):
        batch = compared[start : start + _BATCH]
        for at, embedder in enumerate(embedders):
            began = time.perf_counter()
            rows[at].append(embedder.encode(batch))
            spent[at].append((time.perf_counter() - began) / len(batch))
        progress("compare", start + len(batch), len(compared))
    before, after = map(np.concatenate, rows)
    described = ~(np.isnan(before).any(axis=1) | np.isnan(after).any(axis=1))
    before, after = before[described], after[described]
    if len(before) <= _NEAREST:
        raise SettingError("the model finds nothing in nearly all of these pictures; give others")
    return before, after, [1 / statistics.median(times) for times in spent]


def _nearest(rows: Rows) -> list[list[int]]:
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -2)
    near: list[list[int]] = np.argsort(-cosines, axis=1, kind="stable")[:, :_NEAREST].tolist()
    return near
