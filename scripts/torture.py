"""Kill, unplug, fill up and damage libraries, and see whether they come out whole.

    python scripts/torture.py                      every 20th change of files, some minutes
    python scripts/torture.py --full               every one, hours
    python scripts/torture.py --scene prune --kind cut --step 5

The table says how many cases of each kind there were, and how many failed. What is tried is told in
torturing/torments.py and torturing/damage.py; a C compiler is needed, and Linux.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from torturing.damage import damaged
from torturing.scenes import NAMES, Theatre
from torturing.stage import Stage
from torturing.torments import Tally, Torturer, lines

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = ("kill", "instant", "EIO", "ENOSPC", "full", "onlooker", "cut", "damage")
STEP, INSTANTS, MANY = 20, 10, 100
REGIONS, ALL_REGIONS = 10, 100


def torture(  # noqa: PLR0913 - each may be asked for alone, by keyword
    folder: Path,
    *,
    scenes: Sequence[str] = NAMES,
    kinds: Sequence[str] = KINDS,
    step: int = STEP,
    instants: int = INSTANTS,
    regions: int = REGIONS,
) -> Tally:
    """Disturb jobs on libraries in every way; see ``main`` for the arguments."""
    tally = Tally()
    with Stage(folder) as stage:
        theatre = Theatre(folder, stage)
        torturer = Torturer(stage, folder, tally, step)
        if "damage" in kinds:
            damaged(stage, *theatre.pair(), tally, regions)
        for scene in theatre.scenes(scenes):
            for kind in [one for one in kinds if one != "damage"]:
                began, before = time.monotonic(), tally.cases.total()
                if kind == "kill":
                    torturer.kills(scene)
                elif kind == "instant":
                    torturer.instants(scene, instants)
                elif kind == "onlooker":
                    torturer.onlookers(scene)
                elif kind == "cut":
                    torturer.cuts(scene)
                else:
                    torturer.errors(scene, kind)
                print(
                    f"{scene.name}, {kind}: {tally.cases.total() - before} cases, "
                    f"{len(tally.failures)} failures so far, {time.monotonic() - began:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
    return tally


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments, torture, and tell; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="meet every change")
    parser.add_argument("--step", type=int, help="meet every which change")
    parser.add_argument("--scene", action="append", choices=NAMES)
    parser.add_argument("--kind", action="append", choices=KINDS)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        tally = torture(
            Path(folder),
            scenes=asked.scene or NAMES,
            kinds=asked.kind or KINDS,
            step=asked.step or (1 if asked.full else STEP),
            instants=MANY if asked.full else INSTANTS,
            regions=ALL_REGIONS if asked.full else REGIONS,
        )
    print("\n".join(lines(tally)))
    for (kind, what), count in sorted(tally.notes.items()):
        print(f"{kind}: {what}: {count:,}")
    for failure in tally.failures:
        print("FAILED", *failure)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
