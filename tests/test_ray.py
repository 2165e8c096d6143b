"""Indexing on a Ray cluster of three nodes into a Milvus server; nodes and drivers are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from milvus_server import emptied, running
from pictures import bomb_png, png, scene
from test_milvus import PIN, some
from three_nodes import NODE, three_nodes
from typer.testing import CliRunner

from imgindex import Library, distributed
from imgindex.cli.app import app
from imgindex.errors import EngineError, LibraryBusyError, SettingError, StoreError
from imgindex.records import no_progress
from imgindex.store.milvus import MilvusStore

if TYPE_CHECKING:
    from collections.abc import Iterator

PHOTOS = Path(__file__).parents[1] / "shared" / "photos"
if not PHOTOS.is_dir():
    PHOTOS = Path(__file__).parents[2] / "shared" / "photos"
COUNT, MADE = 240, 60
COMMAND = [sys.executable, "-c", "from imgindex.cli import main; main()"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with three_nodes() as nodes:
        yield nodes


@pytest.fixture
def url() -> Iterator[str]:
    with emptied(running(), "ray") as url:
        yield url


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, or pictures made here, with copies and all that can be wrong with a file."""
    folder = tmp_path_factory.mktemp("photos")
    real = sorted(PHOTOS.rglob("*.jpg"))[::3][:COUNT] if PHOTOS.is_dir() else []
    for at, photo in enumerate(real):
        (folder / f"{at % 7}").mkdir(exist_ok=True)
        shutil.copy(photo, folder / f"{at % 7}" / f"{at}{photo.suffix}")
    for at in range(MADE if not real else 3):
        (folder / f"made{at}.png").write_bytes(png(scene(at, 60, 50)))
    shutil.copy(folder / "made0.png", folder / "again.png")
    (folder / "broken.png").write_bytes((folder / "made1.png").read_bytes()[:300])
    (folder / "empty.png").touch()
    (folder / "bomb.png").write_bytes(bomb_png())
    (folder / "words.jpg").write_text("no picture")
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(png(scene(99, 60, 50)))
    return folder


def content(library: Library) -> tuple[Any, ...]:
    store = library._resources.store()
    ids, rows = store.vectors()
    return ids, rows, store.files()


def partition(library: Library) -> set[frozenset[str]]:
    grouping = library.cluster(min_cluster_size=5, space="descriptor")
    return {
        frozenset(
            one
            for one, label in zip(grouping.ids, grouping.labels, strict=True)
            if label == group.id
        )
        for group in grouping.groups
    }


@pytest.fixture(scope="module")
def whole(
    photos: Path, model_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Library, Any]]:
    """The same on this machine alone."""
    folder = tmp_path_factory.mktemp("local") / "library"
    with Library(folder, model=model_file, device="cpu") as library:
        yield library, library.add([photos])


def nodes_with_actors() -> set[str]:
    from ray._private.state import state

    return {
        one["Address"]["NodeID"]
        for one in state.actor_table(None).values()
        if one["State"] == "ALIVE"
    }


def test_a_node_that_dies_changes_nothing(
    cluster: Any, url: str, photos: Path, model_file: Path, whole: tuple[Library, Any]
) -> None:
    local, expected = whole
    killed: list[str] = []

    def kill(stage: str, done: int, total: int) -> None:
        if stage != "embed" or not 0 < done < total or killed:
            return
        busy = nodes_with_actors()
        victim = max(cluster.worker_nodes, key=lambda one: one.node_id in busy)
        killed.append(victim.node_id)
        cluster.remove_node(victim, allow_graceful=False)

    with Library(url, model=model_file, device="cpu") as library:
        report = library.add([photos], engine="ray", address=cluster.address, progress=kill)
        assert killed
        counts = ("added", "reused", "moved", "removed", "unchanged", "skipped", "paired")
        assert {one: getattr(report, one) for one in counts} == {
            one: getattr(expected, one) for one in counts
        }
        assert (report.device, report.precision) == ("cpu", "float32")
        ids, rows, files = content(library)
        assert (ids, files) == content(local)[::2]
        np.testing.assert_allclose(rows, content(local)[1], atol=1e-6)
        assert library.verify() == []
        assert partition(library) == partition(local)
        again = library.add([photos])
        assert (again.added, again.unchanged) == (0, expected.added + expected.reused)
        assert set(again.skipped) == set(expected.skipped)
    cluster.add_node(**NODE)


def test_a_driver_that_dies_loses_nothing(
    cluster: Any, url: str, photos: Path, model_file: Path
) -> None:
    parts = [str(one) for one in (photos / "0", photos / "1") if one.is_dir()] or [str(photos)]
    asked = [*COMMAND, "index", *parts, "--library", url, "--model", str(model_file)]
    asked += ["--device", "cpu", "--engine", "ray", "--address", cluster.address]
    watched = MilvusStore(url)
    with subprocess.Popen(asked, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as driver:
        told = 0
        while driver.poll() is None and told < 20:
            time.sleep(0.05)
            told = sum(one.id is not None for one in watched.files())
        driver.send_signal(signal.SIGKILL)
        assert driver.wait() == -signal.SIGKILL, driver.stderr and driver.stderr.read().decode()
    before = {one.id for one in watched.files() if one.id is not None}
    assert len(before) >= 20
    notes = watched._notes
    notes.drop([f"lease/write/{one}" for one in notes.below("lease/write")])  # its time has passed
    watched.close()
    found = CliRunner().invoke(app, [*asked[3:], "--json"])
    report = json.loads(found.stdout)
    with (
        Library("memory:", model=model_file, device="cpu") as local,
        Library(url, model=model_file, device="cpu") as library,
    ):
        expected = local.add(parts)
        assert found.exit_code == (3 if expected.skipped else 0), found.output
        assert 0 < report["added"] <= expected.added - len(before)
        assert len(report["skipped"]) == len(expected.skipped)
        ids, rows, files = content(library)
        assert before <= set(ids)
        assert (ids, files) == content(local)[::2]
        np.testing.assert_allclose(rows, content(local)[1], atol=1e-6)
        assert library.verify() == []


def test_a_manifest_of_addresses_is_indexed_as_here(
    cluster: Any, url: str, model_file: Path, tmp_path: Path
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "0.png").write_bytes(png(scene(0, 60, 50)))
    (tmp_path / "broken.png").write_bytes(png(scene(1, 60, 50))[:300])
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for seed in range(1, 5):
            archive.writestr(f"in/{seed}.png", png(scene(seed % 4, 60, 50)))
    names = [f"zip://in/{seed}.png::{tmp_path}/all.zip" for seed in range(1, 6)]
    names += ["0.png", f"file://{tmp_path}/broken.png", "nosuch.png"]
    manifest = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"path": names}), manifest)
    with (
        Library("memory:", model=model_file, device="cpu") as local,
        Library(url, model=model_file, device="cpu") as library,
    ):
        expected = local.add([manifest], manifest=True)
        report = library.add([manifest], manifest=True, engine="ray", address=cluster.address)
        assert (report.added, report.reused) == (expected.added, expected.reused) == (4, 1)
        assert report.skipped == expected.skipped
        assert [one.reason for one in report.skipped][:2] == ["vanished", "vanished"]
        ids, rows, files = content(library)
        assert (ids, files) == content(local)[::2]
        np.testing.assert_allclose(rows, content(local)[1], atol=1e-6)


def test_pictures_are_put_under_the_right_of_another_one() -> None:
    url = f"milvus://127.0.0.1:{running().port}/ray_shared"
    first, second = MilvusStore(url, create=True), MilvusStore(url)
    try:
        first.pin(PIN)
        pictures, rows, files = some(6)
        with first.sharing() as right:
            note = second.put(right, pictures[:4], rows[:4])
            assert second.put(right, pictures[:4], rows[:4]) == note
            first.add([], rows[:0], files[:3])
            first.settled(note)
            second.put(right, pictures[3:], rows[3:])  # files of these never come
            first.add([], rows[:0], files[3:4])
            assert len(first._notes.below("pending")) > 0
        assert first._notes.below("pending") == {}
        assert first.verify(no_progress) == []
        assert first.has([one.id for one in pictures]) == {one.id for one in pictures[:4]}
        with pytest.raises(LibraryBusyError, match="has ended"):
            second.put(right, pictures, rows)
    finally:
        first.drop()
        first.close()
        second.close()


def test_where_one_machine_alone_can_write_it_is_refused(tmp_path: Path, model_file: Path) -> None:
    with Library(tmp_path / "library", model=model_file) as library:
        with pytest.raises(SettingError, match="milvus://HOST:PORT/NAME"):
            library.add([tmp_path], engine="ray")
        with pytest.raises(SettingError, match="--engine ray"):
            library.add([tmp_path], address="auto")
    assert not (tmp_path / "library").exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:9", "no Ray cluster answers"),
        ("head", "no address"),
        ("head:x", "no address"),
        ("ray://127.0.0.1:10001", "on a machine of the cluster"),
    ],
)
def test_an_address_where_nobody_is(address: str, said: str) -> None:
    pytest.importorskip("ray", reason="needs ray: pip install 'imgindex[ray]'")
    with pytest.raises(EngineError, match=said), distributed.session(address):
        pass


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"pip install 'imgindex\[ray\]'"), distributed.session():
        pass


def test_errors_of_others_come_as_ours(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def fails() -> None:
        raise StoreError("the disk is full")

    def dies() -> None:
        os._exit(1)

    with distributed.session(cluster.address):
        with pytest.raises(StoreError, match="the disk is full"), distributed.session():
            ray.get(ray.remote(fails).remote())
        with pytest.raises(EngineError, match="what was done is kept"), distributed.session():
            ray.get(ray.remote(max_retries=0)(dies).remote())
        with pytest.raises(ZeroDivisionError), distributed.session():
            _ = 1 / 0
        monkeypatch.setattr("imgindex.pixels.VERSION", -1)
        with pytest.raises(EngineError, match="preprocessing -1"), distributed.session():
            pass
