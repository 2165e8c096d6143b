"""The real service for tests: as a process of its own, or in a thread with its insides at hand."""

from __future__ import annotations

import queue
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import httpx

from imgindex.web import ServiceSettings, running, serve
from imgindex.web.service import Service

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from pathlib import Path

    from imgindex import Library

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


@dataclass(frozen=True, slots=True)
class Inside:
    """A service in a thread: a client of it, itself, and the server before it."""

    client: httpx.Client
    service: Service
    server: running._Server
    port: int


@contextmanager
def inside(
    library: Library, log: io.StringIO | None = None, /, **settings: Any
) -> Iterator[Inside]:
    """Serve an open library on a free port, in a thread, until the end of the block."""
    made: list[Any] = []
    told: queue.Queue[str] = queue.Queue()

    def noted(kind: type) -> Any:
        def make(*args: Any) -> Any:
            made.append(kind(*args))
            return made[-1]

        return make

    def run() -> None:
        try:
            serve(library, ServiceSettings(port=0, **settings), started=told.put, log=log)
        finally:
            told.put("")

    with (
        mock.patch.object(running, "Service", noted(Service)),
        mock.patch.object(running, "_Server", noted(running._Server)),
    ):
        thread = threading.Thread(target=run)
        thread.start()
        address = told.get(timeout=_PATIENCE)
    service, server = made
    try:
        # Who has no patience closes a connection while it is kept to be used again.
        kept = 0 if settings.get("patience", 30) < 1 else 20
        limits = httpx.Limits(max_keepalive_connections=kept)
        with httpx.Client(
            base_url=address, trust_env=False, timeout=_PATIENCE, limits=limits
        ) as client:
            token = settings.get("token")
            if token is not None:
                client.headers["Authorization"] = f"Bearer {token}"
            while client.get("readyz").status_code != 200:
                time.sleep(0.01)
            yield Inside(client, service, server, int(address.rstrip("/").rpartition(":")[2]))
    finally:
        server.should_exit = True
        thread.join(_PATIENCE)
        assert not thread.is_alive()
