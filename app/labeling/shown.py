"""What a labeler is shown: prompt and completions, and nothing of where they came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.labeling.direct import connect
from app.labeling.rankings import find_ranking_of, load_submission
from app.labeling.submissions import CheckedSubmission
from app.models import (
    Assignment,
    AssignmentState,
    Completion,
    Project,
    Prompt,
    Ranking,
    Task,
    User,
)


@dataclass(frozen=True, kw_only=True)
class ShownCompletion:
    """A completion under an id that reveals nothing, and the letter the page calls it by."""

    id: str
    letter: str
    text: str


@dataclass(frozen=True, kw_only=True)
class LeasedTask:
    """An assignment with what there is to rank."""

    assignment: Assignment
    messages: Sequence[dict[str, str]]
    is_chat: bool
    completions: Sequence[ShownCompletion]


@dataclass(frozen=True, kw_only=True)
class ShownTask(LeasedTask):
    """An assignment with all that its ranking page needs."""

    project: Project
    ranking: Ranking | None
    """The current ranking, where it was submitted before."""
    work: CheckedSubmission
    """What the labeler has done of it: the draft, else the submitted ranking, else nothing."""

    @property
    def is_edit(self) -> bool:
        """Whether the labeler looks back at a task ranked before."""
        return self.assignment.state == AssignmentState.SUBMITTED


_shown = (
    select(Assignment, Project, Prompt.messages, Prompt.is_chat)
    .join(Project, Project.id == Assignment.project_id)
    .join(Task, Task.id == Assignment.task_id)
    .join(Prompt, Prompt.id == Task.prompt_id)
    .where(Assignment.id == bindparam("assignment_id"), Assignment.user_id == bindparam("user_id"))
)
_prompt = (
    select(Prompt.messages, Prompt.is_chat)
    .join(Task, Task.prompt_id == Prompt.id)
    .where(Task.id == bindparam("task_id"))
)
_texts = select(Completion.id, Completion.text).where(Completion.task_id == bindparam("task_id"))


def load_leased_task(session: Session, assignment: Assignment) -> LeasedTask:
    """What a lease is about, without what the person has done of it."""
    task = {"task_id": assignment.task_id}
    connection = connect(session)
    prompt = connection.execute(_prompt, task).one()
    texts = dict(connection.execute(_texts, task).all())
    return LeasedTask(
        assignment=assignment,
        messages=prompt.messages,
        is_chat=prompt.is_chat,
        completions=_show(assignment, texts),
    )


def _show(assignment: Assignment, texts: Mapping[str, str]) -> list[ShownCompletion]:
    return [
        ShownCompletion(id=completion, letter="ABCDEFGHI"[place], text=texts[completion])
        for place, completion in enumerate(assignment.shown_order)
    ]


def load_shown_task(session: Session, user: User, assignment_id: str) -> ShownTask:
    """The person's own assignment as it is shown; somebody else's is absent (`NotFound`)."""
    found = {"assignment_id": assignment_id, "user_id": user.id}
    row = session.execute(_shown, found).one_or_none()
    if row is None:
        raise NotFound("There is no such assignment of yours.")
    assignment, project, messages, is_chat = row
    texts = dict(session.connection().execute(_texts, {"task_id": assignment.task_id}).all())
    ranking = None
    if assignment.state == AssignmentState.SUBMITTED:
        ranking = find_ranking_of(session, assignment.id)
    return ShownTask(
        assignment=assignment,
        project=project,
        messages=messages,
        is_chat=is_chat,
        completions=_show(assignment, texts),
        ranking=ranking,
        work=_work_so_far(session, assignment, ranking),
    )


def _work_so_far(
    session: Session, assignment: Assignment, ranking: Ranking | None
) -> CheckedSubmission:
    if assignment.draft is not None:
        return CheckedSubmission(**assignment.draft)
    if ranking is not None:
        return load_submission(session, ranking)
    return CheckedSubmission(ranks={}, ratings={}, flags={}, comment="", active_ms=None)
