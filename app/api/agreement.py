"""How far labelers agree, and what they come to together, over REST."""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app.api.pair_filters import FiltersIn, FiltersQuery, checked_filters
from app.db import Database
from app.dependencies import Admin, AppDatabase, ReadSession, Researcher
from app.labeling.aggregation import ConsensusMethod
from app.labeling.agreement import measure_project_agreement
from app.labeling.consensus import consensus_row, iter_consensus
from app.preferences.filters import PairFilters
from app.preferences.formats import jsonl_bytes
from app.projects.service import get_project

router = APIRouter(tags=["agreement"])

EXAMPLE_LINE = (
    '{"ranking_id": null, "task_id": "019a0c1f7d3e4c5f8a9b0c1d2e3f4a5b", "round": 1, '
    '"prompt": "Why is the sky blue?", "completions": [{"id": "a1", "text": "It is not.", '
    '"model": "a"}, {"id": "b2", "text": "Air scatters blue light most.", "model": "b"}], '
    '"ranks": [2, 1], "labeler": "consensus-majority", "scores": [0.0, 1.0], "labelers": 3, '
    '"agreement": 1.0}\n'
)
ERRORS: dict[int | str, dict[str, Any]] = {
    422: {"description": "`invalid`: a filter that is not understood, or a round elsewhere."},
}
CONSENSUS_STREAM: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    200: {
        "description": "One task a line, in the shape of an exported ranking; beside it `scores` "
        "(what the completions were ordered by), `labelers` (how many ranked the task) and "
        "`agreement` (the share of completion pairs on which two of them say the same; null for "
        "one alone).",
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}, "example": EXAMPLE_LINE}
        },
    },
}


class EstimateOut(BaseModel):
    """A figure with its 95% interval (percentile bootstrap over tasks, 1,000 resamples)."""

    model_config = ConfigDict(from_attributes=True)

    value: float | None = Field(
        description="The figure; null where there is nothing to compute it from.", examples=[0.72]
    )
    low: float | None = Field(
        description="Lower end of the interval; null for fewer than two tasks.", examples=[0.68]
    )
    high: float | None = Field(
        description="Upper end of the interval; null for fewer than two tasks.", examples=[0.76]
    )
    n: int = Field(description="Of how many things it is, see each figure.", examples=[480])


class LabelerPairOut(BaseModel):
    """Two labelers on the tasks that both ranked."""

    model_config = ConfigDict(from_attributes=True)

    first: str = Field(description="A labeler, by name before the other.", examples=["lena"])
    second: str = Field(description="The other.", examples=["mo"])
    tasks: int = Field(description="Tasks that both ranked.", examples=[40])
    pairwise_agreement: EstimateOut = Field(
        description="Share of completion pairs on which they say the same of better, equal, "
        "worse; n = completion pairs."
    )
    cohen_kappa: EstimateOut = Field(
        description="The same beyond chance, each pair in both orientations; n = completion pairs."
    )
    kendall_tau_b: EstimateOut = Field(
        description="Mean over tasks, −1 for an exact reversal; n = tasks where neither ties all."
    )


class AgreementOut(BaseModel):
    """How far labelers agree. A labeler's repeats are no second opinion and stay out."""

    model_config = ConfigDict(from_attributes=True)

    tasks: int = Field(description="Tasks ranked by at least two labelers.", examples=[120])
    labelers: int = Field(description="Labelers with a ranking among them.", examples=[3])
    rankings: int = Field(description="Rankings that fit the filters.", examples=[360])
    simulated_rankings: int = Field(description="Of those, by simulated labelers.", examples=[0])
    pairwise_agreement: EstimateOut = Field(
        description="Share of completion pairs on which two labelers say the same of better, "
        "equal, worse, over all labeler pairs and tasks; n = completion pairs, each once for "
        "every labeler pair."
    )
    kendall_tau_b: EstimateOut = Field(
        description="Kendall's tau-b, mean over labeler pairs and tasks; n = labeler pairs, "
        "summed over tasks."
    )
    tau_b_undefined: int = Field(
        description="Labeler pairs, summed over tasks, left out because one ties all.",
        examples=[0],
    )
    kendall_w: EstimateOut = Field(
        description="Kendall's W, corrected for ties, mean over tasks; n = tasks."
    )
    w_undefined: int = Field(
        description="Tasks left out: everybody ties all, or fewer than two completions were "
        "ranked by all.",
        examples=[0],
    )
    krippendorff_alpha: EstimateOut = Field(
        description="Krippendorff's alpha, ordinal, completions as units and ranks as values; "
        "n = completions with at least two ranks."
    )
    labeler_pairs: list[LabelerPairOut] = Field(
        description="Every two labelers with a task in common, by name."
    )
    filters: dict[str, Any] = Field(
        description="The filters that were set.", examples=[{"simulated": False}]
    )


class ConsensusQuery(FiltersIn):
    """Filters, and how several rankings are made into one."""

    method: ConsensusMethod = Field(
        default=ConsensusMethod.MAJORITY,
        description="`majority` (Copeland: the completions that a majority puts below), `borda` "
        "(mean rank) or `bradley-terry` (log-strengths with a weak prior).",
        examples=["majority"],
    )


@router.get("/projects/{project_id}/agreement", summary="Measure agreement", responses=ERRORS)
def get_agreement(
    project_id: str, session: ReadSession, user: Admin, filters: FiltersQuery
) -> AgreementOut:
    """Every figure of agreement over the rankings that count and fit the filters.

    All is aligned by task and completion. `simulated=false` leaves simulated labelers out. The
    filter `labeler` takes one labeler's rankings alone, which leaves nobody to agree with. The
    same rankings give the same numbers, intervals included.
    """
    project = get_project(session, project_id, user)
    chosen = checked_filters(session, project.id, filters)
    measured = measure_project_agreement(session, project.id, chosen)
    shown = {
        name: getattr(measured, name) for name in AgreementOut.model_fields if name != "filters"
    }
    return AgreementOut.model_validate(shown | {"filters": chosen.as_json()})


@router.get(
    "/projects/{project_id}/consensus",
    summary="Stream a consensus of every task",
    responses=CONSENSUS_STREAM,
    response_class=StreamingResponse,
)
def stream_consensus(
    project_id: str,
    session: ReadSession,
    user: Researcher,
    query: Annotated[ConsensusQuery, Query()],
    database: AppDatabase,
) -> StreamingResponse:
    """One ranking a task, aggregated from those that count and fit the filters, as JSONL.

    Every labeler weighs the same; repeats have no second say. For training prefer
    `GET /projects/{id}/pairs`, which gives every labeler's own pairs: a consensus hides how much
    labelers disagree.
    """
    project = get_project(session, project_id, user)
    chosen = checked_filters(session, project.id, query)
    return StreamingResponse(
        _consensus_lines(database, project.id, query.method, chosen),
        media_type="application/x-ndjson",
    )


def _consensus_lines(
    database: Database, project_id: str, method: ConsensusMethod, filters: PairFilters
) -> Iterator[bytes]:
    with database.read() as session:
        tasks = iter_consensus(session, project_id, method, filters)
        yield from jsonl_bytes(consensus_row(task) for task in tasks)
