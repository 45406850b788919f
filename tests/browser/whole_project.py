"""One project with everything in it, filled through the app's services: what every page is looked
at with."""

import json
import random
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.links import create_invite_link
from app.accounts.tokens import create_token
from app.accounts.users import create_user, disable_user
from app.db import Database
from app.labeling.drafts import save_draft
from app.labeling.gold import set_gold
from app.labeling.pauses import pause_labeler
from app.labeling.queue import lease_next_task, skip_assignment
from app.labeling.rankings import submit_ranking
from app.labeling.revocation import revoke_rankings
from app.labeling.submissions import Submission
from app.models import (
    Assignment,
    Completion,
    Project,
    Ranking,
    RankingSource,
    Role,
    Round,
    SnapshotRanking,
    Task,
    TaskPurpose,
    User,
    utc_now,
)
from app.preferences.erasure import erase_labeler
from app.preferences.filters import PairFilters
from app.preferences.imports import import_rankings
from app.preferences.snapshots import create_snapshot
from app.preferences.splits import SplitPlan
from app.projects.prompts import add_prompt
from app.projects.service import archive_project, create_project, update_project
from app.projects.task_import import import_tasks
from app.registry.service import ensure_starters
from tests.browser.whole_evaluation import add_evaluation
from tests.browser.whole_jobs import POLICY, add_jobs, add_models, add_rounds
from tests.browser.whole_texts import CONVERSATION, GUIDELINES, RIGHT_TO_LEFT, TEXTS, UNBROKEN

LEASE_SECONDS = 3600
LONG_NAME = "Kind, short and truthful answers to questions that people ask a library at night"


@dataclass(frozen=True, kw_only=True)
class WholeProject:
    """What the addresses of pages name, and who opens them."""

    ids: dict[str, str]
    people: dict[str, User]


def fill(database: Database) -> WholeProject:
    """Fill an empty database; the same each time."""
    with database.write() as session:
        people = _add_people(session)
        admin, labelers = people["admin"], [people["labeler"], *_add_labelers(session)]
        ensure_starters(session)
        project = _add_project(session, admin)
        ids = {"project_id": project.id}
        ids |= _add_ranked_round(session, admin, project, labelers)
        ids |= add_models(session, admin, project)
        ids |= add_rounds(session, admin, project)
        ids |= add_jobs(session, admin, project, ids["snapshot_id"])
        ids |= _add_other_projects(session, admin, people["labeler"])
        ids |= add_evaluation(session, admin)
        create_token(session, admin, "Export of every night, with a name that is rather long")
        ids["invite"] = create_invite_link(session, labelers[-1])
        _let_go_of_some(session, admin, project, labelers)
        erase_labeler(session, admin, project, labelers[4].handle)
    import_rankings(database, ids["project_id"], [_imported_ranking()], "application/x-ndjson")
    with database.read() as session:
        ids |= _pick_rankings(session, ids)
    return WholeProject(ids=ids, people=people)


def _add_people(session: Session) -> dict[str, User]:
    return {
        "admin": create_user(
            session,
            email="ada@example.org",
            role=Role.ADMIN,
            name="Ada Admin",
            password="three blue bars",
        ),
        "labeler": create_user(
            session,
            email="lena@example.org",
            role=Role.LABELER,
            name="Lena Labeler",
            password="three blue bars",
        ),
        "researcher": create_user(session, email="rui@example.org", role=Role.RESEARCHER),
        "idle": create_user(session, email="idle@example.org", role=Role.LABELER),
    }


def _add_labelers(session: Session) -> list[User]:
    names = ("Ben", "נועה לוי", f"{UNBROKEN[:90]}")
    people = [
        create_user(
            session,
            email=f"{UNBROKEN[:40].lower() if place else 'ben'}{place}@example.org".replace(
                "ä", "ae"
            ).replace("ü", "ue"),
            role=Role.LABELER,
            name=name,
        )
        for place, name in enumerate(names)
    ]
    rule = create_user(
        session,
        email="simulated-1@simulated.invalid",
        role=Role.LABELER,
        name="Simulated 1",
        simulation_rule="plain words",
        handle="simulated-1",
    )
    return [people[0], people[1], rule, people[2]]


def _add_project(session: Session, admin: User) -> Project:
    project = create_project(session, admin, name=LONG_NAME, guidelines="Be kind.")
    update_project(session, admin, project, guidelines=GUIDELINES)
    add_prompt(session, project, [{"role": "user", "content": RIGHT_TO_LEFT}], external_id="rtl-1")
    add_prompt(session, project, CONVERSATION, is_chat=True, metadata={"source": "desk", "n": 3})
    for number in range(60):
        words = UNBROKEN if number == 7 else f"Question {number}: why is that so?"
        add_prompt(session, project, [{"role": "user", "content": words}])
    return project


def _add_ranked_round(
    session: Session, admin: User, project: Project, labelers: list[User]
) -> dict[str, str]:
    """A round of imported completions: ranked by several over four weeks, with one in hand."""
    asked: list[Any] = [RIGHT_TO_LEFT, CONVERSATION, *(f"Question {n}: why?" for n in range(10))]
    texts = cycle(TEXTS)
    tasks = [
        {
            "prompt": prompt,
            "completions": [
                {
                    "text": f"{next(texts)}\n\n({place})",
                    "model": POLICY if place % 2 else "other-v7",
                }
                for place in range(9 if number == 2 else 4)
            ],
        }
        for number, prompt in enumerate(asked)
    ]
    round_ = import_tasks(session, admin, project, tasks, labelers_per_task=3).round
    session.flush()
    _mark_checks(session, admin, round_)
    project.gold_share, project.repeat_share = 0.2, 0.1
    first = _rank_some(session, project, labelers)
    in_hand = _lease(session, labelers[0], project)
    assert in_hand is not None
    letters = in_hand.shown_order
    save_draft(
        session,
        labelers[0],
        in_hand.id,
        Submission(
            ranks={letters[0]: 2, letters[1]: 1},
            ratings={letters[0]: 6},
            flags={letters[1]: ["wrong_facts", "unsafe"]},
            comment="Close, but the first one is wrong about dusk.",
        ),
        lease_seconds=LEASE_SECONDS,
    )
    snapshot = create_snapshot(session, admin, project.id, name="First week, before the move")
    split = create_snapshot(
        session,
        admin,
        project.id,
        name="The longer text wins",
        licence="CC-BY-4.0",
        filters=PairFilters(min_length_difference=1),
        plan=SplitPlan(shares={"train": 0.5, "test": 0.5}),
    )
    skipped = session.scalars(
        select(Assignment.id).where(
            Assignment.user_id == labelers[0].id, Assignment.state == "skipped"
        )
    ).first()
    assert skipped is not None
    ranked = select(Task.id).join(Ranking, Ranking.task_id == Task.id).order_by(Task.id)
    gold = session.scalars(ranked.where(Task.purpose == TaskPurpose.GOLD)).first()
    ordinary = session.scalars(ranked.where(Task.purpose == TaskPurpose.ORDINARY)).first()
    assert gold is not None
    assert ordinary is not None
    return {
        "round_id": round_.id,
        "snapshot_id": snapshot.id,
        "split_snapshot_id": split.id,
        "assignment_id": in_hand.id,
        "ranked_assignment_id": first,
        "skipped_assignment_id": skipped,
        "task_id": gold,
        "ordinary_task_id": ordinary,
        "labeler": labelers[0].handle,
        "revoked": labelers[2].handle,
    }


def _mark_checks(session: Session, admin: User, round_: Round) -> None:
    """Of the round's tasks two are gold and two for calibration."""
    tasks = session.scalars(select(Task).where(Task.round_id == round_.id).order_by(Task.id)).all()
    for place, task in enumerate(tasks[-4:]):
        if place < 2:
            ids = _completion_ids(session, task)
            set_gold(session, admin, task.id, {one: rank for rank, one in enumerate(ids, start=1)})
        else:
            task.purpose = TaskPurpose.CALIBRATION
    session.flush()


def _completion_ids(session: Session, task: Task) -> list[str]:
    return list(
        session.scalars(
            select(Completion.id).where(Completion.task_id == task.id).order_by(Completion.position)
        )
    )


def _lease(session: Session, person: User, project: Project) -> Assignment | None:
    return lease_next_task(session, person, project.id, lease_seconds=LEASE_SECONDS)


def _rank_some(session: Session, project: Project, labelers: list[User]) -> str:
    """Each labeler skips one task and ranks some; the first labeler's first ranking is edited.

    Returns that ranking's assignment.
    """
    chance = random.Random(7)
    edited = ""
    for person in labelers:
        for turn in range(7):
            held = _lease(session, person, project)
            if held is None:
                break
            if turn == 1 and not person.simulated:
                skip_assignment(session, person, held.id, "not_my_field: optics")
                continue
            submission = _make_submission(session, held, chance, turn)
            ranking = submit_ranking(session, person, held.id, submission)
            edited = edited or held.id
            ranking.created_at = utc_now() - timedelta(days=4 * (6 - turn))
    changed = session.get_one(Assignment, edited)
    ranks = {one: rank for rank, one in enumerate(changed.shown_order, start=1)}
    submit_ranking(
        session, labelers[0], edited, Submission(ranks=ranks, comment="On second thought.")
    )
    return edited


def _make_submission(
    session: Session, held: Assignment, chance: random.Random, turn: int
) -> Submission:
    """Mostly in the order of making, sometimes with a slip or a tie."""
    order = _completion_ids(session, session.get_one(Task, held.task_id))
    ranks = {one: rank for rank, one in enumerate(order, start=1)}
    if chance.random() < 0.6:
        here, there = chance.sample(order, 2)
        ranks[here], ranks[there] = ranks[there], ranks[here]
    if turn % 3 == 0:
        ranks[order[1]] = ranks[order[0]]
    return Submission(
        ranks=ranks,
        ratings={order[0]: 7, order[-1]: 2},
        flags={order[-1]: ["breaks_off"]},
        comment="The last one breaks off." if turn % 2 else "",
        active_ms=chance.randrange(15_000, 90_000),
    )


def _add_other_projects(session: Session, admin: User, labeler: User) -> dict[str, str]:
    empty = create_project(session, admin, name="Nothing yet", guidelines="")
    long = create_project(session, admin, name=UNBROKEN[:150], guidelines="")
    update_project(session, admin, long, restricted=True)
    old = create_project(session, admin, name="Last year", guidelines="")
    archive_project(session, old)
    return {"empty_id": empty.id}


def _let_go_of_some(session: Session, admin: User, project: Project, labelers: list[User]) -> None:
    """One labeler paused, one whose rankings were revoked, one who left."""
    pause_labeler(session, admin, project.id, labelers[1], reason="Please read the new guidelines.")
    has_ranked = session.scalars(select(Ranking.labeler).distinct()).all()
    if labelers[2].handle in has_ranked:
        revoke_rankings(
            session, admin, project.id, labelers[2].handle, reason="Ranked without reading."
        )
    disable_user(session, admin, labelers[2].id)


def _pick_rankings(session: Session, ids: dict[str, str]) -> dict[str, str]:
    """A ranking that was edited, its first revision, and one that was revoked, erased, imported."""
    edited = select(Ranking.id).where(Ranking.assignment_id == ids["ranked_assignment_id"])
    held = select(SnapshotRanking.ranking_id)
    wanted = {
        "ranking_id": edited.where(Ranking.current),
        "earlier_ranking_id": edited.where(~Ranking.current),
        "revoked_ranking_id": select(Ranking.id).where(
            Ranking.revoked_at.is_not(None), Ranking.id.in_(held)
        ),
        "erased_ranking_id": select(Ranking.id).where(Ranking.erased_at.is_not(None)),
        "imported_ranking_id": select(Ranking.id).where(Ranking.source == RankingSource.IMPORT),
    }
    found = {name: session.scalars(one.limit(1)).first() for name, one in wanted.items()}
    missing = [name for name, one in found.items() if one is None]
    assert not missing, missing
    return {name: one for name, one in found.items() if one is not None}


def _imported_ranking() -> bytes:
    ranking = {
        "prompt": "Why do cats purr?",
        "completions": [{"text": "For calm."}, {"text": "Nobody knows.", "model": "b"}],
        "ranks": [1, 2],
        "labeler": "a study of 2024",
    }
    return json.dumps(ranking).encode()
