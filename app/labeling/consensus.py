"""The rankings of several labelers made into one a task, where that is asked for.

Never the default: exports give every labeler's own pairs, because disagreement is information a
reward model can learn from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from sqlalchemy.orm import Session

from app.labeling.aggregation import Consensus, ConsensusMethod, aggregate
from app.labeling.comparing import agreements, pair_signs
from app.preferences.filters import PairFilters
from app.preferences.formats import ranking_row
from app.preferences.queries import iter_rankings_by_task
from app.preferences.stored_rankings import StoredRanking


@dataclass(frozen=True, kw_only=True)
class TaskConsensus:
    """What the labelers of one task come to together."""

    method: ConsensusMethod
    rankings: list[StoredRanking]
    """One of each labeler, in the order made; at least one."""
    consensus: Consensus
    """In the order of the completions of each of the rankings."""
    agreement: float | None
    """Share of completion pairs on which two of the labelers say the same; None for one alone."""


def iter_consensus(
    session: Session,
    project_id: str,
    method: ConsensusMethod,
    filters: PairFilters | None = None,
) -> Iterator[TaskConsensus]:
    """The consensus of every task with a ranking that counts and fits the filters, by task id.

    Repeats have no second say. A few hundred rankings are in memory at a time.
    """
    for rankings in iter_rankings_by_task(session, project_id, filters):
        orders = [ranking.ranks for ranking in rankings]
        yield TaskConsensus(
            method=method,
            rankings=rankings,
            consensus=aggregate(orders, method),
            agreement=_task_agreement(orders),
        )


def _task_agreement(orders: Sequence[Sequence[int | None]]) -> float | None:
    signs = [pair_signs(order) for order in orders]
    counts = [agreements(a, b) for a, b in combinations(signs, 2)]
    pairs = sum(of for _, of in counts)
    return sum(agreed for agreed, _ in counts) / pairs if pairs else None


def consensus_row(task: TaskConsensus) -> dict[str, Any]:
    """In the shape of an exported ranking, so that it can be imported, with what it rests on.

    It is simulated when any of the rankings is, has the latest of their times, and none of the
    ratings, flags and comments, which are each labeler's own.
    """
    latest = task.rankings[-1]
    count = len(latest.completions)
    return ranking_row(latest) | {
        "ranking_id": None,
        "ranks": task.consensus.ranks,
        "labeler": f"consensus-{task.method}",
        "simulated": any(ranking.simulated for ranking in task.rankings),
        "source": "consensus",
        "external_id": None,
        "shown_order": [],
        "ratings": [None] * count,
        "flags": [[] for _ in range(count)],
        "comment": "",
        "active_ms": None,
        "scores": task.consensus.scores,
        "labelers": len(task.rankings),
        "agreement": task.agreement,
    }
