"""What a query turns out to be: pictures of the library, or pixels to make rows from."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from . import addresses, scan
from .ahead import ahead
from .errors import LibraryNotFoundError, PictureError, QueryError, SettingError
from .records import STANDARD_INPUT, PictureId, Term, worded

if TYPE_CHECKING:
    from .records import Pixels, Rows
    from .resources import Resources
    from .store import Store

Query: TypeAlias = "str | os.PathLike[str] | bytes | Rows | Term | Sequence[Term]"
"""A file, an id or its beginning, the bytes of a file, an embedding, or terms to be weighed."""

_ID = re.compile(r"[0-9a-fA-F]{4,32}")
_WHOLE_ID = re.compile(r"[0-9a-f]{32}")
_WEB = re.compile(r"https?://", re.IGNORECASE)
_WORTH_THREADS = 2
_CANCELLED = 1e-4  # a sum this short, of a sum of weights of 1, is what rounding left


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What one query turned out to be.

    Attributes:
        text: the query, as results name it.
        row: float32 [d], where to look; None if there was an error.
        id: the picture of the library that it is, whole and alone; else None.
        path: the file that it is, whole and alone; else empty.
        error: why there is no row.
    """

    text: str
    row: Rows | None = None
    id: str | None = None
    path: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What one term turned out to be: a row, pixels to make it from, or an error.

    A row comes with the id of its indexed picture.
    """

    id: str | None = None
    row: Rows | None = None
    pixels: Pixels | None = None
    error: str = ""


def asked(resources: Resources, queries: Sequence[Query]) -> list[Asked]:
    """Find out what queries are, and where to look for what is like them.

    Ids are looked up at once, files read in threads, and pictures that the library does not have
    embedded in batches.
    """
    expressions = [_terms(query) for query in queries]
    every = [term for terms in expressions for term in terms]
    seen = _seen(resources, every)
    embedded = iter(resources.encode([one.pixels for one in seen if one.pixels is not None]))
    found = []
    for term, one in zip(every, seen, strict=True):
        row = next(embedded) if one.pixels is not None else one.row
        if row is not None and math.isnan(row[0]):
            found.append(_Seen(error=f"the model finds nothing in {term.called}"))
        else:
            found.append(_Seen(one.id, row, error=one.error))
    left = iter(found)
    return [_weighed(terms, list(islice(left, len(terms)))) for terms in expressions]


def look(resources: Resources, term: Term) -> Pixels | Rows:
    """See one picture, and leave it to the caller to embed it; see ``Library.see``."""
    (one,) = _seen(resources, [term])
    found = one.row if one.pixels is None else one.pixels
    if found is None:
        raise QueryError(one.error)
    return found


def identify(resources: Resources, picture: str | os.PathLike[str]) -> str:
    """The id of a picture of the library, which is given as a file or as the beginning of an id.

    Raises:
        QueryError: it is neither, or the file cannot be read or is not in the library.
    """
    text, path = os.fspath(picture), absolute(picture)
    if not _is_file(picture):
        return _from_id(resources.store(), text)[0]
    try:
        picture_id = scan.content_id(resources.load(path)[1])
    except PictureError as error:
        raise QueryError(f"cannot read {text}: {error}") from error
    if not resources.store().has([picture_id]):
        raise QueryError(f"{text} is not in the library; add it with: imgindex index {text}")
    return picture_id


def identify_all(resources: Resources, pictures: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The ids of many pictures; see ``identify``. Whole ids are looked up at once.

    Raises:
        QueryError: as ``identify`` has it.
    """
    whole = {one for one in pictures if isinstance(one, str) and _is_whole_id(one)}
    known = resources.store().paths(whole) if whole else {}
    return [
        one if isinstance(one, str) and one in known else identify(resources, one)
        for one in pictures
    ]


def opened(resources: Resources, picture: str | os.PathLike[str] | bytes) -> tuple[str, bytes]:
    """A picture's file and its bytes; it is given as those, or as the id of an indexed one.

    Raises:
        QueryError: it is none of these, or no file of the indexed picture is at its place any more.
        PictureError: the file cannot be read.
    """
    if isinstance(picture, bytes):
        resources.check_length(picture)
        return STANDARD_INPUT, picture
    text, path = os.fspath(picture), absolute(picture)
    if _is_file(picture):
        return path, resources.load(path)[1]
    try:
        store = resources.store()
    except LibraryNotFoundError:
        if os.path.isdir(path):  # noqa: PTH112 - as in _is_file
            raise QueryError(f"{text} is a folder; give one picture") from None
        raise QueryError(f"there is no file {text}; give a picture") from None
    picture_id, _ = _from_id(store, text)
    try:
        return resources.found(picture_id)
    except PictureError as error:
        raise QueryError(f"no file of the picture {text} can be read: {error}") from error


def absolute(path: str | os.PathLike[str]) -> str:
    """A path in full, the home folder spelled out."""
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH111 - Path's raises on "~nobody"


def _terms(query: Query) -> Sequence[Term]:
    if isinstance(query, Term):
        return [query]
    if isinstance(query, Sequence) and not isinstance(query, str | bytes):
        return query
    return [Term(query)]


def _weighed(terms: Sequence[Term], seen: Sequence[_Seen]) -> Asked:
    """Put the rows of the terms together: the direction of their weighted sum."""
    import numpy as np

    alone = terms[0] if len(terms) == 1 and terms[0].plain else None
    text = alone.called if alone else " ".join(worded(terms))
    if not terms:
        return Asked(text, error="a query needs at least one picture")
    for one in seen:
        if one.row is None:
            return Asked(text, error=one.error)
    if alone:
        return Asked(text, seen[0].row, seen[0].id, _path(alone))
    # Only their proportions count; those of the largest and smallest floats would overflow.
    largest = max(abs(term.weight) for term in terms)
    weights = [term.weight / largest for term in terms]
    rows = np.stack([one.row for one in seen if one.row is not None]).astype(np.float64)
    total = np.asarray(weights) @ rows
    length = float(np.linalg.norm(total))
    if length < _CANCELLED * sum(map(abs, weights)):
        return Asked(text, error=f"{text} cancels out; give other weights")
    return Asked(text, (total / length).astype(np.float32))


def _path(term: Term) -> str:
    """The file that a term names, if it is one."""
    if isinstance(term.picture, PictureId) or not isinstance(term.picture, str | os.PathLike):
        return ""
    return absolute(term.picture)


def _seen(resources: Resources, terms: Sequence[Term]) -> list[_Seen]:
    ids = [_whole_id(term) for term in terms]
    asked_for = {one for one in ids if one is not None}
    known = dict(zip(*resources.store().vectors(asked_for), strict=True)) if asked_for else {}
    found = [
        _at_once(resources, term, None if one is None else known.get(one))
        for term, one in zip(terms, ids, strict=True)
    ]
    others = [term for term, one in zip(terms, found, strict=True) if one is None]
    if len(others) < _WORTH_THREADS:
        read = iter([_see(resources, term) for term in others])
    else:
        threads = min(len(others), os.cpu_count() or 1)
        read = ahead(partial(_see, resources), others, threads=threads, depth=len(others))
    return [next(read) if one is None else one for one in found]


def _whole_id(term: Term) -> str | None:
    """The whole id that a term is; any other text may be a file, or the beginning of one."""
    picture = term.picture
    if isinstance(picture, PictureId):
        return picture
    whole = isinstance(picture, str) and term.box is None and _is_whole_id(picture)
    return str(picture) if whole else None


def _at_once(resources: Resources, term: Term, row: Rows | None) -> _Seen | None:
    """What a term is, where nothing has to be read for it; else None.

    Args:
        resources: the store.
        term: the term.
        row: of the present picture that it names by its whole id.
    """
    picture = term.picture
    if isinstance(picture, str):
        if row is None and isinstance(picture, PictureId):
            return _Seen(error=_unknown(picture))
        return _Seen(str(picture), row) if row is not None and term.box is None else None
    return None if isinstance(picture, bytes | os.PathLike) else _given(resources, term)


def _unknown(picture_id: str) -> str:
    return f"no indexed picture has the id {picture_id}"


def _given(resources: Resources, term: Term) -> _Seen:
    """Check a row that was given, and bring its length to 1."""
    import numpy as np

    row, dimension = term.picture, resources.filled()[1].dimension
    if not isinstance(row, np.ndarray) or row.dtype.kind not in "fiu":
        return _Seen(error=f"{term.called} is neither a picture nor an array of numbers")
    if row.shape != (dimension,):
        return _Seen(error=f"{term.called} has shape {row.shape}; it takes {(dimension,)} here")
    with np.errstate(over="ignore", invalid="ignore"):
        length = float(np.linalg.norm(row.astype(np.float64)))
    if not 0 < length < math.inf:
        return _Seen(
            error=f"{term.called} has the length {length:g}; give finite numbers, not all 0"
        )
    return _Seen(row=(row / length).astype(np.float32))


def _see(resources: Resources, term: Term) -> _Seen:
    """Find out what a term is; called in threads."""
    try:
        return _recognised(resources, term)
    except PictureError as error:
        return _Seen(error=f"cannot read {term.called}: {error}")
    except SettingError as error:
        return _Seen(error=f"{term.called}: {error}")
    except QueryError as error:
        return _Seen(error=str(error))


def _recognised(resources: Resources, term: Term) -> _Seen:
    picture = term.picture
    if isinstance(picture, bytes):
        resources.check_length(picture)
        return _from_bytes(resources, picture, term)
    if not isinstance(picture, str | os.PathLike):
        return _given(resources, term)
    if _is_file(picture):
        return _from_bytes(resources, resources.load(absolute(picture))[1], term)
    picture_id, row = _from_id(resources.store(), os.fspath(picture))
    if term.box is None:
        return _Seen(picture_id, row)
    try:
        data = resources.held(picture_id)
    except PictureError as error:
        raise QueryError(
            f"no file of the picture {picture_id} can be read ({error}); a box needs one"
        ) from error
    return _from_bytes(resources, data, term)


def _is_whole_id(text: str) -> bool:
    if isinstance(text, PictureId):
        return True
    return _WHOLE_ID.fullmatch(text) is not None and not os.path.lexists(text)


def _is_file(query: str | os.PathLike[str]) -> bool:
    # Path's raises for names that are too long.
    return not isinstance(query, PictureId) and os.path.isfile(absolute(query))  # noqa: PTH113


def _from_bytes(resources: Resources, data: bytes, term: Term) -> _Seen:
    if term.box is None:
        picture_id = scan.content_id(data)
        row = resources.store().vector(picture_id)
        if row is not None:
            return _Seen(picture_id, row)
    return _Seen(pixels=resources.decode(data, term.box).pixels)


def _from_id(store: Store, text: str) -> tuple[str, Rows]:
    if isinstance(text, PictureId):
        here, rows = store.vectors([text])
        if not here:
            raise QueryError(_unknown(text))
        return here[0], rows[0]
    if addresses.is_address(text):
        return _from_address(store, text)
    if os.path.isdir(absolute(text)):  # noqa: PTH112 - as in _is_file
        raise QueryError(f"{text} is a folder; give one picture")
    if not _ID.fullmatch(text):
        raise QueryError(f"there is no file {text}; give a picture, or the id of an indexed one")
    ids = store.resolve(text.lower())
    if not ids:
        raise QueryError(f"there is no file {text}, and no indexed picture has an id like it")
    if len(ids) > 1:
        raise QueryError(f"several pictures have ids that begin with {text}; give more of it")
    row = store.vector(ids[0])
    if row is None:
        raise QueryError(f"the picture {ids[0]} is gone; look again")
    return ids[0], row


def _from_address(store: Store, text: str) -> tuple[str, Rows]:
    """The picture that was indexed from an address; nothing is asked there."""
    found = [one.id for one in store.files([text]) if one.path == text and one.id is not None]
    row = store.vector(found[0]) if found else None
    if row is not None:
        return found[0], row
    if _WEB.match(text):
        raise QueryError(f"{text} lies on the web; fetch it with: imgindex search --allow-url")
    raise QueryError(f"{text} is not indexed; index it, or give a file")
