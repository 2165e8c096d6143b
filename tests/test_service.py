"""The service, asked over a socket: every route, batches, jobs, events; readers and writers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import exif, jpeg, png, scene
from PIL import Image
from served import Inside, inside
from typer.testing import CliRunner

from imgindex import Library
from imgindex.cli.app import app
from imgindex.records import Box, Group, Term
from imgindex.scan import content_id
from imgindex.web.answers import Json
from imgindex.web.batching import Batcher, Pool
from imgindex.web.events import Broadcast, Event
from imgindex.web.jobs import Jobs
from imgindex.web.problems import Problem
from imgindex.web.thumbnails import Thumbnails
from imgindex.web.uploads import Upload, Uploads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import httpx

    from imgindex.records import Progress

KINDS, EACH = 3, 8


@dataclass(frozen=True, slots=True)
class Made:
    """A library of made pictures: three kinds in three folders, a copy and a smaller one."""

    folder: Path
    library: Path
    model: Path
    ids: dict[str, str]

    def open(self) -> Library:
        return Library(self.library, model=self.model, device="cpu")

    def id(self, name: str) -> str:
        return self.ids[name]

    def data(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


def variant(kind: int, seed: int) -> Image.Image:
    """A picture of a kind: its scene with a little of another one."""
    return Image.blend(scene(kind, 160, 120), scene(1000 + kind * 100 + seed, 160, 120), 0.12)


def encoded(kind: int, seed: int) -> bytes:
    picture = variant(kind, seed)
    if kind == 0:
        return jpeg(picture, exif=exif(taken=f"2024:0{seed + 1}:15 12:00:00"))
    return png(picture)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Made:
    work = tmp_path_factory.mktemp("service")
    folder = work / "pictures"
    for kind in range(KINDS):
        (folder / f"kind{kind}").mkdir(parents=True)
        for seed in range(EACH):
            name = f"kind{kind}/{seed}.{'png' if kind else 'jpg'}"
            (folder / name).write_bytes(encoded(kind, seed))
    shutil.copy(folder / "kind1/0.png", folder / "kind1/copy.png")
    (folder / "kind1/small.png").write_bytes(png(variant(1, 0).resize((128, 96))))
    with Library(work / "library", model=model_file, device="cpu") as library:
        library.add([folder])
        library.cluster(min_cluster_size=4)
    ids = {
        path.relative_to(folder).as_posix(): content_id(path.read_bytes())
        for path in sorted(folder.rglob("*.*"))
    }
    return Made(folder, work / "library", model_file, ids)


@pytest.fixture
def own(made: Made, tmp_path: Path) -> Made:
    """The same, to be changed."""
    shutil.copytree(made.library, tmp_path / "library")
    return Made(made.folder, tmp_path / "library", made.model, made.ids)


@pytest.fixture(scope="module")
def reading(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """A service that nobody changes."""
    kept = tmp_path_factory.mktemp("kept")
    with made.open() as library, inside(library, originals=True, thumbnails=kept) as opened:
        yield opened


@contextmanager
def changing(made: Made, **options: Any) -> Iterator[Inside]:
    with (
        made.open() as library,
        inside(library, uploads=made.library.with_name("uploads"), **options) as opened,
    ):
        yield opened


def command(made: Made, *words: str) -> Any:
    """What a command prints with --json."""
    place = ["--library", str(made.library)]
    ran = CliRunner().invoke(app, [*words, *place, "--json"])
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body.keys() == {"type", "title", "status", "detail"}
    assert body["status"] == status
    assert body["type"].startswith("urn:imgindex:")
    assert body["detail"]
    return body


def follow(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """A job, once it has ended."""
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    for _ in range(600):
        job = client.get(f"/v1/jobs/{job['id']}").json()
        if job["state"] in {"done", "failed", "cancelled"}:
            return job
        time.sleep(0.05)
    raise AssertionError(job)


# Searching.


def test_a_picture_finds_what_the_command_finds(made: Made, reading: Inside) -> None:
    for name in ("kind0/3.jpg", "kind1/0.png", "kind2/7.png"):
        answer = reading.client.get(f"/v1/pictures/{made.id(name)}/similar", params={"k": 5})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        expected = command(made, "search", made.id(name), "-k", "5")
        found = answer.json()
        for one, other in zip(found["matches"], expected["matches"], strict=True):
            assert one.pop("score") == pytest.approx(other.pop("score"), abs=1e-5)
        # A service loads the graph; what it was asked before that was compared, and is kept.
        assert found.pop("way") in {"hnsw", "exact"}
        assert expected.pop("way") == "exact"
        assert found == expected
        assert found["matches"][0]["id"] == made.id(name)


def test_pages_are_the_ranking_cut_in_pieces(made: Made, reading: Inside) -> None:
    address = f"/v1/pictures/{made.id('kind0/0.jpg')}/similar"
    whole = reading.client.get(address, params={"k": 25}).json()["matches"]
    assert len(whole) == 25
    pages = [
        reading.client.get(address, params={"k": 10, "offset": offset}).json()["matches"]
        for offset in (0, 10, 20, 30)
    ]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    assert [one["id"] for page in pages for one in page] == [one["id"] for one in whole]


def test_filters_let_through_what_they_say(made: Made, reading: Inside) -> None:
    address = f"/v1/pictures/{made.id('kind1/0.png')}/similar"

    def found(**asked: Any) -> list[str]:
        answer = reading.client.get(address, params={"k": 100, **asked})
        assert answer.status_code == 200, answer.text
        return [one["path"] for one in answer.json()["matches"]]

    everything = found()
    assert len(everything) == KINDS * EACH + 1
    assert set(found(match="*.jpg")) == {p for p in everything if p[-3:] == "jpg"}
    both = found(match=["kind0/*", "kind2/*"])
    assert len(both) == 2 * EACH
    assert not any("kind1" in path for path in both)
    assert len(found(folder=str(made.folder / "kind2"))) == EACH
    assert len(found(format="jpeg")) == EACH
    assert len(found(after="2024-03", before="2024-05-15")) == 2
    assert found(smaller="150x150") == [str(made.folder / "kind1/small.png")]
    assert found(orientation="portrait") == []
    assert len(found(larger="160x120", exact=True)) == KINDS * EACH
    assert found(min_score=0.99999)[0] == str(made.folder / "kind1/0.png")
    assert len(found(rerank=True)) == len(everything)


@pytest.mark.parametrize(
    "asked",
    [
        {"k": 0},
        {"k": 1001},
        {"offset": -1},
        {"min_score": 2},
        {"min_score": "nan"},
        {"after": "yesterday"},
        {"larger": "big"},
        {"orientation": "upright"},
        {"box": "1,2,3"},
        {"box": "0,0,5000,5000"},
        {"match": "a\0b"},
        {"kay": 3},
        {"exact": "perhaps"},
        {"diverse": True},  # nobody has looked for copies
    ],
)
def test_what_cannot_be_asked_is_said(made: Made, reading: Inside, asked: dict[str, Any]) -> None:
    address = f"/v1/pictures/{made.id('kind1/0.png')}/similar"
    body = problem(reading.client.get(address, params=asked), 422)
    assert next(iter(asked)) in body["detail"] or body["type"] != "urn:imgindex:invalid-request"


def test_unknown_ids_are_404_and_what_is_no_id_is_422(reading: Inside) -> None:
    unknown = "0" * 32
    for rest in ("", "/similar", "/thumbnail/small", "/original", "/similar?box=1,1,9,9"):
        body = problem(reading.client.get(f"/v1/pictures/{unknown}{rest}"), 404)
        assert body["type"] == "urn:imgindex:no-such-picture"
        problem(reading.client.get(f"/v1/pictures/{unknown[1:]}{rest}"), 422)
        problem(reading.client.get(f"/v1/pictures/{'A' * 32}{rest}"), 422)
    asked = {"terms": [{"picture": unknown}]}
    problem(reading.client.post("/v1/search", json=asked), 404)
    problem(reading.client.post("/v1/search", json={"terms": [{"upload": unknown}]}), 404)
    problem(reading.client.get(f"/v1/uploads/{unknown}/thumbnail/small"), 404)
    problem(reading.client.delete(f"/v1/pictures/{unknown}"), 404)
    problem(reading.client.get("/v1/groups/424242"), 404)
    problem(reading.client.delete("/v1/decisions/424242"), 404)
    problem(reading.client.get("/v1/jobs/" + "0" * 16), 404)
    problem(reading.client.get("/v1/nothing"), 404)
    problem(reading.client.post("/v1/status"), 405)


def test_sent_pictures_find_as_files_do(made: Made, reading: Inside, tmp_path: Path) -> None:
    new = encoded(2, 77)
    (tmp_path / "new.png").write_bytes(new)
    with made.open() as library:
        expected = library.search(tmp_path / "new.png", 6).matches
    ways: list[dict[str, Any]] = [
        {"files": {"file": ("naïve.png", new, "image/png")}},
        {"content": new, "headers": {"Content-Type": "image/png"}},
        {"content": new, "headers": {"Content-Type": "application/octet-stream"}},
        {"content": iter([new[:100], new[100:]]), "headers": {"Content-Type": "image/x-any"}},
    ]
    for way in ways:
        answer = reading.client.post("/v1/search/upload", params={"k": 6}, **way)
        assert answer.status_code == 200, answer.text
        matches = answer.json()["matches"]
        assert [one["id"] for one in matches] == [one.id for one in expected]
        np.testing.assert_allclose(
            [one["score"] for one in matches], [one.score for one in expected], atol=1e-5
        )
    known = reading.client.post(
        "/v1/search/upload", content=made.data("kind2/1.png"), headers={"Content-Type": "image/png"}
    ).json()
    assert known["matches"][0]["id"] == made.id("kind2/1.png")


def test_boxes_are_the_same_however_the_picture_comes(made: Made, reading: Inside) -> None:
    box = "10%,20%,50%,60%"
    with made.open() as library:
        parsed = Box.parse(box)
        expected = library.search(Term(made.folder / "kind0/2.jpg", box=parsed), 5).matches
    picture = made.id("kind0/2.jpg")
    sent = reading.client.post(
        "/v1/uploads", content=made.data("kind0/2.jpg"), headers={"Content-Type": "image/jpeg"}
    )
    assert sent.json() == {
        "id": picture,
        "width": 160,
        "height": 120,
        "format": "JPEG",
        "known": True,
    }
    one = reading.client.get(f"/v1/pictures/{picture}/similar", params={"k": 5, "box": box})
    terms = [{"picture": picture, "box": box}], [{"upload": picture, "box": box}]
    others = [
        reading.client.post("/v1/search", json={"terms": term, "k": 5}) for term in (*terms, *terms)
    ]
    for answer in (one, *others):
        assert answer.status_code == 200, answer.text
        assert [hit["id"] for hit in answer.json()["matches"]] == [hit.id for hit in expected]


def test_several_terms_are_their_weighted_sum(made: Made, reading: Inside) -> None:
    names = {"kind0/1.jpg": 1.0, "kind1/1.png": 0.5, "kind2/1.png": -0.25}
    with made.open() as library:
        terms = [Term(made.folder / name, weight) for name, weight in names.items()]
        expected = library.search(terms, 9).matches
    sent = reading.client.post(
        "/v1/uploads", files={"file": ("one.png", made.data("kind1/1.png"), "image/png")}
    )
    assert sent.status_code == 201
    asked = [
        {"picture": made.id("kind0/1.jpg")},
        {"upload": sent.json()["id"], "weight": 0.5},
        {"picture": made.id("kind2/1.png"), "weight": -0.25},
    ]
    answer = reading.client.post("/v1/search", json={"terms": asked, "k": 9})
    assert [one["id"] for one in answer.json()["matches"]] == [one.id for one in expected]
    filtered = reading.client.post(
        "/v1/search", json={"terms": asked, "k": 50, "where": {"folder": [str(made.folder)[:-1]]}}
    )
    assert filtered.json()["matches"] == []
    away = [{"picture": made.id("kind0/1.jpg")}, {"picture": made.id("kind0/1.jpg"), "weight": -1}]
    problem(reading.client.post("/v1/search", json={"terms": away}), 422)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"terms": []}',
        b'{"terms": [{}]}',
        b'{"terms": [{"picture": "x"}]}',
        b'{"terms": [{"picture": "00000000000000000000000000000000", "weight": 0}]}',
        b'{"terms": [{"picture": "00000000000000000000000000000000", "weight": NaN}]}',
        b'{"terms": [{"address": "file:///etc/passwd"}]}',
        b'{"terms": [{"address": "\\ud800"}]}',
        b'{"terms": [{"picture": "00000000000000000000000000000000"}], "where": {"b": 1}}',
        b"[" * 100_000,
        b'{"k": ' + b"9" * 5000 + b', "terms": [{"picture": "00000000000000000000000000000000"}]}',
    ],
    ids=range(14),
)
def test_bodies_that_are_none_are_refused(reading: Inside, body: bytes) -> None:
    answer = reading.client.post(
        "/v1/search", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in {400, 422}
    problem(answer, answer.status_code)


# Pictures.


def test_the_list_is_in_order_and_in_pages(made: Made, reading: Inside) -> None:
    listed = reading.client.get("/v1/pictures", params={"limit": 1000}).json()
    assert listed["total"] == len(set(made.ids.values())) == len(listed["pictures"])
    first = [one["paths"][0] for one in listed["pictures"]]
    assert first == sorted(first)
    some = reading.client.get("/v1/pictures", params={"limit": 7, "offset": 5}).json()
    assert some["pictures"] == listed["pictures"][5:12]
    assert some["total"] == listed["total"]
    dated = reading.client.get("/v1/pictures", params={"order": "newest", "limit": 3}).json()
    assert [one["taken"][:7] for one in dated["pictures"]] == ["2024-08", "2024-07", "2024-06"]
    assert dated["pictures"][0]["id"] == made.id("kind0/7.jpg")
    oldest = reading.client.get("/v1/pictures", params={"order": "taken"}).json()["pictures"]
    assert [one["taken"] is None for one in oldest] == [False] * EACH + [True] * (EACH * 2 + 1)
    copied = reading.client.get(f"/v1/pictures/{made.id('kind1/0.png')}").json()
    assert copied in listed["pictures"]
    assert copied["paths"] == [str(made.folder / f"kind1/{name}.png") for name in ("0", "copy")]
    for asked in ({"limit": 0}, {"limit": 1001}, {"order": "size"}, {"group": 424242}):
        problem(reading.client.get("/v1/pictures", params=asked), 422)


def test_an_item_tells_where_it_is_among_the_groups(made: Made, reading: Inside) -> None:
    with made.open() as library:
        kept = library.grouping()
    at = kept.ids.index(made.id("kind2/4.png"))
    item = reading.client.get(f"/v1/pictures/{made.id('kind2/4.png')}").json()
    assert item["group"] == kept.labels[at]
    assert item["part"] == kept.parts[at]
    assert item["strength"] == pytest.approx(kept.strengths[at])
    assert item["exemplar"] == kept.exemplars[at]
    same = reading.client.get("/v1/pictures", params={"group": item["group"]}).json()["pictures"]
    assert {one["id"] for one in same} == {
        one for one, label in zip(kept.ids, kept.labels, strict=True) if label == item["group"]
    }


def test_small_forms_have_their_sizes_and_are_kept(made: Made, tmp_path: Path) -> None:
    big = tmp_path / "big.png"
    big.write_bytes(png(scene(5, 2000, 1000)))
    own = Made(tmp_path, tmp_path / "library", made.model, {})
    kept = tmp_path / "kept"
    with own.open() as library:
        library.add([big])
        with inside(library, thumbnails=kept) as opened:
            client = opened.client
            address = f"/v1/pictures/{content_id(big.read_bytes())}/thumbnail"
            for size, sides in {
                "small": (160, 80),
                "medium": (400, 200),
                "large": (1600, 800),
            }.items():
                answer = client.get(f"{address}/{size}")
                assert answer.headers["content-type"] == "image/jpeg"
                assert "immutable" in answer.headers["cache-control"]
                with Image.open(BytesIO(answer.content)) as image:
                    assert image.size == sides
                    assert image.format == "JPEG"
                    assert not image.getexif()
                etag = {"If-None-Match": answer.headers["etag"]}
                again = client.get(f"{address}/{size}", headers=etag)
                assert (again.status_code, again.content) == (304, b"")
                assert client.get(f"{address}/{size}").content == answer.content
            assert len(list(kept.rglob("*.jpg"))) == 3
            problem(client.get(f"{address}/huge"), 422)

            (file,) = kept.rglob("*-small.jpg")
            whole = file.read_bytes()
            for damaged in (b"", whole[: len(whole) // 2]):
                file.write_bytes(damaged)
                assert client.get(f"{address}/small").content == whole
                assert file.read_bytes() == whole
            big.unlink()
            assert client.get(f"{address}/small").content == whole  # kept, and still its picture
            file.unlink()
            assert problem(client.get(f"{address}/small"), 404)["type"] == "urn:imgindex:file-gone"


def test_thumbnails_stay_within_their_bound(tmp_path: Path) -> None:
    kept = Thumbnails(tmp_path, 10 * 4096)
    data = b"x" * 3000 + b"\xff\xd9"
    ids = [f"{at:032x}" for at in range(30)]
    for one in ids:
        assert kept.get(one, "small", lambda: data) == data
        assert kept.get(ids[0], "small", lambda: data) == data  # asked for again and again
        held = sum(4096 for _ in tmp_path.rglob("*.jpg"))
        assert held <= 10 * 4096
        assert kept.held == held
    there = {file.name[:32] for file in tmp_path.rglob("*.jpg")}
    assert there == {ids[0], *ids[-9:]}
    (tmp_path / "00" / "left.part").write_bytes(b"half")
    again = Thumbnails(tmp_path, 10 * 4096)
    assert again.held == kept.held
    assert not list(tmp_path.rglob("*.part"))
    again.forget(ids[-1])
    assert again.held == kept.held - 4096
    assert Thumbnails(tmp_path, 1).held == again.held
    assert Thumbnails(None, 1).get(ids[0], "large", lambda: b"made") == b"made"


def _jpeg_like(size: int) -> bytes:
    return b"x" * (size - 2) + b"\xff\xd9"


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(2, 30_000), st.booleans()), max_size=40),
    st.integers(1, 60_000),
)
def test_what_is_kept_is_counted(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[int, int, bool]], most: int
) -> None:
    folder = tmp_path_factory.mktemp("thumbnails")
    kept = Thumbnails(folder, most)
    for at, size, drop in asked:
        if drop:
            kept.forget(f"{at:032x}")
        else:
            kept.get(f"{at:032x}", "small", partial(_jpeg_like, size))
        files = list(folder.rglob("*.jpg"))
        assert kept.held == sum(-(-file.stat().st_size // 4096) * 4096 for file in files)
        assert kept.held <= most or len(files) == 1


def test_a_full_or_forbidden_cache_costs_no_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    kept = Thumbnails(tmp_path / "file", 100_000)  # no folder can be made below a file
    assert kept.get("0" * 32, "small", lambda: b"made") == b"made"
    assert kept.held == 0


def test_originals_are_the_bytes_that_were_indexed(made: Made, reading: Inside) -> None:
    for name, kind in {"kind0/5.jpg": "image/jpeg", "kind1/0.png": "image/png"}.items():
        answer = reading.client.get(f"/v1/pictures/{made.id(name)}/original")
        assert answer.content == made.data(name)
        assert answer.headers["content-type"] == kind
        assert answer.headers["content-length"] == str(len(answer.content))
        assert f'filename="{name[6:]}"' in answer.headers["content-disposition"]


def test_added_pictures_are_there_at_once_and_for_good(own: Made) -> None:
    new = {f"new{seed}.png": encoded(2, 50 + seed) for seed in range(5)}
    sent = [("files", (name, data, "image/png")) for name, data in new.items()]
    sent += [
        ("files", ("notes.txt", b"nothing to see", "text/plain")),
        ("files", ("half.png", new["new0.png"][:300], "image/png")),
        ("files", ("known.jpg", own.data("kind0/0.jpg"), "image/jpeg")),
        ("files", ("twice.png", new["new1.png"], "image/png")),
    ]
    with changing(own) as opened:
        before = opened.client.get("/v1/status").json()
        answer = opened.client.post("/v1/pictures", files=sent)
        assert answer.status_code == 201, answer.text
        told = {one["name"]: one for one in answer.json()["pictures"]}
        assert [one["name"] for one in answer.json()["pictures"]] == [one[1][0] for one in sent]
        for name, data in new.items():
            assert told[name]["id"] == content_id(data)
            assert told[name]["reason"] is None
        assert told["twice.png"]["id"] == told["new1.png"]["id"]
        assert {told["twice.png"]["known"], told["new1.png"]["known"]} == {True, False}
        assert told["known.jpg"] == {
            "name": "known.jpg",
            "id": own.id("kind0/0.jpg"),
            "reason": None,
            "known": True,
        }
        for name in ("notes.txt", "half.png"):
            assert told[name]["id"] is None
            assert told[name]["reason"]
        status = opened.client.get("/v1/status").json()
        assert status["pictures"] == before["pictures"] + 5
        assert status["change"] != before["change"]
        listed = opened.client.get("/v1/pictures", params={"limit": 1000}).json()
        assert {one["id"] for one in listed["pictures"]} >= {content_id(d) for d in new.values()}
        found = opened.client.get(f"/v1/pictures/{content_id(new['new2.png'])}/similar").json()
        assert found["matches"][0]["id"] == content_id(new["new2.png"])
        assert opened.service.in_flight == 0
    files = list(own.library.with_name("uploads").rglob("*.*"))
    assert sorted(content_id(file.read_bytes()) for file in files) == sorted(
        content_id(data) for data in new.values()
    )
    with own.open() as library:
        assert library.verify() == []
        assert library.status().pictures == before["pictures"] + 5
        assert library.status().index == "ready"  # settled at the end


def test_removed_pictures_are_gone_but_not_their_files(own: Made) -> None:
    new = encoded(1, 99)
    with changing(own, thumbnails=own.library.with_name("kept")) as opened:
        client = opened.client
        client.post("/v1/pictures", files=[("files", ("new.png", new, "image/png"))])
        for one in (content_id(new), own.id("kind0/0.jpg")):
            assert client.get(f"/v1/pictures/{one}/thumbnail/small").status_code == 200
            etag = {"If-None-Match": f'"{one}-small"'}
            assert client.delete(f"/v1/pictures/{one}").status_code == 204
            problem(client.get(f"/v1/pictures/{one}"), 404)
            problem(client.get(f"/v1/pictures/{one}/thumbnail/small"), 404)
            problem(client.get(f"/v1/pictures/{one}/thumbnail/small", headers=etag), 404)
            problem(client.get(f"/v1/pictures/{one}/similar"), 404)
            problem(client.delete(f"/v1/pictures/{one}"), 404)
            listed = client.get("/v1/pictures", params={"limit": 1000}).json()
            assert one not in {item["id"] for item in listed["pictures"]}
        assert not list(own.library.with_name("kept").rglob("*.jpg"))
    assert (own.folder / "kind0/0.jpg").exists()
    assert not list(own.library.with_name("uploads").rglob("*.png"))  # it was the service's own
    with own.open() as library:
        assert library.verify() == []


# Groups and copies.


def test_groups_are_what_the_commands_tell(made: Made, reading: Inside) -> None:
    answer = reading.client.get("/v1/groups", params={"parts": True}).json()
    assert answer["groups"] == command(made, "groups")
    every = {one["id"] for one in command(made, "groups", "--parts")}
    assert every == {one["id"] for one in answer["groups"] + answer["parts"]}
    assert len(answer["groups"]) >= 2
    assert answer["noise"] + sum(one["size"] for one in answer["groups"]) == answer["pictures"]
    first = answer["groups"][0]
    report = reading.client.get(f"/v1/groups/{first['id']}").json()
    told = command(made, "groups", "show", str(first["id"]))
    for one, other in zip(report["members"], told["members"], strict=True):
        np.testing.assert_allclose(one.pop("near"), other.pop("near"), atol=0.01)
    assert report == told
    assert report["size"] == first["size"] == len(report["members"])
    strengths = [one["strength"] for one in report["members"]]
    assert strengths == sorted(strengths, reverse=True)
    page = reading.client.get(f"/v1/groups/{first['id']}", params={"offset": 2, "limit": 3}).json()
    assert [one["id"] for one in page["members"]] == [one["id"] for one in report["members"][2:5]]
    assert page["size"] == first["size"]
    noise = reading.client.get("/v1/groups/-1").json()
    assert noise["id"] == -1
    assert noise["size"] == answer["noise"]
    assert reading.client.get("/v1/groups/history").json() == command(made, "groups", "--history")
    assert reading.client.get("/v1/decisions").json() == []


def test_decisions_are_made_seen_and_undone(own: Made) -> None:
    with changing(own) as opened:
        client = opened.client

        def groups() -> dict[int, dict[str, Any]]:
            return {one["id"]: one for one in client.get("/v1/groups").json()["groups"]}

        first, second = list(groups())[:2]
        named = client.put(f"/v1/groups/{first}/name", json={"name": "Lisbon"})
        assert named.status_code == 200
        assert named.json()["kind"] == "name"
        assert groups()[first]["name"] == "Lisbon"
        members = client.get(f"/v1/groups/{first}").json()["members"]
        cover = members[-1]["id"]
        assert client.put(f"/v1/groups/{first}/cover", json={"picture": cover}).status_code == 200
        assert groups()[first]["cover"] == cover
        formed = client.post(
            "/v1/groups", json={"pictures": [one["id"] for one in members[:3]], "name": "Three"}
        )
        assert formed.status_code == 201
        own_group = formed.json()["group"]
        assert groups()[own_group]["size"] == 3
        assert groups()[own_group]["name"] == "Three"
        assert client.get(f"/v1/pictures/{members[0]['id']}").json()["group"] == own_group
        merged = client.post("/v1/groups/merge", json={"groups": [first, second]})
        assert merged.status_code == 200, merged.text
        assert merged.json()["kind"] == "together"
        assert not {first, second} <= groups().keys()
        numbers = [one["number"] for one in client.get("/v1/decisions").json()]
        for number in reversed(numbers):
            assert client.delete(f"/v1/decisions/{number}").status_code == 204
        assert client.get("/v1/decisions").json() == []
        assert {one["size"] for one in groups().values()} >= {groups()[first]["size"]}
        assert groups().keys() >= {first, second}

        pair = [one["id"] for one in members[:2]]
        for kind in ("together", "apart", "distinct"):
            made = client.post("/v1/decisions", json={"kind": kind, "pictures": pair})
            assert made.status_code == 201, made.text
            assert made.json()["kind"] == kind
        unknown = [pair[0], "0" * 32]
        for kind in ("together", "apart", "distinct"):
            problem(client.post("/v1/decisions", json={"kind": kind, "pictures": unknown}), 404)
        problem(client.post("/v1/groups", json={"pictures": unknown}), 404)
        problem(client.post("/v1/groups/merge", json={"groups": [first, 424242]}), 404)
        problem(client.put("/v1/groups/424242/name", json={"name": "x"}), 404)
        problem(client.put(f"/v1/groups/{first}/name", json={"name": ""}), 422)
        problem(client.put(f"/v1/groups/{first}/cover", json={"picture": "0" * 32}), 404)


def test_copies_are_looked_for_told_and_put_aside(own: Made, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(own.folder, folder)
    library_place = tmp_path / "copies"
    mine = Made(folder, library_place, own.model, own.ids)
    with mine.open() as library:
        library.add([folder])
    with changing(mine, aside=tmp_path / "aside") as opened:
        client = opened.client
        assert client.get("/v1/duplicates").json()["examined"] is False
        job = follow(client, client.post("/v1/jobs", json={"kind": "duplicates"}))
        assert job["state"] == "done", job
        assert job["result"]["sets"] >= 1
        answer = client.get("/v1/duplicates").json()
        assert answer["examined"] is True
        told = command(mine, "duplicates")
        assert answer["sets"] == told["sets"]
        assert answer["total"] == len(told["sets"])
        exact = client.get("/v1/duplicates", params={"up_to": "exact"}).json()
        (only,) = exact["sets"]
        paths = [one["path"] for one in only["files"]]
        assert paths == [str(folder / "kind1/0.png"), str(folder / "kind1/copy.png")]
        assert client.get("/v1/duplicates", params={"offset": 50}).json()["sets"] == []
        similar = f"/v1/pictures/{own.id('kind1/0.png')}/similar"
        assert client.get(similar, params={"diverse": True}).status_code == 200
        assert client.get("/v1/pictures", params={"copies": True}).json()["total"] >= 1

        strange = {"keep": paths[0], "files": [str(folder / "kind2/0.png")]}
        assert client.post("/v1/duplicates/aside", json=strange).status_code in {409, 422}
        assert (folder / "kind2/0.png").exists()
        put = client.post("/v1/duplicates/aside", json={"keep": paths[1], "files": [paths[0]]})
        assert put.status_code == 200, put.text
        (move,) = put.json()["moves"]
        assert move["path"] == paths[0]
        assert not (folder / "kind1/0.png").exists()
        assert content_id((tmp_path / "aside").joinpath(move["target"]).read_bytes()) == own.id(
            "kind1/0.png"
        )
        assert client.get("/v1/duplicates", params={"up_to": "exact"}).json()["sets"] == []
    with mine.open() as library:
        assert library.verify() == []


def test_no_copies_move_without_a_folder_for_them(reading: Inside) -> None:
    asked = {"keep": "/a.jpg", "files": ["/b.jpg"]}
    assert (
        "--aside" in problem(reading.client.post("/v1/duplicates/aside", json=asked), 403)["detail"]
    )


# Jobs and events.


def test_an_index_job_does_what_the_command_does(own: Made, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for seed in range(3):
        (more / f"{seed}.png").write_bytes(encoded(0, 60 + seed))
    (more / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with changing(own) as opened:
        client = opened.client
        asked = {"kind": "index", "paths": [str(more)]}
        job = follow(client, client.post("/v1/jobs", json=asked))
        assert job["state"] == "done", job
        assert job["settings"]["paths"] == [str(more)]
        report = job["result"]
        assert report["added"] == 3
        assert [one["path"] for one in report["skipped"]] == [str(more / "broken.png")]
        assert job["created"] <= job["started"] <= job["ended"]
        assert client.get("/v1/jobs").json()[0] == job
        again = follow(client, client.post("/v1/jobs", json=asked))
        assert again["result"]["added"] == 0
        assert [one["id"] for one in client.get("/v1/jobs").json()] == [again["id"], job["id"]]
        missing = {"kind": "index", "paths": [str(tmp_path / "nowhere")]}
        failed = follow(client, client.post("/v1/jobs", json=missing))
        assert failed["state"] == "failed"
        assert failed["problem"]["status"] == 422
        assert "nowhere" in failed["problem"]["detail"]
        grouped = follow(
            client, client.post("/v1/jobs", json={"kind": "cluster", "min_cluster_size": 4})
        )
        assert grouped["state"] == "done", grouped
        assert grouped["result"]["pictures"] == client.get("/v1/status").json()["pictures"]
        for body in (
            {"kind": "index"},
            {"kind": "index", "paths": []},
            {"kind": "cluster", "min_cluster_size": 1},
            {"kind": "dance"},
            {"kind": "map", "x": 1},
            {"kind": "index", "paths": ["a\0b"]},
        ):
            problem(client.post("/v1/jobs", json=body), 422)


def test_jobs_wait_their_turn_and_can_be_stopped() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(progress: Progress) -> list[str]:
        begun.set()
        go_on.wait(20)
        progress("walk", 1, 2)
        return ["done"]

    async def run() -> None:
        jobs = Jobs(broadcast := Broadcast())
        heard: list[str] = []
        with broadcast.listening() as events:
            first = jobs.begin("index", work, {})
            second = jobs.begin("cluster", lambda _: {"x": 1}, {})
            third = jobs.begin("map", work, {})
            await asyncio.to_thread(begun.wait, 20)
            assert [job.id for job in jobs] == [third.id, second.id, first.id]
            await asyncio.sleep(0.01)
            assert jobs.running is not None
            assert jobs.running.id == first.id
            assert jobs.cancel(third.id).state == "cancelled"
            assert jobs.cancel(third.id).state == "cancelled"
            jobs.cancel(first.id)
            go_on.set()
            async for event in events:
                assert event is not None
                heard.append(f"{event.record.kind} {event.record.state}")
                if heard[-1] == "cluster done":
                    break
        assert jobs.get(first.id).state == "cancelled"
        assert jobs.get(second.id).result == {"x": 1}
        assert heard == [
            *("index queued", "cluster queued", "map queued", "index running", "map cancelled"),
            *("index cancelled", "cluster running", "cluster done"),
        ]
        await jobs.close()

    asyncio.run(run())


def test_no_more_jobs_wait_than_there_is_room_for_even_if_they_are_stopped() -> None:
    halt = threading.Event()

    async def run() -> None:
        jobs = Jobs(Broadcast())
        jobs.begin("map", lambda _: halt.wait(20), {})
        begun = 0
        with pytest.raises(Problem) as raised:  # noqa: PT012 - it is the last of many
            for _ in range(1000):
                jobs.cancel(jobs.begin("map", lambda _: None, {}).id)
                begun += 1
        assert raised.value.body.status == 503
        assert 8 <= begun <= 32
        halt.set()
        await jobs.close()
        assert all(job.over for job in jobs)

    asyncio.run(run())


async def over(jobs: Jobs, job_id: str) -> None:
    while not jobs.get(job_id).over:  # noqa: ASYNC110 - nobody else tells
        await asyncio.sleep(0.001)


def test_ended_jobs_are_forgotten_at_last_and_bugs_do_not_spread() -> None:
    async def run() -> None:
        jobs = Jobs(Broadcast())
        broken = jobs.begin("map", lambda _: 1 // 0, {})
        await over(jobs, broken.id)
        ended = jobs.get(broken.id)
        assert (ended.state, ended.problem.status if ended.problem else 0) == ("failed", 500)
        for _ in range(150):
            job = jobs.begin("map", lambda _: None, {})
            await over(jobs, job.id)
        assert 100 <= len(list(jobs)) <= 102
        with pytest.raises(Problem):
            jobs.get(broken.id)
        await jobs.close()

    asyncio.run(run())


def heard(client: httpx.Client, address: str, until: str) -> list[tuple[str, Any]]:
    """Events up to one whose data holds some text."""
    events: list[tuple[str, Any]] = []
    with client.stream("GET", address) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((name, json.loads(line.removeprefix("data: "))))
                if until and until in line:
                    break
    return events


def test_events_tell_of_jobs_and_changes(own: Made, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for seed in range(40):
        (tmp_path / "more" / f"{seed}.png").write_bytes(encoded(1, 200 + seed))
    with changing(own) as opened, ThreadPoolExecutor(2) as threads:
        client = opened.client
        everything = threads.submit(heard, client, "/v1/events", '"state":"done"')
        time.sleep(0.2)
        begun = client.post("/v1/jobs", json={"kind": "index", "paths": [str(tmp_path / "more")]})
        events = heard(client, f"/v1/jobs/{begun.json()['id']}/events", "")  # until it ends
        assert {name for name, _ in events} == {"job"}
        assert events[-1][1] == client.get(f"/v1/jobs/{begun.json()['id']}").json()
        assert events[-1][1]["state"] == "done"
        news = everything.result(20)
        assert news[0][0] == "library"
        states = [data["state"] for name, data in news if name == "job"]
        assert states[0] == "queued"
        assert states[-1] == "done"
        after = heard(client, f"/v1/jobs/{begun.json()['id']}/events", "")
        assert after == [("job", events[-1][1])]


def test_news_reach_who_listens_and_who_lags_loses_the_oldest() -> None:
    async def run() -> None:
        broadcast = Broadcast(most=2)
        with broadcast.listening() as events, broadcast.listening():
            assert broadcast.full
            for at in range(100):
                broadcast.tell(Event("job", at))
            broadcast.close()
            got = [event.record async for event in events if event is not None]
        assert got == list(range(37, 100))
        assert not broadcast.full
        with broadcast.listening() as late:  # who comes after the end is sent home, too
            assert [event async for event in late] == []

    asyncio.run(run())


# Status, map, network.


def test_the_status_is_the_commands_and_says_what_may_be_asked(made: Made, reading: Inside) -> None:
    status = reading.client.get("/v1/status").json()
    told = command(made, "status")
    assert {key: status[key] for key in told if key in status} == {
        key: value for key, value in told.items() if key in status
    }
    assert len(told.keys() & status.keys()) >= 13
    service = status["service"]
    assert service["originals"] is True
    assert service["adding"] is service["addresses"] is service["aside"] is False
    assert service["indexing"] is True
    assert service["max_k"] == 1000
    for address in ("/healthz", "/readyz", "/metrics", "/v1/openapi.json", "/"):
        assert reading.client.get(address).status_code == 200


def test_without_a_library_all_is_empty_and_adding_makes_one(made: Made, tmp_path: Path) -> None:
    own = Made(made.folder, tmp_path / "library", made.model, {})
    with changing(own) as opened:
        client = opened.client
        status = client.get("/v1/status").json()
        assert (status["pictures"], status["index"], status["model"]) == (0, "none", None)
        assert status["change"] == ""
        nothing = {"total": 0, "offset": 0, "pictures": []}
        assert client.get("/v1/pictures").json() == nothing
        assert client.get("/v1/duplicates").json()["sets"] == []
        assert problem(client.get("/v1/groups"), 404)["type"] == "urn:imgindex:no-groups"
        for address in (f"/v1/pictures/{'0' * 32}", f"/v1/pictures/{'0' * 32}/similar", "/v1/map"):
            problem(client.get(address), 404)
        for address in ("/v1/decisions", "/v1/groups/history"):
            assert client.get(address).status_code in {200, 404}
        sent = {"file": ("x.png", encoded(1, 1), "image/png")}
        problem(client.post("/v1/search/upload", files=sent), 404)
        assert client.post("/v1/uploads", files=sent).json()["known"] is False
        added = client.post("/v1/pictures", files={"files": ("x.png", encoded(1, 1), "image/png")})
        assert added.status_code == 201, added.text
        assert client.get("/v1/status").json()["pictures"] == 1
        found = client.post("/v1/search/upload", files=sent)
        assert found.json()["matches"][0]["score"] == pytest.approx(1, abs=1e-4)


def test_the_map_and_its_points_agree(reading: Inside) -> None:
    drawn = reading.client.get("/v1/map").json()
    pictures = reading.client.get("/v1/pictures", params={"limit": 1000}).json()["pictures"]
    count = drawn["count"]
    assert count == len(pictures)
    points = reading.client.get(drawn["points"])
    assert points.headers["content-type"] == "application/octet-stream"
    assert len(points.content) == count * 36
    x, y, room, strength = (
        np.frombuffer(points.content, "<f4", count, at * 4 * count) for at in (0, 1, 2, 4)
    )
    group = np.frombuffer(points.content, "<i4", count, 12 * count)
    raw = points.content[20 * count :]
    ids = [raw[at : at + 16].hex() for at in range(0, len(raw), 16)]
    where = {one["id"]: one for one in pictures}
    assert set(ids) == where.keys()
    assert [where[one]["group"] for one in ids] == group.tolist()
    assert (x >= 0).all()
    assert (x <= drawn["width"] + 1e-6).all()
    assert (y <= drawn["height"] + 1e-6).all()
    assert (room >= 0).all()
    assert ((strength >= 0) & (strength <= 1)).all()
    for one in drawn["groups"]:
        assert one["size"] == int((group == one["id"]).sum())
        at = ids.index(one["cover"])
        assert (x[at], y[at]) == (pytest.approx(one["x"]), pytest.approx(one["y"]))
        assert one["light"].startswith("#")
    assert drawn["grouped"] is True
    problem(reading.client.get("/v1/map/points", params={"change": "another"}), 409)


def test_a_large_map_is_a_job(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgindex.web.routes.map._AT_ONCE", 3)
    with made.open() as library, inside(library) as opened:
        answer = opened.client.get("/v1/map")
        job = follow(opened.client, answer)
        assert (job["kind"], job["state"]) == ("map", "done")
        assert opened.client.get("/v1/map").status_code == 200


def test_the_network_is_looked_into(made: Made, reading: Inside) -> None:
    client = reading.client
    layers = client.get("/v1/layers").json()
    assert layers["model"] == "tiny"
    name = layers["layers"][0]["name"]
    picture = f"/v1/pictures/{made.id('kind0/0.jpg')}/features"
    features = client.get(picture, params={"layer": name}).json()
    assert features["layer"] == name
    assert len(features["channels"]) == layers["layers"][0]["channels"]
    for rest in ("sheet?top=4", "overlay", "maps/0"):
        drawn = client.get(f"{picture}/{name}/{rest}")
        assert drawn.headers["content-type"] == "image/png"
        assert drawn.content.startswith(b"\x89PNG")
    for rest in ("sheet?top=0", "maps/-1", "maps/100000", "maps/x"):
        assert client.get(f"{picture}/{name}/{rest}").status_code in {404, 422}
    problem(client.get(f"{picture}/nolayer/overlay"), 404)
    problem(client.get(picture, params={"layer": "nolayer"}), 404)
    sent = client.post("/v1/uploads", files={"file": ("x.png", encoded(1, 123), "image/png")})
    upload = f"/v1/uploads/{sent.json()['id']}"
    assert client.get(f"{upload}/features", params={"layer": name}).status_code == 200
    assert client.get(f"{upload}/thumbnail/medium").content.startswith(b"\xff\xd8")
    pair = {"a": made.id("kind0/0.jpg"), "b": made.id("kind0/1.jpg")}
    explained = client.get("/v1/explain", params=pair).json()
    assert explained["a"].endswith("kind0/0.jpg") or explained["a"] == pair["a"]
    assert client.get("/v1/explain/sheet", params=pair).content.startswith(b"\x89PNG")
    problem(client.get("/v1/explain", params={**pair, "b": "0" * 32}), 404)


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that are not UTF-8")
def test_names_that_are_not_utf8_are_told(made: Made, tmp_path: Path) -> None:
    own = Made(tmp_path / "odd", tmp_path / "library", made.model, {})
    own.folder.mkdir()
    name = os.fsdecode(b"caf\xe9 \xff.png")
    (own.folder / name).write_bytes(encoded(1, 5))
    (own.folder / 'quote"\n\u2603.png').write_bytes(encoded(1, 6))
    with own.open() as library:
        library.add([own.folder])
        with inside(library, originals=True) as opened:
            listed = json.loads(opened.client.get("/v1/pictures").content)["pictures"]
            assert {one["paths"][0] for one in listed} == {
                str(own.folder / name),
                str(own.folder / 'quote"\n\u2603.png'),
            }
            for one in listed:
                answer = opened.client.get(f"/v1/pictures/{one['id']}/original")
                assert answer.status_code == 200
                assert answer.headers["content-disposition"].isascii()
                assert "\n" not in answer.headers["content-disposition"]
                found = opened.client.get(f"/v1/pictures/{one['id']}/similar").json()
                assert len(found["matches"]) == 2


_TEXT = st.text() | st.text(alphabet=st.characters(categories=("Cs", "L", "Cc")))


@given(
    _TEXT,
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.integers(-(2**53), 2**53)),
    _TEXT | st.none(),
)
def test_json_is_what_the_standard_library_writes(
    text: str, number: float, numbers: list[int], name: str | None
) -> None:
    group = Group(7, 3, text, (text, "b"), name, None, None)
    record = {"group": group, "x": number, "n": numbers, "a": np.arange(3)}
    expected = {
        "group": {
            "id": 7,
            "size": 3,
            "medoid": text,
            "exemplars": [text, "b"],
            "name": name,
            "cover": None,
            "parent": None,
        },
        "x": number,
        "n": numbers,
        "a": [0, 1, 2],
    }
    assert json.loads(bytes(Json(record).body)) == expected


# Many at once.


def test_whoever_asks_gets_the_answer_to_his_own_question(made: Made) -> None:
    names = [name for name in made.ids if "copy" not in name] * 3
    with made.open() as library, inside(library) as opened, ThreadPoolExecutor(24) as threads:
        client = opened.client

        def similar(name: str) -> str:
            answer = client.get(f"/v1/pictures/{made.id(name)}/similar", params={"k": 1})
            return str(answer.json()["matches"][0]["id"])

        def sent(name: str) -> str:
            seed = int(content_id(name.encode())[:6], 16)
            picture = png(Image.blend(variant(int(name[4]), 1), scene(seed, 160, 120), 0.02))
            answer = client.post(
                "/v1/search/upload",
                params={"k": 25},
                content=picture,
                headers={"Content-Type": "image/png"},
            )
            assert answer.status_code == 200, answer.text
            kinds = [one["path"].split("/")[-2][4] for one in answer.json()["matches"]]
            return str(kinds[0])

        assert list(threads.map(similar, names)) == [made.id(name) for name in names]
        assert list(threads.map(sent, names)) == [name[4] for name in names]
        text = client.get("/metrics").text
        sizes = {
            line.split('work="')[1].split('"')[0]: float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith("imgindex_batch_size_sum")
        }
        counts = {
            line.split('work="')[1].split('"')[0]: float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith("imgindex_batch_size_count")
        }
        assert counts["search"] < sizes["search"]  # several at once
        assert len(set(names)) <= sizes["embed"] <= len(names)  # the same is embedded once
        assert opened.service.in_flight == 0


def test_batches_form_while_one_is_worked_on_and_keep_their_order() -> None:
    batches: list[list[int]] = []
    go_on = threading.Event()

    def work(asked: Sequence[int]) -> list[int | Exception]:
        batches.append(list(asked))
        go_on.wait(20)
        return [ValueError(str(one)) if one % 10 == 7 else one * 2 for one in asked]

    async def run() -> None:
        lane = Batcher("test", work, most=8, room=1000)
        asking = [asyncio.create_task(lane.ask(one)) for one in range(100)]
        await asyncio.sleep(0.05)
        assert lane.waiting == 92  # the first batch is what was there when the thread was free
        gone = asking[50]
        gone.cancel()
        go_on.set()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        for one, answer in enumerate(answers):
            if one == 50:
                assert isinstance(answer, asyncio.CancelledError)
            elif one % 10 == 7:
                assert isinstance(answer, ValueError)
                assert str(answer) == str(one)
            else:
                assert answer == one * 2
        done = [one for batch in batches for one in batch]
        assert done == [one for one in range(100) if one != 50]  # first come, first served
        assert max(map(len, batches)) == 8
        await lane.close()

    asyncio.run(run())


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 20), st.lists(st.integers(1, 12), max_size=12))
def test_the_queue_never_grows_beyond_its_room(most: int, room: int, waves: list[int]) -> None:
    longest = 0

    async def run() -> None:
        nonlocal longest
        lane: Batcher[int, int] = Batcher("test", list, most=most, room=room)
        asking: list[asyncio.Task[int]] = []
        for wave in waves:
            for one in range(wave):
                asking.append(asyncio.create_task(lane.ask(one)))
                await asyncio.sleep(0)
                longest = max(longest, lane.waiting)
        answers = await asyncio.gather(*asking, return_exceptions=True)
        refused = [one for one in answers if isinstance(one, Problem)]
        assert all(
            one.body.status == 503 and one.response().headers["retry-after"] for one in refused
        )
        assert len(refused) <= max(0, sum(waves) - room)
        assert all(isinstance(one, int | Problem) for one in answers)
        assert lane.waiting == 0
        await lane.close()

    asyncio.run(run())
    assert longest <= room


def test_a_work_that_breaks_breaks_its_batch_and_no_other() -> None:
    def work(asked: Sequence[int]) -> list[int]:
        if 3 in asked:
            raise OSError("broken")
        return list(asked)

    async def run() -> None:
        lane = Batcher("test", work, most=1, room=100)
        answers = await asyncio.gather(*map(lane.ask, range(6)), return_exceptions=True)
        assert [isinstance(one, OSError) for one in answers] == [at == 3 for at in range(6)]
        await lane.close()

    asyncio.run(run())


def test_threads_have_a_bounded_queue() -> None:
    halt = threading.Event()

    async def run() -> None:
        pool = Pool("test", 2, 3)
        inside = [asyncio.create_task(pool.run(halt.wait, 20)) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(Problem) as raised:
            await pool.run(list)
        assert raised.value.body.status == 503
        inside[-1].cancel()  # it has not begun, so its place is free again
        await asyncio.sleep(0)
        inside[-1] = asyncio.create_task(pool.run(halt.wait, 20))
        await asyncio.sleep(0)
        halt.set()
        await asyncio.gather(*inside)
        assert pool.inside == 0
        pool.close()

    asyncio.run(run())


def test_a_full_service_says_so_and_recovers(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, begun = threading.Event(), threading.Event()
    plain = Library.search_many

    def slow(*args: Any, **kwargs: Any) -> Any:
        begun.set()
        go_on.wait(20)
        return plain(*args, **kwargs)

    monkeypatch.setattr("imgindex.web.service._SEARCHING", 1)
    with (
        made.open() as library,
        inside(library, room=4) as opened,
        ThreadPoolExecutor(16) as threads,
    ):
        monkeypatch.setattr(Library, "search_many", slow)
        address = f"/v1/pictures/{made.id('kind0/0.jpg')}/similar"
        first = threads.submit(opened.client.get, address)
        assert begun.wait(20)
        others = [threads.submit(opened.client.get, address) for _ in range(12)]
        for _ in range(200):
            if sum(one.done() for one in others) == 8:
                break
            time.sleep(0.02)
        refused = [one.result() for one in others if one.done()]
        assert len(refused) == 8
        for answer in refused:
            assert problem(answer, 503)["type"] == "urn:imgindex:too-busy"
            assert int(answer.headers["retry-after"]) >= 1
        assert opened.client.get("/healthz").status_code == 200
        assert opened.client.get("/v1/status").status_code == 200  # other work goes on
        go_on.set()
        answered = [one.result() for one in (first, *others) if one.result() not in refused]
        assert [one.status_code for one in answered] == [200] * 5
        assert opened.client.get(address).status_code == 200


def test_deep_searches_do_not_hold_up_light_ones(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    plain = Library.search_many

    def slow(*args: Any, **kwargs: Any) -> Any:
        if kwargs["exact"]:
            go_on.wait(20)
        return plain(*args, **kwargs)

    monkeypatch.setattr(Library, "search_many", slow)
    with made.open() as library, inside(library) as opened, ThreadPoolExecutor(4) as threads:
        address = f"/v1/pictures/{made.id('kind0/0.jpg')}/similar"
        deep = [threads.submit(opened.client.get, f"{address}?exact=true") for _ in range(3)]
        time.sleep(0.1)
        assert opened.client.get(address).status_code == 200
        assert not any(one.done() for one in deep)
        go_on.set()
        assert all(one.result().json()["way"] == "exact" for one in deep)


def test_uploads_hold_no_more_than_their_bound(made: Made) -> None:
    with made.open() as library:
        facts = library.inspect(made.data("kind0/0.jpg"))
    kept = Uploads(most=1000)
    for at in range(50):
        one = Upload(replace(facts, id=f"{at:032x}"), b"x" * 300)
        kept.keep(one)
        kept.keep(one)  # again: it counts once
    for at in range(50):
        if at >= 47:
            assert kept.get(f"{at:032x}").data == b"x" * 300
        else:
            with pytest.raises(Problem):
                kept.get(f"{at:032x}")


def test_many_add_the_same_pictures_at_once(own: Made) -> None:
    new = [encoded(0, 300 + seed) for seed in range(6)]

    with changing(own) as opened, ThreadPoolExecutor(8) as threads:

        def send(at: int) -> list[dict[str, Any]]:
            files = [("files", (f"{at}.jpg", data, "image/jpeg")) for data in new]
            answer = opened.client.post("/v1/pictures", files=files)
            assert answer.status_code == 201, answer.text
            told: list[dict[str, Any]] = answer.json()["pictures"]
            return told

        answers = list(threads.map(send, range(8)))
        for told in answers:
            assert [one["id"] for one in told] == [content_id(data) for data in new]
            assert all(one["reason"] is None for one in told)
        for at in range(len(new)):  # one of them brought it
            assert sum(not told[at]["known"] for told in answers) == 1
    with own.open() as library:
        assert library.verify() == []
        assert library.paths([content_id(data) for data in new]).keys() == {
            content_id(data) for data in new
        }


def test_a_failed_add_takes_away_its_own_file_and_no_other(
    own: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Library.add
    broken = True

    def add(self: Library, *args: Any, **kwargs: Any) -> Any:
        if broken:
            raise OSError("the disk is on fire")
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(Library, "add", add)
    sent = {"files": ("x.jpg", encoded(0, 400), "image/jpeg")}
    with changing(own) as opened:
        problem(opened.client.post("/v1/pictures", files=sent), 500)
        assert not list(own.library.with_name("uploads").rglob("*.jpg"))
        broken = False
        assert opened.client.post("/v1/pictures", files=sent).status_code == 201
        broken = True
        assert opened.client.post("/v1/pictures", files=sent).json()["pictures"][0]["known"]
        assert len(list(own.library.with_name("uploads").rglob("*.jpg"))) == 1


# Several processes.


_HOLD = """import sys, filelock
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_another_writer_is_waited_for_in_words_and_reading_goes_on(own: Made) -> None:
    sent = {"files": ("x.jpg", encoded(0, 500), "image/jpeg")}
    with changing(own) as opened:
        lock = next(own.library.glob("*lock*"))
        holder = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _HOLD,
                str(lock),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline().strip() == b"held"
            body = problem(opened.client.post("/v1/pictures", files=sent), 409)
            assert body["type"] == "urn:imgindex:library-busy"
            assert "another process" in body["detail"]
            gone = opened.client.delete(f"/v1/pictures/{own.id('kind0/0.jpg')}")
            assert problem(gone, 409)["type"] == "urn:imgindex:library-busy"
            assert gone.headers["retry-after"]
            asked = {"kind": "index", "paths": [str(own.folder)]}
            job = follow(opened.client, opened.client.post("/v1/jobs", json=asked))
            assert job["state"] == "failed"
            assert job["problem"]["status"] == 409
            address = f"/v1/pictures/{own.id('kind0/0.jpg')}"
            for rest in ("", "/similar", "/thumbnail/small"):
                assert opened.client.get(f"{address}{rest}").status_code == 200
        finally:
            holder.communicate()
        assert not list(own.library.with_name("uploads").rglob("*.jpg"))
        assert opened.client.post("/v1/pictures", files=sent).status_code == 201


def test_what_another_process_adds_is_seen_within_a_second(own: Made, tmp_path: Path) -> None:
    new = tmp_path / "new.png"
    new.write_bytes(encoded(2, 600))
    with changing(own) as opened, ThreadPoolExecutor(1) as threads:
        client = opened.client
        total = client.get("/v1/pictures").json()["total"]
        change = client.get("/v1/status").json()["change"]
        news = threads.submit(heard, client, "/v1/events", "until it is cut off")
        time.sleep(0.3)
        code = "import sys; from imgindex import Library\n"
        code += "with Library(sys.argv[1], model=sys.argv[2], device='cpu') as library:\n"
        code += "    library.add([sys.argv[3]])"
        subprocess.run(
            [sys.executable, "-c", code, str(own.library), str(own.model), str(new)], check=True
        )
        time.sleep(1)
        assert client.get("/v1/pictures").json()["total"] == total + 1
        assert client.get("/v1/status").json()["change"] != change
        found = client.get(f"/v1/pictures/{content_id(new.read_bytes())}/similar").json()
        assert found["matches"][0]["path"] == str(new)
        opened.service.broadcast.close()
        time.sleep(0.1)
        opened.server.should_exit = True
        told = [data["change"] for name, data in news.result(30) if name == "library"]
        assert len(told) >= 2
        assert told[0] == change
