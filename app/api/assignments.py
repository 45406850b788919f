"""A labeler's work over REST: lease a task, rank it, skip it, keep it or give it back."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from sqlalchemy.orm import Session

from app.api.problems import problems
from app.dependencies import AppSettings, Labeler, ReadSession, WriteSession, as_labeler
from app.errors import Conflict
from app.labeling.flags import FLAGS
from app.labeling.pauses import find_pause
from app.labeling.queue import (
    lease_next_task,
    renew_lease,
    return_assignment,
    skip_assignment,
)
from app.labeling.rankings import submit_ranking
from app.labeling.shown import LeasedTask, load_leased_task, load_shown_task
from app.labeling.submissions import Submission, dense_ranks
from app.models import Assignment, Ranking, User

router = APIRouter(tags=["labeling"])

COMPLETION_ID = "5f0c2b9e6f6f4a0e8d5a1f3f7e0b9c1d"
OTHER_ID = "6a1d3cae7f7f4b1f9e6b2a4a8f1cad2e"
NOT_YOURS: dict[int | str, dict[str, Any]] = {
    404: {"description": "`not_found`: that is not an assignment of yours."}
}
LEASE_LOST = problems("lease_lost")

# The values are checked by the labeling service, which names every field that does not fit the
# task as `ranks.<completion id>`; the schemas here are for the reader of the OpenAPI page.
Ranks = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}}),
]
Ratings = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": "integer", "minimum": 1, "maximum": 7},
        }
    ),
]
Flags = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {
                "type": "array",
                "items": {"type": "string"},
            },
        }
    ),
]


class Message(BaseModel):
    """One turn of a conversation."""

    role: str = Field(description="`system`, `user` or `assistant`.", examples=["user"])
    content: str = Field(description="What was said.", examples=["Why is the sky blue?"])


class CompletionOut(BaseModel):
    """One completion as a labeler sees it: nothing tells where it came from."""

    id: str = Field(description="Opaque id, the key of `ranks`.", examples=[COMPLETION_ID])
    text: str = Field(description="The completion, Markdown.", examples=["It scatters blue."])


class AssignmentOut(BaseModel):
    """A lease on a task."""

    id: str = Field(description="Id of the assignment.")
    task_id: str = Field(description="Id of the task.")
    prompt: str | list[Message] = Field(
        description="The prompt: text, or the messages of a conversation.",
        examples=["Why is the sky blue?"],
    )
    completions: list[CompletionOut] = Field(
        description="The completions in the order they are shown, shuffled for this assignment."
    )
    lease_expires_at: datetime = Field(
        description="Until when the task is kept for you, RFC 3339 UTC; renew it while you work."
    )


class RankingIn(BaseModel):
    """A ranking of all completions of the task."""

    model_config = ConfigDict(extra="forbid")

    ranks: Ranks = Field(
        description="Rank of every completion by its id: 1 is best, equal ranks are ties.",
        examples=[{COMPLETION_ID: 1, OTHER_ID: 2}],
    )
    ratings: Ratings = Field(
        default_factory=dict,
        description="Optional rating of a completion, 1 (useless) to 7 (could not be better).",
        examples=[{COMPLETION_ID: 6}],
    )
    flags: Flags = Field(
        default_factory=dict,
        description="Optional flags of a completion, by name. A project has its own, which "
        "`GET /projects/{id}` lists; without: " + ", ".join(f"`{flag}`" for flag in FLAGS),
        examples=[{COMPLETION_ID: ["wrong_facts"]}],
    )
    comment: str = Field(
        default="",
        description="Optional remark, at most 10,000 characters.",
        examples=["The second is right but long."],
    )
    active_ms: int | None = Field(
        default=None,
        strict=True,
        description="Time spent looking and ranking, in milliseconds.",
        examples=[42_000],
    )


class RankingOut(BaseModel):
    """A stored ranking."""

    id: str = Field(description="Id of this revision of the ranking.")
    assignment_id: str = Field(description="The assignment it answers.")
    task_id: str = Field(description="Id of the task.")
    revision: int = Field(description="1, and one more after each edit.", examples=[1])
    ranks: dict[str, int] = Field(
        description="Ranks by completion id, dense: 1, 1, 3 is stored as 1, 1, 2.",
        examples=[{COMPLETION_ID: 1, OTHER_ID: 2}],
    )
    created_at: datetime = Field(description="When it was stored, RFC 3339 UTC.")


class SkipIn(BaseModel):
    """Why a task is skipped."""

    reason: str = Field(
        description="In a few words; you will not get this task again.",
        examples=["cannot be ranked: all four are empty"],
    )


class AssignmentState(BaseModel):
    """What became of an assignment."""

    id: str = Field(description="Id of the assignment.")
    state: str = Field(
        description="`leased`, `submitted`, `skipped`, `expired` or `returned`.",
        examples=["skipped"],
    )
    lease_expires_at: datetime = Field(description="Until when the lease lasts or lasted.")


@router.post(
    "/projects/{project_id}/assignments",
    status_code=201,
    summary="Lease the next task",
    response_model=AssignmentOut,
    responses={
        204: {"description": "Nothing is waiting for you in this project."},
        **problems("labeler_paused"),
    },
)
async def lease(project_id: str, request: Request) -> Response:
    """The next task for you in this project, kept for you until `lease_expires_at`.

    A task you hold already is given again. Nobody gets a task twice that they ranked or skipped.
    """
    lease_seconds = request.app.state.settings.lease_seconds

    def act(session: Session, user: User) -> Response:
        assignment = lease_next_task(session, user, project_id, lease_seconds=lease_seconds)
        if assignment is None:
            refuse_paused(session, user, project_id)
            return Response(status_code=204)
        return answer(describe_task(load_leased_task(session, assignment)), 201)

    return await as_labeler(request, act)


@router.get(
    "/assignments/{assignment_id}", summary="Look at one of your tasks", responses=NOT_YOURS
)
def show(assignment_id: str, session: ReadSession, user: Labeler) -> AssignmentOut:
    """An assignment of yours, as it was leased."""
    return describe_task(load_shown_task(session, user, assignment_id))


@router.put(
    "/assignments/{assignment_id}/ranking",
    summary="Rank a task",
    response_model=RankingOut,
    responses={**NOT_YOURS, **LEASE_LOST, **problems("invalid", "invalid_ranking")},
)
async def rank(assignment_id: str, body: RankingIn, request: Request) -> Response:
    """Submit the ranking of a leased task, or edit the one submitted before.

    The same content again changes nothing. After a lease ran out the ranking is still taken
    while the task has a free place; 409 `lease_lost` when it has none.
    """
    submission = Submission(
        ranks=body.ranks,
        ratings=body.ratings,
        flags=body.flags,
        comment=body.comment,
        active_ms=body.active_ms,
    )

    def act(session: Session, user: User) -> Response:
        ranking = submit_ranking(session, user, assignment_id, submission)
        return answer(describe_ranking(ranking, dense_ranks(body.ranks)), 200)

    return await as_labeler(request, act)


@router.post(
    "/assignments/{assignment_id}/skip",
    summary="Skip a task",
    responses={**NOT_YOURS, **LEASE_LOST},
)
def skip(assignment_id: str, body: SkipIn, session: WriteSession, user: Labeler) -> AssignmentState:
    """Give a task back for good, saying why; somebody else gets it."""
    return describe_state(skip_assignment(session, user, assignment_id, body.reason))


@router.post(
    "/assignments/{assignment_id}/renew",
    summary="Keep a task longer",
    responses={**NOT_YOURS, **LEASE_LOST},
)
def renew(
    assignment_id: str, session: WriteSession, user: Labeler, settings: AppSettings
) -> AssignmentState:
    """Let the lease last from now on; one that ran out is taken up again if there is room."""
    assignment = renew_lease(session, user, assignment_id, lease_seconds=settings.lease_seconds)
    return describe_state(assignment)


@router.post(
    "/assignments/{assignment_id}/return",
    summary="Give a task back",
    responses={**NOT_YOURS, **LEASE_LOST},
)
def give_back(assignment_id: str, session: WriteSession, user: Labeler) -> AssignmentState:
    """Give a task back unranked; you may be given it again later."""
    return describe_state(return_assignment(session, user, assignment_id))


def describe_task(shown: LeasedTask) -> AssignmentOut:
    """The lease as JSON."""
    return AssignmentOut(
        id=shown.assignment.id,
        task_id=shown.assignment.task_id,
        prompt=[Message(**message) for message in shown.messages]
        if shown.is_chat
        else shown.messages[0]["content"],
        completions=[
            CompletionOut(id=completion.id, text=completion.text)
            for completion in shown.completions
        ],
        lease_expires_at=shown.assignment.lease_expires_at,
    )


def refuse_paused(session: Session, user: User, project_id: str) -> None:
    """Say why there is nothing, where an admin has paused the person."""
    pause = find_pause(session, user, project_id)
    if pause is not None:
        raise Conflict(
            f"An admin has paused your work in this project: {pause.reason}", code="labeler_paused"
        )


def answer(model: BaseModel, status_code: int) -> Response:
    """The model as JSON.

    Two routes are called for every ranking; checking once more what was just made costs them a
    trip to another thread.
    """
    return Response(model.model_dump_json(), status_code, media_type="application/json")


def describe_ranking(ranking: Ranking, ranks: dict[str, int | None]) -> RankingOut:
    """The ranking as JSON."""
    return RankingOut(
        id=ranking.id,
        assignment_id=ranking.assignment_id or "",
        task_id=ranking.task_id,
        revision=ranking.revision,
        ranks={completion: rank for completion, rank in ranks.items() if rank is not None},
        created_at=ranking.created_at,
    )


def describe_state(assignment: Assignment) -> AssignmentState:
    """The assignment as JSON."""
    return AssignmentState(
        id=assignment.id,
        state=assignment.state,
        lease_expires_at=assignment.lease_expires_at,
    )
