"""Weight files: both Keras namings, both torch layouts, and what must be refused unread."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgindex import graph, weights
from imgindex.errors import ModelFileError
from imgindex.weights import plain_pickle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Table = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]

# A VGG of three layers; fc1 reads a map of 2 channels, 7 x 7.
EXPECTED = {"block1_conv1": (4, 3, 3, 3), "block2_conv1": (2, 4, 3, 3), "fc1": (5, 98)}
PLACES = {"block1_conv1": "features.0", "block2_conv1": "features.3", "fc1": "classifier.0"}


def table(seed: int = 0) -> Table:
    random = np.random.default_rng(seed)
    return {
        name: (
            random.standard_normal(shape, np.float32),
            random.standard_normal(shape[0], np.float32),
        )
        for name, shape in EXPECTED.items()
    }


def same(found: graph.Weights, wanted: Table) -> None:
    assert list(found.layers) == list(wanted)
    for name, arrays in wanted.items():
        for got, array in zip(found.layers[name], arrays, strict=True):
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, array)


class Pickled:
    """Something that pickles as a call of a global, as torch's tensors do."""

    def __init__(self, module: str, name: str, arguments: tuple[Any, ...]) -> None:
        self.target, self.arguments = Named(module, name), arguments


class Named:
    """A global by name, whether or not the module is installed."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Stored(tuple[Any, ...]):
    """A persistent id, as torch writes it for a storage."""

    __slots__ = ()


class Writer(pickle._Pickler):
    """torch's pickles without torch: calls, globals and storages are written as opcodes."""

    write: Callable[[bytes], object]

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:  # noqa: FBT001, FBT002 - the base's
        if isinstance(obj, Named):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Stored):
            self.save(tuple(obj))
            self.write(pickle.BINPERSID)
        elif isinstance(obj, Pickled):
            self.save(obj.target)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)  # type: ignore[misc]  # the stubs hide it


def dumps(value: Any) -> bytes:
    file = io.BytesIO()
    Writer(file, 2).dump(value)
    return file.getvalue()


def tensor(  # noqa: PLR0913 - every part of a tensor may lie
    array: NDArray[Any],
    key: str,
    *,
    legacy: bool,
    kind: str = "FloatStorage",
    count: int | None = None,
    offset: Any = 0,
    shape: Any = None,
    strides: Any = None,
    rebuild: tuple[str, str] = ("torch._utils", "_rebuild_tensor_v2"),
) -> Pickled:
    storage = ("storage", Named("torch", kind), key, "cpu", array.size if count is None else count)
    contiguous = tuple(stride // array.itemsize for stride in array.strides)
    return Pickled(
        *rebuild,
        (
            Stored((*storage, None) if legacy else storage),
            offset,
            array.shape if shape is None else shape,
            contiguous if strides is None else strides,
            False,
            OrderedDict(),
        ),
    )


def state(layers: Table, *, legacy: bool, **options: Any) -> tuple[Any, dict[str, bytes]]:
    """A state_dict as torch pickles it, and its storages; options bend the first tensor."""
    entries: OrderedDict[str, Any] = OrderedDict()
    storages: dict[str, bytes] = {}
    for name, arrays in layers.items():
        for part, array in zip(("weight", "bias"), arrays, strict=True):
            key = str(len(storages))
            bend = {} if storages else options
            entries[f"{PLACES[name]}.{part}"] = tensor(array, key, legacy=legacy, **bend)
            storages[key] = array.tobytes()
    return entries, storages


def write_zip(
    path: Path, entries: Any, storages: dict[str, bytes], *, byteorder: bytes = b"little"
) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        data = entries if isinstance(entries, bytes) else dumps(entries)
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", byteorder)
        for key, raw in storages.items():
            archive.writestr(f"archive/data/{key}", raw)
    return path


def write_legacy(  # noqa: PLR0913 - every part of a header may lie
    path: Path,
    entries: Any,
    storages: dict[str, bytes],
    *,
    magic: Any = 0x1950A86A20F9469CFC6C,
    protocol: Any = 1001,
    system: Any = None,
    keys: Any = None,
    counts: dict[str, int] | None = None,
) -> Path:
    if system is None:
        system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    with path.open("wb") as file:
        for value in (magic, protocol, system, entries, list(storages) if keys is None else keys):
            file.write(value if isinstance(value, bytes) else dumps(value))
        for key, raw in storages.items():
            count = (counts or {}).get(key, len(raw) // 4)
            file.write(struct.pack("<q", count) + raw)
    return path


def write(path: Path, *, legacy: bool, layers: Table | None = None, **options: Any) -> Path:
    entries, storages = state(layers or table(), legacy=legacy, **options)
    return (write_legacy if legacy else write_zip)(path, entries, storages)


both = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


@both
def test_torch_files_read_back_equal(tmp_path: Path, legacy: bool) -> None:  # noqa: FBT001 - a parameter
    found = weights.read(write(tmp_path / "w.bin", legacy=legacy), EXPECTED)
    same(found, table())
    assert found.scaling == graph.TORCH


@both
def test_only_what_is_expected_is_read(tmp_path: Path, legacy: bool) -> None:  # noqa: FBT001 - a parameter
    first = {"block1_conv1": EXPECTED["block1_conv1"]}
    found = weights.read(write(tmp_path / "w.pth", legacy=legacy), first)
    same(found, {"block1_conv1": table()["block1_conv1"]})


@both
def test_views_of_a_shared_storage_are_read(tmp_path: Path, legacy: bool) -> None:  # noqa: FBT001 - a parameter
    """A kernel kept channels-last, as torch stores it after ``memory_format=channels_last``."""
    layers = table()
    kernel, bias = layers["block1_conv1"]
    layers["block1_conv1"] = (kernel.transpose(0, 2, 3, 1).copy(), bias)
    path = write(
        tmp_path / "w.pth", legacy=legacy, layers=layers, shape=kernel.shape, strides=(27, 1, 9, 3)
    )
    same(weights.read(path, EXPECTED), table())


@pytest.mark.parametrize(
    ("kind", "dtype"), [("HalfStorage", "f2"), ("DoubleStorage", "f8"), ("BFloat16Storage", "u2")]
)
def test_other_float_kinds_become_float32(tmp_path: Path, kind: str, dtype: str) -> None:
    kernel, bias = table()["block1_conv1"]
    if kind == "BFloat16Storage":
        stored = (kernel.view(np.uint32) >> 16).astype(np.uint16)
        kernel = (stored.astype(np.uint32) << 16).view(np.float32)
    else:
        stored = kernel.astype(dtype)
        kernel = stored.astype(np.float32)
    layers: Any = {"block1_conv1": (stored, bias)}
    path = write(tmp_path / "w.pth", legacy=False, layers=layers, kind=kind)
    first = {"block1_conv1": EXPECTED["block1_conv1"]}
    same(weights.read(path, first), {"block1_conv1": (kernel, bias)})


@pytest.mark.parametrize("how", ["rebuild_v1", "parameter", "old_parameter", "metadata"])
def test_what_other_releases_of_torch_write_is_read(tmp_path: Path, how: str) -> None:
    entries, storages = state(table(), legacy=True)
    tail = b""
    for name, value in entries.items():
        if how == "rebuild_v1":
            value.target, value.arguments = (
                Named("torch._utils", "_rebuild_tensor"),
                value.arguments[:4],
            )
        elif how == "parameter":
            arguments: Any = (value, True, OrderedDict())
            entries[name] = Pickled("torch._utils", "_rebuild_parameter", arguments)
        elif how == "old_parameter":
            entries[name] = Pickled("torch.nn.parameter", "Parameter", (value,))
    if how == "metadata":
        tail = dumps({"_metadata": OrderedDict({"": {"version": 1}})})[2:-1] + pickle.BUILD
    data = dumps(entries)[:-1] + tail + pickle.STOP
    same(weights.read(write_legacy(tmp_path / "w.pth", data, storages), EXPECTED), table())


class Payload:
    """Pickles as a call that would make a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.proof), "w"))


def payload(proof: Path) -> bytes:
    data = pickle.dumps(Payload(proof), 2)
    pickle.loads(data).close()  # noqa: S301 - the payload is ours
    assert proof.exists(), "the payload must work where pickles are trusted"
    proof.unlink()
    return data


@pytest.mark.parametrize("place", ["zip", "magic", "protocol", "system", "entries", "keys"])
def test_a_payload_is_refused_and_not_run(tmp_path: Path, place: str) -> None:
    proof = tmp_path / "proof"
    data = payload(proof)
    entries, storages = state(table(), legacy=place != "zip")
    path = tmp_path / "w.pth"
    if place == "zip":
        write_zip(path, data, storages)
    else:
        write_legacy(path, **{"entries": entries, "storages": storages, place: data})
    with pytest.raises(ModelFileError, match=r"refused.*open"):
        weights.read(path, EXPECTED)
    assert not proof.exists()


@both
def test_a_payload_inside_the_dictionary_is_refused(tmp_path: Path, legacy: bool) -> None:  # noqa: FBT001 - a parameter
    entries, storages = state(table(), legacy=legacy)
    entries["extra"] = Pickled("os", "mkdir", (str(tmp_path / "proof"),))
    path = (write_legacy if legacy else write_zip)(tmp_path / "w.pth", entries, storages)
    with pytest.raises(ModelFileError, match=r"os\.mkdir"):
        weights.read(path, EXPECTED)
    assert not (tmp_path / "proof").exists()


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize(
    "code",
    [
        REBUILD + b"}X\x0c\x00\x00\x00__defaults__)sb",
        REBUILD + b"N}X\x0c\x00\x00\x00__defaults__)s\x86b",
        b"ccollections\nOrderedDict\n}X\x05\x00\x00\x00items)sb",
        b"(ios\nsystem\n",
        b"(cos\nsystem\nX\x04\x00\x00\x00trueo",
        b"cos\nsystem\nX\x04\x00\x00\x00true\x85R",
        b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93",
        b"ctorch._utils\n__builtins__.eval\n",
        b"ctorch\nload\n",
        b"\x82\x01",
        b"}X\x01\x00\x00\x00a\x85R",
        REBUILD + b")\x81",
        b"ccollections\nOrderedDict\nK\x05\x85R",
        b"Q",
        b"K\x05Q",
        b"K\x05a",
        b"h\x09",
        b"r\xff\xff\xff\x7f",
        b"t",
        b"\x86",
        b"2",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc",
        b"\x96\xff\xff\xff\xff\xff\xff\xff\x7fabc",
        b"\x8b\xff\xff\xff\x7fabc",
        b"X\xff\xff\xff\xffabc",
        b"]}]sN",
    ],
)
def test_hostile_opcodes_are_refused(tmp_path: Path, code: bytes) -> None:
    path = write_zip(tmp_path / "w.pth", b"\x80\x02" + code + b".", {})
    with pytest.raises(ModelFileError):
        weights.read(path, EXPECTED)


@both
@pytest.mark.parametrize(
    "bend",
    [
        {"offset": -1},
        {"offset": 1},
        {"offset": 2**62},
        {"offset": "0"},
        {"strides": (27, 9, -3, 1)},
        {"strides": (0, 9, 3, 1)},
        {"strides": (9, 9, 3, 1)},
        {"strides": (2**62, 9, 3, 1)},
        {"strides": (9, 3, 1)},
        {"strides": (27.0, 9, 3, 1)},
        {"shape": (4, 3, 3, -3)},
        {"count": 2**62},
        {"count": -1},
        {"count": 107},
        {"kind": "LongStorage"},
        {"kind": "UntypedStorage"},
        {"kind": "HalfStorage"},
    ],
    ids=str,
)
def test_tensors_that_reach_elsewhere_are_refused(
    tmp_path: Path,
    legacy: bool,  # noqa: FBT001 - a parameter
    bend: dict[str, Any],
) -> None:
    path = write(tmp_path / "w.pth", legacy=legacy, **bend)
    with pytest.raises(ModelFileError):
        weights.read(path, EXPECTED)


@both
def test_a_huge_shape_is_told_before_anything_is_allocated(tmp_path: Path, legacy: bool) -> None:  # noqa: FBT001 - a parameter
    path = write(tmp_path / "w.pth", legacy=legacy, shape=(2**40, 3, 3, 3))
    with pytest.raises(ModelFileError, match=r"block1_conv1.*\[4, 3, 3, 3\].*1099511627776"):
        weights.read(path, EXPECTED)


@both
@pytest.mark.parametrize("layer", EXPECTED)
def test_a_missing_layer_is_named_with_its_shape(
    tmp_path: Path,
    legacy: bool,  # noqa: FBT001 - a parameter
    layer: str,
) -> None:
    layers = table()
    del layers[layer]
    path = write(tmp_path / "w.pth", legacy=legacy, layers=layers)
    with pytest.raises(ModelFileError, match=rf"{layer}, \[{EXPECTED[layer][0]}, "):
        weights.read(path, EXPECTED)


def test_numbers_that_are_not_finite_are_told(tmp_path: Path) -> None:
    layers = table()
    layers["fc1"][1][0] = np.nan
    with pytest.raises(ModelFileError, match="fc1"):
        weights.read(write(tmp_path / "w.pth", legacy=False, layers=layers), EXPECTED)


DEEP = b")" + b"\x85" * 200_000
WIDE = b")" + b"".join(b"q%ch%c\x86" % (level, level) for level in range(60))
FLOOD = b"X" + struct.pack("<I", 200_000) + b"\x1b[2J " * 40_000
HUGE = b"\x8b" + struct.pack("<i", 1600) + b"\x7f" * 1600


hostile = pytest.mark.parametrize(
    "value", [DEEP, WIDE, FLOOD, HUGE], ids=["deep", "wide", "flood", "huge"]
)


def told_in_short(path: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        weights.read(path, EXPECTED)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@hostile
@pytest.mark.parametrize(
    "code",
    [
        b"}%bK\x01s",
        b"}(%bK\x01u",
        b"ccollections\nOrderedDict\n](]%bK\x01\x86ee\x85R",
        b"ccollections\nOrderedDict\n]%bK\x01\x86a\x85R",
        b"X\x02\x00\x00\x00os%b\x93",
        b"%bX\x02\x00\x00\x00os\x93",
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n%bNK\x01tQ",
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000NK\x01%btQ",
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000N%btQ",
        b"%bQ",
        b"%b)R",
        b"K\x01%ba",
        b"%b",
        REBUILD + b"(%b%b%b%btR",
    ],
)
def test_structures_and_texts_of_a_file_are_never_written_out(
    tmp_path: Path, code: bytes, value: bytes
) -> None:
    """Deep ones overflow the stack, wide ones take 2**60 steps, texts flood the terminal."""
    data = b"\x80\x02" + code.replace(b"%b", value) + b"."
    told_in_short(write_zip(tmp_path / "w.pth", data, {}))


@hostile
@pytest.mark.parametrize("place", ["magic", "protocol", "system", "keys"])
def test_nor_are_those_of_a_legacy_header(tmp_path: Path, place: str, value: bytes) -> None:
    data: Any = {place: b"\x80\x02" + value + b"."}
    told_in_short(write_legacy(tmp_path / "w.pth", {}, {}, **data))


@both
def test_names_of_storages_are_cut(tmp_path: Path, legacy: bool) -> None:  # noqa: FBT001 - a parameter
    entries, _ = state(table(), legacy=legacy)
    first = next(iter(entries))
    entries[first] = tensor(table()["block1_conv1"][0], "\x07" * 5000, legacy=legacy)
    told_in_short((write_legacy if legacy else write_zip)(tmp_path / "w.pth", entries, {}))


def test_what_is_called_for_again_and_again_takes_no_memory() -> None:
    pairs = b"](" + b"".join(b"K%cN\x86" % number for number in range(100)) + b"e"
    sides = b"](" + b"K\x01" * 1000 + b"e"
    again = b"".join(b"h\x01h\x00\x85R" for _ in range(1000))
    ordered = plain_pickle.load(
        io.BytesIO(b"\x80\x02" + pairs + b"q\x00ccollections\nOrderedDict\nq\x01(" + again + b"t.")
    )
    assert [len(one) for one in ordered] == [100] + [0] * 999
    with pytest.raises(plain_pickle.RefusedError, match=r"torch\.Size"):
        plain_pickle.load(
            io.BytesIO(b"\x80\x02" + sides + b"q\x00ctorch\nSize\nq\x01(" + again + b"t.")
        )


def test_old_releases_of_python_pickle_ordered_dictionaries_as_lists(tmp_path: Path) -> None:
    entries, storages = state(table(), legacy=True)
    pairs: Any = ([list(pair) for pair in entries.items()],)
    path = write_legacy(tmp_path / "w.pth", Pickled("collections", "OrderedDict", pairs), storages)
    same(weights.read(path, EXPECTED), table())


def test_a_compressed_zip_is_refused(tmp_path: Path) -> None:
    entries, storages = state(table(), legacy=False)
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", dumps(entries))
        archive.writestr("a/data/0", bytes(50_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(ModelFileError, match="compressed"):
        weights.read(path, EXPECTED)
    assert storages


def test_a_zip_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pth", legacy=False)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    struct.pack_into("<II", data, entry + 20, 2**31, 2**31)
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match="claims"):
        weights.read(path, EXPECTED)


def test_a_zip_whose_storage_is_shorter_than_told_is_refused(tmp_path: Path) -> None:
    entries, storages = state(table(), legacy=False)
    storages["2"] = storages["2"][:-4]
    with pytest.raises(ModelFileError, match="storage 2"):
        weights.read(write_zip(tmp_path / "w.pth", entries, storages), EXPECTED)


def test_a_zip_whose_storage_is_missing_is_told(tmp_path: Path) -> None:
    entries, storages = state(table(), legacy=False)
    del storages["2"]
    with pytest.raises(ModelFileError, match="storage 2"):
        weights.read(write_zip(tmp_path / "w.pth", entries, storages), EXPECTED)


def test_big_endian_files_are_told(tmp_path: Path) -> None:
    entries, storages = state(table(), legacy=False)
    with pytest.raises(ModelFileError, match="big-endian"):
        weights.read(write_zip(tmp_path / "z.pth", entries, storages, byteorder=b"big"), EXPECTED)
    entries, storages = state(table(), legacy=True)
    path = write_legacy(tmp_path / "l.pth", entries, storages, system={"little_endian": False})
    with pytest.raises(ModelFileError, match="big-endian"):
        weights.read(path, EXPECTED)


@pytest.mark.parametrize(
    "bend",
    [
        {"magic": 1},
        {"protocol": 1002},
        {"keys": ["0", "0"]},
        {"keys": ["nobody"]},
        {"keys": 5},
        {"keys": ["0"]},
        {"counts": {"1": 2**61}},
        {"counts": {"1": -1}},
    ],
    ids=str,
)
def test_damaged_legacy_headers_are_refused(tmp_path: Path, bend: dict[str, Any]) -> None:
    entries, storages = state(table(), legacy=True)
    path = write_legacy(tmp_path / "w.pth", entries, storages, **bend)
    with pytest.raises(ModelFileError):
        weights.read(path, EXPECTED)


def test_a_whole_pickled_network_is_refused_by_name(tmp_path: Path) -> None:
    network = Pickled("torchvision.models.vgg", "VGG", ())
    path = write_legacy(tmp_path / "w.pth", network, {})
    with pytest.raises(ModelFileError, match=r"torchvision\.models\.vgg\.VGG"):
        weights.read(path, EXPECTED)


@pytest.mark.parametrize("value", [[], 5, {"state": {}}])
def test_something_else_than_a_state_dict_is_told(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ModelFileError):
        weights.read(write_zip(tmp_path / "w.pth", value, {}), EXPECTED)


@both
@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_off_anywhere_is_told(
    tmp_path_factory: pytest.TempPathFactory,
    legacy: bool,  # noqa: FBT001 - a parameter
    share: float,
) -> None:
    path = write(tmp_path_factory.mktemp("cut") / "w.pth", legacy=legacy)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelFileError):
        weights.read(path, EXPECTED)


@settings(max_examples=300, deadline=None)
@given(code=st.binary(max_size=40))
def test_any_pickle_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, code: bytes
) -> None:
    path = write_zip(tmp_path_factory.getbasetemp() / "any.pth", b"\x80\x02" + code + b".", {})
    with pytest.raises(ModelFileError):
        weights.read(path, EXPECTED)


def keras_kernels(name: str, kernel: NDArray[Any]) -> NDArray[Any]:
    """The same kernel as Keras keeps it: HWIO, and fc1 over a map flattened as [h, w, c]."""
    if kernel.ndim == 4:
        return kernel.transpose(2, 3, 1, 0)
    if name == "fc1":
        return kernel.reshape(-1, 2, 7, 7).transpose(2, 3, 1, 0).reshape(98, -1)
    return kernel.T


def write_keras(
    path: Path,
    *,
    naming: str = "old",
    change: Callable[[h5py.Group], None] | None = None,
    root: str = "",
) -> Path:
    with h5py.File(path, "w") as file:
        top = file.create_group(root) if root else file
        for name, (kernel, bias) in table().items():
            group = top.create_group(name)
            names = (
                (f"{name}_W_1:0", f"{name}_b_1:0")
                if naming == "old"
                else (f"{name}/kernel:0", f"{name}/bias:0")
            )
            group[names[0]] = keras_kernels(name, kernel)
            group[names[1]] = bias
        top.create_group("block1_pool")
        if change:
            change(top)
    return path


@pytest.mark.parametrize("root", ["", "model_weights"])
@pytest.mark.parametrize("naming", ["old", "new"])
def test_keras_files_read_back_equal(tmp_path: Path, naming: str, root: str) -> None:
    found = weights.read(write_keras(tmp_path / "w.h5", naming=naming, root=root), EXPECTED)
    same(found, table())
    assert found.scaling == graph.CAFFE


def replace(name: str, value: Any, **options: Any) -> Callable[[h5py.Group], None]:
    def change(top: h5py.Group) -> None:
        del top[name]
        top.create_dataset(name, data=value, **options)

    return change


def link_out(top: h5py.Group) -> None:
    del top["block2_conv1"]
    top["block2_conv1"] = h5py.ExternalLink("/etc/other.h5", "/")


def loop(top: h5py.Group) -> None:
    del top["block2_conv1"]
    top["block2_conv1"] = h5py.SoftLink("/block2_conv1")


def raw_bytes_elsewhere(top: h5py.Group) -> None:
    del top["block2_conv1/block2_conv1_b_1:0"]
    top.create_dataset(
        "block2_conv1/block2_conv1_b_1:0",
        shape=(2,),
        dtype="f4",
        external=[("/etc/hostname", 0, 8)],
    )


def virtual(top: h5py.Group) -> None:
    del top["block2_conv1/block2_conv1_b_1:0"]
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (2,))  # noqa: S108 - never opened
    top.create_virtual_dataset("block2_conv1/block2_conv1_b_1:0", layout)


def huge_chunks(top: h5py.Group) -> None:
    del top[KERNEL]
    top.create_dataset(KERNEL, (3, 3, 4, 2), "f4", chunks=(900, 900, 900, 1), maxshape=(None,) * 4)


BIAS = "block2_conv1/block2_conv1_b_1:0"
KERNEL = "block2_conv1/block2_conv1_W_1:0"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (link_out, "no layer block2_conv1"),
        (loop, "no layer block2_conv1"),
        (raw_bytes_elsewhere, "another file"),
        (virtual, "another file"),
        (lambda top: top.pop("block2_conv1"), "no layer block2_conv1"),
        (lambda top: top.pop(BIAS), r"one bias \[2\]"),
        (replace(BIAS, np.zeros(3, "f4")), r"\[2\], not \[3\]"),
        (replace(BIAS, np.zeros(2, "i4")), "float"),
        (replace(KERNEL, np.zeros((2, 4, 3, 3), "f4")), r"\[3, 3, 4, 2\], not \[2, 4, 3, 3\]"),
        (replace(KERNEL, np.full((3, 3, 4, 2), np.inf, "f4")), "finite"),
        (lambda top: top.create_dataset("block2_conv1/second", data=np.zeros(2)), "one bias"),
        (huge_chunks, "chunks"),
        (lambda top: (top.pop("fc1"), top.create_dataset("fc1", data=1.0)), "no layer fc1"),
    ],
)
def test_keras_files_that_are_not_as_expected_are_told(
    tmp_path: Path, change: Callable[[h5py.Group], None], text: str
) -> None:
    path = write_keras(tmp_path / "w.h5", change=change)
    with pytest.raises(ModelFileError, match=text):
        weights.read(path, EXPECTED)


@pytest.mark.parametrize("length", [8, 100, 2000])
def test_a_keras_file_cut_off_is_told(tmp_path: Path, length: int) -> None:
    path = write_keras(tmp_path / "w.h5")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelFileError):
        weights.read(path, EXPECTED)


def test_the_kind_is_told_by_the_content(tmp_path: Path) -> None:
    assert weights.kind(write_keras(tmp_path / "a.pth")) == "keras"
    assert weights.kind(write(tmp_path / "b.h5", legacy=False)) == "torch"
    assert weights.kind(write(tmp_path / "c.onnx", legacy=True)) == "torch"
    (tmp_path / "d.h5").write_bytes(b"GIF89a")
    assert weights.kind(tmp_path / "d.h5") is None
    with pytest.raises(ModelFileError, match="holds no weights"):
        weights.read(tmp_path / "d.h5", EXPECTED)
    with pytest.raises(ModelFileError, match="cannot read"):
        weights.kind(tmp_path / "absent.h5")
