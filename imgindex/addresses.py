"""Files that lie elsewhere: in object stores, in archives, on the web; the door to fsspec.

An address is ``PROTOCOL://...``, in chains ``zip://photos/a.jpg::s3://bucket/all.zip``. No absolute
path looks like one. What speaks a protocol (s3fs, gcsfs, adlfs, ...) is the user's to install.
"""

from __future__ import annotations

import calendar
import hashlib
import os
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .errors import PictureError, SettingError
from .records import Found, Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.ASCII)
_LOCAL = re.compile(r"(file|local)://")
# What stores call the time of the last change, and what they call a name of the content.
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "date_time")
_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "checksum", "CRC")


# fsspec knows forty more: some write what they meet to the disk, some follow what it says.
_PROTOCOLS = frozenset(
    (
        *("file", "local", "memory", "http", "https", "ftp", "sftp", "ssh", "smb", "webdav", "dav"),
        *("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "r2", "tos", "hf"),
        *("hdfs", "webhdfs", "arrow_hdfs", "zip", "tar"),
    )
)

# Those of which an address itself says which server is asked.
_ASKING = _PROTOCOLS & {
    *("http", "https", "ftp", "sftp", "ssh", "smb"),
    *("hdfs", "webhdfs", "arrow_hdfs"),
}
_HOST = re.compile(r"(?:[^@\\\s]*@)?((?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d+)?)")
UNREADABLE = "a server of no plain name"
"""What stands for a server whose name not everybody would read alike."""


def is_address(text: str) -> bool:
    """Whether a text is an address and no path."""
    return _ADDRESS.match(text) is not None


def hosts(address: str) -> list[str]:
    """The servers that are asked for what lies at an address, as ``http://nas:8080``.

    None of a path, nor of an object store, which opens to the user's own keys.
    """
    found = []
    for part in address.lower().split("::"):
        protocol, separator, rest = part.partition("://")
        if separator and protocol in _ASKING:
            host = _HOST.fullmatch(re.split("[/?#]", rest, maxsplit=1)[0])
            found.append(f"{protocol}://{host[1]}" if host else UNREADABLE)
    return found


def settled(text: str) -> str:
    """An address as files below it have it; ``file://`` and paths become absolute paths.

    Raises:
        SettingError: its protocol is unknown, or what speaks it is not installed.
    """
    if "::" not in text and (_LOCAL.match(text) or not is_address(text)):
        return os.path.abspath(os.path.expanduser(_LOCAL.sub("", text)))  # noqa: PTH111 - Path's raises for unknown users
    _permit(text)
    *chain, last = text.split("::")
    text = "::".join([*chain, settled(last)]) if chain else last
    try:
        system, path = _opened(text)
    except FileNotFoundError:  # an archive that is not there
        return text
    return _named(system, path.rstrip("/"), text)


def exists(address: str) -> bool:
    """Whether something is at an address.

    Raises:
        SettingError: it cannot be said, as whatever holds it does not answer or refuses.
    """
    try:
        system, path = _opened(address)
        system.info(path)
    except FileNotFoundError:
        return False
    except SettingError:
        raise
    except Exception as error:  # every protocol has its own kinds
        raise SettingError(f"cannot look at {address}: {_reason(error)}") from error
    return True


def files(address: str) -> Iterator[tuple[str, Found]]:
    """Every file at or below an address, by name.

    Returns:
        An iterator over names relative to the address, empty for itself, and the files.

    Raises:
        PictureError: they cannot be listed; the message is the reason alone.
    """
    try:
        system, top = _opened(address)
        type(system).clear_instance_cache()  # an archive may be another one than last time
        system, top = _opened(address)
        system.invalidate_cache()
        found: Mapping[str, Any] = system.find(top, detail=True)
    except Exception as error:
        raise PictureError(_reason(error)) from error
    for path in sorted(found):
        yield path[len(top) :].lstrip("/"), _found(_named(system, path, address), found[path])


def look(address: str) -> Found | Skipped:
    """Look at one file; nothing is opened."""
    try:
        system, path = _opened(address)
        info = system.info(path)
    except Exception as error:  # noqa: BLE001 - every protocol has its own kinds
        return Skipped(address, _reason(error))
    return Skipped(address, "is a folder") if info["type"] != "file" else _found(address, info)


def vanished(address: str) -> bool:
    """Whether no file is there; what just cannot be looked at has not vanished."""
    met = look(address)
    return isinstance(met, Skipped) and met.reason in {"vanished", "is a folder"}


def load(address: str, limit: int) -> tuple[Found, bytes]:
    """Read one file whole; see ``scan.load``.

    Raises:
        PictureError: it is empty, too large, unreadable, or changed on the way.
    """
    met = look(address)
    if isinstance(met, Skipped):
        raise PictureError(met.reason)
    if met.size > limit:
        raise PictureError(f"file of {met.size:,} bytes, over the limit of {limit:,}")
    try:
        system, path = _opened(address)
        with system.open(path, "rb") as file:
            data: bytes = file.read(limit + 1)
    except Exception as error:
        raise PictureError(_reason(error)) from error
    if not data:
        raise PictureError("empty file")
    if len(data) > limit:
        raise PictureError(f"file of more than {limit:,} bytes, over the limit")
    if met.size not in {0, len(data)}:  # some do not tell it
        raise PictureError("changed while it was read")
    return met, data


def stream(place: str) -> AbstractContextManager[BinaryIO]:
    """Open a file at a path or an address, to be read in pieces.

    Raises:
        SettingError: what speaks the protocol is not installed; else whatever that raises.
    """
    if not is_address(place):
        return open(place, "rb")  # noqa: PTH123 - the caller closes it
    system, path = _opened(place)
    opened: AbstractContextManager[BinaryIO] = system.open(path, "rb")
    return opened


def lies_in(path: str, roots: Sequence[str]) -> bool:
    """Whether a file is one of the roots, or below one; also in chains of addresses."""
    first, chain, rest = path.partition("::")
    for root in roots:
        top, _, below = root.partition("::")
        base = top if top.endswith("://") else top.rstrip("/") + "/"
        if path == root or (below == rest and bool(chain) and first.startswith(base)):
            return True
        if not chain and path.startswith(base):
            return True
    return False


def _permit(address: str) -> None:
    """Refuse what fsspec would do more with than read.

    Raises:
        SettingError: a protocol is not on the list.
    """
    for part in address.split("::"):
        word = re.fullmatch("([a-z]+)|([^:/]+)://.*", part, re.DOTALL)  # others are paths
        protocol = (word[1] or word[2]).lower() if word else "file"
        if protocol not in _PROTOCOLS:
            raise SettingError(
                f"cannot read {address}: {protocol} is none of {', '.join(sorted(_PROTOCOLS))}"
            )


def _opened(address: str) -> tuple[Any, str]:
    """What speaks an address's protocol, and the path as that has it."""
    _permit(address)
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise SettingError(
            f"to read {address} install fsspec: pip install 'imgindex[ray]'"
        ) from None
    try:
        system, path = url_to_fs(address)
    except FileNotFoundError:
        raise
    except Exception as error:  # every protocol has its own kinds
        raise SettingError(f"cannot read {address}: {_reason(error)}") from error
    return system, str(path)


def _named(system: Any, path: str, address: str) -> str:
    """The address of a file, found behind another one."""
    _, chain, rest = address.partition("::")
    return f"{system.unstrip_protocol(path)}{chain}{rest}"


def _found(address: str, info: Mapping[str, Any]) -> Found:
    return Found(address, int(info.get("size") or 0), _stamp(info))


def _stamp(info: Mapping[str, Any]) -> int:
    """Nanoseconds of the last change; what stands for it, where a store does not tell."""
    for name in _TIMES:
        match info.get(name):
            case datetime() as told:
                return int(told.timestamp() * 1e6) * 1_000
            case int() | float() as told:
                return int(told * 1e9)
            case tuple() as told:
                return calendar.timegm((*told, 0, 0, 0)) * 1_000_000_000
            case str() as told if told:
                return _hashed(told)
    for name in _TAGS:
        if info.get(name):
            return _hashed(str(info[name]))
    return time.time_ns()  # it is read again each time


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest())


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "vanished"
    if isinstance(error, PermissionError):
        return "permission denied"
    text = " ".join(str(error).split())
    return text[:1].lower() + text[1:] if text else type(error).__name__
