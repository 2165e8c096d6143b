"""The programs of long use: each a process that does its turn when it is told to, and reports."""

from __future__ import annotations

import multiprocessing
import random
import traceback
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from imgindex import Library

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import TracebackType
    from typing import Self

PRUNE, GROUP, RECALL, COPIES, VERIFY = 4, 10, 5, 40, 50  # cycles between two of each
MATCHES = 10
_PATIENCE = 300  # seconds that a turn may take on a busy machine
_AS_GOOD = 1e-4  # of a cosine: what finds itself


@dataclass(slots=True)
class Turn:
    """What one program did in one cycle.

    Attributes:
        done: operations, by kind.
        wrong: what must not be, in words.
        files: the files that the library holds, said by the writer.
        recall: share of the nearest that the graph found, where it was measured.
    """

    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    files: int = -1
    recall: float | None = None

    def there(self, paths: list[str], who: str) -> None:
        """Every file that was named must be there."""
        self.wrong += [f"{who}: {path!r} is not there" for path in paths if not _is_file(path)]


def _is_file(path: str) -> bool:
    return Path(path).is_file()


def _opened(library: Path, model: Path) -> Library:
    return Library(library, model=model, device="cpu")


class Writer:
    """Indexes, prunes, groups, looks for copies; one library object all along."""

    def __init__(self, library: Path, model: Path, folder: Path) -> None:
        """Open the library."""
        self._library, self._folder = _opened(library, model), folder

    def turn(self, cycle: int, newest: Path, _: random.Random) -> Turn:
        """Bring the library up to date, and ask it for what came last."""
        turn = Turn()
        report = self._library.add([self._folder], prune=cycle % PRUNE == 0)
        turn.wrong += [f"index: {one.path!r} skipped: {one.reason}" for one in report.skipped]
        turn.done["index runs"] += 1
        turn.done["prunings"] += cycle % PRUNE == 0
        if cycle % GROUP == 0:
            self._library.cluster(min_cluster_size=4)
            turn.done["groupings"] += 1
        if cycle % COPIES == 0:
            for one in self._library.duplicates().sets:
                turn.there([file.path for file in one.files], "duplicates")
            turn.done["looks for copies"] += 1
        found = self._library.search(newest, MATCHES).matches
        turn.done["searches"] += 1
        if not found or found[0].score < 1 - _AS_GOOD:
            turn.wrong.append(f"index: {str(newest)!r} does not find itself")
        turn.there([one.path for one in found], "writer's search")
        turn.files = self._library.status().files
        return turn


class Reader:
    """Searches with one library object all along, both ways."""

    def __init__(self, library: Path, model: Path, folder: Path) -> None:
        """Open the library."""
        self._library, self._folder = _opened(library, model), folder

    def turn(self, cycle: int, newest: Path, chance: random.Random) -> Turn:
        """Search by indexed files and by one that may be new."""
        turn = Turn()
        files = sorted(self._folder.rglob("*.ppm"))
        for query in (newest, chance.choice(files), chance.choice(files)):
            found = self._library.search(query, MATCHES, diverse=False).matches
            turn.there([one.path for one in found], "reader's search")
            falling = all(one.score >= other.score for one, other in pairwise(found))
            if not falling or len({one.id for one in found}) < len(found):
                turn.wrong.append(f"reader's search: matches of {str(query)!r} out of order")
            turn.done["searches"] += 1
        if cycle % RECALL == 0:
            measured = self._library.check_recall(MATCHES, queries=30)
            turn.recall = measured.recall
            turn.done["looks by graph"] += measured.queries * (measured.way == "hnsw")
        return turn


class Visitor:
    """Opens the library anew every time, as a command does; exports, and verifies now and then."""

    def __init__(self, library: Path, model: Path, folder: Path) -> None:
        """Open nothing yet."""
        self._place, self._model, self._out = library, model, folder.with_name("groups.csv")

    def turn(self, cycle: int, _: Path, chance: random.Random) -> Turn:
        """Look at the library, its groups and their members."""
        turn = Turn()
        with _opened(self._place, self._model) as library:
            some = chance.choice(library.grouping().ids)
            library.paths([some])
            if not library.export(self._out, force=True).pictures:
                turn.wrong.append("visitor: an export without pictures")
            turn.done["exports"] += 1
            if cycle % VERIFY == 0:
                turn.wrong += [f"verify: {line}" for line in library.verify()]
                turn.done["verifications"] += 1
        return turn


ROLES: dict[str, type[Writer | Reader | Visitor]] = {
    "writer": Writer,
    "reader": Reader,
    "visitor": Visitor,
}


def _work(role: str, places: tuple[Path, Path, Path], seed: int, line: Connection) -> None:
    """Do a turn whenever told to; what is raised is wrong, and does not end the program."""
    chance = random.Random(f"{role} {seed}")  # noqa: S311 - drawn alike every time, no secret
    program = ROLES[role](*places)
    while (told := line.recv()) is not None:
        try:
            cycle, newest = told
            line.send(program.turn(cycle, newest, chance))
        except Exception as error:  # noqa: BLE001 - the soak shall tell of it and go on
            where = traceback.extract_tb(error.__traceback__)[-1]
            line.send(Turn(wrong=[f"{role}: {error!r} at {where.filename}:{where.lineno}"]))


class Program:
    """A process with a role."""

    def __init__(self, role: str, places: tuple[Path, Path, Path], seed: int) -> None:
        """Start it.

        Args:
            role: one of ``ROLES``.
            places: library, model and pictures.
            seed: of what it draws.
        """
        spawn = multiprocessing.get_context("spawn")
        self.role = role
        self._line, other = spawn.Pipe()
        self._process = spawn.Process(target=_work, args=(role, places, seed, other), daemon=True)
        self._process.start()
        other.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid or 0

    def begin(self, cycle: int, newest: Path) -> None:
        """Have it begin a turn."""
        self._line.send((cycle, newest))

    def end(self) -> Turn:
        """What came of the turn."""
        if not self._line.poll(_PATIENCE):
            raise SystemExit(f"the {self.role} has not ended its turn in {_PATIENCE} s")
        turn: Turn = self._line.recv()
        return turn

    def __enter__(self) -> Self:
        """Use as a context manager, so that it ends."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self._line.send(None)
        self._process.join(_PATIENCE)
