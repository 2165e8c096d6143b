"""Pairs of copies to sets of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imgindex.records import Twin


def sets(twins: Sequence[Twin], distinct: Iterable[Sequence[str]]) -> list[list[str]]:
    """Join pairs into sets, the surest pairs first.

    Args:
        twins: the pairs.
        distinct: pictures no two of which may come into one set.

    Returns:
        Sets of ids, of two or more, each ascending.
    """
    home: dict[str, set[str]] = {one: {one} for twin in twins for one in (twin.a, twin.b)}
    apart: dict[str, set[str]] = {}
    for pictures in distinct:
        for one in pictures:
            apart.setdefault(one, set()).update(set(pictures) - {one})
    for twin in sorted(twins, key=lambda twin: (-twin.score, twin.a, twin.b)):
        some, others = home[twin.a], home[twin.b]
        if some is others or any(apart.get(one, set()) & others for one in some):
            continue
        if len(some) < len(others):
            some, others = others, some
        some |= others
        for one in others:
            home[one] = some
    different = {id(some): some for some in home.values()}
    return sorted(sorted(some) for some in different.values() if len(some) > 1)
