"""Picture files to what the network reads, and to thumbnails."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from imgindex.errors import SettingError
from imgindex.records import SKETCH_SIDE, Fit

from .reading import depth, read

if TYPE_CHECKING:
    from PIL import Image

    from imgindex.records import Box, Pixels

VERSION = 1
"""Of the preprocessing; raised whenever the same bytes would give other pixels than before."""

_WHOLE = 1 << 30  # so that no reader of JPEG files reduces the picture
_PAD_GREY = (128, 128, 128)
_REDUCING_GAP = 3.0  # from here on Pillow's two-step resizing cannot be told from one step


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A picture ready for the network, and what its file says of it.

    Attributes:
        pixels: uint8 [s, s, 3], RGB, C-contiguous.
        width: of the whole picture in pixels, after orientation.
        height: of the whole picture in pixels, after orientation.
        format: Pillow's name of the format, for example ``JPEG``; ``DNG``, or ``RAW`` for a
            camera's own.
        taken: when it was taken by the camera's clock, ISO 8601 without a zone, or None.
        sketch: all of it small and grey, uint8 [SKETCH_SIDE, SKETCH_SIDE] as bytes.
    """

    pixels: Pixels
    width: int
    height: int
    format: str
    taken: str | None
    sketch: bytes


def decode(
    data: bytes, *, size: int, fit: Fit, max_megapixels: float, box: Box | None = None
) -> Decoded:
    """Decode a picture file to a square of pixels.

    The first frame of a moving picture and the first page of a document count. Transparent parts
    lie on white; 16-bit values keep their upper 8 bits; the EXIF orientation is applied. Colours
    are taken as sRGB. JPEG files are decoded at an eighth, a quarter or half of their size where
    that leaves both sides (of the box, where there is one) at least ``2 * size`` long. A
    camera's raw file counts by the preview inside it, and has the sides of the whole picture.

    Args:
        data: the file's bytes.
        size: side s of the square.
        fit: ``squash`` both sides to s, ``crop`` the centre square, or ``pad`` with grey 128.
        max_megapixels: the largest picture to decode, in millions of pixels.
        box: the part of the upright picture to take instead of all of it.

    Raises:
        PictureError: the bytes are not a picture that is read, are damaged, or are too large.
        MissingExtraError: they are a raw file, and rawpy is not installed.
        SettingError: ``size`` or ``fit`` is not possible, or the box lies outside the picture.
    """
    import numpy as np

    if size < 1:
        raise SettingError(f"size must be at least 1 pixel, not {size}")
    if fit not in get_args(Fit):
        raise SettingError(f"fit must be one of {', '.join(get_args(Fit))}, not {fit!r}")
    upright = read(data, 2 * size, max_megapixels, box)
    square = _fit(upright.image, size, fit)
    sketch = _sketch(square if fit == "squash" else upright.image)
    return Decoded(
        np.array(square), upright.width, upright.height, upright.format, upright.taken, sketch
    )


def square(width: int, height: int, size: int, fit: Fit) -> tuple[float, float, float, float]:
    """Where the square that `decode` makes lies in an upright picture.

    Args:
        width: of the picture in pixels, after orientation.
        height: of the picture in pixels, after orientation.
        size: side of the square.
        fit: as for ``decode``.

    Returns:
        Left, top, right and bottom in pixels of the picture; beyond its edges for ``pad``.
    """
    if fit == "squash":
        return 0, 0, width, height
    if fit == "crop":
        return _centre(width, height)
    inner, corner = _padded(width, height, size)
    wide, high = width / inner[0], height / inner[1]
    left, top = -corner[0] * wide, -corner[1] * high
    return left, top, left + size * wide, top + size * high


def thumbnail(data: bytes, side: int, *, max_megapixels: float) -> bytes:
    """Make a small upright JPEG of a picture file, without its metadata.

    Args:
        data: the file's bytes.
        side: length of the longer side; a smaller picture keeps its size.
        max_megapixels: the largest picture to decode, in millions of pixels.

    Raises:
        PictureError: as ``decode``.
        SettingError: ``side`` is below 1.
    """
    from PIL import Image

    if side < 1:
        raise SettingError(f"side must be at least 1 pixel, not {side}")
    image = read(data, side, max_megapixels).image
    image.thumbnail((side, side), Image.Resampling.BICUBIC, _REDUCING_GAP)
    image.info = {}  # Pillow would write the comment, and where the picture was taken, from here
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80, optimize=True)
    return file.getvalue()


def small(data: bytes, side: int, *, max_megapixels: float) -> Pixels:
    """Decode a picture file small, upright and in its own proportions.

    Args:
        data: the file's bytes.
        side: length of the longer side; a smaller picture keeps its size.
        max_megapixels: the largest picture to decode, in millions of pixels.

    Returns:
        uint8 [h, w, 3], RGB, C-contiguous.

    Raises:
        PictureError: as ``decode``.
    """
    import numpy as np
    from PIL import Image

    image = read(data, side, max_megapixels).image
    image.thumbnail((side, side), Image.Resampling.BICUBIC, _REDUCING_GAP)
    return np.array(image)


def digest(data: bytes, *, max_megapixels: float) -> str:
    """Name a picture by its upright pixels, whatever file they lie in: 32 hex digits.

    Pictures with transparent parts or more than 8 bits a channel have names of their own kind.

    Raises:
        PictureError: as ``decode``.
    """
    image = read(data, _WHOLE, max_megapixels).image
    title = f"{image.width} x {image.height} {depth(data)}"
    seen = hashlib.blake2b(title.encode(), digest_size=16)
    seen.update(image.tobytes())
    return seen.hexdigest()


def _sketch(image: Image.Image) -> bytes:
    from PIL import Image

    side = (SKETCH_SIDE, SKETCH_SIDE)
    small = image.resize(side, Image.Resampling.BOX, reducing_gap=_REDUCING_GAP)
    return small.convert("L").tobytes()


def _fit(image: Image.Image, size: int, fit: Fit) -> Image.Image:
    """Bring an RGB picture to size x size; see ``decode``."""
    from PIL import Image

    cubic = Image.Resampling.BICUBIC
    if fit == "pad":
        inner, corner = _padded(*image.size, size)
        square = Image.new("RGB", (size, size), _PAD_GREY)
        small = image.resize(inner, cubic, reducing_gap=_REDUCING_GAP)
        square.paste(small, corner)
        return square
    box = _centre(*image.size) if fit == "crop" else None
    return image.resize((size, size), cubic, box, reducing_gap=_REDUCING_GAP)


def _padded(width: int, height: int, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """How large a picture is inside a square that holds all of it, and its upper left corner."""
    scale = size / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    return inner, ((size - inner[0]) // 2, (size - inner[1]) // 2)


def _centre(width: int, height: int) -> tuple[float, float, float, float]:
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side
