"""What the service answers with, besides the records that the commands give."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi.responses import Response

from imgindex.records import (
    ChangeKind,
    DuplicateSet,
    Group,
    GroupingSettings,
    Picture,
    Skipped,
    to_json,
)


class Json(Response):
    """A record as JSON, in the form that ``--json`` has on the command line."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """A record as bytes, or the bytes that one was made into before."""
        return content if isinstance(content, bytes) else self.bytes_of(content)

    @staticmethod
    def bytes_of(record: Any) -> bytes:
        """Write it as UTF-8; what is none in a file's name becomes an escape."""
        try:
            return orjson.dumps(record, _plain, orjson.OPT_NON_STR_KEYS)
        except TypeError:
            return json.dumps(to_json(record)).encode()


def _plain(record: Any) -> Any:
    return to_json(record)


@dataclass(frozen=True, slots=True)
class Health:
    """How the service is, in a word."""

    status: str


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What this service does, and how much of it.

    Attributes:
        version: of imgindex.
        originals: files themselves are handed out.
        addresses: pictures are fetched from the web to search by them.
        adding: clients may add pictures.
        indexing: clients may have folders indexed.
        aside: copies are moved away on a client's word.
        max_upload_bytes: the most that a request may have.
        max_k: the most matches of a request.
    """

    version: str
    originals: bool
    addresses: bool
    adding: bool
    indexing: bool
    aside: bool
    max_upload_bytes: int
    max_k: int


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """The library at a glance, as ``imgindex status`` has it, and the service.

    Attributes:
        library: where it is.
        pictures: pictures with at least one file present; 0 where there is no library yet.
        files: files present.
        missing: files that have vanished and are not pruned yet.
        unreadable: files remembered as unreadable.
        vectors: rows held.
        dimension: numbers of an embedding.
        model: name of the model.
        index: state of the graph: ``ready``, ``stale``, ``damaged`` or ``none``.
        bytes: size on disk.
        groups: how many; null where none were looked for.
        grouped: when they were; ISO 8601 in UTC.
        stale: why the groups should be discovered anew; null if they need not.
        change: another text whenever the library has changed.
        service: what may be asked of it.
    """

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
    change: str
    service: ServiceStatus


@dataclass(frozen=True, slots=True)
class Item:
    """A picture of the library.

    Attributes:
        id: the hash of its bytes, 32 hex digits.
        width: pixels.
        height: pixels.
        format: for example ``JPEG``.
        taken: when, by the camera's clock, or null.
        paths: its files.
        group: the group that it is in, -1 for none; null while nothing is grouped.
        part: the innermost group inside that one; the same where there is none.
        strength: how firmly it sits in its group, in [0, 1].
        outlier: GLOSH outlier score, in [0, 1].
        exemplar: it is at the densest level of its group.
        joined: it came after the groups were discovered.
    """

    id: str
    width: int
    height: int
    format: str
    taken: str | None
    paths: tuple[str, ...]
    group: int | None = None
    part: int | None = None
    strength: float | None = None
    outlier: float | None = None
    exemplar: bool | None = None
    joined: bool | None = None


@dataclass(frozen=True, slots=True)
class PicturePage:
    """Some pictures of a list.

    Attributes:
        total: how many the list has.
        offset: how many come before these.
        pictures: these.
    """

    total: int
    offset: int
    pictures: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class UploadAnswer:
    """A picture that was sent to be asked with.

    Attributes:
        id: the hash of its bytes, 32 hex digits.
        width: pixels.
        height: pixels.
        format: for example ``JPEG``.
        known: it is a picture of the library.
    """

    id: str
    width: int
    height: int
    format: str
    known: bool

    @classmethod
    def of(cls, picture: Picture, *, known: bool) -> UploadAnswer:
        """Tell of a picture."""
        return cls(picture.id, picture.width, picture.height, picture.format, known)


@dataclass(frozen=True, slots=True)
class Added:
    """One file that was sent to be added.

    Attributes:
        name: as the client called it.
        id: of the picture in it; null if there is none.
        reason: why it was not taken; null if it was.
        known: it was in the library before.
    """

    name: str
    id: str | None
    reason: str | None
    known: bool = False


@dataclass(frozen=True, slots=True)
class AddAnswer:
    """What became of files that were sent to be added; those without a reason are stored."""

    pictures: tuple[Added, ...]


@dataclass(frozen=True, slots=True)
class GroupsAnswer:
    """The groups, the largest first.

    Attributes:
        groups: the groups.
        parts: those inside others.
        pictures: pictures that were grouped.
        noise: how many of them are in no group.
        created: when they were discovered; ISO 8601 in UTC.
        settings: how.
        stale: why they should be discovered anew; null if they need not.
    """

    groups: tuple[Group, ...]
    parts: tuple[Group, ...]
    pictures: int
    noise: int
    created: str
    settings: GroupingSettings
    stale: str | None


@dataclass(frozen=True, slots=True)
class GroupSize:
    """A group as history names it: its id, and how many pictures it had."""

    id: int
    size: int


@dataclass(frozen=True, slots=True)
class ChangeAnswer:
    """What became of groups in one run of grouping.

    Attributes:
        created: the run, by its time; ISO 8601 in UTC.
        kind: ``kept``, ``split`` (one became several), ``merged`` (several became one), ``new`` or
            ``gone``.
        before: the groups of the run before, by id.
        after: the groups of this run, by id.
    """

    created: str
    kind: ChangeKind
    before: tuple[GroupSize, ...]
    after: tuple[GroupSize, ...]


@dataclass(frozen=True, slots=True)
class DuplicatesPage:
    """Some sets of copies.

    Attributes:
        total: how many there are.
        examined: copies were looked for of every picture.
        sets: these.
        skipped: files that have changed since they were indexed.
    """

    total: int
    examined: bool
    sets: tuple[DuplicateSet, ...]
    skipped: tuple[Skipped, ...]
