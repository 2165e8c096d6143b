"""How the service starts and stops, and what outlasts that."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from pictures import png, scene
from served import inside, served
from strangers import PICTURES, SERVE, bare, id_of, needs_posix

from imgindex import Library
from imgindex.scan import content_id

pytest_plugins = ["strangers"]
pytestmark = pytest.mark.usefixtures("closed")


def test_a_stop_answers_what_runs_and_ends_jobs_where_nothing_is_lost(
    folder: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for at in range(400):
        (more / f"{at}.png").write_bytes(png(scene(2000 + at, 48, 36)))
    plain = Library.search_many
    begun = threading.Event()

    def slow(*args: Any, **kwargs: Any) -> Any:
        begun.set()
        time.sleep(1)
        return plain(*args, **kwargs)

    monkeypatch.setattr(Library, "search_many", slow)
    with Library(tmp_path / "library", model=model_file, device="cpu") as library:
        library.add([folder])
        with ThreadPoolExecutor(2) as threads:
            with inside(library) as made:
                listening = threads.submit(bare(made).get, "/v1/events")
                asked = {"kind": "index", "paths": [str(more)]}
                job = made.client.post("/v1/jobs", json=asked).json()
                answer = threads.submit(made.client.get, f"/v1/pictures/{id_of(folder, 0)}/similar")
                assert begun.wait(20)
                began = time.monotonic()
                made.server.should_exit = True
                assert answer.result(20).status_code == 200
                assert listening.result(20).status_code == 200  # listeners are sent home
            assert time.monotonic() - began < 15
        state = made.service.jobs.get(job["id"]).state
        assert state in {"cancelled", "done"}
        assert library.verify() == []
        known = library.status().pictures
        assert PICTURES <= known <= PICTURES + 400
        assert library.add([more]).added == PICTURES + 400 - known  # goes on from there


@needs_posix
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_command(
    filled: Path, tmp_path: Path, model_file: Path, how: signal.Signals
) -> None:
    options = ("--model", str(model_file), "--device", "cpu", "--quiet")
    with served(filled, tmp_path / "log", *options) as running:
        assert httpx.get(f"{running.url}/v1/status").json()["pictures"] == PICTURES
        running.process.send_signal(how)
        running.process.wait(20)
    assert running.process.returncode == 0
    assert running.log.read_text().splitlines()[1:] == []


@needs_posix
def test_who_cannot_wait_for_requests_ends_the_command_twice(
    filled: Path, tmp_path: Path, model_file: Path
) -> None:
    options = ("--model", str(model_file), "--device", "cpu")
    with served(filled, tmp_path / "log", *options) as running:
        address = running.url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1])), 20) as begun:
            begun.sendall(b"POST /v1/search/upload HTTP/1.1\r\nHost: localhost\r\n")
            begun.sendall(b"Content-Type: image/png\r\nContent-Length: 9\r\n\r\nabc")
            time.sleep(1)
            running.process.send_signal(signal.SIGINT)
            time.sleep(1)
            assert running.process.poll() is None
            running.process.send_signal(signal.SIGINT)
            assert running.process.wait(20) == 0
    lines = running.log.read_text().splitlines()[1:]
    assert {json.loads(line)["event"] for line in lines} == {"request"}


@needs_posix
def test_what_is_no_http_is_a_line_of_the_log(
    filled: Path, tmp_path: Path, model_file: Path
) -> None:
    options = ("--model", str(model_file), "--device", "cpu")
    with served(filled, tmp_path / "log", *options) as running:
        address = running.url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1])), 20) as wrong:
            wrong.sendall(b"nothing of the kind\r\n\r\n")
            assert wrong.recv(1000).startswith(b"HTTP/1.1 400 ")
    lines = [json.loads(line) for line in running.log.read_text().splitlines()[1:]]
    assert [one["level"] for one in lines if one["event"] != "request"] == ["warning"]


@pytest.mark.parametrize(
    ("host", "do"),
    [
        ("203.0.113.1", "choose a --host that is an address of this machine"),
        ("127.0.0.1", "choose another --port"),
    ],
)
def test_an_address_that_cannot_be_had_is_told_with_the_reason(
    host: str, do: str, filled: Path, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        options = ("--library", filled, "--token-file", tmp_path / "token")
        ran = subprocess.run(
            [*SERVE, "--host", host, "--port", port, *options],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 2
    told = rf"imgindex: cannot listen on {host}:{port}: \w[^;]+; {do}\n"
    assert re.fullmatch(told, ran.stderr), ran.stderr


def adding(url: str, client: int, told: list[str]) -> None:
    """Add pictures until the service is gone; which of them it took is noted."""
    with suppress(httpx.TransportError):
        for at in range(10_000):
            seed = (client * 10_000 + at) * 7 + 50_000
            files = [
                ("files", (f"{one}.png", png(scene(seed + one, 40, 30)), "image/png"))
                for one in range(3)
            ]
            answer = httpx.post(f"{url}/v1/pictures", files=files, timeout=30)
            if answer.status_code == 201:
                taken = [one for one in answer.json()["pictures"] if one["reason"] is None]
                told.extend(one["id"] for one in taken)


@needs_posix
def test_what_was_acknowledged_survives_a_kill(
    folder: Path, model_file: Path, tmp_path: Path
) -> None:
    options = ["--model", str(model_file), "--device", "cpu", "--quiet"]
    options += ["--uploads", str(tmp_path / "uploads")]
    place = tmp_path / "library"
    with Library(place, model=model_file, device="cpu") as library:
        library.add([folder])
    known: set[str] = set()
    for kill in range(3):
        told: list[str] = []
        log = tmp_path / f"log{kill}"
        with served(place, log, *options) as running, ThreadPoolExecutor(4) as threads:
            url, first = running.url, kill * 9
            sending = [threads.submit(adding, url, first + one, told) for one in range(4)]
            end = time.monotonic() + 30
            while len(told) < 9 * (kill + 1) and time.monotonic() < end:
                time.sleep(0.01)
            running.process.kill()
            for one in sending:
                one.result()
        assert len(told) >= 9 * (kill + 1)
        known |= set(told)
        with Library(place, model=model_file, device="cpu") as library:
            assert library.verify() == []
            paths = library.paths(known)
            assert paths.keys() == known
            for name, files in paths.items():
                assert content_id(Path(files[0]).read_bytes()) == name
            some = next(iter(told))
            assert library.search(some, 1).matches[0].id == some
    assert not any(os.path.islink(file) for file in (tmp_path / "uploads").rglob("*"))  # noqa: PTH114
