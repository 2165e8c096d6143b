"""Bytes of a picture file to pixels, and pixels to thumbnails: the one door to Pillow.

Pillow, its HEIF plugin and numpy are loaded by the functions that need them and not with this
module: commands that only walk folders or ask for ``SUFFIXES`` start in a third of the time.
"""

from __future__ import annotations

import io
import logging
import math
import os
import re
import struct
import threading
import warnings
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, get_args

from .errors import PictureError, PictureTooLargeError, SettingError
from .records import Fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image, ImageDraw, ImageFont

    from .records import Pixels

VERSION = 1
"""Of the preprocessing; raised whenever the same bytes would give other pixels than before."""

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib"),
        *(".tif", ".tiff", ".avif", ".heic", ".heif", ".hif", ".ppm", ".pgm", ".pbm", ".pnm"),
    )
)
"""Endings of the files that are read, lower-case with the dot."""

# An allow-list: Pillow knows fifty more formats, whose parsers few people ever attacked or mended.
# MPO comes in through JPEG. AVIF stands before HEIF, since either may bear the brand "mif1" and
# only AVIF's reader refuses the other's files.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "PPM")
_DRAFTED = ("JPEG", "MPO")

_ORIENTATION, _DATE_TIME, _EXIF_IFD, _DATE_TIME_ORIGINAL = 0x0112, 0x0132, 0x8769, 0x9003
_DATE = re.compile(r"(\d{4})\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)", re.ASCII)
_BROKEN_EXIF = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    AttributeError,
    struct.error,
)

_PAD_GREY = (128, 128, 128)
_REDUCING_GAP = 3.0  # from here on Pillow's two-step resizing cannot be told from one step
_BYTES_PER_PIXEL = 12  # the decoded picture, a converted copy and a turned one, 4 bytes each

_limit_lock = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A picture ready for the network, and what its file says of it.

    Attributes:
        pixels: uint8 [s, s, 3], RGB, C-contiguous.
        width: of the whole picture in pixels, after orientation.
        height: of the whole picture in pixels, after orientation.
        format: Pillow's name of the format, for example ``JPEG``.
        taken: when it was taken by the camera's clock, ISO 8601 without a zone, or None.
    """

    pixels: Pixels
    width: int
    height: int
    format: str
    taken: str | None


def decode(data: bytes, *, size: int, fit: Fit, max_megapixels: float) -> Decoded:
    """Decode a picture file to a square of pixels.

    The first frame of a moving picture and the first page of a document count. Transparent parts
    lie on white; 16-bit values keep their upper 8 bits; the EXIF orientation is applied. Colours
    are taken as sRGB. JPEG files are decoded at an eighth, a quarter or half of their size where
    that leaves both sides at least ``2 * size`` long.

    Args:
        data: the file's bytes.
        size: side s of the square.
        fit: ``squash`` both sides to s, ``crop`` the centre square, or ``pad`` with grey 128.
        max_megapixels: the largest picture to decode, in millions of pixels.

    Raises:
        PictureError: the bytes are not a picture that is read, are damaged, or are too large.
        SettingError: ``size`` or ``fit`` is not possible.
    """
    import numpy as np

    if size < 1:
        raise SettingError(f"size must be at least 1 pixel, not {size}")
    if fit not in get_args(Fit):
        raise SettingError(f"fit must be one of {', '.join(get_args(Fit))}, not {fit!r}")
    upright = _read(data, 2 * size, max_megapixels)
    pixels = np.array(_fit(upright.image, size, fit))
    return Decoded(pixels, upright.width, upright.height, upright.format, upright.taken)


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
    image = _read(data, side, max_megapixels).image
    image.thumbnail((side, side), Image.Resampling.BICUBIC, _REDUCING_GAP)
    image.info = {}  # Pillow would write the comment, and where the picture was taken, from here
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80, optimize=True)
    return file.getvalue()


def montage(tiles: Sequence[tuple[bytes, str]], columns: int, side: int, title: str) -> bytes:
    """Draw a contact sheet.

    Args:
        tiles: picture files (best: thumbnails) with their captions, row by row.
        columns: tiles in a row.
        side: longest side of a drawn picture in pixels.
        title: the headline; empty for none.

    Returns:
        A PNG file.

    Raises:
        PictureError: a tile is not a picture.
        SettingError: ``columns`` or ``side`` is below 1.
    """
    from PIL import Image, ImageDraw, ImageFont

    if columns < 1 or side < 1:
        raise SettingError(f"columns and side must be at least 1, not {columns} and {side}")
    gap = max(8, side // 12)
    caption = ImageFont.load_default(max(11, side // 13))
    headline = ImageFont.load_default(max(16, side // 8))
    under, over = _line_height(caption) + gap // 2, _line_height(headline) + gap if title else 0
    columns = min(columns, max(1, len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    step_x, step_y = side + gap, side + under + gap
    sheet = Image.new("RGB", (step_x * columns + gap, max(1, over + step_y * rows + gap)), "white")
    draw = ImageDraw.Draw(sheet)
    if title:
        text = _ellipsised(draw, title, headline, sheet.width - 2 * gap)
        draw.text((gap, gap), text, "#202124", headline)
    for index, (data, name) in enumerate(tiles):
        left, top = gap + index % columns * step_x, over + gap + index // columns * step_y
        cell = (left, top, left + side - 1, top + side - 1)
        draw.rectangle(cell, "#f1f3f4")
        image = _read(data, side, default_max_megapixels()).image
        image.thumbnail((side, side), Image.Resampling.BICUBIC)
        sheet.paste(image, (left + (side - image.width) // 2, top + (side - image.height) // 2))
        text = _ellipsised(draw, name, caption, side)
        middle = left + (side - draw.textlength(text, caption)) / 2
        draw.text((middle, top + side + gap // 3), text, "#3c4043", caption)
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def chart(
    size: tuple[int, int],
    dots: tuple[float, Sequence[tuple[float, float, str]]],
    tiles: Sequence[tuple[bytes, float, float, str]],
    side: int,
    names: Sequence[tuple[str, float, float, str]],
) -> bytes:
    """Draw dots, framed pictures over them, and names over all.

    Args:
        size: width and height in pixels.
        dots: their radius, and for each x, y and a colour.
        tiles: picture files (best: thumbnails), x and y of their middle, the colour of the frame.
        side: longest side of a tile in pixels.
        names: texts, x of their middle, y of their top, their colour; those that would hide an
            earlier one are left out.

    Returns:
        A PNG file.

    Raises:
        PictureError: a tile is not a picture.
    """
    from PIL import Image, ImageDraw, ImageFont

    sheet = Image.new("RGB", size, "white")
    radius, points = dots
    edge = 2 * math.ceil(radius) + 1
    stamp = Image.new("L", (8 * edge, 8 * edge))  # drawn large, so that its rim comes out smooth
    ImageDraw.Draw(stamp).circle((4 * edge, 4 * edge), 8 * radius, 255)
    stamp = stamp.resize((edge, edge), Image.Resampling.BOX)
    for x, y, colour in points:
        sheet.paste(colour, (round(x) - edge // 2, round(y) - edge // 2), stamp)
    draw = ImageDraw.Draw(sheet)
    frame = max(2, side // 24)
    for data, x, y, colour in tiles:
        image = _read(data, side, default_max_megapixels()).image
        image.thumbnail((side - 2 * frame, side - 2 * frame), Image.Resampling.BICUBIC)
        left, top = round(x - image.width / 2), round(y - image.height / 2)
        right, bottom = left + image.width + frame - 1, top + image.height + frame - 1
        draw.rectangle((left - frame, top - frame, right, bottom), colour)
        sheet.paste(image, (left, top))
    font = ImageFont.load_default(max(12, size[0] // 110))
    drawn: list[tuple[float, float, float, float]] = []
    for name, x, y, colour in names:
        text = _ellipsised(draw, name, font, size[0] / 6)
        box = draw.textbbox((x, y), text, font, "ma", stroke_width=3)
        if all(box[2] < a or c < box[0] or box[3] < b or d < box[1] for a, b, c, d in drawn):
            draw.text((x, y), text, colour, font, "ma", stroke_width=3, stroke_fill="white")
            drawn.append(box)
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def default_max_megapixels() -> float:
    """Choose the largest picture to decode from the machine's memory, in millions of pixels.

    A quarter of the memory is shared by as many decoding threads as there are processors.

    Returns:
        A whole number between 64 and 1000; 178 (where Pillow by itself gives up) if the memory's
        size cannot be told.
    """
    bytes_here = memory()
    if bytes_here is None:
        return 178.0
    share = bytes_here / 4 / (os.cpu_count() or 1)
    return float(min(max(share // (_BYTES_PER_PIXEL * 1_000_000), 64), 1000))


def memory() -> int | None:
    """The machine's memory in bytes; None where the system does not tell (Windows)."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


@dataclass(frozen=True, slots=True, eq=False)
class _Upright:
    image: Image.Image  # RGB, oriented, perhaps smaller than the picture
    width: int
    height: int
    format: str
    taken: str | None


@cache
def _prepare() -> None:
    """Load Pillow's readers of the formats on the list, and quieten them.

    Filters for warnings belong to the whole process: changing them around each call would let
    threads undo one another's changes. So Pillow's remarks on odd files are silenced once, here;
    what matters comes as an error. Its log would otherwise reach stderr as well.
    """
    import pillow_heif
    from PIL import (  # noqa: F401 - importing a plugin registers its format
        AvifImagePlugin,
        BmpImagePlugin,
        GifImagePlugin,
        JpegImagePlugin,
        MpoImagePlugin,
        PngImagePlugin,
        PpmImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    pillow_heif.register_heif_opener()
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())


def _read(data: bytes, least: int, max_megapixels: float) -> _Upright:
    """Decode to upright RGB, at least ``least`` pixels on both sides if the picture has them."""
    _prepare()
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise PictureError("empty file")
    _permit(max_megapixels)
    try:
        return _upright(data, least, max_megapixels)
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        if _begins_like_a_picture(data):
            raise PictureError("truncated or damaged: its header cannot be read") from error
        raise PictureError("not a picture, or of a format that is not read") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(float(pixels[0]) if pixels else math.inf, max_megapixels) from error
    except MemoryError as error:
        raise PictureTooLargeError("too large for the free memory") from error
    except Exception as error:  # on hostile bytes Pillow raises nearly anything
        detail = " ".join(str(error).split())[:80] or type(error).__name__
        raise PictureError(f"truncated or damaged: {detail}") from error


def _begins_like_a_picture(data: bytes) -> bool:
    from PIL import Image

    start = data[:16].ljust(16, b"\0")
    tests = (Image.OPEN[name][1] for name in _FORMATS)
    return any(test is not None and test(start) is True for test in tests)


def _permit(max_megapixels: float) -> None:
    """Raise Pillow's own limit, which is global, where it is below the one asked for.

    Only as far as needed: it goes on guarding whatever else uses Pillow in this process.
    """
    from PIL import Image

    with _limit_lock:
        if Image.MAX_IMAGE_PIXELS is not None and max_megapixels * 1e6 > Image.MAX_IMAGE_PIXELS:
            Image.MAX_IMAGE_PIXELS = math.ceil(min(max_megapixels * 1e6, 2.0**62))


def _too_large(pixels: float, max_megapixels: float) -> PictureTooLargeError:
    return PictureTooLargeError(
        f"{math.ceil(pixels / 1e6)} megapixels, over the limit of {max_megapixels:g};"
        " raise it with --max-megapixels"
    )


def _upright(data: bytes, least: int, max_megapixels: float) -> _Upright:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=_FORMATS) as file:
        width, height = file.size
        if width * height > max_megapixels * 1e6:
            raise _too_large(width * height, max_megapixels)
        if file.format in _DRAFTED:
            file.draft(None, (least, least))
        file.load()
        orientation, taken = _exif(file)
        image = _rgb(file)
        name = file.format or ""
    flip = Image.Transpose
    turn = {
        2: flip.FLIP_LEFT_RIGHT,
        3: flip.ROTATE_180,
        4: flip.FLIP_TOP_BOTTOM,
        5: flip.TRANSPOSE,
        6: flip.ROTATE_270,
        7: flip.TRANSVERSE,
        8: flip.ROTATE_90,
    }.get(orientation)
    if turn is not None:
        image = image.transpose(turn)
        if turn in (flip.TRANSPOSE, flip.ROTATE_270, flip.TRANSVERSE, flip.ROTATE_90):
            width, height = height, width
    return _Upright(image, width, height, name, taken)


def _exif(image: Image.Image) -> tuple[int, str | None]:
    """The orientation, 1..8, and when the picture was taken; whatever of it can be read.

    The readers of TIFF and HEIF turn the picture themselves and leave no orientation behind.
    """
    orientation, taken = 1, None
    try:
        exif = image.getexif()
        orientation = int(exif.get(_ORIENTATION, 1))
        taken = _iso(exif.get(_DATE_TIME))
        taken = _iso(exif.get_ifd(_EXIF_IFD).get(_DATE_TIME_ORIGINAL)) or taken
    except _BROKEN_EXIF:
        pass  # damaged notes are no reason to lose the picture
    return orientation, taken


def _iso(date: object) -> str | None:
    match = _DATE.match(date) if isinstance(date, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        moment = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - EXIF names none
    except ValueError:
        return None
    return moment.isoformat()


def _rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_grey(image)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    paper = Image.new("RGB", layer.size, "white")
    paper.paste(layer, mask=layer)
    return paper


def _grey(image: Image.Image) -> NDArray[np.uint8]:
    """Bring wide grey values (modes I;16, I and F) to 8 bits, uint8 [h, w].

    16-bit values keep their upper 8 bits. What 32-bit integers and floats mean is not said in the
    file: the full scale is the smallest of 1 (floats only), 2^8-1, 2^16-1 and 2^31-1 that holds
    the largest value. Negative values and NaN are black, infinity is white.
    """
    import numpy as np

    values = np.asarray(image)
    if values.dtype.kind == "f":
        finite = values[np.isfinite(values)]
        peak = float(finite.max(initial=0.0))
        full = next((full for full in (1.0, 255.0, 65535.0) if peak <= full), peak)
        scaled = np.nan_to_num(values / np.float32(full), nan=0.0, posinf=1.0, neginf=0.0)
        return np.rint(np.clip(scaled, 0.0, 1.0) * 255).astype(np.uint8)
    bits = 16
    if values.dtype.itemsize > 2:  # noqa: PLR2004 - bytes; mode I
        # Pillow hands the 16-bit values of a PGM file over in 32 bits.
        widths = (16,) if image.format == "PPM" else (8, 16, 31)
        peak = int(values.max(initial=0))
        bits = next((bits for bits in widths if peak < 1 << bits), 31)
    wide: NDArray[np.uint8] = (np.maximum(values, 0) >> (bits - 8)).astype(np.uint8)
    return wide


def _fit(image: Image.Image, size: int, fit: Fit) -> Image.Image:
    """Bring an RGB picture to size x size; see ``decode``."""
    from PIL import Image

    width, height = image.size
    cubic = Image.Resampling.BICUBIC
    if fit == "pad":
        scale = size / max(width, height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        square = Image.new("RGB", (size, size), _PAD_GREY)
        small = image.resize(inner, cubic, reducing_gap=_REDUCING_GAP)
        square.paste(small, ((size - inner[0]) // 2, (size - inner[1]) // 2))
        return square
    box = None
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    return image.resize((size, size), cubic, box, reducing_gap=_REDUCING_GAP)


def _line_height(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return math.ceil(font.getbbox("Ålgy")[3])


def _ellipsised(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: float,
) -> str:
    """Shorten a line to a width in pixels, by an ellipsis at its end."""
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"
