"""What reaches the terminal, the pipe and the shell: names, codes, and the end of a program."""

from __future__ import annotations

import errno
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import command
import pytest
from pictures import png, scene

from imgindex import Library, download
from imgindex.cli import show

if TYPE_CHECKING:
    from collections.abc import Callable

IMGINDEX = Path(sys.executable).with_name("imgindex")
ODD = "bell\a \x1b[31mred\n1:line_é_\u202egnp.exe\u2066\x9b2J.png"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Path:
    """A folder with a library ``lib`` of two pictures, one of them oddly named."""
    place = tmp_path_factory.mktemp("place")
    (place / "photos").mkdir()
    for seed, name in enumerate(["plain.png", ODD]):
        (place / "photos" / name).write_bytes(png(scene(seed, 40, 30)))
    with Library(place / "lib", model=model_file, device="cpu") as library:
        assert library.add([place / "photos"]).added == 2
    return place


def run(place: Path, *arguments: str | Path, send: bytes = b"", **environ: str) -> command.Ran:
    environ = {"IMGINDEX_LIBRARY": "lib", **environ}
    return command.run(*arguments, at=place, code=None, send=send, environ=environ)


def on_terminal(place: Path, *arguments: str) -> str:
    """What a terminal would be sent."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [IMGINDEX, *arguments],
        cwd=place,
        env={**os.environ, "IMGINDEX_LIBRARY": "lib", "TERM": "dumb", "COLUMNS": "300"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        sent = b""
        try:
            while chunk := os.read(ours, 65536):
                sent += chunk
        except OSError as error:  # how Linux says that nobody writes any more
            assert error.errno == errno.EIO  # noqa: PT017 - anything else is raised on
    os.close(ours)
    return sent.decode()


@pytest.mark.parametrize("option", ["--no-thumbnails", "--paths"])
def test_a_files_name_cannot_steer_the_terminal(place: Path, option: str) -> None:
    shown = on_terminal(place, "search", "photos/plain.png", option)
    # On one line, whatever its end looks like; and what it says is written forwards.
    told = r"bell\x07\x1b[31mred\x0a1:line_é_\u202egnp.exe\u2066\x9b2J.png"
    assert told in "".join(shown.split())  # the table is folded
    assert not any(one in shown for one in ("\a", "\x1b[31m", "\u202e", "\u2066", "\x9b"))


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1"])
def test_pipes_get_names_as_they_are_whatever_the_locale(place: Path, locale: str) -> None:
    ran = run(
        place, "search", "photos/plain.png", "--paths", "-0",
        LC_ALL=locale, PYTHONCOERCECLOCALE="0", PYTHONUTF8="0",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    names = [os.path.basename(path) for path in ran.out.split(b"\0")]  # noqa: PTH119 - bytes
    assert ODD.encode() in names


def test_a_full_disk_behind_the_output_is_told(place: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [IMGINDEX, "status", "--json"],
            cwd=place,
            env={**os.environ, "IMGINDEX_LIBRARY": "lib"},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.decode().startswith("imgindex: reading or writing failed")
    assert done.stderr.count(b"\n") == 1


def test_an_interrupt_while_queries_are_awaited_is_a_clean_end(place: Path) -> None:
    with subprocess.Popen(
        [IMGINDEX, "search", "--batch", "-"],
        cwd=place,
        env={**os.environ, "IMGINDEX_LIBRARY": "lib"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"photos/plain.png\n")
        process.stdin.flush()
        assert select.select([process.stdout], [], [], 60)[0]
        assert json.loads(process.stdout.readline())["matches"]
        time.sleep(0.2)  # it waits for the next line now
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stderr.read() == b"imgindex: interrupted; what was done is kept\n"


@pytest.mark.parametrize(
    "text",
    [b"photos/plain.png\nphotos/nosuch.png", b"photos/plain.png\r\n\n\r\nphotos/nosuch.png\n"],
)
def test_queries_are_lines_whatever_ends_them(place: Path, text: bytes) -> None:
    (place / "queries").write_bytes(text)
    for ran in (
        run(place, "search", "--batch", "-", send=text),
        run(place, "search", "--batch", "queries"),
    ):
        answers = [json.loads(line) for line in ran.out.splitlines()]
        assert [answer["query"] for answer in answers] == ["photos/plain.png", "photos/nosuch.png"]
        assert ["error" in answer for answer in answers] == [False, True]


@pytest.mark.parametrize(
    "option", [["--json"], ["--csv"], ["--paths"], ["--html", "a.html"], ["--montage", "a.png"]]
)
def test_a_batch_has_one_shape(place: Path, option: list[str]) -> None:
    ran = run(place, "search", "--batch", "-", *option, send=b"")
    assert ran.code == 2
    assert "--batch writes JSON Lines" in ran.err


def test_a_library_without_a_model_has_a_status(tmp_path: Path) -> None:
    from imgindex.store import open_store

    open_store(tmp_path / "lib", create=True).close()
    shown = run(tmp_path, "status").text
    assert "none yet" in shown
    assert "None" not in shown


def test_verify_names_damage_that_ends_the_check(
    tmp_path: Path, model_file: Path, place: Path
) -> None:
    with Library(tmp_path / "lib", model=model_file, device="cpu") as library:
        library.add([place / "photos"])
    (tmp_path / "lib" / "vectors.f32").unlink()
    ran = run(tmp_path, "verify", "--json")
    assert ran.code == 1
    report = ran.json
    assert report["ok"] is False
    assert "vectors.f32" in report["problems"][0]


def test_downloads_are_shown_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    class Terminal:
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            sent.append(text)
            return len(text)

        def flush(self) -> None:
            pass

    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with show.progress_bar() as progress:
        progress(download.STAGE, 0, 59_000_000)
        progress(download.STAGE, 29_500_000, 59_000_000)
    assert "29.5 MB" in "".join(sent)


@pytest.mark.parametrize(("make", "shown"), [(lambda: "a\tb\x85", r"a\x09b\x85")])
def test_control_characters_are_spelled_out(make: Callable[[], str], shown: str) -> None:
    assert show.visible(make()) == shown


@pytest.mark.parametrize(
    "options", [["--coarser", "--finer"], ["--groups-about", "3", "--min-cluster-size", "2"]]
)
def test_one_way_to_choose_the_resolution(place: Path, options: list[str]) -> None:
    ran = run(place, "cluster", *options)
    assert ran.code == 2
    assert "choose one of" in ran.err


def test_coarser_and_finer_need_groups_to_begin_with(place: Path) -> None:
    ran = run(place, "cluster", "--finer")
    assert ran.code == 1
    assert "imgindex cluster" in ran.err
    run(place, "cluster", "--min-cluster-size", "2", "--min-samples", "1")
    assert run(place, "cluster", "--coarser", "--json").code == 0
