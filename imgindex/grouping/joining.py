"""New points join the groups that are there, without a new run: their neighbours vote.

A neighbour's vote weighs as much as its edge in the fuzzy graph of ``neighbourhood`` would. On real
libraries that agrees better with grouping all at once, in either space, than the nearest neighbour
by mutual reachability does; and the share of noise comes out right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from imgindex.records import NOISE

from . import neighbourhood

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import Labels

    from .neighbours import Neighbours

REACH = neighbourhood.NEIGHBOURS
"""Neighbours that vote, where there are so many."""
_ENOUGH = 0.4
"""Share of the votes that makes a member; with less a point is noise."""


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """How points stand in a grouping: the n of a run, or new ones.

    Attributes:
        labels: int32 [n], ids of groups, -1 for noise.
        strengths: float32 [n].
        outliers: float32 [n].
    """

    labels: Labels
    strengths: NDArray[np.float32]
    outliers: NDArray[np.float32]


def join(run: Standing, near: Neighbours) -> Standing:
    """Find a group, or noise, for new points.

    Args:
        run: the points that were grouped.
        near: neighbours of q new points among them.

    Returns:
        Of the q points. Who votes for a point lends it strength: it is the sum of their strengths,
        each by its share of the votes. Its outlier score is the mean of all neighbours'.
    """
    count = len(near.lists)
    shares = neighbourhood.memberships(near.distances)
    shares /= shares.sum(axis=1, keepdims=True)
    groups = np.unique(run.labels[run.labels != NOISE])
    votes = np.zeros((count, len(groups) + 1), np.float32)
    which = np.searchsorted(groups, run.labels[near.lists])
    for place in range(near.lists.shape[1]):
        real = run.labels[near.lists[:, place]] != NOISE
        votes[np.flatnonzero(real), which[real, place]] += shares[real, place]
    chosen = votes.argmax(axis=1)
    member = votes[np.arange(count), chosen] >= _ENOUGH
    labels = np.where(member, np.append(groups, NOISE)[chosen], NOISE).astype(np.int32)
    lent = run.strengths[near.lists] * (run.labels[near.lists] == labels[:, None])
    return Standing(
        labels,
        np.where(member, (shares * lent).sum(axis=1), 0).astype(np.float32),
        (shares * run.outliers[near.lists]).sum(axis=1).astype(np.float32),
    )
