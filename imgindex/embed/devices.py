"""Which processor to ask ONNX Runtime for: names, drivers, graphics cards."""

from __future__ import annotations

import ctypes
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgindex.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CUDA, CPU, TENSORRT = "CUDAExecutionProvider", "CPUExecutionProvider", "TensorrtExecutionProvider"

_DEVICE = re.compile(r"auto|cpu|openvino|(cuda|tensorrt)(:[0-9]+)?")
_MAJOR = 75  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
_TENSOR_CORES = 7


@dataclass(frozen=True, slots=True)
class Device:
    """One processor.

    Attributes:
        kind: ``cpu``, ``openvino`` (the CPU as well), ``cuda`` or ``tensorrt``.
        number: which card.
        halves: it computes in float16 faster than in float32.
    """

    kind: str
    number: int = 0
    halves: bool = False

    def __str__(self) -> str:
        """As reports have it."""
        return f"{self.kind}:{self.number}" if self.on_card else self.kind

    @property
    def on_card(self) -> bool:
        """Whether it is a graphics card."""
        return self.kind in {"cuda", "tensorrt"}


def choose(
    device: str,
    available: Sequence[str],
    cards: Sequence[int],
    bfloat16: Callable[[], bool] = lambda: False,
) -> list[Device]:
    """Say what to compute on.

    Args:
        device: ``auto``, ``cpu``, ``openvino``, ``cuda``, ``cuda:N``, ``tensorrt`` or
            ``tensorrt:N``. Without a number every card is used. ``auto`` takes CUDA where there are
            cards, else OpenVINO where it computes in bfloat16, else the CPU by ONNX Runtime.
        available: the execution providers that this ONNX Runtime was built with.
        cards: what `cards` gives.
        bfloat16: see `openvino.computes_bfloat16`; asked only where it matters.

    Raises:
        DeviceError: the name is unknown, or what is asked for by name cannot be here.
    """
    if not _DEVICE.fullmatch(device):
        raise DeviceError(
            f"unknown device {device!r}; "
            "use auto, cpu, openvino, cuda, cuda:N, tensorrt or tensorrt:N"
        )
    kind, _, number = device.partition(":")
    if kind == "auto" and not (cards and CUDA in available):
        return [Device("openvino" if bfloat16() else "cpu")]
    if kind == "openvino" and not bfloat16():
        raise DeviceError(
            "cannot use openvino: it is not installed, or this processor has no bfloat16; "
            'install it with: pip install "imgindex[openvino]", or use --device cpu'
        )
    if kind in {"cpu", "openvino"}:
        return [Device(kind)]
    provider = TENSORRT if kind == "tensorrt" else CUDA
    if provider not in available:
        raise DeviceError(
            f"cannot use {device}: this ONNX Runtime is built for {', '.join(available)}; "
            "install onnxruntime-gpu, or use --device cpu"
        )
    if not cards:
        raise DeviceError(
            f"cannot use {device}: no NVIDIA driver with a graphics card answers on this machine; "
            "use --device cpu"
        )
    if number and int(number) >= len(cards):
        names = ", ".join(f"{kind}:{at}" for at in range(len(cards)))
        raise DeviceError(f"cannot use {device}: this machine has {names}")
    kind = "cuda" if kind == "auto" else kind
    wanted = [int(number)] if number else range(len(cards))
    return [Device(kind, at, halves=cards[at] >= _TENSOR_CORES) for at in wanted]


def cards(load: Callable[[str], ctypes.CDLL] = ctypes.CDLL) -> list[int]:
    """The compute capability (its major part) of every card that the NVIDIA driver shows us."""
    try:
        driver = load("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count, value = ctypes.c_int(), ctypes.c_int()
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
            return []
        found = []
        for number in range(count.value):
            if driver.cuDeviceGetAttribute(ctypes.byref(value), _MAJOR, number):
                return []
            found.append(value.value)
    except (OSError, AttributeError):
        return []
    return found
