"""A real Milvus server for tests, in an environment of its own that is kept between runs."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imgindex.store.milvus.store import MilvusStore

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLACE = Path(__file__).parent.parent / ".milvus"
_PACKAGES = ("setuptools<70", "milvus==2.3.5")
_ASK = """
from pymilvus import MilvusClient
MilvusClient({uri!r}, token="root:Milvus", **{more}).list_collections()
"""
_TRIES, _PATIENCE = 3, 40


class Server:
    """One server, with its data in a folder; with a certificate it speaks TLS and wants a token."""

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        self.folder = folder
        self.certificate = certificate
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        for _ in range(_TRIES):
            if self._started():
                return
            self.kill()  # one that ran before may still hold its ports
        raise AssertionError((self.folder.parent / "server.log").read_text("utf-8", "replace"))

    def _started(self) -> bool:
        command = _PLACE / "bin" / "milvus-server"
        # In ms; else every read of what was just written waits 0.2 s.
        environ = os.environ | {"PROXY_TIMETICKINTERVAL": "40"}
        # In s; else one that was killed counts as alive for half a minute, and the next one waits.
        environ["COMMON_SESSION_TTL"] = "5"
        if self.certificate is not None:
            environ |= {
                "COMMON_SECURITY_AUTHORIZATIONENABLED": "true",
                "COMMON_SECURITY_TLSMODE": "1",
                "TLS_SERVERPEMPATH": str(self.certificate),
                "TLS_SERVERKEYPATH": str(self.certificate),
            }
        with (self.folder.parent / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [command, "--data", self.folder, "--proxy-port", str(self.port)],
                env=environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + _PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                return False
            time.sleep(0.2)
        return True

    def _answers(self) -> bool:
        # In a process of its own: half a server takes the connection and never says a word.
        tls = self.certificate is not None
        uri = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        more = {"server_pem_path": str(self.certificate)} if tls else {}
        asked = [sys.executable, "-c", _ASK.format(uri=uri, more=more)]
        with suppress(subprocess.TimeoutExpired):
            return not subprocess.run(
                asked, check=False, capture_output=True, timeout=10
            ).returncode
        return False

    def kill(self) -> None:
        """Kill it with all its children, as a power cut would."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def installed() -> bool:
    """Whether the server is here; it is installed where it can be."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return False
    if (_PLACE / "ready").exists():
        return True
    shutil.rmtree(_PLACE, ignore_errors=True)
    install = [str(_PLACE / "bin" / "python"), "-m", "pip", "install", "--quiet", *_PACKAGES]
    for command in ([sys.executable, "-m", "venv", str(_PLACE)], install):
        if subprocess.run(command, check=False, capture_output=True).returncode:
            return False
    (_PLACE / "ready").touch()
    return True


def may_start(test: str) -> bool:
    """Whether a test is among those that run in one process, as there is one server a machine."""
    return "milvus" in test.lower() or "test_ray" in test


def running() -> Server:
    """The server that all tests of this process share; skips where it cannot be installed."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "milvus")
    assert may_start(test), f"{test} needs a server: have its name say so"
    return _shared()


@cache
def _shared() -> Server:
    if not installed():
        pytest.skip("needs a Milvus server: the package milvus could not be installed")
    folder = Path(tempfile.mkdtemp())
    server = Server(folder / "data")
    server.folder.mkdir()
    server.start()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.kill)
    return server


def stop() -> None:
    """End the shared server; the next test that wants one starts another."""
    if _shared.cache_info().currsize:
        _shared().kill()
        _shared.cache_clear()


@contextmanager
def emptied(server: Server, name: str = "shared") -> Iterator[str]:
    """The URL of an empty library; its collections are kept, as making them takes seconds."""
    url = f"milvus://127.0.0.1:{server.port}/{name}"
    store = MilvusStore(url, create=True)
    for collection in (store._pictures, store._files, store._notes._name):
        if store._server.has(collection):
            store._server.take(
                collection, [one["id"] for one in store._server.every(collection, [])]
            )
    store._notes.put({"format": 1})
    store.close()
    yield url
