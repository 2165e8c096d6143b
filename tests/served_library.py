"""A library of made pictures, services of it, and how their answers are read."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from pictures import exif, jpeg, png, scene
from PIL import Image
from served import Inside, inside
from typer.testing import CliRunner

from imgindex import Library
from imgindex.cli.app import app
from imgindex.scan import content_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx


KINDS, EACH = 3, 8


@dataclass(frozen=True, slots=True)
class Made:
    """A library of made pictures: three kinds in three folders, a copy and a smaller one."""

    folder: Path
    library: Path
    model: Path
    ids: dict[str, str]

    def open(self) -> Library:
        return Library(self.library, model=self.model, device="cpu")

    def id(self, name: str) -> str:
        return self.ids[name]

    def data(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


def variant(kind: int, seed: int) -> Image.Image:
    """A picture of a kind: its scene with a little of another one."""
    return Image.blend(scene(kind, 160, 120), scene(1000 + kind * 100 + seed, 160, 120), 0.12)


def encoded(kind: int, seed: int) -> bytes:
    picture = variant(kind, seed)
    if kind == 0:
        return jpeg(picture, exif=exif(taken=f"2024:0{seed + 1}:15 12:00:00"))
    return png(picture)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Made:
    work = tmp_path_factory.mktemp("service")
    folder = work / "pictures"
    for kind in range(KINDS):
        (folder / f"kind{kind}").mkdir(parents=True)
        for seed in range(EACH):
            name = f"kind{kind}/{seed}.{'png' if kind else 'jpg'}"
            (folder / name).write_bytes(encoded(kind, seed))
    shutil.copy(folder / "kind1/0.png", folder / "kind1/copy.png")
    (folder / "kind1/small.png").write_bytes(png(variant(1, 0).resize((128, 96))))
    with Library(work / "library", model=model_file, device="cpu") as library:
        library.add([folder])
        library.cluster(min_cluster_size=4)
    ids = {
        path.relative_to(folder).as_posix(): content_id(path.read_bytes())
        for path in sorted(folder.rglob("*.*"))
    }
    return Made(folder, work / "library", model_file, ids)


@pytest.fixture
def own(made: Made, tmp_path: Path) -> Made:
    """The same, to be changed."""
    shutil.copytree(made.library, tmp_path / "library")
    return Made(made.folder, tmp_path / "library", made.model, made.ids)


@pytest.fixture(scope="module")
def reading(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """A service that nobody changes."""
    kept = tmp_path_factory.mktemp("kept")
    with made.open() as library, inside(library, originals=True, thumbnails=kept) as opened:
        yield opened


@contextmanager
def changing(made: Made, **options: Any) -> Iterator[Inside]:
    with (
        made.open() as library,
        inside(library, uploads=made.library.with_name("uploads"), **options) as opened,
    ):
        yield opened


def command(made: Made, *words: str) -> Any:
    """What a command prints with --json."""
    place = ["--library", str(made.library)]
    ran = CliRunner().invoke(app, [*words, *place, "--json"])
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body.keys() == {"type", "title", "status", "detail"}
    assert body["status"] == status
    assert body["type"].startswith("urn:imgindex:")
    assert body["detail"]
    return body


def follow(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """A job, once it has ended."""
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    for _ in range(600):
        job = client.get(f"/v1/jobs/{job['id']}").json()
        if job["state"] in {"done", "failed", "cancelled"}:
            return job
        time.sleep(0.05)
    raise AssertionError(job)
