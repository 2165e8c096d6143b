"""Whether the tables hold what was written: each has a sum of the checksums of its rows.

SQLite notices damage to its own structure only, and an index of the library would go on with a path
or a number of which a bit has flipped. So the connection that writes keeps sums, by triggers of its
own that are not in the file: whatever is inserted is added, whatever is deleted is taken away again
(an incremental multiset hash; Bellare and Micciancio, doi:10.1007/3-540-69053-0_13, with a sum in
place of their group, as it is chance that is guarded against).
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

_MASK = 2**62 - 1
SCHEMA = "sqlite_master"
_TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table' "
    "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> 'seal'"
)
# Where a row of the schema lies may change, what it says may not.
_COLUMNS = "SELECT name, type FROM pragma_table_info(?) WHERE name <> 'rootpage'"
_EVENTS = {"INSERT": (("NEW", 1),), "DELETE": (("OLD", -1),), "UPDATE": (("OLD", -1), ("NEW", 1))}


class Seals:
    """The sums of one connection's tables."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Take a connection; nothing is watched yet."""
        self._db = db
        self._due: Counter[str] = Counter()
        self._watching = False

    def watch(self) -> None:
        """From now on every change of a row is noted; each has to be in a transaction."""
        if self._watching:
            return
        self._db.execute("PRAGMA recursive_triggers = ON")  # for rows that are replaced
        self._db.create_function("noted", -1, self._note)
        for table in self._tables():
            for event, sides in _EVENTS.items():
                notes = ";".join(
                    f"SELECT noted({_text(table)}, {sign}, {self._values(table, side + '.')})"
                    for side, sign in sides
                )
                self._db.execute(
                    f"CREATE TEMP TRIGGER IF NOT EXISTS {quoted(f'{event} {table}')} "
                    f"AFTER {event} ON main.{quoted(table)} BEGIN {notes}; END"
                )
        self._watching = True

    def begin(self) -> None:
        """A transaction begins."""
        self._due.clear()

    def settle(self) -> None:
        """What the transaction changed joins the sums; it may be committed then."""
        for table, change in self._due.items():
            self._db.execute(
                "UPDATE seal SET total = (total + ?) & ? WHERE name = ?",
                (change & _MASK, _MASK, table),
            )

    def renew(self, tables: Iterable[str] | None = None) -> None:
        """Take what tables hold, by default all, for what was written."""
        for table in [*self._tables(), SCHEMA] if tables is None else tables:
            self._db.execute("INSERT OR REPLACE INTO seal VALUES (?, ?)", (table, self._sum(table)))
            self._due.pop(table, None)

    def broken(self, tables: Iterable[str] | None = None) -> list[str]:
        """Tables, of all by default, that do not hold what was written."""
        totals = dict(self._db.execute("SELECT name, total FROM seal"))
        return [
            table
            for table in ([*self._tables(), SCHEMA] if tables is None else tables)
            if table not in totals or totals[table] != self._sum(table)
        ]

    def _tables(self) -> list[str]:
        return [name for (name,) in self._db.execute(_TABLES)]

    def _values(self, table: str, prefix: str = "") -> str:
        """The columns, texts as their bytes: damaged ones may be none of UTF-8."""
        return ", ".join(
            f"CAST({prefix}{quoted(name)} AS BLOB)" if kind == "TEXT" else prefix + quoted(name)
            for name, kind in self._db.execute(_COLUMNS, (table,))
        )

    def _sum(self, table: str) -> int:
        rows = self._db.execute(f"SELECT {self._values(table)} FROM {quoted(table)}")  # noqa: S608 - names of ours
        return sum(map(_checksum, rows)) & _MASK

    def _note(self, table: str, sign: int, *values: Any) -> None:
        if not self._db.in_transaction:
            raise RuntimeError(f"{table} is changed outside of a transaction")
        self._due[table] += sign * _checksum(values)


def quoted(name: str) -> str:
    """The name of a table or a column as a statement has it."""
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _checksum(values: tuple[Any, ...]) -> int:
    return int.from_bytes(blake2b(repr(values).encode(), digest_size=8).digest(), "little")
