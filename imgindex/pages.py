"""Long lists in pages: a later page goes on where an earlier one ended."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from .records import Hit

_KEPT = 256


class Pages:
    """What the last queries found so far.

    Whoever asks a graph for more may get a little more of the beginning, too; so the pages of a
    list would overlap. They do not while the list is kept here.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._lists: OrderedDict[Hashable, Sequence[Hit]] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, key: Hashable, hits: Sequence[Hit]) -> Sequence[Hit]:
        """Keep the list of a first page in place of what was kept; gives it back."""
        with self._lock:
            self._lists[key] = hits
            self._lists.move_to_end(key)
            while len(self._lists) > _KEPT:
                self._lists.popitem(last=False)
        return hits

    def go_on(self, key: Hashable, hits: Sequence[Hit]) -> Sequence[Hit]:
        """The list so far, with those of a longer one behind it that it did not have."""
        with self._lock:
            so_far = self._lists.get(key, ())
        known = {hit.id for hit in so_far}
        return self.begin(key, [*so_far, *(hit for hit in hits if hit.id not in known)])
