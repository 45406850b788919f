"""Simulated labelers: accounts that rank by a rule, through the same queue as people."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.accounts.users import create_user, find_user_by_email
from app.db import Database
from app.labeling.queue import lease_next_task
from app.labeling.rankings import submit_ranking
from app.labeling.simulated_rule import RULE_NAME, rank_completions
from app.labeling.submissions import Submission
from app.models import (
    Assignment,
    Completion,
    Project,
    Prompt,
    Ranking,
    Role,
    Round,
    RoundState,
    Task,
    TaskState,
    User,
)
from app.projects.messages import prompt_text
from app.projects.service import add_member

LEASE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class SimulationProgress:
    """How far a simulation is: rankings made, and how many it will make of what is open now."""

    made: int
    expected: int
    eta_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class SimulationReport:
    """What a simulation did: rankings in all, and of each labeler by name."""

    rankings: int
    by_labeler: dict[str, int]


def ensure_simulated_labelers(session: Session, project: Project, labelers: int) -> list[User]:
    """Accounts "Simulated 1" and so on, which have no password and cannot sign in.

    They carry the name of their rule, and everything they rank is marked simulated for ever.
    """
    people = []
    for number in range(1, labelers + 1):
        email = f"simulated-{number}@simulated.invalid"
        person = find_user_by_email(session, email)
        if person is None:
            person = create_user(
                session,
                email=email,
                role=Role.LABELER,
                name=f"Simulated {number}",
                simulation_rule=RULE_NAME,
                handle=f"simulated-{number}",
            )
        if project.restricted:
            add_member(session, project, person)
        people.append(person)
    return people


def simulate_labelers(
    database: Database,
    project_id: str,
    *,
    labelers: int = 3,
    seed: int = 0,
    on_progress: Callable[[SimulationProgress], None] | None = None,
) -> SimulationReport:
    """Let simulated labelers rank every task of the project that is open to them now.

    They take turns, leasing one task at a time from the queue that people use, and stop when it
    has nothing for any of them: each task gets as many rankings as it wants, or as many as there
    are simulated labelers. One transaction per ranking, so that it can be stopped and run again.
    """
    with database.write() as session:
        people = ensure_simulated_labelers(session, session.get_one(Project, project_id), labelers)
    with database.read() as session:
        expected = count_expected_rankings(session, project_id, [person.id for person in people])
    made = {person.name: 0 for person in people}
    waiting = list(enumerate(people, start=1))
    started = time.monotonic()
    while waiting:
        for number, person in list(waiting):
            if not _rank_one(database, project_id, person, number, seed):
                waiting.remove((number, person))
                continue
            made[person.name] += 1
            if on_progress is not None:
                on_progress(_progress(sum(made.values()), expected, started))
    return SimulationReport(rankings=sum(made.values()), by_labeler=made)


def count_expected_rankings(session: Session, project_id: str, user_ids: list[str]) -> int:
    """Rankings these labelers will make of the open tasks, if nobody else ranks meanwhile."""
    had = (
        select(Ranking.task_id, func.count(Ranking.user_id.distinct()).label("rankings"))
        .where(Ranking.project_id == project_id, Ranking.user_id.in_(user_ids), Ranking.current)
        .group_by(Ranking.task_id)
        .subquery()
    )
    rows = session.execute(
        select(Task.rankings_wanted - Task.rankings_got, func.coalesce(had.c.rankings, 0))
        .join(Round, Round.id == Task.round_id)
        .outerjoin(had, had.c.task_id == Task.id)
        .where(
            Task.project_id == project_id,
            Task.state == TaskState.OPEN,
            Round.state != RoundState.CLOSED,
        )
    )
    return sum(max(0, min(missing, len(user_ids) - ranked)) for missing, ranked in rows)


def _rank_one(database: Database, project_id: str, person: User, number: int, seed: int) -> bool:
    """Lease a task and rank it in one transaction; False when the queue has none."""
    with database.write() as session:
        assignment = lease_next_task(session, person, project_id, lease_seconds=LEASE_SECONDS)
        if assignment is None:
            return False
        prompt, texts = _load_task(session, assignment)
        ranks = rank_completions(prompt, list(texts.values()), labeler=number, seed=seed)
        submission = Submission(ranks=dict(zip(texts, ranks, strict=True)))
        submit_ranking(session, person, assignment.id, submission)
    return True


def _load_task(session: Session, assignment: Assignment) -> tuple[str, dict[str, str]]:
    """The prompt as text, and the completions in the order shown."""
    messages = session.scalars(
        select(Prompt.messages)
        .join(Task, Task.prompt_id == Prompt.id)
        .where(Task.id == assignment.task_id)
    ).one()
    texts = dict(
        session.execute(
            select(Completion.id, Completion.text).where(Completion.task_id == assignment.task_id)
        ).all()
    )
    return prompt_text(messages), {place: texts[place] for place in assignment.shown_order}


def _progress(made: int, expected: int, started: float) -> SimulationProgress:
    elapsed = time.monotonic() - started
    left = max(0, expected - made)
    return SimulationProgress(
        made=made, expected=max(expected, made), eta_seconds=elapsed / made * left
    )
