"""Networks that somebody else exported to ONNX, with our way in and out put around them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no stubs
from onnx import TensorProto, helper

from .errors import ModelFileError, SettingError
from .graph import (
    LONGEST_LINE,
    TORCH,
    Layout,
    Pooling,
    Scaling,
    Sketch,
    brief,
    check,
    check_size,
    outline,
    printable,
    read_card,
    skeleton,
    spelled,
)
from .records import Fit, ModelCard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

P = ParamSpec("P")
Made = TypeVar("Made")

_OLDEST_OPSET, _OLDEST_IR = 11, 4
_LARGEST_FILE = 2**31 - 1
_INNER = "net/"
_PROBE, _CHANNELS = 2, 3
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
_RANKS = (2, 3, 4)
_NUMBERS = {kind: name.lower() for name, kind in TensorProto.DataType.items()}


def _told(make: Callable[Concatenate[Path, P], Made]) -> Callable[Concatenate[Path, P], Made]:
    """Tell damaged text in a file, which surfaces only where it is read, as our own error."""

    @functools.wraps(make)
    def telling(path: Path, /, *args: P.args, **options: P.kwargs) -> Made:
        try:
            return make(path, *args, **options)
        except UnicodeDecodeError as error:
            raise ModelFileError(f"{path} is damaged: a name in it is not UTF-8") from error

    return telling


@_told
def adapt(  # noqa: PLR0913 - each is one line of the model's card
    path: Path,
    *,
    name: str,
    source: str,
    licence: str,
    layer: str | None = None,
    pooling: Pooling | None = None,
    size: int | None = None,
    fit: Fit = "squash",
    layout: Layout | None = None,
    scaling: Scaling = TORCH,
) -> bytes:
    """Put our way in and out around a network that somebody else exported.

    What the file says of itself need not be declared; what it says is never overruled. Nodes and
    weights that the chosen layer does not need are dropped.

    Args:
        path: an ONNX file with one image input, float, and everything inside the one file.
        name: the new model's name.
        source: where the network comes from.
        licence: its terms.
        layer: the output to read, or any inner tensor; needed if there are several outputs.
        pooling: see `Sketch.pool`; by default ``average`` for a map, ``none`` for a vector. Tokens
            [n, t, d] need ``cls`` or ``tokens``.
        size: side of the input in pixels; needed if the file leaves it open.
        fit: how a picture is brought to the square.
        layout: ``nchw`` or ``nhwc``, of the input and of maps; needed if the input leaves it open.
        scaling: the numbers the network was trained to see. No file says this.

    Returns:
        The model, serialised.

    Raises:
        ModelFileError: the file is damaged, unsafe, or not a network of this kind.
        SettingError: what is declared contradicts the file, or is missing.
    """
    model, digest = _load(path)
    graph = model.graph
    opset = _standardise(model, path)
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        found = _listed(f"{v.name} {spelled(_shape(v) or ())}" for v in inputs) or "none"
        raise ModelFileError(f"{path} must have one input, the image; its inputs are {found}")
    image, kind = inputs[0].name, inputs[0].type.tensor_type.elem_type
    if kind not in _FLOATS:
        raise ModelFileError(
            f"the input of {path} must be float, not {_NUMBERS.get(kind, 'of an unknown kind')}"
        )
    taken = _shape(inputs[0])
    layout, size = _settle(taken, layout, size)
    check_size(size)
    outputs = [value.name for value in graph.output]
    if layer is None and len(outputs) != 1:
        raise SettingError(f"choose a layer of {path}; its outputs are {_listed(outputs)}")
    layer = layer or outputs[0]
    if layer not in {name for node in graph.node for name in node.output}:
        raise SettingError(
            f"{path} has no layer '{printable(layer)}'; its outputs are {_listed(outputs)}, "
            "and any inner tensor can be named too"
        )
    _prune(graph, layer, image)
    open_batch = taken is None or not isinstance(taken[0], int)
    shape = _infer(model, layer, (layout, size), open_batch=open_batch)
    is_map = len(shape) == len("chw")
    if layout == "nhwc" and is_map:
        shape = (shape[2], shape[0], shape[1])
    if pooling is None and len(shape) == len("td"):
        raise SettingError(
            f"{printable(layer)} gives tokens {spelled(shape)}; choose pooling cls or tokens"
        )
    pooling = pooling or ("average" if is_map else "none")

    _prefix(graph)
    sketch = Sketch(opset)
    sketch.op("Cast", sketch.enter(scaling, layout), name=_INNER + image, to=kind)
    sketch.nodes.extend(graph.node)
    tensor = sketch.op("Cast", _INNER + layer, to=TensorProto.FLOAT)
    if layout == "nhwc" and is_map:
        tensor = sketch.op("Transpose", tensor, perm=[0, 3, 1, 2])
    descriptor, dimension = sketch.pool(tensor, shape, pooling)
    card = ModelCard(
        name=name,
        architecture="onnx",
        layer=layer,
        pooling=pooling,
        dimension=dimension,
        size=size,
        fit=fit,
        scaling=str(scaling),
        weights_sha256=digest,
        source=source,
        licence=licence,
    )
    return sketch.finish(descriptor, card, model)


@_told
def vouch(path: Path) -> ModelCard:
    """Check that a model is ours, keeps everything inside its file, and is what its card says.

    Its weights are not read: this takes milliseconds, however large the file.

    Raises:
        ModelFileError: the file is damaged, unsafe, not what its card says, or carries none.
    """
    card = read_card(path)
    if card is None:
        raise ModelFileError(
            f"{path} was not built by imgindex; bring it in with: imgindex model import {path}"
        )
    model = outline(path)
    _standardise(model, path)
    says = {value.name: _signature(value) for value in (*model.graph.input, *model.graph.output)}
    wanted = {
        "image": (TensorProto.UINT8, (None, card.size, card.size, _CHANNELS)),
        "embedding": (TensorProto.FLOAT, (None, card.dimension)),
    }
    if says != wanted:
        raise ModelFileError(f"the card of {path} does not fit its graph; import the weights again")
    return card


@_told
def reissue(path: Path, name: str) -> bytes:
    """Check a model that carries our card, and give it under another name.

    Raises:
        ModelFileError: the file is damaged, unsafe, or not what its card says.
    """
    card = vouch(path)
    model, _ = _load(path)
    _standardise(model, path)
    helper.set_model_props(model, dataclasses.replace(card, name=name).to_metadata())
    check(model)
    data: bytes = model.SerializeToString()
    return data


def _listed(names: Iterable[str]) -> str:
    return printable(", ".join(names), LONGEST_LINE)


def _signature(value: onnx.ValueInfoProto) -> tuple[int, tuple[int | None, ...] | None]:
    return value.type.tensor_type.elem_type, _shape(value)


def _load(path: Path) -> tuple[onnx.ModelProto, str]:
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise ModelFileError(f"{path} has {size} bytes; an ONNX file holds at most 2 GiB")
        data = path.read_bytes()
        model = onnx.ModelProto.FromString(data)
    except (OSError, DecodeError) as error:
        raise ModelFileError(f"{path} cannot be read as an ONNX model: {brief(error)}") from error
    if not model.graph.node:
        raise ModelFileError(f"{path} is no ONNX model: it holds no operators")
    return model, hashlib.sha256(data).hexdigest()


def _standardise(model: onnx.ModelProto, path: Path) -> int:
    """Refuse what cannot be wrapped, drop what plays no part, and give the opset."""
    inside = (tensor for part in model.functions for node in part.node for tensor in _held(node))
    for tensor in itertools.chain(_arrays(model.graph), inside):
        if tensor.data_location != TensorProto.EXTERNAL and not tensor.external_data:
            continue
        raise ModelFileError(
            f"{path} keeps weights in other files, which is refused; put everything into one file "
            "first: onnx.save(onnx.load(PATH), NEW, save_as_external_data=False)"
        )
    opset = next((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), 0)
    if not _OLDEST_OPSET <= opset <= onnx.defs.onnx_opset_version():
        raise ModelFileError(
            f"{path} uses opset {opset}; this reads {_OLDEST_OPSET} to "
            f"{onnx.defs.onnx_opset_version()}: convert it with onnx.version_converter"
        )
    model.ir_version = max(model.ir_version, _OLDEST_IR)
    del model.training_info[:], model.graph.value_info[:], model.graph.quantization_annotation[:]
    return opset


def _settle(
    shape: tuple[int | None, ...] | None, layout: Layout | None, size: int | None
) -> tuple[Layout, int]:
    """Join what the input's shape says with what was declared."""
    dims = shape or (None,) * 4
    if len(dims) != len("nchw"):
        raise ModelFileError(f"the input is {spelled(dims)}, which is no batch of pictures")
    channels: dict[Layout, int | None] = {"nchw": dims[1], "nhwc": dims[3]}
    if layout is None:
        fitting = [key for key, count in channels.items() if count == _CHANNELS]
        if len(fitting) != 1:
            raise SettingError(f"declare the layout, nchw or nhwc: the input is {spelled(dims)}")
        layout = fitting[0]
    elif layout not in channels:
        raise SettingError(f"unknown layout {layout!r}; use nchw or nhwc")
    if channels[layout] not in {_CHANNELS, None}:
        raise SettingError(f"the input {spelled(dims)} has not 3 channels in layout {layout}")
    height, width = dims[2:] if layout == "nchw" else dims[1:3]
    if height and width and height != width:
        raise ModelFileError(f"the input {spelled(dims)} is not square")
    fixed = height or width
    if fixed and size not in {fixed, None}:
        raise SettingError(f"size {size} was declared, but the file is fixed to {fixed}")
    size = size or fixed
    if size is None:
        raise SettingError(f"declare the size: the input {spelled(dims)} leaves it open")
    return layout, size


def _prune(graph: onnx.GraphProto, layer: str, image: str) -> None:
    needed, kept = {layer}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(_reads(node))
            kept.append(node)
    if image not in needed:
        raise SettingError(f"layer {printable(layer)} does not depend on the picture")
    kept.reverse()
    del graph.node[:]
    graph.node.extend(kept)
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name not in needed:
            del graph.initializer[place]
    for value in list(graph.input):
        if value.name != image:
            graph.input.remove(value)


def _infer(
    model: onnx.ModelProto, layer: str, wanted: tuple[Layout, int], *, open_batch: bool
) -> tuple[int, ...]:
    """Shape of a layer without the batch, found by sending a batch of two through the shapes."""
    layout, size = wanted
    probe = skeleton(model)
    said = {value.name: _shape(value) for value in probe.graph.output}.get(layer)
    image = next(iter(model.graph.input))
    del probe.graph.output[:]
    fed = [_PROBE, *((_CHANNELS, size, size) if layout == "nchw" else (size, size, _CHANNELS))]
    kind = image.type.tensor_type.elem_type
    for value in probe.graph.input:
        if value.name == image.name:
            value.CopyFrom(helper.make_tensor_value_info(image.name, kind, fed))
    try:
        inferred = onnx.shape_inference.infer_shapes(probe, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError, TypeError) as error:
        raise ModelFileError(
            f"the network does not take {_PROBE} pictures of side {size}: {brief(error)}"
        ) from error
    value = next((v for v in inferred.graph.value_info if v.name == layer), onnx.ValueInfoProto())
    if value.type.tensor_type.elem_type not in {TensorProto.UNDEFINED, *_FLOATS}:
        raise SettingError(f"layer {printable(layer)} gives whole numbers, not features")
    shape = _shape(value) or said
    if not shape or len(shape) not in _RANKS or None in shape[1:]:
        raise ModelFileError(
            f"the shape of {printable(layer)} cannot be told from the file "
            f"({spelled(shape or ())}); choose another layer, or export the network "
            "with fixed shapes"
        )
    if shape[0] != _PROBE and not (shape[0] is None and open_batch) and shape is not said:
        raise ModelFileError(f"the network is fixed to batches of {shape[0] or 'one size'}")
    return tuple(int(side or 0) for side in shape[1:])


def _prefix(graph: onnx.GraphProto) -> None:
    """Prefix every tensor's name, so that none meets ``image``, ``embedding`` or ours."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [name and _INNER + name for name in names]
        for part in _subgraphs(node):
            _prefix(part)
    for named in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        named.name = _INNER + named.name
    for sparse in graph.sparse_initializer:
        sparse.values.name = _INNER + sparse.values.name


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names a node reads, those its subgraphs capture included."""
    yield from node.input
    for part in _subgraphs(node):
        yield from (value.name for value in part.output)
        for inner in part.node:
            yield from _reads(inner)


def _held(node: onnx.NodeProto) -> Iterator[TensorProto]:
    """Tensors kept in a node's attributes, those in its subgraphs included."""
    for attribute in node.attribute:
        sparse = (*attribute.sparse_tensors, attribute.sparse_tensor)
        yield from (attribute.t, *attribute.tensors)
        yield from (part for pair in sparse for part in (pair.values, pair.indices))
    for graph in _subgraphs(node):
        yield from _arrays(graph)


def _arrays(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    yield from (t for pair in graph.sparse_initializer for t in (pair.values, pair.indices))
    for node in graph.node:
        yield from _held(node)


def _shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...] | None:
    """Shape as declared, None for an open side; None if even the rank is open."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(side.dim_value if side.dim_value > 0 else None for side in tensor.shape.dim)
