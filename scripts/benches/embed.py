"""The bare network: pictures a second, from the same pixels in memory to unit vectors."""

from __future__ import annotations

import statistics
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from imgindex.embed import Embedder
from imgindex.embed.openvino import computes_bfloat16

from . import torch_peer
from .made import NETWORK, model_file
from .measuring import PAUSE, Method, Report, Table, Turns, cores, counted_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from imgindex.records import Pixels, Rows

    Encode = Callable[[Pixels], Rows]

REFERENCE = "imgindex float32"


def run(  # noqa: PLR0913 - each is an option of the command
    work: Path,
    *,
    rounds: int = 5,
    pictures: int = 24,
    batch: int = 8,
    side: int = 224,
    model: tuple[Path, ...] = (),
    compiled: bool = False,
    pause: float = PAUSE,
) -> Report:
    """Embed the same pictures by every runtime that is here.

    Args:
        work: an empty folder.
        rounds: turns of each method.
        pictures: embedded in a turn.
        batch: pictures a call.
        side: of the pictures, in pixels.
        model: further model files of imgindex.
        compiled: have torch compile the network, too; that takes a minute.
        pause: seconds of rest ahead of a turn.
    """
    turns = Turns(rounds, pause)
    pixels = np.random.default_rng(0).integers(0, 256, (pictures, side, side, 3), np.uint8)
    file = model_file(work / "float32.onnx", side)
    encoders: dict[str, Encode] = {}
    for path in (file, *model):
        for name, embedder in ours(path):
            if embedder.card.size == side:
                encoders[named(name, path, encoders)] = embedder.encode
            else:
                turns.leave_out(
                    str(path), f"made for pictures of {embedder.card.size} pixels, not {side}"
                )
    encoders["onnxruntime"] = _plain_session(file)
    if not turns.missing("torch") and not turns.missing("torchvision"):
        try:
            encoders |= torch_peer.encoders(compiled=compiled)
        except Exception as error:  # noqa: BLE001 - a broken peer is left out
            turns.leave_out("torch", error)
    if not turns.missing("openvino"):
        encoders |= _openvinos(file, model, turns)

    rows: dict[str, Rows] = {}

    def whole(name: str) -> None:
        parts = [encoders[name](pixels[at : at + batch]) for at in range(0, len(pixels), batch)]
        rows[name] = np.concatenate(parts)

    methods = {name: Method(partial(whole, name)) for name in encoders}
    taken = turns.take(methods)
    right = rows[REFERENCE].astype(np.float64)
    table = Table(
        title=f"embedding, {counted_cores()}, batches of {batch}",
        unit="pictures/s",
        reference=REFERENCE,
        figures={
            name: [pictures / seconds for seconds in one.seconds] for name, one in taken.items()
        },
        more={
            name: {
                "cores busy": statistics.median(one.cores),
                **_agreement(right, rows[name]),
            }
            for name, one in taken.items()
        },
    )
    settings = {"rounds": rounds, "pictures": pictures, "batch": batch, "side": side}
    return Report("embed", {**settings, "model": list(model)}, [table], turns.left_out)


def ours(path: Path) -> Iterator[tuple[str, Embedder]]:
    """A model as imgindex computes it: by ONNX Runtime, and by OpenVINO where it takes that.

    Returns:
        What to call it, and the loaded model.
    """
    for device in ("cpu", "openvino") if computes_bfloat16() else ("cpu",):
        embedder = Embedder(path, device)
        name = embedder.card.name
        parts = [f"imgindex {embedder.precision}"]
        parts += ["OpenVINO"] * (device == "openvino") + [name] * (name != NETWORK)
        yield ", ".join(parts), embedder


def named(name: str, path: Path, taken: Container[str]) -> str:
    """A name for the tables: with the file where it is taken."""
    return f"{name} ({path.name})" if name in taken else name


def _agreement(right: NDArray[np.float64], rows: Rows) -> dict[str, float]:
    """How near unit vectors are to the right ones; nothing where they are of another length."""
    if rows.shape != right.shape:
        return {}
    return {
        "lowest cosine": float((right * rows).sum(axis=1).min()),
        "largest difference": float(np.abs(right - rows).max()),
    }


def _plain_session(file: Path) -> Encode:
    session = ort.InferenceSession(file, ort.SessionOptions(), ["CPUExecutionProvider"])
    return lambda pixels: np.asarray(session.run(["embedding"], {"image": pixels})[0])


def _openvinos(file: Path, models: tuple[Path, ...], turns: Turns) -> Iterator[tuple[str, Encode]]:
    """The same files in OpenVINO, which of itself takes bfloat16 where the processor has it."""
    import openvino

    core = openvino.Core()
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    wanted = [("float32", file, "f32")]
    if "BF16" in able:
        wanted.append(("bfloat16", file, "bf16"))
    else:
        turns.leave_out("OpenVINO bfloat16", "this processor has no instructions for it")
    wanted += [(path.stem, path, "f32") for path in models]
    for name, path, precision in wanted:
        hints = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": cores(),
        }
        try:
            compiled = core.compile_model(core.read_model(path), "CPU", hints)
        except Exception as error:  # noqa: BLE001 - it need not know every operator
            turns.leave_out(f"OpenVINO {name}", error)
            continue
        yield f"OpenVINO {name}", partial(_infer, compiled)


def _infer(compiled: Callable[[dict[str, Pixels]], dict[str, Rows]], pixels: Pixels) -> Rows:
    return np.array(compiled({"image": pixels})["embedding"])
