"""What a library tells of itself, and a group of its members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .decisions import decided
from .records import NOISE, Group, Status
from .regrouping import memberships, rows_of, stale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .records import Grouping, Rows
    from .store import Store


@dataclass(frozen=True, slots=True)
class MemberReport:
    """One picture of a group.

    Attributes:
        id: the picture.
        paths: its present files; several hold the same bytes.
        strength: how firmly it sits in the group.
        outlier: GLOSH outlier score.
        exemplar: it is at the group's densest level.
        joined: it came after the run.
        near: the groups that its neighbours are in and their shares of the votes, largest first.
    """

    id: str
    paths: tuple[str, ...]
    strength: float
    outlier: float
    exemplar: bool
    joined: bool
    near: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class GroupReport:
    """One group, or what is in none.

    Attributes:
        id: its number; -1 for what is in no group, of which less is told.
        name: what users call it.
        parent: the group that it is a part of; None for none.
        parts: the groups that lie directly in it, the largest first.
        size: pictures in it.
        tightness: mean cosine of the members to their mean direction; None for no group.
        medoid: the member nearest to that; likewise.
        cover: the picture that stands for it: the one pinned, else the medoid; likewise.
        exemplars: the members at its densest level.
        duplicates: members with equal rows, and those of several files, as ids in sets.
        members: the firmest first; those that were asked for.
    """

    id: int
    name: str | None
    parent: int | None
    parts: tuple[Group, ...]
    size: int
    tightness: float | None
    medoid: str | None
    cover: str | None
    exemplars: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]
    members: tuple[MemberReport, ...]


def glance(store: Store) -> Status:
    """A library at a glance."""
    stats, pin, kept = store.stats(), store.pinned(), decided(store)
    return Status(
        library=store.url,
        pictures=stats.pictures,
        files=stats.files,
        missing=stats.missing,
        unreadable=stats.unreadable,
        vectors=stats.vectors,
        dimension=pin.dimension if pin else None,
        model=pin.name if pin else None,
        index=stats.index,
        bytes=stats.bytes,
        groups=len(kept.groups) if kept else None,
        grouped=kept.created if kept else None,
        stale=stale(kept) if kept else None,
    )


def tightness(rows: Rows) -> float:
    """Mean cosine of unit rows, float32 [n, d], to their mean direction."""
    import numpy as np

    mean = rows.mean(axis=0)
    return float((rows @ mean).mean() / max(float(np.linalg.norm(mean)), 1e-12))


def report(
    store: Store, kept: Grouping, group_id: int, offset: int = 0, limit: int | None = None
) -> GroupReport:
    """Look closely at one group of a grouping, or at what is in none.

    Args:
        store: where the pictures are.
        kept: the grouping.
        group_id: the group, which there is; -1 for none.
        offset: how many of the firmest members to pass over.
        limit: how many members at most; None for all.
    """
    import numpy as np

    if group_id == NOISE:
        own = np.flatnonzero(kept.labels == NOISE)
    else:
        own = np.array(kept.members()[group_id], np.intp)
    own = own[np.lexsort((-kept.strengths[own], ~kept.exemplars[own]))]
    told = own[offset:] if limit is None else own[offset : offset + limit]
    members = _members(store, kept, told.tolist())
    if group_id == NOISE:
        return GroupReport(NOISE, None, None, (), len(own), None, None, None, (), (), members)
    (group,) = (group for group in kept.every_group if group.id == group_id)
    ids = [kept.ids[at] for at in own.tolist()]
    rows = rows_of(store, ids)
    paths = store.paths(ids)
    equal: dict[bytes, list[str]] = {}
    for picture_id, row in zip(ids, rows, strict=True):
        equal.setdefault(row.tobytes(), []).append(picture_id)
    return GroupReport(
        id=group.id,
        name=group.name,
        parent=group.parent,
        parts=tuple(part for part in kept.subgroups if part.parent == group_id),
        size=group.size,
        tightness=tightness(rows),
        medoid=group.medoid,
        cover=group.cover or group.medoid,
        exemplars=group.exemplars,
        duplicates=tuple(
            tuple(some)
            for some in equal.values()
            if len(some) > 1 or len(paths.get(some[0], ())) > 1
        ),
        members=members,
    )


def _members(store: Store, kept: Grouping, places: Sequence[int]) -> tuple[MemberReport, ...]:
    if not places:
        return ()
    ids = [kept.ids[at] for at in places]
    paths, near = store.paths(ids), memberships(store, kept, ids)
    return tuple(
        MemberReport(
            picture_id,
            tuple(paths.get(picture_id, ())),
            float(kept.strengths[at]),
            float(kept.outliers[at]),
            bool(kept.exemplars[at]),
            bool(kept.joined[at]),
            its,
        )
        for picture_id, at, its in zip(ids, places, near, strict=True)
    )
