"""Processes that look up neighbours beside the one that speaks HTTP.

Python runs one thread of a process at a time, however many cores there are. Where many clients
ask, other processes answer the plain searches. Each reads the library and holds a graph of its
own; ids go in and finished JSON comes out, so that nothing is left to do with it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson
import structlog

from imgindex import Library
from imgindex.errors import ImgindexError
from imgindex.records import PictureId, SearchResult

from .answers import Json
from .wishes import Wish, search_together

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO


_LENGTH = struct.Struct("<I")
_HUGE = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # pages: the walk is some 5% quicker
_BUFFER = 1 << 20  # bytes
_AGAIN = 30.0  # seconds between two starts of a process that ends by itself


class Reader:
    """One such process."""

    def __init__(self, library: str) -> None:
        """Start none yet.

        Args:
            library: where it is.
        """
        self._library = library
        self._process: asyncio.subprocess.Process | None = None
        self._started = -_AGAIN

    async def work(self, asked: Sequence[tuple[PictureId, Wish]]) -> list[bytes]:
        """Answer searches, in their order.

        Returns:
            The JSON of each result; empty where there is another thing to say than a result, and
            for all of them while there is no process.
        """
        nothing = [b""] * len(asked)
        if self._process is None and time.monotonic() < self._started + _AGAIN:
            return nothing
        try:
            process = self._process = self._process or await self._start()
            assert process.stdin is not None  # noqa: S101 - they are pipes
            assert process.stdout is not None  # noqa: S101
            process.stdin.write(_framed(orjson.dumps(asked)))
            (size,) = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
            parts = memoryview(await process.stdout.readexactly(size))
        except (OSError, EOFError, RuntimeError) as error:  # uvloop raises the last one
            ended = self._process
            await self.close()
            reason = str(error) if ended is None else f"exit code {ended.returncode}"
            structlog.get_logger().warning("a process for searches ended", reason=reason)
            return nothing
        answers = []
        while parts:
            (size,) = _LENGTH.unpack(parts[: _LENGTH.size])
            answers.append(bytes(parts[_LENGTH.size :][:size]))
            parts = parts[_LENGTH.size + size :]
        return answers

    async def _start(self) -> asyncio.subprocess.Process:
        self._started = time.monotonic()
        # -P: nothing that lies in the working directory is taken for a module.
        command = [sys.executable, "-P", "-c", f"from {__name__} import main; main()"]
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=pipe,
            stdout=pipe,
            limit=_BUFFER,
            # It may hold a token, and every user of the machine can list arguments.
            env=_HUGE | os.environ | {"IMGINDEX_LIBRARY": self._library},
        )

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()  # it only reads
            await process.communicate()


def answer(library: Library, asked: BinaryIO, told: BinaryIO) -> None:
    """Answer batches of searches until there are no more."""
    with suppress(ImgindexError):
        library.warm(model=False)
    while size := asked.read(_LENGTH.size):
        batch = orjson.loads(asked.read(*_LENGTH.unpack(size)))
        found = search_together(library, [(PictureId(name), Wish(**wish)) for name, wish in batch])
        parts = [Json.bytes_of(one) if isinstance(one, SearchResult) else b"" for one in found]
        told.write(_framed(b"".join(map(_framed, parts))))
        told.flush()


def _framed(data: bytes) -> bytes:
    """With its length before it."""
    return _LENGTH.pack(len(data)) + data


def main() -> None:
    """Be such a process; it ends with the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the service's, which ends this
    with os.fdopen(os.dup(1), "wb") as told, Library() as library:
        os.dup2(2, 1)  # whatever else is written is no answer
        answer(library, sys.stdin.buffer, told)
