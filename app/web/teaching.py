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
        TeacherRow(teacher=teacher, href=_teacher_href(teacher, user))
        for teacher in taught.labelers[:MOST_TEACHERS]
    ]


def _teacher_href(teacher: Teacher, user: User) -> str:
    if user.role == Role.ADMIN:
        return labeler_href(teacher.project.id, teacher.labeler)
    query = urlencode({"labeler": teacher.labeler, "view": "rankings"})
    return f"/projects/{teacher.project.id}/pairs?{query}"
