"""The form of a new round, with what its values would come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.dependencies import Admin, AppDatabase, ReadSession
from app.errors import AppError
from app.evaluation.promotion import default_policy, find_promotion
from app.generation.estimate import SECONDS_PER_TOKEN, measured_seconds_per_token
from app.models import Model, ModelKind, Project, Prompt
from app.models.projects import NORMAL_PRIORITY
from app.projects.round_changes import LAST_PRIORITY, MOST_LABELERS
from app.projects.rounds import MOST_COMPLETIONS, create_round
from app.projects.service import get_project
from app.registry.service import list_models
from app.web.forms import FormFields, read_percent, read_whole, texts_of
from app.web.sampling import read_sampling, sampling_defaults, sampling_fields
from app.web.templating import redirect_with_message, render

router = APIRouter()

NUMBERS = ("completions_per_prompt", "labelers_per_task", "prompt_limit", "priority")
DEFAULTS = {
    "completions_per_prompt": "4",
    "labelers_per_task": "1",
    "prompt_limit": "",
    "calibration_percent": "0",
    "priority": str(NORMAL_PRIORITY),
}
PRIORITIES = [
    (
        str(number),
        {1: "1, first", NORMAL_PRIORITY: f"{number}, normal", LAST_PRIORITY: f"{number}, last"}.get(
            number, str(number)
        ),
    )
    for number in range(1, LAST_PRIORITY + 1)
]


@dataclass(frozen=True)
class PolicyChoice:
    """A policy that a round may ask."""

    model: Model
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a round of the values in the form would make, and how long that would take."""

    prompts: int
    completions: int
    rankings: int
    calibration: int
    """Tasks that every labeler ranks besides."""
    seconds: float
    measured: bool
    """By earlier rounds here, and not by the starter policy elsewhere."""


@router.get("/projects/{project_id}/rounds/new")
def show_new_round(
    request: Request, project_id: str, session: ReadSession, user: Admin
) -> HTMLResponse:
    """The form of a new round; `policies` in the address are ticked already."""
    project = get_project(session, project_id, user)
    values = {name: value for name, value in request.query_params.items() if name != "policies"}
    named = request.query_params.getlist("policies")
    chosen = [policy for value in named for policy in value.split(",") if policy]
    return _render_form(request, session, project, values, chosen)


@router.post("/projects/{project_id}/rounds")
def start_round(
    request: Request, project_id: str, database: AppDatabase, user: Admin, form: FormFields
) -> Response:
    """Start the round, or show the form again with what is wrong."""
    values = {name: value for name, value in form.items() if isinstance(value, str)}
    chosen = texts_of(form, "policies")
    try:
        with database.write() as session:
            project = get_project(session, project_id, user)
            round_ = create_round(
                session,
                user,
                project,
                policies=chosen,
                sampling=read_sampling(values),
                calibration_share=read_percent(
                    "calibration_percent", values.get("calibration_percent", ""), most=100
                )
                or 0.0,
                **_read_numbers(values),
            )
    except AppError as error:
        if not error.fields and error.status != 409:
            raise
        with database.read() as session:
            project = get_project(session, project_id, user)
            return _render_form(request, session, project, values, chosen, error)
    return redirect_with_message(f"/rounds/{round_.id}", f"Round {round_.number} has started.")


@router.get("/projects/{project_id}/rounds/estimate")
def show_estimate(
    request: Request, project_id: str, session: ReadSession, user: Admin
) -> HTMLResponse:
    """The estimate for the values in the form."""
    project = get_project(session, project_id, user)
    estimate = _estimate(session, project, {**_default_values(), **request.query_params})
    return render(request, "rounds/_estimate.html", {"estimate": estimate, "project": project})


def _render_form(
    request: Request,
    session: Session,
    project: Project,
    given: Mapping[str, str],
    chosen: Sequence[str],
    error: AppError | None = None,
) -> HTMLResponse:
    models = list_models(session, ModelKind.POLICY, project.id)
    promotion = find_promotion(session, project.id)
    default = default_policy(session, project.id)
    if not chosen and error is None and default is not None:
        chosen = [default.id]
    values = {**_default_values(), **given}
    return render(
        request,
        "rounds/new.html",
        {
            "project": project,
            "promoted": promotion.model_id if promotion else None,
            "policies": [PolicyChoice(model, model.id in chosen) for model in models],
            "values": values,
            "sampling_fields": sampling_fields(),
            "error": error,
            "most_completions": MOST_COMPLETIONS,
            "most_labelers": MOST_LABELERS,
            "priorities": PRIORITIES,
            "prompts": _count_prompts(session, project),
            "estimate": _estimate(session, project, values),
        },
        status_code=error.status if error else 200,
    )


def _default_values() -> dict[str, str]:
    return {**DEFAULTS, **sampling_defaults()}


def _read_numbers(values: Mapping[str, str]) -> dict[str, Any]:
    """The whole numbers of the form; what is none is 0, which the service refuses by name."""
    numbers: dict[str, Any] = {}
    for name in NUMBERS:
        text = values.get(name, "").strip()
        if not text and name == "prompt_limit":
            numbers[name] = None
        elif not text and name == "priority":
            numbers[name] = NORMAL_PRIORITY
        else:
            numbers[name] = read_whole(text)
    return numbers


def _estimate(session: Session, project: Project, values: Mapping[str, str]) -> Estimate:
    numbers = _read_numbers(values)
    prompts = _count_prompts(session, project)
    if numbers["prompt_limit"]:
        prompts = min(prompts, numbers["prompt_limit"])
    completions = prompts * min(numbers["completions_per_prompt"], MOST_COMPLETIONS)
    tokens = read_sampling(values).get("max_new_tokens", 0)
    tokens = tokens if isinstance(tokens, int) else 0
    measured = measured_seconds_per_token(session)
    share = _share_or_none(values.get("calibration_percent", ""))
    return Estimate(
        prompts=prompts,
        completions=completions,
        rankings=prompts * min(numbers["labelers_per_task"], MOST_LABELERS),
        calibration=min(prompts, max(1, round(share * prompts))) if share else 0,
        seconds=completions * tokens * (measured or SECONDS_PER_TOKEN),
        measured=measured is not None,
    )


def _share_or_none(text: str) -> float | None:
    try:
        return read_percent("calibration_percent", text, most=100)
    except AppError:
        return None


def _count_prompts(session: Session, project: Project) -> int:
    return session.scalar(select(func.count()).where(Prompt.project_id == project.id)) or 0
