"""Gold tasks over REST."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from app.api.paging import Cursor, Limit
from app.api.problems import problems
from app.dependencies import Admin, ReadSession, WriteSession
from app.labeling.gold import clear_gold, list_check_tasks, set_gold
from app.models import Task, TaskPurpose
from app.projects.service import get_project

router = APIRouter(tags=["rounds"])

COMPLETION_ID = "5f0c2b9e6f6f4a0e8d5a1f3f7e0b9c1d"
OTHER_ID = "6a1d3cae7f7f4b1f9e6b2a4a8f1cad2e"
NOT_READY = problems("task_not_ready", "invalid", "invalid_ranking")


class GoldIn(BaseModel):
    """The right order of a task."""

    model_config = ConfigDict(extra="forbid")

    ranks: Annotated[
        dict[str, Any],
        WithJsonSchema(
            {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}}
        ),
    ] = Field(
        description="Rank of every completion by its id: 1 is best, equal ranks are ties; at least "
        "two different ones.",
        examples=[{COMPLETION_ID: 1, OTHER_ID: 2}],
    )


class CheckTaskOut(BaseModel):
    """A task that every labeler is given."""

    id: str = Field(description="Id of the task.")
    round_id: str = Field(description="Id of its round.")
    purpose: str = Field(
        description="`gold` or `calibration`; `ordinary` once it is neither.", examples=["gold"]
    )
    gold_ranks: dict[str, int] | None = Field(
        description="Of a gold task the right rank of each completion, without gaps.",
        examples=[{COMPLETION_ID: 1, OTHER_ID: 2}],
    )
    state: str = Field(
        description="`complete` when it has the rankings its round wants; it is handed out "
        "nevertheless.",
        examples=["open"],
    )
    rankings_wanted: int = Field(
        description="How many people its round wants to rank it.", examples=[1]
    )
    rankings_got: int = Field(description="How many people ranked it.", examples=[3])


class CheckTaskList(BaseModel):
    """Gold and calibration tasks, in the order of their making."""

    items: list[CheckTaskOut] = Field(description="The tasks of this page.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null at the end.")


@router.put("/tasks/{task_id}/gold", summary="Make a gold task", responses=NOT_READY)
def put(task_id: str, body: GoldIn, session: WriteSession, user: Admin) -> CheckTaskOut:
    """Say the right order; from then on every labeler is given the task, unmarked."""
    return describe(set_gold(session, user, task_id, body.ranks))


@router.delete("/tasks/{task_id}/gold", summary="Make it an ordinary task again")
def delete(task_id: str, session: WriteSession, user: Admin) -> CheckTaskOut:
    """It counts towards its round as before, and its rankings stay."""
    return describe(clear_gold(session, user, task_id))


@router.get("/projects/{project_id}/gold", summary="List gold and calibration tasks")
def list_all(
    project_id: str,
    session: ReadSession,
    user: Admin,
    purpose: Annotated[
        str | None,
        Query(
            pattern="^(gold|calibration)$",
            description="Only `gold`, or only `calibration` tasks.",
            examples=["gold"],
        ),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> CheckTaskList:
    """The tasks of the project that every labeler is given, with how many ranked each."""
    project = get_project(session, project_id, user)
    found = list_check_tasks(
        session,
        project.id,
        purpose=TaskPurpose(purpose) if purpose else None,
        after_id=cursor or "",
        limit=limit + 1,
    )
    return CheckTaskList(
        items=[describe(item.task) for item in found[:limit]],
        next_cursor=found[limit - 1].task.id if len(found) > limit else None,
    )


def describe(task: Task) -> CheckTaskOut:
    """The task as REST gives it."""
    return CheckTaskOut(
        id=task.id,
        round_id=task.round_id,
        purpose=task.purpose,
        gold_ranks=task.gold_ranks,
        state=task.state,
        rankings_wanted=task.rankings_wanted,
        rankings_got=task.rankings_got,
    )
