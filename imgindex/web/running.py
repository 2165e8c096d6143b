"""Running the service until it is told to stop."""

from __future__ import annotations

import errno
import logging
from asyncio import CancelledError
from typing import TYPE_CHECKING, TextIO

import structlog
import uvicorn

from imgindex.errors import SettingError

from .app import guarded
from .connections import Connection
from .service import Service

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from imgindex import Library

    from .settings import ServiceSettings

_FILES = 4096  # that may be open at once: connections, and what is read for them
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
    service = Service(library, settings)
    bounds = {"patience": settings.patience, "most": _room() // 2}
    config = uvicorn.Config(
        guarded(service),
        host=settings.host,
        port=settings.port,
        http=type("Bounded", (Connection,), bounds),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
    )
    try:
        listening = config.bind_socket()
    except SystemExit as ended:
        raise _no_address(settings, ended.__context__) from None
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/"
    _Server(config, lambda: started(address), service.broadcast.close).run([listening])


class _Server(uvicorn.Server):
    """uvicorn's, which says when it can be asked, and when it is about to stop."""

    def __init__(
        self, config: uvicorn.Config, started: Callable[[], None], stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._started = started
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()  # who listens to events would do so for ever
        await super().shutdown(sockets)


def _no_address(settings: ServiceSettings, error: BaseException | None) -> SettingError:
    said = f"cannot listen on {settings.host}:{settings.port}: "
    if isinstance(error, OSError) and error.errno in {errno.EADDRINUSE, errno.EACCES}:
        return SettingError(f"{said}{error.strerror}; choose another --port")
    reason = getattr(error, "strerror", None) or error
    return SettingError(f"{said}{reason}; choose a --host that is an address of this machine")


class _Lines(logging.Handler):
    """Has what uvicorn says as lines of the log, too."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else record.msg
        *_, words = record.getMessage().splitlines()  # of a traceback: what happened
        # An address is spoken of by whoever asked for it; requests are cut off by a second Ctrl-C.
        if not isinstance(error, OSError | CancelledError) and "CancelledError" not in words:
            structlog.get_logger().log(record.levelno, words)


def _room() -> int:
    """How many files and connections may be open; raised where the system lets us."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return _FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    most = _FILES if hard == unlimited else min(hard, _FILES)
    if soft != unlimited and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def _configure(log: TextIO | None) -> None:
    uvicorns = logging.getLogger("uvicorn.error")
    uvicorns.handlers, uvicorns.propagate = [_Lines(logging.WARNING)], False
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
