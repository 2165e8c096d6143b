"""What who decodes and who asks say to each other: JSON, and bytes behind it."""

from __future__ import annotations

import json
import struct
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

_HEAD = struct.Struct("<IQ")  # bytes of JSON, and of what comes behind it
_MOST_SAID, _MOST_SENT = 1 << 16, 1 << 28  # bytes of each that are taken from who is not trusted


def send(line: socket.socket, said: dict[str, Any], body: bytes) -> None:
    """Say something.

    Raises:
        OSError: nobody is there any more, or it takes too long.
    """
    words = json.dumps(said).encode()
    line.sendall(_HEAD.pack(len(words), len(body)) + words)
    line.sendall(body)


def receive(line: socket.socket, deadline: float | None = None) -> tuple[dict[str, Any], bytearray]:
    """Hear what is said, and the bytes behind it.

    Args:
        line: the other one's.
        deadline: when it must be here, by the monotonic clock, of who is not trusted; None waits
            for ever, and takes any number of bytes.

    Raises:
        EOFError: nobody is there any more.
        OSError: the same, in the middle; or it takes too long (TimeoutError).
        ValueError: it is no sense.
    """
    words, size = _HEAD.unpack(_exactly(line, _HEAD.size, deadline))
    if words > _MOST_SAID or (deadline is not None and size > _MOST_SENT):
        raise ValueError("more than there can be")
    said = json.loads(_exactly(line, words, deadline))
    if not isinstance(said, dict):
        raise ValueError("no object")  # noqa: TRY004 - the same to whoever asks
    return said, _exactly(line, size, deadline)


def _exactly(line: socket.socket, size: int, deadline: float | None) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        if deadline is not None:
            line.settimeout(max(deadline - time.monotonic(), 1e-3))
        count = line.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return data
