"""ONNX Runtime sessions: made for a processor, or refused with the reason."""

from __future__ import annotations

import contextlib
import functools
import io
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from imgindex.errors import DeviceError, ModelFileError
from imgindex.graph import brief
from imgindex.precision import EIGHT, for_tiles, in_halves, overflow_probe

from . import openvino
from .devices import CPU, CUDA, TENSORRT, cards, choose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from imgindex.records import ModelCard, Pixels, Precision

    from .devices import Device

    Session: TypeAlias = ort.InferenceSession | openvino.OpenVINOSession

_LIBRARIES = 'install the NVIDIA libraries with: pip install "imgindex[cuda]"'
# No other processor would load such a file either.
_IN_THE_FILE = (
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
)
_FLOAT = {"session.disable_quant_qdq": "1"}
_CACHE_FOLDER = "tensorrt"


def open_session(path: Path, card: ModelCard, device: Device) -> tuple[Session, Precision]:
    """Load a model for one processor.

    Returns:
        The session, and the precision that it computes in.

    Raises:
        ModelFileError: no processor would load the file.
        DeviceError: this one cannot be used; nothing else is taken in its place.
    """
    if device.kind == "openvino":
        # Other networks have not been measured in bfloat16.
        precision: Precision = "bfloat16" if card.architecture == "vgg16" else "float32"
        try:
            compiled = openvino.OpenVINOSession(path, precision)
        except RuntimeError as error:  # an operator that only ONNX Runtime knows
            raise DeviceError(f"cannot use {device}: {brief(error)}; use --device cpu") from error
        return compiled, precision if _in_float(card) else "int8"
    wanted = _providers(device, path, card)
    try:
        model, precision, entries = _prepared(path, card, device)
        session = load(model, wanted, entries)
    except Exception as error:  # ORT raises its own kinds, all direct children of Exception
        if device.kind == "cpu" or isinstance(error, _IN_THE_FILE):
            raise ModelFileError(f"cannot load {path}: {brief(error)}") from error
        raise DeviceError(f"cannot use {device}: {brief(error)}; {_LIBRARIES}") from error
    used = session.get_providers()[0]
    if used != wanted[0][0]:
        raise DeviceError(f"cannot use {device}: ONNX Runtime fell back to {used}; {_LIBRARIES}")
    return session, precision


def _in_float(card: ModelCard) -> bool:
    """Whether a model is one of floats."""
    return card.precision != EIGHT


def _prepared(
    path: Path, card: ModelCard, device: Device
) -> tuple[str | bytes, Precision, dict[str, str]]:
    """The model as this processor computes it best, its precision there, settings for it."""
    if _in_float(card):
        if device.halves and card.architecture == "vgg16":
            return in_halves(path.read_bytes()), "float16", {}
        return str(path), "float32", {}
    if device.kind != "cpu" or not adds_exactly():
        return str(path), "float32", _FLOAT
    return for_tiles(path.read_bytes()) if _has_tiles() else str(path), "int8", {}


def _providers(device: Device, path: Path, card: ModelCard) -> list[tuple[str, dict[str, str]]]:
    number = {"device_id": str(device.number)}
    if device.kind == "cpu":
        return [(CPU, {})]
    if device.kind == "cuda":
        return [(CUDA, number), (CPU, {})]
    # An engine takes minutes to build; the next start finds it here. TensorRT itself does not tell
    # engines of other weights apart.
    cache = path.parent / _CACHE_FOLDER / f"{card.fingerprint[:32]}-{ort.__version__}"
    engine = {}
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        engine = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(cache)}
    return [(TENSORRT, number | engine), (CUDA, number), (CPU, {})]


def load(
    model: str | bytes, wanted: Sequence[tuple[str, dict[str, str]]], entries: dict[str, str]
) -> ort.InferenceSession:
    """Make a session, in silence: what matters is raised, and standard error is the caller's."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    if wanted[0][0] != CPU:
        ort.set_default_logger_severity(4)
        # Finds NVIDIA's wheels. Their absence shows in the session; its prints are not ours.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            ort.preload_dlls(directory="")
    return ort.InferenceSession(
        model, sess_options=options, providers=list(wanted), enable_fallback=0
    )


def outputs(
    model: bytes, pixels: Pixels, precision: Precision = "float32"
) -> Iterator[Sequence[Any]]:
    """Run a model on the CPU, one picture at a time, and give all its outputs.

    Args:
        model: reads ``image``.
        pixels: uint8 [n, s, s, 3].
        precision: of the model's numbers; eight bits are computed in float where need be.
    """
    run = revealed(model, precision)
    for one in pixels:
        yield run(one, None)


def revealed(
    model: bytes, precision: Precision = "float32"
) -> Callable[[Pixels, Sequence[str] | None], Sequence[Any]]:
    """Load a model on the CPU, to be asked for its outputs one picture at a time.

    Args:
        model: see ``outputs``.
        precision: see ``outputs``.

    Returns:
        A function of a picture, uint8 [s, s, 3], and the names of outputs, None for all; it gives
        these outputs, and may be called from several threads.
    """
    overflows = precision == EIGHT and not adds_exactly()
    session = load(model, [(CPU, {})], _FLOAT if overflows else {})

    def run(one: Pixels, names: Sequence[str] | None) -> Sequence[Any]:
        given: Sequence[Any] = session.run(names, {"image": one[None]})
        return given

    return run


@functools.cache
def adds_exactly() -> bool:
    """Whether this processor adds products of eight bits without overflow (VNNI, or ARM's)."""
    model, answer = overflow_probe()
    try:
        session = load(model, [(CPU, {})], {})
        shape = [int(side) for side in session.get_inputs()[0].shape]
        (found,) = session.run(None, {"image": np.full(shape, 255, np.uint8)})
    except Exception:  # noqa: BLE001 - ORT raises its own kinds; then it cannot
        return False
    return bool((found == answer).all())


def favours_eight_bits(device: str) -> bool:
    """Whether eight bits are faster on what a device's name stands for here; see `choose`."""
    chosen = choose(device, ort.get_available_providers(), cards(), openvino.computes_bfloat16)
    return not chosen[0].on_card and adds_exactly()


@functools.cache
def _has_tiles() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return any(line.startswith("flags") and " amx_int8" in line for line in file)
    except OSError:
        return False
