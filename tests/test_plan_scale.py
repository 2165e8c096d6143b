"""What large libraries need, as scripts/plan_scale.py tells it, against what was measured."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import plan_scale
import pytest
import scaling
from benches.made import library_of, made_rows
from hypothesis import given
from hypothesis import strategies as st
from scaling import Given, Limit, limits, plan

from imgindex.grouping import ranges
from imgindex.grouping.forest import Edges

if TYPE_CHECKING:
    from collections.abc import Sequence

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")

somewhere = st.builds(
    Given,
    pictures=st.integers(1, 10**11),
    dimension=st.sampled_from([64, 512, 4096]),
    machines=st.sampled_from([1, 2, 16, 1000]),
    cores=st.integers(1, 128),
    ram=st.floats(1, 4096),
    disk=st.floats(0.1, 100),
    gbit=st.floats(0.1, 400),
    gpu_rate=st.floats(1, 10_000),
    gpus=st.integers(0, 8),
    megapixels=st.floats(0.1, 100),
    precision=st.sampled_from(list(scaling.EMBEDDED_A_CORE_SECOND)),
    space=st.sampled_from(list(scaling.GROUPED)),
    replicas=st.integers(1, 3),
    segment=st.floats(64, 8192),
)


def told(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    plan_scale.main(arguments)
    return capsys.readouterr().out


def figures(one: Given) -> dict[str, Any]:
    its = plan(one)
    return {field.name: getattr(its, field.name) for field in fields(its)}


# Against what was measured


def test_it_gives_again_what_was_measured() -> None:
    measured = Given(1_000_000, cores=2, precision="int8")
    one = plan(measured)
    assert 1_000_000 / one.embed == pytest.approx(21, rel=0.01)
    assert one.link == pytest.approx(24 * 60)
    assert one.group == pytest.approx(6 * 60)
    assert one.group_memory == pytest.approx(10.3e9)
    for precision, rate in (("float32", 8.6), ("bfloat16-openvino", 25), ("int8-openvino", 27)):
        its = plan(replace(measured, precision=precision))
        assert 1_000_000 / its.embed == pytest.approx(rate, rel=0.18), precision
    few = replace(measured, pictures=100_000, dimension=1280)
    assert plan(few).link == pytest.approx(60)
    assert plan(few).group == pytest.approx(15)
    assert 1000 * plan(few).search == pytest.approx(1.19)
    hood = replace(few, pictures=300_000, space="neighbourhood")
    assert plan(hood).group == pytest.approx(112)


def test_figures_that_readme_tells_are_those_of_the_constants() -> None:
    for rate in scaling.EMBEDDED_A_CORE_SECOND.values():
        assert re.search(rf"^\| imgindex, [^|]*\| [\d.]+ \| {rate:g} \|", README, re.MULTILINE)
    for text in (
        "takes 41 ms of a core",
        "hashing 4 MB takes 4",
        "| 60 s, rows on the disk included |",
        "| 1.19: 1.19 times |",
        "takes 0.25 / 0.53 / 1.19 ms for one query and 0.08 / 0.19 / 0.44",
        "| 15 s / 28 s, 1.2 GB at most |",
        "| 61 s / 112 s, 3.0 GB at most |",
        "the index was built in 24 min",
        "| 6 min / 18 min, 10.3 GB at most |",
    ):
        assert text in README, text


def test_bytes_are_those_of_a_library_on_the_disk(tmp_path: Path) -> None:
    rows, _ = made_rows(2000, np.random.default_rng(0))
    library_of(tmp_path / "library", rows)
    graph = (tmp_path / "library" / "graph.hnsw").stat().st_size / 2000
    assert graph == pytest.approx(4 * 512 + scaling.GRAPH_BYTES_BESIDE_THE_ROW, rel=0.005)
    assert (tmp_path / "library" / "vectors.f32").stat().st_size == plan(Given(2000)).rows
    ends, weights = np.zeros(10, np.int32), np.zeros(10, np.float32)
    assert Edges(ends, ends, weights, weights).nbytes == 10 * scaling.FOREST_BYTES_AN_EDGE
    assert ranges.LISTED == scaling.LISTED
    some = np.tile(rows[:1024, :2], (4, 1))
    assert len(ranges.near_within(some)) == len(some) * scaling.RANGED
    assert np.iinfo(ends.dtype).max == scaling.GROUPED_AT_MOST


# What must hold for any of them


@given(one=somewhere, times=st.integers(2, 10))
def test_more_pictures_never_need_less(one: Given, times: int) -> None:
    few, many = figures(one), figures(replace(one, pictures=one.pictures * times))
    for name in ("rows", "disk", "memory", "read", "network", "embed", "link", "segments"):
        assert many[name] >= few[name], name
    for name in ("group", "group_memory", "search"):
        assert many[name] >= few[name] * 0.999, name


@given(one=somewhere)
def test_more_of_everything_never_takes_longer(one: Given) -> None:
    slow = plan(one)
    for more in ({"cores": 2 * one.cores}, {"gbit": 2 * one.gbit}, {"gpu_rate": 2 * one.gpu_rate}):
        quick = plan(replace(one, **more))
        assert quick.embed <= slow.embed
        assert quick.link <= slow.link
        assert quick.group <= slow.group


@given(one=somewhere)
def test_what_breaks_is_where_it_breaks(one: Given) -> None:
    found = limits(one)
    assert [limit.pictures for limit in found] == sorted(limit.pictures for limit in found)
    by_name = {limit.what: limit.pictures for limit in found}
    ram, days = one.ram * 1e9 * scaling.FREE, one.days * scaling.DAY
    for what, need, room in (
        ("memory to search in", "memory", ram * one.machines),
        ("disk", "disk", one.disk * 1e12 * scaling.FREE * one.machines),
        ("time to embed", "embed", days),
        ("time to build the index", "link", days),
        ("time to group", "group", days),
        ("memory of the one machine that ends grouping", "group_memory", ram),
    ):
        most = int(by_name[what])
        if most > 1:
            assert figures(replace(one, pictures=most))[need] <= room, what
        assert figures(replace(one, pictures=int(most * 1.003) + 2))[need] > room, what


# What is told


def test_readme_has_the_table_that_the_script_gives(capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(
        r"```console\n\$ python scripts/plan_scale\.py ([^`]*)```\n\n((?:\|.*\n)+)", README
    )
    assert found is not None
    arguments = shlex.split(found[1].replace("\\\n", ""))
    assert told(capsys, arguments).split("\n\n")[0] == found[2].rstrip("\n")


def test_every_shape_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["1M", "2_000_000", "--machines", "1", "4", "--segment", "1024"]
    whole = json.loads(told(capsys, [*asked, "--json"]))
    one, other = whole["plans"]
    assert (one["store"], other["store"]) == ("local", "milvus")
    assert one["given"]["pictures"] == 1_000_000
    assert other["given"]["segment"] == 1024
    assert whole["assumptions"]
    again = [Limit(**limit | {"remedies": tuple(limit["remedies"])}) for limit in one["limits"]]
    assert again == limits(Given(1_000_000))
    plain, table = told(capsys, asked), told(capsys, [*asked, "--markdown"])
    cells = [line.strip("| ").split(" | ") for line in table.splitlines() if line[:2] == "| "]
    lines = plain.split("\n\n")[0].splitlines()
    assert [re.split(r" {2,}", line) for line in lines] == cells
    assert all(f"- {text}" in plain for text in whole["assumptions"])


def test_what_a_gpu_does_is_asked_for_and_not_made_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert Given(1).gpu_rate == 0
    with pytest.raises(SystemExit):
        plan_scale.main(["1M", "--gpus", "1"])
    assert "we have measured none" in capsys.readouterr().err
    asked = ["1M", "--gpus", "2", "--gpu-rate", "50", "--megapixels", "1", "--json"]
    found = json.loads(told(capsys, asked))
    assert found["plans"][0]["embed"] == pytest.approx(1_000_000 / 100)
    assert found["plans"][0]["embed_bound"] == "GPUs"
    assert any("--gpu-rate" in text for text in found["assumptions"])
    quick = ["1M", "--gpus", "2", "--gpu-rate", "50000", "--json"]
    assert json.loads(told(capsys, quick))["plans"][0]["embed_bound"] == "decoding"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "pictures"),
        (["many"], "'many' is no number of pictures; give 1 or more"),
        (["0"], "'0' is no number of pictures"),
        (["-5"], "-5"),
        (["1M", "--cores", "0"], "--cores: '0' is not a whole number of at least 1"),
        (["1M", "--cores", "2.5"], "'2.5' is not a whole number"),
        (["1M", "--ram", "nan"], "--ram: 'nan' is not a number above 0"),
        (["1M", "--disk", "inf"], "--disk: 'inf' is not a number above 0"),
        (["1M", "--precision", "int4"], "int4"),
        (["1M", "2M", "3M", "--cores", "1", "2"], "--cores has 2 values for 3 numbers of pictures"),
        (["1M", "--gpu-rate", "5", "6"], "--gpu-rate has 2 values for 1 number of pictures"),
        (["1M", "--json", "--markdown"], "not allowed with"),
    ],
)
def test_wrong_arguments_are_refused_in_words(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        plan_scale.main(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
