"""VGG16 against its paper's table, and against the same network written in numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from imgindex import graph, vgg16
from imgindex.errors import SettingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LABEL: dict[str, Any] = {"name": "toy", "source": "made here", "licence": "CC0-1.0"}


@pytest.fixture(scope="module")
def weights() -> graph.Weights:
    return vgg16.untrained()


def embed(model: bytes, images: NDArray[np.uint8]) -> Any:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["embedding"], {"image": images})[0]


def convolve(x: NDArray[Any], kernel: NDArray[Any], bias: NDArray[Any]) -> Any:
    """Same-padded 3 x 3 cross-correlation of [c, h, w], in float64."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.einsum("chwij,ocij->ohw", windows, kernel, optimize=True) + bias[:, None, None]


def forward(weights: graph.Weights, image: NDArray[np.uint8]) -> NDArray[Any]:
    """The map of block5_pool, layer by layer as the paper draws it."""
    x = (image / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    x = x.transpose(2, 0, 1)
    for block, depth in enumerate((2, 2, 3, 3, 3), 1):
        for place in range(1, depth + 1):
            kernel, bias = weights.layers[f"block{block}_conv{place}"]
            x = np.maximum(convolve(x, kernel.astype(float), bias.astype(float)), 0)
        channels, height, width = x.shape
        x = x.reshape(channels, height // 2, 2, width // 2, 2).max(axis=(2, 4))
    return x


def test_the_network_is_configuration_d(weights: graph.Weights) -> None:
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    expected = forward(weights, image)
    flat = embed(vgg16.build(weights, pooling="none", size=64, **LABEL), image[None])
    whole = expected.ravel() / np.linalg.norm(expected)
    np.testing.assert_allclose(flat[0], whole, atol=1e-6)
    pooled = expected.mean(axis=(1, 2))
    row = embed(vgg16.build(weights, size=64, **LABEL), image[None])
    np.testing.assert_allclose(row[0], pooled / np.linalg.norm(pooled), atol=2e-7)


def test_the_layer_table_counts_what_the_paper_counts() -> None:
    table = {row.name: row for row in vgg16.layers()}
    assert list(table)[:3] == ["block1_conv1", "block1_conv2", "block1_pool"]
    assert len(table) == 13 + 5 + 2
    assert table["block1_conv2"].shape == (64, 224, 224)
    assert table["block5_conv3"].shape == (512, 14, 14)
    assert table["block5_pool"].shape == (512, 7, 7)
    assert table["fc2"].shape == (4096,)
    # 138,357,544 in all (table 2 of the paper: 138 million), less the classifier's 4,097,000.
    assert sum(row.parameters for row in table.values()) == 138_357_544 - 4_097_000
    assert sum(row.parameters for row in table.values() if "fc" not in row.name) == 14_714_688
    assert "fc1" not in {row.name for row in vgg16.layers(256)}


def test_every_map_can_be_chosen_and_later_weights_are_left_out(weights: graph.Weights) -> None:
    images = np.random.default_rng(2).integers(0, 256, (1, 32, 32, 3), np.uint8)
    for row in vgg16.layers(32):
        model = vgg16.build(weights, layer=row.name, pooling="max", size=32, **LABEL)
        assert embed(model, images).shape == (1, row.shape[0])
        held = onnx.ModelProto.FromString(model).graph.initializer
        names = {tensor.name.partition("/")[0] for tensor in held} - {"imgindex"}
        assert names == set(vgg16.kernels(row.name))


def test_the_card_says_what_was_built(weights: graph.Weights) -> None:
    card = graph.read_card(
        vgg16.build(weights, layer="block4_pool", pooling="gem", size=96, trained=False, **LABEL)
    )
    assert card is not None
    assert (card.layer, card.pooling, card.dimension, card.size) == ("block4_pool", "gem", 512, 96)
    assert card.scaling.startswith("RGB 0..1 minus 0.485")
    assert not card.trained


def test_the_fingerprint_follows_the_numbers_used_and_nothing_else(weights: graph.Weights) -> None:
    changed = dict(weights.layers)
    kernel, bias = changed["block5_conv3"]
    changed["block5_conv3"] = (kernel, bias + 1)
    other = graph.Weights(changed, weights.scaling)

    def print_of(one: graph.Weights, layer: str, name: str = "toy") -> str:
        card = graph.read_card(vgg16.build(one, layer=layer, size=32, **{**LABEL, "name": name}))
        assert card is not None
        return card.fingerprint

    assert print_of(weights, "block5_pool") != print_of(other, "block5_pool")
    assert print_of(weights, "block4_pool") == print_of(other, "block4_pool", "another")


def test_untrained_weights_are_the_same_every_time(weights: graph.Weights) -> None:
    again = vgg16.untrained()
    assert again.sha256 == weights.sha256 != vgg16.untrained(seed=1).sha256
    kernel, bias = weights.layers["block3_conv2"]
    assert kernel.dtype == bias.dtype == np.float32
    assert kernel.std() == pytest.approx(np.sqrt(2 / (256 * 9)), rel=0.01)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"layer": "block6_pool"}, "block5_pool"),
        ({"layer": "fc1"}, "fc1"),
        ({"size": 31}, "32"),
        ({"size": 100_000}, "2048"),
        ({"pooling": "cls"}, "cls"),
        ({"fit": "stretch"}, "stretch"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    weights: graph.Weights, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(SettingError, match=text):
        vgg16.build(weights, **options, **LABEL)


def test_dense_layers_need_their_size_and_read_the_map_channel_first(
    weights: graph.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Real dense layers hold 120 million numbers; eight and five outputs test the same wiring.
    monkeypatch.setattr(vgg16, "DENSE", {"fc1": (8, 25088), "fc2": (5, 8)})
    random = np.random.default_rng(3)
    dense = {
        "fc1": (random.normal(size=(8, 25088)).astype("f4"), random.normal(size=8).astype("f4")),
        "fc2": (random.normal(size=(5, 8)).astype("f4"), random.normal(size=5).astype("f4")),
    }
    full = graph.Weights({**weights.layers, **dense}, weights.scaling)
    with pytest.raises(SettingError, match="224"):
        vgg16.build(full, layer="fc2", size=256, **LABEL)
    image = np.random.default_rng(4).integers(0, 256, (1, 224, 224, 3), np.uint8)
    x = raw_map(full, image)[0].astype(float)
    for kernel, bias in dense.values():
        x = np.maximum(kernel @ x + bias, 0)
    row = embed(vgg16.build(full, layer="fc2", **LABEL), image)[0]
    np.testing.assert_allclose(row, x / np.linalg.norm(x), atol=1e-5)


def raw_map(weights: graph.Weights, image: NDArray[np.uint8]) -> Any:
    """block5_pool before the unit step, read out of the same graph."""
    model = onnx.ModelProto.FromString(vgg16.build(weights, pooling="none", **LABEL))
    flat = next(node for node in model.graph.node if node.op_type == "Flatten")
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(flat.output[0], onnx.TensorProto.FLOAT, ["n", 25088])
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([flat.output[0]], {"image": image})[0]


def projected(weights: graph.Weights, width: int, channels: int, seed: int = 0) -> graph.Weights:
    random = np.random.default_rng(seed)
    pair = (
        random.standard_normal((width, channels), np.float32),
        random.standard_normal(width, np.float32),
    )
    return graph.Weights({**weights.layers, vgg16.PROJECTION: pair}, weights.scaling)


def test_a_projection_turns_the_unit_vector(weights: graph.Weights) -> None:
    images = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3), np.uint8)
    other = projected(weights, 7, 128)
    rows = embed(vgg16.build(weights, layer="block2_pool", size=32, **LABEL), images)
    matrix, offset = other.layers[vgg16.PROJECTION]
    wanted = rows @ matrix.T + offset
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    model = vgg16.build(other, layer="block2_pool", size=32, **LABEL)
    np.testing.assert_allclose(embed(model, images), wanted, atol=3e-6)
    card = graph.read_card(model)
    assert card is not None
    assert card.dimension == 7


def test_the_fingerprint_follows_the_projection(weights: graph.Weights) -> None:
    made = [
        graph.read_card(vgg16.build(one, layer="block2_pool", size=32, **LABEL))
        for one in (weights, projected(weights, 128, 128), projected(weights, 128, 128, 1))
    ]
    assert len({card.fingerprint for card in made if card}) == 3


def test_a_projection_has_to_fit(weights: graph.Weights) -> None:
    with pytest.raises(SettingError, match=r"projection of shape \[7, 64\] does not fit 128"):
        vgg16.build(projected(weights, 7, 64), layer="block2_pool", size=32, **LABEL)
