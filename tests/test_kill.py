"""kill -9 at random instants of an index run: the library opens, verifies, and is made whole."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgindex import Library, open_store, vgg16
from imgindex.errors import LibraryNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imgindex.records import IndexedFile, Rows

PICTURES = 112
BATCH = 16
KILLS = 5
COMMAND = [sys.executable, "-c", "from imgindex.cli import main; main()"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    from PIL import Image

    folder = tmp_path_factory.mktemp("kill")
    (folder / "small.onnx").write_bytes(
        vgg16.build(vgg16.untrained(), name="small", size=32, source="", licence="", trained=False)
    )
    noise = np.random.default_rng(0)
    for at in range(PICTURES):
        place = folder / "pictures" / f"{at % 7}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (40, 40, 3), np.uint8)).save(place / f"{at}.png")
    shutil.copy(folder / "pictures/0/0.png", folder / "pictures/1/copy.png")
    (folder / "pictures/2/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    yield folder
    shutil.rmtree(folder)


def start(work: Path, library: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *COMMAND,
            *("index", str(work / "pictures"), "--library", str(library)),
            *("--model", str(work / "small.onnx"), "--device", "cpu"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for_an_instant(
    process: subprocess.Popen[bytes], library: Path, chance: random.Random
) -> None:
    """Before the first batch, at any batch, between them, or while the graph is saved."""
    batches = chance.randint(-2, PICTURES // BATCH)
    if batches < 0:
        time.sleep(chance.uniform(0, 0.8))
        return
    vectors = library / "vectors.f32"
    while process.poll() is None:
        if vectors.exists() and vectors.stat().st_size >= batches * BATCH * 512 * 4:
            break
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.06))


def content(library: Path) -> tuple[list[IndexedFile], tuple[str, ...], Rows]:
    store = open_store(library)
    try:
        ids, rows = store.vectors()
        return store.files(), ids, rows
    finally:
        store.close()


def test_a_killed_run_leaves_a_library_that_the_next_run_makes_whole(work: Path) -> None:
    whole = work / "whole"
    assert start(work, whole).wait() == 3  # one file is broken
    files, ids, rows = content(whole)
    assert len(files) == PICTURES + 2

    chance = random.Random(20260)  # noqa: S311 - instants, not secrets
    interrupted = 0
    for kill in range(KILLS):
        library = work / f"killed{kill}"
        process = start(work, library)
        wait_for_an_instant(process, library, chance)
        process.send_signal(signal.SIGKILL)
        interrupted += process.wait() == -signal.SIGKILL
        with Library(library) as opened:
            try:
                assert opened.verify() == []
                kept = opened.status().pictures
            except LibraryNotFoundError:
                kept = 0  # killed before there was anything to keep
        assert kept <= PICTURES

        assert start(work, library).wait() == 3
        with Library(library) as opened:
            assert opened.verify() == []
            assert opened.status().index == "ready"
            names, vectors = content(library)[1:]
            assert content(library)[0] == files
            assert names == ids
            np.testing.assert_allclose(vectors, rows, atol=1e-6)
            for some in ids[:: PICTURES // 8]:
                first = opened.search(some, k=1).matches[0]
                assert first.id == some
                assert first.score >= 0.9999
        shutil.rmtree(library)
    assert interrupted >= KILLS // 2, "most kills must have hit a run under way"
