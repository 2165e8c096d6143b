"""Pictures: their facts, small forms of them, their files; adding and removing them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from imgindex.errors import PictureError, QueryError, StoreError
from imgindex.web.answers import AddAnswer, Added, Item, Json, PicturePage
from imgindex.web.examples import example
from imgindex.web.problems import documented, gone, no_picture, not_allowed
from imgindex.web.service import Service
from imgindex.web.thumbnails import SIDES, Size
from imgindex.web.uploads import store

from .bodies import PICTURES, Sent, pictures
from .parameters import Listed, PictureArgument, Serving, SizeArgument, file_name

router = APIRouter(prefix="/v1/pictures", tags=["pictures"])

_FOR_GOOD = "private, max-age=31536000, immutable"
_PIECE = 262_144
_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "AVIF": "image/avif",
    "HEIF": "image/heif",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
}


@router.get(
    "",
    summary="The pictures of the library",
    response_model=PicturePage,
    responses=example("pictures"),
)
async def listed(asked: Annotated[Listed, Query()], service: Serving) -> Json:
    """A part of the list of all pictures that a filter lets through."""

    def look() -> PicturePage:
        snapshot = service.snapshots.now()
        if not snapshot.change:
            return PicturePage(0, asked.offset, ())
        ids = snapshot.listing(asked.order, asked.where(snapshot))
        some = ids[asked.offset : asked.offset + asked.limit]
        return PicturePage(len(ids), asked.offset, tuple(snapshot.items(some)))

    return Json(await service.pool.run(look))


@router.post(
    "",
    summary="Add pictures",
    status_code=201,
    response_model=AddAnswer,
    responses={**example("added", 201), **documented(403, 409, 413, 415)},
    openapi_extra=PICTURES,
)
async def add(request: Request, service: Serving) -> Json:
    """Store files in the service's folder and index them.

    What the answer names without a reason is stored for good, whatever happens to the service.
    """
    folder = service.settings.uploads
    if folder is None:
        raise not_allowed("this service takes no pictures; start it with --uploads to change that")
    service.check_free()
    async with pictures(request, service) as sent:
        # All come to an end before their bytes are let go of, also if there is no room for some.
        added = await asyncio.gather(*(_add(service, one) for one in sent), return_exceptions=True)
    for one in added:
        if isinstance(one, BaseException):
            raise one
    return Json(AddAnswer(tuple(one for one in added if isinstance(one, Added))), 201)


async def _add(service: Service, sent: Sent) -> Added:
    folder = service.settings.uploads
    assert folder is not None  # noqa: S101 - for the type checker
    try:
        picture = await service.decoding.run(service.library.inspect, sent.data)
    except PictureError as error:
        return Added(sent.name, None, str(error))
    async with service.storing(picture.id):
        if await service.knows(picture.id):
            return Added(sent.name, picture.id, None, known=True)
        try:
            path, new = await service.pool.run(store, folder, picture, sent.data)
        except OSError as error:
            raise StoreError(f"cannot store a picture in {folder}: {error.strerror}") from error
        try:
            report = await service.adding.ask(str(path))
        except Exception:
            if new:
                path.unlink(missing_ok=True)
            raise
    why = next((one.reason for one in report.skipped if one.path == str(path)), None)
    return Added(sent.name, None if why else picture.id, why)


@router.get(
    "/{picture_id}",
    summary="A picture of the library",
    response_model=Item,
    responses={**example("picture"), **documented(404)},
)
async def picture(picture_id: PictureArgument, service: Serving) -> Json:
    """Its facts, its files, and its place among the groups."""

    def look() -> list[Item]:
        return service.snapshots.now().items([picture_id])

    found = await service.pool.run(look)
    if not found:
        raise no_picture(picture_id)
    return Json(found[0])


@router.delete(
    "/{picture_id}",
    summary="Remove a picture",
    status_code=204,
    responses=documented(404, 409),
)
async def remove(picture_id: PictureArgument, service: Serving) -> Response:
    """Have a picture leave the library.

    Its files are not touched, but for one that was added through this service. What lies in a
    folder that is indexed comes back with the next run.
    """
    await service.check_picture(picture_id)
    service.check_free()

    def leave() -> None:
        paths = service.library.paths([picture_id]).get(picture_id, [])
        service.library.remove([picture_id])
        service.discard(paths)
        service.thumbnails.forget(picture_id)
        service.snapshots.anew()

    async with service.storing(picture_id):
        await service.pool.run(leave)
    return Response(status_code=204)


@router.get(
    "/{picture_id}/thumbnail/{size}",
    summary="A small form of a picture",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "The client has it already."},
        **documented(404),
    },
)
async def thumbnail(
    request: Request, picture_id: PictureArgument, size: SizeArgument, service: Serving
) -> Response:
    """A JPEG without metadata; a client may keep it for good."""
    await service.check_picture(picture_id)
    return await _small_form(
        request, service, picture_id, size, lambda: service.library.original(picture_id)
    )


async def _small_form(
    request: Request, service: Service, picture_id: str, size: Size, read: Callable[[], bytes]
) -> Response:
    """A thumbnail, out of the kept ones or made anew; 304 where the client has it."""
    etag = f'"{picture_id}-{size}"'
    headers = {"ETag": etag, "Cache-Control": _FOR_GOOD}

    def make() -> bytes:
        return service.library.preview(read(), SIDES[size])

    def look() -> bytes | None:
        if request.headers.get("if-none-match") == etag:
            return None
        return service.thumbnails.get(picture_id, size, make)

    try:
        data = await service.decoding.run(look)
    except (QueryError, PictureError) as error:
        raise gone(error) from error
    if data is None:
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers, media_type="image/jpeg")


@router.get(
    "/{picture_id}/original",
    summary="The file of a picture",
    response_class=Response,
    responses={
        200: {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}},
        **documented(403, 404),
    },
)
async def original(picture_id: PictureArgument, service: Serving) -> Response:
    """The very bytes that were indexed, if the service hands them out."""
    if not service.settings.originals:
        raise not_allowed(
            "this service hands out no files; start it with --originals to change that"
        )
    await service.check_picture(picture_id)

    def read() -> tuple[bytes, str, str]:
        facts = service.library.pictures([picture_id])[picture_id]
        path = service.library.paths([picture_id])[picture_id][0]
        return service.library.original(picture_id), facts.format, path

    try:
        data, kind, path = await service.pool.run(read)
    except (QueryError, LookupError) as error:  # it may leave the library meanwhile
        raise gone(error) from error

    service.check_room(len(data))

    async def pieces() -> AsyncIterator[bytes]:
        with service.holding(len(data)):
            for at in range(0, len(data), _PIECE):  # so that who does not read on is noticed
                yield data[at : at + _PIECE]

    return StreamingResponse(
        pieces(),
        media_type=_TYPES.get(kind, "application/octet-stream"),
        headers={
            "Content-Length": str(len(data)),
            "Content-Disposition": file_name(path),
            "Cache-Control": _FOR_GOOD,
            "ETag": f'"{picture_id}"',
        },
    )
