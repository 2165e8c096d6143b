"""Methods measured in turn, and what is made of it: medians, ratios, tables, JSON, plots.

Machines are noisy, and for minutes at a time. So every method has its turn in every round, each
round in another order, and methods are compared within rounds: a ratio is the median of the ratios
of the rounds.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Threads of some libraries wait busily for more work, for a while, and would disturb the next.
PAUSE = 0.2
_PACKAGES = (
    *("imgindex", "numpy", "onnxruntime-gpu", "onnxruntime", "hnswlib", "pillow"),
    *("torch", "torchvision", "openvino", "faiss-cpu", "usearch", "imagededup"),
)
_SHOWN_WHOLE = 100
_FORMS = {
    "lowest cosine": ".6f",
    "largest difference": ".1e",
    "recall@10": ".4f",
    "of the bare network": ".0%",
}


def peak() -> int:
    """Most memory that this process has held, in kB."""
    with suppress(OSError):
        # What the other counter says of a new process may be its parent's.
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Method:
    """One thing to measure.

    Attributes:
        work: what is timed.
        before: called ahead of each turn, outside the time.
        after: called behind it.
    """

    work: Callable[[], object]
    before: Callable[[], object] = nothing
    after: Callable[[], object] = nothing

    def turn(self) -> tuple[float, float]:
        """Do it once: the seconds it took, and how many cores this process kept busy."""
        self.before()
        busy, began = time.process_time(), time.perf_counter()
        self.work()
        spent = time.perf_counter() - began
        busy = time.process_time() - busy
        self.after()
        return spent, busy / spent


@dataclass(frozen=True, slots=True)
class Taken:
    """What the turns of one method gave, a figure a round: seconds, and cores kept busy."""

    seconds: list[float] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Turns:
    """How methods take turns, and what could not take part.

    Attributes:
        rounds: how many.
        pause: seconds of rest ahead of a turn.
        left_out: a line for each method that is not here or fails; the others go on without it.
    """

    rounds: int
    pause: float = PAUSE
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, name: str, why: object) -> None:
        """Note, once, why something is missing from the tables."""
        told = (str(why).strip().splitlines() or [type(why).__name__])[0]
        if (line := f"{name}: {told}") not in self.left_out:
            self.left_out.append(line)

    def missing(self, module: str) -> bool:
        """Whether a peer is not installed; if so, that is noted."""
        if find_spec(module):
            return False
        self.leave_out(module, "not installed (scripts/bench_peers installs it)")
        return True

    def take(self, methods: Mapping[str, Method]) -> dict[str, Taken]:
        """Measure all methods in every round, after one turn each that is not counted."""
        taken = {}
        for name, method in methods.items():
            try:
                method.turn()
            except Exception as error:  # noqa: BLE001 - whatever a peer raises, it is left out
                self.leave_out(name, error)
            else:
                taken[name] = Taken()
        names = list(taken)
        for at in range(self.rounds):
            # Nobody shall always follow the same one.
            for place in np.random.default_rng(at).permutation(len(names)):
                time.sleep(self.pause)
                seconds, busy = methods[names[place]].turn()
                taken[names[place]].seconds.append(seconds)
                taken[names[place]].cores.append(busy)
        return taken


def paired_ratio(figures: Sequence[float], reference: Sequence[float]) -> float:
    """Median of the ratios of two methods' figures, round by round."""
    return statistics.median(a / b for a, b in zip(figures, reference, strict=True))


@dataclass(frozen=True, slots=True)
class Table:
    """One set of methods under one condition.

    Attributes:
        title: what was measured; tables of one title with different ``at`` are lines of one plot.
        unit: of the figures.
        reference: the method whose figures the others' are divided by.
        figures: by method, one a round.
        more: further columns, by method.
        at: size of the problem, where that is what differs between tables of one title.
    """

    title: str
    unit: str
    reference: str
    figures: dict[str, list[float]]
    more: dict[str, dict[str, Any]] = field(default_factory=dict)
    at: int | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One record a method."""
        base = self.figures[self.reference]
        return [
            {
                "method": name,
                "median": statistics.median(figures),
                "ratio": paired_ratio(figures, base),
                "rounds": figures,
                **self.more.get(name, {}),
            }
            for name, figures in self.figures.items()
        ]

    @property
    def heading(self) -> str:
        """The title, with the size of the problem."""
        return self.title if self.at is None else f"{self.title}, n = {self.at:,}"

    def as_markdown(self) -> str:
        """A table that is readable as text, too."""
        rows = self.rows()
        further = list(dict.fromkeys(key for row in self.more.values() for key in row))
        lines = [["method", self.unit, "range", "ratio", *further]]
        lines += [
            [
                row["method"],
                short(row["median"]),
                f"{short(min(row['rounds']))} to {short(max(row['rounds']))}",
                f"{row['ratio']:.2f}",
                *(short(row.get(key), _FORMS.get(key)) for key in further),
            ]
            for row in rows
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        shown = [
            f"| {' | '.join([one[0].ljust(widths[0]), *map(str.rjust, one[1:], widths[1:])])} |"
            for one in (lines[0], rule, *lines[1:])
        ]
        return "\n".join([f"**{self.heading}** (ratio to: {self.reference})", "", *shown])


@dataclass(frozen=True, slots=True)
class Report:
    """All that one run measured.

    Attributes:
        bench: which.
        settings: what it was asked for.
        tables: the figures.
        left_out: what could not be measured, and why, a line each.
    """

    bench: str
    settings: dict[str, Any]
    tables: list[Table]
    left_out: list[str]

    def as_json(self) -> str:
        """Everything, every round included."""
        told = {
            "bench": self.bench,
            "settings": self.settings,
            "machine": machine(),
            "tables": [
                {
                    "title": table.title,
                    "unit": table.unit,
                    "reference": table.reference,
                    "at": table.at,
                    "rows": table.rows(),
                }
                for table in self.tables
            ],
            "left_out": self.left_out,
        }
        return json.dumps(told, indent=1, default=str) + "\n"

    def as_markdown(self) -> str:
        """What it ran on, the tables, what is missing."""
        here = machine()
        versions = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
        parts = [f"{here['processor']}, {counted_cores()}, Python {here['python']}; {versions}"]
        parts += [table.as_markdown() for table in self.tables]
        if self.left_out:
            parts.append("\n".join(f"- left out: {line}" for line in self.left_out))
        return "\n\n".join(parts) + "\n"

    def plot(self, path: Path) -> None:
        """Draw it: lines over the size of the problem where there are several, else bars."""
        from matplotlib.figure import Figure

        titles: dict[str, list[Table]] = {}
        for table in self.tables:
            titles.setdefault(table.title, []).append(table)
        figure = Figure(figsize=(8, 4.5 * len(titles)), layout="constrained")
        spots = figure.subplots(len(titles), squeeze=False)[:, 0]
        for axes, (title, tables) in zip(spots, titles.items(), strict=True):
            axes.set_title(title)
            (_lines if len(tables) > 1 else _bars)(axes, tables)
        figure.savefig(path, dpi=120)


def _lines(axes: Any, tables: list[Table]) -> None:
    for name in dict.fromkeys(name for table in tables for name in table.figures):
        points = [
            (table.at, statistics.median(table.figures[name]))
            for table in tables
            if name in table.figures
        ]
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="n", ylabel=tables[0].unit)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")


def _bars(axes: Any, tables: list[Table]) -> None:
    (table,) = tables
    names = list(table.figures)
    medians = [statistics.median(table.figures[name]) for name in names]
    reach = [
        [middle - min(table.figures[name]), max(table.figures[name]) - middle]
        for name, middle in zip(names, medians, strict=True)
    ]
    axes.barh(names, medians, xerr=np.transpose(reach), capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel(table.unit)


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def counted_cores() -> str:
    """The same, in words."""
    return "1 core" if cores() == 1 else f"{cores()} cores"


def machine() -> dict[str, Any]:
    """What it ran on."""
    processor = platform.processor() or platform.machine()
    told = Path("/proc/cpuinfo")
    if told.exists():
        for line in told.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": processor,
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions,
    }


def short(value: Any, form: str | None = None) -> str:
    """A cell of a table: a number in the form of its column, else with three digits."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    if form:
        return format(value, form)
    return f"{value:,.0f}" if abs(value) >= _SHOWN_WHOLE else f"{value:.3g}"
