"""From a finished tuning job to a blind round: which prompts, which policies, once."""

import json
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from app.db import Database
from app.errors import AppError
from app.evaluation.opening import find_contest, open_ab_round
from app.evaluation.rewards import ask_reward_model_again
from app.generation.asking import make_completions
from app.generation.rewards import REWARDS_FILE, score_completions
from app.jobs.kinds.generation import KIND, GenerationConfig
from app.models import (
    AuditEvent,
    Completion,
    CompletionReward,
    Job,
    Model,
    ModelSource,
    Prompt,
    Round,
)
from tests.evaluation.contests import make_contest, settings_in
from tests.generation.servers import reply, running
from tests.jobs.kinds.generating import Recorder, export, take_in
from tests.projects.rounds_factory import make_model, tasks_of


def test_the_round_asks_the_held_out_prompts_of_both_policies(
    database: Database, tmp_path: Path
) -> None:
    with database.write() as session:
        contest = make_contest(session)
        job = session.get_one(Job, contest.job_id)
        round_ = open_ab_round(session, None, settings_in(tmp_path), job, labelers_per_task=3)
        tasks = tasks_of(session, round_.id)
        acts = session.scalars(select(AuditEvent.action)).all()
    assert {task.prompt_id for task in tasks} == set(contest.held_out)
    assert {task.rankings_wanted for task in tasks} == {3}
    assert (round_.baseline_id, round_.candidate_id) == ("old", "new")
    assert (round_.policies, round_.completions_per_prompt) == (["old", "new"], 2)
    assert (round_.sampling["temperature"], round_.sampling["max_new_tokens"]) == (1.0, 32)
    assert round_.job_id is not None
    assert "evaluation.open" in acts


def test_fewer_prompts_several_completions_and_a_third_policy(
    database: Database, tmp_path: Path
) -> None:
    with database.write() as session:
        contest = make_contest(session)
        make_model(session, "older")
        round_ = open_ab_round(
            session,
            None,
            settings_in(tmp_path),
            session.get_one(Job, contest.job_id),
            prompts=2,
            completions_per_policy=2,
            others=["older"],
            sampling={"temperature": 0.7},
        )
        assert len(tasks_of(session, round_.id)) == 2
    assert (round_.policies, round_.completions_per_prompt) == (["old", "new", "older"], 6)
    assert round_.sampling["temperature"] == 0.7


def test_a_job_is_put_before_people_once_unless_asked_again(
    database: Database, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path)
    with database.write() as session:
        contest = make_contest(session)
        job = session.get_one(Job, contest.job_id)
        first = open_ab_round(session, None, settings, job)
        with pytest.raises(AppError) as refused:
            open_ab_round(session, None, settings, job)
        second = open_ab_round(session, None, settings, job, again=True)
    assert refused.value.code == "already_compared"
    assert (first.number, second.number) == (1, 2)


@pytest.mark.parametrize("change", ["state", "model", "parent"])
def test_only_a_finished_job_that_made_a_policy_of_another_can_be_compared(
    database: Database, tmp_path: Path, change: str
) -> None:
    with database.write() as session:
        job = session.get_one(Job, make_contest(session).job_id)
        if change == "state":
            job.state = "failed"
        elif change == "model":
            job.outputs = {"metrics": {}}
        else:
            session.get_one(Model, "new").parent_id = None
        session.flush()
        with pytest.raises(AppError) as refused:
            open_ab_round(session, None, settings_in(tmp_path), job)
    assert refused.value.code == "nothing_to_compare"


def test_a_kind_is_known_by_what_it_made_and_not_by_its_name(
    database: Database, tmp_path: Path
) -> None:
    with database.write() as session:
        contest = make_contest(session, kind="anything")
        job = session.get_one(Job, contest.job_id)
        assert find_contest(session, settings_in(tmp_path), job) is not None


def test_a_job_of_before_is_asked_for_its_prompts_in_its_run_directory(
    database: Database, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path)
    with database.write() as session:
        contest = make_contest(session)
        job = session.get_one(Job, contest.job_id)
        job.outputs = {"model_id": "new"}
        session.flush()
        with pytest.raises(AppError) as refused:
            open_ab_round(session, None, settings, job)
        assert refused.value.code == "no_held_out_prompts"
        folder = settings.runs_dir / job.id
        folder.mkdir(parents=True)
        lines = [
            {"id": one.id, "messages": one.messages, "held_out": one.id in contest.held_out[:3]}
            for one in session.scalars(select(Prompt))
        ]
        (folder / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        round_ = open_ab_round(session, None, settings, job)
        asked = {task.prompt_id for task in tasks_of(session, round_.id)}
    assert asked == set(contest.held_out[:3])


def test_prompts_that_came_after_the_job_are_held_out_too_and_deleted_ones_are_gone(
    database: Database, tmp_path: Path
) -> None:
    with database.write() as session:
        contest = make_contest(session)
        job = session.get_one(Job, contest.job_id)
        session.delete(session.get_one(Prompt, contest.held_out[0]))
        late = Prompt(
            project_id=contest.project_id,
            messages=[{"role": "user", "content": "Late?"}],
            content_hash="late",
        )
        session.add(late)
        session.flush()
        found = find_contest(session, settings_in(tmp_path), job)
    assert found is not None
    assert sorted(found.held_out) == sorted([*contest.held_out[1:], late.id])


def test_a_few_of_many_prompts_are_mixed_and_the_same_each_time(
    database: Database, tmp_path: Path
) -> None:
    with database.write() as session:
        contest = make_contest(session, prompts=40, held_out=30)
        job = session.get_one(Job, contest.job_id)
        found = [find_contest(session, settings_in(tmp_path), job) for _ in range(2)]
    assert found[0] is not None
    assert found[0].held_out == found[1].held_out
    assert found[0].held_out != sorted(found[0].held_out)
    assert set(found[0].held_out) == set(contest.held_out)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"prompts": 5}, "prompts"),
        ({"prompts": 0}, "prompts"),
        ({"completions_per_policy": 5}, "completions_per_policy"),
        ({"labelers_per_task": 0}, "labelers_per_task"),
        ({"others": ["nobody"]}, "policies"),
        ({"others": ["old"]}, "policies"),
        ({"sampling": {"temperature": 9}}, "sampling.temperature"),
    ],
)
def test_what_is_out_of_range_is_named(
    sqlite_database: Database, tmp_path: Path, options: dict[str, object], field: str
) -> None:
    with sqlite_database.write() as session:
        job = session.get_one(Job, make_contest(session).job_id)
        with pytest.raises(AppError) as refused:
            open_ab_round(session, None, settings_in(tmp_path), job, **options)
    assert field in refused.value.fields


def serve_everything(url: str, database: Database) -> None:
    with database.write() as session:
        for name in ("old", "new", "judge"):
            model = session.get_one(Model, name)
            model.source, model.location = ModelSource.ENDPOINT, url


def open_served(database: Database, url: str, tmp_path: Path) -> Round:
    with database.write() as session:
        contest = make_contest(session)
    serve_everything(url, database)
    with database.write() as session:
        job = session.get_one(Job, contest.job_id)
        return open_ab_round(session, None, settings_in(tmp_path), job)


def test_the_generation_job_has_the_reward_model_score_what_was_made(
    database: Database, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with running(lambda body, _: reply([body["model"] * (1 + len(body["model"]))])) as server:
        round_ = open_served(database, server.url, tmp_path)
        export(database, round_, run_dir)
        KIND.run(run_dir, GenerationConfig(round_id=round_.id), Recorder())
        asked = len(server.scored)
        score_completions(run_dir, Recorder(), {})  # as after a crash: nothing is asked twice
        assert len(server.scored) == asked == 4
        take_in(database, round_, run_dir)
        take_in(database, round_, run_dir)
    with database.read() as session:
        rewards = session.execute(
            select(Completion.text, CompletionReward.reward, CompletionReward.model_id).join(
                CompletionReward, CompletionReward.completion_id == Completion.id
            )
        ).all()
    assert Counter(model for _, _, model in rewards) == {"judge": 8}
    assert all(reward == len(text) for text, reward, _ in rewards)


def test_a_reward_model_that_cannot_be_asked_ends_nothing_and_can_be_asked_again(
    database: Database, tmp_path: Path
) -> None:
    run_dir, again = tmp_path / "run", tmp_path / "again"
    for folder in (run_dir, again):
        folder.mkdir()
    report = Recorder()
    with running(lambda body, _: reply([body["model"]])) as server:
        round_ = open_served(database, server.url, tmp_path)
        server.gives_rewards = False
        export(database, round_, run_dir)
        make_completions(run_dir, report, {})
        score_completions(run_dir, report, {})
        outputs = take_in(database, round_, run_dir)
        assert outputs["tasks_open"] == 4
        assert "People are asked anyway" in report.lines[-1]
        server.gives_rewards = True
        with database.write() as session:
            session.get_one(Job, session.get_one(Round, round_.id).job_id).state = "succeeded"
        with database.write() as session:
            ask_reward_model_again(session, None, session.get_one(Round, round_.id))
        export(database, round_, again)
        make_completions(again, report, {})
        score_completions(again, report, {})
        take_in(database, round_, again)
    with database.write() as session:
        assert len(session.scalars(select(CompletionReward)).all()) == 8
        assert len(session.scalars(select(Completion)).all()) == 8
        session.get_one(Job, session.get_one(Round, round_.id).job_id).state = "succeeded"
        session.flush()
        with pytest.raises(AppError) as refused:
            ask_reward_model_again(session, None, session.get_one(Round, round_.id))
    assert refused.value.code == "nothing_missing"


def test_a_torn_line_of_rewards_is_asked_for_again(database: Database, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with running(lambda body, _: reply([body["model"]])) as server:
        round_ = open_served(database, server.url, tmp_path)
        export(database, round_, run_dir)
        make_completions(run_dir, Recorder(), {})
        score_completions(run_dir, Recorder(), {})
        whole = (run_dir / REWARDS_FILE).read_text()
        (run_dir / REWARDS_FILE).write_text(whole[:-20])
        score_completions(run_dir, Recorder(), {})
    tasks = [
        json.loads(line)["task_id"] for line in (run_dir / REWARDS_FILE).read_text().splitlines()
    ]
    assert len(tasks) == len(set(tasks)) == 4


def test_an_ordinary_round_asks_no_reward_model(database: Database, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with running(lambda body, _: reply([body["model"]])) as server:
        round_ = open_served(database, server.url, tmp_path)
        with database.write() as session:
            session.get_one(Round, round_.id).candidate_id = None
            session.get_one(Round, round_.id).baseline_id = None
        export(database, round_, run_dir)
        make_completions(run_dir, Recorder(), {})
        score_completions(run_dir, Recorder(), {})
    assert server.scored == []
