"""The page of a reward model's report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.dependencies import ReadSession, Researcher
from app.errors import NotFound
from app.models import ModelKind, Ranking, RankingSource, Round, User
from app.projects.service import get_project
from app.registry.service import get_model
from app.web.reward_plots import (
    MOST_ROWS,
    Named,
    lengths_note,
    plot_distances,
    plot_floors,
    plot_lengths,
    plot_parts,
    plot_rewards,
    plot_sureness,
)
from app.web.reward_words import (
    Metrics,
    read_share,
    report_figures,
    summarise_report,
)
from app.web.teaching import labeler_link
from app.web.templating import render

router = APIRouter()

ERASED = "erased since"


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A pair that the model orders the other way than the labeler."""

    prompt: str
    chosen: str
    rejected: str
    margin: float
    ranking_id: str
    labeler: str
    simulated: bool
    revoked: bool


@router.get("/models/{model_id}/report")
def show_report(
    request: Request, model_id: str, session: ReadSession, user: Researcher
) -> HTMLResponse:
    """What a reward model's training measured on held-out rankings."""
    model = get_model(session, model_id)
    if model.kind != ModelKind.REWARD_MODEL:
        raise NotFound("Only reward models have a report.")
    project = get_project(session, model.project_id, user) if model.project_id else None
    metrics = model.metrics
    rankings = _find_rankings(session, metrics)
    mistakes = _list_mistakes(metrics, rankings)
    overall = read_share(metrics).value
    labelers = _name_labelers(metrics, rankings, user)
    rounds = _name_rounds(session, metrics)
    return render(
        request,
        "models/report.html",
        {
            "model": model,
            "project": project,
            "metrics": metrics,
            "trained_here": "eval_pairs" in metrics,
            "whole": "by_rank_distance" in metrics,
            "summary": summarise_report(model),
            "figures": report_figures(metrics),
            "floors": plot_floors(metrics),
            "distances": plot_distances(metrics),
            "rounds": plot_parts("rounds", "By round", "Round", rounds, overall),
            "labelers": plot_parts("labelers", "By labeler", "Labeler", labelers, overall),
            "left_out": {"rounds": len(rounds) - MOST_ROWS, "labelers": len(labelers) - MOST_ROWS},
            "lengths": plot_lengths(metrics),
            "lengths_note": lengths_note(metrics),
            "calibration": plot_sureness(metrics),
            "rewards": plot_rewards(metrics),
            "mistakes": mistakes,
            "forgotten": len(metrics.get("worst_mistakes") or []) - len(mistakes),
        },
    )


def _rows(metrics: Metrics, name: str) -> Sequence[Mapping[str, Any]]:
    return metrics.get(name) or []


def _find_rankings(session: Session, metrics: Metrics) -> dict[str, Ranking]:
    """The rankings that the report names, by id: those that are left and still say something."""
    ids = {
        row.get("ranking_id")
        for name in ("by_labeler", "worst_mistakes")
        for row in _rows(metrics, name)
    }
    found = session.scalars(select(Ranking).where(Ranking.id.in_(ids - {None})))
    return {ranking.id: ranking for ranking in found if ranking.erased_at is None}


def _name_labelers(metrics: Metrics, rankings: Mapping[str, Ranking], user: User) -> list[Named]:
    """Each labeler of the report; of one whose data had to go nothing but the figures."""
    named = []
    for row in _rows(metrics, "by_labeler"):
        ranking = rankings.get(row["ranking_id"])
        label, href = ERASED, ""
        if ranking is not None:
            simulated = ranking.source == RankingSource.SIMULATED
            label = f"{ranking.labeler} (simulated)" if simulated else ranking.labeler
            href = labeler_link(user, ranking.project_id, ranking.labeler)
        named.append(Named(label=label, href=href, share=read_share(row)))
    return named


def _name_rounds(session: Session, metrics: Metrics) -> list[Named]:
    rows = _rows(metrics, "by_round")
    numbers = {
        row.id: row.number
        for row in session.execute(
            select(Round.id, Round.number).where(Round.id.in_([row["round_id"] for row in rows]))
        )
    }
    return [
        Named(
            label=f"Round {numbers[row['round_id']]}" if row["round_id"] in numbers else "deleted",
            href=f"/rounds/{row['round_id']}" if row["round_id"] in numbers else "",
            share=read_share(row),
        )
        for row in rows
    ]


def _list_mistakes(metrics: Metrics, rankings: Mapping[str, Ranking]) -> list[Mistake]:
    """The worst mistakes, but for those whose ranking is gone: what it said is nobody's to read."""
    shown = []
    for row in _rows(metrics, "worst_mistakes"):
        ranking = rankings.get(row["ranking_id"])
        if ranking is None:
            continue
        shown.append(
            Mistake(
                prompt=row["prompt"],
                chosen=row["chosen"],
                rejected=row["rejected"],
                margin=row["margin"],
                ranking_id=ranking.id,
                labeler=ranking.labeler,
                simulated=ranking.source == RankingSource.SIMULATED,
                revoked=ranking.revoked_at is not None,
            )
        )
    return shown
