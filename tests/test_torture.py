"""The short form of ``scripts/torture.py``: every kind of disturbance, at some of its instants."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from torture import KINDS, torture
from torturing import power

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs LD_PRELOAD and /proc"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]


def test_a_disturbed_library_comes_out_whole(tmp_path: Path) -> None:
    kinds = [kind for kind in KINDS if kind != "damage"]
    scenes = ("continue", "prune", "cluster", "export", "migrate")
    tally = torture(tmp_path, scenes=scenes, kinds=kinds, step=101, instants=1)
    assert tally.failures == []
    assert {scene for _, scene in tally.cases} >= {"continue", "prune", "migrate from 1"}
    assert {kind for kind, _ in tally.cases} >= {"kill", "tear", "EIO", "reader", "power cut"}


def test_damage_is_named_and_mended(tmp_path: Path) -> None:
    tally = torture(tmp_path, scenes=[], kinds=["damage"], regions=2)
    assert tally.failures == []
    assert tally.cases["damage", "vectors.f32"] >= 6


# The disk that loses


def change(kind: str, path: str, file: int = 0, offset: int = 0, data: bytes = b"") -> power.Change:
    return power.Change(kind, file, offset, path, "", data)


def left(tmp_path: Path, changes: list[power.Change], loss: str) -> dict[str, bytes]:
    import random

    disk = power.Disk()
    for one in changes:
        disk.take(one)
    into = tmp_path / loss
    into.mkdir()
    disk.write("/root", into, loss, random.Random(0))  # noqa: S311 - not secrets
    return {path.name: path.read_bytes() for path in into.iterdir()}


def test_what_is_not_synced_may_be_lost_and_what_is_may_not(tmp_path: Path) -> None:
    written = [change("c", "/root/a", 1), change("w", "/root/a", 1, 0, b"some")]
    assert left(tmp_path, written, "nothing") == {"a": b"some"}
    assert left(tmp_path, written, "everything") == {}
    assert left(tmp_path, written, "data") == {"a": b""}
    synced = [*written, change("f", "/root/a", 1), change("w", "/root/a", 1, 4, b"more")]
    lasting = [*synced, change("d", "/root")]
    (tmp_path / "synced").mkdir()
    assert left(tmp_path / "synced", synced, "names") == {}
    assert left(tmp_path / "synced", lasting, "everything") == {"a": b"some"}
    assert left(tmp_path / "synced", lasting, "nothing") == {"a": b"somemore"}


def test_a_write_may_be_torn_between_sectors(tmp_path: Path) -> None:
    whole = b"".join(bytes([65 + at]) * power.SECTOR for at in range(16))
    changes = [change("c", "/root/a", 1), change("f", "/root/a", 1), change("d", "/root")]
    (data,) = left(tmp_path, [*changes, change("w", "/root/a", 1, 0, whole)], "some").values()
    pieces = {data[at : at + power.SECTOR] for at in range(0, len(data), power.SECTOR)}
    assert bytes(power.SECTOR) in pieces
    assert len(pieces) > 2
