"""Small things by key on the server, long ones in parts, and who may write."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import threading
import time
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from imgindex.errors import LibraryBusyError, LibraryDamagedError

from .server import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .place import Consistency
    from .server import Entity, Server

_PART = 60_000  # characters of a text that the server holds in one piece
_LEASE = 60.0  # seconds after which whoever does not renew a lease has lost it
_AGAIN = 0.5  # seconds for which a lease is asked for where nobody is waited for


class Notes:
    """Texts by key; keys are paths like ``decision/7``."""

    def __init__(self, server: Server, name: str) -> None:
        """Over a collection, which need not be there yet."""
        self._server = server
        self._name = name

    def create(self) -> None:
        """Make the collection."""
        self._server.create(self._name, {"text": str}, 2)

    def get(self, key: str, *, strong: bool = False) -> Any:
        """What is noted under a key, None if there is nothing."""
        consistency: Consistency | None = "Strong" if strong else None
        found = list(self._server.get(self._name, [key], ["text"], consistency=consistency))
        return json.loads(found[0]["text"]) if found else None

    def below(self, folder: str, *, strong: bool = False) -> dict[str, Any]:
        """All that is noted below a key, by the rest of their keys, in the order of these."""
        condition = f"id > {quoted(folder + '/')} and id < {quoted(folder + '0')}"
        if strong:
            self.get(folder, strong=True)  # the server waits, and what comes then sees as much
        found = self._server.every(self._name, ["text"], condition)
        return {one["id"][len(folder) + 1 :]: json.loads(one["text"]) for one in found}

    def put(self, notes: Mapping[str, Any]) -> None:
        """Note values under keys, in place of what is there."""
        self._server.put(self._name, (_note(key, value) for key, value in notes.items()))

    def drop(self, keys: Iterable[str]) -> None:
        """Forget what is noted under keys."""
        self._server.take(self._name, list(keys))

    def put_long(self, key: str, data: bytes) -> None:
        """Keep bytes of any length under a key; whoever reads meanwhile gets the old ones."""
        old = self.get(key)
        text = base64.b85encode(zlib.compress(data)).decode()
        stamp = secrets.token_hex(8)
        parts = [text[at : at + _PART] for at in range(0, len(text), _PART)]
        self.put({f"{key}.{stamp}/{at:08}": part for at, part in enumerate(parts)})
        self.put({key: {"stamp": stamp, "parts": len(parts)}})
        if old is not None:
            self.drop([f"{key}.{old['stamp']}/{at:08}" for at in range(old["parts"])])

    def get_long(self, key: str) -> bytes | None:
        """The bytes under a key.

        Raises:
            LibraryDamagedError: a part of them is not there.
        """
        last = None
        while (kept := self.get(key)) != last:  # they may be replaced meanwhile
            if kept is None:
                return None
            parts = self.below(f"{key}.{kept['stamp']}")
            if len(parts) == kept["parts"]:
                return zlib.decompress(base64.b85decode("".join(parts.values())))
            last = kept
        if last is None:
            return None
        raise LibraryDamagedError(f"parts of {key} are missing on the server")


class Lease:
    """The right to write, among all processes on all machines; held by one, and only so long.

    Whoever wants it says so under a key of their own, then looks: if nobody else has said so, it
    is theirs. Both say it before they look, so two cannot both find themselves alone. Machines'
    clocks must agree to some seconds.
    """

    def __init__(self, notes: Notes, what: str, url: str) -> None:
        """Hold nothing yet.

        Args:
            notes: where it is kept.
            what: the name of the right.
            url: of the library, for messages.
        """
        self._notes = notes
        self._folder = f"lease/{what}"
        self._key = f"{self._folder}/{secrets.token_hex(8)}"
        self._url = url
        self._lock = threading.RLock()
        self._depth = 0
        self._renewed = 0.0

    @property
    def key(self) -> str:
        """What others check it by; see ``require``."""
        return self._key

    def require(self, key: str) -> None:
        """Refuse to go on under the right of another one where that is not held any more.

        Args:
            key: of the other one.

        Raises:
            LibraryBusyError: it has ended, or is about to.
        """
        kept = self._notes.get(key, strong=True)
        if kept is None or kept["until"] - time.time() < _LEASE * 0.2:
            raise LibraryBusyError(
                f"the process whose right to write to {self._url} this one shares has ended"
            )

    @contextmanager
    def held(self, wait: float = _AGAIN) -> Iterator[bool]:
        """Hold it until the end of the block; True for the outermost of nested ones.

        Args:
            wait: seconds to wait for others.

        Raises:
            LibraryBusyError: another one has it.
        """
        with self._lock:
            first = self._depth == 0
            if first:
                self._take(wait)
            self._depth += 1
            try:
                if not first:
                    yield False
                    return
                ended = threading.Event()
                renewing = threading.Thread(target=self._renew, args=(ended,), daemon=True)
                renewing.start()
                try:
                    yield True
                finally:
                    ended.set()
                    renewing.join()
                    self._say(-_LEASE)  # over; a deletion would be seen later
            finally:
                self._depth -= 1

    def check(self) -> None:
        """Refuse to go on where it may have passed to another one.

        Raises:
            LibraryBusyError: it was not renewed for too long.
        """
        if time.monotonic() - self._renewed > _LEASE * 0.8:
            raise LibraryBusyError(
                f"the right to write to {self._url} has run out, as its server or this machine "
                "stood still; run it again"
            )

    def _take(self, wait: float) -> None:
        end = time.monotonic() + wait
        while True:
            self._say()
            others = self._notes.below(self._folder, strong=True)
            others.pop(self._key.rpartition("/")[2], None)
            now = time.time()
            dead = [key for key, one in others.items() if one["until"] < now]
            if len(dead) == len(others):
                self._notes.drop([f"{self._folder}/{key}" for key in dead])
                return
            self._say(-_LEASE)
            if time.monotonic() > end:
                one = next(other for key, other in others.items() if key not in dead)
                raise LibraryBusyError(
                    f"another process is writing to {self._url} (process {one['process']} on "
                    f"{one['host']}); wait for it to end. If it was killed, its right ends in "
                    f"{one['until'] - now:.0f} s"
                )
            time.sleep(secrets.randbelow(100) / 1000)

    def _say(self, seconds: float | None = None) -> None:
        """Say that it is wanted or held for so many seconds; for the length of a lease if None."""
        began = time.monotonic()
        self._notes.put(
            {
                self._key: {
                    "until": time.time() + (_LEASE if seconds is None else seconds),
                    "process": os.getpid(),
                    "host": socket.gethostname(),
                }
            }
        )
        self._renewed = began

    def _renew(self, ended: threading.Event) -> None:
        from imgindex.errors import StoreError

        while not ended.wait(_LEASE / 4):
            try:
                self._say()
            except StoreError:
                continue  # the server may be back in time; ``check`` tells if it is not


def _note(key: str, value: Any) -> Entity:
    return {"id": key, "text": json.dumps(value), "row": [1.0, 0.0]}
