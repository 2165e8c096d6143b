"""Files behind addresses and in manifests, indexed as those in folders are."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pictures import png, scene

from imgindex import Library, addresses, manifests
from imgindex.errors import PictureError, QueryError, SettingError
from imgindex.records import Box, Choice, Skipped, Term

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("fsspec", reason="needs fsspec: pip install 'imgindex[ray]'")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures, one of them twice, and what is none."""
    place = tmp_path / "pictures"
    (place / "deep" / "er").mkdir(parents=True)
    for name, seed in (("0", 0), ("again", 0), ("deep/1", 1), ("deep/er/2", 2), (".hidden", 3)):
        (place / f"{name}.png").write_bytes(png(scene(seed, 48, 36)))
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    (place / "empty.png").touch()
    (place / "notes.txt").write_text("nothing")
    return place


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    place = tmp_path / "all.zip"
    with zipfile.ZipFile(place, "w") as file:
        for one in sorted(folder.rglob("*")):
            file.write(one, f"photos/{one.relative_to(folder)}")
    return place


@pytest.fixture
def library(tmp_path: Path, model_file: Path) -> Iterator[Library]:
    with Library(tmp_path / "library", model=model_file, device="cpu") as library:
        yield library


def relative(path: str) -> str:
    return path.partition("::")[0].rpartition("photos/")[2].rpartition("pictures/")[2]


def test_an_archive_is_indexed_as_its_folder_is(
    library: Library, folder: Path, archive: Path, tmp_path: Path, model_file: Path
) -> None:
    with Library(tmp_path / "other", model=model_file, device="cpu") as other:
        expected = other.add([folder])
        report = library.add([f"zip://photos::{archive}"])
        counts = ("added", "reused", "removed", "unchanged", "moved")
        assert [getattr(report, one) for one in counts] == [
            getattr(expected, one) for one in counts
        ]
        assert {(relative(one.path), one.reason) for one in report.skipped} == {
            (relative(one.path), one.reason) for one in expected.skipped
        }
        match = library.search(folder / "deep" / "1.png", k=1).matches[0]
        assert match.path == f"zip://photos/deep/1.png::{archive}"
        assert library._resources.load(match.path)[1] == (folder / "deep" / "1.png").read_bytes()
        assert library.search(match.path, k=1).matches == (match,)
        assert library.search(Term(match.path, box=Box(0, 0, 40, 30)), k=1).matches[0].score < 1
        with pytest.raises(QueryError, match=r"nosuch\.png::.* is not indexed"):
            library.search(f"zip://photos/nosuch.png::{archive}")
        with pytest.raises(QueryError, match="--allow-url"):
            library.search("https://nobody.example/a.png")
        assert len(library.duplicates().sets) == len(other.duplicates().sets) == 1
    again = library.add([f"zip://photos/::file://{archive}"])  # the same place in other words
    assert (again.added, again.reused, again.unchanged) == (0, 0, report.added + report.reused)
    (folder / "0.png").write_bytes(png(scene(9, 48, 36)))
    (folder / "again.png").unlink()
    with zipfile.ZipFile(archive, "w") as file:
        for one in sorted(folder.rglob("*")):
            file.write(one, f"photos/{one.relative_to(folder)}")
    changed = library.add([f"zip://photos::{archive}"])
    assert (changed.added, changed.removed) == (1, 1)
    archive.unlink()
    kept = library.add([f"zip://photos::{archive}"])
    assert kept.removed == 0
    assert "held 4 files and is not there now" in kept.note
    assert library.add([f"zip://photos::{archive}"], prune=True).removed == 4
    with pytest.raises(SettingError, match="no file or folder"):
        library.add([f"zip://::{tmp_path / 'nosuch.zip'}"])


def test_patterns_hold_behind_addresses(library: Library, archive: Path) -> None:
    place = f"zip://photos::{archive}"
    assert library.add([place], choice=Choice(exclude=("deep/",))).added == 1
    assert library.add([place], choice=Choice(include=("er/",))).added == 1
    assert library.add([place], choice=Choice(hidden=True)).added == 2


def test_local_addresses_are_paths(library: Library, folder: Path) -> None:
    assert library.add([f"file://{folder}"]).added == 3
    assert library.add([folder]).unchanged == 4
    assert addresses.settled(f"file://{folder}/") == str(folder)


@pytest.mark.parametrize(
    ("address", "said"),
    [("s3x://bucket/a", "s3x"), ("nosuch://a", "nosuch"), ("zip://a::nosuch://b", "nosuch")],
)
def test_what_nobody_here_can_read_is_refused(library: Library, address: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        library.add([address])
    assert isinstance(addresses.look(address), Skipped)
    assert not addresses.vanished(address)


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(SettingError, match="s3fs"):
        addresses.settled("s3://bucket/folder")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(SettingError, match=r"pip install 'imgindex\[ray\]'"):
        addresses.settled("zip://::/a.zip")


def test_limits_hold_behind_addresses(archive: Path) -> None:
    place = f"zip://photos/0.png::{archive}"
    assert addresses.load(place, 10_000)[0].size > 100
    for address, limit, said in (
        (place, 100, "over the limit of 100"),
        (f"zip://photos/empty.png::{archive}", 100, "empty file"),
        (f"zip://photos/nosuch.png::{archive}", 100, "vanished"),
        (f"zip://photos::{archive}", 100, "is a folder"),
    ):
        with pytest.raises(PictureError, match=said):
            addresses.load(address, limit)


def test_whether_a_file_changed_is_told_by_whatever_the_store_tells() -> None:
    from datetime import UTC, datetime

    stamp = addresses._stamp
    day = datetime(2026, 1, 2, tzinfo=UTC)
    assert stamp({"LastModified": day}) == stamp({"mtime": day.timestamp()})
    assert stamp({"date_time": (2026, 1, 2, 0, 0, 0)}) == stamp({"mtime": day.timestamp()})
    assert stamp({"ETag": '"a"'}) == stamp({"ETag": '"a"'}) != stamp({"ETag": '"b"'})
    assert stamp({"updated": "2026-01-02"}) != stamp({"updated": "2026-01-03"})
    first = stamp({})
    assert stamp({}) != first or stamp({}) != first  # nothing told: it is read each time


def test_manifests_of_both_kinds_name_the_same(
    library: Library, folder: Path, archive: Path, tmp_path: Path
) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'imgindex[ray]'")
    from pyarrow import parquet

    named = [
        "pictures/0.png",
        str(folder / "broken.png"),
        "pictures/nosuch.png",
        f"file://{folder}/deep/1.png",
        f"zip://photos/deep/er/2.png::{archive}",
        "pictures/0.png",
    ]
    lines = [json.dumps(named[0]), "", *(json.dumps({"uri": one, "x": 1}) for one in named[1:])]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    parquet.write_table(
        pa.table({"n": list(range(len(named))), "address": named}), tmp_path / "a.parquet"
    )
    first, second = (
        list(manifests.read(str(tmp_path / f"a.{kind}"))) for kind in ("jsonl", "parquet")
    )
    assert first == second
    assert first[0] == str(folder / "0.png")
    report = library.add([tmp_path / "a.jsonl"], manifest=True)
    assert (report.added, report.reused) == (3, 0)
    assert [(Path(one.path).name, one.reason) for one in report.skipped] == [
        ("nosuch.png", "vanished"),
        ("broken.png", "truncated or damaged: its header cannot be read"),
    ]
    (folder / "deep" / "1.png").unlink()
    again = library.add([tmp_path / "a.parquet"], manifest=True)
    assert (again.added, again.unchanged, again.removed) == (0, 2, 1)
    assert library.add([folder]).reused == 2  # again.png, and 2.png in its own folder


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"a.png"\nnot json\n', "line 2 is no JSON"),
        ('{"name": "a.png"}\n', "row 1 names no file"),
        ("17\n", "row 1 names no file"),
        ('"a\\u0000b"\n', "row 1 names no file"),
        ('"nosuch://a"\n', "nosuch"),
    ],
)
def test_a_manifest_that_is_none_says_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(SettingError, match=said):
        list(manifests.read(str(tmp_path / "a.jsonl")))
    with pytest.raises(SettingError, match="cannot read the manifest"):
        list(manifests.read(str(tmp_path / "nosuch.jsonl")))


def test_a_table_without_a_column_of_files_says_so(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'imgindex[ray]'")
    from pyarrow import parquet

    parquet.write_table(pa.table({"name": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(SettingError, match="has the columns name"):
        list(manifests.read(str(tmp_path / "a.parquet")))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(SettingError, match="cannot read the manifest"):
        list(manifests.read(str(tmp_path / "b.parquet")))


@pytest.mark.parametrize(
    "address",
    [
        "reference://::https://example.org/all.json",
        "simplecache::https://example.org/a.jpg",
        "filecache://x::s3://bucket/a.jpg",
        "zip://a.jpg::python::https://example.org/a.zip",
        "github://someone:project@/a.jpg",
        "data://image/png;base64,AAAA",
    ],
)
def test_protocols_that_write_or_follow_what_they_meet_are_refused(address: str) -> None:
    with pytest.raises(SettingError, match="is none of"):
        addresses.settled(address)
    met = addresses.look(address)
    assert isinstance(met, Skipped)
    assert "is none of" in met.reason
