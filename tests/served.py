"""The real service as a process of its own, for tests that need a socket or a browser."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_COMMAND = [sys.executable, "-c", "from imgindex.cli import main; main()", "serve"]
_PATIENCE = 60


@dataclass(frozen=True, slots=True)
class Served:
    """A service that runs: its address without a slash behind it, its process and its log."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def served(library: Path, log: Path, *options: str) -> Iterator[Served]:
    """Serve a library on a free port, from when it is ready until the end of the block."""
    command = [*_COMMAND, "--library", str(library), "--port", "0", *options]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        end = time.monotonic() + _PATIENCE
        while not (found := re.search(r"on (https?://\S+)/;", log.read_text("utf-8", "replace"))):
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(log.read_text("utf-8", "replace"))
            time.sleep(0.05)
        while httpx.get(f"{found[1]}/readyz").status_code != 200 and time.monotonic() < end:
            time.sleep(0.05)
        yield Served(found[1], process, log)
    finally:
        process.terminate()
        process.wait(_PATIENCE)
