"""How many steps fit the time, at which picture size and learning rate each is done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARES = (0.5, 0.4, 0.1)
"""Of the steps, at each size: small pictures first (Touvron et al., arXiv:1906.06423)."""

_WARM = 0.03
_RATE, _RATE_OF = 1e-3, 1024
_AVERAGED = 0.05

MARKS = 20
"""How often a run is validated and saved."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run was set out to do; a resumed run goes by the same.

    Attributes:
        steps: how many in all.
        batch: pictures a step.
        sizes: sides of the views, one a share.
        seed: of every random number.
    """

    steps: int
    batch: int
    sizes: tuple[int, int, int]
    seed: int

    def size(self, step: int) -> int:
        """Give the side of the views at a step."""
        gone = step / self.steps
        return self.sizes[(gone >= SHARES[0]) + (gone >= SHARES[0] + SHARES[1])]

    def rate(self, step: int) -> float:
        """Give the learning rate: up in a line, then down one half of a cosine to nothing."""
        top = _RATE * math.sqrt(self.batch / _RATE_OF)
        warm = max(1, round(_WARM * self.steps))
        if step < warm:
            return top * (step + 1) / warm
        return top * (1 + math.cos(math.pi * (step - warm) / (self.steps - warm))) / 2

    def averaging(self, step: int) -> float:
        """Give the share of the running mean of the weights that stays at a step.

        The mean reaches back over a twentieth of the run, so that it forgets the smaller pictures
        however short the run is.
        """
        return min(1 - 1 / max(1, _AVERAGED * self.steps), (1 + step) / (10 + step))

    def marked(self, done: int) -> bool:
        """Tell whether to validate and save once so many steps are done: twenty times in all."""
        return done == self.steps or done % max(1, self.steps // MARKS) == 0


def steps_in(seconds: float, each: Mapping[int, float], sizes: tuple[int, int, int]) -> int:
    """Count the steps that fit a time, given what one takes at each size, in seconds."""
    mean = sum(share * each[size] for share, size in zip(SHARES, sizes, strict=True))
    return max(len(sizes), int(seconds / mean))
