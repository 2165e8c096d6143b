"""VGG16 as torch computes it, from the very same weights."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from imgindex import vgg16
from imgindex.graph import TORCH

from .measuring import cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgindex.records import Pixels, Rows


def network() -> Any:
    """The VGG16 of torchvision up to block5_pool, with the weights of ``vgg16.untrained``."""
    import torch

    torch.set_num_threads(cores())
    features = torchvision().models.vgg16(weights=None).features.eval()
    convolutions = [layer for layer in features if isinstance(layer, torch.nn.Conv2d)]
    with torch.no_grad():
        arrays = vgg16.untrained().layers.values()
        for layer, (kernel, bias) in zip(convolutions, arrays, strict=True):
            layer.weight.copy_(torch.from_numpy(kernel))
            layer.bias.copy_(torch.from_numpy(bias))
    return features


def torchvision() -> Any:
    """The package, also where its compiled operators were built for another torch.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:
        import torch

        # Nothing here calls them; but they are described when torchvision loads.
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torchvision.library = library  # type: ignore[attr-defined]  # they go when it goes
        return importlib.import_module("torchvision")


def encoders(*, compiled: bool) -> Iterator[tuple[str, Callable[[Pixels], Rows]]]:
    """Ways to have torch embed uint8 pixels, by name: from bytes to unit vectors, as imgindex."""
    import torch

    features = network()
    channels_last = torch.channels_last
    yield "torch", _encoder(features, torch.float32, torch.contiguous_format)
    lined_up = network().to(memory_format=channels_last)
    yield "torch, channels_last", _encoder(lined_up, torch.float32, channels_last)
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if able.get("avx512_bf16") or able.get("amx_bf16"):
        halved = network().to(torch.bfloat16, memory_format=channels_last)
        yield "torch, bfloat16", _encoder(halved, torch.bfloat16, channels_last)
    if compiled:
        yield "torch.compile", _encoder(torch.compile(lined_up), torch.float32, channels_last)


def _encoder(features: Any, kind: Any, layout: Any) -> Callable[[Pixels], Rows]:
    import torch

    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (TORCH.mean, TORCH.std))

    def encode(pixels: Pixels) -> Rows:
        with torch.inference_mode():
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
            images = (images / 255 - mean) / std
            maps = features(images.to(kind).contiguous(memory_format=layout))
            rows = torch.nn.functional.normalize(maps.float().mean((2, 3)), dim=1)
        return np.asarray(rows.numpy(), np.float32)

    return encode
