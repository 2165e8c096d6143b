"""Training our own network: its pure pieces, on made-up pictures. For developers."""

from __future__ import annotations

import dataclasses
import io
import itertools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from imgindex.pixels import decode

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from imgindex import graph

torch = pytest.importorskip("torch", reason="needs torch, which only training needs")

from training import (  # noqa: E402 - only where torch is
    augment,
    data,
    export,
    losses,
    measure,
    network,
    plan,
    rounding,
    train,
)

CPU = torch.device("cpu")
SIDE = 32


def generator(seed: int = 0) -> Any:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, side: int = SIDE, seed: int = 0) -> NDArray[np.uint8]:
    """Soft blobs: noise alone has no neighbours worth keeping."""
    small = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), np.uint8)
    rows = [Image.fromarray(row).resize((side, side), Image.Resampling.BICUBIC) for row in small]
    return np.stack([np.asarray(row) for row in rows])


def files(count: int, shape: tuple[int, int] = (40, 30)) -> list[bytes]:
    made = []
    for row in pictures(count, 64):
        file = io.BytesIO()
        Image.fromarray(row).resize(shape).save(file, "PNG")
        made.append(file.getvalue())
    return made


def pool(sets: dict[str, int], each: int = 2) -> data.Pool:
    pairs = [
        (name, f"{name}{label}")
        for name, labels in sets.items()
        for label, _ in itertools.product(range(labels), range(each))
    ]
    names, labels = zip(*pairs, strict=True)
    return data.Pool(
        files(len(pairs)), np.array(names), np.array(labels), np.arange(len(pairs), dtype=np.intp)
    )


@pytest.fixture(scope="module")
def learned() -> Any:
    """Features whose batch normalisation has seen something."""
    torch.manual_seed(0)
    features = network.features()
    for module in features:
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
            torch.nn.init.normal_(module.running_mean, std=0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return features.eval()


@pytest.fixture(scope="module")
def weights(learned: Any) -> graph.Weights:
    return network.fold(learned)


def choice(pooling: graph.Pooling = "average") -> measure.Choice:
    return measure.Choice(SIDE, "squash", pooling, "none", {"mean": 0.5})


def test_folded_weights_say_what_the_network_said(learned: Any, weights: graph.Weights) -> None:
    images = pictures(4)
    views = network.scaled(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    with torch.no_grad():
        wanted = network.descriptors(learned(views)).numpy()
        plain = network.descriptors(network.plain(weights)(views)).numpy()
    ours = export.described(export.whole(weights, choice(), None), images)
    np.testing.assert_allclose(plain, wanted, atol=1e-5)
    np.testing.assert_allclose(ours, wanted, atol=1e-5)


@pytest.mark.parametrize("pooling", ["average", "max", "gem", "rmac"])
def test_poolings_are_those_of_the_graph(weights: graph.Weights, pooling: graph.Pooling) -> None:
    images = pictures(3, 96)
    views = network.scaled(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    with torch.no_grad():
        rows = measure.pooled(network.plain(weights)(views))[pooling].numpy()
    used = dataclasses.replace(choice(pooling), size=96)
    ours = export.described(export.whole(weights, used, None), images)
    np.testing.assert_allclose(ours, rows, atol=1e-5)


@pytest.mark.parametrize("kind", ["half", "full"])
def test_whitening_inside_the_graph_is_the_one_that_was_fitted(
    weights: graph.Weights, kind: measure.Whitening
) -> None:
    random = torch.randn((900, 512), generator=generator()).abs()
    matrix, offset = measure.whitening(torch.nn.functional.normalize(random), kind)
    images = pictures(3)
    rows = export.described(export.whole(weights, choice(), None), images)
    wanted = rows @ matrix.T + offset
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    ours = export.described(export.whole(weights, choice(), (matrix, offset)), images)
    np.testing.assert_allclose(ours, wanted, atol=1e-4)


def test_full_whitening_makes_directions_alike() -> None:
    scale = torch.logspace(0, -1, 8)
    rows = torch.randn((5000, 8), generator=generator()) * scale + 3
    matrix, offset = measure.whitening(rows, "full")
    white = rows.numpy() @ matrix.T + offset
    assert np.abs(white.mean(0)).max() < 1e-3
    spread = white.var(0)
    assert spread.max() / spread.min() < 4


def test_rounding_in_torch_is_what_the_small_model_does(weights: graph.Weights) -> None:
    images = pictures(16)
    small = export.eight_bits(export.whole(weights, choice(), None), images)
    features = network.plain(weights)
    views = network.scaled(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    with torch.no_grad():
        maps = rounding.seen(features, views, rounding.ranges(features, views))
    rows = network.descriptors(maps).numpy()
    whole = export.described(export.whole(weights, choice(), None), images)
    ours = export.described(small, images)
    # As far from the whole model; the small one's biases then make up for some of it.
    away = [1 - (one * whole).sum(1).mean() for one in (rows, ours)]
    assert away[1] < away[0] < 4 * away[1]


def test_squares_are_those_of_the_index() -> None:
    for image, fit in itertools.product(files(1, (90, 60)), ("squash", "crop", "pad")):
        wanted = decode(image, size=48, fit=fit, max_megapixels=1).pixels  # type: ignore[arg-type]
        ours = data.squares([image], 48, fit)  # type: ignore[arg-type]
        np.testing.assert_array_equal(ours[0], wanted)


def test_kept_out_classes_are_never_trained_on() -> None:
    whole = pool(dict.fromkeys((*data.PARTED, *data.UNSEEN, "clothing"), 6))
    learn, apart = data.split(whole, 0)
    assert set(apart) == {*data.PARTED, *data.UNSEEN}
    for held in apart.values():
        assert not {*held.labels.tolist()} & {*learn.labels.tolist()}
    assert len(learn) + sum(map(len, apart.values())) == len(whole)
    again = data.split(whole, 0)[1]
    assert all((again[name].rows == held.rows).all() for name, held in apart.items())


def test_classes_of_a_set_are_neighbours() -> None:
    whole = pool({"tiny_imagenet": 3, "clothing": 2, "imagenet": 3})
    targets, spans = data.classes(whole)
    assert (targets >= spans[:, 0]).all()
    assert (targets < spans[:, 1]).all()
    assert {tuple(row) for row in spans.tolist()} == {(0, 2), (2, 8)}


def test_views_are_of_their_size_and_repeatable() -> None:
    pixels = torch.from_numpy(pictures(9, 64))
    aspects = torch.linspace(0.5, 2, 9)
    views = augment.views(pixels, aspects, 48, generator(1))
    assert views.shape == (9, 3, 48, 48)
    assert views.dtype == torch.float32
    assert 0 <= float(views.min()) <= float(views.max()) <= 1
    assert torch.equal(views, augment.views(pixels, aspects, 48, generator(1)))
    assert not torch.equal(views, augment.views(pixels, aspects, 48, generator(2)))


def test_jpeg_in_torch_is_about_what_pillow_keeps() -> None:
    image = pictures(1, 64)[0]
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=50, subsampling=0)
    theirs = np.asarray(Image.open(file)).astype(float)
    views = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    # Pillow's quality 50 is the standard's tables as they stand; ours leaves out the level shift.
    ours = augment.jpeg(views, torch.ones(1))[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(ours - theirs).mean() < 2
    assert np.abs(ours - image).mean() > 0.5


def test_mixed_views_lose_their_label() -> None:
    views = torch.rand((64, 3, 8, 8), generator=generator())
    made, mixed = augment.mix(views, generator())
    assert torch.equal(made[~mixed], views[~mixed])
    assert not torch.isclose(made[mixed], views[mixed]).all()
    assert 4 < int(mixed.sum()) < 32


def test_the_rate_rises_falls_and_ends_at_nothing() -> None:
    wanted = plan.Plan(1000, 1024, (96, 128, 160), 0)
    rates = [wanted.rate(step) for step in range(1000)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(1e-3)
    assert np.all(np.diff(rates[:top]) > 0)
    assert np.all(np.diff(rates[top + 1 :]) < 0)
    assert rates[-1] < 1e-8
    assert [wanted.size(step) for step in (0, 499, 500, 899, 900, 999)] == [
        96,
        96,
        128,
        128,
        160,
        160,
    ]
    assert wanted.marked(1000)
    assert sum(wanted.marked(done) for done in range(1, 1001)) == 20


def test_steps_fill_the_time() -> None:
    sizes = (96, 128, 160)
    each = {96: 0.1, 128: 0.2, 160: 0.3}
    steps = plan.steps_in(600, each, sizes)
    spent = sum(each[plan.Plan(steps, 1, sizes, 0).size(step)] for step in range(steps))
    assert spent == pytest.approx(600, rel=0.01)


def test_labels_are_judged_inside_their_set() -> None:
    targets, spans = torch.tensor([1]), torch.tensor([[0, 2]])
    known = torch.tensor([True])
    low = losses.labels(torch.tensor([[0.0, 5.0, 0.0]]), targets, spans, known)
    high = losses.labels(torch.tensor([[0.0, 5.0, 99.0]]), targets, spans, known)
    assert torch.equal(low, high)
    nothing = losses.labels(torch.tensor([[0.0, 5.0, 0.0]]), targets, spans, ~known)
    assert float(nothing) == 0


def test_likeness_is_least_where_the_teacher_agrees() -> None:
    codes = torch.nn.functional.normalize(torch.randn((32, 160), generator=generator()))
    targets, known = torch.zeros(32, dtype=torch.long), torch.zeros(32, dtype=torch.bool)
    other = torch.nn.functional.normalize(torch.randn((32, 160), generator=generator(1)))
    same = losses.likeness(codes, codes, 10.0, targets, known)
    assert float(same) == pytest.approx(0, abs=1e-5)
    assert float(losses.likeness(other, codes, 10.0, targets, known)) > 0.01


def test_precision_leaves_the_picture_itself_out() -> None:
    rows = torch.eye(22)[torch.arange(22) // 11]
    assert measure.precision(rows, torch.arange(22) // 11) == 1
    assert measure.precision(rows, torch.arange(22)) == 0


def test_the_choice_is_the_smallest_of_equals() -> None:
    choices = [
        dataclasses.replace(choice(), size=size, scores={"mean": mean})
        for size, mean in ((96, 0.5), (160, 0.598), (224, 0.6))
    ]
    assert measure.best(choices).size == 160
    assert "(chosen)" in measure.table(choices, choices[1], {"mean": 0.7})


class Stub:
    """A teacher that sees mean colours, and validation that looks at nothing."""

    teachers = {"mean": 1.0}  # noqa: RUF012 - as the real one has it

    def __call__(self, views: Any) -> tuple[Any, Any]:
        colour = views.mean((2, 3))
        return colour.repeat(1, 20), colour.repeat(1, 400)[:, : network.CLASSES]

    def code(self, feature: Any) -> Any:
        return torch.nn.functional.normalize(feature.repeat(1, 3)[:, : network.CODE])

    def score(self, *_: Any) -> dict[str, float]:
        return {"mean": 0.5}


def lesson() -> Any:
    pixels = (torch.from_numpy(pictures(12, 64)), torch.from_numpy(pictures(6, 160, 1)))
    shapes = tuple(torch.ones(len(part)) for part in pixels)
    targets = tuple(torch.arange(len(part)) % 3 for part in pixels)
    spans = tuple(torch.tensor([[0, 3]]).repeat(len(part), 1) for part in pixels)
    material = train.Material(pixels, shapes, targets, spans, 3)
    return train.Lesson(material, Stub(), Stub(), CPU)  # type: ignore[arg-type]


def begun(steps: int) -> train.Run:
    run = train.Run.begin(3, CPU, 0)
    run.plan = plan.Plan(steps, 8, (SIDE, SIDE, SIDE), 0)
    return run


def test_a_stopped_run_goes_on_as_if_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    straight = begun(6)
    assert train.go_on(straight, lesson(), tmp_path / "other.pt", float("inf"))
    stopped = begun(6)
    moments = itertools.count()
    monkeypatch.setattr(
        train,
        "time",
        SimpleNamespace(monotonic=lambda: next(moments), perf_counter=lambda: float(next(moments))),
    )
    assert not train.go_on(stopped, lesson(), path, 12)
    assert 0 < stopped.step < 6
    resumed = train.Run.begin(3, CPU, 99)
    resumed.load(path, CPU)
    assert resumed.plan == straight.plan
    assert train.go_on(resumed, lesson(), path, float("inf"))
    kinds = list(losses.SHARES)
    curves = [[[row[kind] for kind in kinds] for row in run.curve] for run in (straight, resumed)]
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-3)


def test_timing_changes_nothing() -> None:
    run = begun(3)
    before = {name: value.clone() for name, value in run.pupil.state_dict().items()}
    assert run.plan is not None
    assert train.timed(run, lesson(), run.plan, run.pupil.features) > 0
    assert run.step == 0
    after = run.pupil.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_plan_leaves_time_for_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: next(moments))
    monkeypatch.setattr(train, "time", clock)
    monkeypatch.setattr(train, "timed", lambda *_: 0.1)
    run = begun(1)
    assert run.plan is not None
    # Twenty validations of a second, and a twentieth to spare.
    assert train.planned(run, lesson(), run.plan, 100).steps == 750


def test_the_running_mean_reaches_back_a_twentieth_of_the_run() -> None:
    wanted = plan.Plan(4000, 1024, (96, 128, 160), 0)
    assert wanted.averaging(0) == pytest.approx(0.1)
    assert wanted.averaging(3999) == pytest.approx(1 - 1 / 200)


def test_a_loss_that_is_no_number_is_not_saved(tmp_path: Path) -> None:
    run = begun(2)
    with torch.no_grad():
        run.pupil.sharpness.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="the loss is nan at step 1"):
        train.go_on(run, lesson(), tmp_path / "checkpoint.pt", float("inf"))
    assert not (tmp_path / "checkpoint.pt").exists()
