"""A database of which pages are lost is written anew from the others."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from full_library import DERIVED, TABLES
from test_store import PIN, an_id, fill
from torturing.scenes import FORMATS, unpack

from imgindex import Library
from imgindex.errors import LibraryBusyError, LibraryDamagedError, LibraryFormatError
from imgindex.store import open_store, salvage

if TYPE_CHECKING:
    from pathlib import Path

    from imgindex.repairing import Repaired

pytest_plugins = ["full_library"]

PAGE = 4096
DATABASE = "library.sqlite"


@pytest.fixture
def own(full: Path, tmp_path: Path) -> Path:
    return shutil.copytree(full / "library", tmp_path / "library")


def wipe(library: Path, page: int, size: int = PAGE) -> None:
    with (library / DATABASE).open("r+b") as file:
        file.seek(page * PAGE)
        file.write(bytes(size))


def tables(library: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows, but for the setting that is another one after every change."""
    with closing(sqlite3.connect(library / DATABASE)) as db:
        return {
            table: sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr)  # noqa: S608
            for table in (*TABLES, *DERIVED)
        } | {"setting": db.execute("SELECT * FROM setting WHERE key <> 'change'").fetchall()}


def pages_of(library: Path) -> dict[str, list[int]]:
    """The pages of every table and index, from 0, as far as this SQLite can tell."""
    with closing(sqlite3.connect(library / DATABASE)) as db:
        roots = db.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0")
        return {name: [root - 1] for name, root in roots}


def missing(told: Repaired) -> set[str]:
    """The tables of which something is said to be missing."""
    assert told.mended[0].startswith(f"{DATABASE}: written anew; the damaged one is kept as "), told
    found = (
        re.match("([a-z, ]+) could not be read in full; ", told.lost[0].reason)
        if told.lost
        else None
    )
    return set(found[1].split(", ")) if found else set()


def test_whichever_page_is_lost_all_that_is_not_named_is_there(
    full: Path, tmp_path: Path, model_file: Path
) -> None:
    before, count = tables(full / "library"), (full / "library" / DATABASE).stat().st_size // PAGE
    with Library(full / "library") as sound:
        files = {(one.path, one.id) for one in sound._resources.store().files()}
    beyond = []
    for page in range(count):
        library = shutil.copytree(full / "library", tmp_path / str(page))
        wipe(library, page)
        with Library(library, model=model_file, device="cpu") as opened:
            try:
                told = opened.repair()
            except LibraryDamagedError:
                beyond.append(page)
                continue
            assert told.problems == ()
            if not told.mended:  # nothing stood there
                assert tables(library) == before
                continue
            after, gone = tables(library), missing(told)
            if "grouping" in gone:
                gone |= {"grouped", "member"}
            for table in set(TABLES) - gone - {"file"}:
                assert after[table] == before[table], (page, table, told)
            opened.add([full / "photos"])
            assert {
                (one.path, one.id) for one in opened._resources.store().files() if not one.missing
            } == files
            assert opened.verify() == []
            found = opened.search(full / "photos/0.png", 3).matches
            assert found[0].path == str(full / "photos/0.png")
    # The schema is on the first page; what a library cannot do without is among the settings.
    assert set(beyond) <= {0, *pages_of(full / "library")["setting"]}


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8, 0.95])
def test_a_database_of_which_the_end_is_lost(
    own: Path, full: Path, model_file: Path, share: float
) -> None:
    path = own / DATABASE
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(LibraryDamagedError), closing(open_store(own)) as store:
        store.files()
    with Library(own, model=model_file, device="cpu") as opened:
        told = opened.repair()
        assert told.problems == ()
        assert missing(told)
        opened.add([full / "photos"])
        with Library(full / "library") as sound:
            assert opened.listing() == sound.listing()
        assert opened.verify() == []


def test_pictures_between_lost_pages_are_found(tmp_path: Path) -> None:
    count, leaf_of_a_table = 1500, 13
    library = tmp_path / "library"
    with closing(open_store(library, create=True)) as store:
        store.pin(PIN)
        fill(store, count)
    data = (library / DATABASE).read_bytes()
    pages = [data[at : at + PAGE] for at in range(0, len(data), PAGE)]
    lost = 0
    for number in (200, 700, 1200):
        (page,) = (
            at
            for at, page in enumerate(pages)
            if page[0] == leaf_of_a_table and an_id(number).encode() in page
        )
        lost += pages[page].count(b"JPEG")
        wipe(library, page)
    with Library(library) as opened:
        assert missing(opened.repair()) == {"picture"}
        assert opened.status().pictures == count - lost
    assert lost < count / 5


def test_the_damaged_file_is_kept(own: Path) -> None:
    (page,) = pages_of(own)["file_of_picture"]
    wipe(own, page)
    damaged = (own / DATABASE).read_bytes()
    with Library(own) as opened:
        told = opened.repair()
    (kept,) = own.glob(f"{DATABASE}.damaged-*")
    assert told.mended == (f"{DATABASE}: written anew; the damaged one is kept as {kept.name}",)
    assert told.lost == ()
    assert kept.read_bytes() == damaged
    with Library(own) as opened:
        assert opened.repair().mended == ()
        assert opened.verify() == []


def test_rows_of_another_type_are_left_behind(own: Path) -> None:
    with closing(sqlite3.connect(own / DATABASE)) as db, db:
        db.execute("UPDATE sketch SET pixels = 7 WHERE picture = 3")
        db.execute("UPDATE change SET created = CAST(x'ff32' AS TEXT)")
        db.execute("UPDATE change SET before = x'00' WHERE number = 1")
    with Library(own) as opened:
        told = opened.repair()
        assert missing(told) == {"sketch", "change"}
        assert told.problems == ()
        assert opened.duplicates().sets


def test_whoever_reads_goes_on_reading(own: Path) -> None:
    (page,) = pages_of(own)["sketch"]
    wipe(own, page)
    with closing(open_store(own)) as reader:
        before = reader.files()
        with Library(own) as opened:
            opened.repair()
        assert reader.files() == before
        assert reader.verify(lambda *_: None) == []


def test_nobody_else_writes_meanwhile(own: Path) -> None:
    (page,) = pages_of(own)["sketch"]
    wipe(own, page)
    with (
        closing(open_store(own)) as writer,
        writer.writing(),
        Library(own) as opened,
        pytest.raises(LibraryBusyError),
    ):
        opened.repair()
    assert not list(own.glob("*.damaged-*"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ("DROP TABLE change; CREATE VIEW change AS SELECT 1, 'now', 'x', '[]', '[]'", "a view"),
        ("CREATE VIRTUAL TABLE found USING fts5(words)", "a virtual table"),
        ("CREATE TRIGGER harm AFTER DELETE ON file BEGIN SELECT 1; END", "a trigger"),
        ("CREATE TABLE tag (picture, word UEXT); PRAGMA user_version = 99", "has format 99"),
        ("PRAGMA application_id = 7", "is not a library of imgindex"),
    ],
)
@pytest.mark.parametrize("damage", [False, True])
def test_what_no_library_of_ours_is_stays_as_it_is(
    own: Path, changes: str, said: str, *, damage: bool
) -> None:
    (page,) = pages_of(own)["sketch"]
    with closing(sqlite3.connect(own / DATABASE)) as db:
        db.executescript(changes)
    if damage:
        wipe(own, page)
    before = (own / DATABASE).read_bytes()
    with Library(own) as opened, pytest.raises(LibraryFormatError, match=said):
        opened.repair()
    assert (own / DATABASE).read_bytes() == before
    assert not list(own.glob("*.damaged-*"))


def test_without_all_settings_nothing_is_written_or_taken_for_lost(tmp_path: Path) -> None:
    """One names the vectors' file: without it all rows would be taken for lost."""
    library = tmp_path / "library"
    with closing(open_store(library, create=True)) as store:
        store.pin(PIN)
        fill(store, 200)
        store.mark_missing([f"/p/{at}.jpg" for at in range(100)])
        store.prune()
        store.refresh(lambda *_: None)
    (vectors,) = library.glob("vectors-*.f32")
    rows = vectors.read_bytes()
    data = bytearray((library / DATABASE).read_bytes())
    at = data.index(b'vectors"vectors-')
    data[at - 3] = 0xFF  # a record of no length that there can be
    (library / DATABASE).write_bytes(data)
    with Library(library) as opened, pytest.raises(LibraryDamagedError, match="restore it from"):
        opened.repair()
    assert vectors.read_bytes() == rows
    assert (library / DATABASE).read_bytes() == data
    assert not list(library.glob("*.damaged-*"))


@pytest.mark.parametrize("pages", [0, 4, 20, 27, 1_000_000])
def test_pages_that_the_header_does_not_count_are_read(own: Path, pages: int) -> None:
    before = tables(own)
    with (own / DATABASE).open("r+b") as file:
        file.seek(28)
        file.write(pages.to_bytes(4, "big"))
        file.seek(24)
        file.write(bytes(4))
        file.seek(92)
        file.write(bytes(4))  # so the number is believed
    damaged = (own / DATABASE).read_bytes()
    with Library(own) as opened:
        told = opened.repair()
        assert opened.verify() == []
    if told.mended:
        (kept,) = own.glob(f"{DATABASE}.damaged-*")
        assert kept.read_bytes() == damaged
        assert missing(told) == set()
    assert tables(own) == before


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b"width INTEGER", b"vidth INTEGER"),
        (b"width INTEGER", b"\xf7idth INTEGER"),
        (b"row INTEGER PRIMARY", b"row INTEGEQ PRIMARY"),
        (b"path BLOB PRIMARY", b"path BLOB PRIMAR\xd9"),
        (b"-- by content", b"-- by contenu"),
    ],
)
def test_a_damaged_schema_is_made_anew(own: Path, was: bytes, becomes: bytes) -> None:
    before = tables(own)
    data = (own / DATABASE).read_bytes()
    assert data.count(was) == 1
    (own / DATABASE).write_bytes(data.replace(was, becomes))
    with Library(own) as opened:
        told = opened.repair()
        assert told.mended
        assert opened.verify() == []
    after = tables(own)
    changed = {one for one in TABLES if after[one] != before[one]}
    assert changed - {"file"} == missing(told) - {"file"}


@pytest.mark.parametrize("version", FORMATS)
def test_a_sound_library_of_any_format_stays_as_it_is(tmp_path: Path, version: int) -> None:
    library = unpack(version, tmp_path)
    before = (library / DATABASE).read_bytes()
    assert salvage(library) == ([], [])
    assert (library / DATABASE).read_bytes() == before


def test_of_a_library_without_sums_only_what_met_damage_is_named(tmp_path: Path) -> None:
    library = unpack(4, tmp_path)
    (page,) = pages_of(library)["file_of_picture"]
    wipe(library, page)
    with Library(library) as opened:
        told = opened.repair()
        assert missing(told) == set()
        assert told.lost == ()
        assert opened.verify() == []


def test_without_the_sums_what_can_be_read_is_believed(own: Path) -> None:
    (page,) = pages_of(own)["seal"]
    before = tables(own)
    wipe(own, page)
    with Library(own) as opened:
        assert missing(opened.repair()) == set()
        assert opened.verify() == []
    assert tables(own) == before
