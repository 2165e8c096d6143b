"""Published weight files of VGG-like networks to arrays: Keras ``.h5`` and torch ``.pth``.

The kind is told by the first bytes, never by the suffix. Files are taken as hostile: nothing in
them is executed, and nothing is allocated before its size was compared with what is expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from imgindex.errors import ModelFileError
from imgindex.graph import CAFFE, TORCH, Weights, brief

from . import keras_file, torch_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Kind = Literal["keras", "torch"]

_KEYS: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89HDF\r\n\x1a\n", "keras"),
    (b"PK\x03\x04", "torch"),
    (b"\x80\x02", "torch"),
)


def kind(path: Path) -> Kind | None:
    """Tell a weight file by its first bytes; None if it is something else.

    Raises:
        ModelFileError: the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except (OSError, ValueError) as error:
        raise ModelFileError(f"cannot read {path}: {brief(error)}") from error
    return next((found for key, found in _KEYS if start.startswith(key)), None)


def read(path: Path, expected: Mapping[str, tuple[int, ...]]) -> Weights:
    """Read the layers of a network.

    Args:
        path: a Keras ``.h5`` of keras-applications, or a ``.pth`` that holds a torchvision
            ``state_dict``, in the zip layout or the one before torch 1.6.
        expected: layer -> shape of its kernel, in the order of the network; names as Keras gives
            them (``block1_conv1``, ``fc1``), shapes as torch has them: [out, in, 3, 3] or
            [out, in]. Other layers of the file are not read.

    Returns:
        The weights, float32, with the input scaling their publisher trained with.

    Raises:
        ModelFileError: the file is damaged, unsafe, or a layer is missing or of another shape.
    """
    found = kind(path)
    if found == "keras":
        layers, scaling = keras_file.read(path, expected), CAFFE
    elif found == "torch":
        layers, scaling = torch_file.read(path, expected), TORCH
    else:
        raise ModelFileError(f"{path} holds no weights; Keras .h5 and torch .pth files are read")
    for name, arrays in layers.items():
        if not all(np.isfinite(array).all() for array in arrays):
            raise ModelFileError(f"{path} is damaged: {name} holds numbers that are not finite")
    return Weights(layers, scaling)
