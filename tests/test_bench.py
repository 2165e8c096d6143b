"""The benchmarks, on tiny sets and without any peer: what they tell, not how fast anything is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
import numpy as np
import pytest
from benches import embed, index, measuring, rerun, search, stores
from benches.measuring import Method, Report, Table, Turns, paired_ratio
from milvus_server import running

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
PEERS = {"torch", "torchvision", "openvino", "faiss", "usearch", "imagededup"}


@pytest.fixture(autouse=True)
def no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers are absent, also where they are installed."""
    monkeypatch.setattr(measuring, "find_spec", lambda name: None if name in PEERS else True)
    monkeypatch.setattr(embed, "computes_bfloat16", lambda: False)


def checked(report: Report, rounds: int) -> list[dict[str, Any]]:
    """The tables as they come out of JSON; each is whole, and shown in Markdown."""
    told = json.loads(report.as_json())
    assert list(told) == ["bench", "settings", "machine", "tables", "left_out"]
    assert told["settings"]["rounds"] == rounds
    assert told["machine"]["cores"] >= 1
    assert told["machine"]["versions"]["numpy"] == np.__version__
    shown = report.as_markdown()
    for table in told["tables"]:
        assert list(table) == ["title", "unit", "reference", "at", "rows"]
        reference = next(row for row in table["rows"] if row["method"] == table["reference"])
        assert reference["ratio"] == 1
        for row in table["rows"]:
            assert row["median"] == np.median(row["rounds"])
            pairs = zip(row["rounds"], reference["rounds"], strict=True)
            assert row["ratio"] == pytest.approx(np.median([a / b for a, b in pairs]))
            assert re.search(rf"^\| {re.escape(row['method'])} +\|", shown, re.MULTILINE)
        assert f"(ratio to: {table['reference']})" in shown
    for line in told["left_out"]:
        assert line.endswith("not installed (scripts/bench_peers installs it)")
        assert f"- left out: {line}" in shown
    return list(told["tables"])


def methods(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["method"]: row for row in table["rows"]}


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    # As medians, 4 to 3; round by round 2, 1 and 3.
    assert paired_ratio([2, 4, 9], [1, 4, 3]) == 2
    # A round in which the whole machine was slow changes nothing.
    assert paired_ratio([2, 2, 200, 2, 2], [1, 1, 100, 1, 1]) == 2
    assert paired_ratio([1, 5], [2, 2]) == 1.5
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        paired_ratio([1, 2], [1])


def test_methods_take_turns() -> None:
    calls: list[str] = []

    def method(name: str) -> Method:
        def call(what: str) -> Callable[[], None]:
            return lambda: calls.append(f"{what}{name}")

        return Method(call(""), call("+"), call("-"))

    def broken() -> None:
        raise OSError("no\nsuch thing")

    turns = Turns(rounds=20, pause=0)
    taken = turns.take({"a": method("a"), "broken": Method(broken), "b": method("b")})
    assert turns.left_out == ["broken: no"]
    assert list(taken) == ["a", "b"]
    assert [len(one.seconds) for one in taken.values()] == [20, 20]
    assert [len(one.cores) for one in taken.values()] == [20, 20]
    assert "".join(calls).count("+a") == 21  # the first is not counted
    order = ["".join(calls[at : at + 6]) for at in range(0, len(calls), 6)]
    assert set(order) == {"+aa-a+bb-b", "+bb-b+aa-a"}
    assert order[0] == "+aa-a+bb-b"


def test_what_is_missing_is_told_once() -> None:
    turns = Turns(rounds=1)
    assert turns.missing("faiss")
    assert turns.missing("faiss")
    assert not turns.missing("numpy")
    assert turns.left_out == ["faiss: not installed (scripts/bench_peers installs it)"]


def test_a_table_in_markdown() -> None:
    table = Table(
        title="walking",
        unit="ms",
        reference="us",
        figures={"us": [1.0, 2.0, 3.0], "them": [1500.0, 1000.0, 1500.0]},
        more={"us": {"recall@10": 1.0}, "them": {"build s": 0.12345}},
        at=1000,
    )
    assert table.as_markdown().splitlines() == [
        "**walking, n = 1,000** (ratio to: us)",
        "",
        "| method |    ms |          range |  ratio | recall@10 | build s |",
        "| ------ | ----: | -------------: | -----: | --------: | ------: |",
        "| us     |     2 |         1 to 3 |   1.00 |    1.0000 |         |",
        "| them   | 1,500 | 1,000 to 1,500 | 500.00 |           |   0.123 |",
    ]


def test_embed(tmp_path: Path, model_file: Path, other_model_file: Path) -> None:
    report = embed.run(
        tmp_path,
        rounds=2,
        pictures=3,
        batch=2,
        side=32,
        model=(model_file, other_model_file),
        pause=0,
    )
    (table,) = checked(report, 2)
    rows = methods(table)
    assert list(rows) == [
        "imgindex float32",
        "imgindex float32, tiny",
        "imgindex float32, other",
        "onnxruntime",
    ]
    assert table["unit"] == "pictures/s"
    assert rows["onnxruntime"]["lowest cosine"] == pytest.approx(1, abs=1e-6)
    assert rows["onnxruntime"]["largest difference"] < 1e-6
    assert "lowest cosine" not in rows["imgindex float32, tiny"]  # embeddings of another length
    assert {line.split(":")[0] for line in report.left_out} == {"torch", "openvino"}


def test_index(tmp_path: Path, model_file: Path) -> None:
    report = index.run(
        tmp_path, rounds=2, files=3, sizes=("48x32", "64x64"), side=32, model=(model_file,), pause=0
    )
    tables = checked(report, 2)
    assert [table["title"].split(", ")[0] for table in tables] == [
        "indexing JPEG files of 48x32 pixels",
        "indexing JPEG files of 64x64 pixels",
    ]
    for table in tables:
        assert table["reference"] == "imgindex float32"  # there is no torch
        rows = methods(table)
        assert list(rows) == [
            *("imgindex float32", "bare network float32"),
            *("imgindex float32, tiny", "bare network float32, tiny"),
        ]
        assert rows["imgindex float32, tiny"]["of the bare network"] > 0
    assert {line.split(":")[0] for line in report.left_out} == PEERS - {
        *("openvino", "faiss", "usearch")
    }


def test_search(tmp_path: Path) -> None:
    report = search.run(tmp_path, rounds=2, counts=(200, 300), single=5, batch=20, pause=0)
    tables = checked(report, 2)
    assert [(table["title"], table["at"]) for table in tables] == [
        ("one query at a time", 200),
        ("one query at a time", 300),
        ("batches of 20", 200),
        ("batches of 20", 300),
        ("a library just opened", 200),
        ("a library just opened", 300),
        ("whole command, n = 300", None),
    ]
    for table in tables[:4]:
        rows = methods(table)
        assert list(rows) == [
            search.HNSWLIB,
            "imgindex store, graph",
            "imgindex store, every vector",
            "imgindex Library, by id",
            "numpy, every vector",
        ]
        assert rows["imgindex store, every vector"]["recall@10"] == 1
        assert rows["numpy, every vector"]["recall@10"] == 1
        assert all(row["recall@10"] > 0.95 for row in rows.values())
        assert rows["imgindex store, graph"]["build s"] > 0
    assert list(methods(tables[-1])) == ["python -c pass", "imgindex search ID"]
    assert {line.split(":")[0] for line in report.left_out} == {"faiss", "usearch"}


def test_search_in_real_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).standard_normal((150, 24))
    np.savez(tmp_path / "rows.npz", rows=rows)
    command = Table("whole command", "ms", "a", {"a": [1.0]})
    monkeypatch.setattr(search, "_command", lambda *_: command)
    report = search.run(
        tmp_path,
        rounds=1,
        counts=(100, 1000, 2000),
        single=2,
        batch=4,
        real=tmp_path / "rows.npz",
        pause=0,
    )
    assert [table["at"] for table in checked(report, 1)] == [100, 150, 100, 150, 100, 150, None]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = {"--json": tmp_path / "out.json", "--markdown": tmp_path / "out.md"}
    arguments = [str(one) for pair in there.items() for one in pair]
    bench.main(["rerun", "--files", "130", "--rounds", "2", *arguments])
    shown = capsys.readouterr().out
    assert there["--markdown"].read_text("utf-8").strip() == shown.strip()
    told = json.loads(there["--json"].read_bytes())
    assert told["bench"] == "rerun"
    assert told["settings"] == {"rounds": 2, "files": 130}
    for table, where in zip(told["tables"], ("in one process", "as whole processes"), strict=True):
        assert table["title"] == f"130 unchanged files, {where}"
        assert list(methods(table)) == [rerun.WALK, rerun.AGAIN]
    with pytest.raises(SystemExit) as ended:
        bench.main(["dance"])
    assert ended.value.code == 2


def test_a_plot_needs_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="matplotlib"):
        bench.main(["rerun", "--plot", str(tmp_path / "out.png")])


def test_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: nothing draws")
    lines = [Table("grows", "ms", "a", {"a": [1.0 * n, 2.0 * n]}, at=n) for n in (10, 100)]
    bars = Table("stands", "ms", "a", {"a": [1.0, 2.0], "b": [3.0, 5.0]})
    Report("search", {"rounds": 2}, [*lines, bars], []).plot(tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no choice of processors here")
def test_one_thread_is_one(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/bench.py", "embed", "--threads", "1", "--rounds", "1"]
    command += ["--side", "32", "--pictures", "8", "--pause", "0", "--json", str(tmp_path / "out")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    told = json.loads((tmp_path / "out").read_bytes())
    assert told["settings"]["threads"] == told["machine"]["cores"] == 1
    (table,) = told["tables"]
    assert methods(table)["imgindex float32"]["cores busy"] < 1.2


def test_grouping_is_handed_over(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(["cluster", "faithful", "200", "--json"])
    assert ended.value.code == 0
    assert json.loads(capfd.readouterr().out)["rows"] == 200


def test_peers_are_pinned() -> None:
    script = (ROOT / "scripts/bench_peers").read_text("utf-8")
    pinned = set(re.findall(r"([\w-]+)==[\w.]+", script))
    assert pinned >= (PEERS - {"faiss"}) | {"faiss-cpu", "matplotlib"}


def test_stores_on_milvus(tmp_path: Path) -> None:
    server = f"milvus://127.0.0.1:{running().port}"
    tables = checked(stores.run(tmp_path, server=server, rounds=2, count=600, batch=8, pause=0), 2)
    assert len(tables) == 7
    for table in tables:
        assert set(methods(table)) == {stores.FOLDER, stores.SERVER}
