from __future__ import annotations

import io
import math
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pictures
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import BLUE, GREEN, RED, YELLOW
from PIL import Image

from imgindex import formats, pixels, scan
from imgindex.errors import PictureError, SettingError
from imgindex.records import Fit, Found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Every test has filters of its own, so the filter that the module sets must be repeated here.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL\\.")

GOLDEN = Path(__file__).parent / "golden" / "pixels.npz"
SHARED = Path(__file__).parents[2] / "shared"
FITS: tuple[Fit, ...] = get_args(Fit)
FILES = pictures.every_format(pictures.scene(1, 24, 16))


def decode(data: bytes, size: int = 32, fit: Fit = "squash", limit: float = 64) -> pixels.Decoded:
    return pixels.decode(data, size=size, fit=fit, max_megapixels=limit)


def reason(data: bytes, limit: float = 64) -> str:
    with pytest.raises(PictureError) as caught:
        decode(data, limit=limit)
    return str(caught.value)


def quarters(square: NDArray[np.uint8]) -> list[tuple[int, int, int]]:
    """Mean colours of the four quarters' middles, in reading order."""
    s = square.shape[0]
    middles = [(y, x) for y in (s // 4, 3 * s // 4) for x in (s // 4, 3 * s // 4)]
    means = (square[y - 2 : y + 2, x - 2 : x + 2].mean((0, 1)) for y, x in middles)
    return [(round(r), round(g), round(b)) for r, g, b in means]


def distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Mean absolute difference in steps of 0..255."""
    return float(np.abs(one.astype(float) - other).mean())


@pytest.fixture(autouse=True)
def pillow_limit() -> Iterator[None]:
    before = Image.MAX_IMAGE_PIXELS
    yield
    Image.MAX_IMAGE_PIXELS = before


# Formats and modes


@pytest.mark.parametrize("kind", sorted(FILES))
def test_every_format_decodes_to_the_right_colours_in_the_right_places(kind: str) -> None:
    # GIF keeps 256 colours and JPEG rounds in YCbCr; all others are near lossless here.
    decoded = decode(pictures.every_format(pictures.quadrants(64, 48))[kind])
    assert decoded.pixels.shape == (32, 32, 3)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.flags.c_contiguous
    assert (decoded.width, decoded.height) == (64, 48)
    assert decoded.taken is None
    name = kind.partition("-")[0].upper()
    assert decoded.format == {"PROGRESSIVE": "JPEG", "APNG": "PNG"}.get(name, name)
    np.testing.assert_allclose(
        quarters(decoded.pixels), [RED, GREEN, BLUE, YELLOW], atol=6 if kind == "avif" else 4
    )


def test_every_suffix_is_lower_case_and_one_that_pillow_reads_as_a_format_on_the_list() -> None:
    decode(pictures.png())
    Image.init()
    known = Image.registered_extensions()
    for suffix in pixels.SUFFIXES:
        assert suffix == suffix.lower()
        assert suffix in formats.RAW or known[suffix] in {*pixels.reading._FORMATS, "MPO"}


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "AVIF", "PNG", "TIFF", "MPO"])
def test_of_many_frames_and_pages_the_first_counts(kind: str) -> None:
    others = [Image.new("RGB", (64, 48), "black"), Image.new("RGB", (64, 48), "white")]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    data = pictures.encode(
        pictures.quadrants(), kind, save_all=True, append_images=others, **options
    )
    with Image.open(io.BytesIO(data)) as file:
        assert getattr(file, "n_frames", 1) == 3
    colours = quarters(decode(data).pixels)
    np.testing.assert_allclose(colours, [RED, GREEN, BLUE, YELLOW], atol=6)


def test_of_a_document_the_first_page_counts_though_it_is_smaller() -> None:
    data = pictures.encode(
        pictures.quadrants(), "TIFF", save_all=True, append_images=[Image.new("RGB", (500, 400))]
    )
    assert (decode(data).width, decode(data).height) == (64, 48)


def test_heif_is_read_by_what_the_package_ships(tmp_path: Path) -> None:
    reads = "from imgindex.pixels import reading; reading._prepare()"
    said = "from PIL import Image; import sys; print(Image.OPEN['HEIF'][0].__module__)"
    code = f"{reads}; {said}; assert 'pillow_heif' not in sys.modules"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True
    )
    assert told.stdout.startswith(b"pi_heif")


@pytest.mark.skipif(not pictures.HEIF_WRITABLE, reason="this build cannot write HEIF")
@pytest.mark.parametrize("primary", [0, 1, 2])
def test_of_several_pictures_in_a_heif_file_the_primary_one_counts(primary: int) -> None:
    file = pillow_heif.HeifFile()  # type: ignore[no-untyped-call]  # its own fault
    for at in range(3):
        file.add_from_pillow(pictures.quadrants() if at == primary else Image.new("RGB", (32, 32)))
    data = io.BytesIO()
    file.save(data, quality=95, chroma=444, primary_index=primary)
    decoded = decode(data.getvalue())
    assert (decoded.width, decoded.height) == (64, 48)
    np.testing.assert_allclose(quarters(decoded.pixels), [RED, GREEN, BLUE, YELLOW], atol=4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F"])
def test_a_picture_of_any_mode_keeps_black_left_and_white_right(mode: str) -> None:
    image = Image.new("L", (40, 20), 0)
    image.paste(255, (20, 0, 40, 20))
    kind = "PNG" if mode in {"1", "L", "LA", "P", "RGB", "RGBA"} else "TIFF"
    if mode in {"I;16", "I"}:
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    converted = image if image.mode == mode else image.convert(mode)
    square = decode(pictures.encode(converted, kind), fit="squash").pixels
    assert square[:, :12].max() <= 4
    assert square[:, -12:].min() >= 251


def test_cmyk_jpeg_has_the_colours_of_its_rgb_original() -> None:
    image = pictures.quadrants()
    data = pictures.jpeg(image.convert("CMYK"))
    np.testing.assert_allclose(quarters(decode(data).pixels), [RED, GREEN, BLUE, YELLOW], atol=4)


def test_inverted_ycck_jpeg_has_the_colours_of_its_rgb_original() -> None:
    data = pictures.ycck_jpeg(pictures.quadrants())
    with Image.open(io.BytesIO(data)) as file:
        assert file.mode == "CMYK"
    np.testing.assert_allclose(quarters(decode(data).pixels), [RED, GREEN, BLUE, YELLOW], atol=4)


def test_lab_tiff_has_the_colours_of_its_rgb_original() -> None:
    data = pictures.lab_tiff(pictures.quadrants())
    np.testing.assert_allclose(quarters(decode(data).pixels), [RED, GREEN, BLUE, YELLOW], atol=6)


def test_transparent_parts_lie_on_white() -> None:
    image = pictures.quadrants().convert("RGBA")
    image.paste((0, 0, 0, 0), (32, 0, 64, 24))
    image.paste((0, 0, 0, 128), (0, 24, 32, 48))
    expected = [RED, (255, 255, 255), (127, 127, 127), YELLOW]
    for data in (
        pictures.png(image),
        pictures.encode(image, "WEBP", lossless=True),
        pictures.encode(image, "TIFF"),
    ):
        np.testing.assert_allclose(quarters(decode(data).pixels), expected, atol=1)


def test_grey_with_alpha_lies_on_white() -> None:
    image = Image.new("LA", (40, 40), (0, 0))
    image.paste((60, 255), (0, 0, 20, 40))
    left, right, *_ = quarters(decode(pictures.png(image)).pixels)
    assert (left, right) == ((60, 60, 60), (255, 255, 255))


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white_and_the_others_keep_their_colours(kind: str) -> None:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([*RED, *GREEN, *BLUE])
    image.paste(1, (20, 0, 40, 20))
    image.paste(2, (0, 20, 20, 40))
    data = pictures.encode(image, kind, transparency=1)
    assert quarters(decode(data).pixels) == [RED, (255, 255, 255), BLUE, RED]


def test_a_palette_may_be_half_transparent_entry_by_entry() -> None:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([0, 0, 0, *GREEN])
    image.paste(1, (20, 0, 40, 40))
    data = pictures.png(image, transparency=bytes([128, 255]))
    left, right, *_ = quarters(decode(data).pixels)
    assert (left, right) == ((127, 127, 127), GREEN)


GREY_STEPS = np.repeat(np.array([[0, 0x4000, 0x8000, 0xFFFF]], np.uint16), 8, 0).repeat(8, 1)


@pytest.mark.parametrize("kind", ["png", "tiff", "big-endian tiff", "pgm", "32-bit tiff"])
def test_sixteen_bit_grey_keeps_its_upper_eight_bits(kind: str) -> None:
    if kind == "png":
        data = pictures.wide_png(GREY_STEPS)
    elif kind == "tiff":
        data = pictures.encode(Image.fromarray(GREY_STEPS), "TIFF")
    elif kind == "big-endian tiff":
        data = pictures.encode(Image.fromarray(GREY_STEPS.astype(">u2")), "TIFF")
        assert data[:2] == b"MM"
    elif kind == "pgm":
        data = b"P5 32 8 65535\n" + GREY_STEPS.astype(">u2").tobytes()
    else:
        data = pictures.encode(Image.fromarray(GREY_STEPS.astype(np.int32)), "TIFF")
    square = decode(data, fit="squash").pixels
    np.testing.assert_array_equal(
        square[16, 4::8], np.array([[0], [64], [128], [255]]).repeat(3, 1)
    )


def test_a_dark_sixteen_bit_pgm_stays_dark() -> None:
    data = b"P5 8 8 65535\n" + np.full((8, 8), 200, ">u2").tobytes()
    assert decode(data).pixels.max() == 0


def test_sixteen_bit_rgb_png_keeps_its_upper_eight_bits() -> None:
    values = np.asarray(pictures.quadrants()).astype(np.uint16) * 256 + 77
    data = pictures.wide_png(values)
    assert quarters(decode(data).pixels) == [RED, GREEN, BLUE, YELLOW]


def test_sixteen_bit_pngs_with_a_transparent_value_decode() -> None:
    rgb = np.asarray(pictures.quadrants(), np.uint16) * 257
    note = pictures.png_chunk(b"tRNS", np.array(rgb[0, 0], ">u2").tobytes())
    assert quarters(decode(pictures.wide_png(rgb, note)).pixels)[1:] == [GREEN, BLUE, YELLOW]
    note = pictures.png_chunk(b"tRNS", b"\x80\x00")
    assert decode(pictures.wide_png(GREY_STEPS, note)).pixels[16, 12, 0] == 64


@pytest.mark.parametrize(
    ("dtype", "steps"),
    [
        (np.int32, [0, 60, 128, 255]),
        (np.int32, [-7, 60 << 8, 128 << 8, 65535]),
        (np.int32, [-(2**31), 60 << 23, 128 << 23, 2**31 - 1]),
        (np.float32, [0, 60 / 255, 128 / 255, 1]),
        (np.float32, [-5, 60, 128, 255]),
        (np.float32, [0, 60 * 257, 128 * 257, 65535]),
        (np.float32, [0, 6e9, 12.8e9, 25.5e9]),
        (np.float32, [math.nan, 60, 128, math.inf]),
        (np.float32, [-math.inf, 60 / 255, 128 / 255, math.inf]),
    ],
)
def test_wide_grey_finds_its_scale(dtype: type, steps: list[float]) -> None:
    values: NDArray[Any] = np.repeat(np.array([steps], dtype), 8, 0).repeat(8, 1)
    row = decode(pictures.encode(Image.fromarray(values), "TIFF"), fit="squash").pixels[16, :, 0]
    np.testing.assert_allclose(row[4::8], [0, 60, 128, 255], atol=1)


def test_a_float_picture_without_one_finite_value_decodes() -> None:
    values = np.full((8, 8), math.nan, np.float32)
    assert decode(pictures.encode(Image.fromarray(values), "TIFF")).pixels.max() == 0


# Orientation and notes


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_every_orientation_equals_the_upright_picture(kind: str, orientation: int) -> None:
    if kind == "HEIF" and not pictures.HEIF_WRITABLE:
        pytest.skip("this build of pillow-heif cannot write HEIF")
    image = pictures.scene(5, 96, 64)
    stored = pictures.turned(image, orientation)
    options = {"WEBP": {"lossless": True}, "PNG": {}, "TIFF": {}}.get(kind, {"quality": 95})
    data = pictures.encode(stored, kind, exif=pictures.exif(orientation), **options)
    for fit in FITS:
        decoded = decode(data, fit=fit)
        expected = decode(pictures.png(image), fit=fit)
        assert (decoded.width, decoded.height) == (96, 64)
        if kind in {"PNG", "WEBP", "TIFF"}:
            np.testing.assert_array_equal(decoded.pixels, expected.pixels)
        assert distance(decoded.pixels, expected.pixels) < 3


def test_orientation_counts_in_a_drafted_jpeg() -> None:
    image = pictures.quadrants(1600, 1200)
    data = pictures.jpeg(pictures.turned(image, 6), exif=pictures.exif(6))
    decoded = decode(data)
    assert (decoded.width, decoded.height) == (1600, 1200)
    np.testing.assert_allclose(quarters(decoded.pixels), [RED, GREEN, BLUE, YELLOW], atol=4)


@pytest.mark.parametrize(
    ("taken", "written", "expected"),
    [
        ("2024:05:01 12:34:56", "2025:01:01 00:00:00", "2024-05-01T12:34:56"),
        (None, "2025:01:02 03:04:05", "2025-01-02T03:04:05"),
        ("0000:00:00 00:00:00", "2025:01:02 03:04:05", "2025-01-02T03:04:05"),
        ("2024-05-01T12:34:56Z", None, "2024-05-01T12:34:56"),
        ("2024:13:01 12:34:56", None, None),
        ("yesterday", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_when_a_picture_was_taken(
    taken: str | None, written: str | None, expected: str | None
) -> None:
    notes = pictures.exif(6, taken, written)
    kinds = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", *(["HEIF"] * pictures.HEIF_WRITABLE)]
    for kind in kinds:
        data = pictures.encode(pictures.quadrants(), kind, exif=notes)
        assert decode(data).taken == expected, kind


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=80, deadline=None)
def test_broken_exif_does_not_lose_the_picture(notes: bytes, like_exif: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
    head = b"Exif\0\0MM\0*\0\0\0\x08" if like_exif else b"Exif\0\0"
    decoded = decode(pictures.jpeg(exif=head + notes))
    assert decoded.format == "JPEG"


def test_an_orientation_in_words_counts_for_none() -> None:
    notes = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04abc\0\0\0\0\0"
    decoded = decode(pictures.jpeg(exif=notes))
    np.testing.assert_allclose(quarters(decoded.pixels), [RED, GREEN, BLUE, YELLOW], atol=4)


# Fit


def test_squash_pad_and_crop_of_a_wide_picture() -> None:
    image = Image.new("RGB", (90, 30), GREEN)
    image.paste(RED, (0, 0, 30, 30))
    image.paste(BLUE, (60, 0, 90, 30))
    data = pictures.png(image)
    squash, crop, pad = (decode(data, size=30, fit=fit).pixels for fit in FITS)
    assert [tuple(squash[15, x]) for x in (4, 15, 26)] == [RED, GREEN, BLUE]
    assert [tuple(crop[15, x]) for x in (4, 15, 26)] == [GREEN] * 3
    assert [tuple(pad[15, x]) for x in (4, 15, 26)] == [RED, GREEN, BLUE]
    assert [tuple(pad[y, 15]) for y in (4, 25)] == [(128, 128, 128)] * 2


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (10_000, 3), (3, 10_000), (31, 33), (5000, 1)])
def test_tiny_and_extreme_pictures(fit: Fit, shape: tuple[int, int]) -> None:
    for data in (pictures.png(Image.new("RGB", shape, RED)), pictures.jpeg(Image.new("L", shape))):
        decoded = decode(data, fit=fit)
        assert decoded.pixels.shape == (32, 32, 3)
        assert (decoded.width, decoded.height) == shape
    assert tuple(decode(pictures.png(Image.new("RGB", shape, RED))).pixels[16, 16]) == RED


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 40),
    st.sampled_from(FITS),
    st.tuples(*[st.integers(0, 255)] * 3),
)
@settings(max_examples=60, deadline=None)
def test_a_plain_picture_stays_plain(
    width: int, height: int, size: int, fit: Fit, colour: tuple[int, int, int]
) -> None:
    square = decode(pictures.png(Image.new("RGB", (width, height), colour)), size, fit).pixels
    assert square.shape == (size, size, 3)
    plain = (square == colour).all(axis=2)
    padding = (square == 128).all(axis=2) if fit == "pad" else np.zeros_like(plain)
    assert plain.any()
    assert (plain | padding).all()


def test_a_drafted_photo_looks_like_the_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    image = pictures.scene(3, 400, 300).resize((4000, 3000), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).integers(0, 40, (3000, 4000, 1), np.uint8)
    image = Image.fromarray(np.asarray(image) // 2 + grain)
    data = pictures.jpeg(image, quality=90)
    drafted = decode(data, size=224)
    monkeypatch.setattr(pixels.reading, "_DRAFTED", ())
    whole = decode(data, size=224)
    assert (drafted.width, drafted.height) == (whole.width, whole.height) == (4000, 3000)
    assert not np.array_equal(drafted.pixels, whole.pixels)
    assert distance(drafted.pixels, whole.pixels) < 1


def test_a_draft_is_never_smaller_than_twice_the_square(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    fit = pixels.decoding._fit

    def noting(image: Image.Image, size: int, how: Fit) -> Image.Image:
        sizes.append(image.size)
        return fit(image, size, how)

    monkeypatch.setattr(pixels.decoding, "_fit", noting)
    for width, height in [(2000, 1500), (2000, 130), (129, 128), (512, 511), (100, 90)]:
        decode(pictures.jpeg(Image.new("RGB", (width, height))), size=64)
    assert sizes == [(250, 188), (2000, 130), (129, 128), (256, 256), (100, 90)]


# Golden pixels


def golden_arrays() -> dict[str, NDArray[np.uint8]]:
    """Made pictures through every fit; PNG, so that no codec's rounding enters."""
    scenes = {
        "wide": pictures.weave(5, 150, 61),
        "tall": pictures.weave(13, 40, 200),
        "small": pictures.weave(29, 9, 7),
        "large": pictures.weave(2, 700, 500),
        "alpha": pictures.weave(8, 50, 70),
    }
    scenes["alpha"].putalpha(pictures.weave(17, 50, 70).getchannel(0))
    return {
        f"{name}-{fit}": decode(pictures.png(image), size=16, fit=fit).pixels
        for name, image in scenes.items()
        for fit in FITS
    }


def write_golden() -> None:
    """Write the golden file; to be called by hand, together with a higher ``pixels.VERSION``.

    cd tests && python -c "import test_pixels; test_pixels.write_golden()"
    """
    arrays: dict[str, Any] = {"version": pixels.VERSION, **golden_arrays()}
    np.savez_compressed(GOLDEN, **arrays)


def test_pixels_are_those_of_the_golden_file() -> None:
    # Pillow resamples in integers, so that the same pixels come out on every machine.
    with np.load(GOLDEN) as golden:
        assert golden["version"] == pixels.VERSION
        made = golden_arrays()
        assert set(golden.files) == {"version", *made}
        for name, array in made.items():
            np.testing.assert_array_equal(array, golden[name], err_msg=name)


# What is refused


def test_reasons_for_what_is_no_picture() -> None:
    foreign = "not a picture, or of a format that is not read"
    assert reason(b"") == "empty file"
    assert reason(b"Dear diary, this is a text in a file called holiday.jpg.") == foreign
    assert reason(bytes(100)) == foreign
    assert reason(b"\0") == foreign
    assert reason(b"%PDF-1.7 ...") == foreign
    assert reason(pictures.encode(pictures.quadrants(), "TGA")) == foreign
    assert reason(pictures.encode(pictures.quadrants(), "ICO")) == foreign


@pytest.mark.parametrize("kind", sorted(FILES))
def test_a_truncated_file_is_called_damaged(kind: str) -> None:
    data = FILES[kind]
    # The first frame of a moving picture lies in the first half of the file.
    end = len(data) // (6 if kind in {"apng", "webp-moving", "gif-moving", "mpo"} else 2)
    if kind in {"tiff-pages", "dib"}:
        end = 60
    assert reason(data[:end]).startswith("truncated or damaged: ")
    assert reason(data[:20]).startswith("truncated or damaged: ")


def test_a_damaged_data_stream_is_called_damaged() -> None:
    data = pictures.raw_png(8, 8, 8, 2, b"\0" * 200)
    at = data.index(b"IDAT") + 6
    assert reason(data[:at] + b"\xff\xff\xff" + data[at + 3 :]).startswith("truncated or damaged: ")
    assert reason(pictures.raw_png(8, 8, 8, 2, b"\0" * 20)).startswith("truncated or damaged: ")


def test_a_picture_without_extent_is_called_damaged() -> None:
    assert reason(pictures.bomb_png(0, 5)) == "truncated or damaged: its header cannot be read"


@pytest.mark.parametrize(
    ("side", "megapixels"),
    [(8_001, 65), (10_000, 100), (100_000, 10_000), (2**31 - 1, 4_611_686_014_133)],
)
def test_a_bomb_is_refused_by_its_header(side: int, megapixels: int) -> None:
    assert reason(pictures.bomb_png(side, side)) == (
        f"{megapixels} megapixels, over the limit of 64; raise it with --max-megapixels"
    )


def test_the_limit_is_the_callers_and_pillows_own_is_raised_only_as_far() -> None:
    data = pictures.png(Image.new("RGB", (200, 100)))
    assert decode(data, limit=0.02).width == 200
    assert reason(data, limit=0.0199).startswith("1 megapixels, over the limit of 0.0199; ")
    Image.MAX_IMAGE_PIXELS = 9_000
    assert decode(data, limit=0.02).width == 200
    assert Image.MAX_IMAGE_PIXELS == 20_000
    assert decode(data, limit=0.02).width == 200
    assert reason(data, limit=0.01).startswith("1 megapixels, over the limit of 0.01; ")
    assert Image.MAX_IMAGE_PIXELS == 20_000
    Image.MAX_IMAGE_PIXELS = None
    assert decode(data).width == 200
    assert Image.MAX_IMAGE_PIXELS is None


def test_too_little_memory_is_a_reason_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Image.Image) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(pixels.reading, "_rgb", fail)
    assert reason(pictures.png()) == "too large for the free memory"


def test_impossible_settings_are_named() -> None:
    with pytest.raises(SettingError, match="size must be at least 1 pixel, not 0"):
        decode(pictures.png(), size=0)
    with pytest.raises(SettingError, match="one of squash, crop, pad, not 'stretch'"):
        decode(pictures.png(), fit="stretch")  # type: ignore[arg-type] # the mistake
    with pytest.raises(SettingError, match="side must be at least 1 pixel, not 0"):
        pixels.thumbnail(pictures.png(), 0, max_megapixels=64)
    with pytest.raises(SettingError, match="at least 1, not 0 and 9"):
        pixels.montage([], 0, 9, "")


def survives(data: bytes) -> None:
    try:
        decoded = pixels.decode(data, size=8, fit="crop", max_megapixels=1)
    except PictureError as error:
        text = str(error)
        assert 0 < len(text) < 120
        assert "\n" not in text
        assert "0x" not in text
    else:
        assert decoded.pixels.shape == (8, 8, 3)


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_random_bytes_decode_or_are_refused(data: bytes) -> None:
    survives(data)


@pytest.mark.parametrize("kind", sorted(FILES))
def test_mutilated_files_decode_or_are_refused(kind: str) -> None:
    original = FILES[kind]
    places = st.one_of(st.integers(0, 60), st.integers(0, len(original) - 1))
    flips = st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)

    @given(flips, st.one_of(st.none(), st.integers(0, len(original))))
    @settings(max_examples=40, deadline=None)
    def check(flips: list[tuple[int, int]], end: int | None) -> None:
        data = bytearray(original)
        for place, value in flips:
            data[min(place, len(data) - 1)] = value
        survives(bytes(data[:end]))

    check()


# The process around it


def test_importing_the_module_loads_neither_pillow_nor_numpy() -> None:
    program = (
        "import sys, imgindex.pixels, imgindex.scan\n"
        "imgindex.pixels.SUFFIXES, imgindex.pixels.default_max_megapixels()\n"
        "assert not {'PIL', 'numpy', 'pi_heif'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_odd_files_make_no_noise(tmp_path: Path) -> None:
    notes = b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03\0\0\xff\0\0\0\0\0\x01\x0f\0\x02\0\xff"
    tags = [(256, 4), (257, 4), (258, 8), (259, 1), (262, 1), (273, 8), (277, 99), (279, 16)]
    crowded = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    odd = [
        pictures.jpeg(exif=notes),
        pictures.encode(pictures.quadrants(), "TIFF")[:-20],
        pictures.png(pictures.quadrants().quantize(4), transparency=b"\x80"),
        pictures.bomb_png(15_000, 10_000),
        b"II*\0\x08\0\0\0\x01\0\x02\x01\x03\0\xff\0\0\0",
        b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + crowded + bytes(4),
    ]
    for index, data in enumerate(odd):
        (tmp_path / str(index)).write_bytes(data)
    program = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from imgindex.errors import PictureError
from imgindex.pixels import decode

def look(path):
    try:
        return decode(path.read_bytes(), size=9, fit="pad", max_megapixels=100).width
    except PictureError as error:
        return str(error)

files = sorted(Path(sys.argv[1]).iterdir())
with ThreadPoolExecutor(4) as pool:
    print(*pool.map(look, files * 5), sep="\\n")
"""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[3] == (
        "150 megapixels, over the limit of 100; raise it with --max-megapixels"
    )
    assert done.stdout.splitlines()[0] == "64"


def test_threads_do_not_disturb_one_another() -> None:
    names = sorted(FILES) * 6
    alone = {name: decode(FILES[name]).pixels for name in FILES}
    with ThreadPoolExecutor(8) as pool:
        for name, decoded in zip(names, pool.map(lambda n: decode(FILES[n]), names), strict=True):
            np.testing.assert_array_equal(decoded.pixels, alone[name])


def test_the_default_limit_follows_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_gigabytes(memory: float, threads: int | None) -> float:
        sizes = {"SC_PHYS_PAGES": int(memory * 1e9 / 4096), "SC_PAGE_SIZE": 4096}
        monkeypatch.setattr(os, "sysconf", sizes.__getitem__, raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: threads)
        return pixels.default_max_megapixels()

    assert 64 <= pixels.default_max_megapixels() <= 1000
    assert with_gigabytes(16.1, 4) == 83
    assert with_gigabytes(4, None) == 83
    assert with_gigabytes(1, 8) == 64
    assert with_gigabytes(512, 2) == 1000
    monkeypatch.delattr(os, "sysconf")
    assert pixels.default_max_megapixels() == 178


# Thumbnails and contact sheets


def test_a_thumbnail_is_small_upright_and_says_nothing_of_its_origin() -> None:
    image = pictures.quadrants(400, 300)
    notes = pictures.exif(6, "2024:05:01 12:34:56")
    data = pictures.jpeg(
        pictures.turned(image, 6), exif=notes, comment=b"at home", icc_profile=b"x" * 200
    )
    made = pixels.thumbnail(data, 80, max_megapixels=64)
    with Image.open(io.BytesIO(made)) as small:
        assert (small.format, small.mode, small.size) == ("JPEG", "RGB", (80, 60))
        assert not {"exif", "comment", "icc_profile", "xmp"} & set(small.info)
    np.testing.assert_allclose(quarters(decode(made).pixels), [RED, GREEN, BLUE, YELLOW], atol=8)
    assert b"at home" not in made


def test_a_thumbnail_never_grows_a_picture_and_takes_extreme_ones() -> None:
    for shape, expected in [((20, 10), (20, 10)), ((10_000, 3), (50, 1)), ((1, 1), (1, 1))]:
        made = pixels.thumbnail(pictures.png(Image.new("LA", shape)), 50, max_megapixels=64)
        with Image.open(io.BytesIO(made)) as small:
            assert small.size == expected
    with pytest.raises(PictureError, match=r"1 megapixels, over the limit of 0\.5"):
        pixels.thumbnail(pictures.bomb_png(1000, 1000), 50, max_megapixels=0.5)


def test_a_montage_shows_every_tile_in_its_cell() -> None:
    tiles = [
        (pictures.png(Image.new("RGB", (100, 50), colour)), f"picture {index}")
        for index, colour in enumerate([RED, GREEN, BLUE, YELLOW, RED])
    ]
    with Image.open(io.BytesIO(pixels.montage(tiles, 3, 96, "Five"))) as sheet:
        assert (sheet.format, sheet.mode, sheet.width) == ("PNG", "RGB", 3 * 104 + 8)
        drawn = np.asarray(sheet)
    middles = []
    for colour in (RED, GREEN, BLUE, YELLOW):
        y, x = np.nonzero((drawn == colour).all(axis=2))
        middles.append((y.mean(), x.mean(), len(y)))
    (red_y, red_x, red), (green_y, green_x, green), (blue_y, blue_x, _), (yellow_y, yellow_x, _) = (
        middles
    )
    assert (red, green) == (2 * 96 * 48, 96 * 48)
    assert green_y == blue_y < yellow_y == 2 * red_y - green_y
    assert yellow_x == green_x - 104 == blue_x - 208
    assert red_x == (yellow_x + green_x) / 2
    assert (drawn < 80).all(axis=2).any()


def test_montage_captions_of_any_kind_fit_their_cell() -> None:
    tile = pictures.png(Image.new("RGB", (40, 40), "white"))
    long = "a very long name of a file which does not fit under its picture.jpg"
    for caption in ("", long, "caf\udce9\n.jpg", "画像.png", "W" * 500):
        sheets = [pixels.montage([(tile, text), (tile, "")], 2, 40, "") for text in (caption, "")]
        drawn, empty = (np.asarray(Image.open(io.BytesIO(sheet))) for sheet in sheets)
        assert drawn.shape == empty.shape
        columns = np.nonzero((drawn != empty).any(axis=(0, 2)))[0]
        assert bool(len(columns)) == bool(caption)
        assert not len(columns) or (columns.min() >= 8 and columns.max() < 48)


def test_a_montage_may_be_empty_and_its_title_long() -> None:
    for title in ("", "nothing was found " * 9):
        with Image.open(io.BytesIO(pixels.montage([], 4, 80, title))) as sheet:
            assert sheet.width > 80


# Real photos


def shared(folder: str) -> list[Found]:
    if not (SHARED / folder).is_dir():
        pytest.skip(f"the folder of real photos {SHARED / folder} is not here")
    found = list(scan.walk([SHARED / folder], pixels.SUFFIXES))
    assert all(isinstance(file, Found) for file in found)
    return [file for file in found if isinstance(file, Found)]


def test_every_real_photo_decodes() -> None:
    files = shared("photos")
    assert len(files) == 1035

    def look(file: Found) -> bool:
        decoded = decode(scan.load(file.path, 1 << 30)[1])
        return decoded.format == "JPEG" and float(decoded.pixels.std()) > 2

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(look, files))


def test_exactly_the_corrupt_files_among_the_duplicates_fail() -> None:
    refused = set()
    for file in shared("duplicates"):
        try:
            decode(scan.load(file.path, 1 << 30)[1])
        except PictureError:
            refused.add(str(Path(file.path).relative_to(SHARED / "duplicates")))
    assert refused == {
        "mixed_images/ukbench09268_corrupt.jpg",
        "mixed_nested_images/ukbench09268_corrupt.jpg",
    }
