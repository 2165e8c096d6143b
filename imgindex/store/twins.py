"""Sketches, and the copies that were found by them, in the tables of a library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgindex.records import Picture, Twin

from .database import Database, portions

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

_PICTURE = (
    "SELECT id, width, height, format, taken, coalesce(pixels, x'') FROM picture "
    "LEFT JOIN sketch ON sketch.picture = picture.row"
)


class KeptTwins:
    """That part of the Protocol of ``base`` which deals with copies, over a database."""

    _db: Database

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        raise NotImplementedError

    def pictures(self, ids: Collection[str]) -> dict[str, Picture]:
        """See ``Store.pictures``."""
        found: dict[str, Picture] = {}
        with self._db.reading() as db:
            for marks, some in portions(dict.fromkeys(ids)):
                query = f"{_PICTURE} WHERE id IN ({marks})"
                for row in db.execute(query, some):
                    found[row[0]] = Picture(*row)
                    if not (isinstance(row[1], int) and isinstance(row[2], int)):
                        raise self._db.damaged(f"the picture {row[0]} has no size")
        return found

    def put_sketches(self, sketches: Mapping[str, bytes]) -> None:
        """See ``Store.put_sketches``."""
        with self._transaction() as db:
            put_sketches(db, sketches.items())

    def twins(self) -> list[Twin]:
        """See ``Store.twins``."""
        with self._db.reading() as db:
            return [
                Twin(*row)
                for row in db.execute(
                    "SELECT one.id, other.id, kind, score, part, share FROM twin "
                    "JOIN picture AS one ON one.row = a "
                    "JOIN picture AS other ON other.row = b ORDER BY one.id, other.id"
                )
            ]

    def examined(self) -> set[str]:
        """See ``Store.examined``."""
        with self._db.reading() as db:
            return {
                row[0]
                for row in db.execute(
                    "SELECT id FROM examined JOIN picture ON picture.row = picture"
                )
            }

    def save_twins(self, examined: Collection[str], twins: Sequence[Twin]) -> None:
        """See ``Store.save_twins``."""
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO twin SELECT one.row, other.row, ?, ?, ?, ? "
                "FROM picture AS one, picture AS other WHERE one.id = ? AND other.id = ?",
                [(t.kind, t.score, t.part, t.share, t.a, t.b) for t in twins],
            )
            db.executemany(
                "INSERT OR REPLACE INTO examined SELECT row FROM picture WHERE id = ?",
                [(picture_id,) for picture_id in examined],
            )

    def forget_examined(self, ids: Collection[str]) -> None:
        """See ``Store.forget_examined``."""
        with self._transaction() as db:
            db.executemany(
                "DELETE FROM examined WHERE picture = (SELECT row FROM picture WHERE id = ?)",
                [(picture_id,) for picture_id in ids],
            )


def put_sketches(db: sqlite3.Connection, sketches: Iterable[tuple[str, bytes]]) -> None:
    """Keep sketches of pictures that are here, in place of those that they have."""
    db.executemany(
        "INSERT OR REPLACE INTO sketch SELECT row, ? FROM picture WHERE id = ?",
        [(pixels, picture_id) for picture_id, pixels in sketches],
    )
