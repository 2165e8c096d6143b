"""A second index run over an unchanged tree, against a bare walk that looks at every file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from imgindex import Library

from .made import model_file
from .measuring import Method, Report, Table, Turns

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS, CONTENTS, SIDE = 100, 64, 32
WALK, AGAIN = "bare walk with stat", "imgindex, index again"
WALKER = "import os, sys\nfor d, _, n in os.walk(sys.argv[1]):\n for f in n: os.stat(d + '/' + f)"


def bare_walk(root: Path) -> int:
    """What any tool has to do at least: walk, and stat each file."""
    count = 0
    for folder, _, names in os.walk(root):
        for name in names:
            os.stat(f"{folder}/{name}")  # noqa: PTH116 - the barest way
            count += 1
    return count


def run(work: Path, *, rounds: int = 15, files: int = 20_000, pause: float = 0.0) -> Report:
    """Index a tree, then again and again.

    Args:
        work: an empty folder.
        rounds: turns of each method.
        files: in the tree, copies of 64 small pictures.
        pause: seconds of rest ahead of a turn.
    """
    tree, place = work / "tree", work / "library"
    _grow(tree, files)
    with Library(place, model=model_file(work / "small.onnx", SIDE), device="cpu") as library:
        library.add(tree)
    command = ["-c", "from imgindex.cli import main; main()"]
    command += ["index", str(tree), "--library", str(place)]
    with Library(place) as library:
        library.add(tree)
        inside = {WALK: Method(partial(bare_walk, tree)), AGAIN: Method(partial(library.add, tree))}
        outside = {
            WALK: Method(partial(_process, ["-c", WALKER, str(tree)])),
            AGAIN: Method(partial(_process, command)),
        }
        turns, tables = Turns(rounds, pause), []
        for title, methods in (("in one process", inside), ("as whole processes", outside)):
            taken = turns.take(methods)
            figures = {name: [1e3 * one for one in each.seconds] for name, each in taken.items()}
            tables.append(Table(f"{files:,} unchanged files, {title}", "ms", WALK, figures))
    return Report("rerun", {"rounds": rounds, "files": files}, tables, turns.left_out)


def _grow(tree: Path, files: int) -> None:
    rng = np.random.default_rng(0)
    for at in range(FOLDERS):
        (tree / f"{at}").mkdir(parents=True)
    sources = [tree / f"{at % FOLDERS}" / f"{at}.png" for at in range(CONTENTS)]
    for source in sources:
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(source)
    for at in range(CONTENTS, files):
        shutil.copyfile(sources[at % CONTENTS], tree / f"{at % FOLDERS}" / f"{at}.png")


def _process(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
