"""Reports of reward models as training makes them, of rewards that a test chooses."""

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Completion, Ranking, RankingEntry, Task
from app.training.ranked_task import RankedTask


def make_report(
    session: Session, rankings: Sequence[Ranking], *, noise: float = 2.0, spread: float = 1.0
) -> dict[str, Any]:
    """The metrics of a reward model that takes the first order of each task for right, but for
    noise; two heads, and the last labeler is left out of training."""
    import torch

    from app.training.reward_report import Scored, describe_rewards

    by_labeler: dict[str, str] = {}
    by_task: dict[str, list[Ranking]] = defaultdict(list)
    for ranking in rankings:
        by_labeler.setdefault(ranking.labeler, ranking.id)
        by_task[ranking.task_id].append(ranking)
    chance = random.Random(3)
    tasks, scores = [], []
    for task_id, said in by_task.items():
        task = _ranked_task(session, session.get_one(Task, task_id), said, by_labeler)
        tasks.append(task)
        rewards = [
            [spread * (chance.gauss(0, noise) - (rank or 0)) for _ in range(2)]
            for rank in task.rankings[0]
        ]
        scores.append(torch.tensor(rewards))
    metrics = describe_rewards(Scored(tasks, scores), Scored(tasks[:2], scores[:2]))
    metrics |= {"train_tasks": 40, "train_pairs": 240, "skipped_tasks": 1}
    stored: dict[str, Any] = json.loads(json.dumps(metrics, allow_nan=False))
    return stored


def _ranked_task(
    session: Session, task: Task, said: Sequence[Ranking], by_labeler: dict[str, str]
) -> RankedTask:
    completions = session.scalars(
        select(Completion).where(Completion.task_id == task.id).order_by(Completion.position)
    ).all()
    ranks: dict[str, dict[str, int | None]] = defaultdict(dict)
    entries = select(RankingEntry).where(RankingEntry.ranking_id.in_([one.id for one in said]))
    for entry in session.scalars(entries):
        ranks[entry.ranking_id][entry.completion_id] = entry.rank
    return RankedTask(
        prompt_id=task.prompt_id,
        messages=[{"role": "user", "content": f"Which is better?\n{task.id}"}],
        completions=[one.text for one in completions],
        rankings=[[ranks[one.id].get(text.id) for text in completions] for one in said],
        task_id=task.id,
        round_id=task.round_id,
        completion_ids=[one.id for one in completions],
        ranking_ids=[one.id for one in said],
        labelers=[by_labeler[one.labeler] for one in said],
    )
