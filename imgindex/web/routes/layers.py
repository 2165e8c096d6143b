"""What the network sees of a picture, and what draws two together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from imgindex.errors import SettingError
from imgindex.records import Channel, Explanation, Features, Frame, Layers, PictureId, Place
from imgindex.web.answers import Json
from imgindex.web.examples import example
from imgindex.web.problems import Problem, documented
from imgindex.web.service import Service

from .parameters import Id, PictureArgument, Serving

router = APIRouter(prefix="/v1", tags=["network"])

_FOR_A_DAY = "private, max-age=86400"
_KEPT = 3  # layers of pictures; the maps of a fine one take 13 MB

Kind = Annotated[
    Literal["pictures", "uploads"], Path(description="A picture of the library, or one sent.")
]
LayerArgument = Annotated[
    str, Path(max_length=200, description="Name of a layer.", examples=["block3_conv2"])
]
_PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
}


@dataclass(frozen=True, slots=True)
class FeaturesAnswer:
    """What a layer makes of a picture, without the maps themselves.

    Attributes:
        picture: what was looked at.
        model: name of the model.
        layer: name of the layer.
        channels: of every map its number, its mean and its largest value, by falling mean.
        frame: which part of the picture the maps show.
    """

    picture: str
    model: str
    layer: str
    channels: tuple[Channel, ...]
    frame: Frame


@dataclass(frozen=True, slots=True)
class ExplanationAnswer:
    """What draws two pictures together, as ``imgindex explain`` has it.

    Attributes:
        a: the one's file.
        b: the other's.
        score: their cosine.
        model: name of the model.
        layer: whose places are compared.
        exact: the maps add up to the score.
        map_a: what each place of the one adds, row by row; how like its best match it is, if not.
        map_b: likewise of the other.
        frame_a: which part of the one the map shows.
        frame_b: which part of the other.
        places: pairs of places that are each other's best match.
    """

    a: str
    b: str
    score: float
    model: str
    layer: str
    exact: bool
    map_a: list[list[float]]
    map_b: list[list[float]]
    frame_a: Frame
    frame_b: Frame
    places: tuple[Place, ...]


@router.get(
    "/layers",
    summary="The layers of the network",
    response_model=Layers,
    responses={**example("layers"), **documented(503)},
)
async def layers(service: Serving) -> Json:
    """Those whose maps can be looked at."""
    return Json(await service.looking.run(service.library.layers))


@router.get(
    "/{kind}/{picture_id}/features",
    summary="What a layer makes of a picture",
    response_model=FeaturesAnswer,
    responses={**example("features"), **documented(404)},
)
async def features(
    kind: Kind,
    picture_id: PictureArgument,
    service: Serving,
    layer: Annotated[
        str | None, Query(max_length=200, description="Its name; the last one that has maps.")
    ] = None,
) -> Json:
    """How strongly each of the layer's maps answers, the strongest first."""
    found = await _features(service, kind, picture_id, layer)
    return Json(
        FeaturesAnswer(found.picture, found.model, found.layer, found.channels, found.frame)
    )


@router.get(
    "/{kind}/{picture_id}/features/{layer}/sheet",
    summary="The maps of a layer, drawn",
    response_class=Response,
    responses={**_PNG, **documented(404)},
)
async def sheet(
    kind: Kind,
    picture_id: PictureArgument,
    layer: LayerArgument,
    service: Serving,
    top: Annotated[int, Query(ge=1, le=4096, description="How many of the strongest.")] = 16,
) -> Response:
    """A PNG file of the strongest maps."""
    found = await _features(service, kind, picture_id, layer)
    return await _png(service, lambda: service.library.draw_features(found, top=top))


@router.get(
    "/{kind}/{picture_id}/features/{layer}/overlay",
    summary="Where a layer answers",
    response_class=Response,
    responses={**_PNG, **documented(404)},
)
async def overlay(
    kind: Kind, picture_id: PictureArgument, layer: LayerArgument, service: Serving
) -> Response:
    """A PNG file of the mean of the layer's maps over the picture, of the picture's shape."""
    found = await _features(service, kind, picture_id, layer)
    return await _png(service, lambda: service.library.draw_overlay(found))


@router.get(
    "/{kind}/{picture_id}/features/{layer}/maps/{channel}",
    summary="One map, drawn",
    response_class=Response,
    responses={**_PNG, **documented(404)},
)
async def one_map(
    kind: Kind,
    picture_id: PictureArgument,
    layer: LayerArgument,
    channel: Annotated[int, Path(ge=0, le=100_000, description="Its number.")],
    service: Serving,
) -> Response:
    """A PNG file of one map."""
    found = await _features(service, kind, picture_id, layer)
    return await _png(service, lambda: service.library.draw_map(found, channel))


@router.get(
    "/explain",
    summary="What draws two pictures together",
    response_model=ExplanationAnswer,
    responses={**example("explain"), **documented(404)},
)
async def explain(
    a: Annotated[Id, Query()],
    b: Annotated[Id, Query()],
    service: Serving,
    k: Annotated[int, Query(ge=1, le=50, description="Pairs of places to name at most.")] = 6,
) -> Json:
    """The places of two pictures that match, and what each adds to their cosine."""
    found = await _explanation(service, a, b, k)
    told = {field.name: getattr(found, field.name) for field in fields(ExplanationAnswer)}
    return Json(told)


@router.get(
    "/explain/sheet",
    summary="What draws two pictures together, drawn",
    response_class=Response,
    responses={**_PNG, **documented(404)},
)
async def explain_sheet(
    a: Annotated[Id, Query()],
    b: Annotated[Id, Query()],
    service: Serving,
    k: Annotated[int, Query(ge=1, le=50, description="Pairs of places to draw at most.")] = 6,
) -> Response:
    """A PNG file of both pictures, coloured by likeness, with lines between places."""
    found = await _explanation(service, a, b, k)
    return await _png(service, lambda: service.library.draw_explanation(found))


async def _features(service: Service, kind: str, picture_id: str, layer: str | None) -> Features:
    source: PictureId | bytes
    if kind == "uploads":
        source = service.uploads.get(picture_id).data
    else:
        await service.check_picture(picture_id)
        source = PictureId(picture_id)
    # The maps of a layer are asked for one by one: one look has to do for all of them.
    asked = (kind, picture_id, layer)
    found = service.features.pop(asked, None)
    if found is None:
        try:
            found = await service.looking.run(service.library.features, source, layer)
        except SettingError as error:
            raise Problem(404, "no-such-layer", "No such layer", str(error)) from error
    service.features[asked] = found
    for old in [*service.features][:-_KEPT]:
        del service.features[old]
    return found


async def _explanation(service: Service, a: str, b: str, k: int) -> Explanation:
    for one in (a, b):
        await service.check_picture(one)
    return await service.looking.run(service.library.explain, PictureId(a), PictureId(b), k)


async def _png(service: Service, draw: Callable[[], bytes]) -> Response:
    try:
        data = await service.looking.run(draw)
    except SettingError as error:
        raise Problem(404, "no-such-map", "No such map", str(error)) from error
    return Response(data, media_type="image/png", headers={"Cache-Control": _FOR_A_DAY})
