"""The pictures' side: who decodes, what may come of it, and what is made of a process that died."""

from __future__ import annotations

import os
import re
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from imgindex import pixels
from imgindex.errors import (
    MissingExtraError,
    PictureError,
    PictureTooLargeError,
    SettingError,
)
from imgindex.records import SKETCH_SIDE

from .process import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgindex.pixels import Decoded
    from imgindex.records import Box, Fit, Pixels

Answer = TypeVar("Answer")

POSSIBLE = os.name == "posix"
"""Whether this system can do it."""

SECONDS = 60.0
"""What one picture may take, by the clock and of the processor."""

_BYTES_A_PIXEL = 24  # progressive CMYK and grey of 32 bits take most
_ROOM = 512 << 20  # bytes: buffers, and stacks of threads
_DYING = 5.0  # seconds
_MOST_REASON = 300  # characters
_FAULTS = {"SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL"}
_ERRORS: dict[str, type[PictureError | SettingError]] = {
    one.__name__: one
    for one in (PictureError, PictureTooLargeError, MissingExtraError, SettingError)
}
_FORMAT, _TAKEN = re.compile(r"\w{0,8}", re.ASCII), re.compile(r"[\d:T-]{19}", re.ASCII)


class Decoding(Protocol):
    """What decodes pictures: ``pixels`` itself, or ``Isolated``."""

    def decode(
        self, data: bytes, *, size: int, fit: Fit, max_megapixels: float, box: Box | None = None
    ) -> Decoded:
        """See ``pixels.decode``."""

    def thumbnail(self, data: bytes, side: int, *, max_megapixels: float) -> bytes:
        """See ``pixels.thumbnail``."""

    def small(self, data: bytes, side: int, *, max_megapixels: float) -> Pixels:
        """See ``pixels.small``."""

    def digest(self, data: bytes, *, max_megapixels: float) -> str:
        """See ``pixels.digest``."""

    def pages(self, data: bytes) -> int:
        """See ``pixels.pages``."""


class Isolated:
    """Decodes as ``pixels`` does, in as many processes as there are processors.

    They are started when they are needed. A crash, a hang or too much memory is a ``PictureError``;
    the next picture finds a fresh process. Every method may be called from several threads.
    """

    def __init__(self, max_megapixels: float, *, seconds: float | None = None) -> None:
        """Start none yet.

        Args:
            max_megapixels: the largest picture that will be asked for; it bounds the memory.
            seconds: what one picture may take; None for ``SECONDS``.

        Raises:
            SettingError: this system has no such processes.
        """
        if not POSSIBLE:
            raise SettingError("pictures cannot be decoded apart on this system")
        self._memory = int(min(max_megapixels * 1e6 * _BYTES_A_PIXEL, 2.0**46)) + _ROOM
        self._seconds = SECONDS if seconds is None else seconds
        self._room = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._idle: list[Worker] = []
        self._closed = 0  # times

    def decode(
        self, data: bytes, *, size: int, fit: Fit, max_megapixels: float, box: Box | None = None
    ) -> Decoded:
        """See ``pixels.decode``."""
        import numpy as np

        area = size * size * 3

        def read(said: dict[str, Any], body: bytearray) -> Decoded:
            _require(len(body) == area + SKETCH_SIDE * SKETCH_SIDE)
            _require(_FORMAT.fullmatch(said["format"]))
            _require(said["taken"] is None or _TAKEN.fullmatch(said["taken"]))
            square = np.frombuffer(body, np.uint8, area).reshape(size, size, 3)
            sides = _count(said["width"]), _count(said["height"])
            return pixels.Decoded(square, *sides, said["format"], said["taken"], bytes(body[area:]))

        part = None if box is None else [box.x, box.y, box.width, box.height, box.percent]
        how = {"size": size, "fit": fit, "max_megapixels": max_megapixels, "box": part}
        return self._ask(read, data, "decode", how)

    def thumbnail(self, data: bytes, side: int, *, max_megapixels: float) -> bytes:
        """See ``pixels.thumbnail``."""

        def read(_: dict[str, Any], body: bytearray) -> bytes:
            _require(body.startswith(b"\xff\xd8\xff"))
            return bytes(body)

        how = {"side": side, "max_megapixels": max_megapixels}
        return self._ask(read, data, "thumbnail", how)

    def small(self, data: bytes, side: int, *, max_megapixels: float) -> Pixels:
        """See ``pixels.small``."""
        import numpy as np

        def read(said: dict[str, Any], body: bytearray) -> Pixels:
            width, height = _count(said["width"]), _count(said["height"])
            _require(max(width, height) <= side)
            return np.frombuffer(body, np.uint8).reshape(height, width, 3)

        how = {"side": side, "max_megapixels": max_megapixels}
        return self._ask(read, data, "small", how)

    def digest(self, data: bytes, *, max_megapixels: float) -> str:
        """See ``pixels.digest``."""

        def read(_: dict[str, Any], body: bytearray) -> str:
            _require(len(body) == 16)  # noqa: PLR2004 - BLAKE2b-128
            return body.hex()

        return self._ask(read, data, "digest", {"max_megapixels": max_megapixels})

    def pages(self, data: bytes) -> int:
        """See ``pixels.pages``; what cannot be told counts as one."""
        try:
            return self._ask(lambda said, _: _count(said["pages"]), data, "pages", {})
        except PictureError:
            return 1

    def close(self) -> None:
        """End the processes; those that work end when they are through. Others may be started."""
        self._closed += 1
        with suppress(IndexError):
            while True:
                self._idle.pop().end()

    def _ask(
        self,
        read: Callable[[dict[str, Any], bytearray], Answer],
        data: bytes,
        what: str,
        how: dict[str, Any],
    ) -> Answer:
        """Have one thing done, and read what comes."""
        order = {"what": what, "seconds": self._seconds, **how}

        def answer(said: dict[str, Any], body: bytearray) -> Answer | PictureError | SettingError:
            if "error" not in said:
                return read(said, body)
            return _ERRORS[said["error"]](str(said["reason"])[:_MOST_REASON])

        with self._room:
            answered = None
            while answered is None:
                answered = self._try(order, data, answer)
        if isinstance(answered, PictureError | SettingError):
            raise answered
        return answered

    def _try(
        self,
        order: dict[str, Any],
        data: bytes,
        answer: Callable[[dict[str, Any], bytearray], Answer],
    ) -> Answer | PictureError | None:
        """Ask a process, an idle one or a new one.

        Returns:
            What comes; None if it died of a picture and may have been hurt by one of those before:
            only a new one is believed.
        """
        closed, fresh = self._closed, False
        try:
            worker = self._idle.pop()
        except IndexError:
            worker, fresh = Worker(self._memory), True
        try:
            answered = answer(*worker.ask(order, data, self._seconds))
        except TimeoutError:
            worker.end()
            return self._too_slow()
        except (OSError, EOFError):
            code = worker.end(_DYING)
            return self._died(code) if fresh else None
        except (ValueError, LookupError, TypeError):
            worker.end()
            return PictureError("damaged, or made to do harm: its decoder answers nonsense")
        except BaseException:
            worker.end()  # what it says next would answer another question
            raise
        if closed == self._closed:
            self._idle.append(worker)
        else:
            worker.end()
        return answered

    def _too_slow(self) -> PictureError:
        return PictureTooLargeError(f"takes more than {self._seconds:g} s to decode")

    def _died(self, code: int) -> PictureError:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"exit code {code}"
        if name == "SIGXCPU":
            return self._too_slow()
        if name in _FAULTS:
            return PictureError(f"damaged, or made to do harm: its decoder crashed ({name})")
        # Not by itself; perhaps for want of memory.
        return PictureTooLargeError(f"the process that decoded it was ended ({name})")


def _require(condition: object) -> None:
    if not condition:
        raise ValueError("not what was asked for")


def _count(value: object) -> int:
    if type(value) is not int or not 0 < value < 1 << 31:
        raise ValueError("no number of pixels")
    return value
