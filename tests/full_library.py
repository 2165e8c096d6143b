"""A library in which every table has rows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pictures import jpeg, png, scene

from imgindex import Library

if TYPE_CHECKING:
    from pathlib import Path

TABLES = ("setting", "picture", "file", "grouping", "grouped", "member", "change", "decision")
DERIVED = ("sketch", "examined", "twin")


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Path:
    """A library in which every table has rows."""
    place = tmp_path_factory.mktemp("full")
    (place / "photos").mkdir()
    chance = np.random.default_rng(0)
    for at in range(24):
        image = scene(at % 3, 60, 50)
        image.paste(tuple(chance.integers(0, 256, 3).tolist()), (at, 3, at + 6, 9))
        (place / "photos" / f"{at}.png").write_bytes(png(image))
    (place / "photos/copy.jpg").write_bytes(jpeg(scene(0, 60, 50)))
    (place / "photos/again.jpg").write_bytes(jpeg(scene(0, 60, 50), quality=70))
    (place / "photos/broken.png").write_bytes(b"\x89PNG")
    with Library(place / "library", model=model_file, device="cpu") as library:
        library.add([place / "photos"])
        library.duplicates()
        for size in (4, 3):
            library.cluster(min_cluster_size=size, min_samples=2, space="descriptor")
        library.name_group(library.grouping().groups[0].id, "first")
        assert library.verify() == []
    with closing(sqlite3.connect(place / "library/library.sqlite")) as db:
        for table in (*TABLES, *DERIVED):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone()[0], table  # noqa: S608
    return place
