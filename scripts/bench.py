"""Measure imgindex on this machine; prints medians, and ratios of things run in turn.

    python scripts/bench.py rerun      a second index run against a bare walk of the same tree
    python scripts/bench.py search     scanning every vector against loading and walking the graph
    python scripts/bench.py embed      index, from files to graph, against the bare network

Grouping has scripts/bench_grouping.py. Every set is made on the spot. Machines are noisy: compare
figures of one run only.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from imgindex import Library, open_store, vgg16
from imgindex.embed import Embedder
from imgindex.records import IndexedFile, ModelPin, Picture

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from imgindex.records import Rows

FILES, FOLDERS, CONTENTS, ROUNDS = 20_000, 100, 64, 15
DIMENSION = 512
BATCH, TURNS = 16, 3
SETS = (("small", (512, 384), 96), ("large", (4000, 3000), 96))


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def made_rows(count: int, rng: np.random.Generator) -> tuple[Rows, NDArray[np.int64]]:
    """Unit rows in groups of about 60, a fifth of them noise; and each row's (-1: noise)."""
    centres = rng.standard_normal((max(2, count // 60), DIMENSION))
    truth = rng.integers(0, len(centres), count)
    rows = centres[truth]
    rows += 0.6 * rng.standard_normal(rows.shape)
    rows[: count // 5] = rng.standard_normal((count // 5, DIMENSION))
    truth[: count // 5] = -1
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), truth


def library_of(folder: Path, rows: Rows) -> None:
    """Make a library of rows, with its graph, as if they were pictures."""
    store = open_store(folder, create=True)
    store.pin(ModelPin("made", "0" * 64, rows.shape[1], 1))
    pictures = [Picture(f"{at:032x}", 1, 1, "PNG") for at in range(len(rows))]
    files = [IndexedFile(f"/made/{at}", 1, 1, picture.id) for at, picture in enumerate(pictures)]
    for start in range(0, len(rows), 10_000):
        some = slice(start, start + 10_000)
        store.add(pictures[some], rows[some], files[some])
    store.refresh(lambda *_: None)
    store.close()


def bare_walk(root: Path) -> int:
    """What any tool has to do at least: walk, and stat each file."""
    count = 0
    for folder, _, names in os.walk(root):
        for name in names:
            os.stat(f"{folder}/{name}")  # noqa: PTH116 - the barest way
            count += 1
    return count


def rerun(work: Path) -> None:
    """A second run over an unchanged tree."""
    tree = work / "tree"
    rng = np.random.default_rng(0)
    for at in range(CONTENTS):
        (tree / f"{at % FOLDERS}").mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
        picture.save(tree / f"{at % FOLDERS}" / f"{at}.png")
    sources = sorted(tree.rglob("*.png"))
    for at in range(CONTENTS, FILES):
        (tree / f"{at % FOLDERS}").mkdir(exist_ok=True)
        shutil.copyfile(sources[at % CONTENTS], tree / f"{at % FOLDERS}" / f"{at}.png")
    model = work / "small.onnx"
    model.write_bytes(
        vgg16.build(vgg16.untrained(), name="small", size=32, source="", licence="", trained=False)
    )
    place = work / "library"
    with Library(place, model=model, device="cpu") as library:
        library.add(tree)
    walker = f"import os\nfor d,_,n in os.walk({str(tree)!r}):\n for f in n: os.stat(d+'/'+f)"
    command = [
        *(sys.executable, "-c", "from imgindex.cli import main; main()"),
        *("index", str(tree), "--library", str(place)),
    ]
    inside, outside, walks, runs = [], [], [], []
    with Library(place) as library:
        library.add(tree)
        for _ in range(ROUNDS):
            walk = seconds(lambda: bare_walk(tree))
            again = seconds(lambda: library.add(tree))
            walks.append(walk)
            runs.append(again)
            inside.append(again / walk)
    for _ in range(ROUNDS):
        walk = seconds(lambda: subprocess.run([sys.executable, "-c", walker], check=True))  # noqa: S603
        again = seconds(
            lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        )
        outside.append(again / walk)
    print(f"{FILES:,} files: walk and stat {1e3 * statistics.median(walks):.0f} ms,")
    print(f"index again {1e3 * statistics.median(runs):.0f} ms: {statistics.median(inside):.2f}x")
    print(f"as whole processes, Python's start on both sides: {statistics.median(outside):.2f}x")


def search(work: Path) -> None:
    """One query by scanning, one by the graph, and what loading the graph costs."""
    print("vectors   scan    load graph   query by graph   scans worth a load")
    for count in (1_000, 10_000, 100_000):
        rows, _ = made_rows(count, np.random.default_rng(count))
        folder = work / str(count)
        library_of(folder, rows)
        scans, loads, walks = [], [], []
        for at in range(9):
            query = rows[at : at + 1]
            fresh = open_store(folder)
            scans.append(seconds(partial(fresh.search, query, 20, way="exact")))
            first = seconds(partial(fresh.search, query, 20, way="hnsw"))
            second = seconds(partial(fresh.search, query, 20, way="hnsw"))
            loads.append(first - second)
            walks.append(second)
            fresh.close()
        scan, load, walk = (1e3 * statistics.median(times) for times in (scans, loads, walks))
        print(
            f"{count:>7,}  {scan:5.1f} ms    {load:6.1f} ms        {walk:5.2f} ms"
            f"            {load / max(scan - walk, 1e-9):5.1f}"
        )


def embed(work: Path) -> None:
    """Indexing JPEG files of two sizes, against the same number of pictures in memory."""
    model = work / "vgg16.onnx"
    model.write_bytes(
        vgg16.build(vgg16.untrained(), name="bench", source="", licence="", trained=False)
    )
    embedder = Embedder(model, "cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 224, 224, 3), np.uint8)
    for name, (width, height), count in SETS:
        folder = work / name
        folder.mkdir()
        for at in range(count):
            photo(width, height, at).save(folder / f"{at}.jpg", quality=90)
        bare, whole, shares = [], [], []
        for turn in range(TURNS):
            alone = sum(seconds(partial(embedder.encode, pixels)) for _ in range(count // BATCH))
            with Library(work / f"{name}-{turn}", model=model, device="cpu") as library:
                library.add(folder / "0.jpg")  # loads the model
                spent = seconds(partial(library.add, folder))
            bare.append(count / alone)
            whole.append((count - 1) / spent)
            shares.append(whole[-1] / bare[-1])
        print(
            f"{count} JPEG files of {width * height / 1e6:.1f} megapixels: the bare network "
            f"{statistics.median(bare):.2f} pictures/s, index {statistics.median(whole):.2f}: "
            f"{statistics.median(shares):.0%}"
        )


def photo(width: int, height: int, seed: int) -> Image.Image:
    """Clouds of colour and some grain, to cost a decoder about what a photo does."""
    rng = np.random.default_rng(seed)
    clouds = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
    picture = np.asarray(clouds.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-12, 13, (height, width, 1), np.int16)
    return Image.fromarray(np.clip(picture + grain, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    benches = {"rerun": rerun, "search": search, "embed": embed}
    if len(sys.argv) != 2 or sys.argv[1] not in benches:  # noqa: PLR2004 - the script and a name
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        benches[sys.argv[1]](Path(folder))
