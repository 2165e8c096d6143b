"""A grouping as sections of a page: the groups by size, the noise last."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from imgindex.errors import SettingError
from imgindex.records import NOISE, Skipped

from .page import Card, Part, Section, page_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imgindex.records import Member, Progress

    from .content import Export

PAGE_THUMBNAILS = 4000
"""Thumbnails in one page at most; at some 12 kB each it then weighs 65 MB, which browsers bear."""

_ROWS = 2  # of a group, before it is opened


def gallery_text(
    export: Export,
    *,
    thumbnail: Callable[[str], bytes | None],
    thumbnails_per_group: int,
    progress: Progress,
    skipped: list[Skipped],
) -> Iterator[str]:
    """The gallery page, piece by piece.

    Args:
        export: the grouping.
        thumbnail: a path's thumbnail as JPEG, or None if it cannot be read.
        thumbnails_per_group: how many pictures of a group, or of each part of one, are shown; the
            others are listed by name. It is lowered when the page would hold more than
            ``PAGE_THUMBNAILS``.
        progress: called after each thumbnail.
        skipped: receives the pictures that could not be shown.

    Raises:
        SettingError: ``thumbnails_per_group`` is negative.
    """
    if thumbnails_per_group < 0:
        raise SettingError(f"thumbnails_per_group is {thumbnails_per_group}; it starts at 0")
    # Pinned pictures come first, those of parts after the group's own.
    pinned = {group.cover: 1 for group in export.subgroups}
    pinned |= {group.cover: 0 for group in export.groups}
    groups = {
        group: sorted(_pictures(members), key=lambda copies: pinned.get(copies[0].id, 2))
        for group, members in export.by_group().items()
    }
    nests = _nests(export)
    limit = _limit(
        [
            size
            for pictures in groups.values()
            for size in Counter(copies[0].part for copies in pictures).values()
        ],
        thumbnails_per_group,
    )
    chosen = {group: _chosen(pictures, limit) for group, pictures in groups.items()}
    total = sum(len(shown) for shown, _ in chosen.values())

    def sections() -> Iterator[Section]:
        done = 0
        for group, pictures in groups.items():
            cards = []
            shown, named = chosen[group]
            for copies in shown:
                cards.append(_card(copies, _first_thumbnail(copies, thumbnail, skipped)))
                done += 1
                progress("export", done, total)
            yield Section(
                heading="Noise" if group == NOISE else nests[group].heading,
                note=_size(group, pictures) + _inside(nests.get(group)),
                cards=cards,
                more=[_card(copies, None) for copies in named],
                rows=0 if group == NOISE else _ROWS,
                parts=() if group == NOISE else _parts(nests[group], [*shown, *named]),
            )

    count = sum(map(len, groups.values()))
    noise = len(groups.get(NOISE, ()))
    settings = export.settings
    return page_text(
        title=PurePath(export.library).name or export.library,
        subtitle=(
            f"{export.created.replace('T', ' ')[:16]} UTC · {settings.model} · HDBSCAN in the "
            f"{settings.space} space · groups of {settings.min_cluster_size} or more · "
            f"min samples {settings.min_samples}"
        ),
        sections=sections(),
        facts=[
            (f"{count:,}", "picture" if count == 1 else "pictures"),
            (f"{len(export.groups):,}", "group" if len(export.groups) == 1 else "groups"),
            (f"{noise / count if count else 0:.0%}", "noise"),
        ],
    )


@dataclass(slots=True)
class _Nest:
    """A group and the groups inside it."""

    id: int
    heading: str
    inside: list[_Nest]


def _nests(export: Export) -> dict[int, _Nest]:
    nests = {
        group.id: _Nest(group.id, group.name or f"Group {group.id}", [])
        for group in (*export.groups, *export.subgroups)
    }
    for group in export.subgroups:
        if group.parent is not None:
            nests[group.parent].inside.append(nests[group.id])
    return nests


def _parts(nest: _Nest, pictures: Sequence[Sequence[Member]]) -> list[Part]:
    """The groups inside a group, and where there are some, what is in none of them."""
    places: dict[int, list[int]] = {}
    for at, copies in enumerate(pictures):
        places.setdefault(copies[0].part, []).append(at)

    def inside(nest: _Nest) -> list[Part]:
        parts = [told(one) for one in nest.inside]
        if parts and (rest := places.get(nest.id)):
            parts.append(
                Part("In none of these", _size(nest.id, [pictures[at] for at in rest]), rest)
            )
        return parts

    def told(nest: _Nest) -> Part:
        parts = inside(nest)
        found = sorted({*places.get(nest.id, ()), *(at for part in parts for at in part.at)})
        note = _size(nest.id, [pictures[at] for at in found]) + _inside(nest)
        return Part(nest.heading, note, found, parts)

    return inside(nest)


def _chosen(
    pictures: Sequence[list[Member]], limit: int
) -> tuple[list[list[Member]], list[list[Member]]]:
    """The pictures that are shown, which are the first ones of every part, and the others."""
    seen = Counter[int]()
    shown: list[list[Member]] = []
    named: list[list[Member]] = []
    for copies in pictures:
        part = copies[0].part
        (shown if seen[part] < limit else named).append(copies)
        seen[part] += 1
    return shown, named


def _pictures(members: Sequence[Member]) -> list[list[Member]]:
    """Files of the same picture brought together, in the order of each picture's first file."""
    pictures: dict[str, list[Member]] = {}
    for member in members:
        pictures.setdefault(member.id, []).append(member)
    return list(pictures.values())


def _limit(sizes: Sequence[int], most: int) -> int:
    limit = most
    while limit > 1 and sum(min(size, limit) for size in sizes) > PAGE_THUMBNAILS:
        limit -= 1
    return limit


def _first_thumbnail(
    copies: Sequence[Member], thumbnail: Callable[[str], bytes | None], skipped: list[Skipped]
) -> bytes | None:
    for member in copies:
        if (jpeg := thumbnail(member.path)) is not None:
            return jpeg
    skipped.append(Skipped(copies[0].path, "cannot be read; listed without a thumbnail"))
    return None


def _card(copies: Sequence[Member], jpeg: bytes | None) -> Card:
    first = copies[0]
    return Card(
        thumbnail=jpeg,
        path=first.path,
        badge=f"\N{MULTIPLICATION SIGN}{len(copies)}" if len(copies) > 1 else "",
        note=_standing(first),
        copies=tuple(member.path for member in copies[1:]),
    )


def _standing(member: Member) -> str:
    outlier = f"outlier score {member.outlier:.2f}"
    if member.group == NOISE:
        return f"In no group · {outlier}"
    exemplar = "Exemplar · " if member.exemplar else ""
    return f"{exemplar}strength {member.strength:.2f} · {outlier}"


def _size(group: int, pictures: Sequence[Sequence[Member]]) -> str:
    count = len(pictures)
    copies = sum(len(picture) for picture in pictures) - count
    note = _count(count, "picture", "pictures")
    if group == NOISE:
        note += " in no group"
    return f"{note}, {_count(copies, 'more copy', 'more copies')}" if copies else note


def _inside(nest: _Nest | None) -> str:
    return f", {_count(len(nest.inside), 'part', 'parts')}" if nest and nest.inside else ""


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
