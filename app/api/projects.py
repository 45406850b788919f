"""Projects and their prompts over REST."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from app.accounts.audit import record
from app.api.paging import Cursor, Limit
from app.api.problems import problems
from app.api.prompts_body import PROMPTS_BODY
from app.api.uploads import IMPORT_ERRORS, ImportOut, UploadedBody, describe_import
from app.dependencies import Admin, AppDatabase, AppSettings, CurrentUser, ReadSession, WriteSession
from app.labeling.flags import list_flags
from app.models import Project, Prompt, Role, User
from app.projects.prompts import import_prompts, list_prompts
from app.projects.reading import content_type_format
from app.projects.service import (
    create_project,
    get_project,
    list_projects,
    refuse_archived,
    update_project,
)

router = APIRouter(tags=["projects"])

NOT_SAVED = problems("project_name_taken", "invalid", "invalid_flags")


class FlagIn(BaseModel):
    """A flag that labelers may set on a completion."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(
        default=None,
        max_length=100,
        description="What rankings hold; never changes. Made from the label where left out, of a "
        "flag that the project has it says which.",
        examples=["wrong_facts"],
    )
    label: str = Field(description="The words on its button.", examples=["Wrong facts"])
    retired: bool = Field(
        default=False,
        description="No longer offered; rankings that carry it stay as they are.",
        examples=[False],
    )


class FlagOut(FlagIn):
    """A flag of a project."""

    name: str = Field(description="What rankings hold.", examples=["wrong_facts"])


Flags = Annotated[
    list[FlagIn] | None,
    Field(
        description="The flags labelers may set, in the order of their buttons. A flag that is "
        "left out of a new list is retired, never deleted.",
        examples=[[{"label": "Wrong facts", "name": "wrong_facts"}, {"label": "Too long"}]],
    ),
]
GoldShare = Annotated[
    float | None,
    Field(
        ge=0,
        le=0.5,
        description="Share of a labeler's tasks that are gold, as long as there are some they "
        "have not ranked.",
        examples=[0.05],
    ),
]
RepeatShare = Annotated[
    float | None,
    Field(
        ge=0,
        le=0.5,
        description="Share of a labeler's tasks that are a task of their own again, in another "
        "order; its ranking is marked `is_repeat`.",
        examples=[0.0],
    ),
]


class ProjectIn(BaseModel):
    """A project to create."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        min_length=1,
        max_length=200,
        description="No other project may have it.",
        examples=["Short answers"],
    )
    guidelines: str = Field(
        default="",
        max_length=200_000,
        description="What labelers go by, in Markdown.",
        examples=["Prefer the answer that is **right**; of two right ones, the shorter."],
    )
    flags: Flags = None
    gold_share: GoldShare = None
    repeat_share: RepeatShare = None


class ProjectChange(BaseModel):
    """What to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, description="A new name.", examples=["Shorter answers"])
    guidelines: str | None = Field(
        default=None,
        description="New guidelines in Markdown; if they differ, their version goes up by one.",
        examples=["Prefer the shorter answer."],
    )
    restricted: bool | None = Field(
        default=None, description="Open to its members only.", examples=[False]
    )
    flags: Flags = None
    gold_share: GoldShare = None
    repeat_share: RepeatShare = None
    uncertain_first: bool | None = Field(
        default=None,
        description="Hand out first the tasks that the newest ensemble of reward models is least "
        "sure of.",
        examples=[True],
    )


class ProjectOut(BaseModel):
    """A project."""

    id: str = Field(description="Its id.", examples=["019a0c1f7d3e4c5f8a9b0c1d2e3f4a5b"])
    name: str = Field(description="Its name.", examples=["Short answers"])
    guidelines: str = Field(description="What labelers go by, in Markdown.", examples=["Be kind."])
    guidelines_version: int = Field(
        description="Counts from 1; every ranking carries the version it was made under.",
        examples=[1],
    )
    restricted: bool = Field(description="Open to its members only.", examples=[False])
    flags: list[FlagOut] = Field(
        description="The flags of its rankings, in the order of their buttons, retired ones too."
    )
    gold_share: float | None = Field(
        description="Share of a labeler's tasks that are gold; null for labelers, who are not "
        "told.",
        examples=[0.05],
    )
    repeat_share: float | None = Field(
        description="Share of a labeler's tasks that they ranked before; null for labelers.",
        examples=[0.0],
    )
    uncertain_first: bool | None = Field(
        description="Whether the tasks that a reward model is least sure of are handed out first; "
        "null for labelers.",
        examples=[False],
    )
    created_at: datetime = Field(description="When it was created, RFC 3339 in UTC.")
    archived_at: datetime | None = Field(description="When it was archived, or null.")


class ProjectList(BaseModel):
    """Projects, oldest first."""

    items: list[ProjectOut] = Field(description="The projects of this page.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null at the end.")


class PromptOut(BaseModel):
    """A prompt."""

    id: str = Field(description="Its id.", examples=["019a0c1f7d3e4c5f8a9b0c1d2e3f4a5b"])
    text: str | None = Field(
        description="Of a plain prompt; null of a chat.", examples=["Why is the sky blue?"]
    )
    messages: list[dict[str, str]] = Field(
        description="The prompt as chat messages; a plain prompt is one message of the user.",
        examples=[[{"role": "user", "content": "Why is the sky blue?"}]],
    )
    external_id: str | None = Field(
        description="The id it was imported with.", examples=["seed_task_0"]
    )
    tags: list[str] = Field(
        description="What people filter by; each once.", examples=[["physics", "short"]]
    )
    metadata: dict[str, Any] = Field(
        description="What else it was imported with.", examples=[{"topic": "physics"}]
    )
    created_at: datetime = Field(description="When it was stored, RFC 3339 in UTC.")


class PromptList(BaseModel):
    """Prompts, in the order they came."""

    items: list[PromptOut] = Field(description="The prompts of this page.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null at the end.")


@router.post("/projects", status_code=201, summary="Create a project", responses=NOT_SAVED)
def create(body: ProjectIn, session: WriteSession, user: Admin) -> ProjectOut:
    """A new project without prompts, open to every labeler."""
    project = create_project(
        session,
        user,
        name=body.name,
        guidelines=body.guidelines,
        flags=_plain(body.flags),
        gold_share=body.gold_share,
        repeat_share=body.repeat_share,
    )
    record(session, user, "project.create", "project", project.id, name=project.name)
    return describe_project(project, user)


@router.get("/projects", summary="List projects")
def list_all(
    session: ReadSession, user: CurrentUser, limit: Limit = 50, cursor: Cursor = None
) -> ProjectList:
    """The projects that are open to you and not archived, oldest first."""
    projects = list_projects(session, user, after_id=cursor or None, limit=limit + 1)
    return ProjectList(
        items=[describe_project(project, user) for project in projects[:limit]],
        next_cursor=projects[limit - 1].id if len(projects) > limit else None,
    )


@router.get("/projects/{project_id}", summary="Look at a project")
def get(project_id: str, session: ReadSession, user: CurrentUser) -> ProjectOut:
    """One project that is open to you."""
    return describe_project(get_project(session, project_id, user), user)


@router.patch("/projects/{project_id}", summary="Change a project", responses=NOT_SAVED)
def change(project_id: str, body: ProjectChange, session: WriteSession, user: Admin) -> ProjectOut:
    """Change the name, the guidelines, the flags, what is measured, or who may rank."""
    project = get_project(session, project_id, user)
    update_project(
        session,
        user,
        project,
        name=body.name,
        guidelines=body.guidelines,
        restricted=body.restricted,
        flags=_plain(body.flags),
        gold_share=body.gold_share,
        repeat_share=body.repeat_share,
        uncertain_first=body.uncertain_first,
    )
    record(
        session,
        user,
        "project.update",
        "project",
        project.id,
        name=project.name,
        guidelines_version=project.guidelines_version,
        restricted=project.restricted,
    )
    return describe_project(project, user)


@router.post(
    "/projects/{project_id}/prompts",
    summary="Import prompts",
    openapi_extra=PROMPTS_BODY,
    responses=IMPORT_ERRORS,
)
def add_prompts(
    project_id: str,
    request: Request,
    user: Admin,
    body: UploadedBody,
    database: AppDatabase,
    settings: AppSettings,
) -> ImportOut:
    """Keep every good prompt once, name every bad one by line and reason.

    A prompt is the same as another when its messages are. An import that broke off is completed by
    sending it again. A line may have 10 MB (`PODIUM_MAX_LINE_BYTES`), a JSON body 32 MB.
    """
    layout = content_type_format(request.headers.get("content-type"))
    with database.read() as session:
        refuse_archived(get_project(session, project_id, user))
    report = import_prompts(
        database, project_id, body, layout, max_line_bytes=settings.max_line_bytes
    )
    return describe_import(report)


@router.get("/projects/{project_id}/prompts", summary="List prompts")
def list_project_prompts(
    project_id: str,
    session: ReadSession,
    user: CurrentUser,
    limit: Limit = 50,
    cursor: Cursor = None,
    query: Annotated[
        str, Query(max_length=200, description="Words the prompt must hold.", examples=["sky"])
    ] = "",
    tag: Annotated[
        str, Query(max_length=100, description="A tag it must carry.", examples=["short"])
    ] = "",
    metadata: Annotated[
        str,
        Query(
            max_length=500,
            description="A value its metadata must have, as `key=value`.",
            examples=["topic=physics"],
        ),
    ] = "",
) -> PromptList:
    """The project's prompts in the order they came, those that all filters let pass."""
    project = get_project(session, project_id, user)
    prompts = list_prompts(
        session,
        project.id,
        query=query.strip(),
        tag=tag.strip(),
        metadata=metadata.strip(),
        after_id=cursor or None,
        limit=limit + 1,
    )
    return PromptList(
        items=[describe_prompt(prompt) for prompt in prompts[:limit]],
        next_cursor=prompts[limit - 1].id if len(prompts) > limit else None,
    )


def _plain(flags: list[FlagIn] | None) -> list[dict[str, Any]] | None:
    return None if flags is None else [flag.model_dump() for flag in flags]


def describe_project(project: Project, user: User) -> ProjectOut:
    """The project as REST gives it; who ranks is not told how often they are tested."""
    told = user.role in (Role.ADMIN, Role.RESEARCHER)
    return ProjectOut(
        id=project.id,
        name=project.name,
        guidelines=project.guidelines,
        guidelines_version=project.guidelines_version,
        restricted=project.restricted,
        flags=[FlagOut(**flag) for flag in list_flags(project)],
        gold_share=project.gold_share if told else None,
        repeat_share=project.repeat_share if told else None,
        uncertain_first=project.uncertain_first if told else None,
        created_at=project.created_at,
        archived_at=project.archived_at,
    )


def describe_prompt(prompt: Prompt) -> PromptOut:
    """The prompt as REST gives it."""
    return PromptOut(
        id=prompt.id,
        text=None if prompt.is_chat else prompt.messages[0]["content"],
        messages=prompt.messages,
        external_id=prompt.external_id,
        tags=prompt.tags,
        metadata=prompt.details,
        created_at=prompt.created_at,
    )
