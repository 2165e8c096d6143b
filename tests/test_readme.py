"""README tells the truth: its examples are run, its commands and fields exist."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import run
from milvus_server import running
from served import served

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo pictures, where the examples run one after the other."""
    place = tmp_path_factory.mktemp("readme")
    spec = importlib.util.spec_from_file_location("demo", ROOT / "scripts/demo_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    assert demo.make(place / "demo") == 194
    return place


def shell(command: str, place: Path, home: str = "home") -> str:
    environ = {
        **os.environ,
        "IMGINDEX_HOME": str(place / home),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-c", command], cwd=place, env=environ, capture_output=True, check=False
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.stdout.decode().replace("\r\n", "\n")


@pytest.fixture
def few(place: Path, tmp_path: Path) -> Path:
    """A home whose library has some of the pictures."""
    if not (place / "few").exists():
        shell("imgindex index demo/sea demo/night --model untrained", place, "few")
    return shutil.copytree(place / "few", tmp_path / "home")


def plain(text: str, folder: str) -> str:
    """Leave out what differs between machines: places, times, last digits, order of equals."""
    text = re.sub(r"/home/ada/\.local/share/imgindex", "HOME", text)
    text = text.replace(folder + "/home", "HOME").replace(folder, "/home/ada")
    text = re.sub(r"\d+ min \d+ s|\d+\.\d+ s\b", "SECONDS", text)
    text = re.sub(r"\d+\.\d+ a second", "SPEED", text)
    text = re.sub(r"-\d\d\.jpg", "-NN.jpg", text)
    text = re.sub(r"\b[0-9a-f]{32}\b", "ID", text)
    text = re.sub(r"\b0\.9999\d*|\b1\.0\b", "ONE", text)
    return re.sub(r",0?\.?\d*,\d\b|\b0\.\d+", "FIGURE", text)


def test_the_examples_do_what_they_show(place: Path) -> None:
    blocks = re.findall(r"<!-- run -->\n```console\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 9
    for block in blocks:
        for command, shown in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE):
            told = shell(command, place)
            assert plain(told, str(place)) == plain(shown, str(place)), command


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_service_answers_as_it_shows(place: Path, few: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"<!-- serve -->\n```console\n(.*?)```", README, re.DOTALL)
    commands = re.findall(r"^\$ (.*)\n(.*)\n", block, re.MULTILINE)
    assert len(commands) == 3
    with served(few / "library", tmp_path / "log") as service:
        for command, shown in commands:
            told = shell(command.replace("http://127.0.0.1:8765", service.url), place)
            assert plain(told.rstrip("\n"), str(place)) == plain(shown, str(place)), command


@pytest.fixture
def ray_head(tmp_path: Path) -> Iterator[None]:
    """What ``ray start --head`` starts, until the end of the test."""
    command = [str(BIN / "ray"), "start", "--head", "--block", "--include-dashboard=false"]
    with (tmp_path / "ray.log").open("wb") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while "started" not in (tmp_path / "ray.log").read_text("utf-8"):
            assert head.poll() is None, (tmp_path / "ray.log").read_text("utf-8")
            assert time.monotonic() < end
            time.sleep(0.2)
        yield
    finally:
        os.killpg(head.pid, signal.SIGKILL)  # asked kindly, it waits for half a minute
        head.wait()


@pytest.mark.usefixtures("ray_head")
def test_the_way_to_a_cluster_is_as_it_shows_on_milvus(place: Path) -> None:
    (block,) = re.findall(r"<!-- cluster -->\n```console\n(.*?)```", README, re.DOTALL)
    commands = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE)
    assert len(commands) == 5
    server = f"127.0.0.1:{running().port}"
    for command, shown in commands:
        if command == "ray start --head":
            continue  # it is there, and ends with the test
        told = shell(command.replace("127.0.0.1:19530", server), place, "cluster")
        told = told.replace(server, "127.0.0.1:19530")
        assert plain(told, str(place)) == plain(shown, str(place)), command


def test_the_python_example_runs(place: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = place / "example.py"
    script.write_text(example)
    told = shell(f"{sys.executable} example.py", place).splitlines()
    assert told[0] == "48 embedded, 0 skipped"
    assert told[1].endswith("sea-03.jpg")
    assert told[4] == "2 groups; 0 noise"
    assert len(json.loads((place / "demo-groups.json").read_bytes())["groups"]) == 2


def test_the_table_of_commands_is_whole() -> None:
    table = re.findall(r"^\| `imgindex ([a-z ]+?)(?: [A-Z\[].*?)?` \|", README, re.MULTILINE)
    listed = re.findall(r"^  (\w+) {2,}\w", run("--help").text, re.MULTILINE)
    assert {name.split()[0] for name in table} == set(listed)
    for parent in ("groups", "model", "duplicates"):
        inner = re.findall(r"^  (\w+) {2,}\w", run(parent, "--help").text, re.MULTILINE)
        assert [name.split()[1] for name in table if name.startswith(parent + " ")] == inner


def test_the_fields_of_json_are_those_in_the_table(place: Path, few: Path) -> None:
    row = r"^\| `imgindex ([a-z ]+?)(?: [A-Z\[].*?)?` \|[^|]*\| ([^|]*) \|$"
    rows = dict(re.findall(row, README, re.MULTILINE))

    def fields(command: str) -> list[str]:
        return re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", rows[command]))

    for command, arguments in (
        ("index", "demo/sea"),
        ("search", "demo/sea/sea-03.jpg"),
        ("explain", "demo/sea/sea-03.jpg demo/night/night-05.jpg"),
        ("features", "demo/sea/sea-03.jpg"),
        ("duplicates", ""),
        ("bursts", ""),
        ("cluster", ""),
        ("groups show", "0"),
        ("groups name", "0 sea"),
        ("groups forget", "1"),
        ("export", "again.csv"),
        ("map", "again.html"),
        ("status", ""),
        ("verify", ""),
        ("copy", f"{few / 'library'} moved"),
    ):
        words = f"{command} {arguments} --json".split()
        told = run(*words, at=place, environ={"IMGINDEX_HOME": str(few)}).json
        assert list(told) == fields(command), command


def test_every_option_that_readme_names_exists() -> None:
    names = [*re.findall(r"^\| `imgindex ([a-z ]+?)(?: [A-Z\[].*?)?` \|", README, re.MULTILINE)]
    shown = "".join(run(*name.split(), "--help").text for name in names)
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    for option in set(re.findall(r"`(--[a-z-]+)", prose)):
        assert option in shown, option


def test_files_that_readme_names_exist() -> None:
    for name in set(re.findall(r"`((?:scripts|imgindex|tests)/[\w./]+)`", README)):
        assert (ROOT / name).exists(), name
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
