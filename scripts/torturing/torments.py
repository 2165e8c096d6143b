"""Every way to disturb a job, and whether its library came out whole."""

from __future__ import annotations

import random
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torturing import power

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from torturing.scenes import Scene
    from torturing.stage import Outcome, Stage

LONGEST = 1.0  # seconds until a kill that comes by the clock


@dataclass(slots=True)
class Tally:
    """What was tried and what went wrong.

    Attributes:
        cases: how many, by kind and scene.
        failures: kind, scene, which case, and what was seen.
        notes: how often what happened, by kind.
    """

    cases: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[tuple[str, str, str, str]] = field(default_factory=list)
    notes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def case(self, kind: str, scene: str, which: object, wrong: str | None) -> None:
        """Count one case."""
        self.cases[kind, scene] += 1
        if wrong:
            self.failures.append((kind, scene, str(which), wrong))
            print("FAILED", *self.failures[-1], file=sys.stderr, flush=True)  # hours may follow

    def add(self, other: Tally) -> None:
        """Take in another one."""
        self.cases.update(other.cases)
        self.failures += other.failures
        self.notes.update(other.notes)


class Torturer:
    """Plays scenes on a stage, and disturbs them."""

    def __init__(self, stage: Stage, folder: Path, tally: Tally, step: int = 1) -> None:
        """Begin.

        Args:
            stage: where the jobs are done.
            folder: for what is written down of the runs.
            tally: where cases are counted.
            step: every which change is met: 1 for all of them.
        """
        self._stage, self._log = stage, folder / "log"
        self._tally, self._step = tally, step
        self._there: dict[int, str] = {}

    def changes(self, scene: Scene) -> list[power.Change]:
        """What an undisturbed run of a scene does to files; what it says in between is left out."""
        self._play(scene)
        return [one for one in power.read(self._log) if one.kind != "a"]

    def kills(self, scene: Scene) -> None:
        """Kill it before every change, and in the middle of every write."""
        changes = self.changes(scene)
        for at in range(1, len(changes) + 1, self._step):
            for how in ("kill", "tear") if changes[at - 1].kind == "w" else ("kill",):
                done = self._play(scene, at=at, how=how)
                if not done.killed and not done.crash:
                    self._tally.notes[how, "ended before"] += 1
                    continue
                self._tally.case(how, scene.name, at, done.crash or self._wrong(scene))

    def instants(self, scene: Scene, count: int, seed: int = 0) -> None:
        """Kill it at random instants."""
        chance = random.Random(seed)  # noqa: S311 - instants, not secrets
        for number in range(count):
            after = chance.uniform(0.0, LONGEST) ** 2
            done = self._play(scene, seconds=after)
            if not done.killed and not done.crash:
                self._tally.notes["instant", "ended before"] += 1
            wrong = done.crash or self._wrong(scene)
            self._tally.case("instant", scene.name, f"{number}, {after:.4f} s", wrong)

    def errors(self, scene: Scene, how: str) -> None:
        """Have every change fail once (``EIO``, ``ENOSPC``), or all from it on (``full``)."""
        count = len(self.changes(scene))
        for at in range(1, count + 1, self._step):
            done = self._play(scene, at=at, how=how)
            self._tally.notes[how, done.error or "went on"] += 1
            wrong = done.crash or self._unclear(done) or self._wrong(scene)
            self._tally.case(how, scene.name, at, wrong)

    def onlookers(self, scene: Scene) -> None:
        """Stop it before every change: another process reads, and one tries to write."""
        count = len(self.changes(scene))
        for at in range(1, count + 1, self._step):
            stopped = self._play(scene, at=at, how="stop")
            if stopped.stopped is None:
                self._tally.notes["reader", "ended before"] += 1
                continue
            seen = self._stage.do("look", scene.root, place=scene.library, known=str(scene.known))
            damaged = {"LibraryDamagedError"} if scene.job == "mend" else set[str]()
            wrong = seen.crash or (
                None
                if seen.error in {None, *damaged}
                else f"a reader met {seen.error}: {seen.value}"
            )
            self._tally.case("reader", scene.name, at, wrong)
            other = self._stage.do("hold", scene.root, place=scene.library)
            fine = {None, "LibraryBusyError", "LibraryNotFoundError", *damaged}
            wrong = other.crash or (
                None if other.error in fine else f"a second writer met {other.error}: {other.value}"
            )
            self._tally.notes["writer", other.error or "let in"] += 1
            done = self._stage.go_on(stopped)
            busy = done.error == "LibraryBusyError" and other.error is None
            if not busy:
                wrong = wrong or done.crash or (done.error and f"{done.error}: {done.value}")
            self._tally.case("second writer", scene.name, at, wrong or self._wrong(scene))

    def cuts(self, scene: Scene, losses: Iterable[str] = power.LOSSES, seed: int = 0) -> None:
        """Cut the power after every change, with what was not synced lost in several ways."""
        self._play(scene)
        changes = power.read(self._log, self._there)
        start = power.Disk.of(scene.before, scene.root)
        chance = random.Random(seed)  # noqa: S311 - losses, not secrets
        for number, disk in power.states(changes, start):
            if (number - 1) % self._step:
                continue
            for turn, loss in enumerate(losses):
                shutil.rmtree(scene.root)
                scene.root.mkdir()
                disk.write(str(scene.root), scene.root, loss, chance)
                wrong = self._wrong(scene, disk.promised)
                self._tally.case("power cut", scene.name, f"{number}, {loss} {turn}", wrong)

    def _play(
        self, scene: Scene, *, at: int = 0, how: str = "count", seconds: float = 0
    ) -> Outcome:
        scene.set()
        self._log.unlink(missing_ok=True)
        self._there = power.numbers(scene.root)
        return self._stage.do(
            scene.job, scene.root, at=at, how=how, seconds=seconds, log=self._log, **scene.given
        )

    @staticmethod
    def _unclear(done: Outcome) -> str | None:
        if done.error is None:
            return None
        clear = ("disk", "space", "error", "full", "open", "write", "save", "service")
        if any(word in str(done.value) for word in clear):
            return None
        return f"unclear: {done.error}: {done.value}"

    def _wrong(self, scene: Scene, promised: list[str] | None = None) -> str | None:
        """What is wrong with a library after all; None if it is whole and can be gone on with."""
        if promised is None:
            promised = [one.path for one in power.read(self._log) if one.kind == "a"]
        looks: list[Callable[[], str | None]] = [lambda: self._gone_on(scene)]
        if scene.job != "mend":  # till it is mended it is damaged
            looks.insert(0, lambda: self._judged(scene, promised))
        return next(filter(None, (look() for look in looks)), None)

    def _judged(self, scene: Scene, promised: list[str]) -> str | None:
        done = self._stage.do(
            "judge",
            scene.root,
            place=scene.library,
            known=str(scene.known),
            least=max((int(one) for one in promised if one.isdecimal()), default=0),
            named=[one for one in promised if len(one) == 32],  # noqa: PLR2004 - an id
        )
        if done.crash or done.error:
            return f"judging: {done.crash or f'{done.error}: {done.value}'}"
        if done.value["problems"]:
            return f"verify: {done.value['problems']}"
        if done.value["lost"]:
            return f"lost what was promised: {promised[-3:]}, {done.value['files']} files"
        if scene.job == "export":
            return self._torn(scene)
        return None

    def _torn(self, scene: Scene) -> str | None:
        """Which exported file is neither absent nor whole."""
        written = self._stage.do("tree", scene.root, folder=str(scene.root / "out")).value
        for name, what in written.items():
            hidden = any(part.startswith(".imgindex-") for part in name.split("/"))
            if not hidden and scene.exported.get(name) != what:
                return f"exported in part: {name}"
        return None

    def _gone_on(self, scene: Scene) -> str | None:
        done = self._stage.do(scene.job, scene.root, **scene.given)
        if done.crash or done.error:
            return f"going on: {done.crash or f'{done.error}: {done.value}'}"
        end = self._stage.do("content", scene.root, place=scene.library)
        if end.value != scene.end:
            return f"going on ends with {end.error or ''} {end.value}, not {scene.end}"
        return None


def lines(tally: Tally) -> Iterator[str]:
    """The table of a tally, as Markdown."""
    yield "| kind | scene | cases | failures |"
    yield "|---|---|---|---|"
    failed = Counter((kind, scene) for kind, scene, *_ in tally.failures)
    for (kind, scene), cases in sorted(tally.cases.items()):
        yield f"| {kind} | {scene} | {cases:,} | {failed[kind, scene]} |"
    yield f"| all | | {tally.cases.total():,} | {len(tally.failures)} |"
