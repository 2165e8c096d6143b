"""The way in, the poolings and the unit vector, against the same sums written in numpy."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgindex import graph
from imgindex.errors import ModelError, ModelFileError, SettingError
from imgindex.records import ModelCard

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIDE = 16
CARD = ModelCard(
    name="toy",
    architecture="toy",
    layer="image",
    pooling="none",
    dimension=3,
    size=SIDE,
    fit="squash",
    scaling="RGB 0..255",
    weights_sha256="0" * 64,
    source="made here",
    licence="CC0-1.0",
)
PLAIN = graph.Scaling(0, 255)


def run(model: bytes, pixels: NDArray[np.uint8]) -> Any:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["embedding"], {"image": pixels})[0]


def pixels(count: int = 2, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def descriptor(
    scaling: graph.Scaling, pooling: graph.Pooling, images: NDArray[np.uint8], opset: int = 17
) -> Any:
    sketch = graph.Sketch(opset)
    tensor, size = sketch.pool(sketch.enter(scaling), (3, SIDE, SIDE), pooling)
    card = dataclasses.replace(CARD, pooling=pooling, dimension=size)
    return run(sketch.finish(tensor, card), images)


def unit(rows: NDArray[Any]) -> Any:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def rmac(maps: NDArray[Any]) -> Any:
    """Regions of Tolias et al. on a 16 x 16 map, written out by hand: sides 16, 10 and 8."""
    total = np.zeros(maps.shape[:2])
    for side, starts in ((16, (0,)), (10, (0, 6)), (8, (0, 4, 8))):
        for top in starts:
            for left in starts:
                window = maps[:, :, top : top + side, left : left + side]
                total += unit(window.max(axis=(2, 3)))
    return total


REFERENCES: dict[str, Any] = {
    "average": lambda maps: maps.mean(axis=(2, 3)),
    "max": lambda maps: maps.max(axis=(2, 3)),
    "gem": lambda maps: (np.maximum(maps, 0) ** 3).mean(axis=(2, 3)) ** (1 / 3),
    "rmac": rmac,
    "none": lambda maps: maps.reshape(len(maps), -1),
}


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("pooling", REFERENCES)
def test_pooling_is_what_its_paper_says(pooling: graph.Pooling, opset: int) -> None:
    images = pixels()
    maps = images.astype(np.float64).transpose(0, 3, 1, 2)
    expected = unit(REFERENCES[pooling](maps))
    np.testing.assert_allclose(descriptor(PLAIN, pooling, images, opset), expected, atol=3e-7)


def test_gem_takes_negative_numbers_for_nothing() -> None:
    scaling = graph.Scaling(-1, 1)
    images = pixels()
    maps = images.transpose(0, 3, 1, 2) / 127.5 - 1
    expected = unit(REFERENCES["gem"](maps))
    np.testing.assert_allclose(descriptor(scaling, "gem", images), expected, atol=3e-7)


@pytest.mark.parametrize("pooling", REFERENCES)
def test_a_black_picture_gives_zeros_and_no_nan(pooling: graph.Pooling) -> None:
    black = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    assert not descriptor(PLAIN, pooling, black).any()


@pytest.mark.parametrize(
    ("scaling", "numbers"),
    [
        (graph.CAFFE, lambda rgb: rgb[..., ::-1] - (103.939, 116.779, 123.68)),
        (graph.TORCH, lambda rgb: (rgb / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)),
        (graph.Scaling(-1, 1), lambda rgb: rgb / 127.5 - 1),
        (graph.Scaling(0, 255, order="bgr"), lambda rgb: rgb[..., ::-1]),
    ],
    ids=["caffe", "torch", "tf", "bgr"],
)
def test_scaling_makes_the_networks_own_numbers(scaling: graph.Scaling, numbers: Any) -> None:
    images = pixels()
    maps = numbers(images.astype(np.float64)).transpose(0, 3, 1, 2)
    expected = unit(maps.reshape(len(maps), -1))
    np.testing.assert_allclose(descriptor(scaling, "none", images), expected, atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 4))
def test_every_embedding_has_length_one_and_minds_no_neighbour(seed: int, count: int) -> None:
    images = pixels(count, seed)
    together = descriptor(graph.TORCH, "rmac", images)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(descriptor(graph.TORCH, "rmac", images[:1]), together[:1])


@pytest.mark.parametrize("pooling", ["cls", "tokens", "median"])
def test_a_pooling_that_does_not_fit_a_map_is_refused(pooling: Any) -> None:
    with pytest.raises(SettingError, match=pooling):
        graph.Sketch().pool("image", (3, 4, 4), pooling)


def test_rmac_needs_a_square_map() -> None:
    with pytest.raises(SettingError, match="4 x 5"):
        graph.Sketch().pool("image", (3, 4, 5), "rmac")


@pytest.mark.parametrize(
    "bad",
    [
        {"low": 1, "high": 1},
        {"low": 0, "high": float("inf")},
        {"low": 0, "high": 1, "std": (1, 0, 1)},
        {"low": 0, "high": 1, "std": (1, 1)},
        {"low": 0, "high": 1, "mean": (0, 0, float("nan"))},
        {"low": 0, "high": 1, "order": "grb"},
    ],
)
def test_a_scaling_that_scales_nothing_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        graph.Scaling(**bad)


@pytest.mark.parametrize("change", [{"size": 8}, {"size": 4096}, {"fit": "stretch"}])
def test_a_card_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    sketch = graph.Sketch()
    tensor, _ = sketch.pool(sketch.enter(PLAIN), (3, SIDE, SIDE), "average")
    with pytest.raises(SettingError):
        sketch.finish(tensor, dataclasses.replace(CARD, **change))


def toy() -> bytes:
    sketch = graph.Sketch()
    tensor, _ = sketch.pool(sketch.enter(PLAIN), (3, SIDE, SIDE), "average")
    return sketch.finish(tensor, CARD)


MODEL = toy()


def test_the_card_travels_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "toy.onnx"
    graph.save(path, MODEL)
    assert graph.read_card(path) == CARD == graph.read_card(MODEL)
    assert [file.name for file in tmp_path.iterdir()] == ["toy.onnx"]


def test_a_foreign_model_has_no_card() -> None:
    model = onnx.ModelProto.FromString(MODEL)
    del model.metadata_props[:]
    assert graph.read_card(model.SerializeToString()) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", '"large"'),
        ("size", "100000"),
        ("size", "1" * 5000),
        ("name", "[1]"),
        ("name", '"\\u001b[2J"'),
        ("name", "[" * 100_000),
        ("trained", "1"),
        ("dimension", "{"),
        ("dimension", "0"),
        ("fit", None),
        ("fit", '"stretch"'),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_damaged_card_is_told(key: str, value: str | None) -> None:
    model = onnx.ModelProto.FromString(MODEL)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if value is None:
        del metadata[f"imgindex.{key}"]
    else:
        metadata[f"imgindex.{key}"] = value
    onnx.helper.set_model_props(model, metadata)
    with pytest.raises(ModelFileError, match="damaged") as caught:
        graph.read_card(model.SerializeToString())
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_no_card_or_a_clear_error(data: bytes) -> None:
    with contextlib.suppress(ModelFileError):
        assert graph.read_card(data) is None


@given(cut=st.integers(1, 200))
def test_a_model_cut_short_is_told_or_has_no_card(cut: int) -> None:
    # The card is written last: what is cut off is part of it.
    with pytest.raises(ModelFileError):
        graph.read_card(MODEL[:-cut])


def test_an_outline_has_everything_but_the_numbers(tmp_path: Path) -> None:
    whole = onnx.ModelProto.FromString(MODEL)
    kernel = onnx.numpy_helper.from_array(np.ones((300, 300), np.float32), "kernel")
    kernel.external_data.add(key="location", value="elsewhere")
    whole.graph.initializer.append(kernel)
    path = tmp_path / "toy.onnx"
    path.write_bytes(whole.SerializeToString())
    outline = graph.outline(path)
    assert outline.ByteSize() < path.stat().st_size / 20
    for tensor in whole.graph.initializer:
        tensor.ClearField("raw_data")
    assert outline == whole


def test_an_outline_of_a_graph_in_two_pieces_joins_them(tmp_path: Path) -> None:
    """Protocol buffers merge a field that comes twice; so what is checked must, too."""
    more = onnx.ModelProto()
    more.graph.initializer.add(name="second").external_data.add(key="location", value="elsewhere")
    path = tmp_path / "toy.onnx"
    path.write_bytes(MODEL + more.SerializeToString())
    assert any(tensor.external_data for tensor in graph.outline(path).graph.initializer)


@settings(deadline=None)
@given(data=st.data())
def test_an_outline_of_any_bytes_is_told_or_made(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    changed = bytearray(MODEL)
    changed[data.draw(st.integers(0, len(MODEL) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(changed)
    with contextlib.suppress(ModelFileError):
        graph.outline(path)


def test_a_field_that_reaches_out_of_its_message_is_told(tmp_path: Path) -> None:
    # A graph of two bytes, whose one field is a tensor of five.
    (tmp_path / "m.onnx").write_bytes(b"\x3a\x02\x2a\x05" + bytes(8))
    with pytest.raises(ModelFileError, match="cut off"):
        graph.outline(tmp_path / "m.onnx")


def test_text_out_of_files_is_cut_and_harmless() -> None:
    assert graph.printable("naïve\x1b[2J\n\udcff") == r"naïve\x1b[2J\n\udcff"
    assert graph.printable("x" * 1000) == "x" * 80 + "..."
    assert graph.brief(ValueError("one\x07\ntwo")) == r"one\x07"
    assert graph.brief(ValueError()) == "ValueError"
    assert graph.brief(FileNotFoundError(2, "No such file", "path")) == "No such file"


def test_a_place_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelError, match="cannot write"):
        graph.save(tmp_path / "file" / "toy.onnx", b"x")


def test_saving_over_a_folder_fails_clearly_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "toy.onnx").mkdir()
    with pytest.raises(ModelError, match="cannot write"):
        graph.save(tmp_path / "toy.onnx", b"x")
    assert [file.name for file in tmp_path.iterdir()] == ["toy.onnx"]


def test_the_weights_checksum_sees_every_number_and_name() -> None:
    def record(**layers: float) -> graph.Weights:
        arrays = {
            name: (np.full((2, 3), value, np.float32), np.zeros(2, np.float32))
            for name, value in layers.items()
        }
        return graph.Weights(arrays, graph.TORCH)

    sums = {record(a=1).sha256, record(a=2).sha256, record(b=1).sha256, record(a=1, b=1).sha256}
    assert len(sums) == 4
    assert record(a=1, b=2).sha256 == record(b=2, a=1).sha256
    assert record(a=1, b=2).only(["a"]).sha256 == record(a=1).sha256
