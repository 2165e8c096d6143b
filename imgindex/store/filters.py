"""Filters: which pictures and files they let through, in Python and in SQL."""

from __future__ import annotations

import fnmatch
import json
import os
import re
from dataclasses import replace
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from .base import within
from .database import PRESENT, portions

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable, Mapping

    from imgindex.records import Order, Picture, Where

_ALWAYS = "1"  # the condition that always holds


def passes(where: Where, picture: Picture) -> bool:
    """Whether a picture meets what a filter says of pictures; its files are another matter."""
    long, short = max(picture.width, picture.height), min(picture.width, picture.height)
    turned = (picture.width > picture.height) - (picture.width < picture.height)
    return (
        (where.ids is None or picture.id in where.ids)
        and (not where.formats or picture.format.upper() in where.formats)
        and (where.after is None or (picture.taken is not None and picture.taken >= where.after))
        and (where.before is None or (picture.taken is not None and picture.taken < where.before))
        and (where.larger is None or (long >= where.larger[0] and short >= where.larger[1]))
        and (where.smaller is None or (long <= where.smaller[0] and short <= where.smaller[1]))
        and (
            where.orientation is None
            or where.orientation == ("square", "landscape", "portrait")[turned]
        )
    )


def of_files(where: Where) -> Callable[[str], bool]:
    """A test for paths: whether a filter lets the file through."""
    named = _matching(where.paths)

    def test(path: str) -> bool:
        return (not where.folders or within(path, where.folders)) and named(path)

    return test


def passing_rows(db: sqlite3.Connection, where: Where) -> list[int]:
    """Rows of the pictures that a filter lets through, those with a present file, ascending."""
    condition, values = _condition(where)
    if where.ids is not None:
        condition += " AND picture.id IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(list(where.ids)))
    if not (where.paths or where.folders):
        # From the files' index to the pictures: no name is read.
        found = db.execute(
            f"SELECT row FROM picture WHERE {condition} AND {PRESENT} ORDER BY row",
            values,
        )
        return [row for (row,) in found]
    named = _matching(where.paths)
    below, roots = _below(where.folders)
    tables = "file" if condition == _ALWAYS else "file JOIN picture ON picture = row"
    found = db.execute(
        f"SELECT picture, path FROM {tables} "
        f"WHERE picture IS NOT NULL AND NOT missing AND {below} AND {condition}",
        roots + values,
    )
    return sorted({row for row, path in found if named(os.fsdecode(path))})


def listed(db: sqlite3.Connection, order: Order, where: Where | None) -> tuple[str, ...]:
    """Ids of the pictures that a filter lets through, see ``Store.listing``."""
    condition, values, named = _ALWAYS, list[Any](), None
    if where is not None:
        condition, values = _condition(where)
        below, roots = _below(where.folders)
        condition, values = f"{condition} AND {below}", values + roots
        if where.ids is not None:
            condition += " AND picture.id IN (SELECT value FROM json_each(?))"
            values.append(json.dumps(list(where.ids)))
        named = _matching(where.paths) if where.paths else None
    taken: dict[str, str | None] = {}
    for picture_id, when, path in db.execute(
        "SELECT picture.id, taken, path FROM file JOIN picture ON picture = row "
        f"WHERE NOT missing AND {condition} ORDER BY path",
        values,
    ):
        if picture_id not in taken and (named is None or named(os.fsdecode(path))):
            taken[picture_id] = when
    return in_order(taken, order)


def in_order(taken: Mapping[str, str | None], order: Order) -> tuple[str, ...]:
    """Ids of pictures, which come by path, in another order; see ``Store.listing``.

    Args:
        taken: when each was taken.
        order: the order.
    """
    if order == "path":
        return tuple(taken)
    dated = sorted(
        ((when, one) for one, when in taken.items() if when is not None),
        key=itemgetter(0),
        reverse=order == "newest",
    )
    return (*(one for _, one in dated), *(one for one, when in taken.items() if when is None))


def passing_paths(
    db: sqlite3.Connection, ids: Collection[str], where: Where | None
) -> dict[str, list[str]]:
    """Present files of some pictures that a filter lets through, see ``Store.paths``."""
    condition, values, named = _ALWAYS, list[Any](), None
    if where is not None:
        if where.ids is not None:
            ids, where = where.ids.intersection(ids), replace(where, ids=None)
        condition, values = _condition(where)
        below, roots = _below(where.folders)
        condition, values = f"{condition} AND {below}", values + roots
        named = _matching(where.paths)
    present: dict[str, list[str]] = {}
    for marks, some in portions(dict.fromkeys(ids)):
        for picture_id, path in db.execute(
            "SELECT picture.id, path FROM picture JOIN file ON picture = row "
            f"WHERE picture.id IN ({marks}) AND NOT missing AND {condition} ORDER BY path",
            some + values,
        ):
            name = os.fsdecode(path)
            if named is None or named(name):
                present.setdefault(picture_id, []).append(name)
    return present


def _condition(where: Where) -> tuple[str, list[Any]]:
    """What a filter says of pictures, but for their ids, in SQL: a condition and its values."""
    parts, values = list[str](), list[Any]()
    if where.formats:
        parts.append(f"upper(format) IN ({','.join('?' * len(where.formats))})")
        values += where.formats
    for bound, comparison in ((where.after, ">="), (where.before, "<")):
        if bound is not None:
            parts.append(f"taken {comparison} ?")
            values.append(bound)
    for sides, comparison in ((where.larger, ">="), (where.smaller, "<=")):
        if sides is not None:
            parts.append(f"max(width, height) {comparison} ? AND min(width, height) {comparison} ?")
            values += sides
    if where.orientation is not None:
        comparison = {"landscape": ">", "portrait": "<", "square": "="}[where.orientation]
        parts.append(f"width {comparison} height")
    return " AND ".join(parts) or _ALWAYS, values


def _below(folders: Iterable[str]) -> tuple[str, list[Any]]:
    """The condition that a file is one of the folders or lies below one."""
    parts, values = [], list[Any]()
    for folder in folders:
        # Everything below a folder lies between "folder/" and "folder0".
        low = os.fsencode(folder.rstrip(os.sep) + os.sep)
        parts.append("path = ? OR (path >= ? AND path < ?)")
        values += (os.fsencode(folder), low, low[:-1] + bytes([low[-1] + 1]))
    return f"({' OR '.join(parts)})" if parts else _ALWAYS, values


def _matching(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A test for paths: whether one of the patterns of ``Where.paths`` is met, or there is none."""
    tests = [_pattern(pattern) for pattern in patterns]
    return lambda path: not tests or any(test(path) for test in tests)


def _pattern(pattern: str) -> Callable[[str], bool]:
    *folders, last = _spelled(pattern).split("/")
    if last == "**":
        folders, last = [*folders, last], "*"  # any file in any folders
    if not os.path.isabs(pattern):  # noqa: PTH117 - a pattern is no path
        folders.insert(0, "**")
    named = re.compile(fnmatch.translate(last)).match
    steps = [None if part == "**" else re.compile(fnmatch.translate(part)) for part in folders]

    @cache
    def leads_there(folder: str) -> bool:
        # All the places in the pattern that the path so far may have come to, side by side: the
        # time does not explode, whatever the pattern.
        here = _skipping({0}, steps)
        for part in folder.split("/"):
            there = set[int]()
            for at in here - {len(steps)}:
                step = steps[at]
                if step is None:
                    there.add(at)
                elif step.match(part):
                    there.add(at + 1)
            here = _skipping(there, steps)
        return len(steps) in here

    def test(path: str) -> bool:
        folder, _, name = _spelled(path).rpartition("/")
        return named(name) is not None and leads_there(folder)

    return test


def _skipping(places: set[int], steps: list[re.Pattern[str] | None]) -> set[int]:
    """The places and those behind them: ``**`` (None) also stands for no folder at all."""
    every = set(places)
    for place in places:
        at = place
        while at < len(steps) and steps[at] is None:
            at += 1
            every.add(at)
    return every


def _spelled(path: str) -> str:
    return path if os.sep == "/" else os.path.normcase(path).replace(os.sep, "/")
