"""Measure how well models see your own pictures, on a tree of folders that sorts them.

The class of a picture is the folder that directly holds it. Every picture is looked up among all
the others, by exact cosine, and what lies in its class is right. Then the groups, which are found
without knowing the classes, are compared with them.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import numpy as np
import typer
from measures import DEPTHS, agreement, interval, rank

from imgindex import ImgindexError, Library, models, open_store
from imgindex.cli.show import (
    SKIPPED,
    as_columns,
    as_json,
    command,
    counted,
    line,
    progress_bar,
    skipped_lines,
)
from imgindex.config import Settings
from imgindex.errors import SettingError
from imgindex.records import MIN_CLUSTER_SIZE, Skipped, Space, no_progress, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from measures import Groups, Ranking
    from numpy.typing import NDArray

    from imgindex.records import AddReport, Progress

AT_1, AT_10 = DEPTHS.index(1), DEPTHS.index(10)


@dataclass(frozen=True, slots=True, eq=False)
class Sorted:
    """The pictures that lie in classes, out of all of a library.

    Attributes:
        rows: int64 [n], which of the library's they are.
        classes: int64 [n], the class of each, as an index into ``names``.
        names: the classes' folders, ascending.
        ambiguous: pictures with copies in several classes; the first path decides.
        loose: pictures that lie in the folder itself only, and so in no class.
    """

    rows: NDArray[np.int64]
    classes: NDArray[np.int64]
    names: list[str]
    ambiguous: int
    loose: int


class Density(TypedDict):
    """How to group; see ``Library.cluster``."""

    min_cluster_size: int
    min_samples: int
    space: Space


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What one model makes of the pictures."""

    report: AddReport
    dimension: int
    ids: tuple[str, ...]
    pictures: Sorted
    ranking: Ranking
    groups: Groups


def sort_out(folder: Path, paths: Iterable[Sequence[str]]) -> Sorted:
    """Find the class of every picture.

    Args:
        folder: what all paths lie below.
        paths: the files of each picture, ascending.

    Raises:
        ImgindexError: there is nothing to compare.
    """
    holders = [[Path(one).parent.relative_to(folder) for one in files] for files in paths]
    inner = [[str(at) for at in places if at.parts] for places in holders]
    rows = np.flatnonzero([bool(places) for places in inner])
    names = sorted({places[0] for places in inner if places})
    if len(names) < 2 or len(names) == len(rows):  # noqa: PLR2004 - as the message says
        raise ImgindexError(
            f"{folder} has {counted(len(rows), 'picture')} in {counted(len(names), 'folder')} "
            "below it; give one with a folder for each class: two at least, one with two pictures"
        )
    return Sorted(
        rows=rows,
        classes=np.array([names.index(inner[row][0]) for row in rows], np.int64),
        names=names,
        ambiguous=sum(len(set(places)) > 1 for places in inner),
        loose=len(inner) - len(rows),
    )


def measure(
    folder: Path,
    model: Path,
    kept: Path | None,
    density: Density,
    progress: Progress = no_progress,
) -> Measured:
    """Index the folder, rank and group.

    Args:
        folder: absolute.
        model: its file.
        kept: folder of the libraries to keep; None for one in memory.
        density: how to group.
        progress: as for ``Library``, and the stage ``rank``.
    """
    place = "memory:"
    if kept is not None:
        both = models.read_card(model).fingerprint.encode() + os.fsencode(folder)
        place = str(kept / f"{model.stem}-{hashlib.blake2b(both, digest_size=6).hexdigest()}")
    store = open_store(place, create=True)
    with Library(store, model=model) as library:
        report = library.add(folder, prune=True, progress=progress)
        ids, vectors = store.vectors()
        paths = library.paths(ids)
        pictures = sort_out(folder, [paths[one] for one in ids])
        ranking = rank(vectors[pictures.rows], pictures.classes, progress)
        labels = library.cluster(**density, anew=True, progress=progress).labels[pictures.rows]
    groups = agreement(pictures.classes, labels)
    return Measured(report, vectors.shape[1], ids, pictures, ranking, groups)


def figures(one: Measured, first: Measured) -> dict[str, Any]:
    """What ``--json`` says of one model; ``first`` is the one to compare it with."""
    if one.ids != first.ids:
        raise ImgindexError("the pictures changed while they were measured; run it again")
    found, right, precision = one.ranking.found, one.ranking.right, one.ranking.precision
    tenths = found[:, AT_10] / 10
    gained = (found - first.ranking.found)[:, AT_10] / 10
    asked = one.pictures.classes[one.ranking.queries]
    classes = []
    for at, name in enumerate(one.pictures.names):
        own = asked == at
        several = bool(own.any())
        classes.append(
            {
                "name": name,
                "pictures": int(own.sum()) if several else 1,
                "precision_at_10": tenths[own].mean() if several else None,
                "mean_average_precision": precision[own].mean() if several else None,
            }
        )
    return {
        "model": one.report.model,
        "dimension": one.dimension,
        "images_per_second": one.report.images_per_second or None,
        "precision_at_1": found[:, AT_1].mean(),
        "precision_at_10": tenths.mean(),
        "precision_at_10_interval": interval(tenths),
        "over_first": gained.mean(),
        "over_first_interval": interval(gained),
        "mean_average_precision": precision.mean(),
        "recall": dict(zip(DEPTHS, (found / right[:, None]).mean(axis=0), strict=True)),
        "hit_rate": dict(zip(DEPTHS, (found > 0).mean(axis=0), strict=True)),
        "grouping": one.groups,
        "classes": classes,
    }


def summary(folder: Path, density: Density, measured: Sequence[Measured]) -> dict[str, Any]:
    """What ``--json`` says: of the pictures, then of each model."""
    first = measured[0]
    pictures, right = first.pictures, first.ranking.right
    told: dict[str, Any] = to_json(
        {
            "folder": str(folder),
            "pictures": len(pictures.rows),
            "classes": len(pictures.names),
            "alone": len(pictures.rows) - len(right),
            "ambiguous": pictures.ambiguous,
            "loose": pictures.loose,
            "skipped": first.report.skipped,
            "chance": (right / (len(pictures.rows) - 1)).mean(),
            "best": (np.minimum(right, 10) / 10).mean(),
            **density,
            "models": [figures(one, first) for one in measured],
        }
    )
    return told


def show(told: dict[str, Any], *, classes: bool) -> None:
    """Write the summary as tables."""

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    models = told["models"]
    search = [("search", "P@1", "P@10", "95%", "mAP", "P@10 over the first, 95%")]
    share = [("share found", *(f"@{depth}" for depth in DEPTHS))]
    some = [("any found", *share[0][1:])]
    groups = [("groups", "number", "noise", "ARI", "AMI", "without noise: ARI", "AMI")]
    for one in models:
        name, agreed = one["model"], one["grouping"]
        (low, high), (less, more) = one["precision_at_10_interval"], one["over_first_interval"]
        middle = (one[key] for key in ("precision_at_1", "precision_at_10"))
        over = "" if one is models[0] else f"{less:+.3f} to {more:+.3f}"
        mean = number(one["mean_average_precision"])
        search.append((name, *map(number, middle), f"{low:.3f} to {high:.3f}", mean, over))
        share.append((name, *map(number, one["recall"].values())))
        some.append((name, *map(number, one["hit_rate"].values())))
        count, *rest = agreed.values()
        groups.append((name, f"{count:,}", *map(number, rest)))
    each = [("class", "pictures", *(f"P@10 {one['model']}" for one in models))]
    for same in zip(*(one["classes"] for one in models), strict=True):
        shown = (number(one["precision_at_10"]) for one in same)
        each.append((same[0]["name"], f"{same[0]['pictures']:,}", *shown))

    line(f"{counted(told['pictures'], 'picture')} in {told['classes']} classes")
    for key, what in (
        ("alone", "without another in the class, not looked up"),
        ("ambiguous", "in several classes, counted in the first"),
        ("loose", "in no class, left out"),
    ):
        if told[key]:
            line(f"{counted(told[key], 'picture')} {what}")
    line(f"P@10 by chance {told['chance']:.3f}, without a mistake {told['best']:.3f}")
    tables: list[Sequence[Sequence[str]]] = [search, share, some, groups]
    for table in [*tables, each] if classes else tables:
        line()
        as_columns(table)
    skipped_lines([Skipped(**one) for one in told["skipped"]])


@command
def main(  # noqa: PLR0913 - one parameter an option
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Holds a folder for each class, at any depth.")
    ],
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="Model to measure; give several to compare them [default: as imgindex index].",
            show_default=False,
        ),
    ] = None,
    library: Annotated[
        Path | None,
        typer.Option(
            "--library",
            "-L",
            metavar="DIR",
            help="Keep a library for each model in here: the next run embeds only what is new.",
            show_default=False,
        ),
    ] = None,
    min_cluster_size: Annotated[int, typer.Option(min=2, metavar="N", help="Smallest group.")] = (
        MIN_CLUSTER_SIZE
    ),
    min_samples: Annotated[
        int, typer.Option(min=1, metavar="N", help="Neighbours that make a place dense.")
    ] = 5,
    space: Annotated[
        Space, typer.Option(help="What to find groups in; see: imgindex cluster --help.")
    ] = "neighbourhood",
    classes: Annotated[bool, typer.Option("--classes", help="Show every class.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Write the result as JSON.")] = False,
) -> None:
    """Read the arguments, measure, and tell."""
    place = Path(os.path.abspath(folder.expanduser()))
    if not place.is_dir():
        raise SettingError(f"there is no folder {str(place)!r}; check the path")
    kept = library.expanduser() if library else None
    density = Density(min_cluster_size=min_cluster_size, min_samples=min_samples, space=space)
    settings = Settings.resolve()
    # All of them first: a name mistyped at the end must not cost the embedding before it.
    files = [models.resolve(name, settings.models) for name in model or (settings.model,)]
    measured = []
    for file in files:
        with progress_bar() as progress:
            measured.append(measure(place, file, kept, density, progress))
    told = summary(place, density, measured)
    if json:
        as_json(told)
    else:
        show(told, classes=classes)
    if told["skipped"]:
        raise typer.Exit(SKIPPED)


def program() -> None:
    """Read the arguments and measure."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names that are not UTF-8 go out as the bytes they are.
        sys.stdout.reconfigure(errors="surrogateescape")
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command(help=__doc__)(main)
    app()


if __name__ == "__main__":
    program()
