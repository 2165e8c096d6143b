"""The journey of pictures into groups: a run over all of them, and new ones that join it later."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .errors import GroupingError, SettingError
from .records import NOISE, Group, Grouping, GroupingSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .grouping import Before, Neighbours, Nest, Standing
    from .grouping.hdbscan import Propose, Span
    from .records import Engine, Progress, Rows, Space
    from .resources import Resources
    from .store import Store

_AT_ONCE = 256
_FURTHER = 4  # how much further to look for pictures of the run behind those that came after it
_FURTHEST = 1024
_OPPOSITE = 2  # on the unit sphere
_CLOSE = 5
_FAR = 1.3
_MOST_GROWTH = 0.2
_MOST_NOISE = 2  # times the run's share
_TELLING = 10  # noise among fewer pictures than this says nothing


def cluster(  # noqa: PLR0913 - see Library.cluster
    resources: Resources,
    *,
    min_cluster_size: int,
    about: int | None,
    min_samples: int,
    space: Space,
    anew: bool,
    engine: Engine,
    address: str | None,
    progress: Progress,
) -> Grouping:
    """Group every picture and keep the grouping; see ``Library.cluster``."""
    import numpy as np

    from . import grouping

    if engine == "ray":
        from .distributed import require

        require(resources.settings.library)
    elif address is not None:
        raise SettingError("an address of a cluster needs the engine ray: give --engine ray")
    store, pin = resources.filled()
    ids, rows = store.vectors()
    if not ids:
        raise GroupingError(
            f"the library {store.url} has no pictures; add some with: imgindex index FOLDER"
        )
    last = store.grouping()
    before = None
    if last is not None and last.ids and not anew and last.settings.space == space:
        before = _before(last, ids) if stale(last) is None else None
    with _index(store, ids, engine, address, progress) as (propose, span):
        tree = grouping.grow(
            rows,
            min_samples=min_samples,
            space=space,
            propose=propose,
            span=span,
            places=before.places if before else None,
            progress=progress,
        )
    # Who asks for another resolution does not want the groups of before.
    loyal = before.labels if before and about is None else None
    if about is not None:
        min_cluster_size = grouping.size_for(tree, about)
    found = grouping.cut(tree, rows, min_cluster_size=min_cluster_size, before=loyal)
    at = _positions(last, ids)
    shared = at >= 0
    nest = grouping.Nest(found.parts[shared], dict(enumerate(found.parents.tolist())))
    first_free = next_id(store)
    names = grouping.inherit(_nest(last, at[shared]), nest, first_free)
    named = np.array([*(names[group] for group in range(len(names))), NOISE], np.int32)
    result = Grouping(
        ids=ids,
        labels=named[found.labels],
        parts=named[found.parts],
        strengths=found.strengths,
        outliers=found.outliers,
        exemplars=found.exemplars,
        joined=np.zeros(len(ids), np.bool_),
        places=found.places,
        groups=tuple(
            Group(
                names[group], 0, ids[medoid], (), parent=None if inside == NOISE else names[inside]
            )
            for group, (medoid, inside) in enumerate(
                zip(found.medoids.tolist(), found.parents.tolist(), strict=True)
            )
        ),
        subgroups=(),
        settings=GroupingSettings(min_cluster_size, min_samples, space, pin.name),
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        next_id=max(first_free, *(one + 1 for one in names.values()), 0),
    ).counted()
    changes = grouping.changes(
        np.empty(0, np.int32) if last is None else last.labels[at[shared]],
        result.labels[shared],
        {group.id: group.size for group in last.groups} if last else {},
        {group.id: group.size for group in result.groups},
        result.created,
    )
    store.save_grouping(result, changes)
    return result


@contextmanager
def _index(
    store: Store, ids: Sequence[str], engine: Engine, address: str | None, progress: Progress
) -> Iterator[tuple[Propose, Span | None]]:
    """Who finds neighbours and forests: this process, or the machines of a cluster."""
    if engine == "local":
        yield lambda kept, k: store.neighbours([ids[at] for at in kept], k, progress), None
        return
    from .distributed import Machines, session, shareable

    with session(address):
        machines = Machines(shareable(store).place, ids, progress)
        yield machines.propose, machines.span


def _positions(last: Grouping | None, ids: Sequence[str]) -> NDArray[np.intp]:
    """Where each picture is in the last grouping, intp [n]; -1 for one that is not."""
    import numpy as np

    if last is None:
        return np.full(len(ids), -1, np.intp)
    where = {picture_id: at for at, picture_id in enumerate(last.ids)}
    return np.array([where.get(picture_id, -1) for picture_id in ids], np.intp)


def _before(last: Grouping, ids: Sequence[str]) -> Before:
    """The last run as the next one takes it up; pictures that came after it find new places."""
    import numpy as np

    from . import grouping

    at = _positions(last, ids)
    known = at >= 0
    known[known] = ~last.joined[at[known]]
    labels = np.where(known, last.labels[at], np.int32(NOISE)).astype(np.int32)
    places = np.where(known[:, None], last.places[at], np.float32(np.nan))
    return grouping.Before(labels, places if known.any() else places[:, :0])


def _nest(last: Grouping | None, at: NDArray[np.intp]) -> Nest:
    """The groups that some pictures of the last grouping were in."""
    import numpy as np

    from .grouping import Nest

    if last is None:
        return Nest(np.empty(0, np.int32), {})
    parents = {
        group.id: NOISE if group.parent is None else group.parent for group in last.every_group
    }
    return Nest(last.parts[at], parents)


def next_id(store: Store) -> int:
    """The first id that no group ever had."""
    kept = store.grouping()
    # A library of an older format knows no next id.
    used = {kept.next_id - 1, *(group.id for group in kept.every_group)} if kept else set()
    for change in store.history():
        used.update(group.id for group in change.after)
    used.update(one.group for one in store.decisions() if one.group is not None)
    return max(used, default=NOISE) + 1


def stale(kept: Grouping) -> str | None:
    """Why the groups should be discovered anew, in a sentence, or None if they need not be.

    That is when more than a fifth of the run's pictures came after it, or when the share of noise
    among those that came is more than twice the run's.
    """
    came = int(kept.joined.sum())
    run = len(kept.ids) - came
    noise = kept.labels == NOISE
    strays = int((noise & kept.joined).sum())
    share, ordinary = strays / max(1, came), int((noise & ~kept.joined).sum()) / max(1, run)
    if came > _MOST_GROWTH * run:
        return f"{came:,} pictures came since {run:,} were grouped"
    if strays >= _TELLING and share > _MOST_NOISE * ordinary:
        return (
            f"{share:.0%} of the {came:,} pictures that came since are noise, "
            f"of those that were grouped {ordinary:.0%}"
        )
    return None


def join(store: Store, progress: Progress) -> int:
    """Put pictures that came after the last run into its groups, or note them as noise.

    Args:
        store: where they are.
        progress: called with the stage ``join``.

    Returns:
        How many found a group.
    """
    waiting = store.ungrouped()
    if not waiting or (kept := store.grouping()) is None or kept.joined.all():
        return 0
    found = 0
    for start in range(0, len(waiting), _AT_ONCE):
        joined = _joined(store, kept, waiting[start : start + _AT_ONCE])
        store.join(joined)
        found += int((joined.labels != NOISE).sum())
        progress("join", start + len(joined.ids), len(waiting))
    return found


def votes(store: Store, kept: Grouping, ids: Sequence[str], but: int = NOISE) -> Standing:
    """Where neighbours would put pictures; see ``grouping.join``.

    Args:
        store: where they are.
        kept: the grouping.
        ids: the pictures; one of the run has a vote itself.
        but: a group whose members count as noise.
    """
    import numpy as np

    from . import grouping

    standing, near, numbers = _voters(store, kept, ids, but)
    found = grouping.join(standing, near)
    lost = _far(store, near, numbers)
    return grouping.Standing(
        np.where(lost, np.int32(NOISE), found.labels),
        np.where(lost, np.float32(0), found.strengths),
        np.where(lost, np.float32(1), found.outliers),
    )


def memberships(
    store: Store, kept: Grouping, ids: Sequence[str], most: int = 3
) -> list[tuple[tuple[int, float], ...]]:
    """Soft membership: the groups of each picture's neighbours and their shares, largest first."""
    from . import grouping

    standing, near, _ = _voters(store, kept, ids, NOISE)
    groups, shares = grouping.shares(standing, near)
    return [
        tuple((int(groups[at]), float(line[at])) for at in (-line).argsort()[:most] if line[at] > 0)
        for line in shares[:, : len(groups)]
    ]


def _voters(
    store: Store, kept: Grouping, ids: Sequence[str], but: int
) -> tuple[Standing, Neighbours, dict[str, int]]:
    """The pictures of the run without those of a group, the neighbours of ``ids``, and numbers."""
    import numpy as np

    from . import grouping

    run = np.flatnonzero(~kept.joined)
    labels = np.where(kept.labels[run] == but, np.int32(NOISE), kept.labels[run])
    standing = grouping.Standing(labels, kept.strengths[run], kept.outliers[run])
    numbers = {kept.ids[at]: number for number, at in enumerate(run.tolist())}
    near = _near(store, rows_of(store, ids), numbers, min(grouping.REACH, len(run)))
    return standing, near, numbers


def _far(store: Store, near: Neighbours, numbers: Mapping[str, int]) -> NDArray[np.bool_]:
    """Which pictures lie farther out than their neighbours do, bool [q]: a local outlier factor.

    Breunig, Kriegel, Ng and Sander, "LOF", doi:10.1145/342009.335388, with core distances.
    """
    import numpy as np

    reach = min(_CLOSE, near.lists.shape[1])
    candidates, which = np.unique(near.lists[:, :reach], return_inverse=True)
    ids = list(numbers)
    around = _near(
        store,
        rows_of(store, [ids[at] for at in candidates.tolist()]),
        numbers,
        min(_CLOSE + 1, len(ids)),  # themselves too
    )
    theirs = around.distances[which.reshape(len(near.lists), reach), -1].mean(axis=1)
    # The other case: behind too many newer pictures to have met any of the run.
    lost: NDArray[np.bool_] = near.distances[:, 0] >= _OPPOSITE
    lost |= near.distances[:, reach - 1] > _FAR * theirs
    return lost


def _joined(store: Store, kept: Grouping, ids: Sequence[str]) -> Grouping:
    import numpy as np

    new = votes(store, kept, ids)
    none = np.zeros(len(ids), np.bool_)
    return Grouping(
        ids=tuple(ids),
        labels=new.labels,
        parts=new.labels,
        strengths=new.strengths,
        outliers=new.outliers,
        exemplars=none,
        joined=~none,
        places=np.full((len(ids), kept.places.shape[1]), np.nan, np.float32),
        groups=kept.groups,
        subgroups=kept.subgroups,
        settings=kept.settings,
        created=kept.created,
        next_id=kept.next_id,
    )


def rows_of(store: Store, ids: Sequence[str]) -> Rows:
    """The rows of pictures that are here, float32 [n, d], those without a present file too."""
    import numpy as np

    known, rows = store.vectors(ids)
    at = dict(zip(known, rows, strict=True))
    others = {one: store.vector(one) for one in ids if one not in at}
    return np.stack([row for one in ids if (row := at.get(one, others.get(one))) is not None])


def _near(store: Store, rows: Rows, numbers: Mapping[str, int], k: int) -> Neighbours:
    """Neighbours of each row among chosen pictures.

    Args:
        store: where they are.
        rows: float32 [q, d].
        numbers: of the chosen pictures, from 0.
        k: how many; where fewer are found the last one stands for the rest.
    """
    import numpy as np

    from .grouping import Neighbours

    lists = np.zeros((len(rows), k), np.int32)
    cosines = np.full((len(rows), k), -1, np.float32)
    left = np.arange(len(rows))
    fetch = 2 * k
    while len(left):
        _, found = store.search(rows[left], fetch)
        few = []
        for at, hits in zip(left.tolist(), found, strict=True):
            known = [(numbers[hit.id], hit.score) for hit in hits if hit.id in numbers][:k]
            for place, (number, cosine) in enumerate(known):
                lists[at, place:], cosines[at, place:] = number, cosine
            if len(known) < k and len(hits) == fetch < _FURTHEST:
                few.append(at)
        left = np.array(few, np.intp)
        fetch = min(fetch * _FURTHER, _FURTHEST)
    return Neighbours(lists, np.sqrt(np.maximum(2 - 2 * cosines, 0)))
