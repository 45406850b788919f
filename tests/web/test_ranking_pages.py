import re
from html import unescape

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.models import Ranking, User
from app.preferences.revisions import get_ranking
from app.registry.ranking_lineage import get_ranking_lineage
from app.web.rankings import describe_changes, describe_order, name_completions
from tests.preferences.conftest import load_rankings, ranking
from tests.registry.family import Family, make_family, revise


@pytest.fixture
def family(app: FastAPI) -> Family:
    return make_family(app.state.database)


def words(page: str) -> str:
    """The text of a page, a space wherever a tag was."""
    body = page.split("<main", 1)[1]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def stage(page: str, title: str) -> str:
    """One stage of the picture."""
    found = re.search(
        rf"</svg> {title}</h3>(.*?)</li>\s*(<li class=\"flow-stage|</ol>)", page, re.S
    )
    assert found, title
    return found[1]


def test_a_ranking_leads_through_every_stage_and_each_node_is_a_link(
    researcher_client: TestClient, family: Family
) -> None:
    page = researcher_client.get(f"/rankings/{family.second_revision}").text
    assert f'href="/rankings/{family.first_revision}"' in stage(page, "Ranking")
    snapshots = stage(page, "Snapshots")
    for snapshot_id, says in (
        (family.first_snapshot, "holds revision 1, 3 pairs"),
        (family.second_snapshot, "holds revision 2, 2 pairs"),
    ):
        assert f'href="/snapshots/{snapshot_id}"' in snapshots
        assert says in snapshots
    models = stage(page, "Reward models")
    assert 'href="/models/judge"' in models
    assert "trained on First" in models
    assert "trained on Second, started from judge" in models
    policies = stage(page, "Policies")
    assert "tuned against judge" in policies
    assert "started from tuned" in policies
    rounds = stage(page, "Rounds")
    assert f'href="/rounds/{family.round_id}"' in rounds
    assert "completions by tuned" in rounds
    for link in set(re.findall(r'flow-name" href="([^"]+)"', page)):
        assert researcher_client.get(link).status_code == 200, link


def test_a_ranking_says_what_it_says_and_what_its_revisions_changed(
    researcher_client: TestClient, family: Family
) -> None:
    said = words(researcher_client.get(f"/rankings/{family.second_revision}").text)
    for expected in (
        "Ranking by ann",
        "Why?",
        "Revision 2 C > B > A",
        "A: rank 2 → 3 B: rank 1 → 2 C: rank 3 → 1",
        "Revision 1 B > A > C",
        "Guidelines version 1",
    ):
        assert expected in said, expected
    first = words(researcher_client.get(f"/rankings/{family.first_revision}").text)
    assert "The labeler changed their mind: revision 2 stands in place of this one." in first
    assert "3 pairs, which do not count" in first


def test_a_ranking_that_no_snapshot_holds_says_what_to_do(
    researcher_client: TestClient, family: Family
) -> None:
    page = researcher_client.get(f"/rankings/{family.fay}").text
    assert "No snapshot holds it yet: freeze one from Pairs." in page
    assert f'href="/projects/{family.project_id}/pairs#freeze"' in page
    assert "No reward model" not in page, "later stages are not spoken of yet"


def test_the_next_step_is_offered_to_admins_alone(
    app: FastAPI, admin_client: TestClient, researcher_client: TestClient, family: Family
) -> None:
    database = app.state.database
    load_rankings(database, family.project_id, [ranking(prompt="Fresh?", labeler="gil")])
    with database.read() as session:
        fresh = session.scalars(select(Ranking.id).where(Ranking.labeler == "gil")).one()
    frozen = admin_client.post(f"/projects/{family.project_id}/snapshots", data={"name": "Third"})
    assert frozen.status_code == 303
    offer = "No reward model was trained on them yet."
    page = admin_client.get(f"/rankings/{fresh}").text
    assert offer in page
    (href,) = re.findall(r'href="([^"]+kind=reward_model[^"]+)"', page)
    assert admin_client.get(unescape(href)).status_code == 200
    read = researcher_client.get(f"/rankings/{fresh}").text
    assert offer in read
    assert "kind=reward_model" not in read


def test_revoked_rankings_say_by_whom_and_why(
    app: FastAPI, admin: User, admin_client: TestClient, family: Family
) -> None:
    with app.state.database.write() as session:
        bob = session.get_one(Ranking, family.bob)
        bob.revoked_by, bob.revoke_reason = admin.id, "Did not read <the> guidelines."
    page = admin_client.get(f"/rankings/{family.bob}").text
    said = words(page)
    assert "by Ada Admin: “ Did not read <the> guidelines. ”" in said
    assert "<the>" not in page
    assert "Snapshots First holds 3 pairs" in said


def test_a_tombstone_says_nothing_of_who_and_what_and_keeps_its_lineage(
    admin_client: TestClient, family: Family
) -> None:
    page = admin_client.get(f"/rankings/{family.cyd}").text
    said = words(page)
    assert "Erased ranking" in said
    assert "the labeler’s data had to go" in said
    assert "holds a tombstone, no pairs" in said
    assert "tuned against judge" in said
    assert "cyd" not in said
    assert "Use as gold" not in said
    assert "people/labeler" not in page


def test_where_an_import_came_from_is_shown(
    app: FastAPI, admin_client: TestClient, family: Family
) -> None:
    lines = [ranking(prompt="Else?", labeler="hal", external_id="x<1>", origin={"n": [1, "ä"]})]
    assert load_rankings(app.state.database, family.project_id, lines).created == 1
    with app.state.database.read() as session:
        found = session.scalars(select(Ranking).where(Ranking.labeler == "hal")).one()
    said = words(admin_client.get(f"/rankings/{found.id}").text)
    assert "imported as x<1>" in said
    if found.origin:
        for name in found.origin:
            assert name in said


def test_changes_are_named_completion_by_completion(app: FastAPI, family: Family) -> None:
    database = app.state.database
    with database.write() as session:
        third = session.get_one(Ranking, revise(session, family.second_revision, [1, 1, 2]))
        third.comment, third.guidelines_version = "Closer than I thought.", 2
        third_id = third.id
    with database.read() as session:
        lineage = get_ranking_lineage(session, get_ranking(session, third_id))
    before, after = lineage.said[family.second_revision], lineage.said[third_id]
    letters = name_completions(after)
    assert describe_order(after, letters) == "A = B > C"
    assert describe_changes(before, after, letters, {}) == [
        "A: rank 3 → 1",
        "B: rank 2 → 1",
        "C: rank 1 → 2",
        "comment added",
        "under version 2 of the guidelines",
    ]
    flagged = after._replace(flags=[["unsafe"], [], []], ratings=[7, None, None])
    assert describe_changes(after, flagged, letters, {"unsafe": "Unsafe"}) == [
        "A: rating none → 7",
        "A: flag set, Unsafe",
    ]
    assert describe_changes(flagged, after, letters, {})[1] == "A: flag taken away, unsafe"


def test_the_page_is_for_researchers_and_admins(
    app: FastAPI, labeler_client: TestClient, admin_client: TestClient, family: Family
) -> None:
    assert labeler_client.get(f"/rankings/{family.bob}").status_code == 403
    assert admin_client.get("/rankings/none").status_code == 404


def test_the_pairs_browser_leads_to_it(admin_client: TestClient, family: Family) -> None:
    page = admin_client.get(f"/projects/{family.project_id}/pairs").text
    links = set(re.findall(r'href="(/rankings/[0-9a-f]+)"', page))
    assert links
    for link in links:
        assert admin_client.get(link).status_code == 200
