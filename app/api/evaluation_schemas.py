"""What REST says of a round that compares policies, and of promotions."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.api.round_inputs import SamplingIn
from app.evaluation.promotion import LONGEST_NOTE
from app.projects.round_changes import MOST_LABELERS
from app.projects.rounds import MOST_COMPLETIONS

Low = Annotated[float | None, Field(description="Lower end of the 95% interval.", examples=[0.52])]
High = Annotated[float | None, Field(description="Upper end of the 95% interval.", examples=[0.77])]


class EvaluationIn(BaseModel):
    """How people are asked; everything may be left out."""

    model_config = ConfigDict(extra="forbid")

    prompts: int | None = Field(
        default=None,
        ge=1,
        description="How many of the held-out prompts; null takes 50, or all if fewer.",
        examples=[None],
    )
    labelers_per_task: int = Field(
        default=1,
        ge=1,
        le=MOST_LABELERS,
        description="How many people rank each prompt.",
        examples=[1],
    )
    completions_per_policy: int = Field(
        default=1,
        ge=1,
        le=MOST_COMPLETIONS // 2,
        description="Completions that each policy writes for a prompt.",
        examples=[1],
    )
    others: list[str] = Field(
        default_factory=list,
        max_length=MOST_COMPLETIONS - 2,
        description="Ids of further policies to rank beside the new one and its parent.",
        examples=[[]],
    )
    sampling: SamplingIn | None = Field(
        default=None,
        description="How completions are drawn; what is left out is as the job drew them.",
    )
    again: bool = Field(
        default=False,
        description="true opens another round where the job has one already.",
        examples=[False],
    )


class RateOut(BaseModel):
    """A share with its 95% interval, clustered by prompt."""

    model_config = ConfigDict(from_attributes=True)

    value: float | None = Field(
        description="The share, a tie being half; null where nobody has ranked.", examples=[0.65]
    )
    low: Low
    high: High
    n: int = Field(description="Rankings (pairs, for the reward model).", examples=[60])
    prompts: int = Field(description="Different prompts among them.", examples=[30])


class AlwaysValidOut(BaseModel):
    """The win rate with an interval that holds at every look at once: stop when you like."""

    model_config = ConfigDict(from_attributes=True)

    value: float = Field(
        description="The share, over the prompts that have all of their rankings.", examples=[0.65]
    )
    low: float = Field(
        description="Lower end: with a chance of 95% the truth is never below it, whenever "
        "anybody looks.",
        examples=[0.44],
    )
    high: float = Field(description="Upper end, likewise.", examples=[0.82])
    n: int = Field(description="Rankings behind it.", examples=[60])
    prompts: int = Field(description="Prompts that have all of their rankings.", examples=[30])


class NeededOut(BaseModel):
    """What it takes to tell a difference: 8 times of 10, at the 5% level."""

    model_config = ConfigDict(from_attributes=True)

    difference: float = Field(
        description="From an even split: 0.05 is 55% against 50%.", examples=[0.05]
    )
    rankings: int = Field(
        description="In all, at as many rankings of each prompt as now.", examples=[640]
    )
    more: int = Field(description="Those that are missing.", examples=[580])
    prompts: int = Field(description="Prompts that they spread over.", examples=[320])


class CorrectedOut(BaseModel):
    """The win rate if both policies wrote texts of one length."""

    model_config = ConfigDict(from_attributes=True)

    value: float = Field(description="The win rate at equal lengths.", examples=[0.58])
    low: Low
    high: High
    length_effect: float = Field(
        description="Logits that the tanh of one standard deviation more length is worth.",
        examples=[0.9],
    )
    mean_longer_by: float = Field(
        description="Characters by which the new texts are longer; negative: shorter.",
        examples=[41.5],
    )


class ModelAgreementOut(BaseModel):
    """The reward model beside the people, on exactly these pairs."""

    model_id: str = Field(description="Id of the reward model.", examples=["haiku-reward-model"])
    agreement: RateOut = Field(
        description="Of the pairs that a person decided, the share the model decides the same way."
    )
    tied_by_people: int = Field(
        description="Pairs that a person called equal, left out above.", examples=[7]
    )
    win_rate: RateOut = Field(
        description="Of all the pairs, the share in which the model prefers the new policy."
    )


class StrengthOut(BaseModel):
    """A policy's Bradley–Terry strength."""

    policy: str = Field(description="Id of the policy.", examples=["smollm2-135m-instruct-ppo"])
    strength: float = Field(
        description="0 for the old policy; differences are logits.", examples=[0.6]
    )
    low: Low
    high: High
    beats_baseline: float = Field(
        description="The chance to be ranked above the old policy.", examples=[0.65]
    )


class PairRateOut(BaseModel):
    """One of several policies against another one."""

    policy: str = Field(description="Id of the policy.", examples=["smollm2-135m-instruct-ppo"])
    over: str = Field(description="Id of the other one.", examples=["smollm2-135m-instruct"])
    win_rate: RateOut = Field(description="How often the first was ranked above the second.")


class LabelerVerdictOut(BaseModel):
    """What one labeler says of the new policy."""

    labeler: str = Field(description="The handle, or the imported name.", examples=["lena"])
    simulated: bool = Field(description="Whether a rule ranked.", examples=[False])
    won: int = Field(description="Rankings that the new policy won.", examples=[12])
    tied: int = Field(description="Ties.", examples=[3])
    lost: int = Field(description="Rankings that the old policy won.", examples=[5])
    win_rate: RateOut = Field(description="Of this labeler's rankings.")
    candidate_first: int = Field(
        description="How often the new policy's completion stood first.", examples=[10]
    )
    baseline_first: int = Field(
        description="How often the old policy's completion stood first.", examples=[10]
    )


class EvaluationOut(BaseModel):
    """A round that compares policies, measured."""

    round_id: str = Field(description="Id of the round.")
    round_number: int = Field(description="Its number in the project.", examples=[3])
    candidate: str = Field(
        description="The policy on trial.", examples=["smollm2-135m-instruct-ppo"]
    )
    baseline: str = Field(
        description="The policy that it must beat.", examples=["smollm2-135m-instruct"]
    )
    policies: list[str] = Field(
        description="All policies of the round.",
        examples=[["smollm2-135m-instruct", "smollm2-135m-instruct-ppo"]],
    )
    verdict: str = Field(
        description="`better` or `worse` where the whole interval is on one side of one half, "
        "`open` where it is not, `nobody_asked` before the first ranking. It goes by `win_rate` "
        "where the round is `through`, and by `always_valid` until then.",
        examples=["better"],
    )
    win_rate: RateOut = Field(description="How often the new policy was ranked above the old one.")
    always_valid: AlwaysValidOut | None = Field(
        description="The same with an interval that may be looked at after every ranking; null "
        "before a prompt has all of its rankings."
    )
    through: bool = Field(
        description="Whether all rankings are in that the round was to collect.", examples=[True]
    )
    won: int = Field(description="Rankings that the new policy won.", examples=[36])
    tied: int = Field(description="Ties.", examples=[6])
    lost: int = Field(description="Rankings that the old policy won.", examples=[18])
    simulated_rankings: int = Field(
        description="Of these, made by simulated labelers.", examples=[0]
    )
    needed: list[NeededOut] = Field(description="For 5, 10 and 15 points from an even split.")
    tellable_difference: float | None = Field(
        description="The difference that the rankings so far tell 8 times of 10; null without any.",
        examples=[0.18],
    )
    planned_difference: float | None = Field(
        description="The difference that all rankings of the round can be expected to tell.",
        examples=[0.2],
    )
    length_corrected: CorrectedOut | None = Field(description="null for fewer than three prompts.")
    reward_model: ModelAgreementOut | None = Field(
        description="null where no reward model scored a ranked pair."
    )
    rewards_missing: int = Field(
        description="Completions that the reward model gave nothing yet.", examples=[0]
    )
    strengths: list[StrengthOut] | None = Field(
        description="Of more than two policies; null for two, and before two prompts are ranked."
    )
    unplaced: list[str] = Field(
        description="Policies without a strength: nobody ranked them beside the others, not even "
        "by way of a third.",
        examples=[[]],
    )
    pair_rates: list[PairRateOut] | None = Field(
        description="Of more than two policies, each against each other; null for two."
    )
    labelers: list[LabelerVerdictOut] = Field(
        description="Everybody who ranked, who ranked most first."
    )
    candidate_first: int = Field(
        description="How often the new policy's completion stood first.", examples=[30]
    )
    baseline_first: int = Field(
        description="How often the old policy's completion stood first.", examples=[30]
    )
    first_won: RateOut = Field(description="How often what stood first won.")


class PromotionIn(BaseModel):
    """The policy to go on with."""

    model_config = ConfigDict(extra="forbid")

    model_id: str = Field(
        max_length=100, description="Id of the policy.", examples=["smollm2-135m-instruct"]
    )
    round_id: str | None = Field(
        default=None,
        max_length=32,
        description="The round in which people compared it, whose figures are kept as the "
        "evidence; null says that nobody was asked.",
        examples=[None],
    )
    note: str = Field(
        default="",
        max_length=LONGEST_NOTE,
        description="Why, for whoever reads the history.",
        examples=["Reads better, and is no longer."],
    )


class PromotionOut(BaseModel):
    """A policy was made the one that the project goes on with."""

    id: str = Field(description="Id of the promotion.")
    project_id: str = Field(description="Id of the project.")
    model_id: str = Field(description="The policy.", examples=["smollm2-135m-instruct-ppo"])
    previous_model_id: str | None = Field(
        description="The policy in force before; null for the first.",
        examples=["smollm2-135m-instruct"],
    )
    round_id: str | None = Field(description="The round that it rests on, or null.")
    evidence: dict[str, Any] = Field(
        description="What was known then: `asked`, and where people were asked `verdict`, "
        "`win_rate`, `low`, `high`, `through`, `always_valid`, `rankings`, `prompts`, `labelers`, "
        "`simulated_rankings`, `won`, `tied`, `lost`, `length_corrected` and `reward_model`. It "
        "never changes.",
        examples=[{"asked": True, "win_rate": 0.65, "low": 0.52, "high": 0.77, "rankings": 60}],
    )
    note: str = Field(description="Why.", examples=["Reads better, and is no longer."])
    created_at: datetime = Field(description="When, RFC 3339 in UTC.")
    created_by: str | None = Field(description="Id of the admin, or null.")


class PromotionList(BaseModel):
    """The promotions of a project, the newest first: the first is in force."""

    items: list[PromotionOut] = Field(description="The promotions of this page.")
    next_cursor: str | None = Field(
        default=None, description="The `cursor` of the next page; null at the end."
    )
