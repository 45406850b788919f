"""A project whose new policy people have judged, and one more round that nobody has ranked."""

from itertools import cycle

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.users import create_user
from app.evaluation.opening import open_ab_round
from app.evaluation.promotion import promote
from app.labeling.queue import lease_next_task
from app.labeling.rankings import submit_ranking
from app.labeling.submissions import Submission
from app.models import (
    Completion,
    CompletionReward,
    Job,
    JobState,
    ModelKind,
    ModelSource,
    Project,
    Prompt,
    Role,
    Round,
    Task,
    User,
    utc_now,
)
from app.projects.messages import plain_messages
from app.projects.prompts import add_prompt
from app.projects.rounds import close_round, position_policies, settle_round
from app.projects.service import create_project
from app.registry.service import create_model
from app.settings import Settings
from tests.browser.whole_texts import RIGHT_TO_LEFT, TEXTS, UNBROKEN

OLD, NEW, JUDGE = "night-answers-v1", "night-answers-v2", "night-answers-reward-model"
PROMPTS = 14


def add_evaluation(session: Session, admin: User) -> dict[str, str]:
    """Ids: the project, its job, the policy, a judged round of three policies, an unranked one."""
    project = create_project(session, admin, name="Answers at night", guidelines="Be kind.")
    for number in range(PROMPTS):
        text = RIGHT_TO_LEFT if number == 2 else f"Question {number}: what opens at night?"
        add_prompt(session, project, plain_messages(text))
    job = _add_job(session, project)
    settings = Settings(data_dir="/nowhere")
    judged = open_ab_round(
        session,
        admin,
        settings,
        job,
        prompts=12,
        labelers_per_task=2,
        others=["smollm2-135m-instruct"],
    )
    _fill(session, judged)
    for number, name in enumerate(("Nadia", "Otto")):
        person = create_user(
            session, email=f"{name.lower()}@example.org", role=Role.LABELER, name=name
        )
        _rank(session, project, person, offset=number)
    close_round(session, admin, judged)
    promote(session, admin, project, OLD, note="The first.")
    promote(session, admin, project, NEW, round_id=judged.id, note=f"Reads better. {UNBROKEN}")
    unranked = open_ab_round(session, admin, settings, job, prompts=2, again=True)
    _fill(session, unranked)
    return {
        "evaluation_project_id": project.id,
        "tuned_job_id": job.id,
        "asked_policy_id": NEW,
        "ab_round_id": judged.id,
        "unranked_round_id": unranked.id,
    }


def _add_job(session: Session, project: Project) -> Job:
    ids = session.scalars(select(Prompt.id).where(Prompt.project_id == project.id)).all()
    figures = {"reward_mean": 0.1, "reward_ci95": [-0.1, 0.3], "kl": 0.0, "length_mean": 40.0}
    job = Job(
        kind="ppo",
        project_id=project.id,
        config={"policy": OLD, "reward_model": JUDGE, "temperature": 0.8, "max_new_tokens": 48},
        state=JobState.SUCCEEDED,
        progress=1.0,
        started_at=utc_now(),
        finished_at=utc_now(),
        outputs={
            "model_id": NEW,
            "before": figures,
            "after": {**figures, "reward_mean": 0.9, "kl": 2.5},
            "held_out_prompts": list(ids),
        },
    )
    session.add(job)
    session.flush()
    here = {"source": ModelSource.FOLDER, "location": "/nowhere", "project_id": project.id}
    create_model(session, id_hint=OLD, kind=ModelKind.POLICY, **here)
    create_model(session, id_hint=JUDGE, kind=ModelKind.REWARD_MODEL, **here)
    create_model(
        session,
        id_hint=NEW,
        kind=ModelKind.POLICY,
        parent_id=OLD,
        reward_model_id=JUDGE,
        job_id=job.id,
        metrics={
            "before": figures,
            "after": {**figures, "reward_mean": 0.9, "kl": 2.5},
            "samples": {
                moment: [{"prompt": "Why?", "completion": one, "reward": 0.5} for one in TEXTS]
                for moment in ("before", "after")
            },
        },
        **here,
    )
    return job


def _fill(session: Session, round_: Round) -> None:
    texts = cycle(TEXTS)
    for task in session.scalars(select(Task).where(Task.round_id == round_.id).order_by(Task.id)):
        for position, policy in enumerate(position_policies(round_)):
            text = next(texts)
            completion = Completion(
                task_id=task.id, position=position, text=text, model_id=policy, token_count=20
            )
            session.add(completion)
            session.flush()
            reward = len(text) / 100 + (policy == NEW)
            session.add(
                CompletionReward(completion_id=completion.id, model_id=JUDGE, reward=reward)
            )
    session.flush()
    settle_round(session, round_)
    job = session.get_one(Job, round_.job_id)
    job.state, job.progress = JobState.SUCCEEDED, 1.0


def _rank(session: Session, project: Project, person: User, *, offset: int) -> None:
    """The new policy wins two of three, now and then there is a tie."""
    number = offset
    while (lease := lease_next_task(session, person, project.id, lease_seconds=600)) is not None:
        policies = {
            one: session.get_one(Completion, one).model_id or "" for one in lease.shown_order
        }
        winner = None if number % 5 == 4 else OLD if number % 3 == 2 else NEW
        ranks = {
            one: 1 if policy == winner else 2 if policy in (OLD, NEW) else 3
            for one, policy in policies.items()
        }
        ranks = _dense(ranks)
        submit_ranking(session, person, lease.id, Submission(ranks=ranks))
        number += 1


def _dense(ranks: dict[str, int]) -> dict[str, int]:
    places = {rank: place for place, rank in enumerate(sorted(set(ranks.values())), start=1)}
    return {one: places[rank] for one, rank in ranks.items()}
