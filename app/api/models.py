"""The registry over REST: list, register, look at lineage, and try models out."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.paging import Cursor, Limit, page_of
from app.api.problems import problems
from app.dependencies import Admin, AppDatabase, AppSettings, ReadSession, Researcher, WriteSession
from app.errors import Invalid
from app.generation.client import Sampling
from app.models import Model, ModelKind, ModelSource
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


class ModelOut(BaseModel):
    """An entry of the registry."""

    id: str = Field(description="Readable, never changed.", examples=["smollm2-135m-instruct"])
    name: str = Field(description="Its name for people.", examples=["SmolLM2 135M Instruct"])
    kind: str = Field(description="`policy`, `reward_model` or `encoder`.", examples=["policy"])
    source: str = Field(
        description="`starter`, `job`, `folder`, `hub` or `endpoint`.", examples=["starter"]
    )
    location: str = Field(
        description="Folder (relative to the data directory where inside it), hub id or base URL.",
        examples=["starters/smollm2-135m-instruct"],
    )
    served_name: str | None = Field(
        description="The model's name at its endpoint; null of others.", examples=[None]
    )
    positive_class: int | None = Field(
        description="Of a two-class reward model the number of the class that means preferred: 0 "
        "or 1; null of others.",
        examples=[None],
    )
    description: str = Field(
        description="What people should know of it.", examples=["A small chat model."]
    )
    project_id: str | None = Field(description="The project it was made in; null: every project's.")
    parent_id: str | None = Field(
        description="What it started from.", examples=["smollm2-135m-instruct"]
    )
    reward_model_id: str | None = Field(
        description="What it was tuned against.", examples=["reward-model-1"]
    )
    snapshot_id: str | None = Field(description="The frozen pairs behind it.")
    job_id: str | None = Field(description="The job that made it.")
    simulated_labels: bool = Field(
        description="Whether any ranking behind it, at any depth, is of a simulated labeler."
    )
    size_bytes: int | None = Field(
        description="Bytes of its files, where known.", examples=[269_060_552]
    )
    parameters: int | None = Field(
        description="How many parameters it has, where known.", examples=[134_515_008]
    )
    sha256: str | None = Field(
        description="SHA-256 of its weights, where known.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    metrics: dict[str, Any] = Field(
        description="A reward model's figures on held-out prompts; a policy's before and after.",
        examples=[{"accuracy": 0.71}],
    )
    created_at: datetime = Field(description="When it was registered, RFC 3339 in UTC.")
    archived_at: datetime | None = Field(description="When it was archived, or null.")


class ModelList(BaseModel):
    """Models, the newest first."""

    items: list[ModelOut] = Field(description="The models of this page.")
    next_cursor: str | None = Field(
        default=None, description="The `cursor` of the next page; null at the end."
    )


class AncestorOut(BaseModel):
    """A model with what it was made from, all the way up."""

    id: str = Field(description="Id of the model.", examples=["smollm2-135m-instruct"])
    kind: str = Field(description="`policy`, `reward_model` or `encoder`.", examples=["policy"])
    simulated_labels: bool = Field(
        description="Whether a simulated labeler made any ranking behind it."
    )
    snapshot_id: str | None = Field(description="The frozen pairs it was trained on.")
    job_id: str | None = Field(description="The job that made it.")
    told_above: bool = Field(
        description="Whether it stands in this ancestry before, where `parent` and `reward_model` "
        "are told; here they are null.",
        examples=[False],
    )
    parent: "AncestorOut | None" = Field(description="What it started from.", examples=[None])
    reward_model: "AncestorOut | None" = Field(
        description="What it was tuned against.", examples=[None]
    )


class LineageOut(BaseModel):
    """What a model was made from, and what used it."""

    ancestry: AncestorOut = Field(description="The model with what it was made from.")
    children: list[str] = Field(
        description="Ids of the models that started from it.", examples=[["ppo-policy-1"]]
    )
    tuned: list[str] = Field(description="Ids of the policies tuned against it.", examples=[[]])
    rounds: list[str] = Field(
        description="Ids of the rounds it wrote completions for.",
        examples=[["019a0c2044b14d6fa1b2c3d4e5f60718"]],
    )


class ModelWithLineage(ModelOut):
    """A model with its lineage."""

    lineage: LineageOut = Field(description="What it was made from, and what used it.")


class ModelIn(BaseModel):
    """A model made elsewhere."""

    model_config = ConfigDict(extra="forbid")

    source: ModelSource = Field(description="`folder`, `hub` or `endpoint`.", examples=["folder"])
    location: str = Field(
        min_length=1,
        max_length=2000,
        description="A folder on the server with config.json, *.safetensors and a tokenizer; a hub "
        "id; or the address of an OpenAI-compatible server.",
        examples=["/srv/models/my-policy"],
    )
    kind: ModelKind = Field(description="What it is used as.", examples=["policy"])
    name: str = Field(
        default="",
        max_length=200,
        description="Its name for people, of which its id is made; empty: made of the location.",
        examples=["My policy"],
    )
    served_name: str | None = Field(
        default=None,
        max_length=300,
        description="The model's name at its endpoint, where that serves several.",
        examples=[None],
    )
    positive_class: str = Field(
        default="",
        max_length=200,
        description="Of a two-class reward model the name or number of the class that means "
        "preferred; of a hub model its number. Empty for a model with one output.",
        examples=[""],
    )
    description: str = Field(
        default="",
        max_length=2000,
        description="What people should know of it.",
        examples=["Tuned on our own transcripts."],
    )


class ScoreIn(BaseModel):
    """Completions to be scored."""

    model_config = ConfigDict(extra="forbid")

    prompt: str | list[Message] = Field(
        description="Text, or messages with role and content.", examples=["Name a colour."]
    )
    completions: list[str] = Field(
        min_length=1,
        max_length=asking.MOST_SCORED,
        description="The completions, each scored on its own.",
        examples=[["Blue.", "Ten."]],
    )


class ClassValuesOut(BaseModel):
    """One number for each class; positive is the preferred one."""

    negative: float = Field(description="Of the class of what is not preferred.", examples=[0.2])
    positive: float = Field(description="Of the class of what is preferred.", examples=[0.8])


class ScoreOut(BaseModel):
    """One entry for each completion in each list."""

    rewards: list[float] = Field(
        description="Higher is better; 0 is the training average.", examples=[[1.3, -0.4]]
    )
    logits: list[ClassValuesOut] = Field(description="What the model computes for each class.")
    probabilities: list[ClassValuesOut] = Field(description="The softmax of the logits.")


class GenerateSampling(BaseModel):
    """How completions are drawn."""

    model_config = ConfigDict(extra="forbid")

    temperature: float = Field(
        default=0.8, ge=0, le=2, description="0 takes the likeliest token.", examples=[0.8]
    )
    top_p: float = Field(
        default=0.95,
        ge=0.01,
        le=1,
        description="Samples from the likeliest tokens that together have this probability.",
        examples=[0.95],
    )
    max_new_tokens: int = Field(
        default=48, ge=1, le=4096, description="Longest completion, in tokens.", examples=[48]
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="The same seed gives the same completions; null draws one.",
        examples=[7],
    )


class GenerateIn(BaseModel):
    """A prompt to complete."""

    model_config = ConfigDict(extra="forbid")

    prompt: str | list[Message] = Field(
        description="Text, or messages with role and content.", examples=["Name a colour."]
    )
    n: int = Field(
        default=1,
        ge=1,
        le=asking.MOST_COMPLETIONS,
        description="Completions wanted.",
        examples=[2],
    )
    sampling: GenerateSampling = Field(
        default_factory=GenerateSampling, description="How completions are drawn."
    )


class GeneratedOut(BaseModel):
    """One completion."""

    text: str = Field(description="The completion.", examples=["Blue."])
    finish_reason: str | None = Field(
        description="`stop`, or `length` where it was cut.", examples=["stop"]
    )


class GenerateOut(BaseModel):
    """The completions, as many as could be had."""

    completions: list[GeneratedOut] = Field(description="The completions.")


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
