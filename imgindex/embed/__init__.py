"""Pixels to embeddings: ONNX Runtime sessions around one model file.

The graph holds everything from bytes to the unit vector, so a caller cannot get the preprocessing
wrong. What really computes is read from the session, never from what was asked for: ONNX Runtime
lists CUDA as available on machines without a GPU and falls back to the CPU in silence.
"""

from .devices import Device, choose
from .embedder import Embedder
from .sessions import adds_exactly, favours_eight_bits, outputs, revealed

__all__ = [
    "Device",
    "Embedder",
    "adds_exactly",
    "choose",
    "favours_eight_bits",
    "outputs",
    "revealed",
]
