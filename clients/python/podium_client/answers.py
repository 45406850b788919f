"""What REST answers, typed by the fields that a program reads; it may hold more than these."""

from typing import Any, TypedDict

Json = dict[str, Any]


class Project(TypedDict):
    """A body of work."""

    id: str
    name: str
    guidelines: str
    guidelines_version: int


class ImportReport(TypedDict):
    """What became of every line of an import."""

    created: int
    duplicates: int
    rejected: list[Json]
    rejected_total: int


class Round(TypedDict):
    """One pass of collecting."""

    id: str
    number: int
    state: str
    job_id: str | None
    counts: Json


class Snapshot(TypedDict):
    """A frozen set of rankings."""

    id: str
    project_id: str
    name: str
    filters: Json
    sha256: str
    rankings: int
    pairs: int
    splits: Json | None
    erased_rankings: int


class Job(TypedDict):
    """Background work."""

    id: str
    kind: str
    state: str
    progress: float
    stage: str
    eta_seconds: float | None
    reason: str | None
    outputs: Json


class Scores(TypedDict):
    """One entry for each completion in each list."""

    rewards: list[float]
    logits: list[dict[str, float]]
    probabilities: list[dict[str, float]]


class Assignment(TypedDict):
    """A task that is kept for you; `completions` are `{id, text}` in the order shown."""

    id: str
    task_id: str
    prompt: str | list[Json]
    completions: list[dict[str, str]]
    lease_expires_at: str


class Ranking(TypedDict):
    """A stored ranking."""

    id: str
    task_id: str
    ranks: dict[str, int]


class Rate(TypedDict):
    """A share with its 95% interval; `value` is None where nobody has ranked."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    prompts: int


class Evaluation(TypedDict):
    """What people say of a policy in a round; `docs/evaluation.md` says what each number is.

    `verdict` is `better`, `worse`, `open` or `nobody_asked`: by `win_rate` where the round is
    `through`, and by `always_valid`, which may be looked at after every ranking, until then.
    """

    round_id: str
    candidate: str
    baseline: str
    policies: list[str]
    verdict: str
    win_rate: Rate
    always_valid: Rate | None
    through: bool
    won: int
    tied: int
    lost: int
    simulated_rankings: int
    needed: list[Json]
    tellable_difference: float | None
    planned_difference: float | None
    length_corrected: Json | None
    reward_model: Json | None
    rewards_missing: int
    strengths: list[Json] | None
    unplaced: list[str]
    pair_rates: list[Json] | None
    labelers: list[Json]


class Promotion(TypedDict):
    """A policy was made the one to go on with; `evidence` is what was known then."""

    id: str
    model_id: str
    previous_model_id: str | None
    round_id: str | None
    evidence: Json
    note: str
    created_at: str
