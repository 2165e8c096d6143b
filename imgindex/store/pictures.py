"""Pictures in the tables of a library, and their rows in its vector file."""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING

from imgindex.errors import LibraryDamagedError
from imgindex.records import ModelPin, Picture

from .database import PRESENT, Database, portions
from .filters import listed
from .vectors import NAME, VectorFile
from .vouching import Vouched

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from imgindex.records import Order, Rows, Where

FILE = re.compile(r"vectors(-[0-9a-f]{8})?\.f32")  # the second form after it was written anew


class KeptPictures:
    """That part of the Protocol of ``base`` which asks for pictures by id."""

    _db: Database
    _folder: Path
    _file: VectorFile | None
    _pin: ModelPin | None = None
    _checked: Vouched | None = None

    def pinned(self) -> ModelPin | None:
        """See ``Store.pinned``."""
        if self._pin is None:  # once there is one, it is for good
            pin = self._db.get("model")
            try:
                self._pin = None if pin is None else _pin(ModelPin(**pin))
            except (TypeError, ValueError) as error:
                raise self._db.damaged("its setting model is no model") from error
        return self._pin

    def _count(self) -> int:
        rows = self._db.get("rows") or 0
        if type(rows) is not int or rows < 0:
            raise self._db.damaged("its setting rows is no number of rows")
        return rows

    def _rows_at(self, mapped: Rows, places: list[int]) -> Rows:
        """Copies of some rows, once they are known to be what was stored.

        Raises:
            LibraryDamagedError: they are not, or there are not so many.
        """
        import numpy as np

        some = np.array(places, np.int64)
        self._vouched().check(self._db, mapped, some)
        rows: Rows = mapped[some]
        return rows

    def _vectors(self) -> VectorFile | None:
        if (pin := self.pinned()) is None:
            return None
        name = str(self._db.get("vectors") or NAME)
        if self._file is None or self._file.path.name != name:
            if not FILE.fullmatch(name):
                raise self._db.damaged(f"its vectors cannot be in {name!r}")
            self._file = VectorFile(self._folder / name, pin.dimension)
        return self._file

    def _vouched(self) -> Vouched:
        file = self._vectors()
        path = self._folder / NAME if file is None else file.path
        if self._checked is None or self._checked.path != path:
            self._checked = Vouched(path)
        return self._checked

    def _mapped(self) -> Rows:
        """Every row that the database names, those of pruned pictures included."""
        file = self._vectors()
        return (file or VectorFile(self._folder / NAME, 0)).rows(self._count())

    def has(self, ids: Collection[str]) -> set[str]:
        """See ``Store.has``."""
        with self._db.reading() as db:
            return {
                row[0]
                for marks, some in portions(ids)
                for row in db.execute(
                    f"SELECT id FROM picture WHERE id IN ({marks})",
                    some,
                )
            }

    def resolve(self, prefix: str, limit: int = 2) -> list[str]:
        """See ``Store.resolve``."""
        with self._db.reading() as db:
            return [
                row[0]
                for row in db.execute(
                    f"SELECT id FROM picture WHERE id >= ? AND id < ? AND {PRESENT} "
                    "ORDER BY id LIMIT ?",
                    (prefix, prefix + "~", limit),
                )
            ]

    def picture(self, picture_id: str) -> Picture | None:
        """See ``Store.picture``."""
        with self._db.reading() as db:
            found = db.execute(
                "SELECT id, width, height, format, taken FROM picture WHERE id = ?", (picture_id,)
            ).fetchone()
        return None if found is None else Picture(*found)

    def listing(self, order: Order, where: Where | None = None) -> tuple[str, ...]:
        """See ``Store.listing``."""
        with self._db.reading() as db:
            return listed(db, order, where)

    @contextmanager
    def _looking(self) -> Iterator[tuple[sqlite3.Connection, Rows]]:
        """Take a snapshot of the database and map the rows that it names."""
        for last in (False, True):
            with ExitStack() as stack:
                db = stack.enter_context(self._db.snapshot())
                try:
                    rows = self._mapped()
                except LibraryDamagedError:
                    # Between the two a writer may have put another file for this one.
                    if last:
                        raise
                    continue
                yield db, rows
                return

    def vector(self, picture_id: str) -> Rows | None:
        """See ``Store.vector``."""
        with self._looking() as (db, rows):
            found = db.execute("SELECT row FROM picture WHERE id = ?", (picture_id,)).fetchone()
            return None if found is None else self._rows_at(rows, [found[0]])[0]

    def block(self, after: str, limit: int) -> tuple[tuple[str, ...], Rows]:
        """See ``Store.block``."""
        with self._looking() as (db, rows):
            found = db.execute(
                "SELECT id, row FROM picture WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
            ).fetchall()
            held = self._rows_at(rows, [row for _, row in found])
        return tuple(picture_id for picture_id, _ in found), held

    def vectors(self, ids: Collection[str] | None = None) -> tuple[tuple[str, ...], Rows]:
        """See ``Store.vectors``."""
        query = f"SELECT id, row FROM picture WHERE {PRESENT}"
        with self._looking() as (db, rows):
            if ids is None:
                found = db.execute(f"{query} ORDER BY id").fetchall()
            else:
                parts = portions(dict.fromkeys(ids))
                asked = (db.execute(f"{query} AND id IN ({m})", some) for m, some in parts)
                found = sorted(pair for part in asked for pair in part)
            held = self._rows_at(rows, [row for _, row in found])
        return tuple(picture_id for picture_id, _ in found), held


def _pin(pin: ModelPin) -> ModelPin:
    kinds = {"str": str, "int": int}
    if any(type(getattr(pin, one.name)) is not kinds[str(one.type)] for one in fields(pin)):
        raise TypeError("a field of another kind")
    if pin.dimension < 1:
        raise ValueError("no length of a row")
    return pin
