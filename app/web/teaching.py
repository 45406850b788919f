"""Who taught a model, as its page shows it."""

from dataclasses import dataclass
from urllib.parse import urlencode

from app.models import Role, User
from app.registry.labelers import ModelLabelers, Teacher
from app.web.figures import labeler_href

MOST_TEACHERS = 50
"""Labelers shown, those who contributed most; REST gives the others."""


@dataclass(frozen=True, kw_only=True)
class TeacherRow:
    """A labeler with the address of what this person may read about them."""

    teacher: Teacher
    href: str


def list_teachers(taught: ModelLabelers, user: User) -> list[TeacherRow]:
    """The first labelers behind a model: admins are led to their page, others to their rankings."""
    return [
        TeacherRow(teacher=teacher, href=labeler_link(user, teacher.project.id, teacher.labeler))
        for teacher in taught.labelers[:MOST_TEACHERS]
    ]


def labeler_link(user: User, project_id: str, labeler: str) -> str:
    """Where this person may read about a labeler: admins on their page, others their rankings."""
    if user.role == Role.ADMIN:
        return labeler_href(project_id, labeler)
    query = urlencode({"labeler": labeler, "view": "rankings"})
    return f"/projects/{project_id}/pairs?{query}"
