"""What a library on a Milvus server costs beside one in a folder, through the store alone."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from imgindex import open_store
from imgindex.records import IndexedFile, ModelPin, Picture, Where, no_progress

from .made import DIMENSION, made_rows
from .measuring import PAUSE, Method, Report, Table, Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from imgindex.records import Rows
    from imgindex.store import Store

COUNT, K, BATCH, ADDED, _FEW = 20_000, 10, 256, 512, 32
FOLDER, SERVER = "folder", "Milvus server"


def run(  # noqa: PLR0913 - each is an option of the command
    work: Path,
    *,
    server: str,
    rounds: int = 5,
    count: int = COUNT,
    batch: int = BATCH,
    pause: float = PAUSE,
) -> Report:
    """Fill both alike, then ask both the same in turn.

    Args:
        work: an empty folder.
        server: ``milvus://HOST:PORT``; a library is made there, and dropped in the end.
        rounds: turns of each.
        count: pictures.
        batch: queries at once.
        pause: seconds of rest ahead of a turn.
    """
    from imgindex.store.milvus import MilvusStore

    turns = Turns(rounds, pause)
    rows = made_rows(count + (rounds + 1) * ADDED, np.random.default_rng(count))[0]
    with ExitStack() as stack:
        place = f"{server.rstrip('/')}/bench_{time.time_ns()}"
        remote = stack.enter_context(closing(MilvusStore(place, create=True)))
        stack.callback(remote.drop)
        local = stack.enter_context(closing(open_store(work / "library", create=True)))
        stores: dict[str, Store] = {FOLDER: local, SERVER: remote}
        filled: dict[str, float] = {}
        for name, store in stores.items():
            store.pin(ModelPin("made", "0" * 64, DIMENSION, 1))
            began = time.perf_counter()
            for start, stop in pairwise([*range(0, count, ADDED), count]):
                _add(store, rows, range(start, stop))
            store.refresh(no_progress)
            filled[name] = 1e3 * (time.perf_counter() - began) / count
        tables = [
            Table("filled once, graph included", "ms a picture", FOLDER, _once(filled), at=count)
        ]
        tables += [
            _compare(title, unit, 1e3 / size, stores, work_on, turns, count)
            for title, unit, size, work_on in _questions(rows, count, batch)
        ]
    settings = {"rounds": rounds, "count": count, "k": K, "batch": batch}
    return Report("stores", settings, tables, turns.left_out)


def _questions(
    rows: Rows, count: int, batch: int
) -> Sequence[tuple[str, str, int, Callable[[Store], object]]]:
    """What is asked: a title, the unit, how many at once, and the work."""
    drawn = np.random.default_rng(1).permutation(count)[:batch]
    queries, ids = rows[drawn], [_id(at) for at in drawn.tolist()]
    wide = Where(larger=(2, 2))
    came = iter(range(count, len(rows), ADDED))
    begun: dict[int, int] = {}

    def add(store: Store) -> None:
        # The same ones for both, new ones in every turn.
        turn = begun[id(store)] = begun.get(id(store), -1) + 1
        while turn >= len(starts):
            starts.append(next(came))
        _add(store, rows, range(starts[turn], starts[turn] + ADDED))

    def one_by_one(store: Store) -> None:
        for query in queries[:_FEW]:
            store.search(query[None], K, way="hnsw")

    starts: list[int] = []
    return [
        ("one query at a time", "ms a query", _FEW, one_by_one),
        (
            f"queries in batches of {batch}",
            "ms a query",
            len(queries),
            lambda store: store.search(queries, K, way="hnsw"),
        ),
        (
            "the same with a filter",
            "ms a query",
            len(queries),
            lambda store: store.search(queries, K, where=wide),
        ),
        ("rows by id", "ms a picture", len(ids), lambda store: store.vectors(ids)),
        ("paths by id", "ms a picture", len(ids), lambda store: store.paths(ids)),
        (f"adding {ADDED} at once", "ms a picture", ADDED, add),
    ]


def _compare(  # noqa: PLR0913, PLR0917 - one table
    title: str,
    unit: str,
    scale: float,
    stores: dict[str, Store],
    work_on: Callable[[Store], object],
    turns: Turns,
    count: int,
) -> Table:
    taken = turns.take({name: Method(partial(work_on, store)) for name, store in stores.items()})
    figures = {name: [scale * seconds for seconds in one.seconds] for name, one in taken.items()}
    return Table(title, unit, FOLDER, figures, at=count)


def _once(figures: dict[str, float]) -> dict[str, list[float]]:
    return {name: [figure] for name, figure in figures.items()}


def _add(store: Store, rows: Rows, places: range) -> None:
    pictures = [Picture(_id(at), 1 + at % 4, 2, "PNG") for at in places]
    files = [IndexedFile(f"/made/{at}", 1, 1, _id(at)) for at in places]
    store.add(pictures, rows[places.start : places.stop], files)


def _id(at: int) -> str:
    return f"{at * 0x9E3779B97F4A7C15 % 2**64:032x}"
