"""What users decided, applied after the tree: the grouping that is kept stays as it was found.

So a decision survives every run, and forgetting one undoes it at once.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from .errors import SettingError
from .records import NOISE, Decision, Group, lineages
from .regrouping import next_id, votes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .records import DecisionKind, Grouping
    from .store import Store

_numbering = threading.Lock()  # two groups made at once would get the same id
_last: WeakKeyDictionary[Store, tuple[Grouping, list[Decision], Grouping]] = WeakKeyDictionary()


def decided(store: Store) -> Grouping | None:
    """The grouping kept last, as its users want it; None if there is none.

    It is remembered for as long as the store gives the very same grouping and decisions.
    """
    kept, decisions = store.grouping(), store.decisions()
    if kept is None or not decisions:
        return kept
    last = _last.get(store)
    if last is not None and last[0] is kept and last[1] == decisions:
        return last[2]
    changed = _Changed(store, kept)
    for decision in decisions:
        changed.apply(decision)
    shown = changed.shown(decisions).fixed()
    _last[store] = kept, decisions, shown
    return shown


def decide(
    store: Store,
    kind: DecisionKind,
    *,
    group: int | None = None,
    name: str | None = None,
    pictures: Sequence[str] = (),
) -> Decision:
    """Keep a decision; a name or a cover takes the place of the one that the group has.

    Where pictures may form a group and none is named, it gets an id that no group ever had.

    Raises:
        SettingError: fewer than two different pictures shall be together, apart or a group.
    """
    different = tuple(dict.fromkeys(pictures))
    if kind not in {"name", "cover"} and len(different) < 2:  # noqa: PLR2004 - one alone is neither
        wanted = "a group" if kind == "form" else kind
        raise SettingError(
            f"name two different pictures or more to be {wanted}; files of the same bytes are one"
        )
    with _numbering:
        if kind in {"name", "cover"}:
            for old in store.decisions():
                if (old.kind, old.group) == (kind, group):
                    store.withdraw(old.number)
        elif kind in {"together", "form"} and group is None:
            group = next_id(store)
        decision = Decision(0, kind, group, name, different)
        return replace(decision, number=store.decide(decision))


class _Changed:
    """A grouping that decisions change, one after the other."""

    def __init__(self, store: Store, kept: Grouping) -> None:
        self._store = store
        self._kept = replace(
            kept,
            labels=kept.labels.copy(),
            parts=kept.parts.copy(),
            strengths=kept.strengths.copy(),
            exemplars=kept.exemplars.copy(),
        )
        self._where = {picture_id: at for at, picture_id in enumerate(kept.ids)}
        self._around = lineages(kept.every_group)
        self._made: dict[int, Group] = {}

    def apply(self, decision: Decision) -> None:
        """Change what a decision says; pictures that are not here any more are passed over."""
        here = [self._where[one] for one in decision.pictures if one in self._where]
        if not here:
            return
        if decision.kind == "form" and decision.group is not None:
            self._form(here, decision.group)
        elif decision.kind == "together" and decision.group is not None and len(here) > 1:
            self._together(here, decision.group)
        elif decision.kind == "apart" and here[0] == self._where.get(decision.pictures[0]):
            self._apart(here)

    def shown(self, decisions: Sequence[Decision]) -> Grouping:
        """The groups with their names and covers; a cover that left its group is passed over."""
        kept = self._kept.counted(tuple(self._made.values()))
        around = lineages(kept.every_group)
        names = {one.group: one.name for one in decisions if one.kind == "name"}
        chosen = {one.group: one.pictures[0] for one in decisions if one.kind == "cover"}
        covers = {
            group: picture_id
            for group, picture_id in chosen.items()
            if picture_id in self._where
            and group in around.get(int(kept.parts[self._where[picture_id]]), ())
        }

        def told(groups: Sequence[Group]) -> tuple[Group, ...]:
            return tuple(
                replace(group, name=names.get(group.id), cover=covers.get(group.id))
                for group in groups
            )

        return replace(kept, groups=told(kept.groups), subgroups=told(kept.subgroups))

    def _form(self, here: Sequence[int], own: int) -> None:
        """Make a group of pictures, wherever they were."""
        self._move(here, [self._opened(own, here)] * len(here), [1.0] * len(here))

    def _together(self, here: Sequence[int], own: int) -> None:
        """Bring pictures into a group that one of them is in, that of the firmest, or a new one."""
        labels = self._kept.labels
        members = [at for at in here if labels[at] != NOISE]
        if not members or any(labels[at] == own for at in members):
            group = self._opened(own, here)
        else:
            group = int(labels[max(members, key=self._kept.strengths.__getitem__)])
        moved = [at for at in here if labels[at] != group]
        self._move(moved, [group] * len(moved), [1.0] * len(moved))

    def _apart(self, here: Sequence[int]) -> None:
        """Take pictures out of the group of the first; neighbours elsewhere say where to."""
        kept = self._kept
        group = int(kept.labels[here[0]])
        moved = [at for at in here[1:] if kept.labels[at] == group != NOISE]
        if moved:
            found = votes(self._store, kept, [kept.ids[at] for at in moved], but=group)
            self._move(moved, found.labels.tolist(), found.strengths.tolist())

    def _opened(self, group: int, here: Sequence[int]) -> int:
        """A group to move pictures into: the outermost that it lies in, made if it is not there."""
        if group not in self._around:
            self._made.setdefault(group, Group(group, 0, self._kept.ids[here[0]], ()))
        return self._around.get(group, (group,))[-1]

    def _move(self, at: Sequence[int], labels: Sequence[int], strengths: Sequence[float]) -> None:
        at, kept = list(at), self._kept
        kept.labels[at], kept.parts[at] = labels, labels
        kept.strengths[at], kept.exemplars[at] = strengths, False
