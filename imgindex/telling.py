"""What a group tells of itself and of its members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .records import Member
from .regrouping import memberships

if TYPE_CHECKING:
    from .records import Grouping
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
    """One group.

    Attributes:
        id: its number.
        name: what users call it.
        size: pictures in it.
        tightness: mean cosine of the members to their mean direction.
        medoid: the member nearest to that.
        cover: the picture that stands for it: the one pinned, else the medoid.
        exemplars: the members at its densest level.
        duplicates: members with equal rows, and those of several files, as ids in sets.
        members: the firmest first.
    """

    id: int
    name: str | None
    size: int
    tightness: float
    medoid: str
    cover: str
    exemplars: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]
    members: tuple[MemberReport, ...]


def members(store: Store, kept: Grouping) -> list[Member]:
    """Every present file of a grouping, with its picture's place in it."""
    paths = store.paths(kept.ids)
    columns = (kept.labels, kept.strengths, kept.outliers, kept.exemplars)
    return [
        Member(path, picture_id, *values)
        for picture_id, *values in zip(
            kept.ids, *(column.tolist() for column in columns), strict=True
        )
        for path in paths.get(picture_id, [])
    ]


def report(store: Store, kept: Grouping, group_id: int) -> GroupReport:
    """Look closely at one group of a grouping."""
    import numpy as np

    (group,) = (group for group in kept.groups if group.id == group_id)
    own = np.flatnonzero(kept.labels == group_id)
    own = own[np.argsort(-kept.strengths[own], kind="stable")]
    ids = [kept.ids[at] for at in own.tolist()]
    rows = np.stack([row for one in ids if (row := store.vector(one)) is not None])
    mean = rows.mean(axis=0)
    paths = store.paths(ids)
    equal: dict[bytes, list[str]] = {}
    for picture_id, row in zip(ids, rows, strict=True):
        equal.setdefault(row.tobytes(), []).append(picture_id)
    return GroupReport(
        id=group.id,
        name=group.name,
        size=group.size,
        tightness=float((rows @ mean).mean() / max(float(np.linalg.norm(mean)), 1e-12)),
        medoid=group.medoid,
        cover=group.cover or group.medoid,
        exemplars=group.exemplars,
        duplicates=tuple(
            tuple(some)
            for some in equal.values()
            if len(some) > 1 or len(paths.get(some[0], ())) > 1
        ),
        members=tuple(
            MemberReport(
                picture_id,
                tuple(paths.get(picture_id, ())),
                float(kept.strengths[at]),
                float(kept.outliers[at]),
                bool(kept.exemplars[at]),
                bool(kept.joined[at]),
                near,
            )
            for picture_id, at, near in zip(ids, own, memberships(store, kept, ids), strict=True)
        ),
    )
