"""Groups are known again in the next run, and new points find theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgindex.grouping import Neighbours, Nest, Standing, changes, inherit, join
from imgindex.grouping.identity import heirs
from imgindex.records import Change, ChangeKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgindex.records import Labels

NEXT = 50
runs = st.lists(
    st.tuples(st.sampled_from([-1, 3, 7, 20, 49]), st.integers(-1, 5)), max_size=60
).map(lambda pairs: (labels([a for a, _ in pairs]), labels([b for _, b in pairs])))


def labels(values: Sequence[int]) -> Labels:
    return np.array(values, np.int32)


def flat(found: Labels, groups: int = 50) -> Nest:
    """Groups with nothing inside them."""
    return Nest(found, dict.fromkeys(range(groups), -1))


def ids_by_label(before: Labels, after: Labels, groups: int, next_id: int) -> Labels:
    ids = inherit(flat(before), flat(after, groups), next_id)
    return labels([ids[group] for group in range(groups)])


def sizes(found: Labels) -> dict[int, int]:
    return {int(one): int((found == one).sum()) for one in np.unique(found[found >= 0])}


def told(before: Labels, after: Labels) -> dict[str, list[tuple[list[int], list[int]]]]:
    """Changes by kind, as ids before and after."""
    out: dict[str, list[tuple[list[int], list[int]]]] = {}
    for one in changes(before, after, sizes(before), sizes(after), "now"):
        sides = [group.id for group in one.before], [group.id for group in one.after]
        out.setdefault(one.kind, []).append(sides)
    return out


@given(run=runs, order=st.permutations(range(6)))
def test_the_same_groups_in_another_order_get_all_their_ids_back(
    run: tuple[Labels, Labels], order: list[int]
) -> None:
    before, _ = run
    known, dense = np.unique(before[before >= 0], return_inverse=True)
    after = before.copy()
    after[before >= 0] = labels(order)[dense]
    ids = ids_by_label(before, after, 6, NEXT)
    np.testing.assert_array_equal(ids[labels(order)[: len(known)]], known)
    again = np.append(ids, np.int32(-1))[after]
    assert {one.kind for one in changes(before, again, sizes(before), sizes(again), "now")} <= {
        "kept"
    }


@given(run=runs)
def test_ids_are_unique_and_a_fresh_one_was_never_used(run: tuple[Labels, Labels]) -> None:
    before, after = run
    ids = ids_by_label(before, after, 6, NEXT).tolist()
    assert len(set(ids)) == 6
    assert {one for one in ids if one < NEXT} <= set(before.tolist()) - {-1}
    assert sorted(one for one in ids if one >= NEXT) == list(
        range(NEXT, NEXT + sum(one >= NEXT for one in ids))
    )


@given(run=runs)
def test_more_than_half_of_both_is_the_same_group(run: tuple[Labels, Labels]) -> None:
    before, after = run
    ids = ids_by_label(before, after, 6, NEXT)
    for old in sizes(before):
        for new in sizes(after):
            both = ((before == old) & (after == new)).sum()
            if 2 * both > ((before == old) | (after == new)).sum():
                assert ids[new] == old


@given(run=runs)
def test_the_changes_tell_of_every_group(run: tuple[Labels, Labels]) -> None:
    before, after = run
    after = np.append(ids_by_label(before, after, 6, NEXT), np.int32(-1))[after]
    found = changes(before, after, sizes(before), sizes(after), "now")
    assert {group for one in found for group in one.before} == set(sizes(before).items())
    assert {group for one in found for group in one.after} == set(sizes(after).items())
    for one in found:
        counts = len(one.before), len(one.after)
        assert {
            "kept": counts == (1, 1) and one.before[0].id == one.after[0].id,
            "split": counts[0] == 1 and counts[1] > 1,
            "merged": counts[0] > 1 and counts[1] == 1,
            "new": counts == (0, 1),
            "gone": counts == (1, 0),
        }[one.kind], one


def test_a_split_a_merger_a_birth_and_an_end_are_told() -> None:
    before = labels([0] * 10 + [1] * 6 + [2] * 5 + [3] * 4 + [-1] * 5)
    after = labels([0] * 6 + [1] * 4 + [2] * 11 + [-1] * 4 + [3] * 5)
    ids = ids_by_label(before, after, 4, 4)
    assert ids.tolist() == [0, 4, 1, 5]
    assert told(before, ids_of(ids, after)) == {
        "split": [([0], [0, 4])],
        "merged": [([1, 2], [1])],
        "gone": [([3], [])],
        "new": [([], [5])],
    }


def test_pictures_that_left_and_came_count_in_the_sizes_only() -> None:
    (kept,) = changes(labels([8, 8]), labels([8, 8]), {8: 40}, {8: 50}, "now")
    assert kept == Change("now", "kept", ((8, 40),), ((8, 50),))  # type: ignore[arg-type]
    assert kept.kind in get_args(ChangeKind)


def test_parts_are_known_again_at_whatever_depth() -> None:
    before = Nest(labels([5] * 4 + [6] * 6 + [0] * 2 + [1] * 9), {0: -1, 1: -1, 5: 0, 6: 0})
    # Group 0 fell apart into its parts, and group 1 became a part of something larger.
    after = Nest(labels([0] * 4 + [1] * 7 + [2] + [3] * 9), {0: -1, 1: -1, 2: -1, 3: 2})
    assert inherit(before, after, 9) == {1: 0, 0: 5, 2: 1, 3: 9}
    shrunk = Nest(labels([0] * 4 + [1] * 7 + [2] * 10), {0: -1, 1: -1, 2: -1})
    assert inherit(before, shrunk, 9) == {1: 0, 0: 5, 2: 1}
    # Neither of the two is most of group 3, but either is what its part was.
    whole = Nest(labels([4] * 40 + [5] * 35 + [3] * 10), {3: -1, 4: 3, 5: 3})
    apart = Nest(labels([0] * 40 + [1] * 35 + [-1] * 10), {0: -1, 1: -1})
    assert inherit(whole, apart, 9) == {0: 4, 1: 5}
    same = Nest(labels([3] * 4 + [2] * 6 + [1] * 2 + [0] * 9), {0: -1, 1: -1, 2: 1, 3: 1})
    assert inherit(before, same, 9) == {0: 1, 1: 0, 2: 6, 3: 5}


def ids_of(ids: Labels, after: Labels) -> Labels:
    return np.append(ids, np.int32(-1))[after]


def near(lists: Sequence[Sequence[int]], distances: Sequence[Sequence[float]]) -> Neighbours:
    return Neighbours(np.array(lists, np.int32), np.array(distances, np.float32))


RUN = Standing(
    labels([4, 4, 4, 9, 9, -1]),
    np.array([1, 0.5, 0.5, 1, 1, 0], np.float32),
    np.array([0, 0.5, 0.5, 0, 0, 1], np.float32),
)


@pytest.mark.parametrize(
    ("lists", "distances", "label"),
    [
        ([0, 1, 2], [0.1, 0.1, 0.1], 4),
        ([3, 0, 1], [0.0, 0.5, 0.5], 9),
        ([0, 3, 5, 5], [0.1, 0.1, 0.1, 0.1], -1),  # a quarter each: nobody has enough
        ([5, 0, 5], [0.0, 0.9, 0.9], -1),
    ],
)
def test_neighbours_vote(lists: list[int], distances: list[float], label: int) -> None:
    found = join(RUN, near([lists], [distances]))
    assert found.labels.tolist() == [label]
    assert found.labels.dtype == np.int32
    assert (found.strengths[0] > 0) == (label >= 0)
    assert 0 <= found.strengths[0] <= 1
    assert 0 <= found.outliers[0] <= 1


def test_who_was_a_member_needs_fewer_votes() -> None:
    lists, distances = [3, 0, 5, 5, 5], [0.1] * 5  # a fifth for 9, a fifth for 4
    for were, label in ((-1, -1), (9, 9), (4, 4), (7, -1)):
        found = join(RUN, near([lists], [distances]), labels([were]))
        assert found.labels.tolist() == [label]
    # Where no neighbour is in it any more it counts for nothing.
    assert join(RUN, near([[5] * 5], [distances]), labels([9])).labels.tolist() == [-1]


def test_heirs_are_where_most_went() -> None:
    before = labels([0, 0, 0, 1, 1, 1, 1, -1, 2])
    after = labels([5, 5, 6, 7, 7, 8, -1, 5, 8])
    assert heirs(before, after).tolist() == [5, 5, 5, -1, -1, -1, -1, -1, 8]


def test_a_point_is_as_firm_as_those_who_vote_for_it() -> None:
    found = join(RUN, near([[0, 1, 2], [0, 0, 0]], [[0.2, 0.2, 0.2]] * 2))
    np.testing.assert_allclose(found.strengths, [2 / 3, 1], rtol=1e-5)
    np.testing.assert_allclose(found.outliers, [1 / 3, 0], atol=1e-6)


def test_where_all_is_noise_a_new_point_is_too() -> None:
    run = Standing(labels([-1, -1]), np.zeros(2, np.float32), np.ones(2, np.float32))
    found = join(run, near([[0, 1]], [[0.1, 0.2]]))
    assert (found.labels.tolist(), found.strengths.tolist()) == ([-1], [0.0])
