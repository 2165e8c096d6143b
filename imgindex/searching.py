"""The journey of a query: to its row, to its neighbours, to the files that hold them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from .addresses import is_address
from .ahead import at_hand
from .asking import Asked, asked
from .copies import families, looked_for
from .errors import SettingError
from .pages import Ranking
from .records import Hit, Match, QueryFailure, SearchResult, Way
from .reranking import POOL, reranked

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

    from .asking import Query
    from .pages import Pages
    from .records import ModelPin, Progress, Where
    from .resources import Resources
    from .store import Store

_AT_ONCE, _HITS_AT_ONCE = 256, 200_000
_WAYS: tuple[Way, ...] = ("exact", "hnsw")
_AS_NEAR = 1e-6
_FIRST_STEP, _MORE = 1000, 4  # how many hits to ask for behind the first page, and then


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

    @property
    def plain(self) -> bool:
        """Whether the first page by cosine alone is wanted."""
        return not (self.offset or self.rerank or self.diverse)

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
    size = max(1, min(_AT_ONCE, _HITS_AT_ONCE // (wanted.offset + wanted.k)))
    groups: Iterable[Sequence[Query]]
    if isinstance(queries, Sequence):
        groups = (queries[at : at + size] for at in range(0, len(queries), size))
    else:
        groups = at_hand(queries, size)
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
    store, pin = filled
    every = asked(resources, queries)
    search = _Search(store, resources.pages, wanted)
    answered = [one for one in every if one.row is not None]
    quick = search.first_pages(answered) if wanted.plain else {}
    rankings = search.rankings([one for one in answered if id(one) not in quick])
    stop = wanted.offset + wanted.k
    shown = [ranking.hits(min(ranking.checked, wanted.offset), stop) for ranking in rankings]
    ids = {hit.id for hits in shown for hit in hits}
    paths = store.paths(ids, wanted.where) if rankings else {}
    left = iter(rankings)
    lowest = -2.0 if wanted.min_score is None else wanted.min_score
    for one in every:
        if one.row is None:
            yield QueryFailure(one.text, one.error)
            continue
        if id(one) in quick:
            way, matches = quick[id(one)]
        else:
            ranking = next(left)
            way, matches = ranking.way, search.page(one, ranking, paths)
        yield SearchResult(
            query=one.text,
            model=pin.name,
            way=way,
            matches=tuple(match for match in matches if match.score >= lowest),
        )


class _Search:
    """One batch of queries that want the same of a store."""

    def __init__(self, store: Store, pages: Pages, wanted: Wanted) -> None:
        """Begin; what changes in the library from now on may be missed."""
        self._store = store
        self._pages = pages
        self._wanted = wanted
        self._version = store.version()
        self._kin = self._sets_of_copies() if wanted.diverse else {}

    def first_pages(self, every: Sequence[Asked]) -> dict[int, tuple[Way, list[Match]]]:
        """The first pages by cosine alone, by the queries' identities: what is asked for most.

        The same as ``rankings`` and ``page`` give. What was found before is not searched for again
        until the library changes; where a file has vanished, the page is left out.
        """
        wanted = self._wanted
        kept: list[Ranking | None] = [
            ranking if ranking is not None and self._serves(ranking) else None
            for ranking in (self._pages.get(self._key(one)) for one in every)
        ]
        new = [at for at, ranking in enumerate(kept) if ranking is None]
        for at, ranking in zip(new, self._found([every[at] for at in new], wanted.k), strict=True):
            kept[at] = ranking
        rankings = [ranking for ranking in kept if ranking is not None]
        lists = [ranking.hits(0, wanted.k) for ranking in rankings]
        paths = self._store.paths({hit.id for hits in lists for hit in hits}, wanted.where)
        pages: dict[int, tuple[Way, list[Match]]] = {}
        for one, ranking, hits in zip(every, rankings, lists, strict=True):
            named = [_there(one, paths.get(hit.id, ())) for hit in hits]
            matches = [
                Match(rank, path, hit.id, hit.score)
                for rank, (hit, path) in enumerate(zip(hits, named, strict=True), 1)
                if path is not None
            ]
            if len(matches) == len(hits):
                pages[id(one)] = ranking.way, matches
                if ranking.fresh is not None:
                    self._pages.begin(self._key(one), ranking.cleared((), len(hits)))
        return pages

    def _serves(self, ranking: Ranking) -> bool:
        """Whether what is kept is what a first page would be taken from now."""
        long_enough = ranking.ended or len(ranking.ids) >= self._wanted.k
        return long_enough and ranking.version == self._version

    def rankings(self, every: Sequence[Asked]) -> list[Ranking]:
        """What is known of the answer to each query, searched as far as the page goes."""
        wanted, stop = self._wanted, self._wanted.offset + self._wanted.k
        keys = [self._key(one) for one in every]
        kept = [self._pages.get(key) if wanted.offset else None for key in keys]
        few = [
            at
            for at, ranking in enumerate(kept)
            if ranking is None or (len(ranking.ids) < stop and not ranking.ended)
        ]
        reach = max(stop, POOL) if wanted.rerank else stop
        if wanted.offset:
            reach = _far_enough(
                max(reach, *(one.reach + 1 for at in few if (one := kept[at]) is not None), 0)
            )
        found = self._found([every[at] for at in few], reach)
        for at, ranking in zip(few, found, strict=True):
            so_far = kept[at]
            kept[at] = ranking if so_far is None else so_far.go_on(ranking)
        return [ranking for ranking in kept if ranking is not None]

    def page(self, one: Asked, ranking: Ranking, paths: Mapping[str, list[str]]) -> list[Match]:
        """Name the files of one page: the query's own path where it is one, else the first there.

        What has no file any more drops out of the ranking, and of a set of copies all but the
        first; what comes behind moves up. So all that lies before the page is looked at as well,
        once.

        Args:
            one: the query.
            ranking: what is known of the answer.
            paths: of the pictures that the ranking has from there up to the page's end.
        """
        wanted = self._wanted
        stop, at = wanted.offset + wanted.k, min(ranking.checked, wanted.offset)
        span = stop - at
        matches: list[Match] = []
        while True:
            hits = ranking.hits(at, at + span)
            kin = ranking.kin[at : at + span].tolist()
            sets = ranking.sets(at) if self._kin else set[int]()
            bad: list[int] = []
            for place, (hit, number) in enumerate(zip(hits, kin, strict=True), at):
                rank = place - len(bad)
                if rank == stop:
                    break
                path = None if number in sets else _there(one, paths.get(hit.id, ()))
                if path is None:
                    bad.append(place)
                    continue
                if number >= 0:
                    sets.add(number)
                if rank >= wanted.offset:
                    matches.append(Match(rank + 1, path, hit.id, hit.score))
            at = min(stop, at + len(hits) - len(bad))
            ranking = ranking.cleared(bad, at)
            if at == stop or (ranking.ended and at >= len(ranking.ids)):
                break
            span *= _MORE
            if at + span > len(ranking.ids) and not ranking.ended:
                reach = max(at + span, ranking.reach + 1)
                reach = _far_enough(reach) if wanted.offset else reach
                longer = self._found([one], reach)[0]
                if wanted.offset:
                    ranking = ranking.go_on(longer)
                else:  # nobody has seen anything of it, and the library may be another one now
                    ranking, matches, span, at = longer, [], at + span, 0
            paths = self._store.paths([hit.id for hit in ranking.hits(at, at + span)], wanted.where)
        keep = self._pages.keep if wanted.offset else self._pages.begin
        keep(self._key(one), ranking)
        return matches

    def _key(self, one: Asked) -> Hashable:
        assert one.row is not None  # noqa: S101 - for the type checker
        wanted = self._wanted
        return (
            one.id or one.row.tobytes(),
            wanted.where,
            wanted.way,
            wanted.rerank,
            wanted.diverse,
        )

    def _found(self, every: Sequence[Asked], reach: int) -> list[Ranking]:
        """Search anew, for so many hits each."""
        import numpy as np

        if not every:
            return []
        rows = np.stack([one.row for one in every if one.row is not None])
        way, found = self._store.search(rows, reach, way=self._wanted.way, where=self._wanted.where)
        return [
            Ranking.of(
                self._ordered(one, hits),
                self._kin,
                reach=reach,
                ended=len(hits) < reach,
                way=way,
                version=self._version,
            )
            for one, hits in zip(every, found, strict=True)
        ]

    def _ordered(self, one: Asked, hits: Sequence[Hit]) -> Sequence[Hit]:
        """Hits in the order to be shown."""
        if not self._wanted.rerank:
            return _itself_first(one, hits)
        others = [hit for hit in hits if hit.id != one.id]
        return _itself_first(one, _reranked(self._store, one, others))

    def _sets_of_copies(self) -> Mapping[str, int]:
        """The number of the set of copies that a picture is in."""
        version, kin = self._pages.kin
        if version != self._version:
            # Named by a member, so that lists of before a change can be gone on with.
            kin = {
                picture_id: int(min(some)[:15], 16)
                for some in families(looked_for(self._store))
                for picture_id in some
            }
            self._pages.kin = self._version, kin
        return kin


def _itself_first(one: Asked, hits: Sequence[Hit]) -> Sequence[Hit]:
    """A picture itself before all others, also before files of other bytes with its pixels."""
    if one.id is None:
        return hits
    return [Hit(one.id, 1.0), *(hit for hit in hits if hit.id != one.id)]


def _there(one: Asked, copies: Sequence[str]) -> str | None:
    """The file to name for a picture: the query's own path where it is one of its files."""
    if one.path in copies:
        return one.path
    # What lies elsewhere is believed to be there: asking would take longer than the search.
    return next((path for path in copies if is_address(path) or os.path.isfile(path)), None)  # noqa: PTH113 - text


def _far_enough(reach: int) -> int:
    """How many hits to ask for, where the pages before were asked for, too: few steps lead far."""
    far = _FIRST_STEP
    while far < reach:
        far *= _MORE
    return far


def _reranked(store: Store, one: Asked, hits: Sequence[Hit]) -> Sequence[Hit]:
    """The hits with the best of them in another order; scores stay what they are."""
    import numpy as np

    rows = dict(zip(*store.vectors([hit.id for hit in hits[:POOL]]), strict=True))
    pool = [hit for hit in hits[:POOL] if hit.id in rows]
    if one.row is None or not pool:
        return hits
    order = reranked(one.row, np.stack([rows[hit.id] for hit in pool]))
    return [*(pool[at] for at in order.tolist()), *hits[POOL:]]
