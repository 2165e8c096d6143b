"""One self-contained HTML page of thumbnails: the gallery of a grouping, or the result of a search.

The page loads nothing from anywhere, and its Content-Security-Policy holds it to that: only the
template's own style and script, named by their hashes, and ``data:`` pictures. File names reach it
as JSON and are shown as text only.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
_RATIOS = (0.4, 3.0)  # narrower and wider pictures are cropped in the overview


@dataclass(frozen=True, slots=True)
class Card:
    """One picture on a page.

    Attributes:
        thumbnail: a JPEG file's bytes, or None if the picture cannot be shown.
        path: where the picture lies.
        caption: shown under it.
        badge: shown in its corner.
        note: shown beside the enlarged picture.
        copies: further paths of the same picture.
    """

    thumbnail: bytes | None
    path: str
    caption: str = ""
    badge: str = ""
    note: str = ""
    copies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Some pictures of a section that belong together more closely; shown when it is opened.

    Attributes:
        heading: a few words.
        note: what to know of them, in a line.
        at: their places among the section's cards, and from there on among its further ones.
        parts: of it.
    """

    heading: str
    note: str
    at: Sequence[int]
    parts: Sequence[Part] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """Pictures that belong together under one heading.

    Attributes:
        heading: a few words.
        note: what to know of them, in a line.
        cards: the pictures that are shown.
        more: pictures that are listed by name only; their thumbnails are left out.
        rows: rows of cards that are shown until more are asked for; 0 shows none, None all.
        parts: of it; none, or some that together have every card.
    """

    heading: str
    note: str
    cards: Sequence[Card]
    more: Sequence[Card] = ()
    rows: int | None = None
    parts: Sequence[Part] = ()


def page_text(
    *,
    title: str,
    subtitle: str,
    sections: Iterable[Section],
    facts: Sequence[tuple[str, str]] = (),
) -> Iterator[str]:
    """The page, piece by piece; one section's thumbnails are held at a time.

    Encode with ``xmlcharrefreplace``: a title that is not UTF-8 has surrogate escapes.

    Args:
        title: the page's name.
        subtitle: a line below it.
        sections: read once, in order.
        facts: figures at the top, each with what it counts, such as ``("1,035", "pictures")``.
    """
    parts = {
        "title": [html.escape(title)],
        "subtitle": [html.escape(subtitle)],
        "facts": [
            f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(figure)}</dd></div>"
            for figure, name in facts
        ],
        "data": _data(sections),
    }
    return filled("page.html", parts)


def filled(template: str, parts: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """A template of this folder with its parts put in, piece by piece, and its policy."""
    text = files(__package__).joinpath(template).read_text("utf-8")
    for index, part in enumerate(re.split(r"<!--(\w+)-->", text)):
        if index % 2 == 0:
            yield part
        elif part == "policy":
            yield _policy(text)
        else:
            yield from parts[part]


def _policy(template: str) -> str:
    hashes = {}
    for tag in ("style", "script"):
        found = re.search(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL)
        text = found[1] if found else ""
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[tag] = f"'sha256-{digest}'"
    return (
        f"default-src 'none'; img-src data:; style-src {hashes['style']}; "
        f"script-src {hashes['script']}; base-uri 'none'; form-action 'none'"
    )


def _data(sections: Iterable[Section]) -> Iterator[str]:
    # Thumbnails stay apart from the rest, so that the browser reads a section's when it is met.
    outline = []
    for number, section in enumerate(sections):
        thumbnails = [
            None if card.thumbnail is None else base64.b64encode(card.thumbnail).decode()
            for card in section.cards
        ]
        yield island(f"thumbnails-{number}", thumbnails)
        outline.append(
            {
                "heading": section.heading,
                "note": section.note,
                "rows": section.rows,
                "cards": [_plain(card) for card in section.cards],
                "more": [_plain(card) for card in section.more],
                "parts": [asdict(part) for part in section.parts],
            }
        )
    yield island("sections-data", outline)


def island(name: str, value: Any) -> str:
    """A value as JSON in an element of its own, which no text in it can end."""
    text = json.dumps(value, separators=(",", ":")).translate(_ESCAPES)  # ASCII, so no U+2028
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def _plain(card: Card) -> dict[str, Any]:
    paths = [card.path, *card.copies]
    plain: dict[str, Any] = {"paths": paths, "links": [_link(path) for path in paths]}
    for key in ("caption", "badge", "note"):
        if value := getattr(card, key):
            plain[key] = value
    if card.thumbnail is not None:
        plain["ratio"] = round(min(max(_ratio(card.thumbnail), _RATIOS[0]), _RATIOS[1]), 3)
    return plain


def _link(path: str) -> str:
    """The path as a ``file:`` address; bytes that are not UTF-8 are percent-encoded as they are."""
    return Path(path).absolute().as_uri()


def _ratio(jpeg: bytes) -> float:
    """Width by height from a JPEG file's frame header (ITU-T T.81, B.2.2); 1 if there is none."""
    at = 2
    while at + 9 <= len(jpeg) and jpeg[at] == 0xFF:  # noqa: PLR2004 - every marker's first byte
        marker = jpeg[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # noqa: PLR2004 - frames
            height = int.from_bytes(jpeg[at + 5 : at + 7])
            width = int.from_bytes(jpeg[at + 7 : at + 9])
            return width / height if width and height else 1.0
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])
    return 1.0
