from __future__ import annotations

import csv
import json
import os
import shutil
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pictures
import pytest
from PIL import Image

from imgindex import Library, embed, pixels, scan
from imgindex.embed import embedder
from imgindex.errors import (
    GroupingError,
    LibraryBusyError,
    LibraryNotFoundError,
    ModelMismatchError,
    ModelNotFoundError,
    QueryError,
    SettingError,
)
from imgindex.records import AddReport, QueryFailure, SearchResult, Skipped, Where
from imgindex.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgindex.records import Pixels, Rows


@cache
def png(seed: int) -> bytes:
    return pictures.png(pictures.scene(seed, 48, 36))


def put(path: Path, seed: int | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(seed) if isinstance(seed, int) else seed)
    return path


def an_id(seed: int) -> str:
    return scan.content_id(png(seed))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures: a.png, b.png and below/c.png hold the scenes 1, 2 and 3."""
    folder = tmp_path / "photos"
    for name, seed in (("a.png", 1), ("b.png", 2), ("below/c.png", 3)):
        put(folder / name, seed)
    return folder


@pytest.fixture
def local(tmp_path: Path, model_file: Path) -> Iterator[Library]:
    with Library(tmp_path / "library", model=model_file, device="cpu") as library:
        yield library


@pytest.fixture(params=["memory", "local"])
def library(request: pytest.FixtureRequest, tmp_path: Path, model_file: Path) -> Iterator[Library]:
    location = "memory:" if request.param == "memory" else tmp_path / "library"
    with Library(location, model=model_file, device="cpu") as opened:
        yield opened


class Spy:
    """Counts what is opened and what is embedded."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.embedded = 0

    def forget(self) -> None:
        self.opened.clear()
        self.embedded = 0


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    seen = Spy()
    encode, load = embed.Embedder.encode, scan.load

    def counted(self: embed.Embedder, images: Pixels) -> Rows:
        seen.embedded += len(images)
        return encode(self, images)

    def noted(path: str, limit: int) -> Any:
        seen.opened.append(Path(path).name)
        return load(path, limit)

    monkeypatch.setattr(embed.Embedder, "encode", counted)
    monkeypatch.setattr(scan, "load", noted)
    return seen


def counts(report: AddReport) -> dict[str, int]:
    """What is not zero in a report."""
    figures = {
        name: getattr(report, name) for name in ("added", "reused", "moved", "removed", "unchanged")
    }
    figures["skipped"] = len(report.skipped)
    return {name: figure for name, figure in figures.items() if figure}


def found(result: SearchResult) -> list[str]:
    return [Path(match.path).name for match in result.matches]


def held(library: Library) -> dict[str, str | None]:
    """Path -> id of every file known, with missing ones as they are."""
    return {file.path: file.id for file in library._resources.store().files()}


# Adding


def test_a_first_run_adds_and_a_second_only_looks(library: Library, photos: Path, spy: Spy) -> None:
    report = library.add([photos])
    assert counts(report) == {"added": 3}
    assert (report.model, report.device) == ("tiny", "cpu")
    assert report.seconds > 0
    assert report.images_per_second > 0
    assert spy.embedded == 3
    spy.forget()

    report = library.add(str(photos))
    assert counts(report) == {"unchanged": 3}
    assert (report.device, report.images_per_second) == (None, 0)
    assert (spy.opened, spy.embedded) == ([], 0)


def test_one_file_and_several_overlapping_roots_may_be_given(
    library: Library, photos: Path
) -> None:
    assert counts(library.add(photos / "a.png")) == {"added": 1}
    report = library.add([photos, photos / "below", photos / "a.png"])
    assert counts(report) == {"added": 2, "unchanged": 1}


def test_a_root_that_is_not_there_is_refused_before_a_library_is_made(
    local: Library, tmp_path: Path
) -> None:
    for root in (tmp_path / "nowhere", "~nobody-of-that-name/pictures"):
        with pytest.raises(SettingError, match="there is no file or folder"):
            local.add([root])
    assert not (tmp_path / "library").exists()


def test_a_changed_file_is_embedded_anew_and_its_old_content_is_gone(
    library: Library, photos: Path, spy: Spy
) -> None:
    library.add([photos])
    put(photos / "a.png", 7)
    spy.forget()
    assert counts(library.add([photos])) == {"added": 1, "unchanged": 2}
    assert (spy.opened, spy.embedded) == (["a.png"], 1)
    result = library.search(photos / "a.png")
    assert result.matches[0].id == an_id(7)
    assert an_id(1) not in {match.id for match in result.matches}
    assert library.status().pictures == 3


def test_a_touched_file_is_read_and_not_embedded(library: Library, photos: Path, spy: Spy) -> None:
    library.add([photos])
    os.utime(photos / "a.png", ns=(0, 10**18))
    spy.forget()
    assert counts(library.add([photos])) == {"reused": 1, "unchanged": 2}
    assert (spy.opened, spy.embedded) == (["a.png"], 0)
    assert counts(library.add([photos])) == {"unchanged": 3}


@pytest.mark.parametrize("seconds", [-3_000_000_000, 13_000_000_000])
def test_odd_dates_do_not_stop_a_run(library: Library, photos: Path, seconds: int) -> None:
    try:
        os.utime(photos / "a.png", ns=(0, seconds * 10**9))
    except (OSError, OverflowError):
        pytest.skip("this file system keeps no such date")
    assert counts(library.add([photos])) == {"added": 3}
    report = library.add([photos])
    assert report.added == 0
    assert report.unchanged >= 2


def test_a_moved_file_is_moved_and_not_embedded(library: Library, photos: Path, spy: Spy) -> None:
    library.add([photos])
    (photos / "a.png").rename(photos / "below" / "z.png")
    spy.forget()
    assert counts(library.add([photos])) == {"moved": 1, "unchanged": 2}
    assert spy.embedded == 0
    assert held(library)[str(photos / "below" / "z.png")] == an_id(1)
    assert str(photos / "a.png") not in held(library)
    assert library.status().missing == 0


def test_a_file_that_comes_from_outside_the_roots_is_moved(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    library.add([photos])
    other = tmp_path / "elsewhere"
    other.mkdir()
    (photos / "a.png").rename(other / "a.png")
    assert counts(library.add([other])) == {"moved": 1}
    assert sorted(held(library)) == sorted(
        [str(photos / "b.png"), str(photos / "below/c.png"), str(other / "a.png")]
    )


def test_of_two_copies_of_a_file_that_went_one_is_the_moved_one(
    library: Library, photos: Path
) -> None:
    library.add([photos])
    (photos / "a.png").unlink()
    put(photos / "x.png", 1)
    put(photos / "y.png", 1)
    assert counts(library.add([photos])) == {"moved": 1, "reused": 1, "unchanged": 2}


def test_names_swapped_between_two_files_cost_nothing(
    library: Library, photos: Path, spy: Spy
) -> None:
    library.add([photos])
    put(photos / "a.png", 2)
    put(photos / "b.png", 1)
    spy.forget()
    assert counts(library.add([photos])) == {"reused": 2, "unchanged": 1}
    assert spy.embedded == 0
    assert held(library)[str(photos / "a.png")] == an_id(2)
    assert held(library)[str(photos / "b.png")] == an_id(1)


@pytest.mark.parametrize("batch", [1, 2, 4, 16])
def test_copies_are_one_picture_in_many_files(
    library: Library, photos: Path, spy: Spy, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(embedder, "_CPU_BATCH", batch)
    for number in range(7):
        put(photos / f"copy{number}.png", 1)
    report = library.add([photos])
    assert counts(report) == {"added": 3, "reused": 7}
    assert spy.embedded == 3
    put(photos / "later.png", 2)
    assert counts(library.add([photos])) == {"reused": 1, "unchanged": 10}
    status = library.status()
    assert (status.pictures, status.files, status.vectors) == (3, 11, 3)
    assert spy.embedded == 3


def test_a_vanished_file_is_told_kept_in_mind_and_welcome_back(
    library: Library, photos: Path, spy: Spy
) -> None:
    library.add([photos])
    (photos / "a.png").unlink()
    assert counts(library.add([photos])) == {"removed": 1, "unchanged": 2}
    assert counts(library.add([photos])) == {"unchanged": 2}  # told once
    status = library.status()
    assert (status.pictures, status.files, status.missing) == (2, 2, 1)
    put(photos / "a.png", 1)
    spy.forget()
    assert counts(library.add([photos])) == {"reused": 1, "unchanged": 2}
    assert spy.embedded == 0
    assert library.status().missing == 0


def test_what_lies_outside_the_roots_of_a_run_is_not_called_vanished(
    library: Library, photos: Path
) -> None:
    library.add([photos])
    shutil.rmtree(photos / "below")
    put(photos / "belows" / "d.png", 4)
    assert counts(library.add([photos / "belows"])) == {"added": 1}
    assert library.status().missing == 0
    assert counts(library.add([photos])) == {"removed": 1, "unchanged": 3}


def test_pruning_forgets_what_vanished(library: Library, photos: Path, spy: Spy) -> None:
    put(photos / "copy.png", 2)
    library.add([photos])
    (photos / "a.png").unlink()
    (photos / "b.png").unlink()
    assert counts(library.add([photos], prune=True)) == {"removed": 2, "unchanged": 2}
    assert sorted(held(library)) == [str(photos / "below/c.png"), str(photos / "copy.png")]
    with pytest.raises(QueryError, match="no indexed picture"):
        library.search(an_id(1))
    put(photos / "a.png", 1)
    spy.forget()
    assert counts(library.add([photos])) == {"added": 1, "unchanged": 2}
    assert spy.embedded == 1


# What cannot be read


def test_a_corrupt_file_is_told_every_time_opened_once_and_tried_again_when_it_changes(
    library: Library, photos: Path, spy: Spy
) -> None:
    put(photos / "bad.png", png(9)[:200])
    put(photos / "text.png", b"not a picture at all")
    report = library.add([photos])
    assert counts(report) == {"added": 3, "skipped": 2}
    assert [Path(one.path).name for one in report.skipped] == ["bad.png", "text.png"]
    assert all(one.reason and one.path not in one.reason for one in report.skipped)
    assert library.status().unreadable == 2
    spy.forget()

    again = library.add([photos])
    assert counts(again) == {"unchanged": 3, "skipped": 2}
    assert again.skipped == report.skipped
    assert spy.opened == []

    put(photos / "bad.png", 9)
    assert counts(library.add([photos])) == {"added": 1, "unchanged": 3, "skipped": 1}
    assert library.status().unreadable == 1


def test_a_picture_that_turns_into_rubbish_leaves_the_results(
    library: Library, photos: Path
) -> None:
    library.add([photos])
    put(photos / "a.png", b"rubbish")
    assert counts(library.add([photos])) == {"unchanged": 2, "skipped": 1}
    assert "a.png" not in found(library.search(photos / "b.png"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_pipes_links_to_nothing_and_empty_files_are_skipped_with_a_reason(
    library: Library, photos: Path
) -> None:
    os.mkfifo(photos / "pipe.png")
    (photos / "link.png").symlink_to("nowhere")
    put(photos / "empty.png", b"")
    report = library.add([photos])
    assert counts(report) == {"added": 3, "skipped": 3}
    reasons = {Path(one.path).name: one.reason for one in report.skipped}
    assert reasons == {
        "pipe.png": "is a named pipe",
        "link.png": "broken link",
        "empty.png": "empty file",
    }


def test_a_file_that_may_not_be_read_now_is_tried_again_next_time(
    library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(photos / "secret.png", 5)

    def closed(path: str, flags: int) -> int:
        if path.endswith("secret.png"):
            raise PermissionError(13, "Permission denied")
        return os.open(path, flags)

    with monkeypatch.context() as patch:
        patch.setattr(scan, "_open_at_once", closed)
        report = library.add([photos])
        assert report.skipped == (Skipped(str(photos / "secret.png"), "permission denied"),)
        assert counts(library.add([photos])) == {"unchanged": 3, "skipped": 1}
    assert counts(library.add([photos])) == {"added": 1, "unchanged": 3}


def test_a_picture_over_the_limit_is_tried_again_with_a_larger_one(
    tmp_path: Path, photos: Path, model_file: Path
) -> None:
    put(photos / "large.png", pictures.png(pictures.scene(8, 300, 200)))
    with Library(tmp_path / "library", model=model_file, max_megapixels=0.05) as small:
        report = small.add([photos])
        assert counts(report) == {"added": 3, "skipped": 1}
        assert "--max-megapixels" in report.skipped[0].reason
        assert counts(small.add([photos])) == {"unchanged": 3, "skipped": 1}
    with Library(tmp_path / "library", model=model_file, max_megapixels=0.07) as large:
        assert counts(large.add([photos])) == {"added": 1, "unchanged": 3}


def test_a_file_that_changed_and_cannot_be_read_now_is_not_taken_for_what_it_was(
    tmp_path: Path, photos: Path, model_file: Path
) -> None:
    with Library(tmp_path / "library", model=model_file, max_megapixels=0.05) as library:
        library.add([photos])
        put(photos / "a.png", pictures.png(pictures.scene(8, 300, 200)))
        assert counts(library.add([photos])) == {"unchanged": 2, "skipped": 1}
        assert "a.png" not in found(library.search(photos / "b.png"))
        put(photos / "a.png", 1)
        assert counts(library.add([photos])) == {"reused": 1, "unchanged": 2}


def test_without_a_limit_everything_is_decoded(photos: Path, model_file: Path) -> None:
    with Library("memory:", model=model_file, max_megapixels=float("inf")) as library:
        assert counts(library.add([photos])) == {"added": 3}


def test_paths_that_are_not_utf8_survive(library: Library, photos: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    try:
        put(photos / name, 5)
    except OSError:
        pytest.skip("this file system keeps no such names")
    library.add([photos])
    result = library.search(photos / name)
    assert result.matches[0].path == str(photos / name)
    assert counts(library.add([photos])) == {"unchanged": 4}


# Interruptions


def many(folder: Path) -> Path:
    for number in range(9):
        put(folder / f"{number}.png", 20 + number)
    put(folder / "copy.png", 20)
    put(folder / "bad.png", b"rubbish")
    return folder


@pytest.mark.parametrize("at", [0, 2, 6, 11])
def test_an_interrupted_run_keeps_its_batches_and_the_next_one_finishes(
    tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(embedder, "_CPU_BATCH", 2)
    folder = many(tmp_path / "photos")

    def stop(stage: str, done: int, _: int) -> None:
        if stage == "embed" and done >= at:
            raise KeyboardInterrupt

    threads = set(threading.enumerate())
    with Library(tmp_path / "broken", model=model_file, device="cpu") as library:
        with pytest.raises(KeyboardInterrupt):
            library.add([folder], progress=stop)
        assert set(threading.enumerate()) <= threads
        kept = library.status()
        assert kept.files + kept.unreadable >= at
        assert library.verify() == []
        report = library.add([folder])
        assert report.unchanged + len(report.skipped) + report.added + report.reused == 11
        assert report.added == 9 - kept.pictures
        mended, vectors = held(library), library._resources.store().vectors()
        assert library.verify() == []
    with Library(tmp_path / "whole", model=model_file, device="cpu") as library:
        library.add([folder])
        ids, rows = library._resources.store().vectors()
        assert held(library) == mended
    assert vectors[0] == ids
    assert np.abs(vectors[1] - rows).max() <= 1e-6


def test_progress_tells_each_stage_to_its_end(local: Library, photos: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    local.add([photos], progress=lambda *call: calls.append(call))
    assert [call for call in calls if call[0] == "embed"] == [("embed", 0, 3), ("embed", 3, 3)]
    assert ("index", 3, 3) in calls
    assert calls[0][0] == "scan"


def test_a_second_writer_is_turned_away_and_readers_are_not(
    local: Library, photos: Path, tmp_path: Path
) -> None:
    local.add([photos])
    store = open_store(tmp_path / "library")
    try:
        with store.writing():
            with pytest.raises(LibraryBusyError, match="another process"):
                local.add([photos])
            assert found(local.search(photos / "a.png"))[0] == "a.png"
        assert counts(local.add([photos])) == {"unchanged": 3}
    finally:
        store.close()


# Models


def test_another_model_is_refused_before_anything_is_read(
    local: Library, photos: Path, tmp_path: Path, other_model_file: Path, spy: Spy
) -> None:
    local.add([photos])
    local.close()
    spy.forget()
    put(photos / "new.png", 5)
    with Library(tmp_path / "library", model=other_model_file) as other:
        with pytest.raises(ModelMismatchError, match=r"built with tiny .*, not with other "):
            other.add([photos])
        assert (spy.opened, spy.embedded) == ([], 0)
        with pytest.raises(ModelMismatchError, match=r"tiny .*other"):
            other.search(photos / "new.png")
    assert local.status().files == 3


def test_another_preprocessing_is_refused(
    local: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.add([photos])
    monkeypatch.setattr(pixels, "VERSION", pixels.VERSION + 1)
    with pytest.raises(ModelMismatchError, match="preprocessing"):
        local.add([photos])


def test_a_library_knows_its_model_and_needs_it_only_to_embed(
    local: Library, photos: Path, tmp_path: Path, model_file: Path, home: Path
) -> None:
    local.add([photos])
    local.close()
    with Library(tmp_path / "library") as plain:
        assert counts(plain.add([photos])) == {"unchanged": 3}
        assert found(plain.search(photos / "b.png"))[0] == "b.png"
        put(photos / "new.png", 5)
        with pytest.raises(ModelNotFoundError, match="built with tiny"):
            plain.add([photos])
    models = home / "models"
    models.mkdir(exist_ok=True)
    try:
        shutil.copy(model_file, models / "renamed.onnx")
        with Library(tmp_path / "library") as plain:
            assert counts(plain.add([photos])) == {"added": 1, "unchanged": 3}
    finally:
        (models / "renamed.onnx").unlink()


def test_an_unknown_model_makes_no_library(tmp_path: Path, photos: Path) -> None:
    with (
        Library(tmp_path / "library", model="no-such-model") as library,
        pytest.raises(ModelNotFoundError),
    ):
        library.add([photos])
    assert not (tmp_path / "library").exists()


# Searching


def test_a_file_of_the_library_finds_itself_and_nothing_is_embedded(
    library: Library, photos: Path, spy: Spy
) -> None:
    library.add([photos])
    spy.forget()
    for name, seed in (("a.png", 1), ("b.png", 2), ("below/c.png", 3)):
        result = library.search(photos / name)
        first = result.matches[0]
        assert (first.rank, first.path, first.id) == (1, str(photos / name), an_id(seed))
        assert first.score == pytest.approx(1, abs=1e-6)
        assert [match.rank for match in result.matches] == [1, 2, 3]
        scores = [match.score for match in result.matches]
        assert scores == sorted(scores, reverse=True)
        assert (result.query, result.model) == (str(photos / name), "tiny")
        assert library.search(photos / name, exact=True).way == "exact"
    assert spy.embedded == 0


def test_a_file_from_outside_is_embedded_and_compared(
    library: Library, photos: Path, tmp_path: Path, spy: Spy
) -> None:
    library.add([photos])
    outside = tmp_path / "b.jpg"
    with Image.open(photos / "b.png") as image:
        image.save(outside, quality=95)
    spy.forget()
    result = library.search(outside)
    assert spy.embedded == 1
    assert found(result)[0] == "b.png"
    assert 0.99 < result.matches[0].score < 1
    assert str(outside) not in {match.path for match in result.matches}
    assert library.status().files == 3  # asking adds nothing


def test_relative_and_tilde_queries_are_files_too(
    library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add([photos])
    monkeypatch.chdir(photos)
    monkeypatch.setenv("HOME", str(photos))
    for query in ("b.png", "./below/../b.png", "~/b.png", Path("b.png")):
        result = library.search(query)
        assert result.matches[0].path == str(photos / "b.png")
        assert result.query == os.fspath(query)


def test_an_id_and_its_beginning_find_the_picture(library: Library, photos: Path) -> None:
    library.add([photos])
    for query in (an_id(2), an_id(2)[:8], an_id(2)[:8].upper()):
        assert found(library.search(query, k=1)) == ["b.png"]


def test_an_ambiguous_beginning_is_refused(library: Library, photos: Path) -> None:
    ids: dict[str, int] = {}
    seed = 0
    while True:  # two small files whose ids begin alike, some hundred tries away
        data = pictures.png(Image.new("L", (2, 1), 0)) + seed.to_bytes(4, "big")
        prefix = scan.content_id(data)[:4]
        if prefix in ids:
            break
        ids[prefix] = seed
        seed += 1
    for number in (ids[prefix], seed):
        data = pictures.png(Image.new("L", (2, 1), 0)) + number.to_bytes(4, "big")
        put(photos / f"{number}.png", data)
    library.add([photos])
    with pytest.raises(QueryError, match=f"several pictures .* begin with {prefix}"):
        library.search(prefix)


BAD_QUERIES = [
    ("nothing.png", "no file nothing.png"),
    ("abcd", "no indexed picture has an id like it"),
    ("abc", "no file abc"),
    ("", "is a folder"),
    ("a\0b", "no file"),
    ("x" * 5000, "no file"),
    ("~nobody-of-that-name/a.png", "no file"),
    ("*", r"no file \*"),
]


@pytest.mark.parametrize(("query", "reason"), BAD_QUERIES, ids=lambda text: repr(text[:12]))
def test_a_query_that_is_nothing_is_told(
    library: Library, photos: Path, query: str, reason: str
) -> None:
    library.add([photos])
    with pytest.raises(QueryError, match=reason):
        library.search(query)


def test_a_folder_and_a_broken_file_are_told_apart(library: Library, photos: Path) -> None:
    library.add([photos])
    with pytest.raises(QueryError, match="is a folder; give one picture"):
        library.search(photos)
    bad = put(photos / "bad.png", png(9)[:300])
    with pytest.raises(QueryError, match=r"cannot read .*bad\.png: truncated or damaged"):
        library.search(bad)


def test_vanished_files_leave_the_results_without_another_run(
    library: Library, photos: Path
) -> None:
    for number in range(30):
        put(photos / "more" / f"{number}.png", 100 + number)
    library.add([photos])
    order = found(library.search(photos / "a.png", k=33))
    for name in order[1:20]:
        next(photos.rglob(name)).unlink()
    result = library.search(photos / "a.png", k=5)
    assert found(result) == [order[0], *order[20:24]]
    assert [match.rank for match in result.matches] == [1, 2, 3, 4, 5]
    assert found(library.search(photos / "a.png", k=33)) == [order[0], *order[20:]]


def test_what_is_indexed_amid_a_search_stands_where_it_belongs_or_not_at_all(
    library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        put(photos / "more" / f"{number}.png", 100 + number)
    library.add([photos])
    order = found(library.search(photos / "a.png", k=33))
    for name in order[1:4]:  # so one has to search further
        next(photos.rglob(name)).unlink()
    kind = type(library._resources.store())
    plain, searches = kind.search, 0

    def search(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal searches
        searches += 1
        if searches == 2:  # somebody indexes what looks just like it
            with Image.open(photos / "a.png") as image:
                image.save(photos / "a.bmp")
            library.add([photos / "a.bmp"])
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(kind, "search", search)
    result = library.search(photos / "a.png", k=5)
    assert searches == 2
    assert found(result) == [order[0], "a.bmp", *order[4:7]]
    assert [match.rank for match in result.matches] == [1, 2, 3, 4, 5]


def test_of_several_copies_the_querys_own_path_is_named_else_the_first_one_there(
    library: Library, photos: Path
) -> None:
    put(photos / "copy1.png", 1)
    put(photos / "copy2.png", 1)
    library.add([photos])
    for name in ("a.png", "copy1.png", "copy2.png"):
        assert found(library.search(photos / name))[0] == name
    assert len(library.search(photos / "a.png").matches) == 3  # a picture comes once
    assert "a.png" in found(library.search(photos / "b.png"))
    (photos / "a.png").unlink()
    assert "copy1.png" in found(library.search(photos / "b.png"))
    assert found(library.search(an_id(1)))[0] == "copy1.png"


@pytest.mark.parametrize("exact", [False, True])
def test_a_file_comes_before_others_with_the_very_same_pixels(
    library: Library,
    photos: Path,
    exact: bool,  # noqa: FBT001 - a column of the table
) -> None:
    with Image.open(photos / "a.png") as image:
        for suffix in ("bmp", "tif", "webp", "ppm"):
            image.save(photos / f"a.{suffix}", lossless=True)  # WebP asks, the others do not
    library.add([photos])
    for suffix in ("png", "bmp", "tif", "webp", "ppm"):
        query = photos / f"a.{suffix}"
        assert found(library.search(query, k=1, exact=exact)) == [query.name]
        result = library.search(query, k=7, exact=exact)
        assert result.matches[0].path == str(query)
        assert len({match.id for match in result.matches}) == len(result.matches) == 7
        scores = [match.score for match in result.matches]
        assert scores == sorted(scores, reverse=True)


def test_matches_below_the_score_are_left_out(library: Library, photos: Path) -> None:
    library.add([photos])
    whole = library.search(photos / "a.png").matches
    middle = (whole[1].score + whole[2].score) / 2
    assert library.search(photos / "a.png", min_score=middle).matches == whole[:2]
    assert library.search(photos / "a.png", min_score=-1).matches == whole
    assert library.search(photos / "a.png", k=1).matches == whole[:1]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"k": 0}, "k must be at least 1, not 0"),
        ({"k": -3}, "k must be at least 1, not -3"),
        ({"min_score": 1.01}, "between -1 and 1, not 1.01"),
        ({"min_score": -2}, "between -1 and 1, not -2"),
        ({"min_score": float("nan")}, "between -1 and 1, not nan"),
    ],
)
def test_search_settings_out_of_range_are_refused_by_the_call_itself(
    library: Library, photos: Path, settings: dict[str, Any], expected: str
) -> None:
    library.add([photos])
    with pytest.raises(SettingError, match=expected):
        library.search_many([], **settings)
    with pytest.raises(SettingError, match=expected):
        library.search(photos / "a.png", **settings)


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_a_limit_that_lets_nothing_through_is_refused(limit: float) -> None:
    with pytest.raises(SettingError, match="max_megapixels must be above 0"):
        Library("memory:", max_megapixels=limit)


def test_many_queries_are_answered_in_order_and_failures_stop_nothing(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    library.add([photos])
    outside = put(tmp_path / "outside.png", 5)
    bad = put(tmp_path / "bad.png", b"rubbish")
    queries: list[str | Path] = [photos / "a.png", "nothing", outside, bad, an_id(3), photos] * 30
    answers = list(library.search_many(queries, k=2))
    assert [answer.query for answer in answers] == [os.fspath(query) for query in queries]
    alone = library.search(outside, k=2)
    for at, answer in enumerate(answers):
        if at % 6 in {1, 3, 5}:
            assert isinstance(answer, QueryFailure)
            assert answer.error
        else:
            assert isinstance(answer, SearchResult)
            assert len(answer.matches) == 2
            if at % 6 == 2:
                assert [one.id for one in answer.matches] == [one.id for one in alone.matches]
                for mine, its in zip(answer.matches, alone.matches, strict=True):
                    assert mine.score == pytest.approx(its.score, abs=1e-6)
            else:
                assert answer.matches[0].id == an_id(1 if at % 6 == 0 else 3)
    assert list(library.search_many([])) == []


def test_who_waits_for_each_answer_is_not_kept_waiting(library: Library, photos: Path) -> None:
    library.add([photos])
    answered = threading.Event()
    answers: list[str] = []

    def ask() -> Iterator[Path | str]:
        for query in (photos / "a.png", "nothing", photos / "b.png"):
            answered.clear()
            yield query
            assert answered.wait(20), "the answer never came"

    for answer in library.search_many(ask()):
        answers.append(type(answer).__name__)
        answered.set()
    assert answers == ["SearchResult", "QueryFailure", "SearchResult"]


def test_a_missing_library_is_told_by_the_call_itself(tmp_path: Path) -> None:
    library = Library(tmp_path / "none")
    uses: list[Callable[[], object]] = [
        lambda: library.search("x.png"),
        lambda: library.search_many(["x.png"]),
        library.cluster,
        library.grouping,
        library.members,
        library.status,
        library.verify,
        lambda: library.export(tmp_path / "out.csv"),
    ]
    for use in uses:
        with pytest.raises(LibraryNotFoundError, match="imgindex index"):
            use()
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "out.csv").exists()


# Groups


@pytest.fixture
def families(tmp_path: Path) -> Path:
    """Three families of 8, 6 and 4 near-equal pictures, and two strangers."""
    folder = tmp_path / "families"
    generator = np.random.default_rng(0)
    for family, count in enumerate((8, 6, 4)):
        base = np.asarray(pictures.scene(50 + family, 48, 36), np.int16)
        for member in range(count):
            jitter = generator.integers(-6, 7, base.shape)
            image = Image.fromarray(np.clip(base + jitter, 0, 255).astype(np.uint8))
            put(folder / f"{family}-{member}.png", pictures.png(image))
    for stranger in range(2):
        put(folder / f"x-{stranger}.png", 70 + stranger)
    return folder


def test_families_become_groups_and_strangers_noise(library: Library, families: Path) -> None:
    library.add([families])
    grouping = library.cluster(min_cluster_size=3, min_samples=2, space="descriptor")
    assert [group.size for group in grouping.groups] == [8, 6, 4]
    assert [group.id for group in grouping.groups] == [0, 1, 2]
    assert (grouping.labels == -1).sum() == 2
    paths = library.paths(grouping.ids)
    for picture_id, label in zip(grouping.ids, grouping.labels.tolist(), strict=True):
        family = Path(paths[picture_id][0]).name[0]
        assert family == ("x" if label == -1 else str(label))
    for group in grouping.groups:
        at = grouping.ids.index(group.medoid)
        assert grouping.labels[at] == group.id
        assert group.exemplars
        for exemplar in group.exemplars:
            assert grouping.labels[grouping.ids.index(exemplar)] == group.id
            assert grouping.exemplars[grouping.ids.index(exemplar)]
    assert grouping.settings.model == "tiny"
    assert grouping.settings.min_cluster_size == 3
    status = library.status()
    assert (status.groups, status.grouped) == (3, grouping.created)


def test_the_kept_grouping_is_the_one_made_last(local: Library, families: Path) -> None:
    local.add([families])
    made = local.cluster(min_cluster_size=3, min_samples=2)
    local.close()
    kept = local.grouping()
    assert (kept.ids, kept.groups, kept.settings) == (made.ids, made.groups, made.settings)
    np.testing.assert_array_equal(kept.labels, made.labels)
    np.testing.assert_array_equal(kept.strengths, made.strengths)
    again = local.cluster(min_cluster_size=7, min_samples=2)
    assert local.grouping().groups == again.groups != made.groups


def test_members_are_the_present_files_of_a_grouping(library: Library, families: Path) -> None:
    put(families / "twin.png", (families / "0-0.png").read_bytes())
    library.add([families])
    grouping = library.cluster(min_cluster_size=3, min_samples=2)
    members = library.members()
    assert len(members) == 21
    assert {Path(member.path).name for member in members} == {
        path.name for path in families.iterdir()
    }
    twins = [member for member in members if Path(member.path).name in {"0-0.png", "twin.png"}]
    assert len({(one.id, one.group, one.strength) for one in twins}) == 1
    for member in members:
        at = grouping.ids.index(member.id)
        assert member.group == grouping.labels[at]
        assert member.strength == pytest.approx(float(grouping.strengths[at]))
        assert member.exemplar == grouping.exemplars[at]
    (families / "0-1.png").unlink()
    library.add([families])
    assert len(library.members()) == 20
    put(families / "new.png", 5)
    library.add([families])
    assert len(library.members()) == 21  # it has joined, if only the noise


def test_new_pictures_join_at_once_and_groups_keep_their_ids(
    library: Library, families: Path, tmp_path: Path
) -> None:
    later = tmp_path / "later"
    later.mkdir()
    for name in ("0-7.png", "1-5.png"):
        (families / name).rename(later / name)
    library.add([families])
    first = library.cluster(min_cluster_size=3, min_samples=2, space="descriptor")
    assert {(group.id, group.size) for group in first.groups} == {(0, 7), (1, 5), (2, 4)}
    for name in ("0-7.png", "1-5.png"):
        (later / name).rename(families / name)
    library.add([families])
    library.add([families])  # they have their places
    joined = library.grouping()
    of = {Path(one.path).name: one for one in library.members()}
    assert of["0-7.png"].group == of["0-0.png"].group
    assert of["1-5.png"].group == of["1-0.png"].group
    assert of["0-7.png"].strength > 0
    assert joined.joined.sum() == 2
    assert library.status().stale is None
    again = library.cluster(min_cluster_size=3, min_samples=2, space="descriptor")
    np.testing.assert_array_equal(again.labels, joined.labels)
    assert not again.joined.any()


def grouped(library: Library) -> dict[str, int]:
    """The group of each picture by name; families begin with their number."""
    return {Path(one.path).name: one.group for one in library.members()}


def test_what_was_decided_holds_until_it_is_forgotten(
    library: Library, families: Path, tmp_path: Path
) -> None:
    library.add([families])
    settings: Any = {"min_cluster_size": 3, "min_samples": 2, "space": "descriptor"}
    library.cluster(**settings)
    before = grouped(library)
    strays = [str(families / name) for name, group in before.items() if group == -1]
    assert len(strays) == 2
    library.name_group(0, "first")
    library.name_group(0, "The first")
    cover = library.pin_cover(0, families / "0-3.png")
    own = library.together(strays)
    over = library.together([an_id_of(families / "0-0.png"), str(families / "1-0.png")])
    out = library.apart([families / "2-0.png", families / "2-1.png"])
    assert [one.number for one in library.decisions()] == [2, 3, 4, 5, 6]
    for _ in range(2):
        now = grouped(library)
        assert {now[Path(path).name] for path in strays} == {own.group} != {-1}
        assert now["0-0.png"] == now["1-0.png"]
        assert now["2-1.png"] != now["2-0.png"] == before["2-0.png"]
        groups = {group.id: group for group in library.grouping().groups}
        assert (groups[0].name, groups[0].cover) == ("The first", cover.pictures[0])
        assert sum(group.size for group in groups.values()) == sum(now[n] >= 0 for n in now)
        library.cluster(**settings)
    report = library.export(tmp_path / "decided.json")
    assert report.groups == 4
    written = json.loads((tmp_path / "decided.json").read_text("utf-8"))
    assert [one["kind"] for one in written["decisions"]] == [
        "name",
        "cover",
        "together",
        "together",
        "apart",
    ]
    assert "The first" in {group["name"] for group in written["groups"]}
    library.export(tmp_path / "decided.html")
    assert "The first" in (tmp_path / "decided.html").read_text("utf-8")
    for decision in (own, over, out):
        library.forget(decision.number)
    assert grouped(library) == before
    with pytest.raises(QueryError, match="no decision 4"):
        library.forget(4)


def an_id_of(path: Path) -> str:
    return scan.content_id(path.read_bytes())


def test_a_decision_about_what_is_not_there_is_refused(library: Library, families: Path) -> None:
    library.add([families])
    library.cluster(min_cluster_size=3, min_samples=2, space="descriptor")
    with pytest.raises(QueryError, match="no group 99"):
        library.name_group(99, "x")
    with pytest.raises(SettingError, match="empty"):
        library.name_group(0, " ")
    with pytest.raises(QueryError, match="not in group 0"):
        library.pin_cover(0, families / "1-0.png")
    with pytest.raises(SettingError, match="two different"):
        library.together([families / "1-0.png", an_id_of(families / "1-0.png")])
    stranger = put(families.parent / "stranger.png", 77)
    with pytest.raises(QueryError, match="not in the library"):
        library.apart([families / "1-0.png", stranger])
    with pytest.raises(QueryError, match="there is no file"):
        library.apart([families / "1-0.png", "nowhere"])
    assert library.decisions() == []


def test_a_group_tells_of_its_members(library: Library, families: Path) -> None:
    put(families / "twin.png", (families / "0-0.png").read_bytes())
    library.add([families])
    library.cluster(min_cluster_size=3, min_samples=2, space="descriptor")
    told = library.group(0)
    assert (told.id, told.size, len(told.members)) == (0, 8, 8)
    assert told.tightness is not None
    assert 0.5 < told.tightness <= 1
    assert told.cover == told.medoid
    assert told.duplicates == ((an_id_of(families / "twin.png"),),)
    strengths = [one.strength for one in told.members]
    assert strengths == sorted(strengths, reverse=True)
    for one in told.members:
        assert one.near[0][0] == 0
        assert sum(share for _, share in one.near) <= 1 + 1e-5
    with pytest.raises(QueryError, match="no group 5"):
        library.group(5)
    assert [change.kind for change in library.history()] == ["new"] * 3


def test_a_library_that_has_grown_much_says_so(library: Library, families: Path) -> None:
    everything = sorted(families.iterdir())
    library.add(everything[:12])
    library.cluster(min_cluster_size=3, min_samples=2)
    assert library.status().stale is None
    library.add([families])
    assert str(library.status().stale) == "8 pictures came since 12 were grouped"
    library.cluster(min_cluster_size=3, min_samples=2)
    assert library.status().stale is None


def test_a_grouping_is_written_as_a_table(library: Library, families: Path, tmp_path: Path) -> None:
    library.add([families])
    library.cluster(min_cluster_size=3, min_samples=2, space="descriptor")
    report = library.export(tmp_path / "groups.csv")
    assert (report.kind, report.files, report.pictures, report.groups) == ("csv", 20, 20, 3)
    with (tmp_path / "groups.csv").open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 20
    assert {row["path"] for row in rows} == {member.path for member in library.members()}


def test_without_pictures_or_a_grouping_there_is_nothing_to_show(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert counts(library.add([tmp_path / "empty"])) == {}
    with pytest.raises(GroupingError, match="has no pictures"):
        library.cluster()
    for use in (library.grouping, library.members, lambda: library.export(tmp_path / "x.csv")):
        with pytest.raises(GroupingError, match="imgindex cluster"):
            use()
    assert not (tmp_path / "x.csv").exists()
    library.add([photos])
    grouping = library.cluster()
    assert grouping.labels.tolist() == [-1, -1, -1]
    assert grouping.groups == ()
    assert library.status().groups == 0
    with pytest.raises(SettingError):
        library.cluster(min_cluster_size=1)
    assert library.grouping().created == grouping.created


# The rest


def test_the_status_counts_what_is_there(local: Library, photos: Path, tmp_path: Path) -> None:
    put(photos / "copy.png", 1)
    put(photos / "bad.png", b"rubbish")
    local.add([photos])
    (photos / "b.png").unlink()
    local.add([photos])
    status = local.status()
    assert status.library == str(tmp_path / "library")
    assert (status.pictures, status.files, status.missing, status.unreadable) == (2, 3, 1, 1)
    assert (status.vectors, status.dimension, status.model) == (3, 256, "tiny")
    assert status.index == "ready"
    assert status.bytes > 3 * 256 * 4
    assert (status.groups, status.grouped) == (None, None)
    assert local.verify() == []


def test_a_damaged_vector_is_found_by_verify(local: Library, photos: Path, tmp_path: Path) -> None:
    local.add([photos])
    local.close()
    with (tmp_path / "library" / "vectors.f32").open("r+b") as rows:
        rows.write(bytes(8) + b"\xff\xff\xff\xff")
    (line,) = local.verify()
    assert "row 0" in line


def test_thumbnails_are_small_jpegs_or_nothing(library: Library, photos: Path) -> None:
    data = library.thumbnail(str(photos / "a.png"), 20)
    assert data is not None
    assert pixels.decode(data, size=8, fit="squash", max_megapixels=1).width == 20
    assert library.thumbnail(str(photos / "nothing.png")) is None
    assert library.thumbnail(str(put(photos / "bad.png", b"rubbish"))) is None


def test_a_closed_library_opens_again(local: Library, photos: Path) -> None:
    local.add([photos])
    local.close()
    local.close()
    assert found(local.search(photos / "a.png"))[0] == "a.png"
    local.close()
    assert counts(local.add([photos])) == {"unchanged": 3}


def test_a_store_that_came_open_stays_the_librarys_own(photos: Path, model_file: Path) -> None:
    store = open_store("memory:")
    library = Library(store, model=model_file)
    library.add([photos])
    assert store.stats().pictures == 3
    assert library.settings.library == "memory:"
    library.close()
    assert library.status().library == "memory:"  # and never somebody's default library


def test_a_library_is_used_from_several_threads(library: Library, photos: Path) -> None:
    library.add([photos])
    library.cluster()
    failures: list[BaseException] = []
    stop = threading.Event()

    def guarded(work: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            try:
                while not stop.is_set():
                    work()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
                failures.append(error)

        return run

    def search() -> None:
        assert found(library.search(photos / "b.png", k=2))[0] == "b.png"

    work = (search, search, library.status, library.verify, library.members)
    threads = [threading.Thread(target=guarded(one)) for one in work]
    for thread in threads:
        thread.start()
    for number in range(8):
        put(photos / f"new{number}.png", 200 + number)
        assert library.add([photos]).added == 1
    stop.set()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert library.status().pictures == 11


def test_another_resolution_is_taken_from_the_same_layout(
    library: Library, families: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add([families])
    first = library.cluster(min_cluster_size=3, min_samples=2)
    monkeypatch.setattr(
        "imgindex.grouping.neighbourhood.embed", lambda *_, **__: pytest.fail("laid out again")
    )
    counts = []
    for wanted in (1, 3, 6):
        again = library.cluster(about=wanted, min_samples=2)
        np.testing.assert_array_equal(again.places, first.places)
        assert again.settings.min_cluster_size >= 2
        counts.append(len(again.groups))
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    with pytest.raises(SettingError, match="at least 1"):
        library.cluster(about=0)


def test_the_graph_may_be_brought_up_to_date_later(local: Library, photos: Path) -> None:
    local.add([photos], settle=False)
    assert local.status().index == "none"
    assert found(local.search(photos / "b.png", k=1)) == ["b.png"]
    local.add([photos])
    assert local.status().index == "ready"
    put(photos / "d.png", 40)
    local.add([photos], settle=False)
    assert local.status().index == "stale"
    results = [local.search(photos / "d.png", k=4) for _ in range(30)]
    assert [found(result)[0] for result in results] == ["d.png"] * 30
    assert [len(result.matches) for result in results] == [4] * 30
    assert results[-1].way == "hnsw"
    local.settle()
    assert local.status().index == "ready"


def test_pictures_leave_the_library_and_their_files_stay(library: Library, photos: Path) -> None:
    library.add([photos])
    shutil.copy(photos / "b.png", photos / "twin.png")
    library.add([photos])
    before = library.version()
    with pytest.raises(QueryError, match=f"no indexed picture has the id {'0' * 32}"):
        library.remove([an_id(2), "0" * 32])
    assert library.version() == before
    names = [Path(library.paths([one])[one][0]).name for one in library.listing()]
    assert names == ["a.png", "b.png", "c.png"]
    pages = [library.search(photos / "a.png", 1, offset=at).matches for at in (0, 1)]
    assert library.remove([an_id(2)]) == 1
    assert library.version() != before
    assert library.listing() == (an_id(1), an_id(3))
    assert library.listing("taken", Where(formats=("jpeg",))) == ()
    assert found(library.search(photos / "a.png")) == ["a.png", "c.png"]
    last = library.search(photos / "a.png", 1, offset=1).matches
    assert [Path(match.path).name for match in last] == ["c.png"]
    assert len(pages[1]) == 1
    assert (photos / "b.png").exists()
    assert library.verify() == []
    assert library.add([photos]).added == 1
    assert library.status().pictures == 3
    with pytest.raises(SettingError, match="order must be one of path, taken, newest, not 'size'"):
        library.listing("size")  # type: ignore[arg-type]  # as a service may be asked
