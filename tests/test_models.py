"""Which model file is taken, and how files become models; small stand-ins for the official ones."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from imgindex import foreign, graph, models, vgg16
from imgindex.errors import (
    DownloadError,
    ModelError,
    ModelFileError,
    ModelNotFoundError,
    SettingError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LABEL: dict[str, Any] = {"source": "made here", "licence": "CC0-1.0"}


@pytest.fixture(autouse=True)
def nothing_bundled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A package folder without models beside it."""
    beside = tmp_path / "checkout" / "imgindex"
    beside.mkdir(parents=True)
    monkeypatch.setattr(models, "_BESIDE", beside)
    return beside


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home"


def small(name: str, seed: int = 0, *, trained: bool = True) -> bytes:
    """A model of the first two convolutions: 64 numbers, 150 kB."""
    return vgg16.build(
        vgg16.untrained(seed), layer="block1_pool", size=32, name=name, trained=trained, **LABEL
    )


def put(folder: Path, name: str, seed: int = 0, *, trained: bool = True) -> Path:
    path = folder / f"{name}.onnx"
    graph.save(path, small(name, seed, trained=trained))
    return path


@pytest.fixture(scope="session")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keras file without top, of random numbers."""
    path = tmp_path_factory.mktemp("keras") / "notop.h5"
    with h5py.File(path, "w") as file:
        for name, (kernel, bias) in vgg16.untrained(7).layers.items():
            file[f"{name}/{name}_W_1:0"] = kernel.transpose(2, 3, 1, 0)
            file[f"{name}/{name}_b_1:0"] = bias
    return path


@pytest.fixture
def official(keras: Path, monkeypatch: pytest.MonkeyPatch) -> models.Official:
    """The Keras stand-in takes the place of the official file."""
    md5 = hashlib.md5(keras.read_bytes(), usedforsecurity=False).hexdigest()
    stand_in = dataclasses.replace(
        models.OFFICIAL[0],
        url="https://example.org/deep/notop.h5",
        size=keras.stat().st_size,
        md5=md5,
    )
    monkeypatch.setattr(models, "OFFICIAL", (stand_in, models.OFFICIAL[1]))
    return stand_in


@pytest.fixture
def served(keras: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Say nothing."""

    handler = partial(Quiet, directory=str(keras.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_without_a_model_the_ways_to_one_are_named(folder: Path) -> None:
    put(folder, "random", trained=False)
    with pytest.raises(ModelNotFoundError) as caught:
        models.resolve(None, folder)
    lines = str(caught.value).splitlines()
    for way in ("imgindex model pull", "imgindex model import FILE", "--model untrained"):
        assert any(line.strip() == way for line in lines)
    assert "only very similar" in str(caught.value)


def test_the_default_is_bundled_then_keras_then_torchvision(
    folder: Path, nothing_bundled: Path
) -> None:
    last = put(folder, "vgg16-torchvision")
    assert models.resolve(None, folder) == last
    middle = put(folder, "vgg16-keras", 1)
    assert models.resolve(None, folder) == middle
    put(nothing_bundled.parent / "models", "a-random", trained=False)
    assert models.resolve(None, folder) == middle
    checkout = put(nothing_bundled.parent / "models", "vgg16-small", 2)
    assert models.resolve(None, folder) == checkout
    wheel = put(nothing_bundled / "bundled", "zz", 3)
    assert models.resolve(None, folder) == wheel


def test_an_only_imported_model_is_the_default_and_two_are_a_question(folder: Path) -> None:
    mine = put(folder, "mine")
    assert models.resolve(None, folder) == mine
    put(folder, "other", 1)
    with pytest.raises(ModelNotFoundError, match="mine, other"):
        models.resolve(None, folder)
    assert models.resolve("other", folder).stem == "other"


def test_untrained_is_built_once_and_never_taken_by_itself(folder: Path) -> None:
    path = models.resolve("untrained", folder)
    card = models.read_card(path)
    assert (card.trained, card.layer, card.dimension, card.size) == (False, "block5_pool", 512, 224)
    built = path.stat().st_mtime_ns
    assert models.resolve("untrained", folder) == path
    assert path.stat().st_mtime_ns == built
    assert [file.name for file in folder.iterdir()] == ["untrained.onnx"]
    with pytest.raises(ModelNotFoundError):
        models.resolve(None, folder)


def test_a_path_is_taken_as_it_is(folder: Path, tmp_path: Path) -> None:
    path = put(tmp_path / "elsewhere", "mine")
    assert models.resolve(path, folder) == path
    assert models.resolve(str(path), folder) == path


def test_a_path_that_is_no_model_of_ours_names_the_import(
    folder: Path, tmp_path: Path, keras: Path
) -> None:
    stranger = tmp_path / "stranger.onnx"
    stranger.write_bytes(b"")
    for path in (stranger, keras):
        with pytest.raises(ModelFileError, match="imgindex model import"):
            models.resolve(path, folder)
    with pytest.raises(ModelNotFoundError, match="no model file"):
        models.resolve(tmp_path / "absent.onnx", folder)


def test_an_unknown_name_lists_those_there_are(folder: Path) -> None:
    put(folder, "mine")
    with pytest.raises(ModelNotFoundError, match="mine, untrained"):
        models.resolve("yours", folder)
    with pytest.raises(ModelNotFoundError, match="imgindex model pull vgg16-keras"):
        models.resolve("vgg16-keras", folder)


def test_every_model_is_listed_with_its_state(folder: Path, nothing_bundled: Path) -> None:
    put(nothing_bundled.parent / "models", "vgg16-small")
    put(folder, "vgg16-keras", 1)
    (folder / "broken.onnx").write_bytes(b"GIF89a")
    (folder / ".hidden.onnx").write_bytes(small("hidden"))
    rows = {row.name: row for row in models.listed(folder)}
    assert {name: row.state for name, row in rows.items()} == {
        "vgg16-small": "bundled",
        "vgg16-keras": "installed",
        "vgg16-torchvision": "can be pulled",
        "untrained": "built on first use",
    }
    keras = rows["vgg16-keras"]
    assert keras.path == folder / "vgg16-keras.onnx"
    assert keras.card == models.read_card(keras.path)
    assert keras.bytes == keras.path.stat().st_size
    assert rows["untrained"].card is None


def test_a_model_is_found_by_its_fingerprint_whatever_its_name(folder: Path) -> None:
    put(folder, "first", 0)
    path = put(folder, "second", 1)
    fingerprint = models.read_card(path).fingerprint
    path = path.rename(folder / "renamed.onnx")
    assert models.find(fingerprint, folder) == path
    assert models.find("0" * 64, folder) is None


def test_keras_weights_are_imported_by_content(folder: Path, keras: Path, tmp_path: Path) -> None:
    disguised = tmp_path / "my vgg.onnx"
    disguised.write_bytes(keras.read_bytes())
    with pytest.raises(SettingError, match="--name"):
        models.install(disguised, folder)
    path = models.install(
        disguised, folder, name="mine", layer="block2_pool", pooling="gem", size=64, fit="crop"
    )
    card = models.read_card(path)
    assert path == folder / "mine.onnx"
    assert (card.layer, card.pooling, card.size, card.fit) == ("block2_pool", "gem", 64, "crop")
    assert card.scaling.startswith("BGR 0..255 minus 103.939")
    assert (card.source, card.licence, card.trained) == ("my vgg.onnx", "not stated", True)


def test_an_official_file_fetched_elsewhere_is_recognised(
    folder: Path, keras: Path, official: models.Official
) -> None:
    path = models.install(keras, folder)
    card = models.read_card(path)
    assert (path.stem, card.source) == ("vgg16-keras", official.url)
    assert "CC BY 4.0" in card.licence
    assert models.resolve(None, folder) == path


def test_a_name_in_use_is_refused_unless_it_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    path = put(tmp_path / "elsewhere", "mine")
    installed = models.install(path, folder)
    assert models.install(path, folder) == installed
    other = put(tmp_path / "elsewhere", "other", 1)
    with pytest.raises(ModelError, match="another model named mine"):
        models.install(other, folder, name="mine")
    assert models.read_card(installed).fingerprint == models.read_card(path).fingerprint
    with pytest.raises(ModelError, match="untrained"):
        models.install(other, folder, name="untrained")


def test_a_model_of_ours_keeps_its_card_and_takes_no_settings(folder: Path, tmp_path: Path) -> None:
    path = put(tmp_path / "elsewhere", "mine")
    with pytest.raises(SettingError, match="declare none"):
        models.install(path, folder, pooling="max")
    installed = models.install(path, folder, name="renamed")
    wanted = dataclasses.replace(models.read_card(path), name="renamed")
    assert models.read_card(installed) == wanted


def test_a_foreign_network_is_imported_as_declared(folder: Path, tmp_path: Path) -> None:
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["y"])]
    value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    network = helper.make_graph(
        nodes, "net", [value("x", shape=["n", 3, "h", "w"])], [value("y", shape=None)]
    )
    opsets = [helper.make_opsetid("", 17)]
    path = tmp_path / "dino.onnx"
    onnx.save(helper.make_model(network, opset_imports=opsets, ir_version=8), path)
    with pytest.raises(SettingError, match="declare the size"):
        models.install(path, folder)
    scaling = graph.Scaling(0, 255, order="bgr")
    installed = models.install(path, folder, size=32, scaling=scaling, licence="MIT", fit="pad")
    card = models.read_card(installed)
    assert (card.name, card.licence, card.fit, card.layer) == ("dino", "MIT", "pad", "y")
    session = ort.InferenceSession(installed, providers=["CPUExecutionProvider"])
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[..., 0], image[..., 1] = 30, 40
    (row,) = session.run(["embedding"], {"image": image})[0]
    np.testing.assert_allclose(row, [0, 0.8, 0.6], atol=1e-6)


@pytest.mark.parametrize("name", ["../mine", ".mine", "a/b", "", "a b", "x" * 200, "naïve"])
def test_names_are_safe_file_names(folder: Path, tmp_path: Path, name: str) -> None:
    path = put(tmp_path / "elsewhere", "mine")
    if name:
        with pytest.raises(SettingError, match="cannot name a model"):
            models.install(path, folder, name=name)
    else:
        assert models.install(path, folder, name=name).stem == "mine"


def test_a_card_cannot_smuggle_in_a_name(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "evil.onnx"
    path.write_bytes(small("../../evil"))
    with pytest.raises(SettingError, match="cannot name a model"):
        models.install(path, folder)
    with pytest.raises(ModelFileError):
        models.install(tmp_path / "absent.onnx", folder)


def test_pull_fetches_converts_and_leaves_the_model_alone(
    folder: Path, official: models.Official, served: str
) -> None:
    steps: list[int] = []
    path = models.pull(
        "vgg16-keras",
        folder,
        progress=lambda _, done, __: steps.append(done),
        base_url=served,
    )
    assert path == folder / "vgg16-keras.onnx"
    assert [file.name for file in folder.iterdir()] == ["vgg16-keras.onnx"]
    assert steps[-1] == official.size
    card = models.read_card(path)
    assert (card.layer, card.pooling, card.dimension) == ("block5_pool", "average", 512)
    assert card.source == official.url
    assert models.resolve(None, folder) == path
    assert models.pull("vgg16-keras", folder, base_url="http://127.0.0.1:9") == path


@pytest.mark.usefixtures("official")
def test_pull_puts_other_settings_into_the_name(folder: Path, served: str) -> None:
    path = models.pull(
        "vgg16-keras", folder, layer="block1_pool", pooling="gem", size=64, base_url=served
    )
    assert path.name == "vgg16-keras-block1_pool-gem-64.onnx"
    assert models.read_card(path).name == path.stem


def test_pull_refuses_what_is_not_official_or_cannot_be_built(folder: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="vgg16-keras, vgg16-torchvision"):
        models.pull("resnet", folder)
    wrong: tuple[dict[str, Any], ...] = (
        {"layer": "block9"},
        {"size": 8},
        {"layer": "fc1", "size": 64},
        {"pooling": "cls"},
        {"pooling": "median"},
    )
    for options in wrong:
        with pytest.raises(SettingError):
            models.pull("vgg16-keras", folder, base_url="http://127.0.0.1:9", **options)


def test_pull_of_a_damaged_file_leaves_no_model(
    folder: Path, official: models.Official, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = dataclasses.replace(official, md5="0" * 32)
    monkeypatch.setattr(models, "OFFICIAL", (wrong,))
    with pytest.raises(DownloadError, match="0000"):
        models.pull("vgg16-keras", folder, base_url=served)
    assert list(folder.iterdir()) == []


def test_the_official_files_are_those_published() -> None:
    keras, torchvision = models.OFFICIAL
    assert (keras.size, keras.md5) == (58_889_256, "6d6bbae143d832006294945121d1f1fc")
    assert torchvision.sha256 is not None
    # torchvision puts the first eight digits of the checksum into the file's name.
    assert torchvision.url.endswith(f"vgg16-{torchvision.sha256[:8]}.pth")


def test_a_reissued_model_is_checked_even_under_its_own_name(folder: Path, tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(small("mine"))
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    path = tmp_path / "mine.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="other files"):
        models.install(path, folder)
    with pytest.raises(ModelFileError, match="other files"):
        foreign.reissue(path, "mine")


def forged(path: Path, way: str) -> Path:
    """A model with our card that is something else than it says."""
    model = onnx.ModelProto.FromString(small("mine"))
    if way == "elsewhere":
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="w.bin")
    elif way == "input":
        model.graph.input[0].name = "other"
        for node in model.graph.node:
            node.input[:] = ["other" if name == "image" else name for name in node.input]
    elif way == "side":
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 64
    elif way == "numbers":
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 65
    elif way == "opset":
        model.opset_import[0].version = 7
    graph.save(path, model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("elsewhere", "other files"),
        ("input", "does not fit"),
        ("side", "does not fit"),
        ("numbers", "does not fit"),
        ("opset", "opset 7"),
    ],
)
def test_a_card_alone_opens_no_door(folder: Path, tmp_path: Path, way: str, text: str) -> None:
    """Neither by path nor by name, and not by a library's fingerprint either."""
    path = forged(tmp_path / "elsewhere" / "mine.onnx", way)
    with pytest.raises(ModelFileError, match=text):
        models.resolve(path, folder)
    by_hand = forged(folder / "mine.onnx", way)
    assert models.resolve("mine", folder) == by_hand
    with pytest.raises(ModelFileError, match=text):
        models.read_card(by_hand)


@pytest.mark.parametrize(
    "name",
    [
        "x" * 5000,
        "x" * 5000 + ".onnx",
        "a\0b",
        "a\0b.onnx",
        "",
        ".",
        "~nobody-has-this-name/m.onnx",
        "\udcff",
        "\x1b[2J",
        "/dev/null/m.onnx",
    ],
    ids=lambda name: ascii(name)[:30],
)
def test_a_name_that_no_file_can_have_is_told(folder: Path, name: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        models.resolve(name, folder)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_a_models_folder_that_cannot_be_read_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "mine")

    def forbidden(place: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr("os.listdir", forbidden)
    for ask in (partial(models.resolve, "mine"), partial(models.resolve, None), models.listed):
        with pytest.raises(ModelError, match=r"cannot read the models in .*: Permission denied"):
            ask(folder)


def test_a_models_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelError, match="cannot read the models in"):
        models.resolve("mine", tmp_path / "file")


def test_advice_to_pull_is_given_for_official_models_only(folder: Path) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        models.resolve("resnet", folder)
    assert "pull" not in str(caught.value)


@pytest.mark.usefixtures("official")
def test_pull_replaces_a_model_that_was_cut_short(folder: Path, served: str) -> None:
    options: dict[str, Any] = {"layer": "block1_pool", "size": 32, "base_url": served}
    path = models.pull("vgg16-keras", folder, **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert models.pull("vgg16-keras", folder, **options) == path
    assert path.read_bytes() == whole
