"""Loops over arrays that numpy cannot spell, compiled to machine code by numba.

The first use on a machine compiles them, which takes seconds; the result is kept on disk.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_LEAST_SLICE = 1024


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compile a function when it is first called; it lets other threads run meanwhile."""
    try:
        made = numba.njit(cache=True, nogil=True, fastmath=True)(function)
    except RuntimeError:  # neither beside the code nor in the user's cache may anything be written
        made = numba.njit(nogil=True, fastmath=True)(function)
    return cast("Callable[Arguments, Result]", made)


def in_slices(work: Callable[[int, int], object], stop: int, start: int = 0) -> None:
    """Call ``work(start, stop)`` for slices of start .. stop, one a processor, side by side.

    What comes out must not depend on where the slices are cut.
    """
    slices = list(_slices(start, stop))
    if len(slices) == 1:
        work(*slices[0])
        return
    with ThreadPoolExecutor(len(slices)) as pool:
        list(pool.map(lambda ends: work(*ends), slices))


def _slices(start: int, stop: int) -> Iterator[tuple[int, int]]:
    count = stop - start
    parts = max(1, min(os.cpu_count() or 1, count // _LEAST_SLICE))
    for part in range(parts):
        yield start + count * part // parts, start + count * (part + 1) // parts
