"""How much, how slowly and how often clients may ask, and what is written down of it."""

from __future__ import annotations

import io
import json
import socket
import struct
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import bomb_png, jpeg, png, scene
from strangers import PICTURES, TOKEN, bare, ends, id_of, opened, refused, talking

from imgindex import Library
from imgindex.web.guard import session_of

if TYPE_CHECKING:
    from served import Inside

pytest_plugins = ["strangers"]
pytestmark = pytest.mark.usefixtures("closed")


# How much one may send.


def test_bodies_over_the_limit_are_refused_however_they_come(open_one: Inside) -> None:
    image = {"Content-Type": "image/png"}
    long = b"x" * 300_001
    for address in ("/v1/uploads", "/v1/search/upload"):
        answer = open_one.client.post(address, content=long, headers=image)
        assert refused(answer, 413) == "too-long"
        pieces = (long[at : at + 1000] for at in range(0, len(long), 1000))
        assert refused(open_one.client.post(address, content=pieces, headers=image), 413)
        answer = open_one.client.post(address, content=long[:-1], headers=image)
        assert refused(answer, 422)
    files = [("files", (f"{at}", b"y" * 100_000, "image/png")) for at in range(4)]
    assert refused(open_one.client.post("/v1/pictures", files=files), 413) == "too-long"
    texts = {"Content-Type": "application/json"}
    pieces = (b" " * 100_000 for _ in range(10))
    assert refused(open_one.client.post("/v1/search", content=pieces, headers=texts), 413)
    assert open_one.service.in_flight == 0


def test_texts_have_a_limit_of_their_own(closed_one: Inside) -> None:
    assert closed_one.service.settings.max_upload > 10_000_000
    texts = {"Content-Type": "application/json"}
    for address in ("/v1/search", "/v1/jobs", "/v1/decisions", "/v1/session", "/nowhere"):
        answer = closed_one.client.post(address, content=b"[" * 8_000_001, headers=texts)
        assert refused(answer, 413) == "too-long"


def part(headers: bytes, data: bytes = b"x") -> bytes:
    return b"--B\r\n" + headers + b"\r\n\r\n" + data + b"\r\n"


_FILE = b'Content-Disposition: form-data; name="file"; filename="x.png"'
_FORMS = {
    "no parts": b"--B--\r\n",
    "nothing": b"",
    "no end": part(_FILE),
    "no boundary": b"hello",
    "two files": part(_FILE) * 2 + b"--B--\r\n",
    "thousands of files": part(_FILE) * 3000 + b"--B--\r\n",
    "thousands of fields": part(b'Content-Disposition: form-data; name="a"') * 3000 + b"--B--\r\n",
    "a field": part(b'Content-Disposition: form-data; name="file"') + b"--B--\r\n",
    "another field": part(_FILE) + part(b'Content-Disposition: form-data; name="a"') + b"--B--\r\n",
    "another name": part(_FILE.replace(b'"file"', b'"files"')) + b"--B--\r\n",
    "no name": part(b"Content-Disposition: form-data") + b"--B--\r\n",
    "an empty file": part(_FILE, b"") + b"--B--\r\n",
    "a huge header": part(b"X: " + b"x" * 200_000 + b"\r\n" + _FILE) + b"--B--\r\n",
    "many headers": part(b"X: x\r\n" * 20_000 + _FILE) + b"--B--\r\n",
    "an odd charset": part(_FILE + b"\r\nContent-Type: image/png; charset=\xff") + b"--B--\r\n",
    "bytes for a name": part(b'Content-Disposition: form-data; name="\xff\xfe"') + b"--B--\r\n",
    "zero": part(_FILE.replace(b"x.png", b"\0")) + b"--B--\r\n",
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # half a form
@pytest.mark.parametrize("form", _FORMS.values(), ids=list(_FORMS))
def test_forms_that_are_none_are_refused_and_leave_nothing(
    open_one: Inside, form: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for kind in (
        "multipart/form-data; boundary=B",
        "multipart/form-data",
        "multipart/form-data; b",
    ):
        headers = {"Content-Type": kind}
        for address in ("/v1/uploads", "/v1/search/upload", "/v1/pictures"):
            answer = open_one.client.post(address, content=form, headers=headers)
            if "two" in kind and address == "/v1/pictures":
                continue
            assert 400 <= answer.status_code < 500 or (
                address == "/v1/pictures"
                and answer.status_code == 201
                and all(one["reason"] for one in answer.json()["pictures"])
            ), answer.text
    assert open_one.service.in_flight == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "kind", ["text/html", "application/json", "video/mp4", "image", "multipart/mixed", "x" * 5000]
)
def test_other_bodies_are_refused(open_one: Inside, kind: str) -> None:
    for address in ("/v1/uploads", "/v1/search/upload", "/v1/pictures"):
        answer = open_one.client.post(address, content=b"x", headers={"Content-Type": kind})
        assert refused(answer, 415) == "no-picture-sent"


def hostile() -> dict[str, bytes]:
    whole = png(scene(3))
    photo = jpeg(scene(4))
    return {
        "bomb": bomb_png(),
        "wide bomb": bomb_png(2**31 - 1, 1),
        "no pixels": whole[:60],
        "half": whole[: len(whole) // 2],
        "half a photo": photo[: len(photo) // 3],
        "zeros": bytes(5000),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        "pdf": b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n",
        "html": b"<html><script>alert(1)</script>",
        "gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(30),
        "tiff": b"II*\0" + struct.pack("<I", 2**32 - 1) + bytes(30),
        "webp": b"RIFF\xff\xff\xff\xffWEBPVP8X" + bytes(40),
        "bmp": b"BM" + bytes(200),
        "heif": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
        "picture path": str(Path(__file__)).encode(),
    }


@pytest.mark.parametrize("name", hostile())
def test_hostile_pictures_are_4xx_and_the_service_goes_on(open_one: Inside, name: str) -> None:
    data = hostile()[name]
    image = {"Content-Type": "image/png"}
    for address in ("/v1/uploads", "/v1/search/upload", "/v1/search/upload?box=1,1,2,2"):
        answer = open_one.client.post(address, content=data, headers=image)
        assert 400 <= answer.status_code < 500, (address, answer.text)
        assert "/" not in answer.json()["detail"].replace("and/or", "")
    answer = open_one.client.post("/v1/pictures", files={"files": ("x", data)})
    assert answer.status_code == 201
    assert answer.json()["pictures"][0]["reason"]
    assert not list(open_one.service.settings.uploads.rglob("*.*"))  # type: ignore[union-attr]
    assert open_one.client.get("/v1/status").json()["pictures"] == PICTURES


@settings(max_examples=60)
@given(st.binary(max_size=400), st.integers(0, 6), st.data())
def test_damaged_pictures_are_never_500(
    open_one: Inside, noise: bytes, at: int, data: st.DataObject
) -> None:
    kinds = (png(scene(at)), jpeg(scene(at)))
    body = bytearray(kinds[at % 2])
    place = data.draw(st.integers(0, len(body)))
    body[place : place + len(noise)] = noise
    answer = open_one.client.post(
        "/v1/search/upload", content=bytes(body), headers={"Content-Type": "image/x"}
    )
    assert answer.status_code < 500, answer.text


def test_bodies_and_files_share_a_bound_on_memory(
    open_one: Inside, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgindex.web.service._IN_FLIGHT", 300_000)
    head = (
        f"POST /v1/uploads HTTP/1.1\r\nHost: localhost:{open_one.port}\r\n"
        "Content-Type: image/png\r\nContent-Length: 250000\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", open_one.port)) as slow:
        slow.sendall(head)  # announced, and nothing sent: takes no room
        time.sleep(0.1)
        assert open_one.service.in_flight == 0
        body, image = png(scene(5)), {"Content-Type": "image/png"}
        assert open_one.client.post("/v1/uploads", content=body, headers=image).status_code == 201
        slow.sendall(b"x" * 249_000)
        for _ in range(100):
            if open_one.service.in_flight == 249_000:
                break
            time.sleep(0.01)
        assert open_one.service.in_flight == 249_000
        answer = open_one.client.post("/v1/uploads", content=b"y" * 60_000, headers=image)
        assert refused(answer, 503) == "too-busy"
        assert answer.headers["retry-after"]
        monkeypatch.setattr(Library, "original", lambda *_: b"z" * 60_000)  # files count, too
        answer = open_one.client.get(f"/v1/pictures/{id_of(folder, 0)}/original")
        assert refused(answer, 503) == "too-busy"
    for _ in range(200):  # the client has gone away
        if not open_one.service.in_flight:
            break
        time.sleep(0.01)
    assert open_one.service.in_flight == 0


def test_who_goes_away_takes_nobody_along(
    filled: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    plain = Library.embed

    def slow(self: Library, images: Any) -> Any:
        begun.set()
        go_on.wait(20)
        return plain(self, images)

    monkeypatch.setattr(Library, "embed", slow)
    with opened(filled, model_file) as made, ThreadPoolExecutor(1) as threads:
        for seed in range(3):
            body = png(scene(700 + seed))
            head = f"POST /v1/search/upload HTTP/1.1\r\nHost: localhost:{made.port}\r\n"
            head += f"Content-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
            with talking(made, head.encode() + body):  # and away
                assert begun.wait(20)
        image = {"Content-Type": "image/png"}
        stays = threads.submit(
            made.client.post, "/v1/search/upload", content=png(scene(3)), headers=image
        )
        other = png(scene(710))
        assert made.client.get("/v1/status").status_code == 200
        go_on.set()
        assert stays.result(20).json()["matches"][0]["score"] == pytest.approx(1, abs=1e-4)
        answer = made.client.post("/v1/search/upload", content=other, headers=image)
        assert answer.status_code == 200
        for _ in range(200):
            if not made.service.in_flight:
                break
            time.sleep(0.01)
        assert made.service.in_flight == 0
        assert b"NaN" not in made.service.metrics.text()


def test_a_loopback_address_of_the_new_kind_is_served(filled: Path, model_file: Path) -> None:
    if not socket.has_ipv6:
        pytest.skip("needs IPv6")
    with opened(filled, model_file, host="::1") as made:
        assert made.client.base_url.host == "::1"
        own = {"Origin": str(made.client.base_url).rstrip("/")}
        assert made.client.get("/v1/status", headers=own).status_code == 200
        assert refused(made.client.get("/v1/status", headers={"Host": "evil"}), 403)


# Slow clients.


def test_slow_heads_are_closed(hasty: Inside) -> None:
    for pieces in ((), (b"GET /v1/status HTTP/1.1\r\nHost: loc",), (b"\r\n\r\n",)):
        began = time.monotonic()
        with talking(hasty, *pieces) as slow:
            assert hasty.client.get("/v1/status").status_code == 200
            assert ends(slow, 5) == b""
        assert 0.2 < time.monotonic() - began < 2

    began = time.monotonic()
    with talking(hasty, b"GET /v1/status HTTP/1.1\r\n") as slow, suppress(OSError):
        for _ in range(100):  # piece by piece does not help
            slow.sendall(b"X: y\r\n")
            time.sleep(0.05)
    assert time.monotonic() - began < 2


def test_endless_heads_are_refused(hasty: Inside) -> None:
    starts = (b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n", b"")
    pieces = (b"x" * 4096, b"x" * 4096, b"X: y\r\n" * 700, b"\r\n" * 2000)
    for start, piece in zip(starts, pieces, strict=True):
        with talking(hasty, start) as endless:
            sent = 0
            with suppress(OSError):
                while sent < 10_000_000:
                    sent += endless.send(piece)
            assert sent < 10_000_000 or piece.startswith(b"\r\n")
    assert hasty.client.get("/healthz").status_code == 200


def test_trailers_are_not_gathered(hasty: Inside) -> None:
    head = (
        f"POST /v1/search HTTP/1.1\r\nHost: localhost:{hasty.port}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    ).encode()
    with talking(hasty, head) as endless:
        time.sleep(0.1)
        connections: Any = hasty.server.server_state.connections
        (connection,) = [one for one in connections if one.scope and "POST" in one.scope["method"]]
        with suppress(OSError):
            for _ in range(100):
                endless.sendall(b"X-Trailer: y\r\n" * 100)
        assert len(connection.headers) < 10
        ends(endless, 5)
    assert hasty.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/v1/uploads", "/v1/search"])
def test_slow_bodies_are_given_up(hasty: Inside, path: str) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost:{hasty.port}\r\n"
        "Content-Type: {}\r\nContent-Length: 100000\r\n\r\nx"
    ).replace("{}", "application/json" if path == "/v1/search" else "image/png")
    began = time.monotonic()
    with talking(hasty, head.encode()) as slow:
        assert hasty.client.get("/v1/status").status_code == 200
        heard = ends(slow, 5)
        assert heard.startswith(b"HTTP/1.1 408 ")
        assert b"too-slow" in heard
        assert b"connection: close" in heard.lower()
    assert time.monotonic() - began < 2
    assert hasty.service.in_flight == 0


def test_bodies_that_trickle_are_given_up_at_last(filled: Path, model_file: Path) -> None:
    with opened(filled, model_file, patience=0.15) as made:
        head = f"POST /v1/uploads HTTP/1.1\r\nHost: localhost:{made.port}\r\nContent-Type: image/x"
        head += "\r\nContent-Length: 100000\r\n\r\n"
        began = time.monotonic()
        with talking(made, head.encode()) as slow, suppress(OSError):
            while time.monotonic() - began < 6:
                slow.sendall(b"x")
                time.sleep(0.05)
        assert 1 < time.monotonic() - began < 5
        assert made.service.in_flight == 0


def test_what_is_left_of_a_refused_body_is_not_waited_for_for_ever(hasty: Inside) -> None:
    head = f"POST /v1/nothing HTTP/1.1\r\nHost: localhost:{hasty.port}\r\n"
    head += "Content-Length: 100000\r\n\r\n"
    began = time.monotonic()
    with talking(hasty, head.encode()) as slow:
        answered = slow.recv(65536)
        assert answered.startswith(b"HTTP/1.1 40")
        slow.sendall(b"x" * 1000)  # and then nothing more
        ends(slow, 5)
    assert time.monotonic() - began < 3


def connected(made: Inside) -> int:
    return len(made.server.server_state.connections)


def settled(made: Inside, most: int, within: float = 5) -> bool:
    end = time.monotonic() + within
    while connected(made) > most and time.monotonic() < end:
        time.sleep(0.02)
    return connected(made) <= most


def test_who_does_not_read_is_left(
    hasty: Inside, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = b"x" * 40_000_000
    monkeypatch.setattr(Library, "original", lambda *_: big)
    monkeypatch.setattr(Library, "preview", lambda *_: big)
    settled(hasty, 0, 1)
    for rest in ("original", "thumbnail/large"):
        asked = f"GET /v1/pictures/{id_of(folder, 1)}/{rest} HTTP/1.1\r\n"
        asked += f"Host: localhost:{hasty.port}\r\n\r\n"
        with talking(hasty, asked.encode()) as deaf:
            deaf.recv(100)
            assert hasty.client.get("/v1/status").status_code == 200
            assert settled(hasty, 0)
            heard = ends(deaf, 5)
            assert len(heard) < len(big)


def test_small_answers_that_nobody_reads_hold_no_connection(hasty: Inside) -> None:
    settled(hasty, 0, 1)
    asked = f"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost:{hasty.port}\r\n\r\n".encode()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        deaf.connect(("127.0.0.1", hasty.port))
        with suppress(OSError):
            deaf.settimeout(0.5)
            for _ in range(2000):
                deaf.sendall(asked)
        assert settled(hasty, 0)


def test_events_outlast_the_patience(hasty: Inside) -> None:
    asked = f"GET /v1/events HTTP/1.1\r\nHost: localhost:{hasty.port}\r\n\r\n".encode()
    with talking(hasty, asked) as listener:
        listener.settimeout(60)
        heard = listener.recv(65536)
        assert heard.startswith(b"HTTP/1.1 200")
        time.sleep(1.2)
        hasty.client.post("/v1/jobs", json={"kind": "map"})
        while b'"state":"done"' not in heard:
            piece = listener.recv(65536)
            assert piece, heard
            heard += piece


def test_idle_connections_make_room(filled: Path, model_file: Path) -> None:
    with opened(filled, model_file) as made:
        protocol = made.server.config.http_protocol_class
        assert 100 <= protocol.most <= 2048  # type: ignore[attr-defined]
        protocol.most = 50  # type: ignore[attr-defined]
        idle = [socket.create_connection(("127.0.0.1", made.port)) for _ in range(300)]
        try:
            with bare(made) as client:
                for _ in range(20):
                    assert client.get("/v1/status").status_code == 200
            assert connected(made) <= 51
        finally:
            for one in idle:
                one.close()
        assert settled(made, 1)


_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def test_requests_that_are_no_http_are_400(open_one: Inside) -> None:
    for nonsense in (
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(50),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n" + _CHUNKED + b"0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\n" + _CHUNKED + b"f" * 18,
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://evil.example/v1/status HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ):
        with talking(open_one, nonsense) as odd:
            odd.shutdown(socket.SHUT_WR)
            heard = ends(odd, 40)
            assert heard == b"" or heard.startswith(b"HTTP/1.1 4"), (nonsense, heard)


# How often, and what is written down.


def test_a_client_has_a_rate(filled: Path, model_file: Path) -> None:
    with opened(filled, model_file, rate=3) as made:
        answers = [made.client.get("/healthz") for _ in range(60)]
        late = [one for one in answers if one.status_code == 429]
        assert 20 <= len(late) <= 40
        assert refused(late[0], 429) == "too-many"
        assert int(late[0].headers["retry-after"]) >= 1


def test_the_log_says_neither_who_is_sought_nor_with_what(
    filled: Path, model_file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(Library, "history", lambda _: open("/secret-name.txt"))  # noqa: PTH123, SIM115
    with opened(filled, model_file, log, token=TOKEN, uploads=folder.with_name("logged")) as made:
        client = made.client
        picture = id_of(folder, 2)
        for rest in ("", "/similar?match=secret-pattern", "/thumbnail/small", "/original"):
            client.get(f"/v1/pictures/{picture}{rest}")
        client.get("/secret-view/of-mine")
        client.get("/v1/secret-route")
        client.post("/v1/session", json={"token": "secret-wrong-token"})
        client.post("/v1/session", json={"token": TOKEN})
        sent = {"file": ("secret-name.png", png(scene(1)), "image/png")}
        client.post("/v1/search/upload", files=sent)
        client.post("/v1/search", json={"terms": [{"picture": picture}], "where": {"after": "x"}})
        client.post("/v1/pictures", files={"files": ("secret-name.png", b"no picture")})
        client.get("/v1/groups/history")
        job = client.post("/v1/jobs", json={"kind": "index", "paths": ["/secret-folder"]}).json()
        while not client.get(f"/v1/jobs/{job['id']}").json()["ended"]:
            time.sleep(0.02)
    written = log.getvalue()
    lines = [json.loads(line) for line in written.splitlines()]
    requests = [one for one in lines if one["event"] == "request"]
    assert len(requests) >= 13
    for one in requests:
        assert one.keys() >= {"method", "route", "status", "ms", "bytes", "client", "timestamp"}
    assert {one["route"] for one in requests} >= {
        "/v1/pictures/{picture_id}/similar",
        "/v1/jobs/{job_id}",
    }
    (broken,) = [one for one in lines if one["event"] == "a request failed"]
    assert broken["error"] == "FileNotFoundError"
    assert broken["where"]
    for secret in ("secret", picture, TOKEN, session_of(TOKEN), id_of(folder, 1)):
        assert secret not in written


def test_figures_are_as_prometheus_reads_them(closed_one: Inside) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    closed_one.client.get("/v1/status")
    with bare(closed_one) as client:
        client.get("/v1/pictures/whatever")
        client.get("/anything/at/all")
    text = closed_one.client.get("/metrics").text
    families = {one.name: one for one in text_string_to_metric_families(text)}
    requests = families["imgindex_requests"].samples
    routes = {one.labels["route"] for one in requests if one.name.endswith("_total")}
    assert "/v1/status" in routes
    assert all(route.startswith("/") or route == "other" for route in routes)
    assert not any("whatever" in route or "anything" in route for route in routes)
    assert families["imgindex_request_seconds"].type == "histogram"
    for name in ("waiting_search", "waiting_embed", "waiting_add", "thumbnail_bytes"):
        assert families[f"imgindex_{name}"].samples[0].value == 0
