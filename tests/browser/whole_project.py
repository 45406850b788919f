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
from app.jobs.relay import upsert_metrics
from app.jobs.service import create_job, finish_job, record_state
from app.labeling.drafts import save_draft
from app.labeling.pauses import pause_labeler
from app.labeling.queue import lease_next_task, skip_assignment
from app.labeling.rankings import submit_ranking
from app.labeling.revocation import revoke_rankings
from app.labeling.submissions import Submission
from app.models import (
    Assignment,
    Completion,
    Job,
    JobEvent,
    JobState,
    Model,
    ModelKind,
    ModelSource,
    Project,
    Ranking,
    Role,
    Round,
    Snapshot,
    Task,
    TaskPurpose,
    TaskState,
    User,
    Worker,
    utc_now,
)
from app.preferences.imports import import_rankings
from app.preferences.snapshots import create_snapshot
from app.projects.prompts import add_prompt
from app.projects.rounds import create_round, open_task_if_ready, settle_round
from app.projects.service import archive_project, create_project, update_project
from app.projects.task_import import import_tasks
from app.registry.service import archive_model, create_model, ensure_starters

LEASE_SECONDS = 3600
POLICY = "smollm2-135m-instruct"
LONG_NAME = "Kind, short and truthful answers to questions that people ask a library at night"
UNBROKEN = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenverleihungsurkunde" * 2
GUIDELINES = f"""# What counts

Prefer what is **true**, then what is *short*. See [the handbook](https://example.org/handbook).

1. Wrong facts lose.
2. A table beats a list:

| rule | weight |
|---|---:|
| true | 3 |
| short | 1 |

> When both are right, ask who is helped.

```text
{UNBROKEN}
```
"""
RIGHT_TO_LEFT = "למה השמיים כחולים בצהריים ואדומים בערב? נא להסביר בשני משפטים קצרים."
TEXTS = (
    "The sky scatters **blue** light more than red. " * 3,
    "# Because\n\n- short waves scatter more\n- the way of light is longer at dusk\n\n"
    "| colour | nm |\n|---|---|\n| blue | 450 |\n| red | 700 |",
    "```python\ndef scatter(wavelength: float) -> float:\n    return 1 / wavelength**4  "
    "# Rayleigh, and a comment that is much longer than a phone is wide\n```",
    "Intensity is $I \\propto \\lambda^{-4}$:\n\n$$\\frac{I_{450}}{I_{700}} = "
    "\\left(\\frac{700}{450}\\right)^4 \\approx 5.9$$",
    "האור הכחול מתפזר יותר מן האדום, ולכן השמיים כחולים.",
    f"See https://example.org/{'a-very-long-path/' * 12} or {UNBROKEN}.",
    "A long answer. " * 260,
    "   ",
)
CONVERSATION = [
    {"role": "system", "content": "You are a patient librarian."},
    {"role": "user", "content": "Which book explains tides?"},
    {"role": "assistant", "content": "Several do. " * 60},
    {"role": "user", "content": "Name **one**, and say why."},
]


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
        ids |= _add_models(session, admin, project)
        ids |= _add_rounds(session, admin, project)
        ids |= _add_jobs(session, admin, project, ids["snapshot_id"])
        ids |= _add_other_projects(session, admin, people["labeler"])
        create_token(session, admin, "Export of every night, with a name that is rather long")
        ids["invite"] = create_invite_link(session, labelers[-1])
        _let_go_of_some(session, admin, project, labelers)
    import_rankings(database, ids["project_id"], [_imported_ranking()], "application/x-ndjson")
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
    _mark_checks(session, round_)
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
    skipped = session.scalars(
        select(Assignment.id).where(
            Assignment.user_id == labelers[0].id, Assignment.state == "skipped"
        )
    ).first()
    assert skipped is not None
    gold = session.scalars(select(Task.id).where(Task.purpose == TaskPurpose.GOLD)).first()
    assert gold is not None
    return {
        "round_id": round_.id,
        "snapshot_id": snapshot.id,
        "assignment_id": in_hand.id,
        "ranked_assignment_id": first,
        "skipped_assignment_id": skipped,
        "task_id": gold,
        "labeler": labelers[0].handle,
    }


def _mark_checks(session: Session, round_: Round) -> None:
    """Of the round's tasks two are gold and two for calibration."""
    tasks = session.scalars(select(Task).where(Task.round_id == round_.id).order_by(Task.id)).all()
    for place, task in enumerate(tasks[-4:]):
        if place < 2:
            task.purpose = TaskPurpose.GOLD
            ids = _completion_ids(session, task)
            task.gold_ranks = {one: rank for rank, one in enumerate(ids, start=1)}
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


def _add_models(session: Session, admin: User, project: Project) -> dict[str, str]:
    """A reward model of the snapshot, a policy tuned against it, a served one, an archived one."""
    snapshot = session.scalars(select(Snapshot)).one()
    bins = [
        {
            "low": n / 5,
            "high": (n + 1) / 5,
            "predicted": n / 5 + 0.1,
            "observed": n / 5 + 0.05,
            "pairs": 12 + n,
        }
        for n in range(5)
    ]
    judge = create_model(
        session,
        id_hint="library-answers-reward-model",
        name="Reward model of the library's answers",
        kind=ModelKind.REWARD_MODEL,
        source=ModelSource.FOLDER,
        user=admin,
        location="/nowhere",
        project_id=project.id,
        parent_id="minilm-l6",
        snapshot_id=snapshot.id,
        simulated_labels=True,
        parameters=22_700_000,
        size_bytes=91_000_000,
        sha256="ab" * 32,
        metrics={
            "accuracy": 0.74,
            "accuracy_ci95": [0.68, 0.8],
            "log_loss": 0.52,
            "reward_std": 1.1,
            "length_correlation": 0.31,
            "longer_wins_accuracy": 0.58,
            "human_agreement": 0.71,
            "eval_pairs": 120,
            "eval_prompts": 20,
            "calibration": bins,
        },
    )
    figures = {
        "reward_mean": -0.42,
        "reward_ci95": [-0.6, -0.2],
        "kl": 0.0,
        "length_mean": 61.0,
        "prompts": 16,
    }
    samples = [{"prompt": RIGHT_TO_LEFT, "completion": text, "reward": -0.4} for text in TEXTS[:5]]
    tuned = create_model(
        session,
        id_hint="library-answers-v1",
        name="Policy tuned once",
        kind=ModelKind.POLICY,
        source=ModelSource.FOLDER,
        user=admin,
        location="/nowhere",
        project_id=project.id,
        parent_id=POLICY,
        reward_model_id=judge.id,
        snapshot_id=snapshot.id,
        simulated_labels=True,
        metrics={
            "before": figures,
            "after": {**figures, "reward_mean": 0.63, "kl": 3.1},
            "samples": {"before": samples, "after": [{**one, "reward": 0.6} for one in samples]},
        },
    )
    served = create_model(
        session,
        id_hint=UNBROKEN[:60],
        kind=ModelKind.POLICY,
        source=ModelSource.ENDPOINT,
        location=f"https://models.example.org/{UNBROKEN[:60]}/v1",
        description="Served elsewhere.",
    )
    old = create_model(
        session, id_hint="old-try", kind=ModelKind.POLICY, source=ModelSource.FOLDER, location="/x"
    )
    archive_model(session, admin, old)
    return {"reward_model_id": judge.id, "policy_id": tuned.id, "served_id": served.id}


def _add_rounds(session: Session, admin: User, project: Project) -> dict[str, str]:
    """A round that is being generated, and one that ended with tasks nobody can rank."""
    generating = create_round(
        session,
        admin,
        project,
        policies=[POLICY, "library-answers-v1"],
        labelers_per_task=2,
        prompt_limit=8,
        completions_per_prompt=4,
        sampling={"seed": 3},
    )
    _make_completions(session, generating, of=5)
    _run(session, generating.job_id, progress=0.6, stage="5 of 8 prompts", eta_seconds=40.0)
    settled = create_round(
        session, admin, project, policies=[POLICY], labelers_per_task=1, prompt_limit=4
    )
    _make_completions(session, settled, of=2)
    job = _run(session, settled.job_id, progress=0.5)
    finish_job(session, job, JobState.FAILED, kind=None, reason="The server could not be reached.")
    pending = session.scalars(
        select(Task).where(Task.round_id == settled.id, Task.state == TaskState.PENDING)
    ).all()
    pending[0].problem = f"The answer was refused: {UNBROKEN}"
    settle_round(session, settled)
    return {"generating_round_id": generating.id, "short_round_id": settled.id}


def _make_completions(session: Session, round_: Round, *, of: int) -> None:
    tasks = session.scalars(select(Task).where(Task.round_id == round_.id).order_by(Task.id)).all()
    for task in tasks[:of]:
        wanted = round_.completions_per_prompt
        session.add_all(
            Completion(
                task_id=task.id,
                position=place,
                text=TEXTS[place % len(TEXTS)],
                model_id=round_.policies[place % len(round_.policies)],
                finish_reason="stop",
                token_count=40,
            )
            for place in range(wanted)
        )
        session.flush()
        open_task_if_ready(session, task, wanted)


def _run(session: Session, job_id: str | None, **columns: Any) -> Job:
    """A queued job as a worker leaves it while it runs."""
    assert job_id is not None
    job = session.get_one(Job, job_id)
    job.state, job.started_at = JobState.RUNNING, utc_now() - timedelta(minutes=3)
    for name, value in columns.items():
        setattr(job, name, value)
    record_state(session, job)
    return job


def _add_jobs(session: Session, admin: User, project: Project, snapshot_id: str) -> dict[str, str]:
    """A running PPO job, a finished reward-model job and a failed one."""
    judge = "library-answers-reward-model"
    running = create_job(
        session,
        admin,
        kind="ppo",
        project_id=project.id,
        config={"policy": POLICY, "reward_model": judge},
    )
    log = "".join(f"iteration {n}: reward {n / 10:.2f}\n" for n in range(30)) + UNBROKEN + "\n"
    _run(
        session,
        running.id,
        progress=0.3,
        stage="Iteration 4: sampling",
        eta_seconds=900.0,
        log_tail=log,
    )
    names = ("reward_mean", "kl", "policy_loss", "value_loss", "length_mean", "train_seconds")
    rows = [
        {"job_id": running.id, "name": name, "step": step, "value": step / 7, "at": utc_now()}
        for step in range(1, 9)
        for name in names
    ]
    upsert_metrics(session, rows)
    for step in (4, 8):
        sample = [{"prompt": RIGHT_TO_LEFT, "completion": text, "reward": 0.4} for text in TEXTS]
        session.add(
            JobEvent(job_id=running.id, kind="samples", payload={"step": step, "rows": sample})
        )
    config = {"backbone": "minilm-l6", "snapshot_id": snapshot_id}
    done = create_job(session, admin, kind="reward_model", project_id=project.id, config=config)
    _run(session, done.id)
    outputs = {
        "model_id": judge,
        "snapshot_id": snapshot_id,
        "metrics": session.get_one(Model, judge).metrics,
    }
    finish_job(session, done, JobState.SUCCEEDED, kind=None, outputs=outputs)
    failed = create_job(session, admin, kind="reward_model", project_id=project.id, config=config)
    _run(session, failed.id, log_tail="Traceback (most recent call last):\n  …\nMemoryError\n")
    finish_job(session, failed, JobState.FAILED, kind=None, reason=f"Out of memory: {UNBROKEN}")
    session.add(Worker(id="w1", host="here", pid=1, seen_at=utc_now()))
    return {"running_job_id": running.id, "done_job_id": done.id, "failed_job_id": failed.id}


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


def _imported_ranking() -> bytes:
    ranking = {
        "prompt": "Why do cats purr?",
        "completions": [{"text": "For calm."}, {"text": "Nobody knows.", "model": "b"}],
        "ranks": [1, 2],
        "labeler": "a study of 2024",
    }
    return json.dumps(ranking).encode()
