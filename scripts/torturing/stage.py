"""Where jobs are done: in processes of their own, whose every change of a file can be met.

One process imports what the jobs need, with ``seam.c`` loaded before the C library, and forks for
each job. So a job costs milliseconds, may be killed, and may take the interpreter along.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

HERE = Path(__file__).parent
HOWS = ("count", "kill", "tear", "after", "stop", "EIO", "ENOSPC", "full")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes:
        value: what it returned.
        error: the kind of ``ImgindexError`` that it raised; its words are the value.
        crash: anything else that it raised, or the signal that it died of, "killed" apart.
        killed: it was killed as asked.
        stopped: the process that waits before a change; see ``Stage.go_on``.
        changes: how many changes of files there were.
    """

    value: Any = None
    error: str | None = None
    crash: str | None = None
    killed: bool = False
    stopped: int | None = None
    changes: int = 0


class Stage:
    """The process that forks; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        """Build the seam in a folder and start.

        Raises:
            FileNotFoundError: there is no C compiler.
        """
        library = folder / "seam.so"
        compiler = os.environ.get("CC", "cc")
        source = str(HERE / "seam.c")
        subprocess.run(  # noqa: S603 - the compiler of the machine
            [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), source, "-ldl"], check=True
        )
        paths = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environ = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "PYTHONPATH": os.pathsep.join(paths),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "IMGINDEX_HOME": str(folder / "home"),
        }
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-W", "ignore", "-m", "torturing.stage", str(library)],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        """Use as a context manager, so that it ends."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self._process.communicate()

    def do(  # noqa: PLR0913 - each may be asked for alone, by keyword
        self,
        job: str,
        root: Path,
        *,
        at: int = 0,
        how: str = "count",
        seconds: float = 0,
        log: Path | None = None,
        **given: Any,
    ) -> Outcome:
        """Do a job of ``jobs``.

        Args:
            job: its name.
            root: changes below this folder count.
            at: the change that something shall happen to, from 1; 0 for none.
            how: what; one of ``HOWS``.
            seconds: until it is killed by the clock; 0 for never.
            log: where to write down every change, see ``power``.
            given: what the job is given, as JSON has it.
        """
        return self._ask(
            {
                "job": job,
                "root": str(root),
                "at": at,
                "how": HOWS.index(how),
                "seconds": seconds,
                "log": str(log or ""),
                "given": given,
            }
        )

    def go_on(self, stopped: Outcome) -> Outcome:
        """Let a process that stopped before a change go on to its end."""
        return self._ask({"pid": stopped.stopped})

    def _ask(self, wish: dict[str, Any]) -> Outcome:
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        assert self._process.stdout is not None  # noqa: S101 - the same
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        told = self._process.stdout.readline()
        if not told:
            raise RuntimeError("the stage has died")
        return Outcome(**json.loads(told))


def _serve(library: str) -> None:
    """Fork for each job that is asked for on standard input."""
    seam = ctypes.CDLL(library)
    from torturing import jobs

    jobs.warm()
    # What jobs or their libraries print goes elsewhere.
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    pipes: dict[int, int] = {}
    for line in sys.stdin:
        wish = json.loads(line)
        if pid := wish.get("pid"):
            os.kill(pid, signal.SIGCONT)
            end = pipes.pop(pid)
        else:
            end, into = os.pipe()
            pid = os.fork()
            if pid == 0:
                told.close()
                os.close(end)
                _work(seam, jobs, wish, into)
            os.close(into)
        outcome = _wait(pid, end)
        if "stopped" in outcome:
            pipes[pid] = end
        told.write(json.dumps(outcome) + "\n")
        told.flush()


def _work(seam: ctypes.CDLL, jobs: Any, wish: dict[str, Any], into: int) -> None:
    from imgindex.errors import ImgindexError

    try:
        job = getattr(jobs, wish["job"])
        jobs.promise = lambda text: seam.seam_promise(str(text).encode())
        seam.seam_arm(wish["root"].encode(), wish["at"], wish["how"], wish["log"].encode())
        signal.setitimer(signal.ITIMER_REAL, wish["seconds"])  # ends the process, whatever it does
        try:
            outcome = {"value": job(**wish["given"])}
        except ImgindexError as error:
            outcome = {"value": str(error), "error": type(error).__name__}
        except BaseException:  # noqa: BLE001 - it is told
            outcome = {"crash": traceback.format_exc()}
        outcome["changes"] = seam.seam_disarm()
        with os.fdopen(into, "w") as pipe:
            json.dump(outcome, pipe)
    finally:
        os._exit(0)


def _wait(pid: int, end: int) -> dict[str, Any]:
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return {"stopped": pid}
    with os.fdopen(end) as pipe:
        text = pipe.read()
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) in {signal.SIGKILL, signal.SIGALRM}:
            return {"killed": True}
        return {"crash": f"died of {signal.Signals(os.WTERMSIG(status)).name}"}
    return dict(json.loads(text)) if text else {"crash": f"ended with {status}, saying nothing"}


if __name__ == "__main__":
    _serve(sys.argv[1])
