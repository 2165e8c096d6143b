"""Downloads from a server on this machine that misbehaves on request."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from imgindex.download import fetch
from imgindex.errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(DATA).hexdigest()
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()


@dataclass
class Script:
    """What the server does, request by request, and what it was asked."""

    address: str = ""
    cuts: list[int] = field(default_factory=list)
    etags: list[str] = field(default_factory=lambda: ['"one"'])
    ranges: bool = True
    extra: bytes = b""
    announce: bool = True
    statuses: list[int] = field(default_factory=list)
    shift: int = 0
    seen: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    script: Script

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""

    def do_GET(self) -> None:
        script = self.script
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        script.seen.append(self.headers.get("Range"))
        turn = len(script.seen) - 1
        status = script.statuses[turn] if turn < len(script.statuses) else 200
        if status != 200:
            self.send_response(status)
            self.end_headers()
            return
        etag = script.etags[min(turn, len(script.etags) - 1)]
        start = 0
        wanted = self.headers.get("Range")
        if wanted and script.ranges and self.headers.get("If-Range") == etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        body = DATA[start:] + script.extra
        if script.announce:
            self.send_header("Content-Length", str(len(DATA) - start))
        if start:
            first = start + script.shift
            self.send_header("Content-Range", f"bytes {first}-{len(DATA) - 1}/{len(DATA)}")
        self.send_header("ETag", etag)
        self.end_headers()
        if turn < len(script.cuts):
            body = body[: script.cuts[turn]]
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Script]:
    script = Script()
    handler = type("Bound", (Handler,), {"script": script})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        script.address = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield script
        running.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "weights.bin"


def get(server: Script, target: Path, path: str = "/file", **options: Any) -> None:
    fetch(server.address + path, target, pause=0.001, timeout=5, **options)


def alone(target: Path) -> bool:
    return [file.name for file in target.parent.iterdir()] == [target.name]


def test_a_file_arrives_whole_and_checked(server: Script, target: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    get(
        server,
        target,
        size=len(DATA),
        sha256=SHA256.upper(),
        md5=MD5,
        progress=lambda *step: steps.append(step),
    )
    assert target.read_bytes() == DATA
    assert alone(target)
    assert steps[0] == ("download", 0, len(DATA))
    assert steps[-1] == ("download", len(DATA), len(DATA))
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)


def test_a_cut_goes_on_from_the_byte(server: Script, target: Path) -> None:
    server.cuts = [100_000, 50_000]
    get(server, target, sha256=SHA256)
    assert target.read_bytes() == DATA
    assert server.seen == [None, "bytes=100000-", "bytes=150000-"]


def test_a_cut_goes_on_in_another_run(server: Script, target: Path) -> None:
    server.cuts = [100_000, 0, 0, 0, 0]
    with pytest.raises(DownloadError, match="100000 bytes are kept"):
        get(server, target, sha256=SHA256)
    assert not target.exists()
    get(server, target, sha256=SHA256)
    assert target.read_bytes() == DATA
    assert server.seen == [None, *["bytes=100000-"] * 5]
    assert alone(target)


def test_a_file_that_is_whole_already_is_not_asked_for(server: Script, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("weights.bin.part").write_bytes(DATA)
    get(server, target, size=len(DATA), sha256=SHA256)
    assert target.read_bytes() == DATA
    assert server.seen == []


def test_a_server_that_is_cut_every_time_is_given_up(server: Script, target: Path) -> None:
    server.cuts = [0] * 100
    with pytest.raises(DownloadError, match="imgindex model import FILE"):
        get(server, target)
    assert len(server.seen) == 5


def test_a_server_without_ranges_begins_again(server: Script, target: Path) -> None:
    server.cuts, server.ranges = [100_000], False
    get(server, target, sha256=SHA256)
    assert target.read_bytes() == DATA
    assert server.seen == [None, "bytes=100000-"]


def test_a_file_that_changed_between_tries_begins_again(server: Script, target: Path) -> None:
    server.cuts, server.etags = [100_000], ['"old"', '"new"']
    get(server, target, sha256=SHA256)
    assert target.read_bytes() == DATA


def test_a_weak_etag_is_no_ground_to_go_on(server: Script, target: Path) -> None:
    server.cuts, server.etags = [100_000], ['W/"one"']
    get(server, target, sha256=SHA256)
    assert server.seen == [None, None]
    assert target.read_bytes() == DATA


def test_a_range_that_starts_elsewhere_is_not_appended(server: Script, target: Path) -> None:
    server.cuts, server.shift = [100_000], 7
    get(server, target, sha256=SHA256)
    assert target.read_bytes() == DATA
    assert server.seen == [None, "bytes=100000-", None]


def test_a_busy_server_is_asked_again(server: Script, target: Path) -> None:
    server.statuses = [503, 429]
    get(server, target, sha256=SHA256)
    assert target.read_bytes() == DATA


def test_an_unsatisfiable_range_begins_again(server: Script, target: Path) -> None:
    server.cuts, server.statuses = [100_000], [200, 416]
    get(server, target, sha256=SHA256)
    assert server.seen == [None, "bytes=100000-", None]
    assert target.read_bytes() == DATA


@pytest.mark.parametrize(
    ("kind", "wanted", "came"), [("sha256", "0" * 64, SHA256), ("md5", "0" * 32, MD5)]
)
def test_a_wrong_checksum_names_both_and_discards(
    server: Script, target: Path, kind: str, wanted: str, came: str
) -> None:
    with pytest.raises(DownloadError, match=f"{wanted}.*{came}"):
        get(server, target, **{kind: wanted})
    assert list(target.parent.iterdir()) == []


def test_a_wrong_size_is_told_before_the_body(server: Script, target: Path) -> None:
    with pytest.raises(DownloadError, match=r"1000 bytes.*1048576"):
        get(server, target, size=1000)
    assert list(target.parent.iterdir()) == []


def test_a_wrong_size_is_told_after_an_unannounced_body(server: Script, target: Path) -> None:
    server.announce = False
    with pytest.raises(DownloadError, match="1000"):
        get(server, target, size=1000)
    assert list(target.parent.iterdir()) == []
    get(server, target, sha256=SHA256)
    assert target.read_bytes() == DATA


def test_a_body_longer_than_announced_is_not_read_on(server: Script, target: Path) -> None:
    server.extra, server.announce = b"x" * 10_000_000, False
    done = 0

    def watch(_: str, here: int, total: int) -> None:
        nonlocal done
        done = max(done, here)
        assert total == len(DATA)

    with pytest.raises(DownloadError, match="more than"):
        get(server, target, size=len(DATA), progress=watch)
    assert done <= len(DATA)
    assert list(target.parent.iterdir()) == []


def test_redirects_are_followed(server: Script, target: Path) -> None:
    get(server, target, f"/to/{server.address}/file", sha256=SHA256)
    assert target.read_bytes() == DATA


def test_a_redirect_loop_ends(server: Script, target: Path) -> None:
    with pytest.raises(DownloadError, match="redirect"):
        get(server, target, "/to//to/" + "/to/" * 20 + "file")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "file:///etc/hostname", "nonsense"])
def test_only_http_is_used(target: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="only http"):
        fetch(url, target, pause=0.001)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "file:///etc/hostname"])
def test_only_http_is_redirected_to(server: Script, target: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="only http"):
        get(server, target, f"/to/{url}")
    assert not target.exists()


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_missing_file_names_status_and_url(server: Script, target: Path, status: int) -> None:
    server.statuses = [status]
    with pytest.raises(DownloadError, match=f"{server.address}/file.*{status}"):
        get(server, target)
    assert len(server.seen) == 1


def test_being_offline_says_how_to_do_without(target: Path) -> None:
    with pytest.raises(DownloadError, match="imgindex model import FILE"):
        fetch("http://127.0.0.1:9/file", target, pause=0.001, timeout=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "foo://x"),
        ("HTTPS_PROXY", "foo://x"),
        ("HTTP_PROXY", "http://host:port"),
        ("SSL_CERT_FILE", "/nowhere/certificates.pem"),
        ("SSL_CERT_FILE", __file__),
    ],
)
def test_an_environment_that_cannot_be_used_is_told(
    monkeypatch: pytest.MonkeyPatch, target: Path, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(DownloadError, match=f"cannot begin a download: .*{name}.*environment"):
        fetch("https://127.0.0.1:9/file", target, pause=0.001, timeout=1)


def test_a_proxy_that_needs_another_package_is_told(
    monkeypatch: pytest.MonkeyPatch, target: Path
) -> None:
    def client(**_: object) -> None:
        raise ImportError("Using SOCKS proxy, but the 'socksio' package is not installed.")

    monkeypatch.setattr("httpx.Client", client)
    with pytest.raises(DownloadError, match=r"socksio.*ALL_PROXY"):
        fetch("https://127.0.0.1:9/file", target, pause=0.001, timeout=1)


@pytest.mark.parametrize(
    "url",
    [
        "http://host:port/x",
        "http://a..b/x",
        f"http://{'a' * 300}/x",
        "http://h\0st/x",
        "http://host/\udcff",
        "http://xn--ü/x",
    ],
    ids=lambda url: ascii(url)[:30],
)
def test_a_url_that_cannot_be_is_told(target: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="check the URL"):
        fetch(url, target, pause=0.001, timeout=1)


def test_a_target_that_cannot_be_written_is_told(server: Script, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot write"):
        get(server, tmp_path / "file" / "weights.bin")
