"""What a labeler may say of one completion besides its rank."""

from app.models import Project

FLAGS: dict[str, str] = {
    "fails_task": "Fails the task",
    "wrong_facts": "Wrong facts",
    "unsafe": "Unsafe",
    "off_language": "Wrong language",
    "breaks_off": "Breaks off",
}
"""Flag to the words on its button. Stored rankings hold the flags: never rename one."""

RATINGS = range(1, 8)
"""1 is useless, 7 could not be better."""

SKIP_REASONS: dict[str, str] = {
    "cannot_be_ranked": "Cannot be ranked: the completions are too alike or all unusable",
    "unclear": "The prompt or the guidelines do not say what counts",
    "not_my_field": "I do not know enough about this",
    "offensive": "I would rather not read this",
    "other": "Something else",
}
"""Reasons offered on the page; REST takes any text."""


def project_flags(project: Project) -> dict[str, str]:
    """The flags that labelers of this project may set, with the words on their buttons."""
    if project.flags is None:
        return FLAGS
    return {flag["name"]: flag["label"] for flag in project.flags}
