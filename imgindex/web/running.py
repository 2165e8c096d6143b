"""Running the service until it is told to stop."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TextIO

import structlog
import uvicorn

from imgindex.errors import SettingError

from .app import application
from .connections import Connection

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from imgindex import Library

    from .settings import ServiceSettings

_CONNECTIONS = 1024
_GRACE = 30  # seconds for requests to end


def serve(
    library: Library,
    settings: ServiceSettings,
    *,
    started: Callable[[str], None] = lambda _: None,
    log: TextIO | None = None,
) -> None:
    """Serve a library until SIGINT or SIGTERM; requests that run are finished.

    Args:
        library: the library.
        settings: what is allowed.
        started: told the address, once the service can be asked.
        log: where a line of JSON is written for every request; None for nowhere.

    Raises:
        SettingError: the address cannot be listened on.
    """
    _configure(log)
    config = uvicorn.Config(
        application(library, settings),
        host=settings.host,
        port=settings.port,
        http=type("Bounded", (Connection,), {"patience": settings.patience}),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE,
    )
    try:
        listening = config.bind_socket()
    except SystemExit:
        raise SettingError(
            f"cannot listen on {settings.host}:{settings.port}; is another service there? "
            "Choose another --port"
        ) from None
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    _Server(config, lambda: started(f"http://{shown}:{port}/")).run([listening])


class _Server(uvicorn.Server):
    """uvicorn's, which says when it can be asked."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._started()


def _configure(log: TextIO | None) -> None:
    level = logging.INFO if log is not None else logging.CRITICAL
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(log),
        cache_logger_on_first_use=True,
    )
