"""The loop: views, the teacher's say, one step; averaged weights; saved so that it can go on."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from . import augment, data, losses, measure, network
from .plan import MARKS, Plan, steps_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from pathlib import Path

    from .teacher import Teacher

_SHARP_SHARE = 0.3
_DECAY = 0.05
_LONGEST_GRADIENT = 5.0
_TRIED = (3, 8)
_LINES = 200
_RECOUNTED = 100
_SPARE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """The training pictures on the device, those of 64 pixels apart from the sharp ones.

    Attributes:
        pixels: two uint8 [n, s, s, 3], the whole pictures squashed to squares.
        aspects: two float32 [n], their true width over height.
        targets: two int64 [n], see `data.classes`.
        spans: two int64 [n, 2].
        labels: number of classes.
    """

    pixels: tuple[Any, Any]
    aspects: tuple[Any, Any]
    targets: tuple[Any, Any]
    spans: tuple[Any, Any]
    labels: int

    @classmethod
    def of(cls, pool: data.Pool, device: Any, workers: Executor | None) -> Material:
        """Decode a pool and bring it to the device."""
        targets, spans = data.classes(pool)
        parts = [np.flatnonzero(~pool.sharp), np.flatnonzero(pool.sharp)]
        pixels, shapes = [], []
        for places, side in zip(parts, (data.SMALL, data.SHARP), strict=True):
            images = pool.take(places).images
            pixels.append(torch.from_numpy(data.squares(images, side, workers=workers)).to(device))
            shapes.append(torch.from_numpy(data.aspects(images, workers)).to(device))

        def sides(array: Any) -> tuple[Any, Any]:
            first, second = (torch.from_numpy(array[places]).to(device) for places in parts)
            return first, second

        return cls(
            (pixels[0], pixels[1]),
            (shapes[0], shapes[1]),
            sides(targets),
            sides(spans),
            int(spans.max()),
        )

    def draw(self, count: int, size: int, generator: Any) -> tuple[Any, tuple[Any, Any, Any]]:
        """Make one batch.

        Returns:
            Views float32 [count, 3, size, size], and the task as `losses.total` wants it.
        """
        sharp = round(_SHARP_SHARE * count)
        made, targets, spans = [], [], []
        for kind, share in enumerate((count - sharp, sharp)):
            chosen = torch.randint(
                len(self.pixels[kind]), (share,), generator=generator, device=generator.device
            )
            shapes = self.aspects[kind][chosen]
            made.append(augment.views(self.pixels[kind][chosen], shapes, size, generator))
            targets.append(self.targets[kind][chosen])
            spans.append(self.spans[kind][chosen])
        order = torch.randperm(count, generator=generator, device=generator.device)
        views, mixed = augment.mix(torch.cat(made)[order], generator)
        return views, (torch.cat(targets)[order], torch.cat(spans)[order], ~mixed)


@dataclass(slots=True, eq=False)
class Run:
    """All that changes while training.

    Attributes:
        pupil: what learns, see `network.pupil`.
        averaged: the running mean of its features, which is what ships.
        optimiser: AdamW (Loshchilov & Hutter, arXiv:1711.05101).
        step: how many steps are done.
        plan: what is to be done; None until the throughput is known.
        curve: one row a line of progress: step, size, the parts of the loss, pictures a second.
        scores: one row a validation: step and precision at 10 by set.
    """

    pupil: Any
    averaged: Any
    optimiser: Any
    step: int = 0
    plan: Plan | None = None
    curve: list[dict[str, float]] = field(default_factory=list)
    scores: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def begin(cls, labels: int, device: Any, seed: int) -> Run:
        """Set out with random weights."""
        torch.manual_seed(seed)
        pupil = network.pupil(labels).to(device, memory_format=torch.channels_last)
        decaying = [value for value in pupil.parameters() if value.ndim > 1]
        others = [value for value in pupil.parameters() if value.ndim <= 1]
        groups = [
            {"params": decaying, "weight_decay": _DECAY},
            {"params": others, "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=device.type == "cuda")
        averaged = copy.deepcopy(pupil.features).eval().requires_grad_(requires_grad=False)
        return cls(pupil, averaged, optimiser)

    def save(self, path: Path) -> None:
        """Write everything, whole or not at all."""
        part = path.with_suffix(".part")
        state = {
            "pupil": self.pupil.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "plan": asdict(self.plan) if self.plan else None,
            "curve": self.curve,
            "scores": self.scores,
        }
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path, device: Any) -> None:
        """Go on where `save` was called."""
        state = torch.load(path, map_location=device, weights_only=True)
        self.pupil.load_state_dict(state["pupil"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.curve, self.scores = state["step"], state["curve"], state["scores"]
        self.plan = Plan(**state["plan"])


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a step needs beside the run itself: pictures, teacher, and the kept-out pictures."""

    material: Material
    teacher: Teacher
    validation: measure.Validation
    device: Any

    def step(self, run: Run, plan: Plan, see: Callable[[Any], Any]) -> Any:
        """Do one step; every random number of it follows from the seed and the step's number.

        Args:
            run: what changes.
            plan: what is to be done.
            see: the pupil's features, perhaps compiled.

        Returns:
            float32 [parts], the parts of the loss, left on the device.
        """
        generator = torch.Generator(self.device).manual_seed(plan.seed * 1_000_003 + run.step)
        size = plan.size(run.step)
        views, task = self.material.draw(plan.batch, size, generator)
        with torch.no_grad():
            feature, scores = self.teacher(views)
        for group in run.optimiser.param_groups:
            group["lr"] = plan.rate(run.step)
        with network.quick(self.device):
            maps = see(network.scaled(views))
        loss, parts = losses.total(run.pupil, maps, (self.teacher.code(feature), scores), task)
        loss.backward()
        nn.utils.clip_grad_norm_(run.pupil.parameters(), _LONGEST_GRADIENT)
        run.optimiser.step()
        run.optimiser.zero_grad(set_to_none=True)
        blend(run.averaged, run.pupil.features, 1 - plan.averaging(run.step))
        run.step += 1
        return parts


def blend(mean: Any, network: Any, share: float) -> None:
    """Move a running mean of weights and statistics a share of the way."""
    with torch.no_grad():
        news = network.state_dict()
        for name, value in mean.state_dict().items():
            if value.is_floating_point():
                value.lerp_(news[name], share)


def compiled(run: Run, lesson: Lesson, plan: Plan) -> Callable[[Any], Any]:
    """Compile the pupil's features where that works; else they run as they are."""
    if lesson.device.type != "cuda":
        return run.pupil.features  # type: ignore[no-any-return]  # torch brings no types here
    see = torch.compile(run.pupil.features, dynamic=False)
    try:
        timed(run, lesson, plan, see)
    except Exception as error:  # noqa: BLE001 - a missing compiler shows in many ways
        print(f"not compiled, which is slower: {error!r:.300}", flush=True)
        return run.pupil.features  # type: ignore[no-any-return]
    return see  # type: ignore[no-any-return]


def timed(run: Run, lesson: Lesson, plan: Plan, see: Callable[[Any], Any]) -> float:
    """Take the time of one step at the plan's present size, in seconds; nothing is changed."""
    held = copy.deepcopy((run.pupil.state_dict(), run.averaged.state_dict(), run.step))
    optimiser = copy.deepcopy(run.optimiser.state_dict())
    warm, taken = _TRIED if lesson.device.type == "cuda" else (0, 1)
    began = 0.0
    try:
        for turn in range(-warm, taken):
            if turn == 0:
                _wait(lesson.device)
                began = time.perf_counter()
            run.step = held[2]
            lesson.step(run, plan, see)
        _wait(lesson.device)
        return (time.perf_counter() - began) / taken
    finally:
        run.pupil.load_state_dict(held[0])
        run.averaged.load_state_dict(held[1])
        run.optimiser.load_state_dict(optimiser)
        run.optimiser.zero_grad(set_to_none=True)
        run.step = held[2]


def planned(run: Run, lesson: Lesson, plan: Plan, seconds: float) -> Plan:
    """Try each size of a plan, and set its steps to what fits the time.

    Validations are timed too. A twentieth is left for saving, and for a card that slows when hot.
    """
    each = {}
    for size in sorted(set(plan.sizes)):
        trial = replace(plan, sizes=(size, size, size))
        each[size] = timed(run, lesson, trial, compiled(run, lesson, trial))
        print(f"{size} px: {plan.batch / each[size]:,.0f} pictures/s", flush=True)
    aside = 0.0
    for _ in range(2):  # the first one also finds out how to compute
        began = time.perf_counter()
        validated(run.averaged, lesson, plan)
        aside = MARKS * (time.perf_counter() - began)
    print(f"{aside:.0f} s of validation", flush=True)
    return replace(plan, steps=steps_in((1 - _SPARE) * seconds - aside, each, plan.sizes))


def go_on(run: Run, lesson: Lesson, path: Path, until: float) -> bool:
    """Train up to the end of the plan, or to a moment of `time.monotonic`.

    Progress goes to standard output, the state to ``path`` at every mark and at the moment.

    Returns:
        Whether the plan is done.

    Raises:
        FloatingPointError: the loss is no number any more; what was saved before is whole.
    """
    plan = run.plan
    if plan is None:
        raise ValueError("no plan was made")
    see = compiled(run, lesson, plan)
    parts: list[Any] = []
    every = max(1, plan.steps // _LINES)
    began = time.perf_counter()
    while run.step < plan.steps:
        late = time.monotonic() > until
        if not late:
            parts.append(lesson.step(run, plan, see))
        if (late or run.step % every == 0 or plan.marked(run.step)) and parts:
            means = torch.stack(parts).mean(0).tolist()  # waits for the device
            rate = len(parts) * plan.batch / (time.perf_counter() - began)
            _report(run, plan, dict(zip(losses.SHARES, means, strict=True)), rate)
            parts, began = [], time.perf_counter()
        if late or plan.marked(run.step):
            if not late:
                run.scores.append({"step": run.step, **validated(run.averaged, lesson, plan)})
            run.save(path)
            began = time.perf_counter()
        if late:
            return False
    recounted(run, lesson, plan)
    run.save(path)
    return True


def validated(network: Any, lesson: Lesson, plan: Plan) -> dict[str, float]:
    """Measure features on the kept-out pictures, at the size they will be used at."""
    scores = lesson.validation.score(network, plan.sizes[-1], lesson.device)
    mean = scores["mean"]
    ratio = mean / lesson.validation.teachers["mean"]
    rows = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
    print(f"  P@10: {rows}; {ratio:.1%} of the teacher's", flush=True)
    return scores


def recounted(run: Run, lesson: Lesson, plan: Plan) -> None:
    """Count the averaged network's statistics anew, on whole pictures; keep them if better."""
    trial = copy.deepcopy(run.averaged).train()
    for module in trial.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over all batches
    generator = torch.Generator(lesson.device).manual_seed(plan.seed)
    for _ in range(min(_RECOUNTED, plan.steps)):
        parts = []
        for pixels, share in zip(
            lesson.material.pixels, (1 - _SHARP_SHARE, _SHARP_SHARE), strict=True
        ):
            chosen = torch.randint(
                len(pixels),
                (round(share * plan.batch),),
                generator=generator,
                device=generator.device,
            )
            parts.append(measure.resized(pixels[chosen], plan.sizes[-1]))
        with torch.no_grad(), network.quick(lesson.device):
            trial(network.scaled(torch.cat(parts)))
    print("statistics counted anew:")
    scores = validated(trial.eval(), lesson, plan)
    if scores["mean"] >= run.scores[-1]["mean"]:
        run.averaged.load_state_dict(trial.state_dict())
        run.scores.append({"step": run.step, **scores})


def _report(run: Run, plan: Plan, means: dict[str, float], rate: float) -> None:
    size = plan.size(run.step - 1)
    run.curve.append({"step": run.step, "size": size, "rate": rate, **means})
    total = sum(losses.SHARES[name] * value for name, value in means.items())
    if not math.isfinite(total):
        raise FloatingPointError(f"the loss is {total} at step {run.step}: {means}")
    rows = " ".join(f"{name} {value:.3f}" for name, value in means.items())
    left = (plan.steps - run.step) * plan.batch / rate / 60
    print(
        f"{run.step}/{plan.steps} {size} px loss {total:.3f} ({rows}) "
        f"{rate:,.0f} pictures/s, {left:.1f} min to go at this rate",
        flush=True,
    )


def _wait(device: Any) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
