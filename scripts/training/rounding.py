"""Getting the weights used to being rounded, so that the small model says what the whole one does.

Weights and activations are rounded in every step as the small model will round them, and gradients
pass the rounding as if it were not there (Jacob et al., arXiv:1712.05877). What is asked for is the
descriptor of the network as it was: no label, no teacher.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from . import measure, network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.graph import Weights
    from imgindex.records import Pixels

    from .measure import Choice

HIGHEST = 126
"""The largest whole number of a weight, as `imgindex.precision` rounds."""

_RATE, _WARM = 1e-5, 0.1
_BATCH = 64
_BYTE = 255


def rounded(values: Any, step: Any, highest: int) -> Any:
    """Round to multiples of a step, at most so many either way; gradients pass unchanged."""
    kept = (values / step).round().clamp(-highest, highest) * step
    return values + (kept - values).detach()


def seen(features: Any, views: Any, steps: list[float]) -> Any:
    """Run a plain network as the small model will.

    Args:
        features: see `network.plain`.
        views: float32 [n, 3, s, s], scaled.
        steps: between neighbouring values of each ReLU; empty to round nothing.
    """
    place = 0
    for module in features:
        if isinstance(module, nn.Conv2d) and steps:
            kernel = module.weight
            step = kernel.detach().abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12) / HIGHEST
            views = functional.conv2d(views, rounded(kernel, step, HIGHEST), module.bias, padding=1)
        else:
            views = module(views)
        if isinstance(module, nn.ReLU):
            if steps:
                views = rounded(views, steps[place], _BYTE)
            place += 1
    return views


def ranges(features: Any, views: Any) -> list[float]:
    """Measure the step that brings each ReLU's largest value to 255."""
    largest = []
    with torch.no_grad():
        for module in features:
            views = module(views)
            if isinstance(module, nn.ReLU):
                largest.append(max(float(views.max()), 1e-6) / _BYTE)
    return largest


def tuned(  # noqa: PLR0913 - how the network is used, one by one
    weights: Weights,
    choice: Choice,
    projection: tuple[NDArray[Any], NDArray[Any]] | None,
    pixels: Pixels,
    *,
    steps: int,
    device: Any,
) -> Weights:
    """Fit weights to eight bits.

    Args:
        weights: the trained ones.
        choice: how the map becomes a descriptor.
        projection: of the pooled vector, or None.
        pixels: uint8 [n, s, s, 3], to learn on.
        steps: how many, of 64 pictures.
        device: where to compute.
    """
    whole = network.plain(weights).to(device, memory_format=torch.channels_last)
    pupil = copy.deepcopy(whole)
    matrix, offset = (
        (torch.from_numpy(array).to(device) for array in projection) if projection else (None, None)
    )

    def described(maps: Any) -> Any:
        rows = measure.pooled(maps)[choice.pooling]
        return rows if matrix is None else functional.normalize(rows @ matrix.T + offset)

    def views(places: Any) -> Any:
        flat = torch.from_numpy(pixels[places.numpy()]).to(device)
        return network.scaled(flat.permute(0, 3, 1, 2).float() / 255)

    generator = torch.Generator().manual_seed(0)
    grain = ranges(whole, views(torch.randperm(len(pixels), generator=generator)[: 4 * _BATCH]))
    optimiser = torch.optim.Adam(pupil.parameters())
    for step in range(steps):
        batch = views(torch.randint(len(pixels), (_BATCH,), generator=generator))
        with torch.no_grad():
            wanted = described(whole(batch))
        ours = described(seen(pupil, batch, grain))
        loss = 1 - (ours * wanted).sum(1).mean()
        for group in optimiser.param_groups:
            warm = min(1, (step + 1) / max(1, _WARM * steps))
            group["lr"] = _RATE * warm * (1 + math.cos(math.pi * step / steps)) / 2
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if step % max(1, steps // 5) == 0 or step == steps - 1:
            print(f"  fitting, step {step}: 1 - cosine {float(loss.detach()):.6f}", flush=True)
    return network.folded(pupil, weights)
