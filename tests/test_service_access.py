"""Who gets into the service, from where, and which files he gets at."""

from __future__ import annotations

import hmac
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pictures import png, scene
from served import Inside, inside
from strangers import (
    PICTURES,
    SERVE,
    TOKEN,
    bare,
    ends,
    id_of,
    needs_posix,
    opened,
    refused,
    talking,
)

from imgindex import Library
from imgindex.errors import SettingError
from imgindex.web import ServiceSettings, app
from imgindex.web.guard import COOKIE, same, session_of
from imgindex.web.routes.parameters import file_name

pytest_plugins = ["strangers"]
pytestmark = pytest.mark.usefixtures("closed")


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
    ran = subprocess.run(
        [*SERVE, "--host", host, "--port", "0", "--library", str(filled)],
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


def test_secrets_are_compared_in_constant_time(
    closed_one: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever one may be presented: no other comparison lets a client in."""
    compared: list[bytes] = []
    plain = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return plain(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    client = bare(closed_one)
    for headers in ({"Authorization": "Bearer wrong-one"}, {"Cookie": f"{COOKIE}=wrong-two"}):
        assert refused(client.get("/v1/status", headers=headers), 401) == "token"
    answer = client.post("/v1/session", json={"token": "wrong-three"})
    assert refused(answer, 401) == "token"
    assert {b"wrong-one", b"wrong-two", b"wrong-three"} <= set(compared)


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


def test_a_picture_on_the_web_is_sought_like_one_that_is_sent(
    filled: Path, model_file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = png(scene(3).resize((90, 70)))
    fetched: list[str] = []

    def fetch(address: str, *, limit: int) -> bytes:
        assert limit >= len(data)
        fetched.append(address)
        return data

    monkeypatch.setattr("imgindex.fetch.fetch", fetch)
    with opened(filled, model_file, addresses=True) as made:
        term = {"address": "https://example.org/x.png"}
        answer = made.client.post("/v1/search", json={"terms": [term], "k": 4}).json()
        sent = made.client.post("/v1/search/upload?k=4", files={"file": ("x.png", data)}).json()
        assert answer == sent
        assert answer["matches"][0]["id"] == id_of(folder, 3)
    assert fetched == [term["address"]]


def test_where_nothing_is_the_answer_says_where_to_look(open_one: Inside) -> None:
    for address in ("/nowhere", "/groups", "/docs", "/v1", "/v1/nowhere", "/v2/pictures", "/x.js"):
        answer = open_one.client.get(address)
        assert refused(answer, 404) == "not-found"
        assert "/v1/openapi.json" in answer.json()["detail"]


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
