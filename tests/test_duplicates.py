"""Copies: found, told from pictures that are merely alike, and put aside without losing any."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench_duplicates
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import exif, jpeg, png, scene
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps
from typer.testing import CliRunner

from imgindex import Library
from imgindex.cli.app import app
from imgindex.copies import Held, Related
from imgindex.duplicates import Likeness, Turn, likeness, sets
from imgindex.duplicates.rotation import rotation, spectrum
from imgindex.duplicates.waves import TURNS, turned, waves
from imgindex.errors import LibraryBusyError, QueryError, SettingError
from imgindex.pixels import decode, digest, small
from imgindex.records import SKETCH_SIDE, DuplicateSet, IndexedFile, Picture, Twin
from imgindex.resources import Resources
from imgindex.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imgindex.records import Pixels

SHARED = Path(__file__).parents[2] / "shared"
PHOTOS, SAMPLES = SHARED / "photos", SHARED / "duplicates"
needs_photos = pytest.mark.skipif(
    not PHOTOS.is_dir(), reason="needs ../shared/photos, sample pictures that are not kept here"
)
needs_samples = pytest.mark.skipif(
    not SAMPLES.is_dir(),
    reason="needs ../shared/duplicates, sample pictures that are not kept here",
)
ALL = (0.0, 0.0, 1.0, 1.0)

runner = CliRunner()


def square(data: bytes) -> Pixels:
    sketch = decode(data, size=64, fit="squash", max_megapixels=9).sketch
    return np.frombuffer(sketch, np.uint8).reshape(SKETCH_SIDE, SKETCH_SIDE)


def busy(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """A scene with things in it: a smooth one has nothing to be aligned by."""
    image = scene(seed, width, height)
    draw = ImageDraw.Draw(image)
    random = np.random.default_rng(seed)
    for left, top, wide, high, *colour in random.integers(0, 256, (50, 7)).tolist():
        x, y = left * width // 256, top * height // 256
        draw.rectangle((x, y, x + wide // 6 + 2, y + high // 6 + 2), tuple(colour))
    return image


def pixels_of(image: Image.Image) -> Pixels:
    return small(png(image), 352, max_megapixels=9)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six scenes; of two there are copies."""
    place = tmp_path / "pictures"
    (place / "copies").mkdir(parents=True)
    for seed in range(6):
        (place / f"scene-{seed}.jpg").write_bytes(jpeg(scene(seed, 240, 180), quality=95))
    first = scene(0, 240, 180)
    shutil.copy(place / "scene-0.jpg", place / "copies" / "same.jpg")
    (place / "copies" / "small.jpg").write_bytes(jpeg(first.resize((120, 90)), quality=70))
    (place / "copies" / "mirror.jpg").write_bytes(jpeg(ImageOps.mirror(first), quality=95))
    with Image.open(place / "scene-1.jpg") as decoded:
        (place / "copies" / "lossless.png").write_bytes(png(decoded.convert("RGB")))
    return place


@pytest.fixture
def library(folder: Path, tmp_path: Path, model_file: Path) -> str:
    where = str(tmp_path / "library")
    with Library(where, model=model_file) as opened:
        opened.add([folder])
    return where


def told(found: Sequence[DuplicateSet]) -> list[dict[str, str]]:
    return [{os.path.basename(one.path): one.kind for one in some.files} for some in found]  # noqa: PTH119


def run(*words: str, code: int = 0) -> str:
    result = runner.invoke(app, ["duplicates", *words])
    assert result.exit_code == code, result.output
    return result.stdout


def test_sets_their_kinds_and_the_best(library: str, folder: Path) -> None:
    with Library(library) as opened:
        found = opened.duplicates()
        assert not found.skipped
        assert told(found.sets) == [
            {
                "scene-0.jpg": "exact",
                "same.jpg": "exact",
                "mirror.jpg": "near",
                "small.jpg": "near",
            },
            {"lossless.png": "exact", "scene-1.jpg": "pixels"},
        ]
        first, second = found.sets
        assert first.best == first.files[0].path
        assert Path(first.best).parent == folder  # the same bytes; nothing else tells them apart
        assert second.why.startswith("the most bytes, ")
        assert [one.score == 1 for one in first.files] == [True, True, False, False]
        assert all(0.75 < one.score < 1 for one in first.files[2:])
        exact = opened.duplicates("exact")
        assert told(exact.sets) == [{"scene-0.jpg": "exact", "same.jpg": "exact"}]
        pixels = opened.duplicates("pixels")
        assert [len(one.files) for one in pixels.sets] == [2, 2]
        with pytest.raises(SettingError, match="exact, pixels, near, not 'alike'"):
            opened.duplicates("alike")  # type: ignore[arg-type]


def test_the_largest_is_best_then_the_one_taken_first(tmp_path: Path, model_file: Path) -> None:
    image = scene(3, 240, 180)
    (tmp_path / "large.jpg").write_bytes(jpeg(image))
    (tmp_path / "small.jpg").write_bytes(jpeg(image.resize((200, 150)), quality=100))
    other = scene(4, 240, 180)
    for name, taken in (("later", "2020:05:01 10:00:00"), ("first", "2019:05:01 10:00:00")):
        data = jpeg(other, quality=90, exif=exif(taken=taken))
        (tmp_path / f"{name}.jpg").write_bytes(data)
    with Library("memory:", model=model_file) as library:
        library.add([tmp_path])
        best = {Path(one.best).name: one.why for one in library.duplicates().sets}
    assert best == {
        "large.jpg": "the largest, 240 x 180",
        "first.jpg": "taken first, 2019-05-01T10:00:00",
    }


def test_only_what_is_new_is_looked_at(
    library: str, folder: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imgindex import duplicates

    looked: list[object] = []
    real = duplicates.likeness

    def noting(*arguments: Any) -> Likeness | None:
        looked.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(duplicates, "likeness", noting)
    with Library(library, model=model_file) as opened:
        before = opened.duplicates()
        assert looked
        looked.clear()
        assert opened.duplicates() == before
        assert not looked
        (folder / "copies" / "grey.jpg").write_bytes(jpeg(scene(2, 240, 180).convert("L")))
        opened.add([folder])
        after = opened.duplicates()
        assert {"scene-2.jpg", "grey.jpg"} in [set(one) for one in told(after.sets)]
        assert len(after.sets) == 3
        assert looked


def test_a_library_without_sketches_gets_them(library: str, folder: Path) -> None:
    import sqlite3

    with sqlite3.connect(os.path.join(library, "library.sqlite")) as db:  # noqa: PTH118
        db.execute("DELETE FROM sketch")
    (folder / "scene-5.jpg").unlink()
    with Library(library) as opened:
        found = opened.duplicates()
        assert len(found.sets) == 2
        assert [one.path for one in found.skipped] == [str(folder / "scene-5.jpg")]


def test_what_cannot_be_read_is_named_by_its_path(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imgindex import pixels
    from imgindex.errors import PictureTooLargeError

    def refuse(*_: object, **__: object) -> Pixels:
        raise PictureTooLargeError("too large for the free memory")

    monkeypatch.setattr(pixels, "small", refuse)
    with Library(library) as opened:
        skipped = opened.duplicates().skipped
    assert skipped
    assert all(Path(one.path).is_file() for one in skipped)
    assert {one.reason for one in skipped} == {"too large for the free memory"}


def test_what_was_said_to_be_distinct_stays_apart(library: str, folder: Path) -> None:
    with Library(library) as opened:
        opened.duplicates()
        opened.distinct([folder / "scene-0.jpg", folder / "copies" / "small.jpg"])
        found = told(opened.duplicates().sets)
        assert {"scene-0.jpg", "same.jpg", "mirror.jpg"} in [set(one) for one in found]
        assert all("small.jpg" not in one for one in found)
        (decision,) = opened.decisions()
        assert decision.kind == "distinct"
        opened.forget(decision.number)
        assert len(told(opened.duplicates().sets)[0]) == 4
        with pytest.raises(SettingError, match="two different pictures"):
            opened.distinct([folder / "scene-0.jpg", folder / "copies" / "same.jpg"])
        with pytest.raises(QueryError, match=r"no file nowhere\.jpg"):
            opened.distinct([folder / "scene-0.jpg", "nowhere.jpg"])


def test_distinct_pictures_never_meet_in_a_set() -> None:
    twins = [Twin("a", "b", "near", 0.9), Twin("b", "c", "near", 0.95), Twin("d", "e", "near", 0.8)]
    assert sets(twins, []) == [["a", "b", "c"], ["d", "e"]]
    assert sets(twins, [("a", "c")]) == [["b", "c"], ["d", "e"]]
    assert sets(twins, [("d", "e", "a")]) == [["a", "b", "c"]]


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.floats(0.75, 1)), max_size=30),
    st.lists(st.sets(st.integers(0, 12), min_size=2, max_size=4), max_size=5),
)
def test_sets_hold_every_picture_once(
    pairs: list[tuple[int, int, float]], distinct: list[set[int]]
) -> None:
    twins = [Twin(str(a), str(b), "near", score) for a, b, score in pairs if a != b]
    apart = [tuple(map(str, some)) for some in distinct]
    found = sets(twins, apart)
    members = [one for some in found for one in some]
    assert len(members) == len(set(members))
    assert all(len(set(some) & set(no)) < 2 for some in found for no in apart)
    if not apart:
        assert set(members) == {one for twin in twins for one in (twin.a, twin.b)}


# Copies in a search


def test_a_search_may_show_one_of_each_set(library: str, folder: Path) -> None:
    query = str(folder / "scene-0.jpg")
    with Library(library) as opened:
        with pytest.raises(QueryError, match="run: imgindex duplicates"):
            opened.search(query, diverse=True)
        families = [set(one) for one in told(opened.duplicates().sets)]
        every = [Path(match.path).name for match in opened.search(query, 99).matches]
        diverse = opened.search(query, 99, diverse=True).matches
        names = [Path(match.path).name for match in diverse]
        assert names[0] == "scene-0.jpg"
        assert [match.rank for match in diverse] == list(range(1, len(names) + 1))
        assert all(len(family & set(names)) == 1 for family in families)
        assert len(names) == len(every) - 3  # a small and a mirrored one, and the same pixels
        assert [name for name in every if name in names] == names
        pages = [opened.search(query, 2, diverse=True, offset=at).matches for at in (0, 2, 4)]
        assert [Path(match.path).name for page in pages for match in page] == names


def test_only_pictures_with_copies_or_without(library: str, folder: Path) -> None:
    words = ("search", str(folder / "scene-5.jpg"), "-L", library, "--paths", "-k", "99")

    def found(*more: str) -> set[str]:
        result = runner.invoke(app, [*words, *more])
        assert result.exit_code == 0, result.output
        return {Path(path).name for path in result.stdout.splitlines()}

    assert runner.invoke(app, [*words, "--copies", "with"]).exit_code == 1
    run("-L", library)
    copied = {"scene-0.jpg", "same.jpg", "small.jpg", "mirror.jpg", "scene-1.jpg", "lossless.png"}
    assert found("--copies", "with") == copied - {"same.jpg"} or found("--copies", "with") == (
        copied - {"scene-0.jpg"}
    )
    assert found("--copies", "without") == {f"scene-{at}.jpg" for at in range(2, 6)}


# Moving


def test_a_plan_moves_nothing(library: str, folder: Path, tmp_path: Path) -> None:
    before = sorted(folder.rglob("*"))
    output = run("--keep-best", "--move-to", str(tmp_path / "away"), "-L", library)
    assert f"would move {folder}/copies/same.jpg" in output
    assert f"to {tmp_path}/away/copies/same.jpg" in output
    assert sorted(folder.rglob("*")) == before
    assert not (tmp_path / "away").exists()


def test_a_plan_tells_what_stays_behind(library: str, folder: Path, tmp_path: Path) -> None:
    notes = folder / "copies" / "same.xmp"
    notes.write_text("<x/>")
    output = run("--keep-best", "--move-to", str(tmp_path / "away"), "-L", library)
    assert f"leaving behind {notes}" in output


def test_moving_keeps_the_best_and_loses_nothing(
    library: str, folder: Path, tmp_path: Path
) -> None:
    contents = sorted(path.read_bytes() for path in folder.rglob("*.*g"))
    away = tmp_path / "away"
    words = ("--keep-best", "--move-to", str(away), "--apply", "-L", library, "--json")
    result = json.loads(run(*words))
    assert result["plan"]["done"]
    moved = [Path(one["target"]) for one in result["plan"]["moves"]]
    assert sorted(path.name for path in moved) == [
        *("mirror.jpg", "same.jpg", "scene-1.jpg", "small.jpg")
    ]
    assert all(path.is_file() for path in moved)
    assert (folder / "scene-0.jpg").exists()
    kept = [*folder.rglob("*.*g"), *away.rglob("*.*g")]
    assert sorted(path.read_bytes() for path in kept) == contents
    with Library(library) as opened:
        assert opened.duplicates().sets == ()
        assert opened.status().missing == 4


def test_nothing_is_overwritten(library: str, folder: Path, tmp_path: Path) -> None:
    taken = tmp_path / "away" / "copies" / "same.jpg"
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"mine")
    words = ("--keep-best", "--move-to", str(tmp_path / "away"), "--apply", "-L", library)
    assert "is there already" in run(*words, code=3)
    assert taken.read_bytes() == b"mine"
    assert (folder / "copies" / "same.jpg").exists()


def test_a_set_that_changed_is_left_alone(library: str, folder: Path, tmp_path: Path) -> None:
    with Library(library) as opened:
        found = opened.duplicates()
        (folder / "copies" / "small.jpg").write_bytes(jpeg(scene(9)))  # another picture now
        (folder / "copies" / "lossless.png").unlink()  # the best of its set
        tidied = opened.tidy(found, tmp_path / "away", dry_run=False)
    reasons = {Path(one.path).name: one.reason for one in tidied.skipped}
    assert "has changed since it was indexed" in reasons["small.jpg"]
    assert "vanished" in reasons["scene-1.jpg"]
    assert (folder / "copies" / "small.jpg").exists()
    assert (folder / "scene-1.jpg").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_to_the_best_copy_are_left_alone(tmp_path: Path, model_file: Path) -> None:
    place = tmp_path / "pictures"
    place.mkdir()
    (place / "one.jpg").write_bytes(jpeg(scene(1)))
    (place / "another.jpg").symlink_to(place / "one.jpg")
    os.link(place / "one.jpg", place / "hard.jpg")
    with Library("memory:", model=model_file) as opened:
        opened.add([place])
        assert opened.duplicates().sets == ()
        assert len(opened.paths(opened.search(place / "one.jpg").matches[0].id.split())) == 1
    assert all((place / name).exists() for name in ("one.jpg", "another.jpg", "hard.jpg"))


def test_moving_to_another_disk(
    library: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    before = (folder / "copies" / "same.jpg").stat().st_mtime_ns
    with Library(library) as opened:
        tidied = opened.tidy(opened.duplicates(), tmp_path / "away", dry_run=False)
    assert len(tidied.moves) == 4
    assert (tmp_path / "away" / "copies" / "same.jpg").stat().st_mtime_ns == before
    assert not (folder / "copies" / "same.jpg").exists()


def test_known_copies_are_told_without_looking_for_others(
    library: str, folder: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = {"scene-0.jpg": "exact", "same.jpg": "exact"}
    with Library(library, model=model_file) as opened:
        assert told(opened.known_duplicates().sets) == [same]
        assert opened.unexamined() == 9
        found = opened.duplicates()
        assert opened.unexamined() == 0
        with open_store(library).writing(), monkeypatch.context() as patched:
            patched.setattr(Resources, "load", None)  # no picture is read
            assert opened.known_duplicates() == found
            assert told(opened.known_duplicates("exact").sets) == [same]
        (folder / "new.jpg").write_bytes(jpeg(scene(77)))
        (folder / "copies" / "same.jpg").unlink()
        opened.add([folder / "new.jpg"])
        assert opened.unexamined() == 1
        known = opened.known_duplicates()
        assert len(known.sets[0].files) == 3
        assert [Path(one.path).name for one in known.skipped] == ["same.jpg"]
        assert "vanished" in known.skipped[0].reason
        with pytest.raises(SettingError, match="exact, pixels, near, not 'alike'"):
            opened.known_duplicates("alike")  # type: ignore[arg-type]


def test_copies_of_a_chosen_one_are_put_aside(library: str, folder: Path, tmp_path: Path) -> None:
    away, copies = tmp_path / "away", folder / "copies"
    with Library(library) as opened:
        opened.duplicates()
        first = opened.put_aside(copies / "mirror.jpg", [copies / "small.jpg"], away)
        assert first.done
        assert [Path(one.target or "") for one in first.moves] == [away / "copies/small.jpg"]
        # The path below all files of the library: not just the name.
        opened.put_aside(str(copies / "lossless.png"), [str(folder / "scene-1.jpg")], away)
        assert (away / "scene-1.jpg").is_file()
        assert told(opened.known_duplicates().sets) == [
            {"scene-0.jpg": "exact", "same.jpg": "exact", "mirror.jpg": "near"}
        ]
        assert opened.status().missing == 2
        last = opened.put_aside(copies / "same.jpg", [folder / "scene-0.jpg"], away)
        assert [one.kind for one in last.moves] == ["exact"]
        assert not (folder / "scene-0.jpg").exists()
        assert len(told(opened.known_duplicates().sets)) == 1


def test_what_shows_more_than_the_chosen_one_stays(
    library: str, folder: Path, tmp_path: Path
) -> None:
    small = folder / "copies" / "small.jpg"
    with Library(library) as opened:
        opened.duplicates()
        tidied = opened.put_aside(small, [folder / "scene-0.jpg"], tmp_path / "away")
    assert tidied.moves == ()
    assert [Path(one.path).name for one in tidied.skipped] == ["scene-0.jpg"]
    assert "shows more than the best copy, or is larger" in tidied.skipped[0].reason
    assert (folder / "scene-0.jpg").exists()


def test_what_is_no_copy_is_not_put_aside(library: str, folder: Path, tmp_path: Path) -> None:
    best, same = folder / "scene-0.jpg", folder / "copies" / "same.jpg"
    away = tmp_path / "away"
    with Library(library) as opened:
        opened.duplicates()
        before = sorted(folder.rglob("*"))
        for keep, going, message in (
            (best, [same, folder / "scene-2.jpg"], "scene-2.jpg is not known to be a copy"),
            (folder / "scene-2.jpg", [same], "no copies of .*scene-2.jpg are known"),
            (tmp_path / "nowhere.jpg", [same], "no copies of .*nowhere.jpg are known"),
            (folder, [same], "no copies of .* are known"),
        ):
            with pytest.raises(QueryError, match=message):
                opened.put_aside(keep, going, away)
        with pytest.raises(QueryError, match=r"is in .* already"):
            opened.put_aside(same, [best], folder / "copies")
        for nothing in ([], [best]):
            with pytest.raises(SettingError, match="and not itself"):
                opened.put_aside(best, nothing, away)
        said = opened.distinct([best, folder / "copies" / "mirror.jpg"])
        with pytest.raises(QueryError, match=r"mirror\.jpg is not known to be a copy"):
            opened.put_aside(best, [folder / "copies" / "mirror.jpg"], away)
        opened.forget(said.number)
        same.write_bytes(jpeg(scene(9)))
        with pytest.raises(QueryError, match=r"same\.jpg has changed since it was indexed"):
            opened.put_aside(best, [same], away)
        assert sorted(folder.rglob("*")) == before
        with open_store(library).writing(), pytest.raises(LibraryBusyError):
            opened.put_aside(best, [folder / "copies" / "small.jpg"], away)
    assert not away.exists()


# The command


def test_a_list_and_a_script_of_what_may_go(library: str, folder: Path) -> None:
    listed = run("--keep-best", "--list", "-0", "-L", library).split("\0")
    assert sorted(Path(one).name for one in listed if one) == [
        *("mirror.jpg", "same.jpg", "scene-1.jpg", "small.jpg")
    ]
    script = run("--keep-best", "--script", "-L", library).splitlines()
    assert script[0] == "#!/bin/sh"
    same = folder / "copies" / "same.jpg"
    best = folder / "scene-0.jpg"
    assert f"cmp -s {best} {same} && [ ! {best} -ef {same} ] && rm -- {same}" in script
    small = folder / "copies" / "small.jpg"
    assert f"[ -s {best} ] && [ ! {best} -ef {small} ] && rm -- {small}" in script
    assert same.exists()


def test_the_exit_code_tells_that_there_are_copies(
    library: str, tmp_path: Path, model_file: Path
) -> None:
    assert "2 sets of 6 files" in run("-L", library)
    run("--fail-if-found", "-L", library, code=11)
    (tmp_path / "one.jpg").write_bytes(jpeg(scene(1)))
    other = str(tmp_path / "other")
    with Library(other, model=model_file) as opened:
        opened.add([tmp_path / "one.jpg"])
    assert run("--fail-if-found", "-L", other) == "no copies found\n"


def test_json_and_the_page(library: str, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "copies.html"
    result = json.loads(run("--json", "--html", str(page), "-L", library))
    assert list(result) == ["sets", "skipped"]
    assert list(result["sets"][0]) == ["best", "why", "files", "stays"]
    assert list(result["sets"][0]["files"][0]) == ["path", "id", "kind", "score"]
    assert result["sets"][0]["best"] == str(folder / "scene-0.jpg")
    assert "small.jpg" in page.read_text("utf-8")
    pair = (str(folder / "scene-1.jpg"), str(folder / "copies" / "lossless.png"))
    result = runner.invoke(app, ["duplicates", "not", *pair, "-L", library, "--json"])
    decided = json.loads(result.stdout)
    assert decided["kind"] == "distinct"
    assert len(json.loads(run("--json", "-L", library))["sets"]) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--move-to", "x"], "--move-to needs --keep-best"),
        (["--keep-best"], "needs one of --move-to DIR, --list and --script"),
        (["--keep-best", "--list", "--script"], "choose one of --list and --script"),
        (["--keep-best", "--list", "--apply"], "--apply goes with --keep-best --move-to DIR"),
        (["-0"], "-0 goes with --list"),
    ],
)
def test_options_that_do_not_go_together(library: str, words: list[str], told: str) -> None:
    result = runner.invoke(app, ["duplicates", *words, "-L", library])
    assert result.exit_code == 2
    assert told in result.stderr


def test_bursts_are_shots_of_one_view_seconds_apart(tmp_path: Path, model_file: Path) -> None:
    place = tmp_path / "pictures"
    (place / "other").mkdir(parents=True)
    shots = {
        "a1": (busy(1), "10:00:00"),
        "a2": (busy(1).crop((4, 2, 320, 240)), "10:00:01"),
        "a3": (busy(1).crop((0, 4, 316, 240)), "10:00:03"),
        "later": (busy(1).crop((2, 2, 318, 238)), "10:00:09"),
        "b1": (busy(2), "10:00:10"),
        "other/a4": (busy(1).crop((1, 1, 318, 238)), "10:00:04"),
    }
    for name, (image, time) in shots.items():
        data = jpeg(image, quality=90, exif=exif(taken=f"2024:05:01 {time}"))
        (place / f"{name}.jpg").write_bytes(data)
    (place / "undated.jpg").write_bytes(jpeg(busy(1)))
    where = str(tmp_path / "library")
    with Library(where, model=model_file) as library:
        library.add([place])
        (burst,) = library.bursts()
        assert [Path(shot.path).stem for shot in burst.shots] == ["a1", "a2", "a3"]
        assert burst.cover in {shot.path for shot in burst.shots}
        assert library.bursts(0.5) == ()
        assert len(library.bursts(10)[0].shots) == 4
        with pytest.raises(SettingError, match="at least 0 seconds, not -1"):
            library.bursts(-1)
    told = json.loads(runner.invoke(app, ["bursts", "-L", where, "--json"]).stdout)["bursts"]
    assert [list(one) for one in told] == [["cover", "shots"]]
    assert "burst 1: 3 shots, cover " in runner.invoke(app, ["bursts", "-L", where]).stdout


# The parts


@pytest.mark.parametrize("turn", TURNS)
def test_a_turn_and_its_way_back(turn: Turn) -> None:
    image = np.random.default_rng(0).integers(0, 255, (32, 32), np.uint8)
    assert (turn.back.of(turn.of(image)) == image).all()
    straight = waves(np.stack([turn.of(image)]))
    np.testing.assert_allclose(turned(waves(image[None]), turn), straight, atol=1e-5)


def test_a_picture_of_one_tone_has_no_waves() -> None:
    assert not waves(np.full((1, 32, 32), 80, np.uint8)).any()


@pytest.mark.parametrize("angle", [-35, -10, 20, 80, 130])
@pytest.mark.parametrize("mirrored", [False, True])
def test_any_rotation_is_found(angle: int, mirrored: bool) -> None:  # noqa: FBT001
    image = busy(5)
    other = (ImageOps.mirror(image) if mirrored else image).rotate(angle)
    one, two = (spectrum(square(png(shown)), 320 / 240) for shown in (image, other))
    alike, found, flipped = rotation(one, two)
    assert alike > 0.92
    assert flipped == mirrored
    assert min((found - angle) % 360, (angle - found) % 360) <= 5
    turn = Turn(columns=mirrored)
    like = likeness(pixels_of(image), pixels_of(other), turn, ALL, found)
    assert like is not None
    assert like.score > 0.9


def shifted(image: Image.Image) -> Image.Image:
    """What a second shot might show: a little further to the side."""
    return image.crop((24, 0, image.width, image.height))


@pytest.mark.parametrize(
    "change",
    [
        lambda image: shifted(image).rotate(2, Image.Resampling.BICUBIC),
        lambda image: ImageOps.solarize(image, 90),
        lambda image: Image.merge("RGB", image.split()[::-1]),  # the hues are others
    ],
)
def test_what_differs_is_no_copy(change: Callable[[Image.Image], Image.Image]) -> None:
    image = busy(5)
    assert likeness(pixels_of(image), pixels_of(image), TURNS[0], ALL) is not None
    assert likeness(pixels_of(image), pixels_of(change(image)), TURNS[0], ALL) is None


def chair(colour: str) -> Image.Image:
    """A product on white."""
    image = Image.new("RGB", (320, 320), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((90, 40, 220, 170), colour)
    for left in (90, 150, 210):
        draw.line((left, 170, left - 20, 290), "#777b7a", 6)
    return image


def test_another_colour_is_another_product() -> None:
    red = chair("#c1502e")
    grey, green = chair("#7c8078"), chair("#3f8a4d")

    def alike(other: Image.Image) -> bool:
        return likeness(pixels_of(red), pixels_of(other), TURNS[0], ALL) is not None

    assert not alike(grey)
    assert not alike(green)
    assert alike(red.convert("L"))
    assert alike(ImageEnhance.Color(red).enhance(0.6))


def test_pixels_have_names() -> None:
    image = scene(2)
    same = digest(png(image), max_megapixels=9)
    assert same == digest(png(image, compress_level=0), max_megapixels=9)
    assert same != digest(png(ImageOps.mirror(image)), max_megapixels=9)
    assert same != digest(jpeg(image), max_megapixels=9)


# Real photos


@needs_samples
def test_the_sample_files_come_out_right(tmp_path: Path, model_file: Path) -> None:
    with Library(str(tmp_path / "library"), model=model_file) as library:
        report = library.add([SAMPLES])
        assert sorted(Path(one.path).name for one in report.skipped) == (
            ["ukbench09268_corrupt.jpg"] * 2
        )
        found = library.duplicates()
    assert [sorted((Path(f.path).name, f.kind) for f in one.files) for one in found.sets] == [
        [
            *[("ukbench00120.jpg", "exact")] * 3,
            *[("ukbench00120_hflip.jpg", "near")] * 2,
            *[("ukbench00120_resize.jpg", "near")] * 2,
            *[("ukbench00120_rotation.jpg", "near")] * 2,
        ],
        [("ukbench09268.jpg", "exact")] * 3,
    ]


@needs_photos
def test_edits_of_photos_are_found_among_the_others(tmp_path: Path, model_file: Path) -> None:
    """The measurement of scripts/bench_duplicates.py, small."""
    folder = tmp_path / "photos"
    folder.mkdir()
    source = tmp_path / "source"
    for home in sorted(PHOTOS.glob("*/*"))[::6]:
        for photo in sorted(home.rglob("*.jpg"))[:12]:
            (source / home.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, source / home.name)
    made = bench_duplicates.make(source, folder, edited=12, seed=0, part="all")
    pairs, _ = bench_duplicates.by_imgindex(folder, str(model_file))
    result = bench_duplicates.judge(pairs, made)
    assert result["precision"] >= 0.995, result["confused"]
    assert result["recall of the goal"] >= 0.95, result["recall"]


# What must not be lost


def photo(seed: int, width: int = 800, height: int = 600) -> Image.Image:
    """A picture with a little of everything, unlike that of any other seed."""
    grain = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    coarse = Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC)
    return Image.blend(coarse, scene(seed, width, height), 0.4)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "p"
    folder.mkdir()
    return folder


@pytest.fixture
def opened(tmp_path: Path, model_file: Path) -> Iterator[Library]:
    with Library(tmp_path / "l", model=model_file) as library:
        yield library


def going(library: Library) -> set[str]:
    return {Path(move.path).name for move in library.tidy(library.duplicates()).moves}


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_one_file_under_two_names_is_no_copy(opened: Library, place: Path) -> None:
    (place / "real").mkdir()
    photo(1).save(place / "real" / "x.png")
    (place / "link").symlink_to("real")
    opened.add(place / "real")
    opened.add(place / "link")
    assert opened.duplicates().sets == ()


def test_without_the_best_nothing_may_go(opened: Library, place: Path) -> None:
    photo(1).save(place / "a.png")
    shutil.copy(place / "a.png", place / "bb.png")
    opened.add(place)
    (place / "a.png").unlink()
    found = opened.duplicates()
    assert found.sets == ()
    assert [one.path for one in found.skipped] == [str(place / "a.png")]
    (place / "a.png").write_bytes(png(photo(2)))
    assert "has changed since it was indexed" in opened.duplicates().skipped[0].reason


def test_pictures_of_a_collage_are_no_copies_of_each_other(opened: Library, place: Path) -> None:
    one, other = photo(1, 600, 800), photo(2, 600, 800)
    one.save(place / "one.jpg")
    other.save(place / "other.jpg")
    collage = Image.new("RGB", (1200, 800))
    collage.paste(one, (0, 0))
    collage.paste(other, (600, 0))
    collage.resize((600, 400)).save(place / "collage.jpg")
    opened.add(place)
    assert going(opened) == set()


def test_a_crop_that_is_larger_than_its_place_stays(opened: Library, place: Path) -> None:
    image = photo(3, 1200, 900)
    image.resize((300, 225)).save(place / "small.jpg", quality=95)
    image.crop((100, 100, 1100, 850)).save(place / "crop.jpg", quality=95)
    image.crop((150, 100, 1100, 820)).resize((190, 144)).save(place / "tiny.jpg", quality=95)
    opened.add(place)
    (found,) = opened.duplicates().sets
    assert Path(found.best).name == "small.jpg"
    assert found.why == "the one that shows all, 300 x 225"
    assert [Path(path).name for path in found.stays] == ["crop.jpg"]
    tidied = opened.tidy(opened.duplicates())
    assert [Path(move.path).name for move in tidied.moves] == ["tiny.jpg"]
    assert [Path(one.path).name for one in tidied.skipped] == ["crop.jpg"]


def test_documents_of_one_cover_are_no_copies(opened: Library, place: Path) -> None:
    for name, rest in (("a", [photo(2)]), ("b", [photo(3), photo(4)])):
        photo(1).save(place / f"{name}.tif", save_all=True, append_images=rest)
    photo(1).save(place / "cover.png")
    opened.add(place)
    assert opened.duplicates().sets == ()


def test_transparency_and_depth_are_no_same_pixels(opened: Library, place: Path) -> None:
    image = photo(1, 300, 200)
    clear = image.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(image.size))
    clear.save(place / "clear.png")
    paper = Image.new("RGB", image.size, "white")
    paper.paste(clear, mask=clear)
    paper.save(place / "flat.png")
    opened.add(place)
    (found,) = opened.duplicates().sets
    assert {one.kind for one in found.files[1:]} == {"near"}


def test_what_was_away_is_compared_with_what_came_meanwhile(opened: Library, place: Path) -> None:
    photo(1).save(place / "a.jpg")
    photo(2).save(place / "x.jpg")
    opened.add(place)
    opened.duplicates()
    shutil.move(place / "a.jpg", place.parent / "a.jpg")
    photo(1).resize((400, 300)).save(place / "b.jpg")
    opened.add(place)
    opened.duplicates()
    shutil.move(place.parent / "a.jpg", place / "a.jpg")
    opened.add(place)
    assert [set(one) for one in told(opened.duplicates().sets)] == [{"a.jpg", "b.jpg"}]


@pytest.mark.parametrize(
    "image",
    [Image.new("RGB", (300, 200), (9, 9, 9)), photo(1, 16, 16), photo(1, 20, 2000)],
    ids=["one tone", "tiny", "thin"],
)
def test_the_same_pixels_are_found_whatever_they_are(
    image: Image.Image, opened: Library, place: Path
) -> None:
    image.save(place / "a.png")
    image.save(place / "b.bmp")
    opened.add(place)
    (found,) = opened.duplicates("pixels").sets
    assert [one.kind for one in found.files] == ["exact", "pixels"]


def test_a_flat_picture_that_comes_alone_stops_nothing(opened: Library, place: Path) -> None:
    photo(1).save(place / "a.jpg")
    opened.add(place)
    opened.duplicates()
    Image.new("RGB", (80, 60), "white").save(place / "white.png")
    opened.add(place)
    assert opened.duplicates().sets == ()


def test_what_was_put_aside_is_never_the_best(opened: Library, place: Path) -> None:
    good, copy = place / "albums" / "summer" / "good.jpg", place / "in" / "deep" / "deeper"
    good.parent.mkdir(parents=True)
    copy.mkdir(parents=True)
    photo(1).save(good)
    shutil.copy2(good, copy / "z.jpg")
    for _ in range(2):
        opened.add(place)
        opened.tidy(opened.duplicates(), place / "c", dry_run=False)
    assert len([*place.rglob("*.jpg")]) == 2
    assert len([*(place / "c").rglob("*.jpg")]) == 1


def test_nothing_is_moved_while_another_process_writes(opened: Library, place: Path) -> None:
    from filelock import FileLock

    photo(1).save(place / "a.png")
    shutil.copy(place / "a.png", place / "b.png")
    opened.add(place)
    found = opened.duplicates()
    with FileLock(place.parent / "l" / "lock"), pytest.raises(LibraryBusyError):
        opened.tidy(found, place / "away", dry_run=False)
    assert not (place / "away").exists()
    with pytest.raises(SettingError, match="has no name"):
        opened.tidy(found, "", dry_run=False)


def test_a_move_that_fails_leaves_nothing_behind(
    opened: Library, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(1).save(place / "a.png")
    shutil.copy(place / "a.png", place / "b.png")
    opened.add(place)
    found = opened.duplicates()
    real = Path.unlink

    def refuse(path: Path, **options: Any) -> None:
        if path.parent == place:
            raise PermissionError(13, "Permission denied")
        real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        tidied = opened.tidy(found, place / "away", dry_run=False)
    assert [one.reason for one in tidied.skipped] == ["cannot be moved: Permission denied"]
    assert len([*place.rglob("*.png")]) == 2
    assert len(opened.tidy(found, place / "away", dry_run=False).moves) == 1


def test_a_stopped_run_keeps_what_it_found(
    opened: Library, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imgindex import deduplicating, duplicates

    for seed in range(6):
        photo(seed).save(place / f"{seed}.jpg")
        photo(seed).resize((400, 300)).save(place / f"{seed}-small.jpg")
    opened.add(place)
    monkeypatch.setattr(deduplicating, "_AT_ONCE", 1)
    real, calls = duplicates.likeness, 0

    def stopping(*arguments: Any) -> Likeness | None:
        nonlocal calls
        calls += 1
        if calls > 4:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(duplicates, "likeness", stopping)
        with pytest.raises(KeyboardInterrupt):
            opened.duplicates()
    assert calls == 5
    assert len(opened._resources.store().twins()) >= 3
    assert len(opened.duplicates().sets) == 6


def test_other_words_on_white_paper_are_another_picture(opened: Library, place: Path) -> None:
    pages = {
        "a": ["When you say", "you will fix it", "tomorrow", "and never do"],
        "b": ["Completely other", "words stand here", "about lunch", "WOW 100%"],
    }
    for name, words in pages.items():
        page = Image.new("RGB", (900, 1200), "white")
        page.paste(photo(1, 900, 420), (0, 0))
        for at, line in enumerate(words):
            font = ImageFont.load_default(size=70)
            ImageDraw.Draw(page).text((60, 460 + at * 110), line, "black", font)
        page.save(place / f"{name}.jpg", quality=92)
    opened.add(place)
    assert opened.duplicates().sets == ()


def test_what_shows_the_same_stands_for_another_picture() -> None:
    def held(name: str) -> Held:
        return Held(Picture(name, 100, 100, "JPEG"), IndexedFile(f"/{name}", 1, 1, name))

    whole, same, part, other = (held(name) for name in ("a", "b", "c", "d"))
    twins = [
        Twin("a", "b", "near", 0.9),
        Twin("a", "c", "near", 0.95, "c", 0.5),
        Twin("c", "d", "near", 0.97, "c", 0.4),
    ]
    related = Related(twins)
    assert related.part(part, whole) == (True, 0.5)
    assert related.part(whole, part) == (False, 0.5)
    assert related.part(part, same) == (True, 0.5)
    assert related.part(same, part) == (False, 0.5)
    copy = related.copy(part, same)
    assert copy is not None
    assert copy.score == 0.9
    assert related.copy(other, whole) is None  # only a part of both is known to be the same
    larger = Related([Twin("a", "b", "near", 0.9), Twin("a", "c", "near", 0.95, "a", 0.5)])
    assert larger.part(same, part) == (True, 0.5)
    assert larger.part(part, same) == (False, 0.5)
