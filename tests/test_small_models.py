"""Models in few bits: the same card, another checksum, nearly the same descriptors."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from PIL import Image
from training import export

from imgindex import graph, vgg16

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import ModelCard


def card_of(model: bytes) -> ModelCard:
    card = graph.read_card(model)
    assert card is not None
    return card


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    """Soft blobs: noise alone has no neighbours worth keeping."""
    small = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), np.uint8)
    rows = [Image.fromarray(row).resize((32, 32), Image.Resampling.BICUBIC) for row in small]
    return np.stack([np.asarray(row) for row in rows])


@pytest.fixture(scope="module")
def model() -> bytes:
    drawn = vgg16.untrained()
    random = np.random.default_rng(0).standard_normal((512, 512), np.float32)
    layers = {**drawn.layers, vgg16.PROJECTION: (random, np.zeros(512, np.float32))}
    weights = graph.Weights(layers, drawn.scaling)
    return vgg16.build(weights, size=32, name="toy", source="made here", licence="CC0-1.0")


@pytest.fixture(scope="module")
def small(model: bytes, images: NDArray[np.uint8]) -> dict[str, bytes]:
    return {
        "int8": export.eight_bits(model, images),
        "float16": export.halves(model),
    }


def test_the_card_stays_but_for_its_checksum(model: bytes, small: dict[str, bytes]) -> None:
    card = card_of(model)
    prints = {card.fingerprint}
    for precision, data in small.items():
        other = card_of(data)
        assert other.precision == precision
        same = dataclasses.replace(
            other, weights_sha256=card.weights_sha256, precision=card.precision
        )
        assert same == card
        prints.add(other.fingerprint)
    assert len(prints) == 3


def test_the_signature_stays_and_the_file_shrinks(model: bytes, small: dict[str, bytes]) -> None:
    whole = onnx.ModelProto.FromString(model)
    for data in small.values():
        proto = onnx.ModelProto.FromString(data)
        assert proto.graph.input == whole.graph.input
        assert proto.graph.output == whole.graph.output
    assert len(small["int8"]) < 16.5e6
    assert len(small["float16"]) < 31e6


def test_nothing_is_rounded_between_a_convolution_and_its_relu(small: dict[str, bytes]) -> None:
    nodes = onnx.ModelProto.FromString(small["int8"]).graph.node
    convolved = {node.output[0] for node in nodes if node.op_type == "Conv"}
    assert len(convolved) == len(vgg16.CONVOLUTIONS)
    assert {node.op_type for node in nodes if node.input[0] in convolved} == {"Relu"}


def test_descriptors_agree(
    model: bytes,
    small: dict[str, bytes],
    images: NDArray[np.uint8],
) -> None:
    rows = export.described(model, images)
    labels = np.arange(len(images)) % 4
    least = {"int8": 0.99, "float16": 0.99999}
    for precision, data in small.items():
        found = export.agreement("fp16", data, images, labels, rows)
        assert found.cosine > least[precision], precision
    same = export.agreement("fp16", model, images, labels, rows)
    assert same.overlap == 1
    assert same.whole == same.small
    assert same.enough


def test_the_first_way_that_agrees_is_taken(model: bytes, images: NDArray[np.uint8]) -> None:
    asked: list[str] = []

    def fitted() -> bytes:
        asked.append("fitted")
        return model

    labels = np.arange(len(images)) % 4
    data, tried = export.smallest(model, fitted, images[:16], (images, labels))
    assert tried[-1].enough
    assert not any(one.enough for one in tried[:-1])
    assert len(asked) == (len(tried) > 1)
    assert card_of(data).fingerprint != card_of(model).fingerprint
