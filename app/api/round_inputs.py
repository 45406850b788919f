"""What REST takes of a round: how it is started, brought along and changed."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.models.projects import NORMAL_PRIORITY
from app.projects.round_changes import FIRST_PRIORITY, LAST_PRIORITY, MOST_LABELERS
from app.projects.rounds import MOST_COMPLETIONS


class SamplingIn(BaseModel):
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
        description="The same seed gives the same completions; null draws one. A round keeps it.",
        examples=[7],
    )


CalibrationShare = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="Share of the tasks, chosen at random, that every labeler is given besides "
        "the others; at least one task where it is above 0.",
        examples=[0.1],
    ),
]
Priority = Annotated[
    int,
    Field(
        ge=FIRST_PRIORITY,
        le=LAST_PRIORITY,
        description="Tasks of 1 are handed out first, those of 9 last; 5 is normal.",
        examples=[5],
    ),
]


class RoundIn(BaseModel):
    """A round to start."""

    model_config = ConfigDict(extra="forbid")

    policies: list[str] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_COMPLETIONS,
        description="Ids of the policies that write completions; null takes the promoted one, or "
        "the newest where nothing was promoted.",
        examples=[["smollm2-135m-instruct"]],
    )
    completions_per_prompt: int = Field(
        default=4,
        ge=2,
        le=MOST_COMPLETIONS,
        description="All completions of a prompt, dealt to the policies in turn: 4 of two "
        "policies are 2 and 2.",
        examples=[4],
    )
    sampling: SamplingIn = Field(default_factory=SamplingIn)
    labelers_per_task: int = Field(
        default=1,
        ge=1,
        le=MOST_LABELERS,
        description="How many people rank each task.",
        examples=[1],
    )
    prompt_limit: int | None = Field(
        default=None,
        ge=1,
        description="Take this many prompts, those with the fewest tasks so far first; null takes "
        "all.",
        examples=[20],
    )
    calibration_share: CalibrationShare = 0.0
    priority: Priority = NORMAL_PRIORITY


class RoundChange(BaseModel):
    """What to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    priority: Priority | None = Field(
        default=None,
        description="Of the round and of its tasks, but for those that came with one of their "
        "own: 1 first, 9 last.",
    )
    labelers_per_task: int | None = Field(
        default=None,
        ge=1,
        le=MOST_LABELERS,
        description="With more, complete tasks open again; with fewer, no task wants less than "
        "was ranked or leased already.",
        examples=[3],
    )
    calibration_share: CalibrationShare | None = Field(
        default=None,
        description="A larger share marks more tasks, a smaller one unmarks some; rankings stay.",
    )


class TasksIn(BaseModel):
    """Tasks whose completions were made elsewhere."""

    model_config = ConfigDict(extra="forbid")

    tasks: list[Any] = Field(
        description="`{prompt: text or messages, completions: [{text, model?}], priority?, gold?}` "
        "each, with 2 to 9 completions; `model` is the id of a registry model or any name. `gold`, "
        "the known rank of each completion, makes it a gold task at once.",
        examples=[
            [
                {
                    "prompt": "Name a colour.",
                    "completions": [{"text": "Blue.", "model": "mine"}, {"text": "Ten."}],
                    "gold": [1, 2],
                }
            ]
        ],
    )
    labelers_per_task: int = Field(
        default=1, ge=1, le=MOST_LABELERS, description="How many people rank each task."
    )
    calibration_share: CalibrationShare = 0.0
    priority: Priority = NORMAL_PRIORITY
