"""Projects with prompts and policies, as round tests need them."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Model, ModelKind, ModelSource, Project, Prompt, Task
from app.projects.messages import plain_messages
from app.projects.prompts import ParsedPrompt, store_prompts
from app.projects.service import create_project


def make_project(session: Session, prompts: int = 3, name: str = "Haiku") -> Project:
    project = create_project(session, None, name=name, guidelines="Be kind.")
    texts = [f"Prompt {number}" for number in range(prompts)]
    parsed = [ParsedPrompt(plain_messages(text), False, None, {}) for text in texts]
    if parsed:
        store_prompts(session, project.id, parsed)
    return project


def make_model(
    session: Session,
    model_id: str,
    kind: ModelKind = ModelKind.POLICY,
    source: ModelSource = ModelSource.FOLDER,
    **columns: object,
) -> Model:
    model = Model(id=model_id, name=model_id, kind=kind, source=source, **columns)
    session.add(model)
    session.flush()
    return model


def tasks_of(session: Session, round_id: str) -> list[Task]:
    return list(session.scalars(select(Task).where(Task.round_id == round_id).order_by(Task.id)))


def prompt_texts(session: Session, tasks: list[Task]) -> list[str]:
    return [session.get_one(Prompt, task.prompt_id).messages[-1]["content"] for task in tasks]
