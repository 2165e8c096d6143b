"""News for clients: what happened since they began to listen, as server-sent events."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_BACKLOG = 64  # events that a slow listener may lag behind
_PING = 15.0  # seconds without news, after which a listener is told that there are none


class Event(NamedTuple):
    """Something that happened: its name, and a record that tells of it."""

    name: str
    record: Any


class Broadcast:
    """Tells everybody who listens; to be used in the event loop's thread."""

    def __init__(self, most: int = 512) -> None:
        """Begin with no listener.

        Args:
            most: how many may listen.
        """
        self._listeners: set[asyncio.Queue[Event | None]] = set()
        self._most = most
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether nobody more may listen."""
        return len(self._listeners) >= self._most

    def tell(self, event: Event) -> None:
        """Tell everybody; whoever lags far behind loses the oldest news."""
        for queue in self._listeners:
            _put(queue, event)

    @contextmanager
    def listening(self) -> Iterator[AsyncIterator[Event | None]]:
        """Listen from now on; None is a sign of life when nothing happens."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(_BACKLOG)
        self._listeners.add(queue)
        if self._closed:
            queue.put_nowait(None)
        try:
            yield _events(queue)
        finally:
            self._listeners.discard(queue)

    def close(self) -> None:
        """Send everybody home, and whoever comes from now on."""
        self._closed = True
        for queue in self._listeners:
            _put(queue, None)


def _put(queue: asyncio.Queue[Event | None], event: Event | None) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(event)


async def _events(queue: asyncio.Queue[Event | None]) -> AsyncIterator[Event | None]:
    while True:
        try:
            async with asyncio.timeout(_PING):
                event = await queue.get()
        except TimeoutError:
            yield None
            continue
        if event is None:
            return
        yield event
