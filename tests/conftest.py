from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import hypothesis
import pytest
from milvus_server import may_start, stop
from xdist.scheduler import LoadScopeScheduling

from imgindex import vgg16

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What they assert is told in full, too.
pytest.register_assert_rewrite("full_library", "served_library", "strangers")

_LONG = ("test_readme", "test_commands", "test_kill", "test_torture", "test_watch")

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("imgindex", deadline=None)
hypothesis.settings.load_profile("imgindex")


class _ByFile(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """A file's tests run in one process, and in one all that want the one Milvus server."""

    def _split_scope(self, nodeid: str) -> str:
        return "milvus" if may_start(nodeid) else nodeid.partition("::")[0]


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: the tests of the Milvus server mostly wait for it."""
    return len(os.sched_getaffinity(0)) + 1 if sys.platform == "linux" else os.cpu_count() or 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Spread tests over processes, in the order in which they were collected."""
    config.option.loadscopereorder = False
    return _ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes comes first, so that no process is left alone with it."""
    items.sort(key=lambda item: not may_start(item.nodeid) and item.path.stem not in _LONG)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """A server that nobody asks any more would still keep a processor busy."""
    if may_start(item.nodeid) and not (nextitem and may_start(nextitem.nodeid)):
        stop()


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Settings, models and libraries of whoever runs the tests stay out of them."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMGINDEX_HOME", str(folder))
        for name in ("LIBRARY", "MODEL", "DEVICE", "HOSTS"):
            patch.delenv(f"IMGINDEX_{name}", raising=False)
        # Ray's workers would give way to all other tests, and theirs would never end.
        patch.setenv("RAY_worker_niceness", "0")
        yield folder


def _model(path: Path, seed: int) -> Path:
    data = vgg16.build(
        vgg16.untrained(seed),
        layer="block3_pool",
        size=32,
        name=path.stem,
        source=f"random, seed {seed}",
        licence="CC0-1.0",
        trained=False,
    )
    path.write_bytes(data)
    return path


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small quick model with random weights, named ``tiny``: 32 pixels, 256 numbers."""
    return _model(tmp_path_factory.mktemp("model") / "tiny.onnx", 0)


@pytest.fixture(scope="session")
def other_model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model, ``other``, with other weights."""
    return _model(tmp_path_factory.mktemp("model") / "other.onnx", 1)
