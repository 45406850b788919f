"""In which order a labeler sees the completions of an A/B round.

What stands first is preferred a little for standing there, so that a policy which stood first more
often would win by it. Orders are therefore not drawn but minimised (Pocock and Simon 1975,
Biometrics 31): of the orders that a task's square offers, a labeler is given the one after which
the policies have stood at every place most nearly equally often for that labeler; where that is
no guide, for the task; and then for the round.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, cast, func, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from app.labeling.direct import connect
from app.labeling.order import present
from app.models import Assignment, AssignmentState, Completion, Round, Task

Places = Counter[tuple[str, int]]
"""How often each policy stood at each place."""
HELD = (AssignmentState.LEASED, AssignmentState.SUBMITTED)


def present_balanced(
    session: Session, task_id: str, completion_ids: Sequence[str], row: int, user_id: str
) -> list[str]:
    """The completions as this labeler sees them; outside of A/B rounds this is `present`.

    Leases that ended without a ranking do not count as looks. Of equally balanced orders it is the
    first that `present` gives from this row on.
    """
    connection = connect(session)
    judging = select(Round.id).join(Task, Task.round_id == Round.id)
    round_id = connection.scalar(judging.where(Task.id == task_id, Round.candidate_id.is_not(None)))
    if round_id is None:
        return present(task_id, completion_ids, row)
    written = select(Completion.id, Completion.model_id).where(Completion.task_id == task_id)
    policies = dict(connection.execute(written).all())
    orders = [present(task_id, completion_ids, row + turn) for turn in range(2 * len(policies))]
    for scope in (Assignment.user_id == user_id, Assignment.task_id == task_id, true()):
        stood = _count_places(session, round_id, scope)
        # Σ(n + 1)² − Σn² = Σ(2n + 1): the fewer they stood there before, the better.
        crowded = [
            sum(stood[policies[one] or "", place] for place, one in enumerate(order))
            for order in orders
        ]
        orders = [
            order for order, sum_ in zip(orders, crowded, strict=True) if sum_ == min(crowded)
        ]
        if all(order == orders[0] for order in orders):
            break
    return orders[0]


def _count_places(session: Session, round_id: str, scope: ColumnElement[bool]) -> Places:
    """Added up by the database: a round may have been looked at thousands of times."""
    order: Any
    if session.get_bind().dialect.name == "sqlite":
        order = func.json_each(Assignment.shown_order).table_valued("value", "key", name="shown")
        place = order.c.key
    else:
        each = func.jsonb_array_elements_text(cast(Assignment.shown_order, JSONB))
        order = each.table_valued("value", with_ordinality="key", name="shown").render_derived()
        place = order.c.key - 1
    counted = (
        select(Completion.model_id, place, func.count())
        .select_from(Assignment)
        .join(Task, Task.id == Assignment.task_id)
        .join(order, true())
        .join(Completion, Completion.id == order.c.value)
        .where(
            Task.round_id == round_id,
            Assignment.state.in_(HELD),
            ~Assignment.is_repeat,
            scope,
        )
        .group_by(Completion.model_id, place)
    )
    rows = connect(session).execute(counted)
    return Counter({(policy or "", int(at)): count for policy, at, count in rows})
