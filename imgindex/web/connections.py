"""Connections: uvicorn's, with bounds on the time and the size of a request's head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

_HEAD = 65_536  # bytes
_REFUSED = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class Connection(HttpToolsProtocol):
    """Closes when a head does not come, comes too slowly or is too long."""

    patience = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._waiting.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Expect the rest of the head."""
        super().on_message_begin()
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Take what comes, as long as it is not an endless head."""
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > _HEAD and not self.transport.is_closing():
                self.transport.write(_REFUSED)
                self.transport.close()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._waiting.cancel()
        self._in_head = False
        super().on_headers_complete()

    def _expect(self) -> None:
        if hasattr(self, "_waiting"):
            self._waiting.cancel()
        self._in_head, self._head = True, 0
        self._waiting: Any = self.loop.call_later(self.patience, self.transport.close)
