"""The page on which a task is ranked, and what its form and script send."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import FormData

from app.db import Database
from app.dependencies import AppDatabase, AppSettings, Labeler, ReadSession, WriteSession
from app.errors import AppError, Conflict, Invalid
from app.labeling.drafts import save_draft
from app.labeling.flags import RATINGS, SKIP_REASONS
from app.labeling.history import find_last_version_read
from app.labeling.pace import count_done_since, measure_pace, start_of_day
from app.labeling.queue import (
    find_live_assignment,
    lease_next_task,
    renew_lease,
    require_open_project,
    return_assignment,
    skip_assignment,
)
from app.labeling.rankings import find_last_submitted, submit_ranking
from app.labeling.shown import ShownTask, load_shown_task
from app.labeling.view import LAYOUTS, get_view, save_time_zone, save_view
from app.labeling.waiting import get_waiting
from app.models import AssignmentState, User
from app.web.queue import free_expired_leases
from app.web.ranking_forms import RankingForm, read_fields, read_number, read_submission
from app.web.sign_in import safe_next
from app.web.templating import redirect, redirect_with_message, render

router = APIRouter()


@router.post("/projects/{project_id}/rank")
def lease(project_id: str, session: WriteSession, user: Labeler, settings: AppSettings) -> Response:
    """Lease the next task and go to it, or say why there is none."""
    assignment = lease_next_task(session, user, project_id, lease_seconds=settings.lease_seconds)
    return redirect(
        f"/assignments/{assignment.id}" if assignment else f"/projects/{project_id}/rank"
    )


@router.get("/projects/{project_id}/rank", dependencies=[Depends(free_expired_leases)])
def show_current(
    project_id: str, request: Request, session: ReadSession, user: Labeler
) -> Response:
    """The task in hand; without one, what is waiting in the project or why nothing is."""
    project = require_open_project(session, user, project_id)
    live = find_live_assignment(session, user, project.id)
    if live is not None:
        return redirect(f"/assignments/{live.id}")
    return render(
        request,
        "rank/start.html",
        {
            "project": project,
            "item": get_waiting(session, user, project, measure_pace(session, user)),
            "last": find_last_submitted(session, user, project.id),
        },
    )


@router.get("/assignments/{assignment_id}")
def show_assignment(
    assignment_id: str,
    request: Request,
    session: ReadSession,
    user: Labeler,
    settings: AppSettings,
) -> Response:
    """The ranking page of one of the person's own tasks."""
    shown = load_shown_task(session, user, assignment_id)
    context = page_context(session, user, shown, settings.lease_seconds)
    if shown.assignment.state in (AssignmentState.SKIPPED, AssignmentState.REVOKED):
        return render(request, "rank/over.html", context)
    return render(request, "rank/page.html", context)


@router.post("/assignments/{assignment_id}/ranking")
def rank(
    assignment_id: str,
    request: Request,
    form: RankingForm,
    database: AppDatabase,
    user: Labeler,
    settings: AppSettings,
) -> Response:
    """Store the ranking and go to the next task; what does not fit is shown where it is.

    The ranking is committed before the next task is looked for.
    """
    try:
        submission = read_submission(form)
        with database.write() as session:
            ranking = submit_ranking(session, user, assignment_id, submission)
            save_time_zone(session, user, str(form.get("time_zone", "")))
    except (Invalid, Conflict) as error:
        return show_problem(request, database, user, assignment_id, form, error, settings)
    return go_on(database, user, ranking.project_id, settings.lease_seconds)


@router.post("/assignments/{assignment_id}/draft")
def keep_draft(
    assignment_id: str,
    form: RankingForm,
    session: WriteSession,
    user: Labeler,
    settings: AppSettings,
) -> JSONResponse:
    """Keep what was done so far (the page's script calls this after each change)."""
    _, held = save_draft(
        session,
        user,
        assignment_id,
        read_submission(form),
        lease_seconds=settings.lease_seconds,
        based_on=read_number(form, "based_on") or 0,
    )
    return JSONResponse({"saved": True, "held": held})


@router.post("/assignments/{assignment_id}/renew")
def renew(
    assignment_id: str, session: WriteSession, user: Labeler, settings: AppSettings
) -> JSONResponse:
    """Keep the task while the person works on it (the page's script calls this)."""
    try:
        renew_lease(session, user, assignment_id, lease_seconds=settings.lease_seconds)
    except Conflict:
        return JSONResponse({"held": False})
    return JSONResponse({"held": True})


@router.post("/assignments/{assignment_id}/skip")
def skip(
    assignment_id: str,
    request: Request,
    form: RankingForm,
    database: AppDatabase,
    user: Labeler,
    settings: AppSettings,
) -> Response:
    """Give the task back for good with a reason, and go to the next."""
    choice = str(form.get("reason", ""))
    details = str(form.get("details", "")).strip()
    reason = ": ".join(part for part in (choice, details) if part)
    try:
        with database.write() as session:
            skip_assignment(session, user, assignment_id, reason)
            project_id = load_shown_task(session, user, assignment_id).project.id
    except (Invalid, Conflict) as error:
        return show_problem(request, database, user, assignment_id, form, error, settings)
    return go_on(database, user, project_id, settings.lease_seconds)


@router.post("/assignments/{assignment_id}/return")
def give_back(assignment_id: str, session: WriteSession, user: Labeler) -> Response:
    """Stop for now: the task goes back to the queue, the draft is kept."""
    return_assignment(session, user, assignment_id)
    return redirect_with_message("/queue", "The task is back in the queue; your draft is kept.")


@router.get("/assignments/{assignment_id}/texts")
def show_texts(assignment_id: str, session: ReadSession, user: Labeler) -> JSONResponse:
    """The completions as they were written, for the page's script to compare."""
    shown = load_shown_task(session, user, assignment_id)
    return JSONResponse(
        {"texts": {completion.id: completion.text for completion in shown.completions}},
        headers={"Cache-Control": "no-store"},
    )


@router.post("/ranking-view")
def choose_view(
    session: WriteSession,
    user: Labeler,
    layout: Annotated[str | None, Form()] = None,
    guidelines: Annotated[str | None, Form()] = None,
    next: Annotated[str, Form()] = "/queue",  # noqa: A002  # the name of the field
) -> Response:
    """Remember how the person likes to see completions."""
    save_view(session, user, layout=layout, guidelines=guidelines)
    return redirect(safe_next(next))


def go_on(database: Database, user: User, project_id: str, lease_seconds: int) -> Response:
    """To the next task of the project, or to the page that says that there is none."""
    with database.write() as session:
        assignment = lease_next_task(session, user, project_id, lease_seconds=lease_seconds)
    if assignment is None:
        return redirect(f"/projects/{project_id}/rank")
    return redirect(f"/assignments/{assignment.id}")


def show_problem(
    request: Request,
    database: Database,
    user: User,
    assignment_id: str,
    form: FormData,
    error: AppError,
    settings: AppSettings,
) -> Response:
    """The ranking page again, with what was sent and what is wrong with it."""
    with database.read() as session:
        shown = load_shown_task(session, user, assignment_id)
        context = page_context(session, user, shown, settings.lease_seconds, form, error)
        response = render(request, "rank/page.html", context, status_code=int(error.status))
    # The address of the form takes no GET: the page stays where it was.
    response.headers["HX-Replace-Url"] = f"/assignments/{assignment_id}"
    return response


def page_context(
    session: ReadSession,
    user: User,
    shown: ShownTask,
    lease_seconds: int,
    form: FormData | None = None,
    error: AppError | None = None,
) -> dict[str, Any]:
    """Everything the ranking page shows."""
    return {
        "shown": shown,
        "project": shown.project,
        "view": get_view(user),
        "layouts": LAYOUTS,
        "fields": {
            completion.id: read_fields(completion.id, shown.project, shown.work, form, error)
            for completion in shown.completions
        },
        "comment": shown.work.comment if form is None else str(form.get("comment", "")),
        "error": error,
        "ratings": RATINGS,
        "skip_reasons": SKIP_REASONS,
        "lease_seconds": lease_seconds,
        "done_today": count_done_since(session, user, start_of_day(user)),
        "last": find_last_submitted(session, user, shown.project.id),
        "version_read": find_last_version_read(session, user, shown.project.id),
    }
