"""Copies of pictures: what is kept of every picture to find them, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from .base import Skipped  # noqa: TC001 - the service's description reads the annotations

CopyKind = Literal["exact", "pixels", "near"]

SKETCH_SIDE = 32
"""Side of a picture's sketch in pixels."""


class Twin(NamedTuple):
    """Two pictures of different bytes that were verified to be copies.

    Attributes:
        a: the one's id.
        b: the other's, which comes after it.
        kind: ``pixels`` (every pixel is the same) or ``near`` (resized, compressed, cropped, ...).
        score: how much of one picture the other explains, in [0, 1].
        part: the id of the one that shows only a part of what the other does; None for neither.
        share: how much of the other one's area that part is, in (0, 1]; 1 for neither.
    """

    a: str
    b: str
    kind: CopyKind
    score: float
    part: str | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Copy:
    """One file of a set of copies.

    Attributes:
        path: the file.
        id: the picture it holds.
        kind: what it is of the best copy: ``exact`` (the same bytes, as the best copy is itself),
            ``pixels`` (the same pixels in other bytes) or ``near`` (made from it, or it from this).
        score: how much of one picture the other explains, in [0, 1]; 1 but for near ones.
    """

    path: str
    id: str
    kind: CopyKind
    score: float


@dataclass(frozen=True, slots=True)
class DuplicateSet:
    """Files that show the same picture.

    Attributes:
        best: the copy that is worth keeping.
        why: what makes it the best.
        files: all of them, the best one first, then those most like it; each was compared with it.
        stays: paths of those that the best one cannot stand for: they show more, or are larger.
    """

    best: str
    why: str
    files: tuple[Copy, ...]
    stays: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What a search for copies found.

    Attributes:
        sets: those with most files first.
        skipped: files that could not be read for it, or have changed since they were indexed.
    """

    sets: tuple[DuplicateSet, ...]
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of a burst: a file, the picture in it, and when it was taken (ISO 8601)."""

    path: str
    id: str
    taken: str


@dataclass(frozen=True, slots=True)
class Burst:
    """Shots in quick succession.

    Attributes:
        cover: the file of the shot most like all of them.
        shots: all of them, by time.
    """

    cover: str
    shots: tuple[Shot, ...]
