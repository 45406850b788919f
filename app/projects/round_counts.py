"""What a round has and what it still wants."""

from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from app.models import (
    Completion,
    Prompt,
    Ranking,
    RankingSource,
    Round,
    Task,
    TaskPurpose,
    TaskState,
)

MOST_PROBLEMS_LISTED = 50


@dataclass(frozen=True)
class TaskProblem:
    """A task that could not be given all its completions."""

    task_id: str
    prompt_id: str
    state: TaskState
    prompt: str
    problem: str


@dataclass(frozen=True, kw_only=True)
class RoundCounts:
    """A round counted: tasks by state, completions and rankings wanted and got, problems."""

    tasks: int
    pending: int
    open: int
    complete: int
    short: int
    completions: int
    completions_wanted: int
    rankings_wanted: int
    """Of every task that is or will be shown; short ones want none."""
    rankings_got: int
    """Of those wanted: what a task has beyond does not hide what another one lacks."""
    rankings_beyond: int
    """More than their tasks want: calibration and gold tasks are ranked by everybody."""
    calibration: int
    """Tasks that everybody ranks."""
    gold: int
    """Tasks of which the right order is known."""
    simulated_rankings: int
    problems_total: int
    problems: list[TaskProblem]

    @property
    def completions_missing(self) -> int:
        """Completions that could not be had, or are still to be made."""
        return max(0, self.completions_wanted - self.completions)


def round_counts(session: Session, round_id: str) -> RoundCounts:
    """Count a round in a handful of statements, whatever its size."""
    round_ = session.get_one(Round, round_id)
    beyond = Task.rankings_got - Task.rankings_wanted
    rows = session.execute(
        select(
            Task.state,
            func.count(),
            func.sum(Task.rankings_wanted),
            func.sum(Task.rankings_got),
            func.count(Task.problem),
            func.sum(case((beyond > 0, beyond), else_=0)),
            func.count(case((Task.purpose == TaskPurpose.CALIBRATION, 1))),
            func.count(case((Task.purpose == TaskPurpose.GOLD, 1))),
        )
        .where(Task.round_id == round_id)
        .group_by(Task.state)
    ).all()
    by_state = {str(state): int(count) for state, count, *_ in rows}
    tasks = sum(by_state.values())
    completions = (
        session.scalar(
            select(func.count())
            .select_from(Completion)
            .join(Task, Task.id == Completion.task_id)
            .where(Task.round_id == round_id)
        )
        or 0
    )
    generated = bool(round_.policies)
    return RoundCounts(
        tasks=tasks,
        pending=by_state.get(TaskState.PENDING, 0),
        open=by_state.get(TaskState.OPEN, 0),
        complete=by_state.get(TaskState.COMPLETE, 0),
        short=by_state.get(TaskState.SHORT, 0),
        completions=completions,
        completions_wanted=tasks * round_.completions_per_prompt if generated else completions,
        rankings_wanted=sum(int(row[2]) for row in rows if row[0] != TaskState.SHORT),
        rankings_got=sum(int(row[3]) - int(row[5]) for row in rows),
        rankings_beyond=sum(int(row[5]) for row in rows),
        calibration=sum(int(row[6]) for row in rows),
        gold=sum(int(row[7]) for row in rows),
        simulated_rankings=_count_simulated(session, round_id),
        problems_total=sum(int(row[4]) for row in rows),
        problems=_list_problems(session, round_id),
    )


def _count_simulated(session: Session, round_id: str) -> int:
    return (
        session.scalar(
            select(func.count())
            .select_from(Ranking)
            .join(Task, Task.id == Ranking.task_id)
            .where(
                Task.round_id == round_id,
                Ranking.source == RankingSource.SIMULATED,
                Ranking.current,
                Ranking.revoked_at.is_(None),
            )
        )
        or 0
    )


def _list_problems(session: Session, round_id: str) -> list[TaskProblem]:
    rows = session.execute(
        select(Task, Prompt)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(Task.round_id == round_id, Task.problem.is_not(None))
        .order_by(Task.id)
        .limit(MOST_PROBLEMS_LISTED)
    )
    return [
        TaskProblem(
            task.id,
            prompt.id,
            TaskState(task.state),
            prompt.messages[-1]["content"],
            task.problem or "",
        )
        for task, prompt in rows
    ]
