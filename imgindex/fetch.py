"""One picture from the web, for a query: from public addresses only, within limits.

Whoever asks may name any address, also one inside the network that this runs in. So a name is
resolved once, every address that it has must be public, and the connection goes to the very address
that was checked: what the name means a moment later makes no difference. Redirects are followed by
hand, each through the same door.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import time
from typing import TYPE_CHECKING

import httpx

from .errors import QueryError
from .graph import brief, printable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

_MOST_REDIRECTS = 5
_PATIENCE = 10.0  # seconds for one step: connecting, or the next bytes
_USUAL_PORTS = {"http": 80, "https": 443}
_HEADERS = {"User-Agent": "imgindex", "Accept": "image/*,*/*;q=0.1", "Accept-Encoding": "identity"}
_ADVICE = "fetch it yourself and give the file"

_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # NAT64, the one prefix that is public
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        # Not for hosts, though not every version of Python says so: 6to4's relays, protocols,
        # documentation. What 6to4 itself holds is looked at below.
        ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "3fff::/20"),
    )
)


class _ElsewhereError(Exception):
    """The server points to another address."""


def is_public(address: str) -> bool:
    """Whether an IP address may be one of anybody's on the internet.

    Args:
        address: as the resolver gives it, an IPv6 scope included.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip not in _GLOBAL_6:
            return False
    if any(ip in network for network in _NOT_PUBLIC if network.version == ip.version):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def fetch(
    address: str,
    *,
    limit: int,
    timeout: float = 30.0,
    permitted: Callable[[str], bool] = is_public,
) -> bytes:
    """Fetch what lies at an address; no proxy and nothing else of the environment is used.

    Args:
        address: http or https, without a user's name; it may spell out any port. A redirect may
            lead to the usual ports, or to that same one.
        limit: the most bytes to take.
        timeout: seconds that all of it may take, but for the look-up of names; at most ten more
            pass if a server just sits there.
        permitted: whether an IP address may be connected to.

    Raises:
        QueryError: the address is not of that kind or not permitted, the server cannot be reached
            or answers with anything but a file, or a limit is exceeded.
    """
    url = _parsed(address, address)
    ports = {*_USUAL_PORTS.values(), _port(url)}
    trusted = httpx.create_ssl_context(trust_env=False)
    deadline = time.monotonic() + timeout
    for _ in range(1 + _MOST_REDIRECTS):
        if _port(url) not in ports:
            raise QueryError(f"{address} leads to port {_port(url)} ({url}); {_ADVICE}")
        places = _resolved(url, permitted)
        try:
            return _ask(url, places, trusted, limit, deadline)
        except _ElsewhereError as elsewhere:
            url = _parsed(str(elsewhere), address, url)
    raise QueryError(f"{address} leads on and on, {_MOST_REDIRECTS} times; {_ADVICE}")


def _parsed(text: str, address: str, base: httpx.URL | None = None) -> httpx.URL:
    """An address that may be asked, as far as the text of it can tell."""
    shown = printable(address)
    try:
        url = httpx.URL(text) if base is None else base.join(text)
        host = url.raw_host
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise QueryError(f"{shown} is or leads to no address ({brief(error)}); check it") from error
    via = "" if base is None else f"leads to {printable(str(url))}: "
    if url.scheme not in _USUAL_PORTS:
        raise QueryError(f"{shown}: {via}only http and https are fetched")
    if url.userinfo:
        raise QueryError(
            f"{shown}: {via}an address with a user's name is not fetched; leave it out"
        )
    if not host:
        raise QueryError(f"{shown}: {via}there is no host in it; check the address")
    return url


def _port(url: httpx.URL) -> int:
    return url.port or _USUAL_PORTS[url.scheme]


def _resolved(url: httpx.URL, permitted: Callable[[str], bool]) -> list[str]:
    """The IP addresses of a host; all of them are permitted."""
    host = url.raw_host.decode("ascii")
    try:
        found = socket.getaddrinfo(host, _port(url), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise QueryError(
            f"cannot fetch {url}: there is no host {host} ({brief(error)}); check the address"
        ) from error
    places = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for place in places:
        if not permitted(place):
            # Which one it is would tell strangers about the network in here.
            raise QueryError(f"cannot fetch {url}: {host} is no public address; {_ADVICE}")
    return places


def _ask(
    url: httpx.URL, places: list[str], trusted: ssl.SSLContext, limit: int, deadline: float
) -> bytes:
    """Ask one of a host's addresses, the next one if it cannot be reached.

    Raises:
        _ElsewhereError: the answer points to another address.
    """
    error: Exception | None = None
    for place in places:
        try:
            return _ask_at(url, place, trusted, limit, deadline)
        except (httpx.ConnectError, httpx.ConnectTimeout) as refused:
            error = refused
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, RuntimeError) as broken:
            error = broken
            break
        except (OSError, ValueError) as broken:  # what a socket says that was closed in time
            error = broken
            break
    _require_time(url, deadline)
    raise QueryError(f"cannot fetch {url}: {brief(error) if error else 'no answer'}; {_ADVICE}")


def _ask_at(
    url: httpx.URL, place: str, trusted: ssl.SSLContext, limit: int, deadline: float
) -> bytes:
    _require_time(url, deadline)
    host = url.raw_host.decode("ascii")
    # A client of its own: a connection kept from another host at the same address would not have
    # shown this host's certificate.
    with _client(trusted, deadline) as client:
        request = client.build_request(
            "GET",
            url.copy_with(host=place, fragment=None),
            headers={**_HEADERS, "Host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": host},
        )
        answer = client.send(request, stream=True)
        with contextlib.closing(answer):
            if answer.has_redirect_location:
                raise _ElsewhereError(answer.headers["Location"])
            return _read(url, answer, limit, deadline)


@contextlib.contextmanager
def _client(trusted: ssl.SSLContext, deadline: float) -> Iterator[httpx.Client]:
    """A client that is closed when its time is up, whatever it is waiting for."""
    left = max(0.0, deadline - time.monotonic())
    client = httpx.Client(
        verify=trusted, trust_env=False, follow_redirects=False, timeout=min(_PATIENCE, left + 0.1)
    )
    # A server that sends a byte now and then keeps every single wait short.
    watch = threading.Timer(left, client.close)
    watch.daemon = True
    watch.start()
    try:
        yield client
    finally:
        watch.cancel()
        client.close()


def _read(url: httpx.URL, answer: httpx.Response, limit: int, deadline: float) -> bytes:
    if answer.status_code != httpx.codes.OK:
        reason = printable(answer.reason_phrase)
        raise QueryError(
            f"cannot fetch {url}: the server answered {answer.status_code} {reason}; "
            "check the address"
        )
    packed = answer.headers.get("Content-Encoding", "identity").lower()
    if packed != "identity":
        raise QueryError(f"cannot fetch {url}: it comes packed ({printable(packed)}); {_ADVICE}")
    announced = answer.headers.get("Content-Length", "")
    data = bytearray()
    if not (announced.isdecimal() and int(announced) > limit):
        for chunk in answer.iter_raw():
            data += chunk
            _require_time(url, deadline)
            if len(data) > limit:
                break
        else:
            return bytes(data)
    raise QueryError(f"{url} is of more than {limit:,} bytes, too much for a picture; {_ADVICE}")


def _require_time(url: httpx.URL, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise QueryError(f"cannot fetch {url}: it takes too long; {_ADVICE}")
