"""Tasks with the orders of labelers, made without a database."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from app.labeling.judgements import JudgedTask, Judgement

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
"""A Monday."""


def judged_task(
    orders: Mapping[str, Sequence[int | None]] | Sequence[Judgement],
    *,
    task_id: str = "t1",
    purpose: str = "ordinary",
    gold: list[int] | None = None,
) -> JudgedTask:
    judgements = (
        [judgement(labeler, ranks) for labeler, ranks in orders.items()]
        if isinstance(orders, Mapping)
        else list(orders)
    )
    return JudgedTask(
        id=task_id,
        round_id="r1",
        purpose=purpose,
        completion_ids=[f"c{place}" for place in range(len(judgements[0].ranks))],
        gold=gold,
        judgements=judgements,
    )


def judgement(labeler: str, ranks: Sequence[int | None], **fields: Any) -> Judgement:
    values: dict[str, Any] = {
        "ranking_id": f"{labeler}-{ranks}",
        "simulated": False,
        "is_repeat": False,
        "shown": [],
        "active_ms": None,
        "created_at": NOON,
    }
    return Judgement(labeler=labeler, ranks=list(ranks), **values | fields)
