"""Every table. Import from here."""

from app.models.accounts import AccountLink, ApiToken, AuditEvent, BrowserSession, Role, User
from app.models.base import Base, new_id, new_ids, opaque_id, utc_now
from app.models.evaluation import CompletionReward, Promotion
from app.models.jobs import Job, JobEvent, JobMetric, JobState, Worker
from app.models.labeling import (
    Assignment,
    AssignmentState,
    Ranking,
    RankingEntry,
    RankingSource,
)
from app.models.projects import (
    Completion,
    Guidelines,
    LabelerPause,
    Membership,
    Project,
    Prompt,
    Round,
    RoundKind,
    RoundState,
    Task,
    TaskPurpose,
    TaskState,
)
from app.models.registry import (
    Model,
    ModelKind,
    ModelSource,
    Snapshot,
    SnapshotRanking,
)

__all__ = [
    "AccountLink",
    "ApiToken",
    "Assignment",
    "AssignmentState",
    "AuditEvent",
    "Base",
    "BrowserSession",
    "Completion",
    "CompletionReward",
    "Guidelines",
    "Job",
    "JobEvent",
    "JobMetric",
    "JobState",
    "LabelerPause",
    "Membership",
    "Model",
    "ModelKind",
    "ModelSource",
    "Project",
    "Promotion",
    "Prompt",
    "Ranking",
    "RankingEntry",
    "RankingSource",
    "Role",
    "Round",
    "RoundKind",
    "RoundState",
    "Snapshot",
    "SnapshotRanking",
    "Task",
    "TaskPurpose",
    "TaskState",
    "User",
    "Worker",
    "new_id",
    "new_ids",
    "opaque_id",
    "utc_now",
]
