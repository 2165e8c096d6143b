"""What a reader sees of a library between two changes: its rows, and whose they are.

A search needs both, and asking the database for them costs as much as walking the graph does. So
they are kept for as long as nothing changes; SQLite's own counter tells when others write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .database import PRESENT, portions

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from imgindex.records import Rows

    from .database import Database

# Reading every name costs about as much as looking up this share of them.
_WORTH_READING_ALL = 0.1


class View:
    """The library as it is at one moment.

    Attributes:
        version: see ``Database.moment``.
        rows: float32 [n, d], every row that the database names; a memory map.
    """

    def __init__(self, db: Database, version: tuple[int, int], rows: Rows) -> None:
        """Look at the library inside a snapshot of ``version``."""
        self.version = version
        self.rows = rows
        self._db = db
        self._names: list[str | None] | None = None
        self._looked_up = 0

    def names(self, rows: Collection[int]) -> Mapping[int, str | None] | Sequence[str | None]:
        """Ids of the pictures of some rows, to be had by row; None where no file is present."""
        if self._names is not None:
            return self._names
        self._looked_up += len(rows)
        if self._looked_up < _WORTH_READING_ALL * len(self.rows):
            return self._some(rows)
        names: list[str | None] = [None] * len(self.rows)
        with self._db.snapshot() as db:
            if self._db.moment() != self.version:  # the next search takes another view
                return self._some(rows)
            for row, name in db.execute(
                "SELECT row, id FROM picture WHERE row IN "
                "(SELECT picture FROM file WHERE NOT missing)"
            ):
                if not 0 <= row < len(names):
                    raise self._db.damaged(f"picture {name} claims row {row} of {len(names)}")
                names[row] = name
        self._names = names
        return names

    def _some(self, rows: Collection[int]) -> dict[int, str | None]:
        found: dict[int, str | None] = dict.fromkeys(rows)
        with self._db.reading() as db:
            for marks, some in portions(rows):
                found.update(
                    db.execute(
                        f"SELECT row, id FROM picture WHERE row IN ({marks}) AND {PRESENT}",  # noqa: S608 - question marks and a constant
                        some,
                    ).fetchall()
                )
        return found
