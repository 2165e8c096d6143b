"""Picture files of every kind, made on the spot."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pillow_heif  # it writes what the package only reads
from PIL import Image, ImageCms, ImageOps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

pillow_heif.register_heif_opener()
HEIF_WRITABLE = bool(pillow_heif.libheif_info()["HEIF"])

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 200, 40), (30, 50, 210), (240, 220, 20)


def quadrants(
    width: int = 64,
    height: int = 48,
    colours: Iterable[tuple[int, int, int]] = (RED, GREEN, BLUE, YELLOW),
) -> Image.Image:
    """Four plain quarters: top left, top right, bottom left, bottom right."""
    image = Image.new("RGB", (width, height))
    for index, colour in enumerate(colours):
        x, y = index % 2, index // 2
        left, top = x * (width // 2), y * (height // 2)
        right, bottom = (width, height) if (x, y) == (1, 1) else (left + width, top + height)
        image.paste(colour, (left, top, right, bottom))
    return image


def scene(seed: int, width: int = 96, height: int = 72) -> Image.Image:
    """A smooth picture of coloured waves, another one for every seed."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    waves = np.zeros((height, width, 3))
    for _ in range(4):
        u, v = random.uniform(-12, 12, 2)
        waves += np.sin(u * x + v * y + random.uniform(0, 6))[..., None] * random.normal(size=3)
    waves = (waves - waves.min()) / np.ptp(waves)
    return Image.fromarray((waves * 255).astype(np.uint8))


def weave(slant: int, width: int, height: int) -> Image.Image:
    """Coloured stripes by whole numbers alone, so that every machine makes the very same."""
    y, x = np.mgrid[0:height, 0:width]
    bands = [np.abs((slant * x + step * y) % 510 - 255) for step in (3, 7, 11)]
    return Image.fromarray(np.stack(bands, axis=2).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A file of Pillow's format ``kind``."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(image: Image.Image | None = None, **options: Any) -> bytes:
    return encode(image or quadrants(), "JPEG", **{"quality": 95, "subsampling": 0} | options)


def png(image: Image.Image | None = None, **options: Any) -> bytes:
    return encode(image or quadrants(), "PNG", **options)


def exif(orientation: int = 1, taken: str | None = None, written: str | None = None) -> bytes:
    """EXIF notes: orientation, DateTimeOriginal, DateTime."""
    notes = Image.Exif()
    notes[0x0112] = orientation
    if written is not None:
        notes[0x0132] = written
    if taken is not None:
        notes.get_ifd(0x8769)[0x9003] = taken
    return notes.tobytes()


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """What a camera stores so that a viewer heeding ``orientation`` shows ``image``."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return image.transpose(undo[orientation]) if orientation in undo else image


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def raw_png(width: int, height: int, depth: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    """A PNG file by hand; ``rows`` are the unfiltered bytes, each row led by a zero.

    Args:
        width: pixels, as the header claims.
        height: pixels, as the header claims.
        depth: bits of a sample.
        colour: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha.
        rows: the pixels.
        more: chunks between header and pixels.
    """
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + pixels + png_chunk(b"IEND", b"")


def wide_png(values: NDArray[np.uint16], *more: bytes) -> bytes:
    """A 16-bit PNG file: ``values`` [h, w] grey or [h, w, 3] RGB."""
    height, width = values.shape[:2]
    lines = values.astype(">u2").reshape(height, -1)
    rows = b"".join(b"\0" + line.tobytes() for line in lines)
    return raw_png(width, height, 16, 0 if values.ndim == 2 else 2, rows, *more)


def bomb_png(width: int = 100_000, height: int = 100_000) -> bytes:
    """A PNG file of some hundred bytes whose header claims a huge picture."""
    return raw_png(width, height, 8, 2, b"\0" * 64)


def ycck_jpeg(image: Image.Image) -> bytes:
    """An Adobe YCCK file, as Photoshop writes them: inverted CMYK, stored as YCbCr and K."""
    bands = [ImageOps.invert(band) for band in ImageOps.invert(image).convert("YCbCr").split()]
    data = jpeg(Image.merge("CMYK", [*bands, Image.new("L", image.size, 0)]))
    marker = data.index(b"Adobe")
    return data[: marker + 11] + b"\x02" + data[marker + 12 :]


def lab_tiff(image: Image.Image) -> bytes:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    if converted is None:
        raise AssertionError("no picture came back")
    return encode(converted, "TIFF")


def every_format(image: Image.Image) -> dict[str, bytes]:
    """One colour file of every format, by a name for test reports."""
    files = {
        "jpeg": jpeg(image),
        "progressive": jpeg(image, progressive=True),
        "mpo": encode(image, "MPO", save_all=True, append_images=[image], quality=95),
        "png": png(image),
        "apng": png(image, save_all=True, append_images=[ImageOps.invert(image)]),
        "webp": encode(image, "WEBP", lossless=True),
        "webp-moving": encode(
            image, "WEBP", lossless=True, save_all=True, append_images=[ImageOps.invert(image)]
        ),
        "gif": encode(image, "GIF"),
        "gif-moving": encode(image, "GIF", save_all=True, append_images=[ImageOps.invert(image)]),
        "bmp": encode(image, "BMP"),
        "dib": encode(image, "DIB"),
        "tiff": encode(image, "TIFF"),
        "tiff-lzw": encode(image, "TIFF", compression="tiff_lzw"),
        "tiff-pages": encode(image, "TIFF", save_all=True, append_images=[ImageOps.invert(image)]),
        "avif": encode(image, "AVIF", quality=95, subsampling="4:4:4"),
        "ppm": encode(image, "PPM"),
    }
    if HEIF_WRITABLE:
        files["heif"] = encode(image, "HEIF", quality=95, chroma=444)
    return files


def dng(
    preview: bytes,
    *,
    sides: tuple[int, int] = (96, 64),
    orientation: int = 1,
    preview_sides: tuple[int, int] = (64, 48),
    order: str = "<",
) -> bytes:
    """The least DNG that LibRaw opens: a JPEG preview, and grey light behind a Bayer filter."""
    width, height = sides
    light = struct.pack(f"{order}H", 512) * width * height
    unity = [(int(at % 4 == 0), 1) for at in range(9)]
    shown: dict[int, tuple[str, Any]] = {
        254: ("I", [1]),  # a reduced picture
        256: ("I", [preview_sides[0]]),
        257: ("I", [preview_sides[1]]),
        258: ("H", [8, 8, 8]),
        259: ("H", [7]),
        262: ("H", [6]),
        271: ("s", b"Maker\0"),
        272: ("s", b"Camera\0"),
        273: ("I", [0]),
        274: ("H", [orientation]),
        277: ("H", [3]),
        279: ("I", [len(preview)]),
        284: ("H", [1]),
        306: ("s", b"2021:03:04 05:06:07\0"),
        330: ("I", [0]),
        50706: ("B", [1, 4, 0, 0]),
        50707: ("B", [1, 1, 0, 0]),
        50708: ("s", b"Camera\0"),
        50721: ("i", unity),
        50728: ("R", [(1, 1)] * 3),
        50778: ("H", [21]),
    }
    sensor: dict[int, tuple[str, Any]] = {
        254: ("I", [0]),
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [16]),
        259: ("H", [1]),
        262: ("H", [32803]),
        273: ("I", [0]),
        277: ("H", [1]),
        278: ("I", [height]),
        279: ("I", [len(light)]),
        284: ("H", [1]),
        33421: ("H", [2, 2]),
        33422: ("B", [0, 1, 1, 2]),
        50717: ("I", [1023]),
    }
    behind = 8 + len(_table(shown, 8, order))
    after = behind + len(_table(sensor, behind, order))
    shown |= {330: ("I", [behind]), 273: ("I", [after])}
    sensor[273] = ("I", [after + len(preview)])
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + _table(shown, 8, order) + _table(sensor, behind, order) + preview + light


def _table(fields: dict[int, tuple[str, Any]], at: int, order: str) -> bytes:
    """A table of TIFF's that lies at some place, with what its fields refer to behind it."""
    kinds = {"B": 1, "s": 2, "H": 3, "I": 4, "R": 5, "i": 10}
    head = struct.pack(f"{order}H", len(fields))
    body = b""
    for tag, (kind, values) in sorted(fields.items()):
        if kind == "s":
            data = bytes(values)
        elif kind in "Ri":
            code = "II" if kind == "R" else "ii"
            data = b"".join(struct.pack(order + code, *pair) for pair in values)
        else:
            data = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(data) > 4:
            place = at + 2 + 12 * len(fields) + 4 + len(body)
            body += data + bytes(len(data) % 2)
            data = struct.pack(f"{order}I", place)
        head += struct.pack(f"{order}HHI", tag, kinds[kind], len(values)) + data.ljust(4, b"\0")
    return head + bytes(4) + body
