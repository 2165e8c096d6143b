"""The page, in a real browser, against the real service."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from pictures import png, scene
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from served import Served, served

from imgindex import Library, models, open_store
from imgindex.records import IndexedFile, ModelPin, Picture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import APIResponse, Browser, Page, Route

PHOTOS = Path(__file__).parents[2] / "shared/photos"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium (Debian: apt install chromium; or set CHROMIUM)"
)
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs ../shared/photos")
pytestmark = needs_chromium

_FLAGS = [
    "--no-sandbox",  # as root, in a container
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
expect.set_options(timeout=30_000)
_SIZES = {"phone": (360, 740), "laptop": (1280, 800), "screen": (1920, 1080)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window whose console must stay empty."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    opened.set_default_timeout(60_000)  # machines may be busy
    said: list[str] = []
    opened.on("console", lambda one: said.append(f"{one.type}: {one.text}"))
    opened.on("pageerror", lambda error: said.append(f"error: {error}"))
    yield opened
    context.close()
    assert not [line for line in said if line.startswith(("error", "warning"))]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Iterator[Served]:
    """A service of every sixth photo, and some copies of them; grouped, copies looked for."""
    folder = tmp_path_factory.mktemp("photos")
    for at, path in enumerate(sorted(PHOTOS.rglob("*.jpg"))[::6]):
        shutil.copy(path, folder / f"{at:03}-{path.parent.name}.jpg")
        if at < 4:
            with Image.open(path) as photo:
                photo.resize((photo.width // 2, photo.height // 2)).save(folder / f"copy-{at}.jpg")
    place = tmp_path_factory.mktemp("served") / "library"
    with Library(place, model=model_file) as library:
        library.add(folder)
        library.cluster(min_cluster_size=4)
        assert len(library.duplicates().sets) == 4
    with served(place, place.with_name("log"), "--model", str(model_file)) as service:
        yield service


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Iterator[Served]:
    """A service of 20,000 small pictures in 40 heaps."""
    folder = tmp_path_factory.mktemp("many")
    place = tmp_path_factory.mktemp("served") / "many"
    card = models.read_card(model_file)
    random = np.random.default_rng(0)
    centres = random.standard_normal((40, card.dimension))
    heap = random.integers(0, 40, 20_000)
    rows = centres[heap] + 0.5 * random.standard_normal((20_000, card.dimension))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    pictures, files = [], []
    for at, colour in enumerate(random.integers(0, 256, (20_000, 3)).tolist()):
        path = folder / f"{at:05}.png"
        Image.new("RGB", (8 + at % 5, 6 + at % 7), (*colour,)).save(path)
        data = path.read_bytes() + at.to_bytes(4)  # else two might be the same picture
        path.write_bytes(data)
        name = hashlib.blake2b(data, digest_size=16).hexdigest()
        pictures.append(Picture(name, 8 + at % 5, 6 + at % 7, "PNG"))
        files.append(IndexedFile(str(path), len(data), path.stat().st_mtime_ns, name))
    store = open_store(place, create=True)
    store.pin(ModelPin(card.name, card.fingerprint, card.dimension, 1))
    store.add(pictures, rows, files)
    store.refresh(lambda *_: None)
    store.close()
    with served(place, place.with_name("log"), "--model", str(model_file)) as service:
        yield service


def drop(page: Page, path: Path) -> None:
    """Drop a file on the page, as somebody who drags it there does."""
    data = base64.b64encode(path.read_bytes()).decode()
    page.evaluate(
        """([data, name]) => {
            const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
            const target = document.querySelector("main");
            for (const kind of ["dragenter", "dragover", "drop"]) {
                const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
                target.dispatchEvent(new DragEvent(kind, options));
            }
        }""",
        [data, path.name],
    )


def cells(page: Page) -> Any:
    return page.get_by_role("gridcell")


@needs_photos
def test_a_dropped_picture_is_found_first(page: Page, photos: Served, tmp_path: Path) -> None:
    listed = httpx.get(f"{photos.url}/v1/pictures?match=012-*").json()["pictures"][0]
    file = tmp_path / "mine.jpg"
    shutil.copy(listed["paths"][0], file)
    page.goto(photos.url)
    expect(page.get_by_text("Drop a picture here")).to_be_visible()
    drop(page, file)
    found = cells(page).first.locator("img")
    expect(found).to_have_attribute("src", re.compile(listed["id"]))


@needs_photos
def test_a_part_of_a_picture_is_searched(page: Page, photos: Served) -> None:
    one = httpx.get(f"{photos.url}/v1/pictures?match=020-*").json()["pictures"][0]["id"]
    page.goto(f"{photos.url}/#/search?like={one}")
    expect(cells(page).first).to_be_visible()
    page.get_by_role("button", name=re.compile("Search a part of")).first.click()
    stage = page.locator(".box-field img")
    expect(stage).to_be_visible()
    edges = stage.bounding_box()
    assert edges is not None
    x, y, width, height = edges["x"], edges["y"], edges["width"], edges["height"]
    page.mouse.move(x + 0.05 * width, y + 0.05 * height)
    page.mouse.down()
    page.mouse.move(x + 0.5 * width, y + 0.55 * height, steps=4)
    page.mouse.up()
    with page.expect_response(re.compile("/v1/search")) as answered:
        page.get_by_role("button", name="Search this part").click()
    sent: Any = answered.value.request.post_data_json
    sides = [float(side.rstrip("%")) for side in sent["terms"][0]["box"].split(",")]
    assert np.allclose(sides, [5, 5, 45, 50], atol=2)
    expect(cells(page).first).to_be_visible()
    expect(page).to_have_url(re.compile("_45_50$"))  # so that it can be shared


@needs_photos
def test_a_part_is_drawn_on_the_picture_itself(page: Page, photos: Served, tmp_path: Path) -> None:
    """However wide a picture and narrow a window: no bars beside it count as its sides."""
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(photos.url)
    expect(page.get_by_text("Drop a picture here")).to_be_visible()
    file = tmp_path / "wide.jpg"
    Image.new("RGB", (600, 200), (200, 80, 40)).save(file)
    drop(page, file)
    page.get_by_role("button", name=re.compile("Search a part of")).first.click()
    stage = page.locator(".box-field img")
    expect(stage).to_be_visible()
    edges = stage.bounding_box()
    assert edges is not None
    assert np.isclose(edges["width"] / edges["height"], 3, rtol=0.02)


@needs_photos
def test_every_view_tells_its_keys(page: Page, photos: Served) -> None:
    told = page.get_by_role("dialog", name="Keys")
    for view, does in [
        ("library", "select a range"),
        ("groups", "merge those selected"),
        ("duplicates", "keep it: the others go"),
        ("map", "draw around pictures"),
    ]:
        page.goto(f"{photos.url}/#/{view}")
        expect(page.locator(".places [aria-current]")).to_have_text(view.capitalize())
        page.keyboard.press("?")
        expect(told).to_contain_text(does)
        page.keyboard.press("Escape")
        expect(told).to_have_count(0)
    page.goto(f"{photos.url}/#/groups")
    page.get_by_role("searchbox").press("?")
    expect(page.get_by_role("searchbox")).to_have_value("?")
    expect(told).to_have_count(0)


@needs_photos
def test_a_name_survives_reload_and_grouping_anew(page: Page, photos: Served) -> None:
    page.goto(f"{photos.url}/#/groups")
    first = httpx.get(f"{photos.url}/v1/groups").json()["groups"][0]
    page.goto(f"{photos.url}/#/groups/{first['id']}")
    page.get_by_role("button", name=re.compile("^Rename")).first.click()
    field = page.get_by_role("textbox", name=re.compile("name", re.IGNORECASE)).first
    field.fill("Harbour at dusk")
    field.press("Enter")
    expect(page.get_by_role("heading", name="Harbour at dusk")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Harbour at dusk")).to_be_visible()
    job = httpx.post(f"{photos.url}/v1/jobs", json={"kind": "cluster", "min_cluster_size": 4})
    assert job.status_code == 202
    with httpx.stream("GET", f"{photos.url}/v1/jobs/{job.json()['id']}/events", timeout=60) as news:
        states = re.findall(r'"state":"(\w+)"', "".join(news.iter_text()))
    assert states[-1] == "done"
    page.goto(f"{photos.url}/#/groups")
    expect(page.get_by_text("Harbour at dusk").first).to_be_visible()


@needs_photos
def test_copies_are_reviewed_by_keyboard(page: Page, photos: Served) -> None:
    page.goto(f"{photos.url}/#/duplicates")
    expect(page.get_by_text(re.compile("of 4")).first).to_be_visible()
    expect(page.get_by_role("button", name="Not copies")).to_be_enabled()
    with page.expect_response(re.compile("/v1/decisions")) as answered:
        page.keyboard.press("n")
    assert answered.value.status == 201
    assert answered.value.json()["kind"] == "distinct"
    assert httpx.get(f"{photos.url}/v1/duplicates").json()["total"] == 3
    httpx.delete(f"{photos.url}/v1/decisions/{answered.value.json()['number']}")


def test_a_map_of_20000_pictures_pans(page: Page, many: Served) -> None:
    page.set_viewport_size({"width": 900, "height": 600})  # drawn without a graphics card
    page.goto(f"{many.url}/#/map")
    canvas = page.locator("canvas").first
    canvas.wait_for(timeout=120_000)
    expect(page.locator("[data-drawn]").first).to_have_attribute(
        "data-drawn", re.compile("[1-9]"), timeout=120_000
    )
    before = canvas.screenshot()
    edges = canvas.bounding_box()
    assert edges is not None
    middle = edges["x"] + edges["width"] / 2, edges["y"] + edges["height"] / 2
    page.mouse.move(*middle)
    page.mouse.wheel(0, -600)
    page.mouse.down()
    for step in range(1, 11):
        page.mouse.move(middle[0] + 15 * step, middle[1] + 8 * step)
    page.mouse.up()
    page.wait_for_timeout(500)
    assert canvas.screenshot() != before


@needs_photos
def test_an_outline_on_the_map_makes_a_group(page: Page, photos: Served) -> None:
    before = httpx.get(f"{photos.url}/v1/groups").json()["groups"]
    decided = httpx.get(f"{photos.url}/v1/decisions").json()
    page.goto(f"{photos.url}/#/map")
    page.locator("[data-drawn]").wait_for()
    page.keyboard.down("Shift")
    page.mouse.move(300, 75)
    page.mouse.down()
    for corner in [(800, 75), (800, 780), (300, 780), (300, 90)]:
        page.mouse.move(*corner, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    bar = page.get_by_role("region", name="Selected pictures")
    told = re.match(r"(\d+) pictures selected", bar.locator("strong").inner_text())
    assert told is not None
    bar.get_by_role("button", name="New group").click()
    page.get_by_role("dialog").get_by_label("Name").fill("Around here")
    with page.expect_response(re.compile("/v1/groups$")) as answered:
        page.keyboard.press("Enter")
    assert len(answered.value.json()["pictures"]) == int(told[1])
    row = page.get_by_role("complementary").get_by_role("button", name="Around here")
    expect(row).to_contain_text(told[1])
    page.get_by_role("button", name="Undo").click()
    expect(row).to_have_count(0)
    assert httpx.get(f"{photos.url}/v1/groups").json()["groups"] == before
    assert httpx.get(f"{photos.url}/v1/decisions").json() == decided


@needs_photos
def test_keys_select_on_the_map(page: Page, photos: Served) -> None:
    page.goto(f"{photos.url}/#/map")
    page.locator("[data-drawn]").wait_for()
    page.get_by_role("application").focus()
    page.keyboard.press("r")
    for _ in range(12):
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Shift+ArrowDown")
    bar = page.get_by_role("region", name="Selected pictures")
    expect(bar).to_be_visible()
    page.keyboard.press("Enter")
    expect(bar.get_by_role("button", name="New group")).to_be_focused()
    bar.get_by_role("button", name="Clear").click()
    expect(bar).to_be_hidden()


@needs_photos
def test_a_phone_is_told_what_it_can_do(browser: Browser, photos: Served) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True
    )
    page = context.new_page()
    page.goto(photos.url)
    expect(page.get_by_text("Choose a picture, or take one")).to_be_visible()
    page.goto(f"{photos.url}/#/search?like={'0' * 32}")
    expect(page.get_by_role("heading", name="No such picture")).to_be_visible()
    expect(page.locator(".grid")).to_be_hidden()  # no places that wait for pictures
    context.close()


@needs_photos
@pytest.mark.parametrize(
    ("size", "theme"),
    [("phone", "light"), ("laptop", "light"), ("laptop", "dark"), ("screen", "dark")],
)
def test_nobody_is_shut_out(browser: Browser, photos: Served, size: str, theme: str) -> None:
    """Every view by axe's rules, and nothing runs over the edge."""
    width, height = _SIZES[size]
    one = httpx.get(f"{photos.url}/v1/pictures?limit=1").json()["pictures"][0]["id"]
    group = httpx.get(f"{photos.url}/v1/groups").json()["groups"][0]["id"]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda told: said.append(told.text) if told.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    views = ["search", f"search?like={one}", "library", "groups", f"groups/{group}"]
    views += ["duplicates", "map", "jobs", f"layers/{one}"]
    wrong = {}
    for view in views:
        page.goto(f"{photos.url}/#/{view}")
        page.locator("h1").first.wait_for(state="attached")
        page.wait_for_timeout(700)
        wide = page.evaluate("document.documentElement.scrollWidth")
        found = Axe().run(page).response["violations"]
        told = [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found]
        if wide > width:
            told.append(f"{wide} pixels wide")
        if told:
            wrong[view] = told
    context.close()
    assert not wrong
    assert not said


def test_who_is_refused_late_is_not_asked_for_the_token_again(
    browser: Browser, tmp_path: Path, model_file: Path
) -> None:
    (tmp_path / "token").write_text("correct-horse-battery-staple")
    options = ["--model", str(model_file), "--token-file", str(tmp_path / "token")]
    context = browser.new_context()
    page = context.new_page()
    late: list[tuple[Route, APIResponse]] = []
    with served(tmp_path / "library", tmp_path / "log", *options) as service:
        page.route("**/v1/status", lambda route: late.append((route, route.fetch())), times=1)
        page.goto(service.url)
        while not late:
            page.wait_for_timeout(50)
        asked = page.get_by_role("dialog", name="This library asks for a token")
        asked.get_by_label("Token").fill("correct-horse-battery-staple")
        with page.expect_response("**/v1/events"):
            page.keyboard.press("Enter")
        [(route, refusal)] = late
        assert refusal.status == 401
        route.fulfill(response=refusal)
        expect(page.get_by_role("heading", name="The library is empty")).to_be_visible()
        expect(asked).to_have_count(0)
    context.close()


def test_an_empty_library_is_filled_from_the_page(
    browser: Browser, tmp_path: Path, model_file: Path
) -> None:
    """As somebody does who has a token, a folder and nothing else."""
    (tmp_path / "token").write_text("correct-horse-battery-staple")
    (tmp_path / "mine").mkdir()
    for at in range(30):
        (tmp_path / "mine" / f"{at}.png").write_bytes(png(scene(at, 90, 70)))
    options = ["--model", str(model_file), "--token-file", str(tmp_path / "token")]
    context = browser.new_context()
    page = context.new_page()
    with served(tmp_path / "library", tmp_path / "log", *options) as service:
        page.goto(service.url)
        asked = page.get_by_role("dialog", name="This library asks for a token")
        asked.get_by_label("Token").fill("wrong-horse-battery-staple")
        page.keyboard.press("Enter")
        expect(asked).to_contain_text("That was not the token")
        asked.get_by_label("Token").fill("correct-horse-battery-staple")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="The library is empty")).to_be_visible()
        page.get_by_role("link", name="Add a folder").click()
        page.get_by_label("Folders and files").fill(str(tmp_path / "mine"))
        page.get_by_role("button", name="Index", exact=True).click()
        expect(page.locator(".job.done")).to_contain_text("30 pictures")
        page.locator(".places").get_by_role("link", name="Library").click()
        expect(cells(page)).to_have_count(30)
        page.reload()  # the session lasts
        expect(cells(page)).to_have_count(30)
    context.close()
