"""The agreement page of a project: how far its labelers say the same, and what may bias them."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.dependencies import Admin, ReadSession
from app.errors import NotFound
from app.labeling.agreement import Agreement, LabelerPairAgreement, measure_project_agreement
from app.labeling.estimates import Estimate
from app.labeling.quality import ProjectQuality, measure_quality
from app.models import Round
from app.preferences.filters import PairFilters
from app.projects.rounds import list_rounds
from app.projects.service import get_project
from app.web.figures import agreement_figures, figure_of, labeler_href, trust_figures
from app.web.filters import plural
from app.web.people_table import LEAST_PAIRS
from app.web.plots import (
    ForestPlot,
    HeatMatrix,
    LinePlot,
    as_percent,
    leaves_out,
    lies_below,
    plot_forest,
    plot_matrix,
    plot_weeks,
)
from app.web.templating import render

router = APIRouter()

SIMULATED = {"": None, "only": True, "none": False}
MOST_IN_MATRIX = 16
MOST_PAIRS = 12
LEAST_SHARED_TASKS = 5
"""Two labelers with fewer tasks in common get a number and no shade."""
NO_PREFERENCE = 0.5
CONSENSUS = {
    "majority": "By how many others a majority puts below; a circle of equals is a tie.",
    "borda": "Completions by the mean of the places that labelers gave them.",
    "bradley-terry": "A strength for each completion, fitted to the task’s own pairs.",
}


def plot_pairs(agreement: Agreement) -> ForestPlot | None:
    """Two labelers in a row, those who agree least first; None where no two share enough."""
    enough = [pair for pair in agreement.labeler_pairs if pair.tasks >= LEAST_SHARED_TASKS]
    overall = agreement.pairwise_agreement.value
    if not enough or overall is None:
        return None
    below = sum(lies_below(pair.pairwise_agreement, overall) for pair in enough)
    return plot_forest(
        "pairs",
        "Who agrees least" if len(enough) > MOST_PAIRS else "Each two labelers",
        [
            (f"{pair.first} · {pair.second}", "", pair.pairwise_agreement)
            for pair in sorted(enough, key=_by_agreement)[:MOST_PAIRS]
        ],
        row_title="Labelers",
        noun="pair",
        finding=f"Of {plural(len(enough), 'pair of labelers', 'pairs of labelers')} with "
        f"{LEAST_SHARED_TASKS} or more tasks in common, "
        + (f"{below} agree" if below != 1 else "1 agrees")
        + f" clearly less than all together ({as_percent(overall)}).",
        reference=overall,
        reference_label="all together",
        bad_below=overall,
    )


def _by_agreement(pair: LabelerPairAgreement) -> float:
    value = pair.pairwise_agreement.value
    return 2.0 if value is None else value


def plot_everyone(agreement: Agreement, project_id: str) -> HeatMatrix | None:
    """The labelers with the most shared tasks against each other; None for fewer than three."""
    shared: dict[str, int] = {}
    for pair in agreement.labeler_pairs:
        for name in (pair.first, pair.second):
            shared[name] = shared.get(name, 0) + pair.tasks
    names = sorted(sorted(shared, key=lambda name: -shared[name])[:MOST_IN_MATRIX])
    if len(names) < 3:
        return None
    left_out = len(shared) - len(names)
    return plot_matrix(
        "everyone",
        "Everyone against everyone",
        [(name, labeler_href(project_id, name)) for name in names],
        {
            (pair.first, pair.second): pair.pairwise_agreement
            for pair in agreement.labeler_pairs
            if pair.first in names and pair.second in names
        },
        finding="Pairwise agreement, and below it the number of pairs of completions it is from."
        + (f" {left_out} labelers with fewer shared tasks are left out." if left_out else ""),
        noun="pair",
        least=LEAST_SHARED_TASKS * 3,
    )


def plot_positions(quality: ProjectQuality) -> ForestPlot | None:
    """How often the completion shown at each place wins its pairs."""
    if not quality.position_wins:
        return None
    off = [place for place, figure in quality.position_wins if leaves_out(figure, NO_PREFERENCE)]
    places = ", ".join(str(place) for place in off)
    return plot_forest(
        "positions",
        "Wins by place on the page",
        [(f"Place {place}", "", figure) for place, figure in quality.position_wins],
        row_title="Place",
        noun="pair",
        reference=NO_PREFERENCE,
        reference_label="50%",
        finding=f"Off 50%: place {places}. Orders are balanced, so pairs stay fair on average."
        if off
        else "Every place wins as often as it should: no sign that the order shown matters.",
    )


def plot_drift(quality: ProjectQuality) -> list[LinePlot]:
    """Agreement, gold accuracy and first-slot preference by week, where there is any."""
    series: Sequence[tuple[str, str, Callable[[Any], Estimate], float | None]] = (
        ("week-agreement", "Agreement by week", lambda week: week.agreement, None),
        ("week-gold", "Gold accuracy by week", lambda week: week.gold_accuracy, None),
        ("week-first", "First place wins, by week", lambda week: week.first_slot, NO_PREFERENCE),
    )
    return [
        plot_weeks(
            key,
            title,
            [(week.week, take(week)) for week in quality.weeks],
            noun="pair",
            least=LEAST_PAIRS,
            reference=reference,
        )
        for key, title, take, reference in series
        if any(take(week).value is not None for week in quality.weeks)
    ]


def _describe_first_slot(figure: Estimate) -> str:
    if figure.value is None:
        return ""
    if not leaves_out(figure, NO_PREFERENCE):
        return "Its interval holds 50%: no sign of a preference for what is shown first."
    liked = "preferred" if figure.value > NO_PREFERENCE else "passed over"
    return f"What is shown first is {liked} beyond chance."


def _find_round(rounds: Sequence[Round], round_id: str) -> Round | None:
    if not round_id:
        return None
    chosen = next((one for one in rounds if one.id == round_id), None)
    if chosen is None:
        raise NotFound("This project has no such round.", code="round_not_found")
    return chosen


@router.get("/projects/{project_id}/agreement")
def show_agreement(
    request: Request,
    session: ReadSession,
    admin: Admin,
    project_id: str,
    round_id: str = "",
    simulated: str = "",
) -> HTMLResponse:
    """Agreement with intervals, what can be trusted, who differs from whom, order effects, drift,
    and the consensus exports."""
    project = get_project(session, project_id, admin)
    rounds = list_rounds(session, project.id)
    chosen = _find_round(rounds, round_id)
    filters = PairFilters(
        round_id=chosen.id if chosen else None, simulated=SIMULATED.get(simulated)
    )
    agreement = measure_project_agreement(session, project.id, filters)
    quality = measure_quality(session, project.id, filters)
    api_filters = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in filters.as_json().items()
    }
    api = f"/api/v1/projects/{project.id}"
    consensus = [
        (method, meaning, f"{api}/consensus?{urlencode({'method': method, **api_filters})}")
        for method, meaning in CONSENSUS.items()
    ]
    return render(
        request,
        "agreement/page.html",
        {
            "project": project,
            "active": "agreement",
            "rounds": rounds,
            "values": {"round_id": round_id, "simulated": simulated},
            "filtered": bool(round_id or simulated),
            "agreement": agreement,
            "quality": quality,
            "figures": agreement_figures(agreement),
            "trust": trust_figures(quality),
            "pairs": plot_pairs(agreement),
            "everyone": plot_everyone(agreement, project.id),
            "positions": plot_positions(quality),
            "first_slot": figure_of(
                "First place wins",
                quality.first_slot,
                "pair",
                format_=as_percent,
                read=lambda _: _describe_first_slot(quality.first_slot),
                meaning="How often the completion shown first beats another, ties as half.",
                scale="50% is fair, however many completions there are.",
            ),
            "drift": plot_drift(quality),
            "consensus": consensus,
            "api_url": f"{api}/agreement" + (f"?{urlencode(api_filters)}" if api_filters else ""),
        },
    )
