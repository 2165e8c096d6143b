"""A connection to a Ray cluster; what goes wrong there, in our words.

Ray (Moritz et al. 2018, arXiv:1712.05889) runs functions and objects on other machines. Each of
them must have this imgindex: what they send and store must mean the same everywhere.
"""

from __future__ import annotations

import logging
import os
import socket
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from imgindex import pixels
from imgindex.errors import EngineError, ImgindexError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCAL = ("auto", "local")
_PATIENCE = 5.0  # seconds until a cluster's address must answer
_ANSWER = 60.0  # seconds until every machine must have said what it has
_INSTALL = "install it with: pip install 'imgindex[ray]'"


@contextmanager
def session(address: str | None = None) -> Iterator[None]:
    """Be connected to a cluster for the length of a block.

    A connection that this process has already is used, and stays.

    Args:
        address: ``HOST:PORT`` of the head of a cluster that this machine is part of, ``auto`` for
            the one that runs on this machine, or ``local`` for one that ends with the block. None
            takes RAY_ADDRESS where it is set, else ``local``.

    Raises:
        EngineError: Ray is not installed, the cluster does not answer, a machine of it has
            another imgindex; or whatever Ray raises inside of the block.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters comes as an error
    try:
        import ray
    except ImportError:
        raise EngineError(f"the engine ray is not installed; {_INSTALL}") from None
    ours = not ray.is_initialized()
    try:
        if ours:
            _connect(address or os.environ.get("RAY_ADDRESS") or "local")
        _check_machines()
        yield
    except Exception as error:
        known = translated(error)
        if known is None or known is error:
            raise
        raise known from error
    finally:
        if ours:
            ray.shutdown()


def _connect(address: str) -> None:
    import ray

    if address not in _LOCAL:
        _require_answer(address)
    more: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    from ray._private import worker

    # Ray tells what it hears of its machines on standard output, where results go.
    worker.print_to_stdstream = _unheard
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **more)
        except ConnectionError as error:
            raise EngineError(
                f"no Ray cluster of this user runs at {address!r}; start one with: ray start --head"
            ) from error


def _unheard(data: Any, ignore_prefix: bool) -> None:  # noqa: ARG001, FBT001 - as Ray's
    logging.getLogger("ray").debug("%s", data)


def _require_answer(address: str) -> None:
    """Refuse an address where nobody answers: Ray itself would try for many minutes."""
    if address.startswith("ray://"):
        raise EngineError(
            f"{address}: Ray Data does not work through Ray's door for clients; run this on a "
            "machine of the cluster, with --address auto"
        )
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or not host:
        raise EngineError(f"{address!r} is no address of a cluster; give HOST:PORT, auto or local")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"no Ray cluster answers at {address}: {error}; start one with: ray start --head"
        ) from error


def has() -> tuple[str, int]:
    """The version of imgindex, and that of its preprocessing."""
    from importlib.metadata import version

    return version("imgindex"), pixels.VERSION


def _check_machines() -> None:
    """Refuse machines with another imgindex than this.

    Raises:
        EngineError: there is one, or one with none.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(has)
    answers = {
        node["NodeManagerAddress"]: ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    }
    here = has()
    for machine, answer in answers.items():
        try:
            there = ray.get(answer, timeout=_ANSWER)
        except ray.exceptions.RayTaskError as error:
            raise EngineError(
                f"the machine {machine} of the cluster cannot load imgindex ({_brief(error)}); "
                f"on every machine: pip install 'imgindex[ray]=={here[0]}'"
            ) from error
        except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
            continue  # it left meanwhile
        if there != here:
            raise EngineError(
                f"the machine {machine} of the cluster has imgindex {there[0]} (preprocessing "
                f"{there[1]}), this one has {here[0]} (preprocessing {here[1]}); install the same "
                "on all"
            )


def translated(error: BaseException) -> ImgindexError | None:
    """An error that came from a cluster, in our words; None if it is none of Ray's.

    What imgindex raised, there or here, stays what it was.
    """
    import ray

    found: BaseException | None = error
    seen = list[BaseException]()
    while found is not None and found not in seen:
        seen.append(found)
        if isinstance(found, ImgindexError) and not isinstance(found, ray.exceptions.RayError):
            return found
        found = getattr(found, "cause", None) or found.__cause__ or found.__context__
    of_ray = [one for one in seen if type(one).__module__.split(".")[0] == "ray"]
    if not of_ray and not isinstance(error, ConnectionError | TimeoutError):
        return None
    return EngineError(
        f"the Ray cluster could not do it: {_brief(seen[-1])}; what was done is kept, run it again"
    )


def _brief(error: BaseException) -> str:
    """The last line of an error's text: Ray puts whole traces before it."""
    lines = [line.strip() for line in str(getattr(error, "cause", None) or error).splitlines()]
    text = next((line for line in reversed(lines) if line), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
