"""Nearest neighbours: milliseconds a query, recall and time to build, as libraries grow."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import hnswlib
import numpy as np

from imgindex import Library, open_store
from imgindex.store.hnsw import EF_CONSTRUCTION, EF_SEARCH, M

from .made import library_of, made_rows
from .measuring import PAUSE, Method, Report, Table, Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from imgindex.records import Rows
    from imgindex.store import Store

COUNTS = (1_000, 10_000, 100_000)
K, SINGLE, BATCH = 10, 64, 256
HNSWLIB = "hnswlib, the same graph file"
_AS_NEAR = 1e-6
_OPENINGS = 9


@dataclass(frozen=True, slots=True)
class Way:
    """One way to search.

    Attributes:
        ask: looks for the neighbours of the queries in a range of places.
        read: int [q, k], which rows an answer names; not timed.
        built: seconds that building took, beyond holding the rows.
    """

    ask: Callable[[slice], Any]
    read: Callable[[Any], NDArray[np.int64]]
    built: float | None = None


def run(  # noqa: PLR0913 - each is an option of the command
    work: Path,
    *,
    rounds: int = 5,
    counts: tuple[int, ...] = COUNTS,
    single: int = SINGLE,
    batch: int = BATCH,
    real: Path | None = None,
    pause: float = PAUSE,
) -> Report:
    """Ask the same queries in every way that is here, one by one and in batches.

    Args:
        work: an empty folder.
        rounds: turns of each method.
        counts: sizes of libraries.
        single: queries a turn that are asked one by one.
        batch: queries a turn that are asked at once.
        real: a file with ``rows`` [n, d], to draw from instead of made ones.
        pause: seconds of rest ahead of a turn.
    """
    turns = Turns(rounds, pause)
    peers = [name for name in ("faiss", "usearch") if not turns.missing(name)]
    tables: list[Table] = []
    sets = _sets(counts, real)
    for rows in sets:
        folder = work / f"{len(rows)}"
        built = library_of(folder, rows, work / f"files-{len(rows)}")
        drawn = np.random.default_rng(1).permutation(len(rows))[: max(single, batch)]
        queries, ids = rows[drawn], [f"{at:032x}" for at in drawn]
        with ExitStack() as stack:
            ways = dict(_ours(folder, queries, ids, stack, built))
            ways["numpy, every vector"] = Way(partial(_numpy, rows, queries), np.asarray)
            if "faiss" in peers:
                ways |= _faiss(rows, queries)
            if "usearch" in peers:
                ways |= _usearch(rows, queries)
            tables += [
                _ask(ways, rows, queries, (min(single, len(rows)), 1), turns),
                _ask(ways, rows, queries, (min(batch, len(rows)), batch), turns),
                _opening(folder, rows),
            ]
    tables.append(_command(work, len(sets[-1]), turns))
    order = list(dict.fromkeys(table.title for table in tables))
    tables.sort(key=lambda table: order.index(table.title))
    settings = {"rounds": rounds, "k": K, "single": single, "batch": batch, "real": real}
    graphs = {"m": M, "ef_construction": EF_CONSTRUCTION, "ef_search": EF_SEARCH}
    return Report("search", {**settings, **graphs}, tables, turns.left_out)


def _sets(counts: tuple[int, ...], real: Path | None) -> list[Rows]:
    if real is None:
        return [made_rows(count, np.random.default_rng(count))[0] for count in counts]
    with np.load(real) as file:
        rows = file["rows"].astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.random.default_rng(0).permutation(rows)
    return [rows[:count] for count in sorted({min(count, len(rows)) for count in counts})]


def _ask(
    ways: dict[str, Way], rows: Rows, queries: Rows, how: tuple[int, int], turns: Turns
) -> Table:
    """Ask some queries, so many at once."""
    asked, at_once = how
    places = [slice(at, min(asked, at + at_once)) for at in range(0, asked, at_once)]
    answers: dict[str, list[Any]] = {}

    def work(name: str) -> None:
        ask = ways[name].ask
        answers[name] = [ask(some) for some in places]

    methods = {name: Method(partial(work, name)) for name in ways}
    taken = turns.take(methods)
    cosines = queries[:asked] @ rows.T
    # One just as near counts as found.
    enough = -np.partition(-cosines, K - 1, axis=1)[:, K - 1] - _AS_NEAR
    more = {}
    for name in taken:
        found = np.concatenate([ways[name].read(answer) for answer in answers[name]])
        near = np.take_along_axis(cosines, found, axis=1) >= enough[:, None]
        more[name] = {"recall@10": float(near.mean()), "build s": ways[name].built}
    return Table(
        title="one query at a time" if at_once == 1 else f"batches of {at_once}",
        unit="ms a query",
        reference=HNSWLIB,
        figures={
            name: [1e3 * seconds / asked for seconds in one.seconds] for name, one in taken.items()
        },
        more=more,
        at=len(rows),
    )


def _ours(
    folder: Path, queries: Rows, ids: list[str], stack: ExitStack, built: float
) -> Iterator[tuple[str, Way]]:
    """Three depths of imgindex, and its graph without it."""
    store = stack.enter_context(closing(open_store(folder)))
    library = stack.enter_context(Library(folder))

    def by_ids(places: slice) -> Any:
        if places.stop - places.start == 1:
            return [library.search(ids[places.start], K)]
        return list(library.search_many(ids[places], K))

    def hits(answer: Any) -> NDArray[np.int64]:
        return np.array([[int(hit.id, 16) for hit in line] for line in answer[1]])

    def matches(answer: Any) -> NDArray[np.int64]:
        return np.array([[int(match.id, 16) for match in result.matches] for result in answer])

    bare = hnswlib.Index(space="ip", dim=queries.shape[1])
    bare.load_index(str(folder / "graph.hnsw"))
    bare.set_ef(max(EF_SEARCH, 2 * K))
    yield HNSWLIB, Way(lambda places: bare.knn_query(queries[places], k=K), _labels)
    graph = partial(_stored, store, queries, "hnsw")
    yield "imgindex store, graph", Way(graph, hits, built)
    yield "imgindex store, every vector", Way(partial(_stored, store, queries, "exact"), hits)
    yield "imgindex Library, by id", Way(by_ids, matches, built)


def _stored(store: Store, queries: Rows, way: Any, places: slice) -> Any:
    ran, found = store.search(queries[places], K, way=way)
    if ran != way:
        raise RuntimeError(f"the store went the {ran} way")
    return ran, found


def _built(build: Callable[[], object]) -> float:
    began = time.perf_counter()
    build()
    return time.perf_counter() - began


def _labels(answer: Any) -> NDArray[np.int64]:
    return np.asarray(answer[0], np.int64)


def _numpy(rows: Rows, queries: Rows, places: slice) -> Any:
    """Brute force as one writes it."""
    cosines = queries[places] @ rows.T
    best = np.argpartition(-cosines, K - 1, axis=1)[:, :K]
    order = np.argsort(-np.take_along_axis(cosines, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)


def _faiss(rows: Rows, queries: Rows) -> Iterator[tuple[str, Way]]:
    import faiss

    flat = faiss.IndexFlatIP(rows.shape[1])
    graph = faiss.IndexHNSWFlat(rows.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = EF_CONSTRUCTION, EF_SEARCH
    for name, index in (("faiss IndexFlatIP", flat), ("faiss IndexHNSWFlat", graph)):
        built = _built(partial(index.add, rows))
        ask = partial(_faiss_ask, index, queries)
        yield name, Way(ask, lambda answer: answer[1], built if index is graph else None)


def _faiss_ask(index: Any, queries: Rows, places: slice) -> Any:
    return index.search(queries[places], K)


def _usearch(rows: Rows, queries: Rows) -> Iterator[tuple[str, Way]]:
    from usearch.index import Index

    index = Index(
        ndim=rows.shape[1],
        metric="ip",
        dtype="f32",
        connectivity=M,  # above the lowest level; twice that on it, as in the other graphs
        expansion_add=EF_CONSTRUCTION,
        expansion_search=EF_SEARCH,
    )
    built = _built(lambda: index.add(np.arange(len(rows)), rows))

    def ask(places: slice) -> Any:
        return index.search(queries[places], K)

    def read(answer: Any) -> NDArray[np.int64]:
        return np.atleast_2d(np.asarray(answer.keys, np.int64))

    yield "usearch", Way(ask, read, built)


def _opening(folder: Path, rows: Rows) -> Table:
    """What the first queries to a library cost: scanning, or loading the graph and walking it."""
    figures: dict[str, list[float]] = {"scan": [], "load the graph": [], "walk the graph": []}
    for at in range(_OPENINGS):
        query = rows[at % len(rows)][None]
        with closing(open_store(folder)) as store:
            scan, first, second = (
                1e3 * _built(partial(store.search, query, K, way=way))
                for way in ("exact", "hnsw", "hnsw")
            )
        figures["scan"].append(scan)
        figures["load the graph"].append(max(first - second, 0.0))
        figures["walk the graph"].append(second)
    scan, load, walk = (statistics.median(one) for one in figures.values())
    worth = load / (scan - walk) if scan > walk else None
    more = {"load the graph": {"scans it is worth": worth}}
    return Table("a library just opened", "ms", "scan", figures, more, at=len(rows))


def _command(work: Path, count: int, turns: Turns) -> Table:
    """The whole command, against Python doing nothing."""
    code = "from imgindex.cli import main; main()"
    query = ["search", f"{count // 2:032x}", "--library", str(work / str(count)), "--json"]
    methods = {
        "python -c pass": Method(partial(_process, work, ["-c", "pass"])),
        "imgindex search ID": Method(partial(_process, work, ["-c", code, *query])),
    }
    taken = turns.take(methods)
    figures = {name: [1e3 * seconds for seconds in one.seconds] for name, one in taken.items()}
    return Table(f"whole command, n = {count:,}", "ms", "python -c pass", figures)


def _process(work: Path, arguments: list[str]) -> None:
    subprocess.run(  # noqa: S603
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "IMGINDEX_HOME": str(work / "home")},
    )
