"""The journey of a grouping out of the library: its files, and what an export tells of them."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from .export import Export
from .records import Member, lineages
from .regrouping import memberships
from .telling import tightness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .records import Grouping, Rows
    from .store import Store


def members(store: Store, kept: Grouping) -> list[Member]:
    """Every present file of a grouping, with its picture's place in it."""
    paths = store.paths(kept.ids)
    columns = (kept.labels, kept.strengths, kept.outliers, kept.exemplars, kept.parts)
    return [
        Member(path, picture_id, *values)
        for picture_id, *values in zip(
            kept.ids, *(column.tolist() for column in columns), strict=True
        )
        for path in paths.get(picture_id, [])
    ]


def export_of(store: Store, kept: Grouping) -> Export:
    """A grouping as exports see it; groups whose files have all vanished are left out."""
    found = members(store, kept)
    around = lineages(kept.every_group)
    here = {group for part in {member.part for member in found} for group in around.get(part, ())}

    @cache
    def held() -> tuple[dict[str, int], Rows]:
        ids, rows = store.vectors()
        return {picture_id: at for at, picture_id in enumerate(ids)}, rows

    def tight(some: Sequence[str]) -> float:
        where, rows = held()
        return tightness(rows[[where[one] for one in some]])

    return Export(
        members=found,
        groups=[group for group in kept.groups if group.id in here],
        settings=kept.settings,
        created=kept.created,
        library=store.url,
        decisions=store.decisions(),
        subgroups=[group for group in kept.subgroups if group.id in here],
        near=partial(memberships, store, kept),
        tightness=tight,
    )
