"""What stands before every request: who may ask, how often, how slowly; and a line in the log."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import time
import traceback
from typing import TYPE_CHECKING, Any

import structlog
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from .problems import Problem, failed, too_long

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .metrics import Metrics
    from .settings import ServiceSettings

COOKIE = "imgindex_session"
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
_SAFE = {"GET", "HEAD", "OPTIONS"}
_OPEN = {"/healthz", "/readyz", "/v1/session"}
_SENDING = {"/v1/pictures", "/v1/search/upload", "/v1/uploads"}
_TEXT = 8_000_000  # bytes of a body that holds no pictures: it is read at once
_BURST = 10  # seconds over which the rate is counted
_BODY = 10  # times the patience for one piece, for all of a request
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"content-security-policy", _POLICY.encode()),
]


def session_of(token: str) -> str:
    """What a browser keeps in place of the token, in a cookie that no script can read."""
    return hmac.new(token.encode(), b"imgindex session", hashlib.sha256).hexdigest()


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in the same time whether or not."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode())


class Guard:
    """The outermost part of the service.

    A service on loopback is asked without a token, so pages that a browser shows of other places
    must not be able to: neither by a name that they had resolve to this machine (the host must be
    a known one), nor by sending forms or showing its pictures (whoever asks must be the service's
    own page, or no page). No other origin may read an answer: there are no CORS headers.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, metrics: Metrics) -> None:
        """Stand before an application."""
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._session = session_of(settings.token) if settings.token else ""
        self._hosts = _LOOPBACK | {settings.host.lower()} | {h.lower() for h in settings.hosts}
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._limit = (
            parse(f"{max(1, round(settings.rate * _BURST))} per {_BURST} second")
            if settings.rate
            else None
        )
        self._log = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status, sent = 0, 0
        whole, got = False, 0
        most = _most(scope["path"], self._settings)
        patience = self._settings.patience
        clock = asyncio.get_running_loop().time
        deadline = clock() + _BODY * patience

        async def heard() -> Message:
            nonlocal whole, got
            try:
                # Once all is there, what may still be heard of is that the client has gone.
                async with asyncio.timeout_at(None if whole else min(deadline, clock() + patience)):
                    message = await receive()
            except TimeoutError:
                raise Problem(
                    408,
                    "too-slow",
                    "The request came too slowly",
                    f"send every piece of a request within {patience:g} s",
                    {"Connection": "close"},
                ) from None
            got += len(message.get("body", b""))
            if got > most:
                raise too_long(most)
            whole = whole or not message.get("more_body", False)
            return message

        async def tell(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            refused = self._refusal(scope, most)
            if refused is not None:
                await refused.response()(scope, receive, tell)
            else:
                await self._app(scope, heard, tell)
        except Exception as error:  # noqa: BLE001 - a request must not take the service with it
            # Where it broke, and no message: that may hold what was asked with.
            frames = traceback.extract_tb(error.__traceback__)[-8:]
            where = [f"{frame.name}:{frame.lineno}" for frame in frames]
            self._log.error("a request failed", error=type(error).__name__, where=where)
            if not status:
                await failed().response()(scope, receive, tell)
        finally:
            self._record(scope, status, sent, time.perf_counter() - began)

    def _record(self, scope: Scope, status: int, sent: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "") or "other"
        self._metrics.request(scope["method"], route, status, seconds)
        # The route and no address: neither what was asked with nor names of files get here.
        self._log.info(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            ms=round(seconds * 1000, 2),
            bytes=sent,
            client=_client(scope),
        )

    def _refusal(self, scope: Scope, most: int) -> Problem | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if self._limit is not None and not self._limiter.hit(self._limit, _client(scope)):
            return Problem(
                429,
                "too-many",
                "Too many requests",
                f"this service takes {self._settings.rate:g} requests a second from one client",
                {"Retry-After": str(_BURST)},
            )
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self._settings.token is None and _name(host) not in self._hosts:
            return Problem(
                403,
                "unknown-host",
                "Not known by that name",
                f"this service is not known as {host!r}; start it with --allow-host to change that",
            )
        asks = scope["method"] not in _SAFE or scope["path"].startswith("/v1/")
        if asks and not _own_page(headers, host):
            return Problem(
                403,
                "other-origin",
                "Not from another page",
                "only the service's own page may ask it; programs send no Origin",
            )
        if self._settings.token is not None and not self._entitled(scope["path"], headers):
            return Problem(
                401,
                "token",
                "A token is needed",
                "present the service's token as: Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )
        announced = headers.get(b"content-length", b"")
        return too_long(most) if announced.isdigit() and int(announced) > most else None

    def _entitled(self, path: str, headers: dict[bytes, bytes]) -> bool:
        if path in _OPEN or not (path.startswith("/v1/") or path == "/metrics"):
            return True  # the page itself holds nothing of the library
        kind, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if kind.lower() == "bearer" and same(given.strip(), self._settings.token or ""):
            return True
        cookies = headers.get(b"cookie", b"").decode("latin-1").split(";")
        named = dict(part.strip().split("=", 1) for part in cookies if "=" in part)
        return same(named.get(COOKIE, ""), self._session)


def _most(path: str, settings: ServiceSettings) -> int:
    """How many bytes a request's body may have."""
    return settings.max_upload if path in _SENDING else min(settings.max_upload, _TEXT)


def _client(scope: Scope) -> str:
    client: Any = scope.get("client")
    return client[0] if client else "-"


def _name(host: str) -> str:
    """A host without its port; empty if it is none."""
    found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:@/]*)(:\d*)?", host)
    return found[1] if found else ""


def _own_page(headers: dict[bytes, bytes], host: str) -> bool:
    """Whether a request comes from the service's own page, or from no page at all."""
    if headers.get(b"sec-fetch-site", b"same-origin") not in {b"same-origin", b"none"}:
        return False
    origin = headers.get(b"origin")
    return origin is None or origin.decode("latin-1").lower().partition("://")[2] == host
