from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from imgindex.errors import ExportError, SettingError
from imgindex.export import Card, Export, Section, gallery, write, write_page
from imgindex.records import Group, GroupingSettings, Member

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from imgindex.records import ExportReport

HOSTILE = [
    "/photos/</script><script>alert(1)</script>.jpg",
    '/photos/"><img src=x onerror=alert(1)>.jpg',
    "/photos/<!--",
    "/photos/line\nbreak.jpg",
    "/photos/a\u2028b\u2029c&amp;.jpg",
    "/photos/not utf-8 \udcff.jpg",
    "/photos/100% #1?.jpg",
]


def jpeg(width: int, height: int) -> bytes:
    """The headers of a JPEG file, with a table segment before its frame."""
    frame = b"\x08" + height.to_bytes(2) + width.to_bytes(2) + b"\x03" + bytes(9)
    return (
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
        + bytes(9)
        + b"\xff\xc4\x00\x04\xff\xc0"
        + b"\xff\xc2\x00\x11"
        + frame
        + b"\xff\xd9"
    )


def member(path: str, group: int = 0, **more: Any) -> Member:
    told = {"id": f"id of {path}", "strength": 0.5, "outlier": 0.25, "exemplar": False, **more}
    return Member(path=path, group=group, **{"part": group, **told})


def export_of(members: Sequence[Member], library: str = "/home/anna/Pictures") -> Export:
    groups = [
        Group(n, sum(m.group == n for m in members), medoid="m", exemplars=())
        for n in sorted({m.group for m in members} - {-1})
    ]
    made = GroupingSettings(min_cluster_size=2, min_samples=1, space="descriptor", model="random")
    return Export(members, groups, made, "2026-01-02T03:04:05+00:00", library)


def put(target: Path, members: Sequence[Member], **more: Any) -> ExportReport:
    return write(target, export_of(members), **{"thumbnail": lambda _: jpeg(4, 3), **more})


class Page(HTMLParser):
    """What a browser would make of the page: its tags, its data, its texts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open = ""
        self.source = path.read_bytes().decode("utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self._open = found.get("id") or found.get("class") or tag

    def handle_data(self, data: str) -> None:
        self.texts[self._open] = self.texts.get(self._open, "") + data

    @property
    def sections(self) -> list[dict[str, Any]]:
        read: list[dict[str, Any]] = json.loads(self.texts["sections-data"])
        return read

    def thumbnails(self, index: int) -> list[str | None]:
        read: list[str | None] = json.loads(self.texts[f"thumbnails-{index}"])
        return read

    @property
    def policy(self) -> str:
        [policy] = [
            attrs["content"]
            for tag, attrs in self.tags
            if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policy is not None
        return policy


def test_gallery_csv_json_and_folders_agree(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    members = []
    for index in range(30):
        path = source / f"IMG_{index:03}.jpg"
        path.write_bytes(b"picture")
        # Every tenth file is a copy of the one before it.
        picture, group = index - (index % 10 == 9), index % 10 // 3 - 1
        members.append(member(str(path), group if index % 10 != 9 else 1, id=f"{picture}"))
    told: dict[str, dict[int, set[str]]] = {}

    put(tmp_path / "out.html", members, thumbnails_per_group=2)
    told["html"] = {
        -1 if section["heading"] == "Noise" else int(section["heading"].split()[1]): {
            path for card in section["cards"] + section["more"] for path in card["paths"]
        }
        for section in Page(tmp_path / "out.html").sections
    }
    put(tmp_path / "out.json", members)
    document = json.loads((tmp_path / "out.json").read_bytes())
    told["json"] = {g["id"]: {m["path"] for m in g["members"]} for g in document["groups"]}
    told["json"][-1] = {m["path"] for m in document["noise"]}
    put(tmp_path / "out.csv", members)
    told["csv"] = {}
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            told["csv"].setdefault(int(row["group"]), set()).add(row["path"])
    put(tmp_path / "out", members)
    told["folders"] = {
        -1 if folder.name == "noise" else int(folder.name.removeprefix("group-")): {
            os.readlink(entry)  # noqa: PTH115 - paths are compared as str
            for entry in folder.iterdir()
        }
        for folder in (tmp_path / "out").iterdir()
    }

    assert told["csv"] == {
        group: {m.path for m in members if m.group == group} for group in (-1, 0, 1)
    }
    assert told["html"] == told["json"] == told["folders"] == told["csv"]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    put(tmp_path / "safe.html", [member("/photos/a.jpg")])
    put(tmp_path / "out.html", [member(path, strength=0.0) for path in HOSTILE])
    page = Page(tmp_path / "out.html")
    assert [card["paths"] for card in page.sections[0]["cards"]] == [[p] for p in sorted(HOSTILE)]
    names = [tag for tag, _ in page.tags]
    assert names == [tag for tag, _ in Page(tmp_path / "safe.html").tags]
    assert "img" not in names
    assert not re.search("[\u2028\u2029]", page.source)


def test_hostile_titles_stay_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> & <!--data--> \udcff"
    card = Card(jpeg(1, 1), "/a.jpg", caption=hostile, badge=hostile, note=hostile)
    write_page(
        tmp_path / "out.html",
        title=hostile,
        subtitle=hostile,
        sections=[Section(hostile, hostile, [card])],
        facts=[(hostile, hostile)],
    )
    page = Page(tmp_path / "out.html")
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert page.texts["h1"].startswith("<script>alert(1)</script> & <!--data--> ")
    assert page.sections[0]["heading"] == hostile
    assert page.sections[0]["cards"][0]["badge"] == hostile


def test_the_page_asks_for_nothing_from_elsewhere(tmp_path: Path) -> None:
    put(tmp_path / "out.html", [member("/photos/a.jpg")])
    page = Page(tmp_path / "out.html")
    for tag, attrs in page.tags:
        assert tag not in {"link", "base", "iframe", "object", "embed", "form"}
        assert not {name for name in attrs if name in {"src", "style"} or name.startswith("on")}
    assert not re.search(r"https?://|@import|url\(|innerHTML|insertAdjacent|eval\(", page.source)


def test_the_policy_allows_exactly_the_template(tmp_path: Path) -> None:
    put(tmp_path / "out.html", [member(path) for path in HOSTILE])
    page = Page(tmp_path / "out.html")
    rules = dict(rule.strip().split(" ", 1) for rule in page.policy.split(";"))
    hashes = {
        tag: [
            "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
            for text in re.findall(rf"<{tag}>(.*?)</{tag}>", page.source, re.DOTALL)
        ]
        for tag in ("style", "script")
    }
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": hashes["style"][0],
        "script-src": hashes["script"][0],
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert [len(found) for found in hashes.values()] == [1, 1]


def test_links_are_percent_encoded_bytes(tmp_path: Path) -> None:
    if os.name != "posix":
        pytest.skip("these paths are POSIX paths")
    put(tmp_path / "out.html", [member(path) for path in HOSTILE])
    links = {
        card["paths"][0]: card["links"][0]
        for card in Page(tmp_path / "out.html").sections[0]["cards"]
    }
    assert links["/photos/not utf-8 \udcff.jpg"] == "file:///photos/not%20utf-8%20%FF.jpg"
    assert links["/photos/100% #1?.jpg"] == "file:///photos/100%25%20%231%3F.jpg"
    assert links["/photos/line\nbreak.jpg"] == "file:///photos/line%0Abreak.jpg"


def test_groups_come_by_size_exemplars_first_noise_last_and_closed(tmp_path: Path) -> None:
    members = [
        member("/n.jpg", -1, strength=0.0, outlier=0.875),
        member("/second.jpg", 1),
        member("/weak.jpg", 0, strength=0.1),
        member("/strong.jpg", 0, strength=0.9),
        member("/core.jpg", 0, strength=0.2, exemplar=True),
    ]
    put(tmp_path / "out.html", members)
    page = Page(tmp_path / "out.html")
    assert [(s["heading"], s["note"], s["rows"]) for s in page.sections] == [
        ("Group 0", "3 pictures", 2),
        ("Group 1", "1 picture", 2),
        ("Noise", "1 picture in no group", 0),
    ]
    first = [(card["paths"][0], card["note"]) for card in page.sections[0]["cards"]]
    assert first == [
        ("/core.jpg", "Exemplar · strength 0.20 · outlier score 0.25"),
        ("/strong.jpg", "strength 0.90 · outlier score 0.25"),
        ("/weak.jpg", "strength 0.10 · outlier score 0.25"),
    ]
    assert page.sections[2]["cards"][0]["note"] == "In no group · outlier score 0.88"


def test_the_head_tells_what_the_grouping_is(tmp_path: Path) -> None:
    put(tmp_path / "out.html", [member("/a.jpg"), member("/b.jpg"), member("/c.jpg", -1)])
    source = Page(tmp_path / "out.html").source
    assert "<h1>Pictures</h1>" in source
    assert (
        "2026-01-02 03:04 UTC · random · HDBSCAN in the descriptor space · groups of 2 or more · "
        "min samples 1</p>"
    ) in source
    assert "<dt>pictures</dt><dd>3</dd>" in source
    assert "<dt>group</dt><dd>1</dd>" in source
    assert "<dt>noise</dt><dd>33%</dd>" in source


def test_copies_are_one_card(tmp_path: Path) -> None:
    members = [member(path, id="same") for path in ("/b.jpg", "/a.jpg", "/c.jpg")]
    asked: list[str] = []

    def thumbnail(path: str) -> bytes | None:
        asked.append(path)
        return None if path == "/a.jpg" else jpeg(3, 2)

    report = put(tmp_path / "out.html", members, thumbnail=thumbnail)
    page = Page(tmp_path / "out.html")
    [card] = page.sections[0]["cards"]
    assert card["paths"] == ["/a.jpg", "/b.jpg", "/c.jpg"]
    assert card["badge"] == "\N{MULTIPLICATION SIGN}3"
    assert card["ratio"] == 1.5
    assert page.sections[0]["note"] == "1 picture, 2 more copies"
    assert page.thumbnails(0) == [base64.b64encode(jpeg(3, 2)).decode()]
    assert asked == ["/a.jpg", "/b.jpg"]
    assert (report.pictures, report.files, report.skipped) == (1, 3, ())


def test_pictures_beyond_the_limit_are_named_only(tmp_path: Path) -> None:
    members = [member(f"/{n:02}.jpg", n % 2 - 1) for n in range(20)]
    done: list[tuple[str, int, int]] = []
    put(
        tmp_path / "out.html",
        members,
        thumbnails_per_group=3,
        progress=lambda *told: done.append(told),
    )
    page = Page(tmp_path / "out.html")
    for index, section in enumerate(page.sections):
        assert len(section["cards"]) == len(page.thumbnails(index)) == 3
        assert len(section["more"]) == 7
    assert done == [("export", n, 6) for n in range(1, 7)]


def test_a_large_page_is_kept_within_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "PAGE_THUMBNAILS", 25)
    sizes = [20, 20, 4, 3]
    members = [member(f"/{g}-{n}.jpg", g) for g, size in enumerate(sizes) for n in range(size)]
    put(tmp_path / "out.html", members)
    assert [len(s["cards"]) for s in Page(tmp_path / "out.html").sections] == [9, 9, 4, 3]


def test_a_negative_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="-1"):
        put(tmp_path / "out.html", [member("/a.jpg")], thumbnails_per_group=-1)


def test_what_cannot_be_read_is_listed_and_told(tmp_path: Path) -> None:
    report = put(tmp_path / "out.html", [member("/gone.jpg")], thumbnail=lambda _: None)
    page = Page(tmp_path / "out.html")
    assert page.thumbnails(0) == [None]
    assert page.sections[0]["cards"][0]["paths"] == ["/gone.jpg"]
    assert [(skip.path, skip.reason) for skip in report.skipped] == [
        ("/gone.jpg", "cannot be read; listed without a thumbnail")
    ]


@pytest.mark.parametrize(
    ("thumbnail", "ratio"),
    [
        (jpeg(200, 100), 2.0),
        (jpeg(100, 200), 0.5),
        (jpeg(5000, 10), 3.0),
        (jpeg(10, 5000), 0.4),
        (jpeg(10, 0), 1.0),
        (b"", 1.0),
        (b"GIF89a and no JPEG at all", 1.0),
        (jpeg(200, 100)[:30], 1.0),
    ],
)
def test_the_shape_is_known_before_the_picture(
    tmp_path: Path, thumbnail: bytes, ratio: float
) -> None:
    put(tmp_path / "out.html", [member("/a.jpg")], thumbnail=lambda _: thumbnail)
    assert Page(tmp_path / "out.html").sections[0]["cards"][0]["ratio"] == ratio


def test_a_search_page_shows_everything_at_once(tmp_path: Path) -> None:
    target = tmp_path / "found.html"
    sections = (
        Section(heading, "by cosine", [Card(jpeg(1, 1), f"/{heading}.jpg", caption="0.970")])
        for heading in ("Query", "Matches")
    )
    write_page(target, title="Like a.jpg", subtitle="30 nearest", sections=sections)
    page = Page(target)
    assert [s["heading"] for s in page.sections] == ["Query", "Matches"]
    assert page.sections[1]["rows"] is None
    assert page.sections[1]["cards"][0]["caption"] == "0.970"
    with pytest.raises(ExportError, match="exists already"):
        write_page(target, title="Another", subtitle="", sections=[])
    write_page(target, title="Another", subtitle="", sections=[], force=True)
    assert "<h1>Another</h1>" in target.read_text("utf-8")


def test_a_browser_draws_it(tmp_path: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("Chromium is not installed")
    target = tmp_path / "out.html"
    members = [member(path) for path in HOSTILE] + [member("/n.jpg", -1)]
    put(target, members, thumbnail=lambda path: None if "img" in path else jpeg(4, 3))
    drawn = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1280,900",
            "--virtual-time-budget=3000",
            "--dump-dom",
            target.as_uri(),
        ],
        capture_output=True,
        check=True,
        timeout=120,
    )
    (tmp_path / "drawn.html").write_bytes(drawn.stdout)
    page = Page(tmp_path / "drawn.html")
    assert [attrs["class"] for tag, attrs in page.tags if tag == "button"].count("photo") == 7
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(pictures) == 6
    assert all((attrs["src"] or "").startswith("data:image/jpeg;base64,") for attrs in pictures)
    assert {"100% #1?.jpg", "not utf-8 \ufffd.jpg"} <= {attrs["alt"] for attrs in pictures}
    assert page.texts["blank"] == '"><img src=x onerror=alert(1)>.jpg'
    assert page.texts["heading-thumbnails-1"] == "Noise"
    assert "Show all 1" in page.source


def test_a_group_is_opened_into_its_parts(tmp_path: Path) -> None:
    # Group 0 has the parts 3 (of which 4 is one) and 5, and a picture in neither.
    parts = [3, 3, 4, 4, 5, 5, 0]
    members = [
        member(f"/p/{at}.jpg", 0, part=part, strength=1 - at / 10) for at, part in enumerate(parts)
    ]
    export = replace(
        export_of([*members, member("/p/alone.jpg", 1)]),
        subgroups=[
            Group(3, 4, "m", (), parent=0, name="<b>Sea</b>"),
            Group(4, 2, "m", (), parent=3, cover=members[3].id),
            Group(5, 2, "m", (), parent=0),
        ],
    )
    write(tmp_path / "out.html", export, thumbnail=lambda _: jpeg(4, 3), thumbnails_per_group=1)
    page = Page(tmp_path / "out.html")
    section, alone = page.sections
    assert section["note"] == "7 pictures, 2 parts"
    assert alone["parts"] == []
    shown = [card["paths"][0] for card in section["cards"]]
    named = [card["paths"][0] for card in section["more"]]
    # One thumbnail of every part, and what is pinned comes first.
    assert shown == ["/p/3.jpg", "/p/0.jpg", "/p/4.jpg", "/p/6.jpg"]

    def paths(part: dict[str, Any]) -> set[str]:
        return {[*shown, *named][at] for at in part["at"]}

    sea, other, rest = section["parts"]
    assert (sea["heading"], sea["note"]) == ("<b>Sea</b>", "4 pictures, 1 part")
    assert paths(sea) == {"/p/0.jpg", "/p/1.jpg", "/p/2.jpg", "/p/3.jpg"}
    assert [part["heading"] for part in sea["parts"]] == ["Group 4", "In none of these"]
    assert paths(sea["parts"][0]) == {"/p/2.jpg", "/p/3.jpg"}
    assert paths(other) == {"/p/4.jpg", "/p/5.jpg"}
    assert paths(rest) == {"/p/6.jpg"}
    assert rest["heading"] == "In none of these"
