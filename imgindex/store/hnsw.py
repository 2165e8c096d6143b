"""The HNSW graph of a library: derived from the vectors, checked before it is believed.

Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical
Navigable Small World graphs", IEEE TPAMI 42(4), 2020, doi:10.1109/TPAMI.2018.2889473.

hnswlib saves in place, says nothing when saving fails, and loads whatever it is given; so a graph
is saved beside, measured, synced and renamed, and a sidecar with its checksum comes after it. The
last one's goes before: a kill in between leaves a graph without a sidecar, which is rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from imgindex.errors import LibraryDamagedError, StoreError

from . import layout
from .disk import sync, sync_folder

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    import hnswlib
    import numpy as np
    from numpy.typing import NDArray

    from imgindex.records import Progress, Rows

M = 16
EF_CONSTRUCTION = 200
EF_SEARCH = 128
CHUNK = 4096
_MOST_TOLD = 4096  # bytes of a sidecar
_EF_NEIGHBOURS = 64  # groups are the same to .999 (ARI) as with 200, at a third of the time


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a saved graph must fit.

    Attributes:
        rows: rows of the vector file that are in the graph, from the first on.
        dimension: length of a row.
        generation: name of the vector file's contents; changes when rows are renumbered.
        m: links a node above level 0; twice that on it.
        ef_construction: candidates looked at when linking.
        size: bytes of the graph file.
        mtime_ns: when it was written; while that stands, its bytes need not be read to trust it.
        blake2b: its checksum, hex.
    """

    rows: int
    dimension: int
    generation: str
    m: int
    ef_construction: int
    size: int
    mtime_ns: int
    blake2b: str


class Graph:
    """The graph file of one library and, once loaded, the graph.

    Attributes:
        generation: name of the vector file's contents; changes when rows are renumbered.
    """

    def __init__(self, folder: Path, dimension: int, generation: str) -> None:
        """Look at a library's graph without loading it."""
        self._path = folder / "graph.hnsw"
        self._side = folder / "graph.json"
        self._dimension = dimension
        self.generation = generation
        self._live: tuple[hnswlib.Index, int] | None = None  # with its rows: one is put for another
        self._growing: tuple[hnswlib.Index, int] | None = None

    @property
    def loaded(self) -> bool:
        """Whether the graph is in memory."""
        return self._live is not None

    @property
    def rows(self) -> int:
        """Rows that are in the graph in memory; 0 if there is none."""
        return self._live[1] if self._live else 0

    def state(self, rows: int) -> str:
        """``ready``, ``stale``, ``damaged`` or ``none``, from the sidecar and the file's size."""
        try:
            sidecar = self._sidecar()
            size = self._path.stat().st_size
        except FileNotFoundError:
            return "none"
        except (ValueError, TypeError, OSError):
            return "damaged"
        if sidecar.size != size:
            return "damaged"
        return "ready" if self._fits(sidecar) and sidecar.rows == rows else "stale"

    def _fits(self, sidecar: Sidecar) -> bool:
        """Whether a saved graph is of these vectors, be it of all or of the first ones only."""
        return (
            sidecar.dimension == self._dimension
            and sidecar.generation == self.generation
            and (sidecar.m, sidecar.ef_construction) == (M, EF_CONSTRUCTION)
        )

    def load(self, rows: int) -> None:
        """Load the saved graph, with room for ``rows`` rows.

        Raises:
            LibraryDamagedError: the file is not the one that was saved.
        """
        self._live = self._read(rows)

    def update(self, vectors: Rows, progress: Progress) -> None:
        """Bring the saved graph up to the rows of ``vectors``; rebuild it where it cannot serve.

        Args:
            vectors: float32 [n, d], every row of the vector file.
            progress: called with the stage ``index``.
        """
        rows = len(vectors)
        if rows == 0 or self.trusted(rows):
            return
        self.grow(vectors, progress)
        assert self._growing is not None  # noqa: S101 - for the type checker
        index, self._growing = self._growing[0], None
        try:
            self._save(index, rows)
        except OSError as error:
            raise StoreError(f"cannot save the graph {self._path}: {error.strerror}") from error
        finally:
            for left in self._path.parent.glob("graph.*part"):
                left.unlink()
        self._live = index, rows

    def grow(self, vectors: Rows, progress: Progress, stop: threading.Event | None = None) -> None:
        """Add rows that the graph lacks, in memory; ``update`` goes on from there and saves.

        Args:
            vectors: see ``update``; between the two, rows may only be appended.
            progress: called with the stage ``index``.
            stop: once it is set, no more are begun.
        """
        import numpy as np

        rows = len(vectors)
        # Always one that nobody walks yet: adding moves the memory under a search.
        index, first = self._growing or self._usable(rows) or (self._empty(rows), 0)
        self._growing = None  # half added, it is of no use
        if index.get_max_elements() < rows:
            index.resize_index(max(rows, index.get_max_elements() * 3 // 2))
        for start in range(first, rows, CHUNK):
            if stop and stop.is_set():
                rows = start
                break
            end = min(rows, start + CHUNK)
            index.add_items(vectors[start:end], np.arange(start, end))
            progress("index", end, rows)
        self._growing = index, rows

    @property
    def saved(self) -> int:
        """Rows that are in the saved graph, as its sidecar has it; 0 if there is none."""
        try:
            sidecar = self._sidecar()
        except (OSError, ValueError, TypeError):
            return 0
        return sidecar.rows if self._fits(sidecar) else 0

    @property
    def reached(self) -> int:
        """Rows that are in the graph being grown; 0 if there is none."""
        return self._growing[1] if self._growing else 0

    def search(
        self, queries: Rows, k: int, vectors: Rows
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
        """Nearest rows and their cosines, [q, k] each; rows that the graph lacks are compared.

        None where the graph finds too few, or where it holds more rows than there are.

        Args:
            queries: float32 [q, d].
            k: at most the number of vectors.
            vectors: float32 [n, d], every row of the vector file.
        """
        import numpy as np

        from .rows import nearest

        live = self._live
        if live is None or live[1] > len(vectors):
            return None
        index, held = live
        index.set_ef(max(EF_SEARCH, 2 * k))
        try:
            labels, distances = index.knn_query(queries, k=min(k, held))
        except RuntimeError:
            return None
        where, cosines = labels.astype(np.int64), np.clip(1 - distances, -1, 1)
        if held == len(vectors):
            return where, cosines
        behind = vectors[held:]
        places, theirs = nearest(behind, queries, min(k, len(behind)))
        where = np.concatenate([where, places + held], axis=1)
        cosines = np.concatenate([cosines, theirs], axis=1)
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(where, order, 1), np.take_along_axis(cosines, order, 1)

    def neighbours(
        self, vectors: Rows, rows: NDArray[np.int64], k: int, progress: Progress
    ) -> NDArray[np.int64]:
        """Near others of some rows, among those rows only.

        Args:
            vectors: float32 [all, d], every row of the vector file.
            rows: int64 [n], the ones that count; below, a row is its place in them.
            k: how many others at least, below n.
            progress: called with the stage ``neighbours``.

        Returns:
            int64 [n, k + 1], -1 where there are fewer; k or more are neither -1 nor the row itself.
        """
        import numpy as np

        from .rows import nearest

        place = np.full(len(vectors), -1)
        place[rows] = np.arange(len(rows))
        wide = k + 1
        out = np.full((len(rows), wide), -1)
        # In the order of the vectors: those added together lie together, and look alike.
        turn = np.argsort(rows)
        for start in range(0, len(rows), CHUNK):
            asked = turn[start : start + CHUNK]
            reach = wide
            while len(asked):
                found = self._found(vectors[rows[asked]], min(reach, len(vectors)), len(vectors))
                if found is None or reach >= len(vectors):
                    out[asked] = nearest(vectors[rows], vectors[rows[asked]], wide)[0]
                    break
                near = place[found]
                # The present ones to the front, in their order.
                order = np.argsort(near < 0, axis=1, kind="stable")[:, :wide]
                near = np.take_along_axis(near, order, axis=1)
                out[asked] = near
                # Rows that do not count take places: look further where too few are left.
                asked = asked[((near >= 0) & (near != asked[:, None])).sum(axis=1) < k]
                reach *= 4
            progress("neighbours", min(len(rows), start + CHUNK), len(rows))
        return out

    def links(self, rows: NDArray[np.int64], count: int) -> NDArray[np.int32]:
        """The graph's own links on its lowest level, among some rows: int32 [l, 2] of places.

        They are read from the saved file, whose layout is private to hnswlib 0.8.0; a file that
        does not look like it gives none.
        """
        import numpy as np

        place = np.full(count, -1, np.int32)
        place[rows] = np.arange(len(rows))
        pairs = [np.empty((0, 2), np.int32)]
        for first, second in layout.links(self._path, count, M):
            ends = place[first], place[second]
            both = (ends[0] >= 0) & (ends[1] >= 0)
            pairs.append(np.column_stack([end[both] for end in ends]))
        return np.concatenate(pairs)

    def _found(self, queries: Rows, k: int, rows: int) -> NDArray[np.int64] | None:
        import numpy as np

        live = self._live
        if live is None or live[1] != rows:
            return None
        index = live[0]
        index.set_ef(max(_EF_NEIGHBOURS, k))
        try:
            return index.knn_query(queries, k=k)[0].astype(np.int64)
        except RuntimeError:  # it cannot reach so many
            return None

    def verify(self, rows: int) -> list[str]:
        """Contradictions between the graph, its sidecar and the vector file's row count."""
        # No graph and a stale one are lawful: the next index run mends them.
        if self.state(rows) in {"none", "stale"} or self.sound(rows):
            return []
        return [f"{self._path} does not fit its sidecar; the next index run rebuilds it"]

    def discard(self) -> None:
        """Drop the sidecar: without it the next index run builds the graph anew."""
        self._side.unlink()

    def sound(self, rows: int) -> bool:
        """Whether the saved graph is ready and every byte of it is as it was saved."""
        try:
            return self.state(rows) == "ready" and _checksum(self._path) == self._sidecar().blake2b
        except OSError:
            return False

    def trusted(self, rows: int) -> bool:
        """Whether the saved graph is ready and nobody has written to it since.

        Cheaper than ``sound``. What rots on the disk by itself is found when the graph is loaded.
        """
        try:
            if self.state(rows) != "ready":
                return False
            untouched = self._path.stat().st_mtime_ns == self._sidecar().mtime_ns
        except OSError:
            return False
        return untouched or self.sound(rows)

    def _read(self, rows: int) -> tuple[hnswlib.Index, int]:
        """Load the saved graph with room for ``rows`` rows; it and how many it holds."""
        import hnswlib

        sidecar = self._sidecar()
        index = hnswlib.Index(space="ip", dim=self._dimension)
        damaged = f"{self._path} is damaged; the next index run rebuilds it"
        if _checksum(self._path) != sidecar.blake2b:
            raise LibraryDamagedError(damaged)
        if not layout.sound(self._path, sidecar.rows, self._dimension, M):
            raise LibraryDamagedError(damaged)
        try:
            index.load_index(_name(self._path), max_elements=max(rows, sidecar.rows))
        except RuntimeError as error:
            raise LibraryDamagedError(f"{damaged} ({error})") from error
        if index.get_current_count() != sidecar.rows:
            raise LibraryDamagedError(damaged)
        return index, sidecar.rows

    def _empty(self, rows: int) -> hnswlib.Index:
        import hnswlib

        index = hnswlib.Index(space="ip", dim=self._dimension)
        index.init_index(max_elements=rows, M=M, ef_construction=EF_CONSTRUCTION)
        return index

    def _usable(self, rows: int) -> tuple[hnswlib.Index, int] | None:
        """The saved graph, if new rows can be added to it."""
        try:
            sidecar = self._sidecar()
            if not self._fits(sidecar) or sidecar.rows > rows:
                return None
            return self._read(rows)
        except (OSError, ValueError, TypeError, LibraryDamagedError):
            return None

    def _sidecar(self) -> Sidecar:
        with self._side.open("rb") as file:
            text = file.read(_MOST_TOLD)
        try:
            sidecar = Sidecar(**json.loads(text))
        except RecursionError as error:
            raise ValueError("no sidecar") from error
        kinds = {"int": int, "str": str}
        if any(
            type(getattr(sidecar, one.name)) is not kinds[str(one.type)] for one in fields(sidecar)
        ):
            raise ValueError("no sidecar")
        return sidecar

    def _save(self, index: hnswlib.Index, rows: int) -> None:
        temporary = self._path.with_suffix(".part")
        try:
            index.save_index(_name(temporary))
        except RuntimeError as error:
            raise StoreError(f"cannot save the graph {temporary}: {error}") from error
        expected = index.index_file_size()
        size = temporary.stat().st_size if temporary.exists() else 0
        if size != expected:
            raise StoreError(
                f"the graph was saved with {size} of {expected} bytes; is the disk full?"
            )
        sync(temporary)
        sidecar = Sidecar(
            rows=rows,
            dimension=self._dimension,
            generation=self.generation,
            m=M,
            ef_construction=EF_CONSTRUCTION,
            size=size,
            mtime_ns=temporary.stat().st_mtime_ns,
            blake2b=_checksum(temporary),
        )
        beside = self._side.with_suffix(".json.part")
        beside.write_text(json.dumps(asdict(sidecar), indent=1) + "\n", "utf-8")
        sync(beside)
        # Without a sidecar there is no graph; so there is never one beside another graph's.
        self._side.unlink(missing_ok=True)
        sync_folder(self._path.parent)
        temporary.replace(self._path)
        sync_folder(self._path.parent)
        beside.replace(self._side)
        sync_folder(self._path.parent)


def _name(path: Path) -> str:
    """A file's name for hnswlib, whose strings are bytes: so any name will do."""
    return os.fsencode(path)  # type: ignore[return-value]  # its stubs do not know


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
