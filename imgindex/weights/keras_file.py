"""Keras weights in HDF5: kernels [h, w, in, out], dense kernels [in, out], maps flattened HWC."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import h5py
import numpy as np

from imgindex.errors import ModelFileError
from imgindex.graph import brief

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_MAP_SIDE = 7
_CONVOLUTION = 4
_MOST_OBJECTS = 64
_LARGEST_CHUNK = 2**28


def read(
    path: Path, expected: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Read kernels and biases; see `imgindex.weights.read`.

    Both of Keras' namings are read (``<layer>/<layer>_W_1:0`` and ``<layer>/<layer>/kernel:0``),
    at the file's root or under ``model_weights``: within a layer's group the kernel is the one
    dataset with the kernel's rank, the bias the one vector.
    """
    try:
        with h5py.File(path, "r") as file:
            root = _child(file, "model_weights") or file
            return {name: _layer(root, name, shape, path) for name, shape in expected.items()}
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ModelFileError(f"{path} cannot be read as a Keras file: {brief(error)}") from error


def _child(group: h5py.Group, name: str) -> h5py.Group | None:
    """A group by name; links that lead out of the file, or anywhere else, are not followed."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return None
    child = group[name]
    return child if isinstance(child, h5py.Group) else None


def _layer(
    root: h5py.Group, name: str, shape: tuple[int, ...], path: Path
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    group = _child(root, name)
    if group is None:
        raise ModelFileError(f"{path} has no layer {name}; it needs kernel {list(shape)}")
    found: dict[int, list[h5py.Dataset]] = {}
    visited = 0

    def visit(_: str, item: object) -> bool | None:
        nonlocal visited
        visited += 1
        if isinstance(item, h5py.Dataset):
            found.setdefault(item.ndim, []).append(item)
        return True if visited > _MOST_OBJECTS else None

    group.visititems(visit)  # hard links only
    if len(shape) == _CONVOLUTION:
        out, channels, *window = shape
        kernel = _array(found, name, (*window, channels, out), path).transpose(3, 2, 0, 1)
    else:
        out, inputs = shape
        kernel = _array(found, name, (inputs, out), path).T
        channels, rest = divmod(inputs, _MAP_SIDE**2)
        if name == "fc1" and not rest:
            maps = kernel.reshape(out, _MAP_SIDE, _MAP_SIDE, channels)
            kernel = maps.transpose(0, 3, 1, 2).reshape(shape)
    return np.ascontiguousarray(kernel), _array(found, name, (out,), path)


def _array(
    found: dict[int, list[h5py.Dataset]], name: str, shape: tuple[int, ...], path: Path
) -> NDArray[np.float32]:
    part = "bias" if len(shape) == 1 else "kernel"
    candidates = found.get(len(shape), [])
    if len(candidates) != 1:
        shapes = [list(item.shape) for items in found.values() for item in items]
        raise ModelFileError(
            f"{path}: layer {name} needs one {part} {list(shape)}; it holds {shapes or 'nothing'}"
        )
    (data,) = candidates
    if data.shape != shape:
        raise ModelFileError(
            f"{path}: {part} of {name} must be {list(shape)}, not {list(data.shape)}"
        )
    if data.dtype.kind != "f":
        raise ModelFileError(f"{path}: {part} of {name} must be float")
    if data.external or data.is_virtual:
        raise ModelFileError(f"{path}: {part} of {name} lies in another file, which is refused")
    if data.chunks and math.prod(data.chunks) * data.dtype.itemsize > _LARGEST_CHUNK:
        raise ModelFileError(f"{path}: {part} of {name} is packed in chunks of {data.chunks}")
    array: NDArray[np.float32] = data[()].astype(np.float32)
    return array
