"""What a tuning job's page makes of its series."""

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.jobs.feed import Series
from app.jobs.relay import upsert_metrics
from app.models import Job, JobState, utc_now
from app.web.plots.trail import TrailPoint, plot_trail
from app.web.templating import get_environment
from app.web.tuning_figures import ending_sentence, list_stage_times, plot_trails
from tests.projects.rounds_factory import make_project


def series(**values: list[float]) -> list[Series]:
    return [
        Series(name=name, steps=list(range(1, len(one) + 1)), values=one)
        for name, one in values.items()
    ]


def test_stages_share_the_iteration_and_the_rest_is_told() -> None:
    times = list_stage_times(
        series(
            generate_seconds=[4.0, 6.0],
            score_seconds=[1.0, 1.0],
            train_seconds=[2.0, 2.0],
            iteration_seconds=[9.0, 11.0],
        )
    )
    assert [(one.label, one.seconds, one.share) for one in times] == [
        ("Generate completions", 5.0, 0.5),
        ("Score them", 1.0, 0.1),
        ("Train", 2.0, 0.2),
        ("Rest", 2.0, 0.2),
    ]
    whole = list_stage_times(series(generate_seconds=[4.0], iteration_seconds=[4.001]))
    assert [time.label for time in whole] == ["Generate completions"]
    assert list_stage_times(series(step_seconds=[1.0])) == [], "DPO has no stages"
    assert list_stage_times([]) == []


def test_the_looks_are_drawn_against_kl_with_the_untuned_policy() -> None:
    looks = series(eval_kl=[1.0, 5.0, 9.0], eval_reward_mean=[0.0, 1.0, 2.0])
    looks += series(eval_gold_mean=[0.5, 0.75, 0.25])
    before = {"kl": 0.0, "reward_mean": -0.5, "gold_mean": None}
    best_of = {"n": 4, "kl": 0.64, "reward_mean": 0.75}
    reward, gold = plot_trails(looks, {"before": before, "best_of": best_of})
    assert reward.finding == "From 0.0 at a KL of 1 to 2.0 at a KL of 9."
    assert [dot.label.split(":")[0] for dot in reward.marks] == ["untuned", "best of 4, untuned"]
    assert gold.finding.endswith("the highest was 0.75, at a KL of 5 (iteration 2).")
    assert gold.marks == []
    assert [row[0] for row in gold.table.rows] == ["iteration 1", "iteration 2", "iteration 3"]
    assert reward.dots[0].x < reward.dots[2].x
    assert reward.dots[0].y > reward.dots[2].y, "upwards is a smaller y"


def test_one_look_is_no_way() -> None:
    assert plot_trails(series(eval_kl=[1.0], eval_reward_mean=[0.5]), {}) == []
    assert plot_trails([], {}) == []


def test_names_that_would_cover_each_other_are_left_to_the_table() -> None:
    near = [TrailPoint(name=f"iteration {n}", x=n / 1000, y=1.0) for n in range(3)]
    far = TrailPoint(name="iteration 9", x=50.0, y=5.0)
    plot = plot_trail(
        "t",
        "T",
        [*near, far],
        [TrailPoint(name="untuned", x=0.0, y=1.0)],
        finding="",
        x_title="KL",
        y_title="reward",
        x_format=str,
        y_format=str,
    )
    assert plot.dots[-1].narrow
    assert not (plot.dots[0].narrow and plot.marks[0].narrow)
    source = '{% import "shared/_trail.html" as trails %}{{ trails.trail(plot) }}'
    drawn = get_environment().from_string(source).render(plot=plot)
    assert drawn.count('class="plot-dot"') == 4
    assert drawn.count('class="trail-mark"') == 1
    assert ">iteration 9</text>" in drawn


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        ({}, ""),
        ({"kept_iteration": 20}, "It ran all of its 20 iterations. The policy kept is that of the "
         "last one."),
        ({"kept_iteration": 15}, "The policy kept is that of iteration 15, the best of its "
         "looks at held-out prompts."),
        ({"kept_iteration": 5, "stopped": "the KL of 60.0 is above stop_kl, 50"},
         "It stopped after iteration 20 of 30: the KL of 60.0 is above stop_kl, 50."),
    ],
)  # fmt: skip
def test_which_iteration_was_kept_and_why_it_ended(outputs: dict[str, Any], sentence: str) -> None:
    job = Job(kind="ppo", config={"iterations": 30 if "stopped" in outputs else 20})
    job.outputs = outputs
    said = ending_sentence(job, 20)
    assert sentence in said
    assert bool(said) == bool(sentence)


def test_the_page_of_a_ppo_job_shows_them(app: FastAPI, admin_client: TestClient) -> None:
    with app.state.database.write() as session:
        project = make_project(session, 0)
        figures = {"reward_mean": 0.5, "kl": 0.0, "prompts": 4}
        job = Job(
            kind="ppo",
            project_id=project.id,
            state=JobState.SUCCEEDED,
            config={"iterations": 8, "reward_model": "judge", "policy": "writer"},
            outputs={
                "before": figures,
                "after": {**figures, "reward_mean": 1.5},
                "kept_iteration": 6,
                "stopped": "the held-out reward has not risen since iteration 6",
            },
        )
        session.add(job)
        session.flush()
        names = ("kl", "eval_kl", "eval_reward_mean", "generate_seconds", "iteration_seconds")
        upsert_metrics(
            session,
            [
                {
                    "job_id": job.id,
                    "name": name,
                    "step": step,
                    "value": float(step),
                    "at": utc_now(),
                }
                for name in names
                for step in (4, 7)
            ],
        )
        path = f"/jobs/{job.id}"
    page = admin_client.get(path).text
    assert "It stopped after iteration 7 of 8: the held-out reward has not risen" in page
    assert "Kept iteration" not in page, "the sentence says it"
    assert 'href="/models/judge">judge</a>, against which it was tuned' in page
    assert ">Reward against KL<" in page
    assert ">Generate completions<" in page
    assert page.count('class="trail-mark"') == 1
