"""Decode hostile picture files, many, and count what comes of them.

    python scripts/fuzz_pictures.py                          10,000 inputs of every format
    python scripts/fuzz_pictures.py --inputs 200 png avif    fewer, of these formats
    python scripts/fuzz_pictures.py --state fuzz.jsonl       goes on where it was stopped
    python scripts/fuzz_pictures.py --show png 4711 > a.png  makes one input again

Whole files of every kind are damaged at random: bytes, extreme numbers, other sides, missing ends,
moved blocks, ends of other files, and damage inside parts whose lengths and checksums stay right.
One process decodes them one by one, as squares, parts, thumbnails and names of pixels in turn.
Another one watches: an input counts as a crash when the process ends, as a hang when it takes more
than --seconds of the processor (or ten times that by the clock), and as a glutton when it takes
more memory than --megabytes beyond what was in use before. Each of those, and every error that is
no ``PictureError``, is named with its number, and the exit code is 1. Nothing that claims more than
--max-megapixels is to be decoded.

What an input is follows from --seed, its format and its number alone. --state keeps what was done,
500 inputs a line; Linux only.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fuzzing.inputs import FORMATS, make, wholes

from imgindex import pixels
from imgindex.errors import PictureError
from imgindex.records import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.sharedctypes import Synchronized

    Decode = Callable[[bytes, int, "Limits"], tuple[str, str]]

CHUNK = 500  # inputs
_MOST_TOLD = 100
_SIDE = 64
_PART = Box(20, 30, 70, 50, percent=True)
_REASONS = (  # the first that the reason holds; in the order of the table
    ("over limit", ("over the limit", "free memory")),
    ("no picture", ("not a picture", "empty file")),
    ("header", ("header cannot be read",)),
    ("no preview", ("a raw file without",)),
    ("damaged", ("truncated or damaged",)),
)
_OUTCOMES = ("decoded", *(name for name, _ in _REASONS), "other reason")
_ADDRESSES = 6 << 30  # bytes: keeps the machine alive, and is far above what is allowed


@dataclass
class Tally:
    """What came of the inputs ``first`` to ``first + count - 1`` of a format."""

    kind: str
    first: int
    count: int
    seed: int
    outcomes: dict[str, int] = field(default_factory=dict)
    slowest: tuple[float, int] = (0.0, -1)
    largest: tuple[int, int] = (0, -1)
    bad: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Limits:
    """What one input may take."""

    seconds: float
    megabytes: int
    megapixels: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments, decode, and tell."""
    asked = _parser().parse_args(arguments)
    if asked.show:
        sys.stdout.buffer.write(make(asked.seed, asked.show[0], int(asked.show[1])))
        return 0
    limits = Limits(asked.seconds, asked.megabytes, asked.max_megapixels)
    tallies = _kept(asked.state, asked.seed) if asked.state else []
    done = {(tally.kind, tally.first) for tally in tallies}
    kinds = [kind for kind in asked.formats or FORMATS if wholes(kind)]
    chunks = [
        Tally(kind, first, min(CHUNK, asked.inputs - first), asked.seed)
        for first in range(0, asked.inputs, CHUNK)
        for kind in kinds
        if (kind, first) not in done
    ]
    begun = time.monotonic()
    for at, tally in enumerate(run(chunks, limits), 1):
        tallies.append(tally)
        if asked.state:
            with asked.state.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(tally)) + "\n")
        spent = time.monotonic() - begun
        print(f"\r{at} of {len(chunks)} chunks, {spent:.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(table(tallies))
    bad = [(tally.kind, *one) for tally in tallies for one in tally.bad]
    for kind, number, what in bad[:_MOST_TOLD]:
        print(f"{kind} {number}: {what}")
    return 1 if bad else 0


def run(chunks: Sequence[Tally], limits: Limits, decode: Decode | None = None) -> Iterator[Tally]:
    """Decode the inputs of some chunks, in a process that is begun again when it ends.

    Args:
        chunks: what to decode; outcomes are filled in.
        limits: what one input may take.
        decode: gives the outcome in a word, and what is wrong with it; None for the real one.
    """
    worker: Worker | None = None
    try:
        for chunk in chunks:
            bad = dict[int, str]()
            while True:
                worker = worker or Worker(limits, decode or _decode)
                tally, harm = worker.work(chunk, frozenset(bad))
                if tally is not None:
                    break
                worker.end()
                worker = None
                bad |= harm
            tally.bad += bad.items()
            tally.bad.sort()
            yield tally
    finally:
        if worker is not None:
            worker.end()


class Worker:
    """A process that decodes."""

    def __init__(self, limits: Limits, decode: Decode) -> None:
        """Start it."""
        context = multiprocessing.get_context("spawn")
        self._limits = limits
        self._at = context.Value("q", -1)
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, self._at, limits, decode), daemon=True
        )
        self._process.start()
        theirs.close()

    def work(self, chunk: Tally, less: frozenset[int]) -> tuple[Tally | None, dict[int, str]]:
        """Decode a chunk less some inputs: what came of it, or which input ended the process."""
        self._at.value = -1
        self._pipe.send((chunk, less))
        at, since, used = -1, 0.0, 0.0
        while not self._pipe.poll(0.05):
            if not self._process.is_alive() and not self._pipe.poll():
                return None, {self._at.value: f"crash, exit code {self._process.exitcode}"}
            if self._at.value != at:
                at, since, used = self._at.value, time.monotonic(), self._used()
            elif at >= 0 and (
                self._used() - used > self._limits.seconds
                or time.monotonic() - since > 10 * self._limits.seconds
            ):
                return None, {at: f"hang, over {self._limits.seconds:g} s"}
        try:
            return self._pipe.recv(), {}
        except EOFError:
            self._process.join()
            return None, {self._at.value: f"crash, exit code {self._process.exitcode}"}

    def _used(self) -> float:
        """Seconds of the processor that it has used."""
        try:
            text = Path(f"/proc/{self._process.pid}/stat").read_text("ascii", "replace")
        except OSError:  # it has ended
            return 0.0
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection, at: Synchronized[int], limits: Limits, decode: Decode) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries in C say of what they meet
    warm = set[str]()
    while True:
        try:
            tally, less = pipe.recv()
        except EOFError:
            return
        if tally.kind not in warm:  # what is loaded once is nobody's memory
            warm.add(tally.kind)
            for number in range(4 * len(wholes(tally.kind))):
                _decode(wholes(tally.kind)[number // 4], number, limits)
        outcomes = Counter[str]()
        for number in range(tally.first, tally.first + tally.count):
            if number in less:
                continue
            data = make(tally.seed, tally.kind, number)
            at.value = number
            before, begun = _memory(), time.process_time()
            outcome, harm = decode(data, number, limits)
            seconds, grown = time.process_time() - begun, _peak() - before
            outcomes[outcome] += 1
            tally.slowest = max(tally.slowest, (round(seconds, 4), number))
            tally.largest = max(tally.largest, (grown, number))
            if harm:
                tally.bad.append((number, harm))
            if grown > limits.megabytes * 1000:
                tally.bad.append((number, f"glutton, {grown / 1000:.0f} MB"))
            at.value = -1
        tally.outcomes = dict(outcomes)
        pipe.send(tally)


def _decode(data: bytes, number: int, limits: Limits) -> tuple[str, str]:
    """What comes of one input, in a word; and what is wrong with it."""
    most = limits.megapixels
    try:
        if number % 4 == 1:
            pixels.thumbnail(data, _SIDE, max_megapixels=most)
        elif number % 4 == 2:  # noqa: PLR2004 - in turn
            pixels.digest(data, max_megapixels=most)
            pixels.pages(data)
        else:
            box = _PART if number % 4 == 3 else None  # noqa: PLR2004 - in turn
            shown = pixels.decode(data, size=_SIDE, fit="squash", max_megapixels=most, box=box)
            if shown.pixels.shape != (_SIDE, _SIDE, 3):
                return "decoded", f"pixels of shape {shown.pixels.shape}"
            if shown.width * shown.height > most * 1e6 and shown.format not in {"RAW", "DNG"}:
                return "decoded", f"a bomb of {shown.width} x {shown.height}"
    except PictureError as error:
        for name, words in _REASONS:
            if any(word in str(error) for word in words):
                return name, ""
        return "other reason", ""
    except Exception as error:  # noqa: BLE001 - the very thing that is looked for
        return "other reason", f"{type(error).__name__}: {error}"
    return "decoded", ""


def _memory() -> int:
    """What is in use, in kB; the peak begins anew from here."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return _peak()


def _peak() -> int:
    text = Path("/proc/self/status").read_text("ascii")
    return int(text.partition("VmHWM:")[2].split(None, 1)[0])


def table(tallies: Sequence[Tally]) -> str:
    """A row for every format, and one for all."""
    titles = ("format", "inputs", *_OUTCOMES, "harm", "slowest", "largest")
    rows = [titles, *(_row(kind, tallies) for kind in dict.fromkeys(one.kind for one in tallies))]
    rows.append(_row("all", tallies))
    widths = [max(len(row[at]) for row in rows) for at in range(len(titles))]
    lines = (
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(lines)


def _row(kind: str, tallies: Sequence[Tally]) -> tuple[str, ...]:
    those = [one for one in tallies if kind in {one.kind, "all"}]
    outcomes = sum((Counter(one.outcomes) for one in those), Counter[str]())
    return (
        kind,
        f"{sum(one.count for one in those):,}",
        *(f"{outcomes[name]:,}" for name in _OUTCOMES),
        str(sum(len(one.bad) for one in those)),
        f"{max((one.slowest[0] for one in those), default=0):.2f} s",
        f"{max((one.largest[0] for one in those), default=0) / 1000:.0f} MB",
    )


def _kept(path: Path, seed: int) -> list[Tally]:
    if not path.exists():
        return []
    tallies = [Tally(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    return [one for one in tallies if one.seed == seed]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--inputs", type=int, default=10_000, help="of every format [10000]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", type=Path, help="file that keeps what was done")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of the processor, for one input [10]"
    )
    parser.add_argument("--megabytes", type=int, default=400, help="for one input [400]")
    parser.add_argument("--max-megapixels", type=float, default=16.0, help="[16]")
    parser.add_argument("--show", nargs=2, metavar=("FORMAT", "NUMBER"), help="write one input")
    return parser


if __name__ == "__main__":
    sys.exit(main())
