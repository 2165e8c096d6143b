"""Raw files of cameras: the preview inside, upright once; hostile ones; rawpy not installed."""

from __future__ import annotations

import builtins
import random
import struct
from importlib import util
from typing import TYPE_CHECKING, Any

import numpy as np
import pictures
import pytest
import rawpy
from pictures import BLUE, GREEN, RED, YELLOW
from test_pixels import decode, quarters, reason

from imgindex import Library, formats, pixels
from imgindex.errors import MissingExtraError, PictureError
from imgindex.pixels import raw

if TYPE_CHECKING:
    from pathlib import Path

COLOURS = [RED, GREEN, BLUE, YELLOW]


def without_rawpy(patch: pytest.MonkeyPatch) -> None:
    """What Python says where rawpy is not installed."""
    real, find = builtins.__import__, util.find_spec

    def importing(name: str, *args: Any, **others: Any) -> Any:
        if name == "rawpy":
            raise ModuleNotFoundError("No module named 'rawpy'", name="rawpy")
        return real(name, *args, **others)

    patch.setattr(builtins, "__import__", importing)
    patch.setattr(raw, "find_spec", lambda name: None if name == "rawpy" else find(name))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("noted", [False, True])
def test_the_preview_is_turned_once(orientation: int, noted: bool, order: str) -> None:  # noqa: FBT001 - a parameter
    upright = (48, 64) if orientation in {6, 8} else (64, 48)
    stored = pictures.turned(pictures.quadrants(*upright), orientation)
    notes = {"exif": pictures.exif(orientation)} if noted else {}
    data = pictures.dng(pictures.jpeg(stored, **notes), orientation=orientation, order=order)
    decoded = decode(data)
    assert (decoded.width, decoded.height) == ((64, 96) if orientation in {6, 8} else (96, 64))
    assert (decoded.format, decoded.taken) == ("DNG", "2021-03-04T05:06:07")
    np.testing.assert_allclose(quarters(decoded.pixels), COLOURS, atol=4)


def test_a_preview_that_stands_already_is_not_turned() -> None:
    data = pictures.jpeg(pictures.quadrants(48, 64))
    decoded = decode(pictures.dng(data, orientation=6, preview_sides=(48, 64)))
    assert (decoded.width, decoded.height) == (64, 96)
    np.testing.assert_allclose(quarters(decoded.pixels), COLOURS, atol=4)


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_the_previews_own_word_counts_first(
    orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = pictures.turned(pictures.quadrants(48, 64), 8)
    shown = raw.Preview(
        pictures.jpeg(stored, exif=pictures.exif(8)), 96, 64, 6 if orientation == 1 else 8, None
    )
    monkeypatch.setattr(raw, "preview", lambda _: shown)
    decoded = decode(pictures.dng(b""))
    np.testing.assert_allclose(quarters(decoded.pixels), COLOURS, atol=4)


def test_a_preview_of_plain_pixels_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = np.asarray(pictures.turned(pictures.quadrants(48, 64), 6))
    monkeypatch.setattr(raw, "preview", lambda _: raw.Preview(plain, 96, 64, 6, "2020-01-01"))
    decoded = decode(pictures.dng(b""))
    assert (decoded.width, decoded.height, decoded.taken) == (64, 96, "2020-01-01")
    np.testing.assert_allclose(quarters(decoded.pixels), COLOURS, atol=1)
    assert "over the limit" in reason(pictures.dng(b""), limit=0.001)


def test_a_large_preview_is_refused_and_the_sensor_is_not_asked() -> None:
    data = pictures.dng(pictures.jpeg(pictures.quadrants(640, 480)), sides=(800, 600))
    assert "raise it with --max-megapixels" in reason(data, limit=0.3)
    assert decode(data, limit=0.4).width == 800


def test_a_thumbnail_of_a_raw_file_stands_upright() -> None:
    stored = pictures.turned(pictures.quadrants(48, 64), 6)
    small = pixels.thumbnail(
        pictures.dng(pictures.jpeg(stored), orientation=6), 32, max_megapixels=64
    )
    assert (decode(small).width, decode(small).height) == (24, 32)


def test_raw_files_are_known_by_what_is_in_them() -> None:
    assert raw.kind(pictures.dng(b"")) == "DNG"
    for start in (b"IIRO\x08\0", b"IIU\0", b"FUJIFILMCCD-RAW 0201", b"\0\0\0\x18ftypcrx \0\0\0\1"):
        assert raw.kind(start + bytes(40)) == "RAW"
    assert raw.kind(b"II*\0\x10\0\0\0CR\2\0" + bytes(40)) == "RAW"
    filtered = pictures.dng(b"").replace(struct.pack("<H", 50706), struct.pack("<H", 50700), 1)
    assert raw.kind(filtered) == "RAW"
    for data in pictures.every_format(pictures.scene(0, 24, 16)).values():
        assert raw.kind(data) is None
    # A loop of tables, and tables that lie outside of the file.
    assert raw.kind(b"II*\0\x08\0\0\0" + bytes(2) + b"\x08\0\0\0") is None
    assert raw.kind(b"MM\0*\xff\xff\xff\xff") is None


def test_damaged_raw_files_are_refused_in_words() -> None:
    whole = pictures.dng(pictures.jpeg())
    assert reason(whole[:600])
    assert reason(b"FUJIFILMCCD-RAW" + bytes(500)).startswith("truncated or damaged: unsupported")
    torn = pictures.dng(pictures.jpeg()[:300])
    assert reason(torn).startswith(("truncated or damaged", "a raw file without"))
    chance = random.Random(5)  # noqa: S311 - damage, not secrets
    met = set()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(700)] = chance.choice((0, 1, 128, 255))
        try:
            met.add(decode(bytes(data)).format)
        except PictureError as error:
            met.add(type(error).__name__)
    assert {"DNG", "PictureError"} <= met


def test_without_the_extra_raw_files_are_told_and_read_as_soon_as_it_is_there(
    tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "plain.png").write_bytes(pictures.png())
    (photos / "a.DNG").write_bytes(pictures.dng(pictures.jpeg()))
    with Library(tmp_path / "library", model=model_file, device="cpu") as library:
        with monkeypatch.context() as patch:
            without_rawpy(patch)
            with pytest.raises(MissingExtraError, match=r"imgindex\[raw\]"):
                decode(pictures.dng(pictures.jpeg()))
            for _ in range(2):
                report = library.add(photos)
                (skipped,) = report.skipped
                assert skipped.path.endswith("a.DNG")
                assert skipped.reason == "needs the extra: pip install 'imgindex[raw]'"
        report = library.add(photos)
        assert (report.added, report.unchanged, report.skipped) == (1, 1, ())
        with monkeypatch.context() as patch:
            without_rawpy(patch)
            assert library.add(photos).unchanged == 2  # what is known need not be read


def test_rawpy_is_what_is_declared() -> None:
    assert issubclass(rawpy.LibRawNoThumbnailError, rawpy.LibRawError)
    assert not formats.RAW & formats.RENDERED
