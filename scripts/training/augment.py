"""Random views of pictures, in torch, on whatever device the pictures lie.

Every draw comes from the generator handed in, so a step can be repeated.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

from .network import constant

_AREA = (0.35, 1.0)
_SHAPE = math.log(4 / 3)
_SOFT, _JPEG, _MIXED = 0.3, 0.25, 0.25
_QUALITY = (0.3, 2.5)

# Tables K.1 and K.2 of ITU-T T.81: the steps in which JPEG keeps lightness and colour.
_LIGHTNESS = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_COLOUR = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *([99] * 32),
)
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1, 0, 1.402), (1, -0.344136, -0.714136), (1, 1.772, 0))


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: Any) -> Any:
    drawn = torch.rand(shape, generator=generator, device=generator.device)
    return drawn * (high - low) + low


def crops(pixels: Any, aspects: Any, size: int, generator: Any) -> Any:
    """Cut a random box out of each picture, mirrored half of the time.

    A box holds 35 to 100 % of the picture; its shape lies anywhere between the picture squashed to
    the square and its true shape, and up to a third beside.

    Args:
        pixels: uint8 [n, s, s, 3], the whole pictures, squashed.
        aspects: float32 [n], their true width over height.
        size: side of the views.
        generator: of the random numbers, on the device of the pixels.

    Returns:
        float32 [n, 3, size, size], RGB in 0..1.
    """
    count = len(pixels)
    area = _uniform((count,), *_AREA, generator)
    shape = _uniform((count,), -_SHAPE, _SHAPE, generator)
    shape = shape - _uniform((count,), 0, 1, generator) * aspects.log()
    width = (area.log() / 2 + shape / 2).exp().clamp(max=1)
    height = (area.log() / 2 - shape / 2).exp().clamp(max=1)
    left = _uniform((count,), -1, 1, generator) * (1 - width)
    top = _uniform((count,), -1, 1, generator) * (1 - height)
    mirror = _uniform((count,), -1, 1, generator).sign()
    zero = torch.zeros_like(width)
    rows = [torch.stack([width * mirror, zero, left], 1), torch.stack([zero, height, top], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), [count, 3, size, size], align_corners=False)
    images = pixels.permute(0, 3, 1, 2).float() / 255
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def colours(views: Any, generator: Any) -> Any:
    """Change lightness, contrast, saturation and tint a little; one in twelve loses its colour."""
    count = len(views)

    def draw(low: float, high: float, channels: int = 1) -> Any:
        return _uniform((count, channels, 1, 1), low, high, generator)

    views = views * draw(0.7, 1.4) * draw(0.92, 1.08, 3)
    grey = views.mean(1, keepdim=True)
    saturation = draw(0.5, 1.5) * (draw(0, 1) > 1 / 12)
    views = grey + (views - grey) * saturation
    middle = views.mean((1, 2, 3), keepdim=True)
    return (middle + (views - middle) * draw(0.6, 1.4)).clamp(0, 1)


def soften(views: Any, side: int) -> Any:
    """Lose detail: down to a side and up again."""
    small = functional.interpolate(views, (side, side), mode="area")
    return functional.interpolate(small, views.shape[-2:], mode="bilinear", align_corners=False)


def jpeg(views: Any, coarseness: Any) -> Any:
    """What JPEG loses: cosine coefficients of 8 x 8 blocks, rounded to steps.

    Args:
        views: float32 [n, 3, s, s] in 0..1; s a multiple of 8.
        coarseness: float32 [n], by which the standard's steps are multiplied.
    """
    count, channels, side, _ = views.shape
    place = torch.arange(8, device=views.device, dtype=views.dtype)
    cosine = torch.cos((2 * place + 1) * place[:, None] * math.pi / 16) / 2
    cosine[0] /= math.sqrt(2)
    ycc = torch.einsum("kc,nchw->nkhw", constant(_TO_YCC, views.device), views * 255)
    steps = constant((_LIGHTNESS, _COLOUR, _COLOUR), views.device)
    steps = (steps.view(1, 3, 1, 1, 8, 8) * coarseness.view(-1, 1, 1, 1, 1, 1)).clamp(min=1)
    blocks = ycc.view(count, channels, side // 8, 8, side // 8, 8).transpose(3, 4)
    kept = torch.round(cosine @ blocks @ cosine.T / steps) * steps
    ycc = (cosine.T @ kept @ cosine).transpose(3, 4).reshape(views.shape)
    rgb = torch.einsum("ck,nkhw->nchw", constant(_TO_RGB, views.device), ycc)
    return (rgb / 255).clamp(0, 1)


def views(pixels: Any, aspects: Any, size: int, generator: Any) -> Any:
    """Make one view of each picture; see `crops` for the arguments and what is returned."""
    made = colours(crops(pixels, aspects, size, generator), generator)
    count = len(made)
    order = torch.randperm(count, generator=generator, device=generator.device)
    soft = order[: int(_SOFT * count)]
    # One side a batch: torch cannot resize each picture its own way. Drawn on the host.
    host = torch.Generator().manual_seed(generator.initial_seed())
    made[soft] = soften(made[soft], int(torch.randint(2 * size // 5, size + 1, (), generator=host)))
    order = torch.randperm(count, generator=generator, device=generator.device)
    packed = order[: int(_JPEG * count)]
    made[packed] = jpeg(made[packed], _uniform((len(packed),), *_QUALITY, generator))
    return made


def mix(made: Any, generator: Any) -> tuple[Any, Any]:
    """Lay another view over some of them (mixup, Zhang et al., arXiv:1710.09412).

    Returns:
        The views, and bool [n], which of them are mixed: no label fits those, but the teacher
        has its say on them too.
    """
    count = len(made)
    draw = _uniform((count,), 0, 1, generator)
    mixed = draw < _MIXED
    own = torch.where(mixed, 0.5 + 0.5 * _uniform((count,), 0, 1, generator), 1)
    own = own.view(-1, 1, 1, 1)
    return made * own + made.roll(1, 0) * (1 - own), mixed
