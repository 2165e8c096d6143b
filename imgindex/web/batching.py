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
from typing import TYPE_CHECKING, Generic, ParamSpec, Protocol, TypeVar

from .problems import too_busy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
AskedOf_contra = TypeVar("AskedOf_contra", contravariant=True)
AnswerOf_co = TypeVar("AnswerOf_co", covariant=True)
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


class Worker(Protocol[AskedOf_contra, AnswerOf_co]):
    """What answers batches."""

    async def work(self, asked: Sequence[AskedOf_contra], /) -> Sequence[AnswerOf_co | Exception]:
        """Answer a batch in its order.

        An exception in place of an answer is that one request's, one that is raised is everybody's.
        """
        ...

    async def close(self) -> None:
        """End; nothing runs any more."""
        ...


class Threads(Generic[Asked, Answer]):
    """Threads that answer batches."""

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Asked]], Sequence[Answer | Exception]],
        threads: int = 1,
    ) -> None:
        """Start none yet.

        Args:
            name: of the threads.
            work: answers a batch, as ``Worker.work`` does.
            threads: how many there are.
        """
        self._executor = ThreadPoolExecutor(threads, f"imgindex-{name}")
        self._work = work

    async def work(self, asked: Sequence[Asked]) -> Sequence[Answer | Exception]:
        """Answer a batch in one of the threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._work, asked)

    async def close(self) -> None:
        """End the threads."""
        self._executor.shutdown()


class Batcher(Generic[Asked, Answer]):
    """Requests that are worked on in batches.

    Attributes:
        most: how many requests a batch may have.
        inside: how many requests wait or are worked on.
    """

    def __init__(
        self,
        *workers: Worker[Asked, Answer],
        most: int,
        room: int,
        seen: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Wait for requests.

        Args:
            workers: each works on a batch at a time.
            most: how many requests a batch may have.
            room: how many may wait.
            seen: told the size of every batch.
        """
        self._workers = set(workers)
        self._idle = list(workers)
        self.most = most
        self._room = room
        self._seen = seen
        self._waiting: deque[tuple[Asked, asyncio.Future[Answer]]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self.inside = 0

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
        if self._idle:
            self._running.add(loop.create_task(self._run(self._idle.pop())))
        self.inside += 1
        try:
            return await answer
        finally:
            self.inside -= 1

    async def _run(self, worker: Worker[Asked, Answer]) -> None:
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
                    answers = await worker.work([asked for asked, _ in batch])
                except Exception as error:  # noqa: BLE001 - it is handed on to everybody who asked
                    answers = [error] * len(batch)
                for (_, future), answer in zip(batch, answers, strict=True):
                    if future.done():
                        continue
                    if isinstance(answer, Exception):
                        future.set_exception(answer)
                    else:
                        future.set_result(answer)
        finally:  # at once: whoever asks now must know that this one is idle
            self._idle.append(worker)
            self._running = {one for one in self._running if one is not asyncio.current_task()}

    async def close(self) -> None:
        """Answer what waits, and end the workers."""
        await asyncio.gather(*self._running)
        for worker in self._workers:
            await worker.close()
