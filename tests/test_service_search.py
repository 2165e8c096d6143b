"""Searching over HTTP: by id, by upload, by several pictures, by parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from served_library import EACH, KINDS, Made, command, encoded, problem

from imgindex.records import Box, Term

if TYPE_CHECKING:
    from pathlib import Path

    from served import Inside


pytest_plugins = ["served_library"]


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


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        ('{"kind": "map"}', "application/x-www-form-urlencoded", "Content-Type: application/json"),
        ("", None, "Content-Type: application/json"),
        ('{"kind"', "application/json", "no JSON: Expecting ':' delimiter, at character 7"),
        ('{"kind": "index"}', "application/json", "index.paths: Field required"),
        ("[]", "application/json", "the request: "),
        ('{"kind": "map", "mop": 1}', "application/json", "map.mop: there is no such field"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(
    reading: Inside, data: str, kind: str | None, words: str
) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    answer = reading.client.post("/v1/jobs", content=data, headers=headers)
    assert words in problem(answer, 422)["detail"]


def test_a_value_is_refused_in_our_own_words(made: Made, reading: Inside) -> None:
    address = f"/v1/pictures/{made.id('kind1/0.png')}/similar?box=1,2,3"
    assert problem(reading.client.get(address), 422)["detail"].startswith("box: '1,2,3' is no box;")


def test_only_the_body_is_missing_where_a_head_is_asked_for(made: Made, reading: Inside) -> None:
    picture = f"/v1/pictures/{made.id('kind1/0.png')}"
    for address in ("/", "/style.css", "/healthz", "/readyz", "/v1/groups", picture, "/v1/nothing"):
        whole, head = reading.client.get(address), reading.client.head(address)
        assert (head.status_code, head.content) == (whole.status_code, b"")
        heads = [{**one.headers, "date": ""} for one in (whole, head)]
        assert heads[0] == heads[1]


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
