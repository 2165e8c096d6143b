"""The library in the plane: groups and their places, and a point for every picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query
from fastapi.responses import Response

from imgindex.records import Chart, no_progress
from imgindex.web.answers import Json
from imgindex.web.browse import Charted
from imgindex.web.examples import example
from imgindex.web.jobs import Job
from imgindex.web.problems import Problem, documented

from .jobs import MapJob, start
from .parameters import Serving

router = APIRouter(prefix="/v1/map", tags=["map"])

_AT_ONCE = 2000  # pictures that are laid out while one waits


@dataclass(frozen=True, slots=True)
class MapGroup:
    """A group on the map.

    Attributes:
        id: its number; -1 for the pictures in none.
        name: what users call it.
        size: pictures in it.
        cover: id of the picture that stands for it.
        x: where that is.
        y: where that is.
        light: its colour on a light ground, as CSS has it.
        dark: on a dark ground.
    """

    id: int
    name: str | None
    size: int
    cover: str
    x: float
    y: float
    light: str
    dark: str


@dataclass(frozen=True, slots=True)
class MapAnswer:
    """The map.

    Attributes:
        change: the library's, when it was drawn.
        count: how many points there are.
        width: places lie between 0 and this.
        height: and this.
        groups: the groups, the largest first.
        grouped: there are groups.
        points: where the points are.
    """

    change: str
    count: int
    width: float
    height: float
    groups: tuple[MapGroup, ...]
    grouped: bool
    points: str


@router.get(
    "",
    summary="The library in the plane",
    response_model=MapAnswer,
    responses={
        **example("map"),
        202: {
            **example("job", 202)[202],
            "model": Job,
            "description": "It is being laid out; follow the job, and ask again.",
        },
        **documented(404),
    },
)
async def chart(service: Serving) -> Json:
    """What is alike lies together; a large library is laid out by a job first."""

    def look() -> Charted | None:
        drawn = service.charts.now()
        if drawn is None and service.library.status().pictures <= _AT_ONCE:
            drawn = service.charts.draw(no_progress)
        return drawn

    drawn = await service.pool.run(look)
    if drawn is None:
        job = service.jobs.find("map") or start(service, MapJob(kind="map"))
        return Json(job, 202, {"Location": f"/v1/jobs/{job.id}"})
    return Json(_answer(drawn.change, drawn.chart))


@router.get(
    "/points",
    summary="The points of the map",
    response_class=Response,
    responses={
        200: {
            "description": "Little endian, one after the other: float32 x, y, room, int32 group, "
            "float32 strength of every point, then 16 bytes of every id. Important points first.",
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        },
        **documented(409),
    },
)
async def points(
    service: Serving,
    change: Annotated[str, Query(max_length=200, description="As the map told it.")],
) -> Response:
    """A point for every picture; 409 where the map was drawn anew since."""

    def pack() -> bytes | None:
        charted = service.charts.last
        if charted is None or charted.change != change:
            return None
        drawn = charted.chart
        ids = bytes.fromhex("".join(drawn.ids))
        columns = (
            np.asarray(drawn.x, "<f4"),
            np.asarray(drawn.y, "<f4"),
            np.asarray(drawn.rooms, "<f4"),
            np.asarray(drawn.labels, "<i4"),
            np.asarray(drawn.strengths, "<f4"),
        )
        return b"".join([*(column.tobytes() for column in columns), ids])

    packed = await service.pool.run(pack)
    if packed is None:
        raise Problem(
            409, "map-changed", "The map has changed", "the library has changed; get the map anew"
        )
    return Response(
        packed,
        media_type="application/octet-stream",
        headers={"Cache-Control": "private, max-age=31536000, immutable"},
    )


def _answer(change: str, drawn: Chart) -> MapAnswer:
    return MapAnswer(
        change=change,
        count=len(drawn.ids),
        width=float(drawn.width),
        height=float(drawn.height),
        groups=tuple(
            MapGroup(
                group.id,
                group.name,
                group.size,
                group.cover,
                float(drawn.x[group.place]),
                float(drawn.y[group.place]),
                group.light,
                group.dark,
            )
            for group in drawn.groups
        ),
        grouped=drawn.grouped,
        points=f"/v1/map/points?change={change}",
    )
