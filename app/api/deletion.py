"""Taking data away over REST: deleting what no snapshot holds, erasing what a labeler said."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.labelers import LabelerIn
from app.api.problems import problems
from app.api.snapshot_files import exports_dir, get_visible_snapshot
from app.dependencies import Admin, AppDatabase, AppSettings, WriteSession
from app.preferences.deletion import (
    delete_prompt,
    delete_ranking,
    delete_round,
    delete_snapshot,
    remove_snapshot_files,
)
from app.preferences.erased_files import remove_erased_files
from app.preferences.erasure import check_confirmation, erase_labeler, refuse_stranger
from app.preferences.revisions import get_ranking
from app.projects.prompts import get_prompt
from app.projects.rounds import get_round
from app.projects.service import get_project

router = APIRouter(tags=["lineage"])

GONE: dict[int | str, dict[str, Any]] = {204: {"description": "It is gone."}}


class ErasureIn(LabelerIn):
    """Whose data is to go, said twice."""

    confirm: str = Field(
        max_length=200,
        description="The same name once more, since this cannot be undone.",
        examples=["lena"],
    )


class ErasureOut(BaseModel):
    """What erasing did."""

    rankings: int = Field(
        description="Rankings that were erased, with revisions, repeats and revoked ones.",
        examples=[120],
    )
    deleted: int = Field(
        description="Of those, the ones that no snapshot held: no trace of them is left.",
        examples=[20],
    )
    tombstones: int = Field(
        description="Of those, the ones that a snapshot holds: that there was one, when and how it "
        "was made, is all that is left.",
        examples=[100],
    )
    pseudonym: str | None = Field(
        description="What the tombstones call the labeler, drawn for this erasure alone; null "
        "where there are none.",
        examples=["erased-5e0c2f9a41d7"],
    )
    assignments: int = Field(
        description="Leases with their drafts, and skips, that are gone.", examples=[123]
    )
    reopened_tasks: int = Field(
        description="Complete tasks that want a ranking again.", examples=[97]
    )
    snapshots: list[str] = Field(
        description="Ids of the snapshots that now hold tombstones.",
        examples=[["019a0c25f1e14b23e6f708192a3b4c5d"]],
    )


@router.post(
    "/projects/{project_id}/labelers/erase",
    summary="Erase what a labeler said",
    responses=problems("labeler_not_found", "used_by_job", "invalid"),
)
def erase(
    project_id: str, user: Admin, body: ErasureIn, database: AppDatabase, settings: AppSettings
) -> ErasureOut:
    """Delete all their rankings in the project; where snapshots hold some, leave tombstones.

    Leases, drafts and skips go too, and tasks want a labeler again. It cannot be undone. What was
    downloaded before and what models learned stays; their account stays as well.
    """
    check_confirmation(body.labeler, body.confirm)
    with database.write() as session:
        project = get_project(session, project_id, user)
        refuse_stranger(session, project.id, body.labeler)
        report = erase_labeler(session, user, project, body.labeler)
    remove_erased_files(report, exports_dir(settings), settings.runs_dir)
    return ErasureOut(
        rankings=report.rankings,
        deleted=report.deleted,
        tombstones=report.tombstones,
        pseudonym=report.pseudonym,
        assignments=report.assignments,
        reopened_tasks=report.reopened_tasks,
        snapshots=report.snapshot_ids,
    )


@router.delete(
    "/snapshots/{snapshot_id}",
    status_code=204,
    summary="Delete a snapshot",
    responses=GONE | problems("used_by_model", "used_by_job"),
)
def delete_one_snapshot(
    snapshot_id: str, user: Admin, database: AppDatabase, settings: AppSettings
) -> None:
    """Its downloads go with it; the rankings stay. Not while a model learned from it."""
    with database.write() as session:
        delete_snapshot(session, user, get_visible_snapshot(session, snapshot_id, user))
    remove_snapshot_files(exports_dir(settings), [snapshot_id])


@router.delete(
    "/rankings/{ranking_id}",
    status_code=204,
    summary="Delete a ranking",
    responses=GONE | problems("held_by_snapshot"),
)
def delete_one_ranking(ranking_id: str, session: WriteSession, user: Admin) -> None:
    """All its revisions go, and the task wants a labeler again. Not while a snapshot holds one.

    To keep it and let it count no more, revoke the labeler's rankings instead.
    """
    ranking = get_ranking(session, ranking_id)
    get_project(session, ranking.project_id, user)
    delete_ranking(session, user, ranking)


@router.delete(
    "/prompts/{prompt_id}",
    status_code=204,
    summary="Delete a prompt",
    responses=GONE | problems("held_by_snapshot", "round_generating"),
)
def delete_one_prompt(prompt_id: str, session: WriteSession, user: Admin) -> None:
    """Its tasks go with it, and their completions and rankings. Not while a snapshot holds any."""
    delete_prompt(session, user, get_prompt(session, prompt_id, user))


@router.delete(
    "/rounds/{round_id}",
    status_code=204,
    summary="Delete a round",
    responses=GONE | problems("held_by_snapshot", "round_generating", "round_open"),
)
def delete_one_round(round_id: str, session: WriteSession, user: Admin) -> None:
    """Its tasks go with it, and their completions and rankings; the prompts stay.

    Close it first. Not while a snapshot holds a ranking of it.
    """
    delete_round(session, user, get_round(session, round_id, user))
