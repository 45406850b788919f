"""The pages of jobs."""

import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.jobs.relay import upsert_metrics
from app.jobs.service import create_job, finish_job, job_kinds, lock_job
from app.models import Job, JobEvent, JobState, ModelKind, ModelSource, Prompt, Snapshot, User
from app.projects.service import create_project
from app.registry.service import create_model, ensure_starters


@pytest.fixture
def project_id(app: FastAPI, admin: User) -> str:
    """A project with three prompts and the starter models."""
    with app.state.database.write() as session:
        ensure_starters(session)
        project = create_project(session, admin, name="Kind answers", guidelines="Be kind.")
        for number in range(3):
            session.add(
                Prompt(
                    project_id=project.id,
                    messages=[{"role": "user", "content": f"Question {number}?"}],
                    content_hash=str(number),
                )
            )
        return project.id


@pytest.fixture
def reward_model(app: FastAPI, project_id: str) -> str:
    with app.state.database.write() as session:
        return create_model(
            session,
            id_hint="kind-answers-reward-model",
            kind=ModelKind.REWARD_MODEL,
            source=ModelSource.FOLDER,
            project_id=project_id,
            location="/nowhere",
        ).id


@pytest.fixture
def ppo_job(app: FastAPI, project_id: str, reward_model: str) -> str:
    with app.state.database.write() as session:
        return create_job(
            session,
            None,
            kind="ppo",
            project_id=project_id,
            config={"policy": "smollm2-135m-instruct", "reward_model": reward_model},
        ).id


def test_every_kind_with_a_form_offers_every_field_of_its_config(
    admin_client: TestClient, project_id: str
) -> None:
    choose = admin_client.get(f"/projects/{project_id}/jobs/new").text
    for kind in job_kinds().values():
        if kind.name == "generation":
            assert f"kind={kind.name}" not in choose
            continue
        assert f"/projects/{project_id}/jobs/new?kind={kind.name}" in choose
        page = admin_client.get(f"/projects/{project_id}/jobs/new", params={"kind": kind.name})
        assert page.status_code == 200
        for name in kind.config_type.__dataclass_fields__:
            assert f'name="{name}"' in page.text


def test_generation_is_started_by_a_round(admin_client: TestClient, project_id: str) -> None:
    answer = admin_client.get(f"/projects/{project_id}/jobs/new", params={"kind": "generation"})
    assert answer.headers["location"] == f"/projects/{project_id}/rounds/new"
    assert admin_client.get(f"/projects/{project_id}/jobs/new?kind=none").status_code == 404


def test_a_form_says_what_is_missing_before_it_can_be_sent(
    admin_client: TestClient, project_id: str
) -> None:
    page = admin_client.get(f"/projects/{project_id}/jobs/new", params={"kind": "ppo"}).text
    assert "There is no reward model yet" in page
    assert re.search(r'<button[^>]*type="submit" disabled', page)


def test_a_job_starts_from_its_form_with_the_chosen_models(
    app: FastAPI, admin_client: TestClient, project_id: str, reward_model: str
) -> None:
    page = admin_client.get(
        f"/projects/{project_id}/jobs/new",
        params={"kind": "ppo", "reward_model": reward_model, "iterations": "7"},
    ).text
    assert 'value="7"' in page
    answer = admin_client.post(
        f"/projects/{project_id}/jobs/new",
        data={
            "kind": "ppo",
            "policy": "smollm2-135m-instruct",
            "reward_model": reward_model,
            "iterations": "7",
            "lora_rank": "",
        },
    )
    assert answer.status_code == 303
    with app.state.database.read() as session:
        job = session.scalars(select(Job)).one()
    assert answer.headers["location"] == f"/jobs/{job.id}"
    assert (job.config["iterations"], job.config["lora_rank"], job.config["clip_range"]) == (
        7,
        None,
        0.2,
    )


def test_what_is_wrong_is_said_beside_its_field_and_the_rest_is_kept(
    app: FastAPI, admin_client: TestClient, project_id: str, reward_model: str
) -> None:
    answer = admin_client.post(
        f"/projects/{project_id}/jobs/new",
        data={
            "kind": "ppo",
            "policy": "smollm2-135m-instruct",
            "reward_model": reward_model,
            "iterations": "0",
            "gae_lambda": "2",
            "learning_rate": "3e-5",
        },
    )
    assert answer.status_code == 422
    assert "Give a whole number from 1 to 100000." in answer.text
    assert "Give a number from 0 to 1." in answer.text
    assert 'value="3e-5"' in answer.text
    assert re.search(r'<details class="job-advanced" open', answer.text)
    with app.state.database.read() as session:
        assert session.scalars(select(Job)).all() == []


def test_a_refusal_of_the_kind_is_shown_on_the_form(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    answer = admin_client.post(
        f"/projects/{project_id}/jobs/new", data={"kind": "reward_model", "backbone": "minilm-l6"}
    )
    assert answer.status_code == 422
    assert "pair" in answer.text


def test_the_page_of_a_job_shows_charts_samples_log_and_settings(
    app: FastAPI, admin_client: TestClient, ppo_job: str, reward_model: str
) -> None:
    with app.state.database.write() as session:
        job = lock_job(session, ppo_job)
        job.state, job.progress, job.stage = JobState.RUNNING, 0.25, "Iteration 5: sampling"
        job.eta_seconds, job.log_tail = 90.0, "a <b>line</b>"
        names = ("reward_mean", "policy_loss", "value_loss", "score_seconds", "odd_one")
        rows = [
            {"job_id": ppo_job, "name": name, "step": step, "value": 0.5, "at": job.created_at}
            for name in names
            for step in (1, 2)
        ]
        upsert_metrics(session, rows)
        for step in (1, 2):
            completion = {"prompt": "Why?", "completion": f"<i>text {step}</i>", "reward": -1.5}
            payload = {"step": step, "rows": [completion]}
            session.add(JobEvent(job_id=ppo_job, kind="samples", payload=payload))
            session.flush()
    page = admin_client.get(f"/jobs/{ppo_job}").text
    assert "Iteration 5: sampling" in page
    assert "about 1 m 30 s" in page
    assert "&lt;i&gt;text 2&lt;/i&gt;" in page
    assert "a &lt;b&gt;line&lt;/b&gt;" in page
    assert f'href="/models/{reward_model}"' in page
    assert re.findall(r'data-chart="([^"]+)"', page) == [
        "reward",
        "losses",
        "odd-one",
        "seconds-by-stage",
    ]
    assert 'hx-trigger="every 3s' in page
    older = admin_client.get(f"/jobs/{ppo_job}", params={"step": 1}).text
    assert "&lt;i&gt;text 1&lt;/i&gt;" in older
    assert f'hx-get="/jobs/{ppo_job}?step=1"' in older


def test_a_failed_job_shows_its_reason_stops_polling_and_can_be_resumed(
    app: FastAPI, admin_client: TestClient, ppo_job: str
) -> None:
    with app.state.database.write() as session:
        finish_job(
            session, lock_job(session, ppo_job), JobState.FAILED, kind=None, reason="Out of <luck>."
        )
    page = admin_client.get(f"/jobs/{ppo_job}").text
    assert "Out of &lt;luck&gt;." in page
    assert "every 3s" not in page
    assert "Out of &lt;luck&gt;." in admin_client.get("/jobs").text
    answer = admin_client.post(f"/jobs/{ppo_job}/resume")
    assert answer.headers["location"] == f"/jobs/{ppo_job}"
    with app.state.database.read() as session:
        assert session.get_one(Job, ppo_job).state == JobState.QUEUED


def test_cancelling_twice_is_a_note_and_not_an_error_page(
    admin_client: TestClient, ppo_job: str
) -> None:
    for _ in range(2):
        answer = admin_client.post(f"/jobs/{ppo_job}/cancel")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{ppo_job}")


def test_a_result_has_its_figures_before_and_after_with_intervals(
    app: FastAPI, admin_client: TestClient, ppo_job: str
) -> None:
    before = {"reward_mean": -0.5, "reward_ci95": [-0.75, -0.25], "kl": -1.011e-4, "prompts": 16}
    after = {"reward_mean": 0.25, "reward_ci95": [0.125, 0.5], "kl": 4.5, "prompts": 16}
    with app.state.database.write() as session:
        outputs = {"model_id": "smollm2-135m-instruct", "before": before, "after": after}
        job = lock_job(session, ppo_job)
        finish_job(session, job, JobState.SUCCEEDED, kind=None, outputs=outputs)
    text = re.sub(r"<[^>]+>|\s+", " ", admin_client.get(f"/jobs/{ppo_job}").text)
    text = re.sub(r"\s+", " ", text)
    assert "(n = 16)" in text
    assert "Reward mean -0.5 -0.75 to -0.25 0.25 0.125 to 0.5 +0.75" in text
    assert "KL 0 4.5 +4.5" in text, "the rounding of log-probabilities is no figure"


def test_a_result_without_a_judge_has_no_empty_rows_and_one_with_it_has_win_rates(
    app: FastAPI, admin_client: TestClient, ppo_job: str
) -> None:
    measured = {"reward_mean": None, "reward_ci95": None, "kl": 4.5, "prompts": 16}
    won = {"win_rate": 0.75, "win_rate_ci95": [0.5, 0.875], "gold_win_rate": 0.625}

    def page_with(outputs: dict[str, object]) -> str:
        with app.state.database.write() as session:
            lock_job(session, ppo_job).outputs = outputs
        page = admin_client.get(f"/jobs/{ppo_job}").text
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))

    with app.state.database.write() as session:
        finish_job(session, lock_job(session, ppo_job), JobState.SUCCEEDED, kind=None, outputs={})
    both = {"before": measured, "after": measured}
    text = page_with(both)
    assert "KL 4.5 4.5 +0" in text
    assert "Reward mean" not in text
    assert "win rate" not in text
    text = page_with({**both, "comparison": won})
    assert "Win rate 75% 50% to 88%" in text
    assert "Gold-rule win rate 62%" in text


def test_what_is_watched_on_held_out_prompts_stands_together_with_what_it_comes_to(
    app: FastAPI, admin_client: TestClient, ppo_job: str
) -> None:
    page = admin_client.get(f"/jobs/{ppo_job}").text
    assert re.search(r"data-chart-group[^>]* hidden>\s*<h2[^>]*>Is the reward", page)
    values = {"eval_reward_mean": (0.1, 0.9), "eval_gold_mean": (0.5, 0.25), "loss": (1.0, 1.0)}
    with app.state.database.write() as session:
        at = lock_job(session, ppo_job).created_at
        rows = [
            {"job_id": ppo_job, "name": name, "step": 5 * step, "value": value, "at": at}
            for name, both in values.items()
            for step, value in enumerate(both, start=1)
        ]
        upsert_metrics(session, rows)
    page = admin_client.get(f"/jobs/{ppo_job}").text
    said = "Perhaps: since step 5 the held-out reward rose by 0.8 while the gold rule fell by 0.25."
    assert page.count(said) == 2, "in the panel, and where a swap finds it"
    panel = page.split('data-charts="watched"')[1].split("</section>")[0]
    assert re.findall(r'data-chart="([^"]+)"', panel) == [
        "held-out-reward-mean",
        "held-out-gold-rule-mean",
    ]
    assert not re.search(r"data-chart-group[^>]* hidden>\s*<h2[^>]*>Is the reward", page)


def test_samples_before_and_after_stand_on_the_page_of_the_job(
    app: FastAPI, admin_client: TestClient, ppo_job: str
) -> None:
    with app.state.database.write() as session:
        model = create_model(
            session,
            id_hint="tuned",
            kind=ModelKind.POLICY,
            source=ModelSource.FOLDER,
            location="/nowhere",
            metrics={
                "samples": {
                    moment: [{"prompt": "Why?", "completion": f"<i>{moment}</i>", "reward": 0.5}]
                    for moment in ("before", "after")
                }
            },
        )
        job, outputs = lock_job(session, ppo_job), {"model_id": model.id}
        finish_job(session, job, JobState.SUCCEEDED, kind=None, outputs=outputs)
    page = admin_client.get(f"/jobs/{ppo_job}").text
    assert "What changed, on held-out prompts" in page
    assert "&lt;i&gt;before&lt;/i&gt;" in page
    assert "&lt;i&gt;after&lt;/i&gt;" in page


def test_the_form_of_dpo_offers_what_can_be_chosen_and_refuses_the_rest(
    admin_client: TestClient, project_id: str
) -> None:
    url = f"/projects/{project_id}/jobs/new"
    assert f"{url}?kind=dpo" in admin_client.get(url).text
    page = admin_client.get(url, params={"kind": "dpo"}).text
    offered = re.search(r'<select[^>]*name="loss".*?</select>', page, re.DOTALL)
    assert offered is not None
    assert re.findall(r'<option value="([^"]*)"', offered[0]) == ["sigmoid", "ipo"]
    assert "The newest trained on these rankings" in page
    form = {"kind": "dpo", "policy": "smollm2-135m-instruct", "loss": "hinge", "beta": "0.2"}
    refused = admin_client.post(url, data=form)
    assert refused.status_code == 422
    assert "one of sigmoid, ipo" in refused.text
    assert 'value="0.2"' in refused.text


def test_pages_of_jobs_are_for_admins(
    labeler_client: TestClient, researcher_client: TestClient, ppo_job: str, project_id: str
) -> None:
    for client in (labeler_client, researcher_client):
        for path in ("/jobs", f"/jobs/{ppo_job}", f"/projects/{project_id}/jobs/new?kind=ppo"):
            assert client.get(path).status_code == 403


def test_a_snapshot_is_offered_by_its_pairs(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    with app.state.database.write() as session:
        session.add(
            Snapshot(
                project_id=project_id,
                name="Week 1",
                sha256="0" * 64,
                rankings=4,
                pairs=11,
                prompts=4,
            )
        )
    page = admin_client.get(f"/projects/{project_id}/jobs/new?kind=reward_model").text
    assert "Week 1 · 11 pairs from 4 rankings" in page
    assert "A fresh snapshot of all pairs" in page


def test_nobody_waits_for_a_worker_without_being_told(
    admin_client: TestClient, ppo_job: str, make_user: Callable[..., User]
) -> None:
    assert "No worker is running" in admin_client.get(f"/jobs/{ppo_job}").text
