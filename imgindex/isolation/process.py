"""A process that decodes, as who asks it sees it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from imgindex.errors import SettingError

from .line import receive, send

_PROGRAM = "from imgindex.isolation.worker import main; main()"
_STARTING = 60.0  # seconds
_DYING = 5.0  # the same


@dataclass
class Worker:
    """A process that decodes, and the line to it.

    Attributes:
        memory: bytes that one picture may take.
    """

    memory: int

    def __post_init__(self) -> None:
        """Start it.

        Raises:
            SettingError: it does not come up.
        """
        self._line, theirs = socket.socketpair()
        # -P: nothing that lies in the working directory is taken for a module.
        command = [sys.executable, "-P", "-c", _PROGRAM]
        few = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"}  # addresses are counted
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - ourselves
                    [*command, str(self.memory)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | few,
                )
        except OSError as error:
            raise _cannot_start(error.strerror or str(error)) from error
        try:
            receive(self._line, time.monotonic() + _STARTING)
        except (OSError, EOFError, ValueError) as error:
            raise _cannot_start(f"exit code {self.end(_DYING)}") from error

    def ask(
        self, order: dict[str, object], data: bytes, seconds: float
    ) -> tuple[dict[str, Any], bytearray]:
        """Send a picture and wait for what comes of it.

        Raises:
            TimeoutError: nothing did in time.
            OSError: the process ended; so does EOFError say.
            ValueError: it spoke no sense.
        """
        deadline = time.monotonic() + seconds
        self._line.settimeout(seconds)
        send(self._line, order, data)
        return receive(self._line, deadline)

    def end(self, patience: float = 0.0) -> int:
        """End it, whatever it does: its exit code, negative for a signal.

        Args:
            patience: seconds in which it may end by itself, where it matters how it did.
        """
        self._line.close()
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _cannot_start(reason: str) -> SettingError:
    return SettingError(
        f"the process that decodes pictures does not start ({reason}); go on with --no-isolate"
    )
