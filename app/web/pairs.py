"""Pairs and rankings of a project, looked through and exported; and its snapshots."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.dependencies import Admin, AppDatabase, ReadSession, Researcher
from app.errors import AppError, Invalid
from app.labeling.flags import known_flags
from app.models import TaskPurpose, User
from app.preferences.filters import PairFilters
from app.preferences.formats import PairFormat, PairSchema
from app.preferences.queries import (
    count_pairs,
    list_completion_models,
    list_frozen_rankings,
    list_labelers,
    list_rankings,
    ranking_pairs,
)
from app.preferences.snapshots import (
    count_revoked,
    count_revoked_by_snapshot,
    freeze,
    get_snapshot,
    list_snapshot_models,
    list_snapshots,
)
from app.projects.rounds import list_rounds
from app.projects.service import get_project
from app.web.templating import redirect, redirect_with_message, render

router = APIRouter()

PAGE_RANKINGS = 5
PAGE_SNAPSHOTS = 30
SCHEMAS = {
    PairSchema.PLAIN: "Everything: texts, ids, ranks, models, labeler, weight, time.",
    PairSchema.TRL: "Exactly prompt, chosen, rejected, as text.",
    PairSchema.TRL_CONVERSATIONAL: "The same three as chat messages (JSON text in CSV).",
    PairSchema.HH: "Chosen and rejected as Human/Assistant transcripts.",
}
SIMULATED = {"": None, "only": True, "none": False}


class FilterForm:
    """The filters as a page's form has them: every one a text, empty for any."""

    def __init__(
        self,
        round_id: str = "",
        labeler: str = "",
        model: str = "",
        simulated: str = "",
        purpose: str = "",
        created_after: str = "",
        created_before: str = "",
    ) -> None:
        self.values = {
            "round_id": round_id,
            "labeler": labeler,
            "model": model,
            "simulated": simulated,
            "purpose": purpose,
            "created_after": created_after,
            "created_before": created_before,
        }

    @property
    def query(self) -> str:
        """The filters that are set, for a link to a page."""
        return urlencode({name: value for name, value in self.values.items() if value})

    def as_filters(self) -> PairFilters:
        """The filters as the services take them; Invalid names a day that is none."""
        return PairFilters(
            round_id=self.values["round_id"] or None,
            labeler=self.values["labeler"] or None,
            model=self.values["model"] or None,
            simulated=SIMULATED.get(self.values["simulated"]),
            purpose=self._purpose(),
            created_after=self._day("created_after"),
            created_before=self._day("created_before"),
        )

    def _purpose(self) -> TaskPurpose | None:
        """A purpose that there is not lets all pass."""
        value = self.values["purpose"]
        return TaskPurpose(value) if value in set(TaskPurpose) else None

    def _day(self, name: str) -> datetime | None:
        if not self.values[name]:
            return None
        try:
            day = date.fromisoformat(self.values[name])
        except ValueError as error:
            raise Invalid(
                f"“{self.values[name]}” is not a day.", fields={name: "a day such as 2026-11-30"}
            ) from error
        return datetime.combine(day, time(), UTC)


class PostedFilters(FilterForm):
    """The same filters, sent along with a form."""

    def __init__(
        self,
        round_id: Annotated[str, Form()] = "",
        labeler: Annotated[str, Form()] = "",
        model: Annotated[str, Form()] = "",
        simulated: Annotated[str, Form()] = "",
        purpose: Annotated[str, Form()] = "",
        created_after: Annotated[str, Form()] = "",
        created_before: Annotated[str, Form()] = "",
    ) -> None:
        super().__init__(
            round_id, labeler, model, simulated, purpose, created_after, created_before
        )


FiltersQuery = Annotated[FilterForm, Depends()]
FiltersPosted = Annotated[PostedFilters, Depends()]


def export_links(base: str, filters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each schema with the address of its download in each format."""
    return [
        {
            "schema": schema.value,
            "meaning": meaning,
            "links": [
                (
                    layout.value,
                    f"{base}?{urlencode({'schema': schema, 'format': layout, **filters})}",
                )
                for layout in PairFormat
            ],
        }
        for schema, meaning in SCHEMAS.items()
    ]


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
    rankings = list_rankings(
        session, project.id, filters, before_id=cursor or None, limit=PAGE_RANKINGS + 1
    )
    shown = rankings[:PAGE_RANKINGS]
    api_filters = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in filters.as_json().items()
    }
    return render(
        request,
        "pairs/page.html",
        {
            "project": project,
            "active": "pairs",
            "view": "rankings" if view == "rankings" else "pairs",
            "shown": [(ranking, list(ranking_pairs(ranking))) for ranking in shown],
            "counts": count_pairs(session, project.id, filters),
            "next_cursor": shown[-1].id if len(rankings) > PAGE_RANKINGS else "",
            "cursor": cursor,
            "values": form.values,
            "query": form.query,
            "flag_labels": known_flags(project),
            "filtered": bool(form.query),
            "rounds": list_rounds(session, project.id),
            "labelers": list_labelers(session, project.id),
            "models": list_completion_models(session, project.id),
            "exports": export_links(f"/api/v1/projects/{project.id}/pairs", api_filters),
            "rankings_url": f"/api/v1/projects/{project.id}/rankings?{urlencode(api_filters)}",
        },
    )


@router.get("/projects/{project_id}/pairs/export")
def show_export(project_id: str, user: Researcher, form: FiltersQuery) -> Response:
    """Where the downloads are: beside the filters, on the page of the pairs."""
    return redirect(f"/projects/{project_id}/pairs?{form.query}#export")


@router.get("/projects/{project_id}/snapshots")
def show_snapshots(
    request: Request, session: ReadSession, user: Researcher, project_id: str, cursor: str = ""
) -> HTMLResponse:
    """The project's snapshots, newest first."""
    context = _snapshots_context(session, user, project_id, cursor)
    return render(request, "snapshots/list.html", context)


def _snapshots_context(
    session: Session, user: User, project_id: str, cursor: str = ""
) -> dict[str, Any]:
    project = get_project(session, project_id, user)
    found = list_snapshots(session, project.id, before_id=cursor or None, limit=PAGE_SNAPSHOTS + 1)
    shown = found[:PAGE_SNAPSHOTS]
    return {
        "project": project,
        "active": "snapshots",
        "snapshots": shown,
        "revoked": count_revoked_by_snapshot(session, [snapshot.id for snapshot in shown]),
        "next_cursor": shown[-1].id if len(found) > PAGE_SNAPSHOTS else "",
        "cursor": cursor,
        "counts": count_pairs(session, project.id),
        "problem": None,
        "name": "",
    }


@router.post("/projects/{project_id}/snapshots")
def create(
    request: Request,
    database: AppDatabase,
    user: Admin,
    project_id: str,
    posted: FiltersPosted,
    name: Annotated[str, Form()] = "",
) -> Response:
    """Freeze the rankings that fit the filters and show the snapshot."""
    try:
        with database.read() as session:
            project = get_project(session, project_id, user)
        snapshot = freeze(database, user, project.id, name=name, filters=posted.as_filters())
    except AppError as error:
        if not error.fields:
            raise
        with database.read() as session:
            context = _snapshots_context(session, user, project_id)
        context |= {"problem": error.detail, "name": name}
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
    return render(
        request,
        "snapshots/show.html",
        {
            "project": project,
            "active": "snapshots",
            "snapshot": snapshot,
            "creator": creator,
            "filters": describe_filters(snapshot.filters, numbers),
            "models": list_snapshot_models(session, snapshot.id),
            "flag_labels": known_flags(project),
            "revoked": count_revoked(session, snapshot.id),
            "exports": export_links(f"/api/v1/snapshots/{snapshot.id}/pairs", {}),
            "shown": [
                (ranking, list(ranking_pairs(ranking)))
                for ranking in list_frozen_rankings(session, snapshot.id, limit=2)
            ],
        },
    )


def describe_filters(filters: Mapping[str, Any], round_numbers: Mapping[str, int]) -> list[str]:
    """A snapshot's filters in words."""
    words = []
    for name, value in filters.items():
        match name:
            case "round_id":
                words.append(f"round {round_numbers.get(value, value)}")
            case "simulated":
                words.append("simulated labelers only" if value else "people only")
            case "repeats":
                words.append("without repeats")
            case "purpose":
                words.append(f"{value} tasks only")
            case "created_after":
                words.append(f"ranked since {value[:10]}")
            case "created_before":
                words.append(f"ranked before {value[:10]}")
            case _:
                words.append(f"{name} {value}")
    return words
