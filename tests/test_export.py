from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imgindex.errors import ExportError, PictureError
from imgindex.export import Export, folders, write
from imgindex.export.folders import Names
from imgindex.records import Group, GroupingSettings, Member

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imgindex.export import Link
    from imgindex.records import ExportReport

SETTINGS = GroupingSettings(min_cluster_size=2, min_samples=1, space="descriptor", model="random")

linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux allows such names, or has such devices"
)


def member(path: Path | str, group: int = 0, **more: Any) -> Member:
    told = {"id": f"id of {path}", "strength": 0.5, "outlier": 0.25, "exemplar": False, **more}
    return Member(path=os.fspath(path), group=group, **{"part": group, **told})


def export_of(members: Sequence[Member]) -> Export:
    numbers = sorted({m.group for m in members} - {-1})
    groups = [
        Group(n, sum(m.group == n for m in members), medoid="m", exemplars=("m",)) for n in numbers
    ]
    return Export(members, groups, SETTINGS, "2026-01-02T03:04:05+00:00", "/photos")


def no_thumbnail(path: str) -> bytes | None:
    raise AssertionError(f"only the gallery asks for thumbnails, not for {path}")


def put(target: Path, members: Sequence[Member], **more: Any) -> ExportReport:
    return write(target, export_of(members), **{"thumbnail": no_thumbnail, **more})


def touch(path: Path, content: bytes = b"picture") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def tree(root: Path) -> set[str]:
    return {os.path.relpath(entry, root) for entry in root.rglob("*")}


@pytest.fixture
def six(tmp_path: Path) -> list[Member]:
    """Two groups and noise; one picture of group 0 lies in two places."""
    source = tmp_path / "source"
    return [
        member(touch(source / "far.jpg"), -1, strength=0.0, outlier=0.9),
        member(touch(source / "b.jpg"), 0, strength=0.123456789),
        member(touch(source / "a.jpg"), 0, strength=0.5, id="twice"),
        member(touch(source / "copy/a.jpg"), 0, strength=0.5, id="twice"),
        member(touch(source / "core.jpg"), 0, strength=0.4, exemplar=True),
        member(touch(source / "d.jpg"), 1, strength=1.0),
    ]


def test_csv_has_the_header_and_order_it_promises(tmp_path: Path, six: list[Member]) -> None:
    source = tmp_path / "source"
    report = put(tmp_path / "out.csv", six)
    assert (tmp_path / "out.csv").read_bytes().decode().split("\r\n") == [
        "path,id,group,strength,outlier,exemplar",
        f"{source}/core.jpg,id of {source}/core.jpg,0,0.4,0.25,1".replace("/", os.sep),
        f"{source}/a.jpg,twice,0,0.5,0.25,0".replace("/", os.sep),
        f"{source}/copy/a.jpg,twice,0,0.5,0.25,0".replace("/", os.sep),
        f"{source}/b.jpg,id of {source}/b.jpg,0,0.123457,0.25,0".replace("/", os.sep),
        f"{source}/d.jpg,id of {source}/d.jpg,1,1,0.25,0".replace("/", os.sep),
        f"{source}/far.jpg,id of {source}/far.jpg,-1,0,0.9,0".replace("/", os.sep),
        "",
    ]
    assert (report.kind, report.files, report.pictures, report.groups) == ("csv", 6, 5, 2)
    assert report.target == str(tmp_path / "out.csv")
    assert report.skipped == ()


def test_json_tells_how_the_grouping_was_made(tmp_path: Path, six: list[Member]) -> None:
    put(tmp_path / "out.json", six)
    document = json.loads((tmp_path / "out.json").read_text("ascii"))
    assert list(document) == [
        *("library", "created", "settings", "decisions"),
        *("groups", "subgroups", "noise"),
    ]
    assert document["library"] == "/photos"
    assert document["created"] == "2026-01-02T03:04:05+00:00"
    assert document["settings"] == {
        "min_cluster_size": 2,
        "min_samples": 1,
        "space": "descriptor",
        "model": "random",
    }
    first = document["groups"][0]
    assert {key: first[key] for key in first if key != "members"} == {
        "id": 0,
        "size": 4,
        "medoid": "m",
        "exemplars": ["m"],
        "name": None,
        "cover": None,
        "parent": None,
    }
    assert first["members"][0] == {
        "path": six[4].path,
        "id": six[4].id,
        "strength": 0.4,
        "outlier": 0.25,
        "exemplar": True,
        "part": 0,
        "near": [],
    }
    assert document["noise"] == [
        {
            "path": six[0].path,
            "id": six[0].id,
            "strength": 0,
            "outlier": 0.9,
            "exemplar": False,
            "part": -1,
            "near": [],
        }
    ]


HOSTILE = [
    b"</script><script>alert(1)</script>.jpg".replace(b"/", b"\\"),
    b"<img src=x onerror=alert(1)>.jpg",
    b"line\nbreak\r.jpg",
    b"quote\"'`,;.jpg",
    b"=HYPERLINK(1).jpg",
    b"not utf-8 \xff\xfe.jpg",
    b"-rf",
    b"..\\..\\evil.jpg",
    b"x" * 251 + b".jpg",
    "ü𝄞\u2028\u202e.jpg".encode(),
]


@linux
def test_every_kind_keeps_hostile_names_and_says_the_same(tmp_path: Path) -> None:
    names = [os.fsdecode(name) for name in HOSTILE]
    members = [
        member(touch(tmp_path / "source" / name), index % 3 - 1) for index, name in enumerate(names)
    ]
    expected = {(m.path, m.group) for m in members}

    put(tmp_path / "out.csv", members)
    with (tmp_path / "out.csv").open(
        newline="", encoding="utf-8", errors="surrogateescape"
    ) as file:
        assert {(row["path"], int(row["group"])) for row in csv.DictReader(file)} == expected

    put(tmp_path / "out.json", members)
    document = json.loads((tmp_path / "out.json").read_text("ascii"))
    told = {(m["path"], g["id"]) for g in document["groups"] for m in g["members"]}
    assert told | {(m["path"], -1) for m in document["noise"]} == expected

    put(tmp_path / "out", members)
    entries = [entry for folder in (tmp_path / "out").iterdir() for entry in folder.iterdir()]
    folders = {"noise": -1, "group-0000": 0, "group-0001": 1}
    assert {(os.readlink(e), folders[e.parent.name]) for e in entries} == expected  # noqa: PTH115 - a str keeps the bytes
    assert len(entries) == len(members)


def test_no_cell_of_a_table_is_a_formula(tmp_path: Path) -> None:
    names = ["=HYPERLINK(0)", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "a\n=1", 'a",=1', "a;=1"]
    members = [
        member(touch(tmp_path / "source" / f"{name}.png"), index % 3 - 1)
        for index, name in enumerate(names)
    ]
    put(tmp_path / "out.csv", members)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        for _, *row in csv.reader(file):
            for cell in row:
                assert cell[0] not in "=+@\t\r"
                assert cell[0] != "-" or cell == "-1"
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert {path[0] for path, *_ in csv.reader(file)} == {"p", os.sep}  # all are absolute


def test_folders_hold_absolute_links(
    tmp_path: Path, six: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = put(Path("out"), six)
    assert tree(tmp_path / "out") == {
        os.path.normpath(entry)
        for entry in (
            "group-0000",
            "group-0000/a.jpg",
            "group-0000/a (2).jpg",
            "group-0000/b.jpg",
            "group-0000/core.jpg",
            "group-0001",
            "group-0001/d.jpg",
            "noise",
            "noise/far.jpg",
        )
    }
    assert (tmp_path / "out/group-0000/a (2).jpg").readlink() == tmp_path / "source/copy/a.jpg"
    assert (report.kind, report.files, report.pictures) == ("folders", 6, 5)


def test_hard_links_are_the_same_file(tmp_path: Path, six: list[Member]) -> None:
    put(tmp_path / "out", six, link="hardlink")
    entry = tmp_path / "out/group-0001/d.jpg"
    assert entry.samefile(six[5].path)
    assert not entry.is_symlink()


def test_a_hard_link_to_a_symlink_reaches_the_picture(tmp_path: Path) -> None:
    picture = touch(tmp_path / "real/one.jpg")
    (tmp_path / "real/alias.jpg").symlink_to("one.jpg")
    put(tmp_path / "out", [member(tmp_path / "real/alias.jpg")], link="hardlink")
    assert (tmp_path / "out/group-0000/alias.jpg").samefile(picture)


def test_copies_keep_content_and_time(tmp_path: Path) -> None:
    picture = touch(tmp_path / "source/a.jpg", os.urandom(3_000_000))
    os.utime(picture, ns=(10**18, 10**18 + 2 * 10**9))
    put(tmp_path / "out", [member(picture)], link="copy")
    entry = tmp_path / "out/group-0000/a.jpg"
    assert entry.read_bytes() == picture.read_bytes()
    assert entry.stat().st_mtime_ns == 10**18 + 2 * 10**9
    entry.write_bytes(b"changed")
    assert picture.stat().st_size == 3_000_000


@pytest.mark.parametrize("link", ["symlink", "hardlink", "copy"])
def test_a_vanished_source_is_skipped(tmp_path: Path, six: list[Member], link: Link) -> None:
    Path(six[1].path).unlink()
    shutil.rmtree(tmp_path / "source/copy")
    done: list[tuple[int, int]] = []
    report = put(tmp_path / "out", six, link=link, progress=lambda _, *counts: done.append(counts))
    assert {skip.path for skip in report.skipped} == {six[1].path, six[3].path}
    assert {skip.reason for skip in report.skipped} == {"the file has vanished"}
    assert (report.files, report.pictures) == (4, 4)
    assert "a (2).jpg" not in os.listdir(tmp_path / "out/group-0000")  # noqa: PTH208 - names
    assert done == [(n, 6) for n in range(1, 7)]


def test_what_is_no_regular_file_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    members = [member(tmp_path / "folder.jpg"), member(f"{tmp_path}{os.sep}..")]
    report = put(tmp_path / "out", members, link="copy")
    assert [skip.reason for skip in report.skipped] == ["not a regular file any more"] * 2
    assert tree(tmp_path / "out") == {"group-0000"}


@linux
def test_a_source_that_cannot_be_read_is_skipped_and_leaves_no_entry(tmp_path: Path) -> None:
    unreadable = Path("/proc/self/mem")  # a regular file whose first byte is an input error
    report = put(tmp_path / "out", [member(unreadable)], link="copy")
    assert [(skip.path, skip.reason) for skip in report.skipped] == [
        (str(unreadable), "cannot be read: Input/output error")
    ]
    assert tree(tmp_path / "out") == {"group-0000"}


def test_a_source_that_breaks_off_leaves_no_half_copy(
    tmp_path: Path, six: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(source: Path) -> Iterable[bytes]:
        yield b"half a picture"
        if source.name == "d.jpg":
            raise PictureError("cannot be read: Input/output error")

    monkeypatch.setattr(folders, "_blocks", broken)
    report = put(tmp_path / "out", six, link="copy")
    assert [skip.path for skip in report.skipped] == [six[5].path]
    assert os.listdir(tmp_path / "out/group-0001") == []  # noqa: PTH208 - names
    assert len(os.listdir(tmp_path / "out/group-0000")) == 4  # noqa: PTH208 - names


@pytest.mark.parametrize(
    ("code", "advice"), [(errno.EXDEV, "copies or symbolic links"), (errno.EPERM, "export copies")]
)
def test_a_hard_link_that_cannot_be_made_undoes_everything(
    tmp_path: Path, six: list[Member], monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    link = os.link

    def refuse(source: str, target: str, **more: Any) -> None:
        if "d.jpg" in os.fspath(target):
            raise OSError(code, os.strerror(code), source)
        link(source, target, **more)

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(ExportError, match=advice):
        put(tmp_path / "out", six, link="hardlink")
    assert not (tmp_path / "out").exists()
    assert all(Path(m.path).read_bytes() == b"picture" for m in six)
    assert put(tmp_path / "out", six, link="copy").files == 6


@linux
def test_a_hard_link_across_devices_says_so(tmp_path: Path) -> None:
    shm = Path("/dev/shm")  # noqa: S108 - wanted because it is another device
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    with tempfile.TemporaryDirectory(dir=shm) as other:
        picture = touch(Path(other) / "a.jpg")
        with pytest.raises(ExportError, match="another file system"):
            put(tmp_path / "out", [member(picture)], link="hardlink")


@pytest.mark.parametrize("kind", ["csv", "json", "html"])
def test_an_existing_file_is_kept_unless_forced(
    tmp_path: Path, six: list[Member], kind: str
) -> None:
    target = touch(tmp_path / f"out.{kind}", b"mine")
    with pytest.raises(ExportError, match="exists already"):
        put(target, six)
    assert target.read_bytes() == b"mine"
    put(target, six, force=True, thumbnail=lambda _: None)
    assert six[0].path.encode() in target.read_bytes().replace(b"\\\\", b"\\")
    assert tree(tmp_path) & {p.name for p in tmp_path.glob(".*")} == set()


def test_a_dangling_link_counts_as_existing(tmp_path: Path, six: list[Member]) -> None:
    (tmp_path / "out.csv").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ExportError, match="exists already"):
        put(tmp_path / "out.csv", six)
    put(tmp_path / "out.csv", six, force=True)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_comes_meanwhile_is_kept(tmp_path: Path, six: list[Member]) -> None:
    target = tmp_path / "out.html"

    def thumbnail(_: str) -> None:
        target.write_text("mine")

    with pytest.raises(ExportError, match="exists already"):
        put(target, six, thumbnail=thumbnail)
    assert target.read_text() == "mine"
    assert list(tmp_path.glob(".*")) == []


def test_a_failure_leaves_the_old_file_and_no_temporary(tmp_path: Path, six: list[Member]) -> None:
    target = touch(tmp_path / "out.html", b"old")

    def thumbnail(_: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        put(target, six, thumbnail=thumbnail, force=True)
    assert target.read_bytes() == b"old"
    assert {entry.name for entry in tmp_path.iterdir()} == {"out.html", "source"}


def test_a_full_disk_is_told(
    tmp_path: Path, six: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match=r"out\.csv: No space left"):
        put(tmp_path / "out.csv", six)
    assert {entry.name for entry in tmp_path.iterdir()} == {"source"}


@pytest.mark.parametrize("link", ["symlink", "hardlink", "copy"])
def test_an_entry_that_comes_meanwhile_is_kept(
    tmp_path: Path, six: list[Member], link: Link
) -> None:
    planted = tmp_path / "out/group-0000/b.jpg"

    def plant(*_: object) -> None:
        planted.write_bytes(b"mine")

    with pytest.raises(ExportError, match=r"b\.jpg was put there meanwhile"):
        put(tmp_path / "out", six, link=link, progress=plant)
    assert planted.read_bytes() == b"mine"
    assert tree(tmp_path / "out") == {"group-0000", os.path.join("group-0000", "b.jpg")}  # noqa: PTH118 - as tree has it


@pytest.mark.parametrize("name", ["out", "out.csv", "out.json", "out.html"])
def test_a_missing_parent_is_told(tmp_path: Path, six: list[Member], name: str) -> None:
    with pytest.raises(ExportError, match="there is no folder"):
        put(tmp_path / "nowhere" / name, six)
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_is_no_file(tmp_path: Path, six: list[Member]) -> None:
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(ExportError, match="is a folder"):
        put(tmp_path / "out.csv", six, force=True)


def test_folders_want_an_empty_place(tmp_path: Path, six: list[Member]) -> None:
    touch(tmp_path / "full/mine.txt", b"mine")
    touch(tmp_path / "file", b"mine")
    (tmp_path / "empty").mkdir()
    for force in (False, True):
        with pytest.raises(ExportError, match="not empty"):
            put(tmp_path / "full", six, force=force)
        with pytest.raises(ExportError, match="not a folder"):
            put(tmp_path / "file", six, force=force)
    assert tree(tmp_path / "full") == {"mine.txt"}
    assert put(tmp_path / "empty", six).files == 6


@pytest.mark.parametrize("force", [False, True])
def test_a_picture_is_never_the_target(six: list[Member], *, force: bool) -> None:
    with pytest.raises(ExportError, match="picture of the library"):
        put(Path(six[0].path), six, kind="csv", force=force)
    assert Path(six[0].path).read_bytes() == b"picture"


def test_an_unknown_kind_or_link_names_what_is_known(tmp_path: Path, six: list[Member]) -> None:
    with pytest.raises(ExportError, match=r"'\.xml'.*\.csv, \.json, \.html"):
        put(tmp_path / "out.xml", six)
    with pytest.raises(ExportError, match=r"'xml'; known are csv, json, html and folders"):
        put(tmp_path / "out.csv", six, kind="xml")
    with pytest.raises(ExportError, match=r"'move'; known are symlink, hardlink, copy"):
        put(tmp_path / "out", six, link="move")
    assert {entry.name for entry in tmp_path.iterdir()} == {"source"}


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("OUT.CSV", None, "csv"),
        ("out.htm", None, "html"),
        ("out.v2", "folders", "folders"),
        ("table", "json", "json"),
    ],
)
def test_the_kind_goes_by_the_suffix_unless_said(
    tmp_path: Path, six: list[Member], name: str, kind: str | None, expected: str
) -> None:
    assert put(tmp_path / name, six, kind=kind, thumbnail=lambda _: None).kind == expected
    assert (tmp_path / name).is_dir() == (expected == "folders")


def test_a_member_of_a_group_that_is_not_there_is_refused() -> None:
    with pytest.raises(ExportError, match="group 7"):
        Export([member("/a.jpg", 7)], [Group(0, 1, "a", ())], SETTINGS, "now", "/photos")


def test_nothing_to_export_is_no_error(tmp_path: Path) -> None:
    for name in ("out", "out.csv", "out.json", "out.html"):
        assert put(tmp_path / name, []).files == 0
    assert (tmp_path / "out.csv").read_bytes().count(b"\r\n") == 1
    assert tree(tmp_path / "out") == set()


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/x/a.jpg", "/y/a.jpg", "/z/a.jpg"], ["a.jpg", "a (2).jpg", "a (3).jpg"]),
        (["/x/a.jpg", "/y/A.JPG"], ["a.jpg", "A (2).JPG"]),
        (["/x/\u00e9.jpg", "/y/e\u0301.jpg"], ["\u00e9.jpg", "e\u0301 (2).jpg"]),
        (["/x/a (2).jpg", "/x/a.jpg", "/y/a.jpg"], ["a (2).jpg", "a.jpg", "a (3).jpg"]),
        (["/x/..", "/x/.", "/x/"], ["_", "_ (2)", "_ (3)"]),
        (["/x/..\\..\\evil.jpg"], [".._.._evil.jpg"]),
        (["/x/.hidden", "/y/.hidden"], [".hidden", ".hidden (2)"]),
        (["/x/" + "n" * 260 + ".jpeg"], ["n" * 250 + ".jpeg"]),
        (["/x/" + "é" * 127, "/y/" + "é" * 127], ["é" * 127, "é" * 125 + " (2)"]),
        (["/x/a." + "s" * 260], ["a." + "s" * 253]),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="Windows reads a backslash as a separator itself")
def test_names(paths: list[str], names: list[str]) -> None:
    chooser = Names()
    assert [chooser.choose(path) for path in paths] == names


BASE_NAMES = (
    st.binary(min_size=1, max_size=255)
    | st.text(min_size=1, max_size=60).map(lambda text: text.encode("utf-8", "ignore"))
    | st.sampled_from([b"a.jpg", b"A.jpg", b"a (2).jpg", b"-", b"~", b"x" * 255])
).filter(
    lambda name: (
        name not in {b"", b".", b".."} and not {b"/"[0], 0} & set(name) and len(name) <= 255
    )
)


@linux
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(BASE_NAMES, st.integers(-1, 1)), max_size=8), st.booleans())
@example([(b"..\\x.jpg", 0), (b"._x.jpg", 0), (b"a.jpg", 1), (b"A.JPG", 1)], False)  # noqa: FBT003 - drawn by position
def test_every_file_has_one_entry_inside_its_folder(
    drawn: list[tuple[bytes, int]],
    copy: bool,  # noqa: FBT001 - drawn by position
) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        members = [
            member(touch(root / f"s{index}" / os.fsdecode(name), b"%d" % index), group)
            for index, (name, group) in enumerate(drawn)
        ]
        before = tree(root)
        report = put(root / "out", members, link="copy" if copy else "symlink")
        assert report.skipped == ()
        folders = {-1: "noise", 0: "group-0000", 1: "group-0001"}
        assert {e for e in tree(root) if not e.startswith("out")} == before
        assert {e.name for e in (root / "out").iterdir()} == {folders[m.group] for m in members}
        held = sorted(
            (folder.name, int(entry.read_bytes()))
            for folder in (root / "out").iterdir()
            for entry in folder.iterdir()
        )
        assert held == sorted((folders[m.group], index) for index, m in enumerate(members))
        for folder in (root / "out").iterdir():
            names = [entry.name.casefold() for entry in folder.iterdir()]
            assert len(names) == len(set(names))
