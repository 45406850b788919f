"""What a labeler may say of one completion besides its rank.

A project's flags are a list of `{"name", "label"}`, with `"retired": true` on those that are no
longer offered. Nothing is ever taken off the list, for stored rankings hold the names.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.errors import Invalid
from app.models import Project

MOST_FLAGS = 30
MOST_FLAGS_EVER = 200
LONGEST_FLAG_LABEL = 60
LONGEST_FLAG_NAME = 40
ACCEPTED_FLAG = {
    "label": f"1 to {LONGEST_FLAG_LABEL} characters, not those of another flag",
    "name": f"1 to {LONGEST_FLAG_NAME} of a-z, 0-9 and _, not that of another flag",
    "retired": "true or false",
}

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
    return flag_names(project.flags)


def flag_names(flags: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    """The names in a project's `flags` with their words; the usual ones where it has none."""
    return FLAGS if flags is None else {flag["name"]: flag["label"] for flag in flags}


def flags_on(project: Project, carried: Iterable[str]) -> dict[str, str]:
    """The flags to show with a ranking that carries some: those offered, then the carried ones
    that are not offered any more, in their words where the project has any."""
    known = known_flags(project)
    extra = {name: known.get(name, flag_words(name)) for name in carried}
    return project_flags(project) | extra


def flag_words(name: str) -> str:
    """Words for a flag that the project does not know, as an import may bring."""
    return name.replace("_", " ")


def list_flags(project: Project) -> list[dict[str, Any]]:
    """Every flag with `name`, `label` and `retired`, in the order of the buttons."""
    if project.flags is None:
        return [{"name": name, "label": label, "retired": False} for name, label in FLAGS.items()]
    return [{"retired": False} | flag for flag in project.flags]


def set_flags(project: Project, given: Sequence[Mapping[str, Any]]) -> None:
    """Offer these flags in this order; each is `{label, name?, retired?}`.

    A flag that the project has is known by its name, which never changes, and may get another
    label; a new one is named after its label unless it comes with a name. Flags that are left out
    are retired: no longer offered, while the rankings that carry them stay as they are. Raises
    `Invalid`, naming `flags[place].label` and the like.
    """
    known = known_flags(project)
    problems: dict[str, str] = {}
    flags: list[dict[str, Any]] = []
    names, labels = set(known), set[str]()
    seen: set[str] = set()
    for place, item in enumerate(given):
        label = _checked_label(item.get("label"))
        name = item.get("name")
        if label is None or label.casefold() in labels:
            problems[f"flags[{place}].label"] = ACCEPTED_FLAG["label"]
            continue
        if name is None:
            name = _name_for(label, names)
        elif not _is_name(name, known) or name in seen:
            problems[f"flags[{place}].name"] = ACCEPTED_FLAG["name"]
            continue
        if not isinstance(item.get("retired", False), bool):
            problems[f"flags[{place}].retired"] = ACCEPTED_FLAG["retired"]
            continue
        labels.add(label.casefold())
        names.add(name)
        seen.add(name)
        flags.append({"name": name, "label": label} | _mark_retired(item.get("retired", False)))
    for name, label in known.items():
        if name not in seen:
            flags.append({"name": name, "label": label} | _mark_retired(True))
    offered = sum(not flag.get("retired") for flag in flags)
    if offered > MOST_FLAGS or len(flags) > MOST_FLAGS_EVER:
        problems["flags"] = f"at most {MOST_FLAGS} on offer and {MOST_FLAGS_EVER} ever"
    if problems:
        field, accepted = next(iter(problems.items()))
        raise Invalid(f"{field} must be {accepted}.", code="invalid_flags", fields=problems)
    if project.flags is not None or flags != _as_stored(FLAGS):
        project.flags = flags


def _as_stored(flags: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "label": label} for name, label in flags.items()]


def _mark_retired(retired: bool) -> dict[str, Any]:
    return {"retired": True} if retired else {}


def _checked_label(label: object) -> str | None:
    if not isinstance(label, str):
        return None
    label = " ".join(label.split())
    broken = any(character == "\0" or "\ud800" <= character <= "\udfff" for character in label)
    return label if 0 < len(label) <= LONGEST_FLAG_LABEL and not broken else None


def _is_name(name: object, known: Mapping[str, str]) -> bool:
    return isinstance(name, str) and (
        name in known or re.fullmatch(rf"[a-z0-9_]{{1,{LONGEST_FLAG_NAME}}}", name) is not None
    )


def _name_for(label: str, taken: set[str]) -> str:
    """The label in plain letters; a number tells it from others that come out the same."""
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[: LONGEST_FLAG_NAME - 4] or "flag"
    number = 1
    while (numbered := name if number == 1 else f"{name}_{number}") in taken:
        number += 1
    return numbered
