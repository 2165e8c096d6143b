"""The library and the service at a glance; sessions of browsers; figures."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from imgindex.errors import LibraryNotFoundError
from imgindex.records import Status, to_json
from imgindex.web.answers import Health, Json, ServiceStatus, StatusAnswer
from imgindex.web.examples import example
from imgindex.web.guard import COOKIE, same, session_of
from imgindex.web.metrics import MEDIA_TYPE
from imgindex.web.problems import Problem, documented

from .parameters import MAX_K, Serving

router = APIRouter(prefix="/v1", tags=["service"])
bare = APIRouter(tags=["service"])


class SessionBody(BaseModel):
    """What a person types in to be let in."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(min_length=1, max_length=1000)


@router.get(
    "/status",
    summary="The library at a glance",
    response_model=StatusAnswer,
    responses=example("status"),
)
async def status(service: Serving) -> Json:
    """What the library holds, and what may be asked of the service."""
    import imgindex

    settings = service.settings

    def look() -> Status:
        try:
            return service.library.status()
        except LibraryNotFoundError:
            place = service.library.place
            return Status(place, 0, 0, 0, 0, 0, None, None, "none", 0, None, None, None)

    return Json(
        StatusAnswer(
            **to_json(await service.pool.run(look)),
            change=await service.change(),
            service=ServiceStatus(
                version=imgindex.__version__,
                originals=settings.originals,
                addresses=settings.addresses,
                adding=settings.uploads is not None,
                indexing=settings.folders != (),
                aside=settings.aside is not None,
                max_upload_bytes=settings.max_upload,
                max_k=MAX_K,
            ),
        )
    )


@router.post("/session", summary="Let a browser in", status_code=204, responses=documented(401))
async def begin_session(body: SessionBody, service: Serving) -> Response:
    """Exchange the token for a cookie that no script can read."""
    token = service.settings.token
    response = Response(status_code=204)
    if token is None:
        return response
    if not same(body.token, token):
        raise Problem(401, "token", "A token is needed", "that is not the service's token")
    response.set_cookie(COOKIE, session_of(token), httponly=True, samesite="strict")
    return response


@router.delete("/session", summary="Let a browser out", status_code=204)
async def end_session() -> Response:
    """Take the cookie away."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


@bare.get(
    "/healthz",
    summary="Whether the service runs",
    response_model=Health,
    responses=example("healthy"),
)
async def healthz() -> Json:
    """It does, if this is answered."""
    return Json(Health("ok"))


@bare.get(
    "/readyz",
    summary="Whether the service may be sent requests",
    response_model=Health,
    responses={**example("ready"), **documented(503)},
)
async def readyz(service: Serving) -> Json:
    """503 until the model and the graph are loaded."""
    if not service.ready:
        raise Problem(503, "not-ready", "Not ready yet", "loading", {"Retry-After": "1"})
    return Json(Health("ready"))


@bare.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=PlainTextResponse,
)
async def metrics(service: Serving) -> Response:
    """Requests by route and status, their times, sizes of batches, what waits."""
    return Response(service.metrics.text(), media_type=MEDIA_TYPE)
