"""What users decided, applied after the tree: the grouping that is kept stays as it was found.

So a decision survives every run, and forgetting one undoes it at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .errors import SettingError
from .records import NOISE, Decision, Group
from .regrouping import next_id, votes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .records import DecisionKind, Grouping
    from .store import Store


def decided(store: Store) -> Grouping | None:
    """The grouping kept last, as its users want it; None if there is none."""
    kept = store.grouping()
    decisions = store.decisions()
    if kept is None or not decisions:
        return kept
    for decision in decisions:
        where = {picture_id: at for at, picture_id in enumerate(kept.ids)}
        here = [where[picture_id] for picture_id in decision.pictures if picture_id in where]
        if decision.kind == "together" and decision.group is not None and len(here) > 1:
            kept = _together(kept, here, decision.group)
        elif (
            decision.kind == "apart"
            and len(here) > 1
            and here[0] == where.get(decision.pictures[0])
        ):
            kept = _apart(store, kept, here)
    return _shown(kept, decisions)


def decide(
    store: Store,
    kind: DecisionKind,
    *,
    group: int | None = None,
    name: str | None = None,
    pictures: Sequence[str] = (),
) -> Decision:
    """Keep a decision; a name or a cover takes the place of the one that the group has.

    Raises:
        SettingError: fewer than two different pictures shall be together or apart.
    """
    different = tuple(dict.fromkeys(pictures))
    if kind in {"together", "apart", "distinct"}:
        if len(different) < 2:  # noqa: PLR2004 - one alone is neither
            raise SettingError(f"name two different pictures or more to be {kind}")
    else:
        for old in store.decisions():
            if (old.kind, old.group) == (kind, group):
                store.withdraw(old.number)
    if kind == "together":
        group = next_id(store)
    decision = Decision(0, kind, group, name, different)
    return replace(decision, number=store.decide(decision))


def _together(kept: Grouping, here: Sequence[int], own: int) -> Grouping:
    """Bring pictures into the group of the firmest of them, or into one of their own."""
    members = [at for at in here if kept.labels[at] != NOISE]
    group = int(kept.labels[max(members, key=kept.strengths.__getitem__)]) if members else own
    moved = [at for at in here if kept.labels[at] != group]
    made = () if members else (Group(own, 0, kept.ids[here[0]], ()),)
    return _moved(kept, moved, [group] * len(moved), [1.0] * len(moved)).counted(made)


def _apart(store: Store, kept: Grouping, here: Sequence[int]) -> Grouping:
    """Take pictures out of the group of the first; their neighbours elsewhere say where to."""
    group = int(kept.labels[here[0]])
    moved = [at for at in here[1:] if kept.labels[at] == group != NOISE]
    if not moved:
        return kept
    found = votes(store, kept, [kept.ids[at] for at in moved], but=group)
    return _moved(kept, moved, found.labels.tolist(), found.strengths.tolist()).counted()


def _moved(
    kept: Grouping,
    at: Sequence[int],
    labels: Sequence[int],
    strengths: Sequence[float],
) -> Grouping:
    at = list(at)
    new = kept.labels.copy(), kept.parts.copy(), kept.strengths.copy(), kept.exemplars.copy()
    new[0][at], new[1][at], new[2][at], new[3][at] = labels, labels, strengths, False
    return replace(kept, labels=new[0], parts=new[1], strengths=new[2], exemplars=new[3])


def _shown(kept: Grouping, decisions: Sequence[Decision]) -> Grouping:
    """The groups with their names and covers; a cover that has left its group is passed over."""
    names = {one.group: one.name for one in decisions if one.kind == "name"}
    chosen = {one.group: one.pictures[0] for one in decisions if one.kind == "cover"}
    members = kept.members() if chosen else {}
    covers = {
        group: picture_id
        for group, picture_id in chosen.items()
        if group is not None and picture_id in {kept.ids[at] for at in members.get(group, ())}
    }

    def shown(groups: Sequence[Group]) -> tuple[Group, ...]:
        return tuple(
            replace(group, name=names.get(group.id), cover=covers.get(group.id)) for group in groups
        )

    return replace(kept, groups=shown(kept.groups), subgroups=shown(kept.subgroups))
