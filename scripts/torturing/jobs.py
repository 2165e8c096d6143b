"""What is done to a library while its disk misbehaves, and how one looks whether it is whole.

Every job opens what it needs, returns what JSON can hold, and lets errors out.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import pkgutil
import shutil
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import imgindex
from imgindex import Library, open_store
from imgindex.errors import ImgindexError, LibraryBusyError, LibraryNotFoundError, StoreError
from imgindex.records import IndexedFile, ModelPin, Picture
from imgindex.store import database, local

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgindex.records import Way


def _nobody(_: object) -> None:
    """Nobody listens."""


promise: Callable[[object], None] = _nobody  # the stage puts its own
WAYS: tuple[Way, Way] = ("exact", "hnsw")
SETTINGS: dict[str, Any] = {"min_cluster_size": 4, "min_samples": 2, "space": "descriptor"}
database._PATIENCE = 1  # noqa: SLF001 - who has to wait for a process that was stopped waits in vain


def warm() -> None:
    """Import and compile what jobs need, once for all of them."""
    for module in pkgutil.walk_packages(imgindex.__path__, "imgindex."):
        if "milvus" not in module.name:
            with suppress(ImportError):  # an extra
                importlib.import_module(module.name)
    for name in ("hnswlib", "hdbscan", "filelock", "onnxruntime", "starlette.testclient"):
        importlib.import_module(name)
    with closing(open_store("memory:", create=True)) as store:
        store.pin(ModelPin("warm", "0" * 64, 16, 1))
        rows = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)
        rows[:20] += 3
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        pictures = [Picture(f"{at:032x}", 1, 1, "PNG", None) for at in range(40)]
        files = [IndexedFile(f"/{one.id}", 1, 1, one.id) for one in pictures]
        store.add(pictures, rows, files)
        Library(store).cluster(**SETTINGS)


def index(folder: str, place: str, model: str | None = None, *, prune: bool = False) -> list[int]:
    """``imgindex index``; promises how many files were dealt with, batch by batch."""

    def told(stage: str, done: int, _: int) -> None:
        if stage == "embed" and done:
            promise(done)

    with Library(place, model=model, device="cpu") as opened:
        report = opened.add([folder], prune=prune, progress=told)
    promise("all")
    return [report.added, report.reused, report.moved, report.removed, len(report.skipped)]


def cluster(place: str, model: str | None = None) -> int:
    """``imgindex cluster``, and a name for a group."""
    with Library(place, model=model, device="cpu") as opened:
        grouping = opened.cluster(**SETTINGS)
        promise("grouped")
        if not opened.decisions():
            opened.name_group(grouping.groups[0].id, "a name")
        promise("named")
    return len(grouping.groups)


def export(place: str, out: str) -> list[str]:
    """``imgindex export``, of every kind, over what was exported before."""
    with Library(place, device="cpu") as opened:
        for name in ("groups.csv", "groups.json", "groups.html"):
            opened.export(os.path.join(out, name), force=True)  # noqa: PTH118 - text
            promise(name)
        tree = Path(out, "tree")
        if not tree.exists():
            opened.export(tree, link="copy")
        promise("tree")
    return sorted(os.listdir(out))  # noqa: PTH208 - text


def mend(place: str, model: str) -> list[int]:
    """``imgindex verify --repair``."""
    with Library(place, model=model, device="cpu") as opened:
        done = opened.repair()
    return [len(done.mended), len(done.lost), len(done.problems)]


def migrate(place: str) -> bool:
    """Open a library, perhaps of an older format."""
    with closing(local.LocalStore(place)):
        promise("open")
    return True


def serve(place: str, uploads: str, pictures: str, model: str) -> list[int]:
    """A service that is sent pictures, one by one."""
    from starlette.testclient import TestClient

    from imgindex.web.app import application
    from imgindex.web.settings import ServiceSettings

    codes = []
    with (
        Library(place, model=model, device="cpu") as opened,
        TestClient(
            application(opened, ServiceSettings(uploads=Path(uploads))),
            base_url="http://127.0.0.1",
        ) as client,
    ):
        for path in sorted(Path(pictures).iterdir())[:6]:
            told = client.post("/v1/pictures", files={"files": (path.name, path.read_bytes())})
            codes.append(told.status_code)
            if told.is_success:
                (added,) = told.json()["pictures"]
                if added["reason"] is None:
                    promise(added["id"])
    if bad := {code for code in codes if code >= 500}:  # noqa: PLR2004 - a refusal in words
        raise StoreError(f"the service answered {bad}")
    return codes


def hold(place: str) -> bool:
    """Try to write to a library."""
    with closing(local.LocalStore(place)) as store, store.writing():
        return True


def look(place: str, known: str) -> int:
    """Read a library that somebody writes to; how many pictures it has.

    Args:
        place: the library.
        known: an ``.npz`` file with the rows that its pictures may have, by id.
    """
    rows = _rows(known)
    try:
        with closing(local.LocalStore(place)) as store:
            ids, held = store.vectors()
            for name, row in zip(ids, held, strict=True):
                np.testing.assert_allclose(row, rows[name], atol=1e-6, err_msg=name)
            for name in ids[:3]:
                hits = store.search(rows[name][None], 3)[1][0]
                assert hits[0].score > 0.999, (name, hits)  # noqa: S101, PLR2004 - told as a crash
            files = store.files()
            named = {file.id for file in files if file.id and not file.missing}
            assert set(ids) <= named or len(files) > 0  # noqa: S101 - the same
    except (LibraryNotFoundError, LibraryBusyError):
        return -1
    return len(ids)


def judge(place: str, known: str, least: int = 0, named: list[str] | None = None) -> dict[str, Any]:
    """Whether a library is whole, whatever happened to it.

    Args:
        place: the library.
        known: see ``look``.
        least: how many files it has promised to hold.
        named: ids that it has promised to hold.
    """
    rows = _rows(known)
    with Library(place, device="cpu") as opened:
        try:
            problems = opened.verify()
        except LibraryNotFoundError:
            return {"problems": [], "files": 0, "lost": least > 0 or bool(named)}
    if problems:
        return {"problems": problems, "files": 0, "lost": False}
    with closing(local.LocalStore(place)) as store:
        ids, held = store.vectors()
        for name, row in zip(ids, held, strict=True):
            np.testing.assert_allclose(row, rows[name], atol=1e-6, err_msg=name)
        if ids:
            every = np.stack([rows[name] for name in ids])
            for way in WAYS:
                for name, hits in zip(ids, store.search(every, 1, way=way)[1], strict=True):
                    assert hits[0].score > 0.9999, (way, name, hits)  # noqa: S101, PLR2004 - told as a crash
        files = store.files()
        lost = len(files) < least or not set(named or ()) <= set(ids)
    return {"problems": [], "files": len(files), "lost": lost}


def content(place: str, known: str | None = None) -> str:
    """All that a library holds, in short; its rows are kept in ``known`` beside their ids."""
    with Library(place, device="cpu") as opened:
        if problems := opened.verify():
            return "; ".join(problems)
        status = opened.status()
    with closing(local.LocalStore(place)) as store:
        ids, rows = store.vectors()
        grouping = store.grouping()
        parts: list[object] = [
            [one._replace(mtime_ns=0) for one in store.files()],
            ids,
            list(store.pictures(ids).values()),
            [(one.kind, one.group, one.name, one.pictures) for one in store.decisions()],
            store.twins(),
        ]
        if grouping is not None:
            parts += [grouping.ids, grouping.labels.tolist(), grouping.next_id]
    if known is not None:
        np.savez(known, ids=np.array(ids), rows=rows)
    told = [hashlib.sha256(repr(one).encode("utf-8", "surrogateescape")) for one in parts]
    names = " ".join(one.hexdigest()[:8] for one in told)
    return f"{names} index {status.index if rows.size else 'none'}"


def examine(place: str, known: str, end: str, model: str) -> dict[str, Any]:
    """What becomes of a damaged library: what ``verify`` says, searches find, and is mended.

    Args:
        place: the library.
        known: see ``look``.
        end: what it held before, see ``content``.
        model: of the library.

    Returns:
        ``wrong``: an answer that is not true; ``named``: what somebody was told; ``same``: whether
        it holds what it did all the same; ``mended``, ``lost``: by ``repair``; ``after``: what is
        wrong then; ``whole``: whether it holds what it did then.
    """
    told: dict[str, Any] = {"wrong": None, "named": [], "mended": [], "lost": 0}

    def noting(look: Callable[[], Any]) -> Any:
        try:
            return look()
        except ImgindexError as error:
            told["named"].append(str(error))

    def verify() -> None:
        with Library(place, device="cpu") as opened:
            told["named"] += opened.verify()

    def mend() -> None:
        with Library(place, model=model, device="cpu") as opened:
            done = opened.repair()
        told["mended"], told["lost"] = done.mended, len(done.lost)

    noting(verify)
    for way in WAYS:
        told["wrong"] = told["wrong"] or noting(functools.partial(_untrue, place, known, way))
    held = str(noting(functools.partial(content, place)))
    told["same"] = held.split(" index ", maxsplit=1)[0] == end.split(" index ", maxsplit=1)[0]
    first = list(told["named"])
    told["named"] = []
    noting(mend)
    noting(verify)
    told["whole"] = noting(functools.partial(content, place)) == end
    told["named"], told["after"] = first, told["named"]
    return told


def _untrue(place: str, known: str, way: Way) -> str | None:
    """The first answer of a library that is not what its rows give; None if all are."""
    rows = _rows(known)
    every, names = np.stack(list(rows.values())), list(rows)
    truth = np.sort(every @ every.T, axis=1)[:, ::-1]
    with closing(local.LocalStore(place)) as store:
        answers = store.search(every, 5, way=way)[1]
    for at, hits in enumerate(answers):
        if unknown := [hit.id for hit in hits if hit.id not in rows]:
            return f"{way}: {names[at]} finds {unknown}, which is no picture"
        right = [float(every[at] @ rows[hit.id]) for hit in hits]
        found = [hit.score for hit in hits]
        if not np.allclose(found, right, atol=1e-4):
            return f"{way}: {names[at]} finds {hits}, whose scores are {right}"
        if len(hits) < len(truth[at, :5]) or not np.allclose(found, truth[at, :5], atol=1e-4):
            return f"{way}: {names[at]} finds {found}, and there are {truth[at, :5]}"
    return None


def tree(folder: str) -> dict[str, str]:
    """The files below a folder, and what they hold."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _rows(known: str) -> dict[str, Any]:
    with np.load(known) as held:
        return dict(zip(held["ids"].tolist(), held["rows"], strict=True))


def copy(source: str, target: str) -> None:
    """Copy a folder, times included."""
    shutil.copytree(source, target, symlinks=True)
