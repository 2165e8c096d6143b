"""Whether rows for regions of pictures find what a part was cut from more often than whole rows.

The regions are the fourteen of R-MAC's scales (Tolias et al., arXiv:1511.05879), each the mean of
the last maps there; a picture's score is that of its best region.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from imgindex import models, pixels
from imgindex.config import Settings
from imgindex.embed import outputs
from imgindex.inner import Anatomy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from imgindex.records import Rows

    Maps = NDArray[np.float32]

_AT_ONCE = 8
_SHARES = (0.7, 0.5, 0.35, 0.25)
_SCALES = (1, 2, 3)
_TEN = 10


def regions(folder: Path, model: str, pictures: int = 400, parts: int = 100) -> list[str]:
    """Look parts of photos up, by rows of the whole and by those of regions.

    Args:
        folder: a tree of .jpg photos.
        model: a name.
        pictures: how many photos are searched.
        parts: how many of them a part is looked up of, of each size.

    Returns:
        A line for each size of parts.
    """
    path = models.resolve(model, Settings.resolve().models)
    card = models.read_card(path)
    anatomy = Anatomy(path.read_bytes(), card)
    revealing = anatomy.revealing([anatomy.last()])

    def maps(files: Sequence[bytes]) -> list[Maps]:
        found: list[Maps] = []
        for start in range(0, len(files), _AT_ONCE):
            batch = [
                pixels.decode(data, size=card.size, fit=card.fit, max_megapixels=1000).pixels
                for data in files[start : start + _AT_ONCE]
            ]
            given = outputs(revealing, np.stack(batch), card.precision)
            found += [np.asarray(arrays[1][0], np.float32) for arrays in given]
        return found

    draw = np.random.default_rng(0)
    files = sorted(folder.rglob("*.jpg"))
    files = [files[at] for at in draw.permutation(len(files))[:pictures]]
    rows = np.stack([regional(one) for one in maps([file.read_bytes() for file in files])])
    lines = []
    for share in _SHARES:
        sources = draw.permutation(len(files))[:parts]
        asked = maps([_part(files[at], share, draw) for at in sources])
        cosines = np.einsum("qd,nrd->qnr", np.stack([regional(one)[0] for one in asked]), rows)
        told = []
        for scores in (cosines[:, :, 0], cosines.max(axis=2)):
            own = scores[np.arange(len(sources)), sources]
            rank = (scores > own[:, None]).sum(axis=1)
            told.append(f"{(rank == 0).mean():.0%} first, {(rank < _TEN).mean():.0%} in ten")
        lines.append(f"parts with {share:g} of each side: whole {told[0]}; regions {told[1]}")
    return lines


def regional(maps: Maps) -> Rows:
    """Rows [14, d] of a picture's regions, the first of all of it, from its maps [d, h, w]."""
    found = []
    for scale in _SCALES:
        sides = [max(1, round(2 * length / (scale + 1))) for length in maps.shape[1:]]
        tops, lefts = (
            np.linspace(0, length - side, scale).round().astype(int)
            for length, side in zip(maps.shape[1:], sides, strict=True)
        )
        found += [
            maps[:, top : top + sides[0], left : left + sides[1]].mean(axis=(1, 2))
            for top in tops
            for left in lefts
        ]
    rows = np.stack(found)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def _part(file: Path, share: float, draw: np.random.Generator) -> bytes:
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    width, height = (max(1, round(side * share)) for side in image.size)
    left = int(draw.integers(0, image.width - width + 1))
    top = int(draw.integers(0, image.height - height + 1))
    written = io.BytesIO()
    image.crop((left, top, left + width, top + height)).save(written, "PNG")
    return written.getvalue()
