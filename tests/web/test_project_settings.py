import re
from html import unescape

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.labeling.flags import known_flags, project_flags
from app.models import Project
from tests.labeling.factory import make_project, make_tasks

INPUT = re.compile(r"<input[^>]+>")


@pytest.fixture
def project_id(app: FastAPI) -> str:
    with app.state.database.write() as session:
        project = make_project(session)
        make_tasks(session, project, 1)
        return project.id


def read_form(page: str) -> dict[str, str]:
    """What a browser without JavaScript would send back untouched."""
    form = page.split('action="/projects/')[1].split("</form>")[0]
    values = {}
    for tag in INPUT.findall(form):
        fields = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if fields.get("type") == "checkbox" and " checked" not in tag:
            continue
        values[unescape(fields["name"])] = unescape(fields.get("value", ""))
    values["guidelines"] = unescape(re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", form, re.S)[0])
    return values


def load(app: FastAPI, project_id: str) -> Project:
    with app.state.database.read() as session:
        return session.get_one(Project, project_id)


def test_saving_the_form_untouched_changes_nothing(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    path = f"/projects/{project_id}/settings"
    before = load(app, project_id)
    sent = admin_client.post(path, data=read_form(admin_client.get(path).text))
    assert sent.status_code == 303
    after = load(app, project_id)
    for name in ("name", "guidelines", "guidelines_version", "flags", "gold_share", "repeat_share"):
        assert getattr(before, name) == getattr(after, name), name


def test_flags_are_added_renamed_reordered_and_retired(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    path = f"/projects/{project_id}/settings"
    form = read_form(admin_client.get(path).text)
    assert form["flag_0_name"] == "fails_task"
    form |= {
        "flag_0_label": "Misses the point",
        "flag_1_retired": "true",
        "flag_5_label": "Too long",
        "flag_5_order": "0",
    }
    assert admin_client.post(path, data=form).status_code == 303
    project = load(app, project_id)
    assert list(project_flags(project).items())[:2] == [
        ("too_long", "Too long"),
        ("fails_task", "Misses the point"),
    ]
    assert "wrong_facts" not in project_flags(project)
    assert known_flags(project)["wrong_facts"] == "Wrong facts"
    page = admin_client.get(path).text
    assert page.index('value="too_long"') < page.index('value="fails_task"')
    again = read_form(page)
    assert again["flag_2_retired"] == "true"


def test_shares_are_given_in_percent(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    path = f"/projects/{project_id}/settings"
    form = read_form(admin_client.get(path).text)
    assert (form["gold_percent"], form["repeat_percent"]) == ("5", "0")
    admin_client.post(path, data=form | {"gold_percent": "12,5", "repeat_percent": "50"})
    project = load(app, project_id)
    assert (project.gold_share, project.repeat_share) == (0.125, 0.5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gold_percent": "51"}, "from 0 to 50"),
        ({"repeat_percent": "many"}, "from 0 to 50"),
        ({"flag_0_label": ""}, "1 to 60 characters"),
        ({"flag_5_label": "unsafe"}, "not those of another flag"),
    ],
)
def test_what_is_refused_comes_back_as_typed(
    app: FastAPI, admin_client: TestClient, project_id: str, change: dict[str, str], words: str
) -> None:
    path = f"/projects/{project_id}/settings"
    form = read_form(admin_client.get(path).text) | {"name": "Typed name"} | change
    refused = admin_client.post(path, data=form)
    assert refused.status_code == 422
    assert words in refused.text
    assert 'aria-invalid="true"' in refused.text
    back = read_form(refused.text)
    assert back["name"] == "Typed name"
    for name, value in change.items():
        assert value in back.values(), name
    assert load(app, project_id).name == "Helpfulness"


def test_rest_gives_and_takes_flags_and_shares(
    admin_client: TestClient, researcher_client: TestClient, labeler_client: TestClient
) -> None:
    made = admin_client.post(
        "/api/v1/projects",
        json={"name": "P", "flags": [{"label": "Rude"}], "gold_share": 0.2, "repeat_share": 0.1},
    ).json()
    assert made["flags"] == [{"name": "rude", "label": "Rude", "retired": False}]
    path = f"/api/v1/projects/{made['id']}"
    changed = admin_client.patch(path, json={"flags": [{"label": "Too long"}]}).json()
    assert [(flag["name"], flag["retired"]) for flag in changed["flags"]] == [
        ("too_long", False),
        ("rude", True),
    ]
    assert (changed["gold_share"], changed["repeat_share"]) == (0.2, 0.1)
    assert researcher_client.get(path).json()["gold_share"] == 0.2
    seen = labeler_client.get(path).json()
    assert (seen["gold_share"], seen["repeat_share"]) == (None, None), "labelers are not told"
    for body in ({"gold_share": 0.6}, {"flags": [{"label": ""}]}, {"repeat_share": -1}):
        assert admin_client.patch(path, json=body).status_code == 422


def test_a_flag_of_the_project_is_taken_and_a_retired_one_stays_on_its_ranking(
    admin_client: TestClient, labeler_client: TestClient, project_id: str
) -> None:
    path = f"/api/v1/projects/{project_id}"
    admin_client.patch(path, json={"flags": [{"label": "Rude"}]})
    task = labeler_client.post(f"{path}/assignments").json()
    ids = [completion["id"] for completion in task["completions"]]
    url = f"/api/v1/assignments/{task['id']}/ranking"
    body = {"ranks": dict(zip(ids, (1, 2, 3), strict=True))}
    refused = labeler_client.put(url, json=body | {"flags": {ids[0]: ["boring"]}})
    assert refused.status_code == 422
    assert "rude" in refused.json()["fields"][f"flags.{ids[0]}"]
    flagged = body | {"flags": {ids[0]: ["rude"]}}
    assert labeler_client.put(url, json=flagged).status_code == 200
    admin_client.patch(
        path, json={"flags": [{"name": "rude", "label": "Impolite", "retired": True}]}
    )
    edited = labeler_client.put(url, json=flagged | {"comment": "Still."})
    assert edited.status_code == 200, "an edit keeps the flag that was retired since"
    page = admin_client.get(f"/projects/{project_id}/pairs?view=rankings").text
    assert '<span class="badge bg-orange-lt">Impolite</span>' in page
    exported = admin_client.get(f"{path}/rankings").json()
    assert exported["flag_labels"] == {"rude": "Impolite"}
    assert ["rude"] in exported["flags"]
    assert (exported["purpose"], exported["is_repeat"]) == ("ordinary", False)
    assert exported["guidelines_version"] == 1
