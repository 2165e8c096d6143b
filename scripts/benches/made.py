"""The sets that are measured on, made on the spot: rows, libraries of rows, photos, models."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from imgindex import open_store, vgg16
from imgindex.records import IndexedFile, ModelPin, Picture

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from imgindex.records import Rows

NETWORK = "VGG16"
DIMENSION = 512
_AT_ONCE = 10_000


def made_rows(
    count: int, rng: np.random.Generator, size: int = 60
) -> tuple[Rows, NDArray[np.int64]]:
    """Unit rows in groups of about one size, a fifth of them noise; and each row's (-1: noise)."""
    centres = rng.standard_normal((max(2, count // size), DIMENSION))
    truth = rng.integers(0, len(centres), count)
    rows = centres[truth]
    rows += 0.6 * rng.standard_normal(rows.shape)
    rows[: count // 5] = rng.standard_normal((count // 5, DIMENSION))
    truth[: count // 5] = -1
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), truth


def library_of(folder: Path, rows: Rows, files: Path | None = None) -> float:
    """Make a library of rows, with its graph, as if they were pictures.

    Args:
        folder: where it shall lie.
        rows: the embeddings; picture i has the id ``f"{i:032x}"``.
        files: where to make an empty file for each picture; None makes none, so that nothing but
            the store itself can find them.

    Returns:
        How many seconds storing the rows and building the graph took; both go on at once.
    """
    store = open_store(folder, create=True)
    store.pin(ModelPin("made", "0" * 64, rows.shape[1], 1))
    place = "/made" if files is None else str(files)
    pictures = [Picture(f"{at:032x}", 1, 1, "PNG") for at in range(len(rows))]
    entries = [
        IndexedFile(f"{place}/{at}", 1, 1, picture.id) for at, picture in enumerate(pictures)
    ]
    if files is not None:
        files.mkdir()
        for at in range(len(rows)):
            (files / str(at)).touch()
    began = time.perf_counter()
    for start, stop in pairwise([*range(0, len(rows), _AT_ONCE), len(rows)]):
        store.add(pictures[start:stop], rows[start:stop], entries[start:stop])
    store.refresh(lambda *_: None)
    spent = time.perf_counter() - began
    store.close()
    return spent


def photo(width: int, height: int, seed: int) -> Image.Image:
    """Clouds of colour and some grain, to cost a decoder about what a photo does."""
    rng = np.random.default_rng(seed)
    clouds = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
    picture = np.asarray(clouds.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-12, 13, (height, width, 1), np.int16)
    return Image.fromarray(np.clip(picture + grain, 0, 255).astype(np.uint8))


def model_file(path: Path, side: int) -> Path:
    """Write VGG16 with the random weights that ``vgg16.untrained`` gives everyone."""
    data = vgg16.build(
        vgg16.untrained(), name=NETWORK, size=side, source="", licence="", trained=False
    )
    path.write_bytes(data)
    return path
