"""The pairs of a project, looked through with filters, counted, and on their way out."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.dependencies import ReadSession, Researcher
from app.labeling.flags import known_flags
from app.models import Project, Ranking
from app.preferences.filters import PairFilters
from app.preferences.pair_counts import PairCounts, count_pairs
from app.preferences.pair_stream import ranking_pairs
from app.preferences.queries import list_rankings
from app.preferences.statistics import (
    count_model_ranks,
    count_pairs_by_day,
    measure_lengths,
    measure_model_wins,
)
from app.preferences.stored_rankings import StoredRanking
from app.projects.rounds import list_rounds
from app.projects.service import get_project
from app.web.freezing import FreezeForm
from app.web.pair_exports import api_query, chosen_export, export_choices
from app.web.pair_filters import FilterForm, FiltersQuery, filter_choices
from app.web.pair_plots import plot_lengths, plot_ranks, plot_times, plot_wins
from app.web.templating import redirect, render

router = APIRouter()

PAGE_RANKINGS = 5
QUICK_RANKINGS = 10_000
"""Of a project with at most so many rankings the pairs are counted before the page is sent;
of a larger one after, by a request of the page's own."""
MOST_PASSED_OVER = 2_000
"""Rankings without a wanted pair that one page looks at before it asks to go on."""


@router.get("/projects/{project_id}/pairs")
def show_pairs(
    request: Request,
    session: ReadSession,
    user: Researcher,
    project_id: str,
    form: FiltersQuery,
    view: str = "pairs",
    cursor: str = "",
) -> HTMLResponse:
    """The newest rankings that fit the filters, as pairs or as rankings, with counts."""
    project = get_project(session, project_id, user)
    filters = form.as_filters()
    shown, next_cursor = _page(session, project.id, filters, cursor)
    total = _count_rankings(session, project.id)
    address = f"/projects/{project.id}/pairs"
    choices = filter_choices(session, project)
    numbers = {round_.id: round_.number for round_ in choices["rounds"]}
    view = "rankings" if view == "rankings" else "pairs"
    response = render(
        request,
        "pairs/page.html",
        {
            "project": project,
            "active": "pairs",
            "view": view,
            "shown": [(ranking, list(ranking_pairs(ranking, filters))) for ranking in shown],
            "any_rankings": total > 0,
            "counts": _quick_counts(session, project.id, filters, total),
            "next_cursor": next_cursor,
            "cursor": cursor,
            "form": form,
            "chips": form.chips(numbers, known_flags(project)),
            "exports": export_choices(
                f"{address}/export",
                f"/api/v1/projects/{project.id}",
                query=form.set_values,
                filters=filters,
            ),
            "freeze": FreezeForm.blank(form),
            **choices,
        },
    )
    response.headers["HX-Push-Url"] = address + _address_query(form, view, cursor)
    return response


def _address_query(form: FilterForm, view: str, cursor: str) -> str:
    """What follows the page's path, for the browser to show."""
    parts = {"view": view if view != "pairs" else "", **form.values, "cursor": cursor}
    query = urlencode({name: value for name, value in parts.items() if value})
    return f"?{query}" if query else ""


def _page(
    session: Session, project_id: str, filters: PairFilters, cursor: str
) -> tuple[list[StoredRanking], str]:
    """The rankings of one page, and where the next one begins; empty where there is none.

    Rankings of which the filters take no pair are passed over.
    """
    found: list[StoredRanking] = []
    before = cursor or None
    passed = 0
    while len(found) <= PAGE_RANKINGS and passed < MOST_PASSED_OVER:
        wanted = 100 if filters.selects_pairs else PAGE_RANKINGS + 1
        rankings = list_rankings(session, project_id, filters, before_id=before, limit=wanted)
        passed += len(rankings)
        found += [
            ranking
            for ranking in rankings
            if not filters.selects_pairs or any(ranking_pairs(ranking, filters))
        ]
        if len(rankings) < wanted:
            before = None
            break
        before = rankings[-1].id
    if len(found) > PAGE_RANKINGS:
        return found[:PAGE_RANKINGS], found[PAGE_RANKINGS - 1].id
    return found, before or ""


def _count_rankings(session: Session, project_id: str) -> int:
    counted = select(func.count()).where(Ranking.project_id == project_id, Ranking.current)
    return session.scalar(counted) or 0


def _quick_counts(
    session: Session, project_id: str, filters: PairFilters, total: int
) -> PairCounts | None:
    return count_pairs(session, project_id, filters) if total <= QUICK_RANKINGS else None


@router.get("/projects/{project_id}/pairs/counts")
def show_counts(
    request: Request, session: ReadSession, user: Researcher, project_id: str, form: FiltersQuery
) -> HTMLResponse:
    """How many pairs, rankings, prompts and labelers there are behind the filters."""
    project = get_project(session, project_id, user)
    context = _part_context(session, project, form)
    context["counts"] = count_pairs(session, project.id, form.as_filters())
    return render(request, "pairs/counts.html", context)


@router.get("/projects/{project_id}/pairs/plots")
def show_plots(
    request: Request, session: ReadSession, user: Researcher, project_id: str, form: FiltersQuery
) -> HTMLResponse:
    """Plots of what the filters let pass: over time, wins by model, lengths, and ranks."""
    project = get_project(session, project_id, user)
    filters = form.as_filters()
    context = _part_context(session, project, form)
    address = f"/projects/{project.id}/pairs"
    context |= {
        "times": plot_times(count_pairs_by_day(session, project.id, filters)),
        "wins": plot_wins(measure_model_wins(session, project.id, filters), address),
        "lengths": plot_lengths(measure_lengths(session, project.id, filters)),
        "ranks": plot_ranks(count_model_ranks(session, project.id, filters)),
    }
    return render(request, "pairs/plots.html", context)


def _part_context(session: Session, project: Project, form: FilterForm) -> dict[str, Any]:
    """What the counts and the plots have around them on a page of their own."""
    numbers = {round_.id: round_.number for round_ in list_rounds(session, project.id)}
    return {
        "project": project,
        "active": "pairs",
        "form": form,
        "chips": form.chips(numbers, known_flags(project)),
    }


@router.get("/projects/{project_id}/pairs/export")
def lead_to_export(
    session: ReadSession,
    user: Researcher,
    project_id: str,
    form: FiltersQuery,
    schema: str = "",
    layout: Annotated[str, Query(alias="format")] = "",
) -> Response:
    """To the download that was chosen; without a choice to where one chooses."""
    project = get_project(session, project_id, user)
    if not schema:
        return redirect(f"/projects/{project.id}/pairs?{form.query}#export")
    filters = api_query(form.as_filters())
    return redirect(chosen_export(f"/api/v1/projects/{project.id}", filters, schema, layout))
