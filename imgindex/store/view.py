"""What a reader sees of a library between two changes: its rows, and whose they are.

A search needs both, and asking the database for them costs as much as walking the graph does. So
they are kept for as long as nothing changes; SQLite's own counter tells when others write. The same
holds for what the last few filters let through.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgindex.records import Hit

from .database import PRESENT, portions
from .filters import passing_paths, passing_rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from imgindex.records import Rows, Way, Where

    from .database import Database
    from .hnsw import Graph
    from .vouching import Vouched

# Reading every name costs about as much as looking up this share of them.
_WORTH_READING_ALL = 0.1
_OVERFETCH = 4
# Fetching one row by the graph costs about as much as comparing this many.
_ROWS_A_WALK = 64
_DEVIATIONS = 3  # by which chance may leave fewer of the fetched rows than on average
_FILTERS = 8
_AS_WIDE = 64  # up to so many rows a walk costs the same
_PATHS = 200_000  # pictures whose files are kept in mind; some 60 MB


def worth_walking(k: int, count: int) -> bool:
    """Whether the graph finds k rows of so many sooner than comparing them all does."""
    return k <= _AS_WIDE or k * _ROWS_A_WALK < count


@dataclass(frozen=True, slots=True, eq=False)
class Passing:
    """What a filter lets through.

    Attributes:
        rows: int64 [n], row numbers, ascending.
        mask: bool, whether a row is among them, for every row.
    """

    rows: NDArray[np.int64]
    mask: NDArray[np.bool_]

    def reach(self, k: int) -> int:
        """How many rows to fetch by the graph so that k of them pass, if it passes at random."""
        enough = k + _DEVIATIONS * (math.sqrt(k) + 1)
        return min(len(self.mask), math.ceil(enough * len(self.mask) / len(self.rows)))

    def worth_walking(self, k: int) -> bool:
        """Whether that is cheaper than comparing all that pass."""
        return self.reach(k) * _ROWS_A_WALK < len(self.rows)


class View:
    """The library as it is at one moment.

    Attributes:
        version: see ``Database.moment``.
        change: see ``Database.change``.
        rows: float32 [n, d], every row that the database names; a memory map.
        generation: see ``Sidecar``.
    """

    def __init__(
        self, db: Database, version: tuple[int, int], rows: Rows, vouched: Vouched
    ) -> None:
        """Look at the library inside a snapshot of ``version``."""
        self.version = version
        self.change = db.change()
        self.rows = rows
        self.generation = str(db.get("generation"))
        self._vouched = vouched
        self._db = db
        self._places: dict[str, int] | None = None
        self._names: list[str | None] | None = None
        self._looked_up = 0
        self._passing: OrderedDict[Where, Passing] = OrderedDict()
        self._paths: dict[str, Sequence[str]] = {}

    def search(
        self, queries: Rows, k: int, graph: Graph | None, passing: Passing | None
    ) -> tuple[Way, list[list[Hit]]]:
        """Nearest pictures, see ``Store.search``.

        Args:
            queries: float32 [q, d].
            k: how many at most, at least 1.
            graph: what to walk; None compares every row.
            passing: what may be found; None for all.
        """
        from .rows import nearest

        if graph and graph.generation != self.generation:
            graph = None
        count = len(self.rows)
        among = None if passing is None else passing.rows
        most = count if among is None else len(among)
        wanted = min(k, most)
        fetch = wanted if passing is None or graph is None else passing.reach(wanted)
        answers: list[list[Hit]] = [[] for _ in queries]
        walked: set[int] = set()
        left = list(range(len(queries)))
        while True:
            found = graph.search(queries[left], fetch, self.rows) if graph else None
            where, cosines = found or nearest(self.rows, queries[left], min(fetch, most), among)
            if not found:  # the graph has rows of its own, checked when it was loaded
                self._vouched.check(self._db, self.rows, where)
            for at, hits in zip(left, self._hits(where, cosines, k, passing), strict=True):
                answers[at] = hits
            (walked.update if found else walked.difference_update)(left)
            # Rows without a present file take places, and those that do not pass: look further
            # for whom not enough are left.
            left = [at for at in left if len(answers[at]) < wanted]
            if fetch >= most or not left:
                return "hnsw" if walked else "exact", answers
            fetch = min(count, fetch * _OVERFETCH)
            if passing is not None and fetch * _ROWS_A_WALK > most:
                graph, fetch = None, wanted if found else most

    def _hits(
        self,
        where: NDArray[np.int64],
        cosines: NDArray[np.float32],
        k: int,
        passing: Passing | None,
    ) -> list[list[Hit]]:
        lines, scores = where.tolist(), cosines.tolist()
        if passing is not None:
            let = passing.mask[where]
            lines = [line[some].tolist() for line, some in zip(where, let, strict=True)]
            scores = [line[some].tolist() for line, some in zip(cosines, let, strict=True)]
        names = self._names or self.names({row for line in lines for row in line})
        return [
            [
                Hit(name, score)
                for row, score in zip(line, its, strict=True)
                if (name := names[row]) is not None
            ][:k]
            for line, its in zip(lines, scores, strict=True)
        ]

    def passing(self, db: sqlite3.Connection, where: Where) -> Passing:
        """What a filter lets through; inside a snapshot of this view's version."""
        import numpy as np

        kept = self._passing.pop(where, None)
        if kept is None:
            rows = np.array(passing_rows(db, where), np.int64)
            if len(rows) and not 0 <= rows[0] <= rows[-1] < len(self.rows):
                raise self._db.damaged(f"it names rows beyond its {len(self.rows)}")
            mask = np.zeros(len(self.rows), np.bool_)
            mask[rows] = True
            kept = Passing(rows, mask)
        self._passing[where] = kept
        while len(self._passing) > _FILTERS:
            self._passing.popitem(last=False)
        return kept

    def vectors(self, ids: Collection[str]) -> tuple[tuple[str, ...], Rows] | None:
        """See ``Store.vectors``; None as long as not every name is known."""
        import numpy as np

        if self._names is None:
            return None
        if self._places is None:
            self._places = {name: at for at, name in enumerate(self._names) if name is not None}
        places = self._places
        here = sorted(one for one in set(ids) if one in places)
        rows = np.array([places[one] for one in here], np.intp)
        self._vouched.check(self._db, self.rows, rows)
        return tuple(here), self.rows[rows]

    def known_paths(self, ids: Collection[str]) -> dict[str, list[str]] | None:
        """The same as ``paths``, where nothing has to be looked up for it; else None."""
        known = self._paths
        try:
            return {picture_id: [*paths] for picture_id in ids if (paths := known[picture_id])}
        except KeyError:
            return None

    def paths(self, db: sqlite3.Connection, ids: Collection[str]) -> dict[str, list[str]]:
        """Present files of each picture, see ``Store.paths``; inside a snapshot of its version."""
        known = self._paths
        new = [picture_id for picture_id in ids if picture_id not in known]
        if new:
            if len(known) + len(new) > _PATHS:
                self._paths = known = {one: known[one] for one in ids if one in known}
            known.update(dict.fromkeys(new, ()))
            known.update(passing_paths(db, new, None))
        return {picture_id: [*paths] for picture_id in ids if (paths := known[picture_id])}

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
