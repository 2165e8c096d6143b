"""Pictures put together on a sheet."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from imgindex.errors import SettingError

from .reading import default_max_megapixels, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import ImageDraw, ImageFont


def montage(tiles: Sequence[tuple[bytes, str]], columns: int, side: int, title: str) -> bytes:
    """Draw a contact sheet.

    Args:
        tiles: picture files (best: thumbnails) with their captions, row by row.
        columns: tiles in a row.
        side: longest side of a drawn picture in pixels.
        title: the headline; empty for none.

    Returns:
        A PNG file.

    Raises:
        PictureError: a tile is not a picture.
        SettingError: ``columns`` or ``side`` is below 1.
    """
    from PIL import Image, ImageDraw, ImageFont

    if columns < 1 or side < 1:
        raise SettingError(f"columns and side must be at least 1, not {columns} and {side}")
    gap = max(8, side // 12)
    caption = ImageFont.load_default(max(11, side // 13))
    headline = ImageFont.load_default(max(16, side // 8))
    under, over = line_height(caption) + gap // 2, line_height(headline) + gap if title else 0
    columns = min(columns, max(1, len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    step_x, step_y = side + gap, side + under + gap
    sheet = Image.new("RGB", (step_x * columns + gap, max(1, over + step_y * rows + gap)), "white")
    draw = ImageDraw.Draw(sheet)
    if title:
        text = ellipsised(draw, title, headline, sheet.width - 2 * gap)
        draw.text((gap, gap), text, "#202124", headline)
    for index, (data, name) in enumerate(tiles):
        left, top = gap + index % columns * step_x, over + gap + index // columns * step_y
        cell = (left, top, left + side - 1, top + side - 1)
        draw.rectangle(cell, "#f1f3f4")
        image = read(data, side, default_max_megapixels()).image
        image.thumbnail((side, side), Image.Resampling.BICUBIC)
        sheet.paste(image, (left + (side - image.width) // 2, top + (side - image.height) // 2))
        text = ellipsised(draw, name, caption, side)
        middle = left + (side - draw.textlength(text, caption)) / 2
        draw.text((middle, top + side + gap // 3), text, "#3c4043", caption)
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def chart(
    size: tuple[int, int],
    dots: tuple[float, Sequence[tuple[float, float, str]]],
    tiles: Sequence[tuple[bytes, float, float, str]],
    side: int,
    names: Sequence[tuple[str, float, float, str]],
) -> bytes:
    """Draw dots, framed pictures over them, and names over all.

    Args:
        size: width and height in pixels.
        dots: their radius, and for each x, y and a colour.
        tiles: picture files (best: thumbnails), x and y of their middle, the colour of the frame.
        side: longest side of a tile in pixels.
        names: texts, x of their middle, y of their top, their colour; those that would hide an
            earlier one are left out.

    Returns:
        A PNG file.

    Raises:
        PictureError: a tile is not a picture.
    """
    from PIL import Image, ImageDraw, ImageFont

    sheet = Image.new("RGB", size, "white")
    radius, points = dots
    edge = 2 * math.ceil(radius) + 1
    stamp = Image.new("L", (8 * edge, 8 * edge))  # drawn large, so that its rim comes out smooth
    ImageDraw.Draw(stamp).circle((4 * edge, 4 * edge), 8 * radius, 255)
    stamp = stamp.resize((edge, edge), Image.Resampling.BOX)
    for x, y, colour in points:
        sheet.paste(colour, (round(x) - edge // 2, round(y) - edge // 2), stamp)
    draw = ImageDraw.Draw(sheet)
    frame = max(2, side // 24)
    for data, x, y, colour in tiles:
        image = read(data, side, default_max_megapixels()).image
        image.thumbnail((side - 2 * frame, side - 2 * frame), Image.Resampling.BICUBIC)
        left, top = round(x - image.width / 2), round(y - image.height / 2)
        right, bottom = left + image.width + frame - 1, top + image.height + frame - 1
        draw.rectangle((left - frame, top - frame, right, bottom), colour)
        sheet.paste(image, (left, top))
    font = ImageFont.load_default(max(12, size[0] // 110))
    drawn: list[tuple[float, float, float, float]] = []
    for name, x, y, colour in names:
        text = ellipsised(draw, name, font, size[0] / 6)
        box = draw.textbbox((x, y), text, font, "ma", stroke_width=3)
        if all(box[2] < a or c < box[0] or box[3] < b or d < box[1] for a, b, c, d in drawn):
            draw.text((x, y), text, colour, font, "ma", stroke_width=3, stroke_fill="white")
            drawn.append(box)
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def line_height(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    """The height of a line with accents and descenders, in pixels."""
    return math.ceil(font.getbbox("Ålgy")[3])


def ellipsised(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: float,
) -> str:
    """Shorten a line to a width in pixels, by an ellipsis at its end."""
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"
