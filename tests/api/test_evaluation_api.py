"""The people's verdict over REST, from the job to the promotion."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI

from app.models import Role, Round, User
from tests.conftest import sign_in, user_factory
from tests.evaluation.contests import Contest, fill_round, make_contest, make_judged, rank
from tests.labeling.factory import make_user as make_labeler

API = "/api/v1"


@pytest.fixture
def make_person(app_on_any_database: FastAPI) -> Callable[..., User]:
    return user_factory(app_on_any_database)


def open_contest(app: FastAPI) -> Contest:
    with app.state.database.write() as session:
        return make_contest(session)


def test_from_the_job_over_the_verdict_to_the_promotion(
    app_on_any_database: FastAPI, make_person: Callable[..., User]
) -> None:
    app = app_on_any_database
    admin = sign_in(app, make_person(Role.ADMIN))
    contest = open_contest(app)
    opened = admin.post(f"{API}/jobs/{contest.job_id}/evaluation", json={"prompts": 3})
    assert opened.status_code == 201
    round_ = opened.json()
    assert opened.headers["Location"] == f"/api/v1/rounds/{round_['id']}"
    assert (round_["candidate_id"], round_["baseline_id"]) == ("new", "old")
    assert round_["counts"]["tasks"] == 3
    assert round_["sampling"]["temperature"] == 1.0

    empty = admin.get(f"{API}/rounds/{round_['id']}/evaluation").json()
    assert (empty["verdict"], empty["win_rate"]["value"]) == ("nobody_asked", None)
    assert [one["rankings"] for one in empty["needed"]] == [785, 197, 88]

    with app.state.database.write() as session:
        fill_round(session, session.get_one(Round, round_["id"]), rewards={"new": 1, "old": 0})
        rank(session, contest.project_id, make_labeler(session), ["new", "new", None])
    found = admin.get(f"{API}/rounds/{round_['id']}/evaluation").json()
    assert found["win_rate"]["value"] == pytest.approx(2.5 / 3)
    assert (found["won"], found["tied"], found["lost"]) == (2, 1, 0)
    assert found["reward_model"]["model_id"] == "judge"
    assert found["reward_model"]["agreement"]["value"] == 1.0
    assert found["labelers"][0]["labeler"] == "ada"
    assert found["strengths"] is None

    promoted = admin.post(
        f"{API}/projects/{contest.project_id}/promotions",
        json={"model_id": "new", "round_id": round_["id"], "note": "Better."},
    )
    assert promoted.status_code == 201
    assert promoted.json()["evidence"]["win_rate"] == pytest.approx(2.5 / 3)
    admin.post(f"{API}/projects/{contest.project_id}/promotions", json={"model_id": "old"})
    first = admin.get(f"{API}/projects/{contest.project_id}/promotions?limit=1").json()
    assert first["items"][0]["evidence"] == {"asked": False}
    second = admin.get(
        f"{API}/projects/{contest.project_id}/promotions?cursor={first['next_cursor']}"
    ).json()
    assert [one["model_id"] for one in second["items"]] == ["new"]
    again = admin.post(f"{API}/projects/{contest.project_id}/promotions", json={"model_id": "old"})
    assert (again.status_code, again.json()["code"]) == (409, "already_promoted")


def test_one_round_for_a_job_unless_asked_again(
    app: FastAPI, make_user: Callable[..., User]
) -> None:
    admin = sign_in(app, make_user(Role.ADMIN))
    path = f"{API}/jobs/{open_contest(app).job_id}/evaluation"
    assert admin.post(path).status_code == 201
    assert admin.post(path).json()["code"] == "already_compared"
    assert admin.post(path, json={"again": True}).status_code == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompts": 0}, "prompts"),
        ({"prompts": 99}, "prompts"),
        ({"labelers_per_task": 101}, "labelers_per_task"),
        ({"completions_per_policy": 5}, "completions_per_policy"),
        ({"others": ["nobody"]}, "policies"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_what_is_wrong_with_the_request_is_named(
    app: FastAPI, make_user: Callable[..., User], body: dict[str, object], field: str
) -> None:
    admin = sign_in(app, make_user(Role.ADMIN))
    answer = admin.post(f"{API}/jobs/{open_contest(app).job_id}/evaluation", json=body)
    assert answer.status_code == 422
    assert field in answer.json()["fields"]


def test_researchers_read_and_admins_act(
    app: FastAPI, make_user: Callable[..., User], tmp_path: Path
) -> None:
    judged = make_judged(app.state.database, tmp_path)
    project_id = judged.contest.project_id
    for role, reads in ((Role.RESEARCHER, 200), (Role.LABELER, 403)):
        person = sign_in(app, make_user(role))
        assert person.get(f"{API}/rounds/{judged.round_id}/evaluation").status_code == reads
        assert person.get(f"{API}/projects/{project_id}/promotions").status_code == reads
        for path in (
            f"/jobs/{judged.contest.job_id}/evaluation",
            f"/rounds/{judged.round_id}/evaluation/rewards",
            f"/projects/{project_id}/promotions",
        ):
            answer = person.post(f"{API}{path}", json={"model_id": "new"})
            assert answer.status_code == 403, path


def test_rewards_that_are_missing_are_asked_for_once(
    app: FastAPI, make_user: Callable[..., User], tmp_path: Path
) -> None:
    judged = make_judged(app.state.database, tmp_path, rewards={"new": 1.0})
    admin = sign_in(app, make_user(Role.ADMIN))
    path = f"{API}/rounds/{judged.round_id}/evaluation/rewards"
    asked = admin.post(path)
    assert (asked.status_code, asked.json()["job_id"] is None) == (202, False)
    assert admin.post(path).json()["code"] == "round_generating"


def test_pairs_leave_out_what_judged_a_policy_unless_asked(
    app: FastAPI, make_user: Callable[..., User], tmp_path: Path
) -> None:
    judged = make_judged(app.state.database, tmp_path)
    admin = sign_in(app, make_user(Role.ADMIN))
    base = f"{API}/projects/{judged.contest.project_id}"

    def count(query: str = "") -> int:
        return int(admin.get(f"{base}/pairs/counts{query}").json()["pairs"])

    assert count() == 0
    assert count("?ab_rounds=include") == count("?ab_rounds=only") == 5
    assert count(f"?round_id={judged.round_id}") == 5
    assert admin.get(f"{base}/pairs").text == ""
    assert len(admin.get(f"{base}/rankings").text.splitlines()) == 6
    refused = admin.post(f"{base}/snapshots", json={"name": "x"})
    assert refused.json()["code"] == "empty_snapshot"
    taken = admin.post(f"{base}/snapshots", json={"filters": {"ab_rounds": "only"}})
    assert taken.json()["pairs"] == 5


def test_several_policies_each_against_each_other(
    app: FastAPI, make_user: Callable[..., User], tmp_path: Path
) -> None:
    judged = make_judged(
        app.state.database, tmp_path, ["new", "old", "older"], others=["older"], prompts=3
    )
    admin = sign_in(app, make_user(Role.ADMIN))
    path = f"{API}/rounds/{judged.round_id}/evaluation"
    found = admin.get(path).json()
    assert [one["policy"] for one in found["strengths"]] == ["old", "new", "older"]
    assert found["unplaced"] == []
    rates = {(one["policy"], one["over"]): one["win_rate"] for one in found["pair_rates"]}
    assert len(rates) == 6
    assert rates["older", "new"]["n"] == 3
    other = admin.get(f"{path}?candidate=older&baseline=new").json()
    assert (other["candidate"], other["baseline"]) == ("older", "new")
    assert other["win_rate"] == pytest.approx(rates["older", "new"])
    refused = admin.get(f"{path}?candidate=nobody")
    assert (refused.status_code, set(refused.json()["fields"])) == (422, {"candidate"})


def test_until_a_round_is_through_its_verdict_holds_at_every_look(
    app: FastAPI, make_user: Callable[..., User], tmp_path: Path
) -> None:
    judged = make_judged(app.state.database, tmp_path, ["new"] * 7, prompts=20)
    admin = sign_in(app, make_user(Role.ADMIN))
    found = admin.get(f"{API}/rounds/{judged.round_id}/evaluation").json()
    assert (found["through"], found["verdict"]) == (False, "open")
    assert found["win_rate"]["low"] > 0.5 > found["always_valid"]["low"]
    assert (found["always_valid"]["n"], found["always_valid"]["prompts"]) == (7, 7)
    assert found["planned_difference"] == pytest.approx(0.3132, abs=1e-3)
