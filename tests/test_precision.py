"""The same network in fewer bits: what it says, where it runs, and which libraries take it."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

import command
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from pictures import scene
from training import export

from imgindex import Library, graph, models, precision, vgg16
from imgindex.embed import Device, Embedder, adds_exactly, favours_eight_bits, outputs, sessions
from imgindex.errors import ModelError, ModelFileError, ModelMismatchError, SettingError
from imgindex.quantizing import QuantizeReport, quantize

if TYPE_CHECKING:
    from pathlib import Path

    from imgindex.records import Pixels, Rows


def soft(count: int, size: int = 64, seed: int = 0) -> Pixels:
    """Blobs: noise alone looks the same everywhere."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), np.uint8)
    return np.repeat(np.repeat(coarse, size // 4, axis=1), size // 4, axis=2)


def built(*, scaling: graph.Scaling = graph.TORCH, seed: int = 0, **options: Any) -> bytes:
    weights = graph.Weights(vgg16.untrained(seed).layers, scaling)
    told: dict[str, Any] = {
        "name": "whole",
        "source": "random",
        "licence": "CC0-1.0",
        "size": 64,
    } | options
    return vgg16.build(weights, trained=False, **told)


def rows_of(model: bytes, pixels: Pixels) -> Rows:
    card = graph.read_card(model)
    assert card is not None
    return np.concatenate([rows for (rows,) in outputs(model, pixels, card.precision)])


def cosines(one: Rows, other: Rows) -> Rows:
    cosine: Rows = (one * other).sum(axis=1)
    return cosine


@pytest.fixture(scope="module")
def whole() -> bytes:
    return built()


@pytest.fixture(scope="module")
def small(whole: bytes) -> bytes:
    return precision.eight_bits(whole, lambda model: outputs(model, soft(8), precision.EIGHT))


def test_eight_bits_say_what_the_whole_model_says(whole: bytes, small: bytes) -> None:
    new = soft(16, seed=1)
    wanted = rows_of(whole, new)
    off = 1 - cosines(rows_of(small, new), wanted)
    # The pictures themselves differ by far more.
    assert off.max() < 0.02 * np.median(1 - cosines(wanted[1:], wanted[:-1]))
    assert len(small) < len(whole) / 3.9


@pytest.mark.parametrize("scaling", [graph.CAFFE, graph.Scaling(-1, 1), graph.Scaling(0, 255)])
def test_bytes_go_in_as_they_are_whatever_the_scaling(scaling: graph.Scaling) -> None:
    """Flat pictures: what lies beyond the edge matters most for them.

    None is black: where nothing is subtracted, black leaves the biases alone, less than a step.
    """
    model = built(scaling=scaling, layer="block1_conv1")
    flat = np.repeat(np.arange(51, 256, 51, dtype=np.uint8), 3 * 64 * 64).reshape(-1, 64, 64, 3)
    pixels = np.concatenate([flat, soft(6)])
    small = precision.eight_bits(model, lambda one: outputs(one, pixels, precision.EIGHT))
    assert cosines(rows_of(small, pixels), rows_of(model, pixels)).min() > 0.9995


@pytest.mark.parametrize(
    "options",
    [
        {"layer": "block2_conv2"},
        {"layer": "block3_pool", "pooling": "max"},
        {"layer": "block3_conv3", "pooling": "gem"},
        {"pooling": "rmac", "size": 96},
        {"layer": "block4_pool", "pooling": "none", "size": 32},
    ],
)
def test_every_layer_and_pooling_can_be_made_small(options: dict[str, Any]) -> None:
    model = built(**options)
    size = options.get("size", 64)
    small = precision.eight_bits(model, lambda one: outputs(one, soft(6, size), precision.EIGHT))
    new = soft(6, size, seed=1)
    assert cosines(rows_of(small, new), rows_of(model, new)).min() > 0.998
    halved = precision.in_halves(model)
    assert cosines(rows_of(halved, new), rows_of(model, new)).min() > 0.99999


def test_the_biases_make_up_for_what_rounding_does(whole: bytes, small: bytes) -> None:
    """Every convolution's mean over the pictures learned from is nearly what it was."""

    def means(model: bytes) -> list[Any]:
        proto = onnx.load_from_string(model)
        names = [node.output[0] for node in proto.graph.node if node.op_type == "Conv"]
        for name in names:
            proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        found = list(outputs(proto.SerializeToString(), soft(8), precision.EIGHT))
        return [
            np.mean([maps[1 + at].mean((0, 2, 3)) for maps in found], axis=0)
            for at in range(len(names))
        ]

    for before, after in zip(means(whole), means(small), strict=True):
        assert np.abs(after - before).max() < 0.02 * np.abs(before).max()


def test_the_card_tells_precision_and_another_fingerprint(whole: bytes, small: bytes) -> None:
    before, after = graph.read_card(whole), graph.read_card(small)
    assert before is not None
    assert after is not None
    assert (before.precision, after.precision) == ("float32", "int8")
    assert after.fingerprint != before.fingerprint
    same = dataclasses.replace(
        after, precision="float32", weights_sha256=before.weights_sha256, name=before.name
    )
    assert same == before


def test_only_a_float_vgg16_is_made_small(small: bytes, whole: bytes) -> None:
    with pytest.raises(SettingError, match=r"only VGG16 in float .* this is vgg16 int8"):
        precision.eight_bits(small, outputs_of_none)
    with pytest.raises(SettingError, match="this is no model of imgindex"):
        precision.eight_bits(onnx.ModelProto().SerializeToString(), outputs_of_none)
    odd = onnx.load_from_string(whole)
    odd.graph.node[0].op_type = "Softmax"
    with pytest.raises(ModelFileError, match="not laid out as imgindex does it"):
        precision.eight_bits(odd.SerializeToString(), outputs_of_none)


# Ways to compute one small model: they may share a library

adding_exactly = pytest.mark.skipif(
    not adds_exactly(), reason="this processor adds products of eight bits with overflow"
)


def run(model: str | bytes, pixels: Pixels, entries: dict[str, str]) -> Rows:
    session = sessions.load(model, [("CPUExecutionProvider", {})], entries)
    rows: Rows = session.run(["embedding"], {"image": pixels})[0]
    return rows


@adding_exactly
def test_tiles_change_not_one_bit_of_an_embedding(small: bytes) -> None:
    moved = precision.for_tiles(small)
    assert moved != small
    np.testing.assert_array_equal(run(moved, soft(4), {}), run(small, soft(4), {}))


@adding_exactly
def test_in_float_it_says_the_same_but_for_roundings(whole: bytes, small: bytes) -> None:
    pixels = soft(8, seed=2)
    integers = run(small, pixels, {})
    floats = run(small, pixels, {"session.disable_quant_qdq": "1"})
    assert cosines(integers, floats).min() > 0.9999
    wanted = run(whole, pixels, {})
    assert (1 - cosines(integers, floats)).mean() < (1 - cosines(integers, wanted)).mean()


def test_no_weight_is_so_large_that_its_zero_cannot_be_moved(small: bytes) -> None:
    proto = onnx.load_from_string(small)
    kernels = [one for one in proto.graph.initializer if one.data_type == onnx.TensorProto.INT8]
    values = [numpy_helper.to_array(one) for one in kernels if len(one.dims) > 1]
    assert len(values) == len(vgg16.CONVOLUTIONS)
    assert all(abs(value.astype(int)).max() == 126 for value in values)


@settings(max_examples=20)
@given(st.integers(0, 255), st.integers(-126, 126))
def test_the_probe_gives_the_answer_where_sums_are_exact(byte: int, weight: int) -> None:
    """The same sums by NumPy: what the probe expects is what exact arithmetic gives."""
    model, answer = precision.overflow_probe()
    proto = onnx.load_from_string(model)
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1:
            kernel = np.full(tensor.dims, weight, np.int8)
            tensor.CopyFrom(numpy_helper.from_array(kernel, tensor.name))
    session = sessions.load(proto.SerializeToString(), [("CPUExecutionProvider", {})], {})
    shape = [int(side) for side in session.get_inputs()[0].shape]
    (found,) = session.run(None, {"image": np.full(shape, byte, np.uint8)})
    exact = np.clip(np.round(answer * byte * weight / (255 * 126)), 0, 255)
    if adds_exactly():
        assert np.abs(found.astype(int) - exact).max() <= 1


def test_where_sums_overflow_a_small_model_is_computed_in_float(
    small: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.onnx"
    path.write_bytes(small)
    monkeypatch.setattr(sessions, "adds_exactly", lambda: False)
    embedder = Embedder(path, "cpu")
    assert embedder.precision == "float32"
    pixels = soft(4)
    floats = run(small, pixels, {"session.disable_quant_qdq": "1"})
    np.testing.assert_allclose(embedder.encode(pixels), floats, atol=1e-6)
    assert favours_eight_bits("cpu") is False


def test_tiles_are_used_where_the_processor_has_them(
    small: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.onnx"
    path.write_bytes(small)
    card = graph.read_card(path)
    assert card is not None
    loaded: list[str | bytes] = []

    def load(model: str | bytes, _: Any, entries: dict[str, str]) -> Any:
        loaded.append(model)
        assert entries == {}
        return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(sessions, "load", load)
    monkeypatch.setattr(sessions, "adds_exactly", lambda: True)
    for tiles, wanted in ((True, precision.for_tiles(small)), (False, str(path))):
        monkeypatch.setattr(sessions, "_has_tiles", lambda tiles=tiles: tiles)
        assert sessions.open_session(path, card, Device("cpu"))[1] == "int8"
        assert loaded.pop() == wanted


# Half precision


def test_halves_keep_what_activations_reach(whole: bytes) -> None:
    """Activations of tens of thousands, as the Keras weights have them, do not overflow."""
    loud = vgg16.untrained()
    kernel, bias = loud.layers["block1_conv1"]
    layers = {**loud.layers, "block1_conv1": (kernel * 30_000, bias * 30_000)}
    model = vgg16.build(
        graph.Weights(layers, graph.TORCH), size=64, name="loud", source="", licence=""
    )
    pixels = soft(6)
    assert cosines(rows_of(precision.in_halves(model), pixels), rows_of(model, pixels)).min() > (
        0.9999
    )
    halved = precision.in_halves(whole)
    assert cosines(rows_of(halved, pixels), rows_of(whole, pixels)).min() > 0.99999
    assert len(halved) < 0.51 * len(whole)


def test_constants_kept_in_half_precision_are_widened_first(whole: bytes) -> None:
    """As the smallest of files have them: behind casts, in half the bytes."""
    stored = export.halves(whole)
    assert len(stored) < 0.51 * len(whole)
    pixels = soft(6)
    wanted = rows_of(stored, pixels)
    assert cosines(rows_of(precision.in_halves(stored), pixels), wanted).min() > 0.99999
    small = precision.eight_bits(stored, lambda model: outputs(model, soft(8), precision.EIGHT))
    assert cosines(rows_of(small, pixels), wanted).min() > 0.999


def test_a_damaged_model_is_told(whole: bytes, folder: Path, tmp_path: Path) -> None:
    proto = onnx.load_from_string(whole)
    proto.graph.initializer[3].raw_data = proto.graph.initializer[3].raw_data[:-4]
    damaged = proto.SerializeToString()
    for change in (precision.in_halves, lambda one: precision.eight_bits(one, outputs_of_none)):
        with pytest.raises(ModelFileError, match=r"the model is damaged: .*import it again"):
            change(damaged)
    with pytest.raises(ModelFileError, match="the model cannot be read as an ONNX model"):
        precision.eight_bits(whole[:-3_000_000], outputs_of_none)
    wrong = onnx.load_from_string(whole)
    kernel = next(one for one in wrong.graph.initializer if len(one.dims) > 1)
    kernel.CopyFrom(numpy_helper.from_array(np.zeros((64, 7, 3, 3), np.float32), kernel.name))
    (tmp_path / "wrong.onnx").write_bytes(wrong.SerializeToString())
    with pytest.raises(ModelFileError, match=r"cannot quantize .*wrong\.onnx"):
        quantize(str(tmp_path / "wrong.onnx"), [folder], tmp_path / "models")


def outputs_of_none(_: bytes) -> Any:
    pytest.fail("nothing should have been looked at")


# The command's work


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pictures")
    for at in range(60):
        scene(at).save(place / f"{at}.png")
    (place / "broken.jpg").write_bytes(b"no picture")
    return place


def test_a_model_is_made_small_from_a_folder_and_taken_by_itself(
    folder: Path, tmp_path: Path
) -> None:
    installed = tmp_path / "models"
    installed.mkdir()
    data = built(name="vgg16-keras")
    trained = onnx.load_from_string(data)
    card = graph.read_card(data)
    assert card is not None
    trained_card = dataclasses.replace(card, trained=True)
    onnx.helper.set_model_props(trained, trained_card.to_metadata())
    (installed / "vgg16-keras.onnx").write_bytes(trained.SerializeToString())
    stages: list[str] = []
    report = quantize(None, [folder], installed, progress=lambda stage, *_: stages.append(stage))
    assert report.name == "vgg16-keras-int8"
    assert (report.learned, report.compared) == (20, 40)
    assert report.cosine > 0.999
    assert 0.5 < report.overlap <= 1
    assert min(report.speed, report.speed_before) > 0
    assert list(dict.fromkeys(stages)) == ["read", "quantize", "compare"]
    assert models.resolve(None, installed).stem == "vgg16-keras"
    assert models.resolve(None, installed, small=lambda: True).stem == "vgg16-keras-int8"
    assert models.resolve("vgg16-keras", installed, small=lambda: True).stem == "vgg16-keras"
    with pytest.raises(ModelError, match="a model named vgg16-keras-int8 is installed"):
        quantize("vgg16-keras", [folder], installed)
    with pytest.raises(SettingError, match="only VGG16 in float"):
        quantize("vgg16-keras-int8", [folder], installed)
    with pytest.raises(SettingError, match="cannot name a model"):
        quantize("vgg16-keras", [folder], installed, name="../away")
    with pytest.raises(ModelError, match="untrained names the random weights"):
        quantize("vgg16-keras", [folder], installed, name="untrained")
    # A name alone makes no model the other's small one.
    (installed / "vgg16-keras-int8.onnx").unlink()
    (tmp_path / "vgg16-keras.onnx").write_bytes(built(name="vgg16-keras", layer="block2_pool"))
    quantize(str(tmp_path / "vgg16-keras.onnx"), [folder], installed)
    assert models.resolve(None, installed, small=lambda: True).stem == "vgg16-keras"


def test_nothing_is_installed_where_comparing_is_stopped(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "whole.onnx").write_bytes(built())

    def stop(stage: str, *_: int) -> None:
        if stage == "compare":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(str(tmp_path / "whole.onnx"), [folder], tmp_path / "models", progress=stop)
    assert list((tmp_path / "models").iterdir()) == []


def test_the_command_tells_how_well_both_agree(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "whole.onnx").write_bytes(built(name="whole", layer="block3_pool"))

    def model(*arguments: str, code: int = 0) -> str:
        home = str(tmp_path / "home")
        ran = command.run(
            "model", *arguments, at=tmp_path, code=code, environ={"IMGINDEX_HOME": home}
        )
        return ran.text or ran.err

    model("import", "whole.onnx")
    told = model("quantize", "whole", str(folder))
    assert "whole-int8 is here, learned from 20 pictures; with 40 others:" in told
    assert re.search(r"  [\d.]+ a second on this CPU, [\d.]+ before\n", told)
    assert re.search(r"it names [\d.]+% of those named before; mean cosine 0\.\d{5}\n", told)
    assert told.endswith("use it with: imgindex index FOLDER --model whole-int8\n")
    again = model("quantize", "whole", str(folder), code=1)
    assert "a model named whole-int8 is installed" in again
    report = json.loads(model("quantize", "whole", str(folder), "--name", "other", "--json"))
    assert list(report) == [field.name for field in dataclasses.fields(QuantizeReport)]
    assert json.loads(model("info", "other", "--json"))["precision"] == "int8"
    assert re.search(r"^other .* squash, int8$", model("list"), re.MULTILINE)
    assert re.search(r"^whole .* squash$", model("list"), re.MULTILINE)


def test_too_few_pictures_are_told(folder: Path, model_file: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^1 different pictures were found, and 44 are needed"):
        quantize(str(model_file), [folder / "0.png"], tmp_path)


def test_a_library_keeps_to_its_precision(folder: Path, tmp_path: Path, small: bytes) -> None:
    paths = [tmp_path / "whole.onnx", tmp_path / "small.onnx"]
    paths[0].write_bytes(built())
    paths[1].write_bytes(small)
    for one, other in (paths, paths[::-1]):
        place = tmp_path / f"library-{one.stem}"
        with Library(place, model=one, device="cpu") as library:
            report = library.add(folder / "0.png")
            expected = "int8" if one.stem == "small" and adds_exactly() else "float32"
            assert report.precision == expected
        with (
            Library(place, model=other, device="cpu") as library,
            pytest.raises(ModelMismatchError),
        ):
            library.add(folder / "1.png")
