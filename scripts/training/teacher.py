"""The teacher: MobileNetV2 out of its quantised TensorFlow Lite file, as float sums in torch.

Sandler et al., arXiv:1801.04381. Arrays are dequantised, values are clamped to what the file's
eight bits could hold, and nothing is rounded. So the teacher can look at the very view that the
pupil sees, which teaches far better than targets kept from the whole picture (Beyer et al.,
arXiv:2106.05237).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

# Operators of TensorFlow Lite's schema, and its padding that keeps the size.
_ADD, _POOL, _CONV, _DEPTHWISE, _RESHAPE, _SOFTMAX = 0, 1, 3, 4, 22, 25
_BYTE = 3

SIDE = 192
"""What it looks at, at most: three quarters of the work of 224 pixels, and hardly less telling."""


class _Table:
    """One table of a FlatBuffers file: fields by their number in the schema."""

    def __init__(self, data: bytes, place: int) -> None:
        self.data, self.place = data, place
        self.fields = place - struct.unpack_from("<i", data, place)[0]
        self.size = struct.unpack_from("<H", data, self.fields)[0]

    def _at(self, field: int) -> int:
        offset = 4 + 2 * field
        if offset >= self.size:
            return 0
        (step,) = struct.unpack_from("<H", self.data, self.fields + offset)
        return self.place + step if step else 0

    def _to(self, field: int) -> int:
        place = self._at(field)
        return place + struct.unpack_from("<I", self.data, place)[0] if place else 0

    def number(self, field: int, kind: str) -> int:
        place = self._at(field)
        return int(struct.unpack_from(f"<{kind}", self.data, place)[0]) if place else 0

    def array(self, field: int, dtype: str) -> NDArray[Any]:
        place = self._to(field)
        if not place:
            return np.empty(0, dtype)
        (count,) = struct.unpack_from("<I", self.data, place)
        return np.frombuffer(self.data, dtype, count, place + 4)

    def table(self, field: int) -> _Table:
        return _Table(self.data, self._to(field))

    def tables(self, field: int) -> list[_Table]:
        place = self._to(field)
        (count,) = struct.unpack_from("<I", self.data, place)
        starts = range(place + 4, place + 4 + 4 * count, 4)
        return [_Table(self.data, at + struct.unpack_from("<I", self.data, at)[0]) for at in starts]


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """One operator: where it reads and writes, its kernel and bias, the range it can hold."""

    kind: int
    inputs: tuple[int, ...]
    output: int
    low: float
    high: float
    stride: int = 1
    kernel: Any = None
    bias: Any = None


class Teacher:
    """The network, with the basis in which its features are taught.

    Attributes:
        mean: float32 [1280], of the features over the pool.
        basis: float32 [160, 1280], their principal directions, each over the square root of its
            deviation: half way to whitening.
    """

    def __init__(self, folder: Path, device: Any) -> None:
        """Read ``*.tflite`` and ``teacher.npz`` of a folder; a GPU computes in float16.

        Every value is clamped far within float16's range, and bfloat16's eight bits blur the
        opinion: 1.3 % of a nat on each picture, against 0.01 %.
        """
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        (path,) = folder.glob("*.tflite")
        self._steps = [
            _Step(
                step.kind,
                step.inputs,
                step.output,
                step.low,
                step.high,
                step.stride,
                *(
                    None if array is None else torch.from_numpy(array).to(device, dtype)
                    for array in (step.kernel, step.bias)
                ),
            )
            for step in _read(path.read_bytes())
        ]
        with np.load(folder / "teacher.npz") as file:
            deviation = (file["code"] * file["scale"]).std(0)
            basis = file["basis"] / np.sqrt(deviation)[:, None]
            self.mean = torch.from_numpy(file["mean"]).to(device)
        self.basis = torch.from_numpy(basis.astype(np.float32)).to(device)
        self._dtype = dtype

    def __call__(self, views: Any) -> tuple[Any, Any]:
        """Look at pictures.

        Args:
            views: float [n, 3, s, s], RGB in 0..1.

        Returns:
            The pooled feature float32 [n, 1280] and class scores before the softmax, float32
            [n, 1001].
        """
        first = self._steps[0].inputs[0]
        shape = (min(SIDE, 2 * views.shape[-1]),) * 2
        views = functional.interpolate(views, shape, mode="bilinear", align_corners=False)
        pixels = ((views * 255 - 128) / 128).to(self._dtype)
        held = {first: pixels.contiguous(memory_format=torch.channels_last)}
        feature = pixels
        for step in self._steps:
            value = held[step.inputs[0]]
            if step.kind == _ADD:
                value = value + held[step.inputs[1]]
            elif step.kind == _POOL:
                feature = value = value.mean((2, 3), keepdim=True)
            elif step.kernel.shape[-1] == 1:
                value = functional.conv2d(value, step.kernel, step.bias)
            else:
                # TensorFlow pads an even side after the picture alone when the step is two.
                around = 1 if step.stride == 1 or value.shape[-1] % 2 else 0
                value = value if around else functional.pad(value, (0, 1, 0, 1))
                groups = value.shape[1] if step.kind == _DEPTHWISE else 1
                value = functional.conv2d(
                    value, step.kernel, step.bias, step.stride, around, groups=groups
                )
            held[step.output] = value.clamp(step.low, step.high)
        return feature.flatten(1).float(), held[self._steps[-1].output].flatten(1).float()

    def code(self, feature: Any) -> Any:
        """Bring features [n, 1280] to unit codes [n, 160], in the space that is taught."""
        return functional.normalize((feature - self.mean) @ self.basis.T)


def _read(data: bytes) -> Iterator[_Step]:
    """Read the operators up to the class scores; arrays become float32."""
    root = _Table(data, struct.unpack_from("<I", data)[0])
    codes = [code.number(0, "b") for code in root.tables(1)]
    graph, buffers = root.tables(2)[0], root.tables(4)
    tensors = graph.tables(0)

    def scaled(index: int) -> tuple[float, int]:
        quantisation = tensors[index].table(4)
        return float(quantisation.array(2, "<f4")[0]), int(quantisation.array(3, "<i8")[0])

    def array(index: int) -> NDArray[np.float32]:
        tensor, (scale, zero) = tensors[index], scaled(index)
        dtype = "u1" if tensor.number(1, "b") == _BYTE else "<i4"
        raw = buffers[tensor.number(2, "I")].array(0, "u1").view(dtype)
        numbers = (raw.astype(np.float64) - zero) * scale
        return numbers.reshape(tensor.array(0, "<i4")).astype(np.float32)

    for row in graph.tables(3):
        kind = codes[row.number(0, "I")]
        if kind in {_RESHAPE, _SOFTMAX}:
            continue
        inputs, output = row.array(1, "<i4").tolist(), int(row.array(2, "<i4")[0])
        scale, zero = scaled(output)
        low, high = -zero * scale, (255 - zero) * scale
        if kind in {_ADD, _POOL}:
            yield _Step(kind, tuple(inputs), output, low, high)
            continue
        # [1, 3, 3, channels] of a depthwise one, [out, h, w, in] of the others.
        order = (3, 0, 1, 2) if kind == _DEPTHWISE else (0, 3, 1, 2)
        kernel = array(inputs[1]).transpose(order)
        stride = row.table(4).number(2, "i")
        yield _Step(
            kind,
            (inputs[0],),
            output,
            low,
            high,
            stride,
            np.ascontiguousarray(kernel),
            array(inputs[2]),
        )
