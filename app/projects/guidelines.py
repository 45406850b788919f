"""The versions of a project's guidelines, and what changed from one to the next."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Guidelines, Project, Ranking, RankingSource, User
from app.projects.comparison import ranking_counts

MOST_COMPARED_LINES = 2000
"""Of one version; comparing takes time that grows with the product of both."""
MOST_SHOWN_LINES = 400
CONTEXT_LINES = 2


class LineKind(StrEnum):
    """What became of a line; `gap` stands for lines left out because they are the same."""

    SAME = "same"
    ADDED = "added"
    REMOVED = "removed"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class ChangedLine:
    """A line of a difference."""

    kind: LineKind
    text: str


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a version changed of the one before."""

    before: int
    """The version compared with: the newest earlier one that was kept."""
    added: int
    removed: int
    lines: list[ChangedLine]
    cut: bool
    """There is more than `lines` shows, or the texts are too long to compare."""


@dataclass(frozen=True, kw_only=True)
class GuidelinesVersion:
    """A version of a project's guidelines."""

    version: int
    text: str
    created_at: datetime
    author: str | None
    """Name or address of who wrote it, where known."""
    rankings: int
    """Rankings made under it that count now; those made elsewhere are left out."""
    change: Change | None
    """None for the first version."""


def list_guidelines(
    session: Session, project: Project, *, before_version: int | None = None, limit: int = 20
) -> list[GuidelinesVersion]:
    """The versions of a project's guidelines, the newest first."""
    versions = (
        select(Guidelines, User.name, User.email)
        .outerjoin(User, User.id == Guidelines.created_by)
        .where(Guidelines.project_id == project.id)
        .order_by(Guidelines.version.desc())
        .limit(limit + 1)
    )
    if before_version is not None:
        versions = versions.where(Guidelines.version < before_version)
    rows = session.execute(versions).all()
    rankings = _count_rankings(session, project.id)
    found = [
        GuidelinesVersion(
            version=newer.version,
            text=newer.text,
            created_at=newer.created_at,
            author=name or email,
            rankings=rankings.get(newer.version, 0),
            change=compare_texts(older.version, older.text, newer.text),
        )
        for (newer, name, email), (older, *_) in pairwise(rows)
    ]
    if rows and len(rows) <= limit:
        first, name, email = rows[-1]
        found.append(
            GuidelinesVersion(
                version=first.version,
                text=first.text,
                created_at=first.created_at,
                author=name or email,
                rankings=rankings.get(first.version, 0),
                change=None,
            )
        )
    return found


def compare_texts(before: int, old: str, new: str) -> Change:
    """The difference of two texts line by line, as far as it can be shown."""
    old_lines, new_lines = old.split("\n"), new.split("\n")
    if max(len(old_lines), len(new_lines)) > MOST_COMPARED_LINES:
        return Change(before=before, added=0, removed=0, lines=[], cut=True)
    lines = _changed_lines(old_lines, new_lines)
    kinds = [line.kind for line in lines]
    return Change(
        before=before,
        added=kinds.count(LineKind.ADDED),
        removed=kinds.count(LineKind.REMOVED),
        lines=lines[:MOST_SHOWN_LINES],
        cut=len(lines) > MOST_SHOWN_LINES,
    )


def _changed_lines(old: Sequence[str], new: Sequence[str]) -> list[ChangedLine]:
    """Removed lines before added ones, with a few that stayed around them."""
    lines: list[ChangedLine] = []
    end = 0
    groups = difflib.SequenceMatcher(None, old, new).get_grouped_opcodes(CONTEXT_LINES)
    for group in groups:
        if group[0][1] > end:
            lines.append(ChangedLine(LineKind.GAP, ""))
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                lines += [ChangedLine(LineKind.SAME, text) for text in old[old_from:old_to]]
                continue
            lines += [ChangedLine(LineKind.REMOVED, text) for text in old[old_from:old_to]]
            lines += [ChangedLine(LineKind.ADDED, text) for text in new[new_from:new_to]]
        end = group[-1][2]
    if end < len(old):
        lines.append(ChangedLine(LineKind.GAP, ""))
    return lines


def _count_rankings(session: Session, project_id: str) -> dict[int, int]:
    return dict(
        session.execute(
            select(Ranking.guidelines_version, func.count())
            .where(
                Ranking.project_id == project_id,
                Ranking.source != RankingSource.IMPORT,
                ranking_counts(),
            )
            .group_by(Ranking.guidelines_version)
        ).all()
    )
