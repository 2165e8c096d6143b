"""The layers inside a model: which of its tensors are maps, and how to have them as outputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no stubs

from .errors import ModelFileError, SettingError
from .graph import brief, printable, skeleton

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .records import ModelCard

_POOLS = {"MaxPool", "AveragePool"}
_FOLLOWS = {"BatchNormalization", "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "HardSwish"}
_ATTENTION = {"Softmax", "Attention", "MultiHeadAttention"}
_MAP, _TOKENS = 4, 3
_INNER = "net/"  # before the names of a foreign network's tensors
_NAMED = 8


@dataclass(frozen=True, slots=True)
class Layer:
    """A tensor [n, c, h, w] inside a model.

    Attributes:
        name: what users call the layer.
        tensor: what the graph calls it.
        convolution: whether it is a convolution's, else a pooling's or another's.
        channels_last: it is [n, h, w, c] instead.
    """

    name: str
    tensor: str
    convolution: bool = False
    channels_last: bool = False


class Anatomy:
    """A model, taken apart into layers.

    Attributes:
        layers: convolutions (each with the ReLU that follows) and poolings, in order.
    """

    def __init__(self, model: bytes, card: ModelCard) -> None:
        """Find the layers.

        Args:
            model: as imgindex builds them, with its card.
            card: that card.

        Raises:
            ModelFileError: it cannot be read.
        """
        try:
            self._proto = onnx.load_from_string(model)
        except (DecodeError, ValueError) as error:
            raise ModelFileError(f"model {card.name} cannot be read: {brief(error)}") from error
        self._card = card
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self._proto.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self.layers = [*self._found()]

    def _found(self) -> list[Layer]:
        ours = self._card.architecture == "vgg16"
        found: list[Layer] = []
        pools = 0
        for node in self._proto.graph.node:
            tensor = str(node.output[0]) if node.output else ""
            if not ours and not tensor.startswith(_INNER):
                continue
            if node.op_type == "Conv":
                tensor = self._after(tensor, _FOLLOWS)
                found.append(
                    Layer(tensor.removeprefix(_INNER), self._rounded(tensor), convolution=True)
                )
            elif node.op_type in _POOLS:
                pools += 1
                name = f"block{pools}_pool" if ours else tensor.removeprefix(_INNER)
                found.append(Layer(name, self._rounded(tensor)))
        return found

    def _after(self, tensor: str, kinds: set[str]) -> str:
        """The end of a chain of nodes of some kinds, one of each at most."""
        kinds = set(kinds)
        while True:
            readers = self._readers.get(tensor, [])
            if len(readers) != 1 or readers[0].op_type not in kinds:
                return tensor
            kinds.remove(readers[0].op_type)
            tensor = str(readers[0].output[0])

    def _rounded(self, tensor: str) -> str:
        """The same in a model of eight bits: as the next layer reads it."""
        return self._after(tensor, {"QuantizeLinear", "DequantizeLinear"})

    def last(self) -> Layer:
        """The last layer that has maps: what the embedding is made from.

        Raises:
            SettingError: the network has none.
        """
        if self._card.architecture == "vgg16":
            return self.layers[-1]
        shapes = self._shapes
        graph = self._proto.graph
        tokens = any(
            node.op_type in _ATTENTION and len(shapes.get(node.output[0], ())) >= _TOKENS
            for node in graph.node
        )
        if not tokens and self._card.pooling not in {"cls", "tokens"}:
            for node in reversed(graph.node):
                for tensor in node.output:
                    if tensor.startswith(_INNER) and (layer := _map(tensor, shapes)) is not None:
                        return layer
        raise SettingError(
            f"{self._card.name} has no maps to look at: {self._card.layer} is not made by "
            "convolutions alone; choose a network of convolutions with --model"
        )

    def named(self, layer: str | int | None) -> Layer:
        """Find a layer.

        Args:
            layer: its name, or n for the n-th convolution, from 1; None for `last`.

        Raises:
            SettingError: there is none, or it has no maps.
        """
        if layer is None:
            return self.last()
        if isinstance(layer, int):
            convolutions = [one for one in self.layers if one.convolution]
            if 1 <= layer <= len(convolutions):
                return convolutions[layer - 1]
            raise SettingError(
                f"{self._card.name} has the convolutions 1 to {len(convolutions)}, not {layer}"
            )
        for one in self.layers:
            if one.name == layer:
                return one
        if self._card.architecture != "vgg16" and (found := _map(_INNER + layer, self._shapes)):
            return found
        names = [one.name for one in self.layers]
        if len(names) > 3 * _NAMED:
            names = [*names[:_NAMED], "...", *names[-_NAMED:]]
        raise SettingError(
            f"{self._card.name} has no layer {printable(layer)!r} with maps; it has "
            f"{printable(', '.join(names), 1000)}"
        )

    def blocks(self) -> list[Layer]:
        """The last convolution of every block of VGG16.

        Raises:
            SettingError: it is another network.
        """
        if self._card.architecture != "vgg16":
            raise SettingError(f"{self._card.name} is no VGG16 and has no blocks; name a layer")
        ends = {one.name.partition("_")[0]: one for one in self.layers if one.convolution}
        return list(ends.values())

    def sides(self, layer: Layer) -> tuple[int | None, int | None, int | None] | None:
        """Channels, height and width of a layer's maps, each None where that is left open.

        Returns:
            None for a layer that gives no maps.
        """
        shape = self._shapes.get(layer.tensor, (0,) * _MAP)
        if len(shape) != _MAP:
            return None
        channels, height, width = (side or None for side in shape[1:])
        return (width, channels, height) if layer.channels_last else (channels, height, width)

    def revealing(self, layers: Sequence[Layer]) -> bytes:
        """The model with some layers as further outputs, after ``embedding``."""
        model = onnx.ModelProto()
        model.CopyFrom(self._proto)
        for tensor in dict.fromkeys(layer.tensor for layer in layers):
            model.graph.output.append(onnx.ValueInfoProto(name=tensor))
        data: bytes = model.SerializeToString()
        return data

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every tensor that has one; 0 for a side that is left open."""
        probe = skeleton(self._proto)
        try:
            inferred = onnx.shape_inference.infer_shapes(probe, data_prop=True)
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError, TypeError) as error:
            raise ModelFileError(
                f"the shapes in {self._card.name} cannot be told: {brief(error)}"
            ) from error
        return {
            str(value.name): tuple(int(side.dim_value) for side in value.type.tensor_type.shape.dim)
            for value in inferred.graph.value_info
        }


def _map(tensor: str, shapes: dict[str, tuple[int, ...]]) -> Layer | None:
    """A layer, if a tensor is a map of more than one place; pictures here are square."""
    shape = shapes.get(tensor, ())
    if len(shape) != _MAP:
        return None
    if shape[2] == shape[3] > 1:
        return Layer(tensor.removeprefix(_INNER), tensor)
    if shape[1] == shape[2] > 1:
        return Layer(tensor.removeprefix(_INNER), tensor, channels_last=True)
    return None
