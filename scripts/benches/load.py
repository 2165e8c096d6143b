"""Clients that ask a service on this machine as fast as it answers, over connections they keep."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HOST = "127.0.0.1"


@dataclass(slots=True)
class Load:
    """What clients met with.

    Attributes:
        seconds: how long they asked.
        times: seconds from each request that was answered to its answer, ascending.
        turned_away: requests that were answered with 503.
        failed: other answers that were not wanted, by status.
        slowest_client: answers that the client with the fewest got, over the mean of all.
    """

    seconds: float
    times: list[float]
    turned_away: int = 0
    failed: dict[int, int] = field(default_factory=dict)
    slowest_client: float = 1.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.times) / self.seconds

    def at(self, share: float) -> float:
        """Milliseconds within which that share of the requests was answered."""
        return 1000 * self.times[min(len(self.times) - 1, int(share * len(self.times)))]

    def line(self) -> str:
        """In words."""
        told = (
            f"{self.rate:,.0f} a second; p50 {self.at(0.5):.1f} ms, p95 {self.at(0.95):.1f} ms, "
            f"p99 {self.at(0.99):.1f} ms; slowest client {self.slowest_client:.2f} of the mean"
        )
        if self.turned_away:
            told += f"; {self.turned_away} turned away"
        return told + "".join(f"; {n} times {status}" for status, n in self.failed.items())


def get(target: str) -> bytes:
    """A request for an address of the service."""
    return f"GET {target} HTTP/1.1\r\nHost: {_HOST}\r\n\r\n".encode()


def post(target: str, body: bytes, kind: str = "image/jpeg") -> bytes:
    """A request that sends something."""
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {_HOST}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def load(port: int, requests: Sequence[bytes], clients: int, *, most: int, seconds: float) -> Load:
    """Have clients in a process of their own take turns at requests.

    Args:
        port: of the service.
        requests: what is asked, over and over.
        clients: how many ask at once, each a new thing when it has its answer.
        most: how many answers are enough.
        seconds: how long is enough.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_load, port, list(requests), clients, most, seconds).result()


def _load(port: int, requests: list[bytes], clients: int, most: int, seconds: float) -> Load:
    import uvloop

    async def run() -> Load:
        left, turn = itertools.count(), itertools.cycle(requests)
        end = time.perf_counter() + seconds
        began = time.perf_counter()
        found = await asyncio.gather(
            *(_client(port, turn, left, most, end) for _ in range(clients))
        )
        spent = time.perf_counter() - began
        whole = Load(spent, sorted(time for one in found for time in one.times))
        whole.turned_away = sum(one.turned_away for one in found)
        for one in found:
            for status, times in one.failed.items():
                whole.failed[status] = whole.failed.get(status, 0) + times
        mean = len(whole.times) / clients
        whole.slowest_client = min(len(one.times) for one in found) / mean if mean else 0.0
        return whole

    return uvloop.run(run())


async def _client(
    port: int, requests: Iterator[bytes], left: Iterator[int], most: int, end: float
) -> Load:
    reader, writer = await asyncio.open_connection(_HOST, port)
    found = Load(0.0, [])
    while next(left) < most and (began := time.perf_counter()) < end:
        writer.write(next(requests))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        at = head.index(b"content-length:") + len(b"content-length:")
        await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
        status = int(head[9:12])
        if status == 200:  # noqa: PLR2004 - the answer that is wanted
            found.times.append(time.perf_counter() - began)
        elif status == 503:  # noqa: PLR2004 - try again later
            found.turned_away += 1
            await asyncio.sleep(0.1)
        else:
            found.failed[status] = found.failed.get(status, 0) + 1
    writer.close()
    return found
