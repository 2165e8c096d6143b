"""The options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

LibraryOption = Annotated[
    str | None,
    typer.Option(
        "--library",
        "-L",
        metavar="DIR",
        help="Folder of the library [default: $IMGINDEX_LIBRARY, else one for this user].",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write the result as JSON.")]
MegapixelsOption = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        metavar="N",
        help="Largest picture to read [default: from this machine's memory].",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Model to use, by name or file; see: imgindex model list.",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE",
        help="auto, cpu, openvino, cuda, cuda:N, tensorrt [default: auto].",
        show_default=False,
    ),
]
IncludeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        help="Take only files that match, as '*.jpg' or 'holiday/'; may be given again.",
        show_default=False,
    ),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        help="Leave out what matches, as 'thumbs/', '*.gif' or '/2019/private'; may be given "
        "again, and '!keep.gif' takes back.",
        show_default=False,
    ),
]
HiddenOption = Annotated[
    bool, typer.Option("--hidden", help="Take names that begin with a dot, too.")
]
PruneOption = Annotated[
    bool,
    typer.Option(
        "--prune",
        help="Forget files that have vanished for good, also all at once with their folder.",
    ),
]
