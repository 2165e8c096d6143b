"""A grouping as a table: CSV (RFC 4180) or JSON (RFC 8259), one entry a file."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from imgindex.records import NOISE, lineages, no_progress, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imgindex.records import Group, Member, Progress

    from .content import Export, Near

_AT_ONCE = 1000
_HEADER = ("path", "id", "group", "strength", "outlier", "exemplar")


def csv_text(export: Export) -> Iterator[str]:
    """The table as CSV: the header, then a line a file.

    Strength and outlier have six significant digits; exemplar is 0 or 1; noise is group -1. A path
    that is not UTF-8 keeps its surrogate escapes, so encode with ``surrogateescape``.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_HEADER)
    for members in export.by_group().values():
        writer.writerows(
            (
                member.path,
                member.id,
                member.group,
                f"{member.strength:.6g}",
                f"{member.outlier:.6g}",
                int(member.exemplar),
            )
            for member in members
        )
    yield text.getvalue()


def json_text(export: Export, progress: Progress = no_progress) -> Iterator[str]:
    r"""The grouping as one JSON object: how it was made, its groups with their files, its noise.

    A group's ``size`` counts pictures, its ``members`` are files, each with its ``part``: the
    smallest group that it is in, one of the ``subgroups`` or the group itself, and with ``near``:
    the groups that its neighbours are in and their shares. The text is ASCII: a path that is not
    UTF-8 keeps its surrogate escapes, as ``\udcXX``.
    """
    members = export.by_group()
    around = lineages([*export.groups, *export.subgroups])
    ids: dict[int, set[str]] = {}
    for member in export.members:
        for group in around.get(member.part, ()):
            ids.setdefault(group, set()).add(member.id)
    near = _near(export, progress)
    document = {
        "library": export.library,
        "created": export.created,
        "settings": to_json(export.settings),
        "decisions": to_json(export.decisions),
        "groups": [
            {
                **_told(export, group, ids),
                "members": [_entry(member, near) for member in members.get(group.id, ())],
            }
            for group in export.groups
        ],
        "subgroups": [_told(export, group, ids) for group in export.subgroups],
        "noise": [_entry(member, near) for member in members.get(NOISE, ())],
    }
    yield from json.JSONEncoder(indent=2, allow_nan=False).iterencode(document)
    yield "\n"


def _near(export: Export, progress: Progress) -> dict[str, Near]:
    ids = sorted({member.id for member in export.members})
    near: dict[str, Near] = {}
    if export.near is not None:
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            near.update(zip(some, export.near(some), strict=True))
            progress("export", len(near), len(ids))
    return near


def _told(export: Export, group: Group, ids: Mapping[int, set[str]]) -> dict[str, Any]:
    told: dict[str, Any] = to_json(group)
    if export.tightness is not None:
        told["tightness"] = float(f"{export.tightness(sorted(ids[group.id])):.6g}")
    return told


def _entry(member: Member, near: Mapping[str, Near]) -> dict[str, Any]:
    return {
        "path": member.path,
        "id": member.id,
        "strength": float(f"{member.strength:.6g}"),
        "outlier": float(f"{member.outlier:.6g}"),
        "exemplar": bool(member.exemplar),
        "part": member.part,
        "near": [[group, float(f"{share:.6g}")] for group, share in near.get(member.id, ())],
    }
