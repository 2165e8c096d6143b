"""Where a library on Milvus is: what its URL says, and what the environment adds."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from imgindex.errors import SettingError
from imgindex.store.base import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

Consistency = Literal["Strong", "Session", "Bounded", "Eventually"]

SCHEMES = ("milvus", "milvus+tls")
_PORT = 19530
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_FORM = "milvus://HOST:PORT/NAME"
_RANGES = {
    "shards": (1, 16),
    "partitions": (0, 1024),
    "replicas": (1, 64),
    "m": (4, 64),
    "ef_construction": (8, 512),
    "ef": (16, 32_768),
}


@dataclass(frozen=True, slots=True)
class Place:
    """One library on one server.

    Attributes:
        uri: the server, as pymilvus takes it.
        name: of the library; its collections begin with it.
        url: all that may be shown: without token and settings.
        token: what the server demands, ``USER:PASSWORD`` or a key; empty for nothing.
        certificate: file of the certificates that a server with TLS is believed by; empty for
            those that the system believes.
        database: of the server; empty for its default one.
        consistency: what a search waits for: ``Session`` for one's own writes, ``Strong`` for
            everybody's (half a second more), ``Bounded`` and ``Eventually`` for none.
        shards: channels that writes are spread over; fixed when the library is made.
        partitions: parts that pictures are spread over by their ids, 0 for no parts; fixed when it
            is made.
        replicas: copies in memory that searches are spread over; fixed when it is made.
        m: links of each vector in the graph; fixed when it is made.
        ef_construction: candidates looked at when a vector is linked; fixed when it is made.
        ef: candidates looked at by a search; more find more, slower.
    """

    uri: str
    name: str
    url: str
    token: str = ""
    certificate: str = ""
    database: str = ""
    consistency: Consistency = "Session"
    shards: int = 1
    partitions: int = 0
    replicas: int = 1
    m: int = 16
    ef_construction: int = 200
    ef: int = 128

    @classmethod
    def parse(cls, text: str, environ: Mapping[str, str] | None = None) -> Place:
        """Read ``milvus://[TOKEN@]HOST[:PORT][/DATABASE]/NAME[?SETTING=VALUE&...]``.

        ``milvus+tls`` speaks TLS. The token may be in IMGINDEX_MILVUS_TOKEN instead, where no
        list of processes shows it; IMGINDEX_MILVUS_CERTIFICATE names the file ``certificate``.

        Raises:
            SettingError: it is none of these.
        """
        environ = os.environ if environ is None else environ
        parts = urlsplit(text)
        try:
            host, port = parts.hostname or "", parts.port or _PORT
        except ValueError:
            raise SettingError(f"the port in {shown(text)!r} is none; give {_FORM}") from None
        *above, name = parts.path.strip("/").split("/")
        if parts.scheme not in SCHEMES or not host or len(above) > 1:
            raise SettingError(f"{shown(text)!r} is no place of a library; give {_FORM}")
        for one in (*above, name):
            if not _NAME.fullmatch(one):
                raise SettingError(
                    f"{one!r} in {shown(text)!r} cannot be a name on Milvus: letters, digits and "
                    f"underscores, no digit first; give {_FORM}"
                )
        address = f"[{host}]" if ":" in host else host
        tls = parts.scheme != "milvus"
        path = "/".join((*above, name))
        return cls(
            uri=f"http{'s' if tls else ''}://{address}:{port}",
            name=name,
            url=f"{parts.scheme}://{address}:{port}/{path}",
            token=_token(parts.netloc) or environ.get("IMGINDEX_MILVUS_TOKEN", ""),
            certificate=environ.get("IMGINDEX_MILVUS_CERTIFICATE", "") if tls else "",
            database=above[0] if above else "",
            **_settings(parts.query),
        )


def _token(netloc: str) -> str:
    user, at, _ = netloc.rpartition("@")
    return unquote(user) if at else ""


def _settings(query: str) -> dict[str, Any]:
    known = {one.name for one in fields(Place)} & {"consistency", *_RANGES}
    found: dict[str, Any] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            raise SettingError(
                f"unknown setting {key!r} in the library's URL; it knows {', '.join(sorted(known))}"
            )
        if key == "consistency":
            if value not in get_args(Consistency):
                raise SettingError(
                    f"consistency must be one of {', '.join(get_args(Consistency))}, not {value!r}"
                )
            found[key] = value
            continue
        low, high = _RANGES[key]
        if not value.isdecimal() or not low <= int(value) <= high:
            raise SettingError(f"{key} in the library's URL must be {low} to {high}, not {value!r}")
        found[key] = int(value)
    return found
