"""Clocks that jump: times of files, and the time of the machine between runs."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Self

import pytest
from pictures import png, scene

from imgindex import Library, regrouping
from imgindex.scan import content_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_750_000_000


def write(path: Path, seed: int, seconds: float = NOW, side: int = 48) -> str:
    """Put a picture there as if it had been written then; its id."""
    data = png(scene(seed, side, 36))
    path.write_bytes(data)
    os.utime(path, ns=(0, int(seconds * 10**9)))
    return content_id(data)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(12):
        write(folder / f"{seed}.png", seed)
    return folder


@pytest.fixture
def library(tmp_path: Path, model_file: Path) -> Iterator[Library]:
    with Library(tmp_path / "library", model=model_file, device="cpu") as opened:
        yield opened


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (NOW, NOW - 10**9),
        (NOW, NOW + 10**9),
        (NOW, -1),
        (-1.5, -1.25),
        (0, -(2**31)),
        (2**32, 2**32 + 1),
        (NOW, NOW + 1e-6),
    ],
)
def test_another_time_earlier_or_later_means_another_look(
    library: Library, photos: Path, before: float, after: float
) -> None:
    try:
        old = write(photos / "0.png", 100, before)
        assert library.add([photos]).added == 12
        new = write(photos / "0.png", 101, after)
        if os.stat(photos / "0.png").st_mtime_ns != int(after * 10**9):  # noqa: PTH116
            pytest.skip("this file system keeps no such times")
    except OSError:
        pytest.skip("this file system keeps no such times")
    report = library.add([photos])
    assert (report.added, report.unchanged) == (1, 11)
    assert library.paths([old, new]) == {new: [str(photos / "0.png")]}
    assert library.add([photos]).unchanged == 12
    assert library.verify() == []


def test_content_of_another_size_is_seen_though_the_time_is_the_same(
    library: Library, photos: Path
) -> None:
    library.add([photos])
    new = write(photos / "0.png", 101, side=50)
    assert library.add([photos]).added == 1
    assert library.paths([new])[new] == [str(photos / "0.png")]


def test_a_change_that_keeps_size_and_time_is_seen_once_the_file_is_touched(
    library: Library, photos: Path
) -> None:
    old = write(photos / "0.png", 0)
    library.add([photos])
    data = bytearray((photos / "0.png").read_bytes())
    data[-1] ^= 1  # of the checksum of the end: the pixels are the same, the bytes are not
    (photos / "0.png").write_bytes(data)
    os.utime(photos / "0.png", ns=(0, NOW * 10**9))
    assert library.add([photos]).unchanged == 12
    (photos / "0.png").touch()
    library.add([photos])
    assert library.paths([old]) == {}


@pytest.mark.parametrize("days", [-400, -1, 0, 1, 40_000])
def test_the_last_grouping_is_the_one_that_was_made_last_whatever_the_clock_says(
    library: Library, photos: Path, days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add([photos])
    first = library.cluster(min_cluster_size=3)

    class Jumped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = UTC) -> Self:
            return super().now(tz) + timedelta(days=days)

    monkeypatch.setattr(regrouping, "datetime", Jumped)
    second = library.cluster(min_cluster_size=2, space="descriptor")
    kept = library.grouping()
    assert kept.created == second.created
    assert kept.settings.min_cluster_size == 2
    write(photos / "new.png", 77)
    assert library.add([photos]).added == 1
    assert library.grouping().created == second.created
    assert {change.created for change in library.history()} <= {kept.created, first.created}
    assert library.verify() == []


@pytest.mark.parametrize("jump", [-(10**8), -3600, 3600, 10**9])
def test_watching_goes_on_when_the_clock_jumps(
    library: Library, photos: Path, jump: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = library.watch([photos], poll=0.01)
    first = next(rounds).report
    assert first is not None
    assert first.added == 12
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    write(photos / "from now.png", 50, real() - 10)
    write(photos / "from then.png", 51, real() + jump - 10)
    second = next(rounds).report
    assert second is not None
    assert second.added == 2
