"""How good descriptors are on pictures that were never trained on, and which preprocessing serves.

The measure is precision at 10, leaving the picture itself out: of its ten nearest by cosine, how
many share its class; each set is searched by itself, and the mean over the sets counts.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch.nn import functional

from imgindex.records import Fit

from . import data, network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from numpy.typing import NDArray

    from imgindex.graph import Pooling

Whitening = Literal["none", "half", "full"]

NEAREST = 10
_BATCH = 256
_POWERS: Mapping[Whitening, float] = {"none": 0, "half": 0.25, "full": 0.5}
_SHRINKAGE = 0.02
_FITTED = 4000
_EQUAL = 0.004
_SHOWN = 20
_GEM_POWER = 3
_RMAC_LEVELS = 3
_TINY = 1e-18  # a root has no gradient at zero


def precision(rows: Any, labels: Any) -> float:
    """Precision at 10 of unit rows [n, d] with integer labels [n], the row itself left out."""
    likeness = rows @ rows.T
    likeness.fill_diagonal_(-2)
    nearest = likeness.topk(min(NEAREST, len(rows) - 1), dim=1).indices
    return float((labels[nearest] == labels[:, None]).float().mean())


def by_set(rows: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, float]:
    """Precision at 10 of every set, and their ``mean``."""
    scores = {name: precision(rows[name], labels[name]) for name in rows}
    return {**scores, "mean": sum(scores.values()) / len(scores)}


def resized(pixels: Any, size: int) -> Any:
    """Bring uint8 [n, s, s, 3] to float32 [n, 3, size, size] in 0..1."""
    views = pixels.permute(0, 3, 1, 2).float() / 255
    shape = (size, size)
    return functional.interpolate(views, shape, mode="bicubic", antialias=True).clamp(0, 1)


def numbered(pool: data.Pool) -> NDArray[np.int64]:
    """Number the labels of a pool."""
    return np.unique(pool.labels, return_inverse=True)[1].reshape(-1)


class Validation:
    """The kept-out pictures, lying on the device, and what the teacher makes of them.

    Attributes:
        teachers: by set, and in the mean, precision at 10 of the teacher's pooled feature.
    """

    def __init__(
        self, apart: Mapping[str, data.Pool], folder: Path, device: Any, workers: Executor | None
    ) -> None:
        """Decode the pictures and read ``teacher.npz``, whose rows lie as the whole pool does."""
        self._labels = {
            name: torch.from_numpy(numbered(pool)).to(device) for name, pool in apart.items()
        }
        images = [image for pool in apart.values() for image in pool.images]
        pixels = data.squares(images, data.SHARP, workers=workers)
        self._pixels = torch.from_numpy(pixels).to(device)
        with np.load(folder / "teacher.npz") as file:
            features = {
                name: (file["code"][pool.rows] * file["scale"]) @ file["basis"] + file["mean"]
                for name, pool in apart.items()
            }
        rows = {
            name: functional.normalize(torch.from_numpy(array).to(device))
            for name, array in features.items()
        }
        self.teachers = by_set(rows, self._labels)

    def score(self, features: Any, size: int, device: Any) -> dict[str, float]:
        """Measure the average-pooled descriptors of a network that is in evaluation mode."""
        with torch.no_grad(), network.quick(device):
            parts = [
                network.descriptors(features(network.scaled(resized(part, size))))
                for part in self._pixels.split(_BATCH)
            ]
        counts = [len(labels) for labels in self._labels.values()]
        rows = torch.cat(parts).float().split(counts)
        return by_set(dict(zip(self._labels, rows, strict=True)), self._labels)


def pooled(maps: Any) -> dict[Pooling, Any]:
    """Pool a map [n, c, s, s] in every way that `graph.Sketch.pool` knows, to unit rows [n, c]."""
    maps = maps.float()
    ways: dict[Pooling, Any] = {
        "average": maps.mean((2, 3)),
        "max": maps.amax((2, 3)),
        "gem": maps.pow(_GEM_POWER).mean((2, 3)).clamp(min=_TINY).pow(1 / _GEM_POWER),
        "rmac": sum(functional.normalize(part.amax((2, 3))) for part in _regions(maps)),
    }
    return {name: functional.normalize(rows) for name, rows in ways.items()}


def _regions(maps: Any) -> Iterator[Any]:
    side = maps.shape[-1]
    for level in range(1, _RMAC_LEVELS + 1):
        region = 2 * side // (level + 1)
        step = (side - region) / max(level - 1, 1)
        starts = [int(place * step) for place in range(level)] if region else []
        for top in starts:
            for left in starts:
                yield maps[:, :, top : top + region, left : left + region]


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to use the network, and how it did.

    Attributes:
        size: side of the square in pixels.
        fit: how a picture is brought to it.
        pooling: how the map becomes a vector.
        whitening: what is done to the unit vector: ``none``, or its principal components over the
            fourth root (``half``) or the square root (``full``) of their variance.
        scores: precision at 10 by set, and their ``mean``.
    """

    size: int
    fit: Fit
    pooling: Pooling
    whitening: Whitening
    scores: dict[str, float]


def whitening(rows: Any, kind: Whitening) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit a whitening to unit rows (Jegou & Chum, doi:10.1007/978-3-642-33709-3_55).

    Variances are shrunk towards their mean by 2 %, so that directions nobody uses stay quiet.

    Args:
        rows: float [n, d].
        kind: ``half`` or ``full``.

    Returns:
        Matrix float32 [d, d] and offset float32 [d]: white = matrix @ row + offset.
    """
    rows = rows.double().cpu()
    mean = rows.mean(0)
    variances, directions = torch.linalg.eigh(torch.cov((rows - mean).T))
    variances = variances.clamp(min=0) + _SHRINKAGE * variances.mean()
    factors = (variances / variances.mean()).pow(-_POWERS[kind])
    matrix = (directions * factors).T.flip(0)
    return matrix.float().numpy(), (-matrix @ mean).float().numpy()


class Measured:
    """Descriptors of the kept-out pictures, and of some trained on to fit a whitening to."""

    def __init__(
        self, features: Any, train: data.Pool, apart: Mapping[str, data.Pool], device: Any
    ) -> None:
        """Take the network in evaluation mode, and sharp pictures like those it will meet."""
        sharp = np.flatnonzero(train.sharp)
        self._fitted = train.take(sharp[:: max(1, len(sharp) // _FITTED)])
        self._features, self._apart, self._device = features, apart, device
        self._labels = {
            name: torch.from_numpy(numbered(pool)).to(device) for name, pool in apart.items()
        }

    def rows(self, pool: data.Pool, size: int, fit: Fit, workers: Executor | None) -> Any:
        """Describe a pool in every pooling: name to float32 [n, 512]."""
        pixels = torch.from_numpy(data.squares(pool.images, size, fit, workers))
        parts = []
        with torch.no_grad(), network.quick(self._device):
            for part in pixels.split(_BATCH):
                views = part.to(self._device).permute(0, 3, 1, 2).float() / 255
                parts.append(pooled(self._features(network.scaled(views))))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def projection(
        self, choice: Choice, workers: Executor | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Fit the whitening of a choice; None where there is none."""
        if choice.whitening == "none":
            return None
        rows = self.rows(self._fitted, choice.size, choice.fit, workers)[choice.pooling]
        return whitening(rows, choice.whitening)

    def every(self, sizes: Sequence[int], workers: Executor | None) -> Iterator[Choice]:
        """Measure every combination."""
        for size in sizes:
            for fit in get_args(Fit):
                fitted = self.rows(self._fitted, size, fit, workers)
                held = {
                    name: self.rows(pool, size, fit, workers) for name, pool in self._apart.items()
                }
                for pooling in fitted:
                    rows = {name: ways[pooling] for name, ways in held.items()}
                    for kind in get_args(Whitening):
                        yield Choice(
                            size, fit, pooling, kind, self._scored(rows, fitted[pooling], kind)
                        )

    def _scored(self, rows: dict[str, Any], fitted: Any, kind: Whitening) -> dict[str, float]:
        if kind != "none":
            matrix, offset = (
                torch.from_numpy(array).to(self._device) for array in whitening(fitted, kind)
            )
            rows = {
                name: functional.normalize(array @ matrix.T + offset)
                for name, array in rows.items()
            }
        return by_set(rows, self._labels)


def best(choices: Sequence[Choice]) -> Choice:
    """Choose the highest mean; among those as good but for 0.004, the smallest picture."""
    top = max(choice.scores["mean"] for choice in choices)
    near = [choice for choice in choices if choice.scores["mean"] >= top - _EQUAL]
    return min(near, key=lambda choice: (choice.size, -choice.scores["mean"]))


def table(choices: Sequence[Choice], chosen: Choice, teachers: Mapping[str, float]) -> str:
    """Write the measurements down in Markdown: the best, and the best with each single setting."""
    ordered = sorted(choices, key=lambda choice: -choice.scores["mean"])
    shown = ordered[:_SHOWN]
    for name in ("size", "fit", "pooling", "whitening"):
        firsts: dict[Any, Choice] = {}
        for choice in ordered:
            firsts.setdefault(getattr(choice, name), choice)
        shown += firsts.values()
    sets = list(chosen.scores)
    lines = [
        "| size | fit | pooling | whitening | " + " | ".join(sets) + " |",
        "| ---: | --- | --- | --- |" + " ---: |" * len(sets),
        _row(["", "", "", "the teacher"], teachers, sets),
    ]
    for choice in ordered:
        if any(choice is one for one in shown):
            mark = " (chosen)" if choice is chosen else ""
            names = [str(choice.size), choice.fit, choice.pooling, choice.whitening + mark]
            lines.append(_row(names, choice.scores, sets))
    return "\n".join(lines) + "\n"


def _row(names: Sequence[str], scores: Mapping[str, float], sets: Sequence[str]) -> str:
    return "| " + " | ".join([*names, *(f"{scores[name]:.3f}" for name in sets)]) + " |"


def as_json(choices: Sequence[Choice]) -> str:
    """Write all measurements, one a line."""
    return "[\n" + ",\n".join(json.dumps(asdict(choice)) for choice in choices) + "\n]\n"
