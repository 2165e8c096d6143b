"""Grouping by tasks of a Ray cluster over a Milvus server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from milvus_server import emptied, running
from test_grouping import same_partition
from test_scale import made
from three_nodes import NODE, three_nodes
from typer.testing import CliRunner

from imgindex import Library
from imgindex.cli.app import app
from imgindex.distributed import forests
from imgindex.errors import SettingError
from imgindex.grouping import hdbscan
from imgindex.records import IndexedFile, ModelPin, Picture
from imgindex.store import open_store
from imgindex.store.milvus import MilvusStore, reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imgindex.records import Grouping, Space

COUNT = 1_600


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    """Heaps and noise, some of it very near to each other, and a few of one look."""
    with emptied(running(), "grouped") as url:
        rows = np.random.default_rng(0).permutation(made(COUNT))
        rows[100:104] = rows[99]
        near = rows[200:230] + 1e-3 * np.random.default_rng(1).normal(size=(30, 64))
        rows[230:260] = near / np.linalg.norm(near, axis=1, keepdims=True)
        pictures = [Picture(os.urandom(16).hex(), 4, 3, "PNG") for _ in rows]
        store = open_store(url)
        store.pin(ModelPin("made", "f" * 64, 64, 1))
        store.add(pictures, rows, [IndexedFile(f"/p/{one.id}", 1, 2, one.id) for one in pictures])
        store.close()
        with Library(url) as opened:
            yield opened


@pytest.fixture(autouse=True)
def _none_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdbscan, "EXACT_UP_TO", 0)
    monkeypatch.setattr(reading, "_COMPARED", 0)


def grouped(library: Library, space: Space, **more: Any) -> Grouping:
    return library.cluster(min_cluster_size=10, space=space, anew=True, **more)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with three_nodes() as nodes:
        yield nodes


@pytest.mark.parametrize(
    ("space", "stage"), [("descriptor", "spanning tree"), ("neighbourhood", "neighbours")]
)
def test_tasks_find_what_one_process_finds_though_a_node_dies(
    library: Library, cluster: Any, space: Space, stage: str
) -> None:
    alone = grouped(library, space)
    assert len(alone.groups) > 15
    told = dict[str, list[int]]()

    def kill(now: str, done: int, _: int) -> None:
        if now == stage and stage not in told:
            victim = cluster.worker_nodes.copy().pop()
            cluster.remove_node(victim, allow_graceful=False)
        told.setdefault(now, []).append(done)

    found = grouped(library, space, engine="ray", address=cluster.address, progress=kill)
    assert len(cluster.worker_nodes) == 1
    cluster.add_node(**NODE)
    assert same_partition(found.labels, alone.labels)
    np.testing.assert_allclose(found.strengths, alone.strengths, atol=1e-3)
    assert told["neighbours"][-1] == COUNT - 4  # those of one look are one
    if space == "descriptor":
        assert len(told["spanning tree"]) == 9  # eight forests and one of them all


def test_a_range_says_what_is_near_to_it(library: Library) -> None:
    store = library._resources.store()
    assert isinstance(store, MilvusStore)
    ids, rows = store.vectors()
    names = np.array(ids, np.bytes_)
    core, (first, second, distances) = forests.found(store.place, names, 40, 400, 64, 5)
    wide = rows.astype(np.float64)
    np.testing.assert_allclose(
        distances, np.linalg.norm(wide[first] - wide[second], axis=1), atol=2e-6
    )
    whole = np.linalg.norm(wide[40:400, None] - wide[None], axis=2)
    exact = np.sort(whole, axis=1)[:, 5]
    # A walk through a graph misses some, and finds none that is not there.
    assert (core > exact - 2e-6).all()
    assert (core < exact + 2e-6).mean() > 0.8
    assert set(first.tolist()) == set(range(40, 400))
    assert len(first) >= 360 * (64 + 32)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--engine", "ray"], "all machines can write to"),
        (["--address", "head:6379"], "give --engine ray"),
    ],
)
def test_a_library_that_others_cannot_reach_is_refused(
    tmp_path: Path, more: list[str], said: str
) -> None:
    open_store(tmp_path / "here", create=True).close()
    found = CliRunner().invoke(app, ["cluster", "--library", str(tmp_path / "here"), *more])
    assert found.exit_code == 2
    assert said in found.stderr


def test_it_is_refused_from_python_too(tmp_path: Path) -> None:
    with Library(tmp_path / "here") as local, pytest.raises(SettingError, match="milvus://"):
        local.cluster(engine="ray")
