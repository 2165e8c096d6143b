"""Connections: uvicorn's, with bounds on their number, on heads, and on the patience with clients.

Whatever a client should do next, it has a while to do it: to begin a request, to finish its head,
to read what is sent. The bodies of requests are the guard's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

_HEAD = 65_536  # bytes
_LEAST = 1000  # bytes a second that a client must read
_REFUSED = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class Connection(HttpToolsProtocol):
    """Ends when a client sends no head, too slow a one or too long a one, or does not read.

    Attributes:
        patience: seconds for each of these.
        most: connections at once; where there are more, those without a request make room.
    """

    patience = 30.0
    most = 1024

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        self._expecting: Any = None
        self._unread: Any = None
        self._in_head, self._head = False, 0
        super().connection_made(transport)
        self._expect()
        if len(self.connections) > self.most:
            idle = (one for one in self.connections if isinstance(one, Connection) and one.idle)
            min(idle, key=lambda one: one.since).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._expected()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what comes, as long as it is not an endless head."""
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > _HEAD and not self.transport.is_closing():
                self.transport.write(_REFUSED)
                self.transport.close()

    def on_message_begin(self) -> None:
        """Expect the rest of the head."""
        super().on_message_begin()
        self._expect()
        self._in_head, self._head = True, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take what stands in the head; what comes behind a body is dropped."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._expected()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Expect another request, and what is left of this one."""
        super().on_response_complete()
        if self.cycle.response_complete:  # else the next one has come already
            self._expect()

    def pause_writing(self) -> None:
        """Expect the client to read."""
        super().pause_writing()
        self._check_reading(None)

    def resume_writing(self) -> None:
        """All is read, or at least on its way."""
        if self._unread is not None:
            self._unread.cancel()
        self._unread = None
        super().resume_writing()

    @property
    def idle(self) -> bool:
        """Whether no request is being worked on."""
        return bool(getattr(self.cycle, "response_complete", True))

    def _expect(self) -> None:
        self._expected()
        self.since = self.loop.time()
        self._expecting = self.loop.call_later(self.patience, self._leave)

    def _expected(self) -> None:
        if self._expecting is not None:
            self._expecting.cancel()
        self._expecting, self._in_head = None, False

    def _leave(self) -> None:
        if self.transport.is_closing():
            self.transport.abort()  # what is left is not read, and closing would wait for that
        else:
            self.transport.close()
            self._expect()

    def _check_reading(self, before: int | None) -> None:
        left = self.transport.get_write_buffer_size()
        if before is not None and left > before - _LEAST * self.patience:
            self.transport.abort()
            return
        self._unread = self.loop.call_later(self.patience, self._check_reading, left)
