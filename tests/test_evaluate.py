"""The measures against their definitions, and ``scripts/evaluate.py`` end to end."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import command
import demo_pictures
import evaluate as script
import measures
import numpy as np
import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st
from measures import DEPTHS
from PIL import Image
from sklearn.metrics import average_precision_score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import Rows

ROOT = Path(__file__).parents[1]
PHOTOS = ROOT.parent / "shared/photos"

SUMMARY = [
    *("folder", "pictures", "classes", "alone", "ambiguous", "loose", "skipped"),
    *("chance", "best", "min_cluster_size", "min_samples", "space", "models"),
]
FIGURES = [
    *("model", "dimension", "images_per_second", "precision_at_1", "precision_at_10"),
    *("precision_at_10_interval", "over_first", "over_first_interval", "mean_average_precision"),
    *("recall", "hit_rate", "grouping", "classes"),
]


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Rows, NDArray[np.int64]]:
    """Unit rows and their classes, each class at least once."""
    count = draw(st.integers(2, 150))
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = chance.standard_normal((count, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    named = chance.integers(0, draw(st.integers(1, count)), count)
    return rows.astype(np.float32), np.unique(named, return_inverse=True)[1]


@given(labelled())
def test_ranks_as_defined(made: tuple[Rows, NDArray[np.int64]]) -> None:
    rows, classes = made
    ranking = measures.rank(rows, classes)
    assert ranking.queries.tolist() == [
        at for at, own in enumerate(classes) if (classes == own).sum() > 1
    ]
    for at, query in enumerate(ranking.queries):
        others = [other for other in range(len(rows)) if other != query]
        cosine = {other: float(rows[query].astype(float) @ rows[other]) for other in others}
        order = sorted(others, key=lambda other: -cosine[other])
        right = [bool(classes[other] == classes[query]) for other in order]
        assert ranking.right[at] == sum(right)
        assert ranking.found[at].tolist() == [sum(right[:depth]) for depth in DEPTHS]
        expected = np.mean(
            [sum(right[: rank + 1]) / (rank + 1) for rank, one in enumerate(right) if one]
        )
        assert ranking.precision[at] == pytest.approx(expected)
        asked = average_precision_score(
            [classes[other] == classes[query] for other in others], [cosine[o] for o in others]
        )
        assert ranking.precision[at] == pytest.approx(asked)


def test_ranks_by_hand() -> None:
    # On a circle, at these degrees; each looks for the nearest angle.
    degrees = np.radians([0, 10, 25, 45, 70])
    rows = np.stack([np.cos(degrees), np.sin(degrees)], axis=1).astype(np.float32)
    ranking = measures.rank(rows, np.array([0, 1, 0, 0, 2]))
    assert ranking.queries.tolist() == [0, 2, 3]
    assert ranking.right.tolist() == [2, 2, 2]
    # 0 meets 10 x, 25, 45, 70 x; 25 meets 10 x, 45, 0, 70 x; 45 meets 25, 70 x, 10 x, 0.
    assert ranking.found[:, :2].tolist() == [[0, 2], [0, 2], [1, 2]]
    half, most = (1 / 2 + 2 / 3) / 2, (1 + 2 / 4) / 2
    assert ranking.precision == pytest.approx([half, half, most])


def test_blocks_do_not_show() -> None:
    chance = np.random.default_rng(3)
    rows = chance.standard_normal((700, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    classes = chance.integers(0, 9, 700)
    told: list[tuple[str, int, int]] = []
    whole = measures.rank(rows.astype(np.float32), classes, lambda *report: told.append(report))
    assert told == [("rank", 256, 700), ("rank", 512, 700), ("rank", 700, 700)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "_BLOCK", 7)
        parts = measures.rank(rows.astype(np.float32), classes)
    np.testing.assert_array_equal(whole.found, parts.found)
    np.testing.assert_allclose(whole.precision, parts.precision)


def test_the_interval_is_that_of_drawing_one_by_one() -> None:
    chance = np.random.default_rng(5)
    values = chance.integers(0, 11, 300) / 10
    means = chance.choice(values, (20_000, 300)).mean(axis=1)
    low, high = measures.interval(values)
    assert (low, high) == pytest.approx(np.quantile(means, (0.025, 0.975)), abs=0.003)
    assert measures.interval(values) == (low, high)
    assert measures.interval(np.full(40, 0.5)) == (0.5, 0.5)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    chance = np.random.default_rng(6)
    held = 0
    for _ in range(400):
        low, high = measures.interval(chance.binomial(10, 0.3, 300) / 10)
        held += low <= 0.3 <= high
    assert 0.92 <= held / 400 <= 0.98


def pairs_ari(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """The adjusted Rand index by counting pairs."""
    upper = np.triu_indices(len(one), 1)
    a = (one[:, None] == one)[upper]
    b = (other[:, None] == other)[upper]
    expected = a.sum() * b.sum() / len(a)
    return float(((a & b).sum() - expected) / ((a.sum() + b.sum()) / 2 - expected))


def test_agreement_by_hand_and_by_pairs() -> None:
    classes = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    labels = np.array([0, 0, 1, 1, 1, -1, -1, -1], np.int32)
    found = measures.agreement(classes, labels)
    assert (found.groups, found.noise) == (2, 3 / 8)
    assert found.ari == pytest.approx(pairs_ari(classes, labels.astype(np.int64)))
    kept = labels >= 0
    assert found.ari_grouped == pytest.approx(
        pairs_ari(classes[kept], labels[kept].astype(np.int64))
    )
    same = measures.agreement(classes, classes.astype(np.int32))
    assert (same.ari, same.ami, same.ari_grouped, same.ami_grouped) == pytest.approx((1, 1, 1, 1))


def test_agreement_where_all_is_noise() -> None:
    found = measures.agreement(np.array([0, 0, 1]), np.full(3, -1, np.int32))
    assert (found.groups, found.noise) == (0, 1.0)
    assert (found.ari, found.ami_grouped, found.ari_grouped) == (0.0, None, None)


def evaluate(*arguments: str | Path, code: int = 0) -> command.Ran:
    ran = command.run(*arguments, code=code, program=script.program)
    assert "Traceback" not in ran.err
    return ran


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drawn classes of six, one of them deeper, and what else lies about in real life."""
    tree = tmp_path_factory.mktemp("tree")
    places = {
        demo_pictures.night: "night",
        demo_pictures.bricks: "town/bricks",
        demo_pictures.balloons: "balloons",
    }
    for draw, place in places.items():
        (tree / place).mkdir(parents=True)
        for number in range(6):
            chance = random.Random(f"{place} {number}")  # noqa: S311 - a drawing
            image = Image.new("RGB", (96, 72))
            draw(image, chance)
            image.save(tree / place / f"{number}.png")
    (tree / "lonely").mkdir()
    (tree / "lonely/only.png").write_bytes(pictures.png())
    (tree / "loose.png").write_bytes(pictures.png(pictures.scene(1)))
    shutil.copy(tree / "night/0.png", tree / "also loose, but known.png")
    shutil.copy(tree / "night/1.png", tree / "town/bricks/night.png")
    (tree / "balloons/broken.png").write_bytes(b"\x89PNG")
    return tree


def test_every_figure_of_a_small_tree(tree: Path, model_file: Path, tmp_path: Path) -> None:
    asked = (tree, "--model", "untrained", "-m", model_file, "-L", tmp_path / "new/kept", "--json")
    told: dict[str, Any] = evaluate(*asked, code=3).json
    assert list(told) == SUMMARY
    assert told["folder"] == str(tree)
    counts = ("pictures", "classes", "alone", "ambiguous", "loose")
    assert [told[key] for key in counts] == [19, 4, 1, 1, 1]
    (skipped,) = told["skipped"]
    assert skipped["path"].endswith("broken.png")
    assert told["chance"] == pytest.approx(5 / 18)
    assert told["best"] == pytest.approx(0.5)
    first, second = told["models"]
    assert [first["model"], second["model"]] == ["untrained", "tiny"]
    assert [first["dimension"], second["dimension"]] == [512, 256]
    assert first["over_first"] == 0
    assert first["over_first_interval"] == [0, 0]
    for one in told["models"]:
        assert list(one) == FIGURES
        assert one["images_per_second"] > 0
        assert list(one["recall"]) == list(one["hit_rate"]) == [str(depth) for depth in DEPTHS]
        assert one["recall"]["50"] == one["hit_rate"]["50"] == 1
        assert one["precision_at_1"] == one["hit_rate"]["1"] > 0.8
        low, high = one["precision_at_10_interval"]
        assert low <= one["precision_at_10"] <= high <= told["best"]
        assert one["mean_average_precision"] > 0.6
        named = [(each["name"], each["pictures"]) for each in one["classes"]]
        bricks = str(Path("town/bricks"))
        assert named == [("balloons", 6), ("lonely", 1), ("night", 6), (bricks, 6)]
        assert one["classes"][1]["precision_at_10"] is None
        mean = sum(each["mean_average_precision"] or 0 for each in one["classes"]) / 3
        assert one["mean_average_precision"] == pytest.approx(mean)
    gained = second["precision_at_10"] - first["precision_at_10"]
    assert second["over_first"] == pytest.approx(gained)

    again = evaluate(*asked, code=3).json
    for one in (*told["models"], *again["models"]):
        one["images_per_second"] = None
    assert again == told


def test_what_is_kept_is_not_embedded_again(tree: Path, model_file: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(tree, tmp_path / "mine")
    (mine / "balloons/broken.png").unlink()
    asked = ("--model", model_file, "--library", tmp_path / "kept", "--json")
    assert evaluate(mine, *asked).json["models"][0]["images_per_second"]
    shutil.rmtree(mine / "night")
    (mine / "also loose, but known.png").unlink()
    told = evaluate(mine, *asked).json
    assert (told["pictures"], told["classes"]) == (14, 3)  # the night among the bricks is one now
    assert told["models"][0]["images_per_second"] is None
    # Another folder does not mix with the first.
    other = shutil.copytree(mine / "balloons", tmp_path / "other/balloons").parent
    shutil.copytree(mine / "town", other / "town")
    assert evaluate(other, *asked).json["pictures"] == 13


def test_tables_for_a_person(tree: Path, model_file: Path) -> None:
    done = evaluate(tree, "-m", model_file, "-m", model_file, "--classes", code=3)
    assert done.err == ""
    told = done.text
    assert told.startswith("19 pictures in 4 classes\n1 picture without another in the class")
    assert "P@10 by chance 0.278, without a mistake 0.500\n" in told
    for title in ("search", "share found", "any found", "groups", "class"):
        assert f"\n\n{title} " in told, told
    assert told.count("+0.000 to +0.000") == 1  # the second against the first, which is the same
    assert f"\n{Path('town/bricks')} " in told
    assert "1 file skipped:\n" in told
    assert "\n\nclass " not in evaluate(tree, "-m", model_file, code=3).text


def test_denser_groups_are_told(tree: Path, model_file: Path) -> None:
    asked = (tree, "-m", model_file, "--min-cluster-size", "2", "--min-samples", "1", "--json")
    told = evaluate(*asked, code=3).json
    assert (told["min_cluster_size"], told["min_samples"]) == (2, 1)
    assert told["models"][0]["grouping"]["groups"] >= 2


def test_errors_are_told_in_a_line(tree: Path, model_file: Path, tmp_path: Path) -> None:
    def refused(*arguments: str | Path, code: int = 1) -> str:
        done = evaluate(*arguments, "--json", code=code)
        assert done.out == b""
        return done.err

    empty = tmp_path / "empty"
    empty.mkdir()
    assert "0 pictures in 0 folders" in refused(empty, "-m", model_file)
    assert "give one with a folder for each class" in refused(tree / "night", "-m", model_file)
    assert "7 pictures in 1 folder below it;" in refused(tree / "town", "-m", model_file)
    singles = tmp_path / "singles"
    for number in range(3):
        (singles / str(number)).mkdir(parents=True)
        (singles / f"{number}/one.png").write_bytes(pictures.png(pictures.scene(number)))
    assert "3 pictures in 3 folders" in refused(singles, "-m", model_file)
    assert "there is no folder" in refused(tmp_path / "nowhere", code=2)
    assert "there is no folder" in refused(tree / "loose.png", code=2)
    assert "'nothing'" in refused(tree, "-m", model_file, "-m", "nothing")
    assert "no trained model is here" in refused(tree)
    refused(tree, "--min-cluster-size", "1", code=2)


@pytest.mark.skipif(
    not PHOTOS.is_dir(), reason="needs ../shared/photos, sample pictures that are not kept here"
)
def test_real_photos(model_file: Path) -> None:
    told = evaluate(PHOTOS, "-m", model_file, "--json").json
    assert (told["pictures"], told["classes"], told["best"]) == (1035, 44, 1)
    (one,) = told["models"]
    low, high = one["precision_at_10_interval"]
    assert 3 * told["chance"] < low < high < 1
    assert high - low < 0.04
