"""Long work: started, watched while it runs, stopped."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body
from fastapi import Path as PathArgument
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import BaseModel, ConfigDict, Field

from imgindex.records import MIN_CLUSTER_SIZE, NOISE, Choice, ClusterReport, Progress, Space
from imgindex.web.answers import Json
from imgindex.web.events import Event
from imgindex.web.examples import example
from imgindex.web.jobs import Job
from imgindex.web.problems import documented, not_allowed, too_busy
from imgindex.web.service import Service

from .parameters import Serving, Text

router = APIRouter(prefix="/v1", tags=["jobs"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `job` (data is a Job) and `library` (data has its `change`).",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'event: library\ndata: {"change": "12-7"}\n\n',
            }
        },
    }
}


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")


class IndexJob(_Settings):
    """Look at every picture below some folders once, as ``imgindex index`` does."""

    kind: Literal["index"]
    paths: list[Annotated[Text, Field(min_length=1, max_length=4096)]] = Field(
        min_length=1, max_length=100, examples=[["/photos"]]
    )
    prune: bool = False
    include: list[Text] = Field(default=[], max_length=100)
    exclude: list[Text] = Field(default=[], max_length=100, examples=[["thumbs/"]])
    hidden: bool = False


class ClusterJob(_Settings):
    """Discover groups, as ``imgindex cluster`` does."""

    kind: Literal["cluster"]
    min_cluster_size: int | None = Field(default=None, ge=2, le=1_000_000)
    about: int | None = Field(default=None, ge=1, le=1_000_000)
    min_samples: int = Field(default=5, ge=1, le=1000)
    space: Space = "neighbourhood"
    anew: bool = False


class DuplicatesJob(_Settings):
    """Look for copies, as ``imgindex duplicates`` does."""

    kind: Literal["duplicates"]


class MapJob(_Settings):
    """Lay the library out in the plane."""

    kind: Literal["map"]


JobBody = Annotated[
    IndexJob | ClusterJob | DuplicatesJob | MapJob,
    Body(
        discriminator="kind",
        openapi_examples={
            "index": {"value": {"kind": "index", "paths": ["/photos"]}},
            "cluster": {"value": {"kind": "cluster", "about": 30}},
            "duplicates": {"value": {"kind": "duplicates"}},
        },
    ),
]
JobArgument = Annotated[
    str,
    PathArgument(
        pattern="^[0-9a-f]{16}$", description="Id of a job.", examples=["5f1c0a9be2d47a36"]
    ),
]


@router.post(
    "/jobs",
    summary="Start a job",
    status_code=202,
    response_model=Job,
    responses={**example("job", 202), **documented(403, 409)},
)
async def begin(body: JobBody, service: Serving) -> Json:
    """Have long work done; jobs run one at a time, in the order in which they were started."""
    if isinstance(body, IndexJob):
        body.paths = await service.pool.run(_indexable, service, body.paths)
    job = start(service, body)
    return Json(job, 202, {"Location": f"/v1/jobs/{job.id}"})


@router.get("/jobs", summary="All jobs", response_model=list[Job], responses=example("jobs"))
async def jobs(service: Serving) -> Json:
    """The newest first; of those that ended the last hundred."""
    return Json(list(service.jobs))


@router.get(
    "/jobs/{job_id}",
    summary="One job",
    response_model=Job,
    responses={**example("job"), **documented(404)},
)
async def job(job_id: JobArgument, service: Serving) -> Json:
    """How far it is, and what came of it."""
    return Json(service.jobs.get(job_id))


@router.delete(
    "/jobs/{job_id}",
    summary="Stop a job",
    status_code=202,
    response_model=Job,
    responses={**example("job", 202), **documented(404)},
)
async def cancel(job_id: JobArgument, service: Serving) -> Json:
    """Have a job end at its next word of progress; what was done is kept."""
    return Json(service.jobs.cancel(job_id), 202)


@router.get(
    "/jobs/{job_id}/events",
    summary="A job while it runs",
    response_class=StreamingResponse,
    responses={**_STREAM, **documented(404)},
)
async def job_events(job_id: JobArgument, service: Serving) -> Response:
    """Server-sent events, one for each change of the job; the last one when it has ended."""
    service.jobs.get(job_id)
    return _stream(service, job_id)


@router.get(
    "/events",
    summary="News",
    response_class=StreamingResponse,
    responses=_STREAM,
)
async def events(service: Serving) -> Response:
    """Server-sent events: changes of all jobs, and of the library, by whomever."""
    return _stream(service, None)


def start(service: Service, body: IndexJob | ClusterJob | DuplicatesJob | MapJob) -> Job:
    """Have a job done as soon as nothing else runs; whoever hears of its end sees what it did."""
    work = _work(service, body)

    def done(progress: Progress) -> Any:
        try:
            return work(progress)
        finally:
            service.snapshots.anew()

    return service.jobs.begin(body.kind, done, body.model_dump(exclude={"kind"}))


def _stream(service: Service, job_id: str | None) -> Response:
    if service.broadcast.full:
        raise too_busy(30)
    return StreamingResponse(
        _news(service, job_id),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _news(service: Service, job_id: str | None) -> AsyncIterator[bytes]:
    with service.broadcast.listening() as heard:
        if job_id is None:
            yield _written(Event("library", {"change": await service.change()}))
        known = [one for one in service.jobs if not one.over] if job_id is None else []
        for one in known if job_id is None else [service.jobs.get(job_id)]:
            yield _written(Event("job", one))
            if job_id is not None and one.over:
                return
        async for event in heard:
            if event is None:
                yield b": still here\n\n"
                continue
            if job_id is not None and (event.name != "job" or event.record.id != job_id):
                continue
            yield _written(event)
            if job_id is not None and event.record.over:
                return


def _written(event: Event) -> bytes:
    return format_sse_event(event=event.name, data_str=bytes(Json(event.record).body).decode())


def _indexable(service: Service, paths: list[str]) -> list[str]:
    """Whole paths of what is to be indexed, if clients may have that indexed."""
    whole = [os.path.abspath(os.path.expanduser(path)) for path in paths]  # noqa: PTH111 - Path's raises for unknown users
    allowed = service.settings.folders
    if allowed is not None:
        real = [Path(os.path.realpath(folder)) for folder in allowed]
        for path in whole:
            # Links are followed: a name inside a folder may lead out of it.
            place = Path(os.path.realpath(path))
            if not any(place.is_relative_to(folder) for folder in real):
                raise not_allowed(
                    f"{path} may not be indexed on a client's word; start the service with "
                    "--folder to name folders that may"
                )
    return whole


def _work(
    service: Service, body: IndexJob | ClusterJob | DuplicatesJob | MapJob
) -> Callable[[Progress], Any]:
    library = service.library
    if isinstance(body, IndexJob):
        choice = Choice(tuple(body.include), tuple(body.exclude), body.hidden)
        return lambda progress: library.add(
            body.paths, prune=body.prune, choice=choice, progress=progress
        )
    if isinstance(body, ClusterJob):
        return lambda progress: _cluster(service, body, progress)
    if isinstance(body, DuplicatesJob):
        return lambda progress: _duplicates(service, progress)
    return lambda progress: _map(service, progress)


def _cluster(service: Service, body: ClusterJob, progress: Progress) -> ClusterReport:
    began = time.perf_counter()
    service.library.cluster(
        min_cluster_size=body.min_cluster_size or MIN_CLUSTER_SIZE,
        about=body.about,
        min_samples=body.min_samples,
        space=body.space,
        anew=body.anew,
        progress=progress,
    )
    found = service.library.grouping()  # with what was decided
    return ClusterReport(
        pictures=len(found.ids),
        groups=len(found.groups),
        noise=int((found.labels == NOISE).sum()),
        settings=found.settings,
        seconds=round(time.perf_counter() - began, 3),
    )


def _duplicates(service: Service, progress: Progress) -> dict[str, int]:
    found = service.library.duplicates(progress=progress)
    return {
        "sets": len(found.sets),
        "files": sum(len(one.files) for one in found.sets),
        "skipped": len(found.skipped),
    }


def _map(service: Service, progress: Progress) -> dict[str, int]:
    return {"pictures": len(service.charts.draw(progress).chart.ids)}
