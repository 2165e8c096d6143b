"""What a library holds open: its store and its model, each opened when it is first needed."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from . import addresses, pixels, scan
from .config import Settings
from .errors import (
    ExportError,
    LibraryNotFoundError,
    ModelNotFoundError,
    PictureError,
    SettingError,
    StoreError,
)
from .pages import Pages
from .records import SKETCH_SIDE, ModelPin
from .store import check_pin, open_store, salvage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from .embed import Embedder
    from .insight import Insight
    from .isolation import Decoding, Isolated
    from .pixels import Decoded
    from .records import Box, Found, ModelCard, Pixels, Rows
    from .store import Store

_CHUNK = 1 << 20  # bytes


class Resources:
    """One store and one model.

    Attributes:
        settings: where they are.
        max_megapixels: the largest picture to decode.
        max_bytes: the most bytes that a picture's file may have.
        pages: what was shown of long results.
    """

    def __init__(
        self,
        location: str | os.PathLike[str] | Store | None,
        model: str | os.PathLike[str] | None,
        device: str | None,
        max_megapixels: float | None,
        *,
        isolate: bool = False,
    ) -> None:
        """See ``Library``."""
        if max_megapixels is not None and not max_megapixels > 0:
            raise SettingError(f"max_megapixels must be above 0, not {max_megapixels}")
        self._store: Store | None = None
        self._given = location is not None and not isinstance(location, str | os.PathLike)
        if location is not None and not isinstance(location, str | os.PathLike):
            self._store = location
            location = location.url
        self.settings = Settings.resolve(
            library=location, model=None if model is None else os.fspath(model), device=device
        )
        self.max_megapixels = max_megapixels or pixels.default_max_megapixels()
        # Uncompressed files have at most 8 bytes a pixel, and something around them.
        self.max_bytes = int(min(self.max_megapixels * 8e6, 2.0**62)) + 2**26
        self._decoding: Decoding = pixels
        self._isolated: Isolated | None = None
        if isolate:
            from .isolation import Isolated

            self._decoding = self._isolated = Isolated(self.max_megapixels)
        self.pages = Pages()
        self._embedder: Embedder | None = None
        self._insight: Insight | None = None
        self._checked = False
        self._opening = threading.Lock()
        self._loading = threading.Lock()

    def store(self, *, create: bool = False) -> Store:
        """The open store.

        Raises:
            LibraryNotFoundError: there is none, and ``create`` is False.
            StoreError: it is a copy that was not finished.
        """
        with self._opening:
            if self._store is None:
                store = open_store(self.settings.library, create=create)
                if (origin := store.origin()) is not None:
                    store.close()
                    raise StoreError(
                        f"{store.url} is a copy of {origin} that was not finished; go on with: "
                        f"imgindex copy {origin} {store.url}"
                    )
                self._store = store
            return self._store

    def filled(self) -> tuple[Store, ModelPin]:
        """The store and the model it is pinned to.

        Raises:
            LibraryNotFoundError: nothing was ever added.
        """
        store = self.store()
        pin = store.pinned()
        if pin is None:
            raise LibraryNotFoundError(
                f"the library {store.url} is empty; fill it with: imgindex index FOLDER"
            )
        if self.settings.model is not None and not self._checked:
            # Also where nothing has to be embedded: who names a model is told that it is not here.
            check_pin(store.url, pin, _pin(self._model(pin)[1]))
            self._checked = True
        return store, pin

    def settle_model(self) -> ModelPin:
        """The model that the library has, or is about to have; makes nothing yet.

        Raises:
            ModelNotFoundError: it has none, and there is none to take.
        """
        try:
            pinned = self.store().pinned()
        except LibraryNotFoundError:
            pinned = None
        if pinned is not None and self.settings.model is None:
            return replace(pinned, preprocessing=pixels.VERSION)
        return _pin(self._model(pinned)[1])

    def model(self) -> tuple[Path, ModelCard]:
        """The file of the model asked for, else of the library's own, else of the default one.

        For what concerns no row of the library: there need not be one, and it may have another.

        Raises:
            ModelNotFoundError: it is not here, or there is none to take.
        """
        try:
            pinned = self.store().pinned()
        except LibraryNotFoundError:
            pinned = None
        return self._model(pinned)

    def insight(self) -> Insight:
        """The same model, ready to be looked into; the last one is kept.

        Raises:
            ModelNotFoundError: it is not here, or there is none to take.
            ModelFileError: it cannot be read.
        """
        from .insight import Insight

        path, card = self.model()
        with self._loading:
            if self._insight is None or self._insight.card != card:
                self._insight = Insight(path.read_bytes(), card)
            return self._insight

    def embedder(self) -> Embedder:
        """The loaded model.

        Raises:
            ModelNotFoundError: its file is not here any more.
            ModelMismatchError: another one is asked for than the library was built with.
            DeviceError: the device cannot be used.
        """
        from .embed import Embedder

        with self._loading:
            if self._embedder is None:
                store, pinned = self.filled()
                path, card = self._model(pinned)
                check_pin(store.url, pinned, _pin(card))  # a file may have been replaced meanwhile
                self._embedder = Embedder(path, self.settings.device)
            return self._embedder

    @property
    def loaded(self) -> Embedder | None:
        """The model, if it had to be loaded; it says what really computes, and how."""
        return self._embedder

    def encode(self, images: Sequence[Pixels]) -> Rows:
        """Embed pictures, float32 [n, d]; loads the model only if there are any."""
        import numpy as np

        if not images:
            return np.empty((0, self.filled()[1].dimension), np.float32)
        embedder = self.embedder()
        return np.concatenate(
            [
                embedder.encode(np.stack(images[start : start + embedder.batch]))
                for start in range(0, len(images), embedder.batch)
            ]
        )

    def load(self, path: str) -> tuple[Found, bytes]:
        """Read a file whole that the library names, or the user; see ``scan.load``.

        Raises:
            PictureError: also where it lies on a server that is not in the settings.
        """
        if reason := self.unasked([path]):
            raise PictureError(reason)
        return scan.load(path, self.max_bytes)

    def unasked(self, paths: Iterable[str]) -> str | None:
        """Why nobody is asked for a file: whoever made a library chose what addresses it names."""
        for host in (host for path in paths for host in addresses.hosts(path)):
            if host == addresses.UNREADABLE:
                return f"it lies on {host}, and nobody is asked"
            if host not in self.settings.hosts:
                return (
                    f"it lies on {host}, which the library names and no setting does; "
                    "if it may be asked, add it to IMGINDEX_HOSTS"
                )
        return None

    def receive(self, stream: BinaryIO) -> bytes:
        """Read a picture from a stream, and hardly more of it than a picture may have.

        Raises:
            PictureError: it holds too much, or does not begin like a picture.
        """
        chunk = stream.read(_CHUNK)
        pixels.recognise(chunk)  # what never ends need not be read up to the limit
        chunks, size = list[bytes](), 0
        while chunk:
            chunks.append(chunk)
            size += len(chunk)
            if size > self.max_bytes:
                raise PictureError(f"more bytes than the limit of {self.max_bytes:,}")
            chunk = stream.read(_CHUNK)
        return b"".join(chunks)

    def check_length(self, data: bytes) -> None:
        """Refuse bytes that are too many for a picture, as ``load`` does.

        Raises:
            PictureError: they are.
        """
        if len(data) > self.max_bytes:
            raise PictureError(f"{len(data):,} bytes, over the limit of {self.max_bytes:,}")

    def holds(self, path: str) -> bool:
        """Whether a file's content is a picture of the library."""
        try:
            return bool(self.store().has([scan.content_id(self.load(path)[1])]))
        except (PictureError, LibraryNotFoundError):
            return False

    def target(self, target: str | os.PathLike[str], *, force: bool) -> str:
        """Where to write; never over a picture of the library, whatever name it goes by.

        Raises:
            ExportError: a file is there that holds one.
        """
        place = os.path.abspath(os.path.expanduser(target))  # noqa: PTH111 - Path's raises for unknown users
        if force and os.path.isfile(place) and self.holds(place):  # noqa: PTH113 - place is text
            raise ExportError(f"{place} is a picture of the library; choose another name")
        return place

    def decode(
        self, data: bytes, box: Box | None = None, *, card: ModelCard | None = None
    ) -> Decoded:
        """Decode a picture, or a part of it, as a model wants it; see ``pixels.decode``.

        Args:
            data: the file's bytes.
            box: the part.
            card: of the model; None for the library's.
        """
        card = card or self.embedder().card
        return self._decoding.decode(
            data, size=card.size, fit=card.fit, max_megapixels=self.max_megapixels, box=box
        )

    def thumbnail(self, path: str, side: int) -> bytes:
        """A small JPEG of a file; see ``pixels.thumbnail``."""
        return self.preview(self.load(path)[1], side)

    def preview(self, data: bytes, side: int) -> bytes:
        """A small JPEG of a picture; see ``pixels.thumbnail``."""
        return self._decoding.thumbnail(data, side, max_megapixels=self.max_megapixels)

    def look(self, data: bytes, side: int) -> Decoded:
        """Decode a picture to a square, to learn what it is; see ``pixels.decode``."""
        return self._decoding.decode(
            data, size=side, fit="squash", max_megapixels=self.max_megapixels
        )

    def held(self, picture_id: str) -> bytes:
        """The bytes of a picture of the library; see ``found``."""
        return self.found(picture_id)[1]

    def found(self, picture_id: str) -> tuple[str, bytes]:
        """The first file that still holds a picture of the library, and its bytes.

        Raises:
            PictureError: there is none.
        """
        paths = self.store().paths([picture_id]).get(picture_id, [])
        for path in paths:
            with suppress(PictureError):
                data = self.load(path)[1]
                if scan.content_id(data) == picture_id:
                    return path, data
        reason = self.unasked(paths) or "vanished, or changed since it was indexed"
        raise PictureError(reason)

    def small(self, data: bytes, side: int) -> Pixels:
        """A picture small and upright, in its own proportions; see ``pixels.small``."""
        return self._decoding.small(data, side, max_megapixels=self.max_megapixels)

    def digest(self, data: bytes) -> str:
        """The name of a file's pixels; see ``pixels.digest``."""
        return self._decoding.digest(data, max_megapixels=self.max_megapixels)

    def several(self, data: bytes) -> bool:
        """Whether a file shows more than one picture; see ``pixels.pages``."""
        return self._decoding.pages(data) > 1

    def sketch(self, data: bytes) -> bytes:
        """The sketch of a picture; see ``pixels.Decoded``."""
        return self.look(data, SKETCH_SIDE * 4).sketch

    def close(self) -> None:
        """Let go of the store; it is opened again when it is needed, unless it came open."""
        if self._isolated is not None:
            self._isolated.close()
        with self._loading:
            self._insight = None
        with self._opening:
            if self._store is not None:
                self._store.close()
                if not self._given:
                    self._store = None

    def salvage(self) -> tuple[list[str], list[str]]:
        """Have a damaged database written anew, unless it came open; see ``store.salvage``."""
        if self._given:
            return [], []
        self.close()
        return salvage(self.settings.library)

    def _favours_eight_bits(self) -> bool:
        from .embed import favours_eight_bits

        return favours_eight_bits(self.settings.device)

    def _model(self, pinned: ModelPin | None) -> tuple[Path, ModelCard]:
        """The file of the model asked for, else of the library's own, else of the default one."""
        from . import models

        name, folder = self.settings.model, self.settings.models
        if name is None and pinned is not None:
            found = models.find(pinned.fingerprint, folder)
            if found is None and pinned.name != models.UNTRAINED:
                official = any(pinned.name == one.name for one in models.OFFICIAL)
                pull = f"imgindex model pull {pinned.name}, or: " if official else ""
                raise ModelNotFoundError(
                    f"the library was built with {pinned.name} (fingerprint "
                    f"{pinned.fingerprint[:12]}), which is not here; bring it back with: "
                    f"{pull}imgindex model import FILE"
                )
            path = found or models.resolve(models.UNTRAINED, folder)
        else:
            path = models.resolve(name, folder, small=self._favours_eight_bits)
        return path, models.read_card(path)


def _pin(card: ModelCard) -> ModelPin:
    return ModelPin(card.name, card.fingerprint, card.dimension, pixels.VERSION)
