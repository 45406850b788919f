"""A labeler's own rankings, to look back at."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Project, Prompt, Ranking, RankingEntry, Task, User

EXCERPT_CHARACTERS = 200
LETTERS = "ABCDEFGHI"


@dataclass(frozen=True, kw_only=True)
class PastRevision:
    """A ranking as it was given."""

    ranking: Ranking
    ranks: Mapping[str, int | None]
    """By completion id."""
    groups: Sequence[Sequence[str]]
    """The letters of the completions, best first; those of one group are tied."""

    @property
    def order(self) -> str:
        """As "B > A = C": best first, ties by an equals sign."""
        return " > ".join(" = ".join(group) for group in self.groups)


@dataclass(frozen=True, kw_only=True)
class PastRanking:
    """One of a person's own rankings: what counts now, and what stood there before."""

    latest: PastRevision
    project: Project
    excerpt: str
    """The beginning of what was asked last."""
    earlier: Sequence[PastRevision]
    """Newest first."""


def list_own_rankings(
    session: Session,
    user: User,
    *,
    project_id: str | None = None,
    before_id: str | None = None,
    limit: int,
) -> list[PastRanking]:
    """What the person ranked, the last changed first, revoked ones too."""
    own = (
        select(Ranking, Project, Prompt)
        .join(Project, Project.id == Ranking.project_id)
        .join(Task, Task.id == Ranking.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(Ranking.user_id == user.id, Ranking.current, Ranking.assignment_id.is_not(None))
        .order_by(Ranking.id.desc())
        .limit(limit)
    )
    if project_id is not None:
        own = own.where(Ranking.project_id == project_id)
    if before_id is not None:
        own = own.where(Ranking.id < before_id)
    rows = session.execute(own).all()
    edited = [ranking.assignment_id for ranking, *_ in rows if ranking.revision > 1]
    earlier = session.scalars(
        select(Ranking)
        .where(Ranking.assignment_id.in_(edited), ~Ranking.current)
        .order_by(Ranking.id.desc())
    ).all()
    revisions = _read_revisions(session, [*(ranking for ranking, *_ in rows), *earlier])
    before: dict[str | None, list[PastRevision]] = defaultdict(list)
    for ranking in earlier:
        before[ranking.assignment_id].append(revisions[ranking.id])
    return [
        PastRanking(
            latest=revisions[ranking.id],
            project=project,
            excerpt=_excerpt(prompt),
            earlier=before[ranking.assignment_id],
        )
        for ranking, project, prompt in rows
    ]


def list_ranked_projects(session: Session, user: User) -> Sequence[Project]:
    """The projects in which the person ranked something, by name."""
    ranked = select(Ranking.project_id).where(
        Ranking.user_id == user.id, Ranking.assignment_id.is_not(None)
    )
    return session.scalars(
        select(Project).where(Project.id.in_(ranked)).order_by(Project.name)
    ).all()


def find_last_version_read(session: Session, user: User, project_id: str) -> int | None:
    """The version of the guidelines under which the person last ranked in the project."""
    return session.scalar(
        select(Ranking.guidelines_version)
        .where(
            Ranking.user_id == user.id,
            Ranking.project_id == project_id,
            Ranking.assignment_id.is_not(None),
        )
        .order_by(Ranking.id.desc())
        .limit(1)
    )


def _read_revisions(session: Session, rankings: Collection[Ranking]) -> dict[str, PastRevision]:
    entries = session.scalars(
        select(RankingEntry).where(RankingEntry.ranking_id.in_([one.id for one in rankings]))
    )
    ranks: dict[str, dict[str, int | None]] = defaultdict(dict)
    for entry in entries:
        ranks[entry.ranking_id][entry.completion_id] = entry.rank
    return {
        ranking.id: PastRevision(
            ranking=ranking,
            ranks=ranks[ranking.id],
            groups=_group(ranking.shown_order, ranks[ranking.id]),
        )
        for ranking in rankings
    }


def _group(shown: Sequence[str], ranks: Mapping[str, int | None]) -> list[list[str]]:
    placed = sorted(
        (rank, LETTERS[place])
        for place, completion in enumerate(shown)
        if (rank := ranks.get(completion)) is not None
    )
    return [[letter for _, letter in group] for _, group in groupby(placed, key=lambda one: one[0])]


def _excerpt(prompt: Prompt) -> str:
    words = " ".join(prompt.messages[-1]["content"].split())
    if len(words) <= EXCERPT_CHARACTERS:
        return words
    return words[:EXCERPT_CHARACTERS].rstrip() + "…"
