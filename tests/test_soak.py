"""Long use and a million files in their small forms; and that what goes wrong is told."""

from __future__ import annotations

import json
import random
from pathlib import Path

import bench_million
import pytest
import soak
from soaking.folder import Folder, picture
from soaking.roles import GROUP, PRUNE, Turn

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="needs /proc, as Linux has it"
)


def test_the_folder_is_what_it_says(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "pictures", random.Random(3), 30)  # noqa: S311 - no secret
    for _ in range(200):
        folder.change()
        assert folder.newest in folder.held
    there = {path for path in folder.place.rglob("*") if path.is_file()}
    assert there == set(folder.held)
    assert all(path.read_bytes() == picture(seed) for path, seed in folder.held.items())
    assert 20 < len(there) < 60
    kinds = {"added", "changed", "copied", "moved", "deleted", "folders renamed"}
    assert folder.done.keys() == kinds


@needs_proc
def test_a_short_week(tmp_path: Path) -> None:
    cycles = 2 * PRUNE
    found = soak.soak(tmp_path, cycles=cycles, seconds=300, pictures=30, seed=1)
    assert found.wrong == []
    assert found.cycles == cycles
    assert found.done["index runs"] == found.done["exports"] == cycles
    assert found.done["prunings"] == cycles // PRUNE
    assert found.done["groupings"] == cycles // GROUP
    assert found.done["requests"] >= 3 * cycles
    for name in ("memory of serve", "handles of writer", "disk"):
        assert len(found.figures[name]) == cycles
        assert min(found.figures[name]) > 0
    table = "\n".join(soak.table(found))
    assert f"| index runs | {cycles} |" in table
    assert table.endswith("wrong: 0")


def test_what_grows_is_told() -> None:
    level, rising = [100.0] * 40, [100.0 + 3 * at for at in range(40)]
    found = soak.Soak(figures={"memory of serve": level, "handles of serve": level, "disk": level})
    found.judge()
    assert found.wrong == []
    for name in ("memory of serve", "handles of serve", "disk"):
        found = soak.Soak(figures={name: rising})
        found.judge()
        assert len(found.wrong) == 1
    found = soak.Soak(figures={"recall": [1 - at / 100 for at in range(40)]})
    found.judge()
    assert found.wrong[0].startswith("recall went from")


def test_a_file_that_is_named_and_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    turn = Turn()
    turn.there([str(tmp_path / "here"), str(tmp_path / "gone")], "reader")
    assert turn.wrong == [f"reader: {str(tmp_path / 'gone')!r} is not there"]
    found = soak.Soak(cycles=7)
    found.take(turn)
    assert found.wrong[0].startswith("cycle 7: reader")


def test_many_files_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench_million.main(["300", "--work", str(tmp_path), "--json"])
    told = json.loads(capsys.readouterr().out)
    steps = {one["step"]: one for one in told["steps"]}
    assert steps["index"]["says"] == "300 added, 0 unchanged, 0 skipped"
    assert steps["again"]["says"] == "0 added, 300 unchanged, 0 skipped"
    assert steps["files"]["says"] == "300 files"
    assert steps["search"]["says"].startswith("3 of 3 found themselves")
    assert steps["verify"]["says"] == "0 problems"
    assert all(one["peak_bytes"] > 10**6 for one in told["steps"])
    assert told["bytes"]["vectors.f32"] == 300 * 64 * 4
    assert len({bench_million.picture(at) for at in range(1000)}) == 1000
