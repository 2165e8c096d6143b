"""What is wanted of searches, and answering those of many clients at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgindex import Library, Where
    from imgindex.records import PictureId, QueryFailure, SearchResult, Term

Query: TypeAlias = "PictureId | Sequence[Term]"

_DEEP = 1000  # matches; whoever wants those behind does not hold up the others


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a search; see ``Library.search``."""

    k: int = 20
    offset: int = 0
    min_score: float | None = None
    exact: bool = False
    where: Where | None = None
    rerank: bool = False
    diverse: bool = False

    @property
    def light(self) -> bool:
        """Whether it takes about as long as walking the graph does."""
        plain = not (self.exact or self.rerank or self.diverse) and self.where is None
        return plain and self.offset + self.k <= _DEEP


def search_together(
    library: Library, asked: Sequence[tuple[Query, Wish]]
) -> list[SearchResult | QueryFailure | Exception]:
    """Answer searches in their order, those that want the same at once.

    An exception in place of an answer is that of all who wanted the same.
    """
    answers: dict[int, SearchResult | QueryFailure | Exception] = {}
    together: dict[Wish, list[int]] = {}
    for at, (_, wish) in enumerate(asked):
        together.setdefault(wish, []).append(at)
    for wish, places in together.items():
        try:
            found = library.search_many(
                [asked[at][0] for at in places],
                wish.k,
                min_score=wish.min_score,
                exact=wish.exact,
                where=wish.where,
                offset=wish.offset,
                rerank=wish.rerank,
                diverse=wish.diverse,
            )
            answers.update(zip(places, found, strict=True))
        except Exception as error:  # noqa: BLE001 - it is theirs, and not all the batch's
            answers.update(dict.fromkeys(places, error))
    return [answers[at] for at in range(len(asked))]
