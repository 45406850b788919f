"""The filters that exports, counts and snapshots share, as REST takes them."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.models import Round
from app.preferences.filters import AbRounds, PairFilters
from app.preferences.formats import PairFormat, PairSchema, RankingFormat, RankingSchema


class FiltersIn(BaseModel):
    """Which rankings to take; a filter that is left out lets all pass."""

    model_config = ConfigDict(extra="forbid")

    round_id: str | None = Field(
        default=None,
        max_length=32,
        description="Rankings of this round.",
        examples=["019a0c1f7d3e4c5f8a9b0c1d2e3f4a5b"],
    )
    labeler: str | None = Field(
        default=None,
        max_length=200,
        description="Rankings by this labeler: the handle, or the name an import gave.",
        examples=["lena"],
    )
    model: str | None = Field(
        default=None,
        max_length=200,
        description="Rankings of tasks for which this model wrote a completion.",
        examples=["smollm2-135m-instruct"],
    )
    simulated: bool | None = Field(
        default=None,
        description="false leaves simulated labelers out, true takes nothing else.",
        examples=[False],
    )
    repeats: bool = Field(
        default=True,
        description="false leaves out what the same labeler ranked again.",
        examples=[True],
    )
    purpose: Literal["ordinary", "calibration", "gold"] | None = Field(
        default=None,
        description="Rankings of tasks that are `ordinary`, `calibration` (given to everybody) or "
        "`gold` (of a known order) now.",
        examples=["ordinary"],
    )
    ab_rounds: AbRounds = Field(
        default=AbRounds.INCLUDE,
        description="Rankings of A/B rounds, which judge a policy: `include`, `exclude` or `only`. "
        "A round that `round_id` names is taken whatever it is for.",
        examples=["include"],
    )
    created_after: datetime | None = Field(
        default=None,
        description="Rankings made at this moment or later, RFC 3339.",
        examples=["2026-11-01T00:00:00Z"],
    )
    created_before: datetime | None = Field(
        default=None,
        description="Rankings made before this moment, RFC 3339.",
        examples=["2026-12-01T00:00:00Z"],
    )
    tag: str | None = Field(
        default=None,
        max_length=100,
        description="Rankings of prompts that carry this tag.",
        examples=["coding"],
    )
    metadata: str | None = Field(
        default=None,
        max_length=500,
        description="Rankings of prompts whose metadata has this value, as `key=value`.",
        examples=["category=writing"],
    )
    flag: str | None = Field(
        default=None,
        max_length=100,
        description="Rankings in which some completion carries this flag.",
        examples=["harmful"],
    )
    without_flag: str | None = Field(
        default=None,
        max_length=100,
        description="Rankings in which no completion carries this flag.",
        examples=["harmful"],
    )
    min_agreement: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Rankings of tasks whose labelers agree on at least this share of completion "
        "pairs. A task that fewer than two labelers ranked has no agreement and is left out.",
        examples=[0.5],
    )
    max_agreement: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Rankings of tasks whose labelers agree on at most this share.",
        examples=[0.9],
    )
    min_length_difference: int | None = Field(
        default=None,
        ge=-10_000_000,
        le=10_000_000,
        description="Pairs whose chosen text is at least so many characters longer than the "
        "rejected one (negative: shorter). Selects among the pairs of a ranking.",
        examples=[0],
    )
    max_length_difference: int | None = Field(
        default=None,
        ge=-10_000_000,
        le=10_000_000,
        description="Pairs whose chosen text is at most so many characters longer; -1 leaves the "
        "pairs that the shorter text won.",
        examples=[-1],
    )


FiltersQuery = Annotated[FiltersIn, Query()]


class TrainingFilters(FiltersIn):
    """The same for what models learn from: rankings of A/B rounds are left out unless asked for."""

    ab_rounds: AbRounds = Field(
        default=AbRounds.EXCLUDE,
        description="Rankings of A/B rounds, which judge a policy: `exclude`, `include` or `only`. "
        "A model that learns from them is judged by its own exam. A round that `round_id` names is "
        "taken whatever it is for.",
        examples=["exclude"],
    )


TrainingFiltersQuery = Annotated[TrainingFilters, Query()]


class ExportQuery(TrainingFilters):
    """Filters, and how the pairs are written."""

    format: PairFormat = Field(
        default=PairFormat.JSONL,
        description="`jsonl`, `jsonl.zst` (Zstandard), `json` (one list), `csv` or `parquet`.",
        examples=["jsonl"],
    )
    schema_: PairSchema = Field(
        default=PairSchema.PLAIN,
        alias="schema",
        description="`plain` (everything), `trl` (prompt, chosen, rejected as text), "
        "`trl-conversational` (the same as messages; in CSV their JSON), `trl-unpaired` (prompt, "
        "completion, label), `hh` (transcripts), `argilla` (records) or `label-studio` (tasks).",
        examples=["trl"],
    )
    include_identical: bool = Field(
        default=False, description="Also pairs of two identical texts.", examples=[False]
    )


class RankingExportQuery(FiltersIn):
    """Filters, and how the rankings are written."""

    format: RankingFormat = Field(
        default=RankingFormat.JSONL,
        description="`jsonl`, `jsonl.zst` (Zstandard) or `parquet` (in which `metadata`, `origin` "
        "and `flag_labels` are JSON text, and every prompt is a list of messages).",
        examples=["jsonl"],
    )
    schema_: RankingSchema = Field(
        default=RankingSchema.PLAIN,
        alias="schema",
        description="`plain` (everything, in the shape that imports take) or `nectar` (a prompt "
        "with its answers and their ranks).",
        examples=["plain"],
    )


def checked_filters(session: Session, project_id: str, given: FiltersIn) -> PairFilters:
    """The filters as the services take them; Invalid names a round of another project."""
    values: dict[str, Any] = {
        name: getattr(given, name) for name in PairFilters.__dataclass_fields__
    }
    for name in ("created_after", "created_before"):
        moment = values[name]
        if moment is not None and moment.tzinfo is None:
            values[name] = moment.replace(tzinfo=UTC)
    filters = PairFilters(**values)
    if filters.round_id is not None:
        found = select(Round.id).where(Round.id == filters.round_id, Round.project_id == project_id)
        if session.scalar(found) is None:
            raise Invalid(
                "This project has no such round.",
                fields={"round_id": "the id of a round of this project"},
            )
    return filters
