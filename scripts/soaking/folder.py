"""A folder of tiny pictures, changed as people change theirs; what it holds is always known."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

SIDE = 24
FAMILIES = 8
# Letters of several scripts, a letter and its accent, marks that turn the direction, a newline,
# a quote, a leading dash.
NAMES = ("plain", "صورة", "写真", "📷", "e\u0301", "\u202eltr", "new\nline", 'quo"te', "-dash")
_FOLDERS = 6


def picture(seed: int) -> bytes:
    """A PPM file of 24 x 24 pixels: its family's eight by eight patches, and noise of its own."""
    family = np.random.default_rng(seed % FAMILIES)
    patches = family.integers(40, 216, (8, 8, 3))
    noise = np.random.default_rng([seed, 1]).integers(-30, 31, (SIDE, SIDE, 3))
    pixels = patches.repeat(3, axis=0).repeat(3, axis=1) + noise
    return b"P6 %d %d 255\n" % (SIDE, SIDE) + pixels.astype(np.uint8).tobytes()


class Folder:
    """Pictures below a folder, and what was done to them.

    Attributes:
        place: the folder.
        held: every file there is, and the seed of its picture.
        done: how often each kind of change was made.
        newest: the file that came or changed last.
    """

    def __init__(self, place: Path, chance: random.Random, size: int) -> None:
        """Make the folder with so many pictures.

        Args:
            place: where it shall lie.
            chance: all that is drawn.
            size: how many pictures there are about, at any time.
        """
        self.place = place
        self.held: dict[Path, int] = {}
        self.done: Counter[str] = Counter()
        self._chance, self._size, self._made = chance, size, 0
        self.newest = self._add()
        while len(self.held) < size:
            self._add()

    def change(self) -> None:
        """Make some changes of every kind: as many files come as go."""
        kinds: list[Callable[[], object]] = [self._change, self._move, self._copy]
        for _ in range(self._chance.randint(1, 3)):
            self._chance.choice(kinds)()
        few = len(self.held) < self._size
        for _ in range(self._chance.randint(1, 4)):
            self._add() if few else self._delete()
        if self._chance.random() < 1 / 20:
            self._rename()

    def any(self) -> Path:
        """One of the files."""
        return self._chance.choice(list(self.held))

    def _name(self) -> Path:
        self._made += 1
        folder = f"{self._chance.randrange(_FOLDERS)}"
        return self.place / folder / f"{self._chance.choice(NAMES)} {self._made}.ppm"

    def _write(self, path: Path) -> Path:
        self._made += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(self._made))
        self.held[path] = self._made
        self.newest = path
        return path

    def _add(self) -> Path:
        self.done["added"] += 1
        return self._write(self._name())

    def _change(self) -> None:
        self.done["changed"] += 1
        self._write(self.any())

    def _copy(self) -> None:
        old, new = self.any(), self._name()
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(old.read_bytes())
        self.held[new] = self.held[old]
        self.done["copied"] += 1

    def _move(self) -> None:
        old, new = self.any(), self._name()
        self._put(old, new)
        self.done["moved"] += 1

    def _put(self, old: Path, new: Path) -> None:
        new.parent.mkdir(parents=True, exist_ok=True)
        old.rename(new)
        self.held[new] = self.held.pop(old)
        if self.newest == old:
            self.newest = new

    def _delete(self) -> None:
        path = self.any()
        if path == self.newest:
            return
        path.unlink()
        del self.held[path]
        self.done["deleted"] += 1

    def _rename(self) -> None:
        """A whole folder gets another name, and a new one may come under the old."""
        old = self.any().parent
        new = self.place / f"moved {self._made}"
        self._made += 1
        old.rename(new)
        for path in [path for path in self.held if path.parent == old]:
            self.held[new / path.name] = self.held.pop(path)
            if self.newest == path:
                self.newest = new / path.name
        self.done["folders renamed"] += 1
