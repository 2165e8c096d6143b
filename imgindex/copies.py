"""Which pictures are known to be copies of each other, and which of them is the best."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, get_args

from . import scan
from .addresses import hosts, is_address
from .errors import QueryError, SettingError
from .records import Copy, CopyKind, DuplicateSet, Skipped

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from .records import IndexedFile, Picture, Twin
    from .store import Store

KINDS: tuple[CopyKind, ...] = get_args(CopyKind)

_LARGER = 1.1  # times as many pixels


def check_kind(kind: str) -> None:
    """Let a kind of copies through.

    Raises:
        SettingError: there is no such kind.
    """
    if kind not in KINDS:
        raise SettingError(f"up_to must be one of {', '.join(KINDS)}, not {kind!r}")


def families(store: Store, up_to: CopyKind = "near") -> list[list[str]]:
    """Sets of ids of pictures that are copies of each other and were not said to be distinct.

    Args:
        store: where it is kept what was found.
        up_to: which kinds of copies count: this one and those before it in ``KINDS``.
    """
    from .duplicates import sets

    kinds = KINDS[: KINDS.index(up_to) + 1]
    twins = [twin for twin in store.twins() if twin.kind in kinds]
    return sets(twins, [one.pictures for one in store.decisions() if one.kind == "distinct"])


def looked_for(store: Store) -> Store:
    """The store, if copies were ever looked for in it.

    Raises:
        QueryError: they were not.
    """
    if not store.examined():
        raise QueryError("which pictures are copies is not known yet; run: imgindex duplicates")
    return store


def present(store: Store) -> dict[str, list[IndexedFile]]:
    """The files of each picture that has any."""
    held: dict[str, list[IndexedFile]] = defaultdict(list)
    for file in store.files():
        if file.id is not None and not file.missing:
            held[file.id].append(file)
    return held


def told(
    store: Store, up_to: CopyKind = "near", *, asked: Collection[str]
) -> tuple[tuple[DuplicateSet, ...], tuple[Skipped, ...]]:
    """The sets that are known, and files of them that are not any more what was indexed.

    Args:
        store: where it is kept what was found.
        up_to: which kinds of copies count.
        asked: servers that may be asked; see ``addresses.hosts``.

    Raises:
        SettingError: there is no such kind of copies.
    """
    related = Related(store.twins())
    changed: list[Skipped] = []
    sets = [
        one
        for files in _families(store, up_to, None, changed, asked)
        for one in _sets(files, related)
    ]
    return tuple(sorted(sets, key=lambda one: (-len(one.files), one.best))), tuple(changed)


def with_best(
    store: Store, keep: str, going: Sequence[str], *, asked: Collection[str]
) -> DuplicateSet:
    """Some files of one known set of copies, with the one of them as the best that is to stay.

    Args:
        store: where it is kept what was found.
        keep: the path of the file to stay.
        going: the paths of others.
        asked: see ``told``.

    Raises:
        QueryError: they are not in one set of copies, or have changed since they were indexed.
    """
    related = Related(store.twins())
    ids = [file.id for file in store.files([keep]) if file.path == keep and file.id is not None]
    changed: list[Skipped] = []
    held: dict[str, Held] = {}
    for files in _families(store, "near", ids, changed, asked):
        for one in _sets(files, related):
            paths = {copy.path for copy in one.files}
            if keep in paths:
                held = {file.file.path: file for file in files if file.file.path in paths}
    reasons = {one.path: one.reason for one in changed}
    for path in (keep, *going):
        if path in reasons:
            raise QueryError(f"{path} {reasons[path]}")
    if keep not in held:
        raise QueryError(f"no copies of {keep} are known; look for them with: imgindex duplicates")
    for path in going:
        if path not in held:
            raise QueryError(f"{path} is not known to be a copy of {keep}; both stay")
        if related.copy(held[path], held[keep]) is None:
            raise QueryError(f"{path} was never compared with {keep}; keep another one of the set")
    return _set(held[keep], [held[path] for path in going], related)


def unexamined(store: Store) -> int:
    """How many present pictures there are whose copies nobody has looked for yet."""
    return len(present(store).keys() - store.examined())


def _families(
    store: Store,
    up_to: CopyKind,
    of: Collection[str] | None,
    changed: list[Skipped],
    asked: Collection[str],
) -> Iterator[list[Held]]:
    """The files of each family that still are what was indexed; the others go into ``changed``.

    Args:
        store: where it is kept what was found.
        up_to: which kinds of copies count.
        of: only families that hold one of these pictures; None for all.
        changed: filled.
        asked: see ``told``.
    """
    check_kind(up_to)
    held = present(store)
    found = [[one for one in some if one in held] for some in families(store, up_to)]
    joined = {picture for some in found for picture in some}
    found += [[one] for one, files in held.items() if len(files) > 1 and one not in joined]
    if of is not None:
        found = [some for some in found if not set(some).isdisjoint(of)]
    pictures = store.pictures({picture for some in found for picture in some})
    for some in found:
        yield [
            Held(pictures[one], file)
            for one in some
            if one in pictures
            for file in _there(held[one], changed, asked)
        ]


@dataclass(frozen=True, slots=True)
class Held:
    """A file, and the picture in it."""

    picture: Picture
    file: IndexedFile

    @property
    def pixels(self) -> int:
        """How many it has."""
        return self.picture.width * self.picture.height


class _Link(NamedTuple):
    """How two pictures are copies: who shows only a part of the other, if any, and how much."""

    score: float
    part: str | None
    share: float


class Related:
    """What is known of pairs; pictures with the same pixels are one and the same here."""

    def __init__(self, twins: Iterable[Twin]) -> None:
        """Take the pairs in."""
        self._same: dict[str, str] = {}
        self._links: dict[str, dict[str, _Link]] = defaultdict(dict)
        for twin in sorted(twins, key=lambda twin: KINDS.index(twin.kind)):
            one, other = self.root(twin.a), self.root(twin.b)
            if twin.kind == "pixels":
                self._same[max(one, other)] = min(one, other)
            else:
                part = None if twin.part is None else self.root(twin.part)
                link = _Link(twin.score, part, twin.share)
                self._links[one][other] = self._links[other][one] = link

    def root(self, picture_id: str) -> str:
        """The picture that stands for all with these pixels."""
        while (up := self._same.get(picture_id, picture_id)) != picture_id:
            picture_id = up
        return picture_id

    def _link(self, one: str, other: str) -> _Link | None:
        """What is known of two roots: of themselves, or by way of one that shows the same.

        What shows the same as a picture stands for it: a part of the one is a part of the other.
        """
        own, its = self._links.get(one, {}), self._links.get(other, {})
        if other in own:
            return own[other]
        best: _Link | None = None
        for between in own.keys() & its.keys():
            first, second = own[between], its[between]
            if first.part is not None and second.part is not None:
                continue
            framed = second if first.part is None else first
            part = {between: other if framed is first else one}.get(framed.part or "", framed.part)
            score = min(first.score, second.score)
            if best is None or score > best.score:
                best = _Link(score, part, framed.share)
        return best

    def copy(self, one: Held, best: Held) -> Copy | None:
        """What a file is of the best one; None if they are not known to be copies."""
        kind: CopyKind = "near"
        score = 1.0
        if one.picture.id == best.picture.id:
            kind = "exact"
        elif self.root(one.picture.id) == self.root(best.picture.id):
            kind = "pixels"
        elif link := self._link(self.root(one.picture.id), self.root(best.picture.id)):
            score = link.score
        else:
            return None
        return Copy(one.file.path, one.picture.id, kind, score)

    def part(self, one: Held, other: Held) -> tuple[bool, float]:
        """Whether a picture shows only a part of another one, and how much of its area."""
        root = self.root(one.picture.id)
        link = self._link(root, self.root(other.picture.id))
        if link is None or link.part is None:
            return False, 1.0
        return link.part == root, link.share


def _there(
    files: Sequence[IndexedFile], changed: list[Skipped], asked: Collection[str]
) -> Iterator[IndexedFile]:
    """The files that still are what was indexed, each once whatever names it goes by."""
    seen: set[tuple[int, int]] = set()
    if len(files) > 1:
        files = sorted(files, key=lambda one: (os.path.islink(one.path), one.path))  # noqa: PTH114 - no Path for each
    for file in files:
        if is_address(file.path):
            if not set(hosts(file.path)) <= set(asked):
                changed.append(Skipped(file.path, "its server was not asked; see IMGINDEX_HOSTS"))
            elif scan.look(file.path) == (file.path, file.size, file.mtime_ns):
                yield file
            else:
                changed.append(Skipped(file.path, "has changed since it was indexed; index again"))
            continue
        try:
            status = os.stat(file.path)  # noqa: PTH116 - as above
        except (OSError, ValueError):
            status = None
        if status is None or not scan.holds(status, file.size, file.mtime_ns):
            reason = "vanished" if scan.vanished(file.path) else "has changed"
            changed.append(Skipped(file.path, f"{reason} since it was indexed; index again"))
            continue
        identity = (status.st_dev, status.st_ino)
        if identity not in seen:
            seen.add(identity)
            yield file


def _sets(files: Sequence[Held], related: Related) -> Iterator[DuplicateSet]:
    """Sets in which every file was compared with the best one, until none are left."""
    left = list(files)
    while len(left) > 1:
        best = best_of(left, related)
        copies = {one.file.path: related.copy(one, best) for one in left if one is not best}
        members = [one for one in left if copies.get(one.file.path)]
        if members:
            yield _set(best, members, related)
        done = {best.file.path, *(one.file.path for one in members)}
        left = [one for one in left if one.file.path not in done]


def best_of(files: Sequence[Held], related: Related) -> Held:
    """The file worth keeping: what shows all, the largest, dated, of most bytes, the oldest."""
    different = {related.root(one.picture.id): one for one in files}.values()
    parts = {
        related.root(one.picture.id)
        for one in different
        if any(related.part(one, other)[0] for other in different)
    }
    return min(
        files,
        key=lambda one: (
            related.root(one.picture.id) in parts,
            -one.pixels,
            one.picture.taken is None,
            -one.file.size,
            one.picture.taken or "",
            one.file.mtime_ns,
            len(one.file.path),
            one.file.path,
        ),
    )


def _set(best: Held, members: Sequence[Held], related: Related) -> DuplicateSet:
    copies = [copy for one in members if (copy := related.copy(one, best)) is not None]
    copies.sort(key=lambda one: (KINDS.index(one.kind), -one.score, one.path))
    first = Copy(best.file.path, best.picture.id, "exact", 1.0)
    stays = [one.file.path for one in members if not _stands_for(best, one, related)]
    why = _why(best, [best, *members], related)
    return DuplicateSet(best.file.path, why, (first, *copies), tuple(sorted(stays)))


def _stands_for(best: Held, one: Held, related: Related) -> bool:
    """Whether nothing is lost with a copy: the best one shows all of it, as large."""
    shows_less, share = related.part(one, best)
    if related.part(best, one)[0]:
        return False
    return one.pixels <= _LARGER * best.pixels * (share if shows_less else 1)


def _why(best: Held, files: Sequence[Held], related: Related) -> str:
    """What sets the best copy apart from the next best."""
    size = f"{best.picture.width} x {best.picture.height}"
    level = [one for one in files if not related.part(one, best)[0]]
    if len(level) == 1:
        return f"the one that shows all, {size}"
    count = len(level)
    level = [one for one in level if one.pixels == best.pixels]
    if len(level) == 1:
        return f"the largest, {size}"
    of_all = "" if len(level) == count else f" of those with {size}"
    dated = [one for one in level if (one.picture.taken is None) == (best.picture.taken is None)]
    if len(dated) == 1:
        return f"the one with a date, {best.picture.taken}{of_all}"
    level = [one for one in dated if one.file.size == best.file.size]
    if len(level) == 1:
        return f"the most bytes, {best.file.size:,}{of_all}"
    level = [one for one in level if one.picture.taken == best.picture.taken]
    if len(level) == 1:
        return f"taken first, {best.picture.taken}{of_all}"
    level = [one for one in level if one.file.mtime_ns == best.file.mtime_ns]
    return f"the oldest file{of_all}" if len(level) == 1 else f"the shortest path{of_all}"
