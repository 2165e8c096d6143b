"""What ``imgindex search`` was asked, from its arguments: a query, and what may be found."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from imgindex.errors import QueryError, SettingError
from imgindex.records import STANDARD_INPUT, Box, Where

from . import expression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgindex import Library
    from imgindex.records import Orientation, Term

_WEB = re.compile(r"https?://", re.IGNORECASE)
_SIZE = re.compile(r"([0-9]{1,9})x([0-9]{1,9})")


def terms(words: Sequence[str], box: str | None, *, allow_url: bool) -> list[Term]:
    """The terms of a query, nothing read or fetched yet.

    Raises:
        SettingError: they are no expression, or of kinds that do not go together.
    """
    found = expression.parse(words)
    if box is not None:
        if len(found) != 1:
            raise SettingError("--box is of one picture; give a single QUERY with it")
        found = [replace(found[0], box=Box.parse(box))]
    if sum(term.picture == STANDARD_INPUT for term in found) > 1:
        raise SettingError("standard input holds one picture; give - once")
    if not allow_url:
        for term in found:
            if _is_web(term):
                raise SettingError(
                    f"{term.picture!s} lies on the web; add --allow-url to have it fetched"
                )
    return found


def load(library: Library, term: Term) -> Term:
    """The term with its bytes, where they come from the web or from standard input.

    Raises:
        QueryError: they cannot be had.
    """
    if _is_web(term):
        return replace(term, picture=library.fetch(str(term.picture)).picture, name=term.called)
    if term.picture != STANDARD_INPUT:
        return term
    if sys.stdin.isatty():
        raise QueryError("- is a picture on standard input, but that is this terminal; pipe it in")
    return replace(term, picture=library.receive(sys.stdin.buffer, "standard input").picture)


def where(  # noqa: PLR0913 - one parameter an option
    library: Library,
    *,
    match: Sequence[str],
    folder: Sequence[str],
    after: str | None,
    before: str | None,
    larger: str | None,
    smaller: str | None,
    orientation: Orientation | None,
    formats: Sequence[str],
    group: Sequence[int],
    copies: Literal["with", "without"] | None,
) -> Where | None:
    """The filter that the options describe; None if there is none of them.

    Raises:
        SettingError: an option's value is not possible.
        GroupingError: groups are asked for, and there are none.
        QueryError: there is no such group, or it is not known which pictures are copies.
    """
    ids = library.ids_of(group) if group else None
    if copies is not None:
        some = library.with_copies() if copies == "with" else library.without_copies()
        ids = some if ids is None else ids & some
    try:
        chosen = Where(
            paths=tuple(match),
            folders=tuple(folder),
            after=after,
            before=before,
            larger=_size("larger", larger),
            smaller=_size("smaller", smaller),
            orientation=orientation,
            formats=tuple(formats),
            ids=ids,
        )
    except SettingError as error:
        raise SettingError(re.sub(r"^(after|before)\b", r"--\1", str(error))) from error
    return None if chosen.anything else chosen


def _is_web(term: Term) -> bool:
    return isinstance(term.picture, str) and _WEB.match(term.picture) is not None


def _size(option: str, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = _SIZE.fullmatch(text.lower())
    if sides is None or 0 in (found := (int(sides[1]), int(sides[2]))):
        raise SettingError(f"--{option} takes WIDTHxHEIGHT, such as 1920x1080, not {text!r}")
    return found
