"""What every model file shares: the way in from bytes, the poolings, the unit vector, the card.

A model of imgindex is one ONNX graph from uint8 pixels to a unit vector, so nobody can get the
preprocessing wrong:

    image uint8 [n, s, s, 3] -> scaling -> network -> pooling -> L2 -> embedding float32 [n, d]
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias, get_args

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no stubs
from onnx import TensorProto, helper, numpy_helper

from .errors import ModelError, ModelFileError, SettingError
from .records import Fit, ModelCard, Precision

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

Layout = Literal["nchw", "nhwc"]
Order = Literal["rgb", "bgr"]
Pooling = Literal["none", "average", "max", "gem", "rmac", "cls", "tokens"]

OPSET = 17
_AXES_BECAME_INPUT = 18
_IR = 8
_Cuts: TypeAlias = "Mapping[int, _Cuts | None]"
# Field numbers of onnx.proto: of a model its graph, of that the arrays, of those the numbers.
_GRAPH: _Cuts = {7: None}
_NUMBERS: _Cuts = {7: {5: {9: None}}}
_WIRE_NUMBER, _WIRE_BYTES, _MORE, _MOST_FIELDS = 0, 2, 0x80, 100_000
_LONGEST_NAME, LONGEST_LINE = 80, 300
_SMALL = 1024
_CHANNELS = 3
_TINY = 1e-12
_GEM_POWER = 3.0
_RMAC_LEVELS = 3
_SIZES = range(16, 2049)
_RANK = {"cls": 3, "tokens": 3, "average": 4, "max": 4, "gem": 4, "rmac": 4}


@dataclass(frozen=True, slots=True)
class Scaling:
    """How bytes 0..255 become the numbers a network was trained on.

    A byte is stretched to ``low``..``high``, then ``mean`` is taken off and ``std`` divided out;
    both are given in the network's own channel order.
    """

    low: float
    high: float
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    order: Order = "rgb"

    def __post_init__(self) -> None:
        """Refuse figures that cannot scale anything."""
        if not -np.inf < self.low < self.high < np.inf:
            raise SettingError(f"input range {self.low}..{self.high} is empty")
        if np.shape(self.mean) != (_CHANNELS,) or not np.isfinite(self.mean).all():
            raise SettingError(f"mean needs three numbers, one a channel, not {self.mean}")
        if np.shape(self.std) != (_CHANNELS,) or not all(0 < value < np.inf for value in self.std):
            raise SettingError(f"std needs three positive numbers, not {self.std}")
        if self.order not in get_args(Order):
            raise SettingError(f"channel order must be rgb or bgr, not {self.order!r}")

    def __str__(self) -> str:
        """Say it in words, as model cards keep it."""
        text = f"{self.order.upper()} {self.low:g}..{self.high:g}"
        if any(self.mean):
            text += " minus " + ", ".join(f"{value:g}" for value in self.mean)
        if self.std != (1.0, 1.0, 1.0):
            text += " over " + ", ".join(f"{value:g}" for value in self.std)
        return text


CAFFE = Scaling(0, 255, (103.939, 116.779, 123.68), order="bgr")
TORCH = Scaling(0, 1, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """The arrays of a network, whatever file they came from.

    Attributes:
        layers: layer name -> (kernel, bias), both float32. A convolution's kernel is
            [out, in, 3, 3]; a dense layer's is [out, in], reading a map flattened as [c, h, w].
        scaling: what the network was trained to see.
    """

    layers: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
    scaling: Scaling

    def only(self, names: Iterable[str]) -> Weights:
        """Keep the layers named, in that order."""
        return Weights({name: self.layers[name] for name in names}, self.scaling)

    @property
    def sha256(self) -> str:
        """Checksum over names, shapes and numbers, lower-case hex; the file's layout is no part."""
        digest = hashlib.sha256()
        for name, arrays in sorted(self.layers.items()):
            for array in arrays:
                digest.update(f"{name} {array.shape} ".encode())
                digest.update(np.ascontiguousarray(array, "<f4").data)
        return digest.hexdigest()


class Sketch:
    """A graph being drawn: nodes and constants, valid at a given opset."""

    def __init__(self, opset: int = OPSET) -> None:
        """Begin an empty graph."""
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Append an operator and return the name of its output."""
        name = name or f"imgindex/{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, array: Any, name: str | None = None) -> str:
        """Append a constant; Python floats become float32, Python integers int64."""
        name = name or f"imgindex/constant_{len(self.constants)}"
        array = np.asarray(array)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def reduce(self, kind: str, tensor: str, axis: int, *, keep: bool) -> str:
        """Append a reduction over one axis."""
        if self.opset >= _AXES_BECAME_INPUT:
            return self.op(kind, tensor, self.constant([axis]), keepdims=int(keep))
        return self.op(kind, tensor, axes=[axis], keepdims=int(keep))

    def enter(self, scaling: Scaling, layout: Layout = "nchw") -> str:
        """Append the way in: ``image`` uint8 NHWC to the network's own numbers, float32."""
        tensor = "image"
        if scaling.order == "bgr":
            tensor = self.op("Gather", tensor, self.constant([2, 1, 0]), axis=3)
        tensor = self.op("Cast", tensor, to=TensorProto.FLOAT)
        mean, std = np.array(scaling.mean), np.array(scaling.std)
        factor = (scaling.high - scaling.low) / 255 / std
        offset = (scaling.low - mean) / std
        if not (factor == 1).all():
            tensor = self.op("Mul", tensor, self.constant(factor))
        if offset.any():
            tensor = self.op("Add", tensor, self.constant(offset))
        return self.op("Transpose", tensor, perm=[0, 3, 1, 2]) if layout == "nchw" else tensor

    def unit(self, tensor: str, name: str | None = None) -> str:
        """Append division by the Euclidean length over axis 1; zeros stay zeros."""
        length = self.reduce("ReduceL2", tensor, 1, keep=True)
        return self.op("Div", tensor, self.op("Max", length, self.constant(_TINY)), name=name)

    def pool(self, tensor: str, shape: tuple[int, ...], pooling: Pooling) -> tuple[str, int]:
        """Append the step from a map, tokens or a vector to one descriptor a picture.

        Args:
            tensor: float32 [n, *shape].
            shape: (c, h, w) of a map, (t, d) of tokens, or anything for ``none``.
            pooling: ``average`` and ``max`` over the map; ``gem``, the generalised mean with p = 3
                (Radenovic et al., doi:10.1109/TPAMI.2018.2846566); ``rmac``, regional maximum
                activations on three levels (Tolias et al., arXiv:1511.05879), without whitening;
                ``cls``, the first token; ``tokens``, the mean of all; ``none``, flattened.

        Returns:
            The descriptor's name, float32 [n, d], and d.

        Raises:
            SettingError: the pooling is unknown or does not fit the shape.
        """
        if pooling not in get_args(Pooling):
            raise SettingError(f"unknown pooling {pooling!r}; use {', '.join(get_args(Pooling))}")
        rank = len(shape) + 1
        if rank != _RANK.get(pooling, rank):
            kinds = [kind for kind in get_args(Pooling) if _RANK.get(kind, rank) == rank]
            raise SettingError(
                f"pooling {pooling} does not fit a layer of shape {spelled(('n', *shape))}; "
                f"use {' or '.join(kinds)}"
            )
        if pooling == "cls":
            return self.op("Gather", tensor, self.constant(0), axis=1), shape[1]
        if pooling == "tokens":
            return self.reduce("ReduceMean", tensor, 1, keep=False), shape[1]
        if pooling == "average":
            tensor = self.op("GlobalAveragePool", tensor)
        elif pooling == "max":
            tensor = self.op("GlobalMaxPool", tensor)
        elif pooling == "gem":
            cubes = self.op("Pow", self.op("Relu", tensor), self.constant(_GEM_POWER))
            mean = self.op("GlobalAveragePool", cubes)
            tensor = self.op("Pow", mean, self.constant(1 / _GEM_POWER))
        elif pooling == "rmac":
            tensor = self._rmac(tensor, shape)
        size = int(np.prod(shape)) if pooling == "none" else shape[0]
        return self.op("Flatten", tensor, axis=1), size

    def _rmac(self, tensor: str, shape: tuple[int, ...]) -> str:
        side = shape[1]
        if side != shape[2]:
            raise SettingError(f"pooling rmac needs a square map, not {shape[1]} x {shape[2]}")
        parts = []
        for level in range(1, _RMAC_LEVELS + 1):
            region = 2 * side // (level + 1)
            step = (side - region) / max(level - 1, 1)
            starts = [int(place * step) for place in range(level)] if region else []
            for top in starts:
                for left in starts:
                    window = self.op(
                        "Slice",
                        tensor,
                        self.constant([top, left]),
                        self.constant([top + region, left + region]),
                        self.constant([2, 3]),
                    )
                    parts.append(self.unit(self.op("GlobalMaxPool", window)))
        return self.op("Sum", *parts)

    def finish(
        self, descriptor: str, card: ModelCard, model: onnx.ModelProto | None = None
    ) -> bytes:
        """Append the L2 step and give the whole model, serialised, with its card.

        Args:
            descriptor: the tensor float32 [n, d] to bring to length 1.
            card: what the model says of itself.
            model: where the nodes and constants go, in place of its nodes; a new one by default.

        Raises:
            SettingError: the card's size or fit cannot be.
            ModelFileError: the graph is not valid.
        """
        check_size(card.size)
        if card.fit not in get_args(Fit):
            raise SettingError(f"unknown fit {card.fit!r}; use {', '.join(get_args(Fit))}")
        self.unit(descriptor, name="embedding")
        if model is None:
            model = onnx.ModelProto(ir_version=_IR)
            model.opset_import.append(helper.make_opsetid("", self.opset))
        graph = model.graph
        graph.name = card.architecture
        del graph.node[:], graph.input[:], graph.output[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.constants)
        pixels: list[str | int | None] = ["n", card.size, card.size, 3]
        graph.input.append(helper.make_tensor_value_info("image", TensorProto.UINT8, pixels))
        graph.output.append(
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", card.dimension])
        )
        model.producer_name = "imgindex"
        helper.set_model_props(model, card.to_metadata())
        check(model)
        data: bytes = model.SerializeToString()
        return data


def check_size(size: int) -> None:
    """Refuse a side that no network here takes.

    Raises:
        SettingError: it is outside 16..2048 pixels.
    """
    if size not in _SIZES:
        raise SettingError(f"size {size} is outside {_SIZES[0]}..{_SIZES[-1]} pixels")


def save(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: a temporary beside it, fsync, rename.

    Raises:
        ModelError: the folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ModelError(f"cannot write {path}: {brief(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def read_card(model: Path | bytes) -> ModelCard | None:
    """Read a model's card without reading its weights; None if it has no card of ours.

    Args:
        model: a file, or what `Sketch.finish` gave.

    Raises:
        ModelFileError: it is no ONNX model, or its card is damaged or cannot be.
    """
    path = "the model" if isinstance(model, bytes) else model
    parsed = _parsed(model, _GRAPH)
    try:
        metadata = {entry.key: entry.value for entry in parsed.metadata_props}
        if not any(key.startswith("imgindex.") for key in metadata):
            return None
        card = ModelCard.from_metadata(metadata)
    except (KeyError, ValueError, RecursionError) as error:
        text = brief(error)
        raise ModelFileError(f"the card of {path} is damaged ({text}); import it again") from error
    for field in fields(card):
        value = getattr(card, field.name)
        wanted = {"int": int, "bool": bool}.get(str(field.type), str)
        if type(value) is not wanted:
            raise ModelFileError(
                f"the card of {path} is damaged: {field.name} is no {wanted.__name__}"
            )
    if (
        not card.name.isprintable()
        or card.size not in _SIZES
        or card.dimension < 1
        or card.fit not in get_args(Fit)
        or card.precision not in get_args(Precision)
    ):
        raise ModelFileError(
            f"the card of {path} is damaged: no model has such a name, size, dimension, fit or "
            "precision"
        )
    return card


def outline(path: Path) -> onnx.ModelProto:
    """Read a model file without the numbers of its arrays; of those the names and shapes are left.

    Raises:
        ModelFileError: it is no ONNX model.
    """
    return _parsed(path, _NUMBERS)


def _parsed(model: Path | bytes, cuts: _Cuts) -> onnx.ModelProto:
    try:
        with io.BytesIO(model) if isinstance(model, bytes) else model.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            parsed: onnx.ModelProto = onnx.ModelProto.FromString(_trimmed(file, size, cuts))
    except (OSError, ValueError, DecodeError) as error:
        path = "the model" if isinstance(model, bytes) else model
        raise ModelFileError(f"{path} cannot be read as an ONNX model: {brief(error)}") from error
    return parsed


def _trimmed(file: BinaryIO, end: int, cuts: _Cuts) -> bytes:
    """Copy a message of protocol buffers; fields in ``cuts`` are skipped, or trimmed in turn."""
    kept = bytearray()
    for _ in range(_MOST_FIELDS):
        if file.tell() == end:
            return bytes(kept)
        key = _varint(file)
        field, kind = divmod(key, 8)
        value = _varint(file)
        if kind == _WIRE_NUMBER:
            kept += _as_varint(key) + _as_varint(value)
            continue
        stop = file.tell() + value
        if kind != _WIRE_BYTES or stop > end:
            raise ValueError("it is cut off, or not a protocol buffer of a model")
        inside = cuts.get(field, {})
        if inside is None:
            file.seek(stop)
            continue
        content = _trimmed(file, stop, inside) if inside else file.read(value)
        kept += _as_varint(key) + _as_varint(len(content)) + content
    raise ValueError("it has more parts than a model needs")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it is cut off")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < _MORE:
            return value
    raise ValueError("it is not a protocol buffer")


def _as_varint(value: int) -> bytes:
    code = bytearray()
    while value >= _MORE:
        code.append(value & 0x7F | _MORE)
        value >>= 7
    return bytes([*code, value])


def skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model without its large arrays, which become inputs: all that checks need.

    Raises:
        ModelFileError: one of the large arrays is damaged.
    """
    copy = onnx.ModelProto(ir_version=model.ir_version)
    copy.opset_import.extend(model.opset_import)
    copy.functions.extend(model.functions)
    graph = copy.graph
    graph.name = model.graph.name or "network"
    graph.node.extend(model.graph.node)
    graph.sparse_initializer.extend(model.graph.sparse_initializer)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims, dtype=float) > _SMALL:
            try:
                onnx.checker.check_tensor(tensor)
            except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
                name = printable(tensor.name)
                raise ModelFileError(f"{name} is damaged: {brief(error)}") from error
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
        else:
            graph.initializer.append(tensor)
    return copy


def spelled(shape: Iterable[object]) -> str:
    """Write a shape; an open side is a question mark."""
    return "[" + ", ".join("?" if side is None else str(side) for side in shape) + "]"


def check(model: onnx.ModelProto) -> None:
    """Run the ONNX checker.

    Raises:
        ModelFileError: it found something.
    """
    try:
        onnx.checker.check_model(skeleton(model))
    except (onnx.checker.ValidationError, RuntimeError, ValueError, TypeError) as error:
        raise ModelFileError(f"the network is not valid ONNX: {brief(error)}") from error


def brief(error: Exception) -> str:
    """First line of a foreign error's text, fit for a terminal."""
    text = (isinstance(error, OSError) and error.strerror) or str(error)
    lines = text.strip().splitlines()
    return printable(lines[0] if lines else type(error).__name__, LONGEST_LINE)


def printable(text: str, most: int = _LONGEST_NAME) -> str:
    """Text out of a file, fit for a terminal: cut, and control characters escaped."""
    shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text[:most])
    return shown + "..." if len(text) > most else shown
