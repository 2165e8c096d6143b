from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from imgindex import graph
from imgindex.embed import Device, Embedder, choose, devices, openvino, sessions
from imgindex.embed import embedder as embedder_module
from imgindex.errors import DeviceError, ModelFileError
from imgindex.records import ModelCard

if TYPE_CHECKING:
    from imgindex.records import Pixels

CUDA, CPU, AZURE = "CUDAExecutionProvider", "CPUExecutionProvider", "AzureExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
GPU_BUILD, CPU_BUILD = [TENSORRT, CUDA, CPU], [AZURE, CPU]
H100, PASCAL = 9, 6
on_cpu = [Device("cpu")]


@pytest.mark.parametrize(
    ("device", "available", "cards", "expected"),
    [
        ("auto", GPU_BUILD, [H100], [Device("cuda", 0, halves=True)]),
        ("auto", GPU_BUILD, [], on_cpu),
        ("auto", CPU_BUILD, [H100], on_cpu),
        ("auto", CPU_BUILD, [], on_cpu),
        ("cpu", GPU_BUILD, [H100], on_cpu),
        ("cpu", CPU_BUILD, [], on_cpu),
        ("cuda", GPU_BUILD, [PASCAL], [Device("cuda", 0)]),
        ("cuda", GPU_BUILD, [H100, PASCAL], [Device("cuda", 0, halves=True), Device("cuda", 1)]),
        ("cuda:0", GPU_BUILD, [H100, H100], [Device("cuda", 0, halves=True)]),
        ("cuda:1", GPU_BUILD, [H100, PASCAL], [Device("cuda", 1)]),
        ("tensorrt:0", GPU_BUILD, [H100], [Device("tensorrt", 0, halves=True)]),
    ],
)
def test_devices_follow_the_wish_the_build_and_the_cards(
    device: str, available: list[str], cards: list[int], expected: list[Device]
) -> None:
    assert choose(device, available, cards) == expected


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tensorrt"])
@pytest.mark.parametrize(
    ("available", "cards", "reason"),
    [
        (CPU_BUILD, [H100], "onnxruntime-gpu"),
        (CPU_BUILD, [], "onnxruntime-gpu"),
        (GPU_BUILD, [], "no NVIDIA driver"),
    ],
)
def test_a_card_asked_for_by_name_fails_with_the_reason(
    device: str, available: list[str], cards: list[int], reason: str
) -> None:
    with pytest.raises(DeviceError, match=rf"cannot use {device}: .*{reason}"):
        choose(device, available, cards)


def test_a_card_that_there_is_not_is_answered_with_those_there_are() -> None:
    with pytest.raises(DeviceError, match=r"cannot use cuda:2: this machine has cuda:0, cuda:1$"):
        choose("cuda:2", GPU_BUILD, [H100, H100])


@pytest.mark.parametrize(
    "device",
    [
        "",
        "gpu",
        "CPU",
        "cuda:",
        "cuda:x",
        "cuda:-1",
        "cuda:1:2",
        "cuda:²",
        "cpu:0",
        "cpu:",
        "auto:",
        "tensorrt:",
    ],
)
def test_an_unknown_device_is_named_with_those_there_are(device: str) -> None:
    with pytest.raises(DeviceError) as caught:
        choose(device, GPU_BUILD, [H100])
    assert repr(device) in str(caught.value)
    assert "cuda:N" in str(caught.value)


class Driver:
    """What NVIDIA's library says of two cards."""

    def __init__(self, *, starts: bool = True) -> None:
        self.majors = [H100, PASCAL]
        self.starts = starts

    def cuInit(self, _: int) -> int:  # noqa: N802 - its name there
        return 0 if self.starts else 100

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self.majors)
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, number: int) -> int:  # noqa: N802
        assert attribute == 75  # the major part of the compute capability
        value._obj.value = self.majors[number]
        return 0


def test_cards_are_those_that_the_driver_shows() -> None:
    def nothing(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    assert devices.cards(lambda _: cast("Any", Driver())) == [H100, PASCAL]
    assert devices.cards(lambda _: cast("Any", Driver(starts=False))) == []
    assert devices.cards(lambda _: cast("Any", object())) == []  # a library of another kind
    assert devices.cards(nothing) == []


def test_a_device_that_is_not_here_stops_the_load_and_auto_does_not(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder_module, "cards", list)
    monkeypatch.setattr(embedder_module, "computes_bfloat16", lambda: False)
    with pytest.raises(DeviceError):
        Embedder(model_file, "cuda")
    assert Embedder(model_file, "auto").device == "cpu"


@pytest.mark.skipif(bool(devices.cards()), reason="a machine with an NVIDIA card may use it")
def test_a_driver_that_deceives_is_found_out(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if CUDA not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime is not built for CUDA")
    monkeypatch.setattr(embedder_module, "cards", lambda: [H100])
    with pytest.raises(DeviceError, match=r"cannot use cuda:0: .*imgindex\[cuda\]"):
        Embedder(model_file, "cuda")
    fallen_back = Embedder(model_file, "auto")
    assert fallen_back.device == "cpu"
    assert len(fallen_back.encode(images(1))) == 1


# Embedding


def images(count: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def embedder(model_file: Path) -> Embedder:
    return Embedder(model_file, "cpu")


def test_the_model_says_what_it_is(embedder: Embedder) -> None:
    card = embedder.card
    assert (card.name, card.layer, card.size, card.dimension) == ("tiny", "block3_pool", 32, 256)
    assert card.trained is False
    assert embedder.device == "cpu"
    assert embedder.batch >= 1


def test_rows_are_single_precision_and_of_length_one(embedder: Embedder) -> None:
    rows = embedder.encode(images(5))
    assert rows.shape == (5, 256)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    cosines = rows @ rows.T
    assert cosines[~np.eye(5, dtype=bool)].max() < 1 - 1e-6  # and they differ


def test_a_row_does_not_depend_on_its_company(embedder: Embedder) -> None:
    batch = images(5)
    together = embedder.encode(batch)
    alone = np.concatenate([embedder.encode(one[None]) for one in batch])
    assert np.abs(together - alone).max() <= 1e-6
    np.testing.assert_allclose(embedder.encode(batch[::-1]), together[::-1], atol=1e-6)


def test_black_white_and_strided_pictures_embed(embedder: Embedder) -> None:
    plain = np.stack([np.full((32, 32, 3), value, np.uint8) for value in (0, 255)])
    assert np.isfinite(embedder.encode(plain)).all()
    wide = images(2).repeat(2, axis=2)[:, :, ::2]
    assert not wide.flags.c_contiguous
    np.testing.assert_allclose(embedder.encode(wide), embedder.encode(images(2)), atol=1e-6)


def test_an_empty_batch_gives_no_rows(embedder: Embedder) -> None:
    rows = embedder.encode(images(0))
    assert rows.shape == (0, 256)
    assert rows.dtype == np.float32


# OpenVINO in place of ONNX Runtime


class FakeOpenVINO:
    """The part of OpenVINO that is used, with ONNX Runtime behind it."""

    def __init__(self, *able: str) -> None:
        self.able = able
        self.asked: list[Any] = []
        self.Core = lambda: self

    def get_property(self, device: str, name: str) -> list[str]:
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return list(self.able)

    def read_model(self, path: Path) -> Path:
        return path

    def compile_model(self, model: Path, device: str, hints: dict[str, str]) -> Any:
        self.asked.append((device, hints["INFERENCE_PRECISION_HINT"]))
        session = onnxruntime.InferenceSession(model, providers=[CPU])
        return lambda feeds: {"embedding": session.run(["embedding"], feeds)[0]}


Install = Callable[[FakeOpenVINO | None], None]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Have OpenVINO installed, or not."""

    def install(fake: FakeOpenVINO | None) -> None:
        monkeypatch.setitem(sys.modules, "openvino", fake)
        openvino.computes_bfloat16.cache_clear()
        openvino._core.cache_clear()

    yield install
    monkeypatch.undo()
    openvino.computes_bfloat16.cache_clear()
    openvino._core.cache_clear()


def test_openvino_computes_where_it_has_bfloat16(
    model_file: Path, embedder: Embedder, installed: Install
) -> None:
    fake = FakeOpenVINO("FP32", "BF16", "INT8")
    installed(fake)
    with_it = Embedder(model_file)
    assert (with_it.device, with_it.precision) == ("openvino", "bfloat16")
    assert Embedder(model_file, "openvino").device == "openvino"
    assert fake.asked == [("CPU", "bf16")] * 2
    assert Embedder(model_file, "cpu").precision == "float32"  # by ONNX Runtime: it was asked for
    np.testing.assert_array_equal(with_it.encode(images(3)), embedder.encode(images(3)))


def test_openvino_stays_out_where_it_is_no_faster(model_file: Path, installed: Install) -> None:
    slow = FakeOpenVINO("FP32", "INT8")
    for fake in (slow, None):
        installed(fake)
        assert (Embedder(model_file).device, Embedder(model_file).precision) == ("cpu", "float32")
        with pytest.raises(DeviceError, match=r"cannot use openvino: .*imgindex\[openvino\]"):
            Embedder(model_file, "openvino")
    assert slow.asked == []


def test_what_openvino_cannot_load_is_computed_without_it(
    model_file: Path, installed: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Any:
        raise RuntimeError("Unsupported operator")

    monkeypatch.setattr(FakeOpenVINO, "compile_model", refuse)
    installed(FakeOpenVINO("BF16"))
    assert Embedder(model_file).device == "cpu"
    with pytest.raises(DeviceError, match="cannot use openvino: Unsupported operator"):
        Embedder(model_file, "openvino")


def test_openvino_itself_says_nearly_the_same(model_file: Path, embedder: Embedder) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: nothing to compare with")
    session = openvino.OpenVINOSession(model_file, "bfloat16")
    for count in (1, 5, 2):
        (rows,) = session.run(["embedding"], {"image": images(count)})
        assert rows.shape == (count, 256)
        assert np.sum(rows * embedder.encode(images(count)), axis=1).min() > 0.9999


# Model files


def followed_by(
    model_file: Path, path: Path, kind: str, *constants: onnx.TensorProto, **attributes: Any
) -> Path:
    """The model with one more operator between its unit vector and its output."""
    model = onnx.load(model_file)
    last = next(node for node in model.graph.node if "embedding" in node.output)
    last.output[list(last.output).index("embedding")] = "unit"
    model.graph.initializer.extend(constants)
    inputs = ["unit", *(constant.name for constant in constants)]
    model.graph.node.append(helper.make_node(kind, inputs, ["embedding"], **attributes))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("factor", [2.0, 0.5, 0.0, np.nan, np.inf, 1e30])
def test_rows_that_are_not_of_length_one_are_nan(
    model_file: Path, tmp_path: Path, factor: float
) -> None:
    constant = helper.make_tensor("factor", 1, [1], [factor])
    rows = Embedder(followed_by(model_file, tmp_path / "m.onnx", "Mul", constant), "cpu").encode(
        images(3)
    )
    assert rows.shape == (3, 256)
    assert rows.dtype == np.float32
    assert np.isnan(rows).all()


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_picture_without_a_descriptor_costs_only_itself(
    model_file: Path, embedder: Embedder, tmp_path: Path, bad: float
) -> None:
    """The factor of a batch's second picture is bad, that of the others is 1."""
    factors = helper.make_tensor("factor", 1, [3, 1], [1.0, bad, 1.0])
    path = followed_by(model_file, tmp_path / "m.onnx", "Mul", factors)
    rows = Embedder(path, "cpu").encode(images(3))
    assert np.isnan(rows[1]).all()
    np.testing.assert_array_equal(rows[[0, 2]], embedder.encode(images(3))[[0, 2]])


def test_a_model_that_fails_while_it_runs_is_named(model_file: Path, tmp_path: Path) -> None:
    indices = helper.make_tensor("indices", 7, [1], [256])
    path = followed_by(model_file, tmp_path / "m.onnx", "Gather", indices, axis=1)
    with pytest.raises(ModelFileError, match=r"model tiny failed on cpu: .*Gather") as caught:
        Embedder(path, "cpu").encode(images(2))
    assert "\n" not in str(caught.value)


# Cards, with the CPU in their place


class Injected:
    """A session on the CPU that says it is a card's, and has room for few pictures at once."""

    def __init__(self, model: Any, room: int, fault: str) -> None:
        self.session = onnxruntime.InferenceSession(model, providers=[CPU])
        self.room, self.fault, self.asked = room, fault, list[int]()

    def get_providers(self) -> list[str]:
        return [CUDA, CPU]

    def io_binding(self) -> Any:
        return self.session.io_binding()

    def run_with_iobinding(self, binding: Any) -> None:
        self.session.run_with_iobinding(binding)
        count = len(binding.get_outputs()[0].numpy())
        self.asked.append(count)
        if count > self.room:
            raise RuntimeError(self.fault)


OUT_OF_MEMORY = "BFCArena: Failed to allocate memory for requested buffer of size 1234"


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Two cards; ``made`` are their sessions, ``room`` and ``fault`` theirs to come."""
    state: dict[str, Any] = {"made": [], "room": 64, "fault": OUT_OF_MEMORY, "wanted": []}

    def load(model: Any, wanted: Any, entries: Any) -> Any:
        if wanted[0][0] == CPU:
            return real(model, wanted, entries)
        state["wanted"].append((wanted, entries))
        state["made"].append(Injected(model, state["room"], state["fault"]))
        return state["made"][-1]

    real = sessions.load
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: GPU_BUILD)
    monkeypatch.setattr(embedder_module, "cards", lambda: [H100, H100])
    monkeypatch.setattr(embedder_module, "_MEMORY", "cpu")
    monkeypatch.setattr(sessions, "load", load)
    return iter([state])


def test_cards_share_a_call_and_give_what_one_processor_gives(
    model_file: Path, embedder: Embedder, cards: Iterator[dict[str, Any]]
) -> None:
    state = next(cards)
    on_cards = Embedder(model_file, "cuda")
    assert (on_cards.device, on_cards.precision) == ("cuda:0,cuda:1", "float16")
    assert len(on_cards.encode(images(1))) == 1
    assert [wanted[0] for wanted, _ in state["wanted"]] == [(CUDA, {"device_id": "0"})]
    pixels = images(on_cards.batch + 5)
    rows = on_cards.encode(pixels)
    # The second card is opened when there is work for it.
    assert [wanted[0] for wanted, _ in state["wanted"]][1:] == [(CUDA, {"device_id": "1"})]
    # In the order asked for; half the digits, so nearly the same.
    np.testing.assert_allclose(np.sum(rows * embedder.encode(pixels), axis=1), 1, atol=1e-5)
    assert on_cards.batch == 256
    assert max(max(one.asked) for one in state["made"]) == 64
    assert sum(sum(one.asked) for one in state["made"]) == len(pixels) + 1
    assert on_cards.note == ""


def test_a_broken_card_among_others_is_left_out_and_named(
    model_file: Path, cards: Iterator[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    next(cards)
    working = sessions.load

    def load(model: Any, wanted: Any, entries: Any) -> Any:
        if wanted[0][1].get("device_id") == "1":
            raise RuntimeError("the card has fallen off the bus")
        return working(model, wanted, entries)

    monkeypatch.setattr(sessions, "load", load)
    on_cards = Embedder(model_file, "auto")
    assert len(on_cards.encode(images(100))) == 100
    assert on_cards.device == "cuda:0"
    assert on_cards.note.startswith("cannot use cuda:1: the card has fallen off the bus")
    with pytest.raises(DeviceError, match="cannot use cuda:1"):
        Embedder(model_file, "cuda").encode(images(100))


def test_where_memory_is_short_the_batch_is_halved_and_it_is_said(
    model_file: Path, embedder: Embedder, cards: Iterator[dict[str, Any]]
) -> None:
    state = next(cards)
    state["room"] = 20
    on_card = Embedder(model_file, "cuda:1")
    pixels = images(100)
    rows = on_card.encode(pixels)
    np.testing.assert_allclose(np.sum(rows * embedder.encode(pixels), axis=1), 1, atol=1e-5)
    assert on_card.note == (
        "cuda:1 has no memory for 32 pictures at once; embedding 16 at a time"
    ) or on_card.note.endswith("embedding 16 at a time")
    (session,) = state["made"]
    session.asked.clear()
    on_card.encode(pixels)
    assert max(session.asked) <= 18  # it is remembered


def test_a_card_without_room_for_one_picture_is_an_error(
    model_file: Path, cards: Iterator[dict[str, Any]]
) -> None:
    next(cards)["room"] = 0
    with pytest.raises(DeviceError, match=r"failed on cuda:0: .*allocate.*try --device cpu"):
        Embedder(model_file, "cuda:0").encode(images(4))


def test_a_failure_on_a_card_is_the_devices_and_never_repeated_elsewhere(
    model_file: Path, cards: Iterator[dict[str, Any]]
) -> None:
    next(cards).update(room=0, fault="CUDA failure 700: an illegal memory access\nat line 1")
    with pytest.raises(DeviceError, match=r"failed on cuda:1: .*700.*access; try --device cpu"):
        Embedder(model_file, "cuda:1").encode(images(4))


def test_tensorrt_comes_with_a_cache_and_cuda_behind_it(
    model_file: Path, cards: Iterator[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = next(cards)
    monkeypatch.setattr(Injected, "get_providers", lambda _: [TENSORRT, CUDA, CPU])
    assert Embedder(model_file, "tensorrt:1").device == "tensorrt:1"
    ((wanted, _),) = state["wanted"]
    assert [name for name, _ in wanted] == [TENSORRT, CUDA, CPU]
    assert wanted[0][1]["device_id"] == "1"
    cache = Path(wanted[0][1]["trt_engine_cache_path"])
    fingerprint = graph.read_card(model_file).fingerprint  # type: ignore[union-attr]
    assert cache.parent == model_file.parent / "tensorrt"
    assert cache.name.startswith(fingerprint[:32])  # engines of other weights lie elsewhere
    assert cache.is_dir()


def test_a_card_of_old_computes_in_single_precision(
    model_file: Path, cards: Iterator[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    next(cards)
    monkeypatch.setattr(embedder_module, "cards", lambda: [PASCAL])
    assert Embedder(model_file, "cuda").precision == "float32"


@pytest.mark.parametrize(
    ("kind", "constants", "shape"),
    [
        ("ReduceL2", (), r"\(3, 1\)"),
        ("Gather", (helper.make_tensor("first", 7, [1], [0]),), r"\(1, 256\)"),
    ],
)
def test_a_model_that_gives_another_shape_than_its_card_is_told(
    model_file: Path, tmp_path: Path, kind: str, constants: tuple[Any, ...], shape: str
) -> None:
    attributes = {} if constants else {"axes": [1]}
    path = followed_by(model_file, tmp_path / "m.onnx", kind, *constants, **attributes)
    with pytest.raises(ModelFileError, match=rf"{shape} instead of \(3, 256\)"):
        Embedder(path, "cpu").encode(images(3))


def loading(monkeypatch: pytest.MonkeyPatch, errors: dict[str, Exception]) -> None:
    """A machine with a card, where sessions on the processors named cannot be made."""

    def load(model: Any, wanted: Any, _: Any) -> Any:
        if wanted[0][0] in errors:
            raise errors[wanted[0][0]]
        return onnxruntime.InferenceSession(model, providers=[CPU])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: GPU_BUILD)
    monkeypatch.setattr(embedder_module, "cards", lambda: [H100])
    monkeypatch.setattr(sessions, "load", load)


def test_auto_takes_the_cpu_where_the_gpu_fails_and_says_so(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading(monkeypatch, {CUDA: RuntimeError("no libcudnn")})
    fallen_back = Embedder(model_file, "auto")
    assert fallen_back.device == "cpu"
    assert fallen_back.note.startswith("cannot use cuda:0: no libcudnn")
    with pytest.raises(DeviceError, match=r"cannot use cuda:0: no libcudnn; install"):
        Embedder(model_file, "cuda:0")


def test_a_fallback_that_fails_too_is_told(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading(monkeypatch, {CUDA: RuntimeError("no libcudnn"), CPU: RuntimeError("out of ideas")})
    with pytest.raises(ModelFileError, match=r"cannot load .*tiny\.onnx: out of ideas"):
        Embedder(model_file, "auto")


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
def test_a_file_that_no_device_loads_is_not_blamed_on_the_device(
    model_file: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    damaged = onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph("this is an invalid model")
    loading(
        monkeypatch,
        {CUDA: damaged, CPU: RuntimeError("not this one")} if device != "cpu" else {CPU: damaged},
    )
    with pytest.raises(ModelFileError, match=r"cannot load .*: this is an invalid model"):
        Embedder(model_file, device)


def test_a_foreign_model_is_refused_with_the_command_that_brings_it_in(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [value("x", 1, [1])],
        [value("y", 1, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "foreign.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match=r"not built by imgindex.*imgindex model import"):
        Embedder(path, "cpu")


def test_a_card_that_is_no_card_is_refused(model_file: Path, tmp_path: Path) -> None:
    model = onnx.load(model_file)
    for entry in model.metadata_props:
        if entry.key == "imgindex.dimension":
            entry.value = '"many"'
    path = tmp_path / "odd.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match=r"card of .* is damaged: dimension is no int"):
        Embedder(path, "cpu")


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text", "folder"])
def test_a_file_that_cannot_be_loaded_is_named(
    model_file: Path, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "model.onnx"
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        shutil.copy(model_file, path)
        data = path.read_bytes()
        path.write_bytes({"empty": b"", "truncated": data[: len(data) // 2]}.get(damage, b"text"))
    with pytest.raises(ModelFileError, match=r"model\.onnx (cannot be read|was not built)"):
        Embedder(path, "cpu")


def test_nothing_reaches_standard_error(
    model_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Embedder(model_file, "auto").encode(images(1))
    assert capfd.readouterr() == ("", "")


def test_the_card_of_the_session_is_the_card_of_the_file(
    embedder: Embedder, model_file: Path
) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(model_file).metadata_props}
    assert ModelCard.from_metadata(metadata) == embedder.card
