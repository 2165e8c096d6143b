"""Words of the command line to the terms of a query: ``a.jpg + 2:b.jpg - c.jpg``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgindex.asking import absolute
from imgindex.errors import SettingError
from imgindex.records import AWAY, STANDARD_INPUT, Term, weighed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SIGNS = {"+": 1.0, "-": -1.0}


def parse(words: Sequence[str], exists: Callable[[str], bool] | None = None) -> list[Term]:
    """Read an expression; ``imgindex.records.worded`` writes one.

    A word is a picture with its weight before it, ``2:a.jpg``, or ``+`` or ``-`` between two; words
    without either between them are added. Where a picture is expected, ``-`` is standard input, and
    a file that has the very name of the word is that file.

    Args:
        words: the words.
        exists: whether there is a file of that name; None looks.

    Returns:
        The terms; that of standard input has ``-`` for its picture.

    Raises:
        SettingError: a picture is missing, or a weight is 0.
    """
    exists = exists or _there
    terms: list[Term] = []
    sign, expected = "+", True
    for word in words:
        if not expected and word in _SIGNS:
            sign, expected = word, True
            continue
        if word == "+" and not exists(word):
            raise SettingError(f"a picture is missing before the + in {' '.join(words)!r}")
        terms.append(_term(word, sign, exists))
        sign, expected = "+", False
    if expected:
        raise SettingError(f"a picture is missing at the end of {' '.join(words)!r}")
    return terms


def _term(word: str, sign: str, exists: Callable[[str], bool]) -> Term:
    weight, picture = None, word
    if word != STANDARD_INPUT and not exists(word):
        weight, picture = weighed(word)
    if weight is None:
        return Term(picture, 1.0 if sign == "+" else AWAY)
    return Term(picture, _SIGNS[sign] * weight)


def _there(word: str) -> bool:
    return os.path.lexists(absolute(word))
