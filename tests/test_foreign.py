"""Foreign networks get our way in and out; what cannot be wrapped is told clearly."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from imgindex import foreign, graph
from imgindex.errors import ModelFileError, SettingError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LABEL: dict[str, Any] = {"name": "toy", "source": "made here", "licence": "CC0-1.0"}
SIDE = 16
RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.standard_normal((5, 3, 4, 4), np.float32)
UNUSED = RANDOM.standard_normal((1, 5, 64, 64), np.float32)
PIXELS = RANDOM.integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
NUMBERS = PIXELS / 127.5 - 1
TANH = graph.Scaling(-1, 1)


def maps() -> Any:
    """[n, 5, 4, 4]: a convolution of 4 x 4 with stride 4, then ReLU, in float64."""
    patches = NUMBERS.reshape(3, 4, 4, 4, 4, 3)
    return np.maximum(np.einsum("nhiwjc,ocij->nohw", patches, KERNEL.astype(float)), 0)


def unit(rows: NDArray[Any]) -> Any:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def embed(model: bytes) -> Any:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["embedding"], {"image": PIXELS})[0]


def export(  # noqa: PLR0913 - every part of a network may be another
    path: Path,
    *,
    shape: Any = ("batch", 3, SIDE, SIDE),
    tail: tuple[Any, ...] = (),
    outputs: tuple[str, ...] = ("map",),
    kind: int = TensorProto.FLOAT,
    opset: int = 17,
    ir: int = 8,
    extra: tuple[Any, ...] = (),
    image: str = "image",
    constants: tuple[Any, ...] = (),
) -> Path:
    """A network of one convolution; its tensors are named to meet ours on purpose."""
    dtype = helper.tensor_dtype_to_np_dtype(kind) if kind != TensorProto.UINT8 else np.float32
    nodes = [
        helper.make_node("Conv", [image, "kernel"], ["imgindex/Cast_1"], strides=[4, 4]),
        helper.make_node("Relu", ["imgindex/Cast_1"], ["map"]),
        *tail,
    ]
    network = helper.make_graph(
        nodes,
        "embedding",
        [helper.make_tensor_value_info(image, kind, shape), *extra],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [
            numpy_helper.from_array(KERNEL.astype(dtype), "kernel"),
            numpy_helper.from_array(UNUSED.astype(dtype), "unused"),
            *constants,
        ],
    )
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(network, opset_imports=opsets, ir_version=ir), path)
    return path


TOKENS = (
    helper.make_node("Flatten", ["map"], ["flat"], axis=1),
    helper.make_node("Reshape", ["flat", "token_shape"], ["channels"]),
    helper.make_node("Transpose", ["channels"], ["tokens"], perm=[0, 2, 1]),
)
TOKEN_SHAPE = (numpy_helper.from_array(np.array([-1, 5, 16]), "token_shape"),)


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 21])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_a_map_is_averaged_by_default(tmp_path: Path, opset: int, kind: int) -> None:
    model = foreign.adapt(
        export(tmp_path / "n.onnx", opset=opset, kind=kind), scaling=TANH, **LABEL
    )
    atol = 5e-7 if kind == TensorProto.FLOAT else 2e-3
    np.testing.assert_allclose(embed(model), unit(maps().mean(axis=(2, 3))), atol=atol)
    card = graph.read_card(model)
    assert card is not None
    assert (card.layer, card.pooling, card.dimension, card.size) == ("map", "average", 5, SIDE)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("cls", lambda tokens: tokens[:, 0]),
        ("tokens", lambda tokens: tokens.mean(axis=1)),
        ("none", lambda tokens: tokens.reshape(len(tokens), -1)),
    ],
)
@pytest.mark.parametrize("opset", [13, 18])
def test_tokens_are_pooled_as_declared(
    tmp_path: Path, pooling: graph.Pooling, expected: Any, opset: int
) -> None:
    path = export(
        tmp_path / "n.onnx", tail=TOKENS, outputs=("tokens",), constants=TOKEN_SHAPE, opset=opset
    )
    with pytest.raises(SettingError, match="cls or tokens"):
        foreign.adapt(path, scaling=TANH, **LABEL)
    model = foreign.adapt(path, scaling=TANH, pooling=pooling, **LABEL)
    tokens = maps().reshape(3, 5, 16).transpose(0, 2, 1)
    np.testing.assert_allclose(embed(model), unit(expected(tokens)), atol=5e-7)


def test_a_channels_last_network_is_fed_channels_last(tmp_path: Path) -> None:
    nodes = (
        helper.make_node("Transpose", ["x"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "kernel"], ["conv"], strides=[4, 4]),
        helper.make_node("Transpose", ["conv"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Relu", ["last"], ["embedding"]),
    )
    value = helper.make_tensor_value_info
    network = helper.make_graph(
        nodes,
        "net",
        [value("x", TensorProto.FLOAT, [None, None, None, 3])],
        [value("embedding", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(KERNEL, "kernel")],
    )
    opsets = [helper.make_opsetid("", 15)]
    onnx.save(helper.make_model(network, opset_imports=opsets, ir_version=8), tmp_path / "n.onnx")
    with pytest.raises(SettingError, match="declare the size"):
        foreign.adapt(tmp_path / "n.onnx", **LABEL)
    model = foreign.adapt(tmp_path / "n.onnx", scaling=TANH, size=SIDE, pooling="max", **LABEL)
    np.testing.assert_allclose(embed(model), unit(maps().max(axis=(2, 3))), atol=5e-7)


def test_an_inner_layer_can_be_read_and_the_rest_is_dropped(tmp_path: Path) -> None:
    tail = (
        helper.make_node("Conv", ["map", "unused"], ["odd"], pads=[30] * 4),
        helper.make_node("Flatten", ["odd"], ["logits"]),
    )
    path = export(tmp_path / "n.onnx", tail=tail, outputs=("logits",))
    whole = foreign.adapt(path, scaling=TANH, **LABEL)
    inner = foreign.adapt(path, scaling=TANH, layer="map", **LABEL)
    assert len(whole) - len(inner) > UNUSED.nbytes
    np.testing.assert_allclose(embed(inner), unit(maps().mean(axis=(2, 3))), atol=5e-7)
    cards = graph.read_card(whole), graph.read_card(inner)
    first, second = cards
    assert first is not None
    assert second is not None
    assert first.fingerprint != second.fingerprint


def test_a_batch_fixed_to_one_is_opened(tmp_path: Path) -> None:
    path = export(tmp_path / "n.onnx", shape=[1, 3, SIDE, SIDE])
    rows = embed(foreign.adapt(path, scaling=TANH, **LABEL))
    np.testing.assert_allclose(rows, unit(maps().mean(axis=(2, 3))), atol=5e-7)


def test_a_batch_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    shape = (numpy_helper.from_array(np.array([1, 80]), "shape"),)
    tail = (helper.make_node("Reshape", ["map", "shape"], ["row"]),)
    path = export(
        tmp_path / "n.onnx",
        shape=[1, 3, SIDE, SIDE],
        tail=tail,
        outputs=("row",),
        constants=shape,
    )
    with pytest.raises(ModelFileError, match=r"2 pictures|batches of 1"):
        foreign.adapt(path, **LABEL)


def test_subgraphs_keep_what_they_capture(tmp_path: Path) -> None:
    """Both arms of an If read tensors of the graph around them."""
    value = helper.make_tensor_value_info
    arms = {
        f"{arm}_branch": helper.make_graph(
            [helper.make_node(op, ["map", "two"], [f"{arm}_out"])],
            arm,
            [],
            [value(f"{arm}_out", TensorProto.FLOAT, None)],
        )
        for arm, op in (("then", "Mul"), ("else", "Add"))
    }
    tail = (helper.make_node("If", ["yes"], ["chosen"], **arms),)
    constants = (
        numpy_helper.from_array(np.array(True), "yes"),  # noqa: FBT003 - a constant's value
        numpy_helper.from_array(np.array(2, np.float32), "two"),
    )
    path = export(tmp_path / "n.onnx", tail=tail, outputs=("chosen",), constants=constants)
    rows = embed(foreign.adapt(path, scaling=TANH, **LABEL))
    np.testing.assert_allclose(rows, unit(maps().mean(axis=(2, 3))), atol=5e-7)


def test_old_files_list_their_weights_among_the_inputs(tmp_path: Path) -> None:
    kernel = helper.make_tensor_value_info("kernel", TensorProto.FLOAT, KERNEL.shape)
    path = export(tmp_path / "n.onnx", extra=(kernel,), ir=3, opset=11)
    rows = embed(foreign.adapt(path, scaling=TANH, **LABEL))
    np.testing.assert_allclose(rows, unit(maps().mean(axis=(2, 3))), atol=5e-7)


@pytest.mark.parametrize(
    ("made", "declared", "text"),
    [
        ({"shape": ["n", 3, 16, 24]}, {}, "not square"),
        ({"shape": ["n", 3, "h", "w"]}, {}, "declare the size"),
        ({}, {"size": 32}, "fixed to 16"),
        ({}, {"layout": "nhwc"}, "3 channels"),
        ({}, {"layout": "chwn"}, "chwn"),
        ({"shape": ["n", 1, 16, 16]}, {}, "declare the layout"),
        ({"shape": ["n", "c", 16, 16]}, {}, "declare the layout"),
        ({"shape": ["n", 16]}, {}, "no batch of pictures"),
        ({}, {"layer": "nothing"}, "outputs are map"),
        ({}, {"layer": "image"}, "no layer"),
        ({"outputs": ("map", "imgindex/Cast_1")}, {}, "choose a layer"),
        ({}, {"pooling": "cls"}, "average or max"),
        ({}, {"fit": "stretch"}, "stretch"),
        ({"opset": 9}, {}, "opset 9"),
        (
            {
                "tail": (
                    helper.make_node("Flatten", ["map"], ["flat"]),
                    helper.make_node("Conv", ["flat", "kernel"], ["more"]),
                ),
                "outputs": ("more",),
            },
            {},
            "does not take 2 pictures of side 16",
        ),
        ({"kind": TensorProto.UINT8}, {}, "must be float, not uint8"),
        ({"extra": (helper.make_tensor_value_info("text", 7, ["n", 77]),)}, {}, "one input"),
        (
            {
                "tail": (helper.make_node("ArgMax", ["map"], ["best"], axis=1),),
                "outputs": ("best",),
            },
            {},
            "whole numbers",
        ),
        (
            {
                "tail": (helper.make_node("Shape", ["kernel"], ["sides"]),),
                "outputs": ("sides",),
            },
            {},
            "does not depend",
        ),
        (
            {"tail": (helper.make_node("Foo", ["map"], ["foo"]),), "outputs": ("foo",)},
            {},
            "cannot be told",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_is_told(
    tmp_path: Path, made: dict[str, Any], declared: dict[str, Any], text: str
) -> None:
    path = export(tmp_path / "n.onnx", **made)
    with pytest.raises((SettingError, ModelFileError), match=text):
        foreign.adapt(path, **declared, **LABEL)


@pytest.mark.parametrize("place", ["weights", "attribute", "subgraph"])
def test_weights_in_other_files_are_refused(tmp_path: Path, place: str) -> None:
    path = export(tmp_path / "n.onnx")
    model = onnx.load(path)
    outside = TensorProto(name="kernel", data_type=1, dims=KERNEL.shape)
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="../../etc/passwd")
    if place == "weights":
        model.graph.initializer[0].CopyFrom(outside)
    else:
        node = helper.make_node("Constant", [], ["held"], value=outside)
        if place == "subgraph":
            value = helper.make_tensor_value_info("held", 1, None)
            arm = helper.make_graph([node], "arm", [], [value])
            node = helper.make_node("If", ["c"], ["o"], then_branch=arm, else_branch=arm)
        model.graph.node.append(node)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="other files"):
        foreign.adapt(path, **LABEL)


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), flip=st.integers(0, 255))
def test_a_damaged_file_is_told_or_wrapped(
    tmp_path_factory: pytest.TempPathFactory, share: float, flip: int
) -> None:
    path = export(tmp_path_factory.getbasetemp() / "n.onnx")
    data = bytearray(path.read_bytes())
    data[int(share * 400)] ^= flip
    path.write_bytes(data)
    try:
        model = foreign.adapt(path, **LABEL)
    except (ModelFileError, SettingError):
        return
    assert graph.read_card(model) is not None


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x00" * 64])
def test_something_else_is_told(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "n.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match="ONNX"):
        foreign.adapt(path, **LABEL)


def test_a_model_of_ours_is_reissued_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "ours.onnx"
    graph.save(path, foreign.adapt(export(tmp_path / "n.onnx"), scaling=TANH, **LABEL))
    again = foreign.reissue(path, "other")
    cards = graph.read_card(path), graph.read_card(again)
    first, second = cards
    assert first is not None
    assert second is not None
    assert second.name == "other"
    assert first.fingerprint == second.fingerprint
    np.testing.assert_array_equal(embed(again), embed(path.read_bytes()))


def test_a_card_that_lies_about_its_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ours.onnx"
    model = onnx.ModelProto.FromString(
        foreign.adapt(export(tmp_path / "n.onnx"), scaling=TANH, **LABEL)
    )
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, metadata | {"imgindex.dimension": "6"})
    path.write_bytes(model.SerializeToString())
    for check in (foreign.vouch, partial(foreign.reissue, name="other")):
        with pytest.raises(ModelFileError, match="does not fit"):
            check(path)


def test_names_in_a_file_cannot_play_with_the_terminal(tmp_path: Path) -> None:
    names = ("map", "\x1b[2J" + "x" * 1000)
    node = helper.make_node("Relu", ["map"], [names[1]])
    path = export(tmp_path / "n.onnx", tail=(node,), outputs=names)
    with pytest.raises(SettingError, match="choose a layer") as caught:
        foreign.adapt(path, **LABEL)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
