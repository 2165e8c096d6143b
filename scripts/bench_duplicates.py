"""Measure how well copies are found: edits of photos among all the others, beside other packages.

    python scripts/bench_duplicates.py ../shared/photos
    .venv-peers/bin/python scripts/bench_duplicates.py ../shared/photos    with the peers

Every edit is made of the same drawn photos; everything else in the folder is there to be confused
with. A pair counts as told when both files come in one set (imgindex) or one names the other (the
others); it is right when both come from one photo. Recall is of the pairs photo and edit, precision
of all pairs told. scripts/bench_peers makes .venv-peers; a peer that is not there is left out.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from functools import partial
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageEnhance, ImageFont

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Pair = tuple[str, str]
    Edit = Callable[[Image.Image, random.Random], bytes]

ORIGINAL = "photo"
GOAL = (
    *("resize 50%", "jpeg 40", "brighter", "darker", "contrast", "grey", "mirror"),
    *("rotate 90", "rotate 180", "crop 5%", "crop 10%"),
)
"""The edits that the goal is set for; the others are told beside them."""

_QUALITY = 90
_PDQ_NEAR = 31  # of 256 bits, as its makers advise


def _jpeg(image: Image.Image, quality: int = _QUALITY) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=quality)
    return file.getvalue()


def _cropped(share: float, image: Image.Image, draw: random.Random) -> bytes:
    """Cut off twice the share of each side, more on the one edge than on the other."""
    width, height = (round(side * (1 - 2 * share)) for side in image.size)
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    return _jpeg(image.crop((left, top, left + width, top + height)))


def _marked(image: Image.Image, _: random.Random) -> bytes:
    image = image.copy()
    font = ImageFont.load_default(max(10, image.height // 18))
    place = (image.width * 0.55, image.height * 0.9)
    ImageDraw.Draw(image).text(
        place, "© A. Photographer", "white", font, stroke_width=1, stroke_fill="black"
    )
    return _jpeg(image)


def _resized(image: Image.Image, _: random.Random) -> bytes:
    return _jpeg(image.resize((max(1, image.width // 2), max(1, image.height // 2))))


def _turned(way: Image.Transpose, image: Image.Image, _: random.Random) -> bytes:
    return _jpeg(image.transpose(way))


def _brightened(by: float, image: Image.Image, _: random.Random) -> bytes:
    return _jpeg(ImageEnhance.Brightness(image).enhance(by))


EDITS: dict[str, Edit] = {
    "resize 50%": _resized,
    "jpeg 40": lambda image, _: _jpeg(image, 40),
    "crop 5%": partial(_cropped, 0.05),
    "crop 10%": partial(_cropped, 0.1),
    "crop 20%": partial(_cropped, 0.2),
    "brighter": partial(_brightened, 1.4),
    "darker": partial(_brightened, 0.65),
    "contrast": lambda image, _: _jpeg(ImageEnhance.Contrast(image).enhance(1.4)),
    "mirror": partial(_turned, Image.Transpose.FLIP_LEFT_RIGHT),
    "rotate 90": partial(_turned, Image.Transpose.ROTATE_90),
    "rotate 180": partial(_turned, Image.Transpose.ROTATE_180),
    "watermark": _marked,
    "grey": lambda image, _: _jpeg(image.convert("L")),
}
"""Edit -> what it makes of a photo. Crops take their share off every edge, on the mean."""


def make(photos: Path, folder: Path, edited: int, seed: int, part: str) -> dict[str, Pair]:
    """Write photos and edits of some of them.

    Args:
        photos: a tree of photos.
        folder: where to.
        edited: how many of them are edited.
        seed: of the drawing.
        part: ``all``, ``even`` or ``odd``: which of the folders that hold photos are taken.

    Returns:
        Name of each file written -> the photo it is of, and the edit.
    """
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    homes = sorted({path.parent for path in photos.rglob("*") if path.is_file()})
    if part != "all":
        homes = homes[part == "odd" :: 2]
    files = [path for home in homes for path in sorted(home.iterdir()) if path.suffix == ".jpg"]
    chosen = set(draw.sample(files, min(edited, len(files))))
    made: dict[str, Pair] = {}
    for path in files:
        photo = f"{path.parent.name}-{path.stem}"
        wanted: list[tuple[str, bytes]] = [(ORIGINAL, path.read_bytes())]
        if path in chosen:
            with Image.open(path) as file:
                image = file.convert("RGB")
            wanted += [(name, edit(image, draw)) for name, edit in EDITS.items()]
        for name, data in wanted:
            target = f"{photo}--{name.replace(' ', '-').replace('%', '')}.jpg"
            (folder / target).write_bytes(data)
            made[target] = photo, name
    return made


def by_imgindex(folder: Path, model: str) -> tuple[set[Pair], dict[str, float]]:
    """Every pair of files that come in one set, and how long it took."""
    from imgindex import Library

    with Library("memory:", model=model) as library:
        began = time.perf_counter()
        library.add([folder])
        indexed = time.perf_counter()
        found = library.duplicates()
        spent = {"index": indexed - began, "find": time.perf_counter() - indexed}
    names = [sorted(os.path.basename(copy.path) for copy in one.files) for one in found.sets]  # noqa: PTH119 - text
    return {pair for some in names for pair in combinations(some, 2)}, spent


def by_imagededup(method: str, folder: Path) -> tuple[set[Pair], dict[str, float]]:
    """What imagededup's hashes tell with their defaults."""
    import logging

    from benches.torch_peer import torchvision

    torchvision()  # which imagededup wants, also where it does not fit torch
    from imagededup import methods

    logging.disable(logging.INFO)
    hasher = getattr(methods, method)(verbose=False)
    began = time.perf_counter()
    codes = hasher.encode_images(image_dir=str(folder))
    encoded = time.perf_counter()
    found = hasher.find_duplicates(encoding_map=codes)
    spent = {"index": encoded - began, "find": time.perf_counter() - encoded}
    return {(min(a, b), max(a, b)) for a, others in found.items() for b in others}, spent


def by_pdq(folder: Path) -> tuple[set[Pair], dict[str, float]]:
    """What PDQ tells, turned and mirrored as its makers have it."""
    import numpy as np
    import pdqhash

    began = time.perf_counter()
    names = sorted(path.name for path in folder.iterdir())
    codes = []
    for name in names:
        with Image.open(folder / name) as file:
            turned, _ = pdqhash.compute_dihedral(np.asarray(file.convert("RGB")))
        codes.append(np.array(turned, np.int8))
    encoded = time.perf_counter()
    plain = np.stack([code[0] for code in codes]) * 2 - 1
    pairs = set()
    for at, code in enumerate(codes):
        distances = (256 - (code * 2 - 1).astype(np.int32) @ plain.T.astype(np.int32)) // 2
        for other in np.flatnonzero(distances.min(axis=0) <= _PDQ_NEAR).tolist():
            if other != at:
                pairs.add((min(names[at], names[other]), max(names[at], names[other])))
    return pairs, {"index": encoded - began, "find": time.perf_counter() - encoded}


def judge(pairs: set[Pair], made: dict[str, Pair]) -> dict[str, Any]:
    """Precision of pairs, recall by edit, and the photos that were taken for one another."""
    right = sum(made[one][0] == made[other][0] for one, other in pairs)
    photo = {made[name][0]: name for name in made if made[name][1] == ORIGINAL}
    hits: dict[str, list[bool]] = defaultdict(list)
    for name, (source, edit) in made.items():
        if edit != ORIGINAL:
            first, second = sorted((name, photo[source]))
            hits[edit].append((first, second) in pairs)
    recall = {edit: sum(hit) / len(hit) for edit, hit in hits.items()}
    wrong = {
        tuple(sorted((made[one][0], made[other][0])))
        for one, other in pairs
        if made[one][0] != made[other][0]
    }
    return {
        "pairs": len(pairs),
        "precision": right / len(pairs) if pairs else 1.0,
        "recall of the goal": sum(recall[edit] for edit in GOAL) / len(GOAL),
        "recall": recall,
        "confused": sorted(wrong),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments, measure, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="a tree of .jpg photos without copies")
    parser.add_argument("--edited", type=int, default=100, help="photos that are edited")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", choices=("all", "even", "odd"), default="all")
    parser.add_argument("--model", default="untrained")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    if not asked.photos.is_dir():
        sys.exit(f"there is no folder {asked.photos}")
    methods: dict[str, Callable[[Path], tuple[set[Pair], dict[str, float]]]] = {
        "imgindex": partial(by_imgindex, model=asked.model)
    }
    if find_spec("imagededup"):
        methods |= {
            f"imagededup {name}": partial(by_imagededup, name)
            for name in ("PHash", "DHash", "AHash", "WHash")
        }
    if find_spec("pdqhash"):
        methods["pdqhash, 8 ways, 31 bits"] = by_pdq
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made = make(asked.photos, folder, asked.edited, asked.seed, asked.part)
        results = {}
        # imgindex comes last: torchvision does not load behind OpenCV.
        for name, method in reversed(methods.items()):
            pairs, spent = method(folder)
            results[name] = {**judge(pairs, made), "seconds": spent}
            print(f"{name}: done", file=sys.stderr)
        results = {name: results[name] for name in methods}
    print(as_markdown(results, len(made)))
    for name, result in results.items():
        print(f"{name} took for one another: {result['confused'][:12]}", file=sys.stderr)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=2), "utf-8")


def as_markdown(results: dict[str, dict[str, Any]], files: int) -> str:
    """A table with a column for each method."""
    names = list(results)
    lines = [f"| {files:,} files | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]

    def row(title: str, cells: Sequence[str]) -> None:
        lines.append(f"| {title} | {' | '.join(cells)} |")

    row("pairs told", [f"{results[name]['pairs']:,}" for name in names])
    row("precision", [f"{results[name]['precision']:.4f}" for name in names])
    row("recall of the goal", [f"{results[name]['recall of the goal']:.3f}" for name in names])
    for edit in EDITS:
        row(f"recall, {edit}", [f"{results[name]['recall'][edit]:.3f}" for name in names])
    for step in ("index", "find"):
        row(f"seconds to {step}", [f"{results[name]['seconds'][step]:.1f}" for name in names])
    return "\n".join(lines)


if __name__ == "__main__":
    main()
