"""Bytes of a picture file to upright RGB, whatever the file holds."""

from __future__ import annotations

import io
import logging
import math
import os
import re
import struct
import threading
import warnings
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from imgindex.errors import PictureError, PictureTooLargeError, SettingError
from imgindex.formats import RAW, RENDERED

from . import raw

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from imgindex.records import Box

SUFFIXES = RENDERED | RAW
"""Endings of the files that are read, lower-case with the dot; for some an extra is needed."""

# An allow-list: Pillow knows fifty more formats, whose parsers few people ever attacked or mended.
# MPO comes in through JPEG. AVIF stands before HEIF, since either may bear the brand "mif1" and
# only AVIF's reader refuses the other's files.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "PPM")
_PAGED = ("GIF", "WEBP", "PNG", "TIFF", "AVIF")
_DRAFTED = ("JPEG", "MPO")
_ALL_OF_IT = 1 << 30
_WHOLE = 1e-6  # of a pixel: what rounding adds to an edge between two pixels

_SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height
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

_NO_PICTURE = "not a picture, or of a format that is not read"
_BYTES_PER_PIXEL = 12  # the decoded picture, a converted copy and a turned one, 4 bytes each

_limit_lock = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Upright:
    """A decoded picture: RGB, oriented, perhaps smaller than ``width`` x ``height`` of its file.

    Where a box was asked for, ``image`` is what lies in it.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    taken: str | None


def read(data: bytes, least: int, max_megapixels: float, box: Box | None = None) -> Upright:
    """Decode to upright RGB, at least ``least`` pixels on both sides if the picture has them.

    Where there is a box, its part of the picture comes alone, and has them.
    """
    _prepare()
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise PictureError("empty file")
    _permit(max_megapixels)
    try:
        return _upright(data, least, max_megapixels, box)
    except (PictureError, SettingError):
        raise
    except UnidentifiedImageError as error:
        if _begins_like_a_picture(data):
            raise PictureError("truncated or damaged: its header cannot be read") from error
        raise PictureError(_NO_PICTURE) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(float(pixels[0]) if pixels else math.inf, max_megapixels) from error
    except MemoryError as error:
        raise PictureTooLargeError("too large for the free memory") from error
    except Exception as error:  # on hostile bytes Pillow raises nearly anything
        detail = " ".join(str(error).split())[:80] or type(error).__name__
        raise PictureError(f"truncated or damaged: {detail}") from error


def pages(data: bytes) -> int:
    """How many pictures a file shows: the frames of a moving one, the pages of a document.

    What cameras put beside their picture (smaller views, depth, a second eye's) does not count.
    """
    _prepare()
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as file:
            return int(getattr(file, "n_frames", 1)) if file.format in _PAGED else 1
    except Exception:  # noqa: BLE001 - on hostile bytes Pillow raises nearly anything
        return 1


def depth(data: bytes) -> str:
    """What a file holds beyond 8 bits of red, green and blue: a word for it, or nothing."""
    _prepare()
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as file:
            wide = file.mode == "F" or file.mode.startswith("I")
            return file.mode if wide else "alpha" * bool(file.has_transparency_data)
    except Exception:  # noqa: BLE001 - as above
        return ""


def recognise(data: bytes) -> None:
    """Look at the first bytes only, to refuse at once what cannot be read.

    Raises:
        PictureError: it does not begin like a picture.
    """
    _prepare()
    if not data:
        raise PictureError("it is empty")
    if not raw.kind(data) and not _begins_like_a_picture(data):
        raise PictureError(_NO_PICTURE)


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


@cache
def _prepare() -> None:
    """Load Pillow's readers of the formats on the list, and quieten them.

    Filters for warnings belong to the whole process: changing them around each call would let
    threads undo one another's changes. So Pillow's remarks on odd files are silenced once, here;
    what matters comes as an error. Its log would otherwise reach stderr as well.
    """
    import pi_heif
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

    pi_heif.register_heif_opener()
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())


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


def lacking() -> frozenset[str]:
    """Endings of files that would be read if an extra were installed."""
    return frozenset() if raw.installed() else RAW


def _upright(data: bytes, least: int, max_megapixels: float, box: Box | None) -> Upright:
    if kind := raw.kind(data):
        # A preview is small next to its picture: a part of it is taken from all of it.
        developed = _developed(data, kind, _ALL_OF_IT if box else least, max_megapixels)
        return replace(developed, image=_part(developed, box))
    image, width, height, name, orientation, taken = _stored(data, least, max_megapixels, box)
    image = _turned(image, orientation or 1)
    if orientation in _SIDEWAYS:
        width, height = height, width
    whole = Upright(image, width, height, name, taken)
    return replace(whole, image=_part(whole, box))


def _part(whole: Upright, box: Box | None) -> Image.Image:
    if box is None:
        return whole.image
    across, down = whole.image.width / whole.width, whole.image.height / whole.height
    left, upper, right, lower = box.on(whole.width, whole.height)
    # A box may be so thin, at the very edge, that rounding moves it out of the picture.
    left = min(math.floor(left * across + _WHOLE), whole.image.width - 1)
    upper = min(math.floor(upper * down + _WHOLE), whole.image.height - 1)
    right, lower = math.ceil(right * across - _WHOLE), math.ceil(lower * down - _WHOLE)
    return whole.image.crop((left, upper, max(right, left + 1), max(lower, upper + 1)))


def _developed(data: bytes, kind: str, least: int, max_megapixels: float) -> Upright:
    """The preview of a raw file, upright, with the sides of the whole picture."""
    from PIL import Image

    preview = raw.preview(data)
    orientation, taken = None, None
    if isinstance(preview.data, bytes):
        image, _, _, _, orientation, taken = _stored(preview.data, least, max_megapixels)
    else:
        height, width = preview.data.shape[:2]
        if width * height > max_megapixels * 1e6:
            raise _too_large(width * height, max_megapixels)
        image = Image.fromarray(preview.data).convert("RGB")
    width, height = preview.width, preview.height
    if preview.orientation in _SIDEWAYS:
        width, height = height, width
    # The preview's own word, else the raw file's; but some cameras store it upright already, and
    # what stands as the whole picture does is not turned on its side.
    for one in (orientation, preview.orientation):
        if one is not None and ((image.width < image.height) != (one in _SIDEWAYS)) == (
            width < height
        ):
            image = _turned(image, one)
            break
    return Upright(image, width, height, kind, taken or preview.taken)


def _stored(
    data: bytes, least: int, max_megapixels: float, box: Box | None = None
) -> tuple[Image.Image, int, int, str, int | None, str | None]:
    """Decode to RGB as it lies in the file: the picture, its sides, format, orientation, time."""
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=_FORMATS) as file:
        width, height = file.size
        if width * height > max_megapixels * 1e6:
            raise _too_large(width * height, max_megapixels)
        if file.format in _DRAFTED:
            file.draft(None, _draft(file, least, box))
        file.load()
        orientation, taken = _exif(file)
        return _rgb(file), width, height, file.format or "", orientation, taken


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    from PIL import Image

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
    return image if turn is None else image.transpose(turn)


def _draft(file: Image.Image, least: int, box: Box | None) -> tuple[int, int]:
    """The size to decode at, at the least: so that the box has ``least`` pixels on both sides."""
    if box is None:
        return least, least
    width, height = file.size
    turned = _exif(file)[0] in _SIDEWAYS
    left, upper, right, lower = box.on(*((height, width) if turned else (width, height)))
    share = min(1.0, least / max(min(right - left, lower - upper), _WHOLE))
    return math.ceil(width * share), math.ceil(height * share)


def _exif(image: Image.Image) -> tuple[int | None, str | None]:
    """The orientation, 1..8, and when the picture was taken; whatever of it can be read.

    The readers of TIFF and HEIF turn the picture themselves and leave no orientation behind.
    """
    orientation: int | None = None
    taken = None
    try:
        exif = image.getexif()
        if _ORIENTATION in exif:
            orientation = int(exif[_ORIENTATION])
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
        with np.errstate(invalid="ignore"):  # signalling NaN
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
