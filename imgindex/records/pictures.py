"""Pictures, their files, and what indexing and searching say of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .base import Skipped, Way  # noqa: TC001 - the service's description reads the annotations


class Found(NamedTuple):
    """A regular file met on a walk, with what tells cheaply whether it changed."""

    # A tuple: a walk makes a hundred thousand of them, at a third of a frozen dataclass's cost.

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Paired:
    """A raw file met on a walk beside rendered pictures of its name, and passed over for them.

    Attributes:
        path: the raw file.
        twins: the rendered pictures.
    """

    path: str
    twins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """Which files below the folders of a run are taken.

    Attributes:
        include: gitignore patterns relative to the folder walked; if there are any, files that
            match none are left out.
        exclude: gitignore patterns of what is left out; ``!`` takes some of it back.
        hidden: take names that begin with a dot, too.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture by content: the same bytes in five places are one picture.

    Attributes:
        id: BLAKE2b-128 of the file's bytes, 32 hex digits.
        width: pixels, after EXIF orientation.
        height: pixels, after EXIF orientation.
        format: Pillow's name of the format, for example ``JPEG``; ``DNG``, or ``RAW`` for a
            camera's own.
        taken: capture time from EXIF, ISO 8601 without a zone, or None.
        sketch: the picture small and grey, uint8 [SKETCH_SIDE, SKETCH_SIDE] as bytes, for finding
            its copies; empty where it is not known or not asked for.
    """

    id: str
    width: int
    height: int
    format: str
    taken: str | None = None
    sketch: bytes = field(default=b"", repr=False, compare=False)


class IndexedFile(NamedTuple):
    """What the library knows of one path.

    Attributes:
        path: the file.
        size: bytes, when it was read.
        mtime_ns: modification time in nanoseconds, when it was read.
        id: the picture it holds; None when it could not be read.
        reason: why it could not be read; None when it could.
        missing: it was there once and has vanished.
    """

    path: str
    size: int
    mtime_ns: int
    id: str | None = None
    reason: str | None = None
    missing: bool = False


class Hit(NamedTuple):
    """A picture found by a store, with its cosine to the query."""

    # A tuple, as above: a search may make a hundred thousand.

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Match:
    """One line of a search result; rank counts from 1, score is a cosine in [-1, 1]."""

    rank: int
    path: str
    id: str
    score: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to one query; ``way`` says whether every vector was compared or the graph used."""

    query: str
    model: str
    way: Way
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class QueryFailure:
    """One query of many that could not be answered, and why."""

    query: str
    error: str


@dataclass(frozen=True, slots=True)
class AddReport:
    """What one run of indexing did, in files.

    Attributes:
        added: files with new content, embedded in this run.
        reused: new or changed files whose content was known already; not embedded again.
        moved: files whose content was last seen at a path that is gone now; not embedded again.
        removed: files that have left the results since the last run: they have vanished, or are
            there and left out now.
        unchanged: files with the size and time of the last run; not even opened.
        skipped: files that cannot be read as pictures, in the order of the walk.
        model: name of the model.
        device: what really computed, for example ``cpu`` or ``cuda:0``; None if nothing had to be.
        seconds: wall time of the run.
        images_per_second: embedded pictures by wall time of the embedding part; 0 if none.
        precision: what it was computed in: ``float32``, ``float16``, ``bfloat16`` or ``int8``.
        note: what had to be done differently, in words.
        paired: raw files passed over for the rendered picture of the same name beside them.
    """

    added: int
    reused: int
    moved: int
    removed: int
    unchanged: int
    skipped: tuple[Skipped, ...]
    model: str
    device: str | None
    seconds: float
    images_per_second: float
    precision: str | None = None
    note: str = ""
    paired: int = 0


@dataclass(frozen=True, slots=True)
class StoreStats:
    """A store's own figures.

    Attributes:
        pictures: pictures with at least one file present.
        files: files present.
        missing: files that have vanished and are not pruned yet.
        unreadable: files remembered as unreadable.
        vectors: rows held, dead ones included.
        index: state of the HNSW graph: ``ready``, ``stale``, ``damaged`` or ``none``.
        bytes: size on disk; 0 in memory.
    """

    pictures: int
    files: int
    missing: int
    unreadable: int
    vectors: int
    index: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """A library at a glance; ``stale`` says why the groups should be discovered anew."""

    library: str
    pictures: int
    files: int
    missing: int
    unreadable: int
    vectors: int
    dimension: int | None
    model: str | None
    index: str
    bytes: int
    groups: int | None
    grouped: str | None
    stale: str | None
