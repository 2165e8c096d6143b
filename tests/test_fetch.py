"""Pictures from the web: what may be asked, and a server on this machine that misbehaves."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from certificates import certificate_of

from imgindex import fetch as door
from imgindex.errors import QueryError
from imgindex.fetch import fetch, is_public

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = b"a picture, " * 1000

PUBLIC = [
    *("8.8.8.8", "1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "192.0.1.1"),
    *("2606:4700:4700::1111", "2a00:1450:4001:830::200e", "2400:cb00::1"),
    *("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),  # 8.8.8.8 in other words
]
NOT_PUBLIC = [
    *("127.0.0.1", "127.1.2.3", "0.0.0.1", "0.1.2.3", "10.0.0.1", "10.255.255.255"),
    *("172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254", "169.254.0.1"),
    *("100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.0.9", "192.0.0.170", "192.0.2.1"),
    *("192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::127.0.0.1", "::8.8.8.8", "fe80::1", "fe80::1%eth0", "fe80::1%1"),
    *("fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "ff0e::1", "100::1", "200::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:7f00:1"),
    *("2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:101::1", "2002:a9fe:a9fe::"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "64:ff9b:1::1"),
    *("2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:20::1"),
    *("2001:db8::1", "3fff::1", "5f00::1", "4000::1", "fe80::7f00:1", "fe00::1"),
    *("", "localhost", "8.8.8", "0x7f.1", "2130706433", "::1]", "1.1.1.1 ", "8.8.8.8/8"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_all_others_are_not(address: str) -> None:
    assert not is_public(address)


class Server(BaseHTTPRequestHandler):
    seen: list[tuple[str, str | None, str | None]]
    halt: threading.Event

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Host"], self.headers["Accept-Encoding"]))
        kind, _, rest = self.path.removeprefix("/").partition("/")
        getattr(self, f"send_{kind}", self.send_data)(rest)

    def head(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send_data(self, _: str) -> None:
        self.head(Content_Length=str(len(DATA)))
        self.wfile.write(DATA)

    def send_to(self, target: str) -> None:
        self.head(302, Location=target)

    def send_status(self, status: str) -> None:
        self.head(int(status))

    def send_round(self, turn: str) -> None:
        self.head(301, Location=f"/round/{int(turn) - 1}" if int(turn) else "/data")

    def send_packed(self, _: str) -> None:
        self.head(Content_Encoding="gzip")
        self.wfile.write(DATA)

    def send_endless(self, _: str) -> None:
        self.head()
        try:
            while not self.halt.is_set():
                self.wfile.write(DATA)
        except OSError:
            return

    def send_liar(self, _: str) -> None:
        self.head(Content_Length=str(10**12))

    def send_drip(self, _: str) -> None:
        """A byte now and then, already in the head."""
        try:
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"z" * 10_000:
                self.wfile.write(bytes([byte]))
                if self.halt.wait(0.1):
                    return
        except OSError:
            return

    def send_short(self, _: str) -> None:
        self.head(Content_Length=str(2 * len(DATA)))
        self.wfile.write(DATA)


@contextmanager
def serving(wrap: ssl.SSLContext | None = None) -> Iterator[tuple[str, type[Server]]]:
    handler: type[Server] = type("Handler", (Server,), {"seen": [], "halt": threading.Event()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if wrap is not None:
        server.socket = wrap.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        scheme = "https" if wrap else "http"
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}", handler
    finally:
        handler.halt.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server() -> Iterator[tuple[str, type[Server]]]:
    with serving() as running:
        yield running


get = partial(fetch, limit=10**6, timeout=5, permitted=lambda _: True)


def test_what_lies_there_comes_and_nothing_is_sent_but_the_host(
    server: tuple[str, type[Server]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    base, handler = server
    assert get(f"{base}/data?x=1#part") == DATA
    assert handler.seen == [("/data?x=1", base.removeprefix("http://"), "identity")]


def test_redirects_are_followed_five_times(server: tuple[str, type[Server]]) -> None:
    base, handler = server
    assert get(f"{base}/round/4") == DATA
    assert len(handler.seen) == 6
    with pytest.raises(QueryError, match="on and on"):
        get(f"{base}/round/5")
    assert get(f"{base}/to/{base}/data") == DATA


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("ftp://example.com/a.jpg", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("gopher://127.0.0.1:70/", "only http and https"),
        ("//example.com/a.jpg", "only http and https"),
        ("http:///a.jpg", "no host"),
        ("http://", "no host"),
        ("http://user@example.com/", "user's name"),
        ("http://user:secret@example.com/", "user's name"),
        ("http://127.0.0.1\\@example.com/", ""),
        ("http://[::1", ""),
        ("http://exa mple.com/", ""),
        ("http://example.com:99999/", ""),
        ("http://no-such-host.invalid/", "no host no-such-host.invalid"),
        ("http://" + "a" * 70 + ".com/", ""),
        ("http://\x00/", ""),
        ("http://-/", ""),
    ],
)
def test_what_is_no_address_is_refused(address: str, says: str) -> None:
    with pytest.raises(QueryError) as caught:
        get(address)
    assert says in str(caught.value)


TRICKY = [
    *("127.0.0.1", "localhost", "localhost.", "LOCALHOST", "127.1", "2130706433", "0x7f.0.0.1"),
    *("0177.0.0.1", "0x7f000001", "0", "0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]"),
    *("[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
    *("169.254.169.254", "[fe80::1]", "10.0.0.1", "192.168.1.1", "[fd00::1]", "[::127.0.0.1]"),
    *("127.0.0.1.", "①②⑦.⓪.⓪.①", "127。0。0。1"),
]


@pytest.mark.parametrize("host", TRICKY)
def test_no_way_to_write_an_address_in_here_gets_through(host: str) -> None:
    with pytest.raises(QueryError) as caught:
        fetch(f"http://{host}/", limit=100, timeout=5)
    text = str(caught.value)
    assert "no public address" in text or "there is no host" in text or "check it" in text


@pytest.mark.parametrize("host", TRICKY)
def test_nor_does_a_redirect_to_one(
    host: str, server: tuple[str, type[Server]], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, handler = server
    asked: list[str] = []

    def permitted(address: str) -> bool:
        asked.append(address)
        return len(asked) == 1 or is_public(address)  # only the server itself, and only at first

    for away in (f"http://{host}/data", f"//{host}/data"):
        header = away.encode().decode("latin-1")
        answer = partial(Server.head, status=302, Location=header)
        monkeypatch.setattr(handler, "send_away", lambda it, _, answer=answer: answer(it), False)
        asked.clear()
        with pytest.raises(QueryError):
            fetch(f"{base}/away", limit=100, timeout=5, permitted=permitted)
    assert {path for path, _, _ in handler.seen} == {"/away"}


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("ftp://127.0.0.1/x", "only http and https"),
        ("http://me@127.0.0.1/data", "user's name"),
        ("http://127.0.0.1:22/data", "port 22"),
        ("http://[bad", ""),
    ],
)
def test_a_redirect_to_another_kind_of_place_is_refused(
    target: str, says: str, server: tuple[str, type[Server]]
) -> None:
    base, handler = server
    with pytest.raises(QueryError) as caught:
        get(f"{base}/to/{target}")
    assert says in str(caught.value)
    assert len(handler.seen) == 1


def entries(*places: str) -> Any:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, 80)) for place in places]


def test_one_address_in_here_among_public_ones_is_enough_to_refuse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries("8.8.8.8", "10.0.0.1"))
    with pytest.raises(QueryError, match=r"rebound\.example is no public address"):
        fetch("http://rebound.example/", limit=100, timeout=5)


def test_a_name_is_resolved_once_and_the_checked_address_is_the_one_connected_to(
    server: tuple[str, type[Server]], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, handler = server
    port = base.rpartition(":")[2]
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str, *arguments: Any, **more: Any) -> Any:
        looked_up.append(host)
        if host == "rebound.example":  # a second look would lead elsewhere
            return entries("127.0.0.1" if len(looked_up) == 1 else "10.0.0.1")
        return real(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    checked: list[str] = []

    def permitted(address: str) -> bool:
        checked.append(address)
        return True

    data = get(f"http://rebound.example:{port}/data", permitted=permitted)
    assert data == DATA
    assert checked == ["127.0.0.1"]
    assert looked_up.count("rebound.example") == 1
    assert handler.seen == [("/data", f"rebound.example:{port}", "identity")]


def test_the_next_address_is_tried_where_the_first_one_is_deaf(
    server: tuple[str, type[Server]], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, _ = server
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *a, **m: (
            entries("127.0.0.2", "127.0.0.1") if host == "two.example" else real(host, *a, **m)
        ),
    )
    assert get(base.replace("127.0.0.1", "two.example") + "/data") == DATA


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of good.example."""
    return certificate_of("good.example", tmp_path_factory.mktemp("tls"))


def test_https_asks_for_the_hosts_own_certificate(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrap = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    wrap.load_cert_chain(certificate)
    names: list[str | None] = []
    wrap.sni_callback = lambda _, name, __: names.append(name)
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *a, **m: (
            entries("127.0.0.1") if host.endswith(".example") else real(host, *a, **m)
        ),
    )
    trusted = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(httpx, "create_ssl_context", lambda **_: trusted)
    with serving(wrap) as (base, handler):
        address = base.replace("127.0.0.1", "good.example")
        assert get(f"{address}/data") == DATA
        assert handler.seen[0][1] == address.removeprefix("https://")
        assert names == ["good.example"]
        with pytest.raises(QueryError, match="certificate"):
            get(f"{base.replace('127.0.0.1', 'evil.example')}/data")
        # Nor by way of a host whose connection might still be open.
        with pytest.raises(QueryError, match="certificate"):
            get(f"{address}/to/{base.replace('127.0.0.1', 'evil.example')}/data")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("status/404", "answered 404"),
        ("status/500", "answered 500"),
        ("status/204", "answered 204"),
        ("status/304", "answered 304"),
        ("packed", "packed"),
        ("short", "closed"),
        ("endless", "more than 1,000,000 bytes"),
        ("liar", "more than 1,000,000 bytes"),
    ],
)
def test_what_is_no_whole_file_within_the_limit_is_refused(
    path: str, says: str, server: tuple[str, type[Server]]
) -> None:
    with pytest.raises(QueryError, match=says):
        get(f"{server[0]}/{path}")


def test_the_limit_is_the_most_that_comes(server: tuple[str, type[Server]]) -> None:
    assert get(f"{server[0]}/data", limit=len(DATA)) == DATA
    with pytest.raises(QueryError, match="too much for a picture"):
        get(f"{server[0]}/data", limit=len(DATA) - 1)


def test_a_server_that_drips_is_left(server: tuple[str, type[Server]]) -> None:
    began = time.monotonic()
    with pytest.raises(QueryError, match="too long"):
        get(f"{server[0]}/drip", timeout=0.6)
    assert time.monotonic() - began < 8


def test_a_server_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        with pytest.raises(QueryError, match="fetch it yourself"):
            get(f"http://127.0.0.1:{deaf.getsockname()[1]}/")
        address = deaf.getsockname()
    with pytest.raises(QueryError, match="fetch it yourself"):
        get(f"http://127.0.0.1:{address[1]}/")
