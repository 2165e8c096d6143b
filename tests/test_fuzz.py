"""A short form of scripts/fuzz_pictures.py, and that what it looks for does not escape it."""

from __future__ import annotations

import ctypes
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import fuzz_pictures
import numpy as np
import pictures
import pytest
from fuzz_pictures import Limits, Tally
from fuzzing import inputs
from hypothesis import given, settings
from hypothesis import strategies as st

from imgindex import pixels
from imgindex.errors import PictureError
from imgindex.pixels import raw

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.filterwarnings("ignore:::PIL\\."),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the script is for Linux"),
]
SHORT = 120  # inputs of every format


def test_hostile_pictures_decode_or_are_refused_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--inputs", str(SHORT), "--seed", "7", "--state", str(tmp_path / "state.jsonl")]
    assert fuzz_pictures.main(asked) == 0
    shown = capsys.readouterr().out
    tallies = fuzz_pictures._kept(tmp_path / "state.jsonl", 7)
    kinds = {kind for kind in inputs.FORMATS if inputs.wholes(kind)}
    assert {tally.kind for tally in tallies} == kinds >= {"jpeg", "png", "tiff", "avif", "raw"}
    for tally in tallies:
        assert sum(tally.outcomes.values()) == SHORT
        assert tally.outcomes["decoded"] >= len(inputs.wholes(tally.kind))
        assert tally.outcomes["decoded"] < SHORT * 0.8
        assert "other reason" not in tally.outcomes
    assert sum(tally.outcomes.get("over limit", 0) for tally in tallies) > 10
    # What was done is not done again.
    begun = time.process_time()
    assert fuzz_pictures.main(asked) == 0
    assert capsys.readouterr().out == shown
    assert time.process_time() - begun < 5


def wicked(_: bytes, number: int, __: Limits) -> tuple[str, str]:
    if number == 3:
        ctypes.string_at(0)
    if number == 5:
        while True:
            pass
    if number == 6:
        np.ones(8_000_000)
    return "decoded", "IndexError: of a kind" if number == 8 else ""


def test_no_crash_hang_or_glutton_escapes() -> None:
    chunk = Tally("png", 0, 10, 1)
    (tally,) = fuzz_pictures.run([chunk], Limits(0.5, 20, 1), wicked)
    told = dict(tally.bad)
    assert told.keys() == {3, 5, 6, 8}
    assert told[3] == "crash, exit code -11"
    assert told[5] == "hang, over 0.5 s"
    assert told[6].startswith("glutton, ")
    assert told[8] == "IndexError: of a kind"
    assert tally.outcomes == {"decoded": 8}


def test_an_input_is_the_same_whenever_it_is_made() -> None:
    kinds = [kind for kind in inputs.FORMATS if inputs.wholes(kind)]
    made = {kind: [inputs.make(1, kind, number) for number in range(40)] for kind in kinds}
    inputs._wholes.cache_clear()
    for kind in kinds:
        assert [inputs.make(1, kind, number) for number in range(40)] == made[kind]
        assert len(set(made[kind])) > 30


words = st.one_of(
    st.integers(0, 2**16 - 1),
    st.sampled_from([262, 330, 50706, 32803, 34892]),
).map(lambda value: value.to_bytes(2, "little"))


@given(st.sampled_from([b"II*\0", b"MM\0*"]), st.lists(words, max_size=120))
@settings(max_examples=300, deadline=None)
def test_tables_of_raw_files_are_walked_to_an_end(start: bytes, body: list[bytes]) -> None:
    data = start + b"\x08\0\0\0" + b"".join(body)
    assert raw.kind(data) in {None, "DNG", "RAW"}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_raw_files_decode_or_are_refused(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(inputs.wholes("raw"))))
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=8)
    ):
        whole[at] = value
    with suppress(PictureError):
        shown = pixels.decode(bytes(whole), size=16, fit="crop", max_megapixels=1)
        assert shown.pixels.shape == (16, 16, 3)


def test_signalling_numbers_in_a_picture_of_floats_are_black_and_make_no_noise() -> None:
    from PIL import Image

    bits = np.array([0x7F800001, 0xFF800001, 0x7FC00000, 0x3F800000], np.uint32)
    data = pictures.encode(Image.frombytes("F", (4, 1), bits.tobytes()), "TIFF")
    assert pixels.small(data, 4, max_megapixels=1)[0, :, 0].tolist() == [0, 0, 0, 255]
