"""One file from the web: streamed, resumed after a cut, checked, and there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from typing import TYPE_CHECKING

import httpx

from .errors import DownloadError
from .graph import brief, printable
from .records import no_progress

if TYPE_CHECKING:
    from pathlib import Path

    from .records import Progress

STAGE = "download"
_TRIES, _TRIES_TO_CONNECT = 5, 2
_PAUSE = 1.0
_MOST_REDIRECTS = 5
_OFFLINE = "fetch the file elsewhere and bring it in with: imgindex model import FILE"
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


class _CutError(Exception):
    """The connection broke or the server is busy; another try may go on from here."""


class _StaleError(Exception):
    """What lies here is of no use to the server's file: begin again."""


def fetch(  # noqa: PLR0913 - three checks, and three ways to tune the waiting
    url: str,
    target: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    md5: str | None = None,
    progress: Progress = no_progress,
    timeout: float = 30.0,
    pause: float = _PAUSE,
) -> None:
    """Fetch a file; what came before a cut is kept in ``TARGET.part`` and goes on from there.

    Args:
        url: http or https; up to five redirects are followed, to http or https only.
        target: the file to make.
        size: bytes it must have.
        sha256: checksum it must have, hex.
        md5: checksum it must have, hex, where the publisher gives no better one.
        progress: called with the stage ``download``, bytes here, and bytes in all.
        timeout: seconds without an answer or a byte that count as a cut.
        pause: seconds before the second try; doubled for each one after it.

    Raises:
        DownloadError: the URL, or a proxy or certificate that the environment names, cannot be
            used; the server cannot be reached or has no such file; the connection broke five times
            in a row without a byte gained; or what came is not what was announced.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _client(timeout) as client:
            _collect(client, url, part, size, progress, pause)
        _check(url, part, size, {"sha256": sha256, "md5": md5})
        part.replace(target)
    except OSError as error:
        raise DownloadError(f"cannot write {target}: {brief(error)}") from error
    with contextlib.suppress(OSError):
        _sidecar(part).unlink(missing_ok=True)


def _client(timeout: float) -> httpx.Client:
    """Make the client; httpx takes proxies and certificates from the environment."""
    try:
        return httpx.Client(timeout=timeout, follow_redirects=True, max_redirects=_MOST_REDIRECTS)
    except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
        raise DownloadError(
            f"cannot begin a download: {brief(error)}; correct or unset the proxies "
            "(ALL_PROXY, HTTP_PROXY, HTTPS_PROXY: http://HOST:PORT) and SSL_CERT_FILE in the "
            f"environment, or {_OFFLINE}"
        ) from error


def _collect(  # noqa: PLR0913, PLR0917 - the state of one download
    client: httpx.Client, url: str, part: Path, size: int | None, progress: Progress, pause: float
) -> None:
    failures = 0
    while True:
        before = _length(part)
        try:
            return _try(client, url, part, size, progress)
        except _StaleError:
            _discard(part)
            failures += 1
            reason: Exception = DownloadError("the server's file changes while it is fetched")
        except (_CutError, httpx.TransportError) as error:
            # Progress starts the count afresh: a long download may be cut many times.
            failures = 1 if _length(part) > before else failures + 1
            reason = error
        except (
            httpx.TooManyRedirects,
            httpx.InvalidURL,
            httpx.DecodingError,
            UnicodeError,  # names that the internet cannot have
        ) as error:
            raise DownloadError(f"cannot fetch {url}: {brief(error)}; check the URL") from error
        if isinstance(reason, httpx.UnsupportedProtocol):
            raise DownloadError(f"cannot fetch {url}: only http and https are used") from reason
        if failures >= (_TRIES_TO_CONNECT if isinstance(reason, httpx.ConnectError) else _TRIES):
            text = brief(reason)
            kept = f"; {have} bytes are kept for the next try" if (have := _length(part)) else ""
            raise DownloadError(f"cannot fetch {url}: {text}{kept}; {_OFFLINE}") from reason
        time.sleep(pause * 2 ** (failures - 1))


def _try(client: httpx.Client, url: str, part: Path, size: int | None, progress: Progress) -> None:
    """Ask once, from where the last try ended.

    Raises:
        _CutError: it ended too early.
        _StaleError: the server cannot go on from there.
    """
    have = _length(part)
    validator = _validator(part)
    if have and size == have:
        return
    headers = {"Accept-Encoding": "identity"}
    if have and validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    with client.stream("GET", url, headers=headers) as answer:
        resumed, total = _admit(answer, have, size, url)
        here = have if resumed else 0
        if not resumed:
            _remember(part, answer.headers)
        with part.open("ab" if resumed else "wb") as file:
            progress(STAGE, here, total or 0)
            for chunk in answer.iter_raw():
                here += len(chunk)
                if total is not None and here > total:
                    _discard(part)
                    raise DownloadError(f"{url} sent more than the {total} bytes announced")
                file.write(chunk)
                progress(STAGE, here, total or 0)
    if total is not None and here < total:
        raise _CutError(f"the connection ended after {here} of {total} bytes")


def _admit(
    answer: httpx.Response, have: int, size: int | None, url: str
) -> tuple[bool, int | None]:
    """Judge an answer by its head: whether it goes on from ``have``, and the length of the file."""
    status = answer.status_code
    if status in _TEMPORARY:
        raise _CutError(f"the server answered {status}")
    resumed = status == httpx.codes.PARTIAL_CONTENT
    starts = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE or (resumed and not starts):
        raise _StaleError
    if not resumed and status != httpx.codes.OK:
        raise DownloadError(
            f"cannot fetch {answer.url}: the server answered {status} "
            f"{printable(answer.reason_phrase)}; {_OFFLINE}"
        )
    announced = answer.headers.get("Content-Length", "")
    total = int(announced) + (have if resumed else 0) if announced.isdecimal() else size
    if size is not None and total != size:
        raise DownloadError(f"{url} should have {size} bytes, but {total} are announced")
    return resumed, total


def _check(url: str, part: Path, size: int | None, sums: dict[str, str | None]) -> None:
    if size is not None and _length(part) != size:
        length = _length(part)
        _discard(part)
        raise DownloadError(f"{url} should have {size} bytes, but {length} came; it was discarded")
    for kind, wanted in sums.items():
        if wanted is None:
            continue
        came = checksum(part, kind)
        if came != wanted.lower():
            _discard(part)
            raise DownloadError(
                f"{url} should have {kind} {wanted}, but {came} came; it was discarded"
            )


def checksum(path: Path, kind: str) -> str:
    """Checksum of a file, ``sha256`` or ``md5``, as lower-case hex.

    MD5 serves where a publisher names nothing better: it tells damage, not malice.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.new(kind, usedforsecurity=False)
        ).hexdigest()


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _sidecar(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _sidecar(part).unlink(missing_ok=True)


def _remember(part: Path, headers: httpx.Headers) -> None:
    """Keep what tells the server's file from another version: a strong ETag, else its date."""
    etag = headers.get("ETag", "")
    validator = etag if etag.startswith('"') else headers.get("Last-Modified")
    part.unlink(missing_ok=True)
    _sidecar(part).write_text(json.dumps({"validator": validator}), "utf-8")


def _validator(part: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        kept = json.loads(_sidecar(part).read_text("utf-8")).get("validator")
        if isinstance(kept, str) and kept.isascii() and kept.isprintable():
            return kept
    return None
