"""What a library can do for a query in steps: see it, and embed many of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .asking import look
from .errors import SettingError
from .records import Term

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from .records import Pixels, Rows
    from .resources import Resources


class Queried:
    """The part of a ``Library`` that takes a search apart, for programs that answer many at once.

    Seeing is work for many threads, embedding for one that takes what many have seen; a row that
    came of it is a query like any other.
    """

    _resources: Resources

    @property
    def batch(self) -> int:
        """How many pictures a call of ``embed`` should hold; loads the model.

        Raises:
            LibraryNotFoundError: there is no library.
            ModelNotFoundError: the library's model is not here.
        """
        return self._resources.embedder().batch

    def see(self, picture: str | os.PathLike[str] | bytes | Term) -> Pixels | Rows:
        """Look at one picture as a search does, and stop short of embedding it.

        Args:
            picture: a file, an id, the bytes of a file, or a ``Term``, whose weight does not count.

        Returns:
            Its row, float32 [d], where the library has that very content and the whole of it is
            asked for; else what ``embed`` takes, uint8 [s, s, 3].

        Raises:
            QueryError: it is neither a readable picture nor the id of one, or a box does not fit.
            LibraryNotFoundError: there is no library.
        """
        return look(self._resources, picture if isinstance(picture, Term) else Term(picture))

    def embed(self, images: Sequence[Pixels]) -> Rows:
        """Embed pictures as ``see`` gives them.

        Args:
            images: uint8 [s, s, 3] each, s the model's side; best ``batch`` at a time.

        Returns:
            float32 [n, d], of length 1 each; NaN throughout where the model finds nothing in a
            picture.

        Raises:
            SettingError: a picture has another shape or type.
            LibraryNotFoundError: there is no library.
            ModelNotFoundError: the library's model is not here.
        """
        if len(images):
            side = self._resources.embedder().card.size
            for image in images:
                if image.shape != (side, side, 3) or image.dtype != "uint8":
                    raise SettingError(
                        f"pictures to embed must be uint8 {side, side, 3}, "
                        f"not {image.dtype} {image.shape}"
                    )
        return self._resources.encode(images)
