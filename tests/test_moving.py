"""Libraries that move between stores: all of it, verified, and whatever interrupts them."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import replace
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milvus_server import emptied, running
from test_store import (
    PIN,
    STORES,
    Life,
    an_id,
    assert_same_grouping,
    file,
    fresh,
    grouping_of,
    lives,
    picture,
    unit,
)
from typer.testing import CliRunner

from imgindex import Library, moving
from imgindex.cli.app import app
from imgindex.errors import LibraryNotFoundError, ModelMismatchError, StoreError
from imgindex.moving import copy
from imgindex.records import Change, Decision, Group, SizedGroup, Twin, no_progress
from imgindex.store import open_store
from imgindex.store.milvus.store import MilvusStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imgindex.records import Grouping
    from imgindex.store import Store

READING = {"url", "pinned", "version", "files", "has", "pictures", "block", "twins", "examined"}
READING |= {"grouping", "history", "decisions", "decided", "origin", "stats"}


def grouped(ids: list[str], seed: int) -> Grouping:
    """Groups with a part, with pictures that joined later and have no place, and some noise."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(-1, 2, len(ids)).astype(np.int32)
    parts = np.where((labels == 0) & (draw.random(len(ids)) < 0.5), 7, labels).astype(np.int32)
    joined = draw.random(len(ids)) < 0.3
    whole = grouping_of(labels.tolist(), ids)
    inner = [ids[at] for at in np.flatnonzero(parts == 7)]
    part = (Group(7, len(inner), inner[0], (), parent=0),) if inner else ()
    places = whole.places.copy()
    places[joined] = np.nan
    return replace(
        whole, parts=parts, joined=joined, places=places, subgroups=part, next_id=8
    ).counted()


def lived(store: Store, life: Life, seed: int) -> None:
    """A store with all that a library can hold."""
    draw = np.random.default_rng(seed)
    sketched = [
        replace(one, sketch=bytes([at % 256]) * 1024 if at % 3 else b"")
        for at, one in enumerate(life.pictures)
    ]
    store.add(sketched, life.rows, life.files)
    ids = sorted(one.id for one in life.pictures)
    store.save_twins(
        ids[::2], [Twin(a, b, "near", float(draw.random()), a, 0.7) for a, b in pairwise(ids)]
    )
    if ids:
        run = Change("2024-05-06T07:08:09+00:00", "new", (), (SizedGroup(0, 3),))
        store.save_grouping(grouped(ids, seed), [run, replace(run, kind="kept")])
    for group in range(4):
        store.decide(Decision(0, "name", 20 + group, "Sé \udcff\n", tuple(ids[:group])))
    store.withdraw(2)
    store.withdraw(4)


def content(store: Store) -> tuple[Any, ...]:
    """All that a library holds, but for its grouping."""
    ids, rows = store.block("", 1000)
    known = store.pictures(ids)
    return (
        *(store.pinned(), ids, rows.tobytes(), known),
        {one: found.sketch for one, found in known.items()},
        *(store.files(), store.paths(ids), store.listing("newest"), store.ungrouped()),
        *(store.twins(), store.examined(), store.history(), store.decisions(), store.decided()),
        store.origin(),
    )


def assert_equal(source: Store, target: Store) -> None:
    assert content(target) == content(source)
    whole = source.grouping()
    if whole is None:
        assert target.grouping() is None
    else:
        assert_same_grouping(target.grouping(), whole)
    assert target.verify(no_progress) == []


class ReadOnly:
    """A store of which only what reads may be called."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        assert name in READING, name
        return getattr(self._store, name)


def reading(store: Store) -> Any:
    return ReadOnly(store)


class Died(BaseException):
    """Not an error that anything would catch."""


class Mortal:
    """An object whose user dies at its n-th call, before it or right after it."""

    def __init__(self, of: Any, left: int, *, after: bool = False) -> None:
        self._of = of
        self._left = left
        self._after = after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        if not callable(found):
            return found

        def called(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left < 0 and not self._after:
                raise Died
            result = found(*args, **kwargs)
            if self._left < 0:
                raise Died
            return result

        return called


def dies(source: Store, target: Any) -> bool:
    """Copy; whether that was cut short."""
    try:
        copy(source, target, no_progress)
    except Died:
        return True
    return False


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "_BLOCK", 3)


def example() -> Life:
    """Pictures of every standing: with files, with a missing one, with none."""
    files = [
        *(file("/a/1.jpg", 1), file("/a/2.jpg", 2), file("/b/1.jpg", 1)),
        *(file("/a/\udcff.jpg", 3)._replace(missing=True), file("/a/4.jpg", 4)),
        *(file("/broken.jpg"), file("/gone.jpg")._replace(missing=True)),
    ]
    return Life([picture(number) for number in range(8)], unit(8, seed=1), files)


@pytest.fixture
def source() -> Iterator[Store]:
    with fresh("memory") as store:
        lived(store, example(), 1)
        yield store


# All of it


@pytest.mark.parametrize("ways", [("memory", "local"), ("local", "memory")], ids=" to ".join)
@settings(max_examples=15)
@given(life=lives(), seed=st.integers(0, 99), block=st.integers(1, 16))
def test_any_library_comes_out_as_it_went_in(
    ways: tuple[str, str], life: Life, seed: int, block: int
) -> None:
    with fresh(ways[0]) as source, STORES[ways[1]]() as target, pytest.MonkeyPatch.context() as p:
        p.setattr(moving, "_BLOCK", block)
        lived(source, life, seed)
        report = copy(reading(source), target, no_progress)
        assert report.differences == ()
        assert report.sent == report.pictures == len(life.pictures)
        assert report.files == len(life.files)
        assert_equal(source, target)
        assert target.decide(Decision(0, "name", 1, "x", ())) == 5  # no number is used twice
        assert source.origin() is None


def test_to_milvus_and_back_it_is_the_same(tmp_path: Path, source: Store) -> None:
    first, last = (open_store(tmp_path / name, create=True) for name in ("first", "last"))
    with closing(first), closing(last), emptied(running()) as url:
        assert copy(source, first, no_progress).differences == ()
        with closing(open_store(url)) as server:
            there = copy(reading(first), server, no_progress)
            assert there.differences == ()
            assert_equal(first, server)
            back = copy(reading(server), last, no_progress)
            assert back.differences == ()
        assert_equal(first, last)
        assert there.checksum == back.checksum
        assert last.stats().index == "ready"
        _, (hits,) = last.search(unit(1), 3, way="hnsw")
        _, (expected,) = first.search(unit(1), 3, way="exact")
        assert [hit.id for hit in hits] == [hit.id for hit in expected]


@pytest.mark.usefixtures("small_blocks")
def test_what_is_there_is_not_sent_again(source: Store) -> None:
    with STORES["memory"]() as target:
        assert copy(source, target, no_progress).sent == 8

        class Whole(ReadOnly):
            """It holds all already; only the mark of the copy is put and taken away."""

            def __getattr__(self, name: str) -> Any:
                free = {"writing", "put_origin", "pin", "refresh", "remove", "forget"}
                return getattr(self._store, name) if name in free else super().__getattr__(name)

        again: Any = Whole(target)
        assert copy(source, again, no_progress).sent == 0
        source.add([picture(9)], unit(1, seed=9), [file("/9.jpg", 9), file("/a/1.jpg", 9)])
        source.put_sketches({an_id(0): b"\7" * 1024})
        source.mark_missing(["/a/2.jpg"])
        assert copy(source, target, no_progress).sent == 1
        assert_equal(source, target)


@pytest.mark.usefixtures("small_blocks")
def test_no_more_than_a_block_of_pictures_is_held_at_once(source: Store) -> None:
    sizes: list[int] = []

    class Watched(ReadOnly):
        """It notes how many pictures come with every call."""

        def __getattr__(self, name: str) -> Any:
            found = getattr(self._store, name)
            if name not in {"has", "pictures", "add", "put_sketches", "save_twins"}:
                return found

            def called(*args: Any) -> Any:
                sizes.extend(map(len, args[:2]))
                return found(*args)

            return called

    with STORES["memory"]() as target:
        one, other = Watched(source), Watched(target)
        copy(reading(cast("Store", one)), cast("Store", other), no_progress)
        assert_equal(source, target)
    assert max(sizes) == 3


def test_progress_and_figures_are_told(source: Store) -> None:
    told: list[tuple[str, int, int]] = []
    with STORES["local"]() as target:
        report = copy(source, target, lambda *one: told.append(one))
    assert ("copy", 8, 8) in told
    assert ("compare", 8, 8) in told
    kept = source.grouping()
    assert kept is not None
    assert (report.groups, report.changes) == (len(kept.every_group), 2)
    assert (report.decisions, report.twins) == (2, 7)
    assert report.seconds > 0


# Interrupted


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_copy_that_dies_at_any_call_of_a_store_is_ended_by_the_next(
    source: Store, *, after: bool
) -> None:
    for left in count():
        with STORES["memory"]() as target:
            mortal = Mortal(target, left, after=after)
            died = dies(source, mortal)
            if died:
                assert copy(source, target, no_progress).differences == ()
            assert_equal(source, target)
        if not died:
            break
    assert left > 40


@pytest.mark.usefixtures("small_blocks")
def test_one_that_dies_again_and_again_gets_there_in_a_folder(
    source: Store, tmp_path: Path
) -> None:
    for left in count():
        with closing(open_store(tmp_path / "library", create=True)) as target:
            mortal = Mortal(target, left, after=left % 2 == 0)
            if not dies(source, mortal):
                break
    with closing(open_store(tmp_path / "library")) as target:
        assert_equal(source, target)
        assert target.stats().index == "ready"


@pytest.mark.usefixtures("small_blocks")
def test_one_that_dies_again_and_again_gets_there_on_milvus(
    source: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emptied(running()) as url:
        for left in count(2, 8):
            with closing(MilvusStore(url)) as target:
                server = target._server
                with monkeypatch.context() as patch:
                    mortal = Mortal(server, left)
                    for name in ("put", "take"):
                        patch.setattr(server, name, getattr(mortal, name))
                    died = dies(source, target)
                for lease in ("write", "groups"):  # or else one had to wait until they run out
                    folder = f"lease/{lease}"
                    target._notes.drop([f"{folder}/{key}" for key in target._notes.below(folder)])
            if not died:
                break
        with closing(open_store(url)) as target:
            assert_equal(source, target)


@pytest.mark.usefixtures("small_blocks")
def test_an_unfinished_copy_follows_what_its_source_has_lost_since(source: Store) -> None:
    for left in range(0, 50, 3):
        with STORES["memory"]() as target, STORES["memory"]() as changed:
            copy(source, changed, no_progress)
            mortal = Mortal(target, left)
            dies(changed, mortal)
            marked = target.origin() is not None
            changed.remove([an_id(1), an_id(5)])
            changed.forget(["/broken.jpg"])
            changed.withdraw(3)
            if marked:
                copy(changed, target, no_progress)
                assert_equal(changed, target)


def test_an_unfinished_copy_is_not_taken_for_a_library(tmp_path: Path, source: Store) -> None:
    with closing(open_store(tmp_path / "library", create=True)) as target:
        target.put_origin("/somewhere/else")
        assert target.origin() == "/somewhere/else"
        target.pin(PIN)
        with pytest.raises(StoreError, match="itself an unfinished copy of /somewhere/else"):
            copy(target, source, no_progress)
    with (
        Library(tmp_path / "library") as library,
        pytest.raises(StoreError, match=r"go on with: imgindex copy /somewhere/else .*library$"),
    ):
        library.status()


# Refused


def test_another_library_is_refused_and_left_as_it_is(source: Store) -> None:
    strangers: dict[str, Callable[[Store], object]] = {
        "pictures": lambda one: one.add([picture(99)], unit(1)),
        "files": lambda one: one.add([], unit(0), [file("/mine.jpg")]),
        "decisions": lambda one: one.decide(Decision(0, "name", 1, "mine", ())),
        "pairs of copies": lambda one: one.save_twins(
            (), [Twin(an_id(3), an_id(5), "pixels", 1.0)]
        ),
        "groupings": lambda one: one.save_grouping(
            replace(grouping_of([0] * 8, sorted(map(an_id, range(8)))), created="2025")
        ),
        "changes of groups": lambda one: one.save_grouping(
            grouped(sorted(map(an_id, range(8))), 1), [Change("2025", "gone", (), ())]
        ),
    }
    for what, change in strangers.items():
        with STORES["memory"]() as target:
            copy(source, target, no_progress)
            change(target)
            before, kept = content(target), target.grouping()
            with pytest.raises(StoreError, match=rf"another library: {what} \(\d+\) that memory:"):
                copy(source, target, no_progress)
            assert content(target) == before
            assert kept is not None
            assert_same_grouping(target.grouping(), kept)


def test_another_model_is_refused_with_both_in_the_message(source: Store) -> None:
    with fresh("memory", replace(PIN, name="intruder", fingerprint="e" * 64)) as target:
        with pytest.raises(ModelMismatchError, match=r"intruder .*e{12}.* one of tiny .f{12}"):
            copy(source, target, no_progress)
        assert target.origin() is None


def test_nothing_to_copy_and_itself_are_refused(source: Store, tmp_path: Path) -> None:
    with STORES["memory"]() as empty, pytest.raises(LibraryNotFoundError, match="nothing to copy"):
        copy(empty, source, no_progress)
    with closing(open_store(tmp_path / "one", create=True)) as one:
        copy(source, one, no_progress)
        (tmp_path / "other").symlink_to("one")
        with (
            closing(open_store(tmp_path / "other")) as same,
            pytest.raises(StoreError, match="itself"),
        ):
            copy(one, same, no_progress)
        assert one.origin() is None


def test_what_differs_in_the_end_is_told_and_it_stays_unfinished(source: Store) -> None:
    class Forgetful(ReadOnly):
        """A store that turns rows round, and does not keep files or numbers."""

        def __getattr__(self, name: str) -> Any:
            if name == "add":
                return lambda pictures, rows, _: self._store.add(pictures, -rows)
            if name == "put_decisions":
                return lambda decisions, _: self._store.put_decisions(decisions, 0)
            return getattr(self._store, name)

    with STORES["memory"]() as target:
        broken: Any = Forgetful(target)
        report = copy(source, broken, no_progress)
        first = min(map(an_id, range(8)))
        assert report.differences == (
            f"the rows, as of {first}",
            "the files",
            "the number of the next decision",
        )
        assert target.origin() == source.url


def test_a_source_that_changes_meanwhile_is_told_of(source: Store) -> None:
    def add(stage: str, *_: int) -> None:
        if stage == "copy":
            source.add([picture(50)], unit(1, seed=5), [file("/new.jpg", 50)])

    with STORES["memory"]() as target:
        report = copy(source, target, add)
        assert report.differences[0] == f"the pictures, as of {an_id(50)}"
        assert report.differences[-1].startswith("memory: has changed meanwhile; run it again")
        assert copy(source, target, no_progress).differences == ()
        assert_equal(source, target)


# The command


def test_the_command_tells_what_went_along(source: Store, tmp_path: Path) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    with closing(open_store(first, create=True)) as one:
        copy(source, one, no_progress)
    told = CliRunner().invoke(app, ["copy", first, second, "--json"])
    assert told.exit_code == 0, told.output
    report = json.loads(told.stdout)
    assert (report["source"], report["target"]) == (first, second)
    assert (report["pictures"], report["files"], report["sent"]) == (8, 7, 8)
    assert report["differences"] == []
    told = CliRunner().invoke(app, ["copy", first, second])
    assert "8 pictures in 7 files" in told.stdout
    assert f"both hold the same; checksum of the rows {report['checksum']}" in told.stdout
    with closing(open_store(first)) as one, closing(open_store(second)) as other:
        assert_equal(one, other)
        other.decide(Decision(0, "name", 1, "mine", ()))
    told = CliRunner().invoke(app, ["copy", first, second])
    assert told.exit_code == 1
    assert "holds another library: decisions (1)" in told.stderr


def test_without_a_source_no_target_is_made(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["copy", str(tmp_path / "none"), str(tmp_path / "new")])
    assert told.exit_code == 1
    assert "there is no library at" in told.stderr
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - nothing but names are asked for
