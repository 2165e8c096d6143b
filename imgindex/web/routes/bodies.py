"""Pictures in the bodies of requests: alone, or as the parts of a form."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.datastructures import UploadFile
from starlette.requests import Request

from imgindex.web.problems import Problem, no_room

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Message

    from imgindex.web.service import Service

_BINARY = {"schema": {"type": "string", "format": "binary"}}
PICTURE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of a picture's file: as they are, or as the field `file`.",
        "content": {
            "image/*": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}
PICTURES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Files of pictures, each as a field `files`.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            }
        },
    }
}
MOST_FILES = 100


class Sent(NamedTuple):
    """A file that came with a request: its bytes, and what the client calls it."""

    data: bytes
    name: str


@asynccontextmanager
async def one_picture(request: Request, service: Service) -> AsyncIterator[Sent]:
    """The one picture of a request.

    Raises:
        Problem: there is none, or there are several; or too much is being sent.
    """
    async with _files(request, service, "file", 1) as files:
        yield files[0]


@asynccontextmanager
async def pictures(request: Request, service: Service) -> AsyncIterator[list[Sent]]:
    """All pictures of a request; see `one_picture`."""
    async with _files(request, service, "files", MOST_FILES) as files:
        yield files


@asynccontextmanager
async def _files(
    request: Request, service: Service, field: str, files_at_most: int
) -> AsyncIterator[list[Sent]]:
    held = 0

    async def receive() -> Message:
        nonlocal held
        message = await request.receive()
        size = len(message.get("body", b""))
        # What has come counts, not what was announced: who only says so takes no room.
        service.check_room(size)
        service.in_flight += size
        held += size
        return message

    counted = Request(request.scope, receive)
    try:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            files = await _parts(counted, field, files_at_most)
        elif field == "file" and (
            kind.startswith("image/") or kind in {"", "application/octet-stream"}
        ):
            files = [Sent(await counted.body(), "")]
        else:
            raise Problem(
                415,
                "no-picture-sent",
                "No picture was sent",
                f"send multipart/form-data with a field {field}"
                + (", or the bytes as image/* or application/octet-stream" * (field == "file"))
                + f", not {kind or 'nothing'}",
            )
        if not files or not all(one.data for one in files):
            raise Problem(
                422, "no-picture-sent", "No picture was sent", "the request holds no bytes"
            )
        yield files
    finally:
        service.in_flight -= held


async def _parts(request: Request, field: str, most: int) -> list[Sent]:
    try:
        form = await request.form(max_files=most, max_fields=16)
    except OSError as error:  # what is long lies in a temporary file
        raise no_room(error) from error
    try:
        parts = form.getlist(field)
        if any(not isinstance(part, UploadFile) for part in parts) or len(
            form.multi_items()
        ) != len(parts):
            raise Problem(
                422,
                "no-picture-sent",
                "No picture was sent",
                f"the form must hold files under the name {field}, and nothing else",
            )
        return [
            Sent(await part.read(), part.filename or "")
            for part in parts
            if isinstance(part, UploadFile)
        ]
    finally:
        await form.close()
