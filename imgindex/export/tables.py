"""A grouping as a table: CSV (RFC 4180) or JSON (RFC 8259), one entry a file."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

from imgindex.records import NOISE, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgindex.records import Member

    from .content import Export

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


def json_text(export: Export) -> Iterator[str]:
    r"""The grouping as one JSON object: how it was made, its groups with their files, its noise.

    A group's ``size`` counts pictures, its ``members`` are files, each with its ``part``: the
    smallest group that it is in, one of the ``subgroups`` or the group itself. The text is ASCII:
    a path that is not UTF-8 keeps its surrogate escapes, as ``\udcXX``.
    """
    members = export.by_group()
    document = {
        "library": export.library,
        "created": export.created,
        "settings": to_json(export.settings),
        "decisions": to_json(export.decisions),
        "groups": [
            {
                **to_json(group),
                "members": [_entry(member) for member in members.get(group.id, ())],
            }
            for group in export.groups
        ],
        "subgroups": to_json(export.subgroups),
        "noise": [_entry(member) for member in members.get(NOISE, ())],
    }
    yield from json.JSONEncoder(indent=2, allow_nan=False).iterencode(document)
    yield "\n"


def _entry(member: Member) -> dict[str, str | float | bool]:
    return {
        "path": member.path,
        "id": member.id,
        "strength": float(f"{member.strength:.6g}"),
        "outlier": float(f"{member.outlier:.6g}"),
        "exemplar": bool(member.exemplar),
        "part": member.part,
    }
