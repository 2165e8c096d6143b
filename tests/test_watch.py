"""A library that is kept current: by the command as a process, and what may befall it."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import watchfiles
from pictures import jpeg, png, scene

from imgindex import Library, indexing, open_store, watching
from imgindex.errors import LibraryDamagedError, SettingError, StoreError
from imgindex.records import AddReport, Choice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHARED = Path(__file__).parents[2] / "shared" / "photos"
COMMAND = [sys.executable, "-c", "from imgindex.cli import main; main()"]
LONG_AGO = 1_600_000_000

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


class Watch:
    """The command at work; its lines come in as it writes them."""

    def __init__(self, model: Path, library: Path, *arguments: str | Path) -> None:
        self.library = library
        self.process = subprocess.Popen(
            [
                *COMMAND,
                *("watch", *arguments, "--library", library, "--model", model),
                *("--device", "cpu"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(stream, take), daemon=True)
            for stream, take in (
                (self.process.stdout, self._lines.put),
                (self.process.stderr, self.said.append),
            )
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, take: Callable[[str], None]) -> None:
        with stream:
            for line in stream:
                take(line.rstrip("\n"))

    def line(self, seconds: float = 60) -> str:
        """The next line of the result."""
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"no line in {seconds} s; {self.said}") from None

    def record(self) -> dict[str, Any]:
        """The next line, of --json."""
        return dict(json.loads(self.line()))

    def silent(self, seconds: float) -> bool:
        """Whether nothing more comes for a while."""
        try:
            return not self._lines.get(timeout=seconds)
        except queue.Empty:
            return True

    def end(self, how: int = signal.SIGTERM) -> int:
        """Stop it; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(timeout=60)
        for reader in self._readers:
            reader.join(60)
        return code


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        (folder / f"{seed}.png").write_bytes(png(scene(seed, 48, 36)))
        os.utime(folder / f"{seed}.png", (LONG_AGO, LONG_AGO))
    return folder


@pytest.fixture
def start(tmp_path: Path, model_file: Path) -> Iterator[Callable[..., Watch]]:
    started: list[Watch] = []

    def begin(*arguments: str | Path, library: Path | None = None) -> Watch:
        started.append(Watch(model_file, library or tmp_path / "library", *arguments))
        return started[-1]

    yield begin
    for one in started:
        one.end(signal.SIGKILL)


def counts(record: dict[str, Any]) -> dict[str, int]:
    names = ("added", "reused", "moved", "removed")
    return {name: record[name] for name in names if record[name]} | (
        {"skipped": len(record["skipped"])} if record["skipped"] else {}
    )


@needs_posix
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/photos, which are not kept here")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_photo_that_is_dropped_in_is_found_moved_and_gone(
    start: Callable[..., Watch], photos: Path, how: int
) -> None:
    photo = min(SHARED.rglob("*.jpg"))
    watch = start(photos)
    assert watch.line().endswith("  embedded 2")
    (photos / "in").mkdir()
    shutil.copy(photo, photos / "in" / "new.jpg")
    assert watch.line().endswith("  embedded 1")

    def found() -> str:
        done = subprocess.run(
            [*COMMAND, "search", photo, "--paths", "-k", "1", "--library", watch.library],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    assert found() == str(photos / "in" / "new.jpg")  # another process reads meanwhile
    (photos / "in" / "new.jpg").rename(photos / "moved.jpg")
    assert watch.line().endswith("  moved 1")
    assert found() == str(photos / "moved.jpg")
    (photos / "moved.jpg").unlink()
    assert watch.line().endswith("  removed 1")
    assert found() != str(photos / "moved.jpg")
    (photos / "bad.jpg").write_bytes(b"rubbish")
    assert watch.line().endswith("  skipped 1")
    assert watch.line().startswith(f"  {photos}/bad.jpg  not a picture")
    assert watch.end(how) == 0
    assert watch.said[0] == "watching 1 place; Ctrl-C ends it"
    assert not any("Traceback" in line for line in watch.said)
    with Library(watch.library) as library:
        assert library.verify() == []
        assert library.status().pictures == 2


@needs_posix
def test_a_file_that_is_still_being_written_is_left_until_it_lies_still(
    start: Callable[..., Watch], photos: Path
) -> None:
    watch = start(photos, "--json")
    first = watch.record()
    assert list(first) == ["time", *(field.name for field in dataclasses.fields(AddReport))]
    assert counts(first) == {"added": 2}
    data = jpeg(scene(9, 400, 300))
    with (photos / "slow.jpg").open("wb") as file:
        for at in range(0, len(data), len(data) // 14 + 1):
            file.write(data[at : at + len(data) // 14 + 1])
            file.flush()
            time.sleep(0.25)
            if at == 0:  # something else is whole meanwhile
                (photos / "other.png").write_bytes(png(scene(7, 48, 36)))
    embedded = 0
    while embedded < 2:
        record = watch.record()
        assert record["skipped"] == []
        embedded += record["added"]
    assert watch.end() == 0


@needs_posix
def test_folders_that_vanish_and_come_back_are_watched_again(
    start: Callable[..., Watch], photos: Path, tmp_path: Path
) -> None:
    watch = start(photos, "--json")
    assert counts(watch.record()) == {"added": 2}
    photos.rename(tmp_path / "away")
    record = watch.record()
    assert counts(record) == {}
    assert f"{photos} held 2 files and is not there now" in record["note"]
    (tmp_path / "away").rename(photos)
    record = watch.record()  # the note is gone
    assert (counts(record), record["note"]) == ({}, "")
    (photos / "new.png").write_bytes(png(scene(5, 48, 36)))
    assert counts(watch.record()) == {"added": 1}
    assert watch.end() == 0


@needs_posix
def test_a_library_among_the_pictures_does_not_keep_itself_busy(
    start: Callable[..., Watch], photos: Path
) -> None:
    watch = start(photos, "--json", library=photos / "lib")
    assert counts(watch.record()) == {"added": 2}
    time.sleep(3)
    before = {path.name: path.stat().st_mtime_ns for path in (photos / "lib").iterdir()}
    assert watch.silent(4)
    after = {path.name: path.stat().st_mtime_ns for path in (photos / "lib").iterdir()}
    assert before == after
    assert watch.end() == 0


@needs_posix
def test_a_run_under_way_ends_as_every_command_does(
    start: Callable[..., Watch], tmp_path: Path
) -> None:
    pictures = tmp_path / "many"
    pictures.mkdir()
    for seed in range(1500):
        (pictures / f"{seed}.png").write_bytes(png(scene(seed, 24, 18)))
    watch = start(pictures)
    vectors = watch.library / "vectors.f32"
    while not (vectors.exists() and vectors.stat().st_size):
        assert watch.process.poll() is None, watch.said
        time.sleep(0.005)
    assert watch.end() in {130, 0}  # 0, where it was through already
    with Library(watch.library) as library:
        assert library.verify() == []


# What may befall a round


@pytest.fixture
def library(tmp_path: Path, model_file: Path) -> Iterator[Library]:
    with Library(tmp_path / "library", model=model_file, device="cpu") as opened:
        yield opened


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Take the place of what the system tells: each step is done, and may have changed files."""

    def play(*steps: Callable[[], object] | str) -> None:
        def told(*_: object) -> Iterator[bool | str]:
            for step in steps:
                if isinstance(step, str):
                    yield step
                else:
                    step()
                    yield True
            raise KeyboardInterrupt

        monkeypatch.setattr(watching, "_told", told)
        monkeypatch.setattr(watching, "_AGAIN", 0.0)

    return play


def nothing() -> None:
    """Let a moment pass."""


def test_a_writer_elsewhere_is_told_once_and_waited_for(
    library: Library, photos: Path, moments: Callable[..., None]
) -> None:
    library.add(photos)
    other = open_store(library.settings.library)
    hold = other.writing()
    hold.__enter__()
    moments(nothing, nothing, lambda: hold.__exit__(None, None, None))
    busy, free = library.watch(photos)
    assert busy.report is None
    assert "another process is writing" in busy.problem
    assert free.report is not None
    assert free.report.unchanged == 2
    other.close()


@pytest.mark.parametrize(
    "error", [StoreError("cannot write: no space left"), OSError(errno.ENOSPC, "no space left")]
)
def test_a_full_disk_is_told_and_tried_again(
    library: Library,
    photos: Path,
    moments: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    failing = ["yes"]

    def full(*arguments: Any, **others: Any) -> Any:
        if failing:
            raise error
        return indexing.index(*arguments, **others)

    monkeypatch.setattr(watching, "index", full)
    moments(nothing, failing.clear)
    first, second = library.watch(photos)
    assert "no space left" in first.problem
    assert second.report is not None
    assert second.report.added == 2


def test_damage_ends_it(
    library: Library, photos: Path, moments: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object, **__: object) -> None:
        raise LibraryDamagedError("torn")

    monkeypatch.setattr(watching, "index", damaged)
    moments(nothing)
    with pytest.raises(LibraryDamagedError, match="torn"):
        next(library.watch(photos))


def test_rounds_without_news_are_not_told(
    library: Library, photos: Path, moments: Callable[..., None]
) -> None:
    def bring() -> None:
        (photos / "new.png").write_bytes(png(scene(4, 48, 36)))
        os.utime(photos / "new.png", (LONG_AGO, LONG_AGO))

    def spoil() -> None:
        (photos / "bad.png").write_bytes(b"rubbish")
        os.utime(photos / "bad.png", (LONG_AGO, LONG_AGO))

    moments(nothing, bring, nothing, spoil, nothing, nothing)
    reports = [one.report for one in library.watch(photos)]
    assert [(one.added, one.unchanged, len(one.skipped)) for one in reports if one] == [
        *((2, 0, 0), (1, 2, 0), (0, 3, 1)),
    ]


def test_a_file_written_just_now_waits_for_the_next_moment(
    library: Library, photos: Path, moments: Callable[..., None]
) -> None:
    new = photos / "new.png"

    def age() -> None:
        os.utime(new, (LONG_AGO, LONG_AGO))

    moments(lambda: new.write_bytes(png(scene(4, 48, 36))), nothing, age)
    reports = [one.report for one in library.watch(photos)]
    assert [one.added for one in reports if one] == [2, 1]


def test_what_is_left_out_is_left_out_of_every_round(
    library: Library, photos: Path, moments: Callable[..., None]
) -> None:
    moments(nothing, lambda: (photos / ".imgindexignore").write_text("1.png\n"))
    reports = [one.report for one in library.watch(photos, choice=Choice(exclude=("0.png",)))]
    assert [(one.added, one.removed) for one in reports if one] == [(1, 0), (0, 1)]


def test_looking_every_so_often_needs_nothing_to_be_told(
    library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_told", None)
    rounds = library.watch(photos, poll=0.05)
    first = next(rounds).report
    assert first is not None
    assert first.added == 2
    (photos / "0.png").unlink()
    second = next(rounds).report
    assert second is not None
    assert second.removed == 1
    rounds.close()  # type: ignore[attr-defined]  # an iterator to its users


def test_where_the_system_cannot_tell_it_is_looked_at_regularly(
    library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> Iterator[set[object]]:
        raise OSError(errno.ENOSPC, "OS file watch limit reached")

    monkeypatch.setattr(watchfiles, "watch", exhausted)
    monkeypatch.setattr(watching, "_BLIND", 0.05)
    rounds = library.watch(photos)
    assert next(rounds).report is not None
    assert "OS file watch limit reached" in next(rounds).problem
    (photos / "0.png").unlink()
    last = next(rounds).report
    assert last is not None
    assert last.removed == 1


def test_mistakes_are_told_at_once(library: Library, photos: Path) -> None:
    with pytest.raises(SettingError, match="poll"):
        library.watch(photos, poll=0)
    with pytest.raises(SettingError, match="nowhere"):
        next(library.watch(photos / "nowhere"))
    with pytest.raises(SettingError, match="no pattern"):
        next(library.watch(photos, choice=Choice(exclude=("!",))))


@pytest.mark.parametrize(
    ("name", "matters"),
    [
        ("a.jpg", True), ("A.CR2", True), ("a.txt", False), ("folder", True), ("gone.d", True),
        (".nomedia", True), (".imgindexignore", True), ("lib/vectors.f32", False),
        ("lib/a.jpg", False),
    ],
)  # fmt: skip
def test_changes_that_concern_no_picture_are_passed_over(
    tmp_path: Path,
    name: str,
    matters: bool,  # noqa: FBT001 - a parameter
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "lib").mkdir()
    if name not in {"folder", "gone.d"}:
        (tmp_path / name).touch()
    assert watching._matters(f"{tmp_path}/lib/", None, str(tmp_path / name)) is matters
