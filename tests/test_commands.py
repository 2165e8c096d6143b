"""The installed command, end to end, on real photos; what the command line promises."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import command
import pytest
from command import Ran

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARED = Path(__file__).parents[2] / "shared"
PHOTOS, DUPLICATES = SHARED / "photos", SHARED / "duplicates"
KINDS = sorted(one for one in PHOTOS.glob("*/*") if one.is_dir())[::11]
SOME = sorted(photo for kind in KINDS for photo in kind.rglob("*.jpg"))
IMGINDEX = Path(sys.executable).with_name("imgindex")

needs_photos = pytest.mark.skipif(
    not PHOTOS.is_dir(), reason="needs ../shared/photos, sample pictures that are not kept here"
)


def run(
    *arguments: str | bytes | Path, home: Path, code: int | None = 0, send: bytes | None = None
) -> Ran:
    environ: Mapping[str, str] = {**os.environ, "IMGINDEX_HOME": str(home)}
    done = subprocess.run(
        [IMGINDEX, *arguments], env=environ, input=send, capture_output=True, check=False
    )
    ran = Ran(done.returncode, done.stdout, done.stderr.decode(errors="replace"))
    assert code is None or ran.code == code, (ran.code, ran.err, ran.out[-2000:])
    return ran


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with every eleventh kind of photo indexed by the real, 224-pixel network."""
    home = tmp_path_factory.mktemp("home")
    ran = run("index", *KINDS, DUPLICATES, "--model", "untrained", "--json", home=home, code=3)
    (home / "report.json").write_bytes(ran.out)
    assert ran.err.startswith("note: the model 'untrained' has random weights")
    return home


@needs_photos
def test_index_reads_every_photo_and_names_the_two_corrupt_files(home: Path) -> None:
    report = json.loads((home / "report.json").read_bytes())
    assert set(report) == {
        *("added", "reused", "moved", "removed", "unchanged", "skipped"),
        *("model", "device", "precision", "seconds", "images_per_second", "note"),
        "paired",
    }
    files = [*SOME, *DUPLICATES.rglob("*.jpg")]
    assert len(SOME) > 80
    contents = {path.read_bytes() for path in files}
    corrupt = sorted(str(path) for path in files if "corrupt" in path.name)
    assert sorted(one["path"] for one in report["skipped"]) == corrupt
    assert len(corrupt) == 2
    assert all(one["reason"] for one in report["skipped"])
    # The two corrupt files are byte-identical, so they are one content.
    assert report["added"] == len(contents) - 1
    assert report["added"] + report["reused"] == len(files) - 2
    assert (report["model"], report["device"]) == ("untrained", "cpu")


@needs_photos
def test_byte_identical_copies_are_one_picture_with_several_paths(home: Path) -> None:
    report = run("status", "--json", home=home).json
    assert report["files"] - report["pictures"] == 7
    path = DUPLICATES / "base_images/ukbench00120.jpg"
    found = run("search", path, "-k", "3", "--json", home=home).json["matches"]
    assert found[0]["path"] == str(path)
    assert len({match["id"] for match in found}) == 3


@needs_photos
def test_a_second_run_embeds_nothing(home: Path) -> None:
    report = run("index", *KINDS, DUPLICATES, "--json", home=home, code=3).json
    before = json.loads((home / "report.json").read_bytes())
    assert report["added"] == report["reused"] == report["moved"] == report["removed"] == 0
    assert report["unchanged"] == before["added"] + before["reused"]
    assert report["skipped"] == before["skipped"]
    assert report["device"] is None


@needs_photos
def test_every_photo_finds_itself_first(home: Path, tmp_path: Path) -> None:
    photos = SOME[::4]
    queries = "".join(f"{photo}\n" for photo in photos).encode()
    ran = run("search", "--batch", "-", "-k", "3", home=home, send=queries)
    results = [json.loads(line) for line in ran.text.splitlines()]
    assert [result["query"] for result in results] == [str(photo) for photo in photos]
    for photo, result in zip(photos, results, strict=True):
        assert result["matches"][0]["path"] == str(photo)
        assert result["matches"][0]["score"] >= 0.9999
    # The same with a byte behind each picture's end: an unknown file, so the network has to see
    # the same pixels again.
    copies = []
    for at, photo in enumerate(photos):
        copies.append(tmp_path / f"{at}.jpg")
        copies[-1].write_bytes(photo.read_bytes() + b"\0")
    queries = "".join(f"{copy}\n" for copy in copies).encode()
    ran = run("search", "--batch", "-", "-k", "3", "--exact", home=home, send=queries)
    for photo, row in zip(photos, ran.text.splitlines(), strict=True):
        result = json.loads(row)
        assert result["way"] == "exact"
        best = result["matches"][0]
        assert best["score"] >= 0.9999
        assert best["path"] == str(photo)


@needs_photos
def test_search_in_every_shape_says_the_same(home: Path, tmp_path: Path) -> None:
    photo = SOME[0]
    result = run("search", photo, "-k", "7", "--json", home=home).json
    assert set(result) == {"query", "model", "way", "matches"}
    assert all(set(match) == {"rank", "path", "id", "score"} for match in result["matches"])
    assert [match["rank"] for match in result["matches"]] == list(range(1, 8))
    scores = [match["score"] for match in result["matches"]]
    assert scores == sorted(scores, reverse=True)
    paths = [match["path"] for match in result["matches"]]
    by_id = run("search", result["matches"][0]["id"][:12], "-k", "7", "--json", home=home).json
    assert by_id["matches"] == result["matches"]
    rows = list(
        csv.DictReader(io.StringIO(run("search", photo, "-k", "7", "--csv", home=home).text))
    )
    assert [row["path"] for row in rows] == paths
    assert run("search", photo, "-k", "7", "--paths", home=home).text.splitlines() == paths
    nul = run("search", photo, "-k", "7", "--paths", "-0", home=home).out
    assert nul == b"".join(os.fsencode(path) + b"\0" for path in paths)
    table = run("search", photo, "-k", "7", home=home).text
    assert [line.split()[-1] for line in table.splitlines()] == paths
    page, sheet = tmp_path / "found.html", tmp_path / "found.png"
    ran = run(
        *("search", photo, "-k", "7", "--html", page, "--montage", sheet, "--json"), home=home
    )
    assert ran.json == result
    assert all(Path(path).name in page.read_text() for path in paths)
    assert sheet.read_bytes().startswith(b"\x89PNG")
    again = run("search", photo, "--html", page, home=home, code=1)
    assert "exists already" in again.err
    assert "--force" in again.err
    best = run("search", photo, "--min-score", "0.99999", "--json", home=home).json
    assert all(match["score"] >= 0.99999 for match in best["matches"])


@needs_photos
def test_cluster_and_every_export_agree(home: Path, tmp_path: Path) -> None:
    report = run("cluster", "--min-cluster-size", "3", "--min-samples", "2", "--json", home=home)
    found = report.json
    assert set(found) == {"pictures", "groups", "noise", "settings", "seconds"}
    assert found["settings"]["min_cluster_size"] == 3
    assert found["groups"] > 1
    table, text, tree, page = (tmp_path / name for name in ("g.csv", "g.json", "tree", "g.html"))
    for target in (table, text, tree, page):
        assert run("export", target, "--json", home=home).json["groups"] == found["groups"]

    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "id", "group", "strength", "outlier", "exemplar"]
    by_csv = {row["path"]: int(row["group"]) for row in rows}
    exported = json.loads(text.read_bytes())
    by_json = {
        member["path"]: group["id"] for group in exported["groups"] for member in group["members"]
    } | {member["path"]: -1 for member in exported["noise"]}
    by_tree = {
        str(link.readlink()): -1 if folder.name == "noise" else int(folder.name.split("-")[1])
        for folder in tree.iterdir()
        for link in folder.iterdir()
    }
    assert by_csv == by_json == by_tree
    assert len({row["id"] for row in rows}) == found["pictures"]
    assert len({row["id"] for row in rows if row["group"] == "-1"}) == found["noise"]
    assert len(set(by_csv.values()) - {-1}) == found["groups"]
    for group in exported["groups"]:
        members = {member["id"] for member in group["members"]}
        assert len(members) == group["size"] >= 3
        assert set(group["exemplars"]) <= members
        assert group["medoid"] in members
    shown = page.read_text("utf-8")
    for group in exported["groups"]:
        assert f"Group {group['id']}" in shown
    assert all(Path(row["path"]).name in shown for row in rows)

    run("export", table, home=home, code=1)
    assert run("export", tree, home=home, code=1).err.startswith("imgindex: ")
    assert run("verify", "--json", home=home).json == {"ok": True, "problems": []}


def test_without_a_model_index_names_the_three_ways(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    ran = run("index", tmp_path / "pictures", home=tmp_path / "home", code=1)
    assert ran.out == b""
    for way in ("imgindex model pull", "imgindex model import", "--model untrained"):
        assert way in ran.err
    assert not (tmp_path / "home/library").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["search", "x.jpg"], 1, "there is no library at"),
        (["cluster"], 1, "there is no library at"),
        (["status", "--json"], 1, "there is no library at"),
        (["index", "nowhere"], 2, "there is no file or folder"),
        (["search"], 2, "QUERY"),
        (["search", "x.jpg", "--json", "--csv"], 2, "choose one of"),
        (["search", "x.jpg", "-0"], 2, "--paths"),
        (["search", "x.jpg", "-k", "0"], 2, "-k"),
        (["cluster", "--min-cluster-size", "1"], 2, "--min-cluster-size"),
        (["export"], 2, "OUT"),
        (["map"], 2, "OUT"),
        (["map", "map.html"], 1, "there is no library at"),
        (["map", "map.png", "--size", "large"], 2, "WIDTHxHEIGHT"),
        (["frobnicate"], 2, "frobnicate"),
        (["model", "import", "nothing.h5"], 1, "nothing.h5"),
        (["model", "pull", "resnet"], 1, "vgg16-keras"),
    ],
)
def test_errors_are_one_line_and_a_code(
    arguments: list[str], code: int, says: str, tmp_path: Path
) -> None:
    ran = command.run(*arguments, code=code, environ={"IMGINDEX_HOME": str(tmp_path)})
    assert says in ran.err
    assert ran.out == b""
    assert "Traceback" not in ran.err


def test_every_command_has_json_and_an_example() -> None:
    names = ["index", "watch", "search", "explain", "features", "cluster"]
    names += ["export", "map", "status", "verify", "copy"]
    names += [f"model {name}" for name in ("list", "info", "pull", "import", "quantize")]
    names += [f"groups {name}" for name in ("show", "name", "cover", "together", "apart")]
    names += [f"groups {name}" for name in ("form", "merge", "decisions", "forget")]
    names += ["duplicates", "duplicates not", "bursts", "serve"]
    ways: tuple[list[str], ...] = ([], ["model"], ["groups"], ["duplicates"])
    listed = "".join(command.run(*way, "--help").text for way in ways)
    commands = set(re.findall(r"^  (\w+) +[A-Z]", listed, re.MULTILINE)) - {"QUERY"}
    assert commands == {name.split()[-1] for name in names} | {"model", "groups"}
    for name in names:
        shown = command.run(*name.split(), "--help").text
        assert "--json" in shown or name == "serve", name  # which serves JSON
        assert f"imgindex {name}" in shown, name


def test_the_interrupt_key_ends_with_its_own_code(tmp_path: Path) -> None:
    import signal
    import time

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    source = Path(__file__).parent / "pictures.py"
    assert source.exists()
    from PIL import Image

    for at in range(400):
        Image.new("RGB", (64, 64), (at % 256, at // 256, 7)).save(pictures / f"{at}.png")
    process = subprocess.Popen(
        [IMGINDEX, "index", pictures, "--model", "untrained"],
        env={**os.environ, "IMGINDEX_HOME": str(tmp_path / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == b""
    assert b"what was done is kept" in err
    assert b"Traceback" not in err
    assert run("verify", home=tmp_path / "home").code == 0


def test_odd_names_survive_every_shape(tmp_path: Path) -> None:
    from PIL import Image

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (64, 64), "navy").save(pictures / "plain.png")
    odd = os.fsencode(pictures) + b'/caf\xe9\n"x".png'
    try:
        shutil.copy(pictures / "plain.png", Path(os.fsdecode(odd)))
    except OSError:
        pytest.skip("this file system takes only names that are UTF-8")
    (pictures / "plain.png").unlink()
    run("index", pictures, "--model", "untrained", home=tmp_path)
    name = run("search", odd, "--paths", "-0", home=tmp_path).out
    assert name == odd + b"\0"
    assert (
        os.fsencode(run("search", odd, "--json", home=tmp_path).json["matches"][0]["path"]) == odd
    )
    assert odd in run("search", odd, home=tmp_path).out
