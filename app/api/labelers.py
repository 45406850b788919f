"""A project's labelers over REST: how each works, pausing them, revoking their rankings."""

from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.agreement import EstimateOut
from app.api.paging import page_of
from app.api.pair_filters import FiltersIn, checked_filters
from app.api.problems import problems
from app.dependencies import Admin, ReadSession, WriteSession
from app.labeling.pauses import pause_labeler, resume_labeler
from app.labeling.people import get_account, get_project_labeler, list_project_labelers
from app.labeling.revocation import find_touched, restore_rankings, revoke_rankings
from app.projects.service import get_project

router = APIRouter(tags=["labelers"])

ERRORS = problems("labeler_not_found", "invalid")
ACCOUNT_ERRORS = problems("labeler_not_found", "invalid", "labeler_without_account")


class LabelersQuery(FiltersIn):
    """Filters, and which page of the list."""

    limit: int = Field(default=50, ge=1, le=200, description="How many items at most.")
    cursor: str | None = Field(
        default=None,
        max_length=200,
        description="`next_cursor` of the page before; empty for the first.",
    )


class LabelerIn(BaseModel):
    """Whom it is about."""

    model_config = ConfigDict(extra="forbid")

    labeler: str = Field(
        max_length=200,
        description="The handle, or the name an import gave.",
        examples=["lena"],
    )


class LabelerReasonIn(LabelerIn):
    """Whom it is about, and why."""

    reason: str = Field(
        max_length=2000,
        description="Why, in a few words; a paused labeler reads it.",
        examples=["Let us go through the guidelines together first."],
    )


class WeekOut(BaseModel):
    """One week of a labeler, in UTC."""

    model_config = ConfigDict(from_attributes=True)

    week: date = Field(description="Its Monday.", examples=["2026-11-16"])
    rankings: int = Field(description="Rankings made in it, repeats included.", examples=[40])
    agreement: EstimateOut = Field(description="With the others of the same tasks; n = pairs.")
    gold_accuracy: EstimateOut = Field(description="n = pairs that gold orders.")
    median_active_ms: float | None = Field(
        description="Median active milliseconds of a ranking.", examples=[38000.0]
    )
    first_slot: EstimateOut = Field(description="n = pairs with the completion shown first.")


class LabelerOut(BaseModel):
    """How one labeler works in a project."""

    model_config = ConfigDict(from_attributes=True)

    labeler: str = Field(description="The handle, or the name an import gave.", examples=["lena"])
    user_id: str | None = Field(description="Their account; null where imports alone name them.")
    simulated: bool = Field(description="Whether a rule ranks, and no person.", examples=[False])
    paused: bool = Field(description="Whether they are given no tasks now.", examples=[False])
    rankings: int = Field(description="Rankings that count, repeats included.", examples=[120])
    revoked: int = Field(description="Rankings that were revoked.", examples=[0])
    first_at: datetime | None = Field(description="When the first of them was made.")
    last_at: datetime | None = Field(description="When the last of them was made.")
    days: dict[date, int] = Field(
        description="Rankings on each day (UTC) that has any.", examples=[{"2026-11-20": 12}]
    )
    per_active_hour: float | None = Field(
        description="Rankings an hour of active time.", examples=[85.2]
    )
    median_active_ms: float | None = Field(
        description="Median active milliseconds of a ranking.", examples=[38000.0]
    )
    agreement: EstimateOut = Field(
        description="Pairwise agreement with every other labeler of the same tasks; n = pairs."
    )
    tau_b: EstimateOut = Field(
        description="Mean Kendall's tau-b with them; n = others, summed over tasks."
    )
    gold_accuracy: EstimateOut = Field(
        description="Pairs that gold orders and the labeler orders the same, ties as half; "
        "n = those pairs."
    )
    calibration_agreement: EstimateOut = Field(
        description="Agreement on the tasks that everybody ranks; n = pairs."
    )
    first_slot: EstimateOut = Field(
        description="Pairs won by the completion shown first, ties as half; 0.5 is fair. "
        "n = pairs with it."
    )
    self_consistency: EstimateOut = Field(
        description="Pairs on which a repeat says the same as the first time; n = pairs."
    )
    skips: int = Field(description="Tasks they skipped.", examples=[3])
    skip_reasons: dict[str, int] = Field(
        description="How often for which reason.", examples=[{"not my language": 3}]
    )
    weeks: list[WeekOut] = Field(description="Weeks with any ranking, the oldest first.")


class LabelerList(BaseModel):
    """Labelers, by name."""

    items: list[LabelerOut] = Field(description="The labelers of this page.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null at the end.")


class RevokedOut(BaseModel):
    """What revoking did, and what still rests on the rankings."""

    labeler: str = Field(description="Whose.", examples=["lena"])
    rankings: int = Field(description="Rankings revoked now.", examples=[120])
    reopened_tasks: int = Field(
        description="Complete tasks that want a ranking again.", examples=[97]
    )
    snapshots: list[str] = Field(
        description="Ids of the snapshots that hold some of them.",
        examples=[["019a0c25f1e14b23e6f708192a3b4c5d"]],
    )
    models: list[str] = Field(
        description="Ids of the models trained on one of those, or made from such a model.",
        examples=[["reward-model-1"]],
    )


class RestoredOut(BaseModel):
    """What restoring did."""

    labeler: str = Field(description="Whose.", examples=["lena"])
    rankings: int = Field(description="Rankings that count again.", examples=[120])


class PausedOut(BaseModel):
    """Whether a labeler is given tasks of the project."""

    labeler: str = Field(description="Who.", examples=["lena"])
    paused: bool = Field(description="True: they get no tasks.", examples=[True])
    reason: str | None = Field(
        description="What they read; null for one who may go on.",
        examples=["Let us go through the guidelines together first."],
    )


@router.get("/projects/{project_id}/labelers", summary="List labelers with their figures")
def list_all(
    project_id: str,
    session: ReadSession,
    user: Admin,
    query: Annotated[LabelersQuery, Query()],
) -> LabelerList:
    """Pace, agreement, gold accuracy, biases and skips of each labeler, by name.

    Filters choose the rankings that the figures are of; without any, labelers who only skipped
    or are paused are listed too.
    """
    project = get_project(session, project_id, user)
    chosen = checked_filters(session, project.id, query)
    labelers = list_project_labelers(session, project.id, chosen)
    items, after = page_of(labelers, lambda one: one.labeler, query.limit, query.cursor)
    return LabelerList(items=[LabelerOut.model_validate(one) for one in items], next_cursor=after)


@router.post(
    "/projects/{project_id}/labelers/revoke",
    summary="Revoke all rankings of a labeler",
    responses=ERRORS,
)
def revoke(
    project_id: str, session: WriteSession, user: Admin, body: LabelerReasonIn
) -> RevokedOut:
    """Take them out of pairs, figures and future snapshots; nothing is deleted.

    Tasks that now have too few rankings open again. Doing it again does nothing more.
    """
    project = get_project(session, project_id, user)
    get_project_labeler(session, project.id, body.labeler)
    done = revoke_rankings(session, user, project.id, body.labeler, reason=body.reason)
    touched = find_touched(session, project.id, body.labeler)
    return RevokedOut(
        labeler=body.labeler,
        rankings=done.rankings,
        reopened_tasks=done.reopened_tasks,
        snapshots=[snapshot.id for snapshot in touched.snapshots],
        models=[model.id for model in touched.models],
    )


@router.post(
    "/projects/{project_id}/labelers/restore",
    summary="Let revoked rankings count again",
    responses=ERRORS,
)
def restore(project_id: str, session: WriteSession, user: Admin, body: LabelerIn) -> RestoredOut:
    """Undo the revoking. Tasks that others ranked meanwhile keep all their rankings."""
    project = get_project(session, project_id, user)
    get_project_labeler(session, project.id, body.labeler)
    count = restore_rankings(session, user, project.id, body.labeler)
    return RestoredOut(labeler=body.labeler, rankings=count)


@router.post(
    "/projects/{project_id}/labelers/pause", summary="Pause a labeler", responses=ACCOUNT_ERRORS
)
def pause(project_id: str, session: WriteSession, user: Admin, body: LabelerReasonIn) -> PausedOut:
    """Give the labeler no more tasks of the project; pausing again changes the reason."""
    project = get_project(session, project_id, user)
    account = get_account(session, project.id, body.labeler)
    paused = pause_labeler(session, user, project.id, account, reason=body.reason)
    return PausedOut(labeler=body.labeler, paused=True, reason=paused.reason)


@router.post(
    "/projects/{project_id}/labelers/resume",
    summary="Let a labeler go on",
    responses=ACCOUNT_ERRORS,
)
def resume(project_id: str, session: WriteSession, user: Admin, body: LabelerIn) -> PausedOut:
    """Give a paused labeler tasks again; for one who is not paused nothing changes."""
    project = get_project(session, project_id, user)
    account = get_account(session, project.id, body.labeler)
    resume_labeler(session, user, project.id, account)
    return PausedOut(labeler=body.labeler, paused=False, reason=None)
