"""The commands that find copies, put them aside, and hear which are none."""

from __future__ import annotations

import shlex
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from imgindex import Library
from imgindex.errors import SettingError
from imgindex.records import CopyKind, to_json

from .options import (  # noqa: TC001 - typer reads the annotations
    JsonOption,
    LibraryOption,
    MegapixelsOption,
)
from .show import (
    FOUND,
    SKIPPED,
    amount,
    as_columns,
    as_json,
    command,
    counted,
    line,
    note,
    progress_bar,
    skipped_lines,
)

if TYPE_CHECKING:
    from imgindex.records import Duplicates
    from imgindex.tidying import Tidied

BURSTS_EXAMPLES = """\b
Examples:
  imgindex bursts
  imgindex bursts --within 5 --json
"""

app = typer.Typer(rich_markup_mode=None)


@app.callback(
    invoke_without_command=True,
    epilog="""\b
Examples:
  imgindex duplicates
  imgindex duplicates --up-to pixels                            no near ones
  imgindex duplicates --html copies.html
  imgindex duplicates --keep-best --move-to ~/copies            shows what would be moved
  imgindex duplicates --keep-best --move-to ~/copies --apply    moves it
  imgindex duplicates --keep-best --list -0 | xargs -0 ls -l
  imgindex duplicates --fail-if-found > /dev/null || echo "look at them"
  imgindex duplicates not one.jpg other.jpg
""",
)
@command
def duplicates(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    *,
    up_to: Annotated[
        CopyKind,
        typer.Option(
            help="Tell of copies with the same bytes (exact), also of those with the same pixels, "
            "or also of near ones.",
        ),
    ] = "near",
    keep_best: Annotated[
        bool, typer.Option("--keep-best", help="Plan to put away all but the best of each set.")
    ] = False,
    move_to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Plan to move them there.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run/--apply", help="Show the plan, or carry it out.")
    ] = True,
    listed: Annotated[bool, typer.Option("--list", help="Write their paths, one a line.")] = False,
    null: Annotated[
        bool, typer.Option("-0", help="With --list: end each with NUL, for xargs -0.")
    ] = False,
    script: Annotated[
        bool, typer.Option("--script", help="Write a shell script that deletes them.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --html.")] = False,
    fail_if_found: Annotated[
        bool, typer.Option("--fail-if-found", help="Exit with 11 if there are any.")
    ] = False,
    library: LibraryOption = None,
    max_megapixels: MegapixelsOption = None,
    json: JsonOption = False,
) -> None:
    """Find files that show the same picture, and name the best of each set.

    Copies are the same bytes, the same pixels, or resized, compressed again, cropped a little,
    brightened, grey, mirrored or rotated; each pair is verified in pixels. Two shots of one scene
    are hardly ever told, but forms that differ in a few words are: look before you move. Nothing
    is ever deleted, and nothing is moved without --apply.
    """
    if context.invoked_subcommand is not None:
        return
    shape = "-0" if null else "--list" if listed else "--script" if script else ""
    _check(keep_best=keep_best, move_to=move_to, dry_run=dry_run, shapes=(listed, null, script))
    with (
        Library(library, max_megapixels=max_megapixels) as opened,
        progress_bar() as progress,
    ):
        found = opened.duplicates(up_to, progress=progress)
        if html is not None:
            opened.save_duplicates(found, html, force=force)
            note(f"wrote {html}")
        tidied = None
        if keep_best:
            tidied = opened.tidy(found, move_to, dry_run=dry_run, progress=progress)
    if json:
        as_json(found if tidied is None else {**to_json(found), "plan": to_json(tidied)})
    elif tidied is None:
        _tell(found)
    else:
        _show(tidied, shape)
    if fail_if_found and found.sets:
        raise typer.Exit(FOUND)
    if found.skipped or (tidied is not None and tidied.skipped):
        raise typer.Exit(SKIPPED)


def _check(
    *, keep_best: bool, move_to: Path | None, dry_run: bool, shapes: tuple[bool, bool, bool]
) -> None:
    listed, null, script = shapes
    if null and not listed:
        raise SettingError("-0 goes with --list")
    asked = {"--move-to": move_to is not None, "--list": listed, "--script": script}
    chosen = [name for name, wanted in asked.items() if wanted]
    if len(chosen) > 1:
        raise SettingError(f"choose one of {' and '.join(chosen)}")
    if chosen and not keep_best:
        raise SettingError(f"{chosen[0]} needs --keep-best, which says what may go")
    if keep_best and not chosen:
        raise SettingError("--keep-best needs one of --move-to DIR, --list and --script")
    if not dry_run and move_to is None:
        raise SettingError("--apply goes with --keep-best --move-to DIR")


def _tell(found: Duplicates) -> None:
    """For a person: one paragraph a set."""
    for at, one in enumerate(found.sets, start=1):
        line(f"set {at}: {counted(len(one.files), 'file')}; best is {one.why}")
        as_columns(
            [
                ("best" if copy is one.files[0] else copy.kind, f"{copy.score:.3f}", copy.path)
                for copy in one.files
            ],
            indent="  ",
        )
    files = sum(len(one.files) for one in found.sets)
    line(
        f"{counted(len(found.sets), 'set')} of {counted(files, 'file')}"
        if found.sets
        else "no copies found"
    )
    skipped_lines(found.skipped)


def _show(tidied: Tidied, shape: str) -> None:
    if shape == "--script":
        _write_script(tidied)
    elif shape:
        for move in tidied.moves:
            line(move.path, "\0" if shape == "-0" else "\n")
    else:
        _tell_plan(tidied)


def _tell_plan(tidied: Tidied) -> None:
    verb = "moved" if tidied.done else "would move"
    best = None
    for move in tidied.moves:
        if move.best != best:
            best = move.best
            line(f"keep {best}")
        line(f"  {verb} {move.path}")
        line(f"  {'to':>{len(verb)}} {move.target}")
        if move.left:
            line(f"  leaving behind {', '.join(move.left)}")
    size = amount(sum(move.bytes for move in tidied.moves))
    line(f"{verb} {counted(len(tidied.moves), 'file')}, {size}")
    skipped_lines(tidied.skipped)
    if not tidied.done and tidied.moves:
        note("nothing was moved; do it with --apply")


def _write_script(tidied: Tidied) -> None:
    """A script to read, and to run if one agrees: a copy goes only while the best one is there."""
    line("#!/bin/sh")
    line("# Deletes copies, each only while the best copy of its picture is there. Read it first.")
    for move in tidied.moves:
        best, path = shlex.quote(move.best), shlex.quote(move.path)
        same = f"cmp -s {best} {path}" if move.kind == "exact" else f"[ -s {best} ]"
        line(f"{same} && [ ! {best} -ef {path} ] && rm -- {path}")


@command
def bursts(
    *,
    within: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Most time from one shot to the next."),
    ] = 2,
    library: LibraryOption = None,
    json: JsonOption = False,
) -> None:
    """Show shots in quick succession: one folder, seconds apart, much the same view.

    Goes by the time in the files; pictures without one are in no burst.
    """
    with Library(library) as opened:
        found = opened.bursts(within)
    if json:
        as_json({"bursts": found})
        return
    for at, burst in enumerate(found, start=1):
        line(f"burst {at}: {counted(len(burst.shots), 'shot')}, cover {burst.cover}")
        as_columns([(shot.taken, shot.path) for shot in burst.shots], indent="  ")
    line(counted(len(found), "burst") if found else "no bursts found")


@app.command("not", epilog="\b\nExample:\n  imgindex duplicates not one.jpg other.jpg third.jpg\n")
@command
def distinct(
    pictures: Annotated[
        list[str], typer.Argument(metavar="PICTURE...", help="Files, or ids of indexed pictures.")
    ],
    *,
    library: LibraryOption = None,
    json: JsonOption = False,
) -> None:
    """Say that no two of these pictures are copies; it is remembered.

    See what was decided with: imgindex groups decisions; take it back with: imgindex groups forget.
    """
    with Library(library) as opened:
        decision = opened.distinct(pictures)
    if json:
        as_json(decision)
    else:
        line(
            f"decision {decision.number}: {counted(len(decision.pictures), 'picture')} are distinct"
        )
