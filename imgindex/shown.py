"""What a library can show of its pictures: their facts, their files, small forms of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import PictureError, QueryError
from .records import Picture
from .scan import content_id

if TYPE_CHECKING:
    from collections.abc import Collection

    from .resources import Resources

_LOOKED = 64  # pixels; what is decoded of a picture only to learn its facts


class Shown:
    """The part of a ``Library`` that shows pictures."""

    _resources: Resources

    def pictures(self, ids: Collection[str]) -> dict[str, Picture]:
        """The facts of some pictures, by id; unknown ids are left out.

        Args:
            ids: whole ids, as matches and groupings give them.
        """
        return self._resources.store().pictures(ids)

    def original(self, picture_id: str) -> bytes:
        """The bytes of an indexed picture, out of a file that still holds them.

        Whatever lies at the file's path by now: these bytes are the picture, or there are none.

        Raises:
            QueryError: no file of the picture is there any more.
        """
        try:
            return self._resources.held(picture_id)
        except PictureError as error:
            raise QueryError(f"the picture {picture_id} cannot be read: {error}") from error

    def preview(self, data: bytes, side: int) -> bytes:
        """A small JPEG of a picture's bytes, without its metadata.

        Args:
            data: the file's bytes.
            side: longer side in pixels; a smaller picture keeps its size.

        Raises:
            PictureError: it cannot be read.
        """
        return self._resources.preview(data, side)

    def inspect(self, data: bytes) -> Picture:
        """The facts of a picture that need not be in the library.

        Args:
            data: the file's bytes.

        Raises:
            PictureError: it cannot be read.
        """
        self._resources.check_length(data)
        read = self._resources.look(data, _LOOKED)
        return Picture(content_id(data), read.width, read.height, read.format, read.taken)

    def warm(self, *, model: bool = True) -> None:
        """Load the model and the graph, so that the first query need not wait for them.

        Args:
            model: load the model, too; what looks like pictures of the library needs none.

        Raises:
            ImgindexError: one of them is not there, or cannot be used.
        """
        import numpy as np

        store, pin = self._resources.filled()
        row = np.zeros((1, pin.dimension), np.float32)
        row[0, 0] = 1
        store.search(row, 1, way="hnsw")
        if model:
            self._resources.embedder()
