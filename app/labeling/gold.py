"""Gold tasks: tasks of which the right order is known, to see how often labelers find it.

Nothing that a labeler receives tells a gold task from another.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.errors import Conflict, Invalid, NotFound
from app.labeling.aggregation import ConsensusMethod, aggregate
from app.labeling.slots import lock_tasks
from app.labeling.submissions import Submission, check_submission, dense_ranks
from app.models import (
    Completion,
    Prompt,
    Ranking,
    RankingEntry,
    RankingSource,
    Round,
    Task,
    TaskPurpose,
    TaskState,
    User,
)

MOST_OPINIONS = 200


@dataclass(frozen=True, kw_only=True)
class CheckTask:
    """A gold or calibration task, as a list shows it."""

    task: Task
    round_number: int
    round_state: str
    prompt: str
    """The last message."""


def check_gold(ranks: Mapping[str, Any], completion_ids: Collection[str]) -> dict[str, int]:
    """The ranks without gaps; `Invalid` where one is missing, or where all are tied."""
    checked = check_submission(Submission(ranks=ranks), completion_ids, accepted_flags=None)
    dense = {name: rank for name, rank in dense_ranks(checked.ranks).items() if rank is not None}
    if len(set(dense.values())) < 2:
        raise Invalid(
            "A gold order says of at least one completion that it is better than another.",
            code="invalid_ranking",
            fields={"ranks": "at least two different ranks"},
        )
    return dense


def set_gold(session: Session, admin: User | None, task_id: str, ranks: Mapping[str, Any]) -> Task:
    """Make the task a gold task with this order, or give it another one.

    From then on every labeler of the project is given it, unmarked; rankings it has already are
    measured by it too. It counts towards its round as before. For admins: the edge checks that.

    Raises:
        NotFound: there is no such task.
        Invalid: the ranks do not fit its completions, or are all the same.
        Conflict: its completions are not all there, or are too few.
    """
    task = lock_tasks(session, [task_id]).get(task_id)
    if task is None:
        raise NotFound("There is no such task.", code="task_not_found")
    if task.state not in (TaskState.OPEN, TaskState.COMPLETE):
        raise Conflict(
            "Only a task with all its completions can be a gold task.", code="task_not_ready"
        )
    completion_ids = session.scalars(
        select(Completion.id).where(Completion.task_id == task_id)
    ).all()
    task.gold_ranks = check_gold(ranks, completion_ids)
    task.purpose = TaskPurpose.GOLD
    session.flush()
    record(session, admin, "task.gold", "task", task_id, ranks=list(task.gold_ranks.values()))
    return task


def clear_gold(session: Session, admin: User | None, task_id: str) -> Task:
    """Make a gold task an ordinary one again; its rankings stay. One that is none stays as it is.

    Raises:
        NotFound: there is no such task.
    """
    task = lock_tasks(session, [task_id]).get(task_id)
    if task is None:
        raise NotFound("There is no such task.", code="task_not_found")
    if task.purpose == TaskPurpose.GOLD:
        task.purpose = TaskPurpose.ORDINARY
        task.gold_ranks = None
        session.flush()
        record(session, admin, "task.gold_cleared", "task", task_id)
    return task


def list_check_tasks(
    session: Session,
    project_id: str,
    *,
    purpose: TaskPurpose | None = None,
    after_id: str = "",
    limit: int = 50,
) -> list[CheckTask]:
    """The project's gold and calibration tasks, in the order of their making."""
    rows = session.execute(
        select(Task, Round.number, Round.state, Prompt.messages)
        .join(Round, Round.id == Task.round_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(
            Task.project_id == project_id,
            Task.purpose == purpose
            if purpose is not None
            else Task.purpose.in_([TaskPurpose.GOLD, TaskPurpose.CALIBRATION]),
            Task.id > after_id,
        )
        .order_by(Task.id)
        .limit(limit)
    )
    return [
        CheckTask(task=task, round_number=number, round_state=state, prompt=messages[-1]["content"])
        for task, number, state, messages in rows
    ]


@dataclass(frozen=True, kw_only=True)
class GivenRanking:
    """A ranking that the task has; `ranks` are in the order of its completions."""

    id: str
    labeler: str
    simulated: bool
    is_repeat: bool
    ranks: list[int | None]
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class TaskOpinions:
    """A task with all that admins may know of it."""

    task: Task
    round: Round
    prompt: Prompt
    completions: list[Completion]
    """In the order of their making."""
    rankings: list[GivenRanking]
    """Those that count, the oldest first, at most `MOST_OPINIONS`."""
    consensus: list[int | None] | None
    """By Borda, of one ranking of each labeler; None without any."""


def load_opinions(session: Session, task_id: str) -> TaskOpinions:
    """The task with its completions, the rankings so far and their consensus. For admins."""
    task = session.get(Task, task_id)
    if task is None:
        raise NotFound("There is no such task.", code="task_not_found")
    completions = session.scalars(
        select(Completion).where(Completion.task_id == task_id).order_by(Completion.position)
    ).all()
    rankings = _load_rankings(session, task_id, [completion.id for completion in completions])
    orders = [ranking.ranks for ranking in rankings if not ranking.is_repeat]
    return TaskOpinions(
        task=task,
        round=session.get_one(Round, task.round_id),
        prompt=session.get_one(Prompt, task.prompt_id),
        completions=list(completions),
        rankings=rankings,
        consensus=aggregate(orders, ConsensusMethod.BORDA).ranks if orders else None,
    )


def _load_rankings(session: Session, task_id: str, completion_ids: list[str]) -> list[GivenRanking]:
    rows = session.execute(
        select(Ranking, User.simulation_rule)
        .outerjoin(User, User.id == Ranking.user_id)
        .where(Ranking.task_id == task_id, Ranking.current, Ranking.revoked_at.is_(None))
        .order_by(Ranking.id)
        .limit(MOST_OPINIONS)
    ).all()
    ranks: dict[str, dict[str, int | None]] = defaultdict(dict)
    for entry in session.scalars(
        select(RankingEntry).where(RankingEntry.ranking_id.in_([row.Ranking.id for row in rows]))
    ):
        ranks[entry.ranking_id][entry.completion_id] = entry.rank
    return [
        GivenRanking(
            id=ranking.id,
            labeler=ranking.labeler,
            simulated=ranking.source == RankingSource.SIMULATED or rule is not None,
            is_repeat=ranking.is_repeat,
            ranks=[ranks[ranking.id].get(completion_id) for completion_id in completion_ids],
            created_at=ranking.created_at,
        )
        for ranking, rule in rows
    ]
