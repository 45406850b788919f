"""The pages of the people's verdict: asking, reading, promoting."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.models import Job, Promotion, Role, Round, User
from app.preferences.deletion import delete_round
from app.projects.rounds import close_round
from tests.conftest import sign_in
from tests.evaluation.contests import Judged, fill_round, make_contest, make_judged, rank
from tests.projects.rounds_factory import make_model


@pytest.fixture
def admin(app: FastAPI, make_user: Callable[..., User]) -> TestClient:
    return sign_in(app, make_user(Role.ADMIN))


@pytest.fixture
def judged(app: FastAPI, tmp_path: Path) -> Judged:
    return make_judged(app.state.database, tmp_path, labelers=("ada", "bob"))


def test_one_button_leads_from_the_job_to_the_round(app: FastAPI, admin: TestClient) -> None:
    with app.state.database.write() as session:
        contest = make_contest(session)
    path = f"/jobs/{contest.job_id}/evaluation"
    assert path in admin.get(f"/jobs/{contest.job_id}").text
    form = admin.get(path)
    assert form.status_code == 200
    assert "4 prompts were held out" in form.text
    assert 'name="again"' not in form.text
    sent = admin.post(
        path,
        data={
            "prompts": "3",
            "labelers_per_task": "2",
            "completions_per_policy": "1",
            "temperature": "0.9",
        },
    )
    assert sent.status_code == 303
    with app.state.database.read() as session:
        round_ = session.scalars(select(Round)).one()
    assert sent.headers["Location"] == f"/rounds/{round_.id}/evaluation"
    assert (round_.labelers_per_task, round_.sampling["temperature"]) == (2, 0.9)
    waiting = admin.get(sent.headers["Location"])
    assert "The policies are writing" in waiting.text
    assert 'hx-trigger="every 2s' in waiting.text


def test_asking_again_is_said_and_has_to_be_meant(app: FastAPI, admin: TestClient) -> None:
    with app.state.database.write() as session:
        contest = make_contest(session)
    path = f"/jobs/{contest.job_id}/evaluation"
    values = {"prompts": "2", "labelers_per_task": "1", "completions_per_policy": "1"}
    assert admin.post(path, data=values).status_code == 303
    refused = admin.post(path, data=values)
    assert refused.status_code == 409
    assert "compares these two already" in refused.text
    assert 'name="again" value="yes"' in refused.text
    assert admin.post(path, data={**values, "again": "yes"}).status_code == 303


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompts": "9"}, "from 1 to 4, the prompts held out"),
        ({"prompts": "many"}, "from 1 to 4"),
        ({"labelers_per_task": "0"}, "from 1 to 100"),
        ({"completions_per_policy": "7"}, "from 1 to 4 for 2 policies"),
        ({"temperature": "hot"}, "sampling.temperature"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(
    app: FastAPI, admin: TestClient, change: dict[str, str], words: str
) -> None:
    with app.state.database.write() as session:
        contest = make_contest(session)
    values = {"prompts": "2", "labelers_per_task": "1", "completions_per_policy": "1", **change}
    answer = admin.post(f"/jobs/{contest.job_id}/evaluation", data=values)
    assert answer.status_code == 422
    assert words in answer.text


def test_a_job_without_a_policy_says_what_can_be_asked_about(
    app: FastAPI, admin: TestClient
) -> None:
    with app.state.database.write() as session:
        contest = make_contest(session)
        session.get_one(Job, contest.job_id).state = "running"
    answer = admin.get(f"/jobs/{contest.job_id}/evaluation")
    assert answer.status_code == 409
    assert "Only a finished job that tuned a policy" in answer.text


def test_a_round_that_nobody_ranked_says_what_to_do(app: FastAPI, admin: TestClient) -> None:
    with app.state.database.write() as session:
        contest = make_contest(session)
    admin.post(
        f"/jobs/{contest.job_id}/evaluation",
        data={"prompts": "2", "labelers_per_task": "1", "completions_per_policy": "1"},
    )
    with app.state.database.write() as session:
        round_ = session.scalars(select(Round)).one()
        fill_round(session, round_)
    page = admin.get(f"/rounds/{round_.id}/evaluation").text
    assert "Nobody has ranked yet." in page
    assert f"/projects/{contest.project_id}/rank" in page
    assert "785" in page


def test_a_round_whose_completions_could_not_be_made_says_so(
    app: FastAPI, admin: TestClient
) -> None:
    with app.state.database.write() as session:
        contest = make_contest(session)
    admin.post(
        f"/jobs/{contest.job_id}/evaluation",
        data={"prompts": "2", "labelers_per_task": "1", "completions_per_policy": "1"},
    )
    with app.state.database.write() as session:
        round_ = session.scalars(select(Round)).one()
        job = session.get_one(Job, round_.job_id)
        job.state, job.reason = "failed", "No server answers."
    page = admin.get(f"/rounds/{round_.id}/evaluation").text
    assert "No server answers." in page
    assert "There is nothing to rank" in page
    assert 'hx-trigger="every' not in page


def test_the_verdict_shows_every_number_with_its_samples(admin: TestClient, judged: Judged) -> None:
    path = f"/rounds/{judged.round_id}/evaluation"
    page = admin.get(path).text
    assert "new won 75% of 12 rankings (95% interval" in page
    assert "At equal lengths" in page
    assert "The reward model agrees with people" in page
    assert "6 : 6" in page
    assert page.count("data-pair>") == 6
    assert "new says 0" in page
    won = admin.get(f"{path}?said=won").text
    lost = admin.get(f"{path}?said=lost").text
    tied = admin.get(f"{path}?said=tied").text
    against = admin.get(f"{path}?said=against_model").text
    # Two labelers walk the tasks in orders of their own, so tasks overlap between the answers.
    assert 4 <= won.count("data-pair>") <= 6
    assert 1 <= lost.count("data-pair>") <= 2
    assert 1 <= tied.count("data-pair>") <= 2
    assert against.count("data-pair>") == lost.count("data-pair>")
    mine = admin.get(f"{path}?said=lost&labeler=ada").text
    assert mine.count("data-pair>") == 1
    assert "by ada" in mine
    assert "No ranking says that" in admin.get(f"{path}?labeler=nobody").text


def test_samples_come_a_page_at_a_time(app: FastAPI, admin: TestClient, tmp_path: Path) -> None:
    judged = make_judged(app.state.database, tmp_path, ["new"] * 12, prompts=12)
    path = f"/rounds/{judged.round_id}/evaluation"
    first = admin.get(path).text
    assert first.count("data-pair>") == 10
    assert f"{path}?page=2#samples" in first
    assert admin.get(f"{path}?page=2").text.count("data-pair>") == 2


def test_three_policies_stand_under_each_other(
    app: FastAPI, admin: TestClient, tmp_path: Path
) -> None:
    judged = make_judged(
        app.state.database,
        tmp_path,
        ["new", "new", "old", "older", "new", "old"],
        others=["older"],
    )
    page = admin.get(f"/rounds/{judged.round_id}/evaluation").text
    assert "Bradley–Terry" in page
    assert page.index("/models/new") < page.index("/models/older")
    path = f"/rounds/{judged.round_id}/evaluation?candidate=older&amp;baseline=new"
    assert f'href="{path}" aria-label="older against new: 33%' in page
    other = admin.get(path.replace("&amp;", "&")).text
    assert "older won 33% of 6 rankings" in other
    assert f'href="{path}&amp;said=lost#samples"' in other
    assert f'href="{path}&amp;labeler=ada#samples"' in other
    assert "Back to the round's own two" in other
    assert "older says 0" in other
    assert "old says 0" not in other


def test_promoting_keeps_what_was_said_and_fills_in_the_next_round(
    app: FastAPI, admin: TestClient, judged: Judged
) -> None:
    project_id = judged.contest.project_id
    sent = admin.post(
        f"/projects/{project_id}/promotions",
        data={"model_id": "old", "round_id": judged.round_id, "note": "Kept for now."},
    )
    assert (sent.status_code, sent.headers["Location"]) == (
        303,
        f"/projects/{project_id}/promotions",
    )
    history = admin.get(f"/projects/{project_id}/promotions").text
    assert "new won 75% (95% interval" in history
    assert "Kept for now." in history
    form = admin.get(f"/projects/{project_id}/rounds/new").text
    assert 'value="old" checked' in form
    assert 'value="new" checked' not in form
    assert "promoted" in form
    listed = admin.get(f"/models?project={project_id}").text
    assert f"/projects/{project_id}/promotions" in listed
    assert listed.count(">promoted<") == 1
    again = admin.post(f"/projects/{project_id}/promotions", data={"model_id": "old"})
    assert "warning" in again.headers["set-cookie"]
    admin.post(f"/projects/{project_id}/promotions", data={"model_id": "new"})
    history = admin.get(f"/projects/{project_id}/promotions").text
    assert "no people asked" in history
    assert "Go back to it" in history
    with app.state.database.read() as session:
        assert len(session.scalars(select(Promotion)).all()) == 2


def test_a_promotion_outlives_the_round_it_rests_on(
    app: FastAPI, admin: TestClient, judged: Judged
) -> None:
    project = f"/projects/{judged.contest.project_id}"
    admin.post(f"{project}/promotions", data={"model_id": "old", "round_id": judged.round_id})
    with app.state.database.write() as session:
        round_ = session.get_one(Round, judged.round_id)
        close_round(session, None, round_)
        before = admin.get(f"{project}/promotions").text
        delete_round(session, None, round_)
    after = admin.get(f"{project}/promotions").text
    for history in (before, after):
        assert "new won 75% (95% interval" in history
        assert "judge agreed on 80% of the decided pairs" in history
    assert f"/rounds/{judged.round_id}/evaluation" in before
    assert f"/rounds/{judged.round_id}/evaluation" not in after
    assert "Round 1, deleted since." in after
    assert "new won 75% (95% interval" in admin.get("/models/old").text
    kept = admin.get(f"/api/v1{project}/promotions").json()["items"][0]
    assert (kept["round_id"], kept["evidence"]["rankings"]) == (None, 12)
    assert 'value="old" checked' in admin.get(f"{project}/rounds/new").text


def test_without_a_promotion_the_history_says_what_the_next_round_asks(
    app: FastAPI, admin: TestClient
) -> None:
    with app.state.database.write() as session:
        contest = make_contest(session)
    page = admin.get(f"/projects/{contest.project_id}/promotions").text
    assert "Nothing was promoted yet" in page
    assert "the newest policy, new" in page


def test_the_models_page_says_what_people_said(
    app: FastAPI, admin: TestClient, judged: Judged
) -> None:
    with app.state.database.write() as session:
        make_model(session, "fresh", project_id=judged.contest.project_id)
    assert "Nobody was asked about this policy yet." in admin.get("/models/fresh").text


def test_only_simulated_labelers_asked_is_said_of_a_promotion(
    app: FastAPI, admin: TestClient, judged: Judged
) -> None:
    with app.state.database.write() as session:
        for person in session.scalars(select(User).where(User.role == Role.LABELER)):
            person.simulation_rule = "length"
    page = admin.get(f"/rounds/{judged.round_id}/evaluation").text
    assert "all simulated" in page
    data = {"model_id": "new", "round_id": judged.round_id}
    admin.post(f"/projects/{judged.contest.project_id}/promotions", data=data)
    history = admin.get(f"/projects/{judged.contest.project_id}/promotions").text
    assert "only simulated labelers asked" in history


def test_other_pages_lead_to_the_verdict(admin: TestClient, judged: Judged) -> None:
    path = f"/rounds/{judged.round_id}/evaluation"
    project = f"/projects/{judged.contest.project_id}"
    for page in (f"/rounds/{judged.round_id}", f"{project}/rounds", project):
        assert path in admin.get(page).text, page
    assert "95% interval" in admin.get(project).text


def test_researchers_read_but_do_not_promote(
    app: FastAPI, make_user: Callable[..., User], judged: Judged
) -> None:
    researcher = sign_in(app, make_user(Role.RESEARCHER))
    page = researcher.get(f"/rounds/{judged.round_id}/evaluation")
    assert page.status_code == 200
    assert "Promote a policy" not in page.text
    project = f"/projects/{judged.contest.project_id}"
    assert researcher.get(f"{project}/promotions").status_code == 200
    sent = researcher.post(f"{project}/promotions", data={"model_id": "new"})
    assert sent.status_code == 403
    labeler = sign_in(app, make_user(Role.LABELER))
    assert labeler.get(f"/rounds/{judged.round_id}/evaluation").status_code == 403


def test_the_form_says_what_its_values_can_tell(app: FastAPI, admin: TestClient) -> None:
    """16 prompts ranked once: 2.8016 · sqrt(¼ / 16) = 35 points; 40 prompts, 22 points."""
    with app.state.database.write() as session:
        contest = make_contest(session, prompts=50, held_out=40)
    path = f"/jobs/{contest.job_id}/evaluation"
    form = admin.get(path).text
    assert "22 points" in form
    assert f'hx-get="{path}/plan"' in form
    few = admin.get(f"{path}/plan?prompts=16").text
    assert "<html" not in few
    assert "35 points" in few
    assert "(85% against 50%)" in few
    assert "10 points would take 197 prompts." in few
    assert "All 40 prompts" in few
    assert "All of these together" in few
    more = admin.get(f"{path}/plan?prompts=16&labelers_per_task=3&completions_per_policy=3").text
    assert "3 labelers per prompt" not in more
    assert "3 completions each" not in more
    assert "All of these together" not in more
    assert "no difference at all" in admin.get(f"{path}/plan?prompts=2").text
    assert "cannot have these values" in admin.get(f"{path}/plan?prompts=many").text


def test_a_round_large_enough_is_not_told_what_would_help(app: FastAPI, admin: TestClient) -> None:
    with app.state.database.write() as session:
        contest = make_contest(session, prompts=210, held_out=200)
    page = admin.get(f"/jobs/{contest.job_id}/evaluation/plan?prompts=200").text
    assert "10 points" in page
    assert "would take" not in page
    assert "What would tell more" not in page


def test_the_page_says_whether_one_may_stop(
    app: FastAPI, admin: TestClient, tmp_path: Path
) -> None:
    judged = make_judged(app.state.database, tmp_path, ["new"] * 6, prompts=30)
    path = f"/rounds/{judged.round_id}/evaluation"
    page = admin.get(path).text
    assert "Nobody can tell yet which one is preferred: new won 100% of 6 rankings so far" in page
    assert "95% interval at every look" in page
    assert "Not yet: the interval that holds however often you look is" in page
    loop = admin.get(f"/projects/{judged.contest.project_id}").text
    assert "so far, of 6 rankings" in loop
    assert "95% interval" not in loop
    with app.state.database.write() as session:
        person = session.scalars(select(User).where(User.email == "ada@example.org")).one()
        rank(session, judged.contest.project_id, person, ["new"] * 12)
    page = admin.get(path).text
    assert "People prefer new: new won 100% of 18 rankings so far" in page
    assert "Yes: the interval that holds however often you look is" in page
    admin.post(
        f"/projects/{judged.contest.project_id}/promotions",
        data={"model_id": "new", "round_id": judged.round_id},
    )
    history = admin.get(f"/projects/{judged.contest.project_id}/promotions").text
    assert "Not all rankings of the round were in; an interval that holds at every look" in history
