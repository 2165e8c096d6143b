"""Grouping over an index: the chosen pairs, the tree they give, and the neighbourhood embedding."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hdbscan._hdbscan_linkage import label
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from test_grouping import mixture, same_partition, unit
from test_store import file, picture

from imgindex.errors import SettingError
from imgindex.grouping import (
    Before,
    Tree,
    cluster,
    compiled,
    coordinates,
    cut,
    forest,
    grow,
    neighbourhood,
    ranges,
    size_for,
)
from imgindex.grouping.condensed_tree import select, single_linkage
from imgindex.grouping.hdbscan import distinct
from imgindex.grouping.mutual_reachability import core_distances, distances
from imgindex.grouping.neighbours import Neighbours, measure
from imgindex.grouping.spanning_tree import spanning_tree
from imgindex.records import ModelPin, no_progress
from imgindex.store import hnsw, layout, local, open_store
from imgindex.store.rows import all_nearest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from imgindex.records import Rows, Space

NO_LINKS = np.empty((0, 2), np.int32)


def lists_of(rows: Rows, k: int) -> Neighbours:
    return measure(rows, all_nearest(rows, k, no_progress), k)


def proposer(
    rows: Rows,
) -> Callable[[NDArray[np.intp], int], tuple[NDArray[np.int64], NDArray[np.int32]]]:
    return lambda kept, k: (all_nearest(rows[kept], k, no_progress), NO_LINKS)


def all_pairs(n: int) -> NDArray[np.int32]:
    return np.column_stack(np.triu_indices(n, 1)).astype(np.int32)


def exact_edges(rows: Rows, min_samples: int) -> NDArray[np.float64]:
    matrix = distances(rows, no_progress)
    return spanning_tree(matrix, core_distances(matrix, min_samples), no_progress)


def scattered(seed: int, count: int, dimension: int = 6) -> Rows:
    return unit(np.random.default_rng(seed).normal(size=(count, dimension)))


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same() -> None:
    room: dict[str, Any] = {}
    exec(compile("def double(value):\n    return 2 * value\n", "<nowhere>", "exec"), room)  # noqa: S102 - code without a file
    assert compiled.compiled(room["double"])(21) == 42


# Neighbours


@given(st.integers(0, 1000), st.integers(3, 60), st.data())
@settings(max_examples=40)
def test_neighbours_are_the_nearest_others_in_order(
    seed: int, count: int, data: st.DataObject
) -> None:
    rows = scattered(seed, count)
    k = data.draw(st.integers(1, count - 1))
    found = lists_of(rows, k)
    whole = np.linalg.norm(rows[:, None].astype(np.float64) - rows[None], axis=2)
    np.fill_diagonal(whole, np.inf)
    np.testing.assert_allclose(found.distances, np.sort(whole, axis=1)[:, :k], atol=1e-6)
    assert (np.diff(found.distances, axis=1) >= 0).all()
    for point, line in enumerate(found.lists.tolist()):
        assert len({point, *line}) == k + 1
    np.testing.assert_array_equal(found.core_distances(k), found.distances[:, k - 1])


def test_what_is_no_neighbour_is_passed_over() -> None:
    rows = scattered(1, 4)
    proposed = np.array([[0, -1, 2, 1], [3, 1, -1, 0], [2, 0, 1, -1], [0, 1, 2, 3]])
    found = measure(rows, proposed, 2)
    assert [set(line) for line in found.lists.tolist()][:3] == [{1, 2}, {0, 3}, {0, 1}]


# The tree


@given(st.integers(0, 1000), st.integers(4, 50), st.integers(1, 3))
@settings(max_examples=30)
def test_over_all_pairs_the_tree_is_the_exact_one(seed: int, count: int, samples: int) -> None:
    rows = scattered(seed, count)
    found = forest.spanning_tree(
        rows, lists_of(rows, samples), all_pairs(count), samples, no_progress
    )
    exact = exact_edges(rows, samples)
    np.testing.assert_allclose(found[:, 2], exact[:, 2], rtol=1e-5)
    assert (np.diff(found[:, 2]) >= 0).all()


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = mixture(3)
    lists = lists_of(rows, 15)
    links = np.random.default_rng(0).integers(0, len(rows), (500, 2)).astype(np.int32)
    links = links[links[:, 0] != links[:, 1]]
    whole = forest.spanning_tree(rows, lists, links, 5, no_progress)
    monkeypatch.setattr(forest, "_CHUNK", 64)
    np.testing.assert_array_equal(
        forest.spanning_tree(rows, lists, links, 5, no_progress)[:, 2], whole[:, 2]
    )


@given(st.integers(0, 1000), st.integers(2, 40), st.integers(1, 300), st.data())
@settings(max_examples=60)
def test_the_forest_of_forests_is_the_forest_of_all(
    seed: int, points: int, count: int, data: st.DataObject
) -> None:
    generator = np.random.default_rng(seed)
    # Far apart, as those of one machine are among very many.
    numbers = np.sort(generator.choice(10**6, points, replace=False)).astype(np.int32)
    first, second = numbers[generator.integers(0, points, (2, count))]
    distances = generator.random(count, np.float32)
    core = np.zeros(10**6, np.float32)
    core[numbers] = generator.random(points)
    whole = forest.reduced(forest.weighed(first, second, distances, core))
    part = np.array(data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count)))
    mine = [
        forest.reduced(
            forest.weighed(first[part == one], second[part == one], distances[part == one], core)
        )
        for one in range(6)
    ]
    found = forest.reduced(*mine[:2], forest.reduced(*mine[2:5]), mine[5])
    np.testing.assert_array_equal(found.array(), whole.array())
    assert max(map(len, mine)) < points
    assert (np.diff(whole.weights) >= 0).all()


@pytest.mark.parametrize(("count", "size", "seed"), [(2000, 60, 1), (3000, 150, 1)])
def test_ranges_stand_in_for_the_links_that_an_index_does_not_tell(
    count: int, size: int, seed: int
) -> None:
    rows = np.random.default_rng(seed).permutation(made(count, size))
    exact = cluster(rows, min_cluster_size=10, exact=True).labels

    def propose(kept: NDArray[np.intp], k: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        return all_nearest(rows[kept], max(k, ranges.LISTED), no_progress), NO_LINKS

    found = cluster(rows, min_cluster_size=10, exact=False, propose=propose).labels
    assert adjusted_rand_score(exact, found) >= 0.99
    # They are needed.
    tree = forest.spanning_tree(rows, lists_of(rows, 15), NO_LINKS, 5, no_progress)
    assert adjusted_rand_score(exact, select(tree, 10).labels) < 0.98


@given(st.integers(1, 200_000))
def test_ranges_cover_every_point_once(count: int) -> None:
    found = ranges.tops(count)
    assert [at for ends in found for at in range(*ends)] == list(range(count))
    assert max(stop - start for start, stop in found) <= ranges.MOST


@pytest.mark.parametrize("count", [1, 2, 33, 600])
def test_pairs_of_a_range_are_near_on_every_level(count: int) -> None:
    rows = scattered(2, count)
    pairs = ranges.near_within(rows)
    every = ranges.listed(all_nearest(rows, min(32, count - 1), no_progress))
    parts = [every]
    if count >= 512:
        for at in range(8):
            start, stop = count * at // 8, count * (at + 1) // 8
            parts.append(ranges.listed(all_nearest(rows[start:stop], 32, no_progress)) + start)
    assert {tuple(p) for p in pairs.tolist()} == {tuple(p) for p in np.concatenate(parts).tolist()}


def test_parts_that_lists_leave_apart_are_joined_where_they_are_nearest() -> None:
    generator = np.random.default_rng(5)
    centres = unit(generator.normal(size=(4, 20)))
    rows = unit(np.repeat(centres, 30, axis=0) + 0.02 * generator.normal(size=(120, 20)))
    lists = lists_of(rows, 5)  # within the four heaps only
    found = forest.spanning_tree(rows, lists, NO_LINKS, 3, no_progress)
    exact = exact_edges(rows, 3)
    assert len(found) == 119
    np.testing.assert_allclose(found[:, 2], exact[:, 2], rtol=1e-4)


@given(st.integers(0, 500), st.integers(2, 80))
@settings(max_examples=30)
def test_the_hierarchy_is_the_packages_own(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    ends = [(generator.integers(0, point), point) for point in range(1, count)]
    edges = np.array([(*pair, weight) for pair, weight in zip(ends, generator.random(count - 1))])  # noqa: B905 - as many by making
    edges = np.ascontiguousarray(edges[np.argsort(edges[:, 2])])
    ours, theirs = single_linkage(edges), label(edges)
    np.testing.assert_array_equal(np.sort(ours[:, :2]), np.sort(theirs[:, :2]))
    np.testing.assert_array_equal(ours[:, 2:], theirs[:, 2:])


def test_a_few_coordinates_give_the_exact_tree() -> None:
    places = np.random.default_rng(2).normal(size=(400, 5)).astype(np.float32)
    wide = places.astype(np.float64)
    plain = np.linalg.norm(wide[:, None] - wide[None], axis=2).astype(np.float32)
    exact = spanning_tree(plain, core_distances(plain, 5), no_progress)
    found = coordinates.spanning_tree(places, 5, no_progress)
    np.testing.assert_allclose(found[:, 2], exact[:, 2], rtol=1e-5)


def test_no_cluster_over_the_limit_is_taken_unless_it_is_one_piece() -> None:
    generator = np.random.default_rng(1)
    # A tight pair of heaps far from a third: the first fork is pair against third.
    heaps = [generator.normal(at, 0.05, (40, 2)) for at in ((0, 0), (1, 0), (40, 0))]
    places = np.concatenate(heaps).astype(np.float32)
    edges = coordinates.spanning_tree(places, 5, no_progress)
    labels = select(edges, 10, largest=0.5).labels
    assert np.bincount(labels[labels >= 0]).tolist() == [40, 40, 40]
    lopsided = np.concatenate([heaps[0], generator.normal(0, 0.05, (60, 2)), heaps[2][:20]])
    edges = coordinates.spanning_tree(lopsided.astype(np.float32), 5, no_progress)
    labels = select(edges, 10, largest=0.5).labels
    assert (labels[:100] >= 0).mean() > 0.8  # 100 of 120, and not noise for that


# The neighbourhood embedding


def test_the_fuzzy_graph_is_symmetric_with_weights_up_to_one() -> None:
    lists = lists_of(mixture(2), 15)
    graph = neighbourhood.fuzzy_graph(lists)
    assert abs(graph - graph.T).max() < 1e-6
    assert graph.data.min() > 0
    assert graph.data.max() <= 1
    for point, nearest in enumerate(lists.lists[:, 0].tolist()):
        assert graph[point, nearest] >= 0.5


def test_the_embedding_is_repeatable_on_any_number_of_processors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = mixture(1)
    lists = lists_of(rows, 15)
    monkeypatch.setattr(compiled, "_LEAST_SLICE", 8)
    made = []
    for processors in (1, 5, 5):
        monkeypatch.setattr(os, "cpu_count", lambda processors=processors: processors)
        made.append(neighbourhood.embed(rows, lists, no_progress))
    assert np.isfinite(made[0]).all()
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[1], made[2])
    assert not np.array_equal(made[0], neighbourhood.embed(rows, lists, no_progress, seed=1))


@pytest.mark.parametrize("seed", range(3))
def test_heaps_are_found_in_the_neighbourhood(seed: int) -> None:
    generator = np.random.default_rng(seed)
    centres = unit(generator.normal(size=(8, 64)))
    truth = np.repeat(np.arange(8), 40)
    rows = unit(centres[truth] + 0.08 * generator.normal(size=(320, 64)))
    found = cluster(rows, space="neighbourhood", propose=proposer(rows))
    assert adjusted_rand_score(truth, found.labels) > 0.97


def test_one_tree_gives_every_resolution() -> None:
    rows = mixture(6, sizes=(40, 40, 30, 30, 25, 20), noise=60)
    tree = grow(rows, space="neighbourhood", propose=proposer(rows))
    counts = []
    for wanted in (2, 4, 8, 16):
        size = size_for(tree, wanted)
        found = cut(tree, rows, min_cluster_size=size)
        counts.append(int((found.parents < 0).sum()))
        members = found.labels[found.labels >= 0]
        assert np.bincount(members).min() >= size
        # No other size comes nearer.
        cuts = [cut(tree, rows, min_cluster_size=at) for at in range(2, 60)]
        others = [int((other.parents < 0).sum()) for other in cuts]
        assert abs(counts[-1] - wanted) <= min(abs(other - wanted) for other in others) + 1
    assert counts == sorted(counts)
    with pytest.raises(SettingError, match="at least 1"):
        size_for(tree, 0)


def test_the_neighbourhood_needs_an_index() -> None:
    with pytest.raises(SettingError, match="neighbours of an index"):
        cluster(mixture(1), space="neighbourhood")


# Either way


@pytest.mark.parametrize("space", ["descriptor", "neighbourhood"])
def test_equal_rows_share_their_place_and_nothing_is_nan(space: Space) -> None:
    rows = mixture(2)
    rows = np.concatenate([rows, rows[:60], np.repeat(rows[:1], 40, axis=0)])
    found = cluster(rows, space=space, exact=False, propose=proposer(rows))
    for values in (found.strengths, found.outliers):
        assert np.isfinite(values).all()
        assert values.min() >= 0
        assert values.max() <= 1
    n = len(mixture(2))
    np.testing.assert_array_equal(found.labels[:60], found.labels[n : n + 60])
    assert len(set(found.labels[n + 60 :].tolist())) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 16, 17])
@pytest.mark.parametrize("space", ["descriptor", "neighbourhood"])
def test_few_pictures_are_no_trouble(count: int, space: Space) -> None:
    rows = scattered(3, count)
    found = cluster(rows, min_cluster_size=2, space=space, exact=False, propose=proposer(rows))
    assert len(found.labels) == count


def test_the_order_of_rows_does_not_matter() -> None:
    rows = mixture(6, sizes=(40, 40, 30, 30), noise=60)
    order = np.random.default_rng(0).permutation(len(rows))
    one = cluster(rows, exact=False, propose=proposer(rows)).labels
    other = cluster(rows[order], exact=False, propose=proposer(rows[order])).labels
    assert same_partition(one[order], other)


def test_distinct_rows_come_in_the_order_they_first_appear() -> None:
    rows = scattered(1, 5)[[3, 1, 3, 0, 1, 4]]
    first, which = distinct(rows)
    assert first.tolist() == [0, 1, 3, 5]
    assert which.tolist() == [0, 1, 0, 2, 1, 3]


# Over a library's own graph


def made(count: int, size: int = 60) -> Rows:
    """Heaps of about one size with a fifth of noise, 64 numbers."""
    generator = np.random.default_rng(count)
    centres = generator.normal(size=(count // size, 64))
    rows = centres[generator.integers(0, len(centres), count)]
    rows += 0.35 * generator.normal(size=rows.shape)
    rows[: count // 5] = generator.normal(size=(count // 5, 64))
    return unit(rows)


@pytest.mark.parametrize("missing", [0, 150])
def test_over_the_graph_groups_are_those_of_the_exact_tree(
    tmp_path: Path, missing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_COMPARED", 0)
    rows = made(2000)
    with closing(open_store(tmp_path / "library", create=True)) as store:
        store.pin(ModelPin("made", "f", 64, 1))
        pictures = [picture(number) for number in range(len(rows))]
        files = [file(f"/p/{number}.jpg", number) for number in range(len(rows))]
        store.add(pictures, rows, files)
        store.mark_missing([f"/p/{number}.jpg" for number in range(0, missing * 7, 7)])
        ids, held = store.vectors()
        assert len(ids) == len(rows) - missing

        def propose(kept: NDArray[np.intp], k: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
            proposed, links = store.neighbours([ids[at] for at in kept], k, no_progress)
            assert proposed.min() >= -1
            assert proposed.max() < len(kept)
            others = (proposed >= 0) & (proposed != np.arange(len(kept))[:, None])
            assert others.sum(axis=1).min() >= k
            assert len(links) > 5 * len(kept)
            assert links.min() >= 0
            assert links.max() < len(kept)
            near = np.einsum("ij,ij->i", held[links[:, 0]], held[links[:, 1]]).mean()
            far = np.einsum("ij,ij->i", held[links[:, 0]], held[links[::-1, 1]]).mean()
            assert near > far + 0.1  # they really are links, by the right names
            return proposed, links

        found = cluster(held, min_cluster_size=10, exact=False, propose=propose)
        exact = cluster(held, min_cluster_size=10, exact=True)
        assert adjusted_rand_score(exact.labels, found.labels) >= 0.99
        # The tree itself.
        lists = measure(held, propose(np.arange(len(held)), 15)[0], 15)
        links = propose(np.arange(len(held)), 15)[1]
        tree = forest.spanning_tree(held, lists, links, 5, no_progress)
        assert tree[:, 2].sum() == pytest.approx(exact_edges(held, 5)[:, 2].sum(), rel=1e-3)


def test_a_graph_file_of_another_make_gives_no_links(tmp_path: Path) -> None:
    import hnswlib

    index: Any = hnswlib.Index(space="ip", dim=16)
    index.init_index(max_elements=50, M=5, ef_construction=50)
    index.add_items(scattered(1, 50, 16))
    index.save_index(str(tmp_path / "graph.hnsw"))
    assert list(layout.links(tmp_path / "graph.hnsw", 50, hnsw.M)) == []
    assert list(layout.links(tmp_path / "graph.hnsw", 49, hnsw.M)) == []


def test_links_are_those_of_the_index(tmp_path: Path) -> None:
    import hnswlib

    # So few that every point is linked to every other that the heuristic keeps, if one thread adds
    # them: two at once may not see each other. Labels are backwards: numbers inside are not labels.
    rows = scattered(4, 30, 16)
    index: Any = hnswlib.Index(space="ip", dim=16)
    index.init_index(max_elements=60, M=hnsw.M, ef_construction=100)
    index.add_items(rows[::-1], np.arange(30)[::-1], num_threads=1)
    index.save_index(str(tmp_path / "graph.hnsw"))
    pairs = np.concatenate(
        [np.column_stack(ends) for ends in layout.links(tmp_path / "graph.hnsw", 30, hnsw.M)]
    ).astype(np.int64)
    assert set(pairs.ravel().tolist()) == set(range(30))
    assert (pairs[:, 0] != pairs[:, 1]).all()
    nearest = all_nearest(rows, 1, no_progress)
    linked = {tuple(pair) for pair in pairs.tolist()}
    for point in range(30):
        (other,) = set(nearest[point].tolist()) - {point}
        assert (point, other) in linked


def test_layouts_stand_side_by_side_and_each_is_kept() -> None:
    rows = mixture(1)
    lists = lists_of(rows, 15)
    both = neighbourhood.embed(rows, lists, no_progress, layouts=2)
    alone = neighbourhood.embed(rows, lists, no_progress)
    np.testing.assert_array_equal(both[:, :5], alone)
    assert not np.array_equal(both[:, :5], both[:, 5:])
    known = both.copy()
    known[:7] = np.nan
    fitted = neighbourhood.embed(rows, lists, no_progress, places=known)
    np.testing.assert_array_equal(fitted[7:], both[7:])
    assert np.isfinite(fitted).all()


@pytest.mark.parametrize(("points", "layouts"), [(1, 16), (5_000, 16), (20_000, 4), (10**6, 1)])
def test_small_libraries_get_more_layouts(points: int, layouts: int) -> None:
    assert neighbourhood.layouts_for(points) == layouts


def test_the_nearest_of_equal_places_are_never_the_point_itself() -> None:
    places = np.zeros((50, 3), np.float32)
    places[40:] = np.arange(30).reshape(10, 3) + 1
    found = coordinates.nearest(places, np.arange(50), 4)
    assert found.lists.shape == (50, 4)
    assert not (found.lists == np.arange(50)[:, None]).any()
    assert (found.distances[:40] == 0).all()
    assert (np.diff(found.distances, axis=1) >= 0).all()


def test_noise_beside_a_group_joins_it_in_the_neighbourhood() -> None:
    # What a pair of groups loses before it parts is noise to HDBSCAN.
    heaps = [np.linspace(at, at + 1, 30) for at in (0, 1.6, 20)]
    line = np.concatenate([*heaps, [-0.8, -1.6]])
    places = np.stack([line, np.zeros_like(line)], axis=1).astype(np.float32)
    rows = unit(np.random.default_rng(0).normal(size=(92, 8)))
    edges = coordinates.spanning_tree(places, 5, no_progress)
    everyone = np.arange(92)
    for known, noise in ((places, 0), (places[:, :0], 2)):
        tree = Tree(edges, everyone, everyone, known, 1)
        found = cut(tree, rows, min_cluster_size=20)
        assert int((found.labels < 0).sum()) == noise
        assert not found.exemplars[90:].any()


def test_a_twin_that_came_later_does_not_move_its_picture() -> None:
    rows = mixture(4)
    first = cluster(rows, space="neighbourhood", propose=proposer(rows), min_cluster_size=8)
    # The new ones come before their twins, as smaller ids would have it.
    twins = np.concatenate([rows[:6], rows])
    unknown = np.full((6, first.places.shape[1]), np.nan, np.float32)
    before = Before(
        np.concatenate([np.full(6, -1, np.int32), first.labels]),
        np.concatenate([unknown, first.places]),
    )
    found = cluster(
        twins, space="neighbourhood", propose=proposer(twins), min_cluster_size=8, before=before
    )
    np.testing.assert_array_equal(found.places[6:], first.places)
    np.testing.assert_array_equal(found.places[:6], first.places[:6])
    np.testing.assert_array_equal(found.labels[6:], first.labels)


def test_workers_bring_the_same_forest_together(tmp_path: Path) -> None:
    from bench_scale import measured

    found = measured(3_000, 9, tmp_path)
    assert found["same_edges"]
    assert found["weight"] == found["weight_in_one_piece"]
    assert found["edges"] + found["parts"] == 3_000
    assert 0 < found["sent_edges_per_point"] <= found["pairs_per_point"]
    assert found["merge_2_mb_out"] <= found["merge_1_mb_out"]
