"""Groupings and their history in the tables of a library."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from imgindex.records import Change, Decision, Group, Grouping, GroupingSettings, SizedGroup

from .base import without
from .database import PRESENT

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from .database import Database


class KeptGroupings:
    """That part of the Protocol of ``base`` which keeps groupings, over a database."""

    _db: Database
    _kept: tuple[tuple[int, int], Grouping | None] | None = None  # and the moment it is of

    def save_grouping(self, grouping: Grouping, changes: Sequence[Change] = ()) -> None:
        """See ``Store.save_grouping``; an index run under way need not end first."""
        with self._db.transaction() as db:
            db.execute("DELETE FROM grouping")
            number = db.execute(
                "INSERT INTO grouping (created, settings, next_label) VALUES (?, ?, ?)",
                (grouping.created, json.dumps(asdict(grouping.settings)), grouping.next_id),
            ).lastrowid
            db.executemany(
                "INSERT INTO grouped VALUES (?, ?, ?, ?)",
                [(number, group.id, group.medoid, group.parent) for group in grouping.every_group],
            )
            _put_members(db, number, grouping)
            db.executemany(
                "INSERT INTO change (created, kind, before, after) VALUES (?, ?, ?, ?)",
                [
                    (one.created, one.kind, json.dumps(one.before), json.dumps(one.after))
                    for one in changes
                ],
            )

    def grouping(self) -> Grouping | None:
        """See ``Store.grouping``."""
        with self._db.snapshot() as db:
            moment, last = self._db.moment(), self._kept
            if last is not None and last[0] == moment:
                return last[1]
            try:
                whole = load(db)
            except (TypeError, ValueError, KeyError, OverflowError, RecursionError) as error:
                raise self._db.damaged("its grouping cannot be read") from error
            here = {row[0] for row in db.execute("SELECT id FROM picture")}
            found = None if whole is None else without(whole, here).fixed()
            self._kept = moment, found
        return found

    def history(self) -> list[Change]:
        """See ``Store.history``."""
        with self._db.reading() as db:
            try:
                return [
                    Change(created, kind, _sized(before), _sized(after))
                    for created, kind, before, after in db.execute(
                        "SELECT created, kind, before, after FROM change ORDER BY number"
                    )
                ]
            except (TypeError, ValueError, RecursionError) as error:
                raise self._db.damaged("the history of its groups cannot be read") from error

    def ungrouped(self) -> list[str]:
        """See ``Store.ungrouped``."""
        with self._db.snapshot() as db:
            latest = _latest(db)
            if latest is None:
                return []
            return [
                row[0]
                for row in db.execute(
                    f"SELECT id FROM picture WHERE {PRESENT} AND NOT EXISTS (SELECT 1 FROM member "  # noqa: S608 - a constant
                    "WHERE grouping = ? AND member.id = picture.id) ORDER BY id",
                    latest[:1],
                )
            ]

    def join(self, joined: Grouping) -> None:
        """See ``Store.join``."""
        with self._db.transaction() as db:
            latest = _latest(db)
            if latest is not None and latest[1] == joined.created:
                _put_members(db, latest[0], joined)

    def decide(self, decision: Decision) -> int:
        """See ``Store.decide``."""
        with self._db.transaction() as db:
            number = _decided(db) + 1
            _put_decisions(db, [replace(decision, number=number)])
        return number

    def decided(self) -> int:
        """See ``Store.decided``."""
        with self._db.reading() as db:
            return _decided(db)

    def put_decisions(self, decisions: Sequence[Decision], decided: int) -> None:
        """See ``Store.put_decisions``."""
        with self._db.transaction() as db:
            _put_decisions(db, decisions)
            if decided > _decided(db):
                # SQLite's own table of the numbers given so far; it has no key to replace by.
                db.execute("DELETE FROM sqlite_sequence WHERE name = 'decision'")
                db.execute("INSERT INTO sqlite_sequence VALUES ('decision', ?)", (decided,))

    def decisions(self) -> list[Decision]:
        """See ``Store.decisions``."""
        with self._db.reading() as db:
            try:
                return [
                    Decision(
                        number,
                        kind,
                        label,
                        None if name is None else os.fsdecode(name),
                        tuple(json.loads(pictures)),
                    )
                    for number, kind, label, name, pictures in db.execute(
                        "SELECT number, kind, label, name, pictures FROM decision ORDER BY number"
                    )
                ]
            except (TypeError, ValueError, RecursionError) as error:
                raise self._db.damaged("its decisions cannot be read") from error

    def withdraw(self, number: int) -> bool:
        """See ``Store.withdraw``."""
        with self._db.transaction() as db:
            gone = db.execute("DELETE FROM decision WHERE number = ?", (number,)).rowcount
        return bool(gone)


def _decided(db: sqlite3.Connection) -> int:
    """The highest number that SQLite has given to a decision."""
    found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'decision'").fetchone()
    return int(found[0]) if found else 0


def _put_decisions(db: sqlite3.Connection, decisions: Sequence[Decision]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO decision VALUES (?, ?, ?, ?, ?)",
        [
            (
                one.number,
                one.kind,
                one.group,
                # As bytes: a name from the command line may hold any.
                None if one.name is None else os.fsencode(one.name),
                json.dumps(one.pictures),
            )
            for one in decisions
        ],
    )
    db.executemany(  # also once the decision is forgotten
        "UPDATE grouping SET next_label = max(next_label, ?)",
        [(one.group + 1,) for one in decisions if one.group is not None],
    )


def _latest(db: sqlite3.Connection) -> tuple[int, str, str, int] | None:
    """Number, time, settings and next label of the grouping saved last."""
    found: tuple[int, str, str, int] | None = db.execute(
        "SELECT number, created, settings, next_label FROM grouping ORDER BY number DESC"
    ).fetchone()
    return found


def _put_members(db: sqlite3.Connection, number: int | None, grouping: Grouping) -> None:
    columns = (
        grouping.labels.tolist(),
        grouping.strengths.tolist(),
        grouping.outliers.tolist(),
        grouping.exemplars.tolist(),
        grouping.joined.tolist(),
        [place.tobytes() for place in grouping.places.astype("<f4")],
        grouping.parts.tolist(),
    )
    db.executemany(
        "INSERT OR REPLACE INTO member VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(number, *member) for member in zip(grouping.ids, *columns, strict=True)],
    )


def _sized(text: str) -> tuple[SizedGroup, ...]:
    return tuple(SizedGroup(*one) for one in json.loads(text))


def load(db: sqlite3.Connection) -> Grouping | None:
    """The grouping saved last, pruned pictures included."""
    import numpy as np  # not for those who only look whether there is anything to do

    latest = _latest(db)
    if latest is None:
        return None
    number, created, settings, next_label = latest
    members = db.execute(
        "SELECT id, label, coalesce(part, label), strength, outlier, exemplar, joined, place "
        "FROM member WHERE grouping = ? ORDER BY id",
        (number,),
    ).fetchall()
    ids, labels, parts, strengths, outliers, exemplars, joined, places = (
        zip(*members, strict=True) if members else ((),) * 8
    )
    flat = np.frombuffer(b"".join(places), "<f4")
    return Grouping(
        ids=ids,
        labels=np.array(labels, np.int32),
        parts=np.array(parts, np.int32),
        strengths=np.array(strengths, np.float32),
        outliers=np.array(outliers, np.float32),
        exemplars=np.array(exemplars, np.bool_),
        joined=np.array(joined, np.bool_),
        places=flat.reshape(len(ids), len(flat) // max(1, len(ids))).astype(np.float32),
        groups=tuple(
            Group(label, 0, medoid, (), parent=parent)
            for label, medoid, parent in db.execute(
                "SELECT label, medoid, parent FROM grouped WHERE grouping = ?", (number,)
            )
        ),
        subgroups=(),
        settings=GroupingSettings(**json.loads(settings)),
        created=created,
        next_id=next_label,
    ).counted()
