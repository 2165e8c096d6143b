"""Services for strangers: with and without a token, and clients that present nothing."""

from __future__ import annotations

import socket
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pictures import png, scene
from served import Inside, inside

from imgindex import Library
from imgindex.scan import content_id

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - of the tests' own service
PICTURES = 6
SERVE = [sys.executable, "-c", "from imgindex.cli import main; main()", "serve"]
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("safety") / "pictures"
    made.mkdir()
    for at in range(PICTURES):
        (made / f"{at}.png").write_bytes(png(scene(at)))
    return made


def id_of(folder: Path, at: int) -> str:
    return content_id((folder / f"{at}.png").read_bytes())


@pytest.fixture(scope="session")
def filled(folder: Path, model_file: Path) -> Path:
    place = folder.with_name("library")
    with Library(place, model=model_file, device="cpu") as library:
        library.add([folder])
    return place


@contextmanager
def opened(
    library: Path, model: Path, log: io.StringIO | None = None, /, **options: Any
) -> Iterator[Inside]:
    with Library(library, model=model, device="cpu") as held, inside(held, log, **options) as made:
        yield made


@pytest.fixture(scope="module")
def open_one(filled: Path, model_file: Path) -> Iterator[Inside]:
    """A service on loopback that asks for no token."""
    uploads = filled.with_name("uploads")
    with opened(filled, model_file, uploads=uploads, originals=True, max_upload=300_000) as made:
        yield made


@pytest.fixture(scope="module")
def closed_one(filled: Path, model_file: Path) -> Iterator[Inside]:
    """A service that asks for a token."""
    with opened(filled, model_file, token=TOKEN, uploads=filled.with_name("closed")) as made:
        yield made


@pytest.fixture(scope="module")
def hasty(filled: Path, model_file: Path) -> Iterator[Inside]:
    """A service with little patience."""
    with opened(filled, model_file, patience=0.4, originals=True) as made:
        yield made


_CLIENTS: list[httpx.Client] = []


def bare(made: Inside, **options: Any) -> httpx.Client:
    """A client that presents nothing; it is closed when the test ends."""
    client = httpx.Client(base_url=made.client.base_url, trust_env=False, timeout=60, **options)
    _CLIENTS.append(client)
    return client


@pytest.fixture
def closed() -> Iterator[None]:
    """Closes them."""
    yield
    while _CLIENTS:
        _CLIENTS.pop().close()


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["type"]).removeprefix("urn:imgindex:")


def ends(connection: socket.socket, within: float) -> bytes:
    """What comes until the other side closes."""
    connection.settimeout(within)
    heard = b""
    with suppress(ConnectionResetError, BrokenPipeError):
        while piece := connection.recv(65536):
            heard += piece
    return heard


@contextmanager
def talking(made: Inside, *pieces: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", made.port)) as connection:
        for piece in pieces:
            connection.sendall(piece)
        yield connection
