"""What the network sees: maps as they should be, shares that add up, sheets that show them."""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import command
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from pictures import exif, jpeg, png, scene, turned
from PIL import Image

from imgindex import Library, foreign, graph, pixels, precision, vgg16
from imgindex.embed import Embedder, outputs, sessions
from imgindex.errors import ExportError, QueryError, SettingError
from imgindex.pixels import heat
from imgindex.records import Explanation, Features, Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARED = Path(__file__).parents[2] / "shared"
PHOTOS = SHARED / "photos"
IMGINDEX = Path(sys.executable).with_name("imgindex")
LABEL: dict[str, Any] = {"name": "toy", "source": "made here", "licence": "CC0-1.0"}

needs_photos = pytest.mark.skipif(
    not PHOTOS.is_dir(), reason="needs ../shared/photos, sample pictures that are not kept here"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(4):
        (folder / f"{seed}.png").write_bytes(png(scene(seed)))
    return folder


def built(path: Path, **options: Any) -> Path:
    told = LABEL | {"layer": "block3_conv3", "size": 64} | options
    weights = told.pop("weights", vgg16.untrained())
    path.write_bytes(vgg16.build(weights, trained=False, **told))
    return path


def opened(model: Path | str) -> Library:
    return Library("memory:", model=model, device="cpu")


def run(*arguments: str | Path, at: Path) -> command.Ran:
    return command.run(*arguments, at=at, code=None, environ={"IMGINDEX_HOME": str(at / "home")})


def convolved(maps: NDArray[Any], kernel: NDArray[Any], bias: NDArray[Any]) -> Any:
    """A 3 x 3 convolution and ReLU of maps [c, h, w], by the definition, in float64."""
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    found = np.einsum("chwij,ocij->ohw", windows, kernel.astype(np.float64))
    return np.maximum(found + bias.astype(np.float64)[:, None, None], 0)


def test_maps_are_those_of_the_definition(model_file: Path, folder: Path) -> None:
    path = folder / "1.png"
    seen = pixels.decode(path.read_bytes(), size=32, fit="squash", max_megapixels=10).pixels
    mean, std = np.array(graph.TORCH.mean), np.array(graph.TORCH.std)
    maps = ((seen / 255 - mean) / std).transpose(2, 0, 1)
    arrays = vgg16.untrained().layers
    with opened(model_file) as library:
        for name in ("block1_conv1", "block1_conv2", "block1_pool", "block2_conv1"):
            if name.endswith("_pool"):
                maps = maps.reshape(len(maps), 16, 2, 16, 2).max((2, 4))
            else:
                maps = convolved(maps, *arrays[name])
            shown = library.features(path, name)
            assert shown.layer == name
            assert shown.maps.shape == maps.shape
            assert shown.maps.dtype == np.float32
            np.testing.assert_allclose(shown.maps, maps, atol=1e-4 * maps.max())
            by_number = {one.channel: one for one in shown.channels}
            assert sorted(by_number) == list(range(len(maps)))
            means = [one.mean for one in shown.channels]
            assert means == sorted(means, reverse=True)
            for at, one in enumerate(maps):
                assert by_number[at].mean == pytest.approx(one.mean(), abs=1e-4)
                assert by_number[at].max == pytest.approx(one.max(), abs=1e-3)


def test_layers_go_by_name_and_by_number(model_file: Path, folder: Path) -> None:
    with opened(model_file) as library:
        names = [name for name in vgg16.CONVOLUTIONS if name < "block4"]
        for number, name in enumerate(names, 1):
            one = library.features(folder / "0.png", number)
            assert one.layer == name
            assert (one.maps == library.features(folder / "0.png", name).maps).all()
        own = library.features(folder / "0.png")
        assert (own.layer, own.maps.shape) == ("block3_pool", (256, 4, 4))
        blocks = library.features_by_block(folder / "0.png")
        assert [one.layer for one in blocks] == ["block1_conv2", "block2_conv2", "block3_conv3"]
        assert [one.maps.shape[0] for one in blocks] == [64, 128, 256]


@settings(max_examples=12)
@given(st.integers(0, 300), st.integers(0, 300))
def test_shares_add_up_to_the_cosine(
    tmp_path_factory: pytest.TempPathFactory, model_file: Path, one: int, other: int
) -> None:
    place = tmp_path_factory.mktemp("pair")
    paths = [place / "a.png", place / "b.png"]
    for path, seed in zip(paths, (one, other), strict=True):
        path.write_bytes(png(scene(seed, 60 + seed % 50, 90 - seed % 40)))
    with opened(model_file) as library:
        found = library.explain(paths[0], paths[1], 5)
        maps = [library.features(path).maps.reshape(256, -1).astype(np.float64) for path in paths]
    assert found.exact
    assert found.map_a.shape == found.map_b.shape == (4, 4)
    assert found.map_a.sum() == pytest.approx(found.score, abs=1e-5)
    assert found.map_b.sum() == pytest.approx(found.score, abs=1e-5)
    # The sum over all pairs of places, one by one.
    lengths = [np.linalg.norm(some.mean(1)) for some in maps]
    pairs = maps[0].T @ maps[1] / (16 * 16 * lengths[0] * lengths[1])
    np.testing.assert_allclose(found.map_a.ravel(), pairs.sum(1), atol=1e-6)
    np.testing.assert_allclose(found.map_b.ravel(), pairs.sum(0), atol=1e-6)
    assert 1 <= len(found.places) <= 5
    shares = [share for place in found.places if (share := place.share) is not None]
    assert shares == sorted(shares, reverse=True)
    assert len(shares) == len(found.places)
    units = [some / np.linalg.norm(some, axis=0) for some in maps]
    cosines = units[0].T @ units[1]
    for pair in found.places:
        p, q = cell(pair.a, found.frame_a), cell(pair.b, found.frame_b)
        assert pair.similarity == pytest.approx(cosines[p, q], abs=1e-5)
        assert pair.share == pytest.approx(pairs[p, q], abs=1e-6)
        assert cosines[p, q] == pytest.approx(cosines[p].max(), abs=1e-9)
        assert cosines[p, q] == pytest.approx(cosines[:, q].max(), abs=1e-9)


def cell(box: tuple[int, int, int, int], frame: Frame) -> int:
    """Which of 4 x 4 places of the whole picture a box is."""
    left, top, right, bottom = box
    assert 0 <= left < right <= frame.width
    assert 0 <= top < bottom <= frame.height
    across, down = (left + right) / 2 / frame.width, (top + bottom) / 2 / frame.height
    return int(down * 4) * 4 + int(across * 4)


def test_the_cosine_is_that_of_search(model_file: Path, folder: Path) -> None:
    with opened(model_file) as library:
        library.add(folder)
        for match in library.search(folder / "2.png", k=4).matches:
            by_path = library.explain(folder / "2.png", match.path)
            assert by_path.score == pytest.approx(match.score, abs=2e-6)
            by_id = library.explain(folder / "2.png", match.id[:12])
            assert (by_id.b, by_id.score) == (match.path, by_path.score)


def test_the_library_s_model_is_taken_unless_another_is_named(
    model_file: Path, other_model_file: Path, folder: Path, tmp_path: Path
) -> None:
    with Library(tmp_path / "lib", model=model_file, device="cpu") as library:
        library.add(folder / "0.png")
    picture = folder / "1.png"
    named = run("features", picture, "-L", "lib", "-m", other_model_file, "--json", at=tmp_path)
    assert named.json["model"] == "other"
    # The library's model is looked for among those installed, which are none here.
    told = run("features", picture, "-L", "lib", "--json", at=tmp_path)
    assert told.code == 1
    assert "the library was built with tiny" in told.err
    installed = tmp_path / "home/models/tiny.onnx"
    installed.parent.mkdir(parents=True)
    installed.write_bytes(model_file.read_bytes())
    own = run("explain", picture, folder / "0.png", "-L", "lib", "--json", at=tmp_path)
    assert own.json["model"] == "tiny"


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(256, 160), (128, 256), (200, 200), (1, 1), (300, 7)])
def test_the_square_lies_where_the_network_looked(fit: Any, size: tuple[int, int]) -> None:
    """In a picture whose red and green tell where one is."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    told = np.stack([x * 255 / max(width - 1, 1), y * 255 / max(height - 1, 1), 0 * x], axis=2)
    image = Image.fromarray(told.astype(np.uint8))
    side = 64
    seen = pixels.decode(png(image), size=side, fit=fit, max_megapixels=1).pixels.astype(float)
    left, top, right, bottom = pixels.square(width, height, side, fit)
    for row, column in ((16, 32), (32, 16), (32, 32), (40, 48)):
        red, green, blue = seen[row, column]
        across = left + (column + 0.5) / side * (right - left)
        down = top + (row + 0.5) / side * (bottom - top)
        if blue > 20:  # padding
            assert not (1 < across < width - 1 and 1 < down < height - 1)
            continue
        assert across == pytest.approx(red * max(width - 1, 1) / 255 + 0.5, abs=0.02 * width + 0.7)
        assert down == pytest.approx(
            green * max(height - 1, 1) / 255 + 0.5, abs=0.02 * height + 0.7
        )


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.sampled_from(["squash", "crop", "pad"]),
    st.integers(1, 28),
    st.data(),
)
def test_boxes_lie_in_the_picture(
    width: int, height: int, fit: Any, grid: int, data: st.DataObject
) -> None:
    frame = Frame(width, height, pixels.square(width, height, 224, fit))
    row, column = data.draw(st.integers(0, grid - 1)), data.draw(st.integers(0, grid - 1))
    box = frame.box(row / grid, column / grid, (row + 1) / grid, (column + 1) / grid)
    if box is None:  # beside the picture, or less than a pixel
        assert fit == "pad" or min(width, height) < 2 * grid
        return
    left, top, right, bottom = box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_places_lie_in_what_the_network_saw(tmp_path: Path, fit: Any) -> None:
    model = built(tmp_path / "fit.onnx", fit=fit)
    (tmp_path / "wide.png").write_bytes(png(scene(8, 200, 60)))
    (tmp_path / "tall.jpg").write_bytes(
        jpeg(turned(scene(8, 50, 170), 6), exif=exif(orientation=6))
    )
    with opened(model) as library:
        found = library.explain(tmp_path / "wide.png", tmp_path / "tall.jpg", 20)
        library.save_explanation(found, tmp_path / "sheet.png")
    assert (found.frame_a.width, found.frame_a.height) == (200, 60)
    assert (found.frame_b.width, found.frame_b.height) == (50, 170)
    assert found.places
    for frame, boxes in (
        (found.frame_a, [place.a for place in found.places]),
        (found.frame_b, [place.b for place in found.places]),
    ):
        seen_left, seen_top, seen_right, seen_bottom = frame.square
        for left, top, right, bottom in boxes:
            assert max(0, round(seen_left)) <= left < right <= min(frame.width, round(seen_right))
            assert max(0, round(seen_top)) <= top < bottom <= min(frame.height, round(seen_bottom))


@pytest.mark.parametrize("pooling", ["max", "gem", "rmac", "none"])
def test_other_poolings_show_similarity_and_say_so(
    folder: Path, tmp_path: Path, pooling: Any
) -> None:
    model = built(tmp_path / "pooled.onnx", pooling=pooling)
    with opened(model) as library:
        found = library.explain(folder / "0.png", folder / "1.png")
        rows = Embedder(model, "cpu").encode(
            np.stack(
                [
                    pixels.decode(
                        (folder / name).read_bytes(), size=64, fit="squash", max_megapixels=1
                    ).pixels
                    for name in ("0.png", "1.png")
                ]
            )
        )
        itself = library.explain(folder / "0.png", folder / "0.png")
        maps = library.features(folder / "0.png").maps
    assert not found.exact
    assert found.layer == "block3_conv3"
    assert maps.shape == (256, 16, 16)
    assert found.score == pytest.approx(float(rows[0] @ rows[1]), abs=2e-6)
    assert all(place.share is None for place in found.places)
    assert found.map_a.max() <= 1 + 1e-6
    np.testing.assert_allclose(itself.map_a, 1, atol=1e-5)
    assert all(place.a == place.b for place in itself.places)
    pair = (folder / "0.png", folder / "1.png")
    told = run("explain", *pair, "-m", model, "-o", "sheet.png", at=tmp_path)
    wrote, note = told.err.splitlines()
    assert wrote == f"wrote {tmp_path / 'sheet.png'}"
    assert "no plain mean" in note
    assert told.text.startswith(f"cosine {found.score:.4f} by toy; places of block3_conv3\nplace ")
    assert len(told.text.splitlines()) == 2 + len(found.places)


def test_a_projection_behind_the_mean_is_not_taken_for_it(folder: Path, tmp_path: Path) -> None:
    drawn = vgg16.untrained()
    matrix = np.random.default_rng(0).standard_normal((256, 256), np.float32)
    arrays = {**drawn.layers, vgg16.PROJECTION: (matrix, np.zeros(256, np.float32))}
    model = built(tmp_path / "p.onnx", weights=graph.Weights(arrays, drawn.scaling))
    with opened(model) as library:
        assert not library.explain(folder / "0.png", folder / "1.png").exact


def test_fine_maps_are_brought_together(folder: Path, tmp_path: Path) -> None:
    model = built(tmp_path / "fine.onnx", layer="block1_conv1", size=100)
    with opened(model) as library:
        found = library.explain(folder / "0.png", folder / "3.png")
    assert found.exact
    assert found.map_a.shape == (28, 28)
    assert found.map_a.sum() == pytest.approx(found.score, abs=1e-5)


def test_models_in_eight_bits_are_looked_into_too(folder: Path, tmp_path: Path) -> None:
    whole = built(tmp_path / "whole.onnx", layer="block3_pool")
    learned = np.stack(
        [
            pixels.decode(path.read_bytes(), size=64, fit="squash", max_megapixels=1).pixels
            for path in sorted(folder.iterdir())
        ]
    )
    small = tmp_path / "small.onnx"
    small.write_bytes(
        precision.eight_bits(whole.read_bytes(), lambda one: outputs(one, learned), name="small")
    )
    with opened(whole) as exact, opened(small) as rounded:
        for layer in ("block1_conv2", "block2_pool", 7, None):
            a, b = (one.features(folder / "1.png", layer) for one in (exact, rounded))
            assert (a.layer, a.maps.shape) == (b.layer, b.maps.shape)
            assert np.abs(a.maps - b.maps).max() < 0.06 * a.maps.max()
            # As the next layer reads them: whole numbers of eight bits.
            assert len(np.unique(a.maps)) > 256 >= len(np.unique(b.maps))
        found = rounded.explain(folder / "0.png", folder / "1.png")
        rows = Embedder(small, "cpu").encode(learned[:2])
    assert found.exact
    assert found.score == pytest.approx(float(rows[0] @ rows[1]), abs=1e-5)
    assert found.map_b.sum() == pytest.approx(found.score, abs=1e-4)


def network(path: Path, tail: list[onnx.NodeProto], output: str, *constants: Any) -> Path:
    """A foreign network: a convolution to ``map`` [n, 5, 4, 4] of 16 pixels, and more."""
    kernel = np.random.default_rng(0).standard_normal((5, 3, 4, 4), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["raw"], strides=[4, 4]),
        helper.make_node("Relu", ["raw"], ["map"]),
        *tail,
    ]
    drawn = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(kernel, "kernel"), *constants],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(drawn, opset_imports=opsets, ir_version=8), path)
    return path


GAP = [
    helper.make_node("GlobalAveragePool", ["map"], ["mean"]),
    helper.make_node("Flatten", ["mean"], ["flat"], axis=1),
]
LAST = [
    helper.make_node("Transpose", ["map"], ["last"], perm=[0, 2, 3, 1]),
    helper.make_node("ReduceMean", ["last"], ["flat"], axes=[1, 2], keepdims=0),
]


@pytest.mark.parametrize(
    ("tail", "output", "layer"),
    [([], "map", "map"), (GAP, "flat", "map"), (LAST, "flat", "last")],
)
def test_foreign_networks_are_explained_by_their_last_map(
    folder: Path, tmp_path: Path, tail: list[onnx.NodeProto], output: str, layer: str
) -> None:
    model = tmp_path / "foreign.onnx"
    model.write_bytes(foreign.adapt(network(tmp_path / "net.onnx", tail, output), **LABEL))
    with opened(model) as library:
        found = library.explain(folder / "0.png", folder / "1.png")
        assert found.exact
        assert found.layer == layer
        assert found.map_a.shape == (4, 4)
        assert found.map_a.sum() == pytest.approx(found.score, abs=1e-5)
        first = library.features(folder / "0.png", 1)
        assert (first.layer, first.maps.shape) == ("map", (5, 4, 4))
        named = library.features(folder / "0.png", "map")
        assert (named.maps == first.maps).all()
        assert (library.features(folder / "0.png").maps == first.maps).all()
        with pytest.raises(SettingError, match="toy is no VGG16 and has no blocks"):
            library.features_by_block(folder / "0.png")
        with pytest.raises(SettingError, match=r"no layer 'nosuch' with maps; it has map"):
            library.features(folder / "0.png", "nosuch")


def test_a_convolution_along_a_line_gives_no_maps(folder: Path, tmp_path: Path) -> None:
    tail = [
        helper.make_node("Reshape", ["map", "shape"], ["line"]),
        helper.make_node("Conv", ["line", "narrow"], ["along"]),
        helper.make_node("Flatten", ["along"], ["flat"], axis=1),
    ]
    shape = numpy_helper.from_array(np.array([-1, 5, 16]), "shape")
    narrow = numpy_helper.from_array(np.ones((2, 5, 3), np.float32), "narrow")
    model = tmp_path / "line.onnx"
    inner = network(tmp_path / "net.onnx", tail, "flat", shape, narrow)
    model.write_bytes(foreign.adapt(inner, **LABEL))
    with opened(model) as library:
        with pytest.raises(SettingError, match="along of toy gives no maps"):
            library.features(folder / "0.png", 2)
        assert [one.name for one in library.layers().layers] == ["map"]
        found = library.explain(folder / "0.png", folder / "1.png")
        assert (found.layer, found.exact) == ("map", False)


def test_networks_of_tokens_are_refused(folder: Path, tmp_path: Path) -> None:
    tokens = [
        helper.make_node("Reshape", ["map", "shape"], ["channels"]),
        helper.make_node("Transpose", ["channels"], ["tokens"], perm=[0, 2, 1]),
    ]
    attention = [
        *tokens,
        helper.make_node("MatMul", ["tokens", "channels"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "tokens"], ["mixed"]),
        helper.make_node("ReduceMean", ["mixed"], ["flat"], axes=[1], keepdims=0),
    ]
    shape = numpy_helper.from_array(np.array([-1, 5, 16]), "shape")
    kinds: list[tuple[Any, str, graph.Pooling | None]]
    kinds = [(tokens, "tokens", "cls"), (attention, "flat", None)]
    for tail, output, pooling in kinds:
        model = tmp_path / f"{output}.onnx"
        inner = network(tmp_path / "net.onnx", tail, output, shape)
        model.write_bytes(foreign.adapt(inner, pooling=pooling, **LABEL))
        with opened(model) as library:
            with pytest.raises(SettingError, match="toy has no maps to look at"):
                library.explain(folder / "0.png", folder / "1.png")
            assert library.features(folder / "0.png", 1).maps.shape == (5, 4, 4)


def test_a_picture_in_which_nothing_is_found(folder: Path, tmp_path: Path) -> None:
    drawn = vgg16.untrained()
    silent = {name: (array * 0, bias * 0) for name, (array, bias) in drawn.layers.items()}
    model = built(tmp_path / "s.onnx", weights=graph.Weights(silent, drawn.scaling))
    with opened(model) as library:
        with pytest.raises(QueryError, match="the model finds nothing in this picture"):
            library.explain(folder / "0.png", folder / "1.png")
        shown = library.features(folder / "0.png")
        for options in ({"top": 3}, {"overlay": True}, {}):
            library.save_features(shown, tmp_path / "s.png", force=True, **options)
    told = run("features", folder / "0.png", "-m", model, at=tmp_path)
    assert "256 of them silent" in told.text


def test_single_maps_are_coloured_from_nothing_to_their_maximum() -> None:
    values = np.array([[0, 1], [2, 4]], np.float32)
    drawn = np.asarray(heat.tile(values, 64))
    assert drawn.shape == (64, 64, 3)
    assert (drawn[:32, :32] == drawn[0, 0]).all()
    light = drawn.astype(int).sum(2)
    assert light[0, 0] < light[0, 63] < light[63, 0] < light[63, 63]
    assert light[0, 0] < 10
    assert light[63, 63] > 600
    silent = np.asarray(heat.tile(np.zeros((7, 7), np.float32), 20))
    assert (silent == drawn[0, 0]).all()
    assert heat.tile(np.ones((200, 200), np.float32), 50).size == (50, 50)


@pytest.mark.parametrize("size", [(90, 60), (60, 90), (60, 60)])
def test_an_overlay_covers_what_was_seen_and_nothing_else(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (120, 120, 120))
    values = np.zeros((4, 4), np.float32)
    values[0] = 1
    for fit in ("crop", "squash", "pad"):
        frame = Frame(2 * size[0], 2 * size[1], pixels.square(2 * size[0], 2 * size[1], 32, fit))
        hot = np.asarray(heat.overlaid(image, values, 0, 1, frame)).astype(int)
        cold = np.asarray(heat.overlaid(image, values * 0, 0, 1, frame)).astype(int)
        changed = np.abs(hot - cold).sum(2) > 60
        left, top, right, bottom = (round(one / 2) for one in frame.square)
        outside = np.ones(size[::-1], bool)
        outside[max(top, 0) : bottom, max(left, 0) : right] = False
        assert not changed[outside].any()
        # Its upper row, where that lies in the picture, and not its lower half.
        row = max(top, 0) if top >= 0 else None
        if row is not None:
            assert changed[row, size[0] // 2]
        assert not changed[-1].any()


def read(path: Path | str) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(Path(path).read_bytes()))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


def shown_of(count: int, side: int) -> Features:
    from imgindex.records import Channel

    maps = np.random.default_rng(0).random((count, side, side), np.float32)
    return Features(
        picture="/there/a very long name of a picture that goes on and on and on and on.jpg",
        model="toy",
        layer="layer",
        channels=tuple(Channel(at, 0.5, 1.0) for at in range(count)),
        maps=maps,
        frame=Frame(96, 72, (0, 0, 96, 72)),
    )


@pytest.mark.parametrize(("count", "side"), [(1, 7), (64, 224), (512, 7), (5, 300)])
@pytest.mark.parametrize("size", [(96, 72), (6, 400), (400, 6)])
def test_sheets_have_room_for_all(count: int, side: int, size: tuple[int, int]) -> None:
    shown = shown_of(count, side)
    picture = png(scene(1, *size))
    for sheet in (
        pixels.maps_sheet(picture, shown, None),
        pixels.maps_sheet(picture, shown, 3),
        pixels.activation_sheet(picture, shown),
    ):
        drawn = np.asarray(Image.open(io.BytesIO(sheet)).convert("RGB"))
        assert 200 < drawn.shape[0] < 2200
        assert 400 < drawn.shape[1] < 2200
        # Nothing runs into the edge.
        for edge in (drawn[:8], drawn[-8:], drawn[:, :8], drawn[:, -8:]):
            assert (edge == 255).all()


@pytest.mark.parametrize("sizes", [((1, 400), (4000, 3)), ((400, 1), (3, 4000))])
def test_thin_pictures_are_explained(
    sizes: tuple[tuple[int, int], ...], tmp_path: Path, model_file: Path
) -> None:
    thin, wide = tmp_path / "thin.png", tmp_path / "wide.png"
    for seed, (file, size) in enumerate(zip((thin, wide), sizes, strict=True)):
        file.write_bytes(png(scene(seed).resize(size)))
    sheet = tmp_path / "sheet.png"
    with opened(model_file) as library:
        found = library.explain(thin, wide)
        assert found.places
        library.save_explanation(found, sheet)
    assert read(sheet).std() > 0


@needs_photos
def test_real_photos_on_real_sheets(tmp_path: Path) -> None:
    """By VGG16 as it is, with 224 pixels and random weights; without a library."""
    photos = sorted((PHOTOS / "grocery").rglob("*.jpg"))[::200][:2]
    told = run(
        *("features", photos[0], "-m", "untrained", "--layer", "block3_conv2", "--top", "16"),
        *("-o", "maps.png", "--json"),
        at=tmp_path,
    )
    record = told.json
    assert list(record) == ["picture", "model", "layer", "shape", "file", "channels"]
    assert record["shape"] == [256, 56, 56]
    assert len(record["channels"]) == 16
    assert set(record["channels"][0]) == {"channel", "mean", "max"}
    assert record["file"] == str(tmp_path / "maps.png")
    assert read(record["file"]).std() > 30
    told = run("features", photos[0], "-m", "untrained", "--all", "-o", "m.png", at=tmp_path)
    assert told.code == 0
    names = [f"m-block{block}.png" for block in range(1, 6)]
    assert told.err.split() == [word for name in names for word in ("wrote", str(tmp_path / name))]
    for name in names:
        assert min(read(tmp_path / name).shape[:2]) > 900
    told = run("explain", *photos, "-m", "untrained", "-o", "two.png", "--json", at=tmp_path)
    record = told.json
    assert list(record) == ["a", "b", "score", "model", "layer", "exact", "places", "file"]
    assert (record["layer"], record["exact"]) == ("block5_pool", True)
    assert 0.5 < record["score"] < 1
    for place in record["places"]:
        assert list(place) == ["a", "b", "similarity", "share"]
        for path, (left, top, right, bottom) in zip(photos, (place["a"], place["b"]), strict=True):
            width, height = Image.open(io.BytesIO(path.read_bytes())).size
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
    assert read(tmp_path / "two.png").std() > 30


def test_what_is_there_is_not_overwritten(folder: Path, tmp_path: Path, model_file: Path) -> None:
    mine = tmp_path / "mine.png"
    mine.write_bytes((folder / "0.png").read_bytes())
    stranger = tmp_path / "stranger.png"
    stranger.write_bytes((folder / "3.png").read_bytes())
    with opened(model_file) as library:
        library.add(folder)
        shown = library.features(mine)
        found = library.explain(mine, folder / "1.png")
        library.save_features(shown, tmp_path / "new.png")
        with pytest.raises(ExportError, match="exists already"):
            library.save_features(shown, tmp_path / "new.png")
        assert library.save_features(shown, tmp_path / "new.png", force=True) == [
            str(tmp_path / "new.png")
        ]
        with pytest.raises(ExportError, match="is a picture of the library"):
            library.save_explanation(found, stranger, force=True)
        # Of several sheets none is drawn where one could not be.
        (tmp_path / "m-block3.png").touch()
        blocks = library.features_by_block(mine)
        with pytest.raises(ExportError, match=r"m-block3\.png exists already"):
            library.save_features(blocks, tmp_path / "m.png")
        assert not (tmp_path / "m-block1.png").exists()
    with opened(model_file) as library, pytest.raises(ExportError, match="is the picture itself"):
        library.save_features(library.features(mine), mine, force=True)
    assert mine.read_bytes() == (folder / "0.png").read_bytes()
    assert stranger.read_bytes() == (folder / "3.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["features", "nosuch.png"], 1, "there is no file nosuch.png"),
        (["features", "."], 1, ". is a folder; give one picture"),
        (["features", "abcdef0123"], 1, "there is no file abcdef0123"),
        (["features", "note.txt"], 1, "cannot read note.txt: not a picture"),
        (["features", "0.png", "--layer", "block9"], 2, "tiny has no layer 'block9' with maps"),
        (["features", "0.png", "--layer", "block4_conv1"], 2, "it has block1_conv1, "),
        (["features", "0.png", "--layer", "fc1"], 2, "no layer 'fc1' with maps"),
        (["features", "0.png", "--layer", "0"], 2, "has the convolutions 1 to 7, not 0"),
        (["features", "0.png", "--layer", "13"], 2, "has the convolutions 1 to 7, not 13"),
        (["features", "0.png", "--layer", "3", "--all"], 2, "choose one of --layer and --all"),
        (["features", "0.png", "--overlay"], 2, "say where with -o"),
        (["features", "0.png", "--overlay", "--top", "3", "-o", "a.png"], 2, "choose one of"),
        (["features", "0.png", "--top", "0"], 2, "--top"),
        (["features", "0.png", "-o", "a.jpg"], 1, "name a file that ends in .png"),
        (["features", "0.png", "-o", "nowhere/a.png"], 1, "there is no folder"),
        (["features", "0.png", "-o", "1.png"], 1, "exists already"),
        (["features", "0.png", "-o", "0.png", "--force"], 1, "is the picture itself"),
        (["explain", "0.png"], 2, "B"),
        (["explain", "0.png", "nosuch.png"], 1, "there is no file nosuch.png"),
        (["explain", "0.png", "note.txt"], 1, "cannot read note.txt"),
        (["explain", "0.png", "1.png", "-k", "0"], 2, "-k"),
        (["explain", "0.png", "1.png", "-o", "1.png", "--force"], 1, "is the picture itself"),
    ],
)
def test_errors_are_one_line_and_a_code(
    tmp_path: Path, model_file: Path, arguments: list[str], code: int, says: str
) -> None:
    for seed in range(2):
        (tmp_path / f"{seed}.png").write_bytes(png(scene(seed)))
    (tmp_path / "note.txt").write_text("hello")
    told = run(*arguments, "--model", model_file, at=tmp_path)
    assert (told.code, told.out) == (code, b""), told.err
    assert says in told.err
    assert "Traceback" not in told.err
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        *("0.png", "1.png", "note.txt"),
    ]


def test_without_a_library_and_a_model_the_ways_are_named(folder: Path, tmp_path: Path) -> None:
    told = run("features", folder / "0.png", at=tmp_path)
    assert told.code == 1
    for way in ("imgindex model pull", "imgindex model import", "--model untrained"):
        assert way in told.err


def test_ids_of_pictures_whose_files_are_gone(
    folder: Path, tmp_path: Path, model_file: Path
) -> None:
    gone = tmp_path / "gone.png"
    gone.write_bytes((folder / "0.png").read_bytes())
    with opened(model_file) as library:
        library.add(tmp_path)
        (match,) = library.search(gone, k=1).matches
        assert library.features(match.id).picture == str(gone)
        with pytest.raises(QueryError, match="no indexed picture has an id like it"):
            library.features("0" * 32)
        other = tmp_path / "other.png"
        other.write_bytes(gone.read_bytes())
        library.add(tmp_path)
        gone.write_bytes((folder / "1.png").read_bytes())  # the first file holds another by now
        assert library.features(match.id).picture == str(other)
        other.unlink()
        with pytest.raises(QueryError, match="can be read: vanished"):
            library.features(match.id)
        gone.unlink()
        with pytest.raises(QueryError, match="can be read: vanished"):
            library.features(match.id)


def test_a_picture_may_come_as_bytes(folder: Path, model_file: Path) -> None:
    one, other = (folder / "0.png").read_bytes(), folder / "1.png"
    with opened(model_file) as library:
        shown, filed = library.features(one, 3), library.features(folder / "0.png", 3)
        assert (shown.picture, shown.data, filed.data) == ("-", one, None)
        assert (shown.maps == filed.maps).all()
        assert shown.frame == filed.frame
        assert library.features_by_block(one)[0].layer == "block1_conv2"
        found, named = library.explain(one, other), library.explain(folder / "0.png", other)
        assert (found.a, found.data_a, found.data_b) == ("-", one, None)
        assert (found.score, found.places) == (named.score, named.places)
        for sheet in (library.draw_features(shown), library.draw_explanation(found)):
            with Image.open(io.BytesIO(sheet)) as image:
                assert image.format == "PNG"
        with pytest.raises(QueryError, match="cannot read -: "):
            library.features(b"no picture")


def test_sheets_are_given_as_they_are_written(
    folder: Path, tmp_path: Path, model_file: Path
) -> None:
    with opened(model_file) as library:
        shown = library.features(folder / "0.png", "block1_conv1")
        every: list[dict[str, Any]] = [{}, {"top": 4}, {"overlay": True}]
        for at, options in enumerate(every):
            library.save_features(shown, tmp_path / f"{at}.png", **options)
            written = (tmp_path / f"{at}.png").read_bytes()
            assert library.draw_features(shown, **options) == written
        found = library.explain(folder / "0.png", folder / "1.png")
        library.save_explanation(found, tmp_path / "found.png")
        assert library.draw_explanation(found) == (tmp_path / "found.png").read_bytes()
        with pytest.raises(SettingError, match="top must be at least 1"):
            library.draw_features(shown, top=0)
        lively = shown.channels[0].channel
        with Image.open(io.BytesIO(library.draw_map(shown, lively))) as image:
            drawn = np.asarray(image)
        assert drawn.shape == (448, 448, 3)  # 14 times 32
        peak = np.unravel_index(shown.maps[lively].argmax(), (32, 32))
        hottest = heat.coloured(np.ones((1, 1)))[0, 0]
        assert (drawn[14 * peak[0] + 7, 14 * peak[1] + 7] == hottest).all()
        assert (drawn[::14, ::14] == drawn[13::14, 13::14]).all()
        with (
            Image.open(io.BytesIO(library.draw_overlay(shown))) as over,
            Image.open(folder / "0.png") as whole,
        ):
            assert over.format == "PNG"
            assert max(over.size) == 800
            assert over.width * whole.height == pytest.approx(over.height * whole.width, rel=0.01)
            colours = np.asarray(over.convert("RGB"), int)
        assert np.ptp(colours, axis=2).max() > 60  # the picture is grey below it
        for channel in (-1, 64):
            with pytest.raises(SettingError, match=f"channels 0 to 63, not {channel}"):
                library.draw_map(shown, channel)


def test_layers_are_listed_with_their_shapes(
    folder: Path, tmp_path: Path, model_file: Path
) -> None:
    with opened(model_file) as library:
        told = library.layers()
        assert (told.model, told.last) == ("tiny", "block3_pool")
        assert told.blocks == ("block1_conv2", "block2_conv2", "block3_conv3")
        assert [one.name for one in told.layers if one.convolution] == [
            name for name in vgg16.CONVOLUTIONS if name < "block4"
        ]
        assert [one.convolution for one in told.layers if one.convolution] == [*range(1, 8)]
        for one in told.layers:
            shape = library.features(folder / "0.png", one.name).maps.shape
            assert (one.channels, one.height, one.width) == shape
    path = tmp_path / "foreign.onnx"
    path.write_bytes(foreign.adapt(network(tmp_path / "net.onnx", LAST, "flat"), **LABEL))
    with opened(path) as library:
        told = library.layers()
        last = library.features(folder / "0.png").layer
        assert (told.blocks, told.last) == ((), last)
        assert [(one.name, one.convolution) for one in told.layers] == [("map", 1)]
        assert (told.layers[0].channels, told.layers[0].height) == (5, 4)


def test_the_model_is_loaded_once(
    folder: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = sessions.load

    def counted(*given: Any) -> Any:
        loaded.append(given)
        return load(*given)

    monkeypatch.setattr(sessions, "load", counted)
    with opened(model_file) as library:
        pictures = [folder / f"{at}.png" for at in range(4)]
        with ThreadPoolExecutor(4) as threads:
            shown = list(threads.map(library.features, pictures, ["block1_conv1", 2, 3, None]))
        library.explain(pictures[0], pictures[1])
        library.features_by_block(pictures[0])
        assert len(loaded) == 1
        for one, picture in zip(shown, pictures, strict=True):
            assert (library.features(picture, one.layer).maps == one.maps).all()
        library.close()
        library.features(pictures[0])
        assert len(loaded) == 2


def test_settings_out_of_range(folder: Path, tmp_path: Path, model_file: Path) -> None:
    with opened(model_file) as library:
        with pytest.raises(SettingError, match="k must be at least 1"):
            library.explain(folder / "0.png", folder / "1.png", 0)
        shown = library.features(folder / "0.png")
        with pytest.raises(SettingError, match="top must be at least 1"):
            library.save_features(shown, tmp_path / "a.png", top=0)
        found: Explanation = library.explain(folder / "0.png", folder / "1.png", 1)
        assert len(found.places) == 1


def test_info_reads_like_a_summary(tmp_path: Path, model_file: Path) -> None:
    told = run("model", "info", model_file, at=tmp_path).text
    rows = [line.split("  ") for line in told.partition("\n\n")[2].splitlines()]
    names = [row[0] for row in rows]
    assert names[:3] == ["layer", "image", "block1_conv1"]
    assert names[-3:-1] == ["block3_pool", "embedding (average pooling)"]
    assert "64 x 32 x 32" in told
    wanted = sum(layer.parameters for layer in vgg16.layers(32)[:10])
    assert wanted == 1_735_488
    assert told.splitlines()[-1].startswith(
        "1,735,488 parameters in 7 layers, as float32; the file"
    )
    said = run("model", "info", model_file, "--json", at=tmp_path).json
    assert said["layers"][0] == {"name": "block1_conv1", "shape": [64, 32, 32], "parameters": 1792}
