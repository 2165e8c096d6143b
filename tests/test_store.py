"""One contract for every store: whatever ``open_store`` gives has to pass all of this."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from milvus_server import emptied, running

from imgindex.errors import LibraryBusyError, ModelMismatchError, SettingError, StoreError
from imgindex.records import (
    Change,
    Decision,
    Group,
    Grouping,
    GroupingSettings,
    IndexedFile,
    ModelPin,
    Picture,
    SizedGroup,
    StoreStats,
    Twin,
    Where,
    no_progress,
)
from imgindex.store import open_store
from imgindex.store import rows as rows_module
from imgindex.store import view as view_module
from imgindex.store.base import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imgindex.records import Hit, Rows
    from imgindex.store import Store

DIMENSION = 8
PIN = ModelPin("tiny", "f" * 64, DIMENSION, 1)


@contextmanager
def _memory() -> Iterator[Store]:
    store = open_store("memory:", create=True)
    yield store
    store.close()


@contextmanager
def _local() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(os.path.join(folder, "library"), create=True)  # noqa: PTH118 - a str URL
        try:
            yield store
        finally:
            store.close()


@contextmanager
def _milvus() -> Iterator[Store]:
    with emptied(running()) as url:
        store = open_store(url, create=True)
        try:
            yield store
        finally:
            store.close()


STORES = {"memory": _memory, "local": _local, "milvus": _milvus}
every_store = pytest.mark.parametrize("kind", STORES)


@contextmanager
def fresh(kind: str, pin: ModelPin = PIN) -> Iterator[Store]:
    """An empty store with a model."""
    with STORES[kind]() as store:
        store.pin(pin)
        yield store


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with fresh(request.param) as opened:
        yield opened


def an_id(number: int) -> str:
    return hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()


def picture(number: int) -> Picture:
    taken = f"2024-01-{number % 28 + 1:02}T10:00:00" if number % 2 else None
    return Picture(an_id(number), 10 + number, 20 + number, "JPEG", taken)


def file(path: str, number: int | None = None, **more: Any) -> IndexedFile:
    if number is None:
        return IndexedFile(path, 5, 7, reason="truncated", **more)
    return IndexedFile(path, 100 + number, 1_700_000_000_000_000_000 + number, an_id(number))


def unit(count: int, dimension: int = DIMENSION, seed: int = 0) -> Rows:
    drawn = np.random.default_rng(seed).normal(size=(count, dimension))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn.astype(np.float32)


def fill(store: Store, count: int, seed: int = 0) -> tuple[list[str], Rows]:
    """Pictures 0..count-1, one file each; ids and rows in that order."""
    rows = unit(count, store_dimension(store), seed)
    pictures = [picture(number) for number in range(count)]
    store.add(pictures, rows, [file(f"/p/{number}.jpg", number) for number in range(count)])
    return [one.id for one in pictures], rows


def store_dimension(store: Store) -> int:
    pin = store.pinned()
    assert pin is not None
    return pin.dimension


def grouping_of(labels: Sequence[int], ids: Sequence[str]) -> Grouping:
    """A grouping of ids, which come ascending; each group's first member is all that it shows."""
    array = np.array(labels, np.int32)
    generator = np.random.default_rng(len(labels))
    exemplars = np.zeros(len(labels), np.bool_)
    groups = []
    for group in sorted(set(labels) - {-1}):
        first = int(np.flatnonzero(array == group)[0])
        exemplars[first] = True
        groups.append(Group(group, int((array == group).sum()), ids[first], (ids[first],)))
    return Grouping(
        ids=tuple(ids),
        labels=array,
        parts=array,
        strengths=np.where(array < 0, 0, generator.random(len(labels))).astype(np.float32),
        outliers=generator.random(len(labels)).astype(np.float32),
        exemplars=exemplars,
        joined=np.zeros(len(labels), np.bool_),
        places=generator.random((len(labels), 2 if ids else 0)).astype(np.float32),
        groups=tuple(sorted(groups, key=lambda group: (-group.size, group.id))),
        subgroups=(),
        settings=GroupingSettings(5, 3, "descriptor", "tiny"),
        created="2024-05-06T07:08:09+00:00",
        next_id=max(labels, default=-1) + 1,
    )


def assert_same_grouping(got: Grouping | None, expected: Grouping) -> None:
    assert got is not None
    for name in ("ids", "groups", "subgroups", "settings", "created", "next_id"):
        assert getattr(got, name) == getattr(expected, name)
    for name in ("labels", "parts", "strengths", "outliers", "exemplars", "joined", "places"):
        mine, theirs = getattr(got, name), getattr(expected, name)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def assert_untouched(store: Store, before: tuple[Any, ...]) -> None:
    assert seen(store) == before


def seen(store: Store) -> tuple[Any, ...]:
    """Everything a store shows, comparable."""
    ids, rows = store.vectors()
    stats = store.stats()
    return (
        store.pinned(),
        store.files(),
        ids,
        rows.tobytes(),
        store.paths(ids),
        (stats.pictures, stats.files, stats.missing, stats.unreadable),
    )


# Opening


def test_an_unknown_scheme_is_refused_by_name() -> None:
    with pytest.raises(SettingError, match="'redis'"):
        open_store("redis://somewhere")


@every_store
def test_an_empty_store_shows_nothing_and_takes_nothing_without_a_model(kind: str) -> None:
    with STORES[kind]() as store:
        assert store.pinned() is None
        assert store.files() == []
        assert store.vectors()[0] == ()
        assert store.search(unit(2), 3) == ("exact", [[], []])
        assert store.grouping() is None
        assert store.verify(no_progress) == []
        store.refresh(no_progress)
        stats = store.stats()
        assert (stats.pictures, stats.files, stats.vectors, stats.index) == (0, 0, 0, "none")
        with pytest.raises(StoreError, match="pin a model"):
            store.add([picture(1)], unit(1))


def test_closing_twice_is_harmless(store: Store) -> None:
    store.close()
    store.close()


# The model


def test_the_model_is_kept_and_may_be_pinned_again(store: Store) -> None:
    store.pin(PIN)
    store.pin(replace(PIN, name="the same file under another name"))
    assert store.pinned() == PIN


@pytest.mark.parametrize(
    "change", [{"fingerprint": "e" * 64}, {"dimension": 9}, {"preprocessing": 2}]
)
def test_another_model_is_refused_with_both_in_the_message(
    store: Store, change: dict[str, Any]
) -> None:
    other = replace(PIN, name="intruder", **change)
    with pytest.raises(ModelMismatchError) as caught:
        store.pin(other)
    message = str(caught.value)
    assert "tiny" in message
    assert "intruder" in message
    for pin in (PIN, other):
        assert pin.fingerprint[:12] in message
        assert f"{pin.dimension} numbers" in message
        assert f"preprocessing {pin.preprocessing}" in message
    assert store.pinned() == PIN


# Adding


names = st.text(st.sampled_from([*"abc0%_. é'", "\udcff", "\n"]), min_size=1, max_size=3).filter(
    lambda name: name not in {".", ".."}
)
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))


@every_store
@settings(max_examples=20)
@given(data=st.data())
def test_what_goes_in_comes_out(kind: str, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, 99), max_size=6, unique=True))
    rows = unit(len(numbers), seed=data.draw(st.integers(0, 5)))
    where = data.draw(st.lists(paths, max_size=6, unique=True))
    choices = st.none() | st.sampled_from(numbers) if numbers else st.none()
    files = [file(path, data.draw(choices)) for path in where]
    with fresh(kind) as store:
        store.add([picture(number) for number in numbers], rows, files)

        ids = [an_id(number) for number in numbers]
        assert store.has([*ids, an_id(100), ""]) == set(ids)
        assert store.files() == sorted(files, key=lambda one: os.fsencode(one.path))
        for number, row in zip(numbers, rows, strict=True):
            kept = store.vector(an_id(number))
            assert kept is not None
            assert kept.dtype == np.float32
            np.testing.assert_array_equal(kept, row)
            assert store.picture(an_id(number)) == picture(number)

        copies: dict[str, list[str]] = {one.id: [] for one in files if one.id is not None}
        for one in sorted(files, key=lambda one: os.fsencode(one.path)):
            if one.id is not None:
                copies[one.id].append(one.path)
        assert store.paths(ids) == copies
        present, matrix = store.vectors()
        assert present == tuple(sorted(copies))
        assert matrix.shape == (len(copies), DIMENSION)
        assert matrix.dtype == np.float32
        for its_id, row in zip(present, matrix, strict=True):
            np.testing.assert_array_equal(row, rows[ids.index(its_id)])
        assert store.verify(no_progress) == []


@every_store
@settings(max_examples=30)
@given(where=st.lists(paths, max_size=8, unique=True), roots=st.lists(paths, max_size=3))
def test_files_below_a_root_are_those_and_no_others(
    kind: str, where: list[str], roots: list[str]
) -> None:
    with fresh(kind) as store:
        store.add([], unit(0), [file(path) for path in where])

        def below(path: str, root: str) -> bool:
            mine, its = path.split("/"), root.split("/")
            return mine[: len(its)] == its

        expected = {path for path in where if any(below(path, root) for root in roots)}
        assert [one.path for one in store.files(roots)] == sorted(expected, key=os.fsencode)


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ("/a/b", ["/a/b", "/a/b/c", "/a/b/d/e"]),
        ("/a/b/", ["/a/b/c", "/a/b/d/e"]),
        ("/a/b%", ["/a/b%/x"]),
        ("/a/b_", ["/a/b_/x"]),
        ("/a/\udcff", ["/a/\udcff/\udcfe.jpg"]),
        ("/a/c", []),
        ("/a/*", []),
    ],
)
def test_a_root_is_no_prefix_and_no_pattern(store: Store, root: str, expected: list[str]) -> None:
    where = ["/a/b", "/a/b/c", "/a/b/d/e", "/a/bc", "/a/b0", "/a/b.jpg", "/a/b%/x", "/a/b_/x"]
    where += ["/a/bX/x", "/a/\udcff/\udcfe.jpg", "/a/\udcffz", "/A/b/c"]
    store.add([], unit(0), [file(path) for path in where])
    assert [one.path for one in store.files([root])] == expected
    assert [one.path for one in store.files([root, root, "/nothing"])] == expected
    assert len(store.files(["/"])) == len(where)
    assert store.files([]) == []
    assert [path for path in where if within(path, [root])] == expected


def test_a_picture_that_is_here_keeps_its_row_and_takes_more_files(store: Store) -> None:
    ids, rows = fill(store, 3)
    store.add([picture(1), picture(3)], unit(2, seed=9), [file("/q/1.jpg", 1), file("/q/3.jpg", 3)])
    kept, new = store.vector(ids[1]), store.vector(an_id(3))
    assert kept is not None
    assert new is not None
    np.testing.assert_array_equal(kept, rows[1])
    np.testing.assert_array_equal(new, unit(2, seed=9)[1])
    assert store.paths([ids[1]]) == {ids[1]: ["/p/1.jpg", "/q/1.jpg"]}
    assert store.stats().vectors == 4
    assert store.verify(no_progress) == []


def test_a_picture_twice_in_one_call_is_one_picture_with_the_first_row(store: Store) -> None:
    rows = unit(3)
    store.add([picture(1), picture(2), picture(1)], rows, [file("/a", 1), file("/b", 2)])
    assert store.stats().vectors == 2
    kept = store.vector(an_id(1))
    assert kept is not None
    np.testing.assert_array_equal(kept, rows[0])


def test_a_path_that_is_here_is_replaced(store: Store) -> None:
    fill(store, 2)
    store.add([], unit(0), [file("/p/0.jpg", 1), file("/p/1.jpg")])
    assert store.files() == [file("/p/0.jpg", 1), file("/p/1.jpg")]
    assert store.paths([an_id(0), an_id(1)]) == {an_id(1): ["/p/0.jpg"]}


def test_paths_of_an_id_asked_for_twice_come_once(store: Store) -> None:
    ids, _ = fill(store, 1)
    many = [ids[0], *(an_id(number) for number in range(1, 1200)), ids[0]]
    assert store.paths(many) == {ids[0]: ["/p/0.jpg"]}


def test_many_ids_are_asked_about_at_once(store: Store) -> None:
    ids, _ = fill(store, 1201)
    assert store.has([*ids, "nobody"]) == set(ids)
    assert store.paths(ids) == {an_id(n): [f"/p/{n}.jpg"] for n in range(1201)}


def test_double_precision_rows_are_taken_and_kept_in_single(store: Store) -> None:
    rows = unit(2)
    store.add([picture(1), picture(2)], rows.astype(np.float64))
    kept = store.vector(an_id(2))
    assert kept is not None
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(kept, rows[1])


def _with(value: float) -> Rows:
    rows = unit(3)
    rows[1, 2] = value
    return rows


BAD_ROWS: dict[str, Rows] = {
    "NaN": _with(np.nan),
    "infinite": _with(np.inf),
    "too long": unit(3) * np.float32(1.01),
    "too short": unit(3) * np.float32(0.99),
    "zero": unit(3) * np.array([[1], [0], [1]], np.float32),
    "of another dimension": unit(3, DIMENSION + 1),
    "too few": unit(2),
    "too many": unit(4),
    "flat": unit(3)[0],
}


@pytest.mark.parametrize("what", BAD_ROWS)
def test_rows_that_are_no_embeddings_are_refused_and_nothing_is_written(
    store: Store, what: str
) -> None:
    fill(store, 2)
    before = seen(store)
    with pytest.raises(StoreError, match=r"row"):
        store.add(
            [picture(number) for number in (5, 6, 7)], BAD_ROWS[what], [file("/new", 5), file("/x")]
        )
    assert_untouched(store, before)
    assert store.has([an_id(5)]) == set()
    assert store.verify(no_progress) == []


def test_a_file_of_an_unknown_picture_is_refused_and_nothing_is_written(store: Store) -> None:
    fill(store, 2)
    before = seen(store)
    with pytest.raises(StoreError, match=an_id(99)):
        store.add([picture(5)], unit(1), [file("/new", 5), file("/p/0.jpg", 1), file("/x", 99)])
    assert_untouched(store, before)
    assert store.has([an_id(5)]) == set()
    rows = unit(1, seed=3)
    store.add([picture(6)], rows, [file("/six", 6)])  # nothing of the failure is in the way
    kept = store.vector(an_id(6))
    assert kept is not None
    np.testing.assert_array_equal(kept, rows[0])
    assert store.verify(no_progress) == []


# Vanishing


@pytest.mark.parametrize("odd", [{"reason": None}, {"id": an_id(1), "reason": "broken"}])
def test_a_file_has_a_picture_or_a_reason(store: Store, odd: dict[str, Any]) -> None:
    fill(store, 3)
    before = seen(store)
    with pytest.raises(StoreError, match=r"/odd\.jpg needs either"):
        store.add([], unit(0), [IndexedFile("/odd.jpg", 1, 1, **odd)])
    assert_untouched(store, before)


def test_a_missing_file_drops_out_of_everything_at_once(store: Store) -> None:
    ids, rows = fill(store, 4)
    store.add([], unit(0), [file("/copy", 2)])
    store.mark_missing(["/p/1.jpg", "/p/2.jpg", "/never/heard/of"])
    left = sorted([ids[0], ids[2], ids[3]])
    assert store.vectors()[0] == tuple(left)
    assert store.paths(ids) == {ids[0]: ["/p/0.jpg"], ids[2]: ["/copy"], ids[3]: ["/p/3.jpg"]}
    _, (hits,) = store.search(rows[1:2], 4)
    assert {hit.id for hit in hits} == set(left)
    assert store.resolve(ids[1]) == []
    assert store.has(ids) == set(ids)
    stats = store.stats()
    assert (stats.pictures, stats.files, stats.missing) == (3, 3, 2)
    missing = {one.path for one in store.files() if one.missing}
    assert missing == {"/p/1.jpg", "/p/2.jpg"}

    store.add([], unit(0), [file("/p/1.jpg", 1)])
    assert ids[1] in store.vectors()[0]
    assert store.stats().missing == 1


def test_forgetting_drops_the_path_and_keeps_the_vector(store: Store) -> None:
    ids, rows = fill(store, 2)
    store.forget(["/p/0.jpg", "/never/heard/of"])
    assert [one.path for one in store.files()] == ["/p/1.jpg"]
    kept = store.vector(ids[0])
    assert kept is not None
    np.testing.assert_array_equal(kept, rows[0])
    assert store.vectors()[0] == (ids[1],)


def test_neighbours_are_proposed_among_the_pictures_asked_about(store: Store) -> None:
    ids, rows = fill(store, 40)
    asked = ids[5:30]
    held = rows[5:30]
    proposed, links = store.neighbours(asked, 4, no_progress)
    cosines = held @ held.T
    np.fill_diagonal(cosines, -np.inf)
    for place, line in enumerate(proposed.tolist()):
        assert set(np.argsort(-cosines[place])[:4].tolist()) <= set(line)
    assert links.shape[1:] == (2,)


def test_pruning_drops_missing_files_then_pictures_without_files(store: Store) -> None:
    ids, rows = fill(store, 5)
    store.add([], unit(0), [file("/copy", 1), file("/bad")])
    store.mark_missing(["/p/0.jpg", "/p/1.jpg", "/bad"])
    store.forget(["/p/2.jpg"])
    assert store.prune() == (3, 2)
    assert store.has(ids) == {ids[1], ids[3], ids[4]}
    assert store.vector(ids[0]) is None
    assert store.picture(ids[0]) is None
    assert {one.path for one in store.files()} == {"/copy", "/p/3.jpg", "/p/4.jpg"}
    assert store.prune() == (0, 0)
    assert store.verify(no_progress) == []

    again = unit(1, seed=8)
    store.add([picture(0)], again, [file("/p/0.jpg", 0)])
    kept = store.vector(ids[0])
    assert kept is not None
    np.testing.assert_array_equal(kept, again[0])
    for number in (1, 3, 4):
        _, (hits,) = store.search(rows[number : number + 1], 1)
        assert hits[0].id == ids[number]


# Asking by id


def test_removed_pictures_are_as_if_they_had_never_been(store: Store) -> None:
    ids, rows = fill(store, 6)
    store.add([], rows[:0], [file("/copy", 1), file("/bad")])
    store.mark_missing(["/p/2.jpg", "/p/3.jpg"])
    store.save_grouping(grouping_of([0] * 6, sorted(ids)))
    one, other = sorted(ids[4:])
    twins = [Twin(min(ids[:2]), max(ids[:2]), "pixels", 1.0), Twin(one, other, "near", 0.9)]
    store.save_twins(ids, twins)
    gone = [ids[1], ids[2], an_id(99)]
    assert store.remove(gone) == 2
    assert store.remove(gone) == 0
    assert store.remove([]) == 0
    left = [ids[at] for at in (0, 3, 4, 5)]
    assert store.has(ids) == set(left)
    assert [one.path for one in store.files()] == [
        "/bad",
        *(f"/p/{at}.jpg" for at in (0, 3, 4, 5)),
    ]
    kept = store.grouping()
    assert kept is not None
    assert kept.ids == tuple(sorted(left))
    assert store.examined() == set(left)
    assert store.twins() == twins[1:]
    _, (hits,) = store.search(rows[1:2], 9)
    assert {hit.id for hit in hits} == {ids[0], ids[4], ids[5]}
    assert store.verify(no_progress) == []
    store.add([picture(1)], rows[1:2], [file("/back", 1)])
    _, (hits,) = store.search(rows[1:2], 1)
    assert [hit.id for hit in hits] == [ids[1]]


def test_the_version_tells_of_every_change_and_of_nothing_else(store: Store) -> None:
    ids, rows = fill(store, 4)
    grouping = grouping_of([0] * 4, sorted(ids))
    joined = replace(grouping_of([0], ids[:1]), created=grouping.created)
    seen_versions = [store.version()]
    changes: list[Callable[[], object]] = [
        lambda: store.add([picture(7)], unit(1), [file("/7", 7)]),
        lambda: store.add([], rows[:0], [file("/bad")]),
        lambda: store.mark_missing(["/p/1.jpg"]),
        lambda: store.forget(["/p/0.jpg"]),
        store.prune,
        lambda: store.remove(ids[2:3]),
        lambda: store.save_grouping(grouping),
        lambda: store.join(joined),
        lambda: store.decide(Decision(0, "name", 0, "x", ())),
        lambda: store.withdraw(1),
        lambda: store.save_twins(ids[3:], []),
    ]
    for change in changes:
        change()
        seen_versions.append(store.version())
    assert len(set(seen_versions)) == len(seen_versions)
    looks: list[Callable[[], object]] = [
        store.prune,
        lambda: store.remove([an_id(99)]),
        lambda: store.pin(PIN),
        lambda: store.refresh(no_progress),
        lambda: store.search(rows, 3),
        lambda: store.withdraw(5),
        store.grouping,
        store.stats,
    ]
    for look in looks:
        look()
        assert store.version() == seen_versions[-1]


def test_an_id_is_found_by_its_beginning(store: Store) -> None:
    known = ["aaaa0000" + "0" * 24, "aaaa1111" + "0" * 24, "aaab" + "0" * 28, "bbbb" + "0" * 28]
    pictures = [Picture(one, 1, 1, "PNG") for one in known]
    files = [IndexedFile(f"/{at}", 1, 1, one) for at, one in enumerate(known)]
    store.add(pictures[::-1], unit(4), files)
    assert store.resolve("aaaa0") == [known[0]]
    assert store.resolve("aaaa") == known[:2]
    assert store.resolve("aaa") == known[:2]
    assert store.resolve("aaa", limit=9) == known[:3]
    assert store.resolve(known[3]) == [known[3]]
    assert store.resolve("b", limit=1) == [known[3]]
    assert store.resolve("c") == []
    assert store.resolve("aa%") == []
    store.mark_missing(["/0"])
    assert store.resolve("aaaa") == [known[1]]
    assert store.picture("aaaa") is None
    assert store.vector("aaaa") is None
    assert store.vectors(["aaaa"])[0] == ()
    # Missing, unknown and repeated ones are nothing special.
    some, rows = store.vectors([known[3], known[0], "c" * 32, known[1], known[3]])
    assert some == (known[1], known[3])
    for picture_id, row in zip(some, rows, strict=True):
        np.testing.assert_array_equal(row, store.vector(picture_id))
    assert store.vectors([])[0] == ()


# Searching


def by_hand(rows: Rows, query: Rows) -> np.ndarray[Any, np.dtype[np.float64]]:
    return rows.astype(np.float64) @ query.astype(np.float64)


def assert_lawful(hits: Sequence[Hit]) -> None:
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert all(-1 <= score <= 1 for score in scores)
    assert len({hit.id for hit in hits}) == len(hits)


@every_store
@settings(max_examples=20)
@given(
    count=st.integers(1, 40),
    k=st.integers(1, 60),
    gone=st.sets(st.integers(0, 39), max_size=39),
    seed=st.integers(0, 99),
)
def test_the_exact_search_is_brute_force(
    kind: str, count: int, k: int, gone: set[int], seed: int
) -> None:
    with fresh(kind) as store:
        ids, rows = fill(store, count, seed)
        store.mark_missing([f"/p/{number}.jpg" for number in gone])
        here = [number for number in range(count) if number not in gone]
        queries = unit(3, seed=seed + 1000)
        way, answers = store.search(queries, k, way="exact")
        assert way == "exact"
        for query, hits in zip(queries, answers, strict=True):
            assert_lawful(hits)
            scores = by_hand(rows[here], query)
            best = np.sort(scores)[::-1][:k]
            assert len(hits) == len(best)
            np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-6)
            for hit in hits:
                assert abs(hit.score - by_hand(rows, query)[ids.index(hit.id)]) < 1e-6
        _, answers = store.search(rows[here], 1) if here else ("", [])
        for number, hits in zip(here, answers, strict=True):
            assert hits[0].id == ids[number]
            assert hits[0].score >= 0.9999


@pytest.mark.parametrize("way", [None, "exact", "hnsw"])
def test_k_pictures_come_although_most_of_the_nearest_have_vanished(store: Store, way: Any) -> None:
    ids, rows = fill(store, 200)
    store.refresh(no_progress)
    query = rows[:1]
    order = np.argsort(-by_hand(rows, query[0]))
    store.mark_missing([f"/p/{number}.jpg" for number in order[:150]])
    _, (hits,) = store.search(query, 20, way=way)
    assert [hit.id for hit in hits] == [ids[number] for number in order[150:170]]
    _, (hits,) = store.search(query, 500, way=way)
    assert len(hits) == 50
    assert_lawful(hits)


def test_one_row_and_its_opposite_score_one_and_minus_one(store: Store) -> None:
    rows = np.concatenate([unit(1), -unit(1)])
    store.add([picture(0), picture(1)], rows, [file("/0", 0), file("/1", 1)])
    _, (hits,) = store.search(unit(1), 2)
    assert [hit.id for hit in hits] == [an_id(0), an_id(1)]
    assert hits[0].score == pytest.approx(1, abs=1e-6)
    assert hits[1].score == pytest.approx(-1, abs=1e-6)


def test_a_scan_in_blocks_gives_what_one_in_a_piece_gives(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, rows = fill(store, 100)
    whole = store.search(rows[:7], 12, way="exact")
    for block in (1, 7, 99, 100):
        monkeypatch.setattr(rows_module, "_BLOCK", block)
        way, answers = store.search(rows[:7], 12, way="exact")
        assert way == "exact"
        for mine, theirs in zip(answers, whole[1], strict=True):
            assert [hit.id for hit in mine] == [hit.id for hit in theirs]
            np.testing.assert_allclose(
                [hit.score for hit in mine], [hit.score for hit in theirs], atol=1e-6
            )


def test_of_equal_pictures_the_same_come_first_however_many_are_asked_for(store: Store) -> None:
    rows = np.repeat(unit(3), 20, axis=0)
    pictures = [picture(number) for number in range(60)]
    store.add(pictures, rows, [file(f"/p/{number}.jpg", number) for number in range(60)])
    _, (whole,) = store.search(unit(1), 60, way="exact")
    for k in range(1, 60):
        _, (hits,) = store.search(unit(1), k, way="exact")
        assert [hit.id for hit in hits] == [hit.id for hit in whole[:k]]


# Filters


class Life(NamedTuple):
    """A store's whole content, to be asked in plain Python."""

    pictures: list[Picture]
    rows: Rows
    files: list[IndexedFile]


FOLDERS = ("/a", "/a/b", "/a/b/c", "/ab", "/a b", "/\udcff", "")
STEMS = ("x.jpg", "y.png", "a0", "x.JPG", "b", "\udcfe\n.jpg", "[z].jpg", "é.jpg")
GLOBS = {
    "*.jpg": r".*/[^/]*\.jpg",
    "x.*": r".*/x\.[^/]*",
    "b": r".*/b",
    "b/*": r".*/b/[^/]*",
    "a/**": r".*/a/.*",
    "a/**/x.jpg": r".*/a/(.*/)?x\.jpg",
    "/a/*": r"/a/[^/]*",
    "/a/**/?.jpg": r"/a/(.*/)?[^/]\.jpg",
    "/**": r"/.*",
    "**/b/**": r"(.*/)?b/.*",
    "[[]z].jpg": r".*/\[z\]\.jpg",
    "nothing": r"(?!)",
}
DATES = (None, "2023-12-31T23:59:59", "2024-01-01T00:00:00", "2024-05-06T07:08:09", "2025-02-03")
SIDES = (1, 30, 31, 40)


@st.composite
def lives(draw: st.DrawFn) -> Life:
    count = draw(st.integers(0, 14))
    pictures = [
        Picture(
            an_id(number),
            draw(st.sampled_from(SIDES)),
            draw(st.sampled_from(SIDES)),
            draw(st.sampled_from(["JPEG", "PNG", "HEIF"])),
            draw(st.sampled_from(DATES)),
        )
        for number in range(count)
    ]
    paths = [f"{folder}/{stem}" for folder in FOLDERS for stem in STEMS]
    files = []
    for path in draw(st.lists(st.sampled_from(paths), unique=True, max_size=30)):
        number = draw(st.none() | st.integers(0, count - 1)) if count else None
        missing = draw(st.sampled_from([False, False, True]))
        files.append(file(path, number)._replace(missing=missing))
    return Life(pictures, unit(count, seed=draw(st.integers(0, 9))), files)


def several(values: Sequence[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.just(()) | st.lists(st.sampled_from(values), max_size=2).map(tuple)


sizes_of = st.none() | st.tuples(st.sampled_from(SIDES), st.sampled_from(SIDES))
dates = st.none() | st.sampled_from(
    ["2023", "2024", "2024-01", "2024-05-06", "2024-05-06T07:08", "2024-05-06 07:08:09", "2025"]
)
filters = st.builds(
    Where,
    paths=several(list(GLOBS)),
    folders=several([*FOLDERS[:-1], "/", "/a/b/x.jpg", "/nowhere"]),
    after=dates,
    before=dates,
    larger=sizes_of,
    smaller=sizes_of,
    orientation=st.sampled_from([None, None, "landscape", "portrait", "square"]),
    formats=several(["JPEG", "jpg", "png", "Heic", "TIFF"]),
    ids=st.none() | st.frozensets(st.integers(0, 15).map(an_id)),
)


def let_through(life: Life, where: Where) -> dict[str, list[str]]:
    """The files that a filter lets through, by picture: what the words say, picture by picture."""
    out: dict[str, list[str]] = {}
    for one in life.pictures:
        sides = sorted((one.width, one.height), reverse=True)
        shape = "square" if one.width == one.height else "landscape"
        shape = "portrait" if one.width < one.height else shape
        meets = [
            where.ids is None or one.id in where.ids,
            where.orientation is None or where.orientation == shape,
            not where.formats or one.format in where.formats,
            where.larger is None or all(a >= b for a, b in zip(sides, where.larger, strict=True)),
            where.smaller is None or all(a <= b for a, b in zip(sides, where.smaller, strict=True)),
        ]
        for bound, early in ((where.after, False), (where.before, True)):
            if bound is not None:
                moment = None if one.taken is None else datetime.fromisoformat(one.taken)
                start = datetime.fromisoformat(bound + "2024-01-01T00:00:00"[len(bound) :])
                meets.append(moment is not None and (moment < start) == early)
        if not all(meets):
            continue
        for known in life.files:
            mine = known.path.split("/")
            homes = [folder.rstrip("/").split("/") for folder in where.folders]
            if (
                known.id == one.id
                and not known.missing
                and (not homes or any(mine[: len(home)] == home for home in homes))
                and (
                    not where.paths
                    or any(re.fullmatch(GLOBS[g], known.path, re.DOTALL) for g in where.paths)
                )
            ):
                out.setdefault(one.id, []).append(known.path)
    return {its_id: sorted(copies, key=os.fsencode) for its_id, copies in out.items()}


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        ("memory", None),
        *(("local", way) for way in (None, "exact", "hnsw")),
        *(("milvus", way) for way in (None, "exact", "hnsw")),
    ],
)
@settings(max_examples=25)
@given(life=lives(), chosen=st.lists(filters, min_size=1, max_size=3), k=st.integers(1, 16))
def test_a_filtered_search_finds_the_best_of_what_it_lets_through(
    kind: str, way: Any, life: Life, chosen: list[Where], k: int
) -> None:
    with fresh(kind) as store, pytest.MonkeyPatch.context() as patch:
        store.add(life.pictures, life.rows, life.files)
        store.refresh(no_progress)
        if way == "hnsw":  # so small a library would not be walked
            patch.setattr(view_module, "_ROWS_A_WALK", 0)
        queries = unit(2, seed=77)
        for where in [*chosen, *chosen]:  # the second time from memory
            expected = let_through(life, where)
            ids = [one.id for one in life.pictures]
            assert store.paths(ids, where) == expected
            ran, answers = store.search(queries, k, way=way, where=where)
            if (kind, way) == ("local", "hnsw") and expected:
                assert ran == "hnsw"
            for query, hits in zip(queries, answers, strict=True):
                assert_lawful(hits)
                scores = by_hand(life.rows, query) if ids else np.empty(0)
                order = [at for at in np.argsort(-scores) if ids[at] in expected][:k]
                assert [hit.id for hit in hits] == [ids[at] for at in order]
                np.testing.assert_allclose(
                    [hit.score for hit in hits], [scores[at] for at in order], atol=1e-6
                )


@pytest.mark.parametrize("way", [None, "exact", "hnsw"])
@pytest.mark.parametrize("walk", [0, 1, 64])
def test_a_filter_that_leaves_the_farthest_hundredth_gives_all_of_it_in_order(
    store: Store, way: Any, walk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_module, "_ROWS_A_WALK", walk)
    ids, rows = fill(store, 1000)
    store.refresh(no_progress)
    order = np.argsort(-by_hand(rows, rows[0]))
    some = frozenset(ids[at] for at in order[-10:])
    _, (hits,) = store.search(rows[:1], 10, way=way, where=Where(ids=some))
    assert [hit.id for hit in hits] == [ids[at] for at in order[-10:]]
    _, (hits,) = store.search(rows[:1], 30, way=way, where=Where(ids=some))
    assert [hit.id for hit in hits] == [ids[at] for at in order[-10:]]


@every_store
@settings(max_examples=25)
@given(life=lives(), where=st.none() | filters)
def test_pictures_are_listed_in_every_order(kind: str, life: Life, where: Where | None) -> None:
    with fresh(kind) as store:
        store.add(life.pictures, life.rows, life.files)
        held = let_through(life, where or Where())
        first = {one: os.fsencode(copies[0]) for one, copies in held.items()}
        taken = {one.id: one.taken for one in life.pictures}
        by_path = sorted(first, key=first.__getitem__)
        assert store.listing("path", where) == tuple(by_path)
        dated = [one for one in by_path if taken[one] is not None]
        undated = [one for one in by_path if taken[one] is None]

        def when(one: str) -> datetime:
            return datetime.fromisoformat(taken[one] or "")

        oldest_first = sorted(dated, key=when)
        latest_first = sorted(dated, key=when, reverse=True)  # of one date still by path
        assert store.listing("taken", where) == (*oldest_first, *undated)
        assert store.listing("newest", where) == (*latest_first, *undated)


def test_a_filter_heeds_what_came_and_went_since_it_was_asked_first(store: Store) -> None:
    ids, rows = fill(store, 4)
    where = Where(paths=("[12].jpg",))
    for gone, left in (([], [1, 2]), (["/p/1.jpg"], [2]), (["/p/2.jpg"], [])):
        store.mark_missing(gone)
        _, (hits,) = store.search(rows[:1], 4, where=where)
        assert {hit.id for hit in hits} == {ids[at] for at in left}
    store.add([picture(9)], unit(1, seed=9), [file("/q/1.jpg", 9)])
    _, (hits,) = store.search(rows[:1], 4, where=where)
    assert [hit.id for hit in hits] == [an_id(9)]


# Groupings


@pytest.mark.parametrize(
    "labels",
    [[0, 0, 1, -1, 1, 0], [-1, -1, -1, -1, -1, -1], [0, 0, 0, 0, 0, 0], []],
    ids=["groups and noise", "noise only", "one group", "empty"],
)
def test_a_grouping_comes_back_as_it_was_saved(store: Store, labels: list[int]) -> None:
    ids, _ = fill(store, 6)
    first = grouping_of([0] * 6, sorted(ids))
    store.save_grouping(first)
    saved = grouping_of(labels, sorted(ids)[: len(labels)])
    store.save_grouping(saved)
    assert_same_grouping(store.grouping(), saved)


def test_pictures_that_were_pruned_drop_out_of_the_grouping(store: Store) -> None:
    ids, _ = fill(store, 7)
    order = sorted(ids)
    number = {one: at for at, one in enumerate(ids)}
    saved = grouping_of([0, 0, 0, 1, 1, -1, 2], order)
    store.save_grouping(saved)
    lost = [order[0], order[5], order[6]]  # the cover of group 0, some noise, all of group 2
    store.mark_missing([f"/p/{number[one]}.jpg" for one in lost])
    assert_same_grouping(store.grouping(), saved)  # missing is not pruned: it may come back
    store.prune()
    kept = store.grouping()
    assert kept is not None
    assert kept.ids == tuple(order[1:5])
    assert kept.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(kept.strengths, saved.strengths[1:5])
    np.testing.assert_array_equal(kept.outliers, saved.outliers[1:5])
    assert [(group.id, group.size) for group in kept.groups] == [(0, 2), (1, 2)]
    strongest = order[1] if saved.strengths[1] >= saved.strengths[2] else order[2]
    assert kept.groups[0].medoid == strongest
    assert kept.groups[0].exemplars == ()
    assert kept.groups[1] == saved.groups[1]


def test_the_history_of_groups_outlives_the_groupings(store: Store) -> None:
    ids, _ = fill(store, 4)
    assert store.history() == []
    new = Change("2024-05-06T07:08:09+00:00", "new", (), (SizedGroup(0, 4),))
    merged = replace(new, kind="merged", before=(SizedGroup(0, 4), SizedGroup(3, 2)))
    store.save_grouping(grouping_of([0] * 4, sorted(ids)), [new])
    store.save_grouping(grouping_of([0] * 4, sorted(ids)), [merged, new])
    store.save_grouping(grouping_of([-1] * 4, sorted(ids)))
    assert store.history() == [new, merged, new]


def test_pictures_join_the_grouping_that_they_were_compared_with(store: Store) -> None:
    ids, _ = fill(store, 6)
    order = sorted(ids)
    assert store.ungrouped() == []  # there is nothing to join
    kept = replace(grouping_of([0, 0, 1, 1], order[:4]), created="2024-05-06T07:08:10.5+00:00")
    store.save_grouping(kept)
    assert store.ungrouped() == order[4:]
    new = replace(
        grouping_of([1, -1], order[4:]),
        joined=np.ones(2, np.bool_),
        exemplars=np.zeros(2, np.bool_),
        places=np.full((2, 2), np.nan, np.float32),
        groups=kept.groups,
        created=kept.created,
    )
    store.join(replace(new, created="2023-01-01T00:00:00+00:00"))
    assert_same_grouping(store.grouping(), kept)  # compared with another one
    store.join(new)
    store.join(new)  # twice is once
    assert store.ungrouped() == []
    whole = store.grouping()
    assert whole is not None
    assert whole.ids == tuple(order)
    assert whole.labels.tolist() == [0, 0, 1, 1, 1, -1]
    assert whole.joined.tolist() == [False] * 4 + [True] * 2
    np.testing.assert_array_equal(whole.places, np.concatenate([kept.places, new.places]))
    assert [(group.id, group.size) for group in whole.groups] == [(1, 3), (0, 2)]
    assert whole.groups[1] == kept.groups[0]
    number = {one: at for at, one in enumerate(ids)}
    store.mark_missing([f"/p/{number[order[4]]}.jpg"])
    store.prune()
    store.save_grouping(kept)
    assert store.ungrouped() == order[5:]


def test_decisions_are_kept_until_they_are_withdrawn(store: Store) -> None:
    assert store.decisions() == []
    made = [
        Decision(0, "name", 7, "Sé \udcff\n", ()),
        Decision(0, "together", 8, None, ("a", "b")),
        Decision(0, "apart", None, None, ("b", "a")),
    ]
    assert [store.decide(one) for one in made] == [1, 2, 3]
    assert store.decisions() == [replace(one, number=at) for at, one in enumerate(made, 1)]
    assert store.withdraw(3)
    assert not store.withdraw(3)
    assert store.decide(made[0]) == 4  # no number is used twice
    assert [one.number for one in store.decisions()] == [1, 2, 4]


def test_decisions_of_another_store_keep_their_numbers(store: Store) -> None:
    ids, _ = fill(store, 4)
    store.save_grouping(grouping_of([0] * 4, sorted(ids)))
    assert store.decided() == 0
    made = [
        Decision(3, "name", 7, "Sé \udcff\n", ()),
        Decision(5, "together", 30, None, tuple(map(an_id, range(2100)))),
    ]
    store.put_decisions(made, 9)
    store.put_decisions(made[:1], 2)  # twice is once
    assert store.decisions() == made
    assert store.decided() == 9
    kept = store.grouping()
    assert kept is not None
    assert kept.next_id == 31
    assert store.decide(Decision(0, "name", 8, "new", ())) == 10
    assert [one.number for one in store.decisions()] == [3, 5, 10]
    store.put_decisions([replace(made[0], number=12)], 0)
    assert store.decided() == 12
    assert store.withdraw(12)
    assert store.decided() == 12


# Moving


def test_pictures_come_in_blocks_whether_or_not_a_file_is_present(store: Store) -> None:
    assert store.block("", 5)[0] == ()
    assert store.block("", 5)[1].shape == (0, DIMENSION)
    ids, rows = fill(store, 7)
    store.add([picture(9)], unit(1, seed=9))
    store.mark_missing(["/p/0.jpg"])
    store.forget(["/p/1.jpg"])
    every = dict(zip([*ids, an_id(9)], [*rows, *unit(1, seed=9)], strict=True))
    order, after = sorted(every), ""
    for some in (order[:3], order[3:6], order[6:]):
        names, block = store.block(after, 3)
        assert names == tuple(some)
        assert block.dtype == np.float32
        np.testing.assert_array_equal(block, [every[one] for one in some])
        after = some[-1]
    assert store.block(after, 3)[0] == ()
    assert store.block("", 100)[0] == tuple(order)


def test_an_unfinished_copy_says_so_until_it_is_whole(store: Store) -> None:
    assert store.origin() is None
    for origin in ("/home/ada/photos", None):
        version = store.version()
        store.put_origin(origin)
        assert store.origin() == origin
        assert store.version() != version


# Several at once


def test_searches_run_while_pictures_come_in(store: Store) -> None:
    ids, rows = fill(store, 50)
    store.refresh(no_progress)
    stop = threading.Event()
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                while not stop.is_set():
                    work()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
                failures.append(error)

        return run

    def search() -> None:
        _, answers = store.search(rows[:8], 3, way="hnsw")
        assert [hits[0].id for hits in answers] == ids[:8]

    def look() -> None:
        present, matrix = store.vectors()
        assert len(present) == len(matrix) >= 50
        assert store.stats().pictures >= 50
        kept = store.vector(store.files()[-1].id or "")
        assert kept is not None

    threads = [threading.Thread(target=guarded(work)) for work in (search, search, look)]
    for thread in threads:
        thread.start()
    for batch in range(12):
        numbers = range(1000 + 20 * batch, 1020 + 20 * batch)
        store.add(
            [picture(number) for number in numbers],
            unit(20, seed=batch + 50),
            [file(f"/q/{number}", number) for number in numbers],
        )
        store.refresh(no_progress)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert store.stats().pictures == 50 + 240
    assert store.verify(no_progress) == []


def test_writers_of_one_store_take_turns(store: Store) -> None:
    failures: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for number in range(first, first + 10):
                with store.writing():
                    store.add([picture(number)], unit(1, seed=number), [file(f"/{number}", number)])
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(100 * at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert store.stats().pictures == 40
    for number in (0, 105, 209, 300):
        kept = store.vector(an_id(number))
        assert kept is not None
        np.testing.assert_array_equal(kept, unit(1, seed=number)[0])


def test_other_threads_read_while_one_writes(store: Store) -> None:
    ids, rows = fill(store, 3)
    answers: list[object] = []

    def read() -> None:
        answers.append(store.has(ids))
        answers.append(store.vectors()[0])
        answers.append([hits[0].id for hits in store.search(rows, 1)[1]])
        answers.append(len(store.files()))

    with store.writing():
        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        thread.join(20)
    assert answers == [set(ids), tuple(sorted(ids)), ids, 3]


def test_writing_nests_and_ends_with_an_error_inside(store: Store) -> None:
    def fail() -> None:
        with store.writing(), store.writing():
            store.add([picture(1)], unit(1), [file("/1", 1)])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with store.writing():
        store.mark_missing(["/1"])
    assert store.stats().missing == 1


# Every store against the simplest one


class Congruence(RuleBasedStateMachine):
    """The same random life for the memory store and another one: they always look the same."""

    kind = "local"

    def __init__(self) -> None:
        super().__init__()
        self.contexts = [fresh("memory"), fresh(self.kind)]
        self.stores: list[Store] = [context.__enter__() for context in self.contexts]
        self.step = 0

    def teardown(self) -> None:
        for context in self.contexts:
            context.__exit__(None, None, None)

    @initialize(count=st.integers(0, 12))
    def begin(self, count: int) -> None:
        for store in self.stores:
            fill(store, count)

    @rule(numbers=st.lists(st.integers(0, 20), max_size=5), where=st.lists(paths, max_size=5))
    def add(self, numbers: list[int], where: list[str]) -> None:
        self.step += 1
        files = [
            file(path, numbers[at] if at < len(numbers) else None) for at, path in enumerate(where)
        ]
        for store in self.stores:
            store.add([picture(n) for n in numbers], unit(len(numbers), seed=self.step), files)

    @rule(where=st.lists(paths | st.integers(0, 12).map("/p/{}.jpg".format), max_size=4))
    def vanish(self, where: list[str]) -> None:
        for store in self.stores:
            store.mark_missing(where)

    @rule(where=st.lists(st.integers(0, 12).map("/p/{}.jpg".format), max_size=2))
    def forget(self, where: list[str]) -> None:
        for store in self.stores:
            store.forget(where)

    @rule()
    def prune(self) -> None:
        first, second = [store.prune() for store in self.stores]
        assert first == second

    @rule(numbers=st.lists(st.integers(0, 20), max_size=3))
    def remove(self, numbers: list[int]) -> None:
        first, second = [store.remove(list(map(an_id, numbers))) for store in self.stores]
        assert first == second

    @rule()
    def group(self) -> None:
        for store in self.stores:
            ids, _ = store.vectors()
            labels = [at % 4 - 1 if len(ids) > 3 else -1 for at in range(len(ids))]
            store.save_grouping(grouping_of(labels, ids))

    @rule()
    def join(self) -> None:
        for store in self.stores:
            ids, kept = store.ungrouped(), store.grouping()
            if ids and kept is not None and kept.ids:
                label = int(kept.labels[0])
                new = grouping_of([-1] * len(ids), ids)
                labels = np.full(len(ids), label, np.int32)
                store.join(replace(new, labels=labels, groups=kept.groups, created=kept.created))

    @rule()
    def refresh(self) -> None:
        for store in self.stores:
            store.refresh(no_progress)

    @rule(k=st.integers(1, 20), seed=st.integers(0, 9), way=st.sampled_from([None, "exact"]))
    def search(self, k: int, seed: int, way: Any) -> None:
        mine, theirs = [store.search(unit(2, seed=seed), k, way=way)[1] for store in self.stores]
        for one, other in zip(mine, theirs, strict=True):
            assert [hit.id for hit in one] == [hit.id for hit in other]
            np.testing.assert_allclose(
                [hit.score for hit in one], [hit.score for hit in other], atol=1e-6
            )

    @invariant()
    def same(self) -> None:
        first, second = self.stores
        assert seen(first) == seen(second)
        assert first.ungrouped() == second.ungrouped()
        mine, theirs = first.grouping(), second.grouping()
        assert (mine is None) == (theirs is None)
        if mine is not None:
            assert_same_grouping(theirs, mine)
        assert first.listing("newest") == second.listing("newest")
        every = [an_id(number) for number in range(21)]
        assert first.has(every) == second.has(every)
        for prefix in "0123456789abcdef":
            assert first.resolve(prefix) == second.resolve(prefix)
        for store in self.stores:
            assert store.verify(no_progress) == []


TestCongruence = Congruence.TestCase
TestCongruence.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)


class OnMilvus(Congruence):
    """The same on a server."""

    kind = "milvus"


TestOnMilvus = OnMilvus.TestCase
TestOnMilvus.settings = settings(max_examples=4, stateful_step_count=10, deadline=None)


def test_the_figures_agree_with_what_is_there(store: Store) -> None:
    fill(store, 3)
    store.add([picture(9)], unit(1), [file("/bad"), file("/worse")])
    store.mark_missing(["/worse", "/p/2.jpg"])
    stats = store.stats()
    assert stats == StoreStats(2, 2, 2, 1, 4, stats.index, stats.bytes)


@pytest.mark.parametrize("kind", ["local", "milvus"])
def test_a_second_store_object_may_not_write_meanwhile(kind: str) -> None:
    with fresh(kind) as first:
        second = open_store(first.url)
        try:
            with first.writing():
                with pytest.raises(LibraryBusyError, match="another process"), second.writing():
                    pass
                with pytest.raises(LibraryBusyError):
                    second.add([picture(1)], unit(1))
                assert second.pinned() == PIN  # reading goes on
            second.add([picture(1)], unit(1), [file("/1", 1)])
            assert first.has([an_id(1)]) == {an_id(1)}
        finally:
            second.close()


# Sketches and twins


def test_sketches_are_kept_with_pictures_and_added_later(store: Store) -> None:
    drawn = replace(picture(0), sketch=bytes(1024))
    store.add([drawn, picture(1)], unit(2), [file("/p/0.jpg", 0), file("/p/1.jpg", 1)])
    ids = [an_id(0), an_id(1)]
    assert {one: found.sketch for one, found in store.pictures(ids).items()} == {
        ids[0]: bytes(1024),
        ids[1]: b"",
    }
    assert store.pictures([ids[1]])[ids[1]] == picture(1)
    store.put_sketches({ids[1]: b"\1" * 1024, an_id(9): b"\2" * 1024})
    assert store.pictures([*ids, an_id(9)])[ids[1]].sketch == b"\1" * 1024
    assert an_id(9) not in store.pictures([an_id(9)])


def test_twins_and_whose_were_looked_for(store: Store) -> None:
    ids, _ = fill(store, 4)
    ids = sorted(ids)
    assert store.twins() == []
    assert store.examined() == set()
    one, other = Twin(ids[0], ids[1], "near", 0.9), Twin(ids[1], ids[3], "pixels", 1.0)
    store.save_twins(ids[:2], [one])
    store.save_twins([ids[3]], [other, one._replace(score=0.95)])
    assert store.twins() == [one._replace(score=0.95), other]
    assert store.examined() == {ids[0], ids[1], ids[3]}
    store.save_twins([an_id(99)], [Twin(ids[0], an_id(99), "near", 0.9)])
    assert len(store.twins()) == 2
    assert an_id(99) not in store.examined()


def test_twins_of_pruned_pictures_go(store: Store) -> None:
    ids, _ = fill(store, 3)
    pair = sorted(ids[:2])
    store.save_twins(ids, [Twin(pair[0], pair[1], "near", 0.9)])
    store.mark_missing(["/p/0.jpg"])
    assert len(store.twins()) == 1
    store.prune()
    assert store.twins() == []
    assert store.examined() == set(ids[1:])
