"""torch checkpoints without torch: where a pickle's tensors find their numbers.

The layouts are those of ``torch/serialization.py``: a zip with ``data.pkl`` and ``data/<key>``
since 1.6, before it five pickles in a row followed by the storages. No storage is touched before
the shape that it is wanted for was checked.
"""

from __future__ import annotations

import io
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from imgindex.errors import ModelFileError
from imgindex.graph import brief, printable

from .plain_pickle import DTYPES, RefusedError, Storage, Tensor, load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Fetch = Callable[[Storage], bytes]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_LARGEST_PICKLE = 2**20
_MOST_MEMBERS = 10_000
_COUNT = struct.Struct("<q")
_FLOATS = {"torch.FloatStorage", "torch.DoubleStorage", "torch.HalfStorage"}
_BFLOAT = "torch.BFloat16Storage"


def read(
    path: Path, expected: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Read kernels and biases of torchvision's VGG; see `imgindex.weights.read`."""
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                with zipfile.ZipFile(file) as archive:
                    table, fetch = _open_zip(archive, path.stat().st_size)
                    return _take(path, table, fetch, expected)
            file.seek(0)
            table, fetch = _open_legacy(file)
            return _take(path, table, fetch, expected)
    except RefusedError as error:
        raise ModelFileError(f"{path} is refused: {brief(error)}") from error
    except (
        OSError,
        zipfile.BadZipFile,
        ValueError,
        EOFError,
        RuntimeError,
        OverflowError,
    ) as error:
        raise ModelFileError(f"{path} cannot be read as a torch file: {brief(error)}") from error


def _take(
    path: Path, table: Any, fetch: Fetch, expected: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    if not isinstance(table, dict):
        raise ModelFileError(f"{path} holds no state_dict but a {type(table).__name__}")
    layers = {}
    for name, place in _places(expected).items():
        shape = expected[name]
        arrays = []
        for part, wanted in (("weight", shape), ("bias", shape[:1])):
            tensor = table.get(f"{place}.{part}")
            if not isinstance(tensor, Tensor):
                raise ModelFileError(
                    f"{path} has no {place}.{part} (layer {name}, {list(wanted)}); "
                    "the state_dict of torchvision's vgg16 is read"
                )
            if tensor.shape != wanted:
                raise ModelFileError(
                    f"{path}: {place}.{part} (layer {name}) must be {list(wanted)}, "
                    f"not {printable(str(list(tensor.shape)))}"
                )
            arrays.append(_array(tensor, fetch))
        layers[name] = (arrays[0], arrays[1])
    return layers


def _places(expected: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Layer -> module of torchvision's VGG: ReLU and pooling count as modules there."""
    places, index, block = {}, 0, ""
    for name, shape in expected.items():
        if len(shape) == 2:  # noqa: PLR2004 - a dense kernel
            places[name] = f"classifier.{3 * (int(name.removeprefix('fc')) - 1)}"
            continue
        here = name.partition("_")[0]
        if block and here != block:
            index += 1
        block = here
        places[name] = f"features.{index}"
        index += 2
    return places


def _array(tensor: Tensor, fetch: Fetch) -> NDArray[np.float32]:
    """Materialise a view after checking that it lies in its storage and meets itself nowhere."""
    storage = tensor.storage
    if storage.kind not in _FLOATS and storage.kind != _BFLOAT:
        raise RefusedError(f"weights must be float, not {storage.kind}")
    if tensor.offset < 0 or any(stride < 0 for stride in tensor.strides):
        raise RefusedError("a tensor with a negative offset or stride")
    reach = 1
    for stride, side in sorted(zip(tensor.strides, tensor.shape, strict=True)):
        if side > 1 and stride < reach:
            raise RefusedError("a tensor whose elements overlap")
        reach += (side - 1) * stride
    if tensor.offset + reach > storage.count:
        raise RefusedError(
            f"a tensor that reaches to element {tensor.offset + reach} of a storage of "
            f"{storage.count}"
        )
    data = fetch(storage)
    if len(data) != storage.bytes:
        key = printable(storage.key)
        raise RefusedError(f"storage {key} of {len(data)} bytes, not {storage.bytes}")
    flat = np.frombuffer(data, DTYPES[storage.kind])
    if storage.kind == _BFLOAT:
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    view = np.lib.stride_tricks.as_strided(
        flat[tensor.offset :],
        tensor.shape,
        [stride * flat.itemsize for stride in tensor.strides],
        writeable=False,
    )
    return np.array(view, np.float32, order="C")


def _open_zip(archive: zipfile.ZipFile, length: int) -> tuple[Any, Fetch]:
    members = archive.infolist()
    sizes = {member.filename: member.file_size for member in members}
    if len(members) > _MOST_MEMBERS or len(sizes) != len(members):
        raise RefusedError(f"a zip of {len(members)} members, {len(sizes)} of them different")
    if any(
        member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size
        for member in members
    ):
        raise RefusedError("compressed members; torch writes none")
    if sum(sizes.values()) > length:
        raise RefusedError(f"a zip of {length} bytes that claims to hold {sum(sizes.values())}")
    pickles = [name for name in sizes if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("the zip holds no data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    if sizes[pickles[0]] > _LARGEST_PICKLE:
        raise RefusedError(f"a pickle of {sizes[pickles[0]]} bytes")
    order = f"{root}byteorder"
    if order in sizes and (sizes[order] != len("little") or archive.read(order) != b"little"):
        raise ValueError("it was written on a big-endian machine")

    def fetch(storage: Storage) -> bytes:
        name = f"{root}data/{storage.key}"
        if name not in sizes:
            raise ValueError(f"storage {printable(storage.key)} is missing")
        return archive.read(name)

    return load(io.BytesIO(archive.read(pickles[0]))), fetch


def _open_legacy(file: io.BufferedReader) -> tuple[Any, Fetch]:
    head = io.BytesIO(file.read(_LARGEST_PICKLE))
    if load(head) != _MAGIC:
        raise ValueError("it does not begin as one")
    if load(head) != _PROTOCOL:
        raise ValueError("its protocol is unknown")
    system = load(head)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("it was written on a big-endian machine")
    table = load(head)
    keys = load(head)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages is damaged")
    kinds = {
        value.storage.key: value.storage
        for value in (table.values() if isinstance(table, dict) else ())
        if isinstance(value, Tensor)
    }
    starts = _starts(file, head.tell(), [kinds.get(key) for key in keys])

    def fetch(storage: Storage) -> bytes:
        if kinds.get(storage.key) != storage or storage.key not in starts:
            key = printable(storage.key)
            raise RefusedError(f"storage {key} described in two ways, or not at all")
        file.seek(starts[storage.key])
        return file.read(storage.bytes)

    return table, fetch


def _starts(
    file: io.BufferedReader, position: int, storages: list[Storage | None]
) -> dict[str, int]:
    """Find each storage's first byte: they follow one another, each after its count of elements."""
    end = file.seek(0, io.SEEK_END)
    starts: dict[str, int] = {}
    for storage in storages:
        if storage is None or storage.key in starts:
            raise RefusedError("a storage that no tensor uses, or that comes twice")
        file.seek(position)
        count = file.read(_COUNT.size)
        if len(count) != _COUNT.size or _COUNT.unpack(count) != (storage.count,):
            key = printable(storage.key)
            raise RefusedError(f"storage {key} whose length is not {storage.count}")
        starts[storage.key] = position + _COUNT.size
        position = starts[storage.key] + storage.bytes
        if position > end:
            raise ValueError(f"it is cut off in storage {printable(storage.key)}")
    return starts
