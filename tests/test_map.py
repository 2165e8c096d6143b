"""The map: places in the plane, the page, the picture, the command."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import command
import numpy as np
import pytest
from pictures import png, scene
from PIL import Image
from test_page import HOSTILE, Page, jpeg

from imgindex import Library, pixels
from imgindex.errors import ExportError, LibraryNotFoundError, SettingError
from imgindex.export import Map, colours, write_map
from imgindex.export import map as page
from imgindex.grouping import lay_out, rooms
from imgindex.records import Group, no_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from imgindex.records import Rows

IMGINDEX = Path(sys.executable).with_name("imgindex")


def blobs(sizes: Sequence[int], dimension: int = 16) -> tuple[Rows, NDArray[np.int32]]:
    """Unit rows about a few directions, and which of these each is about."""
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    centres = random.normal(size=(len(sizes), dimension))
    rows = centres[labels] + 0.1 * random.normal(size=(len(labels), dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


def laid_out(rows: Rows, places: Rows | None = None) -> Rows:
    def propose(some: NDArray[np.intp], k: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        nearest = np.argsort(-(rows[some] @ rows[some].T), axis=1, kind="stable")
        return nearest[:, : k + 1], np.empty((0, 2), np.int32)

    return lay_out(rows, places, propose, no_progress)


def agreement(places: Rows, labels: NDArray[np.int32]) -> float:
    far = np.linalg.norm(places[:, None] - places[None], axis=2)
    nearest = np.argsort(far, axis=1)[:, 1:6]
    return float((labels[nearest] == labels[:, None]).mean())


def test_what_is_alike_lies_together_and_nothing_on_top() -> None:
    rows, labels = blobs([60, 40, 30, 20])
    places = laid_out(rows)
    assert places.shape == (150, 2)
    assert places.dtype == np.float32
    assert places.min() == 0
    assert places.max() == 1
    assert np.ptp(places[:, 0]) >= np.ptp(places[:, 1])
    assert agreement(places, labels) > 0.9
    far = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(far, np.inf)
    assert far.min() > 0.01
    np.testing.assert_array_equal(places, laid_out(rows))


def test_the_layout_of_the_groups_is_what_is_drawn_and_the_new_find_their_place_in_it() -> None:
    rows, labels = blobs([60, 40])
    other = np.random.default_rng(2).permutation(labels)  # as if the groups had been others
    kept = np.zeros((100, 5), np.float32)
    kept[:, 0] = 20 * other
    kept += np.random.default_rng(3).normal(size=kept.shape).astype(np.float32)
    assert agreement(laid_out(rows, kept), other) > 0.9

    kept = 20 * rows[:, :5] + 10
    kept[::9] = np.nan
    assert agreement(laid_out(rows, kept), labels) > 0.9
    kept[:] = np.nan
    np.testing.assert_array_equal(laid_out(rows, kept), laid_out(rows))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_few_points_have_places_too(count: int) -> None:
    rows, _ = blobs([1] * count)
    places = laid_out(rows)
    assert len(np.unique(places, axis=0)) == count
    assert np.isfinite(places).all()
    assert len(np.unique(laid_out(np.repeat(rows, 3, axis=0)), axis=0)) == 3 * count


def test_squares_never_overlap_and_covers_come_first() -> None:
    random = np.random.default_rng(0)
    places = random.random((400, 2)).astype(np.float32)
    order = random.permutation(400)
    room = rooms(places, order, 20)
    assert (room > 0).all()
    for side in (0.4, 0.2, 0.1, 0.05, 0.02):
        seen = np.flatnonzero(room >= side)
        apart = np.abs(places[seen][:, None] - places[seen][None]).max(axis=2)
        np.fill_diagonal(apart, np.inf)
        assert apart.min() >= side
        # And none is left out for which there is much room.
        far = np.abs(places[:, None] - places[seen][None]).max(axis=2).min(axis=1)
        assert far.max() <= 2 * side
    assert np.median(room[order[:20]]) > 2 * np.median(room)
    assert room[order[0]] == room.max()
    np.testing.assert_array_equal(rooms(places[:1], np.array([0]), 1), [1])


def test_colours_beside_each_other_differ() -> None:
    side = np.arange(12, dtype=np.float32)
    centres = np.stack(np.meshgrid(side, side), axis=2).reshape(-1, 2)
    chosen = colours.colours(centres, np.full(144, 0.5, np.float32))
    assert all(re.fullmatch("#[0-9a-f]{6}", one) for both in chosen for one in both)
    assert len(set(chosen)) == 28
    for at, centre in enumerate(centres):
        near = np.abs(centres - centre).max(axis=1) <= 1
        assert sum(chosen[other] == chosen[at] for other in np.flatnonzero(near)) == 1
    assert colours.colours(np.empty((0, 2), np.float32), np.empty(0, np.float32)) == []


def drawn(paths: Sequence[str], *, grouped: bool = True) -> Map:
    count = len(paths)
    places = np.random.default_rng(0).random((count, 2)).astype(np.float32)
    members = count - count // 3 if grouped else 0
    return Map(
        title="Pictures",
        subtitle="some",
        paths=[[path] for path in paths],
        places=places,
        rooms=rooms(places, np.arange(count), int(grouped)),
        labels=np.where(np.arange(count) < members, 7, -1).astype(np.int32),
        strengths=np.full(count, 0.5, np.float32),
        groups=[Group(7, members, "m", (), name="</script><b>seven")] if grouped else [],
        covers=[0] if grouped else [],
        grouped=grouped,
    )


def put(target: Path, paths: Sequence[str], **more: Any) -> Page:
    thumbnails = ((at, jpeg(4, 3)) for at in range(len(paths)))
    write_map(target, drawn(paths, **more), thumbnails=thumbnails, side=96)
    return Page(target)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    safe = put(tmp_path / "safe.html", ["/photos/a.jpg"] * len(HOSTILE))
    hostile = put(tmp_path / "out.html", HOSTILE)
    told = json.loads(hostile.texts["map-data"])
    whole = [
        told["folders"][at] + name for at, name in zip(told["folder"], told["names"], strict=True)
    ]
    assert whole == HOSTILE
    assert told["groups"][0]["name"] == "</script><b>seven"
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in safe.tags]
    assert not re.search("[\u2028\u2029]", hostile.source)


def test_the_page_asks_for_nothing_and_its_policy_allows_exactly_the_template(
    tmp_path: Path,
) -> None:
    made = put(tmp_path / "out.html", HOSTILE)
    for tag, attrs in made.tags:
        assert tag not in {"link", "base", "iframe", "object", "embed", "form"}
        assert not {name for name in attrs if name in {"src", "style"} or name.startswith("on")}
    assert not re.search(r"https?://|@import|url\(|innerHTML|insertAdjacent|eval\(", made.source)
    rules = dict(rule.strip().split(" ", 1) for rule in made.policy.split(";"))
    for tag in ("style", "script"):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", made.source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_thumbnails_come_in_chunks_until_the_page_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "_CHUNK", 4)
    size = len(base64.b64encode(jpeg(4, 3)))
    monkeypatch.setattr(page, "PAGE_CHARACTERS", 9 * size)
    jpegs = [(at, None if at == 2 else jpeg(4, 3)) for at in range(20)]
    names = [f"/{at}.jpg" for at in range(20)]
    write_map(tmp_path / "out.html", drawn(names), thumbnails=jpegs, side=96)
    texts = Page(tmp_path / "out.html").texts
    assert json.loads(texts["map-data"])["shown"] == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert [len(json.loads(texts[f"thumbnails-{at}"])) for at in range(3)] == [4, 4, 1]


@pytest.mark.parametrize("grouped", [True, False])
def test_a_browser_draws_it(tmp_path: Path, *, grouped: bool) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("Chromium is not installed")
    names = [*HOSTILE, *(f"/photos/{at}.jpg" for at in range(20))]
    put(tmp_path / "out.html", names, grouped=grouped)
    script = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    script += ["--no-first-run", "--disable-background-networking", "--disable-sync"]
    script += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000"]
    done = subprocess.run(
        [*script, "--window-size=1000,700", "--dump-dom", (tmp_path / "out.html").as_uri()],
        capture_output=True,
        check=True,
        timeout=120,
    )
    (tmp_path / "drawn.html").write_bytes(done.stdout)
    made = Page(tmp_path / "drawn.html")
    told = [attrs.get("title") for tag, attrs in made.tags if tag == "button" and "title" in attrs]
    assert told == (["</script><b>seven", "Noise"] if grouped else ["Noise"])
    [ask] = [attrs for _, attrs in made.tags if attrs.get("id") == "ask"]
    assert ("hidden" in ask) == grouped
    [canvas] = [attrs for tag, attrs in made.tags if tag == "canvas"]
    assert int(canvas["height"] or 0) > 500


def test_a_chart_has_dots_framed_pictures_and_names() -> None:
    tile = png(Image.new("RGB", (40, 20), "#00ff00"))
    made = pixels.chart(
        (300, 200),
        (4, [(50, 50, "#ff0000"), (0, 0, "#ff0000")]),
        [(tile, 150, 100, "#0000ff")],
        48,
        [("a name \udcff", 150, 130, "#000000"), ("another", 155, 132, "#ff00ff")],
    )
    image = Image.open(io.BytesIO(made))
    assert image.size == (300, 200)
    assert image.getpixel((50, 50)) == (255, 0, 0)
    assert image.getpixel((58, 50)) == (255, 255, 255)
    assert image.getpixel((150, 100)) == (0, 255, 0)
    assert image.getpixel((129, 100)) == (0, 0, 255)
    colours_used = {colour for _, colour in image.getcolors(100_000) or []}
    assert (0, 0, 0) in colours_used
    assert (255, 0, 255) not in colours_used


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Path:
    """Two families of near-equal pictures, a copy, and a grouping."""
    place = tmp_path_factory.mktemp("map")
    random = np.random.default_rng(0)
    (place / "photos").mkdir()
    for family, count in enumerate((9, 7)):
        base = np.asarray(scene(50 + family, 48, 36), np.int16)
        for member in range(count):
            noisy = np.clip(base + random.integers(-6, 7, base.shape), 0, 255).astype(np.uint8)
            (place / f"photos/{family}-{member}.png").write_bytes(png(Image.fromarray(noisy)))
    shutil.copy(place / "photos/0-0.png", place / "photos/copy.png")
    with Library(place / "lib", model=model_file, device="cpu") as library:
        library.add([place / "photos"])
        library.cluster(min_cluster_size=4, min_samples=2)
        library.name_group(0, "waves")
    return place


def data_of(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Page(path).texts["map-data"])
    return told


def test_a_library_is_drawn(place: Path, tmp_path: Path) -> None:
    stages: dict[str, tuple[int, int]] = {}
    with Library(place / "lib") as library:
        report = library.map(
            tmp_path / "map.html",
            progress=lambda stage, done, total: stages.update({stage: (done, total)}),
        )
        sizes = [group.size for group in library.grouping().groups]
    assert (report.kind, report.pictures, report.thumbnails) == ("html", 16, 16)
    assert report.groups == len(sizes)
    assert report.skipped == ()
    assert stages["thumbnails"] == (16, 16)
    assert {"layout", "thumbnails"} <= set(stages)
    told = data_of(tmp_path / "map.html")
    assert told["grouped"]
    assert [group["size"] for group in told["groups"]] == sizes
    assert "waves" in [group["name"] for group in told["groups"]]
    copies = {told["names"][int(at)]: paths for at, paths in told["copies"].items()}
    assert copies == {"0-0.png": [str(place / "photos/copy.png")]}
    for at, group in enumerate(told["groups"]):
        assert told["group"][group["cover"]] == at


def test_a_library_is_drawn_as_a_picture(place: Path, tmp_path: Path) -> None:
    with Library(place / "lib") as library:
        report = library.map(tmp_path / "map.png", size=(640, 480))
        assert report.kind == "png"
        assert 2 <= report.thumbnails <= 16
        with Image.open(tmp_path / "map.png") as image:
            assert (image.format, image.size) == ("PNG", (640, 480))
        with pytest.raises(ExportError, match="exists already"):
            library.map(tmp_path / "map.png")
        with pytest.raises(ExportError, match=r"name an \.html or a \.png file"):
            library.map(tmp_path / "map.svg")
        with pytest.raises(SettingError, match="640x1"):
            library.map(tmp_path / "other.png", size=(640, 1))
        with pytest.raises(ExportError, match="is a picture of the library"):
            library.map(place / "photos/0-0.png", force=True)


def test_a_library_is_charted_as_it_is_drawn(place: Path, tmp_path: Path, model_file: Path) -> None:
    stages: set[str] = set()
    with Library(place / "lib") as library:
        library.map(tmp_path / "map.html")
        chart = library.chart(lambda stage, done, total: stages.add(stage))  # noqa: ARG005 - Progress
        grouping, paths = library.grouping(), library.paths(library.grouping().ids)
    assert stages <= {"neighbours", "layout"}
    assert "layout" in stages
    assert sorted(chart.ids) == sorted(grouping.ids)
    for array in (chart.x, chart.y, chart.rooms, chart.strengths, chart.labels):
        assert array.shape == (16,)
        assert array.dtype == (np.int32 if array is chart.labels else np.float32)
        assert array.flags.c_contiguous
    assert (chart.x.min(), chart.y.min()) == (0, 0)
    assert (chart.width, chart.height) == (chart.x.max(), chart.y.max())
    assert max(chart.width, chart.height) == 1
    of = {one: at for at, one in enumerate(grouping.ids)}
    at = [of[one] for one in chart.ids]
    np.testing.assert_array_equal(chart.labels, grouping.labels[at])
    np.testing.assert_array_equal(chart.strengths, grouping.strengths[at])
    told = data_of(tmp_path / "map.html")
    names = [Path(paths[one][0]).name for one in chart.ids]
    assert names == [told["names"][one] for one in told["shown"]]
    near = np.array(told["x"])[told["shown"]] / told["steps"]
    np.testing.assert_allclose(chart.x, near, atol=1e-4)
    whole = [group for group in chart.groups if group.id != -1]
    assert [group.size for group in whole] == [group.size for group in grouping.groups]
    assert [group.place for group in whole] == list(range(len(whole)))
    assert [[one.light, one.dark] for one in whole] == [one["colours"] for one in told["groups"]]
    assert "waves" in [group.name for group in whole]
    for group in chart.groups:
        assert chart.ids[group.place] == group.cover
        assert chart.labels[group.place] == group.id
    rest = chart.rooms[len(whole) :]
    assert (np.diff(rest) <= 0).all()

    (tmp_path / "one").mkdir()
    (tmp_path / "one/a.png").write_bytes(png(scene(1, 48, 36)))
    with Library("memory:", model=model_file, device="cpu") as library:
        with pytest.raises(LibraryNotFoundError):
            library.chart()
        library.add([tmp_path / "one"])
        alone = library.chart()
    assert (len(alone.ids), alone.grouped, alone.width, alone.height) == (1, False, 0, 0)
    ((noise, name, size, place_of),) = [(g.id, g.name, g.size, g.place) for g in alone.groups]
    assert (noise, name, size, place_of) == (-1, None, 1, 0)


def test_what_came_since_what_is_gone_and_no_groups(tmp_path: Path, model_file: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()

    def add(number: int) -> None:
        (photos / f"{number}.png").write_bytes(png(scene(number, 48, 36)))

    add(0)
    with Library(tmp_path / "lib", model=model_file, device="cpu") as library:
        for count in (1, 2, 3, 12):
            for number in range(count):
                add(number)
            library.add([photos])
            report = library.map(tmp_path / "map.html", force=True)
            assert (report.pictures, report.groups, report.thumbnails) == (count, 0, count)
            library.map(tmp_path / "map.png", size=(300, 300), force=True)
        assert not data_of(tmp_path / "map.html")["grouped"]
        for space in ("descriptor", "neighbourhood"):
            library.cluster(min_cluster_size=2, min_samples=1, space=space)
            assert library.map(tmp_path / "map.html", force=True).pictures == 12
        add(12)
        add(13)
        library.add([photos])
        assert np.isnan(library.grouping().places).any()
        assert library.map(tmp_path / "map.html", force=True).pictures == 14
        (photos / "3.png").write_bytes(b"no picture any more")
        report = library.map(tmp_path / "map.html", force=True)
    assert report.thumbnails == 13
    assert [one.path for one in report.skipped] == [str(photos / "3.png")]


def run(place: Path, *arguments: str | Path, code: int = 0) -> tuple[str, str]:
    ran = command.run(*arguments, at=place, code=code, environ={"IMGINDEX_LIBRARY": "lib"})
    return ran.text, ran.err


def test_the_command(place: Path, tmp_path: Path) -> None:
    target = tmp_path / "map.html"
    told = json.loads(run(place, "map", target, "--json")[0])
    assert list(told) == ["target", "kind", "pictures", "groups", "thumbnails", "skipped"]
    assert told["target"] == str(target)
    assert "exists already" in run(place, "map", target, code=1)[1]
    out, _ = run(place, "map", target, "--force")
    assert out.startswith(f"{target}: 16 pictures, ")
    run(place, "map", tmp_path / "map.png", "--size", "400x300")
    with Image.open(tmp_path / "map.png") as image:
        assert image.size == (400, 300)
    assert "name an .html or a .png file" in run(place, "map", "map.svg", code=1)[1]
    assert "WIDTHxHEIGHT" in run(place, "map", "b.png", "--size", "big", code=2)[1]
