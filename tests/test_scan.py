from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgindex import scan
from imgindex.errors import PictureError, SettingError
from imgindex.records import Found, Paired, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SUFFIXES = frozenset({".jpg", ".png"})
LIMIT = 10_000
pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")


def put(path: Path, data: bytes = b"picture") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def walk(*roots: Path | str) -> list[Found | Skipped | Paired]:
    return list(scan.walk(roots, SUFFIXES))


def names(root: Path, *roots: Path | str) -> list[str]:
    """What a walk finds, relative to ``root``; nothing may be skipped."""
    met = walk(*(roots or (root,)))
    assert all(isinstance(one, Found) for one in met), met
    return [Path(one.path).relative_to(root).as_posix() for one in met]


def refused(path: Path | str, limit: int = LIMIT) -> str:
    with pytest.raises(PictureError) as caught:
        scan.load(os.fspath(path), limit)
    return str(caught.value)


# Walking


def test_files_come_sorted_before_the_folders_beside_them(tmp_path: Path) -> None:
    for name in ("b.jpg", "A.png", "a/z.jpg", "a/b/c.jpg", "B/x.jpg", "a.jpg", "c.txt", "jpg"):
        put(tmp_path / name)
    expected = ["A.png", "a.jpg", "b.jpg", "B/x.jpg", "a/z.jpg", "a/b/c.jpg"]
    assert names(tmp_path) == expected


def test_the_order_does_not_depend_on_the_file_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(20):
        put(tmp_path / f"{index % 4}" / f"{index * 7919 % 101}.jpg")
    once = walk(tmp_path)
    backwards = reversing(os.scandir)
    monkeypatch.setattr(os, "scandir", backwards)
    assert walk(tmp_path) == once
    assert len(once) == 20


def reversing(scandir: Callable[[str], Any]) -> Callable[[str], Any]:
    class Listing:
        def __init__(self, folder: str) -> None:
            with scandir(folder) as listing:
                self.entries = list(listing)[::-1]

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

    return Listing


def test_found_tells_path_size_and_time(tmp_path: Path) -> None:
    path = put(tmp_path / "x.jpg", b"12345")
    os.utime(path, ns=(1, 1_700_000_000_123_456_789))
    assert walk(tmp_path) == [Found(str(path), 5, path.stat().st_mtime_ns)]


def test_suffixes_are_compared_in_lower_case(tmp_path: Path) -> None:
    for name in ("a.JPG", "b.Png", "c.jpg.txt", "d.jpeg", "e.", "f", "jpg"):
        put(tmp_path / name)
    assert names(tmp_path) == ["a.JPG", "b.Png"]


def test_hidden_names_are_passed_over_unless_they_are_roots(tmp_path: Path) -> None:
    for name in (".a.jpg", "._b.jpg", ".jpg", ".cache/c.jpg", "d.jpg"):
        put(tmp_path / name)
    assert names(tmp_path) == ["d.jpg"]
    assert names(tmp_path, tmp_path / ".cache", tmp_path / "._b.jpg") == [
        "._b.jpg",
        ".cache/c.jpg",
    ]


def test_a_root_that_is_a_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    path = put(tmp_path / "scan.raw")
    assert names(tmp_path, path) == ["scan.raw"]


def test_a_root_that_does_not_exist_is_named_before_anything_is_walked(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"no file or folder '.*nowhere'"):
        scan.walk([tmp_path, tmp_path / "nowhere"], SUFFIXES)
    with pytest.raises(SettingError, match="no file or folder"):
        scan.walk(["nul\0"], SUFFIXES)


def test_paths_are_absolute_and_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a" / "x.jpg")
    monkeypatch.chdir(tmp_path / "a")
    expected = [str(tmp_path / "a" / "x.jpg")]
    for root in (".", "x.jpg", "../a", "../a/./x.jpg", "../a/"):
        assert [one.path for one in walk(root)] == expected


def test_overlapping_roots_give_each_file_once(tmp_path: Path) -> None:
    for name in ("x.jpg", "a/x.jpg", "a/b/x.jpg", "a/y.txt"):
        put(tmp_path / name)
    a, b, x = tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "x.jpg"
    for roots in ([tmp_path, a, b], [b, a, tmp_path], [x, tmp_path, x], [tmp_path, x, tmp_path]):
        found = names(tmp_path, *roots)
        assert sorted(found) == sorted(["x.jpg", "a/x.jpg", "a/b/x.jpg"])
    assert len(walk(a, a / "y.txt")) == 3


def test_two_thousand_files_are_each_found_once(tmp_path: Path) -> None:
    expected = set()
    for index in range(2000):
        folder = tmp_path / f"{index % 7}" / f"{index % 11}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{index}.png"
        path.touch()
        expected.add(str(path))
    found = [one.path for one in walk(tmp_path, tmp_path / "3")]
    assert len(found) == 2000
    assert set(found) == expected


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9 \xff.jpg"
    try:
        Path(os.fsdecode(name)).write_bytes(b"picture")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    (found,) = walk(tmp_path)
    assert os.fsencode(found.path) == name
    again, data = scan.load(found.path, LIMIT)
    assert again == found
    assert data == b"picture"


# Links


def test_links_to_files_and_folders_are_followed_under_their_own_names(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "folder" / "x.jpg", b"12")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "folder").symlink_to(tmp_path / "elsewhere" / "folder")
    (tmp_path / "root" / "y.jpg").symlink_to(tmp_path / "elsewhere" / "folder" / "x.jpg")
    met = walk(tmp_path / "root")
    assert [Path(one.path).relative_to(tmp_path).as_posix() for one in met] == [
        "root/y.jpg",
        "root/folder/x.jpg",
    ]
    assert {one.size for one in met if isinstance(one, Found)} == {2}


def test_loops_of_links_end(tmp_path: Path) -> None:
    put(tmp_path / "a" / "b" / "x.jpg")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "here").symlink_to(".")
    (tmp_path / "a" / "other").symlink_to(tmp_path / "c")
    put(tmp_path / "c" / "y.jpg")
    (tmp_path / "c" / "back").symlink_to(tmp_path / "a")
    assert names(tmp_path, tmp_path / "a") == [
        "a/b/x.jpg",
        "a/other/y.jpg",
    ]


def test_a_folder_keeps_its_own_name_when_links_lead_to_it_too(tmp_path: Path) -> None:
    put(tmp_path / "m" / "x.jpg")
    (tmp_path / "a").symlink_to("m")
    (tmp_path / "z").symlink_to("m")
    assert names(tmp_path) == ["m/x.jpg"]


def test_a_folder_behind_two_links_is_walked_once(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "x.jpg")
    root = tmp_path / "root"
    root.mkdir()
    for name in ("one", "two"):
        (root / name).symlink_to(tmp_path / "elsewhere")
    assert names(root) == ["one/x.jpg"]


def test_a_broken_link_is_skipped_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "notes").symlink_to("nowhere")
    expected = [Skipped(str(tmp_path / "x.jpg"), "broken link")]
    assert walk(tmp_path) == expected
    assert walk(tmp_path / "x.jpg") == expected


def test_a_link_to_itself_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").symlink_to("x.jpg")
    (skipped,) = walk(tmp_path)
    assert isinstance(skipped, Skipped)
    assert "too many" in skipped.reason


# What is no file, or cannot be read


@pipes
def test_special_files_are_skipped_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        # A socket's path may have 107 bytes; tmp_path alone can be longer.
        here = Path.cwd()
        os.chdir(tmp_path)
        try:
            server.bind("plug.jpg")
        finally:
            os.chdir(here)
        reasons = {"device.png": "is a device", "pipe.jpg": "is a named pipe"}
        reasons["plug.jpg"] = "is a socket"
        assert walk(tmp_path) == [
            Skipped(str(tmp_path / name), reason) for name, reason in sorted(reasons.items())
        ]
        for name, reason in reasons.items():
            assert refused(tmp_path / name) == reason
    assert refused(tmp_path) == "is a folder"


def test_a_folder_that_cannot_be_read_does_not_end_the_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/x.jpg", "b/x.jpg", "c/x.jpg"):
        put(tmp_path / name)
    scandir = os.scandir

    def guarded(folder: str) -> Any:
        if folder.endswith("b"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    a, b, c = walk(tmp_path)
    assert b == Skipped(str(tmp_path / "b"), "cannot read the folder: permission denied")
    assert [one.path for one in (a, c)] == [str(tmp_path / name / "x.jpg") for name in "ac"]


def test_a_file_that_vanishes_during_the_walk_is_skipped(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        put(tmp_path / name)
    walking = scan.walk([tmp_path], SUFFIXES)
    first = next(walking)
    (tmp_path / "b.jpg").unlink()
    assert isinstance(first, Found)
    assert list(walking) == [Skipped(str(tmp_path / "b.jpg"), "vanished")]


def test_a_folder_that_vanishes_during_the_walk_is_skipped(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg")
    (tmp_path / "b").mkdir()
    walking = scan.walk([tmp_path], SUFFIXES)
    next(walking)
    (tmp_path / "b").rmdir()
    assert list(walking) == [Skipped(str(tmp_path / "b"), "cannot read the folder: vanished")]


# Loading


def test_load_gives_the_file_as_it_is_now(tmp_path: Path) -> None:
    path = put(tmp_path / "x.jpg", b"old")
    put(path, b"newer")
    assert scan.load(str(path), 5) == (Found(str(path), 5, path.stat().st_mtime_ns), b"newer")


def test_load_makes_the_path_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "x.jpg")
    monkeypatch.chdir(tmp_path)
    assert scan.load("x.jpg", LIMIT)[0].path == str(path)


def test_reasons_for_what_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(tmp_path / "nowhere.jpg") == "vanished"
    assert refused(put(tmp_path / "x.jpg") / "y.jpg") == "not a directory"
    assert refused(put(tmp_path / "empty.jpg", b"")) == "empty file"
    assert refused("nul\0.jpg") == "not a possible file name"
    assert refused("\ud800.jpg") == "not a possible file name"
    for code, expected in ((errno.EACCES, "permission denied"), (errno.EIO, "input/output error")):

        def fail(*_: object, code: int = code) -> int:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(scan, "_open_at_once", fail)
        assert refused(tmp_path / "x.jpg") == expected


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [
        (11, 10, "file of 11 bytes, over the limit of 10 bytes"),
        (2_500, 999, "file of 2.5 kB, over the limit of 999 bytes"),
        (3_210_000_000, 512_000_000, "file of 3.2 GB, over the limit of 512 MB"),
    ],
)
def test_a_large_file_is_refused_unread(
    tmp_path: Path, size: int, limit: int, expected: str
) -> None:
    path = put(tmp_path / "x.jpg")
    os.truncate(path, size)  # sparse: takes no space
    assert refused(path, limit) == expected
    if size < 100:
        assert len(scan.load(str(path), size)[1]) == size


@pytest.mark.parametrize("change", ["grown", "shrunk", "rewritten"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = put(tmp_path / "x.jpg", b"0123456789")
    fstat = os.fstat
    calls = 0

    def meanwhile(handle: int) -> os.stat_result:
        nonlocal calls
        status = fstat(handle)
        calls += stat.S_ISREG(status.st_mode)
        if calls == 1:
            if change == "grown":
                put(path, b"0123456789abc")
            elif change == "shrunk":
                put(path, b"0123")
            else:
                put(path, b"abcdefghij")
                os.utime(path, ns=(1, status.st_mtime_ns + 1_000))
        return status

    monkeypatch.setattr(os, "fstat", meanwhile)
    assert refused(path) == "changed while it was read"


def test_a_file_shorter_than_it_says_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "x.jpg", b"0123456789")
    claim = SimpleNamespace(st_mode=stat.S_IFREG, st_size=11, st_mtime_ns=1)
    monkeypatch.setattr(os, "fstat", lambda _: claim)
    assert refused(path) == "changed while it was read"


@pipes
def test_a_pipe_that_takes_the_place_of_a_file_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "x.jpg")
    status = path.stat()
    path.unlink()
    os.mkfifo(path)
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda p, **k: status if p == str(path) else real(p, **k))
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(refused, path)
        try:
            assert loading.result(timeout=5) == "is a named pipe"
        finally:
            with suppress(OSError):  # wakes whoever waits for a writer
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


# Identity


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_equal_ids_mean_equal_bytes(one: bytes, other: bytes) -> None:
    assert (scan.content_id(one) == scan.content_id(other)) == (one == other)
    assert len(scan.content_id(one)) == 32


def test_ids_are_blake2b_of_sixteen_bytes() -> None:
    # Libraries on disk hold these names: they must never change.
    assert scan.content_id(b"") == "cae66941d9efbd404e4d88758ea67670"
    assert scan.content_id(b"abc") == hashlib.blake2b(b"abc", digest_size=16).hexdigest()
