"""The registry over REST: list, register, look at lineage, and try models out."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.model_schemas import (
    AncestorOut,
    ClassValuesOut,
    GeneratedOut,
    GenerateIn,
    GenerateOut,
    LineageOut,
    ModelIn,
    ModelList,
    ModelOut,
    ModelWithLineage,
    ScoreIn,
    ScoreOut,
)
from app.api.paging import Cursor, Limit, page_of
from app.api.problems import problems
from app.dependencies import Admin, AppDatabase, AppSettings, ReadSession, Researcher, WriteSession
from app.errors import Invalid
from app.generation.client import Sampling
from app.models import Model, ModelKind
from app.projects.messages import Message, check_prompt
from app.projects.reading import RowError
from app.registry import asking
from app.registry.lineage import Ancestor, Lineage, get_lineage
from app.registry.registration import register_model
from app.registry.service import get_model, list_models

router = APIRouter(tags=["models"])

ASKED = problems(
    "invalid",
    "wrong_model_kind",
    "refused_by_model",
    "inference_unavailable",
    "model_files_missing",
    "unavailable",
)


@router.get("/models", summary="List models")
def list_all(
    session: ReadSession,
    _user: Researcher,
    kind: Annotated[ModelKind | None, Query(description="Only models of this kind.")] = None,
    project_id: Annotated[
        str | None, Query(description="Those of this project, and those that belong to none.")
    ] = None,
    include_archived: Annotated[bool, Query(description="Archived models too.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ModelList:
    """Models, the newest first; with a project, those made in it and those that belong to none."""
    models = list_models(session, kind, project_id, include_archived=include_archived)
    page, next_cursor = page_of(models, lambda model: model.id, limit, cursor)
    return ModelList(items=[describe(model) for model in page], next_cursor=next_cursor)


@router.post(
    "/models",
    status_code=201,
    summary="Register a model made elsewhere",
    responses=problems("invalid", "no_hub_access"),
)
def register(body: ModelIn, session: WriteSession, user: Admin, settings: AppSettings) -> ModelOut:
    """Take up a folder, a hub id or an endpoint, after looking whether it is such a model."""
    model = register_model(
        session,
        user,
        settings,
        kind=body.kind,
        source=body.source,
        location=body.location,
        name=body.name,
        served_name=body.served_name,
        positive_class=body.positive_class,
        description=body.description,
    )
    return describe(model)


@router.get("/models/{model_id}", summary="Look at a model")
def show(model_id: str, session: ReadSession, _user: Researcher) -> ModelWithLineage:
    """The model with its metrics, what it was made from and what used it."""
    model = get_model(session, model_id)
    lineage = describe_lineage(get_lineage(session, model))
    return ModelWithLineage(**describe(model).model_dump(), lineage=lineage)


@router.post("/models/{model_id}/score", summary="Score completions", responses=ASKED)
def score(
    model_id: str, body: ScoreIn, database: AppDatabase, _user: Researcher, settings: AppSettings
) -> ScoreOut:
    """What a reward model says of completions of one prompt."""
    messages = read_prompt(body.prompt)
    # No session is held while the model computes: that may take minutes.
    with database.read() as session:
        model = get_model(session, model_id)
    found = asking.score(settings, model, messages, body.completions)
    return ScoreOut(
        rewards=found.rewards,
        logits=[ClassValuesOut(**vars(values)) for values in found.logits],
        probabilities=[ClassValuesOut(**vars(values)) for values in found.probabilities],
    )


@router.post("/models/{model_id}/generate", summary="Generate completions", responses=ASKED)
def generate(
    model_id: str, body: GenerateIn, database: AppDatabase, _user: Researcher, settings: AppSettings
) -> GenerateOut:
    """What a policy writes."""
    messages = read_prompt(body.prompt)
    with database.read() as session:
        model = get_model(session, model_id)
    sampling = Sampling(
        temperature=body.sampling.temperature,
        top_p=body.sampling.top_p,
        max_new_tokens=body.sampling.max_new_tokens,
    )
    choices = asking.generate(settings, model, messages, body.n, sampling, body.sampling.seed)
    return GenerateOut(
        completions=[
            GeneratedOut(text=choice.text, finish_reason=choice.finish_reason) for choice in choices
        ]
    )


def read_prompt(value: Any) -> list[Message]:
    """The messages of a prompt.

    Raises:
        Invalid: neither text nor a conversation that a model can continue.
    """
    try:
        messages, _ = check_prompt(value)
    except RowError as error:
        raise Invalid(
            f"{error}.", fields={"prompt": "text, or messages ending with the user's"}
        ) from error
    return messages


def describe(model: Model) -> ModelOut:
    """A model as REST gives it."""
    return ModelOut.model_validate(model, from_attributes=True)


def describe_lineage(lineage: Lineage) -> LineageOut:
    """A lineage as REST gives it."""
    return LineageOut(
        ancestry=_describe_ancestor(lineage.ancestry),
        children=[model.id for model in lineage.children],
        tuned=[model.id for model in lineage.tuned],
        rounds=[round_.id for round_ in lineage.rounds],
    )


def _describe_ancestor(ancestor: Ancestor) -> AncestorOut:
    return AncestorOut(
        id=ancestor.model.id,
        kind=ancestor.model.kind,
        simulated_labels=ancestor.model.simulated_labels,
        snapshot_id=ancestor.model.snapshot_id,
        job_id=ancestor.model.job_id,
        told_above=ancestor.told_above,
        parent=_describe_ancestor(ancestor.parent) if ancestor.parent else None,
        reward_model=_describe_ancestor(ancestor.reward_model) if ancestor.reward_model else None,
    )
