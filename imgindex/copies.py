"""Which pictures are known to be copies of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from .errors import QueryError
from .records import CopyKind

if TYPE_CHECKING:
    from .store import Store

KINDS: tuple[CopyKind, ...] = get_args(CopyKind)


def families(store: Store, up_to: CopyKind = "near") -> list[list[str]]:
    """Sets of ids of pictures that are copies of each other and were not said to be distinct.

    Args:
        store: where it is kept what was found.
        up_to: which kinds of copies count: this one and those before it in ``KINDS``.
    """
    from .duplicates import sets

    kinds = KINDS[: KINDS.index(up_to) + 1]
    twins = [twin for twin in store.twins() if twin.kind in kinds]
    return sets(twins, [one.pictures for one in store.decisions() if one.kind == "distinct"])


def looked_for(store: Store) -> Store:
    """The store, if copies were ever looked for in it.

    Raises:
        QueryError: they were not.
    """
    if not store.examined():
        raise QueryError("which pictures are copies is not known yet; run: imgindex duplicates")
    return store
