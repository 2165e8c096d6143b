"""A changed bit of a table is named, whichever it is, though SQLite finds nothing wrong with it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgindex import Library
from imgindex.errors import StoreError
from imgindex.store.database import Database
from imgindex.store.seals import Seals

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["full_library"]


def changed(library: Path, table: str, change: str) -> None:
    """Change what stands under the first key of a table."""
    with closing(sqlite3.connect(library / "library.sqlite")) as db, db:
        key = db.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchone()[0]
        first = f"(SELECT {key} FROM {table} LIMIT 1)"  # noqa: S608 - names of ours
        db.execute(f"UPDATE {table} SET {change} WHERE {key} = {first}")  # noqa: S608
        assert db.total_changes


def problems(library: Path) -> list[str]:
    with Library(library) as opened:
        return opened.verify()


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("setting", "value = value || ' '"),
        ("picture", "width = width + 1"),
        ("picture", "taken = '2026'"),
        ("file", "path = CAST(path || x'41' AS BLOB)"),
        ("file", "mtime_ns = mtime_ns + 1"),
        ("file", "missing = 1"),
        ("grouping", "settings = settings || ' '"),
        ("grouped", "medoid = upper(medoid) || 'a'"),
        ("member", "place = x'00'"),
        ("member", "strength = strength + 1e-15"),
        ("change", "created = '2026'"),
        ("decision", "name = 'other'"),
        ("sketch", "pixels = zeroblob(1024)"),
        ("examined", "picture = picture + 1000"),
        ("twin", "score = score / 2"),
    ],
)
def test_a_changed_value_is_named(full: Path, tmp_path: Path, table: str, change: str) -> None:
    library = shutil.copytree(full / "library", tmp_path / "library")
    changed(library, table, change)
    told = problems(library)
    assert f"{library / 'library.sqlite'}: {table} does not hold what was written" in told


def test_a_row_that_vanished_is_named(full: Path, tmp_path: Path) -> None:
    library = shutil.copytree(full / "library", tmp_path / "library")
    with closing(sqlite3.connect(library / "library.sqlite")) as db, db:
        db.execute("DELETE FROM file WHERE path = (SELECT max(path) FROM file)")
    (told,) = problems(library)
    assert told.endswith(": file does not hold what was written")


def test_text_that_is_no_text_is_named(full: Path, tmp_path: Path) -> None:
    library = shutil.copytree(full / "library", tmp_path / "library")
    with closing(sqlite3.connect(library / "library.sqlite")) as db, db:
        db.execute("UPDATE change SET created = CAST(x'ff32' AS TEXT)")
    (told,) = problems(library)
    assert told.endswith(": change does not hold what was written")


def test_what_is_derived_is_derived_anew(full: Path, tmp_path: Path) -> None:
    library = shutil.copytree(full / "library", tmp_path / "library")
    with Library(library) as opened:
        before = opened.duplicates()
    changed(library, "twin", "score = score / 2")
    with Library(library) as opened:
        told = opened.repair()
        assert told.mended == (
            "library.sqlite: twin: emptied; imgindex duplicates looks for copies anew",
        )
        assert told.problems == ()
        assert opened.duplicates() == before


def test_files_are_read_again(full: Path, tmp_path: Path, model_file: Path) -> None:
    library = shutil.copytree(full / "library", tmp_path / "library")
    changed(library, "file", "path = CAST(path || x'41' AS BLOB)")
    with Library(library, model=model_file, device="cpu") as opened:
        told = opened.repair()
        assert told.mended == (
            "library.sqlite: file: each file is read again by the next imgindex index",
        )
        assert told.problems == ()
        report = opened.add([full / "photos"])
        assert (report.added, report.unchanged) == (0, 0)
        with Library(full / "library") as sound:
            paths = {one.path for one in sound._resources.store().files()}
        assert paths <= {one.path for one in opened._resources.store().files() if not one.missing}
        assert opened.verify() == []


def test_a_picture_under_a_wrong_id_is_one_more_and_the_right_one_comes_back(
    full: Path, tmp_path: Path, model_file: Path
) -> None:
    library = shutil.copytree(full / "library", tmp_path / "library")
    changed(library, "picture", "id = upper(id) || 'a'")
    with Library(library, model=model_file, device="cpu") as opened:
        (told,) = opened.repair().mended
        assert "picture: each file is read again by the next imgindex index" in told
        assert opened.verify() == []
        assert opened.add([full / "photos"], prune=True).added == 1
        with Library(full / "library") as sound:
            assert opened.listing() == sound.listing()


def test_what_nobody_can_know_is_kept_and_told(full: Path, tmp_path: Path) -> None:
    library = shutil.copytree(full / "library", tmp_path / "library")
    changed(library, "decision", "name = x'61'")
    with Library(library) as opened:
        (line,) = opened.repair().mended
        assert line.startswith("library.sqlite: decision: kept as it is, though not as it was wr")
        assert opened.verify() == []


def test_whoever_changes_a_table_beside_a_transaction_is_stopped(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "library.sqlite")) as database:
        database.migrate(lambda _: None)
        with pytest.raises(StoreError), database.reading() as db:
            db.execute("DELETE FROM setting")
        assert database.problems() == []


WORDS = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.text(), st.binary(), st.floats())
ROWS = st.dictionaries(st.integers(0, 5), st.tuples(WORDS, WORDS), max_size=6)


@given(st.lists(ROWS, max_size=5))
def test_sums_follow_whatever_is_written(states: list[dict[int, tuple[object, object]]]) -> None:
    """Rows are put, replaced, changed and deleted in turn; the sums are those of all rows."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute("CREATE TABLE seal (name TEXT PRIMARY KEY, total INTEGER NOT NULL)")
        db.execute("CREATE TABLE one (id INTEGER PRIMARY KEY, a TEXT, b)")
        seals = Seals(db)
        seals.renew()
        seals.watch()
        for at, rows in enumerate(states):
            db.execute("BEGIN")
            seals.begin()
            if at % 2:
                db.execute("DELETE FROM one WHERE id < 3")
            db.execute("UPDATE one SET b = id")
            for number, row in rows.items():
                db.execute("INSERT OR REPLACE INTO one VALUES (?, ?, ?)", (number, *row))
            seals.settle()
            db.execute("COMMIT" if at % 3 else "ROLLBACK")
            assert seals.broken() == []
