"""What a project's rounds and jobs leave behind: models, completions, metrics and logs."""

from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.jobs.relay import upsert_metrics
from app.jobs.service import create_job, finish_job, record_state
from app.models import (
    Completion,
    Job,
    JobEvent,
    JobState,
    Model,
    ModelKind,
    ModelSource,
    Project,
    Ranking,
    Round,
    Snapshot,
    Task,
    TaskState,
    User,
    Worker,
    utc_now,
)
from app.projects.rounds import create_round, open_task_if_ready, settle_round
from app.registry.service import archive_model, create_model
from app.web.exploitation import WATCHED
from tests.browser.whole_texts import RIGHT_TO_LEFT, TEXTS, UNBROKEN
from tests.registry.reward_reports import make_report

POLICY = "smollm2-135m-instruct"


def add_models(session: Session, admin: User, project: Project) -> dict[str, str]:
    """A reward model of the snapshot, a policy tuned against it, a served one, an archived one."""
    snapshot = session.scalars(select(Snapshot).order_by(Snapshot.id).limit(1)).one()
    rankings = session.scalars(select(Ranking).where(Ranking.current).order_by(Ranking.id)).all()
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
        metrics=make_report(session, rankings),
    )
    elsewhere = {"kind": ModelKind.REWARD_MODEL, "source": ModelSource.FOLDER, "location": "/x"}
    collapsed = create_model(
        session,
        id_hint="collapsed-reward-model",
        **elsewhere,
        project_id=project.id,
        metrics=make_report(session, rankings, spread=1e-4),
    )
    earlier = create_model(
        session,
        id_hint="earlier-reward-model",
        **elsewhere,
        project_id=project.id,
        metrics={"accuracy": 0.74, "accuracy_ci95": [0.5, 0.8], "log_loss": 0.52, "eval_pairs": 9},
    )
    registered = create_model(session, id_hint="two-classes-made-elsewhere", **elsewhere)
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
    others = {
        "collapsed_id": collapsed.id,
        "earlier_id": earlier.id,
        "registered_id": registered.id,
    }
    return others | {"reward_model_id": judge.id, "policy_id": tuned.id, "served_id": served.id}


def add_rounds(session: Session, admin: User, project: Project) -> dict[str, str]:
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


def add_jobs(session: Session, admin: User, project: Project, snapshot_id: str) -> dict[str, str]:
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
    _report(session, running.id, range(1, 9))
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
    return {
        "running_job_id": running.id,
        "done_job_id": done.id,
        "failed_job_id": failed.id,
        **_add_tuned(session, admin, project, snapshot_id),
    }


def _add_tuned(session: Session, admin: User, project: Project, snapshot_id: str) -> dict[str, str]:
    """A finished PPO job and a finished DPO job on the same terms."""
    judge = "library-answers-reward-model"
    tuned = session.get_one(Model, "library-answers-v1")
    other = create_model(
        session,
        id_hint="library-answers-dpo",
        kind=ModelKind.POLICY,
        source=ModelSource.FOLDER,
        location="/nowhere",
        project_id=project.id,
        parent_id=POLICY,
        snapshot_id=snapshot_id,
        metrics=tuned.metrics,
    )
    common = {
        "before": {**tuned.metrics["before"], "gold_mean": 0.8, "gold_ci95": [0.6, 0.9]},
        "after": {**tuned.metrics["after"], "gold_mean": 0.5, "gold_ci95": [0.3, 0.7]},
        "comparison": {"win_rate": 0.8, "win_rate_ci95": [0.6, 0.95]},
        "held_out_prompts": ["a", "b"],
    }
    made = []
    for kind, model, outputs in (
        (
            "ppo",
            tuned,
            {
                "kept_iteration": 6,
                "stopped": "the held-out reward has not risen since iteration 6",
                "best_of": {"n": 4, "reward_mean": 0.3, "reward_ci95": [0.1, 0.5], "kl": 0.64},
            },
        ),
        ("dpo", other, {"judge": judge, "snapshot_id": snapshot_id}),
    ):
        config = {"policy": POLICY, "reward_model": judge}
        if kind == "dpo":
            config["snapshot_id"] = snapshot_id
        job = create_job(session, admin, kind=kind, project_id=project.id, config=config)
        _run(session, job.id, log_tail="Done.\n")
        outputs = {"model_id": model.id, **common, **outputs}
        finish_job(session, job, JobState.SUCCEEDED, kind=None, outputs=outputs)
        made.append(job.id)
    _report(session, made[0], range(1, 9))
    return {"compared_job_id": made[0]}


def _report(session: Session, job_id: str, steps: range) -> None:
    """What a PPO job measures at each of these iterations."""
    names = ("reward_mean", "kl", "policy_loss", "value_loss", "length_mean", *WATCHED)
    stages = ("generate", "score", "logprobs", "train", "iteration")
    names += tuple(f"{stage}_seconds" for stage in stages)
    upsert_metrics(
        session,
        [
            {"job_id": job_id, "name": name, "step": step, "value": step / 7, "at": utc_now()}
            for step in steps
            for name in names
        ],
    )
    for step in steps[3::4]:
        sample = [{"prompt": RIGHT_TO_LEFT, "completion": text, "reward": 0.4} for text in TEXTS]
        session.add(JobEvent(job_id=job_id, kind="samples", payload={"step": step, "rows": sample}))
