"""The command that serves a library over HTTP."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from imgindex import Library
from imgindex.errors import SettingError
from imgindex.store import remote

from .options import (
    ISOLATE,
    DeviceOption,
    IsolateOption,
    LibraryOption,
    MegapixelsOption,
    ModelOption,
)
from .show import command, note

EXAMPLES = """\b
Examples:
  imgindex serve                                 then open http://127.0.0.1:8765/
  imgindex serve --library photos.imgindex --originals
  imgindex serve --host 0.0.0.0 --token-file token.txt --folder /photos --rate 50
  imgindex serve --readers 2                     where programs ask a thousand times a second

On 127.0.0.1 nobody but this machine can ask. On any other address clients must present the
token: programs as "Authorization: Bearer TOKEN", browsers are asked for it. Put a proxy that
speaks TLS before a service that others reach. The API is described at /v1/openapi.json.
"""


@command
def serve(  # noqa: PLR0913 - one parameter an option
    *,
    library: LibraryOption = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port; 0 takes a free one.")
    ] = 8765,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Clients must present the token in this file.", show_default=False
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A further name of this service, when a proxy stands before it; may be given "
            "again.",
            show_default=False,
        ),
    ] = None,
    originals: Annotated[
        bool, typer.Option("--originals", help="Hand out the pictures' files, too.")
    ] = False,
    allow_url: Annotated[
        bool, typer.Option("--allow-url", help="Fetch pictures from the web to search by.")
    ] = False,
    uploads: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for pictures that clients add [default: on 127.0.0.1 LIBRARY-uploads "
            "beside a library that is a folder, else they cannot].",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Clients may have this folder indexed; may be given again [default: any on "
            "127.0.0.1, else none].",
            show_default=False,
        ),
    ] = None,
    aside: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder that copies are moved to when a client says so.",
            show_default=False,
        ),
    ] = None,
    max_upload: Annotated[
        float, typer.Option(min=0.001, metavar="MB", help="Largest request to take.")
    ] = 64,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Requests a second to take from one client, as a mean over ten seconds; 0 for any "
            "number [default: any on 127.0.0.1, else 200].",
            show_default=False,
        ),
    ] = None,
    thumbnail_cache: Annotated[
        float, typer.Option(min=1, metavar="MB", help="Most that thumbnails may take on disk.")
    ] = 2000,
    readers: Annotated[
        int,
        typer.Option(
            min=0,
            max=64,
            metavar="N",
            help="Processes that answer searches by id beside this one; each holds the graph in "
            "memory.",
        ),
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Write no line for every request.")
    ] = False,
    model: ModelOption = None,
    device: DeviceOption = None,
    max_megapixels: MegapixelsOption = None,
    isolate: IsolateOption = ISOLATE,
) -> None:
    """Serve the library: a page to search and sort in, and an API for programs.

    Writes the address, then a line of JSON for every request to standard error. Ctrl-C and SIGTERM
    end it, and the exit code is 0; requests that run are finished, jobs stop where nothing is lost.
    """
    from imgindex.web import ServiceSettings
    from imgindex.web import serve as run

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Library(
        library, model=model, device=device, max_megapixels=max_megapixels, isolate=isolate
    ) as opened:
        place = opened.place if remote(opened.place) else Path(opened.place).absolute()
        asked = ServiceSettings(host=host, token=_token(token_file))
        if uploads is None and asked.loopback and isinstance(place, Path):
            uploads = place.with_name(f"{place.name}-uploads")
        if folder is None and not asked.loopback:
            folder = []
        if rate is None:
            rate = 0 if asked.loopback else 200
        settings = ServiceSettings(
            host=host,
            port=port,
            token=asked.token,
            hosts=tuple(allow_host or ()),
            originals=originals,
            addresses=allow_url,
            uploads=None if uploads is None else uploads.absolute(),
            folders=None if folder is None else tuple(map(os.path.abspath, folder)),
            aside=aside,
            max_upload=round(max_upload * 1e6),
            rate=rate,
            readers=readers,
            thumbnails=opened.settings.thumbnails,
            thumbnail_bytes=round(thumbnail_cache * 1e6),
        )
        with suppress(KeyboardInterrupt):  # it is the way to end
            run(
                opened,
                settings,
                started=lambda address: note(f"serving {place} on {address}; Ctrl-C ends it"),
                log=None if quiet else sys.stderr,
            )


def _token(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingError(f"cannot read the token in {file}: {reason}") from error
