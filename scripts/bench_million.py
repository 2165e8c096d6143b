"""Index a million files: how long walking, bookkeeping and storing take, and how much memory.

    python scripts/bench_million.py 1_000_000
    python scripts/bench_million.py 200_000 --work /tmp/million --json

Every file is another picture of 2 x 2 pixels, so that reading and decoding cost next to nothing,
and the network is the first convolution of VGG16 on 32 x 32 pixels, with random weights and 64
numbers: what is measured is everything but embedding, and nothing is left out or replaced. Each
step is a process of its own:

    index      the first run: walk, read, decode, embed, store, link
    again      the second run, of which nothing changed
    files      all that the library knows of its files, as every run lists it
    search     100 searches by pictures of the library, in one process, after the first one
    verify     the library's files checked against each other

The files take a block and an inode each: 4 GB for a million on most file systems.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import struct
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from imgindex import Library, open_store, vgg16

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_A_FOLDER = 1000
_SEARCHES = 100


def make(place: Path, count: int) -> None:
    """Make the files, a thousand a folder; those that are there already are left."""
    for start in range(0, count, _A_FOLDER):
        folder = place / f"{start // (100 * _A_FOLDER):03}" / f"{start // _A_FOLDER:05}"
        if folder.exists():
            continue
        folder.mkdir(parents=True)
        for at in range(start, min(count, start + _A_FOLDER)):
            with open(f"{folder}/{at:08}.ppm", "wb") as file:  # noqa: PTH123 - a million of them
                file.write(picture(at))


def picture(number: int) -> bytes:
    """A PPM file of 2 x 2 pixels, another one for every number."""
    return b"P6 2 2 255\n" + struct.pack(">QI", number * 0x9E3779B97F4A7C15 % 2**64, number)


def model(path: Path) -> None:
    """Write the network."""
    data = vgg16.build(
        vgg16.untrained(0),
        layer="block1_conv1",
        size=32,
        name=path.stem,
        source="random, seed 0",
        licence="CC0-1.0",
        trained=False,
    )
    path.write_bytes(data)


def index(work: Path) -> str:
    """One run over all files."""
    with _library(work) as library:
        report = library.add([work / "files"])
    return f"{report.added:,} added, {report.unchanged:,} unchanged, {len(report.skipped)} skipped"


def files(work: Path) -> str:
    """List what is known of every file."""
    with closing(open_store(work / "library")) as store:
        return f"{len(store.files()):,} files"


def search(work: Path) -> str:
    """Search by pictures of the library; the median of all but the first."""
    with _library(work) as library:
        known = sorted((work / "files").glob("*/*/*.ppm"))[:: _A_FOLDER // 10][:_SEARCHES]
        times, found = [], 0
        for path in known:
            began = time.perf_counter()
            found += library.search(path, 10).matches[0].score > 1 - 1e-4
            times.append(1000 * (time.perf_counter() - began))
    median = sorted(times[1:])[len(times) // 2 - 1] if len(times) > 1 else times[0]
    return f"{found} of {len(known)} found themselves; first {times[0]:.0f} ms, then {median:.1f}"


def verify(work: Path) -> str:
    """Check the library."""
    with _library(work) as library:
        wrong = library.verify()
    return f"{len(wrong)} problems" + "".join(f"; {line}" for line in wrong[:3])


def _library(work: Path) -> Library:
    return Library(work / "library", model=work / "tiny.onnx", device="cpu")


STEPS: dict[str, Callable[[Path], str]] = {
    "index": index,
    "again": index,
    "files": files,
    "search": search,
    "verify": verify,
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What a step took: seconds, seconds of a core, the most memory it ever had; what it says."""

    step: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    says: str


def measured(step: str, work: Path) -> Measured:
    """Do a step in this process, which does nothing else."""
    began, before = time.perf_counter(), time.process_time()
    said = STEPS[step](work)
    return Measured(
        step,
        time.perf_counter() - began,
        time.process_time() - before,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        said,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Do every step, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--work", type=Path, help="folder to keep files and library in")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    with TemporaryDirectory() as temporary:
        work = asked.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("IMGINDEX_HOME", str(work / "home"))
        make(work / "files", asked.count)
        model(work / "tiny.onnx")
        told = []
        for step in STEPS:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                told.append(pool.submit(measured, step, work).result())
            print(f"{step}: {told[-1].says}", file=sys.stderr, flush=True)
        sizes = {entry.name: entry.stat().st_size for entry in (work / "library").iterdir()}
    if asked.json:
        print(
            json.dumps(
                {"files": asked.count, "steps": [asdict(one) for one in told], "bytes": sizes},
                indent=1,
            )
        )
    else:
        print("\n".join(table(asked.count, told, sizes)))


def table(count: int, told: Sequence[Measured], sizes: dict[str, int]) -> list[str]:
    """The figures in Markdown."""
    lines = [
        f"| {count:,} files | seconds | seconds of a core | memory at most, MB | |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.step} | {one.seconds:.1f} | {one.cpu_seconds:.1f} | {one.peak_bytes / 1e6:.0f} "
        f"| {one.says} |"
        for one in told
    ]
    whole = sum(sizes.values())
    shown = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in sorted(sizes.items()) if size)
    return [
        *lines,
        "",
        f"library: {whole / 1e6:.0f} MB, {whole / count:,.0f} bytes a file ({shown})",
    ]


if __name__ == "__main__":
    main()
