"""A grouping, or the result of a search, written to where other programs and people can use it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from imgindex.errors import ExportError
from imgindex.records import ExportReport, Skipped, no_progress

from .content import Export
from .folders import Link, write_tree
from .gallery import gallery_text
from .map import PAGE_THUMBNAILS as MAP_THUMBNAILS
from .map import Map, map_text, name_of
from .page import Card, Section, page_text
from .tables import csv_text, json_text
from .target import check, write_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from imgindex.records import Member, Progress

__all__ = [
    "MAP_THUMBNAILS",
    "Card",
    "Export",
    "Kind",
    "Link",
    "Map",
    "Section",
    "check_target",
    "name_of",
    "write",
    "write_bytes",
    "write_map",
    "write_page",
]

Kind = Literal["csv", "json", "folders", "html"]

_SUFFIXES: dict[str, Kind] = {
    ".csv": "csv",
    ".json": "json",
    ".html": "html",
    ".htm": "html",
    "": "folders",
}


def write(  # noqa: PLR0913 - every option of an export, by keyword
    target: str | os.PathLike[str],
    export: Export,
    *,
    kind: Kind | None = None,
    link: Link = "symlink",
    thumbnail: Callable[[str], bytes | None],
    thumbnails_per_group: int = 48,
    force: bool = False,
    progress: Progress = no_progress,
) -> ExportReport:
    """Write a grouping as a table, a tree of folders or a gallery.

    A file appears whole or not at all. No picture of the library is ever written to.

    Args:
        target: the file or folder to make.
        export: the grouping.
        kind: ``csv``, ``json``, ``html`` or ``folders``; None goes by the target's suffix, and a
            target without one becomes folders.
        link: what the folders hold: ``symlink``, ``hardlink`` or ``copy``.
        thumbnail: a path's thumbnail as JPEG bytes, or None if the file cannot be read; asked for
            the gallery only.
        thumbnails_per_group: how many pictures of a group the gallery shows at most; it lists the
            others by name.
        force: replace a file that is there; folders are never replaced.
        progress: called as ``progress("export", done, total)``.

    Returns:
        What was written. ``skipped`` names the files that have vanished (folders) and those that
        the gallery lists without a thumbnail.

    Raises:
        ExportError: the kind is unknown, the target is taken, or it cannot be written.
        SettingError: ``thumbnails_per_group`` is negative.
    """
    path = os.path.abspath(target)
    chosen = _kind(path, kind)
    members: Sequence[Member] = export.members
    skipped: Sequence[Skipped] = ()
    if chosen == "folders":
        members, skipped = write_tree(path, export, link=link, progress=progress)
    elif any(Path(member.path) == Path(path) for member in members):
        raise ExportError(f"{path} is a picture of the library; choose another name")
    elif chosen == "csv":
        write_file(path, csv_text(export), force=force, errors="surrogateescape")
    elif chosen == "json":
        write_file(path, json_text(export, progress), force=force)
    else:
        unseen: list[Skipped] = []
        text = gallery_text(
            export,
            thumbnail=thumbnail,
            thumbnails_per_group=thumbnails_per_group,
            progress=progress,
            skipped=unseen,
        )
        write_file(path, text, force=force, errors="xmlcharrefreplace")
        skipped = unseen
    return ExportReport(
        target=path,
        kind=chosen,
        pictures=len({member.id for member in members}),
        files=len(members),
        groups=len(export.groups),
        skipped=tuple(skipped),
    )


def write_page(  # noqa: PLR0913 - the parts of a page, by keyword
    target: str | os.PathLike[str],
    *,
    title: str,
    subtitle: str,
    sections: Iterable[Section],
    facts: Sequence[tuple[str, str]] = (),
    force: bool = False,
) -> None:
    """Write a page of thumbnails, such as the result of a search.

    Args:
        target: the file to make.
        title: the page's name.
        subtitle: a line below it.
        sections: its pictures; read once, so a generator keeps few of them in memory.
        facts: figures at the top, each with what it counts.
        force: replace a file that is there.

    Raises:
        ExportError: the target is taken or cannot be written.
    """
    text = page_text(title=title, subtitle=subtitle, sections=sections, facts=facts)
    path = os.path.abspath(target)
    write_file(path, text, force=force, errors="xmlcharrefreplace")


def write_map(
    target: str | os.PathLike[str],
    drawn: Map,
    *,
    thumbnails: Iterable[tuple[int, bytes | None]],
    side: int,
    force: bool = False,
) -> None:
    """Write a map as a page; see ``map_text``.

    Args:
        target: the file to make.
        drawn: the map.
        thumbnails: read once, so a generator keeps few of them in memory.
        side: of the thumbnails.
        force: replace a file that is there.

    Raises:
        ExportError: the target is taken or cannot be written.
    """
    text = map_text(drawn, thumbnails, side)
    write_file(os.path.abspath(target), text, force=force, errors="xmlcharrefreplace")


def check_target(target: str | os.PathLike[str], *, force: bool = False) -> None:
    """Refuse a file that could not be written, before the work for it begins.

    Raises:
        ExportError: the target is taken, or its folder is not there.
    """
    check(Path(os.path.abspath(target)), force=force)


def write_bytes(target: str | os.PathLike[str], data: bytes, *, force: bool = False) -> None:
    """Write a file whole, or not at all.

    Args:
        target: the file to make.
        data: what it holds.
        force: replace a file that is there.

    Raises:
        ExportError: the target is taken or cannot be written.
    """
    path = os.path.abspath(target)
    write_file(path, [data], force=force)


def _kind(path: str, asked: Kind | None) -> Kind:
    known = "csv, json, html and folders"
    if asked is not None:
        if asked not in _SUFFIXES.values():
            raise ExportError(f"no kind of export {asked!r}; known are {known}")
        return asked
    suffix = Path(path).suffix
    try:
        return _SUFFIXES[suffix.lower()]
    except KeyError:
        raise ExportError(
            f"cannot tell from {suffix!r} what to export; known are .csv, .json, .html (or .htm) "
            f"and a folder without a suffix, or say the kind: {known}"
        ) from None
