"""VGG16: configuration D of Simonyan & Zisserman, arXiv:1409.1556, as an ONNX graph.

Thirteen 3 x 3 convolutions in five blocks, each block closed by a 2 x 2 maximum; every layer's
output is taken after its ReLU. Layers carry the names that Keras gave them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import SettingError
from .graph import TORCH, Sketch, Weights, check_size, spelled
from .records import ModelCard

if TYPE_CHECKING:
    from .graph import Pooling
    from .records import Fit

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_DENSE = (("fc1", 512 * 7 * 7), ("fc2", 4096))
_DENSE_WIDTH = 4096
_DENSE_SIZE = 224
_SMALLEST = 32

DEFAULT_LAYER = "block5_pool"
DEFAULT_SIZE = 224


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its name, its output [c, h, w] (or [d]) and how many numbers it learned."""

    name: str
    shape: tuple[int, ...]
    parameters: int


def _kernels() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    channels = 3
    for block, (width, depth) in enumerate(_BLOCKS, 1):
        for place in range(1, depth + 1):
            shapes[f"block{block}_conv{place}"] = (width, channels, 3, 3)
            channels = width
    return shapes


CONVOLUTIONS = _kernels()
"""Convolution -> shape of its kernel, [out, in, 3, 3], in the order of the network."""

DENSE: dict[str, tuple[int, ...]] = {name: (_DENSE_WIDTH, inputs) for name, inputs in _DENSE}
"""Dense layer -> shape of its kernel, [out, in]; fc1 reads block5_pool flattened as [c, h, w]."""


PROJECTION = "projection"
"""Name of a matrix [d, channels] and its offset [d] that may lie among the weights; see `build`."""


def layers(size: int = DEFAULT_SIZE) -> list[Layer]:
    """The layer table for a square input; the dense layers only where they fit, at 224 pixels.

    Raises:
        SettingError: the size is below 32 pixels, or far too large.
    """
    check_size(size)
    if size < _SMALLEST:
        raise SettingError(f"size {size} is too small for VGG16; use {_SMALLEST} or more pixels")
    table = []
    side = size
    for block, (width, depth) in enumerate(_BLOCKS, 1):
        for place in range(1, depth + 1):
            name = f"block{block}_conv{place}"
            parameters = int(np.prod(CONVOLUTIONS[name])) + width
            table.append(Layer(name, (width, side, side), parameters))
        side //= 2
        table.append(Layer(f"block{block}_pool", (width, side, side), 0))
    if size == _DENSE_SIZE:
        table += [
            Layer(name, (shape[0],), shape[0] * (shape[1] + 1)) for name, shape in DENSE.items()
        ]
    return table


def pooling_of(layer: str) -> Pooling:
    """Give a layer's usual pooling: ``average`` for maps, ``none`` for the dense layers."""
    return "none" if layer in DENSE else "average"


def kernels(layer: str) -> dict[str, tuple[int, ...]]:
    """Name the layers with weights up to and including one, each with its kernel's shape.

    Raises:
        SettingError: there is no such layer.
    """
    names = [row.name for row in layers()]
    if layer not in names:
        raise SettingError(f"VGG16 has no layer {layer!r}; its layers are {', '.join(names)}")
    shapes = CONVOLUTIONS | DENSE
    return {name: shapes[name] for name in names[: names.index(layer) + 1] if name in shapes}


def build(  # noqa: PLR0913 - each is one line of the model's card
    weights: Weights,
    *,
    layer: str = DEFAULT_LAYER,
    pooling: Pooling | None = None,
    size: int = DEFAULT_SIZE,
    fit: Fit = "squash",
    name: str,
    source: str,
    licence: str,
    trained: bool = True,
) -> bytes:
    """Build the model up to one layer; later layers and their weights are left out.

    A `PROJECTION` among the weights, for example a whitening, turns the pooled vector, brought to
    length 1, into ``matrix @ vector + offset``.

    Args:
        weights: at least the convolutions up to the layer.
        layer: any name of `layers`.
        pooling: see `graph.Sketch.pool`; by default ``average``, for fc1 and fc2 ``none``.
        size: side of the input in pixels, 32..2048; 224 for fc1 and fc2.
        fit: how a picture is brought to the square.
        name: the model's name.
        source: where the weights come from.
        licence: their terms.
        trained: False for random weights.

    Returns:
        The model, serialised; what it embeds with is float32 throughout.

    Raises:
        SettingError: there is no such layer, or the layer, pooling and size do not fit together.
    """
    needed = kernels(layer)
    if missing := needed.keys() - weights.layers.keys():
        raise SettingError(f"{layer} needs weights of {', '.join(sorted(missing))}")
    kept = weights.only([*needed, *({PROJECTION} & weights.layers.keys())])
    table = layers(size)
    names = [row.name for row in table]
    if layer not in names:
        raise SettingError(f"{layer} needs size {_DENSE_SIZE}, not {size}")
    used = table[: names.index(layer) + 1]
    sketch = Sketch()
    tensor = sketch.enter(kept.scaling)
    for row in used:
        if row.name.endswith("_pool"):
            tensor = sketch.op("MaxPool", tensor, kernel_shape=[2, 2], strides=[2, 2])
            continue
        kernel, bias = (
            sketch.constant(array, f"{row.name}/{part}")
            for part, array in zip(("kernel", "bias"), kept.layers[row.name], strict=True)
        )
        if row.name in DENSE:
            flat = sketch.op("Flatten", tensor, axis=1)
            tensor = sketch.op("Gemm", flat, kernel, bias, transB=1)
        else:
            tensor = sketch.op("Conv", tensor, kernel, bias, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        tensor = sketch.op("Relu", tensor, name=row.name)
    pooling = pooling or pooling_of(layer)
    descriptor, dimension = sketch.pool(tensor, used[-1].shape, pooling)
    if PROJECTION in kept.layers:
        matrix, offset = kept.layers[PROJECTION]
        if matrix.shape != (len(offset), dimension):
            raise SettingError(
                f"a projection of shape {spelled(matrix.shape)} does not fit {dimension} numbers"
            )
        constants = (sketch.constant(matrix), sketch.constant(offset))
        descriptor = sketch.op("Gemm", sketch.unit(descriptor), *constants, transB=1)
        dimension = len(offset)
    card = ModelCard(
        name=name,
        architecture="vgg16",
        layer=layer,
        pooling=pooling,
        dimension=dimension,
        size=size,
        fit=fit,
        scaling=str(kept.scaling),
        weights_sha256=kept.sha256,
        source=source,
        licence=licence,
        trained=trained,
    )
    return sketch.finish(descriptor, card)


def untrained(seed: int = 0) -> Weights:
    """Random convolutions, the same for a seed on every machine: for tests and trying things out.

    Kernels are normal with variance 2 / fan-in (He et al., doi:10.1109/ICCV.2015.123), so the
    signal keeps its strength through the thirteen layers; biases are normal with deviation 0.05.
    """
    random = np.random.default_rng(seed)
    drawn = {}
    for name, shape in CONVOLUTIONS.items():
        kernel = random.standard_normal(shape, np.float32)
        kernel *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        drawn[name] = (kernel, random.standard_normal(shape[0], np.float32) * np.float32(0.05))
    return Weights(drawn, TORCH)
