"""Long lists in pages: a later page goes on where an earlier one ended."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from .records import Hit

_LISTS = 256
_HITS = 200_000  # in all lists together; some 30 MB


class Pages:
    """What the last queries found so far.

    Whoever asks a graph for more may get a little more of the beginning, too; so the pages of a
    list would overlap. They do not while the list is kept here.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._lists: OrderedDict[Hashable, Sequence[Hit]] = OrderedDict()
        self._hits = 0
        self._lock = threading.Lock()

    def begin(self, key: Hashable, hits: Sequence[Hit]) -> Sequence[Hit]:
        """Keep the list of a first page in place of what was kept; gives it back.

        The oldest of too many lists, or of lists too long, are dropped; never the newest.
        """
        with self._lock:
            self._hits += len(hits) - len(self._lists.pop(key, ()))
            self._lists[key] = hits
            while len(self._lists) > _LISTS or (self._hits > _HITS and len(self._lists) > 1):
                self._hits -= len(self._lists.popitem(last=False)[1])
        return hits

    def go_on(self, key: Hashable, hits: Sequence[Hit]) -> Sequence[Hit]:
        """The list so far, with those of a longer one behind it that it did not have."""
        with self._lock:
            so_far = self._lists.get(key, ())
        known = {hit.id for hit in so_far}
        return self.begin(key, [*so_far, *(hit for hit in hits if hit.id not in known)])
