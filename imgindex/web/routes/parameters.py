"""What requests may say: ids, filters, pages; checked before anything is done."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from imgindex import Box, Where
from imgindex.errors import LibraryNotFoundError, SettingError
from imgindex.web.browse import Snapshot
from imgindex.web.service import Service
from imgindex.web.thumbnails import Size
from imgindex.web.wishes import Wish

MAX_K = 1000
_MOST = 10_000_000
_SIDES = r"^\d{1,6}x\d{1,6}$"

EXAMPLE_ID = "dc4f6fad84c18861f3f791e7d2c42fc4"


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


async def _service(request: Request) -> Service:
    return service_of(request)  # FastAPI would have a thread call it, were it not async


def _text(text: str) -> str:
    """Refuse what no file system and no database takes."""
    if "\0" in text:
        raise ValueError("it holds a zero byte")
    return text


def _box(text: str) -> str:
    try:
        Box.parse(text)
    except SettingError as error:
        raise ValueError(str(error)) from error
    return text


Serving = Annotated[Service, Depends(_service)]
Id = Annotated[
    str,
    Field(
        pattern="^[0-9a-f]{32}$",
        description="Id of a picture: the hash (BLAKE2b-128) of its bytes.",
        examples=[EXAMPLE_ID],
    ),
]
PictureArgument = Annotated[
    str,
    Path(
        pattern="^[0-9a-f]{32}$",
        description="Id of a picture: the hash (BLAKE2b-128) of its bytes.",
        examples=[EXAMPLE_ID],
    ),
]
SizeArgument = Annotated[
    Size, Path(description="Longer side: 160, 400 or 1600 pixels.", examples=["small"])
]
GroupArgument = Annotated[
    int, Path(ge=-1, le=2**31 - 1, description="Id of a group.", examples=[7])
]
Text = Annotated[str, AfterValidator(_text)]
BoxText = Annotated[
    str,
    AfterValidator(_box),
    Field(
        max_length=100,
        description="The part of the picture to look at: x,y,width,height in pixels, or all four "
        "in percent.",
        examples=["10%,20%,50%,50%"],
    ),
]


class Filters(BaseModel):
    """Which pictures may be found; all that is given must hold, of a repeated one any value."""

    model_config = ConfigDict(extra="forbid")

    match: list[Text] = Field(
        default=[],
        max_length=64,
        description="Patterns of paths, as *.png or 2024/*.jpg.",
        examples=[["2024/*.jpg"]],
    )
    folder: list[Text] = Field(
        default=[],
        max_length=64,
        description="Folders, with all that lies below them.",
        examples=[["/photos/2024"]],
    )
    after: str | None = Field(
        default=None, max_length=32, description="Taken then or later.", examples=["2024-05"]
    )
    before: str | None = Field(
        default=None, max_length=32, description="Taken earlier than that.", examples=["2025"]
    )
    larger: str | None = Field(
        default=None,
        pattern=_SIDES,
        description="Both sides are at least these, either way round.",
        examples=["1920x1080"],
    )
    smaller: str | None = Field(
        default=None,
        pattern=_SIDES,
        description="Both sides are at most these, either way round.",
        examples=["4000x3000"],
    )
    orientation: Literal["landscape", "portrait", "square"] | None = Field(
        default=None, description="Which way the picture lies."
    )
    format: list[Text] = Field(
        default=[], max_length=32, description="Names of formats.", examples=[["jpeg"]]
    )
    group: list[Annotated[int, Field(ge=-1, le=2**31 - 1)]] = Field(
        default=[], max_length=256, description="Ids of groups; -1 for none.", examples=[[7]]
    )
    copies: bool | None = Field(
        default=None, description="Only pictures that there are copies of, or only others."
    )

    def where(self, snapshot: Snapshot) -> Where | None:
        """The same as the library takes it; None for all pictures.

        Raises:
            ImgindexError: a value is none, or there is no such group.
        """
        ids = None
        try:
            if self.group:
                ids = snapshot.ids_of(tuple(sorted(set(self.group))))
            if self.copies is not None:
                copied = snapshot.copied(copies=self.copies)
                ids = copied if ids is None else ids & copied
        except LibraryNotFoundError:
            ids = frozenset()
        where = Where(
            paths=tuple(self.match),
            folders=tuple(self.folder),
            after=self.after,
            before=self.before,
            larger=_sides(self.larger),
            smaller=_sides(self.smaller),
            orientation=self.orientation,
            formats=tuple(self.format),
            ids=ids,
        )
        return None if where.anything else where


class Matches(BaseModel):
    """How many matches, and which."""

    model_config = ConfigDict(extra="forbid")

    k: int = Field(default=20, ge=1, le=MAX_K, description="How many matches at most.")
    offset: int = Field(
        default=0, ge=0, le=_MOST, description="How many of the best matches to pass over."
    )
    min_score: float | None = Field(
        default=None, ge=-1, le=1, description="Leave out matches with a lower cosine."
    )
    exact: bool = Field(default=False, description="Compare every vector.")
    rerank: bool = Field(
        default=False,
        description="Put the 200 best matches in order by the neighbours that they share.",
    )
    diverse: bool = Field(default=False, description="Show one of each set of copies.")

    def wish(self, where: Where | None) -> Wish:
        """The same as the library takes it."""
        return Wish(
            self.k, self.offset, self.min_score, self.exact, where, self.rerank, self.diverse
        )


class Page(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid")

    offset: int = Field(default=0, ge=0, le=_MOST, description="How many to pass over.")
    limit: int = Field(default=100, ge=1, le=1000, description="How many at most.")


class MatchQuery(Filters, Matches):
    """A search, but for what looks like what."""

    box: BoxText | None = None


_REPEATED = {name for name, one in Filters.model_fields.items() if one.default == []}


def matches_of(request: Request) -> MatchQuery:
    """Read the query of a search.

    FastAPI would do it in ten times the time, a tenth of that of the whole search.
    """
    given: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in _REPEATED:
            given.setdefault(name, []).append(value)
        else:
            given[name] = value
    try:
        return MatchQuery.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError(
            [{**one, "loc": ("query", *one["loc"])} for one in error.errors()]
        ) from error


ASKED: dict[str, Any] = {
    "parameters": [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema.get("description", ""),
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
        for name, schema in MatchQuery.model_json_schema()["properties"].items()
    ]
}
"""The description of what `matches_of` reads."""


class Listed(Filters, Page):
    """A list of pictures."""

    order: Literal["path", "taken", "newest"] = Field(
        default="path",
        description="By path; by capture time, the oldest or the newest first, undated ones last.",
    )


async def wished(service: Service, asked: Matches, filters: Filters) -> Wish:
    """What is wanted of a search; groups in filters are looked up in a thread."""
    if not filters.model_fields_set & Filters.model_fields.keys():
        return asked.wish(None)
    return asked.wish(await service.pool.run(lambda: filters.where(service.snapshots.now())))


def box_of(text: str | None) -> Box | None:
    """A box out of its text."""
    return None if text is None else Box.parse(text)


def file_name(path: str, suffix: str = "") -> str:
    """A ``Content-Disposition`` for a file of that name; nothing of it can end the header.

    RFC 6266: a plain name for old readers, and the whole one percent-encoded.
    """
    from urllib.parse import quote

    name = re.split(r"[/\\]", path)[-1] + suffix
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    whole = quote(name.encode("utf-8", "replace"), safe="")
    return f"inline; filename=\"{plain}\"; filename*=UTF-8''{whole}"


def _sides(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.partition("x")
    return int(width), int(height)
