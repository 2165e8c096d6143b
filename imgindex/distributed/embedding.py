"""Pictures to vectors on many machines: read and decoded by tasks, embedded and stored by actors.

Ray Data streams: a block of files is read when there is room for what becomes of it, so memory
stays bounded, however many there are. A machine that dies takes its blocks along, and others do
them again; so everything here may happen twice.
"""

from __future__ import annotations

import logging
import os
import platform
import tempfile
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from imgindex.errors import EngineError, SettingError
from imgindex.isolation import POSSIBLE
from imgindex.readings import Reading, blank, embed, read
from imgindex.records import Found, Picture
from imgindex.resources import Resources
from imgindex.store import remote, shown
from imgindex.store.milvus import MilvusStore, Place

from .session import has, session

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import pyarrow as pa

    from imgindex.records import ModelCard
    from imgindex.store import Store

_BLOCK = 32  # files a task reads; a block of 224 x 224 pixels is 5 MB
_CPU_BATCH, _GPU_BATCH = 32, 256  # pictures an actor embeds and stores at once
_MOST_BLOCKS = 20_000
# Half of the time a reader waits for its file. Were it as much as an actor asks for, Ray would
# take both for one step.
_READER = 0.4


@dataclass(frozen=True, slots=True)
class Work:
    """What the workers have to know.

    Attributes:
        place: the library.
        right: see ``MilvusStore.sharing``.
        card: of the model.
        device: as in the settings.
        max_megapixels: the largest picture to decode.
        here: what the machine that asks has; see ``session.has``.
    """

    place: Place
    right: str
    card: ModelCard
    device: str
    max_megapixels: float
    here: tuple[str, int]

    def require_same(self) -> None:
        """Refuse to work with another imgindex, on a machine that came later.

        Raises:
            EngineError: it is another one.
        """
        if has() != self.here:
            raise EngineError(
                f"the machine {platform.node()} of the cluster has another imgindex than "
                "the one that asks; install the same on all"
            )


@dataclass(frozen=True, slots=True)
class Batch:
    """What an actor has done.

    Attributes:
        readings: of every file; those that were embedded and stored have a picture.
        note: see ``MilvusStore.settled``; empty if nothing was stored.
        device: what computed.
        precision: what it computed in.
        remark: what had to be done differently.
    """

    readings: list[Reading]
    note: str
    device: str
    precision: str
    remark: str


def require(url: str) -> None:
    """Refuse a library that only one machine can write to.

    Raises:
        SettingError: it is one.
    """
    if not remote(url):
        raise SettingError(
            "the engine ray needs a library that all machines can write to, and "
            f"{shown(url)} is none; give --library milvus://HOST:PORT/NAME"
        )


def shareable(store: Store) -> MilvusStore:
    """The store, as one that several machines write to; see ``require``."""
    if not isinstance(store, MilvusStore):
        require(store.url)
        raise SettingError(f"{store.url} is no library on Milvus")
    return store


def embed_all(
    resources: Resources, todo: Sequence[Found], right: str, address: str | None
) -> Generator[Batch, None, None]:
    """Read, embed and store files on the machines of a cluster.

    Args:
        resources: the library, which is shared.
        todo: the files, under paths that every machine knows.
        right: see ``MilvusStore.sharing``.
        address: see ``session``.

    Returns:
        What was done, in any order, each file once. The pictures are stored, the files are not.

    Raises:
        EngineError: the cluster cannot be used.
        ModelError: the model cannot.
    """
    path, card = resources.model()
    work = Work(
        shareable(resources.store()).place,
        right,
        card,
        resources.settings.device,
        resources.max_megapixels,
        has(),
    )
    with session(address):
        import ray

        try:
            from ray.data import ActorPoolStrategy, DataContext
        except ImportError as error:
            raise EngineError(
                f"Ray is here without Ray Data ({error}); install it with: "
                "pip install 'imgindex[ray]'"
            ) from None
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.raise_original_map_exception = True
        cpus, gpus, actors = _shares(resources.settings.device)
        items = [
            {"path": os.fsencode(found.path), "size": found.size, "mtime": found.mtime_ns}
            for found in todo
        ]
        blocks = min(_MOST_BLOCKS, -(-len(items) // _BLOCK))
        files = ray.data.from_items(items, override_num_blocks=blocks)
        done = files.map(
            cast("Any", _decoded), fn_kwargs={"work": work}, num_cpus=_READER
        ).map_batches(
            cast("Any", _Actor),
            batch_size=_GPU_BATCH if gpus else _CPU_BATCH,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
            fn_constructor_kwargs={"work": work, "model": ray.put(path.read_bytes())},
            num_cpus=cpus,
            num_gpus=gpus or None,
        )
        for row in done.iter_rows():
            yield _batch(row)


def _shares(device: str) -> tuple[float, float, int]:
    """Processors and cards of an actor, and how many actors there are.

    An actor has a card, or most of a machine: ONNX Runtime takes all of its processors.
    """
    import ray

    machines = [
        node["Resources"]
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"] and node["Resources"].get("CPU")
    ]
    if not machines:
        raise EngineError("the Ray cluster has no machine with a processor to work on")
    cards = int(sum(one.get("GPU", 0) for one in machines))
    if cards and device not in {"cpu", "openvino"}:
        return 1 - _READER / 2, 1, cards
    least = min(one["CPU"] for one in machines)
    return least - max(_READER, least // 8), 0, len(machines)


@cache
def _reader(work: Work) -> Resources:
    """The library, for a process that reads."""
    work.require_same()
    store = MilvusStore(work.place)
    # Apart: a picture that ends its process would else be tried again without end.
    return Resources(store, None, work.device, work.max_megapixels, isolate=POSSIBLE)


def _decoded(row: dict[str, Any], work: Work) -> dict[str, Any]:
    """Read and decode a file; in a task."""
    found = Found(os.fsdecode(row["path"]), row["size"], row["mtime"])
    return _row(read(_reader(work), found, work.card))


class _Actor:
    """A model on one machine, and a connection to the library."""

    def __init__(self, work: Work, model: Any) -> None:
        import ray

        work.require_same()
        self._right = work.right
        self._store = MilvusStore(work.place)
        with tempfile.TemporaryDirectory(prefix="imgindex-") as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(ray.get(model))
            self._resources = Resources(self._store, path, work.device, work.max_megapixels)
            self._embedder = self._resources.embedder()

    def __call__(self, table: pa.Table) -> pa.Table:
        """Embed and store the pictures of a block; one row tells what was done."""
        import pyarrow as pa

        side = self._embedder.card.size
        batch = [_reading(row, side) for row in table.to_pylist()]
        fresh = {one.id: one for one in reversed(batch) if one.picture is not None}
        for known in self._store.has([one for one in fresh if one is not None]):
            del fresh[known]  # by another file meanwhile, or before this was done again
        good, rows, empty = embed(self._resources, list(fresh.values()))
        pictures = [one.picture for one in good if one.picture is not None]
        note = self._store.put(self._right, pictures, rows) if pictures else ""
        stored = set(map(id, good))
        told = [
            _row(one if id(one) in stored else replace(one, picture=None)) | {"pixels": b""}
            for one in blank(batch, empty)
        ]
        embedder = self._embedder
        return pa.Table.from_pylist(
            [
                {
                    "readings": told,
                    "note": note,
                    "device": embedder.device,
                    "precision": embedder.precision,
                    "remark": embedder.note,
                }
            ]
        )


def _row(reading: Reading) -> dict[str, Any]:
    """A reading as Arrow keeps it: no column is ever empty, else blocks would differ in kind."""
    picture = asdict(reading.picture or Picture("", 0, 0, ""))
    return picture | {
        "path": os.fsencode(reading.found.path),
        "size": reading.found.size,
        "mtime": reading.found.mtime_ns,
        "id": reading.id or "",
        "taken": picture["taken"] or "",
        "reason": os.fsencode(reading.reason or ""),
        "lasting": reading.lasting,
        "pixels": b"" if reading.pixels is None else reading.pixels.tobytes(),
    }


def _reading(row: dict[str, Any], side: int = 0) -> Reading:
    """The reading again."""
    import numpy as np

    pixels = None
    if row["pixels"]:
        pixels = np.frombuffer(row["pixels"], np.uint8).reshape(side, side, 3)
    return Reading(
        Found(os.fsdecode(row["path"]), row["size"], row["mtime"]),
        row["id"] or None,
        Picture(
            row["id"],
            row["width"],
            row["height"],
            row["format"],
            row["taken"] or None,
            row["sketch"],
        )
        if row["format"]
        else None,
        pixels,
        os.fsdecode(row["reason"]) or None,
        lasting=row["lasting"],
    )


def _batch(row: dict[str, Any]) -> Batch:
    told = {key: row[key] for key in ("note", "device", "precision", "remark")}
    return Batch([_reading(one) for one in row["readings"]], **told)
