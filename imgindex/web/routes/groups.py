"""Groups: a look at them, and what users decide about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from imgindex.errors import GroupingError, QueryError
from imgindex.records import NOISE, Decision, PictureId
from imgindex.telling import GroupReport
from imgindex.web.answers import ChangeAnswer, GroupsAnswer, Json
from imgindex.web.examples import example
from imgindex.web.problems import Problem, documented
from imgindex.web.service import Service

from .parameters import GroupArgument, Id, Page, Serving, Text

router = APIRouter(prefix="/v1", tags=["groups"])

Answer = TypeVar("Answer")

_MOST = 100_000
_Pictures = Annotated[list[Id], Field(min_length=2, max_length=_MOST)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NameBody(_Body):
    """What to call a group."""

    name: Text = Field(min_length=1, max_length=200, examples=["Lisbon"])


class CoverBody(_Body):
    """The picture that shall stand for a group."""

    picture: Id


class GroupBody(_Body):
    """Pictures that form a group of their own."""

    pictures: _Pictures
    name: Text | None = Field(default=None, min_length=1, max_length=200, examples=["Lisbon"])


class MergeBody(_Body):
    """Groups that are one."""

    groups: list[Annotated[int, Field(ge=0, le=2**31 - 1)]] = Field(
        min_length=2, max_length=1000, examples=[[3, 7]]
    )


class DecisionBody(_Body):
    """What belongs together, what does not belong with the first, or what are no copies."""

    kind: Annotated[str, Field(pattern="^(together|apart|distinct)$", examples=["apart"])]
    pictures: _Pictures


@router.get(
    "/groups",
    summary="All groups",
    response_model=GroupsAnswer,
    responses={**example("groups"), **documented(404)},
)
async def groups(
    service: Serving,
    *,
    parts: Annotated[bool, Query(description="Tell of the groups inside groups, too.")] = False,
) -> Json:
    """The groups, the largest first; 404 while nothing was grouped."""

    def look() -> GroupsAnswer:
        kept = service.snapshots.now().grouping()
        if kept is None:
            raise GroupingError("there are no groups yet; start a job of the kind cluster")
        return GroupsAnswer(
            groups=kept.groups,
            parts=kept.subgroups if parts else (),
            pictures=len(kept.ids),
            noise=int((kept.labels == NOISE).sum()),
            created=kept.created,
            settings=kept.settings,
            stale=service.library.status().stale,
        )

    return Json(await service.pool.run(look))


@router.post(
    "/groups",
    summary="Form a group",
    status_code=201,
    response_model=Decision,
    responses={**example("decision", 201), **documented(404, 409)},
)
async def form(body: GroupBody, service: Serving) -> Json:
    """Say that pictures form a group of their own; it has the id that the answer tells."""
    decision = await _decided(
        service, lambda: service.library.form_group(_ids(body.pictures), body.name)
    )
    return Json(decision, 201)


@router.post(
    "/groups/merge",
    summary="Merge groups",
    response_model=Decision,
    responses={**example("decision"), **documented(404, 409)},
)
async def merge(body: MergeBody, service: Serving) -> Json:
    """Say that groups are one; it has the id that the answer tells."""
    return Json(await _decided(service, lambda: service.library.merge_groups(body.groups)))


@router.get(
    "/groups/history",
    summary="What became of groups",
    response_model=list[ChangeAnswer],
    responses=example("history"),
)
async def history(service: Serving) -> Json:
    """Run by run, the oldest first."""
    return Json(await service.pool.run(service.library.history))


@router.get(
    "/groups/{group_id}",
    summary="One group",
    response_model=GroupReport,
    responses={**example("group"), **documented(404)},
)
async def group(group_id: GroupArgument, page: Annotated[Page, Query()], service: Serving) -> Json:
    """Its parts, and some of its members, the firmest first; -1 is what is in no group."""

    def look() -> GroupReport:
        try:
            return service.library.group(group_id, offset=page.offset, limit=page.limit)
        except QueryError as error:
            raise _no_group(error) from error

    return Json(await service.pool.run(look))


@router.put(
    "/groups/{group_id}/name",
    summary="Name a group",
    response_model=Decision,
    responses={**example("named"), **documented(404, 409)},
)
async def name(group_id: GroupArgument, body: NameBody, service: Serving) -> Json:
    """Call a group by a name; it keeps it in every later run."""
    return Json(await _decided(service, lambda: service.library.name_group(group_id, body.name)))


@router.put(
    "/groups/{group_id}/cover",
    summary="Choose a cover",
    response_model=Decision,
    responses={**example("decision"), **documented(404, 409)},
)
async def cover(group_id: GroupArgument, body: CoverBody, service: Serving) -> Json:
    """Have a member stand for its group."""
    return Json(
        await _decided(
            service, lambda: service.library.pin_cover(group_id, _ids([body.picture])[0])
        )
    )


@router.get(
    "/decisions",
    summary="What was decided",
    response_model=list[Decision],
    responses=example("decisions"),
)
async def decisions(service: Serving) -> Json:
    """What users decided and holds, by number."""
    return Json(await service.pool.run(service.library.decisions))


@router.post(
    "/decisions",
    summary="Decide about pictures",
    status_code=201,
    response_model=Decision,
    responses={**example("decision", 201), **documented(404, 409)},
)
async def decide(body: DecisionBody, service: Serving) -> Json:
    """Say what belongs together, what does not belong with the first, or what are no copies."""

    def work() -> Decision:
        ids = _ids(body.pictures)
        if body.kind == "together":
            return service.library.together(ids)
        if body.kind == "apart":
            return service.library.apart(ids)
        return service.library.distinct(ids)

    return Json(await _decided(service, work), 201)


@router.delete(
    "/decisions/{number}",
    summary="Forget a decision",
    status_code=204,
    responses=documented(404, 409),
)
async def forget(
    number: Annotated[int, Path(ge=1, le=2**53, description="As the list has it.")],
    service: Serving,
) -> Response:
    """Undo a decision: all is as if it had never been made."""

    def work() -> None:
        try:
            service.library.forget(number)
        except QueryError as error:
            raise Problem(
                404, "no-such-decision", "No such decision", f"there is no decision {number}"
            ) from error

    await _decided(service, work)
    return Response(status_code=204)


def _no_group(error: Exception) -> Problem:
    return Problem(404, "no-such-group", "No such group", str(error))


def _ids(texts: list[str]) -> list[PictureId]:
    return [PictureId(text) for text in texts]


async def _decided(service: Service, work: Callable[[], Answer]) -> Answer:
    """Have something decided, and everybody see it at once."""

    def carry_out() -> Answer:
        try:
            return work()
        except QueryError as error:
            raise Problem(404, "no-such-thing", "Not there", str(error)) from error
        finally:
            service.snapshots.anew()

    return await service.pool.run(carry_out)
