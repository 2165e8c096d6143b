"""What a search may ask: pictures with weights and boxes, and which pictures may be found."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from imgindex.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from .base import Rows

    Asked: TypeAlias = str | os.PathLike[str] | bytes | Rows

Orientation = Literal["landscape", "portrait", "square"]
Order = Literal["path", "taken", "newest"]

AWAY = -0.25
"""The weight of a picture to steer away from where none is given: of three labelled sets the ten
nearest were best between -0.2 and -0.3, and at -0.6 worse than without it."""

STANDARD_INPUT = "-"
"""What a picture given as bytes is called where it has no name."""

A_VECTOR = "a vector"
"""What a row given in place of a picture is called where it has no name."""

_OVERHANG = 0.05  # how far a box may stand out of the picture, in sides of the picture
_NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?"
_WEIGHTED = re.compile(rf"({_NUMBER}):(.+)", re.DOTALL)
_SIDE = re.compile(rf"\s*(-?(?:{_NUMBER}))\s*(%?)\s*")
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d)?)?)?)?", re.ASCII)
_EARLIEST = "0001-01-01T00:00:00"
_JPEG = ("JPEG", "MPO")
_FORMATS = {"JPG": _JPEG, "JPEG": _JPEG, "TIF": ("TIFF",), "HEIC": ("HEIF",)}
_HUNDRED = 100.0


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a picture: a rectangle in its upright form.

    Attributes:
        x: left edge, from the picture's left.
        y: upper edge, from the picture's top.
        width: above 0.
        height: above 0.
        percent: whether the four are in percent of the picture's sides, else in pixels.
    """

    x: float
    y: float
    width: float
    height: float
    percent: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no box of any picture.

        Raises:
            SettingError: a number is not finite, or the box has no inside.
        """
        if not all(map(math.isfinite, (self.x, self.y, self.width, self.height))):
            raise SettingError(f"the box {self} is not of finite numbers")
        if self.width <= 0 or self.height <= 0:
            raise SettingError(f"the box {self} is empty; give x,y,width,height")

    def __str__(self) -> str:
        """As ``parse`` reads it."""
        unit = "%" if self.percent else ""
        return ",".join(_plain(one) + unit for one in (self.x, self.y, self.width, self.height))

    @classmethod
    def parse(cls, text: str) -> Box:
        """Read ``x,y,w,h`` in pixels or ``x%,y%,w%,h%``.

        Raises:
            SettingError: it is neither, or empty.
        """
        sides = [_SIDE.fullmatch(part) for part in text.split(",")]
        found = [side.groups() for side in sides if side is not None]
        if len(found) != 4 or len(sides) != 4 or len({unit for _, unit in found}) != 1:  # noqa: PLR2004 - sides
            raise SettingError(
                f"{text!r} is no box; give x,y,width,height in pixels, as 40,30,200,100, "
                "or all four in percent, as 10%,20%,50%,50%"
            )
        x, y, width, height = (float(number) for number, _ in found)
        return cls(x, y, width, height, percent=found[0][1] == "%")

    def on(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Left, upper, right and lower edge in pixels on a picture of that size.

        What stands out of it by at most a twentieth of its side is cut off.

        Raises:
            SettingError: the box stands out further, or has no part in the picture.
        """
        across, down = (width / _HUNDRED, height / _HUNDRED) if self.percent else (1.0, 1.0)
        edges = (self.x * across, (self.x + self.width) * across)
        levels = (self.y * down, (self.y + self.height) * down)
        for (low, high), side in ((edges, width), (levels, height)):
            if low >= side or high <= 0:
                raise SettingError(f"the box {self} lies outside the picture of {width}x{height}")
            if low < -_OVERHANG * side or high > (1 + _OVERHANG) * side:
                raise SettingError(f"the box {self} stands out of the picture of {width}x{height}")
        return max(0.0, edges[0]), max(0.0, levels[0]), min(width, edges[1]), min(height, levels[1])


class PictureId(str):
    """The whole id of an indexed picture, never taken for a file's name."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Term:
    """One picture of a query.

    Attributes:
        picture: a file, the id of an indexed picture or its beginning, the bytes of a file; a
            ``PictureId``, for which no file is looked at; or an embedding, float32 [d], whose
            length is brought to 1.
        weight: how much it counts, not 0; below 0 it steers away.
        box: the part of it to look at; None for the whole.
        name: what results and messages call it; None for the file or id, ``-`` for bytes, ``a
            vector`` for an embedding.
    """

    picture: Asked
    weight: float = 1.0
    box: Box | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        """Refuse a weight that says nothing, and a part of what has none.

        Raises:
            SettingError: the weight is 0 or not finite, or there is a box on a vector.
        """
        if not math.isfinite(self.weight) or self.weight == 0:
            raise SettingError(f"the weight of {self.called} cannot be {self.weight:g}")
        if self.box is not None and not isinstance(self.picture, str | bytes | os.PathLike):
            raise SettingError(f"{self.called} has no parts; leave the box {self.box} away")

    @property
    def called(self) -> str:
        """What results and messages call the picture."""
        if self.name is not None:
            return self.name
        if isinstance(self.picture, bytes):
            return STANDARD_INPUT
        return os.fspath(self.picture) if isinstance(self.picture, str | os.PathLike) else A_VECTOR

    @property
    def plain(self) -> bool:
        """Whether it is a whole picture to come near to: asked for alone, it finds itself."""
        return self.weight > 0 and self.box is None


def worded(terms: Sequence[Term]) -> list[str]:
    """The terms as words of the command line: ``a.jpg``, ``+``, ``2:b.jpg``, ``-``, ``c.jpg``."""
    words: list[str] = []
    for term in terms:
        away = term.weight < 0
        if words or away:
            words.append("-" if away else "+")
        usual = term.weight == (AWAY if away else 1)
        odd = term.called == "+" or _WEIGHTED.fullmatch(term.called) is not None
        weight = "" if usual and not odd else f"{_plain(abs(term.weight))}:"
        words.append(weight + term.called + (f" [{term.box}]" if term.box else ""))
    return words


def weighed(word: str) -> tuple[float | None, str]:
    """Split ``2:a.jpg`` into weight and picture; the weight is None where none is given."""
    found = _WEIGHTED.fullmatch(word)
    return (float(found[1]), found[2]) if found else (None, word)


@dataclass(frozen=True, slots=True)
class Where:
    """Which pictures may be found; what is left out lets every picture pass.

    Several values of one field are alternatives; all fields that are given must hold. ``paths`` and
    ``folders`` are of files: a picture passes if one of its present files meets both, and results
    then name such a file.

    Attributes:
        paths: patterns of paths. ``*``, ``?`` and ``[a-z]`` stay within a name, ``**`` stands for
            any folders. A pattern that begins with ``/``, ``~/``, ``./`` or ``../`` is of the whole
            path, any other one of its end: ``*.png`` at any depth, ``2024/*.jpg`` in any folder
            ``2024``. One that ends in ``/`` is of all that lies below: ``2024/`` is ``2024/**``.
            Case counts where it does for the file system.
        folders: folders, with all that lies below them.
        after: taken then or later, as ``2024``, ``2024-05``, ``2024-05-01`` or with a time behind
            ``T``; by the camera's clock. Pictures without a date never pass.
        before: taken earlier than that: before ``2024`` is until the end of 2023.
        larger: both sides are at least these two, either way round, in pixels.
        smaller: both sides are at most these two, either way round, in pixels.
        orientation: ``landscape``, ``portrait`` or ``square`` (both sides the same).
        formats: names of formats, as ``JPEG`` or ``png``; files of several JPEG pictures (``MPO``,
            as some cameras write them) count as ``JPEG``.
        ids: ids of pictures; None for all.
    """

    paths: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    after: str | None = None
    before: str | None = None
    larger: tuple[int, int] | None = None
    smaller: tuple[int, int] | None = None
    orientation: Orientation | None = None
    formats: tuple[str, ...] = ()
    ids: frozenset[str] | None = None

    def __post_init__(self) -> None:
        """Bring every field into its one form, so that equal filters are equal.

        Raises:
            SettingError: a date, a size, an orientation or a pattern is none.
        """
        if "" in (*self.paths, *self.folders):
            raise SettingError("a pattern or a folder to search in cannot be empty")
        self._put("paths", _distinct(map(_pattern, self.paths)))
        self._put("folders", _distinct(map(_absolute, self.folders)))
        self._put("formats", _distinct(one for name in self.formats for one in _formats(name)))
        if self.ids is not None:
            self._put("ids", frozenset(self.ids))
        for name in ("after", "before"):
            self._put(name, _date(name, getattr(self, name)))
        for name in ("larger", "smaller"):
            self._put(name, _size(name, getattr(self, name)))
        if self.orientation is not None and self.orientation not in get_args(Orientation):
            raise SettingError(
                f"orientation must be one of {', '.join(get_args(Orientation))}, "
                f"not {self.orientation!r}"
            )

    def _put(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def anything(self) -> bool:
        """Whether every picture passes."""
        return all(getattr(self, one.name) == one.default for one in fields(self))


def _plain(number: float) -> str:
    return repr(float(number)).removesuffix(".0")


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH111 - Path's raises for unknown users


def _pattern(pattern: str) -> str:
    whole = _absolute(pattern) if pattern.startswith(("~", "./", "../")) else pattern
    return whole.rstrip("/") + "/**" if pattern.endswith("/") else whole


def _formats(name: str) -> tuple[str, ...]:
    return _FORMATS.get(name.upper(), (name.upper(),))


def _date(name: str, text: str | None) -> str | None:
    if text is None:
        return None
    date = text.strip().replace(" ", "T")
    try:
        if not _DATE.fullmatch(date):
            raise ValueError(date)  # noqa: TRY301 - both ways of being no date end alike
        datetime.fromisoformat(date + _EARLIEST[len(date) :])
    except ValueError:
        raise SettingError(
            f"{name} must be a date as 2024, 2024-05 or 2024-05-01, not {text!r}"
        ) from None
    return date


def _size(name: str, sides: Collection[int] | None) -> tuple[int, ...] | None:
    if sides is None:
        return None
    if len(sides) != 2 or min(sides) < 1:  # noqa: PLR2004 - a width and a height
        raise SettingError(f"{name} must be a width and a height of at least 1, not {sides}")
    return tuple(sorted((int(side) for side in sides), reverse=True))
