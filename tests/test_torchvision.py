"""The built graph against torchvision's own VGG16. For developers: torch is no dependency."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import onnxruntime as ort
import pytest

from imgindex import foreign, graph, vgg16, weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="torch is not installed: nothing to compare with")

LABEL: dict[str, Any] = {"name": "toy", "source": "made here", "licence": "CC0-1.0"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def written_out() -> Any:
    """torchvision's vgg16, should torchvision not import: the same modules, the same names."""
    modules: list[Any] = []
    channels = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            modules += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.ReLU()]
            channels = width
        modules.append(torch.nn.MaxPool2d(2, 2))
    network = torch.nn.Module()
    network.features = torch.nn.Sequential(*modules)
    network.classifier = torch.nn.Sequential(
        torch.nn.Linear(25088, 4096),
        torch.nn.ReLU(),
        torch.nn.Dropout(),
        torch.nn.Linear(4096, 4096),
        torch.nn.ReLU(),
        torch.nn.Dropout(),
        torch.nn.Linear(4096, 1000),
    )
    return network


@functools.cache
def network() -> Any:
    torch.manual_seed(0)
    try:
        # torchvision's compiled operators may be built for another torch; vgg16 needs none of them.
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        model = importlib.import_module("torchvision.models").vgg16()
    except (ImportError, RuntimeError):
        model = written_out()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            torch.nn.init.normal_(module.bias, std=0.05)
    return model.eval()


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)


def scaled(pixels: NDArray[np.uint8]) -> Any:
    rgb = (pixels.astype(np.float64) / 255 - MEAN) / STD
    return torch.from_numpy(rgb.transpose(0, 3, 1, 2).astype(np.float32))


def features(images: Any) -> Any:
    with torch.no_grad():
        return network().features(images)


def unit(rows: Any) -> Any:
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def embed(model: bytes, images: NDArray[np.uint8]) -> Any:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["embedding"], {"image": images})[0]


def largest(difference: Any, record_property: Any, name: str) -> float:
    worst = float(np.abs(difference).max())
    record_property(name, worst)
    print(f"{name}: largest difference {worst:.2e}")  # noqa: T201 - read with pytest -s
    return worst


@pytest.fixture(scope="module", params=[True, False], ids=["zip", "legacy"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torch") / "vgg16.pth"
    state = network().state_dict()
    torch.save(state, path, _use_new_zipfile_serialization=request.param)
    return path


def test_a_saved_state_dict_reads_back_equal(saved: Path) -> None:
    found = weights.read(saved, vgg16.kernels("fc2"))
    state = {name: value.numpy() for name, value in network().state_dict().items()}
    convolutions = [name for name in state if name.startswith("features") and "weight" in name]
    theirs = [name.removesuffix(".weight") for name in convolutions]
    theirs += ["classifier.0", "classifier.3"]
    for (layer, arrays), place in zip(found.layers.items(), theirs, strict=True):
        for array, part in zip(arrays, ("weight", "bias"), strict=True):
            np.testing.assert_array_equal(array, state[f"{place}.{part}"], err_msg=layer)


def test_the_map_and_the_pooled_vector_agree(
    saved: Path, pixels: NDArray[np.uint8], record_property: Any
) -> None:
    found = weights.read(saved, vgg16.kernels("block5_pool"))
    maps = features(scaled(pixels)).numpy()
    flat = embed(vgg16.build(found, pooling="none", **LABEL), pixels)
    wanted = unit(maps.reshape(len(maps), -1))
    assert largest(flat - wanted, record_property, "block5_pool, flattened to length 1") < 1e-6
    row = embed(vgg16.build(found, **LABEL), pixels)
    wanted = unit(maps.mean(axis=(2, 3)))
    assert largest(row - wanted, record_property, "average-pooled unit vector") < 3e-7


@pytest.mark.parametrize(("layer", "modules"), [("fc1", 2), ("fc2", 5)])
def test_dense_layers_agree(
    saved: Path, pixels: NDArray[np.uint8], record_property: Any, layer: str, modules: int
) -> None:
    found = weights.read(saved, vgg16.kernels(layer))
    with torch.no_grad():
        flat = torch.flatten(features(scaled(pixels)), 1)
        wanted = network().classifier[:modules](flat).numpy()
    row = embed(vgg16.build(found, layer=layer, **LABEL), pixels)
    assert largest(row - unit(wanted), record_property, layer) < 1e-6


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same numbers as Keras writes them: HWIO kernels, fc1 over a map flattened HWC."""
    path = tmp_path_factory.mktemp("keras") / "vgg16.h5"
    state = {name: value.numpy() for name, value in network().state_dict().items()}
    index, block = 0, "block1"
    with h5py.File(path, "w") as file:
        for name in vgg16.CONVOLUTIONS:
            index += name[:6] != block
            block = name[:6]
            kernel = state[f"features.{index}.weight"].transpose(2, 3, 1, 0)
            file[f"{name}/{name}_W_1:0"] = kernel
            file[f"{name}/{name}_b_1:0"] = state[f"features.{index}.bias"]
            index += 2
        kernel = state["classifier.0.weight"].reshape(4096, 512, 7, 7).transpose(2, 3, 1, 0)
        file["fc1/fc1/kernel:0"] = kernel.reshape(25088, 4096)
        file["fc1/fc1/bias:0"] = state["classifier.0.bias"]
        file["fc2/fc2/kernel:0"] = state["classifier.3.weight"].T
        file["fc2/fc2/bias:0"] = state["classifier.3.bias"]
    return path


def test_keras_weights_see_bgr_minus_means(
    keras: Path, pixels: NDArray[np.uint8], record_property: Any
) -> None:
    bgr = pixels[..., ::-1].astype(np.float32) - np.array([103.939, 116.779, 123.68], np.float32)
    maps = features(torch.from_numpy(bgr.transpose(0, 3, 1, 2).copy()))
    found = weights.read(keras, vgg16.kernels("block5_pool"))
    row = embed(vgg16.build(found, **LABEL), pixels)
    wanted = unit(maps.numpy().mean(axis=(2, 3)))
    assert largest(row - wanted, record_property, "Keras, average") < 3e-7


def test_dense_layers_of_keras_agree(
    keras: Path, pixels: NDArray[np.uint8], record_property: Any
) -> None:
    """A map flattened as Keras does it, times the kernel as Keras keeps it, is torch's fc1."""
    bgr = pixels[..., ::-1].astype(np.float32) - np.array([103.939, 116.779, 123.68], np.float32)
    maps = features(torch.from_numpy(bgr.transpose(0, 3, 1, 2).copy())).numpy()
    with h5py.File(keras) as file:
        wanted = maps.transpose(0, 2, 3, 1).reshape(len(maps), -1) @ file["fc1/fc1/kernel:0"][()]
        wanted = np.maximum(wanted + file["fc1/fc1/bias:0"][()], 0)
        last = np.maximum(wanted @ file["fc2/fc2/kernel:0"][()] + file["fc2/fc2/bias:0"][()], 0)
    found = weights.read(keras, vgg16.kernels("fc2"))
    for layer, rows in (("fc1", wanted), ("fc2", last)):
        row = embed(vgg16.build(found, layer=layer, **LABEL), pixels)
        assert largest(row - unit(rows), record_property, f"Keras {layer}") < 1e-6


def test_a_graph_like_the_onnx_zoos_agrees_once_adapted(
    tmp_path: Path, pixels: NDArray[np.uint8], record_property: Any
) -> None:
    """NCHW float input normalised outside, batch fixed to 1, old opset: as vgg16-12 comes."""
    import onnx

    state = {name: value.numpy() for name, value in network().state_dict().items()}
    nodes, arrays, tensor = [], [], "data"
    for place, module in enumerate(network().features):
        kind, inputs = "Relu", [tensor]
        options: dict[str, Any] = {}
        if isinstance(module, torch.nn.Conv2d):
            names = [f"features.{place}.weight", f"features.{place}.bias"]
            arrays += [onnx.numpy_helper.from_array(state[name], name) for name in names]
            kind, inputs, options = "Conv", [tensor, *names], {"pads": [1] * 4}
        elif isinstance(module, torch.nn.MaxPool2d):
            kind, options = "MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}
        tensor = f"features_{place}"
        nodes.append(onnx.helper.make_node(kind, inputs, [tensor], **options))
    value = functools.partial(onnx.helper.make_tensor_value_info, elem_type=1)
    zoo = onnx.helper.make_graph(
        nodes,
        "zoo",
        [value("data", shape=[1, 3, 224, 224])],
        [value(tensor, shape=[1, 512, 7, 7])],
        arrays,
    )
    path = tmp_path / "zoo.onnx"
    opset = onnx.helper.make_opsetid("", 12)
    onnx.save(onnx.helper.make_model(zoo, opset_imports=[opset], ir_version=7), path)
    model = foreign.adapt(path, scaling=graph.TORCH, **LABEL)
    wanted = unit(features(scaled(pixels)).numpy().mean(axis=(2, 3)))
    worst = largest(embed(model, pixels) - wanted, record_property, "as the ONNX zoo's")
    assert worst < 3e-7
