"""Finished tuning jobs side by side: what is held against what, and who is said to be ahead."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.models import Job, JobState, Snapshot, utc_now
from app.web.tuning_comparison import MOST_JOBS, Contender, find_winner
from tests.projects.rounds_factory import make_model, make_project

PROMPTS = [f"p{number}" for number in range(8)]
BEFORE = {
    "reward_mean": 0.1,
    "reward_ci95": [0.0, 0.2],
    "kl": 0.0,
    "length_mean": 20.0,
    "gold_mean": 0.5,
    "gold_ci95": [0.4, 0.6],
    "prompts": 8,
}
PPO = {**BEFORE, "reward_mean": 2.5, "reward_ci95": [2.0, 3.0], "kl": 9.5, "gold_mean": 0.3}
DPO = {**BEFORE, "reward_mean": 1.5, "reward_ci95": [1.0, 1.9], "kl": 4.25, "gold_mean": 0.9}


@pytest.fixture
def project_id(app: FastAPI) -> str:
    with app.state.database.write() as session:
        project = make_project(session, 0)
        snapshot = Snapshot(
            project_id=project.id, sha256="0", name="Autumn", rankings=4, pairs=9, prompts=2
        )
        session.add(snapshot)
        make_model(session, "writer")
        return project.id


def add_job(app: FastAPI, project_id: str, kind: str, after: dict[str, Any], **changes: Any) -> str:
    """A finished job that made a policy; `changes` are of its config."""
    database = app.state.database
    with database.write() as session:
        snapshot = session.query(Snapshot).one()
        sample = {"prompt_id": "p0", "prompt": "Why?", "completion": "Because.", "reward": 0.1}
        job = Job(
            kind=kind,
            project_id=project_id,
            state=JobState.SUCCEEDED,
            config={
                "policy": "writer",
                "reward_model": "judge" if kind == "ppo" else None,
                "temperature": 1.0,
                "max_new_tokens": 48,
                "seed": 0,
                **changes,
            },
            started_at=utc_now() - timedelta(seconds=75),
            finished_at=utc_now(),
        )
        session.add(job)
        session.flush()
        model = make_model(
            session,
            f"writer-{kind}-{job.id[-4:]}",
            snapshot_id=snapshot.id,
            job_id=job.id,
            parent_id="writer",
            metrics={
                "samples": {
                    "before": [sample],
                    "after": [{**sample, "completion": f"<i>{kind}</i> says so."}],
                }
            },
        )
        job.outputs = {
            "model_id": model.id,
            "before": BEFORE,
            "after": after,
            "comparison": {"win_rate": 0.75, "win_rate_ci95": [0.6, 0.9]},
            "held_out_prompts": PROMPTS,
            **({"judge": "judge", "snapshot_id": snapshot.id} if kind == "dpo" else {}),
            **(
                {"kept_iteration": 17, "best_of": {"n": 4, "reward_mean": 0.7, "kl": 0.6}}
                if kind == "ppo"
                else {}
            ),
        }
        return job.id


def read(client: TestClient, project_id: str, job: str = "") -> str:
    """The page as a reader sees it, white space as one space."""
    answer = client.get(f"/projects/{project_id}/jobs/compare", params={"job": job})
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", unescape(re.sub(r"<(?!a )[^>]+>", " ", answer.text)))


def test_ppo_and_dpo_stand_side_by_side(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    ppo = add_job(app, project_id, "ppo", PPO)
    add_job(app, project_id, "dpo", DPO)
    page = read(admin_client, project_id, ppo)
    assert page.count("From writer ") == 1, "one group"
    assert "The judges disagree" in page
    for expected in ("Autumn", "1 m 15 s", "Best of 4, untuned", "9.5", "4.25", "75% 60% to 90%"):
        assert expected in page, expected
    assert "Kept iteration 17" in page
    assert "By the gold rule" in page
    for kind in ("ppo", "dpo"):
        assert f"<i>{kind}</i> says so." in page, "as the policy wrote it"
    assert "on the same terms" not in page
    assert "<i>ppo</i>" not in admin_client.get(f"/projects/{project_id}/jobs/compare").text


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"temperature": 0.5},
        {"max_new_tokens": 16},
        {"policy": "other"},
        {"reward_model": "second"},
    ],
)
def test_jobs_that_answered_otherwise_are_not_held_against_each_other(
    app: FastAPI, admin_client: TestClient, project_id: str, changes: dict[str, Any]
) -> None:
    first = add_job(app, project_id, "ppo", PPO)
    add_job(app, project_id, "ppo", DPO, **changes)
    page = read(admin_client, project_id, first)
    assert page.count("Only one job so far") == 2
    assert page.index(first) < page.index("Only one job so far", page.index(first)), (
        "the group of the job somebody came from is first"
    )


def test_a_second_opinion_counts_where_all_asked_the_same_one(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    asked = {"second_opinion_mean": 0.5, "second_opinion_ci95": [0.4, 0.6]}
    for kind, figures in (("ppo", PPO), ("dpo", DPO)):
        add_job(app, project_id, kind, {**figures, **asked}, second_opinion="other-judge")
    page = read(admin_client, project_id)
    assert "By the second opinion" in page
    assert 'the second opinion by <a href="/models/other-judge">' in page
    assert "Second opinion mean" in page
    add_job(app, project_id, "dpo", {**DPO, **asked}, second_opinion="third-judge")
    page = read(admin_client, project_id)
    assert page.count("From writer ") == 1, "still one group"
    assert "econd opinion" not in page


def test_one_job_leads_to_the_other_kind_on_the_same_terms(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    add_job(app, project_id, "ppo", PPO, seed=7)
    page = read(admin_client, project_id)
    link = re.search(r'<a href="([^"]+)">Tune with DPO', page)
    assert link, page
    form = admin_client.get(link[1])
    assert form.status_code == 200
    assert "kind=dpo" in link[1]
    assert "seed=7" in link[1]
    assert "reward_model=judge" in link[1]
    with app.state.database.read() as session:
        assert session.query(Snapshot).one().id in link[1]


def test_of_many_jobs_the_newest_are_shown_and_the_one_asked_for(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    first, *_ = [add_job(app, project_id, "dpo", DPO) for _ in range(MOST_JOBS + 2)]
    assert f"/jobs/{first}" not in read(admin_client, project_id)
    page = read(admin_client, project_id, first)
    assert f"/jobs/{first}" in page
    assert "2 older jobs are left out." in page


def test_without_a_tuned_policy_the_page_says_what_to_do(
    admin_client: TestClient, researcher_client: TestClient, project_id: str
) -> None:
    assert "No policy was tuned yet" in read(admin_client, project_id)
    address = f"/projects/{project_id}/jobs/compare"
    assert researcher_client.get(address).status_code == 403
    assert f'href="{address}"' in admin_client.get(f"/jobs?project={project_id}").text


def test_the_jobs_page_leads_to_the_comparison(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    job = add_job(app, project_id, "ppo", PPO)
    address = f"/projects/{project_id}/jobs/compare?job={job}"
    assert f'href="{address}"' in admin_client.get(f"/jobs/{job}").text


def contender(name: str, **after: Any) -> Contender:
    return Contender(
        job=Job(kind="ppo"),
        name=name,
        title="PPO",
        model=None,
        snapshot=None,
        seconds=None,
        after=after,
        wins={},
        kept_iteration=None,
        stopped="",
    )


def test_who_is_ahead_is_said_with_whether_it_is_sure() -> None:
    a = contender("a", reward_mean=2.0, reward_ci95=[1.5, 2.5])
    b = contender("b", reward_mean=1.0, reward_ci95=[0.5, 1.4])
    c = contender("c", reward_mean=1.2, reward_ci95=[0.9, 1.6])
    assert find_winner([a, b]) == "By the reward model a is ahead."
    assert (
        find_winner([c, b, a])
        == "By the reward model a is ahead, but its interval meets that of c."
    )
    assert "only KL and lengths" in find_winner([contender("d", kl=1.0), contender("e", kl=2.0)])
    assert "Only one job" in find_winner([a])
