"""Hostile picture files: whole ones of every format, and what can be done to them.

An input is a pure function of seed, format and number, so that one that did harm is made again.
"""

from __future__ import annotations

import random
import re
import struct
import sys
import zlib
from functools import cache
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))  # where files of every kind are made

import numpy as np
import pictures
from PIL import Image

WIDTH, HEIGHT = 53, 37  # of the whole files; rare as bytes, so that headers can be found by them
_EDGES = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_SIDES = (0, 1, 3, 4097, 16_383, 20_000, 32_768, 65_535, 65_536, 1 << 24, 0x7FFFFFFF, 0xFFFFFFFF)
_STARTS = {
    "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0",
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "webp": b"RIFF\x40\0\0\0WEBPVP8 ",
    "gif": b"GIF89a\x20\0\x20\0\xf7\0\0",
    "bmp": b"BM\x40\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
    "dib": b"\x28\0\0\0",
    "tiff": b"II*\0\x08\0\0\0",
    "avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
    "heif": b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf",
    "ppm": b"P6\n",
    "raw": b"FUJIFILMCCD-RAW 0201",
}
FORMATS = tuple(_STARTS)
_BOXES = (
    *(b"ispe", b"iloc", b"iinf", b"ipma", b"av1C", b"hvcC", b"pixi", b"iprp", b"ipco", b"iref"),
    *(b"grid", b"meta", b"stsz", b"stco", b"stts", b"moov", b"trak", b"colr", b"auxC", b"mdat"),
)


def make(seed: int, kind: str, number: int) -> bytes:
    """The input of this number; the first ones are the whole files themselves."""
    whole = wholes(kind)
    if number < len(whole):
        return whole[number]
    chance = random.Random(f"{seed}/{kind}/{number}")  # noqa: S311 - damage, not secrets
    if chance.random() < 0.03:  # noqa: PLR2004 - hardly anything of it gets past the header
        return _STARTS[kind] + chance.randbytes(chance.randrange(400))
    data = bytearray(chance.choice(whole))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        data = chance.choice(_WAYS)(chance, kind, data)
    return bytes(data)


def wholes(kind: str) -> tuple[bytes, ...]:
    """Files that decode, small and of as many kinds inside as the format has."""
    return _wholes().get(kind, ())


@cache
def _wholes() -> dict[str, tuple[bytes, ...]]:
    image = pictures.scene(3, WIDTH, HEIGHT)
    every = pictures.every_format(image)
    files = {
        "jpeg": [*_jpegs(image), every["mpo"]],
        "png": [every["apng"], *_pngs(image)],
        "webp": [
            every["webp"],
            every["webp-moving"],
            pictures.encode(
                image, "WEBP", quality=70, exif=pictures.exif(6, "2020:01:01 10:00:00")
            ),
            pictures.encode(_clear(image), "WEBP", quality=60),
        ],
        "gif": [
            every["gif"],
            every["gif-moving"],
            pictures.encode(image.convert("P"), "GIF", interlace=1, transparency=3),
        ],
        "bmp": [pictures.encode(image.convert(mode), "BMP") for mode in ("RGB", "L", "P", "1")]
        + [pictures.encode(_clear(image), "BMP"), _run_length_bmp()],
        "dib": [every["dib"], pictures.encode(image.convert("P"), "DIB")],
        "tiff": [*_tiffs(image), every["tiff-pages"], _lab(image)],
        "avif": [
            every["avif"],
            pictures.encode(_clear(image), "AVIF", quality=50),
            _moving_avif(image),
        ],
        "ppm": [pictures.encode(image.convert(mode), "PPM") for mode in ("RGB", "L", "1")]
        + [b"P3\n53 37\n255\n" + b"1 2 3 " * WIDTH * HEIGHT]
        + [b"P5\n53 37\n65535\n" + bytes(2 * WIDTH * HEIGHT)],
        "raw": [
            pictures.dng(pictures.jpeg(image), sides=(WIDTH, HEIGHT), order=order) for order in "<>"
        ],
    }
    if pictures.HEIF_WRITABLE:
        files["heif"] = [every["heif"], pictures.encode(_clear(image), "HEIF", quality=50)]
    return {kind: tuple(those) for kind, those in files.items()}


def _jpegs(image: Image.Image) -> list[bytes]:
    notes = pictures.exif(6, "2020:01:01 10:00:00", "2020:01:01 10:00:00")
    return [
        pictures.jpeg(image, exif=notes, icc_profile=bytes(200)),
        pictures.jpeg(image, progressive=True, subsampling=2),
        pictures.jpeg(image.convert("L"), quality=40, restart_marker_blocks=1),
        pictures.jpeg(image.convert("CMYK")),
        pictures.ycck_jpeg(image),
    ]


def _pngs(image: Image.Image) -> list[bytes]:
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    notes = pictures.png_chunk(b"tEXt", b"Comment\0" + bytes(range(1, 100)))
    squeezed = pictures.png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000)))
    return [
        pictures.png(image, exif=pictures.exif(3)),
        pictures.png(_clear(image)),
        pictures.png(image.convert("P"), transparency=3),
        pictures.png(image.convert("LA")),
        pictures.png(image.convert("1")),
        pictures.wide_png(grey, notes, squeezed),
        # Interlaced: passes of a picture this small are cut short, and filled.
        pictures.raw_png(WIDTH, HEIGHT, 8, 2, bytes(4 * WIDTH * HEIGHT)).replace(
            struct.pack(">BBBBB", 8, 2, 0, 0, 0), struct.pack(">BBBBB", 8, 2, 0, 0, 1), 1
        ),
    ]


def _tiffs(image: Image.Image) -> list[bytes]:
    ways = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    files = [pictures.encode(image, "TIFF", compression=way) for way in ways]
    bits = image.convert("1")
    files += [pictures.encode(bits, "TIFF", compression=way) for way in ("group3", "group4")]
    grey = image.convert("L")
    return [
        *files,
        pictures.encode(_clear(image), "TIFF"),
        pictures.encode(image.convert("CMYK"), "TIFF"),
        pictures.encode(grey.convert("F"), "TIFF"),
        pictures.encode(grey.convert("I"), "TIFF"),
        pictures.encode(grey.convert("I;16"), "TIFF"),
        pictures.encode(image, "TIFF", big_tiff=True),
    ]


def _lab(image: Image.Image) -> bytes:
    return pictures.encode(Image.frombytes("LAB", image.size, image.tobytes()), "TIFF")


def _moving_avif(image: Image.Image) -> bytes:
    """Of two pictures, without the time at which it was made."""
    data = pictures.encode(image, "AVIF", save_all=True, append_images=[image.rotate(180)])
    return re.sub(rb"(?s)((?:mvhd|tkhd|mdhd)\x01...).{16}", rb"\g<1>" + bytes(16), data)


def _clear(image: Image.Image) -> Image.Image:
    """The picture with a transparent corner."""
    layer = image.convert("RGBA")
    layer.putalpha(image.convert("L"))
    return layer


def _run_length_bmp() -> bytes:
    """A BMP file in runs, which Pillow reads and does not write."""
    runs = b"".join(bytes((WIDTH, row)) + b"\0\0" for row in range(HEIGHT)) + b"\0\1"
    palette = b"".join(bytes((i, i, i, 0)) for i in range(256))
    at = 14 + 40 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", at + len(runs), 0, 0, at)
    shape = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return head + shape + palette + runs


def _bytes(chance: random.Random, _kind: str, data: bytearray) -> bytearray:
    """Some bytes are others, more of them near the beginning."""
    for _ in range(chance.choice((1, 2, 4, 16))):
        if data:
            reach = chance.choice((64, 512, len(data)))
            byte = chance.choice((0, 1, 127, 128, 255, *chance.randbytes(5)))
            data[chance.randrange(min(reach, len(data)))] = byte
    return data


def _number(chance: random.Random, _kind: str, data: bytearray) -> bytearray:
    """A number of two or four bytes is an extreme one."""
    order, code = chance.choice("<>"), chance.choice("HI")
    size = struct.calcsize(code)
    if len(data) > size:
        at = chance.randrange(min(chance.choice((64, 512, len(data))), len(data) - size))
        struct.pack_into(order + code, data, at, chance.choice(_EDGES) % (1 << 8 * size))
    return data


def _sides(chance: random.Random, _kind: str, data: bytearray) -> bytearray:
    """What looks like a side of the picture is another: it may be a bomb."""
    for side in (WIDTH, HEIGHT):
        forms = [struct.pack(order + code, side) for order in "<>" for code in "HI"]
        forms += [struct.pack(order + code, side - 1) for order in "<>" for code in "H"]  # WebP
        forms += [str(side).encode()]
        there = [form for form in forms if form in data]
        if there and chance.random() < 0.8:  # noqa: PLR2004 - or of one side only
            old = chance.choice(there)
            value = chance.choice(_SIDES)
            if old.isdigit():
                new = str(value).encode()
            else:
                order = "<" if old[0] else ">"
                new = (value % (1 << 8 * len(old))).to_bytes(
                    len(old), "little" if order == "<" else "big"
                )
            data = data.replace(old, new, chance.choice((1, 1, -1)))
    return data


def _cut(chance: random.Random, _kind: str, data: bytearray) -> bytearray:
    """The end is missing."""
    return data[: chance.randrange(len(data) + 1)]


def _block(chance: random.Random, _kind: str, data: bytearray) -> bytearray:
    """A block is missing, comes many times, or lies elsewhere."""
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + chance.choice((1, 4, 12, 64, 512)))
    block, rest = data[start:end], data[:start] + data[end:]
    way = chance.randrange(3)
    if way == 0:
        return rest
    if way == 1:
        return data[:end] + block * chance.choice((1, 2, 20)) + data[end:]
    at = chance.randrange(len(rest) + 1)
    return rest[:at] + block + rest[at:]


def _spliced(chance: random.Random, kind: str, data: bytearray) -> bytearray:
    """The end is of another file, now and then of another format."""
    other = wholes(kind if chance.random() < 0.8 else chance.choice(FORMATS)) or (b"",)  # noqa: PLR2004 - mostly its own
    end = chance.choice(other)
    return data[: chance.randrange(len(data) + 1)] + end[chance.randrange(len(end) + 1) :]


def _structure(chance: random.Random, kind: str, data: bytearray) -> bytearray:
    """Damage inside a part whose checksum or length stays right, so that it is believed."""
    if kind == "png":
        return _png_chunk(chance, data)
    if kind in {"avif", "heif"}:
        return _box(chance, data)
    if kind == "jpeg":
        return _segment(chance, data)
    if kind in {"tiff", "raw"}:
        return _tag(chance, data)
    return _number(chance, kind, data)


def _png_chunk(chance: random.Random, data: bytearray) -> bytearray:
    chunks, at = list[tuple[bytes, bytearray]](), 8
    while at + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.append((bytes(data[at + 4 : at + 8]), data[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks:
        return data
    at = chance.randrange(len(chunks))
    name, body = chunks[at]
    if name == b"IDAT" and chance.random() < 0.5:  # noqa: PLR2004 - inside the packed rows
        try:
            body = bytearray(zlib.compress(_bytes(chance, "", bytearray(zlib.decompress(body)))))
        except zlib.error:
            body = _bytes(chance, "", body)
    else:
        body = chance.choice((_bytes, _number, _block))(chance, "", body)
    chunks[at] = (name, body)
    if chance.random() < 0.2:  # noqa: PLR2004 - now and then a chunk more
        chunks.insert(chance.randrange(len(chunks)), chance.choice(chunks))
    return data[:8] + b"".join(pictures.png_chunk(name, bytes(body)) for name, body in chunks)


def _segment(chance: random.Random, data: bytearray) -> bytearray:
    """Damage to a table or header of a JPEG file, all its lengths staying right."""
    places, at = list[tuple[int, int]](), 2
    while at + 4 <= len(data) and data[at] == 0xFF:  # noqa: PLR2004 - a marker
        (size,) = struct.unpack_from(">H", data, at + 2)
        places.append((at + 4, min(at + 2 + size, len(data))))
        at += 2 + size
    if places:
        start, end = chance.choice(places)
        if end > start:
            data[start:end] = chance.choice((_bytes, _number))(chance, "", data[start:end])
            if chance.random() < 0.2:  # noqa: PLR2004 - now and then the segment comes again
                data[end:end] = data[start - 4 : end] * chance.choice((1, 30))
    return data


def _box(chance: random.Random, data: bytearray) -> bytearray:
    """A number in a box of an AVIF or HEIF file is an extreme one."""
    there = [at for name in _BOXES if (at := data.find(name)) >= 0]
    if there:
        at = chance.choice(there) + chance.choice((-4, 4, 8, 12, 16, 20))
        if 0 <= at <= len(data) - 4:
            form = chance.choice((">I", ">H", "B"))
            top = 1 << 8 * struct.calcsize(form)
            struct.pack_into(form, data, at, chance.choice((*_EDGES, *_SIDES)) % top)
    return data


def _tag(chance: random.Random, data: bytearray) -> bytearray:
    """An entry of the first table of a TIFF file has another tag, form, count or value."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 10:  # noqa: PLR2004 - no table
        return data
    (at,) = struct.unpack_from(order + "I", data, 4)
    if at + 2 > len(data):
        return data
    (entries,) = struct.unpack_from(order + "H", data, at)
    place = at + 2 + 12 * chance.randrange(max(1, min(entries, 40)))
    if place + 12 <= len(data):
        field, form = chance.choice(((0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "H")))
        top = 1 << 8 * struct.calcsize(form)
        value = chance.choice((*_EDGES, *_SIDES, at, len(data), chance.randrange(top)))
        struct.pack_into(order + form, data, place + field, value % top)
    return data


_WAYS = (_bytes, _number, _sides, _cut, _block, _spliced, _structure, _structure, _structure)
