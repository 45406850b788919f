"""Pages of the registry: the list, one model with its lineage, trying it out, registering one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.dependencies import Admin, AppDatabase, AppSettings, ReadSession, Researcher, WriteSession
from app.errors import AppError, Invalid
from app.evaluation.promotion import find_promotion
from app.generation.client import Choice, Sampling
from app.models import Model, ModelKind, ModelSource, Project, User
from app.preferences.snapshots import count_revoked_by_snapshot
from app.projects.messages import plain_messages
from app.projects.rounds import check_sampling
from app.projects.service import get_project
from app.registry import asking
from app.registry.labelers import get_model_labelers
from app.registry.lineage import get_lineage
from app.registry.registration import register_model
from app.registry.service import (
    archive_model,
    find_folder,
    get_model,
    list_models,
    restore_model,
)
from app.registry.weights import FolderFile, count_parameters, list_files, weight_files
from app.settings import Settings
from app.web.forms import FormFields, text_of, texts_of
from app.web.job_results import list_figures, pair_samples
from app.web.reward_meaning import describe_reward
from app.web.reward_words import HEADLINES, summarise_report
from app.web.sampling import read_sampling, sampling_defaults
from app.web.teaching import list_teachers
from app.web.templating import redirect_with_message, render
from app.web.verdicts import describe_verdicts

router = APIRouter()

KIND_TITLES = {
    ModelKind.POLICY: "Policy",
    ModelKind.REWARD_MODEL: "Reward model",
    ModelKind.ENCODER: "Encoder",
}
KIND_COLORS = {
    ModelKind.POLICY: "teal",
    ModelKind.REWARD_MODEL: "orange",
    ModelKind.ENCODER: "indigo",
}
KIND_ICONS = {
    ModelKind.POLICY: "message-2",
    ModelKind.REWARD_MODEL: "scale",
    ModelKind.ENCODER: "vector",
}
SOURCES = {
    ModelSource.FOLDER: "Folder on the server",
    ModelSource.HUB: "Hugging Face hub",
    ModelSource.ENDPOINT: "OpenAI-compatible endpoint",
}
SCORED_FIELDS = 4
"""Text boxes of the score form."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One completion with what the reward model says of it."""

    text: str
    reward: float
    rank: int
    logits: asking.ClassValues
    probabilities: asking.ClassValues


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What somebody tried on a model's page, and what came of it."""

    prompt: str = ""
    texts: list[str] = field(default_factory=list)
    values: Mapping[str, str] = field(default_factory=dict)
    scored: list[Scored] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    error: AppError | None = None


@router.get("/models")
def show_models(
    request: Request,
    session: ReadSession,
    user: Researcher,
    project: str = "",
    kind: ModelKind | None = None,
    archived: bool = False,
) -> HTMLResponse:
    """The registry, the newest model first; with a project, what can be used in it."""
    chosen = get_project(session, project, user) if project else None
    models = list_models(session, kind, project or None, include_archived=archived)
    promotion = find_promotion(session, chosen.id) if chosen else None
    return render(
        request,
        "models/list.html",
        {
            "project": chosen,
            "models": models,
            "kind": kind,
            "archived": archived,
            "promoted": promotion.model_id if promotion else None,
            "titles": KIND_TITLES,
            "colors": KIND_COLORS,
            "icons": KIND_ICONS,
        },
    )


@router.get("/models/new")
def show_register(request: Request, user: Admin, source: ModelSource | None = None) -> HTMLResponse:
    """The form that takes up a model made elsewhere."""
    return _render_register(request, {"source": source or ModelSource.FOLDER})


@router.post("/models")
def register(
    request: Request, database: AppDatabase, user: Admin, settings: AppSettings, form: FormFields
) -> Response:
    """Take the model up, or show the form again with what is wrong."""
    values = {name: value for name, value in form.items() if isinstance(value, str)}
    try:
        with database.write() as session:
            model = register_model(
                session,
                user,
                settings,
                kind=_member(ModelKind, values, "kind"),
                source=_member(ModelSource, values, "source"),
                location=values.get("location", ""),
                name=values.get("name", "").strip()[:200],
                served_name=values.get("served_name", "").strip() or None,
                description=values.get("description", ""),
                positive_class=values.get("positive_class", ""),
            )
    except AppError as error:
        return _render_register(request, values, error)
    return redirect_with_message(f"/models/{model.id}", f"{model.id} is in the registry.")


@router.get("/models/{model_id}")
def show_model(
    request: Request, model_id: str, session: ReadSession, user: Researcher, settings: AppSettings
) -> HTMLResponse:
    """One model: figures, lineage, files, and forms to try it."""
    return _render_model(request, session, get_model(session, model_id), user, settings, Trial())


@router.post("/models/{model_id}/score")
def score(
    request: Request,
    model_id: str,
    database: AppDatabase,
    user: Researcher,
    settings: AppSettings,
    form: FormFields,
) -> HTMLResponse:
    """Score completions of a prompt and show them on the model's page, best first."""
    prompt, texts = text_of(form, "prompt"), texts_of(form, "completion")
    given = [text for text in texts if text.strip()]
    with database.read() as session:
        model = get_model(session, model_id)
    try:
        _require(prompt, "prompt", "A prompt is needed.")
        _require(given, "completion", "At least one completion is needed.")
        # No session is held while the model computes: that may take minutes.
        found = asking.score(settings, model, plain_messages(prompt), given)
        trial = Trial(prompt=prompt, texts=texts, scored=_rank(given, found))
    except AppError as error:
        trial = Trial(prompt=prompt, texts=texts, error=error)
    with database.read() as session:
        return _render_model(request, session, model, user, settings, trial)


@router.post("/models/{model_id}/generate")
def generate(
    request: Request,
    model_id: str,
    database: AppDatabase,
    user: Researcher,
    settings: AppSettings,
    form: FormFields,
) -> HTMLResponse:
    """Generate completions of a prompt and show them on the model's page."""
    prompt = text_of(form, "prompt")
    values = {name: text_of(form, name) for name in ("n", *sampling_defaults())}
    with database.read() as session:
        model = get_model(session, model_id)
    try:
        _require(prompt, "prompt", "A prompt is needed.")
        n, sampling, seed = _read_sampling(values)
        choices = asking.generate(settings, model, plain_messages(prompt), n, sampling, seed)
        trial = Trial(prompt=prompt, values=values, choices=choices)
    except AppError as error:
        trial = Trial(prompt=prompt, values=values, error=error)
    with database.read() as session:
        return _render_model(request, session, model, user, settings, trial)


@router.post("/models/{model_id}/archive")
def archive(model_id: str, session: WriteSession, user: Admin) -> Response:
    """Take the model out of lists and choices; nothing is deleted."""
    archive_model(session, user, get_model(session, model_id))
    return redirect_with_message(f"/models/{model_id}", "The model is archived.")


@router.post("/models/{model_id}/restore")
def restore(model_id: str, session: WriteSession, user: Admin) -> Response:
    """Put the model back into lists and choices."""
    restore_model(session, user, get_model(session, model_id))
    return redirect_with_message(f"/models/{model_id}", "The model is back.")


def _render_model(
    request: Request, session: Session, model: Model, user: User, settings: Settings, trial: Trial
) -> HTMLResponse:
    project = session.get(Project, model.project_id) if model.project_id else None
    before, after = model.metrics.get("before"), model.metrics.get("after")
    plain = {
        name: value for name, value in model.metrics.items() if name not in ("before", "after")
    }
    compared = isinstance(before, Mapping) and isinstance(after, Mapping)
    if model.kind == ModelKind.REWARD_MODEL:
        plain = {name: value for name, value in plain.items() if name in HEADLINES}
    figures = list_figures(after or {}, before) if compared else list_figures(plain)
    folder = find_folder(settings, model)
    files: list[FolderFile] = list_files(folder) if folder else []
    lineage = get_lineage(session, model)
    taught = get_model_labelers(session, model)
    behind = taught.snapshots
    revoked = count_revoked_by_snapshot(session, [snapshot.id for snapshot in behind])
    return render(
        request,
        "models/page.html",
        {
            "project": project,
            "model": model,
            "kind": ModelKind(model.kind),
            "titles": KIND_TITLES,
            "colors": KIND_COLORS,
            "icons": KIND_ICONS,
            "lineage": lineage,
            "revoked": [(one, revoked[one.id]) for one in behind if one.id in revoked],
            "taught": taught,
            "teachers": list_teachers(taught, user),
            "figures": figures,
            "compared": compared,
            "report": summarise_report(model),
            "reward": describe_reward(model, folder),
            "wins": list_figures(model.metrics.get("comparison") or {}),
            "judge": model.reward_model_id or model.metrics.get("judge"),
            "measured_prompts": (after or {}).get("prompts") if compared else None,
            "compared_samples": pair_samples(model.metrics.get("samples")),
            **describe_verdicts(session, model),
            "folder": folder,
            "parameters": model.parameters or _count_parameters(folder),
            "files": files,
            "trial": trial,
            "values": {"n": "4", **sampling_defaults(), **trial.values},
            "scored_fields": max(SCORED_FIELDS, len(trial.texts)),
        },
        status_code=trial.error.status if trial.error else 200,
    )


def _count_parameters(folder: Path | None) -> int | None:
    """By the headers of the weights, which is quick; None where they are not here or broken."""
    if folder is None:
        return None
    try:
        return sum(count_parameters(path) for path in weight_files(folder))
    except Invalid:
        return None


def _render_register(
    request: Request, values: Mapping[str, str], error: AppError | None = None
) -> HTMLResponse:
    return render(
        request,
        "models/new.html",
        {"values": values, "error": error, "sources": SOURCES, "kinds": KIND_TITLES},
        status_code=error.status if error else 200,
    )


def _member(kind: Any, values: Mapping[str, str], name: str) -> Any:
    """The member of a `StrEnum` that a form's field names."""
    try:
        return kind(values.get(name, ""))
    except ValueError as error:
        accepted = ", ".join(kind)
        raise Invalid(f"Choose a {name}.", fields={name: f"one of {accepted}"}) from error


def _require(value: object, name: str, sentence: str) -> None:
    if not value or (isinstance(value, str) and not value.strip()):
        raise Invalid(sentence, fields={name: sentence})


def _rank(texts: list[str], found: asking.Scores) -> list[Scored]:
    """Completions, best first, with the place of each."""
    best_first = sorted(range(len(texts)), key=lambda index: -found.rewards[index])
    return [
        Scored(
            text=texts[index],
            reward=found.rewards[index],
            rank=1 + sum(reward > found.rewards[index] for reward in found.rewards),
            logits=found.logits[index],
            probabilities=found.probabilities[index],
        )
        for index in best_first
    ]


def _read_sampling(values: Mapping[str, str]) -> tuple[int, Sampling, int | None]:
    """How many completions, how they are drawn, and the seed; Invalid names what is wrong."""
    count = values["n"].strip()
    n = int(count) if count.isdecimal() and len(count) < 4 else 0
    if not 1 <= n <= asking.MOST_COMPLETIONS:
        accepted = f"from 1 to {asking.MOST_COMPLETIONS}"
        raise Invalid(f"Completions must be {accepted}.", fields={"n": accepted})
    checked = check_sampling(read_sampling(values), prefix="")
    sampling = Sampling(
        temperature=checked["temperature"],
        top_p=checked["top_p"],
        max_new_tokens=checked["max_new_tokens"],
    )
    return n, sampling, checked["seed"]
