"""The page of a reward model's report, on metrics as training makes them."""

import re
from html import unescape
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.labeling.revocation import revoke_rankings
from app.models import Job, JobState, Model, ModelKind, Project, Ranking
from app.preferences.erasure import erase_labeler
from app.preferences.snapshots import create_snapshot
from app.web.reward_plots import Named, lengths_note, plot_distances, plot_lengths, plot_parts
from app.web.reward_words import (
    Share,
    Standing,
    find_standing,
    gain_sentence,
    report_sentence,
    standing_words,
)
from tests.preferences.conftest import load_rankings, make_project, ranking
from tests.projects.rounds_factory import make_model
from tests.registry.reward_reports import make_report

PATH = "/models/judge/report"


@pytest.fixture
def project_id(app: FastAPI) -> str:
    """A project whose twelve prompts ann and bob ranked, and cid one of them; `judge` is right on
    nothing: its mistakes are every task's."""
    database = app.state.database
    project_id = make_project(database)
    texts = ["**short**", "somewhat longer", "<script>the longest of all"]
    lines = [
        ranking(prompt=f"Question {number}?", texts=texts, ranks=ranks, labeler=name)
        for number in range(12)
        for name, ranks in (("ann", [1, 2, 3]), ("bob", [2, 1, 3]), ("cid", [1, 2, 3]))
        if name != "cid" or number == 0
    ]
    assert load_rankings(database, project_id, lines).created == 25
    with database.write() as session:
        rankings = session.scalars(select(Ranking).order_by(Ranking.id)).all()
        metrics = make_report(session, rankings, noise=0.1, spread=-1.0)
        make_model(
            session,
            "judge",
            ModelKind.REWARD_MODEL,
            project_id=project_id,
            metrics=metrics,
        )
    return project_id


def change_metrics(app: FastAPI, **metrics: Any) -> None:
    with app.state.database.write() as session:
        model = session.get_one(Model, "judge")
        model.metrics = {**model.metrics, **metrics}


def text_of(page: str) -> str:
    """What a reader sees, white space as one space."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page)))


@pytest.mark.usefixtures("project_id")
def test_the_report_shows_everything_that_was_measured(
    researcher_client: TestClient, project_id: str
) -> None:
    answer = researcher_client.get(PATH)
    assert answer.status_code == 200
    page, text = answer.text, text_of(answer.text)
    for title in (
        "Accuracy, with floors and ceiling",
        "Log-loss",
        "Calibration error",
        "Spread of rewards",
        "Correlation with length",
        "Reward and length",
        "Rewards of chosen and rejected",
        "Calibration",
        "By distance in rank",
        "By round",
        "By labeler",
        "Its worst mistakes",
    ):
        assert f">{title}<" in page, title
    assert "below a floor" in text
    assert "Do not tune a policy against it" in text
    assert "left out of training" in text
    assert "Where its heads agree" in text
    assert "all 36 of them" in text
    assert page.count('class="plot-speck"') == 36
    for row in ("The longer completion", "This model", "Two labelers agree"):
        assert re.search(rf">{row}</th>.*?\d+% to \d+% · [\d,]+ pairs", page, re.DOTALL), row
    assert f"/projects/{project_id}/pairs?labeler=ann&amp;view=rankings" in page
    assert page.count('aria-label="Mistake') == 10
    assert "<strong>short</strong>" in page
    assert "<script>the longest" not in page
    assert re.search(r'href="/rankings/[0-9a-f]{32}"', page)


def test_admins_are_led_to_the_labelers_page(admin_client: TestClient, project_id: str) -> None:
    page = admin_client.get(PATH).text
    assert f"/projects/{project_id}/people/labeler?name=ann" in page


@pytest.mark.parametrize("frozen", [True, False], ids=["tombstones", "deleted"])
def test_of_an_erased_labeler_figures_are_left_and_nothing_they_said(
    app: FastAPI, admin_client: TestClient, project_id: str, frozen: bool
) -> None:
    assert "Ranking by <bdi>ann" in admin_client.get(PATH).text
    with app.state.database.write() as session:
        if frozen:
            create_snapshot(session, None, project_id)
        project = session.get_one(Project, project_id)
        erase_labeler(session, None, project, "ann")
    text = text_of(admin_client.get(PATH).text)
    assert " ann" not in text
    assert "erased since" in text
    assert "were erased or deleted since" in text
    with app.state.database.read() as session:
        left = session.scalars(select(Ranking).where(Ranking.erased_at.is_not(None))).all()
    assert bool(left) == frozen


def test_a_revoked_ranking_is_marked(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    assert "revoked since" not in admin_client.get(PATH).text
    with app.state.database.write() as session:
        revoke_rankings(session, None, project_id, "ann", reason="Guessed.")
    assert "revoked since" in admin_client.get(PATH).text


@pytest.mark.usefixtures("project_id")
def test_a_collapsed_model_is_called_that_with_what_to_do(
    app: FastAPI, admin_client: TestClient
) -> None:
    change_metrics(app, collapsed=True, reward_std=0.00014)
    for path in (PATH, "/models/judge"):
        text = text_of(admin_client.get(path).text)
        assert "This model collapsed" in text
        assert "standard deviation 0.00014" in text
        assert "higher learning rate" in text


@pytest.mark.usefixtures("project_id")
def test_a_model_of_an_earlier_version_shows_what_it_has(
    app: FastAPI, admin_client: TestClient
) -> None:
    with app.state.database.write() as session:
        session.get_one(Model, "judge").metrics = {"accuracy": 0.75, "eval_pairs": 12}
    text = text_of(admin_client.get(PATH).text)
    assert "Right on 75% of 12 held-out pairs." in text
    assert "trained by an earlier version" in text
    assert "mistakes are" not in text
    assert "Not defined for these rankings." in text


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({}, "This model was not trained here"),
        ({"accuracy": None, "eval_pairs": 0}, "Nothing was held out"),
    ],
)
def test_without_a_report_the_page_says_what_to_do(
    app: FastAPI,
    admin_client: TestClient,
    project_id: str,
    metrics: dict[str, Any],
    words: str,
) -> None:
    with app.state.database.write() as session:
        session.get_one(Model, "judge").metrics = metrics
    page = admin_client.get(PATH).text
    assert words in page
    assert f"/projects/{project_id}/jobs/new?kind=reward_model" in page
    assert "Read the report" not in admin_client.get("/models/judge").text


@pytest.mark.usefixtures("project_id")
def test_the_models_page_leads_to_the_report(admin_client: TestClient) -> None:
    page = admin_client.get("/models/judge").text
    assert f'href="{PATH}"' in page
    assert "Right on " in page


def test_the_result_of_its_job_says_it_in_short(
    app: FastAPI, admin_client: TestClient, project_id: str
) -> None:
    with app.state.database.write() as session:
        metrics = session.get_one(Model, "judge").metrics
        job = Job(
            kind="reward_model",
            project_id=project_id,
            state=JobState.SUCCEEDED,
            config={},
            outputs={"model_id": "judge", "metrics": metrics},
        )
        session.add(job)
        session.flush()
        path = f"/jobs/{job.id}"
    page = admin_client.get(path).text
    assert f'href="{PATH}"' in page
    assert report_sentence(metrics) in page
    assert "Constant accuracy" not in page, "what the report shows better"


def test_a_policy_has_no_report(app: FastAPI, admin_client: TestClient) -> None:
    with app.state.database.write() as session:
        make_model(session, "writer")
    assert admin_client.get("/models/writer/report").status_code == 404


@pytest.mark.parametrize(
    ("metrics", "standing"),
    [
        ({"accuracy": None}, Standing.UNTESTED),
        ({"accuracy": 0.8, "accuracy_ci95": [0.71, 0.9]}, Standing.ABOVE),
        ({"accuracy": 0.8, "accuracy_ci95": [0.7, 0.9]}, Standing.OPEN),
        ({"accuracy": 0.6, "accuracy_ci95": [0.5, 0.69]}, Standing.BELOW),
        ({"accuracy": 0.8, "accuracy_ci95": None}, Standing.OPEN),
        ({"accuracy": 1.0, "accuracy_ci95": [1.0, 1.0], "collapsed": True}, Standing.COLLAPSED),
    ],
)
def test_standing_is_where_the_whole_interval_lies(
    metrics: dict[str, Any], standing: Standing
) -> None:
    measured = {"longer_wins_accuracy": 0.7, "reward_std": 0.001, **metrics}
    assert find_standing(measured) == standing
    if standing != Standing.UNTESTED:
        assert standing_words(measured)


@pytest.mark.parametrize(
    ("accuracy_ci95", "gain", "gain_ci95", "standing", "words"),
    [
        ([0.7, 0.8], 0.05, [0.02, 0.08], Standing.ABOVE, "It beats “the longer completion wins”"),
        ([0.7, 0.8], 0.05, [-0.01, 0.11], Standing.OPEN, "is open: it is right on 5.0 points more"),
        ([0.6, 0.8], -0.1, [-0.2, -0.05], Standing.BELOW, "wins” beats it: it is right on 10.0"),
        ([0.3, 0.4], 0.1, [0.05, 0.2], Standing.BELOW, "But a coin beats it."),
        ([0.45, 0.6], 0.1, [0.05, 0.2], Standing.OPEN, "It is not surely better than a coin."),
    ],
)
def test_whether_it_beats_length_is_read_off_the_paired_difference(
    accuracy_ci95: list[float],
    gain: float,
    gain_ci95: list[float],
    standing: Standing,
    words: str,
) -> None:
    measured = {
        "accuracy": sum(accuracy_ci95) / 2,
        "accuracy_ci95": accuracy_ci95,
        "longer_wins_accuracy": 0.72,
        "gain_over_longer": gain,
        "gain_over_longer_ci95": gain_ci95,
    }
    assert find_standing(measured) == standing
    assert words in standing_words(measured)
    assert words in gain_sentence(measured)
    assert "paired by prompt" in standing_words(measured)


def test_only_what_is_worse_than_a_coin_is_marked() -> None:
    shares = {
        "far better": Share(value=0.9, low=0.85, high=0.95, n=90),
        "below the whole": Share(value=0.6, low=0.55, high=0.65, n=90),
        "worse than a coin": Share(value=0.3, low=0.2, high=0.4, n=90),
    }
    parts = [Named(label=label, href="", share=share) for label, share in shares.items()]
    plot = plot_parts("rounds", "By round", "Round", parts, 0.8)
    assert plot is not None
    assert {row.label: row.off for row in plot.rows} == {
        "far better": False,
        "below the whole": False,
        "worse than a coin": True,
    }
    assert plot.finding.startswith("Surely worse than a coin: worse than a coin.")
    rows = [
        {"distance": place, "accuracy": share.value, "accuracy_ci95": [share.low, share.high]}
        for place, share in enumerate(shares.values(), start=1)
    ]
    distances = plot_distances({"by_rank_distance": rows})
    assert distances is not None
    assert [row.off for row in distances.rows] == [False, False, True]
    assert distances.off_words == "surely below 50%"


def test_lengths_say_what_was_drawn_and_how_length_and_reward_go_together() -> None:
    part = {"from": 5, "to": 90, "length": 40.0, "reward": 0.5, "completions": 900}
    metrics = {
        "length_sample": {"points": [[5, 0.1], [90, 1.4]], "completions": 900, "fifths": [part]},
        "length_correlation": -0.25,
        "length_correlation_ci95": [-0.4, -0.1],
        "longer_wins_accuracy": 0.61,
    }
    plot = plot_lengths(metrics)
    assert plot is not None
    assert plot.finding == (
        "Correlation −0.25 (95% interval −0.40 to −0.10); people prefer the longer completion in "
        "61% of the pairs."
    )
    assert len(plot.dots) == 2
    assert plot.table.rows == [["5 to 90", "0.5", "900"]]
    assert "2 of 900 drawn at random" in lengths_note(metrics)
    assert plot_lengths({}) is None


def test_the_sentence_has_interval_floor_and_ceiling() -> None:
    sentence = report_sentence(
        {
            "accuracy": 0.8,
            "accuracy_ci95": [0.75, 0.85],
            "eval_pairs": 1200,
            "longer_wins_accuracy": 0.7,
            "human_agreement": 0.88,
        }
    )
    assert sentence == (
        "Right on 80% (95% interval 75% to 85%) of 1,200 held-out pairs; the longer completion "
        "wins 70%; two labelers agree on 88%."
    )
