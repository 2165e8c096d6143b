"""Our own graph around the trained weights, made small, and how well the small one agrees.

Eight bits where they agree well enough, as they are or fitted before; else half the digits, which
shrinks the file alone.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from imgindex import graph, precision, vgg16
from imgindex.embed import Embedder, outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from imgindex.records import Pixels, Rows

    from .measure import Choice

Kind = Literal["int8", "int8 fitted", "fp16"]

NAME = "vgg16-imgindex"
OVERLAP, LOSS = 0.97, 0.005
"""What a small model must reach: share of the ten nearest that stay, and precision lost at most."""

_SOURCE = "trained by scripts/train_vgg16.py"
_LICENCE = "Apache-2.0"
_NEAREST = 10
_LARGE = 1024


def whole(
    weights: graph.Weights,
    choice: Choice,
    projection: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
) -> bytes:
    """Build the model in float32."""
    layers = dict(weights.layers)
    if projection:
        layers[vgg16.PROJECTION] = projection
    return vgg16.build(
        graph.Weights(layers, weights.scaling),
        pooling=choice.pooling,
        size=choice.size,
        fit=choice.fit,
        name=NAME,
        source=_SOURCE,
        licence=_LICENCE,
    )


def eight_bits(model: bytes, pixels: Pixels) -> bytes:
    """Quantise a model; the ranges of its activations are learned from the pixels."""
    return precision.eight_bits(model, lambda one: outputs(one, pixels))


def halves(model: bytes) -> bytes:
    """Keep the large arrays in float16 and widen them when the model is loaded: half the file."""
    proto = onnx.load_from_string(model)
    casts = []
    for tensor in proto.graph.initializer:
        if np.prod(tensor.dims) < _LARGE:
            continue
        array = numpy_helper.to_array(tensor).astype(np.float16)
        casts.append(
            helper.make_node("Cast", [f"{tensor.name}/half"], [tensor.name], to=TensorProto.FLOAT)
        )
        tensor.CopyFrom(numpy_helper.from_array(array, f"{tensor.name}/half"))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    card = graph.read_card(model)
    if card is None:
        raise ValueError("the model has no card")
    return precision.signed(proto, card, "float16")


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a small model compares with the whole one.

    Attributes:
        kind: how it was made small.
        megabytes: of the file.
        cosine: between both descriptors of a picture, mean.
        overlap: share of a picture's ten nearest that both name, mean.
        whole: precision at 10 of the whole model.
        small: precision at 10 of the small one.
    """

    kind: Kind
    megabytes: float
    cosine: float
    overlap: float
    whole: float
    small: float

    @property
    def enough(self) -> bool:
        """Whether it may stand for the whole one."""
        return self.overlap >= OVERLAP and self.whole - self.small <= LOSS


def described(model: bytes, pixels: Pixels) -> Rows:
    """Describe pictures as imgindex does, on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        embedder = Embedder(path, "cpu")
        count = max(1, len(pixels) // embedder.batch)
        return np.concatenate([embedder.encode(part) for part in np.array_split(pixels, count)])


def nearest(rows: Rows) -> NDArray[np.intp]:
    """Find the ten nearest of every row, itself left out: int [n, 10]."""
    likeness = rows @ rows.T
    np.fill_diagonal(likeness, -2)
    return np.argpartition(-likeness, _NEAREST, axis=1)[:, :_NEAREST]


def agreement(
    kind: Kind, small: bytes, pixels: Pixels, labels: NDArray[np.int64], rows: Rows
) -> Agreement:
    """Compare a small model with what the whole one made of the same pictures.

    Args:
        kind: how it was made small.
        small: the model.
        pixels: uint8 [n, s, s, 3].
        labels: int64 [n].
        rows: float32 [n, d], of the whole model.
    """
    others = described(small, pixels)
    ours, theirs = nearest(others), nearest(rows)
    shared = [len(np.intersect1d(a, b)) for a, b in zip(ours, theirs, strict=True)]

    def right(places: NDArray[np.intp]) -> float:
        return float((labels[places] == labels[:, None]).mean())

    return Agreement(
        kind,
        round(len(small) / 1e6, 2),
        float((rows * others).sum(1).mean()),
        float(np.mean(shared)) / _NEAREST,
        right(theirs),
        right(ours),
    )


def smallest(
    model: bytes,
    fitted: Callable[[], bytes],
    calibrating: Pixels,
    compared: tuple[Pixels, NDArray[np.int64]],
) -> tuple[bytes, list[Agreement]]:
    """Make the model small in the first way that agrees well enough.

    Args:
        model: in float32.
        fitted: gives the model with weights fitted to eight bits, in float32.
        calibrating: uint8 [n, s, s, 3].
        compared: pictures and their classes, uint8 [m, s, s, 3] and int64 [m].

    Returns:
        The model that ships, and how each way that was tried compared.
    """
    pixels, labels = compared
    rows = described(model, pixels)
    ways: Mapping[Kind, Callable[[], bytes]] = {
        "int8": lambda: eight_bits(model, calibrating),
        "int8 fitted": lambda: eight_bits(fitted(), calibrating),
        "fp16": lambda: halves(model),
    }
    small, tried = model, []
    for kind, make in ways.items():
        small = make()
        tried.append(agreement(kind, small, pixels, labels, rows))
        print(tried[-1], flush=True)
        if tried[-1].enough:
            break
    return small, tried
