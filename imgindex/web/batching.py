"""Bringing the requests of many clients together, and threads that never have a long queue.

Batches form by themselves: while one is worked on, what comes waits and is the next one. So nobody
waits for a batch to fill, and the more clients ask the larger the batches are. All is first come,
first served; whoever finds no room is turned away at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

from .problems import too_busy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")

_SOON, _LATER = 1, 5  # seconds after which to try again


class Pool:
    """Threads for work that blocks."""

    def __init__(self, name: str, threads: int, room: int) -> None:
        """Start none yet.

        Args:
            name: of the threads.
            threads: how many work at once.
            room: how many may wait for them.
        """
        self._executor = ThreadPoolExecutor(threads, f"imgindex-{name}")
        self._most = threads + room
        self.inside = 0

    async def run(
        self,
        work: Callable[Arguments, Answer],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer:
        """Have something done in one of the threads.

        Raises:
            Problem: too much waits already.
        """
        if self.inside >= self._most:
            raise too_busy(_SOON)
        self.inside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._executor, partial(work, *args, **kwargs)
            )
        finally:
            self.inside -= 1

    def close(self) -> None:
        """Wait for what is under way, and end the threads."""
        self._executor.shutdown(cancel_futures=True)


class Batcher(Generic[Asked, Answer]):
    """A few threads that work through requests in batches.

    Attributes:
        most: how many requests a batch may have.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own, by keyword
        self,
        name: str,
        work: Callable[[Sequence[Asked]], Sequence[Answer | Exception]],
        *,
        most: int,
        room: int,
        threads: int = 1,
        seen: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Wait for requests.

        Args:
            name: of the threads.
            work: answers a batch in its order; an exception in place of an answer is that one
                request's, one that is raised is everybody's.
            most: how many requests a batch may have.
            room: how many may wait.
            threads: how many batches may be worked on at once.
            seen: told the size of every batch.
        """
        self._executor = ThreadPoolExecutor(threads, f"imgindex-{name}")
        self._threads = threads
        self._work = work
        self.most = most
        self._room = room
        self._seen = seen
        self._waiting: deque[tuple[Asked, asyncio.Future[Answer]]] = deque()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    async def ask(self, asked: Asked) -> Answer:
        """Have a request answered with those of others.

        Raises:
            Problem: too many wait already.
        """
        if len(self._waiting) >= self._room:
            raise too_busy(_SOON if self._room < self.most * 4 else _LATER)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((asked, answer))
        if len(self._running) < self._threads:
            task = loop.create_task(self._run())
            self._running.add(task)
        return await answer

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch: list[tuple[Asked, asyncio.Future[Answer]]] = []
                while self._waiting and len(batch) < self.most:
                    one = self._waiting.popleft()
                    if not one[1].done():  # whoever asked has not gone away
                        batch.append(one)
                if not batch:
                    continue
                self._seen(len(batch))
                try:
                    answers: Sequence[Answer | Exception] = await loop.run_in_executor(
                        self._executor, self._work, [asked for asked, _ in batch]
                    )
                except Exception as error:  # noqa: BLE001 - it is handed on to everybody who asked
                    answers = [error] * len(batch)
                for (_, future), answer in zip(batch, answers, strict=True):
                    if future.done():
                        continue
                    if isinstance(answer, Exception):
                        future.set_exception(answer)
                    else:
                        future.set_result(answer)
        finally:  # at once: whoever asks now must know that nobody works
            self._running = {one for one in self._running if one is not asyncio.current_task()}

    async def close(self) -> None:
        """Answer what waits, and end the threads."""
        await asyncio.gather(*self._running)
        self._executor.shutdown()
