"""The commands that show what the network sees: features and explain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgindex import Library
from imgindex.errors import SettingError
from imgindex.records import to_json

from .options import (  # noqa: TC001 - typer reads the annotations
    JsonOption,
    LibraryOption,
    MegapixelsOption,
    ModelOption,
)
from .show import as_columns, as_json, command, line, note

if TYPE_CHECKING:
    from imgindex.records import Features, Rectangle

FEATURES_EXAMPLES = """\b
Examples:
  imgindex features photo.jpg -o maps.png
  imgindex features photo.jpg --layer block3_conv2 --top 16 -o maps.png
  imgindex features photo.jpg --layer 5 --overlay -o heat.png
  imgindex features photo.jpg --all -o maps.png      maps-block1.png and on
  imgindex features photo.jpg --json
"""
EXPLAIN_EXAMPLES = """\b
Examples:
  imgindex explain photo.jpg other.jpg
  imgindex explain photo.jpg other.jpg -o matches.png
  imgindex explain photo.jpg 3fa94b --json
"""
_LISTED = 10

OutOption = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="FILE.png", help="Draw a sheet.", show_default=False),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]


@command
def features(  # noqa: PLR0913 - one parameter an option
    picture: Annotated[
        str, typer.Argument(metavar="PICTURE", help="A file, or the id of an indexed picture.")
    ],
    *,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER",
            help="A convolution or pooling by name, or n for the n-th convolution "
            "[default: the model's own].",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="The last convolution of every block of VGG16.")
    ] = False,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Only the strongest maps: those with the largest mean.",
            show_default=False,
        ),
    ] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Draw the mean of all maps over the picture instead.")
    ] = False,
    out: OutOption = None,
    force: ForceOption = False,
    library: LibraryOption = None,
    model: ModelOption = None,
    max_megapixels: MegapixelsOption = None,
    json: JsonOption = False,
) -> None:
    """Show what a layer of the network sees in a picture: its maps, the strongest first.

    There need not be a library; where there is one, its model is taken unless another is named.
    """
    if every and layer is not None:
        raise SettingError("choose one of --layer and --all")
    if overlay and out is None:
        raise SettingError("--overlay is drawn: say where with -o FILE.png")
    if overlay and top is not None:
        raise SettingError("choose one of --top and --overlay, which is of all maps")
    with Library(library, model=model, max_megapixels=max_megapixels) as opened:
        shown: Features | list[Features]
        if every:
            shown = opened.features_by_block(picture)
        else:
            number = layer is not None and layer.isdecimal()
            shown = opened.features(picture, int(str(layer)) if number else layer)
        files: list[str] = []
        if out is not None:
            files = opened.save_features(shown, out, top=top, overlay=overlay, force=force)
    layers = shown if isinstance(shown, list) else [shown]
    if json:
        records = [
            _as_record(one, top, files[at] if files else None) for at, one in enumerate(layers)
        ]
        as_json(records if every else records[0])
        return
    for file in files:
        note(f"wrote {file}")
    for at, one in enumerate(layers):
        if at:
            line()
        _tell(one, top or _LISTED)


def _as_record(shown: Features, top: int | None, file: str | None) -> dict[str, Any]:
    return {
        "picture": shown.picture,
        "model": shown.model,
        "layer": shown.layer,
        "shape": list(shown.maps.shape),
        "file": file,
        "channels": to_json(shown.channels[:top]),
    }


def _tell(shown: Features, top: int) -> None:
    count, height, width = shown.maps.shape
    silent = sum(one.max <= 0 for one in shown.channels)
    line(
        f"{shown.layer} of {shown.model}: {count} maps of {width} x {height}"
        + (f", {silent} of them silent" if silent else "")
    )
    as_columns(
        [("channel", "mean", "max")]
        + [(str(one.channel), f"{one.mean:.4g}", f"{one.max:.4g}") for one in shown.channels[:top]]
    )


@command
def explain(  # noqa: PLR0913 - one parameter an option
    a: Annotated[str, typer.Argument(metavar="A", help="A file, or the id of an indexed picture.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    *,
    k: Annotated[int, typer.Option("-k", min=1, help="How many matching places at most.")] = 6,
    out: OutOption = None,
    force: ForceOption = False,
    library: LibraryOption = None,
    model: ModelOption = None,
    max_megapixels: MegapixelsOption = None,
    json: JsonOption = False,
) -> None:
    """Show what draws two pictures together: places that match, and what each adds to the cosine.

    With average pooling the cosine is a sum over pairs of places, so every place's share is exact;
    with any other the sheet shows how like the places are. There need not be a library; where
    there is one, its model is taken unless another is named.
    """
    with Library(library, model=model, max_megapixels=max_megapixels) as opened:
        found = opened.explain(a, b, k)
        file = None if out is None else opened.save_explanation(found, out, force=force)
    if json:
        as_json(
            {
                "a": found.a,
                "b": found.b,
                "score": found.score,
                "model": found.model,
                "layer": found.layer,
                "exact": found.exact,
                "places": found.places,
                "file": file,
            }
        )
        return
    if file is not None:
        note(f"wrote {file}")
    if not found.exact:
        note(
            "note: the embedding is no plain mean over places, so they have no share in the cosine"
        )
    line(f"cosine {found.score:.4f} by {found.model}; places of {found.layer}")
    if found.places:
        as_columns(
            [("place", "in A", "in B", "similarity", "share")]
            + [
                (
                    str(number),
                    _spelled(one.a),
                    _spelled(one.b),
                    f"{one.similarity:.4f}",
                    "-" if one.share is None else f"{one.share:.5f}",
                )
                for number, one in enumerate(found.places, 1)
            ]
        )
    else:
        line("no two places match")


def _spelled(box: Rectangle) -> str:
    left, top, right, bottom = box
    return f"{left},{top} to {right},{bottom}"
