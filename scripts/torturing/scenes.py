"""What is under way when the disk misbehaves: a library as it is before, and a job on it."""

from __future__ import annotations

import os
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from imgindex import vgg16

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torturing.stage import Outcome, Stage

GOLDEN = Path(__file__).parents[2] / "tests/golden"
FORMATS = sorted(int(path.name[8:-7]) for path in GOLDEN.glob("library-*.tar.xz"))
NAMES = ("index", "continue", "prune", "cluster", "export", "serve", "mend", "migrate")
PAGE = 4096
PICTURES, FIRST, LEFT = 40, 24, 14


@dataclass(slots=True)
class Scene:
    """One job, from one state of a library to another.

    Attributes:
        name: what is done.
        job: the job in ``jobs``.
        before: what there is before; copied to ``root`` for every case.
        root: where the case takes place.
        known: the rows of all pictures that there may be.
        given: what the job is given.
        end: what the library holds after an undisturbed run.
        exported: the files that such a run wrote beside the library.
    """

    name: str
    job: str
    before: Path
    root: Path
    known: Path
    given: dict[str, Any]
    end: str = ""
    exported: dict[str, str] = field(default_factory=dict)

    @property
    def library(self) -> str:
        """Where the library is."""
        return str(self.root / "library")

    def set(self) -> None:
        """Put everything back to where it begins."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.before, self.root)


class Theatre:
    """Pictures, a model, and the scenes to play with them."""

    def __init__(self, folder: Path, stage: Stage) -> None:
        """Make them in an empty folder."""
        self._folder, self._stage = folder, stage
        self._model = str(folder / "small.onnx")
        Path(self._model).write_bytes(
            vgg16.build(
                vgg16.untrained(0),
                layer="block1_pool",
                size=32,
                name="small",
                source="",
                licence="",
                trained=False,
            )
        )
        self._pictures = folder / "pictures"
        draw(self._pictures, range(PICTURES))
        self._known = folder / "known.npz"
        whole = folder / "whole"
        whole.mkdir()
        self._index(self._pictures, whole)
        self._do("content", whole, place=str(whole / "library"), known=str(self._known))

    def scenes(self, names: Iterable[str] = NAMES) -> list[Scene]:
        """Scenes by name, each played once undisturbed."""
        made: list[Scene] = []
        for name in names:
            if name == "migrate":
                made += [self._rehearsed(self._migrate(version)) for version in FORMATS]
            else:
                scene = {
                    "index": self._begin,
                    "continue": self._continue,
                    "prune": self._prune,
                    "cluster": self._cluster,
                    "export": self._export,
                    "serve": self._serve,
                    "mend": self._mend,
                }[name]()
                made.append(self._rehearsed(scene))
        return made

    def pair(self) -> tuple[Scene, Scene]:
        """A library to damage, and another one of the same model to take files from."""
        mine = self._fill(self._scene("damage", "cluster", model=self._model), self._pictures)
        strange = self._folder / "strange"
        draw(strange, range(PICTURES, 2 * PICTURES))
        other = self._fill(self._scene("other", "cluster", model=self._model), strange)
        return self._rehearsed(mine), self._rehearsed(other)

    def _begin(self) -> Scene:
        return self._scene("index", "index", folder=str(self._pictures), model=self._model)

    def _rehearsed(self, scene: Scene) -> Scene:
        scene.set()
        self._do(scene.job, scene.root, **scene.given)
        known = {"known": str(scene.known)} if scene.job == "migrate" else {}
        scene.end = self._do("content", scene.root, place=scene.library, **known).value
        if scene.job == "export":
            scene.exported = self._do("tree", scene.root, folder=str(scene.root / "out")).value
        return scene

    def _scene(self, name: str, job: str, **given: Any) -> Scene:
        place = self._folder / name
        place.mkdir()
        (place / "before").mkdir()
        root = place / "root"
        given["place"] = str(root / "library")
        return Scene(name, job, place / "before", root, self._known, given)

    def _do(self, job: str, root: Path, **given: Any) -> Outcome:
        done = self._stage.do(job, root, **given)
        if done.error or done.crash:
            raise RuntimeError(f"{job} fails undisturbed: {done}")
        return done

    def _index(self, pictures: Path, root: Path) -> None:
        place = str(root / "library")
        self._do("index", root, folder=str(pictures), place=place, model=self._model)

    def _fill(self, scene: Scene, pictures: Path, *jobs: str, **given: Any) -> Scene:
        """Have a scene begin with a library of some pictures, and what jobs made of it."""
        scene.set()
        self._index(pictures, scene.root)
        for job in jobs:
            self._do(job, scene.root, place=scene.library, **given.get(job, {}))
        shutil.rmtree(scene.before)
        shutil.copytree(scene.root, scene.before)
        return scene

    def _continue(self) -> Scene:
        pictures = self._folder / "continued"
        draw(pictures, range(FIRST))
        scene = self._scene("continue", "index", folder=str(pictures), model=self._model)
        self._fill(scene, pictures, "cluster")
        draw(pictures, range(FIRST, PICTURES))
        for at in range(3):
            (pictures / f"{at:02}.png").rename(pictures / f"moved{at}.png")
        return scene

    def _prune(self) -> Scene:
        pictures = self._folder / "pruned"
        draw(pictures, range(PICTURES))
        scene = self._scene("prune", "index", folder=str(pictures), prune=True)
        self._fill(scene, pictures, "cluster")
        for at in range(LEFT, PICTURES):
            (pictures / f"{at:02}.png").unlink()
        return scene

    def _cluster(self) -> Scene:
        return self._fill(self._scene("cluster", "cluster"), self._pictures)

    def _export(self) -> Scene:
        scene = self._scene("export", "export")
        out = str(scene.root / "out")
        scene.given["out"] = out
        (scene.before / "out").mkdir()
        return self._fill(scene, self._pictures, "cluster")

    def _serve(self) -> Scene:
        scene = self._scene("serve", "serve", model=self._model, pictures=str(self._pictures))
        scene.given["uploads"] = str(scene.root / "uploads")
        some = self._folder / "served"
        draw(some, range(FIRST, PICTURES))
        return self._fill(scene, some)

    def _mend(self) -> Scene:
        """A library whose database lost its last third."""
        scene = self._fill(
            self._scene("mend", "mend", model=self._model), self._pictures, "cluster"
        )
        database = scene.before / "library/library.sqlite"
        os.truncate(database, database.stat().st_size * 2 // 3 // PAGE * PAGE)
        return scene

    def _migrate(self, version: int) -> Scene:
        scene = self._scene(f"migrate from {version}", "migrate")
        unpack(version, scene.before)
        scene.known = self._folder / f"known{version}.npz"
        return scene


def unpack(version: int, folder: Path) -> Path:
    """A library of an older format, as that imgindex left it."""
    with tarfile.open(GOLDEN / f"library-{version}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return (folder / f"library-{version}").rename(folder / "library")


def draw(folder: Path, numbers: Iterable[int]) -> None:
    """Small pictures of three kinds, noise over coarse squares; one is no picture."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        chance = np.random.default_rng(number)
        coarse = chance.integers(0, 64, (3, 3, 3)).repeat(8, 0).repeat(8, 1)
        noise = chance.integers(0, 64, (24, 24, 3))
        pixels = (coarse + noise + (0, 60, 100)[number % 3]).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
