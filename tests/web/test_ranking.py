import pytest
from sqlalchemy import select

from app.labeling.pauses import pause_labeler
from app.labeling.queue import lease_next_task
from app.labeling.rankings import submit_ranking
from app.labeling.revocation import revoke_rankings
from app.labeling.submissions import Submission
from app.models import Assignment, AssignmentState, Membership, Project, Ranking, User
from tests.conftest import sign_in
from tests.labeling.factory import make_project, make_tasks


@pytest.fixture
def project_id(app):
    with app.state.database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 2)
        return project.id


@pytest.fixture
def assignment(app, labeler, project_id):
    with app.state.database.write() as session:
        return lease_next_task(session, labeler, project_id, lease_seconds=600)


def fields(assignment: Assignment, *ranks: str) -> dict[str, str]:
    return {
        f"rank_{completion}": rank
        for completion, rank in zip(assignment.shown_order, ranks, strict=True)
    }


def test_starting_leases_a_task_and_starting_again_gives_the_same(labeler_client, project_id):
    first = labeler_client.post(f"/projects/{project_id}/rank")
    assert first.status_code == 303
    assert first.headers["location"].startswith("/assignments/")
    again = labeler_client.post(f"/projects/{project_id}/rank")
    assert again.headers["location"] == first.headers["location"]
    current = labeler_client.get(f"/projects/{project_id}/rank")
    assert current.headers["location"] == first.headers["location"]


def test_a_submitted_form_is_stored_with_its_ratings_and_flags(app, labeler_client, assignment):
    first = assignment.shown_order[0]
    response = labeler_client.post(
        f"/assignments/{assignment.id}/ranking",
        data={
            **fields(assignment, "1", "2", "2"),
            f"rating_{first}": "7",
            f"flag_{first}": ["unsafe", "wrong_facts"],
            "comment": "ok",
            "active_ms": "1234",
            "time_zone": "Europe/Vienna",
        },
    )
    assert response.status_code == 303
    assert response.headers["location"] != f"/assignments/{assignment.id}"
    with app.state.database.read() as session:
        ranking = session.scalars(select(Ranking)).one()
        assert (ranking.comment, ranking.active_ms) == ("ok", 1234)
        zones = [user.preferences.get("time_zone") for user in session.scalars(select(User))]
        assert "Europe/Vienna" in zones


@pytest.mark.parametrize("rank", ["", "0", "first", "-1", "1.5", "9999999999999999999"])
def test_a_form_with_a_wrong_rank_is_shown_again_with_what_is_wrong(
    app, labeler_client, assignment, rank
):
    response = labeler_client.post(
        f"/assignments/{assignment.id}/ranking",
        data={**fields(assignment, "1", rank, "2"), "comment": "kept <b>"},
    )
    assert response.status_code == 422
    assert response.text.count('aria-invalid="true"') == 1
    assert "kept &lt;b&gt;" in response.text
    with app.state.database.read() as session:
        assert session.scalars(select(Ranking)).all() == []


def test_the_last_ranking_of_a_project_leads_to_the_page_that_says_so(labeler_client, project_id):
    for _ in range(2):
        page = labeler_client.post(f"/projects/{project_id}/rank").headers["location"]
        text = labeler_client.get(page).text
        ids = {part.split('"')[0] for part in text.split('name="rank_')[1:]}
        response = labeler_client.post(
            f"{page}/ranking", data={f"rank_{completion}": "1" for completion in ids}
        )
    assert response.headers["location"] == f"/projects/{project_id}/rank"
    page = labeler_client.get(response.headers["location"])
    assert "Every task of this project has all its rankings" in page.text


def test_skipping_without_a_reason_is_refused_and_with_one_goes_on(app, labeler_client, assignment):
    address = f"/assignments/{assignment.id}/skip"
    assert labeler_client.post(address, data={}).status_code == 422
    response = labeler_client.post(address, data={"reason": "unclear"})
    assert response.headers["location"] not in (f"/assignments/{assignment.id}", None)
    assert "You skipped this task" in labeler_client.get(f"/assignments/{assignment.id}").text


def test_stopping_gives_the_task_back(app, labeler_client, assignment):
    response = labeler_client.post(f"/assignments/{assignment.id}/return")
    assert response.headers["location"] == "/queue"
    with app.state.database.read() as session:
        stored = session.get_one(Assignment, assignment.id)
        assert stored.state == AssignmentState.RETURNED


def test_signing_out_gives_the_task_back(app, labeler_client, assignment):
    assert labeler_client.post("/sign-out").status_code == 303
    with app.state.database.read() as session:
        stored = session.get_one(Assignment, assignment.id)
        assert stored.state == AssignmentState.RETURNED


def test_the_version_of_the_guidelines_that_was_read_is_stored(
    app, labeler_client, assignment, project_id
):
    page = labeler_client.get(f"/assignments/{assignment.id}").text
    assert '<input type="hidden" name="guidelines_version" value="1">' in page
    assert "changed" not in page
    with app.state.database.write() as session:
        project = session.get_one(Project, project_id)
        project.guidelines, project.guidelines_version = "Other words.", 2
    labeler_client.post(
        f"/assignments/{assignment.id}/ranking",
        data={**fields(assignment, "1", "2", "3"), "guidelines_version": "1"},
    )
    with app.state.database.read() as session:
        assert session.scalars(select(Ranking.guidelines_version)).one() == 1


def test_changed_guidelines_are_said_until_the_next_ranking(
    app, labeler_client, assignment, project_id
):
    labeler_client.post(
        f"/assignments/{assignment.id}/ranking", data=fields(assignment, "1", "2", "3")
    )
    with app.state.database.write() as session:
        session.get_one(Project, project_id).guidelines_version = 2
    page = labeler_client.post(f"/projects/{project_id}/rank").headers["location"]
    text = labeler_client.get(page).text
    assert "Changed since your last ranking here, from version 1 to 2" in text
    assert f'href="/projects/{project_id}/guidelines"' in text
    ids = {part.split('"')[0] for part in text.split('name="rank_')[1:]}
    labeler_client.post(
        f"{page}/ranking",
        data={"guidelines_version": "2", **{f"rank_{completion}": "1" for completion in ids}},
    )
    assert "Changed since" not in labeler_client.get(page).text


def test_the_flags_are_those_of_the_project_and_set_ones_stay_when_retired(
    app, labeler_client, assignment, project_id
):
    with app.state.database.write() as session:
        project = session.get_one(Project, project_id)
        project.flags = [{"name": "rude", "label": "Rude <words>"}]
    page = labeler_client.get(f"/assignments/{assignment.id}").text
    assert "Rude &lt;words&gt;" in page
    assert "Wrong facts" not in page
    first, second, _ = assignment.shown_order
    data = {**fields(assignment, "1", "2", "3"), f"flag_{first}": "rude"}
    labeler_client.post(f"/assignments/{assignment.id}/ranking", data=data)
    with app.state.database.write() as session:
        project = session.get_one(Project, project_id)
        project.flags = [{"name": "rude", "label": "Rude <words>", "retired": True}]
    page = labeler_client.get(f"/assignments/{assignment.id}").text
    assert f'name="flag_{first}" value="rude" checked' in page
    assert f'name="flag_{second}"' not in page


def test_a_paused_labeler_is_told_why_and_given_no_task(app, labeler, labeler_client, project_id):
    with app.state.database.write() as session:
        user = session.get_one(User, labeler.id)
        pause_labeler(session, None, project_id, user, reason="Slow down <b>please</b>")
    assert "Slow down &lt;b&gt;please" in labeler_client.get("/queue").text
    assert "Start ranking" not in labeler_client.get("/queue").text
    answer = labeler_client.post(f"/projects/{project_id}/rank")
    assert answer.headers["location"] == f"/projects/{project_id}/rank"
    page = labeler_client.get(answer.headers["location"]).text
    assert "You are paused here" in page
    assert "Slow down &lt;b&gt;please" in page


def test_a_revoked_ranking_is_over_for_the_person_and_marked_in_their_history(
    app, labeler, labeler_client, assignment, project_id
):
    address = f"/assignments/{assignment.id}"
    labeler_client.post(f"{address}/ranking", data=fields(assignment, "2", "1", "2"))
    assert f'href="{address}"' in labeler_client.get("/my-rankings").text
    with app.state.database.write() as session:
        revoke_rankings(session, None, project_id, labeler.handle, reason="careless")
    page = labeler_client.get(address).text
    assert "An admin has revoked your ranking" in page
    assert 'name="rank_' not in page
    mine = labeler_client.get("/my-rankings").text
    assert "Revoked" in mine
    assert "B, then A tied with C" in mine
    assert f'href="{address}"' not in mine


def test_my_rankings_are_paged_and_filtered(app, labeler, labeler_client, project_id):
    with app.state.database.write() as session:
        user = session.get_one(User, labeler.id)
        other = make_project(session, name="Other work")
        make_tasks(session, other, 21)
        for _ in range(21):
            lease = lease_next_task(session, user, other.id, lease_seconds=600)
            ranks = dict.fromkeys(lease.shown_order, 1)
            submit_ranking(session, user, lease.id, Submission(ranks=ranks))
        other_id = other.id
    page = labeler_client.get("/my-rankings").text
    assert page.count("mine-item") == 20
    rest = page.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    assert labeler_client.get(rest).text.count("mine-item") == 1
    assert "mine-item" not in labeler_client.get(f"/my-rankings?project={project_id}").text
    assert labeler_client.get(f"/my-rankings?project={other_id}").text.count("mine-item") == 20


def test_texts_are_served_as_they_were_written(app, make_user, labeler_client, assignment):
    answer = labeler_client.get(f"/assignments/{assignment.id}/texts")
    assert sorted(answer.json()["texts"].values()) == ["first", "second", "third"]
    assert list(answer.json()["texts"]) == assignment.shown_order
    assert answer.headers["cache-control"] == "no-store"
    stranger = sign_in(app, make_user())
    assert stranger.get(f"/assignments/{assignment.id}/texts").status_code == 404


@pytest.mark.parametrize(
    ("path", "active"),
    [
        ("/queue", "Rank"),
        ("/my-rankings", "Rank"),
        ("/projects/{project}/rank", "Rank"),
        ("/assignments/{assignment}", "Rank"),
        ("/projects", "Projects"),
        ("/projects/{project}", "Projects"),
    ],
)
def test_the_navigation_marks_where_one_is(app, admin, admin_client, project_id, path, active):
    with app.state.database.write() as session:
        if "rank" not in path:
            lease = lease_next_task(session, admin, project_id, lease_seconds=600)
            path = path.replace("{assignment}", lease.id)
    page = admin_client.get(path.replace("{project}", project_id)).text
    nav = page.split('aria-label="Main"')[1].split("</nav>")[0]
    links = [link for link in nav.split("<a ")[1:] if 'aria-current="page"' in link]
    assert [link.split("<span>")[1].split("<")[0] for link in links] == [active]


@pytest.mark.parametrize("action", ["ranking", "draft", "renew", "skip", "return"])
def test_somebody_elses_assignment_is_absent(app, make_user, assignment, action):
    stranger = sign_in(app, make_user())
    assert stranger.get(f"/assignments/{assignment.id}").status_code == 404
    answer = stranger.post(f"/assignments/{assignment.id}/{action}", data={"reason": "unclear"})
    assert answer.status_code == 404


def test_a_restricted_project_is_only_for_its_members(app, labeler, labeler_client):
    with app.state.database.write() as session:
        project = make_project(session, name="Secret work", restricted=True)
        make_tasks(session, project, 1)
        project_id = project.id
    assert "Secret work" not in labeler_client.get("/queue").text
    assert labeler_client.get(f"/projects/{project_id}/rank").status_code == 404
    assert labeler_client.post(f"/projects/{project_id}/rank").status_code == 404
    with app.state.database.write() as session:
        session.add(Membership(project_id=project_id, user_id=labeler.id))
    assert "Secret work" in labeler_client.get("/queue").text


def test_a_view_is_remembered_and_only_a_known_one(app, labeler, labeler_client):
    labeler_client.post("/ranking-view", data={"layout": "three", "guidelines": "closed"})
    labeler_client.post("/ranking-view", data={"layout": "sideways"})
    with app.state.database.read() as session:
        stored = session.get_one(User, labeler.id).preferences
        assert (stored["layout"], stored["guidelines"]) == ("three", "closed")


def test_nobody_signed_in_is_sent_to_sign_in(client, project_id):
    assert client.get("/queue").headers["location"].startswith("/sign-in")
