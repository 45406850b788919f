"""What REST takes and gives of models."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.api.round_inputs import SamplingIn
from app.models import ModelKind, ModelSource
from app.projects.messages import Message
from app.registry import asking


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
    sampling: SamplingIn = Field(
        default_factory=SamplingIn, description="How completions are drawn."
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
