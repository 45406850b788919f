import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.inference.server import create_inference_app
from app.models import Model, ModelKind, Round, Snapshot, User
from app.preferences.snapshots import create_snapshot
from app.registry.catalogue import DatabaseCatalogue
from app.registry.service import ensure_starters
from app.web.teaching import MOST_TEACHERS
from tests.conftest import sign_in
from tests.generation.servers import obedient, running, serving
from tests.preferences.conftest import load_rankings, ranking
from tests.preferences.conftest import make_project as make_ranked_project
from tests.projects.rounds_factory import make_model, make_project
from tests.registry.family import make_family
from tests.registry.folders import make_folder
from tests.training.tiny import make_backbone, make_policy


@pytest.fixture
def family(app: FastAPI) -> str:
    """A project's reward model and tuned policy with everything behind them."""
    with app.state.database.write() as session:
        ensure_starters(session)
        project = make_project(session, 0)
        snapshot = Snapshot(
            project_id=project.id, sha256="0", rankings=4, pairs=9, prompts=2, simulated_rankings=4
        )
        session.add(snapshot)
        session.flush()
        make_model(
            session,
            "judge",
            ModelKind.REWARD_MODEL,
            parent_id="minilm-l6",
            project_id=project.id,
            snapshot_id=snapshot.id,
            simulated_labels=True,
            metrics={
                "accuracy": 0.75,
                "accuracy_ci95": [0.5, 0.9],
                "eval_pairs": 12,
                "longer_wins_accuracy": 0.6,
            },
        )
        figures = {"reward_mean": -0.5, "reward_ci95": [-0.9, -0.1], "kl": 0.0, "prompts": 6}
        sample = {"prompt": "Why?", "completion": "<b>x</b>", "reward": -0.5}
        make_model(
            session,
            "tuned",
            parent_id="smollm2-135m-instruct",
            reward_model_id="judge",
            snapshot_id=snapshot.id,
            project_id=project.id,
            simulated_labels=True,
            metrics={
                "before": figures,
                "after": {**figures, "reward_mean": 0.75},
                "comparison": {"win_rate": 0.8125, "win_rate_ci95": [0.625, 0.9375]},
                "samples": {"before": [sample], "after": [{**sample, "reward": 0.75}]},
            },
        )
        session.add(Round(project_id=project.id, number=4, policies=["tuned"]))
        return project.id


@pytest.fixture
def tiny(app: FastAPI, tmp_path: Path) -> Iterator[None]:
    """A tiny policy and a tiny reward model, really served."""
    policy, judge = make_policy(tmp_path / "policy"), make_backbone(tmp_path / "judge")
    database, settings = app.state.database, app.state.settings
    with database.write() as session:
        make_model(session, "writer", location=str(policy))
        make_model(session, "scorer", ModelKind.REWARD_MODEL, location=str(judge))
    catalogue = DatabaseCatalogue(database, settings)
    with serving(create_inference_app(catalogue), lifespan="on") as url:
        app.state.settings = settings.model_copy(update={"inference_url": url})
        yield


def test_the_list_shows_kind_lineage_and_result(researcher_client: TestClient, family: str) -> None:
    page = researcher_client.get(f"/models?project={family}").text
    for expected in ("judge", "tuned", "minilm-l6", "75% of 12 held-out pairs", "simulated"):
        assert expected in page
    assert "−0.50" in page or "-0.50 → +0.75" in page
    assert "Register a model" not in page
    policies = researcher_client.get("/models?kind=policy").text
    assert "tuned" in policies
    assert 'href="/models/minilm-l6"' not in policies


def test_a_policy_shows_before_and_after_and_where_it_comes_from(
    admin_client: TestClient, family: str
) -> None:
    page = admin_client.get("/models/tuned").text
    for expected in (
        "Before and after",
        "(n = 6)",
        "-0.9 to -0.1",
        "+1.25",
        "Win rate",
        "81%",
        "62% to 94%",
        '<a href="/models/judge">judge</a>',
        "started from",
        "tuned against",
        "9 pairs",
        "4 of 4 rankings simulated",
        "Round 4",
        f"/projects/{family}/rounds/new?policies=tuned,smollm2-135m-instruct",
    ):
        assert expected in page, expected
    assert "<b>x</b>" not in page, "completions are escaped"
    up = admin_client.get("/models/smollm2-135m-instruct").text
    assert 'href="/models/tuned"' in up


def test_a_policy_that_nobody_judged_has_its_kl_and_no_reward(
    app: FastAPI, admin_client: TestClient
) -> None:
    measured = {"reward_mean": None, "reward_ci95": None, "kl": 3.5, "prompts": 4}
    untouched = {**measured, "kl": -1.011e-4}
    with app.state.database.write() as session:
        ensure_starters(session)
        make_model(
            session,
            "by-dpo",
            parent_id="smollm2-135m-instruct",
            metrics={
                "before": untouched,
                "after": measured,
                "comparison": {},
                "samples": {
                    moment: [{"prompt": "p", "completion": "c"}] for moment in ("before", "after")
                },
            },
        )
    page = admin_client.get("/models/by-dpo").text
    assert "Reward mean" not in page
    assert "3.5" in page
    assert "-0<" not in page, "of a KL that is only rounding"
    assert "Win rate" not in page
    assert "by-dpo" in admin_client.get("/models").text


def test_a_reward_model_shows_its_figures_beside_the_floor(
    admin_client: TestClient, family: str
) -> None:
    page = admin_client.get("/models/judge").text
    assert "0.5 to 0.9" in page
    assert "gives 60% on the same pairs" in page
    assert "was tuned against it" in page


@pytest.mark.usefixtures("tiny")
def test_completions_are_scored_best_first_on_the_page(researcher_client: TestClient) -> None:
    form = {"prompt": "Name a colour.", "completion": ["Blue <i>", "", "Ten.", ""]}
    answer = researcher_client.post("/models/scorer/score", data=form)
    assert answer.status_code == 200
    assert answer.text.count("score-rank") == 2
    assert "Blue &lt;i&gt;" in answer.text
    assert "Name a colour." in answer.text, "the form keeps what was asked"
    empty = researcher_client.post("/models/scorer/score", data={"prompt": "x"})
    assert empty.status_code == 422
    assert "At least one completion is needed." in empty.text


@pytest.mark.usefixtures("tiny")
def test_completions_are_generated_on_the_page(researcher_client: TestClient) -> None:
    form = {"prompt": "Hello", "n": "2", "max_new_tokens": "4", "temperature": "0.9"}
    answer = researcher_client.post("/models/writer/generate", data=form)
    assert answer.status_code == 200
    assert answer.text.count('class="try-choice"') == 2
    for change, says in (({"n": "0"}, "from 1 to 16"), ({"temperature": "9"}, "from 0 to 2")):
        refused = researcher_client.post("/models/writer/generate", data={**form, **change})
        assert refused.status_code == 422
        assert says in refused.text


def test_without_the_inference_process_the_page_says_what_to_start(
    app: FastAPI, researcher_client: TestClient
) -> None:
    with running(obedient) as server:
        pass
    app.state.settings = app.state.settings.model_copy(update={"inference_url": server.url})
    with app.state.database.write() as session:
        make_model(session, "writer")
    answer = researcher_client.post("/models/writer/generate", data={"prompt": "x", "n": "1"})
    assert answer.status_code == 503
    assert "podium inference" in answer.text


def test_a_folder_is_registered_from_the_form(
    app: FastAPI, admin_client: TestClient, tmp_path: Path
) -> None:
    assert admin_client.get("/models/new").status_code == 200
    folder = make_folder(tmp_path / "mine")
    form = {"source": "folder", "kind": "policy", "location": str(folder), "name": "New"}
    made = admin_client.post("/models", data=form)
    assert (made.status_code, made.headers["location"]) == (303, "/models/new-2")
    assert "10" in admin_client.get("/models/new-2").text
    refused = admin_client.post("/models", data={**form, "location": "/nowhere"})
    assert refused.status_code == 422
    assert "There is no folder /nowhere" in refused.text
    assert 'value="/nowhere"' in refused.text
    assert admin_client.post("/models", data={**form, "kind": "x"}).status_code == 422


def test_a_model_is_archived_and_restored(app: FastAPI, admin_client: TestClient) -> None:
    with app.state.database.write() as session:
        make_model(session, "old")
    assert admin_client.post("/models/old/archive").status_code == 303
    assert 'href="/models/old"' not in admin_client.get("/models").text
    assert 'href="/models/old"' in admin_client.get("/models?archived=true").text
    assert "no round or job offers it" in admin_client.get("/models/old").text
    admin_client.post("/models/old/restore")
    with app.state.database.read() as session:
        assert session.get_one(Model, "old").archived_at is None


def test_who_may_see_and_change_the_registry(
    app: FastAPI, make_user: Callable[..., User], researcher_client: TestClient, family: str
) -> None:
    labeler = sign_in(app, make_user("labeler"))
    assert labeler.get("/models").status_code == 403
    assert labeler.get("/models/tuned").status_code == 403
    assert researcher_client.get("/models/tuned").status_code == 200
    assert researcher_client.get("/models/new").status_code == 403
    assert researcher_client.post("/models/tuned/archive").status_code == 403
    assert researcher_client.get("/models/nobody").status_code == 404


def test_a_policy_page_says_who_taught_it(
    app: FastAPI, admin_client: TestClient, researcher_client: TestClient
) -> None:
    family = make_family(app.state.database)
    people = f"/projects/{family.project_id}/people/labeler?name="
    page = admin_client.get("/models/child").text
    taught = page.split('id="taught"')[1]
    said = " ".join(re.sub(r"<[^>]+>", " ", taught).split())
    for expected in (
        "4 rankings by 3 labelers , which give 11 pairs; 25% of the rankings simulated; 1 revoked "
        "since; 1 more erased since.",
        "Frozen in First (1 erased).",
        "ann 2 5 none Round 1 Version 1",
        "bob 1 3 1 Round 1 Version 1",
        "bot simulated 1 3 none",
        "erased whose data had to go 1 gone unknown",
    ):
        assert expected in said, expected
    assert "cyd" not in page
    assert f"/snapshots/{family.first_snapshot}" in taught
    for name in ("ann", "bob"):
        assert f'href="{people}{name}"' in taught
        assert admin_client.get(f"{people}{name}").status_code == 200
    read = researcher_client.get("/models/child").text
    assert people not in read, "the pages of labelers are for admins"
    assert f"/projects/{family.project_id}/pairs?labeler=ann" in read
    assert "No snapshot is behind it" in admin_client.get("/models/alone").text


def test_many_labelers_are_cut_and_the_page_says_so(app: FastAPI, admin_client: TestClient) -> None:
    database = app.state.database
    project_id = make_ranked_project(database)
    lines = [
        ranking(prompt=f"{number}?", labeler=f"l{number}") for number in range(MOST_TEACHERS + 7)
    ]
    load_rankings(database, project_id, lines)
    with database.write() as session:
        snapshot = create_snapshot(session, None, project_id)
        make_model(session, "crowd", ModelKind.REWARD_MODEL, snapshot_id=snapshot.id)
    page = admin_client.get("/models/crowd").text
    assert page.count('data-label="Labeler"') == MOST_TEACHERS
    assert "And 7 more labelers" in page
