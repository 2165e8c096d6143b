from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pictures
import pytest

from imgindex import Box, Library, pixels
from imgindex.errors import PictureError, PictureTooLargeError, SettingError
from imgindex.isolation import POSSIBLE, Isolated, isolated, process

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not POSSIBLE, reason="this system cannot isolate")

# The process as it is, but for what a picture that ends in "!deed" does to it. What is done is done
# inside the decoder, below all that catches errors.
WICKED = """
import ctypes, os, signal, sys, time
import numpy
from imgindex import pixels
from imgindex.isolation import isolated, worker
decoded = pixels.reading._upright
hurt = False

def eat():
    eaten = []
    while True:
        eaten.append(numpy.empty(64 << 20, numpy.uint8))

def write():
    with open(os.environ["WRITE_TO"], "wb") as file:
        file.write(bytes(1 << 20))

def harm():
    global hurt
    hurt = True

deeds = {
    b"crash": lambda: ctypes.string_at(0),
    b"abort": os.abort,
    b"hang": lambda: time.sleep(100),
    b"spin": lambda: [None for _ in iter(int, 1)],
    b"eat": eat,
    b"leave": lambda: os._exit(7),
    b"killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    b"write": write,
    b"harm": harm,
}

def upright(data, *how):
    if hurt:
        os.abort()
    if deed := deeds.get(data.rpartition(b"!")[2]):
        deed()
    return decoded(data, *how)

pixels.reading._upright = upright
worker.main()
"""


def wicked(deed: str, seed: int = 0) -> bytes:
    return pictures.png(pictures.scene(seed, 24, 16)) + b"!" + deed.encode()


@pytest.fixture
def apart() -> Iterator[Isolated]:
    isolated_ = Isolated(4, seconds=30)
    yield isolated_
    isolated_.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that do what pictures tell them to, and a short time for each picture."""
    monkeypatch.setattr(process, "_PROGRAM", WICKED)
    monkeypatch.setattr(isolated, "SECONDS", 3.0)


def test_what_comes_is_what_comes_without(apart: Isolated) -> None:
    box = Box(10, 20, 60, 50, percent=True)
    files = pictures.every_format(pictures.scene(1, 60, 40))
    files["noted"] = pictures.jpeg(exif=pictures.exif(6, "2021:02:03 04:05:06"))
    for data in files.values():
        assert apart.pages(data) == pixels.pages(data)
        assert apart.digest(data, max_megapixels=1) == pixels.digest(data, max_megapixels=1)
        assert apart.thumbnail(data, 20, max_megapixels=1) == pixels.thumbnail(
            data, 20, max_megapixels=1
        )
        small = apart.small(data, 20, max_megapixels=1)
        np.testing.assert_array_equal(small, pixels.small(data, 20, max_megapixels=1))
        for part in (None, box):
            one, other = (
                who.decode(data, size=16, fit="crop", max_megapixels=1, box=part)
                for who in (apart, pixels)
            )
            np.testing.assert_array_equal(one.pixels, other.pixels)
            assert one.pixels.flags.c_contiguous
            facts = ("width", "height", "format", "taken", "sketch")
            assert all(getattr(one, name) == getattr(other, name) for name in facts)


def test_reasons_are_those_that_come_without(apart: Isolated) -> None:
    cases = {
        b"": PictureError,
        b"no picture": PictureError,
        pictures.jpeg()[:200]: PictureError,
        pictures.bomb_png(): PictureTooLargeError,
    }
    for data, kind in cases.items():
        said = set()
        for who in (apart, pixels):
            with pytest.raises(kind) as caught:
                who.decode(data, size=16, fit="squash", max_megapixels=1)
            assert type(caught.value) is kind
            said.add(str(caught.value))
        assert len(said) == 1
    with pytest.raises(SettingError, match="fit"):
        apart.decode(pictures.png(), size=16, fit="odd", max_megapixels=1)  # type: ignore[arg-type]
    assert apart.pages(b"no picture") == 1


def test_many_threads_share_few_processes(apart: Isolated) -> None:
    files = [pictures.png(pictures.scene(seed, 24, 16)) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda data: apart.digest(data, max_megapixels=1), files))
    assert names == [pixels.digest(data, max_megapixels=1) for data in files]
    assert 1 <= len(apart._idle) <= (os.cpu_count() or 1)


@pytest.mark.usefixtures("patient")
def test_a_decoder_that_crashes_hangs_or_eats_memory_costs_one_picture_each(
    tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, target = tmp_path / "photos", tmp_path / "written"
    monkeypatch.setenv("WRITE_TO", str(target))
    photos.mkdir()
    reasons = {
        "crash": "its decoder crashed (SIGSEGV)",
        "abort": "its decoder crashed (SIGABRT)",
        "hang": "takes more than 3 s to decode",
        "eat": "too large for the free memory",
        "leave": "was ended (exit code 7)",
        "killed": "was ended (SIGKILL)",
        "write": "File too large",
    }
    for at, deed in enumerate(reasons):
        (photos / f"{at}-{deed}.png").write_bytes(wicked(deed, at))
        (photos / f"{at}-good.png").write_bytes(pictures.png(pictures.scene(100 + at, 24, 16)))
    with Library(
        tmp_path / "library", model=model_file, device="cpu", max_megapixels=1, isolate=True
    ) as library:
        report = library.add(photos)
        assert report.added == len(reasons)
        found = {Path(one.path).stem[2:]: one.reason for one in report.skipped}
        assert found.keys() == reasons.keys()
        for deed, reason in reasons.items():
            assert reason in found[deed]
        assert not target.exists() or not target.stat().st_size
        # What crashes by itself is remembered; what ran out of time or memory is tried again.
        for name in ("hang", "eat", "leave", "killed"):
            (next(photos.glob(f"*-{name}.png"))).write_bytes(pictures.png())
        again = library.add(photos)
        assert {Path(one.path).stem[2:] for one in again.skipped} == {"crash", "abort", "write"}


@pytest.mark.usefixtures("patient")
def test_who_was_hurt_by_one_picture_is_not_believed_on_the_next() -> None:
    apart = Isolated(1)
    assert apart.decode(wicked("harm"), size=8, fit="squash", max_megapixels=1).format == "PNG"
    assert apart.digest(pictures.png(), max_megapixels=1)  # by a fresh process
    apart.close()


@pytest.mark.usefixtures("patient")
def test_who_spins_ends_though_nobody_looks() -> None:
    apart = Isolated(1, seconds=0.1)
    worker = process.Worker(1 << 30)
    order = {"what": "digest", "seconds": 0.1, "max_megapixels": 1}
    with pytest.raises(EOFError):
        worker.ask(order, wicked("spin"), 60)
    code = worker.end(60)
    assert code == -signal.SIGXCPU
    assert str(apart._died(code)) == "takes more than 0.1 s to decode"


def test_nonsense_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for said, body in (
        ({"width": -1, "height": 1, "format": "PNG", "taken": None}, 8 * 8 * 3 + 32 * 32),
        ({"width": 1, "height": 1, "format": "PNG", "taken": None}, 5),
        ({"width": 1, "height": 1, "format": "\x1b[2J", "taken": None}, 8 * 8 * 3 + 32 * 32),
        ({"error": "SystemExit", "reason": ""}, 0),
        ({}, 0),
    ):
        program = f"""
from imgindex.isolation import worker
worker._do = lambda *_, **__: ({said!r}, bytes({body}))
worker.main()
"""
        monkeypatch.setattr(process, "_PROGRAM", program)
        apart = Isolated(1, seconds=30)
        with pytest.raises(PictureError, match="answers nonsense"):
            apart.decode(pictures.png(), size=8, fit="squash", max_megapixels=1)
        assert not apart._idle
        apart.close()


def test_a_process_that_does_not_start_is_no_fault_of_the_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_file: Path
) -> None:
    monkeypatch.setattr(process, "_PROGRAM", "raise SystemExit(3)")
    (tmp_path / "a.png").write_bytes(pictures.png())
    with (
        Library(tmp_path / "library", model=model_file, device="cpu", isolate=True) as library,
        pytest.raises(SettingError, match=r"exit code 3.*--no-isolate"),
    ):
        library.add(tmp_path / "a.png")


def test_processes_end_with_whoever_started_them_and_come_again() -> None:
    apart = Isolated(1, seconds=30)
    for _ in range(2):
        assert apart.pages(pictures.png()) == 1
        (worker,) = apart._idle
        number = worker._process.pid
        assert Path(f"/proc/{number}").exists() or not Path("/proc/self").exists()
        apart.close()
        assert worker._process.poll() is not None
    apart.pages(pictures.png())
    (worker,) = apart._idle
    worker._line.close()  # as if this process were gone
    assert worker._process.wait(10) == 0


def test_what_works_while_it_is_closed_ends_when_it_is_through() -> None:
    apart = Isolated(1, seconds=30)
    apart.pages(pictures.png())
    (worker,) = apart._idle
    ask = worker.ask

    def late(order: dict[str, object], data: bytes, seconds: float) -> object:
        answer = ask(order, data, seconds)
        apart.close()
        return answer

    worker.ask = late  # type: ignore[method-assign, assignment]
    assert apart.pages(pictures.png()) == 1
    assert worker._process.poll() is not None
    assert not apart._idle
    begun = time.monotonic()
    apart.close()
    assert time.monotonic() - begun < 1
