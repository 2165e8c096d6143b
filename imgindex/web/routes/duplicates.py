"""Copies: the sets that are known, and putting copies aside."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from imgindex.errors import LibraryNotFoundError
from imgindex.records import CopyKind
from imgindex.tidying import Tidied
from imgindex.web.answers import DuplicatesPage, Json
from imgindex.web.examples import example
from imgindex.web.problems import documented, not_allowed

from .parameters import Page, Serving, Text

router = APIRouter(prefix="/v1/duplicates", tags=["duplicates"])


class DuplicatesQuery(Page):
    """Which sets."""

    up_to: CopyKind = Field(
        default="near",
        description="Copies with the same bytes, with the same pixels as well, or all.",
    )


class AsideBody(BaseModel):
    """Copies that may go, and the one that stays in their place."""

    model_config = ConfigDict(extra="forbid")

    keep: Text = Field(min_length=1, max_length=4096, examples=["/photos/beach.jpg"])
    files: list[Annotated[Text, Field(max_length=4096)]] = Field(
        min_length=1, max_length=1000, examples=[["/photos/beach-small.jpg"]]
    )


@router.get(
    "",
    summary="Sets of copies",
    response_model=DuplicatesPage,
    responses=example("duplicates"),
)
async def duplicates(asked: Annotated[DuplicatesQuery, Query()], service: Serving) -> Json:
    """Those that are known; a job of the kind duplicates looks for more."""

    def look() -> DuplicatesPage:
        try:
            found = service.snapshots.now().duplicates(asked.up_to)
        except LibraryNotFoundError:
            return DuplicatesPage(0, False, (), ())  # noqa: FBT003 - a field
        some = found.sets[asked.offset : asked.offset + asked.limit]
        return DuplicatesPage(
            len(found.sets), service.library.unexamined() == 0, some, found.skipped
        )

    return Json(await service.pool.run(look))


@router.post(
    "/aside",
    summary="Put copies aside",
    response_model=Tidied,
    responses={**example("aside"), **documented(403, 409)},
)
async def aside(body: AsideBody, service: Serving) -> Json:
    """Move copies of a set to the service's folder for them; nothing is deleted.

    A file is moved only while it and the one that stays hold what they were judged by.
    """
    folder = service.settings.aside
    if folder is None:
        raise not_allowed("this service moves no files; start it with --aside DIR to change that")
    service.check_free()

    def move() -> Tidied:
        try:
            return service.library.put_aside(body.keep, body.files, folder)
        finally:
            service.snapshots.anew()

    return Json(await service.pool.run(move))
