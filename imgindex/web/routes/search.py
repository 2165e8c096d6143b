"""Searching: by pictures of the library, by pictures that are sent, by several of them."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from imgindex import Term
from imgindex.records import PictureId, SearchResult
from imgindex.scan import content_id
from imgindex.web.answers import Json, UploadAnswer
from imgindex.web.examples import example
from imgindex.web.problems import documented, not_allowed
from imgindex.web.service import Service
from imgindex.web.thumbnails import SIDES
from imgindex.web.uploads import Upload

from .bodies import PICTURE, one_picture
from .parameters import (
    ASKED,
    BoxText,
    Filters,
    Id,
    Matches,
    PictureArgument,
    Serving,
    SizeArgument,
    box_of,
    matches_of,
    service_of,
    wished,
)

router = APIRouter(prefix="/v1", tags=["search"])

_MOST_TERMS = 32


class TermBody(BaseModel):
    """One picture of a query: of the library, one that was sent before, or one on the web."""

    model_config = ConfigDict(extra="forbid")

    picture: Id | None = None
    upload: Id | None = None
    address: str | None = Field(
        default=None,
        max_length=2048,
        pattern="^https?://",
        description="Where to fetch it from, if the service does that.",
        examples=["https://example.org/beach.jpg"],
    )
    weight: float = Field(
        default=1,
        ge=-1000,
        le=1000,
        description="How much it counts, not 0; below 0 it steers away, and -0.25 does it well.",
    )
    box: BoxText | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> TermBody:
        if sum(one is not None for one in (self.picture, self.upload, self.address)) != 1:
            raise ValueError("give one of picture, upload and address")
        if self.weight == 0:
            raise ValueError("the weight of a picture cannot be 0")
        return self


class SearchBody(Matches):
    """What to look for: what is like the weighted sum of some pictures."""

    terms: list[TermBody] = Field(min_length=1, max_length=_MOST_TERMS)
    where: Filters = Filters()


@router.get(
    "/pictures/{picture_id}/similar",
    summary="What looks like a picture of the library",
    response_model=SearchResult,
    responses={**example("search"), **documented(404)},
    openapi_extra=ASKED,
)
async def similar(request: Request, picture_id: PictureArgument) -> Json:
    """Find neighbours of an indexed picture, or of a part of it; it finds itself first."""
    # Without FastAPI's dependencies, which would cost a twentieth of the whole.
    service, asked = service_of(request), matches_of(request)
    wish = await wished(service, asked, asked)
    found = PictureId(picture_id)
    if asked.box is None:
        return Json(await service.search(found, wish))
    return Json(await service.search([Term(found, box=box_of(asked.box))], wish))


@router.post(
    "/search",
    summary="What looks like several pictures",
    response_model=SearchResult,
    responses={**example("search"), **documented(403, 404)},
)
async def search(asked: SearchBody, service: Serving) -> Json:
    """Find what is like all of the pictures, and unlike those of negative weight."""

    async def terms() -> list[Term]:
        return await asyncio.gather(*(_term(service, term) for term in asked.terms))

    wish = await wished(service, asked, asked.where)
    named = {term.picture for term in asked.terms}
    return Json(await service.search_sent(terms, wish, named))


@router.post(
    "/search/upload",
    summary="What looks like a picture that is sent",
    response_model=SearchResult,
    responses={**example("search"), **documented(413, 415)},
    openapi_extra=ASKED | PICTURE,
)
async def search_upload(request: Request, service: Serving) -> Json:
    """Find neighbours of a picture that need not be in the library; nothing of it is kept."""
    asked = matches_of(request)
    wish = await wished(service, asked, asked)
    async with one_picture(request, service) as sent:
        name = await service.pool.run(content_id, sent.data)

        async def terms() -> list[Term]:
            return [await service.term_of(sent.data, name, box_of(asked.box))]

        return Json(await service.search_sent(terms, wish))


@router.post(
    "/uploads",
    summary="Send a picture to ask with",
    status_code=201,
    response_model=UploadAnswer,
    responses={**example("upload", 201), **documented(413, 415)},
    openapi_extra=PICTURE,
)
async def upload(request: Request, service: Serving) -> Json:
    """Keep a picture in memory for a while, so that searches can name it by its id.

    It is no picture of the library for that. The oldest are dropped when many are sent.
    """
    async with one_picture(request, service) as sent:
        picture = await service.decoding.run(service.library.inspect, sent.data)
        service.uploads.keep(Upload(picture, sent.data))
    return Json(UploadAnswer.of(picture, known=await service.knows(picture.id)), 201)


@router.get(
    "/uploads/{upload_id}/thumbnail/{size}",
    summary="A small form of a picture that was sent",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        **documented(404),
    },
)
async def upload_thumbnail(
    upload_id: PictureArgument, size: SizeArgument, service: Serving
) -> Response:
    """A JPEG without metadata, of which nothing is kept; 404 once the picture was dropped."""
    kept = service.uploads.get(upload_id)
    data = await service.decoding.run(service.library.preview, kept.data, SIDES[size])
    return Response(data, headers={"Cache-Control": "private"}, media_type="image/jpeg")


async def _term(service: Service, asked: TermBody) -> Term:
    box = box_of(asked.box)
    if asked.picture is not None:
        return Term(PictureId(asked.picture), asked.weight, box)
    if asked.upload is not None:
        kept = service.uploads.get(asked.upload)
        return await service.term_of(kept.data, kept.picture.id, box, asked.weight)
    if not service.settings.addresses:
        raise not_allowed(
            "this service fetches nothing from the web; start it with --allow-url to change that"
        )
    address = asked.address or ""
    data = (await service.fetching.run(service.library.fetch, address)).picture
    assert isinstance(data, bytes)  # noqa: S101 - what is fetched is
    name = await service.pool.run(content_id, data)
    return await service.term_of(data, name, box, asked.weight)
