"""Make a folder of pictures to try imgindex on: eight kinds of scene, drawn, no two alike.

    python scripts/demo_pictures.py demo

Beside the scenes there are one copy under another name and one damaged file, as in real life.
"""

from __future__ import annotations

import math
import random
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    Colour = tuple[int, int, int]

EACH = 24
LIT = 0.4  # share of windows with a lamp behind them
SIZES = ((480, 360), (360, 480), (512, 384), (400, 400))


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """A colour between two."""
    red, green, blue = (round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return red, green, blue


def any_colour(chance: random.Random, low: int = 0, high: int = 255) -> Colour:
    """A colour from a range of brightness."""
    return chance.randint(low, high), chance.randint(low, high), chance.randint(low, high)


def sky(image: Image.Image, top: Colour, bottom: Colour) -> ImageDraw.ImageDraw:
    """Fill with a gradient, and give the pen."""
    draw = ImageDraw.Draw(image)
    for y in range(image.height):
        draw.line((0, y, image.width, y), mix(top, bottom, y / image.height))
    return draw


def sunset(image: Image.Image, chance: random.Random) -> None:
    """Warm sky, a low sun, dark hills."""
    draw = sky(image, (70, 40, chance.randint(90, 150)), (255, chance.randint(120, 180), 60))
    w, h = image.size
    x, y, r = chance.uniform(0.2, 0.8) * w, chance.uniform(0.45, 0.65) * h, chance.uniform(20, 45)
    draw.ellipse((x - r, y - r, x + r, y + r), (255, 240, 190))
    for layer in range(3):
        phase, height = chance.uniform(0, 6), h * (0.65 + 0.1 * layer)
        points = [
            (at, height + 22 * math.sin(at / w * (4 + layer) + phase)) for at in range(0, w + 8, 8)
        ]
        shade = mix((110, 50, 70), (25, 15, 30), layer / 2)
        draw.polygon([*points, (w, h), (0, h)], shade)


def night(image: Image.Image, chance: random.Random) -> None:
    """A dark sky full of stars."""
    draw = sky(image, (4, 5, 20), (20, chance.randint(20, 40), 70))
    for _ in range(chance.randint(160, 320)):
        x, y = chance.uniform(0, image.width), chance.uniform(0, image.height)
        r = chance.choice((0.6, 0.8, 1.1, 1.8))
        draw.ellipse((x - r, y - r, x + r, y + r), any_colour(chance, 190))


def city(image: Image.Image, chance: random.Random) -> None:
    """Towers with lit windows."""
    draw = sky(image, (150, 180, 220), (225, 225, 215))
    x = -10
    while x < image.width:
        width, top = chance.randint(40, 80), chance.uniform(0.15, 0.65) * image.height
        wall = any_colour(chance, 60, 120)
        draw.rectangle((x, top, x + width, image.height), wall)
        for wy in range(int(top) + 8, image.height, 16):
            for wx in range(x + 6, x + width - 8, 14):
                lit = (250, 225, 140) if chance.random() < LIT else mix(wall, (0, 0, 0), 0.4)
                draw.rectangle((wx, wy, wx + 6, wy + 8), lit)
        x += width + 4


def leaves(image: Image.Image, chance: random.Random) -> None:
    """Foliage from close by."""
    draw = sky(image, (20, 60, 25), (35, 85, 30))
    for _ in range(170):
        leaf = Image.new("RGBA", (90, 90))
        pen = ImageDraw.Draw(leaf)
        green = (chance.randint(40, 120), chance.randint(110, 200), chance.randint(30, 80))
        pen.ellipse((5, 30, 85, 60), green)
        pen.line((5, 45, 85, 45), mix(green, (0, 0, 0), 0.35), 2)
        leaf = leaf.rotate(chance.uniform(0, 360))
        at = (chance.randint(-60, image.width - 20), chance.randint(-60, image.height - 20))
        image.paste(leaf, at, leaf)
    del draw


def bricks(image: Image.Image, chance: random.Random) -> None:
    """A brick wall."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, *image.size), (190, 185, 175))
    height, width = chance.randint(20, 30), chance.randint(55, 80)
    for row, y in enumerate(range(0, image.height, height)):
        for x in range(-width * (row % 2) // 2, image.width, width):
            shade = mix((150, 60, 45), (190, 95, 70), chance.random())
            draw.rectangle((x, y, x + width - 5, y + height - 5), shade)


def balloons(image: Image.Image, chance: random.Random) -> None:
    """Balloons in a bright sky."""
    draw = sky(image, (90, 160, 235), (205, 230, 250))
    for _ in range(chance.randint(7, 12)):
        x, y = chance.uniform(0, image.width), chance.uniform(0, image.height * 0.8)
        r = chance.uniform(22, 44)
        colour = any_colour(chance, 40)
        draw.line((x, y + r, x + chance.uniform(-12, 12), y + 3 * r), (90, 90, 90), 2)
        draw.ellipse((x - r, y - 1.15 * r, x + r, y + 1.15 * r), colour)
        shine = mix(colour, (255, 255, 255), 0.6)
        draw.ellipse((x - 0.5 * r, y - 0.7 * r, x - 0.2 * r, y - 0.3 * r), shine)


def stripes(image: Image.Image, chance: random.Random) -> None:
    """A striped cloth."""
    draw = ImageDraw.Draw(image)
    colours = [any_colour(chance, 60) for _ in range(3)]
    width, slope = chance.randint(14, 26), chance.uniform(-0.5, 0.5)
    for at, x in enumerate(range(-image.height, image.width + image.height, width)):
        lean = slope * image.height
        corners = [(x, 0), (x + width, 0), (x + width + lean, image.height)]
        draw.polygon([*corners, (x + lean, image.height)], colours[at % 3])


def sea(image: Image.Image, chance: random.Random) -> None:
    """Waves under a pale sky."""
    draw = sky(image, (200, 220, 235), (170, 205, 225))
    horizon = image.height * chance.uniform(0.25, 0.45)
    waves = 16
    for row in range(waves):
        y = horizon + (image.height - horizon) * (row / waves) ** 1.3
        phase, length = chance.uniform(0, 6), 8 + 3 * row
        points = [
            (x, y + (1 + row / 3) * math.sin(x / length + phase))
            for x in range(0, image.width + 4, 4)
        ]
        shade = mix((90, 165, 190), (10, 60, 110), row / waves)
        draw.polygon([*points, (image.width, image.height), (0, image.height)], shade)


SCENES: tuple[Callable[[Image.Image, random.Random], None], ...] = (
    sunset,
    night,
    city,
    leaves,
    bricks,
    balloons,
    stripes,
    sea,
)


def make(folder: Path) -> int:
    """Draw every scene into a folder that is new or empty; the number of files."""
    folder.mkdir(parents=True, exist_ok=True)
    for scene in SCENES:
        place = folder / scene.__name__
        place.mkdir()
        for number in range(EACH):
            chance = random.Random(f"{scene.__name__} {number}")  # noqa: S311 - a drawing
            image = Image.new("RGB", chance.choice(SIZES))
            scene(image, chance)
            image = image.filter(ImageFilter.GaussianBlur(0.7))
            image.save(place / f"{scene.__name__}-{number:02}.jpg", quality=88)
    shutil.copy(folder / "sea/sea-03.jpg", folder / "wallpaper.jpg")
    whole = (folder / "city/city-00.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(whole[: len(whole) // 3])
    return len(SCENES) * EACH + 2


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the script and one folder
        sys.exit("usage: demo_pictures.py FOLDER")
    print(f"{make(Path(sys.argv[1]))} files in {sys.argv[1]}")
