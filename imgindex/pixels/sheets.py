"""What a network sees, drawn: the maps of a layer, their sum over the picture, matching places."""

from __future__ import annotations

import io
import math
from pathlib import PurePath
from typing import TYPE_CHECKING

from imgindex.records import STANDARD_INPUT

from . import heat
from .drawing import ellipsised, line_height
from .reading import default_max_megapixels, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image, ImageDraw, ImageFont

    from imgindex.records import Explanation, Features, Frame, Maps, Rectangle

_INK, _GREY, _PAPER = "#202124", "#5f6368", "white"
_EDGE, _GAP = 28, 6
_PANEL, _WIDE = 340, 600  # side of a picture: beside many maps, beside one other picture
_NARROW = 280  # room that a picture takes at least: for its name, and the scale below
_GRID, _SMALLEST, _LARGEST = 1120, 56, 224  # pixels: of all maps side by side, of one of them
_ALONE = 448  # side of a map that is drawn by itself
_OVER = 800  # longer side of a picture below maps, where nothing is around it
_BAR, _BADGE = 14, 12
# After Okabe and Ito's colours for all kinds of eyes, light ones: black numbers lie on them.
_MARKS = ("#f0e442", "#56b4e9", "#e69f00", "#cc79a7", "#009e73", "#ff7f50", "#ffffff")


def maps_sheet(picture: bytes, features: Features, top: int | None) -> bytes:
    """Draw a layer's maps beside the picture.

    Args:
        picture: the picture's file (best: a thumbnail).
        features: what the layer makes of it.
        top: how many of the strongest maps, with captions; None for all of them, by number.

    Returns:
        A PNG file.

    Raises:
        PictureError: the picture cannot be read.
    """
    count, height, width = features.maps.shape
    shown = [one.channel for one in features.channels[:top]] if top else [*range(count)]
    columns = math.ceil(math.sqrt(len(shown)))
    target = min(max(_GRID // columns - _GAP, _SMALLEST), _LARGEST)
    tiles = [heat.tile(features.maps[at], target) for at in shown]
    wide, high = tiles[0].size
    pen = _Pen()
    caption = pen.height(pen.small) + 2 if top else 0
    margin = 0 if top else round(pen.small.getlength("999 "))
    rows = math.ceil(len(shown) / columns)
    left = _EDGE + _PANEL + _EDGE + margin
    grid = (columns * (wide + _GAP), rows * (high + caption + _GAP))
    which = f"the {len(shown)} strongest of {count}" if top and len(shown) < count else f"{count}"
    under = f"{which} maps of {width} x {height}, by {features.model}"
    image = _fitted(picture, _PANEL)
    notes = [
        *_looked(features.frame, image),
        "each map goes from 0 to its own maximum",
        "below it: its channel and its mean" if top else "row by row, by channel",
    ]
    below = image.height + 8 + len(notes) * pen.height(pen.plain) + _BAR + pen.height(pen.small)
    over = pen.begin(
        f"{_name(features.picture)}  ·  {features.layer}",
        under,
        (left + grid[0] - _GAP + _EDGE, max(grid[1], below + 24)),
    )
    pen.sheet.paste(heat.dimmed(image, features.frame), (_EDGE, over))
    y = over + image.height + 8
    for note in notes:
        y = pen.text((_EDGE, y), note, pen.plain, _GREY, _PANEL)
    pen.bar((_EDGE, y + 8, _EDGE + _PANEL, y + 8 + _BAR), "0", "maximum")
    means = {one.channel: one.mean for one in features.channels}
    for index, (at, tile) in enumerate(zip(shown, tiles, strict=True)):
        row, column = divmod(index, columns)
        place = (left + column * (wide + _GAP), over + row * (high + caption + _GAP))
        pen.sheet.paste(tile, place)
        if top:
            text = f"{at}  ·  {means[at]:.3g}"
            pen.text((place[0], place[1] + high + 1), text, pen.small, _GREY, wide)
        elif column == 0:
            y = place[1] + (high - pen.height(pen.small)) // 2
            pen.right(left - 6, y, str(at))
    return pen.png()


def map_tile(values: Maps) -> bytes:
    """Draw one map of a layer, float32 [h, w], from 0 to its own maximum, and nothing around it.

    Returns:
        A PNG file, in which every place is a square.
    """
    file = io.BytesIO()
    heat.tile(values, _ALONE).save(file, "PNG")
    return file.getvalue()


def overlay_tile(picture: bytes, features: Features) -> bytes:
    """Draw the mean of a layer's maps over the picture, and nothing around it.

    Args:
        picture: the picture's file (best: a thumbnail).
        features: what the layer makes of it.

    Returns:
        A PNG file of the picture's shape.

    Raises:
        PictureError: the picture cannot be read.
    """
    mean = features.maps.mean(0)
    image = _fitted(picture, _OVER)
    file = io.BytesIO()
    low, high = float(mean.min()), float(mean.max())
    heat.overlaid(image, mean, low, high, features.frame).save(file, "PNG", compress_level=1)
    return file.getvalue()


def activation_sheet(picture: bytes, features: Features) -> bytes:
    """Draw the sum of a layer's maps over the picture, beside the picture.

    Args:
        picture: the picture's file (best: a thumbnail).
        features: what the layer makes of it.

    Returns:
        A PNG file.

    Raises:
        PictureError: the picture cannot be read.
    """
    count, height, width = features.maps.shape
    total = features.maps.mean(0)
    low, high = float(total.min()), float(total.max())
    image = _fitted(picture, _WIDE)
    pen = _Pen()
    room = max(image.width, _NARROW)
    second = _EDGE + room + _EDGE
    below = pen.height(pen.plain) + _BAR + pen.height(pen.small) + 16
    over = pen.begin(
        f"{_name(features.picture)}  ·  {features.layer}",
        f"how active all {count} maps of {width} x {height} are together, by {features.model}",
        (second + room + _EDGE, image.height + below),
    )
    pen.sheet.paste(heat.dimmed(image, features.frame), (_EDGE, over))
    pen.sheet.paste(heat.overlaid(image, total, low, high, features.frame), (second, over))
    y = over + image.height + 8
    for note in _looked(features.frame, image):
        y = pen.text((_EDGE, y), note, pen.plain, _GREY, room)
    y = over + image.height + 12
    pen.bar((second, y, second + room, y + _BAR), f"{low:.3g}", f"{high:.3g}", "mean activation")
    return pen.png()


def matches_sheet(pictures: tuple[bytes, bytes], found: Explanation) -> bytes:
    """Draw two pictures with the places that match, and below what each place adds.

    Args:
        pictures: both files (best: thumbnails).
        found: what drew them together.

    Returns:
        A PNG file.

    Raises:
        PictureError: a picture cannot be read.
    """
    images = [_fitted(one, _WIDE) for one in pictures]
    frames, maps = (found.frame_a, found.frame_b), (found.map_a, found.map_b)
    low = min(float(one.min()) for one in maps)
    high = max(float(one.max()) for one in maps)
    pen = _Pen()
    tall = max(image.height for image in images)
    between = 2 * _EDGE
    rooms = [max(image.width, _NARROW) for image in images]
    lefts = (_EDGE, _EDGE + rooms[0] + between)
    text = pen.height(pen.plain) + 4
    right = lefts[1] + rooms[1]
    notes = [
        note for frame, image in zip(frames, images, strict=True) for note in _looked(frame, image)
    ]
    over = pen.begin(
        f"cosine {found.score:.4f}",
        "  ·  ".join([f"by {found.model}", f"places of {found.layer}", *notes[:1]]),
        (right + _EDGE, 2 * tall + 3 * text + _BAR + pen.height(pen.small) + 24),
    )
    pen.text((_EDGE, over), _matching(found), pen.plain, _INK, right - _EDGE)
    y = over + text
    for path, left, room in zip((found.a, found.b), lefts, rooms, strict=True):
        pen.text((left, y), _name(path), pen.plain, _GREY, room)
    y += text
    for left, image, frame in zip(lefts, images, frames, strict=True):
        pen.sheet.paste(heat.dimmed(image, frame), (left, y))
    ends = [
        [
            _moved(box, image, frame, (left, y))
            for box, left, image, frame in zip((one.a, one.b), lefts, images, frames, strict=True)
        ]
        for one in found.places
    ]
    pen.joined(ends)
    y += tall + 12
    pen.text((_EDGE, y), _meaning(found), pen.plain, _INK, right - _EDGE)
    y += text
    for left, image, frame, values in zip(lefts, images, frames, maps, strict=True):
        pen.sheet.paste(heat.overlaid(image, values, low, high, frame), (left, y))
    y += tall + 12
    pen.bar((_EDGE, y, right, y + _BAR), f"{low:.4f}", f"{high:.4f}")
    return pen.png()


def _matching(found: Explanation) -> str:
    if not found.places:
        return "No two places match."
    return "Places that are each other's best match, those that count most first:"


def _meaning(found: Explanation) -> str:
    if found.exact:
        return "What each place adds to the cosine, which all places of a picture add up to:"
    return "How like each place is to the one most like it in the other picture:"


def _name(path: str) -> str:
    return "The picture" if path == STANDARD_INPUT else PurePath(path).name


def _looked(frame: Frame, image: Image.Image) -> list[str]:
    """Say where the network did not look."""
    box = heat.placed(image.size, frame)
    if box[0] > 0 or box[1] > 0:
        return ["the network sees what is not faded"]
    return []


def _fitted(data: bytes, side: int) -> Image.Image:
    """A picture whose longer side is so long."""
    from PIL import Image

    image = read(data, side, default_max_megapixels()).image
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def _moved(
    box: Rectangle, image: Image.Image, frame: Frame, corner: tuple[int, int]
) -> tuple[float, ...]:
    """A box in pixels of the picture, on the sheet; of a thin picture it may be one pixel wide."""
    wide, high = image.width / frame.width, image.height / frame.height
    left, top = corner[0] + box[0] * wide, corner[1] + box[1] * high
    right, bottom = corner[0] + box[2] * wide - 1, corner[1] + box[3] * high - 1
    return left, top, max(left, right), max(top, bottom)


class _Pen:
    """A sheet being drawn, with its fonts."""

    sheet: Image.Image
    draw: ImageDraw.ImageDraw

    def __init__(self) -> None:
        from PIL import ImageFont

        self.large, self.plain, self.small = (ImageFont.load_default(size) for size in (28, 16, 13))

    @staticmethod
    def height(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
        return line_height(font) + 4

    def begin(self, title: str, under: str, size: tuple[int, int]) -> int:
        """Take a sheet with room for so much below its head; gives where that begins."""
        from PIL import Image, ImageDraw

        over = _EDGE + self.height(self.large) + self.height(self.plain) + 16
        self.sheet = Image.new("RGB", (size[0], over + size[1] + _EDGE), _PAPER)
        self.draw = ImageDraw.Draw(self.sheet)
        room = size[0] - 2 * _EDGE
        y = self.text((_EDGE, _EDGE), title, self.large, _INK, room)
        self.text((_EDGE, y), under, self.plain, _GREY, room)
        return over

    def text(
        self,
        place: tuple[int, int],
        text: str,
        font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
        colour: str,
        room: float,
    ) -> int:
        """Write a line; gives where the next one begins."""
        self.draw.text(place, ellipsised(self.draw, text, font, room), colour, font)
        return place[1] + self.height(font)

    def right(self, x: float, y: float, text: str) -> None:
        self.draw.text((x - self.small.getlength(text), y), text, _GREY, self.small)

    def bar(self, box: tuple[int, int, int, int], low: str, high: str, middle: str = "") -> None:
        """The scale of colours, with what its ends stand for."""
        import numpy as np
        from PIL import Image

        ramp = np.linspace(0, 1, box[2] - box[0], dtype=np.float32)[None].repeat(box[3] - box[1], 0)
        self.sheet.paste(Image.fromarray(heat.coloured(ramp)), box[:2])
        y = box[3] + 3
        self.draw.text((box[0], y), low, _GREY, self.small)
        self.right(box[2], y, high)
        if middle:
            self.draw.text(((box[0] + box[2]) / 2, y), middle, _GREY, self.small, "ma")

    def joined(self, pairs: Sequence[Sequence[Sequence[float]]]) -> None:
        """Pairs of boxes with their numbers, and lines between them."""
        colours = [_MARKS[at % len(_MARKS)] for at in range(len(pairs))]
        middles = [
            [((left + right) / 2, (top + bottom) / 2) for left, top, right, bottom in pair]
            for pair in pairs
        ]
        for (a, b), colour in zip(middles, colours, strict=True):
            self.draw.line([*a, *b], _INK, 4)
            self.draw.line([*a, *b], colour, 2)
        for pair, colour in zip(pairs, colours, strict=True):
            for left, top, right, bottom in pair:
                self.draw.rectangle([left - 1, top - 1, right + 1, bottom + 1], None, _INK, 5)
                self.draw.rectangle([left, top, right, bottom], None, colour, 3)
        for number, (pair, colour) in enumerate(zip(pairs, colours, strict=True), 1):
            for left, top, _, _ in pair:
                corner = (max(left, _BADGE + 2), top)
                self.draw.circle(corner, _BADGE, colour, _INK, 2)
                self.draw.text(corner, str(number), _INK, self.plain, "mm")

    def png(self) -> bytes:
        file = io.BytesIO()
        self.sheet.save(file, "PNG")
        return file.getvalue()
