"""Pages of snapshots: the list, one snapshot with its downloads, two compared."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.dependencies import Admin, AppDatabase, AppSettings, ReadSession, Researcher
from app.errors import Conflict, Invalid
from app.labeling.flags import known_flags
from app.models import Project, Ranking, Snapshot, User
from app.preferences.deletion import delete_snapshot, remove_snapshot_files
from app.preferences.filters import PairFilters
from app.preferences.pair_stream import ranking_pairs
from app.preferences.queries import list_frozen_rankings
from app.preferences.snapshot_diff import Reason, diff_snapshots
from app.preferences.snapshots import (
    count_revoked,
    count_revoked_by_snapshot,
    freeze,
    get_snapshot,
    list_snapshot_models,
    list_snapshots,
)
from app.preferences.splits import Splits
from app.projects.rounds import list_rounds
from app.projects.service import get_project
from app.web.forms import FormFields
from app.web.freezing import FreezeForm
from app.web.pair_exports import chosen_export, export_choices
from app.web.pair_filters import FiltersPosted, FiltersQuery, describe_filter, describe_filters
from app.web.templating import redirect, redirect_with_message, render

router = APIRouter()

PAGE_SNAPSHOTS = 30
COMPARED_WITH = 100
"""Snapshots offered to compare one with, the newest."""
REASONS: dict[Reason, str] = {
    Reason.ERASED: "erased: its labeler’s data had to go",
    Reason.SUPERSEDED: "revised: the other snapshot holds a later revision",
    Reason.REVISED: "the later revision of a ranking in the other snapshot",
    Reason.REVOKED: "revoked since",
    Reason.NEWER: "made or imported after the other snapshot",
    Reason.LEFT_OUT: "left out by the other snapshot’s filters, or did not count when it was made",
}


@router.get("/projects/{project_id}/snapshots")
def show_snapshots(
    request: Request,
    session: ReadSession,
    user: Researcher,
    project_id: str,
    filters: FiltersQuery,
    cursor: str = "",
) -> HTMLResponse:
    """The project's snapshots, newest first."""
    project = get_project(session, project_id, user)
    context = _list_context(session, project, FreezeForm.blank(filters), cursor)
    return render(request, "snapshots/list.html", context)


def _list_context(
    session: Session, project: Project, form: FreezeForm, cursor: str = ""
) -> dict[str, Any]:
    found = list_snapshots(session, project.id, before_id=cursor or None, limit=PAGE_SNAPSHOTS + 1)
    shown = found[:PAGE_SNAPSHOTS]
    any_ranking = select(Ranking.id).where(Ranking.project_id == project.id, Ranking.current)
    numbers = {round_.id: round_.number for round_ in list_rounds(session, project.id)}
    return {
        "project": project,
        "active": "snapshots",
        "snapshots": shown,
        "revoked": count_revoked_by_snapshot(session, [snapshot.id for snapshot in shown]),
        "next_cursor": shown[-1].id if len(found) > PAGE_SNAPSHOTS else "",
        "cursor": cursor,
        "any_rankings": session.scalar(any_ranking.limit(1)) is not None,
        "freeze": form,
        "chips": form.filters.chips(numbers, known_flags(project)),
    }


@router.post("/projects/{project_id}/snapshots")
def create(
    request: Request,
    database: AppDatabase,
    user: Admin,
    project_id: str,
    posted: FiltersPosted,
    fields: FormFields,
) -> Response:
    """Freeze the rankings that fit the filters and show the snapshot."""
    with database.read() as session:
        project = get_project(session, project_id, user)
    form = FreezeForm.posted(fields, posted)
    try:
        snapshot = freeze(
            database,
            user,
            project.id,
            name=form.values["name"],
            licence=form.values["licence"],
            filters=posted.as_filters(),
            plan=form.as_plan(),
        )
    except (Invalid, Conflict) as error:
        with database.read() as session:
            context = _list_context(session, project, form.refused(error))
        return render(request, "snapshots/list.html", context, status_code=error.status)
    return redirect_with_message(
        f"/snapshots/{snapshot.id}", f"{snapshot.pairs:,} pairs are frozen."
    )


@router.get("/snapshots/{snapshot_id}")
def show_snapshot(
    request: Request, session: ReadSession, user: Researcher, snapshot_id: str
) -> HTMLResponse:
    """One snapshot: its hash, its counts, what was made from it, and its downloads."""
    snapshot = get_snapshot(session, snapshot_id)
    project = get_project(session, snapshot.project_id, user)
    creator = session.get(User, snapshot.created_by) if snapshot.created_by else None
    numbers = {round_.id: round_.number for round_ in list_rounds(session, project.id)}
    splits = Splits.from_json(snapshot.splits) if snapshot.splits else None
    filters = PairFilters.from_json(snapshot.filters)
    return render(
        request,
        "snapshots/show.html",
        {
            "project": project,
            "active": "snapshots",
            "snapshot": snapshot,
            "creator": creator,
            "filters": describe_filters(snapshot.filters, numbers, known_flags(project)),
            "splits": splits,
            "models": list_snapshot_models(session, snapshot.id),
            "flag_labels": known_flags(project),
            "revoked": count_revoked(session, snapshot.id),
            "others": _others(session, snapshot),
            "exports": export_choices(
                f"/snapshots/{snapshot.id}/download",
                f"/api/v1/snapshots/{snapshot.id}",
                splits=[part.name for part in splits.parts] if splits else [],
            ),
            "shown": [
                (ranking, list(ranking_pairs(ranking, filters)))
                for ranking in list_frozen_rankings(session, snapshot.id, limit=2)
            ],
        },
    )


def _others(session: Session, snapshot: Snapshot) -> list[Snapshot]:
    """What the snapshot can be compared with."""
    found = list_snapshots(session, snapshot.project_id, limit=COMPARED_WITH + 1)
    return [other for other in found if other.id != snapshot.id][:COMPARED_WITH]


@router.get("/snapshots/{snapshot_id}/download")
def lead_to_download(
    session: ReadSession,
    user: Researcher,
    snapshot_id: str,
    schema: str = "pairs.plain",
    layout: Annotated[str, Query(alias="format")] = "jsonl",
    split: str = "",
) -> Response:
    """To the download that was chosen."""
    snapshot = get_snapshot(session, snapshot_id)
    get_project(session, snapshot.project_id, user)
    return redirect(chosen_export(f"/api/v1/snapshots/{snapshot.id}", {}, schema, layout, split))


@router.get("/snapshots/{snapshot_id}/diff")
def show_diff(
    request: Request, session: ReadSession, user: Researcher, snapshot_id: str, against: str = ""
) -> Response:
    """What two snapshots have in common, and what only one of them holds."""
    snapshot = get_snapshot(session, snapshot_id)
    project = get_project(session, snapshot.project_id, user)
    if not against:
        return redirect(f"/snapshots/{snapshot.id}#compare")
    other = get_snapshot(session, against)
    get_project(session, other.project_id, user)
    diff = diff_snapshots(session, snapshot, other)
    numbers = {round_.id: round_.number for round_ in list_rounds(session, project.id)}
    flags = known_flags(project)
    return render(
        request,
        "snapshots/diff.html",
        {
            "project": project,
            "active": "snapshots",
            "diff": diff,
            "reasons": REASONS,
            "filters": [
                tuple(
                    "not set" if value is None else describe_filter(one.name, value, numbers, flags)
                    for value in (one.first, one.second)
                )
                for one in diff.filters
            ],
            "others": _others(session, snapshot),
        },
    )


@router.post("/snapshots/{snapshot_id}/delete")
def delete(database: AppDatabase, settings: AppSettings, user: Admin, snapshot_id: str) -> Response:
    """Let the snapshot go, or say on its page why it stays."""
    try:
        with database.write() as session:
            snapshot = get_snapshot(session, snapshot_id)
            project = get_project(session, snapshot.project_id, user)
            name = snapshot.name or "The snapshot"
            delete_snapshot(session, user, snapshot)
    except Conflict as error:
        return redirect_with_message(f"/snapshots/{snapshot_id}", error.detail, kind="danger")
    remove_snapshot_files(settings.data_dir.absolute() / "exports", [snapshot_id])
    return redirect_with_message(f"/projects/{project.id}/snapshots", f"{name} is deleted.")
