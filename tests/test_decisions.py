"""Groups that users form and merge, and what their decisions make of any grouping."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import png, scene
from PIL import Image
from typer.testing import CliRunner

from imgindex import Library
from imgindex.cli.groups import app
from imgindex.decisions import decide, decided
from imgindex.errors import QueryError, SettingError
from imgindex.records import (
    NOISE,
    Decision,
    Group,
    Grouping,
    GroupingSettings,
    IndexedFile,
    ModelPin,
    Picture,
    lineages,
)
from imgindex.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgindex.store import Store

SETTINGS: Any = {"min_cluster_size": 4, "min_samples": 2, "space": "descriptor"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three families of near-equal pictures: 10, 8 and 6."""
    generator = np.random.default_rng(0)
    for family, count in enumerate((10, 8, 6)):
        base = np.asarray(scene(50 + family, 48, 36), np.int16)
        for member in range(count):
            noisy = np.clip(base + generator.integers(-6, 7, base.shape), 0, 255)
            path = tmp_path / "photos" / f"{family}-{member}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(png(Image.fromarray(noisy.astype(np.uint8))))
    return tmp_path / "photos"


@pytest.fixture(params=["memory", "local"])
def library(
    request: pytest.FixtureRequest, tmp_path: Path, model_file: Path, photos: Path
) -> Iterator[Library]:
    location = "memory:" if request.param == "memory" else tmp_path / "lib"
    with Library(location, model=model_file, device="cpu") as opened:
        opened.add([photos])
        opened.cluster(**SETTINGS)
        yield opened


def sizes(library: Library) -> dict[int, int]:
    return {group.id: group.size for group in library.grouping().groups}


def labels(library: Library) -> dict[str, int]:
    return {Path(one.path).name: one.group for one in library.members()}


def test_pictures_form_a_group_that_lasts_until_it_is_forgotten(
    library: Library, photos: Path
) -> None:
    before = labels(library)
    names = ["0-0.png", "0-1.png", "1-0.png"]
    made = library.form_group([photos / name for name in names], "Lisbon")
    assert (made.kind, made.name, len(made.pictures)) == ("form", None, 3)
    assert made.group is not None
    assert made.group not in before.values()
    for _ in range(2):
        assert sizes(library) == {0: 8, 1: 7, 2: 6, made.group: 3}
        assert {labels(library)[name] for name in names} == {made.group}
        (group,) = (one for one in library.grouping().groups if one.id == made.group)
        assert (group.name, group.medoid) == ("Lisbon", made.pictures[0])
        assert library.group(made.group).name == "Lisbon"
        library.cluster(**SETTINGS)
    library.pin_cover(made.group, photos / "1-0.png")
    library.forget(made.number)
    assert labels(library) == before
    again = library.form_group(list(made.pictures))
    assert again.group is not None
    assert again.group > made.group


def test_pictures_that_vanish_leave_the_group_that_they_formed(
    library: Library, photos: Path
) -> None:
    made = library.form_group([photos / f"0-{at}.png" for at in range(3)])
    for at, left in ((0, 2), (1, 1)):
        (photos / f"0-{at}.png").unlink()
        library.add([photos], prune=True)
        assert sizes(library)[made.group or 0] == left
    (photos / "0-2.png").unlink()
    library.add([photos], prune=True)
    assert made.group not in sizes(library)


def test_what_forms_no_group_is_refused(library: Library, photos: Path) -> None:
    one = photos / "0-0.png"
    with pytest.raises(SettingError, match="two different pictures or more to be a group"):
        library.form_group([one, one])
    with pytest.raises(SettingError, match="a name cannot be empty"):
        library.form_group([one, photos / "0-1.png"], " ")
    with pytest.raises(QueryError, match="no indexed picture"):
        library.form_group([one, "0" * 32])
    assert library.decisions() == []


def test_groups_formed_at_once_get_different_ids(library: Library, photos: Path) -> None:
    pairs = [[photos / f"0-{at}.png", photos / f"1-{at}.png"] for at in range(8)]
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(library.form_group, pairs))
    assert len({one.group for one in made}) == 8


def test_groups_merge_into_the_named_one_or_the_largest(library: Library) -> None:
    before = labels(library)
    made = library.merge_groups([1, 0])
    assert (made.kind, made.group, len(made.pictures)) == ("together", 0, 18)
    assert sizes(library) == {0: 18, 2: 6}
    library.forget(made.number)
    assert labels(library) == before
    library.name_group(2, "Small")
    assert library.merge_groups([0, 2, 0]).group == 2
    assert sizes(library) == {2: 16, 1: 8}
    library.cluster(**SETTINGS)
    assert sizes(library) == {2: 16, 1: 8}
    assert [one.name for one in library.grouping().groups] == ["Small", None]


def test_a_formed_group_merges_too(library: Library, photos: Path) -> None:
    made = library.form_group([photos / f"0-{at}.png" for at in range(3)], "Three")
    assert library.merge_groups([0, made.group or 0]).group == made.group
    assert sizes(library) == {made.group: 10, 1: 8, 2: 6}


@pytest.mark.parametrize(
    ("groups", "error", "said"),
    [
        ([], SettingError, "two different groups"),
        ([1], SettingError, "1 are one"),
        ([1, 1], SettingError, "two different groups"),
        ([1, 77], QueryError, "no group 77"),
        ([-1, 1], QueryError, "no group -1"),
    ],
)
def test_what_cannot_be_merged_is_refused(
    library: Library, groups: list[int], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        library.merge_groups(groups)
    assert library.decisions() == []


def test_the_commands_form_and_merge(
    tmp_path: Path, photos: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGINDEX_LIBRARY", str(tmp_path / "lib"))
    with Library(model=model_file, device="cpu") as opened:
        opened.add([photos])
        opened.cluster(**SETTINGS)

    def run(*arguments: str | Path, code: int = 0) -> str:
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == code, done.output
        return done.output

    some = [photos / f"1-{at}.png" for at in range(3)]
    told = json.loads(run("form", *some, "--name", "Lisbon", "--json"))
    assert list(told) == ["number", "kind", "group", "name", "pictures"]
    assert f"group {told['group']} is called Lisbon" in run("decisions")
    assert f"group {told['group']} is {some[0]} {some[1]}" in run("decisions")
    assert run("merge", "0", "2") == "decision 3: 16 pictures together in group 0\n"
    assert "0-0.png" in run("decisions")
    assert json.loads(run("merge", "0", "1", "--json"))["group"] == 0
    assert "group" in run("form", some[0], code=2)
    assert "are one" in run("merge", "0", code=2)


# Whatever is decided, the groups are what the arrays say.

COUNT = 12


def a_store() -> Store:
    """Twelve pictures: 0 to 5 in group 0, of which 0 to 2 in part 2, 6 to 9 in group 1, noise."""
    store = open_store("memory:", create=True)
    store.pin(ModelPin("made", "0" * 64, 4, 1))
    ids = [f"{at:032x}" for at in range(COUNT)]
    rows = np.random.default_rng(3).normal(size=(COUNT, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    store.add(
        [Picture(one, 1, 1, "PNG") for one in ids],
        rows,
        [IndexedFile(f"/made/{one}", 1, 1, one) for one in ids],
    )
    places = [0] * 6 + [1] * 4 + [NOISE] * 2
    strengths = np.linspace(0.2, 0.9, COUNT, dtype=np.float32)
    strengths[10:] = 0
    made = Grouping(
        ids=tuple(ids),
        labels=np.array(places, np.int32),
        parts=np.array([2] * 3 + [3] * 2 + places[5:], np.int32),
        strengths=strengths,
        outliers=np.zeros(COUNT, np.float32),
        exemplars=strengths > 0.5,
        joined=np.zeros(COUNT, np.bool_),
        places=np.zeros((COUNT, 0), np.float32),
        groups=(
            Group(0, 0, ids[0], ()),
            Group(1, 0, ids[6], ()),
            Group(2, 0, ids[0], (), parent=0),
            Group(3, 0, ids[3], (), parent=0),
        ),
        subgroups=(),
        settings=GroupingSettings(2, 2, "descriptor", "made"),
        created="2026-11-24T00:00:00.000000+00:00",
        next_id=4,
    )
    store.save_grouping(made.counted())
    return store


some_pictures = st.lists(st.integers(0, COUNT - 1), min_size=2, max_size=COUNT, unique=True)
some_decisions = st.lists(
    st.tuples(st.sampled_from(["form", "together", "apart"]), some_pictures), max_size=6
)


@given(some_decisions)
def test_groups_are_what_the_arrays_say_whatever_was_decided(
    made: list[tuple[Any, list[int]]],
) -> None:
    store = a_store()
    before = store.grouping()
    assert before is not None
    kept_labels = before.labels.copy()
    for kind, pictures in made:
        decision = decide(store, kind, pictures=[f"{at:032x}" for at in pictures])
        now = decided(store)
        assert now is not None
        chosen = {int(now.labels[at]) for at in pictures}
        if kind == "form":
            assert chosen == {decision.group}
            assert (now.labels == decision.group).sum() == len(pictures)
        elif kind == "together":
            assert len(chosen) == 1 != NOISE
    now = decided(store)
    assert now is not None
    assert decided(store) is now
    around = lineages(now.every_group)
    for label, part in zip(now.labels.tolist(), now.parts.tolist(), strict=True):
        assert (label == part == NOISE) or around[part][-1] == label
    members = now.members()
    assert {group.id: group.size for group in now.every_group} == {
        group: len(own) for group, own in members.items()
    }
    for group in now.every_group:
        own = {now.ids[at] for at in members[group.id]}
        assert {group.medoid, *group.exemplars} <= own
    assert len({group.id for group in now.every_group}) == len(now.every_group)
    np.testing.assert_array_equal(before.labels, kept_labels)
    for one in store.decisions():
        store.withdraw(one.number)
    np.testing.assert_array_equal(getattr(decided(store), "labels"), kept_labels)  # noqa: B009 - it may be None


def test_parts_merge_into_a_whole_group_and_bring_their_name() -> None:
    store = a_store()
    library = Library(store)
    decide(store, "name", group=2, name="Part")
    assert library.merge_groups([2, 1]).group == 1
    now = library.grouping()
    assert {group.id: (group.size, group.name) for group in now.every_group} == {
        1: (7, "Part"),
        0: (3, None),
        3: (2, None),
    }
    with pytest.raises(SettingError, match="not all of them parts; given: 3"):
        library.merge_groups([3])
    with pytest.raises(SettingError, match="0, 3 are one"):
        library.merge_groups([0, 3])


def test_a_merged_group_that_became_a_part_or_is_gone_still_takes_its_pictures_in() -> None:
    store = a_store()
    ids = [f"{at:032x}" for at in range(COUNT)]
    store.decide(Decision(0, "together", 2, None, (ids[10], ids[11])))  # noise, and 2 is a part
    store.decide(Decision(0, "together", 9, None, (ids[6], ids[3])))  # 9 is gone; 6 is firmer
    now = decided(store)
    assert now is not None
    assert now.labels.tolist() == [0, 0, 0, 1, 0, 0, 1, 1, 1, 1, 0, 0]
    assert [(group.id, group.size) for group in now.groups] == [(0, 7), (1, 5)]


def test_a_kept_grouping_is_shared_and_cannot_be_changed(library: Library, photos: Path) -> None:
    library.together([photos / "0-0.png", photos / "1-0.png"])
    shared = library.grouping()
    assert library.grouping() is shared
    with pytest.raises(ValueError, match="read-only"):
        shared.labels[0] = 7
    library.form_group([photos / "0-0.png", photos / "0-1.png"])
    assert library.grouping() is not shared


def test_a_group_is_told_page_by_page(library: Library, photos: Path) -> None:
    (photos / "0-3.png").unlink()
    library.add([photos])  # its picture is still in the group
    whole = library.group(0)
    assert (whole.size, len(whole.members)) == (10, 10)
    assert sum(not one.paths for one in whole.members) == 1
    strengths = [(not one.exemplar, -one.strength) for one in whole.members]
    assert strengths == sorted(strengths)
    pages = [library.group(0, offset=start, limit=4) for start in (0, 4, 8, 12)]
    assert [len(page.members) for page in pages] == [4, 4, 2, 0]
    for at, one in enumerate(one for page in pages for one in page.members):
        assert one.id == whole.members[at].id
        assert one.near == whole.members[at].near
    assert {(page.size, page.tightness, page.duplicates) for page in pages} == {
        (10, whole.tightness, whole.duplicates)
    }
    with pytest.raises(SettingError, match="offset must be at least 0, not -1"):
        library.group(0, offset=-1)
    with pytest.raises(SettingError, match="limit must be at least 1, not 0"):
        library.group(0, limit=0)
    with pytest.raises(QueryError, match="no group 77"):
        library.group(77)


def test_what_is_in_no_group_is_told_too(
    library: Library, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (library.group(-1).size, library.group(-1).members) == (0, ())
    for seed in (1, 2, 3):
        (photos / f"stray-{seed}.png").write_bytes(png(scene(seed, 48, 36)))
    library.add([photos])
    noise = [name for name, group in labels(library).items() if group == -1]
    told = library.group(-1, limit=2)
    assert (told.id, told.name, told.cover, told.tightness) == (-1, None, None, None)
    assert (told.size, len(told.members)) == (len(noise), 2) != (0, 2)
    paths = [path for one in library.group(-1).members for path in one.paths]
    assert sorted(Path(path).name for path in paths) == sorted(noise)
    if (tmp_path / "lib").exists():
        monkeypatch.setenv("IMGINDEX_LIBRARY", str(tmp_path / "lib"))
        shown = CliRunner().invoke(app, ["show", "--", "-1"])
        assert shown.output.startswith(f"{len(noise)} pictures in no group\n")
