"""What the service tells and changes: pictures, groups, copies, the map, the network."""

from __future__ import annotations

import json
import os
import shutil
import sys
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import png, scene
from PIL import Image
from served import Inside, inside
from served_library import EACH, Made, changing, command, encoded, follow, problem

from imgindex.records import Group
from imgindex.scan import content_id
from imgindex.web.answers import Json
from imgindex.web.thumbnails import Thumbnails

if TYPE_CHECKING:
    from pathlib import Path


pytest_plugins = ["served_library"]


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
