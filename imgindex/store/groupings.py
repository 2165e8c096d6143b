"""Groupings in the tables of a library."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from imgindex.records import Group, Grouping, GroupingSettings

if TYPE_CHECKING:
    import sqlite3


def save(db: sqlite3.Connection, grouping: Grouping) -> None:
    """Put a grouping in place of the last one; inside a transaction of the caller's."""
    db.execute("DELETE FROM grouping")
    number = db.execute(
        "INSERT INTO grouping (created, settings) VALUES (?, ?)",
        (grouping.created, json.dumps(asdict(grouping.settings))),
    ).lastrowid
    db.executemany(
        "INSERT INTO grouped VALUES (?, ?, ?)",
        [(number, group.id, group.medoid) for group in grouping.groups],
    )
    columns = (
        grouping.labels.tolist(),
        grouping.strengths.tolist(),
        grouping.outliers.tolist(),
        grouping.exemplars.tolist(),
    )
    db.executemany(
        "INSERT INTO member VALUES (?, ?, ?, ?, ?, ?)",
        [(number, *member) for member in zip(grouping.ids, *columns, strict=True)],
    )


def load(db: sqlite3.Connection) -> Grouping | None:
    """The grouping saved last."""
    latest = db.execute(
        "SELECT number, created, settings FROM grouping ORDER BY number DESC"
    ).fetchone()
    if latest is None:
        return None
    number, created, settings = latest
    covers = db.execute(
        "SELECT label, medoid FROM grouped WHERE grouping = ? ORDER BY label", (number,)
    ).fetchall()
    members = db.execute(
        "SELECT id, label, strength, outlier, exemplar FROM member WHERE grouping = ? ORDER BY id",
        (number,),
    ).fetchall()
    ids = tuple(member[0] for member in members)
    labels = np.array([member[1] for member in members], np.int32)
    exemplars = np.array([member[4] for member in members], np.bool_)
    groups = []
    for label, medoid in covers:
        own = labels == label
        groups.append(
            Group(
                id=label,
                size=int(own.sum()),
                medoid=medoid,
                exemplars=tuple(ids[at] for at in np.flatnonzero(own & exemplars)),
            )
        )
    return Grouping(
        ids=ids,
        labels=labels,
        strengths=np.array([member[2] for member in members], np.float32),
        outliers=np.array([member[3] for member in members], np.float32),
        exemplars=exemplars,
        groups=tuple(groups),
        settings=GroupingSettings(**json.loads(settings)),
        created=created,
    )
