"""The options that several commands share."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from imgindex.records import Engine

ISOLATE = os.name == "posix"
"""Whether what runs for long and unattended isolates, if nothing is said."""

LibraryOption = Annotated[
    str | None,
    typer.Option(
        "--library",
        "-L",
        metavar="PLACE",
        help="Folder of the library, or milvus://HOST:PORT/NAME [default: $IMGINDEX_LIBRARY, else "
        "a folder of this user].",
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
IsolateOption = Annotated[
    bool,
    typer.Option(
        "--isolate/--no-isolate",
        help="Decode in processes of their own: a picture that crashes its decoder is skipped.",
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
EngineOption = Annotated[
    Engine,
    typer.Option(help="What computes: this machine, or a Ray cluster (needs imgindex[ray])."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="The cluster's head; 'auto' is the one that runs here [default: $RAY_ADDRESS, else "
        "one for this run].",
        show_default=False,
    ),
]
