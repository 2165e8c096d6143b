from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis
import pytest

from imgindex import vgg16

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("imgindex", deadline=None)
hypothesis.settings.load_profile("imgindex")


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Settings, models and libraries of whoever runs the tests stay out of them."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMGINDEX_HOME", str(folder))
        for name in ("LIBRARY", "MODEL", "DEVICE"):
            patch.delenv(f"IMGINDEX_{name}", raising=False)
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
