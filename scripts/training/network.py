"""VGG16 with batch normalisation while it learns, and how that is folded away."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from imgindex import vgg16
from imgindex.graph import TORCH, Weights

WIDTH = 512
CLASSES, CODE = 1001, 160


def features() -> Any:
    """Draw the thirteen convolutions, each with batch normalisation (Ioffe & Szegedy,
    arXiv:1502.03167) before its ReLU, in five blocks closed by a 2 x 2 maximum.
    """  # noqa: D205 - one sentence
    modules: list[Any] = []
    block = "block1"
    for name, (width, channels, *_) in vgg16.CONVOLUTIONS.items():
        if name[:6] != block:
            modules.append(nn.MaxPool2d(2))
            block = name[:6]
        convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        modules += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*modules, nn.MaxPool2d(2))


def pupil(labels: int) -> Any:
    """Put together what learns: the features, and heads that are thrown away afterwards.

    The heads read the unit descriptor, centred and stretched by its own batch normalisation, so
    that what they learn has to lie in directions and not in lengths.

    Args:
        labels: number of classes of all sets together.
    """
    made = nn.Module()
    made.features = features()
    made.neck = nn.BatchNorm1d(WIDTH, affine=False)
    made.labels = nn.Linear(WIDTH, labels)
    made.classes = nn.Linear(WIDTH, CLASSES)
    made.code = nn.Linear(WIDTH, CODE)
    made.sharpness = nn.Parameter(torch.tensor(10.0).log())
    return made


def plain(weights: Weights) -> Any:
    """Draw the network without batch normalisation, as it ships, around folded weights."""
    drawn, modules = iter(weights.layers.values()), []
    for module in features():
        if isinstance(module, nn.Conv2d):
            kernel, bias = (torch.from_numpy(array) for array in next(drawn))
            width, channels = kernel.shape[:2]
            convolution = nn.Conv2d(channels, width, 3, padding=1)
            convolution.load_state_dict({"weight": kernel, "bias": bias})
            modules.append(convolution)
        elif not isinstance(module, nn.BatchNorm2d):
            modules.append(module)
    return nn.Sequential(*modules).eval()


def folded(features: Any, weights: Weights) -> Weights:
    """Read the weights of a `plain` network back; ``weights`` gives names and scaling."""
    convolutions = [one for one in features if isinstance(one, nn.Conv2d)]
    layers = {
        name: (one.weight.detach().cpu().numpy().copy("C"), one.bias.detach().cpu().numpy().copy())
        for name, one in zip(weights.layers, convolutions, strict=True)
    }
    return Weights(layers, weights.scaling)


def quick(device: Any) -> Any:
    """Give the context in which a GPU computes in bfloat16; a CPU is no faster by it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


@cache
def constant(values: tuple[Any, ...], device: Any) -> Any:
    """Bring numbers to a device as float32, once: every copy from the host waits for the GPU."""
    return torch.tensor(values, dtype=torch.float32, device=device)


def scaled(views: Any) -> Any:
    """Bring views in 0..1 to the numbers that the network sees, as `graph.TORCH` says."""
    mean, std = (constant(row, views.device) for row in (TORCH.mean, TORCH.std))
    views = (views - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    return views.contiguous(memory_format=torch.channels_last)


def descriptors(maps: Any) -> Any:
    """Average the map of the last block and bring it to length 1: [n, 512, h, w] to [n, 512]."""
    return functional.normalize(maps.float().mean((2, 3)))


def fold(network: Any) -> Weights:
    """Fold batch normalisation into the convolutions, in double precision.

    y = gamma (Wx - mean) / sqrt(variance + eps) + beta is a convolution with the kernel
    W gamma / sqrt(variance + eps) and the bias beta - mean gamma / sqrt(variance + eps).
    """
    convolutions = [one for one in network if isinstance(one, nn.Conv2d)]
    norms = [one for one in network if isinstance(one, nn.BatchNorm2d)]
    layers = {}
    for name, convolution, norm in zip(vgg16.CONVOLUTIONS, convolutions, norms, strict=True):
        kernel, gamma, beta, mean, variance = (
            value.detach().cpu().numpy().astype(np.float64)
            for value in (
                *(convolution.weight, norm.weight, norm.bias),
                *(norm.running_mean, norm.running_var),
            )
        )
        factor = gamma / np.sqrt(variance + norm.eps)
        layers[name] = (
            (kernel * factor[:, None, None, None]).astype(np.float32),
            (beta - mean * factor).astype(np.float32),
        )
    return Weights(layers, TORCH)
