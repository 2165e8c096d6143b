"""The process that decodes: limits first, then one picture after the other."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from imgindex import pixels
from imgindex.errors import ImgindexError
from imgindex.records import Box

from .line import receive, send

_LEAST = b"P6 1 1 255 \0\0\0"
_FILES = 64  # that it may have open


def main() -> None:
    """Be such a process: decode what is sent, until nobody sends any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asked
    line = socket.socket(fileno=0)
    # What is loaded once takes no part of a picture's time and memory.
    pixels.decode(_LEAST, size=1, fit="squash", max_megapixels=1)
    base = _addresses()
    _limit("RLIMIT_CORE", 0)
    _limit("RLIMIT_FSIZE", 0)
    _limit("RLIMIT_NOFILE", _FILES)
    if base is not None:
        _limit("RLIMIT_AS", base + int(sys.argv[1]))
    with suppress(EOFError, ConnectionError):  # nobody asks any more
        send(line, {}, b"")
        while True:
            order, data = receive(line)
            picture, data = bytes(data), bytearray()
            _grant(order.pop("seconds"))
            try:
                said, body = _do(picture, **order)
            except ImgindexError as error:
                said, body = {"error": type(error).__name__, "reason": str(error)}, b""
            send(line, said, body)


def _do(data: bytes, what: str, **how: Any) -> tuple[dict[str, object], bytes]:
    if what == "decode":
        box = how.pop("box")
        shown = pixels.decode(data, **how, box=None if box is None else Box(*box))
        told = {name: getattr(shown, name) for name in ("width", "height", "format", "taken")}
        return told, shown.pixels.tobytes() + shown.sketch
    if what == "thumbnail":
        return {}, pixels.thumbnail(data, **how)
    if what == "small":
        square = pixels.small(data, **how)
        return {"width": square.shape[1], "height": square.shape[0]}, square.tobytes()
    if what == "digest":
        return {}, bytes.fromhex(pixels.digest(data, **how))
    return {"pages": pixels.pages(data)}, b""


def _grant(seconds: float) -> None:
    """Let the next picture have so much of the processor."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _limit(name: str, most: int) -> None:
    """Set a limit for good, where the system has it and allows no less already."""
    import resource

    kind = getattr(resource, name, None)
    if kind is not None:
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _addresses() -> int | None:
    """Bytes of addresses in use; None where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[0]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
