"""Our own graph around the trained weights, made small, and how well the small one agrees.

Eight bits: activations unsigned, weights signed with a scale for every output channel, as pairs of
QuantizeLinear and DequantizeLinear (Jacob et al., arXiv:1712.05877; Wu et al., arXiv:2004.09602).
The first convolution, the last maximum and all that follows it stay in float.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from imgindex import graph, vgg16
from imgindex.embed import Embedder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from imgindex.records import Pixels, Rows

    from .measure import Choice

Precision = Literal["int7", "int7 fitted", "int8 fitted", "fp16"]

NAME = "vgg16-imgindex"
OVERLAP, LOSS = 0.97, 0.005
"""What a small model must reach: share of the ten nearest that stay, and precision lost at most."""

_SOURCE = "trained by scripts/train_vgg16.py"
_LICENCE = "Apache-2.0"
_NEAREST = 10
_LARGE = 1024
_CALIBRATING = 16


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


class _Pictures:
    """What ONNX Runtime asks for its calibration batches."""

    def __init__(self, pixels: Pixels) -> None:
        self._batches: Iterator[Pixels] = iter(
            np.array_split(pixels, max(1, len(pixels) // _CALIBRATING))
        )

    def get_next(self) -> dict[str, Pixels] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}


def eight_bits(model: bytes, pixels: Pixels, *, narrow: bool) -> bytes:
    """Quantise a model that `vgg16.build` made.

    Args:
        model: the float32 model.
        pixels: uint8 [n, s, s, 3], to learn the range of every activation from.
        narrow: use seven bits of each weight. Processors without VNNI add pairs of products in 16
            bits, which eight bits can overflow.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    proto = onnx.load_from_string(model)
    convolutions, pools = (
        [node.name for node in proto.graph.node if node.op_type == kind]
        for kind in ("Conv", "MaxPool")
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.onnx"
        quantize_static(
            proto,
            str(path),
            _Pictures(pixels),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MaxPool"],
            per_channel=True,
            reduce_range=narrow,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[convolutions[0], pools[-1]],
            # Else a byte's range would also hold what the ReLU is about to cut off.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Conv"]},
        )
        return _signed(onnx.load(path), model, "int7" if narrow else "int8")


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
    return _signed(proto, model, "fp16")


def _signed(proto: onnx.ModelProto, model: bytes, precision: str) -> bytes:
    """Give a changed model its card: that of the whole one, with a checksum of its own."""
    card = graph.read_card(model)
    if card is None:
        raise ValueError("the model has no card")
    digest = hashlib.sha256()
    for tensor in sorted(proto.graph.initializer, key=lambda one: str(one.name)):
        digest.update(f"{tensor.name} {list(tensor.dims)} {tensor.data_type} ".encode())
        digest.update(np.ascontiguousarray(numpy_helper.to_array(tensor)).data)
    card = dataclasses.replace(
        card, weights_sha256=digest.hexdigest(), source=f"{card.source}, {precision}"
    )
    del proto.metadata_props[:]
    helper.set_model_props(proto, card.to_metadata())
    proto.producer_name = "imgindex"
    graph.check(proto)
    data: bytes = proto.SerializeToString()
    return data


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a small model compares with the whole one.

    Attributes:
        precision: how it was made small.
        megabytes: of the file.
        cosine: between both descriptors of a picture, mean.
        overlap: share of a picture's ten nearest that both name, mean.
        whole: precision at 10 of the whole model.
        small: precision at 10 of the small one.
    """

    precision: Precision
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
    precision: Precision, small: bytes, pixels: Pixels, labels: NDArray[np.int64], rows: Rows
) -> Agreement:
    """Compare a small model with what the whole one made of the same pictures.

    Args:
        precision: how it was made small.
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
        precision,
        round(len(small) / 1e6, 2),
        float((rows * others).sum(1).mean()),
        float(np.mean(shared)) / _NEAREST,
        right(theirs),
        right(ours),
    )


def smallest(
    model: bytes,
    fitted: Callable[[int], bytes],
    calibrating: Pixels,
    compared: tuple[Pixels, NDArray[np.int64]],
) -> tuple[bytes, list[Agreement]]:
    """Make the model small in the first way that agrees well enough.

    Args:
        model: in float32.
        fitted: gives the model with weights fitted to so many bits, in float32.
        calibrating: uint8 [n, s, s, 3].
        compared: pictures and their classes, uint8 [m, s, s, 3] and int64 [m].

    Returns:
        The model that ships, and how each way that was tried compared.
    """
    pixels, labels = compared
    rows = described(model, pixels)
    ways: Mapping[Precision, Callable[[], bytes]] = {
        "int7": lambda: eight_bits(model, calibrating, narrow=True),
        "int7 fitted": lambda: eight_bits(fitted(7), calibrating, narrow=True),
        "int8 fitted": lambda: eight_bits(fitted(8), calibrating, narrow=False),
        "fp16": lambda: halves(model),
    }
    small, tried = model, []
    for precision, make in ways.items():
        small = make()
        tried.append(agreement(precision, small, pixels, labels, rows))
        print(tried[-1], flush=True)
        if tried[-1].enough:
            break
    return small, tried
