"""Measure the service: clients and service on this machine, over the loopback device.

    python scripts/bench_serve.py search                100,000 made pictures, searches by id
    python scripts/bench_serve.py search --readers 2    the same, looked up by two processes
    python scripts/bench_serve.py upload FOLDER         pictures that are sent, against embedding
    python scripts/bench_serve.py memory                whether it grows over 80,000 requests

Clients run in a process of their own and share the cores with the service, which writes its log of
requests to a file. Made rows lie in groups of about 60, a fifth of them are noise; every request
asks for another picture where nothing else is said.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import numpy as np
from benches.load import get, load, post
from benches.made import library_of, made_rows

from imgindex import Library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imgindex.records import Pixels

_CLIENTS = (1, 8, 64)
_ROUNDS = 5
_SOAK = 20_000
_PAGE = os.sysconf("SC_PAGE_SIZE")


@contextmanager
def served(
    library: Path, work: Path, model: str | None = None, readers: int = 0
) -> Iterator[tuple[int, int]]:
    """Serve a library; its port and the service's process."""
    log = work / "serve.log"
    command = [sys.executable, "-c", "from imgindex.cli import main; main()", "serve"]
    command += ["--library", str(library), "--port", "0", "--originals"]
    command += ["--readers", str(readers)]
    command += ["--model", model] if model else []
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(command, stderr=out, stdout=out)  # noqa: S603 - our own command
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/", log.read_text("utf-8"))):
            if process.poll() is not None:
                raise SystemExit(log.read_text("utf-8"))
            time.sleep(0.05)
        port = int(found[1])
        while load(port, [get("/readyz")], 1, most=1, seconds=5).failed or not _ready(port):
            time.sleep(0.2)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(60)


def _ready(port: int) -> bool:
    return bool(load(port, [get("/readyz")], 1, most=1, seconds=5).times)


def made_library(work: Path, count: int) -> Path:
    """A library of made rows, kept in the folder for the next time."""
    place = work / f"made-{count}"
    if not place.exists():
        rows, _ = made_rows(count, np.random.default_rng(0))
        spent = library_of(place, rows, work / f"files-{count}")
        print(f"{count:,} pictures stored and linked in {spent:.0f} s")
    return place


def by_id(pictures: Sequence[int]) -> list[bytes]:
    """Requests for what looks like some pictures."""
    return [get(f"/v1/pictures/{at:032x}/similar?k=20") for at in pictures]


def search(work: Path, count: int, readers: int) -> None:
    """Searches by id: answers a second and how long they take, by clients.

    Every picture is asked for once, so that no answer was given before; and some once more.
    """
    turns = [(clients, turn) for turn in range(_ROUNDS) for clients in _CLIENTS]
    parts = np.array_split(np.random.default_rng(1).permutation(count), len(turns) + 1)
    with served(made_library(work, count), work, readers=readers) as (port, _):
        known = by_id(parts.pop().tolist())
        load(port, known, 8, most=len(known), seconds=999)
        rates: dict[str, list[float]] = {}
        for clients, turn in turns:
            requests = by_id(parts.pop().tolist())
            for name, asked in (("new", requests), ("asked before", known)):
                found = load(port, asked, clients, most=len(asked), seconds=999)
                rates.setdefault(f"{clients} clients, {name}", []).append(found.rate)
                print(f"round {turn}, {clients} clients, {name}: {found.line()}", flush=True)
        for name, some in rates.items():
            print(f"median, {name}: {statistics.median(some):,.0f} a second")


def upload(folder: Path, work: Path, model: str, seconds: float) -> None:
    """Searches by pictures that are sent, against seeing and embedding them in this process."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    drawn = np.random.default_rng(0).permutation(len(files))
    indexed, sent = ([files[at] for at in some] for some in (drawn[:400], drawn[400:460]))
    place = work / "photos"
    with Library(place, model=model) as library:
        library.add(indexed)
    bodies = [path.read_bytes() for path in sent]
    requests = [post("/v1/search/upload?k=20", body) for body in bodies]
    with Library(place) as library, served(place, work) as (port, _):
        library.warm()
        ratios = compared(library, bodies, lambda: load(port, requests, 1, most=60, seconds=99))
        print(
            f"one client to bare embedding, median of {len(ratios)} rounds: "
            f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        )
        rates: dict[int, list[float]] = {clients: [] for clients in _CLIENTS}
        for turn in range(_ROUNDS):
            for clients in np.random.default_rng(turn).permutation(_CLIENTS).tolist():
                found = load(port, requests, clients, most=10**9, seconds=seconds)
                rates[clients].append(found.rate)
                print(f"search by upload, {clients} clients: {found.line()}", flush=True)
        best = max(map(statistics.median, rates.values()))
        for clients, some in rates.items():
            print(
                f"median, {clients} clients: {statistics.median(some):.1f} a second, "
                f"{statistics.median(some) / best:.3f} of the best"
            )


def compared(library: Library, bodies: Sequence[bytes], ask: Callable[[], object]) -> list[float]:
    """Times of asking over times of seeing and embedding the same pictures, round by round."""
    ratios = []
    for turn in range(_ROUNDS + 1):
        spent = {}
        for name in np.random.default_rng(turn).permutation(["bare", "served"]).tolist():
            time.sleep(0.5)
            began = time.perf_counter()
            if name == "bare":
                for body in bodies:
                    seen = library.see(body)
                    assert seen.ndim == 3  # noqa: S101, PLR2004 - none of them is indexed
                    library.embed([cast("Pixels", seen)])
                spent[name] = time.perf_counter() - began
            else:
                found = ask()
                spent[name] = found.seconds  # type: ignore[attr-defined]
        if turn:  # the first is not counted
            ratios.append(spent["served"] / spent["bare"])
    return ratios


def memory(work: Path, count: int) -> None:
    """Resident memory after every thousand of many requests."""
    with served(made_library(work, count), work) as (port, process):
        drawn = np.random.default_rng(1).integers(0, count, 4 * _SOAK).reshape(-1, 2000)
        sizes = []
        for some in drawn.tolist():
            load(port, by_id(some), 8, most=2000, seconds=999)
            sizes.append(resident(process))
        print("resident, MB:", " ".join(f"{size / 1e6:.0f}" for size in sizes))
        half = len(sizes) // 2
        grown = (sizes[-1] - sizes[half]) / sizes[half]
        print(f"grown by {grown:.1%} over the last {2 * _SOAK:,} of {4 * _SOAK:,} requests")


def resident(process: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1]) * _PAGE


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("search", "upload", "memory"))
    parser.add_argument("folder", nargs="?", type=Path, help="pictures to send")
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--readers", type=int, default=0, help="processes that search")
    parser.add_argument("--seconds", type=float, default=5, help="of each load")
    parser.add_argument("--model", default="untrained-int8")
    parser.add_argument("--work", type=Path, help="folder to keep made libraries in")
    asked = parser.parse_args()
    with TemporaryDirectory() as temporary:
        work = asked.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("IMGINDEX_HOME", str(work / "home"))
        if asked.what == "search":
            search(work, asked.pictures, asked.readers)
        elif asked.what == "memory":
            memory(work, asked.pictures)
        elif asked.folder is None:
            parser.error("name a folder of pictures to send")
        else:
            upload(asked.folder, work, asked.model, asked.seconds)


if __name__ == "__main__":
    main()
