"""What a service is allowed to do, and how much of it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgindex.errors import SettingError

if TYPE_CHECKING:
    from pathlib import Path

_LEAST_TOKEN = 16
_MOST_READERS = 64


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """How a library is served.

    Attributes:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        token: what clients must present; None for nothing, on loopback addresses only.
        hosts: names under which a loopback service may be asked for, besides those of loopback; a
            page of another name cannot be made to reach it then.
        originals: hand out the files themselves, not only small forms of them.
        addresses: fetch pictures from the web, to search by them.
        uploads: folder for pictures that clients add; None: they cannot.
        folders: clients may have pictures below these indexed; None for any.
        aside: folder that copies are moved to on a client's word; None: they are not moved.
        max_upload: bytes that a request may have.
        rate: requests a second and client; 0 for any number.
        room: requests that may wait for one kind of work; those beyond are turned away.
        thumbnails: folder that keeps thumbnails; None keeps none.
        thumbnail_bytes: how much that folder may hold.
        readers: processes that answer plain searches beside the one that speaks HTTP.
        patience: seconds that a client may take to send a request, or to read on.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    hosts: tuple[str, ...] = ()
    originals: bool = False
    addresses: bool = False
    uploads: Path | None = None
    folders: tuple[str, ...] | None = None
    aside: Path | None = None
    max_upload: int = 64_000_000
    rate: float = 0.0
    room: int = 256
    thumbnails: Path | None = None
    thumbnail_bytes: int = 2_000_000_000
    readers: int = 0
    patience: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what would leave the door open.

        Raises:
            SettingError: no token where others can reach the service, one that is too short or
                fits into no header, or a figure out of range.
        """
        if self.token is None and not self.loopback:
            raise SettingError(
                f"others can reach {self.host}, so clients must present a token: "
                "write one of 16 characters or more to a file, and name it with --token-file"
            )
        if self.token is not None and len(self.token) < _LEAST_TOKEN:
            raise SettingError(
                f"the token has {len(self.token)} characters; it needs at least {_LEAST_TOKEN}"
            )
        if self.token is not None and not (
            self.token.isascii() and self.token.isprintable() and " " not in self.token
        ):
            raise SettingError("the token must be one word of plain letters, digits and signs")
        if not 0 <= self.port <= 65535:  # noqa: PLR2004 - the ports that there are
            raise SettingError(f"port must be 0 to 65535, not {self.port}")
        for name in ("max_upload", "room", "patience", "thumbnail_bytes"):
            if not getattr(self, name) > 0:
                raise SettingError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 <= self.readers <= _MOST_READERS:
            raise SettingError(f"readers must be 0 to {_MOST_READERS}, not {self.readers}")
        if self.rate < 0:
            raise SettingError(f"rate must be at least 0, not {self.rate}")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
