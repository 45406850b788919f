"""What a labeler may say of one completion besides its rank.

A project's flags are a list of `{"name", "label"}`, with `"retired": true` on those that are no
longer offered. Nothing is ever taken off the list, for stored rankings hold the names.
"""

from collections.abc import Iterable

from app.models import Project

FLAGS: dict[str, str] = {
    "fails_task": "Fails the task",
    "wrong_facts": "Wrong facts",
    "unsafe": "Unsafe",
    "off_language": "Wrong language",
    "breaks_off": "Breaks off",
}
"""The flags of a project that has no list of its own: name to the words on its button. Stored
rankings hold the names: never rename one."""

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
    return {flag["name"]: flag["label"] for flag in project.flags if not flag.get("retired")}


def known_flags(project: Project) -> dict[str, str]:
    """Every flag this project offers or ever offered: what a ranking may carry, and its words."""
    if project.flags is None:
        return FLAGS
    return {flag["name"]: flag["label"] for flag in project.flags}


def flags_on(project: Project, carried: Iterable[str]) -> dict[str, str]:
    """The flags to show with a ranking that carries some: those offered, then the carried ones
    that are not offered any more, in their words where the project has any."""
    known = known_flags(project)
    extra = {name: known.get(name, flag_words(name)) for name in carried}
    return project_flags(project) | extra


def flag_words(name: str) -> str:
    """Words for a flag that the project does not know, as an import may bring."""
    return name.replace("_", " ")
