"""Bytes of a library that are not what was written: flipped, wiped, cut off, of another library."""

from __future__ import annotations

import os
import random
import shutil
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torturing.scenes import Scene
    from torturing.stage import Outcome, Stage
    from torturing.torments import Tally

HEAD, PAGE = 128, 512


def damages(
    path: Path, other: Path, regions: int, chance: random.Random
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Ways to damage a file, by what they are called.

    Args:
        path: the file.
        other: the file of that name in another library.
        regions: in how many places, spread over the file, one in each; and as many in its head.
        chance: draws where in them, and which bit.
    """
    size = path.stat().st_size
    places = {chance.randrange(min(HEAD, size)) for _ in range(regions)} if size else set()
    for at in range(regions):
        low, high = size * at // regions, size * (at + 1) // regions
        if low < high:
            places.add(chance.randrange(low, high))
    for at in sorted(places):
        yield f"bit at {at}", partial(_flip, path, at, chance.randrange(8))
    for at in range(regions):
        place = size * at // regions
        if size:
            yield f"{PAGE} zeros at {place}", partial(_wipe, path, place)
            yield f"cut to {place}", partial(os.truncate, path, place)
    yield "deleted", path.unlink
    yield "another library's", partial(shutil.copyfile, other, path)


def _flip(path: Path, at: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def _wipe(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        held = file.read()[place : place + PAGE]
        file.seek(place)
        file.write(bytes(len(held)))


def damaged(  # noqa: PLR0913 - what a case is made of
    stage: Stage, scene: Scene, other: Scene, tally: Tally, regions: int, *, seed: int = 0
) -> None:
    """Damage every file of a library, and see what is told of it and what can be mended.

    Every other case puts the file's time back: as a disk does that rots.
    """
    chance = random.Random(seed)  # noqa: S311 - places, not secrets
    scene.set()
    other.set()
    stage.do(scene.job, scene.root, **scene.given)
    stage.do(other.job, other.root, **other.given)
    sound = scene.root.with_name("sound")
    shutil.copytree(scene.root, sound)
    library = scene.root / "library"
    for name in sorted(path.name for path in library.iterdir()):
        path = library / name
        ways = list(damages(path, other.root / "library" / name, regions, chance))
        for number, (what, damage) in enumerate(ways):
            shutil.rmtree(scene.root)
            shutil.copytree(sound, scene.root)
            times = path.stat()
            damage()
            if number % 2 and path.exists():
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            done = stage.do(
                "examine",
                scene.root,
                place=str(library),
                known=str(scene.known),
                end=scene.end,
                model=scene.given["model"],
            )
            wrong, end = _judged(done)
            tally.case("damage", name, what, wrong)
            tally.notes[f"damage, {name}", end] += 1


def _judged(done: Outcome) -> tuple[str | None, str]:
    """What is wrong with how damage was dealt with, and what became of it."""
    if done.crash or done.error:
        return f"{done.crash or done.error}: {done.value}", "crashed"
    told = done.value
    if told["wrong"] and not told["named"]:
        return told["wrong"], "wrong"
    if not told["same"] and not told["named"]:
        return "unnoticed", "unnoticed"
    if told["whole"]:
        return None, "mended" if told["named"] or told["mended"] else "harmless"
    if told["after"]:
        return None, "named, not mended: " + told["after"][0].split("; ")[0][-60:]
    return None, "what is lost is named" if told["lost"] else "whole, not as it was"
