"""What of a folder is indexed: patterns, ignore files, pairs; and what becomes of what was."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import dng, jpeg, png, scene

from imgindex import Library, absent, pixels, scan
from imgindex.choosing import Chooser
from imgindex.errors import SettingError
from imgindex.records import AddReport, Choice, Found, Paired, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(scene(len(name) * 1000 + sum(name.encode()), 40, 30)))


def write(path: Path, *lines: str) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def taken(root: Path, *roots: Path, **choice: Any) -> set[str]:
    """Names that a walk finds, relative to ``root``."""
    met = list(scan.walk(roots or (root,), pixels.SUFFIXES, Chooser(Choice(**choice))))
    assert all(isinstance(one, Found) for one in met), met
    return {Path(one.path).relative_to(root).as_posix() for one in met}


# Patterns


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ((), {"a.jpg", "b.gif", "in/a.jpg", "in/thumbs/t.jpg", "thumbs/t.jpg"}),
        (("*.gif",), {"a.jpg", "in/a.jpg", "in/thumbs/t.jpg", "thumbs/t.jpg"}),
        (("thumbs/",), {"a.jpg", "b.gif", "in/a.jpg"}),
        (("/thumbs/",), {"a.jpg", "b.gif", "in/a.jpg", "in/thumbs/t.jpg"}),
        (("thumbs",), {"a.jpg", "b.gif", "in/a.jpg"}),
        (("/a.jpg",), {"b.gif", "in/a.jpg", "in/thumbs/t.jpg", "thumbs/t.jpg"}),
        (("in/*/*.jpg",), {"a.jpg", "b.gif", "in/a.jpg", "thumbs/t.jpg"}),
        (("**/a.jpg", "!/a.jpg"), {"a.jpg", "b.gif", "in/thumbs/t.jpg", "thumbs/t.jpg"}),
        (("in/", "!in/a.jpg"), {"a.jpg", "b.gif", "thumbs/t.jpg"}),  # as git has it
    ],
)
def test_patterns_are_those_of_gitignore(
    tmp_path: Path, exclude: tuple[str, ...], left: set[str]
) -> None:
    put(tmp_path, "a.jpg", "b.gif", "in/a.jpg", "in/thumbs/t.jpg", "thumbs/t.jpg")
    assert taken(tmp_path, exclude=exclude) == left


def test_git_says_the_same(tmp_path: Path) -> None:
    """Ignore files in three folders, against git itself."""
    put(tmp_path, "a.jpg", "b.jpg", "x/a.jpg", "x/b.jpg", "x/y/a.jpg", "x/y/b.jpg", "x/y/z/c.jpg")
    put(tmp_path, "w/a.jpg", "w/keep.jpg", "v/deep/a.jpg", "v/deep/b.jpg")
    rules = {"": ["a.jpg", "/w/*", "!/w/keep.jpg"], "x": ["!a.jpg", "z/"], "x/y": ["b.jpg"]}
    rules["v"] = ["deep/a*", "# nothing", "", "!deep/a.jpg"]
    for folder, lines in rules.items():
        write(tmp_path / folder / ".imgindexignore", *lines)
        write(tmp_path / folder / ".gitignore", *lines)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", "*.jpg"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert taken(tmp_path) == set(listed.stdout.split())


def test_only_what_is_included_is_taken(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.gif", "2024/a.jpg", "2024/in/b.gif", "best/c.png")
    assert taken(tmp_path, include=("*.gif",)) == {"b.gif", "2024/in/b.gif"}
    assert taken(tmp_path, include=("2024/", "c.*")) == {
        "2024/a.jpg",
        "2024/in/b.gif",
        "best/c.png",
    }
    assert taken(tmp_path, include=("2024/",), exclude=("*.gif",)) == {"2024/a.jpg"}


def test_a_pattern_that_a_shell_made_a_whole_path_of_is_understood(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "in/a.jpg", "in/b.jpg")
    assert taken(tmp_path, exclude=(f"{tmp_path}/in/",)) == {"a.jpg"}
    assert taken(tmp_path, exclude=("a.jpg", f"!{tmp_path}/a.jpg")) == {"a.jpg", "in/b.jpg"}


def test_patterns_are_relative_to_each_folder_that_is_walked(tmp_path: Path) -> None:
    put(tmp_path, "one/a.jpg", "one/in/a.jpg", "two/a.jpg", "two/in/a.jpg")
    roots = (tmp_path / "one", tmp_path / "two")
    assert taken(tmp_path, *roots, exclude=("/a.jpg",)) == {"one/in/a.jpg", "two/in/a.jpg"}


def test_what_is_named_is_taken(tmp_path: Path) -> None:
    put(tmp_path, "a.gif", "in/a.gif", "in/.nomedia", "in/b.jpg")
    named = (tmp_path / "a.gif", tmp_path / "in")
    assert taken(tmp_path, *named, exclude=("a.*", "in/")) == {"a.gif", "in/b.jpg"}


@pytest.mark.parametrize("pattern", ["", "!", "#comment", "a\\"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(SettingError, match="no pattern"):
        Chooser(Choice(exclude=("*.jpg", pattern)))


def test_hidden_names_are_taken_when_asked_for(tmp_path: Path) -> None:
    put(tmp_path, ".a.jpg", ".in/b.jpg", "c.jpg")
    assert taken(tmp_path) == {"c.jpg"}
    assert taken(tmp_path, hidden=True) == {".a.jpg", ".in/b.jpg", "c.jpg"}
    assert taken(tmp_path, hidden=True, exclude=(".in/",)) == {".a.jpg", "c.jpg"}


# Ignore files


def test_an_ignore_file_holds_below_its_folder_wherever_the_walk_begins(tmp_path: Path) -> None:
    put(tmp_path, "in/a.jpg", "in/b.gif", "in/deep/c.gif", "d.gif")
    write(tmp_path / "in" / ".imgindexignore", "*.gif")
    assert taken(tmp_path) == {"in/a.jpg", "d.gif"}
    assert taken(tmp_path, tmp_path / "in" / "deep") == set()
    assert taken(tmp_path, exclude=("!c.gif",)) == {"in/a.jpg", "in/deep/c.gif", "d.gif"}


def test_a_folder_that_is_ignored_above_is_walked_when_it_is_named(tmp_path: Path) -> None:
    put(tmp_path, "in/a.jpg", "in/deep/b.jpg")
    write(tmp_path / ".imgindexignore", "in/")
    assert taken(tmp_path) == set()
    assert taken(tmp_path, tmp_path / "in") == {"in/a.jpg", "in/deep/b.jpg"}
    assert taken(tmp_path, tmp_path / "in/deep") == {"in/deep/b.jpg"}


def test_a_folder_without_media_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "in/b.jpg", "in/deep/c.jpg")
    (tmp_path / "in" / ".nomedia").touch()
    assert taken(tmp_path) == {"a.jpg"}
    assert taken(tmp_path, hidden=True) == {"a.jpg"}
    assert taken(tmp_path, tmp_path / "in") == {"in/b.jpg", "in/deep/c.jpg"}


@pytest.mark.parametrize(
    "pattern", ["*a" * 12 + "b", "x/*a*a*a*ab", "**/" * 6 + "b", "!" + "*a" * 5]
)
def test_a_pattern_that_would_never_end_is_refused(tmp_path: Path, pattern: str) -> None:
    put(tmp_path, "a" * 200 + ".png")
    write(tmp_path / ".imgindexignore", pattern)
    (skipped,) = scan.walk([tmp_path], pixels.SUFFIXES, Chooser())
    assert isinstance(skipped, Skipped)
    assert "is not understood: over 3 stars in" in skipped.reason


@pytest.mark.parametrize("pattern", ["**/t_*_*.gif", "*x*y*z*", "# *a*a*a*a*a*b", "!**/x/**"])
def test_patterns_with_few_stars_are_heeded(tmp_path: Path, pattern: str) -> None:
    put(tmp_path, "a" * 200 + ".png")
    write(tmp_path / ".imgindexignore", pattern)
    assert len(taken(tmp_path)) == 1


def test_a_pipe_for_an_ignore_file_is_not_waited_at(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    os.mkfifo(tmp_path / ".imgindexignore")
    (skipped,) = scan.walk([tmp_path], pixels.SUFFIXES, Chooser())
    assert skipped == Skipped(str(tmp_path), "its .imgindexignore is not understood: it is no file")


def test_an_ignore_file_that_is_not_understood_hides_its_folder_and_says_so(
    tmp_path: Path,
) -> None:
    put(tmp_path, "a.jpg", "in/b.jpg")
    write(tmp_path / "in" / ".imgindexignore", "*.gif", "!")
    found, skipped = scan.walk([tmp_path], pixels.SUFFIXES)
    assert isinstance(found, Found)
    assert isinstance(skipped, Skipped)
    assert skipped.path == str(tmp_path / "in")
    assert skipped.reason.startswith("its .imgindexignore is not understood")
    (tmp_path / "in" / ".imgindexignore").unlink()
    (tmp_path / "in" / ".imgindexignore").mkdir()
    found, skipped = scan.walk([tmp_path], pixels.SUFFIXES)
    assert skipped == Skipped(str(tmp_path / "in"), "cannot read the folder: is a directory")


def test_an_ignore_file_that_is_too_long_is_not_cut(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    ignore = tmp_path / ".imgindexignore"
    ignore.write_bytes(b"a.jpg\n".rjust(1 << 20, b"\n"))
    assert taken(tmp_path) == {"b.jpg"}
    ignore.write_bytes(b"a.jpg\n".rjust((1 << 20) + 1, b"\n"))
    (skipped,) = scan.walk([tmp_path], pixels.SUFFIXES)
    assert skipped == Skipped(
        str(tmp_path), "its .imgindexignore is not understood: over the limit of 1 MiB"
    )


def test_names_that_are_not_utf8_can_be_left_out(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    try:
        Path(os.fsdecode(name)).write_bytes(b"picture")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    put(tmp_path, "b.jpg")
    assert len(taken(tmp_path, exclude=("*.gif",))) == 2
    (tmp_path / ".imgindexignore").write_bytes(b"caf\xe9.jpg\r\n")
    assert taken(tmp_path) == {"b.jpg"}


NAMES = st.sampled_from(["a", "b", "c.jpg", "d.gif"])
PATTERNS = st.sampled_from(
    ["a/", "/b", "*.gif", "a/b/", "!a/", "**/b/*", "c.jpg", "!c.jpg", "a/*", "/*"]
)


@given(
    st.sets(st.lists(NAMES, min_size=1, max_size=3).map(tuple), max_size=8),
    st.lists(PATTERNS, max_size=4),
    st.lists(PATTERNS, max_size=2),
    st.lists(PATTERNS, max_size=3),
)
@settings(max_examples=60)
def test_the_question_and_the_walk_agree(
    tmp_path_factory: pytest.TempPathFactory,
    names: set[tuple[str, ...]],
    exclude: list[str],
    include: list[str],
    lines: list[str],
) -> None:
    """What a walk finds is what is not left out when asked for one by one."""
    root = tmp_path_factory.mktemp("root")
    files = []
    for name in names:
        path = root.joinpath(*name[:-1], f"{name[-1]}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        files.append(str(path))
    if (root / "a").is_dir():
        write(root / "a" / ".imgindexignore", *lines)
    choice = Choice(tuple(include), tuple(exclude))
    found = {one.path for one in scan.walk([root], pixels.SUFFIXES, Chooser(choice))}
    chooser = Chooser(choice)
    assert found == {path for path in files if not chooser.leaves_out(path, [str(root)])}


# What was indexed before


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    put(folder, "a.png", "b.png", "in/c.png", "in/deep/d.png")
    return folder


@pytest.fixture
def library(tmp_path: Path, model_file: Path) -> Iterator[Library]:
    with Library(tmp_path / "library", model=model_file, device="cpu") as opened:
        yield opened


def counts(report: AddReport) -> dict[str, int]:
    names = ("added", "reused", "moved", "removed", "unchanged", "paired")
    every = {name: getattr(report, name) for name in names} | {"skipped": len(report.skipped)}
    return {name: number for name, number in every.items() if number}


def results(library: Library, photos: Path) -> set[str]:
    """The files that a search may name."""
    found = library.search(photos / "a.png", 50).matches
    return {Path(one.path).relative_to(photos).as_posix() for one in found}


@pytest.mark.parametrize("way", ["option", "file", "nomedia", "include"])
def test_what_is_left_out_leaves_the_results_and_comes_back_for_nothing(
    library: Library, photos: Path, way: str
) -> None:
    assert counts(library.add(photos)) == {"added": 4}
    choice = Choice()
    if way == "option":
        choice = Choice(exclude=("in/",))
    elif way == "include":
        choice = Choice(include=("/*.png",))
    elif way == "file":
        write(photos / ".imgindexignore", "in/")
    else:
        (photos / "in" / ".nomedia").touch()
    report = library.add(photos, choice=choice)
    assert counts(report) == {"removed": 2, "unchanged": 2}
    assert report.note.startswith("2 of the removed are there still")
    assert results(library, photos) == {"a.png", "b.png"}
    again = library.add(photos, choice=choice)
    assert (counts(again), again.note) == ({"unchanged": 2}, "")  # told once
    for name in (".imgindexignore", "in/.nomedia"):
        (photos / name).unlink(missing_ok=True)
    report = library.add(photos)
    assert counts(report) == {"reused": 2, "unchanged": 2}
    assert report.device is None
    assert len(results(library, photos)) == 4


def test_a_pattern_of_one_root_does_not_reach_another(library: Library, photos: Path) -> None:
    other = photos.parent / "other"
    put(other, "in/x.png")
    library.add([photos, other])
    report = library.add([photos], choice=Choice(exclude=("in/",)))
    assert counts(report) == {"removed": 2, "unchanged": 2}
    assert library.status().files == 3


def test_a_hidden_file_that_was_named_stays_when_its_folder_is_walked(
    library: Library, photos: Path
) -> None:
    put(photos, ".mine/h.png")
    library.add([photos, photos / ".mine"])
    assert counts(library.add(photos)) == {"unchanged": 4}
    assert library.status().files == 5


# Pairs


def put_raw(path: Path, seed: int = 5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dng(jpeg(scene(seed, 64, 48))))


def test_a_raw_file_beside_its_picture_is_that_picture(tmp_path: Path) -> None:
    for name in ("a.DNG", "B.cr2", "c.nef", "d.arw", "in/a.dng", "e.JPG.dng"):
        put_raw(tmp_path / name)
    put(tmp_path, "A.JPG", "b.Heic", "d.txt", "in/b.jpg", "e.JPG")
    (tmp_path / "c.jpg").mkdir()
    met = list(scan.walk([tmp_path], pixels.SUFFIXES))
    by = {
        kind: [Path(one.path).name for one in met if isinstance(one, kind)]
        for kind in (Found, Paired)
    }
    assert by[Paired] == ["B.cr2", "a.DNG"]
    assert by[Found] == [
        "A.JPG",
        "b.Heic",
        "c.nef",
        "d.arw",
        "e.JPG",
        "e.JPG.dng",
        "a.dng",
        "b.jpg",
    ]


def test_of_a_pair_that_is_named_whole_the_picture_counts(tmp_path: Path) -> None:
    put_raw(tmp_path / "a.dng")
    put(tmp_path, "a.jpg")
    raw, rendered = tmp_path / "a.dng", tmp_path / "a.jpg"
    assert [type(one) for one in scan.walk([raw, rendered], pixels.SUFFIXES)] == [Paired, Found]
    assert [one.path for one in scan.walk([raw], pixels.SUFFIXES)] == [str(raw)]


def test_a_picture_that_cannot_be_read_hides_no_raw_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.dng", "b.dng", "c.dng"):
        put_raw(tmp_path / name)
    put(tmp_path, "b.jpg", "b.png", "c.jpg")
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.jpg").write_bytes(b"")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, _: not str(path).endswith("c.jpg"))
        met = list(scan.walk([tmp_path], pixels.SUFFIXES))
        named = list(scan.walk(sorted(tmp_path.iterdir()), pixels.SUFFIXES))
    assert met == named
    assert [one for one in met if isinstance(one, Paired)] == [
        Paired(str(tmp_path / "b.dng"), (str(tmp_path / "b.png"),))
    ]
    assert {"a.dng", "c.dng"} < {Path(one.path).name for one in met if isinstance(one, Found)}


def test_a_damaged_picture_hides_its_raw_file_until_that_is_known(
    library: Library, photos: Path
) -> None:
    put_raw(photos / "pair.dng")
    (photos / "pair.jpg").write_bytes(b"\xff\xd8\xff damaged")
    assert counts(library.add(photos)) == {"added": 4, "skipped": 1, "paired": 1}
    assert counts(library.add(photos)) == {"added": 1, "unchanged": 4, "skipped": 1}
    assert "pair.dng" in results(library, photos)
    assert counts(library.add(photos)) == {"unchanged": 5, "skipped": 1}
    put(photos, "pair.jpg")  # mended
    library.add(photos)
    assert "pair.jpg" in results(library, photos)
    assert "pair.dng" not in results(library, photos)


def test_a_picture_that_is_left_out_has_no_twin(tmp_path: Path) -> None:
    put_raw(tmp_path / "a.dng")
    put(tmp_path, "a.jpg")
    assert taken(tmp_path, exclude=("*.jpg",)) == {"a.dng"}


def test_pairs_stay_one_picture_whichever_comes_or_goes(library: Library, photos: Path) -> None:
    put_raw(photos / "pair.dng")
    assert counts(library.add(photos)) == {"added": 5}
    put(photos, "pair.jpg")
    report = library.add(photos)  # a rendered picture appears beside an indexed raw file
    assert counts(report) == {"added": 1, "removed": 1, "unchanged": 4, "paired": 1}
    assert {"pair.jpg"} == {name for name in results(library, photos) if "pair" in name}
    assert counts(library.add(photos)) == {"unchanged": 5, "paired": 1}
    (photos / "pair.jpg").unlink()
    report = library.add(photos)  # and it vanishes
    assert counts(report) == {"reused": 1, "removed": 1, "unchanged": 4}
    assert {"pair.dng"} == {name for name in results(library, photos) if "pair" in name}
    put(photos, "pair.jpg")
    assert counts(library.add(photos, prune=True))["paired"] == 1
    status = library.status()
    assert (status.pictures, status.files, status.missing) == (5, 5, 0)
    (photos / "pair.dng").unlink()
    assert counts(library.add(photos)) == {"unchanged": 5}


def test_companions_are_the_files_that_belong_to_a_picture(tmp_path: Path) -> None:
    for name in (
        *("IMG_1.HEIC", "IMG_1.mov", "img_1.CR2", "IMG_1.xmp", "IMG_1.heic.xmp", "IMG_1.AAE"),
        *("IMG_1.txt", "IMG_10.mov", "IMG_1.jpg", "IMG_2.jpg"),
    ):
        (tmp_path / name).touch()
    (tmp_path / "IMG_1.mp4").mkdir()

    def names(path: str) -> list[str]:
        return [Path(one).name for one in scan.companions(str(tmp_path / path))]

    assert names("IMG_1.HEIC") == [
        *("IMG_1.AAE", "IMG_1.heic.xmp", "IMG_1.mov", "IMG_1.xmp", "img_1.CR2"),
    ]
    assert names("img_1.CR2") == ["IMG_1.AAE", "IMG_1.mov", "IMG_1.xmp"]
    assert names("IMG_2.jpg") == []
    assert scan.companions(str(tmp_path / "nowhere" / "a.jpg")) == []


# Shares that are away


def test_a_root_that_is_empty_all_at_once_is_kept_until_it_is_pruned(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    library.add(photos)
    photos.rename(tmp_path / "away")
    photos.mkdir()  # what is left of a share that is not mounted
    for _ in range(2):
        report = library.add(photos)
        assert counts(report) == {}
        assert report.note == (
            f"{photos} held 4 files and is empty now; they are kept; if that is right, "
            "run with --prune"
        )
    assert (library.status().files, library.status().missing) == (4, 0)
    photos.rmdir()
    assert "is not there now" in library.add(photos).note
    (tmp_path / "away").rename(photos)
    report = library.add(photos)
    assert (counts(report), report.note) == ({"unchanged": 4}, "")
    shutil.rmtree(photos)
    report = library.add(photos, prune=True)
    assert (counts(report), report.note) == ({"removed": 4}, "")
    assert library.status().pictures == 0


def test_a_root_with_empty_mount_points_is_kept(library: Library, photos: Path) -> None:
    library.add(photos)
    for path in list(photos.rglob("*.png")):
        path.unlink()
    assert "holds none of them now" in library.add(photos).note


def test_a_folder_deleted_on_purpose_is_removed(library: Library, photos: Path) -> None:
    library.add(photos)
    shutil.rmtree(photos / "in")
    report = library.add(photos)
    assert (counts(report), report.note) == ({"removed": 2, "unchanged": 2}, "")


def test_a_root_with_other_pictures_than_before_is_no_share_that_is_away(
    library: Library, photos: Path
) -> None:
    library.add(photos)
    shutil.rmtree(photos)
    put(photos, "new.png")
    assert counts(library.add(photos)) == {"added": 1, "removed": 4}


def test_files_that_moved_from_one_root_to_another_are_not_kept_twice(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    put(inbox, "x.png", "y.png", "z.png")
    library.add([photos, inbox])
    for name in ("x.png", "y.png"):
        (inbox / name).rename(photos / name)
    (inbox / "z.png").unlink()
    report = library.add([photos, inbox])
    assert counts(report) == {"moved": 2, "unchanged": 4}
    assert f"{inbox} held 1 file and is empty now" in report.note
    assert library.status().files == 7


def test_a_named_file_that_went_is_removed_and_kept_with_its_whole_folder(
    library: Library, photos: Path
) -> None:
    library.add([photos / "a.png"])
    (photos / "a.png").unlink()
    assert counts(library.add([photos / "a.png"])) == {"removed": 1}
    library.add([photos / "b.png"])
    shutil.rmtree(photos)
    report = library.add([photos / "b.png"])
    assert counts(report) == {}
    assert "b.png held 1 file and is not there now" in report.note


def breaking(patch: pytest.MonkeyPatch, folder: str, code: int, *, begun: bool) -> None:
    """Let a folder and all in it fail: at once, or from the moment that it is to be read."""
    broken = [begun]

    def guard(real: Callable[..., Any], *, breaks: bool) -> Callable[..., Any]:
        def guarded(path: Any, **options: Any) -> Any:
            mine = isinstance(path, str) and (path == folder or path.startswith(folder + "/"))
            broken[0] |= mine and breaks
            if mine and broken[0]:
                raise OSError(code, os.strerror(code), path)
            return real(path, **options)

        return guarded

    for name in ("scandir", "stat", "lstat"):
        patch.setattr(os, name, guard(getattr(os, name), breaks=name == "scandir"))


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOENT, errno.ENOTCONN])
@pytest.mark.parametrize("prune", [False, True])
def test_a_share_that_breaks_off_in_the_middle_of_a_walk_is_kept(
    library: Library,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    prune: bool,  # noqa: FBT001 - a parameter
) -> None:
    library.add(photos)
    with monkeypatch.context() as patch:
        breaking(patch, f"{photos}/in", code, begun=False)
        report = library.add(photos, prune=prune)
    assert [one.path for one in report.skipped] == [str(photos / "in")]
    gone = prune and code == errno.ENOENT  # what only fails cannot be believed to be gone
    assert counts(report) == {"unchanged": 2, "skipped": 1} | ({"removed": 2} if gone else {})
    assert ("held 2 files" in report.note) == (code == errno.ENOENT and not prune)
    report = library.add(photos)
    assert counts(report) == ({"added": 2, "unchanged": 2} if gone else {"unchanged": 4})


def test_a_root_that_cannot_be_looked_at_is_told_and_kept(
    library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add(photos)

    with monkeypatch.context() as patch:
        breaking(patch, str(photos), errno.ESTALE, begun=True)
        report = library.add(photos, prune=True)
    assert [one.path for one in report.skipped] == [str(photos)]
    assert "stale" in report.skipped[0].reason
    assert counts(library.add(photos)) == {"unchanged": 4}


def test_a_file_that_was_met_and_went_during_the_walk_is_kept_for_once(
    library: Library, photos: Path
) -> None:
    library.add(photos)
    place = str(photos / "b.png")
    assert absent.away([place], [str(photos / "a.png")], [str(photos)], [place]) == {}
    (photos / "b.png").unlink()
    assert absent.away([place], [str(photos / "a.png")], [str(photos)], [place]) == {place: {place}}


def test_a_pipe_in_the_place_of_a_file_is_no_share(tmp_path: Path) -> None:
    place = tmp_path / "a.png"
    os.mkfifo(place)
    assert stat.S_ISFIFO(place.stat().st_mode)
    assert absent.away([str(place)], [str(tmp_path / "b.png")], [str(tmp_path)], [str(place)]) == {}
