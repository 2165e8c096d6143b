"""The journey of a query: to its row, to its neighbours, to the files that hold them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from .ahead import at_hand
from .asking import Asked, asked
from .copies import families, looked_for
from .errors import SettingError
from .records import Hit, Match, QueryFailure, SearchResult, Way
from .reranking import POOL, reranked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .asking import Query
    from .records import ModelPin, Progress, Where
    from .resources import Resources
    from .store import Store

_AT_ONCE = 256
_WAYS: tuple[Way, ...] = ("exact", "hnsw")
_AS_NEAR = 1e-6
_MORE = 4  # how much further to reach when files of some hits have vanished


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a query wants.

    Attributes:
        k: how many matches at most.
        min_score: leave out matches with a lower cosine.
        way: how to look; None lets the store choose.
        where: only pictures that it lets through; None for all.
        offset: how many of the best matches to pass over.
        rerank: put the best matches in order by the neighbours that they share.
        diverse: of pictures that are copies of each other only the best match.
    """

    k: int
    min_score: float | None = None
    way: Way | None = None
    where: Where | None = None
    offset: int = 0
    rerank: bool = False
    diverse: bool = False

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        if self.k < 1:
            raise SettingError(f"k must be at least 1, not {self.k}")
        if self.min_score is not None and not -1 <= self.min_score <= 1:
            raise SettingError(f"min_score must be between -1 and 1, not {self.min_score}")
        if self.offset < 0:
            raise SettingError(f"offset must be at least 0, not {self.offset}")


def search(
    resources: Resources, queries: Iterable[Query], wanted: Wanted
) -> Iterator[SearchResult | QueryFailure]:
    """Answer queries in order, in batches of what has come so far.

    Args:
        resources: the store and the model.
        queries: see ``asking.Query``.
        wanted: what each of them wants.

    Raises:
        LibraryNotFoundError: there is no library; raised by the call itself.
    """
    filled = resources.filled()
    groups: Iterable[Sequence[Query]]
    if isinstance(queries, Sequence):
        groups = (queries[at : at + _AT_ONCE] for at in range(0, len(queries), _AT_ONCE))
    else:
        groups = at_hand(queries, _AT_ONCE)
    return chain.from_iterable(_answer(resources, filled, group, wanted) for group in groups)


@dataclass(frozen=True, slots=True)
class RecallReport:
    """How well the graph finds what comparing every vector finds.

    Attributes:
        way: ``hnsw``, or ``exact`` where no graph is ready: then nothing can be missed.
        queries: pictures that were looked up.
        k: nearest others that were to be found for each.
        recall: share of them that was, in [0, 1]; one just as near counts as found.
        milliseconds: a query, by way; all are asked at once, once the graph is loaded.
    """

    way: Way
    queries: int
    k: int
    recall: float
    milliseconds: dict[Way, float]


def check_recall(store: Store, k: int, queries: int, progress: Progress) -> RecallReport:
    """Look pictures up both ways; see ``Library.check_recall``."""
    import numpy as np

    if k < 1 or queries < 1:
        raise SettingError(f"k and queries must be at least 1, not {k} and {queries}")
    ids, rows = store.vectors()
    if not ids:
        return RecallReport("exact", 0, k, 1.0, {})
    drawn = np.random.default_rng(0).permutation(len(ids))[:queries]
    progress("recall", 0, 2)
    way, _ = store.search(rows[drawn[:1]], 1, way="hnsw")  # loads the graph
    answers: list[list[list[float]]] = []
    spent: dict[Way, float] = {}
    for done, asked_for in enumerate(_WAYS, start=1):
        began = time.perf_counter()
        way, found = store.search(rows[drawn], min(k + 1, len(ids)), way=asked_for)
        spent[way] = (time.perf_counter() - began) * 1000 / len(drawn)
        answers.append(
            [
                [hit.score for hit in hits if hit.id != ids[at]][:k]
                for at, hits in zip(drawn.tolist(), found, strict=True)
            ]
        )
        progress("recall", done, 2)
    exact, walked = answers
    right = sum(
        sum(score >= best[-1] - _AS_NEAR for score in scores)
        for best, scores in zip(exact, walked, strict=True)
        if best
    )
    total = sum(map(len, exact))
    return RecallReport(way, len(drawn), k, right / total if total else 1.0, spent)


def _answer(
    resources: Resources,
    filled: tuple[Store, ModelPin],
    queries: Sequence[Query],
    wanted: Wanted,
) -> Iterator[SearchResult | QueryFailure]:
    import numpy as np

    store, pin = filled
    every = asked(resources, queries)
    reach = wanted.offset + wanted.k
    asked_for = max(reach, POOL) if wanted.rerank else reach
    family = _families(store) if wanted.diverse else {}
    known = [one.row for one in every if one.row is not None]
    ran: Way = "exact"
    found: list[list[Hit]] = []
    if known:
        ran, found = store.search(np.stack(known), asked_for, way=wanted.way, where=wanted.where)
    keep = resources.pages.go_on if wanted.offset else resources.pages.begin
    keys = [(row.tobytes(), wanted.where, wanted.way) for row in known]
    lists = [keep(key, hits) for key, hits in zip(keys, found, strict=True)]
    ids = {hit.id for hits in lists for hit in hits} | {one.id for one in every if one.id}
    paths = store.paths(ids, wanted.where)
    answers = zip(keys, found, lists, strict=True)
    for one in every:
        if one.row is None:
            yield QueryFailure(one.text, one.error)
            continue
        key, hits, ranking = next(answers)
        order = partial(_reranked, store, one) if wanted.rerank else list[Hit]
        matches, further = _matches(paths, one, order(ranking), family), asked_for
        while len(matches) < reach and len(hits) == further:
            # Files of some hits have vanished since they were indexed, or they are copies.
            further *= _MORE
            _, (hits,) = store.search(one.row[None], further, way=wanted.way, where=wanted.where)
            ranking = resources.pages.go_on(key, hits)
            paths |= store.paths({hit.id for hit in hits} - paths.keys(), wanted.where)
            matches = _matches(paths, one, order(ranking), family)
        lowest = -2.0 if wanted.min_score is None else wanted.min_score
        yield SearchResult(
            query=one.text,
            model=pin.name,
            way=ran,
            matches=tuple(
                match for match in matches[wanted.offset : reach] if match.score >= lowest
            ),
        )


def _families(store: Store) -> dict[str, int]:
    """The number of the set of copies that a picture is in."""
    sets = enumerate(families(looked_for(store)))
    return {picture_id: number for number, some in sets for picture_id in some}


def _reranked(store: Store, one: Asked, hits: Sequence[Hit]) -> list[Hit]:
    """The hits with the best of them in another order; scores stay what they are."""
    import numpy as np

    pool = [hit for hit in hits[:POOL] if hit.id != one.id]
    rows = dict(zip(*store.vectors([hit.id for hit in pool]), strict=True))
    pool = [hit for hit in pool if hit.id in rows]
    if one.row is None or not pool:
        return list(hits)
    order = reranked(one.row, np.stack([rows[hit.id] for hit in pool]))
    own = [hit for hit in hits[:POOL] if hit.id == one.id]
    return [*own, *(pool[at] for at in order.tolist()), *hits[POOL:]]


def _matches(
    paths: Mapping[str, list[str]], one: Asked, hits: Sequence[Hit], family: Mapping[str, int]
) -> list[Match]:
    """Name the files of hits: the query's own path where it is one, else the first still there.

    Of a family only the first one is taken.
    """
    if one.id is not None:
        # Itself first, also where files of other bytes hold the very same pixels.
        hits = [Hit(one.id, 1.0), *(hit for hit in hits if hit.id != one.id)]
    matches: list[Match] = []
    seen: set[int] = set()
    for hit in hits:
        if family.get(hit.id) in seen:
            continue
        copies = paths.get(hit.id, [])
        path = one.path if one.path in copies else next(filter(os.path.isfile, copies), None)
        if path is not None:
            matches.append(Match(len(matches) + 1, path, hit.id, hit.score))
            if hit.id in family:
                seen.add(family[hit.id])
    return matches
