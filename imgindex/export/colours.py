"""Colours for groups on a map: those that lie side by side differ most.

Hues are steps of OKLCH, in which equal steps look equal (Ottosson, "A perceptual color space for
image processing"); there are far fewer that can be told apart than there may be groups.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOISE_COLOUR = ("#b9b5ad", "#5b5955")
"""On light and on dark paper."""
ALL_COLOUR = ("#1f6b6e", "#7cc4c4")
"""Where there are no groups."""

_HUES = 14
_TONES = ((0.54, 0.17, 0.66, 0.16), (0.70, 0.15, 0.82, 0.13))  # lightness, chroma; the same on dark
_NEAR = 12  # groups whose colours count
_ALIKE = 0.1  # so far apart two colours are half forgotten
_DULLER = 0.95
_FULL = 255


def colours(centres: NDArray[np.float32], radii: NDArray[np.float32]) -> list[tuple[str, str]]:
    """Choose colours one group after the other, each unlike those around it.

    Args:
        centres: float32 [g, 2], of the groups on the map; the first choose freely.
        radii: float32 [g], how far they reach.

    Returns:
        For each group two colours as ``#rrggbb``: on light and on dark paper.
    """
    palette = [
        (light, chroma, dark, dark_chroma, 2 * math.pi * (step + tone / 2) / _HUES)
        for tone, (light, chroma, dark, dark_chroma) in enumerate(_TONES)
        for step in range(_HUES)
    ]
    points = np.array([(tone[0], *_plane(tone[1], tone[4])) for tone in palette])
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    likeness = np.exp(-((apart / _ALIKE) ** 2))
    chosen = np.empty(len(centres), np.intp)
    used = np.zeros(len(palette))
    for group in range(len(centres)):
        steps = np.linalg.norm(centres[:group] - centres[group], axis=1)
        gaps = steps / np.maximum(radii[:group] + radii[group], 1e-9)
        near = np.argsort(gaps, kind="stable")[:_NEAR]
        weights = 1 / (1 + np.arange(len(near)))
        # The last term settles what is equal: colours that are seldom used come first.
        chosen[group] = (weights @ likeness[chosen[near]] + 1e-3 * used).argmin()
        used[chosen[group]] += 1
    written = [
        (_hex(light, chroma, hue), _hex(dark, dark_chroma, hue))
        for light, chroma, dark, dark_chroma, hue in palette
    ]
    return [written[at] for at in chosen.tolist()]


def _plane(chroma: float, hue: float) -> tuple[float, float]:
    return chroma * math.cos(hue), chroma * math.sin(hue)


def _hex(lightness: float, chroma: float, hue: float) -> str:
    """An OKLCH colour in sRGB; one that screens cannot show gets less chroma."""
    while True:
        a, b = _plane(chroma, hue)
        long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
        middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
        short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
        linear = (
            4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
        )
        if min(linear) >= 0 and max(linear) <= 1:
            return "#" + "".join(f"{round(_FULL * _gamma(value)):02x}" for value in linear)
        chroma *= _DULLER


def _gamma(value: float) -> float:
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055  # noqa: PLR2004 - sRGB's curve
