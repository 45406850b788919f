"""Projects: who may see them, their guidelines and their members."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid, NotFound
from app.labeling.flags import set_flags
from app.models import Guidelines, Membership, Project, Role, User, utc_now

MAX_NAME_LENGTH = 200
MAX_GUIDELINES_LENGTH = 200_000
MOST_SHARE = 0.5


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or "\x00" in name:
        raise Invalid("A project needs a name.", fields={"name": "1 to 200 characters"})
    if len(name) > MAX_NAME_LENGTH:
        raise Invalid("The name is too long.", fields={"name": "1 to 200 characters"})
    return name


def _checked_guidelines(guidelines: str) -> str:
    if len(guidelines) > MAX_GUIDELINES_LENGTH or "\x00" in guidelines:
        raise Invalid(
            "The guidelines are too long or hold a NUL character.",
            fields={"guidelines": f"Markdown, at most {MAX_GUIDELINES_LENGTH:,} characters"},
        )
    return guidelines.replace("\r\n", "\n").strip()


def _flush_name(session: Session, name: str) -> None:
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict(
            f"There is a project named “{name}” already.",
            code="project_name_taken",
            fields={"name": "a name no other project has"},
        ) from error


def _refuse_taken_name(session: Session, name: str, but: Project | None = None) -> None:
    taken = session.scalar(select(Project.id).where(Project.name == name))
    if taken is not None and (but is None or taken != but.id):
        raise Conflict(
            f"There is a project named “{name}” already.",
            code="project_name_taken",
            fields={"name": "a name no other project has"},
        )


def _set_labeling(
    project: Project,
    flags: Sequence[Mapping[str, Any]] | None,
    gold_share: float | None,
    repeat_share: float | None,
    uncertain_first: bool | None = None,
) -> None:
    """Change what is given of how the project is labeled."""
    if flags is not None:
        set_flags(project, flags)
    if gold_share is not None:
        project.gold_share = _checked_share("gold_share", gold_share)
    if repeat_share is not None:
        project.repeat_share = _checked_share("repeat_share", repeat_share)
    if uncertain_first is not None:
        project.uncertain_first = uncertain_first


def _checked_share(name: str, share: float) -> float:
    if not 0 <= share <= MOST_SHARE:  # NaN is not either
        raise Invalid(f"{name} must be from 0 to {MOST_SHARE}.", fields={name: "from 0 to 0.5"})
    return float(share)


def create_project(
    session: Session,
    user: User | None,
    *,
    name: str,
    guidelines: str,
    flags: Sequence[Mapping[str, Any]] | None = None,
    gold_share: float | None = None,
    repeat_share: float | None = None,
) -> Project:
    """A new project, open to every labeler; admins may call.

    Without `flags` it has the usual ones. Raises Invalid for an empty or overlong name and for
    flags or shares that cannot be, Conflict for a name that is taken.
    """
    name = _checked_name(name)
    _refuse_taken_name(session, name)
    project = Project(
        name=name,
        guidelines=_checked_guidelines(guidelines),
        created_by=user.id if user else None,
    )
    if flags is not None:
        project.flags = []
    _set_labeling(project, flags, gold_share, repeat_share)
    session.add(project)
    _flush_name(session, name)
    _keep_guidelines(session, project, user)
    return project


def _keep_guidelines(session: Session, project: Project, user: User | None) -> None:
    session.add(
        Guidelines(
            project_id=project.id,
            version=project.guidelines_version,
            text=project.guidelines,
            created_by=user.id if user else None,
        )
    )
    session.flush()


def _visible_to(user: User) -> Select[Project]:
    """The projects this person may know of: all of them, but for labelers only the open ones and
    those they are a member of."""
    projects = select(Project)
    if user.role in (Role.ADMIN, Role.RESEARCHER):
        return projects
    mine = select(Membership.project_id).where(Membership.user_id == user.id)
    return projects.where(
        Project.archived_at.is_(None), or_(Project.restricted.is_(False), Project.id.in_(mine))
    )


def get_project(session: Session, project_id: str, user: User) -> Project:
    """The project, or NotFound when there is none or this person may not know of it."""
    project = session.scalar(_visible_to(user).where(Project.id == project_id))
    if project is None:
        raise NotFound("There is no such project.", code="project_not_found")
    return project


def find_project_by_name(session: Session, name: str) -> Project | None:
    """The project of that exact name."""
    return session.scalar(select(Project).where(Project.name == " ".join(name.split())))


def refuse_archived(project: Project) -> None:
    """Nothing is added to an archived project."""
    if project.archived_at is not None:
        raise Conflict("This project is archived; restore it first.", code="project_archived")


def list_projects(
    session: Session,
    user: User,
    *,
    include_archived: bool = False,
    after_id: str | None = None,
    limit: int | None = None,
) -> list[Project]:
    """The projects this person may see, oldest first."""
    projects = _visible_to(user).order_by(Project.id)
    if not include_archived:
        projects = projects.where(Project.archived_at.is_(None))
    if after_id is not None:
        projects = projects.where(Project.id > after_id)
    if limit is not None:
        projects = projects.limit(limit)
    return list(session.scalars(projects))


def update_project(
    session: Session,
    user: User | None,
    project: Project,
    *,
    name: str | None = None,
    guidelines: str | None = None,
    restricted: bool | None = None,
    flags: Sequence[Mapping[str, Any]] | None = None,
    gold_share: float | None = None,
    repeat_share: float | None = None,
    uncertain_first: bool | None = None,
) -> Project:
    """Change what is given; admins may call.

    Guidelines that really changed get the next version number, which later rankings carry; every
    version is kept. Flags that are left out of the new list are retired.
    """
    if name is not None:
        name = _checked_name(name)
        _refuse_taken_name(session, name, but=project)
        project.name = name
    if guidelines is not None:
        guidelines = _checked_guidelines(guidelines)
        if guidelines != project.guidelines:
            project.guidelines = guidelines
            project.guidelines_version += 1
            _keep_guidelines(session, project, user)
    if restricted is not None:
        project.restricted = restricted
    _set_labeling(project, flags, gold_share, repeat_share, uncertain_first)
    _flush_name(session, project.name)
    return project


def archive_project(session: Session, project: Project) -> None:
    """Hide the project from lists and from labelers; nothing is deleted."""
    project.archived_at = project.archived_at or utc_now()
    session.flush()


def restore_project(session: Session, project: Project) -> None:
    """Undo `archive_project`."""
    project.archived_at = None
    session.flush()


def list_members(session: Session, project: Project) -> list[User]:
    """The people of a restricted project, by address."""
    members = select(User).join(Membership, Membership.user_id == User.id)
    return list(
        session.scalars(members.where(Membership.project_id == project.id).order_by(User.email))
    )


def add_member(session: Session, project: Project, user: User) -> None:
    """Let this person into the restricted project; adding twice is the same as once."""
    if session.get(Membership, (project.id, user.id)) is None:
        session.add(Membership(project_id=project.id, user_id=user.id))
        session.flush()


def remove_member(session: Session, project: Project, user: User) -> None:
    """Take this person out of the project; their rankings stay."""
    membership = session.get(Membership, (project.id, user.id))
    if membership is not None:
        session.delete(membership)
        session.flush()
