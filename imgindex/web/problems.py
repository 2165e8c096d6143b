"""Errors as clients get them: problem+json (RFC 9457), for every error that there is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.responses import Response
from starlette.exceptions import HTTPException

from imgindex import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgindex.errors import ImgindexError

MEDIA_TYPE = "application/problem+json"

_AGAIN = "5"  # seconds after which to try again, where nothing else is said

# By class, the most particular one first in the order of inheritance.
_KINDS: dict[type[ImgindexError], tuple[int, str, str]] = {
    errors.SettingError: (422, "out-of-range", "A value is out of range"),
    errors.PictureTooLargeError: (413, "picture-too-large", "The picture is too large"),
    errors.MissingExtraError: (415, "unread-format", "Files of this kind are not read here"),
    errors.PictureError: (422, "unreadable-picture", "The picture cannot be read"),
    errors.ModelNotFoundError: (503, "no-model", "The model is not here"),
    errors.ModelMismatchError: (409, "model-mismatch", "The library has another model"),
    errors.ModelFileError: (503, "broken-model", "The model does not work"),
    errors.DownloadError: (502, "download-failed", "It could not be fetched"),
    errors.ModelError: (503, "model", "The model cannot be used"),
    errors.DeviceError: (503, "device", "The processor cannot be used"),
    errors.EngineError: (503, "engine", "The machines cannot be used"),
    errors.LibraryNotFoundError: (404, "no-library", "There is no library yet"),
    errors.LibraryBusyError: (409, "library-busy", "Somebody else is writing to the library"),
    errors.LibraryFormatError: (503, "library-format", "The library cannot be read"),
    errors.LibraryDamagedError: (503, "library-damaged", "The library is damaged"),
    errors.StoreError: (503, "store", "The library cannot be used"),
    errors.QueryError: (422, "no-such-query", "That cannot be asked"),
    errors.GroupingError: (404, "no-groups", "There are no groups yet"),
    errors.ExportError: (409, "not-written", "It cannot be written"),
    errors.ImgindexError: (500, "failed", "It failed"),
}


@dataclass(frozen=True, slots=True)
class ProblemBody:
    """What went wrong (RFC 9457).

    Attributes:
        type: the kind of problem, ``urn:imgindex:`` and its name.
        title: the kind in words.
        status: the HTTP status.
        detail: what exactly went wrong and what to do, made to be shown to a person.
    """

    type: str
    title: str
    status: int
    detail: str


class Problem(HTTPException):
    """A request that is refused; the framework hands its own kind on wherever it is raised."""

    def __init__(
        self,
        status: int,
        kind: str,
        title: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Say what went wrong; see `ProblemBody`."""
        again = {"Retry-After": _AGAIN} if status in {429, 503} else {}
        super().__init__(status, detail, {**again, **(headers or {})})
        self.body = ProblemBody(f"urn:imgindex:{kind}", title, status, detail)

    def response(self) -> Response:
        """The same as a response."""
        return Response(
            json.dumps(asdict(self.body)),
            self.body.status,
            headers=self.headers,
            media_type=MEDIA_TYPE,
        )


def problem_of(error: ImgindexError) -> Problem:
    """Put one of our own errors in a client's words."""
    for cls in type(error).__mro__:
        if cls in _KINDS:
            status, kind, title = _KINDS[cls]
            again = {"Retry-After": _AGAIN} if isinstance(error, errors.LibraryBusyError) else None
            return Problem(status, kind, title, str(error), again)
    raise AssertionError(error)


def of_status(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Problem:
    """What the framework itself refuses: an unknown address, a method, a body too long."""
    title = HTTPStatus(status).phrase
    kind = title.lower().replace(" ", "-")
    return Problem(status, kind, title, detail if detail != title else f"{title}.", headers)


def failed() -> Problem:
    """Something went wrong that nobody thought of."""
    return Problem(500, "failed", "It failed", "see the service's log")


def too_long(most: int) -> Problem:
    """A request has more bytes than are taken."""
    return Problem(
        413,
        "too-long",
        "The request is too long",
        f"such a request may have {most:,} bytes; send less, or fewer at once",
    )


def too_busy(seconds: int) -> Problem:
    """More was asked for than can wait."""
    return Problem(
        503,
        "too-busy",
        "Too much is asked for",
        f"more requests are waiting than this service takes; try again in {seconds} s",
        {"Retry-After": str(seconds)},
    )


def no_room(error: OSError) -> Problem:
    """What was sent found no room in the temporary folder."""
    return Problem(
        507,
        "no-room",
        "There is no room for it",
        f"what was sent cannot be kept on the way: {error.strerror or error}; make room where "
        "the service has its temporary files (TMPDIR), and send it again",
    )


def no_picture(picture_id: str) -> Problem:
    """An id is not one of the library's."""
    return Problem(
        404, "no-such-picture", "No such picture", f"no indexed picture has the id {picture_id}"
    )


def gone(error: Exception) -> Problem:
    """A picture's file cannot be had any more."""
    return Problem(404, "file-gone", "The file is gone", str(error))


def not_allowed(detail: str) -> Problem:
    """The service was started without that."""
    return Problem(403, "not-allowed", "Not allowed here", detail)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How a route may fail, for its description; what all routes share comes by ``default``."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/ProblemBody"},
                    "example": _EXAMPLES.get(status, _example(status)),
                }
            },
        }
        for status in statuses
    }


def _example(status: int) -> dict[str, Any]:
    return asdict(of_status(status, "what exactly went wrong, and what to do").body)


_EXAMPLES: dict[int, dict[str, Any]] = {
    404: asdict(no_picture("0" * 32).body),
    403: asdict(not_allowed("start the service with --originals to have files handed out").body),
    409: asdict(
        problem_of(
            errors.LibraryBusyError("another process is writing to /photos; wait for it to end")
        ).body
    ),
    422: asdict(problem_of(errors.SettingError("k must be at least 1, not 0")).body),
    503: asdict(too_busy(1).body),
}
