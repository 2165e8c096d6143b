"""What only the store in a folder promises: to survive, and to notice."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import threading
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hnswlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_store import (
    PIN,
    an_id,
    file,
    fill,
    grouping_of,
    picture,
    seen,
    store_dimension,
    unit,
)

from imgindex.errors import (
    LibraryBusyError,
    LibraryDamagedError,
    LibraryFormatError,
    LibraryNotFoundError,
    SettingError,
    StoreError,
)
from imgindex.records import ModelPin, Where, no_progress
from imgindex.searching import check_recall
from imgindex.store import (
    database,
    filters,
    groupings,
    growth,
    hnsw,
    local,
    open_store,
    schema,
    view,
)
from imgindex.store.local import LocalStore
from imgindex.store.rows import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from imgindex.records import Grouping, Rows, Way

GOLDEN = Path(__file__).parent / "golden"


@contextmanager
def opened(folder: Path, *, create: bool = False) -> Iterator[LocalStore]:
    with closing(LocalStore(folder, create=create)) as store:
        yield store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "library"


@pytest.fixture
def filled(folder: Path) -> Path:
    """A closed library of 300 pictures with its graph."""
    return make(folder)


def make(folder: Path, count: int = 300, seed: int = 0) -> Path:
    with opened(folder, create=True) as store:
        store.pin(PIN)
        fill(store, count, seed)
        store.refresh(no_progress)
    return folder


def full(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Opening


def test_reopening_gives_everything_back(folder: Path) -> None:
    with opened(folder, create=True) as store:
        store.pin(PIN)
        fill(store, 30)
        store.add([], unit(0), [file("/copy \udcff", 3), file("/bad")])
        store.mark_missing(["/p/5.jpg"])
        store.refresh(no_progress)
        before = seen(store)
        answers = store.search(unit(2, seed=7), 5, way="exact")
    with opened(folder) as store:
        assert seen(store) == before
        assert store.search(unit(2, seed=7), 5, way="exact") == answers
        assert store.verify(no_progress) == []
        assert store.stats().index == "ready"
        assert store.stats().bytes == sum(entry.stat().st_size for entry in folder.iterdir())


def test_a_url_and_a_path_open_the_same_library(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(filled.parent)
    for place in (filled, str(filled), "library"):
        with closing(open_store(place)) as store:
            assert store.url == str(filled)
            assert store.stats().pictures == 300


def test_a_missing_library_is_not_made_by_looking(folder: Path) -> None:
    with pytest.raises(LibraryNotFoundError, match=str(folder)):
        LocalStore(folder)
    assert not folder.exists()


def test_a_folder_with_other_things_is_refused_and_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(LibraryFormatError, match=r"holiday\.jpg"):
        LocalStore(folder, create=True)
    with pytest.raises(LibraryNotFoundError):
        LocalStore(folder)
    assert [entry.name for entry in folder.iterdir()] == ["holiday.jpg"]


def test_a_file_in_the_librarys_place_is_refused(folder: Path) -> None:
    folder.write_text("a note")
    with pytest.raises(StoreError, match="cannot make a library"):
        LocalStore(folder, create=True)
    with pytest.raises(LibraryNotFoundError):
        LocalStore(folder)


def test_another_programs_database_is_refused_and_left_alone(folder: Path) -> None:
    folder.mkdir()
    path = folder / "library.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE recipes (name)")
        db.commit()
    before = path.read_bytes()
    for create in (False, True):
        with pytest.raises(LibraryFormatError, match="not a library"):
            LocalStore(folder, create=create)
    assert path.read_bytes() == before
    assert [entry.name for entry in folder.iterdir()] == ["library.sqlite"]


def test_what_is_no_database_at_all_is_refused(folder: Path) -> None:
    folder.mkdir()
    (folder / "library.sqlite").write_text("dear diary " * 100)
    with pytest.raises(LibraryDamagedError, match="not a database"):
        LocalStore(folder)


def test_a_folder_named_like_the_database_is_refused(folder: Path) -> None:
    (folder / "library.sqlite").mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot open"):
        LocalStore(folder)


@pytest.mark.parametrize("leftovers", [["library.sqlite"], ["library.sqlite", "lock"], ["lock"]])
def test_a_library_killed_at_birth_is_empty_and_can_be_filled(
    folder: Path, leftovers: list[str]
) -> None:
    folder.mkdir()
    for name in leftovers:
        (folder / name).touch()
    with pytest.raises(LibraryNotFoundError, match="imgindex index"):
        LocalStore(folder)
    with opened(folder, create=True) as store:
        store.pin(PIN)
        fill(store, 2)
    with opened(folder) as store:
        assert store.stats().pictures == 2


def test_a_newer_format_is_refused_with_both_numbers(filled: Path) -> None:
    with closing(sqlite3.connect(filled / "library.sqlite")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(LibraryFormatError, match=r"format 99, .* knows 5; install a newer"):
        LocalStore(filled, create=True)


def test_a_closed_store_says_so(filled: Path) -> None:
    store = LocalStore(filled)
    store.close()
    for use in (store.files, store.stats, store.prune, lambda: store.search(unit(1), 1)):
        with pytest.raises(StoreError, match="closed"):
            use()
    with opened(filled) as again, again.writing():  # and it kept no lock
        pass


# Migrations


def migrations(monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    monkeypatch.setattr(database, "MIGRATIONS", (*schema.MIGRATIONS, *more))


def told(folder: Path) -> tuple[int, list[str]]:
    with closing(sqlite3.connect(folder / "library.sqlite")) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        return version, [row[0] for row in db.execute("SELECT name FROM sqlite_master")]


def test_a_migration_that_fails_half_way_changes_nothing(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = told(filled)
    with monkeypatch.context() as patch:
        migrations(patch, "CREATE TABLE extra (x); INSERT INTO nowhere VALUES (1)")
        with pytest.raises(StoreError, match="nowhere"):
            LocalStore(filled)
        assert told(filled) == before
    with opened(filled) as store:
        assert store.stats().pictures == 300


def test_a_library_whose_making_fails_is_still_empty(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        migrations(patch, "INSERT INTO nowhere VALUES (1)")
        with pytest.raises(StoreError, match="nowhere"):
            LocalStore(folder, create=True)
        assert told(folder) == (0, [])
    with opened(folder, create=True) as store:
        store.pin(PIN)
        fill(store, 1)


def test_a_migration_keeps_what_is_there_and_shuts_out_older_programs(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(filled) as store:
        before = seen(store)
    with monkeypatch.context() as patch:
        migrations(patch, "ALTER TABLE picture ADD COLUMN note TEXT", "CREATE TABLE extra (x)")
        with opened(filled) as store:
            assert seen(store) == before
        assert told(filled)[0] == len(schema.MIGRATIONS) + 2
    with pytest.raises(LibraryFormatError, match=f"format {len(schema.MIGRATIONS) + 2}"):
        LocalStore(filled)


@pytest.mark.parametrize("version", range(1, len(schema.MIGRATIONS) + 1))
def test_libraries_of_older_formats_open_for_ever(tmp_path: Path, version: int) -> None:
    """Each was made by the imgindex of its time: 24 pictures, a copy, a broken file, 3 groups."""
    with tarfile.open(GOLDEN / f"library-{version}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / f"library-{version}"
    assert told(folder)[0] == version
    with opened(folder) as store:
        assert store.verify(no_progress) == []
        stats = store.stats()
        assert (stats.pictures, stats.files, stats.unreadable) == (24, 25, 1)
        assert stats.index == "ready"
        ids, rows = store.vectors()
        ways: tuple[Way, Way] = ("exact", "hnsw")
        for way in ways:
            told_way, answers = store.search(rows, 2, way=way)
            assert told_way == way
            assert [hits[0].id for hits in answers] == list(ids)
        kept = store.grouping()
        assert kept is not None
        assert sorted(np.bincount(kept.labels)) == [8, 8, 8]
        assert [one.name for one in store.decisions()] == (["stripes"] if version > 1 else [])
        assert store.ungrouped() == []
        store.add([picture(900)], unit(1, 64), [file("/new", 900)])
        store.refresh(no_progress)
    assert told(folder)[0] == len(schema.MIGRATIONS)
    with opened(folder) as store:
        assert store.verify(no_progress) == []
        assert store.stats().pictures == 25


@pytest.mark.parametrize("left", ["lock", "library.sqlite-journal", "library.sqlite-wal"])
def test_a_library_whose_making_was_cut_short_is_made_by_the_next(folder: Path, left: str) -> None:
    folder.mkdir()
    (folder / left).write_bytes(os.urandom(1024))
    with pytest.raises(LibraryNotFoundError):
        LocalStore(folder)
    make(folder)
    with opened(folder) as store:
        assert store.stats().pictures == 300
        assert store.verify(no_progress) == []


def test_rows_of_an_older_library_get_their_checksums_when_it_is_opened(tmp_path: Path) -> None:
    with tarfile.open(GOLDEN / "library-4.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "library-4"
    with opened(folder):
        pass
    flip(folder / "vectors.f32", 4 * 64 * 5 + 3)
    with opened(folder) as store:
        (line,) = store.verify(no_progress)
        assert "row 5" in line


# The vector file


def test_a_tail_of_unnamed_rows_is_ignored_by_readers_and_cut_by_the_next_writer(
    filled: Path,
) -> None:
    path = filled / "vectors.f32"
    whole = path.stat().st_size
    with path.open("ab") as tail:
        tail.write(unit(3, seed=5).tobytes() + b"torn")
    with opened(filled) as store:
        before = seen(store)
        assert store.stats().vectors == 300
        assert store.verify(no_progress) == []
        assert path.stat().st_size > whole
        rows = unit(1, seed=6)
        store.add([picture(900)], rows, [file("/new", 900)])
        kept = store.vector(an_id(900))
        assert kept is not None
        np.testing.assert_array_equal(kept, rows[0])
        store.forget(["/new"])
        assert seen(store) == before
    assert path.stat().st_size == whole + rows.nbytes


def test_a_vector_file_that_is_too_short_is_told_with_both_sizes(filled: Path) -> None:
    path = filled / "vectors.f32"
    whole = path.stat().st_size
    os.truncate(path, whole - 100)
    expected = rf"{whole - 100} bytes, but the library names {whole}"
    with opened(filled) as store:
        for use in (
            store.vectors,
            lambda: store.vector(an_id(0)),
            lambda: store.search(unit(1), 1),
            lambda: store.add([picture(900)], unit(1)),
            lambda: store.mark_missing(["/p/0.jpg"]),
        ):
            with pytest.raises(LibraryDamagedError, match=expected):
                use()
        size, *rows = store.verify(no_progress)
        assert re.search(expected, size)
        assert len(rows) == 4
        assert f"row 299 of picture {an_id(299)} is not there" in rows[-1]
        assert len(store.files()) == 300
    path.unlink()
    with (
        opened(filled) as store,
        pytest.raises(LibraryDamagedError, match=f"has 0 bytes, .* names {whole}"),
    ):
        store.vectors()


def test_a_row_that_was_overwritten_is_named_by_verify(filled: Path) -> None:
    with (filled / "vectors.f32").open("r+b") as rows:
        rows.seek(4 * 8 * 17)
        rows.write(bytes(4 * 8))
    with opened(filled) as store:
        (line,) = store.verify(no_progress)
    assert "row 17" in line
    assert an_id(17) in line


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_full_disk_leaves_the_library_as_it_was(
    filled: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    with opened(filled) as store:
        before = seen(store)
        with monkeypatch.context() as patch:
            if call == "fsync":
                patch.setattr(os, "fsync", full)
            else:
                patch.setattr(Path, "open", full)
            with pytest.raises(StoreError, match=r"vectors\.f32: No space left"):
                store.add([picture(900)], unit(1), [file("/new", 900)])
        assert seen(store) == before
        assert store.verify(no_progress) == []
        store.add([picture(901)], unit(1, seed=2), [file("/new", 901)])
    with opened(filled) as store:
        kept = store.vector(an_id(901))
        assert kept is not None
        np.testing.assert_array_equal(kept, unit(1, seed=2)[0])
        assert store.verify(no_progress) == []


def test_a_full_disk_in_the_database_leaves_the_library_as_it_was(filled: Path) -> None:
    with opened(filled) as store:
        before = seen(store)
        with store._db.reading() as db:
            pages = db.execute("PRAGMA page_count").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {pages}")
        many = [picture(number) for number in range(1000, 3000)]
        with pytest.raises(StoreError, match="full"):
            store.add(many, unit(2000), [file(f"/q/{n}", n) for n in range(1000, 3000)])
        assert seen(store) == before
        with store._db.reading() as db:
            db.execute("PRAGMA max_page_count = 1000000")
        store.add(many, unit(2000), [file(f"/q/{n}", n) for n in range(1000, 3000)])
        assert store.verify(no_progress) == []


def test_a_date_far_in_the_future_does_not_stop_anything(filled: Path) -> None:
    late = 13_000_000_000 * 10**9  # the year 2381
    with opened(filled) as store:
        store.add([], unit(0), [file("/q", 1), file("/late", 2)._replace(mtime_ns=late)])
        (kept,) = store.files(["/late"])
        assert kept.id == an_id(2)


# The graph


def graph_files(folder: Path) -> tuple[Path, Path]:
    return folder / "graph.hnsw", folder / "graph.json"


def walked(folder: Path) -> str:
    """Which way a search really goes that asks for the graph; its answers must be right."""
    with opened(folder) as store:
        ids, rows = store.vectors()
        way, answers = store.search(rows[:20], 3, way="hnsw")
        assert [hits[0].id for hits in answers] == list(ids[:20])
        assert all(hits[0].score >= 0.9999 for hits in answers)
    return way


def state(folder: Path) -> str:
    with opened(folder) as store:
        return store.stats().index


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def of_another_library(folder: Path, *which: int) -> None:
    other = make(folder.parent / "other", seed=5)
    for at in which:
        shutil.copy(graph_files(other)[at], graph_files(folder)[at])


def older(folder: Path, which: int) -> None:
    """As a kill between the two renames of a save leaves them, or a backup that mixed them."""
    copy = graph_files(folder)[which].read_bytes()
    with opened(folder) as store:
        store.add([picture(500)], unit(1, seed=3), [file("/500", 500)])
        store.refresh(no_progress)
    graph_files(folder)[which].write_bytes(copy)


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "no graph": ("none", lambda folder: graph_files(folder)[0].unlink()),
    "no sidecar": ("none", lambda folder: graph_files(folder)[1].unlink()),
    "truncated": ("damaged", lambda folder: os.truncate(graph_files(folder)[0], 5000)),
    "emptied": ("damaged", lambda folder: os.truncate(graph_files(folder)[0], 0)),
    "bit flipped in the middle": ("ready", lambda folder: flip(graph_files(folder)[0], 20_000)),
    "bit flipped in the header": ("ready", lambda folder: flip(graph_files(folder)[0], 9)),
    "sidecar is no JSON": (
        "damaged",
        lambda folder: graph_files(folder)[1].write_bytes(b"\xff{rows:"),
    ),
    "sidecar is a list": ("damaged", lambda folder: graph_files(folder)[1].write_text("[1]")),
    "sidecar has other fields": ("damaged", lambda folder: edit(graph_files(folder)[1], x=1)),
    "sidecar of more rows": ("stale", lambda folder: edit(graph_files(folder)[1], rows=301)),
    "sidecar of fewer rows": ("stale", lambda folder: edit(graph_files(folder)[1], rows=299)),
    "sidecar of another shape": ("stale", lambda folder: edit(graph_files(folder)[1], dimension=4)),
    "sidecar of another M": ("stale", lambda folder: edit(graph_files(folder)[1], m=8)),
    "graph of another library": ("ready", lambda folder: of_another_library(folder, 0)),
    "both of another library": ("stale", lambda folder: of_another_library(folder, 0, 1)),
    "older graph": ("damaged", lambda folder: older(folder, 0)),
    "older sidecar": ("damaged", lambda folder: older(folder, 1)),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_graph_that_is_not_the_one_saved_is_never_walked_and_is_rebuilt(
    filled: Path, what: str
) -> None:
    assert walked(filled) == "hnsw"
    expected, damage = DAMAGE[what]
    damage(filled)
    assert state(filled) == expected
    with opened(filled) as store:
        lawful = expected in {"none", "stale"}
        assert [graph_files(filled)[0].name in line for line in store.verify(no_progress)] == (
            [] if lawful else [True]
        )
    assert walked(filled) == "exact"
    with opened(filled) as store:
        store.refresh(no_progress)
        assert store.stats().index == "ready"
        assert store.verify(no_progress) == []
    assert walked(filled) == "hnsw"


def test_a_graph_that_rotted_unseen_is_found_when_it_is_loaded(filled: Path) -> None:
    graph = graph_files(filled)[0]
    written = graph.stat()
    flip(graph, written.st_size // 2)
    os.utime(graph, ns=(written.st_atime_ns, written.st_mtime_ns))
    with opened(filled) as store:
        store.refresh(no_progress)  # believes the time, as it must to be quick
        assert [graph.name in line for line in store.verify(no_progress)] == [True]
    assert walked(filled) == "exact"
    with opened(filled) as store:
        store.refresh(no_progress)
        assert store.verify(no_progress) == []
    assert walked(filled) == "hnsw"


def test_the_graphs_state_follows_the_rows(folder: Path) -> None:
    with opened(folder, create=True) as store:
        store.pin(PIN)
        assert store.stats().index == "none"
        store.refresh(no_progress)
        assert store.stats().index == "none"  # nothing to index
        fill(store, 20)
        assert store.stats().index == "none"
        store.refresh(no_progress)
        assert store.stats().index == "ready"
        store.add([picture(100)], unit(1, seed=4), [file("/100", 100)])
        assert store.stats().index == "stale"
        way, (hits,) = store.search(unit(1, seed=4), 1, way="hnsw")
        assert (way, hits[0].id) == ("hnsw", an_id(100))  # compared besides
        store.refresh(no_progress)
        assert store.stats().index == "ready"
        store.mark_missing(["/100"])
        store.prune()
        assert store.stats().index == "ready"
        way, (hits,) = store.search(unit(1, seed=4), 20, way="hnsw")
        assert an_id(100) not in {hit.id for hit in hits}
        assert len(hits) == 20


def test_refreshing_what_is_ready_writes_nothing(filled: Path) -> None:
    before = [(path.stat().st_mtime_ns, path.stat().st_ino) for path in graph_files(filled)]
    with opened(filled) as store:
        store.refresh(no_progress)
    assert [(p.stat().st_mtime_ns, p.stat().st_ino) for p in graph_files(filled)] == before


def test_new_rows_are_added_to_the_saved_graph_and_not_all_built_again(filled: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    with opened(filled) as store:
        numbers = range(1000, 1010)
        store.add(
            [picture(n) for n in numbers], unit(10, seed=4), [file(f"/{n}", n) for n in numbers]
        )
        store.refresh(lambda *call: calls.append(call))
    assert calls == [("index", 310, 310)]
    assert walked(filled) == "hnsw"


def test_progress_of_a_build_rises_to_its_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hnsw, "CHUNK", 40)
    calls: list[tuple[str, int, int]] = []
    with opened(folder, create=True) as store:
        store.pin(PIN)
        fill(store, 100)
        store.refresh(lambda *call: calls.append(call))
    assert calls == [("index", 40, 100), ("index", 80, 100), ("index", 100, 100)]


@pytest.mark.parametrize("way", ["exact", "hnsw"])
def test_what_a_search_keeps_in_mind_ends_with_the_next_change(filled: Path, way: Any) -> None:
    """Whoever changes it: this store itself, or another one of the same folder."""
    with opened(filled) as reader, opened(filled) as writer:
        ids, rows = reader.vectors()
        for _ in range(3):  # by then it has read every name
            reader.search(rows, 3, way=way)
        assert reader._view is not None
        assert reader._view._names is not None
        paths = reader.paths(ids)
        for store, at in ((writer, 7), (reader, 8)):
            store.mark_missing(paths[ids[at]])
            for one in (reader, writer):
                _, found = one.search(rows[at][None], 3, way=way)
                assert ids[at] not in {hit.id for hit in found[0]}
                assert len(found[0]) == 3
        numbers = range(1000, 1003)
        new = unit(3, seed=9)
        files = [file(f"/new/{n}", n) for n in numbers]
        writer.add([picture(n) for n in numbers], new, files)
        _, found = reader.search(new, 1, way=way)
        assert [hits[0].id for hits in found] == [picture(n).id for n in numbers]


def test_many_queries_at_once_to_a_small_library_are_compared(filled: Path) -> None:
    with opened(filled) as store:
        _, rows = store.vectors()
        assert store.search(rows[:1], 3, way="hnsw")[0] == "hnsw"
        assert store.search(rows[:1], 3)[0] == "hnsw"  # loaded by now
        assert store.search(rows[:64], 3)[0] == "exact"
        assert store.search(rows[:64], 3, way="hnsw")[0] == "hnsw"


def test_the_graph_grows_beside_the_work_and_is_saved_at_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "CHUNK", 40)
    calls: list[tuple[str, int, int]] = []
    rows = unit(130, seed=7)
    with opened(folder, create=True) as store:
        store.pin(PIN)
        with store.writing():
            for start in (0, 20, 60, 120):
                some = range(start, min(130, start + (60 if start == 60 else 40)))
                store.add(
                    [picture(n) for n in some], rows[list(some)], [file(f"/{n}", n) for n in some]
                )
                store._growth.end()
            assert not any(path.exists() for path in graph_files(folder))
            store.refresh(lambda *call: calls.append(call))
        assert calls == [("index", 130, 130)]  # the last ten; the others were in it
        assert store.search(rows[:1], 1, way="hnsw")[0] == "hnsw"
        way, found = store.search(rows, 1, way="hnsw")
        assert way == "hnsw"
        assert [hits[0].id for hits in found] == [picture(n).id for n in range(130)]
        assert store.verify(no_progress) == []


def test_growing_ends_early_where_a_run_is_stopped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the part in hand; what was added till then is of use to the next try."""
    monkeypatch.setattr(hnsw, "CHUNK", 40)
    with opened(folder, create=True) as store:
        store.pin(PIN)
        fill(store, 200)
        graph = store._derived()
        assert graph is not None
        enough = threading.Event()
        calls: list[int] = []

        def progress(_: str, done: int, __: int) -> None:
            calls.append(done)
            if done == 80:
                enough.set()

        graph.grow(store._mapped(), progress, enough)
        assert (calls, graph.reached) == ([40, 80], 80)
        store.refresh(no_progress)
        assert graph.rows == 200
        assert store.verify(no_progress) == []


def test_a_change_in_the_middle_of_a_search_is_no_trouble(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process commits between the look at the rows and the look at their names."""
    with opened(filled) as reader, opened(filled) as writer:
        ids, rows = reader.vectors()
        paths = reader.paths(ids)
        left = list(ids)

        def changing(*arguments: Any) -> Any:
            writer.mark_missing(paths[left.pop()])
            return nearest(*arguments)

        monkeypatch.setattr("imgindex.store.rows.nearest", changing)
        for _ in range(3):
            _, found = reader.search(rows[:40], 5, way="exact")
            assert all(len(hits) == 5 for hits in found)


def test_a_graph_put_for_another_in_the_middle_of_a_search_is_not_walked(filled: Path) -> None:
    with opened(filled) as store:
        _, rows = store.vectors()
        store.search(rows[:1], 1, way="hnsw")
        graph = store._derived()
        assert graph is not None
        mapped = store._mapped()
        assert graph.search(rows[:3], 2, mapped) is not None
        # The caller compares every vector then.
        assert graph.search(rows[:3], 2, mapped[:299]) is None


def test_a_damaged_graph_met_while_another_thread_writes_holds_nobody_up(filled: Path) -> None:
    graph = graph_files(filled)[0]
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    with opened(filled) as store:
        _, rows = store.vectors()
        graph.write_bytes(data)
        ready, done = threading.Event(), threading.Event()

        def write() -> None:
            with store.writing():
                ready.set()
                done.wait(20)

        writer = threading.Thread(target=write)
        writer.start()
        ready.wait(20)
        way, _ = store.search(rows[:1], 1, way="hnsw")
        assert way == "exact"
        assert not done.is_set()
        done.set()
        writer.join()


def test_a_run_that_fails_leaves_no_growing_graph_at_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "CHUNK", 40)
    with opened(folder, create=True) as store:
        store.pin(PIN)

        def stopped() -> None:
            with store.writing():
                fill(store, 100)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stopped()
        assert not store._growth.running
        store.refresh(no_progress)
        assert store.stats().index == "ready"
        assert store.verify(no_progress) == []


def clustered(count: int, dimension: int) -> Rows:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(40, dimension))
    rows = centres[generator.integers(0, 40, count)]
    rows += 0.25 * generator.normal(size=rows.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def test_filters_go_by_the_graph_where_that_is_quicker(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = clustered(6050, 16)
    with opened(folder, create=True) as store:
        store.pin(ModelPin("tiny", "f" * 64, 16, 1))
        pictures = [picture(number) for number in range(6000)]
        files = [file(f"/{'odd' if n % 2 else 'even'}/{n}", n) for n in range(6000)]
        store.add(pictures, rows[:6000], files)
        store.refresh(no_progress)
        ids = [one.id for one in pictures]
        odd = Where(folders=("/odd",))
        reads: list[Where] = []

        def counted(db: sqlite3.Connection, where: Where) -> list[int]:
            reads.append(where)
            return filters.passing_rows(db, where)

        monkeypatch.setattr(view, "passing_rows", counted)

        def right(where: Where, numbers: Any, way: Any, k: int = 5) -> str:
            ran, answers = store.search(rows[6000:], k, way=way, where=where)
            truth = nearest(rows[:6000], rows[6000:], k, np.asarray(numbers))[0]
            hit = [
                len({hit.id for hit in hits} & {ids[at] for at in best})
                for hits, best in zip(answers, truth.tolist(), strict=True)
            ]
            assert all(len(hits) == min(k, len(numbers)) for hits in answers)
            assert sum(hit) >= 0.99 * truth.size
            return ran

        numbers = range(1, 6000, 2)
        assert right(odd, numbers, "hnsw") == "hnsw"
        assert right(odd, numbers, "exact") == "exact"
        assert right(odd, numbers, "hnsw", k=60) == "exact"  # so many are found sooner one by one
        assert reads == [odd]
        few = Where(ids=frozenset(ids[:60]))
        assert right(few, range(60), "hnsw") == "exact"
        # Half of them, but none that is near: the walk is given up.
        order = np.argsort(-(rows[:6000] @ rows[6000]))
        far = np.sort(order[3000:])
        beyond = Where(ids=frozenset(ids[at] for at in far))
        way, (hits,) = store.search(rows[6000:6001], 5, way="hnsw", where=beyond)
        assert way == "exact"
        assert [hit.id for hit in hits] == [ids[at] for at in order[3000:3005]]
        for number in range(20):
            store.search(rows[:1], 1, where=Where(ids=frozenset(ids[: number + 2])))
        assert right(odd, numbers, "hnsw") == "hnsw"
        assert reads.count(odd) == 2  # so many filters are not kept


def test_the_graph_finds_what_the_exact_search_finds(folder: Path) -> None:
    rows = clustered(2100, 64)
    with opened(folder, create=True) as store:
        store.pin(ModelPin("tiny", "f" * 64, 64, 1))
        pictures = [picture(number) for number in range(2000)]
        store.add(pictures, rows[:2000], [file(f"/{n}", n) for n in range(2000)])
        store.refresh(no_progress)
        queries = np.concatenate([rows[2000:], rows[:100]])
        way, exact = store.search(queries, 10, way="exact")
        assert way == "exact"
        way, walk = store.search(queries, 10, way="hnsw")
        assert way == "hnsw"
    found = 0
    for mine, theirs in zip(walk, exact, strict=True):
        truth = {hit.id: hit.score for hit in theirs}
        assert [hit.score for hit in mine] == sorted((hit.score for hit in mine), reverse=True)
        for hit in mine:
            if hit.id in truth:
                found += 1
                assert hit.score == pytest.approx(truth[hit.id], abs=1e-5)
    assert found >= 0.99 * 10 * len(queries)


def test_the_graph_is_loaded_once_scans_have_cost_as_much(filled: Path) -> None:
    with opened(filled) as store:
        ways = [store.search(unit(1, seed=n), 3)[0] for n in range(29)]
        assert ways == ["exact"] * 24 + ["hnsw"] * 5
        assert store.search(unit(1), 3, way="exact")[0] == "exact"
    with opened(filled) as store:
        assert store.search(unit(1), 3, way="hnsw")[0] == "hnsw"
        assert store.search(unit(1), 3)[0] == "hnsw"
    with opened(filled) as store:
        assert store.search(unit(25), 3)[0] == "hnsw"


def test_a_graph_that_another_process_brought_up_to_date_is_loaded_anew(filled: Path) -> None:
    with opened(filled) as reader, opened(filled) as writer:
        assert reader.search(unit(1), 1, way="hnsw")[0] == "hnsw"
        writer.add([picture(700)], unit(1, seed=9), [file("/700", 700)])
        way, (hits,) = reader.search(unit(1, seed=9), 1, way="hnsw")
        assert (way, hits[0].id) == ("hnsw", an_id(700))  # compared besides
        writer.refresh(no_progress)
        assert reader._graph is not None
        assert reader._graph.rows == 300
        for _ in range(301 * (local._SCANS_WORTH_A_LOAD + 1) // 60):
            way, (hits, *_) = reader.search(unit(60, seed=9), 1, way="hnsw")
            assert (way, hits[0].id) == ("hnsw", an_id(700))
        assert reader._graph.rows == 301  # by then comparing has cost as much as loading


def a_tail(store: LocalStore, first: int, count: int, seed: int) -> Rows:
    """Pictures that come after the graph was saved."""
    rows = unit(count, store_dimension(store), seed)
    numbers = range(first, first + count)
    store.add([picture(n) for n in numbers], rows, [file(f"/tail/{n}", n) for n in numbers])
    return rows


@settings(max_examples=25)
@given(
    behind=st.integers(1, 40),
    k=st.integers(1, 30),
    seed=st.integers(0, 9),
    gone=st.sets(st.integers(0, 139), max_size=30),
    where=st.sampled_from([None, Where(ids=frozenset(map(an_id, range(0, 200, 2))))]),
)
def test_rows_behind_the_graph_are_found_as_by_comparing_all(
    behind: int, k: int, seed: int, gone: set[int], where: Where | None
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(view, "_ROWS_A_WALK", 0)
        with opened(make(Path(folder) / "library", 120, seed)) as store:
            rows = a_tail(store, 120, behind, seed + 50)
            store.mark_missing([f"/tail/{n}" if n >= 120 else f"/p/{n}.jpg" for n in gone])
            queries = np.concatenate([unit(3, seed=seed + 90), rows[:2]])
            way, exact = store.search(queries, k, way="exact", where=where)
            assert way == "exact"
            way, walk = store.search(queries, k, way="hnsw", where=where)
            assert way == "hnsw"
            late = {an_id(n) for n in range(120, 160)}
            for mine, theirs in zip(walk, exact, strict=True):
                assert len(mine) == len(theirs)
                assert [hit.id for hit in mine if hit.id in late] == [
                    hit.id for hit in theirs if hit.id in late
                ]
                scores = [hit.score for hit in mine]
                assert scores == sorted(scores, reverse=True)
                assert scores == pytest.approx([hit.score for hit in theirs], abs=1e-5)


def test_a_graph_that_lacks_too_much_is_not_walked(filled: Path) -> None:
    with opened(filled) as store:
        a_tail(store, 1000, 100, 3)
        assert store.search(unit(1), 3, way="hnsw")[0] == "hnsw"
        a_tail(store, 1100, 1, 4)
        assert store.search(unit(1), 3, way="hnsw")[0] == "exact"
    assert walked(filled) == "exact"
    with opened(filled) as store:
        store.refresh(no_progress)
    assert walked(filled) == "hnsw"


def test_a_graph_is_loaded_though_it_lacks_a_little(filled: Path) -> None:
    with opened(filled) as store:
        rows = a_tail(store, 1000, 20, 3)
    with opened(filled) as store:
        ways = [store.search(unit(1, seed=n), 3)[0] for n in range(29)]
        assert ways == ["exact"] * 24 + ["hnsw"] * 5
        assert store.search(rows[:1], 1)[1][0][0].id == an_id(1000)
        assert store.stats().index == "stale"


def test_the_graph_is_brought_up_to_date_once_it_lacks_many(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_FEW", 10)
    before = [path.stat().st_mtime_ns for path in graph_files(filled)]
    with opened(filled) as store:
        a_tail(store, 1000, 10, 3)
        store.refresh(no_progress, lazily=True)
        assert [path.stat().st_mtime_ns for path in graph_files(filled)] == before
        assert store.stats().index == "stale"
        a_tail(store, 1010, 1, 4)
        store.refresh(no_progress, lazily=True)
        assert store.stats().index == "ready"
        assert store.verify(no_progress) == []


def test_groups_are_made_over_the_whole_graph(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a reader that still has an older one, and by one that cannot bring it up to date."""
    monkeypatch.setattr(local, "_COMPARED", 100)
    with opened(filled) as reader, opened(filled) as writer:
        assert reader.search(unit(1), 1, way="hnsw")[0] == "hnsw"
        a_tail(writer, 1000, 20, 3)
        ids, _ = reader.vectors()
        with writer.writing():
            near, links = reader.neighbours(ids, 5, no_progress)
        assert (near.shape, len(links)) == ((320, 6), 0)
        writer.refresh(no_progress)
        near, links = reader.neighbours(ids, 5, no_progress)
        assert len(near) == 320
        assert len(links) > 0


class Cut(hnswlib.Index):
    """A graph on a full disk: hnswlib saves what fits and says nothing."""

    def save_index(self, path: str) -> None:
        super().save_index(path)
        os.truncate(path, 1000)


class Lost(hnswlib.Index):
    def save_index(self, path: str) -> None:
        pass


@pytest.mark.parametrize("how", ["cut short", "not written", "not synced", "sidecar not written"])
def test_a_full_disk_keeps_the_graph_that_was_there(
    filled: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    with opened(filled) as store:
        store.add([picture(700)], unit(1, seed=9), [file("/700", 700)])
        with monkeypatch.context() as patch:
            if how == "not synced":
                patch.setattr(os, "fsync", full)
            elif how == "sidecar not written":
                patch.setattr(Path, "write_text", full)
            else:
                patch.setattr(hnswlib, "Index", Cut if how == "cut short" else Lost)
            with pytest.raises(StoreError, match=r"disk full|No space left"):
                store.refresh(no_progress)
        assert store.stats().index == "stale"
        way, (hits,) = store.search(unit(1, seed=9), 1, way="hnsw")
        assert (way, hits[0].id) == ("hnsw", an_id(700))
        assert not list(filled.glob("*.part"))
        store.refresh(no_progress)
        assert store.stats().index == "ready"
    assert walked(filled) == "hnsw"


# Damage to the database


def test_a_damaged_database_is_an_error_of_ours_whatever_is_asked(filled: Path) -> None:
    path = filled / "library.sqlite"
    size = path.stat().st_size
    with path.open("r+b") as raw:
        raw.seek(size // 4)
        raw.write(b"\xa5" * (size // 2))
    messages = []
    with opened(filled) as store:
        for use in (
            store.files,
            store.vectors,
            store.stats,
            store.prune,
            store.grouping,
            lambda: store.has([an_id(n) for n in range(300)]),
            lambda: store.paths([an_id(n) for n in range(300)]),
            lambda: store.search(unit(1), 300),
            lambda: store.resolve(""),
            lambda: store.add([picture(999)], unit(1), [file("/x", 999)]),
        ):
            try:
                use()
            except LibraryDamagedError as error:
                messages.append(str(error))
        assert len(messages) > 3
        assert all(str(path) in message for message in messages)
        with suppress(LibraryDamagedError):
            assert store.verify(no_progress) != []


def test_an_entry_that_points_to_nothing_is_named_by_verify(filled: Path) -> None:
    with closing(sqlite3.connect(filled / "library.sqlite")) as db:
        db.execute("UPDATE file SET picture = 4711 WHERE path = ?", (b"/p/3.jpg",))
        db.execute("UPDATE picture SET row = 5000 WHERE id = ?", (an_id(8),))
        db.commit()
    with opened(filled) as store:
        lines = store.verify(no_progress)
    assert any("points to nothing" in line for line in lines)
    assert any(an_id(8) in line and "row 5000" in line and "300" in line for line in lines)


# Processes


HOLD = """
import sys
from imgindex.store import open_store
store = open_store(sys.argv[1])
with store.writing():
    print("held", flush=True)
    sys.stdin.readline()
store.close()
"""

WRITE = """
import sys
sys.path.insert(0, sys.argv[2])
from test_store import file, picture, unit
from imgindex.records import no_progress
from imgindex.store import open_store
store = open_store(sys.argv[1])
for batch in range(10_000):
    numbers = range(1000 + 10 * batch, 1010 + 10 * batch)
    files = [file(f"/{n}", n) for n in numbers]
    store.add([picture(n) for n in numbers], unit(10, seed=100 + batch), files)
    print(batch, flush=True)
    if batch % 5 == 4:
        store.refresh(no_progress)
"""


@contextmanager
def program(text: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    root = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", text, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_version_tells_of_what_others_did(filled: Path) -> None:
    with opened(filled) as reader, opened(filled) as writer:
        before = reader.version()
        assert writer.version() == before
        writer.mark_missing(["/p/7.jpg"])
        after = reader.version()
        assert after == writer.version() != before
    with opened(filled) as store:
        assert store.version() == after


def test_another_process_may_not_write_meanwhile_but_read(filled: Path) -> None:
    with program(HOLD, str(filled)) as process, opened(filled) as store:
        assert line(process) == "held"
        with pytest.raises(LibraryBusyError, match="another process is writing"):
            store.add([picture(900)], unit(1))
        assert store.stats().pictures == 300
        assert len(store.search(unit(1), 5)[1][0]) == 5
        process.communicate("\n", timeout=30)
        store.add([picture(900)], unit(1), [file("/900", 900)])


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize("batches", [1, 4, 9])
def test_a_kill_loses_nothing_that_was_acknowledged(filled: Path, batches: int) -> None:
    with program(WRITE, str(filled), str(Path(__file__).parent)) as process:
        for _ in range(batches):
            done = int(line(process))
        process.send_signal(signal.SIGKILL)
        assert process.stdout is not None
        rest = process.stdout.read().split()
        process.wait(30)
    done = int(rest[-1]) if rest else done
    with opened(filled) as store:
        assert store.stats().pictures >= 300 + 10 * (done + 1)
        assert store.stats().pictures % 10 == 0  # a batch is whole or absent
        for batch in range(done + 1):
            for at, row in enumerate(unit(10, seed=100 + batch)):
                kept = store.vector(an_id(1000 + 10 * batch + at))
                assert kept is not None
                np.testing.assert_array_equal(kept, row)
        assert [text for text in store.verify(no_progress) if "graph" not in text] == []
        store.refresh(no_progress)
        store.add([picture(1)], unit(1), [file("/again", 1)])
        assert store.verify(no_progress) == []
    assert walked(filled) == "hnsw"


# Where nothing may be written, what cannot be spelled, who else is at work


def read_only(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """As on a read-only file system; modes do not stop a superuser."""
    for entry in [folder, *folder.iterdir()]:
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and access(path, mode))


def test_a_library_on_a_read_only_disk_answers(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {entry.name for entry in filled.iterdir()}
    read_only(monkeypatch, filled)
    with opened(filled) as store:
        assert len(store.search(unit(1, seed=3), 5)[1][0]) == 5
        assert store.stats().pictures == 300
        with pytest.raises(StoreError, match=r"readonly|read-only"):
            store.mark_missing(["/p/1.jpg"])
    assert {entry.name for entry in filled.iterdir()} - {"lock"} == before - {"lock"}


@pytest.mark.parametrize("version", range(1, len(schema.MIGRATIONS)))
def test_a_library_of_an_older_format_on_a_read_only_disk_answers_and_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    with tarfile.open(GOLDEN / f"library-{version}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / f"library-{version}"
    before = {entry.name: entry.read_bytes() for entry in folder.iterdir()}
    read_only(monkeypatch, folder)
    with opened(folder) as store:
        assert store.verify(no_progress) == []
        ids, rows = store.vectors()
        assert [hits[0].id for hits in store.search(rows, 2)[1]] == list(ids)
        kept = store.grouping()
        assert kept is not None
        assert sorted(np.bincount(kept.labels)) == [8, 8, 8]
        with pytest.raises(StoreError, match=r"readonly|read-only"):
            store.mark_missing([store.files()[0].path])
    left = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.name != "lock"}
    assert left == {name: held for name, held in before.items() if name != "lock"}


@pytest.mark.skipif(sys.platform != "linux", reason="only there a name may hold any byte")
def test_a_library_may_lie_under_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    folder = make(tmp_path / os.fsdecode(b"lib\xff"))
    with opened(folder) as store:
        assert store.search(unit(1, seed=3), 5, way="hnsw")[0] == "hnsw"


@pytest.mark.parametrize("key", ["model", "rows", "generation"])
def test_a_setting_that_is_no_json_is_damage(filled: Path, key: str) -> None:
    with closing(sqlite3.connect(filled / "library.sqlite")) as db, db:
        db.execute("UPDATE setting SET value = '{' WHERE key = ?", (key,))
    with pytest.raises(LibraryDamagedError, match=key), opened(filled) as store:
        store.search(unit(1), 3, way="hnsw")


def test_a_model_setting_of_another_shape_is_damage(filled: Path) -> None:
    with closing(sqlite3.connect(filled / "library.sqlite")) as db, db:
        db.execute("UPDATE setting SET value = '{\"name\": 1}' WHERE key = 'model'")
    with pytest.raises(LibraryDamagedError, match="model"), opened(filled) as store:
        store.pinned()


def test_closing_leaves_the_lock_to_the_thread_that_writes(filled: Path) -> None:
    store = LocalStore(filled)
    with opened(filled) as other:
        with store.writing():
            store.close()
            with pytest.raises(LibraryBusyError):
                other.mark_missing(["/p/1.jpg"])
            with pytest.raises(StoreError, match="closed"):
                store.mark_missing(["/p/1.jpg"])
        other.mark_missing(["/p/1.jpg"])


def test_a_reader_that_meets_a_graph_half_replaced_does_not_spoil_the_new_one(
    filled: Path, tmp_path: Path
) -> None:
    with opened(filled) as reader, opened(filled) as writer:
        newer = tmp_path / "newer"
        shutil.copytree(filled, newer)
        with opened(newer) as store:
            (newer / "graph.json").unlink()
            store.refresh(no_progress)
        with writer.writing():
            # The writer has put its graph in place and not yet its sidecar.
            shutil.copy2(newer / "graph.hnsw", filled / "graph.hnsw")
            with (filled / "graph.hnsw").open("r+b") as graph:
                graph.seek(-1, os.SEEK_END)
                graph.write(b"\x55")
            assert reader.search(unit(1), 3, way="hnsw")[0] == "exact"
            shutil.copy2(newer / "graph.hnsw", filled / "graph.hnsw")
            shutil.copy2(newer / "graph.json", filled / "graph.json")
        assert reader.search(unit(1), 3, way="hnsw")[0] == "hnsw"


def test_a_grouping_is_kept_while_another_process_writes(filled: Path) -> None:
    with opened(filled) as store, opened(filled) as other, other.writing():
        kept = grouping_of([0] * 300, store.vectors()[0])
        store.save_grouping(kept)
    with opened(filled) as store:
        assert (found := store.grouping()) is not None
        assert found.ids == kept.ids


def test_a_look_sees_one_moment(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures pruned between two statements of one question are in both or in neither."""
    with opened(filled) as store, opened(filled) as other:
        store.save_grouping(grouping_of([0] * 300, store.vectors()[0]))
        load = groupings.load

        def interrupted(db: sqlite3.Connection) -> Grouping | None:
            found = load(db)
            other.mark_missing([f"/p/{number}.jpg" for number in range(100)])
            other.prune()
            return found

        monkeypatch.setattr(groupings, "load", interrupted)
        assert (found := store.grouping()) is not None
        assert len(found.ids) == 300
        monkeypatch.undo()
        assert (found := store.grouping()) is not None
        assert len(found.ids) == 200


def test_recall_is_what_the_graph_finds_of_what_comparing_finds(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(filled) as store:
        whole = check_recall(store, 10, 50, no_progress)
        assert (whole.way, whole.queries, whole.k) == ("hnsw", 50, 10)
        assert whole.recall > 0.9
        assert set(whole.milliseconds) == {"exact", "hnsw"}
        rows = np.array(store._mapped())

        def half(_: object, queries: Rows, k: int, __: int) -> tuple[NDArray[np.int64], Rows]:
            # Every second neighbour is missed, and those behind come in their place.
            where, cosines = nearest(rows, queries, min(len(rows), 2 * k))
            return where[:, ::2], cosines[:, ::2]

        monkeypatch.setattr(hnsw.Graph, "search", half)
        # The picture itself is found either way, and of the ten next ones five.
        assert check_recall(store, 10, 50, no_progress).recall == pytest.approx(0.5)


def test_without_a_graph_nothing_is_missed(folder: Path) -> None:
    with opened(folder, create=True) as store:
        store.pin(PIN)
        assert check_recall(store, 10, 5, no_progress).queries == 0
        fill(store, 30)
        found = check_recall(store, 10, 50, no_progress)
        assert (found.way, found.queries, found.recall) == ("exact", 30, 1.0)
        store.forget([f"/p/{at}.jpg" for at in range(1, 30)])
        assert check_recall(store, 10, 50, no_progress).recall == 1.0
        with pytest.raises(SettingError, match="at least 1"):
            check_recall(store, 0, 5, no_progress)
