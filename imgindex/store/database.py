"""The SQLite file of a library: opening, migrating, transactions, and SQLite's errors as ours."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import uuid
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from imgindex.errors import (
    LibraryBusyError,
    LibraryDamagedError,
    LibraryFormatError,
    StoreError,
)

from .schema import APPLICATION_ID, MIGRATIONS
from .seals import Seals, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_PATIENCE = 30  # seconds to wait for another process's transaction
_AT_ONCE = 500  # values bound to one statement

# By chance and not counted: a copy restored from a backup goes on from where it was.
_CHANGE = "INSERT OR REPLACE INTO setting VALUES ('change', '\"' || hex(randomblob(8)) || '\"')"

# A view, a trigger or a table that a module stands in for does what it likes when it is used.
FOREIGN = (
    "SELECT iif(type = 'table', 'virtual table', type) FROM sqlite_master "
    "WHERE type NOT IN ('table', 'index') OR rootpage = 0"
)

_COLUMNS = (
    "SELECT m.name, c.name, c.type, NOT (c.'notnull' OR c.pk) "
    "FROM sqlite_master AS m, pragma_table_info(m.name) AS c "
    "WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
)
_KINDS = {"INTEGER": "'integer'", "REAL": "'real', 'integer'", "TEXT": "'text'", "BLOB": "'blob'"}

_ADVICE = (
    "try imgindex verify --repair, and where that does not help restore it from a backup, "
    "or index into a new --library"
)

_DERIVED = ("sketch", "examined", "twin")  # by looking for copies

_REFERENCES = {
    "file": ("picture",),
    "sketch": ("picture",),
    "examined": ("picture",),
    "twin": ("a", "b"),
}

PRESENT = "EXISTS (SELECT 1 FROM file WHERE picture = picture.row AND NOT missing)"
"""The condition that a picture has a file."""


class Database:
    """One connection, shared by threads that take turns."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make an empty one; ``migrate`` comes next."""
        self.path = path
        self._turn = threading.RLock()
        place, self.writable = address(path)
        try:
            self._connection = connected(place)
        except sqlite3.Error as error:
            raise StoreError(f"cannot open {path}: {error}") from error
        try:
            self._guard()
            self._recognise()
            if self.outdated() and not self.writable:
                self._take_along()
            self._seals = Seals(self._connection)
        except BaseException:
            self._connection.close()
            raise

    def _guard(self) -> None:
        with self.reading() as db:
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA cell_size_check = ON")

    def _take_along(self) -> None:
        """Go on with a copy in memory: an old library is read, though it cannot be migrated."""
        with self.reading() as db:
            copy = connected(":memory:")
            try:
                db.backup(copy)
            except BaseException:
                copy.close()
                raise
            db.close()
            self._connection = copy
        self._guard()

    def _recognise(self) -> None:
        with self.reading() as db:
            owner = db.execute("PRAGMA application_id").fetchone()[0]
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            foreign = db.execute(FOREIGN).fetchone()
        if owner not in {0, APPLICATION_ID} or (owner == 0 and tables):
            raise LibraryFormatError(f"{self.path} is not a library of imgindex")
        if foreign is not None:
            raise LibraryFormatError(
                f"{self.path} holds a {foreign[0]}, which imgindex never makes and whoever made it "
                "may mean to do harm with; index into a new --library"
            )
        if self.version() > len(MIGRATIONS):
            raise LibraryFormatError(
                f"{self.path} has format {self.version()}, this imgindex knows {len(MIGRATIONS)}; "
                "install a newer imgindex"
            )

    def version(self) -> int:
        """The number of migrations that were applied; 0 for an empty file."""
        with self.reading() as db:
            return int(db.execute("PRAGMA user_version").fetchone()[0])

    def outdated(self) -> bool:
        """Whether ``migrate`` has something to do."""
        return self.version() < len(MIGRATIONS)

    def migrate(self, then: Callable[[sqlite3.Connection], None]) -> None:
        """Bring the tables to the newest format, whole or not at all.

        Args:
            then: what else belongs to it; not for a library that is made just now.
        """
        with self.reading() as db:
            db.execute("PRAGMA journal_mode = WAL")
        with self.transaction() as db:
            version = self.version()
            for step in MIGRATIONS[version:]:
                for statement in step.split(";"):
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            if version == 0:
                self.put("rows", 0)
                self.put("generation", uuid.uuid4().hex)
            else:
                then(db)
            self._seals.renew()
            self._seals.watch()
        if not self.writable:
            with self.reading() as db:
                db.execute("PRAGMA query_only = ON")  # it would be lost

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Take the turn; may be nested.

        Raises:
            LibraryBusyError: another process kept it locked for too long.
            LibraryDamagedError: the file is not what SQLite wrote.
            StoreError: anything else, a full disk for one.
        """
        with self._turn, told(self.path):
            yield self._connection

    @contextmanager
    def transaction(self, *, quietly: bool = False) -> Iterator[sqlite3.Connection]:
        """Take the turn and change something, whole or not at all.

        Args:
            quietly: what the library tells is the same afterwards; see ``change``.
        """
        with self.reading() as db:
            if not self.outdated():
                self._seals.watch()
            db.execute("BEGIN IMMEDIATE")
            before = db.total_changes
            self._seals.begin()
            try:
                yield db
                if not quietly and db.total_changes != before:
                    db.execute(_CHANGE)
                self._seals.settle()
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Take the turn and read everything as it is at one moment; may be nested."""
        with self.reading() as db:
            if db.in_transaction:
                yield db
                return
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.execute("ROLLBACK")

    def moment(self) -> tuple[int, int]:
        """What changes whenever this or another connection has changed something."""
        with self.reading() as db:
            return db.execute("PRAGMA data_version").fetchone()[0], db.total_changes

    def change(self) -> str:
        """Another one after every transaction that changed something, whoever began it."""
        return str(self.get("change") or "")

    def get(self, key: str) -> Any:
        """A setting, or None.

        Raises:
            LibraryDamagedError: it is no JSON.
        """
        with self.reading() as db:
            found = db.execute("SELECT value FROM setting WHERE key = ?", (key,)).fetchone()
        try:
            return None if found is None else json.loads(found[0])
        except (TypeError, ValueError, RecursionError) as error:
            raise self.damaged(f"its setting {key} is not JSON") from error

    def damaged(self, what: object) -> LibraryDamagedError:
        """The error to raise for content that imgindex did not write."""
        return damaged(self.path, what)

    def put(self, key: str, value: Any) -> None:
        """Keep a setting."""
        with self.reading() as db:
            whole = nullcontext() if db.in_transaction else self.transaction(quietly=True)
            with whole:
                db.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (key, json.dumps(value)))

    def problems(self) -> list[str]:
        """What SQLite's own checks find, and what tables hold that was not written."""
        with self.snapshot() as db:
            broken = [line[0] for line in db.execute("PRAGMA integrity_check") if line[0] != "ok"]
            astray = [
                f"a row of {line[0]} points to nothing in {line[2]}"
                for line in db.execute("PRAGMA foreign_key_check")
            ]
            strange = [] if broken else self.mistyped()
            changed = [] if broken else self._seals.broken()
        strange += [f"{table} does not hold what was written" for table in changed]
        return [f"{self.path}: {what}" for what in broken + astray + strange]

    def mistyped(self) -> list[str]:
        """What columns hold that is of no kind of theirs: SQLite lets any into any."""
        with self.reading() as db:
            return [
                f"{count:,} rows of {table} hold no {kind} as their {column}"
                for table, column, kind, those in mistyped(db)
                if (count := db.execute(f"SELECT count(*) {those}").fetchone()[0])
            ]

    def mend(self) -> list[str]:
        """Drop what points to nothing, and go on from what the tables hold; what was done."""
        done = []
        with self.transaction() as db:
            astray = db.execute("PRAGMA foreign_key_check").fetchall()
            if astray:
                for table, columns in _REFERENCES.items():
                    for column in columns:
                        db.execute(
                            f"DELETE FROM {table} WHERE {column} NOT IN (SELECT row FROM picture)"  # noqa: S608 - constants
                        )
                for table in ("grouped", "member"):
                    db.execute(
                        f"DELETE FROM {table} WHERE grouping NOT IN (SELECT number FROM grouping)"  # noqa: S608 - constants
                    )
                done.append(f"{self.path.name}: {len(astray):,} entries that pointed to nothing")
        return done + self._reseal()

    def _reseal(self) -> list[str]:
        """Derive anew what tables do not hold as it was written, or go on with what they hold."""
        done = []
        with self.transaction() as db:
            for table in self._seals.broken():
                if table in _DERIVED:
                    db.execute(f"DELETE FROM {table}")  # noqa: S608 - a constant
                    db.execute("DELETE FROM examined")
                    what = "emptied; imgindex duplicates looks for copies anew"
                elif table in {"file", "picture"}:  # their ids may be wrong
                    db.execute("UPDATE file SET mtime_ns = -1")
                    what = "each file is read again by the next imgindex index"
                    if table == "picture":
                        what += "; sizes and dates of pictures may be wrong in places"
                else:
                    what = "kept as it is, though not as it was written; it may be wrong in places"
                self._seals.renew([table])
                done.append(f"{self.path.name}: {table}: {what}")
        return done

    def close(self) -> None:
        """Let go of the file."""
        with self._turn:
            self._connection.close()


def address(path: Path) -> tuple[str, bool]:
    """The file as a URI, and whether it may be written: else SQLite must not expect to."""
    quoted = f"file:{quote(os.fsencode(path.absolute()))}"
    if os.access(path.parent, os.W_OK) and (os.access(path, os.W_OK) or not path.exists()):
        return quoted, True
    # Without a log beside it the file is whole, and nobody changes it under the reader.
    log = path.with_name(path.name + "-wal")
    whole = "" if log.exists() and log.stat().st_size else "&immutable=1"
    return f"{quoted}?mode=ro{whole}", False


def connected(place: str) -> sqlite3.Connection:
    """A connection whose transactions are begun and ended by who uses it."""
    return sqlite3.connect(
        place, uri=True, isolation_level=None, check_same_thread=False, timeout=_PATIENCE
    )


@contextmanager
def told(path: Path, advice: str = _ADVICE) -> Iterator[None]:
    """Tell SQLite's errors as ours; see ``Database.reading``."""
    try:
        yield
    except sqlite3.ProgrammingError as error:
        raise StoreError(f"the library of {path} is closed") from error
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise LibraryBusyError(f"{path} is in use: {error}; try again") from error
        raise StoreError(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, error, advice) from error


def damaged(path: Path, what: object, advice: str = _ADVICE) -> LibraryDamagedError:
    """The error to raise for content that imgindex did not write."""
    return LibraryDamagedError(f"{path} is damaged ({what}); {advice}")


def mistyped(db: sqlite3.Connection) -> Iterator[tuple[str, str, str, str]]:
    """Of every column its table, its name, its type, and ``FROM ...`` of rows that have another."""
    for table, column, kind, optional in db.execute(_COLUMNS).fetchall():
        kinds = ", ".join([_KINDS.get(kind, "''"), *(["'null'"] if optional else [])])
        yield (
            table,
            column,
            kind,
            f"FROM {quoted(table)} WHERE typeof({quoted(column)}) NOT IN ({kinds})",
        )


def portions(values: Iterable[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Cut values into lists that one statement can bind, each with its question marks."""
    left = iter(values)
    while some := list(islice(left, _AT_ONCE)):
        yield ",".join("?" * len(some)), some
