"""Disks that may not be written, that are full, and shares that break off under one's hands."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pictures import png, scene
from PIL import Image
from served import inside

from imgindex import Library, open_store, quantizing, scan
from imgindex.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [sys.executable, "-c", "from imgindex.cli import main; main()"]


@cache
def mounts() -> bool:
    """Whether this process may mount for itself and its children."""
    if shutil.which("unshare") is None:
        return False
    return (
        subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0
    )


def apart(*commands: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the shell with mounts of its own."""
    if not mounts():
        pytest.skip("mounting is not allowed here")
    return subprocess.run(
        ["unshare", "-m", "sh", "-euc", "\n".join(commands)],
        capture_output=True,
        text=True,
        check=False,
    )


def python(code: str, *arguments: Path) -> str:
    """A line of the shell that runs some Python."""
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for at in range(12):
        path = folder / f"{at % 3}" / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        mixed = Image.blend(scene(at % 3, 48, 36), scene(100 + at, 48, 36), 0.1)
        path.write_bytes(png(mixed))
    return folder


@pytest.fixture
def library(tmp_path: Path, model_file: Path) -> Iterator[Library]:
    with Library(tmp_path / "library", model=model_file, device="cpu") as opened:
        yield opened


@pytest.fixture
def grouped(library: Library, photos: Path) -> Library:
    library.add([photos])
    library.cluster(min_cluster_size=3)
    library.duplicates()
    library.close()
    return library


# Libraries that may not be written

READ_ONLY = """
import sys
from pathlib import Path
from imgindex import Library
from imgindex.errors import StoreError
place, model, photos, out = map(Path, sys.argv[1:])
sys.path.insert(0, str(Path.cwd() / "tests"))
from served import inside

files = sorted(photos.rglob("*.png"))
before = {path.name: path.read_bytes() for path in place.iterdir()}
with Library(place, model=model, device="cpu") as library:
    assert library.search(files[0], 5).matches[0].path == str(files[0])
    assert library.search(files[0].read_bytes() + b" ", 5).matches[0].score > 0.999  # embedded
    assert library.status().pictures == len(files)
    assert library.verify() == []
    assert len(library.grouping().ids) == len(files)
    library.duplicates()
    library.chart()
    for name in ("groups.csv", "groups.json", "groups.html", "sorted"):
        assert library.export(out / name).pictures == len(files)
    for change in (
        lambda: library.add([photos]),
        lambda: library.cluster(min_cluster_size=3),
        lambda: library.remove(library.listing()[:1]),
        lambda: library.together([str(files[0]), str(files[1])]),
        lambda: library.apart([str(files[0]), str(files[1])]),
    ):
        try:
            change()
        except StoreError as error:
            assert "read-only" in str(error).lower() or "readonly" in str(error), error
            assert str(place) in str(error), error
        else:
            raise AssertionError("a library that may not be written was changed")
    with inside(library, uploads=out / "uploads") as opened:
        listed = opened.client.get("/v1/pictures").json()
        assert listed["total"] == len(files)
        one = listed["pictures"][0]["id"]
        assert opened.client.get(f"/v1/pictures/{one}/similar").status_code == 200
        sent = opened.client.post("/v1/search/upload", content=files[0].read_bytes() + b" ")
        assert sent.status_code == 200, sent.text
        assert opened.client.get("/v1/groups").status_code == 200
        refused = opened.client.delete(f"/v1/pictures/{one}")
        assert refused.status_code == 503, refused.text
        assert "read-only" in refused.json()["detail"].lower() or "readonly" in refused.text
assert {path.name: path.read_bytes() for path in place.iterdir()} == before
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mounts are made as Linux does")
def test_a_library_on_a_read_only_mount_answers_and_is_not_changed(
    grouped: Library, photos: Path, model_file: Path, tmp_path: Path
) -> None:
    place = Path(grouped.settings.library)
    (tmp_path / "out").mkdir()
    ran = apart(
        f"mount --bind {place} {place}",
        f"mount -o remount,ro,bind {place}",
        f"! touch {place}/x 2> /dev/null",
        f"cd {Path(__file__).parents[1]}",
        python(READ_ONLY, place, model_file, photos, tmp_path / "out"),
    )
    assert ran.returncode == 0, ran.stderr


# Shares


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN])
def test_files_that_cannot_be_looked_at_have_not_vanished(
    grouped: Library, photos: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that hangs in the air: names are listed, and nothing else works."""
    stat = os.stat

    def stale(path: Any, *args: Any, **options: Any) -> os.stat_result:
        if str(path).endswith(".png") and str(path).startswith(str(photos / "1")):
            raise OSError(code, os.strerror(code), path)
        return stat(path, *args, **options)

    class Entry:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.name, self.path = entry.name, entry.path
            self.is_dir, self.is_symlink = entry.is_dir, entry.is_symlink

        def __fspath__(self) -> str:
            return self.path

        def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
            return stale(self.path, follow_symlinks=follow_symlinks)

    scandir = os.scandir

    class Listing:
        def __init__(self, folder: str) -> None:
            self._entries = scandir(folder)

        def __enter__(self) -> Iterator[Entry]:
            return map(Entry, self._entries)

        def __exit__(self, *_: object) -> None:
            self._entries.close()

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stale)
        patch.setattr(os, "scandir", Listing)
        report = grouped.add([photos])
        assert (report.removed, report.unchanged, len(report.skipped)) == (0, 8, 4)
        assert {one.reason for one in report.skipped} == {os.strerror(code).lower()}
        assert grouped.add([photos], prune=True).removed == 0
        assert grouped.status().files == 12
    report = grouped.add([photos])
    assert (report.unchanged, report.added, report.skipped) == (12, 0, ())


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("where", ["open", "read"])
def test_files_that_break_off_are_named_and_tried_again(
    library: Library, photos: Path, code: int, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = scan.load

    def broken(path: str, limit: int) -> Any:
        if path.startswith(str(photos / "1")):
            with monkeypatch.context() as patch:
                fail = OSError(code, os.strerror(code), path)

                def failing(*_: object) -> Any:
                    raise fail

                patch.setattr(os, "open" if where == "open" else "fstat", failing)
                return load(path, limit)
        return load(path, limit)

    with monkeypatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)  # what is patched on the way is the process's
        patch.setattr(scan, "load", broken)
        report = library.add([photos])
        assert (report.added, len(report.skipped)) == (8, 4)
        assert {one.reason for one in report.skipped} == {os.strerror(code).lower()}
    report = library.add([photos])
    assert (report.added, report.unchanged, report.skipped) == (4, 8, ())


def test_a_folder_that_goes_stale_keeps_its_files(
    grouped: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir, stat = os.scandir, os.stat
    gone = str(photos / "1")

    def refuse(path: Any) -> None:
        if str(path).startswith(gone):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)

    def stale_scandir(path: Any) -> Any:
        refuse(path)
        return scandir(path)

    def stale_stat(path: Any, *args: Any, **options: Any) -> os.stat_result:
        refuse(path)
        return stat(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", stale_scandir)
        patch.setattr(os, "stat", stale_stat)
        report = grouped.add([photos], prune=True)
        assert report.removed == 0
        assert [one.path for one in report.skipped] == [gone]
        assert "stale" in report.skipped[0].reason
    assert grouped.add([photos]).unchanged == 12


# A temporary folder that is full

FULL = """
import sys
from pathlib import Path
from imgindex import Library
place, model, photos = map(Path, sys.argv[1:])
files = sorted(photos.rglob("*.png"))
with Library(place, model=model, device="cpu") as library:
    assert library.add([photos]).added == len(files)
    library.cluster(min_cluster_size=3)
    library.duplicates()
    assert library.search(files[0], 3).matches[0].path == str(files[0])
    assert library.verify() == []
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mounts are made as Linux does")
def test_a_library_needs_no_temporary_folder(
    photos: Path, model_file: Path, tmp_path: Path
) -> None:
    full = tmp_path / "tmp"
    full.mkdir()
    ran = apart(
        f"mount -t tmpfs -o size=64k none {full}",
        f"head -c 1000000 /dev/zero > {full}/rest 2> /dev/null || true",
        f"export TMPDIR={full}",
        python(FULL, tmp_path / "library", model_file, photos),
    )
    assert ran.returncode == 0, ran.stderr
    with closing(open_store(tmp_path / "library")) as store:
        assert len(store.files()) == 12


def full(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_upload_that_finds_no_room_on_the_way_is_told(
    grouped: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long forms lie in the temporary folder until they are whole.
    data = (photos / "0/0.png").read_bytes() + bytes(2_000_000)
    with inside(grouped) as opened, monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", full)
        patch.setattr(tempfile.SpooledTemporaryFile, "rollover", full)
        answer = opened.client.post("/v1/search/upload", files={"file": ("a.png", data)})
        assert answer.status_code == httpx.codes.INSUFFICIENT_STORAGE, answer.text
        assert "no space left" in answer.json()["detail"].lower()
        patch.undo()
        again = opened.client.post("/v1/search/upload", files={"file": ("a.png", data)})
        assert again.status_code == httpx.codes.OK
        assert opened.service.in_flight == 0


def test_a_model_in_eight_bits_that_finds_no_room_is_told(
    photos: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(40):
        (photos / f"more{seed}.png").write_bytes(png(scene(50 + seed, 48, 36)))
    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    with pytest.raises(ModelError, match=r"temporary folder .*TMPDIR"):
        quantizing.quantize(str(model_file), [photos], folder=tmp_path / "models")
    assert not list((tmp_path / "models").glob("*.onnx"))


def test_a_read_only_folder_of_photos_is_indexed(
    photos: Path, model_file: Path, tmp_path: Path
) -> None:
    ran = apart(
        f"mount --bind {photos} {photos}",
        f"mount -o remount,ro,bind {photos}",
        python(FULL, tmp_path / "library", model_file, photos),
    )
    assert ran.returncode == 0, ran.stderr
