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
_ENOUGH = 0.3
"""Share of the votes that makes a member; with less a point is noise."""
_HABIT = 0.2
"""What it counts, in shares of the votes, that a point was a member before."""


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


def join(run: Standing, near: Neighbours, were: Labels | None = None) -> Standing:
    """Find a group, or noise, for new points.

    Args:
        run: the points that were grouped.
        near: neighbours of q new points among them.
        were: int32 [q], the group of the run that each was in before, -1 for none; it counts for
            something where a neighbour is in it, lest points at its edge come and go.

    Returns:
        Of the q points. Who votes for a point lends it strength: it is the sum of their strengths,
        each by its share of the votes. Its outlier score is the mean of all neighbours'.
    """
    groups, votes = shares(run, near)
    lines = np.arange(len(votes))
    if were is not None:
        at = np.searchsorted(groups, were)
        at[at == len(groups)] = -1  # the empty column
        habit = np.append(groups, NOISE)[at] == were
        votes[lines, at] += _HABIT * (habit & (votes[lines, at] > 0))
    chosen = votes.argmax(axis=1)
    member = votes[lines, chosen] >= _ENOUGH
    labels = np.where(member, np.append(groups, NOISE)[chosen], NOISE).astype(np.int32)
    weights = _weights(near)
    lent = run.strengths[near.lists] * (run.labels[near.lists] == labels[:, None])
    return Standing(
        labels,
        np.where(member, (weights * lent).sum(axis=1), 0).astype(np.float32),
        (weights * run.outliers[near.lists]).sum(axis=1).astype(np.float32),
    )


def shares(run: Standing, near: Neighbours) -> tuple[Labels, NDArray[np.float32]]:
    """Count the votes of neighbours: soft membership.

    Args:
        run: the points that were grouped.
        near: neighbours of q points among them.

    Returns:
        The groups, int32 [g] ascending, and what share of the votes each has, float32 [q, g + 1];
        the last column is empty, so that there is one.
    """
    weights = _weights(near)
    groups = np.unique(run.labels[run.labels != NOISE])
    votes = np.zeros((len(weights), len(groups) + 1), np.float32)
    for place in range(weights.shape[1]):
        labels = run.labels[near.lists[:, place]]
        real = np.flatnonzero(labels != NOISE)
        votes[real, np.searchsorted(groups, labels[real])] += weights[real, place]
    return groups, votes


def _weights(near: Neighbours) -> NDArray[np.float32]:
    seen = neighbourhood.memberships(near.distances)
    out: NDArray[np.float32] = seen / seen.sum(axis=1, keepdims=True)
    return out
