"""The commands of the main line: index, watch, search, cluster, export, map and others."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Literal

import typer

from imgindex import Library
from imgindex.errors import SettingError
from imgindex.records import MIN_CLUSTER_SIZE, NOISE, ClusterReport, Space, to_json
from imgindex.searching import RecallReport  # noqa: TC001 - as above

from . import copy, duplicates, groups, index, model, search, seeing, serve, watch
from . import map as chart
from .options import (  # noqa: TC001 - typer reads the annotations
    AddressOption,
    DeviceOption,
    EngineOption,
    JsonOption,
    LibraryOption,
    MegapixelsOption,
)
from .show import (
    FAILED,
    SKIPPED,
    amount,
    as_columns,
    as_json,
    command,
    counted,
    duration,
    line,
    note,
    progress_bar,
    skipped_lines,
)

_SHOWN_GROUPS = 12

app = typer.Typer(
    name="imgindex",
    help="Find pictures that look alike, and discover the groups in a picture library.",
    epilog="""\b
Begin with:
  imgindex index ~/Pictures          look at every picture once
  imgindex search photo.jpg          what looks like this?
  imgindex cluster                   what belongs together?
  imgindex duplicates                what is there twice?
  imgindex export groups.html        a page to look at
  imgindex map map.html              a map to walk about in
  imgindex serve                     all of it in a browser
""",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(groups.app, name="groups")
app.add_typer(duplicates.app, name="duplicates")
app.add_typer(model.app, name="model")


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if stream.isatty():
                stream.reconfigure(errors="backslashreplace")
            else:
                # Names may hold bytes that are not UTF-8: into pipes and files they go out as they
                # came in, in the same encoding and with the same line ends on every system.
                stream.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
    app()


def _version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        from imgindex import __version__

        line(f"imgindex {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


app.command("index", epilog=index.EXAMPLES)(index.add)
app.command("watch", epilog=watch.EXAMPLES)(watch.keep)
app.command("search", epilog=search.EXAMPLES)(search.find)
app.command("bursts", epilog=duplicates.BURSTS_EXAMPLES)(duplicates.bursts)
app.command("copy", epilog=copy.EXAMPLES)(copy.copy)
app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
app.command("explain", epilog=seeing.EXPLAIN_EXAMPLES)(seeing.explain)
app.command("features", epilog=seeing.FEATURES_EXAMPLES)(seeing.features)


@app.command(
    epilog="""\b
Examples:
  imgindex cluster
  imgindex cluster --coarser
  imgindex cluster --groups-about 30
  imgindex cluster --min-cluster-size 3 --min-samples 2 --json
  imgindex cluster --space descriptor
  imgindex cluster --anew
  imgindex cluster --library milvus://db:19530/photos --engine ray --address head:6379
"""
)
@command
def cluster(  # noqa: PLR0913 - one parameter an option
    *,
    min_cluster_size: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="N",
            help=f"Smallest group [default: {MIN_CLUSTER_SIZE}].",
            show_default=False,
        ),
    ] = None,
    groups_about: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Choose the smallest group so as to get about N groups."
        ),
    ] = None,
    coarser: Annotated[
        bool, typer.Option("--coarser", help="Half as many groups as there are now.")
    ] = False,
    finer: Annotated[
        bool, typer.Option("--finer", help="Twice as many groups as there are now.")
    ] = False,
    min_samples: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Neighbours that make a place dense; more gives tighter groups and more noise.",
        ),
    ] = 5,
    space: Annotated[
        Space,
        typer.Option(
            help="Look for groups among pictures that share neighbours, or in the descriptors as "
            "they are."
        ),
    ] = "neighbourhood",
    anew: Annotated[
        bool, typer.Option("--anew", help="Do not begin with the groups that are there.")
    ] = False,
    engine: EngineOption = "local",
    address: AddressOption = None,
    library: LibraryOption = None,
    json: JsonOption = False,
) -> None:
    """Discover groups (HDBSCAN); their number need not be known. The grouping is kept.

    Pictures that belong to no group are noise. A group that was there before keeps its id, and
    changes little while the library changes little.
    """
    started = time.perf_counter()
    given = {
        "--min-cluster-size": min_cluster_size is not None,
        "--groups-about": groups_about is not None,
        "--coarser": coarser,
        "--finer": finer,
    }
    if sum(given.values()) > 1:
        raise SettingError(f"choose one of {' and '.join(key for key in given if given[key])}")
    with Library(library) as opened, progress_bar() as progress:
        if coarser or finer:
            kept = opened.grouping()
            groups_about = max(1, round(len(kept.groups) * (2 if finer else 0.5)))
            space, min_samples = kept.settings.space, kept.settings.min_samples
        stale = opened.status().stale
        opened.cluster(
            min_cluster_size=min_cluster_size or MIN_CLUSTER_SIZE,
            about=groups_about,
            min_samples=min_samples,
            space=space,
            anew=anew,
            engine=engine,
            address=address,
            progress=progress,
        )
        grouping = opened.grouping()  # with what was decided
        shown = grouping.groups[:_SHOWN_GROUPS]
        covers = groups.covers(opened, shown)
    report = ClusterReport(
        pictures=len(grouping.ids),
        groups=len(grouping.groups),
        noise=int((grouping.labels == NOISE).sum()),
        settings=grouping.settings,
        seconds=round(time.perf_counter() - started, 3),
    )
    if stale:
        note(f"note: begun anew, since {stale}")
    if json:
        as_json(report)
        return
    line(
        f"{counted(report.groups, 'group')} of {counted(report.pictures, 'picture')} "
        f"in {duration(report.seconds)}; {report.noise:,} are noise "
        f"({report.noise / max(1, report.pictures):.0%})"
    )
    if shown:
        groups.table(shown, covers)
        if report.groups > len(shown):
            line(f"and {report.groups - len(shown):,} more; see: imgindex groups")
    else:
        line("try a smaller --min-cluster-size or --min-samples")


@app.command(
    epilog="""\b
Examples:
  imgindex export groups.html                  a page to look at
  imgindex export groups.csv
  imgindex export sorted/ --link hardlink      a folder for each group
"""
)
@command
def export(  # noqa: PLR0913 - one parameter an option
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help=".csv, .json or .html file, or a new folder.")
    ],
    *,
    kind: Annotated[
        Literal["csv", "json", "html", "folders"] | None,
        typer.Option("--format", help="Instead of going by OUT's suffix.", show_default=False),
    ] = None,
    link: Annotated[
        Literal["symlink", "hardlink", "copy"],
        typer.Option(help="What the folders of groups hold."),
    ] = "symlink",
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it is a file.")] = False,
    library: LibraryOption = None,
    max_megapixels: MegapixelsOption = None,
    json: JsonOption = False,
) -> None:
    """Write the groups: a table, a folder tree, or one page to look at.

    CSV has the columns path, id, group (-1 for noise), strength, outlier and exemplar. Nothing in
    your pictures' folders is changed, and nothing is overwritten.
    """
    with (
        Library(library, max_megapixels=max_megapixels) as opened,
        progress_bar() as progress,
    ):
        report = opened.export(out, kind=kind, link=link, force=force, progress=progress)
    if json:
        as_json(report)
    else:
        line(
            f"{report.target}: {counted(report.groups, 'group')}, "
            f"{counted(report.pictures, 'picture')} in {counted(report.files, 'file')}"
        )
        skipped_lines(report.skipped)
    if report.skipped:
        raise typer.Exit(SKIPPED)


app.command("map", epilog=chart.EXAMPLES)(chart.draw)


@app.command(epilog="\b\nExamples:\n  imgindex status --json\n  imgindex status --check-recall\n")
@command
def status(
    *,
    check_recall: Annotated[
        bool,
        typer.Option(
            "--check-recall", help="Measure how many of the 10 nearest pictures the index finds."
        ),
    ] = False,
    library: LibraryOption = None,
    json: JsonOption = False,
) -> None:
    """Show what a library holds."""
    with Library(library) as opened, progress_bar() as progress:
        shown = opened.status()
        recall = opened.check_recall(progress=progress) if check_recall else None
    if json:
        as_json({**to_json(shown), **({"recall": recall} if recall else {})})
        return
    unseen = [
        counted(number, "file") + f" {what}"
        for number, what in ((shown.missing, "missing"), (shown.unreadable, "unreadable"))
        if number
    ]
    as_columns(
        [
            ("library", shown.library),
            ("pictures", f"{shown.pictures:,} in {counted(shown.files, 'file')}"),
            *([("besides", ", ".join(unseen))] if unseen else []),
            (
                "model",
                f"{shown.model}, {shown.dimension} numbers a picture"
                if shown.model
                else "none yet",
            ),
            ("vectors", f"{shown.vectors:,}"),
            ("index", shown.index),
            *([("recall", _told(recall))] if recall else []),
            (
                "groups",
                "none yet"
                if shown.groups is None
                else f"{shown.groups} ({str(shown.grouped)[:19]})",
            ),
            *([("stale", f"{shown.stale}; run: imgindex cluster")] if shown.stale else []),
            ("on disk", amount(shown.bytes)),
        ]
    )


def _told(recall: RecallReport) -> str:
    if "hnsw" not in recall.milliseconds:
        return "every vector is compared, nothing is missed"
    walked, compared = recall.milliseconds["hnsw"], recall.milliseconds["exact"]
    return (
        f"{recall.recall:.4f} of the {recall.k} nearest of {counted(recall.queries, 'picture')}, "
        f"in {walked:.2f} ms each instead of {compared:.2f}"
    )


@app.command(epilog="\b\nExamples:\n  imgindex verify && echo whole\n  imgindex verify --repair\n")
@command
def verify(
    *,
    library: LibraryOption = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Mend what is wrong: write a damaged database anew from what can be read of it, "
            "build anew what is derived, and read pictures again whose numbers are damaged.",
        ),
    ] = False,
    device: DeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Check the library's files against each other; exits with 1 if something is wrong.

    With --repair it exits with 3 where something was lost: pictures whose numbers are damaged and
    that no file holds any more, which are named, or a part of the database.
    """
    with Library(library, device=device) as opened, progress_bar() as progress:
        done = opened.repair(progress) if repair else None
        problems = opened.verify(progress) if done is None else list(done.problems)
    if json:
        told = {"mended": done.mended, "lost": done.lost} if done else {}
        as_json({"ok": not problems, "problems": problems, **told})
    else:
        for problem in problems:
            line(problem)
        if done:
            for what in done.mended:
                line(f"mended {what}")
            skipped_lines(done.lost, "lost")
        if not problems:
            line("the library is whole")
    if problems:
        raise typer.Exit(FAILED)
    if done and done.lost:
        raise typer.Exit(SKIPPED)
