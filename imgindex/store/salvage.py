"""A damaged database written anew, from all that can still be read of it.

SQLite reads a table up to the first page that is not as it was written. So each table is read from
its first row on and from its last one back, as far as either leads, and where rows have numbers,
between damaged pages, too. The new tables then take the place of the damaged ones in one
transaction of SQLite's own, a backup: a kill or a full disk leaves the damaged ones, and whoever
reads goes on reading.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections import deque
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from imgindex.errors import LibraryDamagedError, StoreError

from .database import FOREIGN, address, connected, damaged, mistyped, told
from .disk import holding, lock_of, sync, sync_folder
from .schema import APPLICATION_ID, MIGRATIONS
from .seals import SCHEMA, Seals, quoted
from .strangers import refuse_links

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

_ADVICE = "restore it from a backup, or index into a new --library"
_TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0 "
    "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
)
_COLUMNS = "SELECT name, type, pk FROM pragma_table_info(?)"
_ENDS = ("", "-wal")  # of the names of a database's files
_DRY = 3000  # spans of keys in a row that gave nothing: no more is to be found
_LEAST = 65_536  # keys that are tried, in a library of fewer pictures, too
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOST = _DAMAGE | {sqlite3.SQLITE_ERROR}  # a table whose schema is damaged


def written_anew(folder: Path) -> tuple[list[str], list[str]]:
    """Write the database of a library anew if it is damaged; the damaged one is kept beside it.

    Returns:
        What was done, a line each, and the tables that lack something now; nothing for a sound
        one, for none at all, and for one that is no library or a newer imgindex's.

    Raises:
        LibraryBusyError: another process is writing to it.
        LibraryDamagedError: so little can be read that it is no library any more.
        StoreError: anything else, a full disk for one.
    """
    path = folder / "library.sqlite"
    if not path.exists():
        return [], []
    refuse_links(folder)
    with holding(lock_of(folder), folder), told(path, _ADVICE):
        with closing(_lenient(path)) as old:
            if not _ours(old) or (_checked(path) and _sound(old)):
                return [], []
        try:
            kept = _kept(path)
            changed = _lengthen(path)
        except OSError as error:
            raise StoreError(f"cannot keep a copy of {path}: {error.strerror}") from error
        with closing(_lenient(path)) as old, closing(connected("")) as new:  # "": a temporary file
            try:
                lacking = _copied(old, new, path)
            except LibraryDamagedError:
                if not changed:  # else each further try would leave a copy more
                    _discard(kept)
                raise
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


def _ours(db: sqlite3.Connection) -> bool:
    """Whether it is a library that this imgindex may write to, as far as that can be read."""
    with _up_to(_LOST):
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            return False
        if db.execute("PRAGMA user_version").fetchone()[0] > len(MIGRATIONS):
            return False
        return db.execute(FOREIGN).fetchone() is None
    return True


def _checked(path: Path) -> bool:
    """Whether SQLite finds nothing wrong, as strict as it is with everybody else."""
    with _up_to(_DAMAGE), closing(connected(address(path)[0])) as db:
        return bool(db.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")
    return False


def _sound(db: sqlite3.Connection) -> bool:
    """Whether the tables are those that we make, and hold what columns may hold."""
    with _up_to(_DAMAGE):
        with closing(connected(":memory:")) as model:
            tables = _laid_out(model, _version(db))
            if any(_columns(db, table) != _columns(model, table) for table in tables):
                return False
        if "seal" in tables and Seals(db).broken([SCHEMA]):
            return False
        return not any(
            db.execute(f"SELECT 1 {those} LIMIT 1").fetchone() for *_, those in mistyped(db)
        )
    return False


@contextmanager
def _up_to(damage: set[int]) -> Iterator[None]:
    """Leave what is within where SQLite meets damage."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in damage:
            raise


def _version(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version if 0 < version <= len(MIGRATIONS) else len(MIGRATIONS)


def _laid_out(db: sqlite3.Connection, version: int) -> list[str]:
    """Make the tables of a format in an empty database; their names."""
    db.execute("BEGIN")
    for step in MIGRATIONS[:version]:
        for statement in step.split(";"):
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {version}")
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("COMMIT")
    return [name for (name,) in db.execute(_TABLES)]


class _Column(NamedTuple):
    name: str
    kind: str
    key: int


def _columns(db: sqlite3.Connection, table: str) -> list[_Column]:
    return [_Column(*one) for one in db.execute(_COLUMNS, (table,))]


def _kept(path: Path) -> Path:
    """Copy the file as it is, byte by byte, so that whoever knows more can try more."""
    kept = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    try:
        for end in _ENDS:
            if (source := path.with_name(path.name + end)).exists():
                copy = kept.with_name(kept.name + end)
                shutil.copyfile(source, copy)
                sync(copy)
        sync_folder(path.parent)
    except BaseException:
        _discard(kept)
        raise
    return kept


def _discard(kept: Path) -> None:
    for end in _ENDS:
        with suppress(OSError):
            kept.with_name(kept.name + end).unlink()


def _lengthen(path: Path) -> bool:
    """Have the header count all pages, as others are not read; whether it did not."""
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        return False  # it says how many
    with path.open("r+b") as file:
        head = file.read(32)
        size = int.from_bytes(head[16:18], "big")
        pages = path.stat().st_size // size if size else 0
        if len(head) == 32 and int.from_bytes(head[28:32], "big") < pages:  # noqa: PLR2004 - as far as that
            file.seek(28)
            file.write(struct.pack(">I", pages))
            return True
    return False


def _copied(old: sqlite3.Connection, new: sqlite3.Connection, path: Path) -> list[str]:
    """Copy what can be read; the tables that lack something then."""
    tables = _laid_out(new, _version(old))
    there, whole, most = _there(old), set[str](), _LEAST
    new.execute("BEGIN")
    for table in tables:
        if table in there and _copied_whole(old, new, table, most):
            whole.add(table)
        if table == "setting":  # the first one
            rows = new.execute("SELECT CAST(value AS INTEGER) FROM setting WHERE key = 'rows'")
            most = max(most, *(rows.fetchone() or (0,)))
    for table, *_, those in mistyped(new):
        if new.execute(f"DELETE {those}").rowcount:
            whole.discard(table)
    lacking = [table for table in tables if table not in whole]
    if "seal" in tables:
        seals = Seals(new)
        seals.renew([SCHEMA, *(whole if "seal" in lacking else ())])
        lacking = seals.broken()
    new.execute("COMMIT")
    if "setting" in lacking:  # without one of them other things would be taken for lost
        raise damaged(path, "its settings cannot be read in full", _ADVICE)
    return lacking


def _there(db: sqlite3.Connection) -> set[str]:
    """The tables, as far as the schema can be read."""
    names = set[str]()
    with _up_to(_LOST):
        for (name,) in db.execute(_TABLES):
            names.add(name)
    return names


def _copied_whole(old: sqlite3.Connection, new: sqlite3.Connection, table: str, most: int) -> bool:
    """Copy the rows of a table; whether no damage was met."""
    columns = _columns(new, table)
    names = ", ".join(quoted(one.name) for one in columns)
    keys = [one.name for one in columns if one.key]  # the first columns
    numbered = len(keys) == 1 and columns[0].kind == "INTEGER"
    # By our names, as its own may be damaged; what holds the number may not be known for it.
    ours, its = ("at, ", "rowid, ") if numbered else ("", "")
    here = f"SELECT {its}* FROM {quoted(table)} NOT INDEXED"  # noqa: S608 - quoted
    rows = f"WITH here ({ours}{names}) AS ({here}) SELECT * FROM here"  # noqa: S608 - quoted
    found = _numbered(old, rows, most) if numbered else _ordered(old, rows, keys)
    put = f"INSERT OR IGNORE INTO {quoted(table)} VALUES ({','.join('?' * len(columns))})"  # noqa: S608 - quoted
    while True:
        try:
            new.execute(put, next(found))
        except StopIteration as end:
            return bool(end.value)


def _ordered(
    db: sqlite3.Connection, rows: str, keys: list[str]
) -> Generator[tuple[Any, ...], None, bool]:
    """The rows of a table from both of its ends; returns whether no damage was met."""
    for order, beyond in (("ASC", ">"), ("DESC", "<")):
        by = "ORDER BY " + ", ".join(f"{quoted(key)} {order}" for key in keys)
        last: tuple[Any, ...] = ()
        with _up_to(_LOST):
            for row in db.execute(f"{rows} {by}"):
                yield row
                last = row[: len(keys)]
            return True
        # Python reads a row ahead, and loses it where that meets the damage.
        names, marks = ", ".join(map(quoted, keys)), ", ".join("?" * len(keys))
        left = f"WHERE ({names}) {beyond} ({marks})" if last else ""
        with _up_to(_LOST):
            yield from db.execute(f"{rows} {left} {by} LIMIT 1", last)
    return False


def _numbered(
    db: sqlite3.Connection, rows: str, most: int
) -> Generator[tuple[Any, ...], None, bool]:
    """The rows of a table whose key is a number: between damaged pages they are found by halves.

    Args:
        db: where they are.
        rows: the statement for all of them, the key ahead as ``at``.
        most: the largest key between damaged pages.

    Returns:
        Whether no damage was met.
    """
    rows += " WHERE at BETWEEN ? AND ?"
    spans, dry, met = deque([(0, 2**63 - 1)]), 0, False
    while spans and dry < _DRY:
        span = low, high = spans.popleft()
        for order in ("ASC", "DESC"):
            with _up_to(_LOST):
                for key, _, *values in db.execute(f"{rows} ORDER BY at {order}", (low, high)):
                    yield (key, *values)
                    if order == "ASC":
                        low = max(low, key + 1)
                    else:
                        high = min(high, key - 1)
                low = high + 1
                break
            met = True
        dry, high = dry + 1 if span == (low, high) else 0, min(high, most)
        if low < high or (low == high and not dry):
            middle = (low + high) // 2
            spans += [(low, middle), (middle + 1, high)]
    return not met
