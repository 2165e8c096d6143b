"""What clients must not be able to do: to get in, to get at files, to hold the service up."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pictures import bomb_png, jpeg, png, scene
from served import Inside, inside, served

from imgindex import Library
from imgindex.errors import SettingError
from imgindex.scan import content_id
from imgindex.web import ServiceSettings, app
from imgindex.web.guard import COOKIE, same, session_of
from imgindex.web.routes.parameters import file_name

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - of the tests' own service
PICTURES = 6
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("safety") / "pictures"
    made.mkdir()
    for at in range(PICTURES):
        (made / f"{at}.png").write_bytes(png(scene(at)))
    return made


def id_of(folder: Path, at: int) -> str:
    return content_id((folder / f"{at}.png").read_bytes())


@pytest.fixture(scope="module")
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


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _CLIENTS:
        _CLIENTS.pop().close()


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["type"]).removeprefix("urn:imgindex:")


# Who may ask.


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "192.168.1.7", "example.org", "", "localhost.example.org", "1"],  # noqa: S104
)
def test_nobody_listens_where_others_reach_without_a_token(host: str) -> None:
    with pytest.raises(SettingError, match="token"):
        ServiceSettings(host=host)
    assert ServiceSettings(host=host, token=TOKEN).token == TOKEN
    for name in ("127.0.0.1", "127.8.9.1", "::1", "localhost"):
        assert ServiceSettings(host=name).loopback


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "a token of several words", "naïve" * 5])
def test_tokens_that_protect_nothing_are_refused(token: str) -> None:
    with pytest.raises(SettingError, match="token"):
        ServiceSettings(token=token)


@needs_posix
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104
def test_the_command_does_not_start_without_a_token(host: str, filled: Path) -> None:
    command = [sys.executable, "-c", "from imgindex.cli import main; main()", "serve"]
    ran = subprocess.run(
        [*command, "--host", host, "--port", "0", "--library", str(filled)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert "--token-file" in ran.stderr
    assert "Traceback" not in ran.stderr


_SECRETS = [
    {},
    {"Authorization": ""},
    {"Authorization": "Bearer"},
    {"Authorization": f"Bearer {TOKEN}x"},
    {"Authorization": f"Bearer {TOKEN[:-1]}"},
    {"Authorization": f"Bearer {TOKEN.upper()}"},
    {"Authorization": f"Basic {TOKEN}"},
    {"Authorization": TOKEN},
    {"Authorization": b"Bearer \xff\xfe\xc3\xa9"},
    {"Authorization": "Bearer " + "x" * 20_000},
    {"Cookie": f"{COOKIE}="},
    {"Cookie": COOKIE},
    {"Cookie": f"{COOKIE}={TOKEN}"},  # the token is no session
    {"Cookie": f"other={session_of(TOKEN)}"},
    {"Cookie": f"{COOKIE}={session_of('another token altogether')}"},
    {"Cookie": b"imgindex_session=\xff"},
]


@pytest.mark.parametrize("headers", _SECRETS, ids=range(len(_SECRETS)))
def test_without_the_token_nothing_of_the_library_is_told(
    closed_one: Inside, folder: Path, headers: dict[str, Any]
) -> None:
    picture = id_of(folder, 0)
    with bare(closed_one, headers=headers) as client:
        for method, address in (
            ("GET", "/v1/status"),
            ("GET", "/v1/pictures"),
            ("GET", f"/v1/pictures/{picture}/thumbnail/small"),
            ("GET", "/v1/openapi.json"),
            ("GET", "/v1/events"),
            ("GET", "/metrics"),
            ("POST", "/v1/jobs"),
            ("DELETE", f"/v1/pictures/{picture}"),
            ("GET", "/v1/no-such-thing"),
        ):
            answer = client.request(method, address)
            assert refused(answer, 401) == "token"
            assert answer.headers["www-authenticate"] == "Bearer"
        for address in ("/", "/healthz", "/readyz", "/style.css"):
            assert client.get(address).status_code == 200
        for address in ("//v1/status", "/V1/status", "/v1//status", "/./v1/status", "/v1%2fstatus"):
            answer = client.get(address)
            assert answer.status_code in {200, 401, 404}
            assert b'"pictures"' not in answer.content


def test_with_the_token_all_is_told(closed_one: Inside) -> None:
    for headers in (
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"bearer  {TOKEN}"},
        {"Cookie": f"a=b; {COOKIE}={session_of(TOKEN)}"},
    ):
        with bare(closed_one, headers=headers) as client:
            assert client.get("/v1/status").json()["pictures"] == PICTURES
            assert client.get("/metrics").status_code == 200


def test_browsers_get_a_session_that_no_script_reads(closed_one: Inside) -> None:
    with bare(closed_one) as client:
        for wrong in ("x", TOKEN + "x", "\u2603" * 20, "x" * 1000):
            answer = client.post("/v1/session", json={"token": wrong})
            assert refused(answer, 401) == "token"
            assert "set-cookie" not in answer.headers
        for body in ({}, {"token": ""}, {"token": "x" * 1001}, {"token": 7}, {"token": None}):
            assert refused(client.post("/v1/session", json=body), 422) == "invalid-request"
        answer = client.post("/v1/session", json={"token": TOKEN})
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert client.get("/v1/status").status_code == 200  # the client keeps it
        ended = client.delete("/v1/session")
        assert "Max-Age=0" in ended.headers["set-cookie"]
        assert client.get("/v1/status").status_code == 401


@given(st.text(), st.text(alphabet=st.characters(max_codepoint=126, min_codepoint=33)))
@example("\ud800", "x")
def test_secrets_are_the_same_only_if_they_are(one: str, other: str) -> None:
    assert same(one, other) == (one == other)
    assert same(other, other)


# From where one may ask.


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example"),
        *("[::2]", "[::1]x", "[localhost]", "127.0.0.2", "2130706433", "localhost:80@evil", ""),
    ],
)
def test_other_names_do_not_reach_a_service_on_loopback(open_one: Inside, host: str) -> None:
    for method, address in (("GET", "/v1/status"), ("GET", "/"), ("POST", "/v1/jobs")):
        answer = open_one.client.request(method, address, headers={"Host": host})
        assert refused(answer, 403) == "unknown-host"
    for known in ("localhost", "localhost:99", "LOCALHOST", "[::1]", "[::1]:7", "127.0.0.1"):
        assert open_one.client.get("/v1/status", headers={"Host": known}).status_code == 200


def test_names_can_be_allowed(filled: Path, model_file: Path) -> None:
    with opened(filled, model_file, hosts=("Photos.example",)) as made:
        for host, status in {"photos.EXAMPLE": 200, "photos.example:8443": 200, "x": 403}.items():
            assert made.client.get("/v1/status", headers={"Host": host}).status_code == status


def test_no_other_page_asks_or_reads(open_one: Inside, folder: Path) -> None:
    own = f"http://127.0.0.1:{open_one.port}"
    foreign: list[dict[str, str]] = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": f"http://127.0.0.1:{open_one.port + 1}"},
        {"Origin": f"http://localhost:{open_one.port}"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": own},
        {"Sec-Fetch-Site": "something new"},
    ]
    picture = f"/v1/pictures/{id_of(folder, 0)}"
    form = {"Content-Type": "text/plain"}
    for headers in foreign:
        for method, address in (
            ("DELETE", picture),
            ("POST", "/v1/jobs"),
            ("PUT", "/v1/groups/1/name"),
            ("POST", "/v1/session"),
            ("GET", f"{picture}/thumbnail/small"),
            ("GET", "/v1/status"),
        ):
            answer = open_one.client.request(
                method, address, headers={**form, **headers}, content=b'{"kind": "map"}'
            )
            assert refused(answer, 403) == "other-origin"
    assert open_one.client.get(picture).status_code == 200  # nothing was deleted
    assert open_one.client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
    for headers in ({"Origin": own, "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        answer = open_one.client.post("/v1/session", json={"token": "x"}, headers=headers)
        assert answer.status_code == 204
    asked = {"Access-Control-Request-Method": "DELETE", "Origin": "https://evil.example"}
    assert open_one.client.options(picture, headers=asked).status_code in {403, 405}


def test_every_answer_carries_the_headers_that_protect_it(
    open_one: Inside, closed_one: Inside, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Library, "history", lambda _: 1 // 0)
    picture = f"/v1/pictures/{id_of(folder, 0)}"
    answers = [
        open_one.client.request(method, address, headers=headers)
        for method, address, headers in (
            ("GET", "/", {}),
            ("GET", "/nothing.js", {}),
            ("GET", "/v1/status", {}),
            ("GET", "/v1/status", {"Host": "evil.example"}),
            ("GET", "/v1/status", {"Origin": "https://evil.example"}),
            ("GET", f"{picture}/thumbnail/small", {}),
            ("GET", f"{picture}/original", {}),
            ("GET", "/v1/pictures/x", {}),
            ("GET", "/v1/groups", {}),
            ("PATCH", "/v1/status", {}),
            ("POST", "/v1/search", {}),
            ("OPTIONS", "/v1/search", {}),
            ("GET", "/v1/groups/history", {}),
            ("GET", "/metrics", {}),
        )
    ]
    with bare(closed_one) as client:
        answers.append(client.get("/v1/status"))
    assert {answer.status_code for answer in answers} >= {200, 401, 403, 404, 405, 422, 500}
    for answer in answers:
        headers = answer.headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert not any(name.startswith("access-control") for name in headers)
        assert "server" not in headers
        if answer.status_code >= 400:
            assert headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == answer.status_code
            assert "Traceback" not in answer.text
            assert "division" not in answer.text


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
        listener.settimeout(5)
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


# Files.


_PATHS = [
    "/../app.py",
    "/..%2fapp.py",
    "/%2e%2e/app.py",
    "/%2e%2e%2fapp.py",
    "/%252e%252e%252fapp.py",
    "/..%5capp.py",
    "/..\\app.py",
    "//etc/passwd",
    "/%2fetc%2fpasswd",
    "/style.css/../../app.py",
    "/....//app.py",
    "/.%00./app.py",
    "/index.html%00.png",
    "/%00",
    "/%ff%fe",
    "/page/../../settings.py",
    "/C:/windows/win.ini",
    "/" + "a/" * 2000,
    "/" + "x" * 5000,
    "/~root/.bashrc",
]


@pytest.mark.parametrize("path", _PATHS, ids=range(len(_PATHS)))
def test_the_page_is_all_that_is_served(open_one: Inside, path: str) -> None:
    asked = f"GET {path} HTTP/1.1\r\nHost: localhost:{open_one.port}\r\nConnection: close\r\n\r\n"
    with talking(open_one, asked.encode("latin-1")) as raw:
        heard = ends(raw, 10)
    head, _, body = heard.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status in {200, 400, 404}, heard
    assert b"root:" not in body
    assert b"import annotations" not in body
    if status == 200:  # an address of the page itself
        assert body == (Path(app.__file__).parent / "page" / "index.html").read_bytes()


@needs_posix
def test_links_inside_the_page_lead_nowhere(
    filled: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page"
    shutil.copytree(app._PAGE, page)
    (tmp_path / "secret.js").write_text("secret")
    (page / "link.js").symlink_to(tmp_path / "secret.js")
    (page / "out").symlink_to(tmp_path)
    monkeypatch.setattr(app, "_PAGE", page)
    with opened(filled, model_file) as made:
        for address in ("/link.js", "/out/secret.js"):
            assert refused(made.client.get(address), 404)
        assert made.client.get("/style.css").status_code == 200


def test_ids_are_never_files(
    filled: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = png(scene(77))
    name = "0123456789abcdef" * 2
    (tmp_path / name).write_bytes(other)
    with opened(filled, model_file, originals=True) as made:
        for rest in ("", "/similar", "/similar?box=1,1,9,9", "/original", "/thumbnail/small"):
            assert refused(made.client.get(f"/v1/pictures/{name}{rest}"), 404)
        for rest in ("?layer=block1_conv1", "/block1_conv1/overlay"):
            assert refused(made.client.get(f"/v1/pictures/{name}/features{rest}"), 404)
        assert refused(made.client.get(f"/v1/explain?a={name}&b={name}"), 404)
        for term in ({"picture": name}, {"picture": name, "box": "1,1,9,9"}):
            assert refused(made.client.post("/v1/search", json={"terms": [term]}), 404)
        pair = {"kind": "apart", "pictures": [name, name]}
        assert made.client.post("/v1/decisions", json=pair).status_code == 404


@needs_posix
def test_other_bytes_at_a_pictures_place_are_never_handed_out(
    folder: Path, model_file: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "pictures"
    shutil.copytree(folder, mine)
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(scene(99, 300, 200)))
    with Library(tmp_path / "library", model=model_file, device="cpu") as library:
        library.add([mine])
        with inside(library, originals=True, thumbnails=tmp_path / "kept") as made:
            linked, changed = id_of(mine, 0), id_of(mine, 1)
            (mine / "0.png").unlink()
            (mine / "0.png").symlink_to(secret)
            (mine / "1.png").write_bytes(secret.read_bytes())
            for one in (linked, changed):
                for rest in ("original", "thumbnail/small", "thumbnail/large"):
                    answer = made.client.get(f"/v1/pictures/{one}/{rest}")
                    assert refused(answer, 404) == "file-gone"
                answer = made.client.get(f"/v1/pictures/{one}/similar?box=1,1,20,20")
                assert 400 <= answer.status_code < 500, answer.text
                assert made.client.get(f"/v1/pictures/{one}/similar").status_code == 200
                for rest in ("features", "features/block1_conv1/overlay"):
                    answer = made.client.get(f"/v1/pictures/{one}/{rest}")
                    assert 400 <= answer.status_code < 500, answer.text
                pair = {"a": one, "b": id_of(mine, 2)}
                assert 400 <= made.client.get("/v1/explain", params=pair).status_code < 500
            assert not list((tmp_path / "kept").rglob("*.jpg"))


@needs_posix
def test_only_allowed_folders_are_indexed(
    filled: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed, other = tmp_path / "allowed", tmp_path / "allowed-not"
    for one in (allowed, other, allowed / "below"):
        one.mkdir()
        (one / "new.png").write_bytes(png(scene(500 + len(one.name))))
    (allowed / "link").symlink_to(other)
    (tmp_path / "in").symlink_to(allowed)
    monkeypatch.chdir(allowed)
    monkeypatch.setenv("HOME", str(other))
    place = tmp_path / "library"
    shutil.copytree(filled, place)
    with opened(place, model_file, folders=(str(allowed),)) as made:
        for path in (
            str(other),
            str(tmp_path),
            "/",
            f"{allowed}/..",
            f"{allowed}/../allowed-not",
            str(allowed / "link"),
            str(allowed / "link/new.png"),
            "..",
            "~",
            "~/new.png",
            "~root",
            "",
        ):
            asked = {"kind": "index", "paths": [str(allowed), path]}
            answer = made.client.post("/v1/jobs", json=asked)
            assert answer.status_code in {403, 422}, path
        assert made.client.get("/v1/jobs").json() == []
        for path in (str(allowed), f"{allowed}/below/../below", ".", str(tmp_path / "in/below")):
            asked = {"kind": "index", "paths": [path]}
            assert made.client.post("/v1/jobs", json=asked).status_code == 202, path
    with opened(place, model_file, folders=()) as made:
        assert made.client.get("/v1/status").json()["service"]["indexing"] is False
        asked = {"kind": "index", "paths": [str(allowed)]}
        assert refused(made.client.post("/v1/jobs", json=asked), 403) == "not-allowed"


@given(st.text(), st.text(alphabet='/\\"\r\n\0;=%\u2603a\udcff', max_size=20))
def test_no_name_gets_out_of_its_header(one: str, other: str) -> None:
    header = file_name(f"/photos/{one}{other}")
    assert header.isascii()
    assert header.isprintable()
    plain = header.removeprefix('inline; filename="').partition('"')[0]
    assert not set(plain) & set('/\\"')
    assert header.count('"') == 2
    rest = header.partition("filename*=UTF-8''")[2]
    assert not set(rest) & set(" ;,\"'/\\")


def test_what_is_off_is_off(filled: Path, model_file: Path, folder: Path) -> None:
    with opened(filled, model_file) as made:
        sent = {"files": ("x.png", png(scene(1)), "image/png")}
        assert "--uploads" in made.client.post("/v1/pictures", files=sent).json()["detail"]
        answer = made.client.get(f"/v1/pictures/{id_of(folder, 0)}/original")
        assert refused(answer, 403) == "not-allowed"
        term = {"address": "https://example.org/x.jpg"}
        answer = made.client.post("/v1/search", json={"terms": [term]})
        assert refused(answer, 403) == "not-allowed"


def test_private_addresses_are_not_fetched(filled: Path, model_file: Path) -> None:
    with opened(filled, model_file, addresses=True) as made:
        for address in (
            f"http://127.0.0.1:{made.port}/v1/status",
            f"http://localhost:{made.port}/v1/status",
            f"http://[::1]:{made.port}/",
            f"http://[::ffff:127.0.0.1]:{made.port}/",
            f"http://2130706433:{made.port}/",
            f"http://0x7f.1:{made.port}/",
            f"http://0:{made.port}/",
            "http://169.254.169.254/latest/meta-data/",
            "http://10.0.0.1/",
            "http://user:word@127.0.0.1/",
        ):
            asked = {"terms": [{"address": address}]}
            answer = made.client.post("/v1/search", json=asked)
            assert refused(answer, 422), address
        for address in ("ftp://example.org/x", "file:///etc/passwd", "//example.org", "x", ""):
            asked = {"terms": [{"address": address}]}
            assert refused(made.client.post("/v1/search", json=asked), 422) == "invalid-request"
        assert made.service.metrics.text().count(b'route="/v1/status"') == 0


def test_slow_addresses_hold_up_nobody_else(
    filled: Path, model_file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halt = threading.Event()
    monkeypatch.setattr(Library, "fetch", lambda *_: halt.wait(20))
    term = {"address": "https://example.org/slow.jpg"}
    with opened(filled, model_file, addresses=True) as made, ThreadPoolExecutor(2) as threads:
        asked = {"terms": [term] * 32}
        slow = [threads.submit(made.client.post, "/v1/search", json=asked) for _ in range(2)]
        time.sleep(0.2)
        began = time.monotonic()
        assert made.client.get("/v1/pictures").status_code == 200
        assert made.client.get(f"/v1/pictures/{id_of(folder, 0)}/similar").status_code == 200
        assert time.monotonic() - began < 5
        halt.set()
        for one in slow:
            one.result()


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


# The end.


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
    assert running.process.returncode in {0, 130, -how, 128 + how}
    assert "Traceback" not in running.log.read_text()


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
            time.sleep(0.7 + kill * 0.4)
            running.process.kill()
            for one in sending:
                one.result()
        assert told
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
