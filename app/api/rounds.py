"""Rounds over REST: start one, bring completions made elsewhere, see how far it is."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app.api.paging import Cursor, Limit, page_of
from app.api.problems import problems
from app.api.round_inputs import RoundChange, RoundIn, TasksIn
from app.dependencies import Admin, ReadSession, WriteSession
from app.evaluation.promotion import default_policies
from app.models import Round
from app.projects.round_changes import update_round
from app.projects.round_counts import RoundCounts, round_counts
from app.projects.rounds import (
    accept_round,
    close_round,
    create_round,
    get_round,
    list_rounds,
    reopen_round,
    retry_round,
)
from app.projects.service import get_project
from app.projects.task_import import import_tasks

router = APIRouter(tags=["rounds"])

GENERATING = problems("round_generating")


class ProblemOut(BaseModel):
    """A task that could not be given all its completions."""

    task_id: str = Field(description="Id of the task.")
    prompt_id: str = Field(description="Id of its prompt.")
    state: str = Field(
        description="`open` with what there is, or `short` and never shown.", examples=["short"]
    )
    problem: str = Field(
        description="What could not be had, in a sentence.",
        examples=["smollm2-135m-instruct: 3 of 4 completions: the server answered 500"],
    )


class CountsOut(BaseModel):
    """What a round has and still wants."""

    tasks: int = Field(description="Tasks, one for each prompt.", examples=[20])
    pending: int = Field(description="Tasks whose completions are being made.", examples=[4])
    open: int = Field(description="Tasks that people rank.", examples=[10])
    complete: int = Field(description="Tasks that have all their rankings.", examples=[5])
    short: int = Field(
        description="Tasks with fewer than two completions, never shown.", examples=[1]
    )
    completions: int = Field(description="Completions that were made.", examples=[66])
    completions_wanted: int = Field(description="Completions of all its tasks.", examples=[80])
    rankings_wanted: int = Field(
        description="Rankings that its tasks want, all but the short ones.", examples=[40]
    )
    rankings_got: int = Field(description="Of those wanted, never more.", examples=[12])
    rankings_beyond: int = Field(
        description="More than their tasks want: every labeler ranks calibration and gold tasks.",
        examples=[2],
    )
    calibration: int = Field(description="Tasks that every labeler ranks.", examples=[2])
    gold: int = Field(description="Tasks of which the right order is known.", examples=[1])
    simulated_rankings: int = Field(
        description="Rankings made by simulated labelers.", examples=[0]
    )
    problems_total: int = Field(description="Tasks with a problem.", examples=[1])
    problems: list[ProblemOut] = Field(description="The first fifty of them.")


class RoundOut(BaseModel):
    """A round."""

    id: str = Field(description="Id of the round.")
    project_id: str = Field(description="Id of its project.")
    number: int = Field(description="Counts from 1 in the project.", examples=[1])
    kind: str = Field(description="`generated` or `imported`.", examples=["generated"])
    state: str = Field(
        description="`generating`, `open` to labelers, or `closed`.", examples=["open"]
    )
    policies: list[str] = Field(
        description="Ids of the policies that write completions; empty where imported.",
        examples=[["smollm2-135m-instruct"]],
    )
    completions_per_prompt: int = Field(
        description="Completions of each prompt, of all policies together.", examples=[4]
    )
    sampling: dict[str, Any] = Field(
        description="As used, the seed that was drawn included; empty where imported.",
        examples=[{"temperature": 0.8, "top_p": 0.95, "max_new_tokens": 48, "seed": 7}],
    )
    labelers_per_task: int = Field(description="How many people rank each task.", examples=[2])
    calibration_share: float = Field(
        description="Share of its tasks that every labeler ranks.", examples=[0.1]
    )
    priority: int = Field(description="1 is handed out first, 9 last.", examples=[5])
    prompt_limit: int | None = Field(
        description="How many prompts it was to take at most; null: all.", examples=[20]
    )
    candidate_id: str | None = Field(
        description="Of an A/B round the policy on trial, else null.", examples=[None]
    )
    baseline_id: str | None = Field(
        description="Of an A/B round the policy that the candidate must beat, else null.",
        examples=[None],
    )
    job_id: str | None = Field(description="Its latest generation job.")
    created_at: datetime = Field(description="When it was started, RFC 3339 in UTC.")
    closed_at: datetime | None = Field(description="When it was closed, or null.")
    counts: CountsOut = Field(description="What it has and still wants.")


class RejectedTaskOut(BaseModel):
    """A task that was not taken."""

    index: int = Field(description="Its place in the list, from 0.", examples=[3])
    reason: str = Field(
        description="What is wrong with it.", examples=["completions must be a list of 2 to 9"]
    )


class ImportedRoundOut(RoundOut):
    """The round of an import, with what became of each task."""

    created: int = Field(description="Tasks that were stored.", examples=[19])
    duplicates: int = Field(description="Tasks that were in the list before.", examples=[0])
    rejected: list[RejectedTaskOut] = Field(description="Tasks that were not taken.")


class RoundList(BaseModel):
    """The rounds of a project, the newest first."""

    items: list[RoundOut] = Field(description="The rounds of this page.")
    next_cursor: str | None = Field(
        default=None, description="The `cursor` of the next page; null at the end."
    )


@router.post(
    "/projects/{project_id}/rounds",
    status_code=201,
    summary="Start a round",
    responses=problems("project_archived", "invalid", "no_prompts"),
)
def create(project_id: str, body: RoundIn, session: WriteSession, user: Admin) -> RoundOut:
    """A task for each prompt, and the generation job that has the policies write completions.

    Follow it at `GET /rounds/{id}`, or the job at `GET /jobs/{job_id}`. A task is open to labelers
    as soon as all its completions are there.
    """
    project = get_project(session, project_id, user)
    round_ = create_round(
        session,
        user,
        project,
        policies=default_policies(session, project.id) if body.policies is None else body.policies,
        completions_per_prompt=body.completions_per_prompt,
        sampling=body.sampling.model_dump(),
        labelers_per_task=body.labelers_per_task,
        prompt_limit=body.prompt_limit,
        calibration_share=body.calibration_share,
        priority=body.priority,
    )
    return describe(session, round_)


@router.get("/projects/{project_id}/rounds", summary="List rounds")
def list_all(
    project_id: str, session: ReadSession, user: Admin, limit: Limit = 50, cursor: Cursor = None
) -> RoundList:
    """The rounds of the project, the newest first."""
    project = get_project(session, project_id, user)
    rounds = list_rounds(session, project.id)
    page, next_cursor = page_of(rounds, lambda item: item.id, limit, cursor)
    return RoundList(items=[describe(session, item) for item in page], next_cursor=next_cursor)


@router.post(
    "/projects/{project_id}/tasks",
    status_code=201,
    summary="Bring completions made elsewhere",
    responses=problems("project_archived", "invalid", "no_good_task"),
)
def bring_tasks(
    project_id: str, body: TasksIn, session: WriteSession, user: Admin
) -> ImportedRoundOut:
    """A round of the tasks given, open to labelers at once.

    Good tasks are stored once, bad ones are named in `rejected`; 422 when none is good.
    """
    project = get_project(session, project_id, user)
    imported = import_tasks(
        session,
        user,
        project,
        body.tasks,
        body.labelers_per_task,
        calibration_share=body.calibration_share,
        priority=body.priority,
    )
    return ImportedRoundOut(
        **describe(session, imported.round).model_dump(),
        created=imported.created,
        duplicates=imported.duplicates,
        rejected=[
            RejectedTaskOut(index=item.index, reason=item.reason) for item in imported.rejected
        ],
    )


@router.get("/rounds/{round_id}", summary="See how far a round is")
def show(round_id: str, session: ReadSession, user: Admin) -> RoundOut:
    """State, and counts of tasks, completions and rankings."""
    return describe(session, get_round(session, round_id, user))


@router.patch(
    "/rounds/{round_id}",
    summary="Change a round",
    responses=problems("round_of_imports"),
)
def change(round_id: str, body: RoundChange, session: WriteSession, user: Admin) -> RoundOut:
    """Change its priority, how many people rank each task, or its share of calibration tasks."""
    round_ = get_round(session, round_id, user)
    update_round(session, user, round_, **body.model_dump())
    return describe(session, round_)


@router.post(
    "/rounds/{round_id}/retry",
    summary="Make what is missing",
    responses=problems("round_generating", "nothing_missing", "conflict"),
)
def retry(round_id: str, session: WriteSession, user: Admin) -> RoundOut:
    """A new generation job for the tasks that have too few completions; 409 when none has."""
    round_ = get_round(session, round_id, user)
    retry_round(session, user, round_)
    return describe(session, round_)


@router.post("/rounds/{round_id}/accept", summary="Go on with what there is", responses=GENERATING)
def accept(round_id: str, session: WriteSession, user: Admin) -> RoundOut:
    """Open every task with at least two completions after a job that failed or was cancelled."""
    round_ = get_round(session, round_id, user)
    accept_round(session, user, round_)
    return describe(session, round_)


@router.post("/rounds/{round_id}/close", summary="Close a round")
def close(round_id: str, session: WriteSession, user: Admin) -> RoundOut:
    """No more rankings are asked for; what was ranked stays."""
    round_ = get_round(session, round_id, user)
    close_round(session, user, round_)
    return describe(session, round_)


@router.post("/rounds/{round_id}/reopen", summary="Reopen a round")
def reopen(round_id: str, session: WriteSession, user: Admin) -> RoundOut:
    """Ask for the missing rankings again."""
    round_ = get_round(session, round_id, user)
    reopen_round(session, user, round_)
    return describe(session, round_)


def describe(session: Session, round_: Round) -> RoundOut:
    """A round with its counts, as REST gives it."""
    return RoundOut(
        id=round_.id,
        project_id=round_.project_id,
        number=round_.number,
        kind=round_.kind,
        state=round_.state,
        policies=round_.policies,
        completions_per_prompt=round_.completions_per_prompt,
        sampling=round_.sampling or {},
        labelers_per_task=round_.labelers_per_task,
        calibration_share=round_.calibration_share,
        priority=round_.priority,
        prompt_limit=round_.prompt_limit,
        candidate_id=round_.candidate_id,
        baseline_id=round_.baseline_id,
        job_id=round_.job_id,
        created_at=round_.created_at,
        closed_at=round_.closed_at,
        counts=_describe_counts(round_counts(session, round_.id)),
    )


def _describe_counts(counts: RoundCounts) -> CountsOut:
    return CountsOut(
        tasks=counts.tasks,
        pending=counts.pending,
        open=counts.open,
        complete=counts.complete,
        short=counts.short,
        completions=counts.completions,
        completions_wanted=counts.completions_wanted,
        rankings_wanted=counts.rankings_wanted,
        rankings_got=counts.rankings_got,
        rankings_beyond=counts.rankings_beyond,
        calibration=counts.calibration,
        gold=counts.gold,
        simulated_rankings=counts.simulated_rankings,
        problems_total=counts.problems_total,
        problems=[
            ProblemOut(
                task_id=item.task_id,
                prompt_id=item.prompt_id,
                state=item.state,
                problem=item.problem,
            )
            for item in counts.problems
        ],
    )
