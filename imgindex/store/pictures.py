"""Pictures in the tables of a library, and their rows in its vector file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgindex.records import ModelPin, Picture

from .database import PRESENT, Database, portions
from .filters import listed
from .vectors import VectorFile

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from imgindex.records import Order, Rows, Where


class KeptPictures:
    """That part of the Protocol of ``base`` which asks for pictures by id."""

    _db: Database
    _folder: Path
    _file: VectorFile | None
    _pin: ModelPin | None = None

    def pinned(self) -> ModelPin | None:
        """See ``Store.pinned``."""
        if self._pin is None:  # once there is one, it is for good
            pin = self._db.get("model")
            try:
                self._pin = None if pin is None else ModelPin(**pin)
            except TypeError as error:
                raise self._db.damaged("its setting model is no model") from error
        return self._pin

    def _count(self) -> int:
        return int(self._db.get("rows") or 0)

    def _vectors(self) -> VectorFile | None:
        if self._file is None and (pin := self.pinned()):
            self._file = VectorFile(self._folder / "vectors.f32", pin.dimension)
        return self._file

    def _mapped(self) -> Rows:
        """Every row that the database names, those of pruned pictures included."""
        file = self._vectors()
        return (file or VectorFile(self._folder / "vectors.f32", 0)).rows(self._count())

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

    def vector(self, picture_id: str) -> Rows | None:
        """See ``Store.vector``."""
        with self._db.reading() as db:
            found = db.execute("SELECT row FROM picture WHERE id = ?", (picture_id,)).fetchone()
        return None if found is None else self._mapped()[found[0]].copy()

    def vectors(self, ids: Collection[str] | None = None) -> tuple[tuple[str, ...], Rows]:
        """See ``Store.vectors``."""
        query = f"SELECT id, row FROM picture WHERE {PRESENT}"
        with self._db.snapshot() as db:
            if ids is None:
                found = db.execute(f"{query} ORDER BY id").fetchall()
            else:
                parts = portions(dict.fromkeys(ids))
                asked = (db.execute(f"{query} AND id IN ({m})", some) for m, some in parts)
                found = sorted(pair for part in asked for pair in part)
            mapped = self._mapped()
        return (
            tuple(picture_id for picture_id, _ in found),
            mapped[[row for _, row in found]],
        )
