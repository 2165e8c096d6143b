"""Shots in quick succession: one folder, seconds apart, much the same view."""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING

from .errors import SettingError
from .records import Burst, Shot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .records import Picture
    from .store import Store

_SAME_VIEW = 0.5  # least correlation of the sketches of a shot and the next


def bursts(store: Store, within: float) -> tuple[Burst, ...]:
    """Find the bursts; see ``Library.bursts``."""
    if not within >= 0:
        raise SettingError(f"within must be at least 0 seconds, not {within}")
    files = [file for file in store.files() if file.id is not None and not file.missing]
    pictures = store.pictures({str(file.id) for file in files})
    folders: dict[str, dict[str, Shot]] = defaultdict(dict)
    for file in files:
        picture = pictures.get(str(file.id))
        if picture is not None and picture.taken:
            shot = Shot(file.path, picture.id, picture.taken)
            folders[os.path.dirname(file.path)].setdefault(picture.id, shot)  # noqa: PTH120 - no Path for each
    found = []
    for shots in folders.values():
        ordered = sorted(shots.values(), key=lambda shot: (shot.taken, shot.path))
        runs = _runs(ordered, pictures, within)
        found += [Burst(_middle(run, pictures), tuple(run)) for run in runs]
    return tuple(sorted(found, key=lambda one: (one.shots[0].taken, one.cover)))


def _runs(
    shots: Sequence[Shot], pictures: dict[str, Picture], within: float
) -> Iterator[list[Shot]]:
    """Cut shots in the order of their times into runs of two and more."""
    run: list[Shot] = []
    for shot in shots:
        if run and not _follows(run[-1], shot, pictures, within):
            if len(run) > 1:
                yield run
            run = []
        run.append(shot)
    if len(run) > 1:
        yield run


def _follows(one: Shot, other: Shot, pictures: dict[str, Picture], within: float) -> bool:
    apart = datetime.fromisoformat(other.taken) - datetime.fromisoformat(one.taken)
    if apart.total_seconds() > within:
        return False
    views = _view(pictures[one.id]), _view(pictures[other.id])
    return views[0] is None or views[1] is None or float(views[0] @ views[1]) >= _SAME_VIEW


def _middle(run: Sequence[Shot], pictures: dict[str, Picture]) -> str:
    """The path of the shot most like all of them."""
    import numpy as np

    views = [_view(pictures[shot.id]) for shot in run]
    if any(view is None for view in views):
        return run[0].path
    every = np.stack([view for view in views if view is not None])
    return run[int((every @ every.sum(axis=0)).argmax())].path


def _view(picture: Picture) -> NDArray[np.float32] | None:
    """A sketch as float32 [n] without its mean, of length 1; None if there is none."""
    import numpy as np

    if not picture.sketch:
        return None
    values = np.frombuffer(picture.sketch, np.uint8).astype(np.float32)
    values -= values.mean()
    return values / max(float(np.linalg.norm(values)), 1e-6)
