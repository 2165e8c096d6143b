"""Long lists in pages: a later page goes on where an earlier one ended."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .records import Hit

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .records import Way

_LISTS = 32_768  # of twenty hits each, some 45 MB
_HITS = 1_000_000  # in all lists together; some 45 MB


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """What is known of the answer to one query, the best first.

    Attributes:
        ids: of pictures, as bytes, S32 [n].
        scores: their cosines, float32 [n].
        kin: the set of copies that each is in, int64 [n], -1 for none.
        reach: how many hits were asked for last.
        ended: there were no more.
        way: how they were found last.
        version: of the library that was asked first.
        checked: how many, from the first on, were found to have a file, and to be no copies of one
            before them where that matters.
        fresh: the hits that it was made of, as long as it is not kept.
    """

    ids: NDArray[np.bytes_]
    scores: NDArray[np.float32]
    kin: NDArray[np.int64]
    reach: int
    ended: bool
    way: Way
    version: str
    checked: int = 0
    fresh: Sequence[Hit] | None = None

    @classmethod
    def of(  # noqa: PLR0913 - what it is made of
        cls,
        hits: Sequence[Hit],
        kin: Mapping[str, int],
        *,
        reach: int,
        ended: bool,
        way: Way,
        version: str,
    ) -> Ranking:
        """Make one.

        Args:
            hits: in their order.
            kin: the number of the set of copies that a picture is in.
            reach: see above.
            ended: see above.
            way: see above.
            version: see above.
        """
        import numpy as np

        numbers = [kin.get(hit.id, -1) for hit in hits] if kin else np.full(len(hits), -1)
        return cls(
            np.array([hit.id for hit in hits], "S32"),
            np.array([hit.score for hit in hits], np.float32),
            np.array(numbers, np.int64),
            reach,
            ended,
            way,
            version,
            fresh=hits,
        )

    def hits(self, start: int, stop: int) -> list[Hit]:
        """Some of it."""
        if self.fresh is not None:
            return list(self.fresh[start:stop])
        names = self.ids[start:stop].tolist()
        scores = self.scores[start:stop].tolist()
        return [Hit(name.decode(), score) for name, score in zip(names, scores, strict=True)]

    def sets(self, stop: int) -> set[int]:
        """The sets of copies that the first ones are in."""
        import numpy as np

        return set(np.unique(self.kin[:stop]).tolist()) - {-1}

    def begins_with(self, other: Ranking) -> bool:
        """Whether it is the other one, or more of it."""
        import numpy as np

        return self.version == other.version and np.array_equal(
            self.ids[: len(other.ids)], other.ids
        )

    def cleared(self, bad: Sequence[int], checked: int) -> Ranking:
        """What is left when some places drop out, and so many were found to be good."""
        import numpy as np

        checked = max(self.checked - sum(place < self.checked for place in bad), checked)
        if not bad:
            return replace(self, checked=checked)
        left = np.ones(len(self.ids), np.bool_)
        left[bad] = False
        return replace(
            self,
            ids=self.ids[left],
            scores=self.scores[left],
            kin=self.kin[left],
            checked=checked,
            fresh=None,
        )

    def go_on(self, longer: Ranking) -> Ranking:
        """This one, with what a longer one has besides behind it.

        Whoever asks a graph for more may get a little more of the beginning, too; so the pages of
        a list would overlap.
        """
        import numpy as np

        known = set(self.ids.tolist())
        new = np.array([name not in known for name in longer.ids.tolist()], np.bool_)
        return Ranking(
            np.concatenate([self.ids, longer.ids[new]]),
            np.concatenate([self.scores, longer.scores[new]]),
            np.concatenate([self.kin, longer.kin[new]]),
            longer.reach,
            longer.ended,
            longer.way,
            self.version,
            self.checked,
        )


class Pages:
    """What the last queries found so far.

    Attributes:
        kin: the number of the set of copies that a picture is in, with the version of the library
            that it was read from.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._lists: OrderedDict[Hashable, Ranking] = OrderedDict()
        self._hits = 0
        self._lock = threading.Lock()
        self.kin: tuple[str | None, Mapping[str, int]] = None, {}

    def get(self, key: Hashable) -> Ranking | None:
        """What is kept of a list."""
        with self._lock:
            kept = self._lists.get(key)
            if kept is not None:
                self._lists.move_to_end(key)
            return kept

    def begin(self, key: Hashable, ranking: Ranking) -> None:
        """Keep what a first page was taken from, unless it is the beginning of what is kept."""
        kept = self.get(key)
        self.keep(key, kept if kept is not None and kept.begins_with(ranking) else ranking)

    def keep(self, key: Hashable, ranking: Ranking) -> None:
        """Keep a list in place of what was kept.

        The oldest of too many lists, or of lists too long, are dropped; never the newest.
        """
        with self._lock:
            old = self._lists.pop(key, None)
            self._hits += len(ranking.ids) - (0 if old is None else len(old.ids))
            self._lists[key] = ranking if ranking.fresh is None else replace(ranking, fresh=None)
            while len(self._lists) > _LISTS or (self._hits > _HITS and len(self._lists) > 1):
                self._hits -= len(self._lists.popitem(last=False)[1].ids)
