"""Tell beforehand what a library of so many pictures needs, and what breaks first.

    python scripts/plan_scale.py 1_000_000                     on one machine like the one measured
    python scripts/plan_scale.py 100M --machines 16 --cores 32 --ram 256 --disk 4
    python scripts/plan_scale.py 1M 100M 10B --machines 1 16 1000 --markdown
    python scripts/plan_scale.py 100M --machines 16 --gpus 4 --gpu-rate 2000 --json

Every option takes one value, or one for each number of pictures. One machine holds a local library;
several hold one on Milvus, and share the work. All figures come from constants that were measured
on two cores of one machine, and are scaled in proportion where nothing else is said: take them for
the size of things. No GPU was ever measured, so whoever has some says how many pictures a second
each embeds.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from scaling import DAY, EMBEDDED_A_CORE_SECOND, GROUPED, Given, assumptions, limits, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scaling import Limit, Plan

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments, plan, and tell."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    try:
        given = _each(asked)
    except ValueError as error:
        parser.error(str(error))
    plans, first = [plan(one) for one in given], [limits(one) for one in given]
    if asked.json:
        told = {
            "plans": [
                {"given": asdict(one), **asdict(its), "limits": [asdict(limit) for limit in some]}
                for one, its, some in zip(given, plans, first, strict=True)
            ],
            "assumptions": assumptions(given),
        }
        print(json.dumps(told, indent=2))
        return
    table = _table(given, plans, first)
    if asked.markdown:
        lines = ["| " + " | ".join(line) + " |" for line in table]
        lines.insert(1, "|" + "---|" * len(table[0]))
    else:
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in table
        ]
    print("\n".join(lines))
    print("\nAssumed:\n")
    print("\n".join(f"- {one}" for one in assumptions(given)))


def _table(
    given: Sequence[Given], plans: Sequence[Plan], breaks: Sequence[Sequence[Limit]]
) -> list[list[str]]:
    """Lines of cells: a name, and what it is of each plan."""
    every = list(zip(given, plans, breaks, strict=True))
    lines: list[tuple[str, Callable[[Given, Plan, Sequence[Limit]], str]]] = [
        ("pictures", lambda g, _p, _b: _counted(g.pictures)),
        ("machines", lambda g, _p, _b: _machines(g)),
        ("store", lambda _g, p, _b: p.store),
        ("rows", lambda _g, p, _b: _size(p.rows)),
        ("memory to search in", lambda g, p, _b: _of(p.memory, g.ram * 1e9 * g.machines)),
        ("on disk", lambda g, p, _b: _of(p.disk, g.disk * 1e12 * g.machines)),
        ("picture files", lambda _g, p, _b: _size(p.read)),
        ("over the network", lambda _g, p, _b: _size(p.network) if p.network else "nothing"),
        ("embedding", lambda _g, p, _b: f"{_time(p.embed)}, most of it {p.embed_bound}"),
        ("building the index", lambda _g, p, _b: _time(p.link)),
        ("a search walks", lambda _g, p, _b: _graphs(p)),
        ("searches a second", lambda _g, p, _b: f"{_round(p.searches)} at most"),
        ("grouping", lambda g, p, _b: f"{_time(p.group)} ({_space(g)})"),
        ("its largest machine", lambda g, p, _b: _of(p.group_memory, g.ram * 1e9)),
        ("breaks first", lambda g, _p, b: "; ".join(_told(one) for one in _broken(g, b))),
        ("what to do", lambda g, _p, b: "; ".join(_remedies(g, b))),
    ]
    return [[name, *(tell(*one) for one in every)] for name, tell in lines]


def _machines(given: Given) -> str:
    gpus = f", {given.gpus} GPUs" if given.gpus else ""
    count = f"{given.machines:,} x " if given.machines > 1 else ""
    return f"{count}{given.cores} cores, {given.ram:g} GB, {given.disk:g} TB{gpus}"


def _graphs(plan: Plan) -> str:
    graphs = "1 graph" if plan.segments == 1 else f"{_round(plan.segments)} graphs"
    return f"{graphs}, {_time(plan.search)} of a core"


def _space(given: Given) -> str:
    return "descriptor" if given.on_milvus else given.space


def _broken(given: Given, breaks: Sequence[Limit]) -> Sequence[Limit]:
    """All that such a number does not fit, else what comes first."""
    return [one for one in breaks if one.pictures < given.pictures] or breaks[:1]


def _told(limit: Limit) -> str:
    return f"{limit.what}, at {_counted(limit.pictures)}"


def _remedies(given: Given, breaks: Sequence[Limit]) -> dict[str, None]:
    return dict.fromkeys(remedy for one in _broken(given, breaks) for remedy in one.remedies)


def _counted(number: float) -> str:
    for name, size in (("billion", 10**9), ("million", 10**6), ("thousand", 10**3)):
        if number >= size:
            return f"{_round(number / size).removesuffix('.0')} {name}"
    return f"{number:.0f}"


def _round(number: float, digits: int = 2) -> str:
    """As many digits as count; no figure here is better than two."""
    if number <= 0:
        return "0"
    behind = digits - 1 - math.floor(math.log10(number))
    return f"{round(number, behind):,.{max(0, behind)}f}"


def _size(size: float, digits: int = 2) -> str:
    units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
    at = min(len(units) - 1, max(0, int(math.log10(max(size, 1)) // 3)))
    return f"{_round(size / 1000**at, digits)} {units[at]}"


def _of(needed: float, there: float) -> str:
    number, unit = _size(there, 3).split()
    return f"{_size(needed)} of {float(number.replace(',', '')):g} {unit}"


def _time(seconds: float) -> str:
    for unit, size in (("years", 365 * DAY), ("days", DAY), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= 2 * size:
            return f"{_round(seconds / size)} {unit}"
    return f"{_round(seconds * 1000)} ms"


def _pictures(text: str) -> int:
    """A number of pictures, as ``1_000_000``, ``100M`` or ``2.5B``."""
    found = re.fullmatch(r"(\d[\d_,]*(?:\.\d+)?)([kMB]?)", text)
    number = float(found[1].replace(",", "").replace("_", "")) * _UNITS[found[2]] if found else 0
    if number < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of pictures; give 1 or more, as 250000, 100M or 2.5B"
        )
    return round(number)


def _above(least: float, kind: type[int | float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = math.nan
        if not (least <= number < math.inf) or (kind is float and number <= 0):
            whole = "a whole number" if kind is int else "a number"
            bound = f"of at least {least:g}" if kind is int else "above 0"
            raise argparse.ArgumentTypeError(f"{text!r} is not {whole} {bound}")
        return number

    return read


def _each(asked: argparse.Namespace) -> list[Given]:
    """One record a number of pictures.

    Raises:
        ValueError: an option has neither one value nor as many as there are numbers of pictures,
            or there are GPUs and nobody says how fast they are.
    """
    count = len(asked.pictures)
    given = []
    for at in range(count):
        values: dict[str, Any] = {}
        for name, some in vars(asked).items():
            if name in {"json", "markdown"}:
                continue
            if len(some) not in {1, count}:
                raise ValueError(
                    f"--{name.replace('_', '-')} has {len(some)} values for {count} "
                    f"number{'s' if count > 1 else ''} of pictures; give one, or one for each"
                )
            values[name] = some[at % len(some)]
        one = Given(**values)
        if one.gpus and not one.gpu_rate:
            raise ValueError(
                "say with --gpu-rate how many pictures a second one GPU embeds; we have measured "
                "none. On a machine that has one, python scripts/bench.py embed tells"
            )
        given.append(one)
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", nargs="+", type=_pictures, help="as 250000, 100M or 2.5B")

    def option(name: str, kind: Callable[[str], Any], text: str, **more: Any) -> None:
        default = getattr(Given(1), name.replace("-", "_"))
        parser.add_argument(
            f"--{name}",
            nargs="+",
            type=kind,
            default=[default],
            help=f"{text} [default: {default}]",
            **more,
        )

    option("dimension", _above(1, int), "numbers of an embedding")
    option("machines", _above(1, int), "how many")
    option("cores", _above(1, int), "of each machine")
    option("ram", _above(0, float), "of each machine, GB")
    option("disk", _above(0, float), "of each machine, TB")
    option("gbit", _above(0, float), "network of each machine, gigabits a second")
    option("gpus", _above(0, int), "of each machine")
    option("gpu-rate", _above(0, float), "pictures a second that one GPU embeds")
    option("megapixels", _above(0, float), "of a picture")
    option("precision", str, "how CPUs embed", choices=list(EMBEDDED_A_CORE_SECOND))
    option("space", str, "what is grouped on one machine", choices=list(GROUPED))
    option("replicas", _above(1, int), "copies in memory that searches are spread over")
    option("segment", _above(0, float), "of Milvus, MB (dataCoord.segment.maxSize)")
    option("days", _above(0, float), "that embedding, linking or grouping may take")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="bytes, seconds and every limit")
    shape.add_argument("--markdown", action="store_true", help="a table as README has it")
    return parser


if __name__ == "__main__":
    main()
