"""OpenVINO in ONNX Runtime's place, where it is installed and the processor computes in bfloat16.

With matrix tiles (AMX) it embeds seven times as fast as float32, and what it gives may lie in one
library with that; ONNX Runtime does not use them for float models. In float32 it is no faster.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from imgindex.records import Pixels, Precision, Rows


class OpenVINOSession:
    """One compiled model; runs as a session of ONNX Runtime does."""

    def __init__(self, path: Path, precision: Precision) -> None:
        """Compile a model for the CPU, to compute in ``bfloat16`` or ``float32``.

        Raises:
            RuntimeError: OpenVINO does not know an operator in it.
        """
        core = _core()
        hint = "bf16" if precision == "bfloat16" else "f32"
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
        self._compiled = core.compile_model(core.read_model(path), "CPU", hints)
        self._turn = threading.Lock()  # one call keeps every core busy, and two would meet in it

    def run(self, names: Sequence[str], feeds: Mapping[str, Pixels]) -> list[Rows]:
        """Give the outputs named."""
        with self._turn:
            found = self._compiled(feeds)
            return [np.array(found[name], np.float32) for name in names]


@functools.cache
def computes_bfloat16() -> bool:
    """Whether OpenVINO is here, on a processor with instructions for bfloat16."""
    try:
        return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except (ImportError, RuntimeError, OSError):
        return False


@functools.cache
def _core() -> Any:
    import openvino

    return openvino.Core()
