"""A folder of JPEG files to rows on the disk, end to end, once the network is loaded."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgindex import Library

from .embed import named, ours
from .made import model_file, photo
from .measuring import PAUSE, Method, Report, Table, Turns, paired_ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgindex.embed import Embedder
    from imgindex.records import Pixels

SIZES = ("512x384", "4000x3000")
PLAIN = "plain torch loop"
SCRIPTS = {
    PLAIN: ("loop", "torch"),
    "torch DataLoader": ("loader", "torch"),
    "imagededup, VGG16": ("imagededup-vgg16", "imagededup"),
    "imagededup, its MobileNetV3": ("imagededup", "imagededup"),
}
_JPEG_QUALITY = 90


@dataclass(slots=True)
class Indexing:
    """imgindex over a folder, into a new library each time."""

    model: Path
    folder: Path
    warm: Path
    work: Path
    device: str
    library: Library | None = None
    turn: Iterator[int] = field(default_factory=count)

    def before(self) -> None:
        """Begin a library, and have it load the network for a picture that is not counted."""
        name = f"{self.folder.name}-{self.model.stem}-{self.device}-{next(self.turn)}"
        self.library = Library(self.work / name, model=self.model, device=self.device)
        self.library.add(self.warm)

    def index(self) -> None:
        """Index the folder.

        Raises:
            RuntimeError: not every picture was embedded.
        """
        assert self.library is not None  # noqa: S101 - for the type checker; before() sees to it
        report = self.library.add(self.folder)
        if report.added != sum(1 for _ in self.folder.iterdir()):
            raise RuntimeError(f"{report.added} pictures were embedded")

    def after(self) -> None:
        """Close it."""
        if self.library is not None:
            self.library.close()


class Script:
    """A script of ``plain``, in a process of its own that waits between its turns."""

    def __init__(self, kind: str, side: int, stack: ExitStack) -> None:
        """Start it.

        Raises:
            RuntimeError: it ended before it was ready.
        """
        # No pipe: what nobody reads would block the script once it is full.
        self._told = stack.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115 - the stack closes it
        self._process = stack.enter_context(
            subprocess.Popen(  # noqa: S603
                [sys.executable, "-W", "ignore", "-m", "benches.plain", kind, str(side)],
                cwd=Path(__file__).parents[1],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._told,
                text=True,
            )
        )
        self._expect("ready")

    def index(self, folder: Path, out: Path) -> None:
        """Have it do a folder."""
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        self._process.stdin.write(f"{folder}\t{out}\n")
        self._process.stdin.flush()
        self._expect("done")

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        if self._process.stdout.readline().strip() != word:
            self._process.wait()
            self._told.seek(0)
            told = self._told.read().strip().splitlines()
            raise RuntimeError(told[-1] if told else "it ended without a word")


def run(  # noqa: PLR0913 - each is an option of the command
    work: Path,
    *,
    rounds: int = 3,
    files: int = 48,
    sizes: tuple[str, ...] = SIZES,
    side: int = 224,
    model: tuple[Path, ...] = (),
    pause: float = PAUSE,
) -> Report:
    """Index folders of made JPEG files by every way that is here.

    Args:
        work: an empty folder.
        rounds: turns of each method.
        files: pictures a folder.
        sizes: of the pictures in pixels, ``WIDTHxHEIGHT``.
        side: what the network sees.
        model: further model files of imgindex.
        pause: seconds of rest ahead of a turn.
    """
    turns = Turns(rounds, pause)
    models = [model_file(work / "float32.onnx", side), *model]
    warm = work / "warm.jpg"
    photo(64, 64, files).save(warm, quality=_JPEG_QUALITY)
    tables = []
    with ExitStack() as stack:
        scripts = _scripts(side, stack, turns)
        for size in sizes:
            width, height = (int(one) for one in size.split("x"))
            folder = work / size
            folder.mkdir()
            for at in range(files):
                photo(width, height, at).save(folder / f"{at:04}.jpg", quality=_JPEG_QUALITY)
            methods = {
                name: Method(partial(script.index, folder, work / "rows.npy"))
                for name, script in scripts.items()
            }
            bare: dict[str, str] = {}
            ways = [(path, *way) for path in models for way in ours(path)]
            for path, kind, embedder in ways:
                indexing = Indexing(path, folder, warm, work, embedder.device)
                shape = (files, embedder.card.size, embedder.card.size, 3)
                pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
                name = named(kind, path, methods)
                methods[name] = Method(indexing.index, indexing.before, indexing.after)
                bare[name] = name.replace("imgindex", "bare network", 1)
                methods[bare[name]] = Method(partial(_embed, embedder, pixels))
            taken = turns.take(methods)
            figures = {
                name: [files / seconds for seconds in one.seconds] for name, one in taken.items()
            }
            more: dict[str, dict[str, Any]] = {
                name: {"of the bare network": paired_ratio(figures[name], figures[other])}
                for name, other in bare.items()
                if name in figures and other in figures
            }
            reference = PLAIN if PLAIN in figures else next(iter(bare))
            title = f"indexing JPEG files of {size} pixels, {width * height / 1e6:.1f} million"
            tables.append(Table(title, "pictures/s", reference, figures, more))
    settings = {"rounds": rounds, "files": files, "sizes": list(sizes), "side": side}
    return Report("index", {**settings, "model": list(model)}, tables, turns.left_out)


def _embed(embedder: Embedder, pixels: Pixels) -> None:
    for at in range(0, len(pixels), embedder.batch):
        embedder.encode(pixels[at : at + embedder.batch])


def _scripts(side: int, stack: ExitStack, turns: Turns) -> dict[str, Script]:
    """The scripts that run here."""
    here = {}
    absent = {module for module in ("torch", "torchvision", "imagededup") if turns.missing(module)}
    for name, (kind, module) in SCRIPTS.items():
        if {"torch", "torchvision", module} & absent:
            continue
        try:
            here[name] = Script(kind, side, stack)
        except RuntimeError as error:
            turns.leave_out(name, error)
    return here
