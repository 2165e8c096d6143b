"""What comes of reading one file, and the rows of several; the same on every machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import scan
from .errors import MissingExtraError, ModelFileError, PictureError, PictureTooLargeError
from .records import Picture

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from .records import Found, ModelCard, Pixels, Rows
    from .resources import Resources

_EMPTY = "the model finds nothing in it"


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What came of reading one file.

    Attributes:
        found: the file, as it was when it was read.
        id: its content's id; None if it could not be read as a picture.
        picture: what it holds; None if the library has that picture already.
        pixels: uint8 [s, s, 3], with ``picture``.
        reason: why it could not be read.
        lasting: the reason lies in the bytes, so it need not be tried again.
    """

    found: Found
    id: str | None = None
    picture: Picture | None = None
    pixels: Pixels | None = None
    reason: str | None = None
    lasting: bool = False


def read(resources: Resources, found: Found, card: ModelCard | None = None) -> Reading:
    """Read and decode one file, unless the library has its content; may be called in threads.

    Args:
        resources: the library.
        found: the file.
        card: of the model; None for the library's.
    """
    try:
        met, data = scan.load(found.path, resources.max_bytes)
    except PictureError as error:
        return Reading(found, reason=str(error))
    picture_id = scan.content_id(data)
    if resources.store().has([picture_id]):
        return Reading(met, picture_id)
    try:
        decoded = resources.decode(data, card=card)
    except PictureError as error:
        lasting = not isinstance(error, PictureTooLargeError | MissingExtraError)
        return Reading(met, reason=str(error), lasting=lasting)
    picture = Picture(
        picture_id,
        decoded.width,
        decoded.height,
        decoded.format,
        decoded.taken,
        decoded.sketch,
    )
    return Reading(met, picture_id, picture, decoded.pixels)


def embed(
    resources: Resources, fresh: Sequence[Reading]
) -> tuple[list[Reading], Rows, set[str | None]]:
    """Embed pictures.

    Args:
        resources: the library, with its model.
        fresh: readings with pixels, each content once.

    Returns:
        Those with a row, their rows float32 [n, d], and ids of those that the model finds nothing
        in.

    Raises:
        ModelFileError: it finds nothing in any of several.
    """
    rows = resources.encode([one.pixels for one in fresh if one.pixels is not None])
    good = [not math.isnan(row[0]) for row in rows]
    if not any(good) and len(good) > 1:
        raise ModelFileError(
            f"the model gave no usable numbers for any of {len(good)} pictures, the first of them "
            f"{fresh[0].found.path}; its file may be damaged: import or pull it again"
        )
    empty = {item.id for item, fine in zip(fresh, good, strict=True) if not fine}
    return [item for item in fresh if item.id not in empty], rows[good], empty


def blank(batch: Sequence[Reading], empty: Container[str | None]) -> list[Reading]:
    """The readings, with those unreadable whose ids the model finds nothing in."""
    return [Reading(item.found, reason=_EMPTY) if item.id in empty else item for item in batch]
