"""A damaged database written anew, from all that can still be read of it.

SQLite reads a table up to the first page that is not as it was written. So each table is read from
its first row on and from its last one back, as far as either leads. The new tables then take the
place of the damaged ones in one transaction of SQLite's own, a backup: a kill or a full disk leaves
the damaged ones, and whoever reads goes on reading.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from .database import address, connected, damaged, mistyped, told
from .disk import holding, lock_of
from .schema import APPLICATION_ID, MIGRATIONS
from .seals import Seals, quoted
from .strangers import refuse_links

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What else is called a table may be a view, or whatever a module makes of it.
_TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0 "
    "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
)
_COLUMNS = "SELECT name, type, pk FROM pragma_table_info(?)"
_DRY = 3000  # spans of keys in a row that gave nothing: no more is to be found
_LEAST = 65_536  # keys that are tried, in a library of fewer pictures, too
_NEEDED = {"rows", "generation"}  # settings
# The last one: no such table, as the schema is damaged.
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_ERROR,
}


def written_anew(folder: Path) -> tuple[list[str], list[str]]:
    """Write the database of a library anew if it is damaged; the damaged one is kept beside it.

    Returns:
        What was done, a line each, and the tables that lack something now; nothing for a sound
        one, or none at all.

    Raises:
        LibraryBusyError: another process is writing to it.
        LibraryDamagedError: so little can be read that it is no library any more.
        StoreError: anything else, a full disk for one.
    """
    path = folder / "library.sqlite"
    if not path.exists():
        return [], []
    refuse_links(folder)
    with holding(lock_of(folder), folder), told(path), closing(_lenient(path)) as old:
        if _sound(old):
            return [], []
        with closing(connected("")) as new:  # a temporary file of SQLite's own
            lacking = _copied(old, new, path)
            kept = _kept(old, path)
            new.backup(old)
    return [f"{path.name}: written anew; the damaged one is kept as {kept.name}"], lacking


def _lenient(path: Path) -> sqlite3.Connection:
    """A connection to a file of which a part is cut off, or one entry of the schema damaged."""
    db = connected(address(path)[0])
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    db.execute("PRAGMA writable_schema = ON")
    db.execute("PRAGMA synchronous = FULL")
    db.text_factory = _text
    return db


def _text(raw: bytes) -> str | bytes:
    """Text; what is none comes as bytes, which no column for texts may hold."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _sound(db: sqlite3.Connection) -> bool:
    with _up_to_damage():
        checked = db.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok"
        return checked and not any(
            db.execute(f"SELECT 1 {those} LIMIT 1").fetchone() for *_, those in mistyped(db)
        )
    return False


@contextmanager
def _up_to_damage() -> Iterator[None]:
    """Leave what is within where damage is met."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGE:
            raise


def _copied(old: sqlite3.Connection, new: sqlite3.Connection, path: Path) -> list[str]:
    """Copy what can be read; the tables that lack something then."""
    version = old.execute("PRAGMA user_version").fetchone()[0]
    if not 0 < version <= len(MIGRATIONS):
        version = len(MIGRATIONS)
    new.execute("BEGIN")
    for step in MIGRATIONS[:version]:
        for statement in step.split(";"):
            new.execute(statement)
    new.execute(f"PRAGMA user_version = {version}")
    new.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    tables = [name for (name,) in new.execute(_TABLES)]
    there = _there(old)
    most = _LEAST
    for table in tables:
        if table in there:
            columns = new.execute(_COLUMNS, (table,)).fetchall()
            marks = ",".join("?" * len(columns))
            new.executemany(
                f"INSERT OR IGNORE INTO {quoted(table)} VALUES ({marks})",  # noqa: S608 - quoted
                _rows(old, table, columns, most),
            )
        if table == "setting":  # the first one
            rows = new.execute("SELECT CAST(value AS INTEGER) FROM setting WHERE key = 'rows'")
            most = max(most, *(rows.fetchone() or (0,)))
    for *_, those in mistyped(new):
        new.execute(f"DELETE {those}")
    settings = {key for (key,) in new.execute("SELECT key FROM setting")}
    new.execute("COMMIT")
    if lacking := _NEEDED - settings:
        raise damaged(path, f"its setting {min(lacking)} cannot be read")
    broken = Seals(new).broken() if "seal" in tables else tables
    return [table for table in broken if table in tables]


def _rows(
    db: sqlite3.Connection, table: str, columns: list[tuple[str, str, int]], most: int
) -> Iterator[tuple[Any, ...]]:
    """The rows of a table, as far as they can be read; some come twice."""
    names = ", ".join(quoted(name) for name, *_ in columns)
    keys = [one for one in sorted(columns, key=itemgetter(2)) if one[2]]
    whole = f"SELECT {names} FROM {quoted(table)} NOT INDEXED"  # noqa: S608 - quoted
    if len(keys) == 1 and keys[0][1] == "INTEGER":
        at = [name for name, *_ in columns].index(keys[0][0])
        yield from _numbered(db, whole, quoted(keys[0][0]), at, most)
        return
    for order in ("ASC", "DESC"):
        by = ", ".join(f"{quoted(name)} {order}" for name, *_ in keys)
        with _up_to_damage():
            yield from db.execute(f"{whole} ORDER BY {by}")
            return


def _numbered(
    db: sqlite3.Connection, whole: str, key: str, at: int, most: int
) -> Iterator[tuple[Any, ...]]:
    """The rows of a table whose key is a number: between damaged pages they are found by halves.

    Args:
        db: where they are.
        whole: the statement for all of them.
        key: the name of the key.
        at: its place in a row.
        most: the largest key between damaged pages.
    """
    spans, dry = deque([(0, 2**63 - 1)]), 0
    while spans and dry < _DRY:
        span = low, high = spans.popleft()
        for order in ("ASC", "DESC"):
            with _up_to_damage():
                for row in db.execute(
                    f"{whole} WHERE {key} BETWEEN ? AND ? ORDER BY {key} {order}", (low, high)
                ):
                    yield row
                    if order == "ASC":
                        low = max(low, row[at] + 1)
                    else:
                        high = min(high, row[at] - 1)
                low = high + 1
                break
        dry, high = dry + 1 if span == (low, high) else 0, min(high, most)
        if low < high or (low == high and not dry):
            middle = (low + high) // 2
            spans += [(low, middle), (middle + 1, high)]


def _there(db: sqlite3.Connection) -> set[str]:
    """The tables, as far as the schema can be read."""
    names = set[str]()
    with _up_to_damage():
        for (name,) in db.execute(_TABLES):
            names.add(name)
    return names


def _kept(db: sqlite3.Connection, path: Path) -> Path:
    """Copy the file as it is, so that whoever knows more can try more."""
    kept = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    try:
        with closing(connected(str(kept))) as copy:
            db.backup(copy)
    except BaseException:
        with suppress(OSError):
            kept.unlink()
        raise
    return kept
