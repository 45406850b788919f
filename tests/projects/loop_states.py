"""Projects at chosen places of the loop, written straight into the tables."""

from datetime import timedelta
from itertools import count
from typing import Any

from sqlalchemy.orm import Session

from app.models import (
    Completion,
    Job,
    Model,
    Project,
    Prompt,
    Ranking,
    RankingEntry,
    RankingSource,
    Round,
    Snapshot,
    Task,
    TaskState,
    Worker,
    utc_now,
)

numbers = count(1)


def add_project(session: Session, name: str = "Short answers") -> Project:
    project = Project(name=name, guidelines="Prefer what is true and short.")
    session.add(project)
    session.flush()
    return project


def add_prompts(session: Session, project: Project, how_many: int) -> list[Prompt]:
    prompts = [
        Prompt(
            project_id=project.id,
            messages=[{"role": "user", "content": f"Prompt {next(numbers)}"}],
            content_hash=f"{next(numbers):064d}",
        )
        for _ in range(how_many)
    ]
    session.add_all(prompts)
    session.flush()
    return prompts


def add_model(session: Session, model_id: str, **fields: Any) -> Model:
    """A registry entry; with a project it was made by a job of it."""
    if fields.get("project_id"):
        kind = "ppo" if fields["kind"] == "policy" else "reward_model"
        project = session.get_one(Project, fields["project_id"])
        fields["job_id"] = add_job(session, project, kind, "succeeded", progress=1.0).id
    fields = {"kind": "policy", "source": "job", "name": model_id, **fields}
    model = Model(id=model_id, **fields)
    session.add(model)
    session.flush()
    return model


def add_round(
    session: Session,
    project: Project,
    prompts: list[Prompt],
    policies: list[str],
    *,
    completions_per_prompt: int = 2,
    labelers_per_task: int = 1,
    state: str = "open",
    finished: int | None = None,
) -> list[Task]:
    """The next round, its completions dealt to the policies in turn.

    The first `finished` prompts have theirs; all of them, if not said.
    """
    number = next(numbers)
    collected = Round(
        project_id=project.id,
        number=number,
        state=state,
        policies=policies,
        completions_per_prompt=completions_per_prompt,
        labelers_per_task=labelers_per_task,
    )
    session.add(collected)
    session.flush()
    finished = len(prompts) if finished is None else finished
    tasks = []
    for index, prompt in enumerate(prompts):
        task = Task(
            project_id=project.id,
            round_id=collected.id,
            prompt_id=prompt.id,
            state=TaskState.OPEN if index < finished else TaskState.PENDING,
            rankings_wanted=labelers_per_task,
        )
        session.add(task)
        session.flush()
        tasks.append(task)
        if index < finished:
            makers = [policies[place % len(policies)] for place in range(completions_per_prompt)]
            session.add_all(
                Completion(task_id=task.id, position=place, text=f"Text {place}", model_id=maker)
                for place, maker in enumerate(makers)
            )
    session.flush()
    return tasks


def add_ranking(
    session: Session,
    task: Task,
    ranks: list[int | None],
    *,
    labeler: str = "ann",
    source: str = RankingSource.APP,
    **fields: Any,
) -> Ranking:
    """A ranking by position; the task is complete when it has all it wants."""
    ranking = Ranking(
        project_id=task.project_id, task_id=task.id, labeler=labeler, source=source, **fields
    )
    session.add(ranking)
    session.flush()
    completions = (
        session.query(Completion).filter_by(task_id=task.id).order_by(Completion.position).all()
    )
    session.add_all(
        RankingEntry(ranking_id=ranking.id, completion_id=completion.id, rank=rank)
        for completion, rank in zip(completions, ranks, strict=True)
    )
    task.rankings_got += 1
    task.slots_taken += 1
    if task.rankings_got >= task.rankings_wanted:
        task.state = TaskState.COMPLETE
    session.flush()
    return ranking


def add_job(session: Session, project: Project, kind: str, state: str, **fields: Any) -> Job:
    job = Job(project_id=project.id, kind=kind, state=state, **fields)
    session.add(job)
    session.flush()
    return job


def add_worker(session: Session, *, silent_seconds: float = 0) -> None:
    session.add(
        Worker(id="w1", host="here", pid=1, seen_at=utc_now() - timedelta(seconds=silent_seconds))
    )
    session.flush()


def add_snapshot(session: Session, project: Project) -> Snapshot:
    snapshot = Snapshot(project_id=project.id, sha256="0" * 64, rankings=1, pairs=1, prompts=1)
    session.add(snapshot)
    session.flush()
    return snapshot
