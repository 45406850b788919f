import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from app.accounts.audit import list_events
from app.labeling.pauses import find_pause
from app.models import LabelerPause, Model, Ranking, Task, TaskState, User
from app.preferences.snapshots import create_snapshot
from tests.preferences.conftest import make_project
from tests.web.crowd import Person, seed_crowd

ODD = 'a/b?c&d é "x" <b>'
CROWD = [
    Person(name="ada", noise=0.3),
    Person(name="ben", noise=0.4),
    Person(name="kim", noise=4.0, seconds=6, first_bias=3.0),
    Person(name="rule", noise=0.2, rule="plain-words"),
    Person(name=ODD, account=False, share=0.5),
]


@pytest.fixture
def project_id(app: FastAPI) -> str:
    with app.state.database.write() as session:
        return seed_crowd(session, CROWD, tasks=60, skip_share=0.1).id


def rows_of(page: str) -> list[str]:
    """The names in the order of the table."""
    return re.findall(r'people-name"><a href="[^"]*" dir="auto">([^<]*)</a>', page)


def post(client: TestClient, project_id: str, action: str, **form: str) -> tuple[int, str]:
    answer = client.post(f"/projects/{project_id}/people/labeler/{action}", data=form)
    return answer.status_code, answer.headers.get("location", answer.text)


def show(client: TestClient, project_id: str, name: str) -> str:
    answer = client.get(f"/projects/{project_id}/people/labeler", params={"name": name})
    assert answer.status_code == 200
    return answer.text


def counting(app: FastAPI, labeler: str) -> int:
    with app.state.database.read() as session:
        return (
            session.scalar(
                select(func.count())
                .select_from(Ranking)
                .where(Ranking.labeler == labeler, Ranking.revoked_at.is_(None))
            )
            or 0
        )


def test_project_without_rankings_says_what_will_be_here(
    app: FastAPI, admin_client: TestClient
) -> None:
    page = admin_client.get(f"/projects/{make_project(app.state.database, 'Empty')}/people")
    assert page.status_code == 200
    assert "Nobody has ranked yet" in page.text


def test_table_says_who_stands_out_and_who_is_what(
    admin_client: TestClient, project_id: str
) -> None:
    page = admin_client.get(f"/projects/{project_id}/people").text
    assert sorted(rows_of(page)) == sorted(
        ["ada", "ben", "kim", "rule", "a/b?c&amp;d é &#34;x&#34; &lt;b&gt;"]
    )
    kim = page.split(">kim</a>")[1].split("</tr>")[0]
    assert "below others" in kim
    assert "prefers first" in kim
    ada = page.split(">ada</a>")[1].split("</tr>")[0]
    assert "below others" not in ada
    assert ">simulated</span>" in page
    assert ">imported</span>" in page
    assert "Faster than most and clearly below others in agreement: kim." in page
    assert "<b>" not in page
    assert "style=" not in page


def test_columns_sort_both_ways_with_the_unknown_last(
    admin_client: TestClient, project_id: str
) -> None:
    path = f"/projects/{project_id}/people"
    by_name = rows_of(admin_client.get(path, params={"sort": "name"}).text)
    assert by_name == sorted(by_name)
    back = rows_of(admin_client.get(path, params={"sort": "name", "order": "desc"}).text)
    assert back == by_name[::-1]
    slow = admin_client.get(path, params={"sort": "pace", "order": "asc"}).text
    assert rows_of(slow)[-1].startswith("a/b")
    fast = admin_client.get(path, params={"sort": "pace", "order": "desc"}).text
    assert rows_of(fast)[-1].startswith("a/b")
    assert (
        'aria-sort="descending"><a class="people-heading" href="?sort=pace&amp;order=asc"' in fast
    )
    assert rows_of(admin_client.get(path, params={"sort": "nonsense"}).text)


def test_too_little_is_said_rather_than_shown(app: FastAPI, admin_client: TestClient) -> None:
    with app.state.database.write() as session:
        people = [Person(name="ada"), Person(name="ben")]
        project_id = seed_crowd(session, people, tasks=2, labelers_per_task=2, gold_every=0).id
    page = admin_client.get(f"/projects/{project_id}/people").text
    assert "too few, n " in page
    assert "none yet" in page
    assert 'class="people-value"' not in page


def test_labeler_in_depth(admin_client: TestClient, project_id: str) -> None:
    page = show(admin_client, project_id, "kim")
    for words in (
        "Rankings per day",
        "Active time",
        "Agreement by week",
        "Agreement with each other labeler",
        "Skipped tasks",
        "Latest rankings",
        "Clearly below all labelers together.",
        "Prefers what is shown first, beyond chance.",
    ):
        assert words in page
    assert f"/projects/{project_id}/pairs?labeler=kim&amp;view=rankings" in page


def test_odd_names_are_text_everywhere(admin_client: TestClient, project_id: str) -> None:
    page = show(admin_client, project_id, ODD)
    assert "<b>" not in page
    assert "there is no account to pause" in page
    assert "Reason, which they will read" not in page
    link = re.search(r'href="(/projects/\w+/people/labeler/revoke\?[^"]*)"', page)
    assert link
    asked = admin_client.get(link[1])
    assert "<b>" not in asked.text
    assert "Also pause" not in asked.text


def test_nobody_of_that_name_is_not_found(admin_client: TestClient, project_id: str) -> None:
    base = f"/projects/{project_id}/people/labeler"
    assert admin_client.get(base, params={"name": "nobody"}).status_code == 404
    assert post(admin_client, project_id, "revoke", name="nobody", reason="x")[0] == 404
    assert post(admin_client, project_id, "restore", name="nobody")[0] == 404
    assert post(admin_client, project_id, "pause", name="nobody", reason="x")[0] == 404


def test_pausing_wants_a_reason_and_can_be_undone(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    status, text = post(admin_client, project_id, "pause", name="kim", reason="  ")
    assert status == 422
    assert "Say in a few words why." in text
    status, _ = post(
        admin_client, project_id, "pause", name="kim", reason="Please <b>slow</b> down"
    )
    assert status == 303
    page = show(admin_client, project_id, "kim")
    assert "They read: “Please &lt;b&gt;slow&lt;/b&gt; down”" in page
    assert ">paused</span>" in admin_client.get(f"/projects/{project_id}/people").text
    assert post(admin_client, project_id, "resume", name="kim")[0] == 303
    with app.state.database.read() as session:
        kim = session.scalars(select(User).where(User.handle == "kim")).one()
        assert find_pause(session, kim, project_id) is None
        actions = [event.action for event, _ in list_events(session)]
    assert actions[:2] == ["labeler.resume", "labeler.pause"]


def test_imported_labelers_cannot_be_paused(admin_client: TestClient, project_id: str) -> None:
    status, text = post(admin_client, project_id, "pause", name=ODD, reason="x")
    assert status == 422
    assert "no account to pause" in text


def test_revoking_says_what_it_touches_before_and_after(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    with app.state.database.write() as session:
        snapshot = create_snapshot(session, None, project_id, name="October")
        model = Model(id="judge", name="Judge", kind="reward_model", source="job")
        model.snapshot_id = snapshot.id
        session.add(model)
        session.flush()
        policy = Model(id="tuned", name="Tuned", kind="policy", source="job")
        policy.reward_model_id = "judge"
        session.add(policy)
    before = counting(app, "kim")
    asked = admin_client.get(
        f"/projects/{project_id}/people/labeler/revoke", params={"name": "kim"}
    ).text
    assert f"<strong>{before} rankings</strong>" in asked
    assert "<strong>1 snapshot and 2 models</strong>" in asked
    foreseen = re.search(r"<strong>(\d+) complete tasks?</strong>", asked)
    assert foreseen
    status, text = post(admin_client, project_id, "revoke", name="kim", reason="")
    assert (status, counting(app, "kim")) == (422, before)
    assert "Say in a few words why." in text
    form = {"name": "kim", "reason": "Clicked through", "also_pause": "true"}
    assert post(admin_client, project_id, "revoke", **form)[0] == 303
    assert counting(app, "kim") == 0
    with app.state.database.read() as session:
        reopened = session.scalar(
            select(func.count()).select_from(Task).where(Task.state == TaskState.OPEN)
        )
        assert reopened == int(foreseen[1])
        assert session.scalars(select(LabelerPause)).one().reason == "Clicked through"
    page = show(admin_client, project_id, "kim")
    assert f"{before} rankings of theirs are revoked" in page
    assert "by Ada Admin: “Clicked through”" in page
    for href in (f"/snapshots/{snapshot.id}", "/models/judge", "/models/tuned"):
        assert f'href="{href}"' in page
    assert f"{before} revoked since" in admin_client.get(f"/projects/{project_id}/snapshots").text
    for model_id in ("judge", "tuned"):
        behind = admin_client.get(f"/models/{model_id}").text
        assert "were revoked after it was trained" in behind
    people = admin_client.get(f"/projects/{project_id}/people").text
    assert ">revoked</span>" in people


def test_restoring_lets_them_count_again(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    before = counting(app, "kim")
    post(admin_client, project_id, "revoke", name="kim", reason="By mistake")
    assert (
        "nothing to revoke"
        in admin_client.get(
            f"/projects/{project_id}/people/labeler/revoke", params={"name": "kim"}
        ).text
    )
    assert post(admin_client, project_id, "restore", name="kim")[0] == 303
    assert counting(app, "kim") == before
    assert "Restore" not in show(admin_client, project_id, "kim")


def test_people_who_only_skipped_are_listed(app: FastAPI, admin_client: TestClient) -> None:
    with app.state.database.write() as session:
        people = [Person(name="ada"), Person(name="ben")]
        project_id = seed_crowd(session, people, tasks=3, skip_share=1.0, gold_every=0).id
    page = admin_client.get(f"/projects/{project_id}/people").text
    assert rows_of(page) == ["ada", "ben"]
    assert "not my language" in (
        show(admin_client, project_id, "ada") + show(admin_client, project_id, "ben")
    )
    assert post(admin_client, project_id, "pause", name="ada", reason="Let us talk")[0] == 303


def test_only_admins_see_people_and_act(
    app: FastAPI, labeler_client: TestClient, researcher_client: TestClient, project_id: str
) -> None:
    before = counting(app, "kim")
    for client in (labeler_client, researcher_client):
        for path in ("people", "people/labeler?name=kim", "people/labeler/revoke?name=kim"):
            assert client.get(f"/projects/{project_id}/{path}").status_code == 403
        for action in ("pause", "resume", "revoke", "restore"):
            assert post(client, project_id, action, name="kim", reason="x")[0] == 403
    assert counting(app, "kim") == before


def test_a_person_without_a_name_is_known_by_their_address_and_a_rule_is_not(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    """A handle made for an invitation tells an admin nothing of who was invited."""
    with app.state.database.write() as session:
        for person in session.scalars(select(User).where(User.handle.in_(["kim", "rule"]))):
            person.name = ""
            person.email = f"{person.handle}@known.example"
    table = admin_client.get(f"/projects/{project_id}/people").text
    assert "kim@known.example" in table
    assert "rule@known.example" not in table
    assert "kim@known.example" in show(admin_client, project_id, "kim")
