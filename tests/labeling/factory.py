"""Projects with open tasks, made straight in the tables."""

from sqlalchemy.orm import Session

from app.models import (
    Completion,
    Project,
    Prompt,
    Round,
    RoundState,
    Task,
    TaskState,
    User,
    new_id,
)


def make_user(session: Session, name: str = "ada", role: str = "labeler") -> User:
    user = User(email=f"{name}@example.org", name=name, handle=name, role=role)
    session.add(user)
    session.flush()
    return user


def make_project(
    session: Session, *, name: str = "Helpfulness", restricted: bool = False
) -> Project:
    project = Project(name=name, guidelines="Prefer what helps.", restricted=restricted)
    session.add(project)
    session.flush()
    return project


def make_tasks(
    session: Session,
    project: Project,
    count: int,
    *,
    wanted: int = 1,
    texts: tuple[str, ...] = ("first", "second", "third"),
    messages: list[dict[str, str]] | None = None,
    number: int = 1,
) -> list[Task]:
    round_ = Round(
        project_id=project.id, number=number, state=RoundState.OPEN, labelers_per_task=wanted
    )
    session.add(round_)
    session.flush()
    tasks = []
    for place in range(count):
        prompt = Prompt(
            project_id=project.id,
            messages=messages or [{"role": "user", "content": f"Question {place}?"}],
            is_chat=messages is not None,
            content_hash=new_id(),
        )
        session.add(prompt)
        session.flush()
        task = Task(
            project_id=project.id,
            round_id=round_.id,
            prompt_id=prompt.id,
            state=TaskState.OPEN,
            rankings_wanted=wanted,
        )
        session.add(task)
        session.flush()
        session.add_all(
            Completion(task_id=task.id, position=position, text=text)
            for position, text in enumerate(texts)
        )
        tasks.append(task)
    session.flush()
    return tasks
