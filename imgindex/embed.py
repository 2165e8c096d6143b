"""Pixels to embeddings: an ONNX Runtime session around one model file.

The graph holds everything from bytes to the unit vector, so a caller cannot get the preprocessing
wrong. What really computes is read from the session, never from what was asked for: ONNX Runtime
lists CUDA as available on machines without a GPU and falls back to the CPU in silence.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from .errors import DeviceError, ModelFileError
from .graph import brief, read_card

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .records import Pixels, Rows

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_UNIT_TOLERANCE = 1e-3
_CPU_BATCH, _GPU_BATCH = 8, 64

_LIBRARIES = 'install the NVIDIA libraries with: pip install "imgindex[cuda]"'
# No other processor would load such a file either.
_IN_THE_FILE = (
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
)

_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]+)?")

Provider = tuple[str, dict[str, str]]


class Embedder:
    """One loaded model.

    Attributes:
        card: what the model file says of itself.
        device: what really computes: ``cpu`` or ``cuda:N``.
        batch: pictures a call should hold; on a CPU the batch does not change the speed.
    """

    def __init__(self, path: Path, device: str = "auto") -> None:
        """Load a model.

        Args:
            path: an ``.onnx`` file built by imgindex, checked by ``models.read_card``.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. With ``auto`` a GPU that cannot be
                used is left alone; ``device`` then says ``cpu``.

        Raises:
            DeviceError: the device is unknown, or asked for by name and not usable.
            ModelFileError: the file is not a model of ours, or ONNX Runtime cannot load it.
        """
        wanted = providers(device, ort.get_available_providers(), driver=_nvidia_driver())
        card = read_card(path)
        if card is None:
            raise ModelFileError(
                f"{path} was not built by imgindex; bring it in with: imgindex model import {path}"
            )
        self.card = card
        self._session = _session(path, wanted, device)
        used = self._session.get_providers()[0]
        if used != wanted[0][0] and device != "auto":
            raise DeviceError(
                f"cannot use {device}: ONNX Runtime fell back to {used}; {_LIBRARIES}"
            )
        self.device = f"cuda:{wanted[0][1].get('device_id', '0')}" if used == _CUDA else "cpu"
        self.batch = _GPU_BATCH if used == _CUDA else _CPU_BATCH

    def encode(self, pixels: Pixels) -> Rows:
        """Embed a batch.

        Args:
            pixels: uint8 [n, s, s, 3], RGB, s the card's size.

        Returns:
            float32 [n, d]. Each row either has length 1 or is NaN throughout: the model gave zeros,
            or numbers that are not finite, for that picture. The other rows do not suffer from it.

        Raises:
            ModelFileError: the model failed, or gave something else than n rows of d numbers.
            DeviceError: it failed on a GPU.
        """
        shape = (len(pixels), self.card.dimension)
        if len(pixels) == 0:
            return np.empty(shape, np.float32)
        try:
            (found,) = self._session.run(["embedding"], {"image": np.ascontiguousarray(pixels)})
        except Exception as error:  # ORT raises its own kinds, all direct children of Exception
            text = f"model {self.card.name} failed on {self.device}: {brief(error)}"
            if self.device == "cpu":
                raise ModelFileError(text) from error
            raise DeviceError(f"{text}; try --device cpu") from error
        if np.shape(found) != shape:
            raise ModelFileError(
                f"model {self.card.name} gave numbers of shape {np.shape(found)} "
                f"instead of {shape}; import it again"
            )
        rows = np.array(found, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.linalg.norm(rows, axis=1)
        # Written so that NaN fails it too.
        rows[~(np.abs(lengths - 1) < _UNIT_TOLERANCE)] = np.nan
        return rows


def providers(device: str, available: Sequence[str], *, driver: bool) -> list[Provider]:
    """Say which execution providers to ask ONNX Runtime for, the wanted one first.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        available: what this ONNX Runtime was built with.
        driver: whether an NVIDIA driver answers on this machine.

    Raises:
        DeviceError: the name is unknown, or CUDA is asked for and cannot be here.
    """
    if not _DEVICE.fullmatch(device):
        raise DeviceError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N")
    kind, _, number = device.partition(":")
    if kind == "cuda":
        if _CUDA not in available:
            raise DeviceError(
                f"cannot use {device}: this ONNX Runtime is built for {', '.join(available)}; "
                "install onnxruntime-gpu, or use --device cpu"
            )
        if not driver:
            raise DeviceError(
                f"cannot use {device}: no NVIDIA driver answers on this machine; use --device cpu"
            )
    if kind == "cuda" or (kind == "auto" and driver and _CUDA in available):
        return [(_CUDA, {"device_id": number or "0"}), (_CPU, {})]
    return [(_CPU, {})]


def _session(path: Path, wanted: list[Provider], device: str) -> ort.InferenceSession:
    try:
        return _load(path, wanted)
    except Exception as error:  # ORT raises its own kinds, all direct children of Exception
        if wanted[0][0] == _CPU or isinstance(error, _IN_THE_FILE):
            raise ModelFileError(f"cannot load {path}: {brief(error)}") from error
        if device != "auto":
            raise DeviceError(f"cannot use {device}: {brief(error)}; {_LIBRARIES}") from error
    return _session(path, [(_CPU, {})], device)


def _load(path: Path, wanted: list[Provider]) -> ort.InferenceSession:
    options = ort.SessionOptions()
    # Only fatal messages: what matters is raised, and standard error belongs to the caller.
    options.log_severity_level = 4
    if wanted[0][0] == _CUDA:
        ort.set_default_logger_severity(4)
        # Finds NVIDIA's wheels. Their absence shows in the session; its prints are not ours.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            ort.preload_dlls(directory="")
    return ort.InferenceSession(
        str(path), sess_options=options, providers=wanted, enable_fallback=0
    )


def _nvidia_driver(load: Callable[[str], object] = ctypes.CDLL) -> bool:
    try:
        load("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
