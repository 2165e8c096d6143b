"""Which model file: the bundled, the installed, the official ones, and how they get here."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from . import download, foreign, graph, vgg16, weights
from .errors import ModelError, ModelFileError, ModelNotFoundError, SettingError
from .precision import EIGHT
from .records import no_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .graph import Layout, Pooling, Scaling
    from .records import Fit, ModelCard, Progress

State = Literal["bundled", "installed", "can be pulled", "built on first use"]

UNTRAINED = "untrained"
_VGG_LICENCE = "CC BY 4.0, Visual Geometry Group, University of Oxford"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_BESIDE = Path(__file__).parent
_LONGEST_NAME = 100
_PULL = "imgindex model pull"
_IMPORT = "imgindex model import FILE"


@dataclass(frozen=True, slots=True)
class Official:
    """Published weights of VGG16.

    Attributes:
        name: the model they become.
        url: where the file lies.
        size: bytes, where known for certain.
        md5: checksum, where the publisher names one.
        sha256: checksum, where the publisher names one.
    """

    name: str
    url: str
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None


OFFICIAL = (
    Official(
        "vgg16-keras",
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        size=58_889_256,
        md5="6d6bbae143d832006294945121d1f1fc",
    ),
    Official(
        "vgg16-torchvision",
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One model that can be used or fetched; card and path are None where no file is here yet."""

    name: str
    state: State
    card: ModelCard | None = None
    path: Path | None = None
    bytes: int = 0


def resolve(
    name: str | os.PathLike[str] | None,
    folder: Path,
    *,
    small: Callable[[], bool] = lambda: False,
) -> Path:
    """Find the model file to load.

    Args:
        name: a model's name, or the path of an ``.onnx`` file built by imgindex. None takes a
            bundled model, else an installed official one, else the only trained one installed;
            and in its place what `quantizing` made of it, where ``small`` says so.
            ``untrained`` is built when first asked for and never taken by itself.
        folder: where pulled and imported models lie.
        small: whether the processor is faster with eight bits; asked only where it matters.

    Raises:
        ModelNotFoundError: nothing of that name is here, or none was chosen and none is at hand.
        ModelFileError: a path names a file without our card, or one that is not what it says.
        ModelError: the folder cannot be read.
    """
    if name is None:
        return _default(folder, small)
    text = os.fspath(name)
    here = {row.name: row.path for row in _files(folder)}
    if (found := here.get(text)) is not None:
        return found
    if text == UNTRAINED:
        return _untrained(folder)
    path = Path(os.path.expanduser(text))  # noqa: PTH111 - Path's raises for unknown users
    # Names too long for a file, or with a NUL, are no files to os.path; Path raises.
    is_file = os.path.isfile(path)  # noqa: PTH113
    if path.suffix.lower() == ".onnx" or is_file:
        if not is_file:
            raise ModelNotFoundError(
                f"there is no model file {graph.printable(str(path), graph.LONGEST_LINE)}"
            )
        if weights.kind(path) is not None:
            raise ModelFileError(
                f"{path} holds weights, not a model; bring it in with: imgindex model import {path}"
            )
        read_card(path)
        return path
    if text in {official.name for official in OFFICIAL}:
        raise ModelNotFoundError(f"model {text} is not here yet; get it with: {_PULL} {text}")
    names = ", ".join(sorted({*here, UNTRAINED}))
    raise ModelNotFoundError(f"there is no model '{graph.printable(text)}'; those here are {names}")


def _default(folder: Path, small: Callable[[], bool]) -> Path:
    rows = [row for row in _files(folder) if row.card and row.card.trained and row.path]
    here = {row.name: row for row in rows}

    def made_of(row: Listed) -> bool:
        whole = here.get(row.name.removesuffix(f"-{EIGHT}"))
        return bool(
            row.card
            and row.card.precision == EIGHT
            and whole
            and whole.card
            and _described(row.card) == _described(whole.card)
        )

    trained = [row for row in rows if not made_of(row)]
    chosen = [row for row in trained if row.state == "bundled"][:1]
    chosen += [here[official.name] for official in OFFICIAL if official.name in here]
    if len(trained) == 1:
        chosen += trained
    if chosen:
        made = here.get(f"{chosen[0].name}-{EIGHT}")
        best = made if made and made_of(made) and small() else chosen[0]
        if best.path:
            return best.path
    if trained:
        names = ", ".join(row.name for row in rows)
        raise ModelNotFoundError(f"several models are here; choose one with --model: {names}")
    raise ModelNotFoundError(
        "no trained model is here yet. Choose one of:\n"
        f"  {_PULL}\n"
        "      fetches the official VGG16 weights (59 MB, once)\n"
        f"  {_IMPORT}\n"
        "      takes weights you have: .h5 (Keras), .pth (torchvision) or .onnx\n"
        f"  --model {UNTRAINED}\n"
        "      random weights: good for trying things out, finds only very similar pictures"
    )


def _described(card: ModelCard) -> tuple[object, ...]:
    """What a model and the one quantised from it have in common."""
    return (card.layer, card.pooling, card.size, card.fit, card.scaling, card.source, card.licence)


def _untrained(folder: Path) -> Path:
    path = folder / f"{UNTRAINED}.onnx"
    data = vgg16.build(
        vgg16.untrained(),
        name=UNTRAINED,
        source="random, seed 0",
        licence="CC0-1.0",
        trained=False,
    )
    graph.save(path, data)
    return path


def read_card(path: Path) -> ModelCard:
    """Read a model file's card, and check that the model is safe to load and what the card says.

    Every model passes here before ONNX Runtime opens it; its weights are not read.

    Raises:
        ModelFileError: the file was not built by imgindex, is damaged, or unsafe.
    """
    return foreign.vouch(path)


def listed(folder: Path) -> list[Listed]:
    """List every model known: bundled, installed, then what can be pulled or built.

    Files that cannot be read as models are left out.
    """
    rows = list(_files(folder))
    here = {row.name for row in rows}
    rows += [Listed(one.name, "can be pulled") for one in OFFICIAL if one.name not in here]
    if UNTRAINED not in here:
        rows.append(Listed(UNTRAINED, "built on first use"))
    return rows


def find(fingerprint: str, folder: Path) -> Path | None:
    """Find the model file whose card has this fingerprint; libraries remember it."""
    for row in _files(folder):
        if row.card and row.card.fingerprint == fingerprint:
            return row.path
    return None


def _files(folder: Path) -> Iterator[Listed]:
    """Models that are files here, bundled before installed; a name counts once."""
    seen = set()
    places: tuple[tuple[State, Path], ...] = (
        ("bundled", _BESIDE / "bundled"),
        ("bundled", _BESIDE.parent / "models"),
        ("installed", folder),
    )
    for state, place in places:
        for path in _candidates(place):
            try:
                card, size = graph.read_card(path), path.stat().st_size
            except (ModelFileError, OSError):
                continue
            if card is not None and path.stem not in seen:
                seen.add(path.stem)
                yield Listed(path.stem, state, card, path, size)


def _candidates(folder: Path) -> list[Path]:
    """Files that may be models, sorted; none where there is no such folder."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - Path.glob takes a forbidden folder for empty
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the models in {folder}: {graph.brief(error)}") from error
    return [folder / name for name in sorted(names) if re.fullmatch(r"[^.].*\.onnx", name)]


def install(  # noqa: PLR0913 - what a foreign file leaves unsaid, one by one
    path: Path,
    folder: Path,
    *,
    name: str | None = None,
    layer: str | None = None,
    pooling: Pooling | None = None,
    size: int | None = None,
    fit: Fit | None = None,
    layout: Layout | None = None,
    scaling: Scaling | None = None,
    source: str | None = None,
    licence: str | None = None,
) -> Path:
    """Bring a file in as a model; what kind it is, its content tells.

    Weights of VGG16 (Keras ``.h5``, torchvision ``.pth``) take ``layer``, ``pooling``, ``size`` and
    ``fit``, by default block5_pool, average, 224 and squash. A foreign ``.onnx`` takes these and
    the rest, see `foreign.adapt`. An ``.onnx`` that imgindex built takes none of them.

    Args:
        path: the file.
        folder: where installed models lie.
        name: what to call the model; by default the file's name without its suffix, or the name in
            the card of an ``.onnx`` that imgindex built.
        layer: the layer, output or inner tensor to read.
        pooling: how its map becomes a vector.
        size: side of the input in pixels.
        fit: how a picture is brought to the square.
        layout: ``nchw`` or ``nhwc``.
        scaling: what a foreign network was trained to see; by default as torchvision's.
        source: where the network comes from; by default the file's name.
        licence: its terms.

    Returns:
        The installed file.

    Raises:
        ModelFileError: the file is damaged, unsafe, or not understood.
        ModelError: another model of that name is installed, or the folder cannot be written.
        SettingError: the name is no safe file name, or what is declared does not fit the file.
    """
    found = weights.kind(path)
    ours = None if found else graph.read_card(path)
    official = _recognise(path) if found else None
    name = _safe(name or (official.name if official else ours.name if ours else path.stem))
    source = source or (official.url if official else path.name)
    licence = licence or (_VGG_LICENCE if official else "not stated")
    if found:
        if layout or scaling:
            raise SettingError("layout and scaling of VGG16 weights are known; leave them out")
        layer = layer or vgg16.DEFAULT_LAYER
        data = vgg16.build(
            weights.read(path, vgg16.kernels(layer)),
            layer=layer,
            pooling=pooling,
            size=size or vgg16.DEFAULT_SIZE,
            fit=fit or "squash",
            name=name,
            source=source,
            licence=licence,
        )
    elif ours:
        if any((layer, pooling, size, fit, layout, scaling)):
            raise SettingError(f"{path} was built by imgindex and says all of itself; declare none")
        data = foreign.reissue(path, name)
    else:
        data = foreign.adapt(
            path,
            name=name,
            source=source,
            licence=licence,
            layer=layer,
            pooling=pooling,
            size=size,
            fit=fit or "squash",
            layout=layout,
            scaling=scaling or graph.TORCH,
        )
    return put(name, data, folder)


def pull(  # noqa: PLR0913 - what decides a model, one by one
    name: str,
    folder: Path,
    *,
    layer: str = vgg16.DEFAULT_LAYER,
    pooling: Pooling | None = None,
    size: int = vgg16.DEFAULT_SIZE,
    fit: Fit = "squash",
    progress: Progress = no_progress,
    base_url: str | None = None,
) -> Path:
    """Fetch official weights and build the model; settings beside the default join its name.

    Args:
        name: one of `OFFICIAL`.
        folder: where installed models lie.
        layer: the layer to read.
        pooling: how its map becomes a vector.
        size: side of the input in pixels.
        fit: how a picture is brought to the square.
        progress: called while fetching.
        base_url: another place that has the file, as a URL without the file's name.

    Returns:
        The installed file, for example ``vgg16-keras.onnx``, or ``vgg16-keras-gem.onnx``.

    Raises:
        ModelNotFoundError: no such official weights.
        DownloadError: they could not be fetched.
        SettingError: layer, pooling and size do not fit together.
    """
    official = next((one for one in OFFICIAL if one.name == name), None)
    if official is None:
        names = ", ".join(one.name for one in OFFICIAL)
        raise ModelNotFoundError(f"there is no {name!r} to pull; there are {names}")
    expected = vgg16.kernels(layer)
    shapes = {row.name: row.shape for row in vgg16.layers(size)}
    if layer not in shapes:
        raise SettingError(f"{layer} needs size {vgg16.DEFAULT_SIZE}, not {size}")
    graph.Sketch().pool(layer, shapes[layer], pooling or vgg16.pooling_of(layer))
    usual = (vgg16.DEFAULT_LAYER, vgg16.pooling_of(layer), vgg16.DEFAULT_SIZE, "squash")
    asked = (layer, pooling or usual[1], size, fit)
    full = "-".join([name, *(str(a) for a, b in zip(asked, usual, strict=True) if a != b)])
    target = folder / f"{full}.onnx"
    with contextlib.suppress(ModelFileError):  # absent or damaged, it is fetched
        read_card(target)
        return target
    file = official.url.rpartition("/")[2]
    raw = folder / file
    if not raw.exists():
        url = f"{base_url.rstrip('/')}/{file}" if base_url else official.url
        download.fetch(
            url,
            raw,
            size=official.size,
            sha256=official.sha256,
            md5=official.md5,
            progress=progress,
        )
    data = vgg16.build(
        weights.read(raw, expected),
        layer=layer,
        pooling=pooling,
        size=size,
        fit=fit,
        name=full,
        source=official.url,
        licence=_VGG_LICENCE,
    )
    path = put(full, data, folder)
    raw.unlink()
    return path


def _recognise(path: Path) -> Official | None:
    """Tell an official file that was fetched some other way, by its checksum."""
    for one in OFFICIAL:
        kind, wanted = ("sha256", one.sha256) if one.sha256 else ("md5", one.md5)
        if one.size in {None, path.stat().st_size} and download.checksum(path, kind) == wanted:
            return one
    return None


def free_name(name: str, folder: Path) -> str:
    """Give a name back that a new model may have.

    Raises:
        SettingError: it is no safe file name.
        ModelError: a model has it, or no model can be written here.
    """
    if name == UNTRAINED:
        raise ModelError(f"{UNTRAINED} names the random weights; choose another --name")
    for row in _files(folder):
        if row.name == _safe(name):
            raise ModelError(
                f"a model named {name} is {row.state} ({row.path}); choose another --name"
            )
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise ModelError(f"cannot write to {folder}, where models lie; set IMGINDEX_HOME")
    return _safe(name)


def put(name: str, data: bytes, folder: Path) -> Path:
    """Install a built model.

    Raises:
        ModelError: another model has its name, or the folder cannot be written.
    """
    new = graph.read_card(data)
    for row in _files(folder):
        if row.name == name and row.card and new and row.card.fingerprint != new.fingerprint:
            raise ModelError(
                f"another model named {name} is {row.state} ({row.path}); choose another --name"
            )
    if name == UNTRAINED:
        raise ModelError(f"{UNTRAINED} names the random weights; choose another --name")
    target = folder / f"{name}.onnx"
    graph.save(target, data)
    return target


def _safe(name: str) -> str:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise SettingError(
            f"{name!r} cannot name a model; use letters, digits, dot, hyphen and underscore, "
            "and --name to choose another"
        )
    return name
