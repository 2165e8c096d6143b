"""Shares that are away: what they held has not vanished with them.

A share that is not mounted is an empty folder, or none; one that breaks off in the middle of a walk
leaves folders that were there a moment ago and cannot be read. Nothing tells either from files
deleted on purpose but this: a share takes everything with it at once.
"""
# Paths are plain text, as on the walk:
# ruff: noqa: PTH112, PTH120, PTH208

from __future__ import annotations

import os
from bisect import bisect_left
from typing import TYPE_CHECKING

from .addresses import is_address, lies_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


def away(
    gone: Collection[str], there: Collection[str], roots: Iterable[str], failed: Iterable[str]
) -> dict[str, set[str]]:
    """Find the places that may be away rather than emptied.

    Args:
        gone: files that the library knows and that are not there.
        there: files below the roots that are.
        roots: what the run was asked to walk.
        failed: what could not be read on the way, though it had been met.

    Returns:
        Each root that has lost every file, and each such failure, with what is gone of it; no
        file is named twice.
    """
    places: dict[str, set[str]] = {}
    if not gone:
        return places
    left = sorted(gone)
    for root in dict.fromkeys(roots):
        lost = _below(left, root)
        if lost == [root]:  # a file that was given by name: its folder tells
            lost = lost if _is_bare(os.path.dirname(root)) else []
        elif any(_lies_in(path, root) for path in there):
            continue
        if lost:
            places[root] = set(lost)
            left = [path for path in left if path not in places[root]]
    for place in sorted(set(failed)):
        # A link to nothing, or a pipe in the place of a file, is no failure of the share.
        if (os.path.isdir(place) or not os.path.lexists(place)) and (lost := _below(left, place)):
            places[place] = set(lost)
    return places


def told(place: str, files: int) -> str:
    """Say in words that a place is away."""
    held = f"{place} held {files:,} file{'' if files == 1 else 's'}"
    if not os.path.lexists(place):
        now = "is not there now"
    elif _is_bare(place):
        now = "is empty now"
    else:
        now = "holds none of them now"
    return f"{held} and {now}; they are kept; if that is right, run with --prune"


def _lies_in(path: str, place: str) -> bool:
    if is_address(place):
        return lies_in(path, [place])
    return path == place or path.startswith(place.rstrip(os.sep) + os.sep)


def _below(paths: list[str], place: str) -> list[str]:
    """Those of sorted paths that are a place or lie below it."""
    if is_address(place):
        return [path for path in paths if lies_in(path, [place])]
    base = place.rstrip(os.sep) + os.sep
    at = bisect_left(paths, base)
    end = bisect_left(paths, base[:-1] + chr(ord(os.sep) + 1))
    here = bisect_left(paths, place)
    return [*(paths[here : here + 1] if place in paths[here : here + 1] else []), *paths[at:end]]


def _is_bare(folder: str) -> bool:
    """Whether there is nothing in a folder, or no folder."""
    try:
        return not os.listdir(folder)
    except OSError:
        return True
