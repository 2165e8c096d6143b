"""Rows that are vouched for, libraries that are mended, and room that is given back."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pictures import scene
from test_store import PIN, an_id, file, fill, grouping_of, picture, seen, unit
from typer.testing import CliRunner

from imgindex import Library
from imgindex.cli.app import app
from imgindex.errors import LibraryDamagedError, StoreError
from imgindex.records import Decision, no_progress
from imgindex.store import local, vectors
from imgindex.store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from imgindex.records import Rows, Way

COUNT, WIDTH = 300, 4 * 8
WAYS: tuple[Way, Way] = ("exact", "hnsw")


@contextmanager
def opened(folder: Path, *, create: bool = False) -> Iterator[LocalStore]:
    with closing(LocalStore(folder, create=create)) as store:
        yield store


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A closed library of 300 pictures with its graph."""
    folder = tmp_path / "library"
    with opened(folder, create=True) as store:
        store.pin(PIN)
        fill(store, COUNT)
        store.refresh(no_progress)
    return folder


def flip(path: Path, at: int) -> None:
    """Change a bit as a disk does that rots: the file's time stays."""
    times = path.stat()
    with path.open("r+b") as rows:
        rows.seek(at)
        byte = rows.read(1)[0]
        rows.seek(at)
        rows.write(bytes([byte ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def nobody(_: Sequence[str]) -> dict[str, Rows]:
    return {}


# Rows


@pytest.mark.parametrize("byte", range(0, WIDTH, 5))
def test_a_single_bit_of_a_row_is_missed_by_nobody(filled: Path, byte: int) -> None:
    flip(filled / "vectors.f32", 17 * WIDTH + byte)
    told = f"the numbers of {an_id(17)} are not those that were stored"
    with opened(filled) as store:
        for use in (
            store.vectors,
            lambda: store.vectors([an_id(17)]),
            lambda: store.vector(an_id(17)),
            lambda: store.search(unit(1), 1, way="exact"),
            lambda: store.search(unit(1), 1, way="hnsw"),
            lambda: store.neighbours([an_id(1), an_id(2)], 1, no_progress),
        ):
            with pytest.raises(LibraryDamagedError, match=told):
                use()
        assert store.vector(an_id(16)) is not None
        assert [line for line in store.verify(no_progress) if an_id(17) in line]


def test_a_large_file_is_trusted_while_nobody_touches_it(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "CHEAP", 10)
    path, rows = filled / "vectors.f32", unit(COUNT)
    flip(path, 17 * WIDTH)
    with opened(filled) as store:
        assert store.search(rows[5:6], 1, way="exact")[1][0][0].id == an_id(5)
        with pytest.raises(LibraryDamagedError, match=an_id(17)):  # what goes out is compared
            store.search(rows[17:18], 1, way="exact")
    os.utime(path)
    with opened(filled) as store, pytest.raises(LibraryDamagedError, match=an_id(17)):
        store.search(rows[5:6], 1, way="exact")


def test_a_damaged_row_is_not_built_into_a_graph(filled: Path) -> None:
    (filled / "graph.json").unlink()
    flip(filled / "vectors.f32", 17 * WIDTH)
    with opened(filled) as store, pytest.raises(LibraryDamagedError, match=an_id(17)):
        store.refresh(no_progress)
    assert not (filled / "graph.json").exists()


# Mending


def test_a_sound_library_is_left_as_it_is(filled: Path) -> None:
    before = {path.name: path.read_bytes() for path in filled.iterdir() if path.suffix != ".sqlite"}
    with opened(filled) as store:
        assert store.repair(nobody, no_progress) == ([], [])
        assert store.verify(no_progress) == []
    assert before == {
        path.name: path.read_bytes() for path in filled.iterdir() if path.suffix != ".sqlite"
    }


def test_what_is_embedded_again_is_as_it_was(filled: Path) -> None:
    rows = unit(COUNT)
    path = filled / "vectors.f32"
    flip(path, 17 * WIDTH)
    os.truncate(path, 290 * WIDTH + 3)
    asked: list[str] = []

    def embed(ids: Sequence[str]) -> dict[str, Rows]:
        asked.extend(ids)
        return {one: rows[number] for number in range(COUNT) if (one := an_id(number)) in ids}

    with opened(filled) as store:
        mended, lost = store.repair(embed, no_progress)
        assert (mended, lost) == (["vectors.f32: 11 rows, embedded again"], [])
        assert sorted(asked) == sorted(an_id(at) for at in (17, *range(290, 300)))
        assert store.verify(no_progress) == []
        np.testing.assert_array_equal(store.vectors([an_id(299)])[1][0], rows[299])


def test_who_cannot_be_embedded_again_leaves_and_is_named(filled: Path) -> None:
    flip(filled / "vectors.f32", 17 * WIDTH)
    with opened(filled) as store:
        assert store.repair(nobody, no_progress) == ([], [an_id(17)])
        assert store.verify(no_progress) == []
        assert store.stats().pictures == COUNT - 1
        assert store.files(["/p/17.jpg"]) == []
        assert len(store.search(unit(1), COUNT, way="exact")[1][0]) == COUNT - 1


@pytest.mark.parametrize("name", ["graph.hnsw", "graph.json"])
def test_a_damaged_graph_is_built_anew(filled: Path, name: str) -> None:
    flip(filled / name, 20)
    with opened(filled) as store:
        assert store.repair(nobody, no_progress) == (["graph.hnsw: built anew"], [])
        assert store.stats().index == "ready"


def test_the_command_mends_what_it_finds(tmp_path: Path, model_file: Path) -> None:
    pictures, library = tmp_path / "pictures", tmp_path / "library"
    pictures.mkdir()
    for at in range(6):
        scene(at, 40, 40).save(pictures / f"{at}.png")
    with Library(library, model=model_file, device="cpu") as made:
        made.add([pictures])
        sought = made.search(pictures / "3.png", 6).matches
    with (library / "vectors.f32").open("r+b") as rows:
        rows.seek(200)
        rows.write(bytes(4 * 256 * 2))
    gone = pictures / "0.png"
    gone.rename(tmp_path / "aside.png")

    def run(*more: str) -> tuple[int, dict[str, object]]:
        place = ["--library", str(library), "--json"]
        done = CliRunner().invoke(
            app, ["verify", *more, *place], env={"IMGINDEX_MODEL": str(model_file)}
        )
        return done.exit_code, json.loads(done.stdout)

    code, told = run()
    assert (code, told["ok"]) == (1, False)
    code, told = run("--repair", "--device", "cpu")
    assert code == 3
    assert told["ok"]
    assert told["problems"] == []
    assert told["mended"] == ["vectors.f32: 2 rows, embedded again"]
    assert told["lost"] == [
        {
            "path": str(gone),
            "reason": "its embedding was damaged, and no file holds the picture any more",
        }
    ]
    assert run() == (0, {"ok": True, "problems": []})
    with Library(library, model=model_file, device="cpu") as mended:
        found = mended.search(pictures / "3.png", 6).matches
    assert [one.path for one in found] == [one.path for one in sought if one.path != str(gone)]


# Compaction


def prune(store: LocalStore, numbers: Sequence[int]) -> None:
    store.mark_missing([f"/p/{number}.jpg" for number in numbers])
    store.prune()
    store.refresh(no_progress)


def rows_held(folder: Path) -> int:
    (path,) = folder.glob("vectors*.f32")
    return path.stat().st_size // WIDTH


def test_the_file_is_written_anew_once_many_rows_are_nobodys(filled: Path) -> None:
    with opened(filled) as store:
        ids = sorted(an_id(number) for number in range(COUNT))
        store.save_grouping(grouping_of([0] * COUNT, ids))
        store.decide(Decision(0, "name", 0, "kept", ()))
        prune(store, range(75))
        assert rows_held(filled) == COUNT  # a quarter is let be
        prune(store, range(75, 200, 2))
        assert rows_held(filled) == COUNT - 75 - 63
        assert store.stats().index == "ready"
        assert store.verify(no_progress) == []
        left = [*range(76, 200, 2), *range(200, COUNT)]
        names, rows = store.vectors()
        assert set(names) == {an_id(number) for number in left}
        expected = dict(zip((an_id(at) for at in range(COUNT)), unit(COUNT), strict=True))
        np.testing.assert_array_equal(rows, np.stack([expected[name] for name in names]))
        for way in WAYS:
            hits = store.search(rows, 1, way=way)[1]
            assert [one[0].id for one in hits] == list(names)
        store.add([picture(900)], unit(1, seed=3), [file("/new", 900)])
        store.refresh(no_progress)
        kept = seen(store)
    with opened(filled) as store:
        assert seen(store) == kept
        assert store.verify(no_progress) == []


def test_the_disk_a_library_takes_is_bounded(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    with opened(folder, create=True) as store:
        store.pin(PIN)
        for turn in range(8):  # each time all others come
            numbers = range(turn * 100, turn * 100 + 100)
            rows = unit(100, seed=turn)
            paths = [file(f"/p/{at}.jpg", at) for at in numbers]
            store.add([picture(at) for at in numbers], rows, paths)
            prune(store, range(turn * 100 - 100, turn * 100))
            assert rows_held(folder) <= 100 / (1 - 0.25)


def test_who_reads_goes_on_reading_whole_states(filled: Path) -> None:
    with opened(filled) as reader, opened(filled) as writer:
        rows = unit(COUNT)
        reader.search(rows[:1], 1, way="hnsw")  # and has the old graph loaded
        held = reader._mapped()
        prune(writer, range(100))
        np.testing.assert_array_equal(held, rows)  # who had it mapped has it still
        assert reader.stats().pictures == 200
        for way in WAYS:
            hits = reader.search(rows[100:], 1, way=way)[1]
            assert [one[0].id for one in hits] == [an_id(at) for at in range(100, COUNT)]
        # As many rows as the old graph had, and other ones.
        more = range(1000, 1100)
        writer.add(
            [picture(at) for at in more], unit(100, seed=9), [file(f"/q/{at}", at) for at in more]
        )
        for way in WAYS:
            hits = reader.search(rows[100:], 1, way=way)[1]
            assert [one[0].id for one in hits] == [an_id(at) for at in range(100, COUNT)]


def test_a_file_that_is_replaced_between_two_looks_is_looked_for_again(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(filled) as reader:
        whole = LocalStore._mapped
        first = True

        def mapped(store: LocalStore) -> Rows:
            nonlocal first
            if store is reader and first:
                first = False
                with opened(filled) as writer:
                    prune(writer, range(100))
            return whole(store)

        monkeypatch.setattr(LocalStore, "_mapped", mapped)
        names, _ = reader.vectors()
        assert len(names) == 200


def test_a_full_disk_keeps_the_file_that_was_there(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("No space left on device")

    with opened(filled) as store:
        with monkeypatch.context() as patch:
            patch.setattr(vectors.VectorFile, "write", full)
            with pytest.raises(StoreError, match="No space"):
                prune(store, range(100))
        assert [path.name for path in filled.glob("vectors*")] == ["vectors.f32"]
        assert store.verify(no_progress) == []
        store.refresh(no_progress)
        assert rows_held(filled) == 200


def test_what_a_killed_compaction_left_is_deleted_and_nothing_else(filled: Path) -> None:
    left, mine = filled / "vectors-01234567.f32", filled / "vectors-of-mine.f32"
    shutil.copy(filled / "vectors.f32", left)
    mine.write_bytes(b"mine")
    with opened(filled) as store:
        assert left.exists()
        store.mark_missing(["/p/0.jpg"])
    assert not left.exists()
    assert mine.read_bytes() == b"mine"


def test_a_database_that_names_a_file_elsewhere_is_refused(filled: Path) -> None:
    with opened(filled) as store:
        store._db.put("vectors", "../vectors.f32")
    with opened(filled) as store, pytest.raises(LibraryDamagedError, match=r"\.\./vectors"):
        store.vectors()


# What a crash left beside the database


def test_a_damaged_log_costs_the_last_changes_and_no_more(tmp_path: Path) -> None:
    """SQLite believes it up to the first frame whose checksum is wrong."""
    batches, each, regions = 6, 5, 24
    rows = unit(batches * each)

    def put(store: LocalStore, first: int) -> None:
        some = range(first, first + each)
        files = [file(f"/p/{at}", at) for at in some]
        store.add([picture(at) for at in some], rows[first : first + each], files)

    with opened(tmp_path / "library", create=True) as store:
        store.pin(PIN)
        put(store, 0)
    with opened(tmp_path / "library") as store:
        for first in range(each, len(rows), each):
            put(store, first)
        killed = shutil.copytree(tmp_path / "library", tmp_path / "killed")
    (killed / "library.sqlite-shm").unlink()
    size = (killed / "library.sqlite-wal").stat().st_size
    whole = {an_id(at): row for at, row in enumerate(rows)}
    counts = set()
    for region in range(regions):
        copy = shutil.copytree(killed, tmp_path / f"copy{region}")
        flip(copy / "library.sqlite-wal", size * region // regions)
        with opened(copy) as store:
            assert store.verify(no_progress) == []
            ids, held = store.vectors()
            assert set(ids) == {an_id(at) for at in range(len(ids))}
            np.testing.assert_array_equal(held, np.stack([whole[one] for one in ids]))
        counts.add(len(ids))
    assert counts <= set(range(each, len(rows) + 1, each))
    assert len(counts) > 2
