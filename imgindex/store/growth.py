"""The graph taking in new rows, in a thread, beside what the writer does."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from imgindex.records import no_progress

from .hnsw import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgindex.records import Rows

    from .hnsw import Graph


class Growth:
    """One thread at a time; whatever goes wrong in it, ``Graph.update`` meets again, and tells."""

    def __init__(self) -> None:
        """Begin with none."""
        self._thread: threading.Thread | None = None
        self._enough = threading.Event()

    @property
    def running(self) -> bool:
        """Whether rows are being added."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, graph: Graph, rows: int, vectors: Callable[[], Rows]) -> None:
        """Have a graph take in what it lacks of so many rows, where that is worth it."""
        if self.running or rows - max(graph.reached, graph.saved) < CHUNK:
            return
        self._enough.clear()
        self._thread = threading.Thread(
            target=self._work, args=(graph, vectors()), name="imgindex-graph"
        )
        self._thread.start()

    def _work(self, graph: Graph, vectors: Rows) -> None:
        with suppress(Exception):
            graph.grow(vectors, no_progress, self._enough)

    def end(self, *, early: bool = False) -> None:
        """Wait for it; if early, no more rows are begun."""
        if early:
            self._enough.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
