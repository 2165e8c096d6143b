"""A week of use in an hour: one library that is changed all the time while others read it.

    python scripts/soak.py --cycles 1000
    python scripts/soak.py --minutes 40 --seed 7 --json > soak.json

In every cycle somebody changes a folder of tiny pictures: adds, overwrites, moves, copies and
deletes some, and renames whole folders. Then four programs work at once, each a process that lives
to the end:

    writer   indexes, prunes, groups, looks for copies
    reader   searches, by every vector and by the graph
    visitor  opens the library anew, exports its groups, verifies it
    serve    ``imgindex serve``, asked over the loopback device

The folder alone tells what is right: every file that an answer names must be there, the
library must hold the files that the folder holds, what came last must find itself, and ``verify``
must find nothing wrong. Memory, open handles, bytes on disk and recall are noted on the way; what
they grow by from the third quarter of all cycles to the last one is told in the end, and counts as
wrong beyond the limits below. Ends with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import httpx
from bench_serve import resident, served
from soaking.folder import Folder, picture
from soaking.roles import ROLES, Program, Turn

from imgindex import Library, vgg16

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MEMORY, DISK, RECALL = 0.05, 0.10, -0.02  # what may be gained (of recall: lost)
HANDLES = 2
_QUARTERS = 4
_LISTED = 10
_GONE = (404, 410)  # a picture that the writer removed meanwhile
_TOLD = 20


@dataclass(slots=True)
class Soak:
    """What came of it.

    Attributes:
        cycles: how many there were.
        seconds: how long they took.
        done: operations, by kind.
        wrong: what must not be.
        figures: each figure's values on the way, by name: ``memory``, ``handles`` (of each
            program), ``disk`` and ``recall``.
    """

    cycles: int = 0
    seconds: float = 0.0
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=dict)

    def take(self, turn: Turn) -> None:
        """Count what a program did."""
        self.done.update(turn.done)
        self.wrong += [f"cycle {self.cycles}: {line}" for line in turn.wrong]
        if turn.recall is not None:
            self.figures.setdefault("recall", []).append(turn.recall)

    def note(self, programs: Mapping[str, int], library: Path) -> None:
        """Note memory, handles and disk as they are now."""
        for name, pid in programs.items():
            self.figures.setdefault(f"memory of {name}", []).append(resident(pid))
            self.figures.setdefault(f"handles of {name}", []).append(_handles(pid))
        self.figures.setdefault("disk", []).append(_bytes(library))

    def judge(self) -> None:
        """Hold the figures against their limits."""
        for name, values in self.figures.items():
            before, after = _late(values)
            kind = name.split()[0]
            if kind == "handles":
                bad = after - before > HANDLES
            elif kind == "recall":
                bad = after - before < RECALL
            else:
                bad = after / before - 1 > {"memory": MEMORY, "disk": DISK}[kind]
            if bad:
                self.wrong.append(f"{name} went from {before:,.4g} to {after:,.4g}")


def _handles(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a count, no paths


def _bytes(folder: Path) -> int:
    sizes = 0
    for entry in os.scandir(folder):
        try:
            sizes += entry.stat().st_size
        except FileNotFoundError:  # a temporary file of the writer
            continue
    return sizes


def _late(values: Sequence[float]) -> tuple[float, float]:
    """The medians of the third quarter and of the last one."""
    each = max(1, len(values) // _QUARTERS)
    return statistics.median(values[-2 * each : -each] or values), statistics.median(values[-each:])


def ask(client: httpx.Client, newest: Path, chance: random.Random) -> Turn:
    """What one who sits before the page asks: bounded, whatever the answers are."""
    turn = Turn()

    def get(address: str, **words: object) -> httpx.Response:
        answer = client.get(address, params={name: str(word) for name, word in words.items()})
        turn.done["requests"] += 1
        return answer

    listed = get("/v1/pictures", limit=_LISTED, offset=chance.randrange(100)).json()
    for one in listed["pictures"][:2]:
        found = get(f"/v1/pictures/{one['id']}/similar", k=_LISTED)
        if found.status_code == httpx.codes.OK:
            turn.there([match["path"] for match in found.json()["matches"]], "service")
        elif found.status_code not in _GONE:
            turn.wrong.append(f"service: {found.status_code} {found.text}")
        small = get(f"/v1/pictures/{one['id']}/thumbnail/small")
        if small.status_code not in {httpx.codes.OK, *_GONE}:
            turn.wrong.append(f"service: {small.status_code} {small.text}")
    sent = client.post(f"/v1/search/upload?k={_LISTED}", content=newest.read_bytes())
    turn.done["requests"] += 1
    if sent.status_code == httpx.codes.OK:
        turn.there([match["path"] for match in sent.json()["matches"]], "service")
    else:
        turn.wrong.append(f"service: {sent.status_code} {sent.text}")
    if get("/v1/groups").status_code != httpx.codes.OK:
        turn.wrong.append("service: no groups")
    return turn


def soak(work: Path, *, cycles: int, seconds: float, pictures: int, seed: int) -> Soak:
    """Use a library for long.

    Args:
        work: an empty folder.
        cycles: how many at most.
        seconds: how long at most.
        pictures: how many there are about.
        seed: of all that is drawn.
    """
    chance = random.Random(seed)  # noqa: S311 - drawn alike every time, no secret
    folder = Folder(work / "pictures", chance, pictures)
    places = work / "library", _model(work / "tiny.onnx"), folder.place
    with Library(places[0], model=places[1], device="cpu") as library:
        library.add([folder.place])
        library.cluster(min_cluster_size=4)
    found = Soak()
    every = max(1, cycles // 200)
    began = time.perf_counter()
    with ExitStack() as stack:
        port, pid = stack.enter_context(served(places[0], work, str(places[1])))
        address = f"http://127.0.0.1:{port}"
        client = stack.enter_context(httpx.Client(base_url=address, trust_env=False, timeout=300))
        programs = [stack.enter_context(Program(role, places, seed)) for role in ROLES]
        pids = {one.role: one.pid for one in programs} | {"serve": pid}
        while found.cycles < cycles and time.perf_counter() - began < seconds:
            found.cycles += 1
            folder.change()
            for one in programs:
                one.begin(found.cycles, folder.newest)
            found.take(ask(client, folder.newest, chance))
            for one in programs:
                found.take(turn := one.end())
                if turn.files not in {-1, len(folder.held)}:
                    found.wrong.append(
                        f"cycle {found.cycles}: {len(folder.held)} files, indexed {turn.files}"
                    )
            if found.cycles % every == 0:
                found.note(pids, places[0])
                _tell(found, time.perf_counter() - began)
    found.seconds = time.perf_counter() - began
    found.done.update(folder.done)
    with Library(places[0]) as library:
        found.wrong += [f"verify at the end: {line}" for line in library.verify()]
        held = {match.path for file in folder.held for match in library.search(file, 1).matches}
        found.wrong += [f"not found: {path}" for path in held - set(map(str, folder.held))]
    found.wrong += [
        f"{path} was changed" for path, made in folder.held.items() if not _is(path, made)
    ]
    return found


def _is(path: Path, seed: int) -> bool:
    return path.read_bytes() == picture(seed)


def _model(path: Path) -> Path:
    data = vgg16.build(
        vgg16.untrained(0),
        layer="block3_pool",
        size=32,
        name=path.stem,
        source="random, seed 0",
        licence="CC0-1.0",
        trained=False,
    )
    path.write_bytes(data)
    return path


def _tell(found: Soak, seconds: float) -> None:
    last = {name: values[-1] for name, values in found.figures.items()}
    memory = " ".join(
        f"{name.rpartition(' ')[2]} {value / 1e6:.0f}"
        for name, value in last.items()
        if name.startswith("memory")
    )
    handles = " ".join(f"{last[name]:.0f}" for name in last if name.startswith("handles"))
    print(
        f"cycle {found.cycles}, {seconds:.0f} s: MB {memory}; handles {handles}; "
        f"disk {last['disk'] / 1e6:.2f} MB; wrong {len(found.wrong)}",
        file=sys.stderr,
        flush=True,
    )


def table(found: Soak) -> list[str]:
    """The figures in Markdown."""
    lines = [
        f"{found.cycles:,} cycles in {found.seconds / 60:.1f} min",
        "",
        "| operation | times |",
        "|---|---|",
        *(f"| {name} | {times:,} |" for name, times in sorted(found.done.items())),
        "",
        "| figure | first quarter | third quarter | last quarter | grown |",
        "|---|---|---|---|---|",
    ]
    for name, values in found.figures.items():
        before, after = _late(values)
        first = statistics.median(values[: max(1, len(values) // _QUARTERS)])
        shown = [_shown(name, value) for value in (first, before, after)]
        lines.append(f"| {name} | {' | '.join(shown)} | {after / before - 1:+.1%} |")
    return [*lines, "", f"wrong: {len(found.wrong):,}", *_some(found.wrong)]


def _shown(name: str, value: float) -> str:
    if name.startswith(("memory", "disk")):
        return f"{value / 1e6:.1f} MB"
    return f"{value:.4f}" if name == "recall" else f"{value:.0f}"


def _some(lines: Sequence[str]) -> Iterable[str]:
    yield from (f"  {line}" for line in lines[:_TOLD])
    if len(lines) > _TOLD:
        yield f"  and {len(lines) - _TOLD:,} more"


def main(arguments: Sequence[str] | None = None) -> int:
    """Use a library for long, and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=60, help="ends after so many, too")
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="every figure on the way, as JSON")
    asked = parser.parse_args(arguments)
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        os.environ.setdefault("IMGINDEX_HOME", str(work / "home"))
        found = soak(
            work,
            cycles=asked.cycles,
            seconds=asked.minutes * 60,
            pictures=asked.pictures,
            seed=asked.seed,
        )
    found.judge()
    if asked.json:
        told = {"cycles": found.cycles, "seconds": found.seconds, "done": found.done}
        print(json.dumps({**told, "wrong": found.wrong, "figures": found.figures}, indent=1))
    else:
        print("\n".join(table(found)))
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
