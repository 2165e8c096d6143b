"""A damaged database written anew, from all that can still be read of it.

SQLite reads a table up to the first page that is not as it was written. So each table is read from
its first row on and from its last one back, as far as either leads. The new tables then take the
place of the damaged ones in one transaction of SQLite's own, a backup: a kill or a full disk leaves
the damaged ones, and whoever reads goes on reading.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
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
_COLUMNS = "SELECT name, pk FROM pragma_table_info(?)"
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
    for table in tables:
        if table in there:
            columns = new.execute(_COLUMNS, (table,)).fetchall()
            marks = ",".join("?" * len(columns))
            new.executemany(
                f"INSERT OR IGNORE INTO {quoted(table)} VALUES ({marks})",  # noqa: S608 - quoted
                _rows(old, table, columns),
            )
    for *_, those in mistyped(new):
        new.execute(f"DELETE {those}")
    settings = {key for (key,) in new.execute("SELECT key FROM setting")}
    new.execute("COMMIT")
    if lacking := _NEEDED - settings:
        raise damaged(path, f"its setting {min(lacking)} cannot be read")
    broken = Seals(new).broken() if "seal" in tables else tables
    return [table for table in broken if table in tables]


def _rows(
    db: sqlite3.Connection, table: str, columns: list[tuple[str, int]]
) -> Iterator[tuple[Any, ...]]:
    """The rows of a table, from both of its ends; some come twice."""
    names = ", ".join(quoted(name) for name, _ in columns)
    keys = [quoted(name) for place, name in sorted((at, name) for name, at in columns) if place]
    for order in ("ASC", "DESC"):
        by = ", ".join(f"{key} {order}" for key in keys)
        with _up_to_damage():
            yield from db.execute(
                f"SELECT {names} FROM {quoted(table)} NOT INDEXED ORDER BY {by}"  # noqa: S608 - quoted
            )
            return


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
