"""The commands about models: list, info, pull, import, quantize."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from imgindex.config import Settings
from imgindex.errors import SettingError
from imgindex.records import to_json

from .options import JsonOption  # noqa: TC001 - typer reads the annotations
from .show import amount, as_columns, as_json, command, line, progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgindex.graph import Order, Scaling
    from imgindex.models import Listed
    from imgindex.records import ModelCard
    from imgindex.vgg16 import Layer

app = typer.Typer(
    help="See, fetch and bring in models.", no_args_is_help=True, rich_markup_mode=None
)

LayerOption = Annotated[
    str | None,
    typer.Option(
        metavar="LAYER",
        help="Layer to read, such as block4_conv3 or fc2 [default: block5_pool].",
        show_default=False,
    ),
]
PoolingOption = Annotated[
    Literal["average", "max", "gem", "rmac", "cls", "tokens", "none"] | None,
    typer.Option(
        help="How the layer's map becomes one vector [default: average for maps].",
        show_default=False,
    ),
]
SizeOption = Annotated[
    int | None,
    typer.Option(
        min=16,
        metavar="PIXELS",
        help="Side of the square input [default: 224].",
        show_default=False,
    ),
]
FitOption = Annotated[
    Literal["squash", "crop", "pad"] | None,
    typer.Option(help="How a picture becomes a square [default: squash].", show_default=False),
]


@app.command("list", epilog="\b\nExample:\n  imgindex model list --json\n")
@command
def list_models(*, json: JsonOption = False) -> None:
    """List the models that are here, and those that can be fetched."""
    from imgindex import models

    rows = models.listed(Settings.resolve().models)
    if json:
        as_json([_record(row) for row in rows])
        return
    as_columns(
        [("model", "state", "size", "numbers", "what it is")]
        + [
            (
                row.name,
                row.state,
                amount(row.bytes) if row.bytes else "-",
                str(row.card.dimension) if row.card else "-",
                _in_words(row.card) if row.card else _hint(row),
            )
            for row in rows
        ]
    )


@app.command(epilog="\b\nExample:\n  imgindex model info untrained --json\n")
@command
def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model's name or .onnx file.")],
    *,
    json: JsonOption = False,
) -> None:
    """Show what a model says of itself, and its layers."""
    from imgindex import models, vgg16
    from imgindex.graph import LONGEST_LINE, printable

    path = models.resolve(name, Settings.resolve().models)
    card = models.read_card(path)
    layers = vgg16.layers(card.size) if card.architecture == "vgg16" else []
    if json:
        as_json(
            {"path": str(path), "fingerprint": card.fingerprint, **to_json(card), "layers": layers}
        )
        return
    as_columns(
        [(key, printable(str(value), LONGEST_LINE)) for key, value in to_json(card).items()]
        + [("fingerprint", card.fingerprint), ("file", str(path))]
    )
    if layers:
        line()
        _summary(card, layers, path.stat().st_size)


@app.command(
    epilog="""\b
Examples:
  imgindex model pull                            VGG16 as Keras has it, 59 MB
  imgindex model pull vgg16-torchvision          as torchvision has it, 553 MB
  imgindex model pull vgg16-torchvision --layer fc2
  imgindex model pull --pooling gem --size 320
"""
)
@command
def pull(  # noqa: PLR0913 - one parameter an option
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="vgg16-keras or vgg16-torchvision.")
    ] = "vgg16-keras",
    *,
    layer: LayerOption = None,
    pooling: PoolingOption = None,
    size: SizeOption = None,
    fit: FitOption = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Fetch from this folder of a mirror instead.", show_default=False
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Fetch official VGG16 weights and build the model.

    A download that was cut goes on where it stopped; size and checksum are checked.
    """
    from imgindex import models

    asked: dict[str, Any] = {"layer": layer, "pooling": pooling, "size": size, "fit": fit}
    with progress_bar() as progress:
        path = models.pull(
            name,
            Settings.resolve().models,
            progress=progress,
            base_url=base_url,
            **{key: value for key, value in asked.items() if value is not None},
        )
    _installed(path, json=json)


@app.command(
    "import",
    epilog="""\b
Examples:
  imgindex model import vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5
  imgindex model import vgg16-397923af.pth --layer fc2 --name vgg16-fc2
  imgindex model import dinov2.onnx --size 224 --pooling cls
  imgindex model import clip-image.onnx --size 224 --layer image_embeds \\
      --mean 0.481,0.458,0.408 --std 0.269,0.261,0.276
""",
)
@command
def import_model(  # noqa: PLR0913 - one parameter an option
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Keras .h5 or torchvision .pth weights of VGG16, or any image network as .onnx.",
        ),
    ],
    *,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What to call it.", show_default=False),
    ] = None,
    layer: LayerOption = None,
    pooling: PoolingOption = None,
    size: SizeOption = None,
    fit: FitOption = None,
    layout: Annotated[
        Literal["nchw", "nhwc"] | None,
        typer.Option(help="Order of a foreign network's input.", show_default=False),
    ] = None,
    value_range: Annotated[
        str | None,
        typer.Option(
            "--range",
            metavar="LOW,HIGH",
            help="What bytes 0..255 are stretched to [default: 0,1].",
            show_default=False,
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Taken off each channel [default: ImageNet's; 0 with --range].",
            show_default=False,
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Divides each channel [default: ImageNet's; 1 with --range].",
            show_default=False,
        ),
    ] = None,
    channels: Annotated[
        Literal["rgb", "bgr"] | None,
        typer.Option(help="Their order [default: rgb].", show_default=False),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Its terms.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Bring in weights or a network of your own. Nothing in the file is ever run."""
    from imgindex import models

    path = models.install(
        Path(os.path.expanduser(file)),  # noqa: PTH111 - Path's raises for unknown users
        Settings.resolve().models,
        name=name,
        layer=layer,
        pooling=pooling,
        size=size,
        fit=fit,
        layout=layout,
        scaling=_scaling(value_range, mean, std, channels),
        licence=licence,
    )
    _installed(path, json=json)


@app.command(
    epilog="""\b
Examples:
  imgindex model quantize vgg16-keras ~/Pictures
  imgindex index ~/Pictures --model vgg16-keras-int8 --library fast
"""
)
@command
def quantize(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A VGG16: a model's name or .onnx file.")
    ],
    pictures: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER...", help="Pictures like those it will be used on."),
    ],
    *,
    called: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="What to call it [default: NAME-int8].",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a model in eight bits: several times as fast on a CPU, nearly the same answers.

    It is a model of its own: a library keeps to the one it was built with. Where no model is asked
    for and no graphics card is used, new libraries take it in place of the one it was made from.
    """
    from imgindex.quantizing import quantize as make

    with progress_bar() as progress:
        report = make(name, pictures, Settings.resolve().models, name=called, progress=progress)
    if json:
        as_json({**to_json(report), "path": str(report.path)})
        return
    line(
        f"{report.name} is here, learned from {report.learned} pictures; "
        f"with {report.compared} others:"
    )
    line(f"  {report.speed:.1f} a second on this CPU, {report.speed_before:.1f} before")
    line(
        f"  of the ten nearest it names {report.overlap:.1%} of those named before; "
        f"mean cosine {report.cosine:.5f}"
    )
    if not report.exact:
        line("  this processor has no VNNI, or the like of it: it is computed in float here")
    line(f"use it with: imgindex index FOLDER --model {report.name}")


def _summary(card: ModelCard, layers: Sequence[Layer], size: int) -> None:
    """What the network is made of, from the picture to the embedding."""
    names = [layer.name for layer in layers]
    used = layers[: names.index(card.layer) + 1] if card.layer in names else layers
    rows: list[tuple[str, tuple[int, ...], int]] = [("image", (card.size, card.size, 3), 0)]
    rows += [(layer.name, layer.shape, layer.parameters) for layer in used]
    pooling = "" if card.pooling == "none" else f" ({card.pooling} pooling)"
    rows.append((f"embedding{pooling}", (card.dimension,), 0))
    written = [(name, " x ".join(map(str, shape)), f"{count:,}") for name, shape, count in rows]
    width = max(len("parameters"), *(len(count) for _, _, count in written))
    as_columns(
        [("layer", "output", "parameters".rjust(width))]
        + [(*row, count.rjust(width)) for *row, count in written]
    )
    learned = [layer for layer in used if layer.parameters]
    total = sum(layer.parameters for layer in learned)
    line(
        f"{total:,} parameters in {len(learned)} layers, as {card.precision}; "
        f"the file has {amount(size)}"
    )


def _scaling(
    value_range: str | None, mean: str | None, std: str | None, channels: Order | None
) -> Scaling | None:
    """What was declared of a foreign network's input; None if nothing was."""
    from imgindex.graph import TORCH, Scaling

    if value_range is None and mean is None and std is None and channels is None:
        return None
    plain = value_range is not None
    low, high = _numbers("--range", value_range, 2) or (TORCH.low, TORCH.high)
    three = tuple[float, float, float]
    return Scaling(
        low,
        high,
        cast("three", _numbers("--mean", mean, 3) or ((0.0,) * 3 if plain else TORCH.mean)),
        cast("three", _numbers("--std", std, 3) or ((1.0,) * 3 if plain else TORCH.std)),
        order=channels or "rgb",
    )


def _numbers(option: str, text: str | None, count: int) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        raise SettingError(f"{option} needs {count} numbers with commas between, not {text!r}")
    return values


def _installed(path: Path, *, json: bool) -> None:
    from imgindex import models

    card = models.read_card(path)
    if json:
        as_json({"name": path.stem, "path": str(path), "fingerprint": card.fingerprint})
    else:
        line(f"{path.stem} is here: {_in_words(card)}")
        line(f"use it with: imgindex index FOLDER --model {path.stem}")


def _record(row: Listed) -> dict[str, Any]:
    return {
        "name": row.name,
        "state": row.state,
        "path": None if row.path is None else str(row.path),
        "bytes": row.bytes,
        "card": to_json(row.card),
    }


def _in_words(card: ModelCard) -> str:
    from imgindex.graph import printable

    kind = "" if card.trained else "random weights, "
    bits = "" if card.precision == "float32" else f", {card.precision}"
    return printable(
        f"{kind}{card.architecture} {card.layer} {card.pooling}, {card.size} px {card.fit}{bits}"
    )


def _hint(row: Listed) -> str:
    if row.state == "can be pulled":
        return f"imgindex model pull {row.name}"
    return "random weights, for trying things out"
