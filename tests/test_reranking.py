"""Matches in a better order: a permutation of them, and on the whole a gain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import bench_queries
import numpy as np
import pytest
from benches.regions import regional, regions
from hypothesis import given
from hypothesis import strategies as st
from pictures import jpeg, scene

from imgindex import Library
from imgindex.reranking import POOL, reranked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import Rows

PHOTOS = Path(__file__).parents[2] / "shared" / "photos"


def unit(count: int, dimension: int, seed: int) -> Rows:
    drawn = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


@given(st.integers(1, 60), st.integers(0, 99))
def test_every_match_stays(count: int, seed: int) -> None:
    rows = unit(count + 1, 8, seed)
    assert sorted(reranked(rows[0], rows[1:]).tolist()) == list(range(count))


def classes_of_points(seed: int) -> tuple[Rows, NDArray[np.int64]]:
    """Long thin classes side by side: the nearest to one's end are often of the next class."""
    draw = np.random.default_rng(seed)
    middles = unit(8, 24, seed)
    along = unit(8, 24, seed + 1)
    classes = np.repeat(np.arange(8), 40)
    steps = draw.uniform(-0.9, 0.9, (len(classes), 1)).astype(np.float32)
    rows = middles[classes] + steps * along[classes]
    rows += 0.12 * draw.standard_normal(rows.shape, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), classes


def test_shared_neighbours_bring_more_of_a_kind_to_the_front() -> None:
    rows, classes = classes_of_points(3)
    told = [line.split("mAP ")[1] for line in bench_queries.rerank(rows, classes)]
    cosine, better, _ = (float(one.split(",")[0]) for one in told)
    assert better > cosine + 0.02


def test_the_script_tells_of_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, classes = classes_of_points(4)
    np.savez(tmp_path / "made.npz", rows=rows, classes=classes)
    bench_queries.main(["away", str(tmp_path / "made.npz")])
    out = capsys.readouterr().out
    assert "made: 320 pictures in 8 classes" in out
    assert "  -0.25: P@10 " in out


def test_a_search_puts_the_same_matches_in_another_order(tmp_path: Path, model_file: Path) -> None:
    for seed in range(30):
        (tmp_path / f"{seed}.jpg").write_bytes(jpeg(scene(seed)))
    with Library("memory:", model=model_file) as library:
        library.add([tmp_path])
        query = str(tmp_path / "7.jpg")
        plain = library.search(query, 30).matches
        other = library.search(query, 30, rerank=True).matches
        assert other[0].path == query
        assert {match.id: match.score for match in plain} == pytest.approx(
            {match.id: match.score for match in other}
        )
        assert [match.id for match in plain] != [match.id for match in other]
        pages = [library.search(query, 10, rerank=True, offset=at).matches for at in (0, 10, 20)]
        assert [match.id for page in pages for match in page] == [match.id for match in other]
        assert POOL > 30


def test_regions_of_maps() -> None:
    maps = np.random.default_rng(0).random((5, 7, 7)).astype(np.float32)
    rows = regional(maps)
    assert rows.shape == (14, 5)
    whole = maps.mean(axis=(1, 2))
    np.testing.assert_allclose(rows[0], whole / np.linalg.norm(whole), rtol=1e-5)
    corner = maps[:, :5, :5].mean(axis=(1, 2))
    np.testing.assert_allclose(rows[1], corner / np.linalg.norm(corner), rtol=1e-5)


@pytest.mark.skipif(
    not PHOTOS.is_dir(), reason="needs ../shared/photos, sample pictures that are not kept here"
)
def test_parts_of_photos_are_looked_up_both_ways(model_file: Path) -> None:
    lines = regions(PHOTOS / "clothing" / "hat", str(model_file), pictures=12, parts=4)
    assert len(lines) == 4
    assert lines[0].startswith("parts with 0.7 of each side: whole ")
