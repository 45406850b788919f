import json
import re
from html import unescape

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.models import Model, Ranking, utc_now
from app.preferences.formats import PairFormat, PairSchema, RankingFormat, RankingSchema
from app.web import pairs
from tests.preferences.conftest import load_rankings, make_project, ranking


@pytest.fixture
def project_id(app: FastAPI) -> str:
    project_id = make_project(app.state.database)
    lines = [
        ranking(labeler="ann", texts=["**bold** a", "<script>b", "c"], comment="Hard & close"),
        ranking(labeler="bot", prompt="Simulated?", simulated=True),
        ranking(prompt="Twice?", texts=["x", "x"], ranks=[1, 2], labeler="bob"),
    ]
    assert load_rankings(app.state.database, project_id, lines).created == 3
    return project_id


def test_project_without_rankings_explains_pairs(app: FastAPI, admin_client: TestClient) -> None:
    project_id = make_project(app.state.database, "Empty")
    page = admin_client.get(f"/projects/{project_id}/pairs")
    assert page.status_code == 200
    assert "No rankings yet" in page.text
    assert "No snapshot yet" in admin_client.get(f"/projects/{project_id}/snapshots").text


def test_pairs_stand_side_by_side_with_counts_and_marks(
    researcher_client: TestClient, project_id: str
) -> None:
    page = researcher_client.get(f"/projects/{project_id}/pairs").text
    assert page.count('aria-label="Chosen"') == page.count('aria-label="Rejected"') == 6
    assert "1 pair of identical texts left out" in page
    assert "This ranking gives no pair" in page
    assert page.count(">simulated</span>") == 1
    assert "<strong>bold</strong>" in page
    assert "&lt;script&gt;b" in page
    assert "Hard &amp; close" in page
    assert "Freeze" not in page.split('id="export"')[1]


def downloads(page: str) -> list[str]:
    """The addresses of the downloads on a page."""
    return [unescape(link) for link in re.findall(r'href="(/api/v1/[^"]+)" download', page)]


def stat(page: str, label: str) -> str:
    """What the page says of how many there are."""
    found = re.search(rf'stat-label">{label}</div>\s*<div class="stat-value">([^<]*)<', page)
    assert found, label
    return found[1]


def test_filters_narrow_pairs_counts_and_downloads(
    admin_client: TestClient, project_id: str
) -> None:
    path = f"/projects/{project_id}/pairs"
    answer = admin_client.get(path, params={"simulated": "none", "labeler": "ann", "tag": ""})
    page = answer.text
    assert page.count('aria-label="Chosen"') == 3
    assert ">simulated</span>" not in page
    assert (stat(page, "Pairs"), stat(page, "Rankings")) == ("3", "1")
    assert answer.headers["HX-Push-Url"] == f"{path}?labeler=ann&simulated=none"
    links = downloads(page)
    assert len(links) == len(PairSchema) * len(PairFormat) + len(RankingSchema) * len(RankingFormat)
    for link in links:
        assert admin_client.get(link).status_code == 200, link
        assert "simulated=false" in link
    assert len(admin_client.get(links[0]).text.splitlines()) == 3
    assert "No ranking fits" in admin_client.get(path, params={"model": "none"}).text
    assert admin_client.get(path, params={"created_after": "soon"}).status_code == 422


def test_every_filter_reaches_the_pairs_and_is_a_chip_that_takes_it_away(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    lines = [
        ranking(
            prompt="Tagged",
            texts=["long text", "short"],
            ranks=[2, 1],
            labeler=labeler,
            tags=["coding"],
            metadata={"source": "forum"},
        )
        for labeler in ("cleo", "dan")
    ]
    assert load_rankings(app.state.database, project_id, lines).created == 2
    path = f"/projects/{project_id}/pairs"
    filters = {
        "tag": "coding",
        "metadata": "source=forum",
        "min_agreement": "90",
        "max_agreement": "100",
        "length": "shorter",
        "max_length_difference": "-4",
        "without_flag": "unsafe",
        "purpose": "ordinary",
        "repeats": "none",
        "created_after": "2020-01-01",
    }
    page = admin_client.get(path, params=filters).text
    assert (stat(page, "Pairs"), stat(page, "Rankings"), stat(page, "Labelers")) == ("2", "2", "2")
    chips = re.findall(r'class="filter-chip" href="([^"]+)".*?dir="auto">([^<]+)<', page)
    assert [words for _, words in chips] == [
        "tag coding",
        "ordinary tasks only",
        "without repeats",
        "metadata source=forum",
        "not flagged “Unsafe”",
        "agreement at least 90%",
        "agreement at most 100%",
        "shorter wins",
        "chosen shorter by at least 4 characters",
        "ranked since 2020-01-01",
    ]
    without_tag = unescape(chips[0][0])
    assert "tag=" not in without_tag
    assert stat(admin_client.get(without_tag).text, "Pairs") == "2"
    for name, value in {
        "tag": "writing",
        "metadata": "source=web",
        "max_agreement": "50",
        "length": "longer",
        "max_length_difference": "-5",
        "flag": "unsafe",
        "purpose": "gold",
        "created_before": "2020-01-02",
    }.items():
        assert "No ranking fits" in admin_client.get(path, params={**filters, name: value}).text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metadata", "nothing"),
        ("min_agreement", "many"),
        ("max_agreement", "101"),
        ("min_length_difference", "1.5"),
        ("max_length_difference", "99999999999"),
        ("created_before", "31.12."),
    ],
)
def test_a_filter_that_is_none_is_named(
    admin_client: TestClient, project_id: str, name: str, value: str
) -> None:
    page = admin_client.get(f"/projects/{project_id}/pairs", params={name: value})
    assert page.status_code == 422


def test_filters_of_lengths_leave_pairs_out_of_a_ranking(
    app: FastAPI, admin_client: TestClient
) -> None:
    project_id = make_project(app.state.database, "Lengths")
    lines = [
        ranking(prompt=f"Q{place}", texts=["a", "bbb"], ranks=[1, 2] if place < 20 else [2, 1])
        for place in range(40)
    ]
    assert load_rankings(app.state.database, project_id, lines).created == 40
    path: str | None = f"/projects/{project_id}/pairs?length=shorter"
    seen = []
    while path:
        page = admin_client.get(path).text
        assert stat(page, "Pairs") == stat(page, "Rankings") == "20"
        seen += re.findall(r'dir="auto">Q(\d+)<', page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = unescape(following[1]) if following else None
    assert [int(number) for number in seen] == list(range(19, -1, -1))


def test_the_chosen_download_is_where_the_form_leads(
    admin_client: TestClient, project_id: str
) -> None:
    path = f"/projects/{project_id}/pairs/export"
    export = admin_client.get(f"{path}?labeler=ann")
    assert export.headers["location"] == f"/projects/{project_id}/pairs?labeler=ann#export"
    chosen = admin_client.get(f"{path}?labeler=ann&length=longer&schema=pairs.trl&format=csv")
    assert chosen.headers["location"] == (
        f"/api/v1/projects/{project_id}/pairs"
        "?schema=trl&format=csv&labeler=ann&ab_rounds=exclude&min_length_difference=1"
    )
    nway = admin_client.get(f"{path}?schema=rankings.nectar&format=parquet")
    assert nway.headers["location"] == (
        f"/api/v1/projects/{project_id}/rankings?schema=nectar&format=parquet&ab_rounds=exclude"
    )
    assert admin_client.get(f"{path}?schema=rankings.nectar&format=csv").status_code == 422
    assert admin_client.get(f"{path}?schema=pairs.none&format=csv").status_code == 422


def test_pairs_of_a_large_project_are_counted_after_the_page(
    admin_client: TestClient, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "QUICK_RANKINGS", 2)
    page = admin_client.get(f"/projects/{project_id}/pairs?simulated=none").text
    assert "stat-value" not in page
    address = f"/projects/{project_id}/pairs/counts?simulated=none"
    assert f'hx-get="{address}"' in page
    counts = admin_client.get(address).text
    assert (stat(counts, "Pairs"), stat(counts, "Labelers")) == ("3", "2")


def test_plots_show_what_the_filters_let_pass_with_the_numbers_behind(
    admin_client: TestClient, project_id: str
) -> None:
    page = admin_client.get(f"/projects/{project_id}/pairs/plots?labeler=ann").text
    for title in (
        "When their rankings were made",
        "How much longer the chosen text is",
        "Which model wins",
        "Which ranks each model gets",
    ):
        assert title in page
    assert "3 pairs, " in page
    assert "m0" in page
    assert re.search(r">m1</a>|>m1<", page)
    assert (
        "There is no pair."
        in admin_client.get(f"/projects/{project_id}/pairs/plots?labeler=nobody").text
    )


def test_rankings_show_best_first(researcher_client: TestClient, project_id: str) -> None:
    page = researcher_client.get(f"/projects/{project_id}/pairs?view=rankings&labeler=bot").text
    ranks = re.findall(r"Rank </span>(\d)", page)
    texts = re.findall(r'<p dir="auto">([abc])</p>', page)
    assert (ranks, texts) == (["1", "2", "3"], ["b", "a", "c"])


def test_snapshot_is_made_shown_and_downloaded(
    app: FastAPI, admin_client: TestClient, researcher_client: TestClient, project_id: str
) -> None:
    path = f"/projects/{project_id}/snapshots"
    made = admin_client.post(path, data={"name": "People <1>", "simulated": "none"})
    assert made.status_code == 303
    with app.state.database.write() as session:
        snapshot_id = made.headers["location"].rsplit("/", 1)[1]
        model = Model(id="rm", name="Judge", kind="reward_model", source="job")
        model.snapshot_id = snapshot_id
        session.add(model)
        ann = session.scalars(select(Ranking).where(Ranking.labeler == "ann")).one()
        ann.revoked_at = utc_now()
    page = researcher_client.get(made.headers["location"]).text
    assert "People &lt;1&gt;" in page
    assert "people only" in page
    assert "Judge" in page
    assert "1 ranking in this snapshot was revoked" in page
    links = [link for link in downloads(page) if "schema=trl&" in link]
    answer = researcher_client.get(links[0])
    assert list(json.loads(answer.text.splitlines()[0])) == ["prompt", "chosen", "rejected"]
    assert "Delete this snapshot" not in page
    assert "People &lt;1&gt;" in researcher_client.get(path).text


def test_nothing_to_freeze_is_said_on_the_page(admin_client: TestClient, project_id: str) -> None:
    path = f"/projects/{project_id}/snapshots"
    answer = admin_client.post(path, data={"labeler": "nobody"})
    assert answer.status_code == 422
    assert "There is no pair to freeze" in answer.text


def freeze(client: TestClient, project_id: str, **fields: str) -> str:
    """The address of a new snapshot's page."""
    answer = client.post(f"/projects/{project_id}/snapshots", data=fields)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def test_what_was_typed_stays_when_freezing_is_refused(
    admin_client: TestClient, project_id: str
) -> None:
    typed = {
        "name": "Mine <1>",
        "licence": "CC-BY-4.0",
        "split_by": "prompt",
        "share_train": "70",
        "share_validation": "",
        "share_test": "20",
        "seed": "7",
        "labeler": "ann",
    }
    answer = admin_client.post(f"/projects/{project_id}/snapshots", data=typed)
    assert answer.status_code == 422
    assert "add up to 90" in answer.text
    for name, value in (("name", "Mine &lt;1&gt;"), ("licence", "CC-BY-4.0"), ("seed", "7")):
        assert re.search(rf'name="{name}"[^>]* value="{value}"', answer.text), name
    assert '<input type="hidden" name="labeler" value="ann">' in answer.text
    assert '<option value="prompt" selected>' in answer.text
    for wrong in ({"share_test": "x"}, {"seed": "-1"}, {"name": "n" * 201}):
        refused = admin_client.post(
            f"/projects/{project_id}/snapshots", data={**typed, "share_test": "30", **wrong}
        )
        assert refused.status_code == 422, wrong
        assert 'role="alert"' in refused.text


def test_a_split_snapshot_shows_its_parts_and_offers_each(
    admin_client: TestClient, project_id: str
) -> None:
    address = freeze(
        admin_client,
        project_id,
        licence="CC0-1.0",
        split_by="prompt",
        share_train="50",
        share_validation="0",
        share_test="50",
        seed="3",
    )
    page = admin_client.get(address).text
    assert "CC0-1.0" in page
    assert "Split by prompt with the seed 3" in page
    rows = re.findall(r'<th scope="row">(train|test)</th>', page)
    assert rows == ["train", "test"]
    lines = 0
    for part in ("train", "test"):
        answer = admin_client.get(
            f"{address}/download", params={"schema": "pairs.plain", "split": part}
        )
        assert answer.headers["location"].endswith(f"schema=plain&format=jsonl&split={part}")
        lines += len(admin_client.get(answer.headers["location"]).text.splitlines())
    assert lines == 6


def test_two_snapshots_are_compared(admin_client: TestClient, project_id: str) -> None:
    every = freeze(admin_client, project_id, name="Every one")
    people = freeze(admin_client, project_id, name="People", simulated="none")
    assert "Every one" in admin_client.get(people).text.split('id="compare"')[1]
    page = admin_client.get(f"{every}/diff", params={"against": people.rsplit("/", 1)[1]}).text
    rows = re.findall(r'<th scope="row">(\w+)</th>' + r'<td class="text-end">(\d+)</td>' * 3, page)
    assert rows == [("Rankings", "1", "2", "0"), ("Pairs", "3", "3", "0")]
    assert "people only" in page
    assert "left out by the other snapshot" in page
    assert admin_client.get(f"{every}/diff").headers["location"] == f"{every}#compare"
    assert admin_client.get(f"{every}/diff?against=none").status_code == 404


def test_a_snapshot_is_deleted_unless_a_model_names_it(
    app: FastAPI, admin_client: TestClient, researcher_client: TestClient, project_id: str
) -> None:
    free, used = (freeze(admin_client, project_id, name=name) for name in ("Free", "Used"))
    with app.state.database.write() as session:
        model = Model(id="rm", name="Judge", kind="reward_model", source="job")
        model.snapshot_id = used.rsplit("/", 1)[1]
        session.add(model)
    assert researcher_client.post(f"{free}/delete").status_code == 403
    gone = admin_client.post(f"{free}/delete")
    assert gone.headers["location"] == f"/projects/{project_id}/snapshots"
    assert admin_client.get(free).status_code == 404
    kept = admin_client.post(f"{used}/delete")
    assert kept.headers["location"] == used
    assert "Judge" in admin_client.get(used).text
    assert admin_client.get(used).status_code == 200


def test_labelers_see_neither_pairs_nor_snapshots(
    labeler_client: TestClient, researcher_client: TestClient, project_id: str
) -> None:
    for page in ("pairs", "snapshots"):
        assert labeler_client.get(f"/projects/{project_id}/{page}").status_code == 403
    assert researcher_client.post(f"/projects/{project_id}/snapshots").status_code == 403
