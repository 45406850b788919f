"""The demo project: prompts to rank on, ready to run."""

from sqlalchemy.orm import Session

from app.accounts.audit import record
from app.demo.prompts import DEMO_GUIDELINES, DEMO_PROJECT_NAME, demo_prompts
from app.models import Project, User
from app.projects.prompts import add_prompt
from app.projects.service import create_project, find_project_by_name


def create_demo_project(session: Session, user: User | None) -> Project:
    """The demo project with its guidelines and prompts; running again adds nothing twice.

    An admin may have changed the guidelines or added prompts meanwhile: those stay.
    """
    project = find_project_by_name(session, DEMO_PROJECT_NAME)
    if project is None:
        project = create_project(session, user, name=DEMO_PROJECT_NAME, guidelines=DEMO_GUIDELINES)
        record(session, user, "project.create", "project", project.id, name=project.name)
    for number, (messages, is_chat) in enumerate(demo_prompts(), start=1):
        add_prompt(session, project, messages, is_chat, external_id=f"demo-{number:02d}")
    return project
