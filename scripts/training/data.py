"""The pool: labelled pictures in parquet files, and which of them are never trained on."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from numpy.typing import NDArray

    from imgindex.records import Fit, Pixels

SMALL, SHARP = 64, 160
"""Sides at which pictures are kept while training: those of 64 pixels, and all the others."""

PARTED = ("caltech101", "flowers", "food", "ikea")
"""Sets of which a third of the classes is kept out."""

UNSEEN = ("trashnet", "tiny_imagenet_val")
"""Sets that are kept out whole."""

_OF_64_PIXELS = ("tiny_imagenet", "tiny_imagenet_val")
_MOST_OF_A_CLASS = 100
_GREY = (128, 128, 128)
_CHUNK = 256


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Every picture of the pool; row i of each is one picture.

    Attributes:
        images: the files.
        sets: str [n], the set each comes from.
        labels: str [n], its class within the set.
        rows: int [n], its place in the pool as it lies on disk.
    """

    images: Sequence[bytes]
    sets: NDArray[np.str_]
    labels: NDArray[np.str_]
    rows: NDArray[np.intp]

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.images)

    def take(self, chosen: NDArray[np.intp]) -> Pool:
        """Give some of the pictures, in the order asked for."""
        images = [self.images[place] for place in chosen.tolist()]
        return Pool(images, self.sets[chosen], self.labels[chosen], self.rows[chosen])

    @property
    def sharp(self) -> NDArray[np.bool_]:
        """Which pictures have more than 64 pixels a side."""
        return ~np.isin(self.sets, _OF_64_PIXELS)


def read(folder: Path, limit: int = 0) -> Pool:
    """Read ``pool-*.parquet``; with a limit, an even sample of about so many pictures."""
    from pyarrow import parquet

    columns: dict[str, list[object]] = {"image": [], "set": [], "label": []}
    for path in sorted(folder.glob("pool-*.parquet")):
        table = parquet.read_table(path, columns=list(columns))
        for name in columns:
            columns[name] += table[name].to_pylist()
    images = [image for image in columns["image"] if isinstance(image, bytes)]
    pool = Pool(
        images, np.array(columns["set"]), np.array(columns["label"]), np.arange(len(images))
    )
    step = max(1, len(pool) // limit) if limit else 1
    return pool.take(np.arange(0, len(pool), step))


def split(pool: Pool, seed: int) -> tuple[Pool, dict[str, Pool]]:
    """Part the pool into what is trained on and what only measures.

    Returns:
        The training pictures, and by set the ones kept out, at most 100 of a class: a seeded third
        of the classes of `PARTED`, and `UNSEEN` whole. No class of the former was ever trained on.
    """
    random = np.random.default_rng(seed)
    unseen = np.isin(pool.sets, UNSEEN)
    for name in PARTED:
        classes = np.unique(pool.labels[pool.sets == name])
        held = random.permutation(classes)[: max(2, round(len(classes) / 3))]
        unseen |= (pool.sets == name) & np.isin(pool.labels, held)
    apart = {}
    for name in (*PARTED, *UNSEEN):
        chosen: list[int] = []
        mine = unseen & (pool.sets == name)
        for label in np.unique(pool.labels[mine]):
            places = np.flatnonzero(mine & (pool.labels == label))
            chosen += random.permutation(places)[:_MOST_OF_A_CLASS].tolist()
        apart[name] = pool.take(np.array(sorted(chosen), np.intp))
    return pool.take(np.flatnonzero(~unseen)), apart


def sample(apart: Mapping[str, Pool], count: int) -> Pool:
    """Take about so many of the kept-out pictures, evenly out of every set."""
    pools = list(apart.values())
    step = max(1, sum(map(len, pools)) // count)
    chosen = [pool.take(np.arange(0, len(pool), step)) for pool in pools]
    return Pool(
        [image for pool in chosen for image in pool.images],
        np.concatenate([pool.sets for pool in chosen]),
        np.concatenate([pool.labels for pool in chosen]),
        np.concatenate([pool.rows for pool in chosen]),
    )


def classes(pool: Pool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the classes so that those of one set, among which a picture is told, are neighbours.

    The sets drawn from ImageNet share their synsets.

    Returns:
        int64 [n], the class of each picture, and int64 [n, 2], the first class of its set and the
        one after the last.
    """
    family = np.where(np.strings.find(pool.sets, "imagenet") >= 0, "imagenet", pool.sets)
    pairs = np.stack([family, pool.labels], axis=1)
    known, targets = np.unique(pairs, axis=0, return_inverse=True)
    first = np.searchsorted(known[:, 0], family, "left")
    last = np.searchsorted(known[:, 0], family, "right")
    return targets.reshape(-1), np.stack([first, last], axis=1)


def squares(
    images: Sequence[bytes], size: int, fit: Fit = "squash", workers: Executor | None = None
) -> Pixels:
    """Decode pictures to squares as imgindex itself does; workers may share the work.

    Returns:
        uint8 [n, size, size, 3].
    """
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    work = partial(_decode, size=size, fit=fit)
    return np.concatenate(list((workers.map if workers else map)(work, chunks)))


def aspects(images: Sequence[bytes], workers: Executor | None = None) -> NDArray[np.float32]:
    """Width over height of each picture, float32 [n]."""
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    return np.concatenate(list((workers.map if workers else map)(_aspects, chunks)))


def _aspects(images: Sequence[bytes]) -> NDArray[np.float32]:
    sizes = []
    for image in images:
        with Image.open(io.BytesIO(image)) as file:
            sizes.append(file.width / file.height)
    return np.array(sizes, np.float32)


def _decode(images: Sequence[bytes], size: int, fit: Fit) -> Pixels:
    return np.stack([_square(image, size, fit) for image in images])


def _square(data: bytes, size: int, fit: Fit) -> Pixels:
    with Image.open(io.BytesIO(data)) as file:
        image = file.convert("RGB")
    width, height = image.size
    box = None
    if fit == "pad":
        scale = size / max(width, height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        square = Image.new("RGB", (size, size), _GREY)
        square.paste(
            image.resize(inner, Image.Resampling.BICUBIC),
            ((size - inner[0]) // 2, (size - inner[1]) // 2),
        )
        return np.asarray(square)
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box))
