"""A project that people of different care and speed ranked for weeks, straight in the tables."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from app.models import (
    Assignment,
    AssignmentState,
    Completion,
    Project,
    Prompt,
    Ranking,
    RankingEntry,
    RankingSource,
    Round,
    RoundState,
    Task,
    TaskPurpose,
    TaskState,
    User,
    new_id,
    utc_now,
)


@dataclass(frozen=True, kw_only=True)
class Person:
    """A labeler: the noise on what they see of a text, seconds a ranking takes them, and by how
    much they favour what is shown first."""

    name: str
    noise: float = 0.6
    seconds: float = 40.0
    first_bias: float = 0.0
    account: bool = True
    rule: str | None = None
    share: float = 1.0
    """Of the rankings they are asked for, how many they make."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A prompt with its completions, the best first."""

    prompt: str
    completions: Sequence[str]


PLAIN = Text(prompt="Why is the sky blue?", completions=("Rayleigh.", "It scatters.", "Paint."))


def seed_crowd(
    session: Session,
    people: Sequence[Person],
    *,
    tasks: int = 60,
    labelers_per_task: int = 3,
    weeks: int = 4,
    name: str = "Helpfulness",
    gold_every: int = 10,
    calibration_every: int = 12,
    repeat_share: float = 0.08,
    skip_share: float = 0.03,
    texts: Sequence[Text] = (PLAIN,),
    seed: int = 7,
) -> Project:
    """The project with one open round; the same seed gives the same rankings."""
    chance = random.Random(seed)
    project = Project(name=name, guidelines="Prefer what helps.", repeat_share=repeat_share)
    session.add(project)
    session.flush()
    round_ = Round(
        project_id=project.id, number=1, state=RoundState.OPEN, labelers_per_task=labelers_per_task
    )
    session.add(round_)
    users = {}
    for person in people:
        if person.account:
            account = User(
                email=f"{new_id()}@example.org",
                name=person.name.title(),
                handle=person.name,
                role="labeler",
                simulation_rule=person.rule,
            )
            session.add(account)
            users[person.name] = account
    session.flush()
    start = utc_now() - timedelta(weeks=weeks)
    for place in range(tasks):
        text = texts[place % len(texts)]
        purpose = TaskPurpose.ORDINARY
        if gold_every and place % gold_every == 3:
            purpose = TaskPurpose.GOLD
        elif calibration_every and place % calibration_every == 5:
            purpose = TaskPurpose.CALIBRATION
        task, completions = _add_task(session, project, round_, text, place, purpose)
        everybody = purpose != TaskPurpose.ORDINARY
        some = min(labelers_per_task, len(people))
        chosen = list(people) if everybody else chance.sample(people, some)
        moment = start + timedelta(days=7 * weeks * (place + chance.random()) / tasks)
        for slot, person in enumerate(chosen):
            if chance.random() > person.share:
                continue
            user = users.get(person.name)
            if user is not None and chance.random() < skip_share:
                _add_skip(session, task, user, completions, moment, chance)
                continue
            _rank(session, task, completions, person, user, moment, chance, slot=slot)
            if user is not None and chance.random() < repeat_share:
                later = moment + timedelta(days=2)
                _rank(session, task, completions, person, user, later, chance, slot=None)
        session.flush()
    return project


def _add_task(
    session: Session, project: Project, round_: Round, text: Text, place: int, purpose: TaskPurpose
) -> tuple[Task, list[Completion]]:
    prompt = Prompt(
        project_id=project.id,
        messages=[{"role": "user", "content": text.prompt}],
        content_hash=new_id(),
    )
    session.add(prompt)
    session.flush()
    task = Task(
        project_id=project.id,
        round_id=round_.id,
        prompt_id=prompt.id,
        purpose=purpose,
        state=TaskState.COMPLETE,
        rankings_wanted=round_.labelers_per_task,
        rankings_got=round_.labelers_per_task,
        slots_taken=round_.labelers_per_task,
    )
    session.add(task)
    session.flush()
    completions = [
        Completion(task_id=task.id, position=position, text=completion)
        for position, completion in enumerate(text.completions)
    ]
    session.add_all(completions)
    session.flush()
    if purpose == TaskPurpose.GOLD:
        task.gold_ranks = {one.id: rank for rank, one in enumerate(completions, start=1)}
    return task, completions


def _assign(
    session: Session, task: Task, user: User, state: AssignmentState, moment: datetime
) -> Assignment:
    assignment = Assignment(
        project_id=task.project_id,
        task_id=task.id,
        user_id=user.id,
        state=state,
        shown_order=[],
        leased_at=moment,
        lease_expires_at=moment + timedelta(hours=1),
        finished_at=moment,
    )
    session.add(assignment)
    return assignment


def _add_skip(
    session: Session,
    task: Task,
    user: User,
    completions: list[Completion],
    moment: datetime,
    chance: random.Random,
) -> None:
    skip = _assign(session, task, user, AssignmentState.SKIPPED, moment)
    skip.shown_order = [one.id for one in completions]
    skip.skip_reason = chance.choice(["not my language", "all of them are broken", "too long"])
    session.flush()


def _rank(
    session: Session,
    task: Task,
    completions: list[Completion],
    person: Person,
    user: User | None,
    moment: datetime,
    chance: random.Random,
    *,
    slot: int | None,
) -> None:
    """What the person sees of a text is its true place, plus noise, plus what the first gains."""
    shown = list(completions)
    chance.shuffle(shown)
    seen = {
        one.id: -one.position / len(completions) * 2
        + chance.gauss(0, person.noise)
        + (person.first_bias if one is shown[0] else 0)
        for one in completions
    }
    assignment = None
    if user is not None:
        assignment = _assign(session, task, user, AssignmentState.SUBMITTED, moment)
        assignment.is_repeat = slot is None
        assignment.shown_order = [one.id for one in shown]
        assignment.slot = slot
        session.flush()
    ranking = Ranking(
        project_id=task.project_id,
        task_id=task.id,
        assignment_id=assignment.id if assignment else None,
        user_id=user.id if user else None,
        labeler=person.name,
        source=RankingSource.SIMULATED
        if person.rule
        else RankingSource.APP
        if user
        else RankingSource.IMPORT,
        is_repeat=slot is None,
        external_id=new_id() if slot is None else None,
        shown_order=[one.id for one in shown] if user else [],
        active_ms=round(1000 * person.seconds * chance.lognormvariate(0, 0.5)) if user else None,
        created_at=moment,
    )
    session.add(ranking)
    session.flush()
    order = sorted(seen, key=lambda one: -seen[one])
    session.add_all(
        RankingEntry(ranking_id=ranking.id, completion_id=one, rank=place)
        for place, one in enumerate(order, start=1)
    )
