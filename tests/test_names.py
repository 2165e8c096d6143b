"""File names in every script, and such as nobody would choose: through the whole of it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import run
from pictures import png, scene
from PIL import Image
from served import inside

from imgindex import Library
from imgindex.records import Where

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only there a name may hold any byte but / and NUL"
)

NAMES = [
    os.fsdecode(name if isinstance(name, bytes) else name.encode())
    for name in (
        "صورة.png",
        "תמונה \u200f(2).png",
        "写真・東京.png",
        "사진.png",
        "📷 👩\u200d👩\u200d👧.png",
        "caf\u00e9.png",  # one letter
        "cafe\u0301.png",  # a letter and its accent: another file
        "\u202egnp.exe.png",
        "new\nline\r\t.png",
        "'single' \"double\" `back` $(echo) \\.png",
        "-rf.png",
        "--json.png",
        "=1+1,;.png",
        "<script>&amp;.png",
        "%2e%2e%2f %s {0}.png",
        "*?[a]!.png",
        " blank .png",
        "x" * 251 + ".png",
        "写" * 83 + "ab.png",
        b"caf\xe9 \xff\xfe.png",
        b"\x80\x1b[31m.png",
    )
]
FOLDERS = ["plain", "ד\u200f", os.fsdecode(b"\xfe folder\n"), "- x"]
EXACT, SMALLER = NAMES[8], NAMES[9]  # of these two there are copies


def picture(kind: int, seed: int) -> Image.Image:
    """A picture of a kind: its scene with a little of another one."""
    return Image.blend(scene(kind, 160, 120), scene(100 + seed, 160, 120), 0.1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every name once, in three kinds; and of two pictures a copy, named as oddly."""
    folder = tmp_path_factory.mktemp("names") / "photos"
    try:
        for at, name in enumerate(NAMES):
            place = folder / FOLDERS[at % 4] / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(png(picture(at % 3, at)))
            os.utime(place, (1_600_000_000 + at,) * 2)
    except OSError:
        pytest.skip("this file system takes only names that are UTF-8")
    (folder / "copies").mkdir()
    (folder / "copies" / EXACT).write_bytes(png(picture(8 % 3, 8)))
    (folder / "copies" / SMALLER).write_bytes(png(picture(9 % 3, 9).resize((80, 60))))
    return folder


@pytest.fixture(scope="module")
def library(photos: Path, model_file: Path) -> Iterator[Library]:
    with Library(photos.parent / "library", model=model_file, device="cpu") as opened:
        report = opened.add([photos])
        assert (report.added, report.reused, report.skipped) == (len(NAMES) + 1, 1, ())
        opened.cluster(min_cluster_size=3)
        opened.duplicates()
        yield opened


@pytest.fixture
def place(library: Library) -> str:
    return str(library.settings.library)


def every(photos: Path) -> list[str]:
    return sorted(str(path) for path in photos.rglob("*.png"))


def originals(photos: Path) -> list[Path]:
    return [photos / FOLDERS[at % 4] / name for at, name in enumerate(NAMES)]


def test_a_second_run_knows_every_file(library: Library, photos: Path) -> None:
    report = library.add([photos])
    assert (report.unchanged, report.added, report.removed) == (len(NAMES) + 2, 0, 0)
    assert library.add([photos / FOLDERS[2]]).unchanged == len(originals(photos)[2::4])


def test_every_file_finds_itself_under_its_very_name(library: Library, photos: Path) -> None:
    for path in originals(photos):
        for query in (path, str(path)):
            assert library.search(query, 1).matches[0].path == str(path)


def test_an_accent_of_its_own_makes_another_file(library: Library, photos: Path) -> None:
    one, other = (photos / FOLDERS[at % 4] / NAMES[at] for at in (5, 6))
    assert library.search(one, 1).matches[0].path == str(one)
    assert library.search(other, 1).matches[0].path == str(other)


@pytest.mark.parametrize("at", range(len(FOLDERS)))
def test_a_folder_of_any_name_filters(library: Library, photos: Path, at: int) -> None:
    where = Where(folders=(str(photos / FOLDERS[at]),))
    found = library.search(originals(photos)[0], 99, where=where).matches
    assert {one.path for one in found} == {str(path) for path in originals(photos)[at::4]}


def test_commands_take_and_give_them(photos: Path, place: str) -> None:
    for path in originals(photos):
        assert run("search", str(path), "-k", "1", "--paths", "-0", "-L", place).out == (
            os.fsencode(path) + b"\0"
        )
    for path in originals(photos)[::4]:
        found = run("search", str(path), "-k", "1", "--json", "-L", place).json
        assert found["matches"][0]["path"] == str(path)


def test_a_name_like_an_option_is_a_name_behind_two_dashes(
    photos: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos / FOLDERS[10 % 4])
    assert b"-rf.png" in run("search", "-k", "1", "-L", place, "--", "-rf.png").out
    monkeypatch.chdir(photos)
    told = run("index", "--json", "-L", place, "--", "- x").json
    assert told["unchanged"] == len(originals(photos)[3::4])


def test_tables_tell_every_name(library: Library, photos: Path, tmp_path: Path) -> None:
    library.export(tmp_path / "groups.csv")
    with (tmp_path / "groups.csv").open(
        newline="", encoding="utf-8", errors="surrogateescape"
    ) as file:
        assert sorted(row["path"] for row in csv.DictReader(file)) == every(photos)
    library.export(tmp_path / "groups.json")
    document = json.loads((tmp_path / "groups.json").read_text("ascii"))
    members = [
        *document["noise"],
        *(one for group in document["groups"] for one in group["members"]),
    ]
    assert sorted(one["path"] for one in members) == every(photos)


def test_a_tree_of_links_leads_to_every_file(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    report = library.export(tmp_path / "sorted")
    links = [path for path in (tmp_path / "sorted").rglob("*") if path.is_symlink()]
    assert report.skipped == ()
    assert sorted(os.readlink(link) for link in links) == every(photos)  # noqa: PTH115 - a str keeps the bytes
    assert all(link.is_file() for link in links)


def test_a_page_is_a_page_whatever_the_names(library: Library, tmp_path: Path) -> None:
    library.export(tmp_path / "groups.html")
    text = (tmp_path / "groups.html").read_text("utf-8")
    HTMLParser().feed(text)
    assert "<script>&amp;.png" not in text
    assert text.count("</script>") == text.count("<script")


def test_copies_are_planned_and_put_aside_by_name(
    photos: Path, model_file: Path, tmp_path: Path
) -> None:
    """Pictures that are not alike, so that the two copies are all that may go."""
    folder, aside = tmp_path / "photos", tmp_path / os.fsdecode(b"aside \xff")
    files = [folder / path.relative_to(photos) for path in originals(photos)]
    for at, path in enumerate(files):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(scene(at, 160, 120)))
    (folder / "copies").mkdir()
    (folder / "copies" / EXACT).write_bytes(png(scene(8, 160, 120)))
    (folder / "copies" / SMALLER).write_bytes(png(scene(9, 160, 120).resize((120, 90))))
    copies = {str(folder / "copies" / name) for name in (EXACT, SMALLER)}
    with Library(tmp_path / "library", model=model_file, device="cpu") as library:
        library.add([folder])
    place = ("-L", str(tmp_path / "library"))
    listed = run("duplicates", "--keep-best", "--list", "-0", *place).out.split(b"\0")[:-1]
    assert {os.fsdecode(one) for one in listed} == copies
    script = run("duplicates", "--keep-best", "--script", *place).out
    told = run("duplicates", "--keep-best", "--move-to", str(aside), "--json", *place).json
    assert {one["path"] for one in told["plan"]["moves"]} == copies
    assert all(Path(one).exists() for one in copies)  # nothing was moved

    subprocess.run(["sh"], input=script, check=True)
    assert not any(Path(one).exists() for one in copies)
    assert all(path.exists() for path in files)


def test_the_service_lists_finds_and_hands_out_all_of_them(library: Library, photos: Path) -> None:
    with inside(library, originals=True) as opened:
        client = opened.client
        listed = client.get("/v1/pictures", params={"limit": 100}).json()["pictures"]
        assert sorted(path for one in listed for path in one["paths"]) == every(photos)
        for one in listed:
            found = client.get(f"/v1/pictures/{one['id']}/similar", params={"k": 1}).json()
            assert found["matches"][0]["path"] in one["paths"]
            answer = client.get(f"/v1/pictures/{one['id']}/original")
            assert answer.content == Path(one["paths"][0]).read_bytes()
            assert answer.headers["content-disposition"].isprintable()


@pytest.mark.usefixtures("photos")  # which skips where there are no such names
def test_watching_follows_them_from_name_to_name(model_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for at in range(2):
        (folder / f"{at}.png").write_bytes(png(picture(at, at)))
        os.utime(folder / f"{at}.png", (1_600_000_000,) * 2)
    with Library(tmp_path / "library", model=model_file, device="cpu") as library:
        rounds = library.watch([folder], poll=0.01)
        report = next(rounds).report
        assert report is not None
        assert report.added == 2
        before = folder / "0.png"
        for name in NAMES:
            before = before.rename(folder / name)
            report = next(rounds).report
            assert report is not None
            assert (report.moved, report.removed, report.added) == (1, 0, 0)
            assert library.search(before, 1).matches[0].path == str(before)
