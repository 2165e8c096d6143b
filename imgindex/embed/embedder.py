"""The embedder: batches of pixels to unit rows, on one processor or on several cards at once."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from imgindex.errors import DeviceError, ModelFileError
from imgindex.graph import brief, read_card

from .devices import Device, cards, choose
from .openvino import computes_bfloat16
from .sessions import open_session

if TYPE_CHECKING:
    from pathlib import Path

    from imgindex.records import Pixels, Precision, Rows

    from .sessions import Session

_UNIT_TOLERANCE = 1e-3
_CPU_BATCH, _GPU_BATCH = 8, 64
_SLOTS = 2  # buffers a card: one is filled while the other is computed
_MEMORY = "cuda"
_FULL = ("out of memory", "failed to allocate memory", "alloc_failed", "allocation failed")


class Embedder:
    """One loaded model.

    Attributes:
        card: what the model file says of itself.
        device: what really computes: ``cpu``, ``openvino``, or for example ``cuda:0,cuda:1``.
        precision: what it computes in: ``float32``, ``float16``, ``bfloat16`` or ``int8``.
        batch: pictures a call should hold.
        note: what had to be done differently, in words; empty if nothing.
    """

    def __init__(self, path: Path, device: str = "auto") -> None:
        """Load a model.

        Args:
            path: an ``.onnx`` file built by imgindex, checked by ``models.read_card``.
            device: see `choose`. With ``auto`` a GPU that cannot be used is left alone; ``device``
                then says ``cpu``.

        Raises:
            DeviceError: the device is unknown, or asked for by name and not usable.
            ModelFileError: the file is not a model of ours, or ONNX Runtime cannot load it.
        """
        chosen = choose(device, ort.get_available_providers(), cards(), computes_bfloat16)
        card = read_card(path)
        if card is None:
            raise ModelFileError(
                f"{path} was not built by imgindex; bring it in with: imgindex model import {path}"
            )
        self.card = card
        self._path = path
        self._slots: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        self._later = chosen[1:]  # cards that are opened when there is work for them
        self._changing = threading.Lock()
        self.note = ""
        try:
            self.precision: str = self._open(chosen[0])
        except DeviceError as error:
            if device != "auto":
                raise
            self.note = f"{error}; the CPU took its place"
            chosen, self._later = [Device("cpu")], []
            self.precision = self._open(chosen[0])
        self._strict = device != "auto"
        self.device = ",".join(map(str, chosen))
        on_cards = chosen[0].on_card
        self._piece = _GPU_BATCH if on_cards else _CPU_BATCH
        self._threads = _SLOTS * len(chosen) if on_cards else 1
        self.batch = self._piece * self._threads

    def _open(self, device: Device) -> Precision:
        session, precision = open_session(self._path, self.card, device)
        for _ in range(_SLOTS):
            self._slots.put(_Slot(session, device))
        return precision

    def _open_others(self) -> None:
        while self._later:
            try:
                self._open(self._later[0])
            except DeviceError as error:
                if self._strict:
                    raise
                self.note = f"{error}; the other cards took its place"
                left = [one for one in self.device.split(",") if one != str(self._later[0])]
                self.device = ",".join(left)
            del self._later[0]

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
        if len(pixels) == 0:
            return np.empty((0, self.card.dimension), np.float32)
        pieces = [pixels[at : at + self._piece] for at in range(0, len(pixels), self._piece)]
        if self._threads == 1 or len(pieces) == 1:
            rows = np.concatenate([self._rows(piece) for piece in pieces])
        else:
            with self._changing:
                self._open_others()
            with ThreadPoolExecutor(self._threads, "imgindex-card") as pool:
                rows = np.concatenate(list(pool.map(self._rows, pieces)))
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.linalg.norm(rows, axis=1)
        # Written so that NaN fails it too.
        rows[~(np.abs(lengths - 1) < _UNIT_TOLERANCE)] = np.nan
        return rows

    def _rows(self, pixels: Pixels) -> Rows:
        """Embed a piece; where a card has no room for it, in halves."""
        slot = self._slots.get()
        try:
            found = slot.run(pixels)
        except Exception as error:  # ORT raises its own kinds, all direct children of Exception
            full = any(sign in str(error).lower() for sign in _FULL)
            if not (full and slot.on_card and len(pixels) > 1):
                raise self._failure(error, slot) from error
        else:
            shape = (len(pixels), self.card.dimension)
            if np.shape(found) != shape:
                raise ModelFileError(
                    f"model {self.card.name} gave numbers of shape {np.shape(found)} "
                    f"instead of {shape}; import it again"
                )
            return np.array(found, np.float32)
        finally:
            self._slots.put(slot)
        half = len(pixels) // 2
        with self._changing:
            if len(pixels) >= self._piece:
                self._piece = half
            self.note = (
                f"{slot.device} has no memory for {len(pixels)} pictures at once; "
                f"embedding {half} at a time"
            )
        return np.concatenate([self._rows(pixels[:half]), self._rows(pixels[half:])])

    def _failure(self, error: Exception, slot: _Slot) -> ModelFileError | DeviceError:
        text = f"model {self.card.name} failed on {slot.device}: {brief(error)}"
        if not slot.on_card:
            return ModelFileError(text)
        return DeviceError(f"{text}; try --device cpu")


class _Slot:
    """A session and, on a card, the memory that it reads a piece from."""

    def __init__(self, session: Session, device: Device) -> None:
        self.device = device
        self.on_card = device.on_card
        self._session: Any = session
        self._buffer: ort.OrtValue | None = None

    def run(self, pixels: Pixels) -> Rows:
        """Embed a piece."""
        pixels = np.ascontiguousarray(pixels)
        if not self.on_card:
            rows: Rows = self._session.run(["embedding"], {"image": pixels})[0]
            return rows
        if self._buffer is None or self._buffer.shape() != list(pixels.shape):
            self._buffer = None  # before the next one takes memory
            self._buffer = ort.OrtValue.ortvalue_from_shape_and_type(
                list(pixels.shape), np.uint8, _MEMORY, self.device.number
            )
        self._buffer.update_inplace(pixels)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("image", self._buffer)
        binding.bind_output("embedding", "cpu")
        self._session.run_with_iobinding(binding)
        (found,) = binding.copy_outputs_to_cpu()
        return np.asarray(found)
