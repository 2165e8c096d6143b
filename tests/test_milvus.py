"""What only a library on a Milvus server can meet: addresses, errors, deaths on both sides."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pymilvus.exceptions
import pytest
from certificates import certificate_of
from hypothesis import given
from hypothesis import strategies as st
from milvus_server import Server, emptied, installed, running, stop
from pictures import png, scene
from served import inside
from typer.testing import CliRunner

from imgindex import Library
from imgindex.cli.app import app
from imgindex.errors import (
    ImgindexError,
    LibraryBusyError,
    LibraryFormatError,
    LibraryNotFoundError,
    SettingError,
    StoreError,
)
from imgindex.records import IndexedFile, ModelPin, Picture, no_progress
from imgindex.store import open_store
from imgindex.store.milvus import entities, notes, server, store
from imgindex.store.milvus.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

PIN = ModelPin("tiny", "f" * 64, 8, 1)


# Its address


def test_an_address_says_where_and_how() -> None:
    place = Place.parse("milvus+tls://a%40b:c@db.example:1/work/photos?shards=2&ef=300", {})
    assert place == Place(
        uri="https://db.example:1",
        name="photos",
        url="milvus+tls://db.example:1/work/photos",
        token="a@b:c",  # noqa: S106 - of nobody
        database="work",
        shards=2,
        ef=300,
    )
    assert Place.parse("milvus://h/n", {"IMGINDEX_MILVUS_TOKEN": "told"}) == Place(
        "http://h:19530",
        "n",
        "milvus://h:19530/n",
        "told",
    )
    assert Place.parse("milvus://[::1]:5/n", {}).uri == "http://[::1]:5"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("milvus://", "no place of a library"),
        ("milvus://host", "cannot be a name"),
        ("milvus://host/a/b/c", "no place of a library"),
        ("milvus://host:99999/a", "port"),
        ("milvus://host:x/a", "port"),
        ("milvus://host/2a", "'2a'"),
        ("milvus://host/a-b", "'a-b'"),
        ("milvus://host/a?speed=1", "'speed'"),
        ("milvus://host/a?shards=0", "1 to 16, not '0'"),
        ("milvus://host/a?ef=x", "not 'x'"),
        ("milvus://host/a?consistency=weak", "'weak'"),
    ],
)
def test_addresses_that_are_none_are_refused(text: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Place.parse(text, {})


@given(st.text(min_size=1, max_size=12))
def test_no_message_tells_the_token(token: str) -> None:
    secret = "".join(f"%{byte:02x}" for byte in f"<{token}>".encode("utf-8", "replace"))
    for text in (f"milvus://{secret}@host/2bad", f"milvus://{secret}@host:x/a"):
        with pytest.raises(SettingError) as raised:
            Place.parse(text, {})
        assert secret not in str(raised.value)
    assert secret not in Place.parse(f"milvus://{secret}@host/good", {}).url


# Names and conditions

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(
    lambda text: "/" + text
)
raw_names = st.binary(max_size=20).filter(lambda name: b"\0" not in name).map(os.fsdecode)


@given(names | raw_names)
def test_every_path_comes_back(path: str) -> None:
    text = entities.spelled(path)
    assert entities.unspelled(text) == path
    text.encode()  # the server takes it


@given(raw_names, raw_names)
def test_what_lies_below_a_folder_begins_with_it(folder: str, name: str) -> None:
    whole = entities.spelled(f"/{folder}/{name}")
    assert whole.startswith(entities.spelled(f"/{folder}/"))


@given(names)
def test_texts_cannot_leave_their_quotes(text: str) -> None:
    assert json.loads(server.quoted(text)) == text
    assert json.loads(server.quoted([text, text])) == [text, text]


# Its errors


KINDS: list[Any] = [
    *(
        kind
        for kind in vars(pymilvus.exceptions).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
    *(grpc.RpcError, grpc.FutureTimeoutError, ValueError, TypeError, KeyError, OSError),
    *(TimeoutError, RuntimeError, MemoryError),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_foreign_error_becomes_ours(kind: Any) -> None:
    assert len(KINDS) > 20
    try:
        error = kind(message="no such thing")
    except TypeError:
        error = kind("no such thing")
    found = server.translated(error, "milvus://host/name")
    assert isinstance(found, ImgindexError)
    assert "milvus://host/name" in str(found)


def test_every_request_goes_through_the_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    class OddError(Exception):
        pass

    class Broken:
        def __init__(self, **_: Any) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            def ask(*_: Any, **__: Any) -> Any:
                raise OddError(name)

            return ask

    monkeypatch.setattr(pymilvus, "MilvusClient", Broken)
    made = server.Server(Place.parse("milvus://host/name", {}))
    requests: list[Any] = [
        lambda: made.has("a"),
        lambda: made.load("a"),
        lambda: made.drop("a"),
        lambda: made.put("a", [{"id": "b"}]),
        lambda: made.take("a", ["b"]),
        lambda: made.count("a"),
        lambda: list(made.get("a", ["b"], [])),
        lambda: list(made.every("a", [])),
        lambda: made.first("a", [], "", 1),
        lambda: made.search("a", np.zeros((1, 8), np.float32), 1, "", "Session"),
        made.close,
    ]
    for ask in requests:
        with pytest.raises(StoreError, match="could not do what it was asked"):
            ask()


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(StoreError, match=r"milvus://127\.0\.0\.1:9/x cannot be reached"):
        open_store("milvus://127.0.0.1:9/x")


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(StoreError, match=r"pip install 'imgindex\[milvus\]'"):
        open_store("milvus://127.0.0.1:9/x")


def test_nothing_of_it_is_loaded_before_it_is_asked_for() -> None:
    extras = {"pymilvus", "ray", "pyarrow", "fsspec"}
    code = f"import sys, imgindex.cli.app; sys.exit(bool({extras} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Its libraries


@pytest.fixture
def url() -> Iterator[str]:
    with emptied(running()) as place:
        yield place


def unit(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    rows = np.random.default_rng(seed).normal(size=(count, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def some(count: int, first: int = 0) -> tuple[list[Picture], Any, list[IndexedFile]]:
    ids = [f"{number:032x}" for number in range(first, first + count)]
    pictures = [Picture(one, 4, 3, "PNG", sketch=b"\1" * 1024) for one in ids]
    files = [IndexedFile(f"/p/{one}", 1, 2, one) for one in ids]
    return pictures, unit(count, first), files


def test_there_must_be_one_and_of_this_format() -> None:
    place = f"milvus://127.0.0.1:{running().port}"
    with pytest.raises(LibraryNotFoundError, match="imgindex index --library"):
        open_store(f"{place}/nothing_here")
    opened = store.MilvusStore(f"{place}/other", create=True)
    try:
        opened._notes.put({"format": 2})
        with pytest.raises(LibraryFormatError, match="has format 2"):
            open_store(f"{place}/other")
        with pytest.raises(LibraryFormatError, match="somebody else's"):
            open_store(f"{place}/other_notes", create=True)
    finally:
        opened.drop()
        opened.close()


def test_a_token_that_is_wrong_says_so() -> None:
    found = server.translated(
        pymilvus.exceptions.MilvusException(1800, "auth check failure"), "milvus://h/n"
    )
    assert "IMGINDEX_MILVUS_TOKEN" in str(found)


def test_a_library_whose_makers_died_half_way_is_made_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Died(BaseException):
        pass

    place = f"milvus://127.0.0.1:{running().port}/half"

    def made() -> None:
        opened = store.MilvusStore(place, create=True)
        opened._notes.drop([f"lease/write/{key}" for key in opened._notes.below("lease/write")])
        opened.pin(PIN)
        opened.add(*some(3))
        opened.close()

    def dying(at: str) -> Any:
        def create(made: Any, name: str, *_: Any, **__: Any) -> Any:
            if name == at:  # the collection is there, and its index is not
                raise Died
            return index(made, name, *_, **__)

        return create

    index = pymilvus.MilvusClient.create_index
    try:
        for at in ("half_notes", "half"):
            with monkeypatch.context() as patch:
                patch.setattr(pymilvus.MilvusClient, "create_index", dying(at))
                with pytest.raises(Died):
                    made()
        made()
        opened = store.MilvusStore(place)
        assert opened.verify(no_progress) == []
        assert len(opened.vectors()[0]) == 3
    finally:
        opened = store.MilvusStore(place, create=True)
        opened.drop()
        opened.close()


def test_pages_go_beyond_one_answer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_store(url)
    try:
        opened.pin(PIN)
        opened.add(*some(300))
        monkeypatch.setattr(server, "_KEYS", 17)
        monkeypatch.setattr(server, "_PUT", 23)
        opened.add(*some(300, 300))
        assert isinstance(opened, store.MilvusStore)
        every = [one["id"] for one in opened._server.every(opened._pictures, [], page=7)]
        assert every == [f"{number:032x}" for number in range(600)]
        assert opened.has(every) == set(every)
        assert len(opened.paths(every)) == 600
        ids, rows = opened.vectors()
        assert list(ids) == every
        np.testing.assert_array_equal(rows[300:], unit(300, 300))
        # What has been written to disk and indexed is found as well as what is still in memory.
        opened._server._client.flush(opened._pictures)
        opened.add(*some(100, 600))
        every = [one["id"] for one in opened._server.every(opened._pictures, [], page=50)]
        assert every == [f"{number:032x}" for number in range(700)]
        assert opened.verify(no_progress) == []
    finally:
        opened.close()


def test_more_matches_than_the_server_gives(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from imgindex.store.milvus import reading

    monkeypatch.setattr(reading, "MOST", 50)
    opened = open_store(url)
    try:
        opened.pin(PIN)
        opened.add(*some(120))
        way, (hits,) = opened.search(unit(1), 110)
        assert way == "exact"
        assert len(hits) == 110
    finally:
        opened.close()


def test_neighbours_are_the_nearest_of_those_asked_about(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imgindex.store.milvus import reading

    monkeypatch.setattr(reading, "_COMPARED", 0)
    monkeypatch.setattr(reading, "_ASKED", 100)
    monkeypatch.setattr(reading, "MOST", 90)
    opened = open_store(url)
    try:
        opened.pin(PIN)
        pictures, rows, files = some(400)
        rows[300:] = rows[299]  # a hundred of one look, of which one is asked about
        opened.add(pictures, rows, files)
        chosen = [*range(250, 300), *range(0, 250, 2)]
        asked = [pictures[at].id for at in chosen]
        found, links = opened.neighbours(asked, 15, no_progress)
        assert links.shape == (0, 2)
        assert found.shape == (175, 65)
        cosines = rows[chosen] @ rows[chosen].T
        for at, line in enumerate(found.tolist()):
            others = set(line) - {at, -1}
            assert len(others) >= 64
            best = set(np.argsort(-cosines[at])[:16].tolist()) - {at}
            assert at == 49 or len(others & best) >= 14  # that one is behind its copies
        with pytest.raises(StoreError, match="is gone from milvus://"):
            opened.neighbours(["f" * 32, *asked], 15, no_progress)
    finally:
        opened.close()


@pytest.mark.parametrize("at", range(6))
def test_a_writer_that_dies_half_way_leaves_nothing_half_done(
    url: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = store.MilvusStore(url)
    try:
        opened.pin(PIN)
        opened.add(*some(4))
        left = at

        class Died(BaseException):
            pass

        def dying(work: Any) -> Any:
            def asked(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Died
                return work(*args, **kwargs)

            return asked

        with monkeypatch.context() as patch:
            for name in ("put", "take"):
                patch.setattr(opened._server, name, dying(getattr(opened._server, name)))

            def change() -> None:
                with opened.writing():
                    opened.add(*some(3, 4))
                    opened.forget([f"/p/{0:032x}"])

            with pytest.raises(Died):
                change()
        # The next one comes, when the right of the dead one has run out.
        opened._notes.drop([opened._writer._key])
        with opened.writing():
            pass
        assert opened.verify(no_progress) == []
        ids = set(opened.vectors()[0])
        old, new = {f"{n:032x}" for n in range(4)}, {f"{n:032x}" for n in range(4, 7)}
        assert ids - {f"{0:032x}"} in (old - {f"{0:032x}"}, (old | new) - {f"{0:032x}"})
        assert ids in (old, old | new, (old | new) - {f"{0:032x}"})
        opened.add(*some(7))
        assert set(opened.vectors()[0]) == old | new
    finally:
        opened.close()


def test_a_right_that_is_not_renewed_runs_out(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "_LEASE", 1.0)
    monkeypatch.setattr(notes, "_AGAIN", 0.0)
    first, second = store.MilvusStore(url), store.MilvusStore(url)
    try:
        with first.writing():
            time.sleep(1.5)
            with pytest.raises(LibraryBusyError, match="another process is writing"):
                second.pin(PIN)  # it is renewed
        monkeypatch.setattr(first._writer, "_renew", lambda _: None)
        with first.writing():
            time.sleep(1.5)
            second.pin(PIN)
            with pytest.raises(LibraryBusyError, match="has run out"):
                first.add([], np.empty((0, 8), np.float32))
    finally:
        first.close()
        second.close()


_WRITER = """
import sys
sys.path.insert(0, {tests!r})
from imgindex.store import open_store
from test_milvus import some
opened = open_store({url!r})
for batch in range(10_000):
    opened.add(*some(5, batch * 5))
    print(batch, flush=True)
"""


@pytest.fixture
def guarded() -> Iterator[Server]:
    """A server of this test's own, with TLS and a token; the shared one ends for it."""
    if not installed():
        pytest.skip("needs a Milvus server: the package milvus could not be installed")
    stop()  # they want the same ports
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        (data := Path(folder) / "data").mkdir()
        own = Server(data, certificate_of("127.0.0.1", Path(folder)))
        try:
            own.start()
            yield own
        finally:
            own.kill()


def test_nothing_acknowledged_is_lost_when_server_and_writer_are_killed(
    guarded: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"milvus+tls://127.0.0.1:{guarded.port}/killed"
    monkeypatch.setenv("IMGINDEX_MILVUS_CERTIFICATE", str(guarded.certificate))
    monkeypatch.setenv("IMGINDEX_MILVUS_TOKEN", "root:wrong")
    with pytest.raises(StoreError, match="refuses the token"):
        open_store(url)
    monkeypatch.setenv("IMGINDEX_MILVUS_TOKEN", "root:Milvus")
    opened = open_store(url, create=True)
    opened.pin(PIN)
    opened.close()
    code = _WRITER.format(tests=str(Path(__file__).parent), url=url)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        told = 0
        for line in writer.stdout:
            told = int(line)
            if told == 20:
                guarded.kill()
                writer.send_signal(signal.SIGKILL)
    guarded.start()
    again = store.MilvusStore(url)
    again._notes.drop([f"lease/write/{key}" for key in again._notes.below("lease/write")])
    with again.writing():
        pass
    assert again.verify(no_progress) == []
    ids, rows = again.vectors()
    assert len(ids) >= (told + 1) * 5
    assert list(ids[: (told + 1) * 5]) == [f"{n:032x}" for n in range((told + 1) * 5)]
    for batch in range(told + 1):
        np.testing.assert_array_equal(rows[batch * 5 : batch * 5 + 5], unit(5, batch * 5))
    again.close()


def test_a_certificate_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGINDEX_MILVUS_CERTIFICATE", "/nowhere/ca.pem")
    with pytest.raises(SettingError, match=r"IMGINDEX_MILVUS_CERTIFICATE: /nowhere/ca\.pem"):
        open_store("milvus+tls://127.0.0.1:9/x")


def test_pictures_are_spread_over_partitions() -> None:
    url = f"milvus://127.0.0.1:{running().port}/parted"
    opened = store.MilvusStore(f"{url}?partitions=4&shards=2", create=True)
    try:
        opened.pin(PIN)
        opened.add(*some(60))
        assert len(opened._server._client.list_partitions("parted")) == 4
        opened.close()
        opened = store.MilvusStore(url)  # whoever opens it later need not know
        opened.add(*some(60, 30))
        opened.remove([f"{0:032x}"])
        assert opened.verify(no_progress) == []
        ids, rows = opened.vectors()
        assert ids == tuple(f"{number:032x}" for number in range(1, 90))
        assert {hits[0].id for hits in opened.search(rows, 1)[1]} == set(ids)
    finally:
        opened.drop()
        opened.close()


def test_what_pymilvus_says_of_an_error_is_not_shown(
    url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    opened = store.MilvusStore(url)
    opened._server.drop(opened._notes._name)
    with pytest.raises(LibraryNotFoundError, match="is gone from its server"):
        opened._notes.get("format")
    opened._notes.create()
    opened._notes.put({"format": 1})
    opened.close()
    assert capfd.readouterr().err == ""


def test_every_command_works_on_it(
    url: str, tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{url}_commands"
    (tmp_path / "pictures").mkdir()
    for seed in range(24):
        data = png(scene(seed % 3, 60 + seed, 50))
        (tmp_path / "pictures" / f"{seed:02}.png").write_bytes(data)
    monkeypatch.chdir(tmp_path)
    first = str(tmp_path / "pictures" / "00.png")

    def run(*command: str) -> Any:
        found = CliRunner().invoke(app, [*command, "--library", name, "--json"])
        assert found.exit_code == 0, found.output
        return json.loads(found.stdout) if found.stdout.lstrip().startswith(("{", "[")) else None

    try:
        told = run("index", "pictures", "--model", str(model_file), "--device", "cpu")
        assert told["added"] == 24
        assert run("index", "pictures")["unchanged"] == 24
        assert run("status")["pictures"] == 24
        assert run("search", first, "-k", "3")["matches"][0]["path"] == first
        assert run("search", first, "-k", "3", "--exact")["way"] == "exact"
        assert run("cluster", "--min-cluster-size", "4")["groups"]
        assert run("groups", "name", "0", "first one")
        assert "first one" in json.dumps(run("groups"))
        assert run("duplicates")["sets"]
        run("bursts")
        run("export", "groups.csv")
        assert (tmp_path / "groups.csv").stat().st_size > 100
        run("map", "map.html")
        Path(first).unlink()
        assert run("index", "pictures", "--prune")["removed"] == 1
        assert run("status")["pictures"] == 23
        assert run("verify")["problems"] == []
    finally:
        opened = store.MilvusStore(name)
        opened.drop()
        opened.close()


def test_the_service_works_on_it(
    url: str, tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures").mkdir()
    pictures = [png(scene(seed % 3, 60 + seed, 50)) for seed in range(24)]
    for seed, data in enumerate(pictures):
        (tmp_path / "pictures" / f"{seed:02}.png").write_bytes(data)
    monkeypatch.setattr(notes, "_AGAIN", 10.0)  # a job may hold it for a moment
    name = f"{url}_served"
    try:
        with Library(name, model=model_file, device="cpu") as library:
            library.add([tmp_path / "pictures"])
            library.cluster(min_cluster_size=4)
            uploads = tmp_path / "uploads"
            with inside(library, None, readers=1, uploads=uploads, folders=None) as service:
                client = service.client
                assert client.get("/v1/status").json()["pictures"] == 24
                listed = client.get("/v1/pictures?limit=30").json()["pictures"]
                one = listed[0]["id"]
                near = client.get(f"/v1/pictures/{one}/similar?k=3").json()["matches"]
                assert near[0]["id"] == one
                found = client.post("/v1/search/upload?k=1", content=pictures[-1]).json()
                assert found["matches"][0]["path"].endswith("23.png")
                groups = client.get("/v1/groups").json()["groups"]
                assert sum(one["size"] for one in groups) > 12
                new = png(scene(7, 44, 44))
                answer = client.post("/v1/pictures", files={"files": ("a.png", new, "image/png")})
                assert answer.status_code == 201, answer.text
                found = client.post("/v1/search/upload?k=1", content=new).json()
                assert found["matches"][0]["score"] > 0.999
                gone = client.delete(f"/v1/pictures/{found['matches'][0]['id']}")
                assert gone.status_code in {200, 204}, gone.text
                assert client.get("/v1/status").json()["pictures"] == 24
                job = client.post("/v1/jobs", json={"kind": "cluster"}).json()["id"]
                while (state := client.get(f"/v1/jobs/{job}").json()["state"]) in {
                    "queued",
                    "running",
                }:
                    time.sleep(0.1)
                assert state == "done"
    finally:
        opened = store.MilvusStore(name)
        opened.drop()
        opened.close()
