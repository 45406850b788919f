"""Promoting a policy, and the history of promotions of a project."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app.dependencies import Admin, AppDatabase, ReadSession, Researcher
from app.errors import Conflict
from app.evaluation.promotion import default_policy, list_promotions, promote
from app.projects.service import get_project
from app.web.forms import FormFields, text_of
from app.web.templating import redirect_with_message, render
from app.web.verdicts import evidence_words

router = APIRouter()


@router.get("/projects/{project_id}/promotions")
def show_promotions(
    request: Request, project_id: str, session: ReadSession, user: Researcher
) -> HTMLResponse:
    """Which policy the project goes on with, and every decision before, with its evidence."""
    project = get_project(session, project_id, user)
    history = list_promotions(session, project_id=project.id)
    return render(
        request,
        "promotions/page.html",
        {
            "project": project,
            "history": [(one, evidence_words(one.promotion.evidence)) for one in history],
            "default": default_policy(session, project.id),
        },
    )


@router.post("/projects/{project_id}/promotions")
def promote_policy(
    project_id: str, database: AppDatabase, user: Admin, form: FormFields
) -> Response:
    """Make the policy the default of the next round, and keep what is known now."""
    page = f"/projects/{project_id}/promotions"
    model_id = text_of(form, "model_id")
    try:
        with database.write() as session:
            promote(
                session,
                user,
                get_project(session, project_id, user),
                model_id,
                round_id=text_of(form, "round_id") or None,
                note=text_of(form, "note"),
            )
    except Conflict as error:
        return redirect_with_message(page, error.detail, kind="warning")
    return redirect_with_message(page, f"{model_id} is promoted: the next round asks it.")
