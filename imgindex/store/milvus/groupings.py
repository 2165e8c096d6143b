"""Groupings, their history, decisions and twins as notes on the server."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from imgindex.errors import LibraryDamagedError
from imgindex.records import (
    Change,
    Decision,
    Group,
    Grouping,
    GroupingSettings,
    SizedGroup,
    Twin,
    to_json,
)
from imgindex.store.base import joined_by, without

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from contextlib import AbstractContextManager

    from .notes import Lease, Notes

_ARRAYS = ("labels", "parts", "strengths", "outliers", "exemplars", "joined", "places")
_NAMED = 1_000  # pictures that one note names
_WAIT = 30.0  # seconds for others that keep groups or decisions


class KeptGroupings:
    """That part of the Protocol of ``base`` which keeps groupings and what was said of pictures."""

    _notes: Notes
    _grouping_lease: Lease
    _kept: tuple[str, Grouping | None] | None = None  # and the version that it is of

    def has(self, ids: Collection[str]) -> set[str]:
        """See ``Store.has``."""
        raise NotImplementedError

    def version(self) -> str:
        """See ``Store.version``."""
        raise NotImplementedError

    def _changed(self) -> None:
        raise NotImplementedError

    def _present_ids(self) -> Iterator[str]:
        raise NotImplementedError

    def writing(self) -> AbstractContextManager[None]:
        """See ``Store.writing``."""
        raise NotImplementedError

    def save_grouping(self, grouping: Grouping, changes: Sequence[Change] = ()) -> None:
        """See ``Store.save_grouping``."""
        with self._grouping_lease.held(_WAIT):
            self._put(grouping)
            if changes:
                last = max(map(int, self._notes.below("change")), default=0)
                self._notes.put(
                    {f"change/{last + at:012}": to_json(one) for at, one in enumerate(changes, 1)}
                )
            self._changed()

    def grouping(self) -> Grouping | None:
        """See ``Store.grouping``."""
        version = self.version()
        kept = self._kept
        if kept is not None and kept[0] == version:
            return kept[1]
        whole = self._load()
        found = None if whole is None else without(whole, self.has(whole.ids)).fixed()
        self._kept = version, found
        return found

    def history(self) -> list[Change]:
        """See ``Store.history``."""
        return [
            Change(one["created"], one["kind"], _sized(one["before"]), _sized(one["after"]))
            for one in self._notes.below("change").values()
        ]

    def ungrouped(self) -> list[str]:
        """See ``Store.ungrouped``."""
        whole = self._load()
        if whole is None:
            return []
        known = set(whole.ids)
        return [one for one in self._present_ids() if one not in known]

    def join(self, joined: Grouping) -> None:
        """See ``Store.join``."""
        with self._grouping_lease.held(_WAIT):
            whole = self._load()
            if whole is not None and whole.created == joined.created:
                self._put(joined_by(whole, joined))
                self._changed()

    def decide(self, decision: Decision) -> int:
        """See ``Store.decide``."""
        with self._grouping_lease.held(_WAIT):
            number = self.decided() + 1
            self.put_decisions([replace(decision, number=number)], number)
        return number

    def decided(self) -> int:
        """See ``Store.decided``."""
        return int(self._notes.get("decided") or 0)

    def put_decisions(self, decisions: Sequence[Decision], decided: int) -> None:
        """See ``Store.put_decisions``; one that dies half way has kept the first of them."""
        with self._grouping_lease.held(_WAIT):
            last, free = max(self.decided(), decided), int(self._notes.get("free") or 0)
            notes: dict[str, Any] = {"decided": max([last, *(one.number for one in decisions)])}
            for one in decisions:
                told = to_json(replace(one, pictures=()))
                for at in range(0, max(1, len(one.pictures)), _NAMED):
                    named = {"pictures": one.pictures[at : at + _NAMED]}
                    notes[f"decision/{one.number:012}+{at:08}"] = told | named
                if one.group is not None:  # also once the decision is forgotten
                    notes["free"] = free = max(free, one.group + 1)
            self._notes.put(notes)
            self._changed()

    def decisions(self) -> list[Decision]:
        """See ``Store.decisions``."""
        told: dict[int, dict[str, Any]] = {}
        for one in self._notes.below("decision").values():
            pictures = told.get(one["number"], {}).get("pictures", ())
            told[one["number"]] = one | {"pictures": (*pictures, *one["pictures"])}
        return [Decision(**one) for one in told.values()]

    def withdraw(self, number: int) -> bool:
        """See ``Store.withdraw``."""
        with self._grouping_lease.held(_WAIT):
            kept = self._notes.below("decision")
            keys = [f"decision/{key}" for key, one in kept.items() if one["number"] == number]
            if not keys:
                return False
            self._notes.drop(keys)
            self._changed()
        return True

    def twins(self) -> list[Twin]:
        """See ``Store.twins``."""
        return [Twin(*one) for one in self._notes.below("twin").values()]

    def examined(self) -> set[str]:
        """See ``Store.examined``."""
        return set(self._notes.below("examined"))

    def save_twins(self, examined: Collection[str], twins: Sequence[Twin]) -> None:
        """See ``Store.save_twins``."""
        with self.writing():
            here = self.has({*examined, *(one for t in twins for one in (t.a, t.b))})
            # The pairs before the word that they are all: a run that dies between finds them again.
            self._notes.put(
                {f"twin/{t.a}/{t.b}": list(t) for t in twins if t.a in here and t.b in here}
            )
            self._notes.put({f"examined/{one}": 1 for one in examined if one in here})
            self._changed()

    def forget_examined(self, ids: Collection[str]) -> None:
        """See ``Store.forget_examined``."""
        with self.writing():
            self._notes.drop([f"examined/{one}" for one in ids])
            self._changed()

    def _forget_twins(self, dead: set[str]) -> None:
        pairs = [one for one in self._notes.below("twin") if dead.intersection(one.split("/"))]
        self._notes.drop([f"twin/{one}" for one in pairs])
        self._notes.drop([f"examined/{one}" for one in dead])

    def _put(self, grouping: Grouping) -> None:
        about = {
            "created": grouping.created,
            "settings": asdict(grouping.settings),
            "next_id": grouping.next_id,
            "groups": [[one.id, one.medoid, one.parent] for one in grouping.every_group],
        }
        arrays = {name: getattr(grouping, name) for name in _ARRAYS}
        whole = BytesIO()
        ids = np.array(grouping.ids, "S32")
        np.savez(whole, about=np.array(json.dumps(about)), ids=ids, **arrays)
        self._notes.drop(["free"])
        self._notes.put_long("grouping", whole.getvalue())

    def _load(self) -> Grouping | None:
        data = self._notes.get_long("grouping")
        if data is None:
            return None
        try:
            with np.load(BytesIO(data), allow_pickle=False) as read:
                about = json.loads(str(read["about"]))
                return Grouping(
                    ids=tuple(one.decode() for one in read["ids"].tolist()),
                    **{name: read[name] for name in _ARRAYS},
                    groups=tuple(
                        Group(label, 0, medoid, (), parent=parent)
                        for label, medoid, parent in about["groups"]
                    ),
                    subgroups=(),
                    settings=GroupingSettings(**about["settings"]),
                    created=about["created"],
                    next_id=max(about["next_id"], int(self._notes.get("free") or 0)),
                ).counted()
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise LibraryDamagedError(f"its grouping cannot be read: {error}") from error


def _sized(groups: Sequence[Any]) -> tuple[SizedGroup, ...]:
    return tuple(SizedGroup(**one) if isinstance(one, dict) else SizedGroup(*one) for one in groups)
