"""Train imgindex's own VGG16, choose how it looks at pictures, and make it small enough to ship.

    python scripts/train_vgg16.py --data POOL --run build/vgg16

The pool is a folder with labelled pictures (``pool-*.parquet``: set, label, image), the teacher's
network (``*.tflite``) and its features of the whole pool (``teacher.npz``). One modern GPU takes
about --minutes, and a few more; --stop-after ends a run early and cleanly, and the same command
goes on from there (exit status 1 as long as something is left to do).

Into --run go: checkpoint.pt, vgg16.npz (trained weights, batch normalisation folded away),
curve.png, preprocessing.md and .json (what was measured), vgg16-imgindex.onnx (what ships: copy it
to models/), report.json.

Beside imgindex's own packages this needs: pip install torch pyarrow matplotlib
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from training import data

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from training.train import Run

    from imgindex.graph import Weights
    from imgindex.records import Pixels

_LEARNED, _CALIBRATING, _COMPARED = 8000, 200, 1000


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the pool")
    parser.add_argument("--run", type=Path, default=Path("build/vgg16"), help="where all goes")
    parser.add_argument("--minutes", type=float, default=16, help="to train for, in all")
    parser.add_argument("--stop-after", type=float, help="minutes until this call stops training")
    parser.add_argument(
        "--finish", action="store_true", help="take the checkpoint as trained, however far it is"
    )
    parser.add_argument("--batch", type=int, default=1024, help="pictures a step")
    parser.add_argument(
        "--sizes", type=int, nargs=3, default=(96, 128, 160), help="sides to train at, in turn"
    )
    parser.add_argument(
        "--measured",
        type=int,
        nargs="+",
        default=(128, 160, 192, 224),
        help="sides to choose from afterwards",
    )
    parser.add_argument(
        "--fitting", type=int, default=400, help="steps to fit weights to eight bits, if need be"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=0, help="about so many pictures of the pool")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="to decode pictures")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Do every step that is not done yet."""
    began = time.monotonic()
    options = arguments(given)
    until = began + options.stop_after * 60 if options.stop_after else float("inf")
    options.run.mkdir(parents=True, exist_ok=True)
    train, apart = data.split(data.read(options.data, options.limit), options.seed)
    counts = {name: len(pool) for name, pool in apart.items()}
    print(f"{len(train)} pictures to train on, kept out: {counts}", flush=True)
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as workers:
        if not (options.run / "vgg16.npz").exists():
            taught(options, train, apart, workers, until)
        if not (options.run / "report.json").exists():
            finished(options, train, apart, workers)
    print((options.run / "report.json").read_text("utf-8"))


def taught(
    options: argparse.Namespace,
    train: data.Pool,
    apart: dict[str, data.Pool],
    workers: Executor,
    until: float,
) -> None:
    """Train, or go on training, and write the folded weights."""
    import torch
    from training import network
    from training.measure import Validation
    from training.plan import Plan
    from training.teacher import Teacher
    from training.train import Lesson, Material, Run, go_on, planned

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    material = Material.of(train, device, workers)
    validation = Validation(apart, options.data, device, workers)
    print(f"the teacher's P@10: {validation.teachers}", flush=True)
    teacher = Teacher(options.data, device)
    lesson = Lesson(material, teacher, validation, device)
    run = Run.begin(material.labels, device, options.seed)
    path = options.run / "checkpoint.pt"
    if path.exists():
        run.load(path, device)
        print(f"going on at step {run.step}", flush=True)
    else:
        wanted = Plan(1, options.batch, tuple(options.sizes), options.seed)
        run.plan = planned(run, lesson, wanted, options.minutes * 60)
        run.save(path)
    print(run.plan, flush=True)
    done = options.finish or go_on(run, lesson, path, until)
    plot(run, validation.teachers["mean"], options.run / "curve.png")
    if not done:
        sys.exit(f"stopped at step {run.step}; the same command goes on from here")
    weights = network.fold(run.averaged)
    arrays = {
        f"{name}/{part}": array
        for name, pair in weights.layers.items()
        for part, array in zip(("kernel", "bias"), pair, strict=True)
    }
    part = options.run / "part.npz"
    np.savez(part, allow_pickle=False, **arrays)
    part.replace(options.run / "vgg16.npz")


def trained(path: Path) -> Weights:
    """Read the folded weights back."""
    from imgindex.graph import TORCH, Weights
    from imgindex.vgg16 import CONVOLUTIONS

    with np.load(path) as file:
        layers = {name: (file[f"{name}/kernel"], file[f"{name}/bias"]) for name in CONVOLUTIONS}
    return Weights(layers, TORCH)


def finished(
    options: argparse.Namespace,
    train: data.Pool,
    apart: dict[str, data.Pool],
    workers: Executor,
) -> None:
    """Choose the preprocessing, build the graph, make it small, and write the report."""
    import torch
    from training import export, measure, network, rounding

    from imgindex import graph

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = False  # too many sizes to try everything for each
    weights = trained(options.run / "vgg16.npz")
    features = network.plain(weights).to(device, memory_format=torch.channels_last)
    teachers = measure.Validation(apart, options.data, device, workers).teachers
    measured = measure.Measured(features, train, apart, device)
    path = options.run / "preprocessing.json"
    if not path.exists():
        path.write_text(measure.as_json(list(measured.every(options.measured, workers))), "utf-8")
    choices = [measure.Choice(**row) for row in json.loads(path.read_text("utf-8"))]
    choice = measure.best(choices)
    table = measure.table(choices, choice, teachers)
    (options.run / "preprocessing.md").write_text(table, "utf-8")
    print(table, flush=True)
    projection = measured.projection(choice, workers)
    model = export.whole(weights, choice, projection)
    (options.run / "whole.onnx").write_bytes(model)

    def squares(pool: data.Pool) -> Pixels:
        return data.squares(pool.images, choice.size, choice.fit, workers)

    learned = squares(data.sample({"": train}, _LEARNED))

    def fitted() -> bytes:
        kinder = rounding.tuned(
            weights, choice, projection, learned, steps=options.fitting, device=device
        )
        return export.whole(kinder, choice, projection)

    compared = data.sample(apart, _COMPARED)
    small, tried = export.smallest(
        model,
        fitted,
        learned[:: max(1, len(learned) // _CALIBRATING)],
        (squares(compared), data.classes(compared)[0]),
    )
    graph.save(options.run / f"{export.NAME}.onnx", small)
    report: dict[str, Any] = {
        "choice": asdict(choice),
        "teacher": teachers,
        "ratio": choice.scores["mean"] / teachers["mean"],
        "small": [asdict(one) for one in tried],
    }
    (options.run / "report.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")


def plot(run: Run, teachers: float, path: Path) -> None:
    """Draw the parts of the loss, and precision on the kept-out pictures, over the steps."""
    from matplotlib.figure import Figure
    from training.losses import SHARES

    figure = Figure((12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for kind in SHARES:
        steps = [row["step"] for row in run.curve]
        left.plot(steps, [row[kind] for row in run.curve], label=kind)
    left.set(title="parts of the loss", xlabel="step", yscale="log")
    for kind in run.scores[-1] if run.scores else ():
        if kind != "step":
            values = [row[kind] for row in run.scores]
            right.plot([row["step"] for row in run.scores], values, label=kind)
    right.axhline(teachers, color="grey", linestyle="--", label="mean of the teacher")
    right.set(title="precision at 10, never trained on", xlabel="step", ylim=(0, 1))
    for axes in (left, right):
        axes.legend(fontsize="small", loc="best", framealpha=0.6)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
