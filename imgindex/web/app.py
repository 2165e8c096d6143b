"""The application: routes, errors, the page, and the guard before them all."""

from __future__ import annotations

from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import imgindex
from imgindex.errors import ImgindexError

from .examples import EXAMPLES
from .guard import Guard
from .problems import MEDIA_TYPE, Problem, ProblemBody, documented, failed, of_status, problem_of
from .routes import ROUTERS
from .service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from fastapi import Request
    from fastapi.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from imgindex import Library

    from .settings import ServiceSettings

_PAGE = Path(__file__).parent / "page"
_NOWHERE = "nothing is at this address; the page is at /, the API is described at /v1/openapi.json"
_ABOUT = """Search and grouping of a picture library.

Records are those that the commands give with `--json`; errors are problem+json (RFC 9457).
Where the service demands a token, send `Authorization: Bearer TOKEN`.
"""


def application(library: Library, settings: ServiceSettings) -> ASGIApp:
    """Make the service of a library, as an ASGI application.

    Args:
        library: the library; closed by whoever opened it.
        settings: what is allowed.
    """
    return guarded(Service(library, settings))


def guarded(service: Service) -> ASGIApp:
    """The application of a service that is there already."""
    return Guard(_Heads(described(service)), service.settings, service.metrics)


def described(service: Service) -> FastAPI:
    """The routes of a service and their description, without the guard."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="imgindex",
        version=imgindex.__version__,
        summary="Find pictures that look alike, and what belongs together.",
        description=_ABOUT,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        lifespan=life,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        separate_input_output_schemas=False,
        responses={
            **documented(422),
            "default": {
                "description": "Anything else that went wrong",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
            },
        },
    )
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/", _Page(directory=_PAGE, html=True))
    app.add_exception_handler(Problem, _refuse)
    app.add_exception_handler(ImgindexError, _refuse)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse)
    app.add_exception_handler(ClientDisconnect, _refuse)
    app.add_exception_handler(Exception, _refuse)
    _complete(app)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    """Every error as problem+json."""
    if isinstance(error, Problem):
        return error.response()
    if isinstance(error, ImgindexError):
        return problem_of(error).response()
    if isinstance(error, RequestValidationError):
        wrong = "; ".join(_wrong(one, request) for one in error.errors()[:8])
        title = "The request is not understood"
        return Problem(422, "invalid-request", title, wrong).response()
    if isinstance(error, ClientDisconnect):
        return of_status(400, "the client went away").response()
    if isinstance(error, HTTPException):
        return of_status(error.status_code, str(error.detail), error.headers).response()
    return failed().response()  # the guard tells the log


def _wrong(error: Mapping[str, Any], request: Request) -> str:
    """What is wrong with a request, and where."""
    if error["type"] == "json_invalid":
        return f"this is no JSON: {error['ctx']['error']}, at character {error['loc'][-1]}"
    if error["loc"] == ("body",) and "json" not in request.headers.get("content-type", ""):
        return "send JSON, and with it the header Content-Type: application/json"
    where = ".".join(map(str, error["loc"][1:])) or "the request"
    if error["type"] == "extra_forbidden":
        return f"{where}: there is no such field; /v1/openapi.json tells those that there are"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}"


class _Heads:
    """Answers HEAD as GET is answered, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        asked = {**scope, "method": "GET"}

        async def bare(message: Message) -> None:
            await send({**message, "body": b""} if "body" in message else message)

        try:
            await self._app(asked, receive, bare)
        finally:
            scope["route"] = asked.get("route")  # the log tells it


class _Page(StaticFiles):
    """The page's files."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            response = await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code == HTTPStatus.NOT_FOUND:
                error.detail = _NOWHERE
            raise
        response.headers["Cache-Control"] = "no-cache"
        return response


def _complete(app: FastAPI) -> None:
    """Add to the description the shape of problems, how to present a token, and examples."""
    from pydantic import TypeAdapter

    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = make()
            schemas = found["components"]["schemas"]
            schemas["ProblemBody"] = TypeAdapter(ProblemBody).json_schema()
            found["components"]["securitySchemes"] = {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "imgindex_session"},
            }
            found["security"] = [{}, {"token": []}, {"session": []}]
            for item in found["paths"].values():
                for operation in item.values():
                    for response in operation["responses"].values():
                        content = response.get("content", {}).get("application/json", {})
                        if "example" in content:
                            content["example"] = EXAMPLES[content["example"]]
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's own guide does
