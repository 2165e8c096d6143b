"""Work done ahead of its use, in threads, within bounds and in order."""

from __future__ import annotations

import queue
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")

_END = object()


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, depth: int
) -> Generator[Result, None, None]:
    """Like ``map``, with up to ``depth`` calls begun before their results are asked for.

    The results come in the order of the items. An error of the function comes up where its result
    would. When the generator is closed early, calls not yet begun are dropped.

    Args:
        function: called in one of the threads.
        items: read as the calls begin.
        threads: how many calls run at once.
        depth: how many results may wait at once.
    """
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(threads, thread_name_prefix="imgindex")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def at_hand(items: Iterable[Item], most: int) -> Generator[list[Item], None, None]:
    """Cut a stream into lists of what has come so far, never waiting for more than the first.

    So a program that asks one thing and waits gets its answer at once, and one that sends
    thousands is served in batches.

    Args:
        items: read in a thread of its own.
        most: the longest list.
    """
    channel: queue.Queue[object] = queue.Queue(maxsize=2 * most)
    failure: list[BaseException] = []
    left = threading.Event()

    def read() -> None:
        try:
            for item in items:
                channel.put(item)
                if left.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - raised again where the items are used
            failure.append(error)
        finally:
            channel.put(_END)

    threading.Thread(target=read, name="imgindex-input", daemon=True).start()
    ended = False
    try:
        while not ended:
            group = [channel.get()]
            if group[0] is not _END:
                group += _waiting(channel, most - 1)
            if group[-1] is _END:
                ended = True
                group.pop()
            if group:
                yield group  # type: ignore[misc]  # the channel holds items, and the end is off it
    finally:
        left.set()
        _waiting(channel, channel.maxsize)  # room for what the thread is about to put
    if failure:
        raise failure[0]


def _waiting(channel: queue.Queue[object], most: int) -> list[object]:
    """Take what is in the channel now, at most so much."""
    taken: list[object] = []
    with suppress(queue.Empty):
        while len(taken) < most:
            taken.append(channel.get_nowait())
    return taken
