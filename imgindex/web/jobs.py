"""Long work, one piece after the other: it is watched while it runs, and can be stopped."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import structlog

from imgindex.errors import ImgindexError
from imgindex.records import to_json

from .events import Broadcast, Event
from .problems import Problem, ProblemBody, problem_of, too_busy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgindex.records import Progress

Kind = Literal["index", "cluster", "duplicates", "map"]
State = Literal["queued", "running", "done", "failed", "cancelled"]

_KEPT = 100  # jobs that ended
_WAITING = 16
_EVERY = 0.1  # seconds between two words of progress


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of long work.

    Attributes:
        id: what it goes by.
        kind: ``index``, ``cluster``, ``duplicates`` or ``map``.
        state: ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``.
        stage: what it is at, in a word.
        done: how much of the stage is done.
        total: how much there is to do in it; 0 while it is not known.
        created: when it was asked for; ISO 8601 in UTC, as all times here.
        started: when it began.
        ended: when it ended.
        settings: what it was asked to do.
        result: what came of it: the record that the command of that name gives.
        problem: why it failed.
    """

    id: str
    kind: Kind
    state: State
    stage: str
    done: int
    total: int
    created: str
    started: str | None = None
    ended: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    problem: ProblemBody | None = None

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in {"done", "failed", "cancelled"}


class _Stopped(KeyboardInterrupt):
    """Ends a job as the interrupt key ends a command: what was done is kept."""


class Jobs:
    """Runs jobs one at a time, in the order in which they were asked for."""

    def __init__(self, broadcast: Broadcast) -> None:
        """Begin with none.

        Args:
            broadcast: told of every change of a job, as the event ``job``.
        """
        self._broadcast = broadcast
        self._executor = ThreadPoolExecutor(1, "imgindex-job")
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._unwanted: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()

    def __iter__(self) -> Any:
        """All jobs, the newest first."""
        return reversed(self._jobs.values())

    @property
    def running(self) -> Job | None:
        """The one that runs."""
        return next((job for job in self._jobs.values() if job.state == "running"), None)

    @property
    def waiting(self) -> int:
        """How many have not ended; those that were cancelled wait for their turn all the same."""
        return len(self._tasks)

    def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            Problem: there is none of that id.
        """
        if job_id not in self._jobs:
            raise Problem(404, "no-such-job", "No such job", f"there is no job {job_id!r}")
        return self._jobs[job_id]

    def find(self, kind: Kind) -> Job | None:
        """A job of that kind that is not over yet."""
        return next((job for job in self if job.kind == kind and not job.over), None)

    def begin(
        self, kind: Kind, work: Callable[[Progress], Any], settings: Mapping[str, Any]
    ) -> Job:
        """Have something done as soon as nothing else runs.

        Args:
            kind: what it is called.
            work: does it, reports to the progress that it is given, and returns a record.
            settings: told with the job.

        Raises:
            Problem: too many wait already.
        """
        if self.waiting > _WAITING:
            raise too_busy(30)
        job = Job(secrets.token_hex(8), kind, "queued", "", 0, 0, _now(), settings=dict(settings))
        self._put(job)
        ended = [one.id for one in self._jobs.values() if one.over]
        for job_id in ended[: max(0, len(ended) - _KEPT)]:
            del self._jobs[job_id]
        task = asyncio.get_running_loop().create_task(self._run(job, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    def cancel(self, job_id: str) -> Job:
        """Stop a job; one that runs ends at its next word of progress.

        Raises:
            Problem: there is none of that id.
        """
        job = self.get(job_id)
        if not job.over:
            self._unwanted.add(job_id)
        if job.state == "queued":
            self._put(replace(job, state="cancelled", ended=_now()))
        return self._jobs[job_id]

    async def close(self) -> None:
        """Stop all jobs where nothing is lost, and wait until they have stopped."""
        for job in list(self._jobs.values()):
            self.cancel(job.id)
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._executor.shutdown()

    async def _run(self, job: Job, work: Callable[[Progress], Any]) -> None:
        loop = asyncio.get_running_loop()
        told = 0.0

        def progress(stage: str, done: int, total: int) -> None:
            nonlocal told
            if job.id in self._unwanted:
                raise _Stopped
            now = time.monotonic()
            if now - told >= _EVERY or done == total:
                told = now
                loop.call_soon_threadsafe(self._advance, job.id, stage, done, total)

        def run() -> None:
            state: State = "cancelled"
            told_of_it: Any = None
            if job.id not in self._unwanted:
                loop.call_soon_threadsafe(self._start, job.id)
                state, told_of_it = self._outcome(job, work, progress)
            # From here, so that it is told before the next one begins.
            loop.call_soon_threadsafe(self._end, job.id, state, told_of_it)

        await loop.run_in_executor(self._executor, run)

    def _outcome(
        self, job: Job, work: Callable[[Progress], Any], progress: Progress
    ) -> tuple[State, Any]:
        """How a job ends, whatever happens in it: its result, or the problem that it met."""
        try:
            return "done", to_json(work(progress))
        except _Stopped:
            return "cancelled", None
        except ImgindexError as error:
            return "failed", problem_of(error).body
        except Problem as problem:
            return "failed", problem.body
        except Exception:  # noqa: BLE001 - a job must not take the service with it
            self._log.exception("job failed", kind=job.kind, job=job.id)
            title = "The job failed"
            return "failed", ProblemBody("urn:imgindex:failed", title, 500, "see the service's log")

    def _start(self, job_id: str) -> None:
        job = self._jobs[job_id]
        if not job.over:  # by a word that came while it began
            self._put(replace(job, state="running", started=_now()))

    def _advance(self, job_id: str, stage: str, done: int, total: int) -> None:
        job = self._jobs[job_id]
        if not job.over:
            self._put(replace(job, stage=stage, done=done, total=total))

    def _end(self, job_id: str, state: State, told: Any) -> None:
        job = self._jobs[job_id]
        self._unwanted.discard(job_id)
        if job.over:
            return
        if state == "failed":
            self._put(replace(job, state=state, ended=_now(), problem=told))
        else:
            self._put(replace(job, state=state, ended=_now(), result=told))
        self._log.info("job", kind=job.kind, job=job_id, state=state)

    def _put(self, job: Job) -> None:
        self._jobs[job.id] = job
        self._broadcast.tell(Event("job", job))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
