"""A VGG16 in eight bits, built from the float one and from what its layers say of some pictures.

    image uint8 -> convolution, bytes in and bytes out -> ... -> pooling -> L2, in float

Weights are signed, with a scale for every output channel; activations are unsigned, with one scale
a layer, as pairs of QuantizeLinear and DequantizeLinear (Jacob et al., arXiv:1712.05877; Wu et al.,
arXiv:2004.09602). The first convolution reads the picture's own bytes, so nothing is rounded on the
way in. Then the biases make up for the mean of what rounding does to each channel (Nagel et al.,
doi:10.1109/ICCV.2019.00141).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from imgindex.errors import ModelFileError, SettingError
from imgindex.graph import Sketch, check, read_card
from imgindex.records import no_progress

from .stored import parsed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import ModelCard, Precision, Progress

    Floats = NDArray[np.float64]

Look = Callable[[bytes], Iterator[Sequence[Any]]]
"""Runs a model on the pictures to learn from; gives all its outputs, batch by batch."""

EIGHT: Precision = "int8"

_HIGHEST = 126  # one less than fits: `tiles` moves the zero of the weights
_BYTE = 255
_TINY = 1e-12
_LARGEST_BIAS = 2.0**30
_WAY_IN = {"Gather", "Cast", "Mul", "Add", "Transpose"}
_CHAIN = {("Conv", "Relu"), ("Relu", "Conv"), ("Relu", "MaxPool"), ("MaxPool", "Conv")}


def eight_bits(
    model: bytes, look: Look, *, name: str | None = None, progress: Progress = no_progress
) -> bytes:
    """Quantise a model.

    Args:
        model: of VGG16, in float, as `vgg16.build` makes it.
        look: see `Look`; its pictures decide the range of every activation.
        name: what to call it; by default as before.
        progress: stage ``quantize``, one step a convolution.

    Returns:
        The model, serialised: its card is that of the float one but for precision and checksum.

    Raises:
        SettingError: the model is none of VGG16, or has few bits already.
        ModelFileError: it is not built as `vgg16.build` does it.
    """
    card = read_card(model)
    if card is None or card.architecture != "vgg16" or card.precision == EIGHT:
        what = "no model of imgindex" if card is None else f"{card.architecture} {card.precision}"
        raise SettingError(f"only VGG16 in float can be made small, and this is {what}")
    network = _Network(model)
    tops, means = network.observed(look)
    corrections: list[Floats] = []
    for place, mean in enumerate(means):
        progress("quantize", place, len(means))
        corrections.append(np.zeros_like(mean))
        rounded = network.mean_at(place, look, network.drawn(tops, corrections, place + 1))
        corrections[place] = mean - rounded
    progress("quantize", len(means), len(means))
    proto = network.proto
    proto.CopyFrom(network.drawn(tops, corrections, len(means)))
    return signed(proto, dataclasses.replace(card, name=name or card.name), EIGHT)


def signed(proto: onnx.ModelProto, card: ModelCard, precision: Precision) -> bytes:
    """Give a changed model its card: that of the whole one, with a checksum of its own."""
    digest = hashlib.sha256()
    for tensor in sorted(proto.graph.initializer, key=lambda one: str(one.name)):
        digest.update(f"{tensor.name} {list(tensor.dims)} {tensor.data_type} ".encode())
        digest.update(np.ascontiguousarray(numpy_helper.to_array(tensor)).data)
    card = dataclasses.replace(card, weights_sha256=digest.hexdigest(), precision=precision)
    del proto.metadata_props[:]
    helper.set_model_props(proto, card.to_metadata())
    proto.producer_name = "imgindex"
    check(proto)
    data: bytes = proto.SerializeToString()
    return data


class _Network:
    """The float network, taken apart.

    Attributes:
        proto: the model.
        factor: float64 [3], what a byte is multiplied with, in the network's channel order.
        offset: float64 [3], what is added then.
        chain: ``Conv``, ``Relu`` and ``MaxPool`` nodes, in order.
        rest: the nodes after them, in float.
    """

    def __init__(self, model: bytes) -> None:
        self.proto = parsed(model)
        graph = self.proto.graph
        self._constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        kinds = [node.op_type for node in graph.node]
        first = kinds.index("Conv") if "Conv" in kinds else 0
        last = first + 1
        while last < len(kinds) and (kinds[last - 1], kinds[last]) in _CHAIN:
            last += 1
        self.chain = list(graph.node[first:last])
        self.rest = list(graph.node[last:])
        if not (kinds[first] == "Conv" and self.rest and set(kinds[:first]) <= _WAY_IN):
            raise ModelFileError("the network is not laid out as imgindex does it; import it again")
        self.factor, self.offset = np.ones(3), np.zeros(3)
        self._reversed = "Gather" in kinds[:first]
        for node in graph.node[:first]:
            if node.op_type == "Mul":
                self.factor = self.factor * self._constants[node.input[1]]
            elif node.op_type == "Add":
                self.offset = self.offset + self._constants[node.input[1]]

    @property
    def convolutions(self) -> list[onnx.NodeProto]:
        return [node for node in self.chain if node.op_type == "Conv"]

    def observed(self, look: Look) -> tuple[Mapping[str, float], list[Floats]]:
        """The largest value of every ReLU, and every convolution's mean for each output channel."""
        names = [node.output[0] for node in self.chain if node.op_type == "Relu"]
        whole = onnx.ModelProto()
        whole.CopyFrom(self.proto)
        for name in names:
            _reveal(whole, "ReduceMax", name, axes=[1, 2, 3])
        for node in self.convolutions:
            _reveal(whole, "GlobalAveragePool", node.output[0])
        seen = [
            [array.max() for array in outputs[1 : 1 + len(names)]]
            + [array.astype(float).mean((0, 2, 3)) for array in outputs[1 + len(names) :]]
            for outputs in look(whole.SerializeToString())
        ]
        tops = np.max([row[: len(names)] for row in seen], axis=0)
        means = [np.mean(column, axis=0) for column in list(zip(*seen, strict=True))[len(names) :]]
        return dict(zip(names, tops.tolist(), strict=True)), means

    def mean_at(self, place: int, look: Look, small: onnx.ModelProto) -> Floats:
        """The mean of one convolution for each output channel, in a small model that ends there."""
        output = self.convolutions[place].output[0]
        del small.graph.output[:]
        _reveal(small, "GlobalAveragePool", output)
        means = [maps.astype(float).mean((0, 2, 3)) for (maps,) in look(small.SerializeToString())]
        mean: Floats = np.mean(means, axis=0)
        return mean

    def drawn(
        self, tops: Mapping[str, float], corrections: Sequence[Floats], depth: int
    ) -> onnx.ModelProto:
        """Draw the small network.

        Args:
            tops: the largest value of every ReLU.
            corrections: float64 [out] for each convolution: added to its bias.
            depth: how many convolutions; with all of them, what follows them too.
        """
        sketch = Sketch()
        tensor, start = self._way_in(sketch)
        middle: int | None = start
        zero = sketch.constant(np.uint8(0))
        step, done = 1.0, 0
        for node in self.chain:
            if node.op_type == "Conv":
                if done == depth:
                    break
                tensor = self._convolution(sketch, tensor, node, step, corrections[done], middle)
                middle = None
                done += 1
            elif node.op_type == "Relu":
                step = max(tops[node.output[0]], _TINY) / _BYTE
                tensor = sketch.op("Relu", tensor, name=node.output[0])
                tensor = _rounded(sketch, tensor, step, zero)
            else:
                tensor = sketch.op("MaxPool", tensor, kernel_shape=[2, 2], strides=[2, 2])
                tensor = _rounded(sketch, tensor, step, zero)
        small = onnx.ModelProto()
        small.CopyFrom(self.proto)
        nodes = [*sketch.nodes]
        if done == len(self.convolutions):
            nodes += self._after(tensor, sketch)
        del small.graph.node[:], small.graph.initializer[:]
        small.graph.node.extend(nodes)
        small.graph.initializer.extend(sketch.constants)
        return small

    def _way_in(self, sketch: Sketch) -> tuple[str, int]:
        """Bytes as they are, and a fourth channel that is full inside the picture.

        Beyond the edge lies the byte's zero point, the same for all channels, where the float
        network has each channel's own mean; the fourth channel carries the difference.
        """
        middle = int(np.clip(np.round(np.mean(-self.offset / self.factor)), 0, _BYTE - 1))
        pads = sketch.constant(np.array([0, 0, 0, 0, 0, 0, 0, 1]))
        padded = sketch.op("Pad", "image", pads, sketch.constant(np.uint8(_BYTE)))
        maps = sketch.op("Transpose", padded, perm=[0, 3, 1, 2])
        one, point = sketch.constant(1.0), sketch.constant(np.uint8(middle))
        return sketch.op("DequantizeLinear", maps, one, point), middle

    def _convolution(  # noqa: PLR0913, PLR0917 - a layer and where it stands
        self,
        sketch: Sketch,
        tensor: str,
        node: onnx.NodeProto,
        step: float,
        correction: Floats,
        middle: int | None,
    ) -> str:
        kernel, bias = (self._constants[name].astype(float) for name in node.input[1:3])
        if middle is not None:
            kernel = self._reading_bytes(kernel, middle)
        bias = bias + correction
        scale = np.abs(kernel).max((1, 2, 3)) / _HIGHEST
        # A channel of next to no weights still has its bias.
        scale = np.maximum(scale, np.maximum(np.abs(bias) / (step * _LARGEST_BIAS), _TINY))
        whole = np.round(kernel / scale[:, None, None, None]).astype(np.int8)
        weights = _widened(sketch, node.input[1], whole, scale)
        offsets = np.round(bias / (scale * step)).astype(np.int32)
        biases = _widened(sketch, node.input[2], offsets, scale * step)
        name = str(node.output[0])
        pads = [1, 1, 1, 1]
        return sketch.op("Conv", tensor, weights, biases, name=name, kernel_shape=[3, 3], pads=pads)

    def _reading_bytes(self, kernel: Floats, middle: int) -> Floats:
        """The first kernel, of bytes less the middle instead of scaled numbers; see `_way_in`."""
        scaled = kernel * self.factor[None, :, None, None]
        missing = middle + self.offset / self.factor
        inside = (scaled * missing[None, :, None, None]).sum(1, keepdims=True) / (_BYTE - middle)
        if self._reversed:
            scaled = scaled[:, ::-1]
        return np.concatenate([scaled, inside], axis=1)

    def _after(self, tensor: str, sketch: Sketch) -> list[onnx.NodeProto]:
        """The nodes behind the chain, reading its new end; their constants join the sketch."""
        read = {name for node in self.rest for name in node.input}
        new = {name: sketch.constant(self._constants[name]) for name in read & set(self._constants)}
        new[self.chain[-1].output[0]] = tensor
        nodes = []
        for node in self.rest:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = [new.get(name, name) for name in node.input]
            nodes.append(copy)
        return nodes


def _rounded(sketch: Sketch, tensor: str, step: float, zero: str) -> str:
    scale = sketch.constant(np.float32(step))
    whole = sketch.op("QuantizeLinear", tensor, scale, zero)
    return sketch.op("DequantizeLinear", whole, scale, zero)


def _widened(sketch: Sketch, name: str, whole: NDArray[Any], scale: Floats) -> str:
    """Whole numbers with a scale for each entry of the first axis, as float."""
    scales = sketch.constant(scale.astype(np.float32), f"{name}/scale")
    zeros = sketch.constant(np.zeros(len(scale), whole.dtype), f"{name}/zero")
    stored = sketch.constant(whole, name)
    return sketch.op("DequantizeLinear", stored, scales, zeros, axis=0)


def _reveal(model: onnx.ModelProto, kind: str, name: str, **attributes: Any) -> None:
    """Append an output: a layer, brought to few numbers."""
    shown = f"shown/{kind}/{name}"
    model.graph.node.append(helper.make_node(kind, [name], [shown], shown, **attributes))
    model.graph.output.append(helper.make_tensor_value_info(shown, TensorProto.FLOAT, None))
