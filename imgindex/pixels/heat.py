"""Numbers as colours: single maps, and maps laid over a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from imgindex.records import Frame, Maps, Pixels

_OPAQUE = (0.25, 0.85)  # of the colours over a picture, where they are coldest and hottest
_DARKER = 0.8  # the grey below the colours, so that they glow
_FADED = 0.3  # of the ink is left where the network did not look


def coloured(values: NDArray[np.floating]) -> Pixels:
    """Numbers 0 to 1 as colours from black over red to pale yellow, in even steps to the eye.

    Args:
        values: float [h, w]; what lies beyond 0 and 1 takes the colour of the end.

    Returns:
        uint8 [h, w, 3].
    """
    import cv2
    import numpy as np

    steps = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(steps, cv2.COLORMAP_INFERNO)[..., ::-1])


def tile(values: Maps, target: int) -> Image.Image:
    """One map of a layer, from 0 to its own maximum, about as large as asked for.

    Enlarged by whole numbers, so that every place stays a square; a map of zeros is black.

    Args:
        values: float32 [h, w].
        target: side in pixels.
    """
    import numpy as np
    from PIL import Image

    peak = float(values.max())
    scaled = values / peak if peak > 0 else np.zeros_like(values)
    side = max(values.shape)
    if side > target:
        small = Image.fromarray(scaled).resize(
            (target, max(1, round(target * values.shape[0] / values.shape[1]))),
            Image.Resampling.BOX,
        )
        return Image.fromarray(coloured(np.asarray(small)))
    factor = max(1, round(target / side))
    return Image.fromarray(coloured(scaled.repeat(factor, 0).repeat(factor, 1)))


def overlaid(
    image: Image.Image, values: Maps, low: float, high: float, frame: Frame
) -> Image.Image:
    """Lay a map over a picture, which turns grey; what the network did not see is faded.

    Args:
        image: the upright picture, of any size.
        values: float32 [h, w], over the square that the network saw.
        low: the number that is coldest.
        high: the number that is hottest.
        frame: where the square lies.
    """
    import numpy as np
    from PIL import Image

    left, top, right, bottom = placed(image.size, frame)
    flat = Image.fromarray((values - low) / max(high - low, 1e-12))
    size = (max(1, right - left), max(1, bottom - top))
    warm = np.clip(np.asarray(flat.resize(size, Image.Resampling.BICUBIC)), 0, 1)
    opaque = _OPAQUE[0] + (_OPAQUE[1] - _OPAQUE[0]) * warm
    mask = Image.fromarray(np.rint(opaque * 255).astype(np.uint8))
    drawn = image.convert("L").point(lambda value: round(value * _DARKER)).convert("RGB")
    drawn.paste(Image.fromarray(coloured(warm)), (left, top), mask)
    return dimmed(drawn, frame)


def dimmed(image: Image.Image, frame: Frame) -> Image.Image:
    """A copy of an upright picture, of any size, faded where the network did not look."""
    left, top, right, bottom = placed(image.size, frame)
    seen = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
    drawn = image.point(lambda value: round(255 - (255 - value) * _FADED))
    drawn.paste(image.crop(seen), seen[:2])
    return drawn


def placed(size: tuple[int, int], frame: Frame) -> tuple[int, int, int, int]:
    """Where the square that the network saw lies in a drawing of the picture of some size."""
    wide, high = size[0] / frame.width, size[1] / frame.height
    left, top, right, bottom = frame.square
    return round(left * wide), round(top * high), round(right * wide), round(bottom * high)
