"""HDBSCAN against the hdbscan package's public class, against scipy, and against its definition."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import hdbscan
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import minimum_spanning_tree  # type: ignore[import-untyped]  # no stubs

from imgindex.errors import SettingError
from imgindex.grouping import Clusters, cluster
from imgindex.grouping.condensed_tree import select
from imgindex.grouping.hdbscan import by_size, medoids
from imgindex.grouping.mutual_reachability import core_distances, distances
from imgindex.grouping.spanning_tree import spanning_tree
from imgindex.records import no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import Rows


def unit(rows: NDArray[np.float64]) -> Rows:
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def mixture(
    seed: int,
    sizes: tuple[int, ...] = (60, 40, 30, 25),
    noise: int = 40,
    spread: float = 0.12,
    dimension: int = 12,
) -> Rows:
    """Blobs of different size and density on the sphere, and points spread over it, shuffled."""
    generator = np.random.default_rng(seed)
    parts = [generator.normal(size=(noise, dimension))]
    for at, size in enumerate(sizes):
        centre = generator.normal(size=dimension)
        centre /= np.linalg.norm(centre)
        width = spread * (1 + at / 2)
        parts.append(centre + width * generator.normal(size=(size, dimension)))
    return unit(generator.permutation(np.concatenate(parts)))


def same_partition(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether labels say the same up to renaming; noise, -1, stays noise."""
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len({a for a, _ in pairs}) == len(pairs) == len({b for _, b in pairs}) and all(
        (a == -1) == (b == -1) for a, b in pairs
    )


def reachability(rows: Rows, min_samples: int) -> NDArray[np.float64]:
    """The dense mutual reachability, straight from the definition, in double precision."""
    wide = rows.astype(np.float64)
    plain = np.linalg.norm(wide[:, None] - wide[None], axis=2)
    others = np.sort(plain + np.diag(np.full(len(rows), np.inf)), axis=1)
    core = others[:, min_samples - 1]
    whole: NDArray[np.float64] = np.maximum(plain, np.maximum(core[:, None], core[None]))
    return whole


MIXTURES = {
    "blobs and noise": mixture(1),
    "wide blobs": mixture(2, spread=0.2),
    "much noise": mixture(3, sizes=(30, 30), noise=150),
    "noise only": mixture(4, sizes=(), noise=120),
    "two of the same size": mixture(5, sizes=(50, 50), noise=0),
    "many small": mixture(6, sizes=(12,) * 12, noise=20, spread=0.08),
    "on a circle": mixture(7, dimension=2, spread=0.05),
    "many dimensions": mixture(8, dimension=256, spread=0.05),
}


SETTINGS = [(5, 5), (10, 5), (5, 1), (2, 2), (15, 12), (40, 3)]
every_mixture = pytest.mark.parametrize("name", MIXTURES)


def public(rows: NDArray[np.float64], **settings: Any) -> hdbscan.HDBSCAN:
    made = hdbscan.HDBSCAN(approx_min_span_tree=False, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls scikit-learn in ways that are on their way out
        made.fit(rows)
        made.outliers = np.nan_to_num(made.outlier_scores_)
    return made


def assert_says_the_same(found: Clusters, theirs: hdbscan.HDBSCAN) -> None:
    assert same_partition(found.labels, theirs.labels_)
    np.testing.assert_allclose(found.strengths, theirs.probabilities_, atol=1e-6)
    np.testing.assert_allclose(found.outliers, theirs.outliers, atol=1e-6)


@every_mixture
@pytest.mark.parametrize(("min_cluster_size", "min_samples"), SETTINGS)
def test_it_says_what_the_public_hdbscan_says_once_ties_are_settled(
    name: str, min_cluster_size: int, min_samples: int
) -> None:
    # Pairs that share a core distance have the same mutual reachability, and the public class
    # merges them as their rows happen to come. A trace of the distance settles that; from the
    # finished matrix, min_samples=1 leaves the weights as they are.
    rows = MIXTURES[name]
    matrix = reachability(rows, min_samples) + 1e-9 * reachability(rows, 1)
    np.fill_diagonal(matrix, 0)
    theirs = public(matrix, metric="precomputed", min_samples=1, min_cluster_size=min_cluster_size)
    found = cluster(rows, min_cluster_size=min_cluster_size, min_samples=min_samples)
    assert_says_the_same(found, theirs)


@every_mixture
@pytest.mark.parametrize("min_cluster_size", [2, 5, 12])
def test_it_says_what_the_public_hdbscan_says_where_there_are_no_ties(
    name: str, min_cluster_size: int
) -> None:
    rows = MIXTURES[name]
    theirs = public(
        rows.astype(np.float64),
        metric="euclidean",
        algorithm="generic",
        min_samples=1,
        min_cluster_size=min_cluster_size,
    )
    assert_says_the_same(cluster(rows, min_cluster_size=min_cluster_size, min_samples=1), theirs)


@every_mixture
@pytest.mark.parametrize(("min_cluster_size", "min_samples"), [(5, 5), (10, 5), (15, 12), (40, 3)])
def test_ties_move_but_few_points(name: str, min_cluster_size: int, min_samples: int) -> None:
    rows = MIXTURES[name]
    theirs = public(
        rows.astype(np.float64),
        metric="euclidean",
        algorithm="generic",
        min_samples=min_samples,
        min_cluster_size=min_cluster_size,
    )
    found = cluster(rows, min_cluster_size=min_cluster_size, min_samples=min_samples)
    # One group is one colour: count the rows whose group's most usual partner is another one.
    table = np.zeros((len(rows), len(rows)), np.int64)
    np.add.at(table, (found.labels + 1, theirs.labels_ + 1), 1)
    assert len(rows) - table.max(axis=1).sum() <= 0.02 * len(rows)


def test_the_mixtures_are_worth_comparing() -> None:
    groups = {name: int(cluster(rows).labels.max()) + 1 for name, rows in MIXTURES.items()}
    assert groups["two of the same size"] == 2
    assert groups["blobs and noise"] == 4
    assert groups["on a circle"] >= 4
    assert sum((cluster(rows).labels == -1).any() for rows in MIXTURES.values()) >= 6


def test_plain_blobs_come_out_as_they_were_made() -> None:
    generator = np.random.default_rng(0)
    truth = generator.permutation(np.repeat([0, 1, 2], [30, 20, 10]))
    rows = unit(np.eye(8)[truth] + 0.02 * generator.normal(size=(60, 8)))
    found = cluster(rows)
    np.testing.assert_array_equal(found.labels, truth)


# The steps of the paper


@pytest.mark.parametrize("min_samples", [1, 2, 5, 11])
def test_core_distances_reach_to_another_point_and_never_to_itself(min_samples: int) -> None:
    rows = mixture(1)
    core = core_distances(distances(rows, no_progress), min_samples)
    wide = rows.astype(np.float64)
    for at in range(0, len(rows), 7):
        others = np.delete(np.linalg.norm(wide - wide[at], axis=1), at)
        assert core[at] == pytest.approx(np.sort(others)[min_samples - 1], rel=1e-5)


def test_distances_are_symmetric_and_right_also_between_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("imgindex.grouping.mutual_reachability._BLOCK", 33)
    rows = mixture(2)
    matrix = distances(rows, no_progress)
    wide = rows.astype(np.float64)
    expected = np.linalg.norm(wide[:, None] - wide[None], axis=2)
    np.testing.assert_allclose(matrix, expected, atol=1e-6)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert (np.diag(matrix) == 0).all()
    core = core_distances(matrix, 4)
    np.testing.assert_allclose(core, np.sort(expected, axis=1)[:, 4], atol=1e-6)


def test_small_distances_are_not_lost_to_rounding() -> None:
    rows = unit(np.array([[1.0, 0, 0], [1.0, 1e-5, 0], [1.0, 3e-5, 0]]))
    matrix = distances(rows, no_progress)
    np.testing.assert_allclose(matrix[0, 1:], [1e-5, 3e-5], rtol=1e-3)


@pytest.mark.parametrize("min_samples", [1, 5, 12])
@pytest.mark.parametrize("name", ["blobs and noise", "noise only", "on a circle"])
def test_the_tree_is_as_light_as_scipys(name: str, min_samples: int) -> None:
    rows = MIXTURES[name]
    n = len(rows)
    matrix = distances(rows, no_progress)
    edges = spanning_tree(matrix, core_distances(matrix, min_samples), no_progress)
    whole = reachability(rows, min_samples)
    theirs = np.sort(minimum_spanning_tree(np.triu(whole, 1)).data)
    assert edges.shape == (n - 1, 3)
    assert (np.diff(edges[:, 2]) >= 0).all()
    np.testing.assert_allclose(edges[:, 2], theirs, atol=1e-6)
    ends = edges[:, :2].astype(int)
    np.testing.assert_allclose(edges[:, 2], whole[ends[:, 0], ends[:, 1]], atol=1e-6)
    joined = list(range(n))  # n - 1 edges that join n points make a tree
    for a, b in ends.tolist():
        old, new = joined[a], joined[b]
        assert old != new
        joined = [new if part == old else part for part in joined]
    assert len(set(joined)) == 1


# What always holds


def partition(labels: NDArray[np.int32]) -> set[frozenset[int]]:
    return {
        frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist()) - {-1}
    }


def assert_lawful(rows: Rows, found: Clusters, min_cluster_size: int) -> None:
    n = len(rows)
    shapes = [found.labels, found.strengths, found.outliers, found.exemplars]
    assert [array.shape for array in shapes] == [(n,)] * 4
    assert [array.dtype for array in shapes] == [np.int32, np.float32, np.float32, np.bool_]
    for array in (found.strengths, found.outliers):
        assert np.isfinite(array).all()
        assert ((array >= 0) & (array <= 1)).all()
    noise = found.labels == -1
    assert (found.strengths[noise] == 0).all()
    assert (found.strengths[~noise] > 0).all()
    assert not found.exemplars[noise].any()
    groups = int(found.labels.max(initial=-1)) + 1
    sizes = [int((found.labels == group).sum()) for group in range(groups)]
    assert all(size >= min_cluster_size for size in sizes)
    assert sizes == sorted(sizes, reverse=True)
    assert (found.parents == -1).nonzero()[0].tolist() == list(range(groups))
    assert found.medoids.shape == found.parents.shape
    assert [array.dtype for array in (found.parts, found.parents)] == [np.int32] * 2
    assert_nested(found, min_cluster_size)
    for group in range(groups):
        members = found.labels == group
        assert (found.exemplars & members).any()
        assert (found.strengths[found.exemplars & members] >= 1 - 1e-6).all()
        assert members[found.medoids[group]]
        mean = rows[members].astype(np.float64).mean(axis=0)
        cosines = rows.astype(np.float64) @ mean
        assert cosines[found.medoids[group]] >= cosines[members].max() - 1e-6


def assert_nested(found: Clusters, min_cluster_size: int) -> None:
    """Every part has brothers, is large enough, and lies in the group that its points are in."""
    parents = [*found.parents.tolist(), -1]
    outer = found.parts.copy()
    while (inner := np.array(parents)[outer] != -1).any():
        outer[inner] = np.array(parents, np.int32)[outer[inner]]
    np.testing.assert_array_equal(outer, found.labels)
    for group, parent in enumerate(parents[:-1]):
        around = found.parts.copy()
        members = np.zeros(len(around), np.bool_)
        while (around >= 0).any():
            members |= around == group
            around = np.array(parents, np.int32)[around]
        assert members.sum() >= min_cluster_size
        assert members[found.medoids[group]]
        assert parent < group
        assert parent == -1 or parents[:-1].count(parent) > 1


cases = st.builds(
    mixture,
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 25), max_size=4).map(tuple),
    noise=st.integers(1, 25),
    spread=st.floats(0.01, 0.3),
    dimension=st.integers(3, 10),
)


@settings(max_examples=60)
@given(rows=cases, min_cluster_size=st.integers(2, 12), min_samples=st.integers(1, 12))
def test_what_comes_out_is_lawful(rows: Rows, min_cluster_size: int, min_samples: int) -> None:
    found = cluster(rows, min_cluster_size=min_cluster_size, min_samples=min_samples)
    assert_lawful(rows, found, min_cluster_size)


@settings(max_examples=60)
@given(
    rows=cases,
    seed=st.integers(0, 10_000),
    min_cluster_size=st.integers(2, 8),
    min_samples=st.integers(1, 8),
)
def test_the_order_of_the_rows_changes_nothing(
    rows: Rows, seed: int, min_cluster_size: int, min_samples: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(rows))
    first = cluster(rows, min_cluster_size=min_cluster_size, min_samples=min_samples)
    second = cluster(rows[order], min_cluster_size=min_cluster_size, min_samples=min_samples)
    assert same_partition(first.labels[order], second.labels)
    np.testing.assert_allclose(first.strengths[order], second.strengths, atol=1e-6)
    np.testing.assert_allclose(first.outliers[order], second.outliers, atol=1e-6)
    np.testing.assert_array_equal(first.exemplars[order], second.exemplars)


@settings(max_examples=40)
@given(rows=cases, data=st.data())
def test_copies_share_the_fate_of_their_original(rows: Rows, data: st.DataObject) -> None:
    again = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=60))
    alone = cluster(rows)
    found = cluster(np.concatenate([rows, rows[again]]))
    assert_lawful(np.concatenate([rows, rows[again]]), found, 5)
    n = len(rows)
    np.testing.assert_array_equal(found.labels[n:], found.labels[again])
    np.testing.assert_array_equal(found.strengths[n:], found.strengths[again])
    np.testing.assert_array_equal(found.outliers[n:], found.outliers[again])
    np.testing.assert_array_equal(found.exemplars[n:], found.exemplars[again])
    assert partition(found.labels[:n]) == partition(alone.labels)
    np.testing.assert_array_equal(found.strengths[:n], alone.strengths)
    np.testing.assert_array_equal(found.outliers[:n], alone.outliers)


def test_rows_that_differ_by_rounding_alone_give_finite_scores() -> None:
    rows = np.repeat(mixture(1, sizes=(20, 20), noise=5), 4, axis=0)
    jitter = np.random.default_rng(0).integers(-1, 2, rows.shape)
    rows = np.where(jitter > 0, np.nextafter(rows, np.float32(2)), rows).astype(np.float32)
    rows[0], rows[1] = 0.0, -0.0  # equal numbers, other bytes
    rows[:2, 0] = 1
    found = cluster(rows)
    assert_lawful(rows, found, 5)
    assert found.labels.max() >= 1


# Corners


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_fewer_pictures_than_a_group_needs_are_noise(count: int) -> None:
    found = cluster(mixture(1)[:count])
    assert found.labels.tolist() == [-1] * count
    assert_lawful(mixture(1)[:count], found, 5)
    assert found.medoids.tolist() == []


@pytest.mark.parametrize("distinct", [1, 4])
def test_copies_alone_make_no_group(distinct: int) -> None:
    rows = np.tile(mixture(1)[:distinct], (20, 1))
    found = cluster(rows)
    assert (found.labels == -1).all()
    assert_lawful(rows, found, 5)


def test_two_points_can_be_asked_about() -> None:
    rows = mixture(1)[:2]
    found = cluster(rows, min_cluster_size=2, min_samples=1)
    assert_lawful(rows, found, 2)


@pytest.mark.parametrize("count", [5, 6, 9])
def test_min_samples_may_exceed_the_number_of_pictures(count: int) -> None:
    rows = mixture(1)[:count]
    assert_lawful(rows, cluster(rows, min_samples=100), 5)


@pytest.mark.parametrize(
    ("setting", "value"), [("min_cluster_size", 1), ("min_cluster_size", 0), ("min_samples", 0)]
)
def test_settings_out_of_range_are_named(setting: str, value: int) -> None:
    with pytest.raises(SettingError, match=rf"{setting} must be at least \d, not {value}"):
        cluster(mixture(1), **{setting: value})  # type: ignore[arg-type]  # mypy thinks of progress


def test_progress_reaches_its_end_in_each_stage() -> None:
    calls: list[tuple[str, int, int]] = []
    rows = mixture(1)
    cluster(rows, progress=lambda *call: calls.append(call))
    last = {stage: (done, total) for stage, done, total in calls}
    assert last == {stage: (len(rows), len(rows)) for stage in ("distances", "spanning tree")}


def test_the_largest_group_is_0_and_equal_ones_go_by_their_first_row() -> None:
    labels = np.array([-1, 2, 0, 0, 1, 1, 1, 2, -1], np.int32)
    assert by_size(labels, 5)[labels].tolist() == [-1, 1, 2, 2, 0, 0, 0, 1, -1]
    assert by_size(labels, 5).tolist() == [2, 0, 1, 3, 4, -1]
    assert by_size(np.array([-1, -1], np.int32), 0).tolist() == [-1]
    assert by_size(np.array([], np.int32), 0).tolist() == [-1]


def test_the_medoid_is_the_member_nearest_to_the_mean() -> None:
    angles = np.array([0.0, 0.2, 0.5, 3.0, 3.1, 3.3])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    parts = np.array([0, 0, 0, 1, 1, 1], np.int32)
    flat = np.array([-1, -1], np.int32)
    assert medoids(rows, parts, flat).tolist() == [1, 4]
    assert medoids(rows, np.full(6, -1, np.int32), flat[:0]).tolist() == []
    # 1 is a part of 0, and 2 of 1.
    nested = np.array([-1, 0, 1], np.int32)
    assert medoids(rows, np.array([0, 1, 1, 2, 2, -1], np.int32), nested).tolist() == [2, 2, 3]


def test_a_group_of_groups_keeps_them_inside() -> None:
    generator = np.random.default_rng(2)
    # Two pairs of heaps in one plane and a lone one; a pair outlasts its heaps if they are close.
    at = [(0, 0), (0.4, 0), (40, 0), (40.4, 0), (0, 60)]
    places = np.concatenate([generator.normal(one, 0.1, (30, 2)) for one in at])
    matrix = np.linalg.norm(places[:, None] - places[None], axis=2).astype(np.float32)
    edges = spanning_tree(matrix, core_distances(matrix, 3), no_progress)
    found = select(edges, 18)
    assert sorted(np.bincount(found.labels[found.labels >= 0])) == [30, 60, 60]
    inside = {int(parent) for parent in found.parents if parent >= 0}
    assert {int(found.labels[0]), int(found.labels[60])} == inside
    assert found.labels[120] not in inside
    mostly = []
    for heap in range(4):
        parts = found.parts[heap * 30 : heap * 30 + 30]
        values, counts = np.unique(parts[found.parents[parts] >= 0], return_counts=True)
        assert counts.max() >= 18
        mostly.append(int(values[counts.argmax()]))
    assert len(set(mostly)) == 4
