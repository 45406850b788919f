"""What the reward model gives the completions of an A/B round, kept beside what people say."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import exists, insert, select
from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.errors import Conflict
from app.evaluation.outcomes import find_judge, get_contestants
from app.models import (
    Completion,
    CompletionReward,
    Job,
    Model,
    Prompt,
    Round,
    RoundState,
    Task,
    User,
    utc_now,
)
from app.projects.rounds import refuse_active_job, start_generation

TASKS_PER_QUERY = 500


def find_round_judge(session: Session, round_: Round) -> Model | None:
    """The reward model that scores a round; None for a round that is no A/B round."""
    if round_.candidate_id is None:
        return None
    return find_judge(session, session.get_one(Model, round_.candidate_id))


def iter_unscored(session: Session, round_: Round, judge: Model) -> Iterator[dict[str, Any]]:
    """Stored completions without a reward: `{task_id, messages, completions}`, by task."""
    after = ""
    while True:
        batch = session.execute(
            select(Task.id, Prompt.messages)
            .join(Prompt, Prompt.id == Task.prompt_id)
            .where(Task.round_id == round_.id, Task.id > after)
            .order_by(Task.id)
            .limit(TASKS_PER_QUERY)
        ).all()
        if not batch:
            return
        texts: dict[str, list[dict[str, Any]]] = {task_id: [] for task_id, _ in batch}
        for task_id, position, text in session.execute(
            select(Completion.task_id, Completion.position, Completion.text)
            .where(Completion.task_id.in_(texts), ~_is_scored(judge))
            .order_by(Completion.position)
        ):
            texts[task_id].append({"position": position, "text": text})
        for task_id, messages in batch:
            if texts[task_id]:
                yield {"task_id": task_id, "messages": messages, "completions": texts[task_id]}
        after = batch[-1][0]


def store_rewards(
    session: Session, judge_id: str, scored: Iterable[tuple[str, Mapping[int, float]]]
) -> int:
    """Keep rewards given by task and position; what has one already keeps it. How many are new."""
    judge = session.get_one(Model, judge_id)
    found = {(task_id, at): reward for task_id, given in scored for at, reward in given.items()}
    task_ids = sorted({task_id for task_id, _ in found})
    stored = 0
    for start in range(0, len(task_ids), TASKS_PER_QUERY):
        part = Completion.task_id.in_(task_ids[start : start + TASKS_PER_QUERY])
        missing = session.execute(
            select(Completion.id, Completion.task_id, Completion.position).where(
                part, ~_is_scored(judge)
            )
        ).all()
        rows = [
            {
                "completion_id": completion_id,
                "model_id": judge_id,
                "reward": found[task_id, position],
                "created_at": utc_now(),
            }
            for completion_id, task_id, position in missing
            if (task_id, position) in found
        ]
        if rows:
            session.execute(insert(CompletionReward), rows)
        stored += len(rows)
    return stored


def ask_reward_model_again(session: Session, user: User | None, round_: Round) -> Job:
    """A job that has the reward model score what it has not scored of the round.

    Raises:
        Conflict: `round_generating`, `round_closed`, `nothing_to_compare`, `no_reward_model`, or
            `nothing_missing`.
    """
    judge = find_judge(session, get_contestants(session, round_).candidate)
    if judge is None or round_.candidate_id is None:
        raise Conflict("There is no reward model to ask about this round.", code="no_reward_model")
    refuse_active_job(session, round_)
    if round_.state == RoundState.CLOSED:
        raise Conflict("This round is closed; reopen it first.", code="round_closed")
    if next(iter_unscored(session, round_, judge), None) is None:
        raise Conflict("Every completion has its reward already.", code="nothing_missing")
    record(session, user, "evaluation.score", "round", round_.id, reward_model=judge.id)
    return start_generation(session, user, round_)


def _is_scored(judge: Model) -> Any:
    return exists().where(
        CompletionReward.completion_id == Completion.id, CompletionReward.model_id == judge.id
    )
