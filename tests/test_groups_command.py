"""The groups as the installed command shows and changes them."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import command
import numpy as np
import pytest
from pictures import png, scene
from PIL import Image

from imgindex import Library, open_store
from imgindex.records import IndexedFile, ModelPin, Picture, no_progress

IMGINDEX = Path(sys.executable).with_name("imgindex")


@pytest.fixture
def place(tmp_path: Path, model_file: Path) -> Path:
    """Three families of near-equal pictures, 10, 8 and 6, grouped."""
    generator = np.random.default_rng(0)
    for family, count in enumerate((10, 8, 6)):
        base = np.asarray(scene(50 + family, 48, 36), np.int16)
        for member in range(count):
            noisy = np.clip(base + generator.integers(-6, 7, base.shape), 0, 255)
            image = Image.fromarray(noisy.astype(np.uint8))
            path = tmp_path / "photos" / f"{family}-{member}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(png(image))
    with Library(tmp_path / "lib", model=model_file, device="cpu") as library:
        library.add([tmp_path / "photos"])
        library.cluster(min_cluster_size=4, min_samples=2, space="descriptor")
    return tmp_path


def run(place: Path, *arguments: str, code: int = 0) -> str:
    ran = command.run(*arguments, at=place, code=code, environ={"IMGINDEX_LIBRARY": "lib"})
    return ran.text or ran.err


def sizes(place: Path) -> dict[int, int]:
    told: list[dict[str, Any]] = json.loads(run(place, "groups", "--json"))
    return {group["id"]: group["size"] for group in told}


def test_groups_are_listed_by_size_and_shown_with_their_members(place: Path) -> None:
    assert sizes(place) == {0: 10, 1: 8, 2: 6}
    lines = run(place, "groups").splitlines()
    assert lines[0].split() == ["group", "pictures", "cover"]
    assert [line.split()[:2] for line in lines[1:]] == [["0", "10"], ["1", "8"], ["2", "6"]]
    shown = run(place, "groups", "show", "1")
    assert shown.startswith("group 1: 8 pictures, tightness ")
    assert shown.count(".png") == 8
    told = json.loads(run(place, "groups", "show", "1", "--json"))
    assert {Path(path).name[0] for one in told["members"] for path in one["paths"]} == {"1"}
    assert 0 < told["tightness"] <= 1


def test_names_and_covers_last_through_the_next_run_and_can_be_forgotten(place: Path) -> None:
    run(place, "groups", "name", "2", "Lisbon, 2024")
    run(place, "groups", "cover", "2", "photos/2-3.png")
    run(place, "cluster", "--space", "descriptor", "--min-cluster-size", "4", "--min-samples", "2")
    listed = run(place, "groups")
    assert "Lisbon, 2024" in listed
    assert listed.splitlines()[3].endswith("2-3.png")
    run(place, "export", "groups.json")
    exported = json.loads((place / "groups.json").read_bytes())
    assert [group["name"] for group in exported["groups"]] == [None, None, "Lisbon, 2024"]
    assert len(exported["decisions"]) == 2
    assert run(place, "groups", "decisions").count("\n") == 2
    run(place, "groups", "forget", "1")
    assert "Lisbon" not in run(place, "groups")
    assert "no decision" in run(place, "groups", "forget", "1", code=1)


def test_pictures_are_put_together_and_kept_apart(place: Path) -> None:
    told = run(place, "groups", "together", "photos/0-0.png", "photos/1-0.png", "photos/1-1.png")
    assert told.startswith("decision 1: together ")
    assert [Path(path).name for path in told.split()[3:]] == ["0-0.png", "1-0.png", "1-1.png"]
    together = sizes(place)
    assert sorted(together.values()) != [6, 8, 10]
    assert sum(together.values()) == 24
    run(place, "groups", "forget", "1")
    assert sizes(place) == {0: 10, 1: 8, 2: 6}
    run(place, "groups", "apart", "photos/0-0.png", "photos/0-1.png")
    assert sizes(place)[0] == 9


def test_a_run_counts_the_groups_that_it_shows(place: Path) -> None:
    run(place, "groups", "form", "photos/0-0.png", "photos/1-0.png")
    settings = ("--space", "descriptor", "--min-cluster-size", "4", "--min-samples", "2")
    told = json.loads(run(place, "cluster", *settings, "--json"))
    assert told["groups"] == len(sizes(place)) == 4
    assert told["noise"] == 24 - sum(sizes(place).values())
    first, _, *rows = run(place, "cluster", *settings).splitlines()
    assert first.startswith(f"{len(rows)} groups of 24 pictures in ")


def test_history_tells_what_became_of_groups(place: Path, model_file: Path) -> None:
    for file in (place / "photos").glob("2-*.png"):
        file.unlink()
    run(place, "index", "photos", "--model", str(model_file))
    run(place, "cluster", "--space", "descriptor", "--min-cluster-size", "4", "--min-samples", "2")
    told = json.loads(run(place, "groups", "--history", "--json"))
    assert [change["kind"] for change in told].count("new") == 3
    assert [change["before"][0]["id"] for change in told if change["kind"] == "gone"] == [2]
    assert "gone" in run(place, "groups", "--history")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["groups", "show", "77"], 1, "77"),
        (["groups", "name", "77", "x"], 1, "77"),
        (["groups", "cover", "0", "photos/1-0.png"], 1, "1-0.png"),
        (["groups", "together", "photos/0-0.png"], 2, ""),
        (["groups", "apart", "photos/0-0.png", "nosuch.png"], 1, "nosuch.png"),
    ],
)
def test_what_cannot_be_done_is_told(
    place: Path, arguments: list[str], code: int, said: str
) -> None:
    assert said in run(place, *arguments, code=code)
    assert sizes(place) == {0: 10, 1: 8, 2: 6}


@pytest.fixture
def heaps(tmp_path: Path) -> Path:
    """Two close pairs of heaps and a lone one, 30 pictures each, as rows on a patch of a sphere."""
    generator = np.random.default_rng(2)
    at = [(0, 0), (0.4, 0), (4, 0), (4.4, 0), (0, 4)]
    flat = np.concatenate([generator.normal(one, 0.1, (30, 2)) for one in at]) / 10
    rows = np.column_stack([flat, np.sqrt(1 - (flat**2).sum(axis=1))]).astype(np.float32)
    with closing(open_store(tmp_path / "lib", create=True)) as store:
        store.pin(ModelPin("made", "0" * 64, 3, 1))
        pictures = [Picture(f"{number:032x}", 1, 1, "PNG") for number in range(len(rows))]
        files = [IndexedFile(f"/made/{one.id}", 1, 1, one.id) for one in pictures]
        store.add(pictures, rows, files)
        store.refresh(no_progress)
    return tmp_path


CUT = "cluster", "--space", "descriptor", "--min-cluster-size", "18", "--min-samples", "3"


def test_a_large_group_can_be_opened_and_its_parts_have_ids_that_last(heaps: Path) -> None:
    run(heaps, *CUT)
    groups = json.loads(run(heaps, "groups", "--json"))
    assert sorted(group["size"] for group in groups) == [30, 60, 60]
    assert {group["parent"] for group in groups} == {None}
    every = json.loads(run(heaps, "groups", "--parts", "--json"))
    parts = [group for group in every if group["parent"] is not None]
    assert len(parts) == 4
    pair = next(group["id"] for group in groups if group["size"] == 60)
    inside = sorted(group["id"] for group in parts if group["parent"] == pair)
    told = json.loads(run(heaps, "groups", "show", str(pair), "--json"))
    assert sorted(part["id"] for part in told["parts"]) == inside
    part = inside[0]
    told = json.loads(run(heaps, "groups", "show", str(part), "--json"))
    assert told["parent"] == pair
    assert 18 <= told["size"] == len(told["members"]) <= 30
    assert set(told["exemplars"]) <= {one["id"] for one in told["members"]}
    run(heaps, "groups", "name", str(part), "left")
    run(heaps, "groups", "cover", str(part), told["members"][-1]["id"])
    assert "is not in group" in run(heaps, "groups", "cover", str(part), f"{149:032x}", code=1)
    listed = run(heaps, "groups", "--parts").splitlines()
    assert sum(line.startswith("  ") for line in listed) == 4
    assert any(line.startswith(f"  {part} ") and "left" in line for line in listed)
    assert "left" not in run(heaps, "groups")
    assert f"a part of group {pair}" in run(heaps, "groups", "show", str(part))
    run(heaps, *CUT)
    again = json.loads(run(heaps, "groups", "--parts", "--json"))
    assert [(one["id"], one["parent"], one["size"]) for one in again] == [
        (one["id"], one["parent"], one["size"]) for one in every
    ]
    run(heaps, "export", "all.json")
    exported = json.loads((heaps / "all.json").read_bytes())
    assert {one["id"]: one["name"] for one in exported["subgroups"]}[part] == "left"
    assert all(0.99 < one["tightness"] <= 1 for one in exported["groups"] + exported["subgroups"])
    members = [one for group in exported["groups"] for one in group["members"]]
    for group in exported["groups"]:
        assert all(one["near"][0][0] == group["id"] for one in group["members"])
        assert all(0 < share <= 1 for one in group["members"] for _, share in one["near"])
    assert sum(one["part"] == part for one in members) == told["size"]


def test_the_id_of_a_part_that_vanished_is_never_used_again(heaps: Path) -> None:
    seen: list[set[int]] = []
    for size in ("18", "5", "18", "5"):
        run(heaps, "cluster", *CUT[1:3], "--min-cluster-size", size, "--min-samples", "3")
        seen.append({one["id"] for one in json.loads(run(heaps, "groups", "--parts", "--json"))})
    assert seen[0] == set(range(7)) == seen[2]
    assert seen[0] < seen[1]
    assert min(seen[3] - seen[0]) > max(seen[1])


def test_status_tells_the_recall_where_it_is_asked(heaps: Path) -> None:
    assert "recall" not in json.loads(run(heaps, "status", "--json"))
    told = json.loads(run(heaps, "status", "--check-recall", "--json"))
    assert told["vectors"] == 150
    assert 0.9 < told["recall"]["recall"] <= 1
    assert told["recall"]["queries"] == 150
    assert " of the 10 nearest of 150 pictures, in " in run(heaps, "status", "--check-recall")


def test_a_library_of_an_older_format_is_grouped_on(heaps: Path) -> None:
    run(heaps, *CUT)
    with closing(sqlite3.connect(heaps / "lib" / "library.sqlite")) as db:
        db.executescript(
            """
            ALTER TABLE grouping DROP COLUMN next_label;
            DELETE FROM grouped WHERE parent IS NOT NULL;
            ALTER TABLE grouped DROP COLUMN parent;
            ALTER TABLE member DROP COLUMN part;
            DELETE FROM change;
            DROP TABLE twin;
            DROP TABLE examined;
            DROP TABLE sketch;
            DROP TABLE seal;
            ALTER TABLE picture DROP COLUMN checksum;
            PRAGMA user_version = 2;
            """
        )
    before = sizes(heaps)
    run(heaps, *CUT)
    every = json.loads(run(heaps, "groups", "--parts", "--json"))
    assert sizes(heaps) == before
    assert len({one["id"] for one in every}) == len(every) == 7
    run(heaps, "export", "all.html", code=3)  # there are no such files


def test_a_library_whose_grouped_pictures_all_left_is_grouped_anew(heaps: Path) -> None:
    run(heaps, *CUT)
    with closing(open_store(heaps / "lib")) as store:
        _, rows = store.vectors()
        store.mark_missing([file.path for file in store.files()])
        store.prune()
        new = [Picture(f"f{number:031x}", 1, 1, "PNG") for number in range(len(rows))]
        files = [IndexedFile(f"/new/{one.id}", 1, 1, one.id) for one in new]
        store.add(new, rows, files)
        store.refresh(no_progress)
    run(heaps, *CUT)
    assert sorted(sizes(heaps).values()) == [30, 60, 60]
    assert min(sizes(heaps)) >= 7


def test_the_number_of_a_forgotten_group_is_not_given_again(heaps: Path) -> None:
    run(heaps, "cluster", *CUT[1:], "--min-cluster-size", "70")
    ids = [f"{number:032x}" for number in (0, 40, 70)]
    made = []
    for _ in range(2):
        told = json.loads(run(heaps, "groups", "together", *ids, "--json"))
        made.append(told["group"])
        run(heaps, "groups", "forget", str(told["number"]))
    run(heaps, *CUT)
    assert made[0] < made[1] < min(sizes(heaps))


def test_a_part_shows_its_own_densest_pictures(heaps: Path) -> None:
    run(heaps, *CUT)
    every = json.loads(run(heaps, "groups", "--parts", "--json"))
    inner = [one for one in every if one["parent"] is not None]
    assert all(0 < len(one["exemplars"]) < one["size"] for one in inner)
    for group in every:
        parts = [one for one in inner if one["parent"] == group["id"]]
        if parts:
            shown = sorted(picture for one in parts for picture in one["exemplars"])
            assert sorted(group["exemplars"]) == shown
