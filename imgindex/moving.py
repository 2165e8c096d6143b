"""Moving house: a whole library brought to another store, of whichever kind.

Pictures go in blocks, in the order of their ids, and what is there already is not sent again. While
it is under way the target is marked as an unfinished copy, which nothing else opens; so all that it
holds came from the source, and a copy that was killed is ended by running it again.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, fields, replace
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import LibraryNotFoundError, ModelMismatchError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized

    from .records import (
        Decision,
        Grouping,
        IndexedFile,
        ModelPin,
        Picture,
        Progress,
        Rows,
        Twin,
    )
    from .store import Store

    Block = tuple[tuple[str, ...], Rows]

_BLOCK_BYTES = 8_000_000  # of rows that are held at once
_BLOCK = 4096
_NOTHING: Block = ((), np.empty((0, 0), np.float32))


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy of a library brought along.

    Attributes:
        source: the library that was copied.
        target: where to.
        pictures: pictures that the source has, those without a present file among them.
        files: files that it knows, missing and unreadable ones among them.
        groups: groups of its kept grouping, those inside others among them.
        changes: entries of the groups' history.
        decisions: decisions that hold.
        twins: pairs of copies.
        sent: pictures that were not there yet.
        checksum: BLAKE2b-128 of all pictures of the source by id, each with its row, bit for bit.
        differences: what is not the same in both; none if the copy is whole.
        seconds: wall time.
    """

    source: str
    target: str
    pictures: int
    files: int
    groups: int
    changes: int
    decisions: int
    twins: int
    sent: int
    checksum: str
    differences: tuple[str, ...]
    seconds: float


def copy(source: Store, target: Store, progress: Progress) -> CopyReport:
    """Bring a library to another store, or end doing so; see ``Library.copy``.

    Args:
        source: what to copy; it is only read.
        target: an empty store, an unfinished copy, or one that holds nothing but what the source
            does.
        progress: called with the stages ``check``, ``copy``, ``index`` and ``compare``.

    Raises:
        LibraryNotFoundError: nothing was ever added to the source.
        ModelMismatchError: the target was built with another model.
        StoreError: the target holds what the source does not.
        LibraryBusyError: another process is writing to the target.
    """
    began, version, pin = time.perf_counter(), source.version(), source.pinned()
    if pin is None:
        raise LibraryNotFoundError(f"the library {source.url} is empty; there is nothing to copy")
    if (origin := source.origin()) is not None:
        raise StoreError(f"{source.url} is itself an unfinished copy of {origin}")
    with target.writing():
        _check(source, target, pin, progress)
        target.put_origin(source.url)
        if source.origin() is not None:
            target.put_origin(None)
            raise StoreError(f"{target.url} is the library {source.url} itself")
        target.pin(pin)
        sent = _pictures(source, target, pin.dimension, progress)
        _twins(source, target)
        _decisions(source, target)
        _grouping(source, target)
        target.refresh(progress)
        report = _compared(source, target, progress)
        if not report.differences:
            target.put_origin(None)
        elif source.version() != version:
            changed = f"{source.url} has changed meanwhile; run it again to bring the rest along"
            report = replace(report, differences=(*report.differences, changed))
    return replace(report, sent=sent, seconds=round(time.perf_counter() - began, 3))


def _check(source: Store, target: Store, pin: ModelPin, progress: Progress) -> None:
    """Refuse a target that holds what the source does not.

    An unfinished copy of this source may: what it holds was the source's once, and is dropped.
    """
    pinned = target.pinned()
    if pinned is not None and pinned != pin:
        raise ModelMismatchError(
            f"{target.url} holds a library of {pinned.name} (fingerprint "
            f"{pinned.fingerprint[:12]}), {source.url} one of {pin.name} ({pin.fingerprint[:12]}); "
            "copy it to a place of its own"
        )
    former = target.origin() == source.url
    pictures = list(_unknown(source, target, progress))
    if former and pictures:
        target.remove(pictures)
    paths = {file.path for file in target.files()} - {file.path for file in source.files()}
    if former and paths:
        target.forget(paths)
    known = {one.number: one for one in source.decisions()}
    numbers = [one.number for one in target.decisions() if not _begun(one, known)]
    if former:
        for number in numbers:
            target.withdraw(number)
    kept, whole = target.grouping(), source.grouping()
    told, history = target.history(), source.history()
    runs = {one.created for one in history} | ({whole.created} if whole else set())
    strangers: dict[str, Sized] = {
        "pictures": () if former else pictures,
        "files": () if former else paths,
        "decisions": () if former else numbers,
        "pairs of copies": _pairs(target).keys() - _pairs(source).keys(),
        "groupings": () if kept is None or kept.created in runs else (kept,),
        "changes of groups": () if told == history[: len(told)] else told,
    }
    for what, some in strangers.items():
        if some:
            raise StoreError(
                f"{target.url} holds another library: {what} ({len(some):,}) that {source.url} "
                "does not have; copy it to a place of its own"
            )


def _unknown(source: Store, target: Store, progress: Progress) -> Iterator[str]:
    """Ids of the target's pictures that the source does not have."""
    total, done = target.stats().vectors, 0
    for ids, _ in _blocks(target):
        here = source.has(ids)
        yield from (one for one in ids if one not in here)
        done += len(ids)
        progress("check", done, max(total, done))


def _begun(decision: Decision, known: Mapping[int, Decision]) -> bool:
    """Whether the source has this decision; a store may have kept the first of its pictures."""
    whole = known.get(decision.number)
    if whole is None:
        return False
    first = whole.pictures[: len(decision.pictures)]
    return decision == replace(whole, pictures=first)


def _pairs(store: Store) -> dict[tuple[str, str], Twin]:
    return {(one.a, one.b): one for one in store.twins()}


def _blocks(store: Store) -> Iterator[Block]:
    """All pictures by id with their rows; stores that hold the same ones give the same blocks."""
    pin = store.pinned()
    if pin is None:
        return
    limit = min(_BLOCK, max(1, _BLOCK_BYTES // (4 * pin.dimension)))
    after = ""
    while (block := store.block(after, limit))[0]:
        yield block
        after = block[0][-1]


def _pictures(source: Store, target: Store, dimension: int, progress: Progress) -> int:
    """Send pictures with their files, then the files without a picture; how many pictures."""
    total, sent, done = source.stats().vectors, 0, 0
    known = {file.path: file for file in target.files()}
    files: dict[str | None, list[IndexedFile]] = {}
    for file in source.files():
        if known.get(file.path) != file:
            files.setdefault(file.id, []).append(file)
    del known
    for ids, rows in _blocks(source):
        here = target.pictures(target.has(ids))
        pictures = source.pictures(ids)  # without those that were removed this moment
        new = [at for at, one in enumerate(ids) if one in pictures and one not in here]
        its = [file for one in pictures for file in files.pop(one, ())]
        if new or its:
            target.add([pictures[ids[at]] for at in new], rows[new], its)
        sketches = {
            one: pictures[one].sketch
            for one, old in here.items()
            if one in pictures and pictures[one].sketch != old.sketch
        }
        if sketches:
            target.put_sketches(sketches)
        sent += len(new)
        done += len(ids)
        progress("copy", done, max(total, done))
    for some in _portions(files.get(None, ())):
        target.add([], np.empty((0, dimension), np.float32), some)
    return sent


def _portions(items: Iterable[Any]) -> Iterator[list[Any]]:
    left = iter(items)
    while some := list(islice(left, _BLOCK)):
        yield some


def _twins(source: Store, target: Store) -> None:
    """Pairs first: a picture counts as examined when all of its pairs are there."""
    kept = _pairs(target)
    for some in _portions(one for at, one in _pairs(source).items() if kept.get(at) != one):
        target.save_twins((), some)
    examined, known = source.examined(), target.examined()
    for some in _portions(sorted(examined - known)):
        target.save_twins(some, ())
    if known - examined:
        target.forget_examined(known - examined)


def _decisions(source: Store, target: Store) -> None:
    kept, decided = target.decisions(), source.decided()
    new = [one for one in source.decisions() if one not in kept]
    if new or target.decided() < decided:
        target.put_decisions(new, decided)


def _grouping(source: Store, target: Store) -> None:
    whole, history, known = source.grouping(), source.history(), target.history()
    if whole is None:
        return
    if _differing(whole, target.grouping()) or len(known) < len(history):
        target.save_grouping(whole, history[len(known) :])


def _differing(one: Grouping | None, other: Grouping | None) -> list[str]:
    """Names of what is not the same in two groupings."""
    if one is None or other is None:
        return [] if one is other else ["all of it"]

    def bits(value: Any) -> Any:  # NaN stands for places that are not known, and is not itself
        return (value.dtype, value.shape, value.tobytes()) if hasattr(value, "dtype") else value

    return [
        field.name
        for field in fields(one)
        if bits(getattr(one, field.name)) != bits(getattr(other, field.name))
    ]


def _facts(store: Store, ids: Sequence[str]) -> dict[str, tuple[Picture, bytes]]:
    """What is known of pictures, and their sketches, which do not count in comparing records."""
    return {one: (found, found.sketch) for one, found in store.pictures(ids).items()}


def _compared(source: Store, target: Store, progress: Progress) -> CopyReport:
    """Look whether both hold the same."""
    checksum = hashlib.blake2b(digest_size=16)
    first: dict[str, str] = {}  # picture that is not the same, by what is not
    total, done = source.stats().vectors, 0
    for (ids, rows), (its, others) in zip_longest(
        _blocks(source), _blocks(target), fillvalue=_NOTHING
    ):
        for one, row in zip(ids, rows, strict=True):
            checksum.update(one.encode() + row.astype("<f4", copy=False).tobytes())
        if ids != its:
            first["the pictures"] = min(set(ids) ^ set(its))
            break
        for at in np.flatnonzero((rows.view("u4") != others.view("u4")).any(axis=1)).tolist():
            first.setdefault("the rows", ids[at])
        mine, theirs = _facts(source, ids), _facts(target, ids)
        for one in mine.keys() | theirs.keys():
            if mine.get(one) != theirs.get(one):
                first.setdefault("sizes, dates or sketches", one)
        done += len(ids)
        progress("compare", done, max(total, done))
    files, grouping = source.files(), source.grouping()
    history, decisions, twins = source.history(), source.decisions(), source.twins()
    pairs = {
        "the model": (source.pinned(), target.pinned()),
        "the files": (files, target.files()),
        "the pairs of copies": (twins, target.twins()),
        "what was examined for copies": (source.examined(), target.examined()),
        "the decisions": (decisions, target.decisions()),
        "the number of the next decision": (source.decided(), target.decided()),
        "the history of groups": (history, target.history()),
    }
    differences = [f"{what}, as of {one}" for what, one in first.items()]
    differences += [what for what, (one, other) in pairs.items() if one != other]
    differences += [f"the grouping: {one}" for one in _differing(grouping, target.grouping())]
    return CopyReport(
        source=source.url,
        target=target.url,
        pictures=done,
        files=len(files),
        groups=len(grouping.every_group) if grouping else 0,
        changes=len(history),
        decisions=len(decisions),
        twins=len(twins),
        sent=0,
        checksum=checksum.hexdigest(),
        differences=tuple(differences),
        seconds=0.0,
    )
