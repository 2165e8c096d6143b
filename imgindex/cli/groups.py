"""The groups, and what users decide about them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from imgindex import Library

from .options import JsonOption, LibraryOption  # noqa: TC001 - typer reads the annotations
from .show import as_columns, as_json, command, counted, line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from imgindex.records import Change, Decision, Group, SizedGroup

app = typer.Typer(
    help="See the groups, name them, and say what belongs together.",
    rich_markup_mode=None,
    invoke_without_command=True,
    epilog="""\b
Examples:
  imgindex groups
  imgindex groups --parts
  imgindex groups --history
  imgindex groups show 7 --json
  imgindex groups name 7 "Lisbon"
  imgindex groups together a.jpg b.jpg
  imgindex groups form a.jpg b.jpg c.jpg --name "Lisbon"
""",
)

_SHOWN = 20  # pictures of a decision

IdArgument = Annotated[
    int, typer.Argument(metavar="ID", help="A group, as imgindex groups has it.")
]
PicturesArgument = Annotated[
    list[str], typer.Argument(metavar="PICTURE...", help="Indexed pictures: files or ids.")
]


def covers(library: Library, groups: Sequence[Group]) -> Mapping[str, str]:
    """A present file of each group's cover, by the cover's id."""
    found = library.paths([group.cover or group.medoid for group in groups])
    return {picture_id: paths[0] for picture_id, paths in found.items()}


def table(groups: Sequence[Group], covers: Mapping[str, str]) -> None:
    """Write a line a group, a part below what it is a part of; names show where there are any."""
    named = any(group.name for group in groups)
    rows = [("group", "pictures", *(["name"] if named else []), "cover")]
    rows += [
        (
            "  " * depth + str(group.id),
            f"{group.size:,}",
            *([group.name or ""] if named else []),
            covers.get(group.cover or group.medoid, "-"),
        )
        for depth, group in _nested(groups)
    ]
    as_columns(rows)


def _nested(groups: Sequence[Group]) -> Iterator[tuple[int, Group]]:
    known = {group.id for group in groups}
    inside: dict[int | None, list[Group]] = {}
    for group in groups:
        inside.setdefault(group.parent if group.parent in known else None, []).append(group)
    waiting = [(0, group) for group in reversed(inside.get(None, []))]
    while waiting:
        depth, group = waiting.pop()
        yield depth, group
        waiting += [(depth + 1, part) for part in reversed(inside.get(group.id, []))]


@app.callback()
@command
def groups(
    context: typer.Context,
    *,
    parts: Annotated[
        bool, typer.Option("--parts", help="Show the groups inside groups, too.")
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="Show what became of groups, run by run.")
    ] = False,
    library: LibraryOption = None,
    json: JsonOption = False,
) -> None:
    """See the groups, the largest first; name them, and say what belongs together."""
    if context.invoked_subcommand is not None:
        return
    with Library(library) as opened:
        if history:
            changes = opened.history()
            if json:
                as_json(changes)
            else:
                _runs(changes)
            return
        grouping = opened.grouping()
        found = grouping.every_group if parts else grouping.groups
        shown = covers(opened, found)
    if json:
        as_json(found)
    elif found:
        table(found, shown)
    else:
        line("no groups; all is noise")


def _runs(changes: Sequence[Change]) -> None:
    runs: dict[str, list[Change]] = {}
    for change in changes:
        runs.setdefault(change.created, []).append(change)
    for created, some in runs.items():
        counts = Counter(change.kind for change in some)
        line(f"{created[:19]}  " + ", ".join(f"{number} {kind}" for kind, number in counts.items()))
        for change in some:
            if change.kind != "kept":
                arrow = " -> ".join(filter(None, (_named(change.before), _named(change.after))))
                line(f"  {change.kind:6}  {arrow}")


def _named(groups: Sequence[SizedGroup]) -> str:
    return " + ".join(f"{group.id} ({group.size:,})" for group in groups)


@app.command(epilog="\b\nExample:\n  imgindex groups show 7 --json\n")
@command
def show(group: IdArgument, *, library: LibraryOption = None, json: JsonOption = False) -> None:
    """Show a group: its parts, its members, how firmly each sits in it, and where else it might be.

    A part is a group inside the group, with an id of its own: show, name and cover take it, too.
    Behind two dashes, -1 stands for the pictures in no group: imgindex groups show -- -1
    """
    with Library(library) as opened:
        told = opened.group(group)
        shown = covers(opened, told.parts)
    if json:
        as_json(told)
        return
    if told.tightness is None:
        line(f"{counted(told.size, 'picture')} in no group")
    else:
        line(
            f"group {told.id}{f' {told.name!r}' if told.name else ''}: "
            f"{counted(told.size, 'picture')}, tightness {told.tightness:.3f}, "
            f"{counted(len(told.duplicates), 'duplicate')}"
            f"{'' if told.parent is None else f', a part of group {told.parent}'}"
        )
    if told.parts:
        line(f"{counted(len(told.parts), 'part')}:")
        table(told.parts, shown)
        line("members:")
    rows = [("strength", "outlier", "", "near", "file")]
    rows += [
        (
            f"{one.strength:.2f}",
            f"{one.outlier:.2f}",
            "cover" if one.id == told.cover else "exemplar" if one.exemplar else "",
            " ".join(f"{number}:{share:.0%}" for number, share in one.near),
            " = ".join(one.paths) or "-",
        )
        for one in told.members
    ]
    as_columns(rows)


@app.command(epilog='\b\nExample:\n  imgindex groups name 7 "Lisbon"\n')
@command
def name(
    group: IdArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    *,
    library: LibraryOption = None,
    json: JsonOption = False,
) -> None:
    """Name a group."""
    with Library(library) as opened:
        _tell(opened, opened.name_group(group, name), json=json)


@app.command(epilog="\b\nExample:\n  imgindex groups cover 7 best.jpg\n")
@command
def cover(
    group: IdArgument,
    picture: Annotated[str, typer.Argument(metavar="PICTURE", help="A member: a file or an id.")],
    *,
    library: LibraryOption = None,
    json: JsonOption = False,
) -> None:
    """Have a picture stand for its group."""
    with Library(library) as opened:
        _tell(opened, opened.pin_cover(group, picture), json=json)


@app.command(epilog="\b\nExample:\n  imgindex groups together a.jpg b.jpg\n")
@command
def together(
    pictures: PicturesArgument, *, library: LibraryOption = None, json: JsonOption = False
) -> None:
    """Say that pictures belong together.

    All go into the group of the one that sits most firmly in its own; where all are noise they
    form a group.
    """
    with Library(library) as opened:
        _tell(opened, opened.together(pictures), json=json)


@app.command(epilog="\b\nExample:\n  imgindex groups apart a.jpg not-like-a.jpg\n")
@command
def apart(
    pictures: PicturesArgument, *, library: LibraryOption = None, json: JsonOption = False
) -> None:
    """Say that all but the first picture do not belong in the group of the first.

    They go to the next group that their neighbours are in, or become noise.
    """
    with Library(library) as opened:
        _tell(opened, opened.apart(pictures), json=json)


@app.command(epilog='\b\nExample:\n  imgindex groups form a.jpg b.jpg c.jpg --name "Lisbon"\n')
@command
def form(
    pictures: PicturesArgument,
    *,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What to call the group.")
    ] = None,
    library: LibraryOption = None,
    json: JsonOption = False,
) -> None:
    """Say that pictures are a group of their own.

    They leave the groups that they are in. The group has a new id, and holds for every run.
    """
    with Library(library) as opened:
        _tell(opened, opened.form_group(pictures, name), json=json)


@app.command(epilog="\b\nExample:\n  imgindex groups merge 7 12\n")
@command
def merge(
    groups: Annotated[
        list[int], typer.Argument(metavar="ID...", help="Groups, as imgindex groups has them.")
    ],
    *,
    library: LibraryOption = None,
    json: JsonOption = False,
) -> None:
    """Make one group of several.

    The one that has a name stays, else the largest.
    """
    with Library(library) as opened:
        made = opened.merge_groups(groups)
    if json:
        as_json(made)
    else:
        line(
            f"decision {made.number}: {counted(len(made.pictures), 'picture')} "
            f"together in group {made.group}"
        )


@app.command(epilog="\b\nExample:\n  imgindex groups decisions --json\n")
@command
def decisions(*, library: LibraryOption = None, json: JsonOption = False) -> None:
    """List what was decided; it holds for every run."""
    with Library(library) as opened:
        made = opened.decisions()
        files = _files(opened, made)
    if json:
        as_json(made)
        return
    for one in made:
        line(f"{one.number:>4}  {_in_words(one, files)}")


@app.command(epilog="\b\nExample:\n  imgindex groups forget 3\n")
@command
def forget(
    number: Annotated[int, typer.Argument(metavar="N", help="As groups decisions has it.")],
    *,
    library: LibraryOption = None,
    json: JsonOption = False,
) -> None:
    """Forget a decision: all is as if it had never been made."""
    with Library(library) as opened:
        opened.forget(number)
    if json:
        as_json({"forgotten": number})
    else:
        line(f"decision {number} is forgotten")


def _tell(library: Library, decision: Decision, *, json: bool) -> None:
    if json:
        as_json(decision)
    else:
        line(f"decision {decision.number}: {_in_words(decision, _files(library, [decision]))}")


def _files(library: Library, decisions: Sequence[Decision]) -> dict[str, str]:
    """A file of each picture that is spoken of, by id."""
    found = library.paths({picture for one in decisions for picture in one.pictures})
    return {picture: paths[0] for picture, paths in found.items()}


def _in_words(decision: Decision, files: Mapping[str, str]) -> str:
    some, more = decision.pictures[:_SHOWN], len(decision.pictures[_SHOWN:])
    pictures = " ".join(files.get(one, one) for one in some)
    if more:
        pictures += f" and {more:,} more"
    if decision.kind == "name":
        return f"group {decision.group} is called {decision.name}"
    if decision.kind == "cover":
        return f"group {decision.group} shows {pictures}"
    if decision.kind == "form":
        return f"group {decision.group} is {pictures}"
    return f"{decision.kind} {pictures}"
