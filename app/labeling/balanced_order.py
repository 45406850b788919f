"""In which order a labeler sees the completions of an A/B round.

What stands first is preferred a little for standing there, so that a policy which stood first more
often would win by it. Orders are therefore not drawn but minimised (Pocock and Simon 1975,
Biometrics 31): of the orders that a task's square offers, a labeler is given the one after which
the policies have stood at every place most nearly equally often for that labeler; where that is
no guide, for the task; and then for the round.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from app.labeling.direct import connect
from app.labeling.order import present
from app.models import Assignment, AssignmentState, Completion, Round, Task

Places = Counter[tuple[str, int]]
"""How often each policy stood at each place."""
HELD = (AssignmentState.LEASED, AssignmentState.SUBMITTED)

_ab_round = (
    select(Round.id)
    .join(Task, Task.round_id == Round.id)
    .where(Task.id == bindparam("task_id"), Round.candidate_id.is_not(None))
)
_policies = (
    select(Completion.id, Completion.model_id)
    .join(Task, Task.id == Completion.task_id)
    .where(Task.round_id == bindparam("round_id"))
)
_shown = (
    select(Assignment.user_id, Assignment.task_id, Assignment.shown_order)
    .join(Task, Task.id == Assignment.task_id)
    .where(
        Task.round_id == bindparam("round_id"),
        Assignment.state.in_(HELD),
        ~Assignment.is_repeat,
    )
)


def present_balanced(
    session: Session, task_id: str, completion_ids: Sequence[str], row: int, user_id: str
) -> list[str]:
    """The completions as this labeler sees them; outside of A/B rounds this is `present`.

    Leases that ended without a ranking do not count as looks.
    """
    connection = connect(session)
    round_id = connection.scalar(_ab_round, {"task_id": task_id})
    if round_id is None:
        return present(task_id, completion_ids, row)
    policies = dict(connection.execute(_policies, {"round_id": round_id}).all())
    shown = connection.execute(_shown, {"round_id": round_id}).all()
    return choose_order(
        [present(task_id, completion_ids, row + turn) for turn in range(2 * len(completion_ids))],
        {one: policy or "" for one, policy in policies.items()},
        mine=[look.shown_order for look in shown if look.user_id == user_id],
        of_task=[look.shown_order for look in shown if look.task_id == task_id],
        of_round=[look.shown_order for look in shown],
    )


def choose_order(
    orders: Sequence[list[str]],
    policies: Mapping[str, str],
    *,
    mine: Iterable[Sequence[str]],
    of_task: Iterable[Sequence[str]],
    of_round: Iterable[Sequence[str]],
) -> list[str]:
    """The order that keeps the policies most balanced over places; of equals the first.

    `policies` says who wrote each completion; the other three are the orders shown before to this
    labeler, of this task and in this round.
    """
    before = [_count_places(shown, policies) for shown in (mine, of_task, of_round)]

    def imbalance(order: Sequence[str]) -> tuple[int, ...]:
        places = _places(order, policies)
        # Σ(n + 1)² − Σn² = Σ(2n + 1): what is larger stands where it has stood more often.
        return tuple(sum(counts[place] for place in places) for counts in before)

    return min(orders, key=imbalance)


def _count_places(shown: Iterable[Sequence[str]], policies: Mapping[str, str]) -> Places:
    return Counter(place for order in shown for place in _places(order, policies))


def _places(order: Sequence[str], policies: Mapping[str, str]) -> list[tuple[str, int]]:
    return [(policies.get(one, ""), place) for place, one in enumerate(order)]
