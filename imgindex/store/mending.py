"""Whether a library in a folder is whole; mending it, and giving back the room of pruned pictures.

Nothing here changes a row that is sound. What is derived is derived anew. A row that is damaged is
embedded again where its picture is still there; where it is not, the picture leaves the library.
"""

from __future__ import annotations

import secrets
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from .pictures import FILE, KeptPictures
from .vectors import VectorFile
from .vouching import checksums, differing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager

    from imgindex.records import Progress, Rows

    from .hnsw import Graph

_BLOCK = 65_536
_AT_ONCE = 64
DEAD = 0.25  # of all rows: with more of them pruned, the file is written anew
_REFERENCES = (
    ("picture", "row"),
    ("file", "picture"),
    ("sketch", "picture"),
    ("examined", "picture"),
    ("twin", "a"),
    ("twin", "b"),
)


class Mending(KeptPictures):
    """That part of the Protocol of ``base`` which looks after the files."""

    def _held(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _derived(self) -> Graph | None:
        raise NotImplementedError

    def verify(self, progress: Progress) -> list[str]:
        """See ``Store.verify``."""
        wrong = self._db.problems()
        with self._db.snapshot():
            rows, file = self._count(), self._vectors()
            if file is not None:
                wrong += file.problems(rows)
                wrong += [f"{file.path.name}: {what}" for _, _, what in self._bad(progress)]
        graph = self._derived()
        return wrong + (graph.verify(rows) if graph else [])

    def _bad(self, progress: Progress) -> list[tuple[int, str, str]]:
        """Rows that are not what was stored, with their pictures and what is to be said."""
        from .rows import not_unit

        file, count = self._vectors(), self._count()
        if file is None:
            return []
        with self._db.reading() as db:
            sums = db.execute("SELECT row, id, checksum FROM picture ORDER BY row").fetchall()
        bad = [
            (row, name, f"picture {name} claims row {row}, but there are {count}")
            for row, name, _ in sums
            if not 0 <= row < count
        ]
        named = {row: (name, checksum) for row, name, checksum in sums if 0 <= row < count}
        held = min(count, file.held())
        bad += [
            (row, name, f"row {row} of picture {name} is not there")
            for row, (name, _) in named.items()
            if row >= held
        ]
        mapped = file.rows(held)
        for start in range(0, held, _BLOCK):
            block = mapped[start : start + _BLOCK]
            here = [(row, *named[row]) for row in range(start, start + len(block)) if row in named]
            differ = dict(differing(block, [(row - start, *facts) for row, *facts in here]))
            lengths = dict(not_unit(block))
            for row, name, _ in here:
                what = f"row {row} of picture {name}"
                if row - start in differ:
                    bad.append((row, name, f"{what} is not what was stored"))
                elif row - start in lengths:
                    length = lengths[row - start]
                    bad.append((row, name, f"{what} has length {length:.4g} instead of 1"))
            progress("verify", min(held, start + _BLOCK), held)
        return bad

    def repair(
        self, embed: Callable[[Sequence[str]], Mapping[str, Rows]], progress: Progress
    ) -> tuple[list[str], list[str]]:
        """See ``Store.repair``."""
        with self._held():
            if strange := self._db.mistyped():
                raise self._db.damaged(strange[0])
            mended = self._db.mend()
            if (file := self._vectors()) is None:
                return mended, []
            bad = {name: row for row, name, _ in self._bad(progress)}
            again, lost = self._embedded(bad, embed, progress)
            if again:
                mended.append(f"{file.path.name}: {again:,} rows, embedded again")
            if lost:
                self._drop(lost)
            count = self._count()
            if file.held() < count:  # rows that nobody needs
                import numpy as np

                file.put(np.zeros((1, file.dimension), np.float32), [count - 1])
            file.cut(count)
            self._remember(file)
            graph = self._derived()
            if graph and count and not graph.sound(count):
                with suppress(FileNotFoundError):
                    graph.discard()
                graph.update(self._vouched_rows(), progress)
                mended.append("graph.hnsw: built anew")
        return mended, lost

    def _embedded(
        self,
        bad: dict[str, int],
        embed: Callable[[Sequence[str]], Mapping[str, Rows]],
        progress: Progress,
    ) -> tuple[int, list[str]]:
        """Put rows in the place of damaged ones; how many, and the pictures that have none now."""
        import numpy as np

        file, count, ids = self._vectors(), self._count(), sorted(bad)
        again, lost = 0, list[str]()
        for start in range(0, len(ids), _AT_ONCE):
            some = [name for name in ids[start : start + _AT_ONCE] if 0 <= bad[name] < count]
            rows = embed(some)
            lost += [name for name in ids[start : start + _AT_ONCE] if name not in rows]
            if rows and file:
                new = np.stack([rows[name] for name in rows])
                file.put(new, [bad[name] for name in rows])
                with self._db.transaction() as db:
                    db.executemany(
                        "UPDATE picture SET checksum = ? WHERE id = ?",
                        zip(checksums(new), rows, strict=True),
                    )
                    self._remember(file)
                again += len(rows)
            progress("repair", min(len(ids), start + _AT_ONCE), len(ids))
        return again, lost

    def _drop(self, ids: Collection[str]) -> None:
        with self._db.transaction() as db:
            for name in ids:
                these = "picture WHERE id = ?"
                db.execute(f"DELETE FROM file WHERE picture = (SELECT row FROM {these})", (name,))
                db.execute(f"DELETE FROM {these}", (name,))

    def _vouched_rows(self) -> Rows:
        """Every row, compared with its checksum; inside a turn of the writer's."""
        rows = self._mapped()
        self._vouched().check(self._db, rows)
        return rows

    def _remember(self, file: VectorFile) -> None:
        """Note that the file is as this writer left it; see ``vouching``."""
        self._db.put("written", file.written())

    def _sparse(self) -> bool:
        """Whether so many rows are of pruned pictures that the file shall be written anew."""
        count = self._count()
        with self._db.reading() as db:
            named = db.execute("SELECT count(*) FROM picture").fetchone()[0]
        return count - int(named) > count * DEAD

    def _compact(self, progress: Progress) -> None:
        """Write the vector file anew without the rows of pruned pictures, if those are many.

        The new file has another name, and the transaction that renumbers the pictures names it: so
        there is one whole library at any instant. Who reads the old file goes on doing so.
        """
        old = self._vectors()
        if old is None or not self._sparse():
            return
        with self._db.reading() as db:
            named = [row for (row,) in db.execute("SELECT row FROM picture ORDER BY row")]
        rows = self._vouched_rows()
        new = VectorFile(self._folder / f"vectors-{secrets.token_hex(4)}.f32", old.dimension)
        try:
            new.write(
                (rows[named[at : at + _BLOCK]] for at in range(0, len(named), _BLOCK)),
                lambda done: progress("compact", done, len(named)),
            )
            moves = [(at, row) for at, row in enumerate(named) if at != row]
            with self._db.transaction(quietly=True) as db:
                db.execute("PRAGMA defer_foreign_keys = ON")
                for table, column in _REFERENCES:
                    # One by one and ascending: each finds its number free.
                    db.executemany(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", moves)
                self._db.put("rows", len(named))
                self._db.put("generation", uuid.uuid4().hex)
                self._db.put("vectors", new.path.name)
                self._remember(new)
        except BaseException:
            with suppress(OSError):
                new.path.unlink(missing_ok=True)
            raise
        self._sweep()

    def _sweep(self) -> None:
        """Delete vector files that are not the library's any more, or never became it."""
        file = self._vectors()
        for path in self._folder.glob("vectors*.f32"):
            if file is not None and path != file.path and FILE.fullmatch(path.name):
                with suppress(OSError):
                    path.unlink()
