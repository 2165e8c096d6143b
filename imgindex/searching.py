"""The journey of a query: to its row, to its neighbours, to the files that hold them."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from . import scan
from .ahead import ahead, at_hand
from .errors import LibraryNotFoundError, PictureError, QueryError, SettingError
from .records import Hit, Match, QueryFailure, SearchResult, Way

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .records import ModelPin, Pixels, Progress, Rows
    from .resources import Resources
    from .store import Store

    Query = str | os.PathLike[str]

_ID = re.compile(r"[0-9a-fA-F]{4,32}")
_WHOLE_ID = re.compile(r"[0-9a-f]{32}")
_AT_ONCE = 256
_WORTH_THREADS = 2
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
    """

    k: int
    min_score: float | None = None
    way: Way | None = None

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        if self.k < 1:
            raise SettingError(f"k must be at least 1, not {self.k}")
        if self.min_score is not None and not -1 <= self.min_score <= 1:
            raise SettingError(f"min_score must be between -1 and 1, not {self.min_score}")


def search(
    resources: Resources, queries: Iterable[Query], wanted: Wanted
) -> Iterator[SearchResult | QueryFailure]:
    """Answer queries in order, in batches of what has come so far.

    Args:
        resources: the store and the model.
        queries: picture files, or ids of indexed pictures.
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
    for done, asked in enumerate(_WAYS, start=1):
        began = time.perf_counter()
        way, found = store.search(rows[drawn], min(k + 1, len(ids)), way=asked)
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


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """What a query turned out to be: a row, pixels to make it from, or an error.

    A row comes with the id of its indexed picture.
    """

    id: str | None = None
    row: Rows | None = None
    pixels: Pixels | None = None
    error: str = ""


def _answer(
    resources: Resources,
    filled: tuple[Store, ModelPin],
    queries: Sequence[Query],
    wanted: Wanted,
) -> Iterator[SearchResult | QueryFailure]:
    import numpy as np

    store, pin = filled
    asked = _asked(resources, queries)
    embedded = iter(resources.encode([one.pixels for one in asked if one.pixels is not None]))
    rows = [next(embedded) if one.pixels is not None else one.row for one in asked]
    for place, row in enumerate(rows):
        if row is not None and math.isnan(row[0]):
            rows[place] = None
            asked[place] = _Asked(error=f"the model finds nothing in {queries[place]}")
    known = [row for row in rows if row is not None]
    ran: Way = "exact"
    found: list[list[Hit]] = []
    if known:
        ran, found = store.search(np.stack(known), wanted.k, way=wanted.way)
    answers = iter(found)
    paths = store.paths({hit.id for hits in found for hit in hits})
    for query, one, row in zip(queries, asked, rows, strict=True):
        text = os.fspath(query)
        if row is None:
            yield QueryFailure(text, one.error)
            continue
        hits, reach = next(answers), wanted.k
        if one.id is not None and one.id not in paths:
            paths |= store.paths([one.id])
        matches = _matches(paths, text, one.id, hits)
        while len(matches) < wanted.k and len(hits) == reach:
            # Files of some hits have vanished since they were indexed: look further.
            reach *= _MORE
            _, (hits,) = store.search(row[None], reach, way=wanted.way)
            paths |= store.paths({hit.id for hit in hits} - paths.keys())
            matches = _matches(paths, text, one.id, hits)
        lowest = -2.0 if wanted.min_score is None else wanted.min_score
        yield SearchResult(
            query=text,
            model=pin.name,
            way=ran,
            matches=tuple(match for match in matches[: wanted.k] if match.score >= lowest),
        )


def _asked(resources: Resources, queries: Sequence[Query]) -> list[_Asked]:
    """Find out what queries are: ids are looked up at once, files read in threads."""
    ids = {query for query in queries if isinstance(query, str) and _WHOLE_ID.fullmatch(query)}
    ids = {text for text in ids if not os.path.lexists(text)}
    known = dict(zip(*resources.store().vectors(ids), strict=True)) if ids else {}
    others = [query for query in queries if query not in known]
    if len(others) < _WORTH_THREADS:
        read = iter([_ask(resources, query) for query in others])
    else:
        threads = min(len(others), os.cpu_count() or 1)
        read = ahead(partial(_ask, resources), others, threads=threads, depth=len(others))
    return [
        _Asked(query, known[query]) if isinstance(query, str) and query in known else next(read)
        for query in queries
    ]


def _ask(resources: Resources, query: Query) -> _Asked:
    """Find out what a query is; called in threads."""
    text = os.fspath(query)
    try:
        if _is_file(query):
            return _from_file(resources, _absolute(query))
        return _from_id(resources.store(), text)
    except PictureError as error:
        return _Asked(error=f"cannot read {text}: {error}")
    except QueryError as error:
        return _Asked(error=str(error))


def _is_file(query: Query) -> bool:
    # Path's raises for names that are too long.
    return os.path.isfile(_absolute(query))  # noqa: PTH113


def identify(resources: Resources, query: Query) -> str:
    """The id of a picture of the library, which is given as a file or as the beginning of an id.

    Raises:
        QueryError: it is neither, or the file cannot be read or is not in the library.
    """
    text, path = os.fspath(query), _absolute(query)
    if not _is_file(query):
        return str(_from_id(resources.store(), text).id)
    try:
        picture_id = scan.content_id(resources.load(path)[1])
    except PictureError as error:
        raise QueryError(f"cannot read {text}: {error}") from error
    if not resources.store().has([picture_id]):
        raise QueryError(f"{text} is not in the library; add it with: imgindex index {text}")
    return picture_id


def file_of(resources: Resources, query: Query) -> str:
    """A file of a picture, which is given as that or as the id of an indexed one.

    Raises:
        QueryError: it is neither, or no file of the indexed picture is at its place any more.
    """
    text, path = os.fspath(query), _absolute(query)
    if _is_file(query):
        return path
    try:
        store = resources.store()
    except LibraryNotFoundError:
        if os.path.isdir(path):  # noqa: PTH112 - as in _is_file
            raise QueryError(f"{text} is a folder; give one picture") from None
        raise QueryError(f"there is no file {text}; give a picture") from None
    picture_id = str(_from_id(store, text).id)
    held = store.paths([picture_id]).get(picture_id, [])
    found = next(filter(os.path.isfile, held), None)
    if found is None:
        raise QueryError(f"no file of the picture {text} is at its place any more")
    return found


def _from_file(resources: Resources, path: str) -> _Asked:
    _, data = resources.load(path)
    picture_id = scan.content_id(data)
    row = resources.store().vector(picture_id)
    if row is not None:
        return _Asked(picture_id, row)
    return _Asked(pixels=resources.decode(data).pixels)


def _from_id(store: Store, text: str) -> _Asked:
    if os.path.isdir(_absolute(text)):  # noqa: PTH112 - as in _is_file
        raise QueryError(f"{text} is a folder; give one picture")
    if not _ID.fullmatch(text):
        raise QueryError(f"there is no file {text}; give a picture, or the id of an indexed one")
    ids = store.resolve(text.lower())
    if not ids:
        raise QueryError(f"there is no file {text}, and no indexed picture has an id like it")
    if len(ids) > 1:
        raise QueryError(f"several pictures have ids that begin with {text}; give more of it")
    return _Asked(ids[0], store.vector(ids[0]))


def _matches(
    paths: Mapping[str, list[str]], query: str, its_id: str | None, hits: Sequence[Hit]
) -> list[Match]:
    """Name the files of hits: the query's own path where it is one, else the first still there."""
    own = "" if query == its_id else _absolute(query)
    if its_id is not None:
        # Itself first, also where files of other bytes hold the very same pixels.
        hits = [Hit(its_id, 1.0), *(hit for hit in hits if hit.id != its_id)]
    matches: list[Match] = []
    for hit in hits:
        copies = paths.get(hit.id, [])
        path = own if own in copies else next(filter(os.path.isfile, copies), None)
        if path is not None:
            matches.append(Match(len(matches) + 1, path, hit.id, hit.score))
    return matches


def _absolute(query: Query) -> str:
    return os.path.abspath(os.path.expanduser(query))  # noqa: PTH111 - Path's raises on "~nobody"
