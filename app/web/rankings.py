"""The page of one ranking: what it says, how it was revised, and what came of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.dependencies import ReadSession, Researcher
from app.labeling.flags import flag_words, known_flags
from app.models import Ranking, Round, Task, User
from app.preferences.pair_stream import ranking_pairs
from app.preferences.revisions import get_ranking
from app.preferences.stored_rankings import StoredRanking
from app.projects.service import get_project
from app.registry.ranking_lineage import RankingLineage, get_ranking_lineage
from app.web.figures import labeler_href
from app.web.lineage_stages import MOST_NODES, draw_lineage
from app.web.templating import render

router = APIRouter()

LETTERS = "ABCDEFGHI"


@dataclass(frozen=True, kw_only=True)
class RevisionShown:
    """One revision with its order in letters and what it changed."""

    ranking: Ranking
    order: str
    changes: list[str]


@router.get("/rankings/{ranking_id}")
def show_ranking(
    request: Request, session: ReadSession, user: Researcher, ranking_id: str
) -> HTMLResponse:
    """One ranking with its task, its revisions and its lineage, revoked and erased ones too."""
    ranking = get_ranking(session, ranking_id)
    project = get_project(session, ranking.project_id, user)
    lineage = get_ranking_lineage(session, ranking)
    said = lineage.said[ranking.id]
    newest = lineage.said[lineage.revisions[-1].id]
    letters = name_completions(newest)
    flags = known_flags(project)
    round_ = session.get_one(Round, session.get_one(Task, ranking.task_id).round_id)
    return render(
        request,
        "rankings/page.html",
        {
            "project": project,
            "active": "pairs",
            "row": ranking,
            "ranking": said,
            "round": round_,
            "pairs": list(ranking_pairs(said)),
            "letters": letters,
            "flag_labels": flags,
            "origin": describe_origin(ranking.origin),
            "revoked_by": session.get(User, ranking.revoked_by) if ranking.revoked_by else None,
            "latest": lineage.revisions[-1],
            "revisions": show_revisions(lineage, letters, flags),
            "stages": draw_lineage(session, lineage, project, user),
            "most_nodes": MOST_NODES,
            "held": bool(lineage.holdings),
            "labeler_href": labeler_href(project.id, ranking.labeler),
        },
    )


def name_completions(said: StoredRanking) -> dict[str, str]:
    """A letter for each completion: in the order the labeler saw, or else in that of making."""
    ids = [completion.id for completion in said.completions]
    if set(said.shown_order) == set(ids):
        ids = said.shown_order
    return dict(zip(ids, LETTERS, strict=False))


def describe_origin(origin: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """What an import said beside the ranking, name by name."""
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in (origin or {}).items()
    ]


def show_revisions(
    lineage: RankingLineage, letters: Mapping[str, str], flags: Mapping[str, str]
) -> list[RevisionShown]:
    """The newest revision first, each with what changed since the one before."""
    shown: list[RevisionShown] = []
    before: Ranking | None = None
    for revision in lineage.revisions:
        said = lineage.said[revision.id]
        changes = []
        if before is not None and revision.erased_at is None and before.erased_at is None:
            earlier = lineage.said[before.id]
            changes = describe_changes(earlier, said, letters, flags) or ["nothing but the time"]
        shown.append(
            RevisionShown(ranking=revision, order=describe_order(said, letters), changes=changes)
        )
        before = revision
    return shown[::-1]


def describe_order(said: StoredRanking, letters: Mapping[str, str]) -> str:
    """As "B > A = C": best first, ties by an equals sign, the unranked left out."""
    ranked = sorted(
        (rank, letters[completion.id])
        for rank, completion in zip(said.ranks, said.completions, strict=True)
        if rank is not None
    )
    groups = groupby(ranked, key=lambda one: one[0])
    return " > ".join(" = ".join(letter for _, letter in group) for _, group in groups)


def describe_changes(
    before: StoredRanking,
    after: StoredRanking,
    letters: Mapping[str, str],
    flags: Mapping[str, str],
) -> list[str]:
    """What the later revision says otherwise, in words."""
    changes = []
    places = sorted(range(len(after.completions)), key=lambda n: letters[after.completions[n].id])
    for place in places:
        letter = letters[after.completions[place].id]
        if before.ranks[place] != after.ranks[place]:
            ranks = (before.ranks[place] or "none", after.ranks[place] or "none")
            changes.append(f"{letter}: rank {ranks[0]} → {ranks[1]}")
        if before.ratings[place] != after.ratings[place]:
            ratings = (before.ratings[place] or "none", after.ratings[place] or "none")
            changes.append(f"{letter}: rating {ratings[0]} → {ratings[1]}")
        old, new = set(before.flags[place]), set(after.flags[place])
        for words, names in (("flag set", new - old), ("flag taken away", old - new)):
            changes += [
                f"{letter}: {words}, {flags.get(name, flag_words(name))}" for name in sorted(names)
            ]
    if before.comment != after.comment:
        changes.append("comment changed" if before.comment and after.comment else _comment(after))
    if before.guidelines_version != after.guidelines_version:
        changes.append(f"under version {after.guidelines_version} of the guidelines")
    return changes


def _comment(after: StoredRanking) -> str:
    return "comment added" if after.comment else "comment taken away"
