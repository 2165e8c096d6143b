"""What of a library is asked for again and again, kept until the library changes."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar, cast

from imgindex.errors import GroupingError, LibraryNotFoundError

from .answers import Item

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from imgindex import Library, Where
    from imgindex.records import Chart, CopyKind, Duplicates, Grouping, Progress

Order = Literal["path", "taken", "newest"]

Kept = TypeVar("Kept")

_LISTS = 8
_LASTING = 10.0  # seconds for which a map is shown, however much the library changes
_FRESH = 1.0  # seconds for which a library that changes all the time is not looked at anew


class Snapshot:
    """A library at one moment."""

    def __init__(self, library: Library, change: str) -> None:
        """Look at nothing yet.

        Args:
            library: the library.
            change: what its version was.
        """
        self.change = change
        self.taken = time.monotonic()
        self._library = library
        self._lock = threading.RLock()
        self._kept: OrderedDict[Hashable, object] = OrderedDict()

    def _once(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
                while len(self._kept) > _LISTS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return cast("Kept", self._kept[key])

    def listing(self, order: Order, where: Where | None) -> tuple[str, ...]:
        """Ids of the pictures that a filter lets through, in order."""
        return self._once(("list", order, where), lambda: self._library.listing(order, where))

    def grouping(self) -> Grouping | None:
        """The grouping, as its users want it; None if there is none."""

        def load() -> Grouping | None:
            try:
                return self._library.grouping()
            except (GroupingError, LibraryNotFoundError):
                return None

        return self._once("grouping", load)

    def places(self) -> dict[str, int]:
        """Where in the grouping each picture is."""

        def place() -> dict[str, int]:
            kept = self.grouping()
            return {picture_id: at for at, picture_id in enumerate(kept.ids)} if kept else {}

        return self._once("places", place)

    def ids_of(self, groups: tuple[int, ...]) -> frozenset[str]:
        """Ids of the pictures in groups; see ``Library.ids_of``."""
        return self._once(("groups", groups), lambda: self._library.ids_of(groups))

    def copied(self, *, copies: bool) -> frozenset[str]:
        """Ids of the pictures that there are copies of, or of all others."""

        def find() -> frozenset[str]:
            return self._library.with_copies() if copies else self._library.without_copies()

        return self._once(("copies", copies), find)

    def duplicates(self, up_to: CopyKind) -> Duplicates:
        """Sets of copies as they are known."""
        return self._once(("sets", up_to), lambda: self._library.known_duplicates(up_to))

    def items(self, ids: Sequence[str]) -> list[Item]:
        """Tell of pictures; those that are gone are left out."""
        facts, paths = self._library.pictures(ids), self._library.paths(ids)
        kept, places = self.grouping(), self.places()
        found = []
        for picture_id in ids:
            if picture_id not in facts or picture_id not in paths:
                continue
            one, at = facts[picture_id], places.get(picture_id)
            own = (one.id, one.width, one.height, one.format, one.taken, tuple(paths[picture_id]))
            if kept is None or at is None:
                found.append(Item(*own))
                continue
            found.append(
                Item(
                    *own,
                    group=int(kept.labels[at]),
                    part=int(kept.parts[at]),
                    strength=float(kept.strengths[at]),
                    outlier=float(kept.outliers[at]),
                    exemplar=bool(kept.exemplars[at]),
                    joined=bool(kept.joined[at]),
                )
            )
        return found


class Snapshots:
    """The snapshot of now; to be asked in a thread that may block."""

    def __init__(self, library: Library) -> None:
        """Take none yet."""
        self._library = library
        self._lock = threading.Lock()
        self._last: Snapshot | None = None

    def change(self) -> str:
        """The version of the library; empty where there is none."""
        try:
            return self._library.version()
        except LibraryNotFoundError:
            return ""

    def now(self) -> Snapshot:
        """The library as it is; while it changes all the time, as it was within the last second."""
        with self._lock:
            change = self.change()
            last = self._last
            if last is None or (last.change != change and time.monotonic() - last.taken > _FRESH):
                last = self._last = Snapshot(self._library, change)
            return last

    def anew(self) -> Snapshot:
        """The library as it is after a change that somebody here made."""
        with self._lock:
            self._last = None
        return self.now()


class Charted(NamedTuple):
    """A map, the version of the library that it shows, and when it was drawn."""

    change: str
    chart: Chart
    drawn: float


class Charts:
    """The map drawn last."""

    def __init__(self, library: Library, snapshots: Snapshots) -> None:
        """Draw none yet."""
        self.last: Charted | None = None
        self._library = library
        self._snapshots = snapshots
        self._drawing = threading.Lock()

    def now(self) -> Charted | None:
        """The last map, if it shows the library as it is, or as it was a moment ago."""
        last = self.last
        if last is None:
            return None
        lasting = time.monotonic() - last.drawn < _LASTING
        return last if lasting or last.change == self._snapshots.change() else None

    def draw(self, progress: Progress) -> Charted:
        """Draw the library, unless another thread has just done so."""
        with self._drawing:
            drawn = self.now()
            if drawn is None:
                change = self._snapshots.change()
                chart = self._library.chart(progress)
                drawn = self.last = Charted(change, chart, time.monotonic())
            return drawn
