from datetime import timedelta

import pytest

from app.db import Database
from app.models import Assignment, Completion, User, Worker, utc_now
from app.preferences.pair_counts import count_pairs
from app.projects.loop import LoopState, get_loop_state
from app.projects.next_step import NextStep
from app.projects.summaries import summarize_projects
from tests.projects.loop_states import (
    add_job,
    add_model,
    add_project,
    add_prompts,
    add_ranking,
    add_round,
    add_snapshot,
    add_worker,
)
from tests.statements import recorded_statements


def test_an_empty_project_asks_for_prompts(database: Database) -> None:
    with database.write() as session:
        state = get_loop_state(session, add_project(session).id)
    assert state.next_step == NextStep.ADD_PROMPTS
    assert (state.prompts, state.completions, state.rankings, state.pairs) == (0, 0, 0, 0)
    assert state.latest_round is None
    assert not state.any_active_job


def test_the_loop_goes_round_step_by_step(database: Database) -> None:
    """Each step of the picture, in its order, proposes exactly the next one."""
    with database.write() as session:
        project = add_project(session)
        add_model(session, "v0")

        def step() -> NextStep:
            return get_loop_state(session, project.id).next_step

        prompts = add_prompts(session, project, 3)
        assert step() == NextStep.START_ROUND

        job = add_job(session, project, "generation", "running")
        tasks = add_round(session, project, prompts, ["v0"], state="generating", finished=0)
        assert step() == NextStep.WATCH_GENERATION
        job.state = "failed"
        assert step() == NextStep.REPAIR_GENERATION
        job.state = "succeeded"
        for task in tasks:
            session.delete(task)
        tasks = add_round(session, project, prompts, ["v0"])
        assert step() == NextStep.RANK

        for task in tasks:
            add_ranking(session, task, [2, 1])
        assert step() == NextStep.TRAIN_REWARD_MODEL

        training = add_job(session, project, "reward_model", "queued")
        assert step() == NextStep.WATCH_REWARD_MODEL
        training.state = "failed"
        assert step() == NextStep.TRAIN_REWARD_MODEL

        add_model(session, "rm1", kind="reward_model", project_id=project.id)
        assert step() == NextStep.TUNE_POLICY
        tuning = add_job(session, project, "ppo", "running")
        assert step() == NextStep.WATCH_PPO
        tuning.state = "succeeded"

        add_model(
            session,
            "v1",
            kind="policy",
            project_id=project.id,
            parent_id="v0",
            reward_model_id="rm1",
        )
        assert step() == NextStep.COMPARE_POLICY

        again = add_round(session, project, prompts, ["v0", "v1"], completions_per_prompt=4)
        assert step() == NextStep.RANK
        for task in again:
            add_ranking(session, task, [3, 4, 1, 2])
        assert step() == NextStep.TRAIN_REWARD_MODEL


def test_dpo_needs_no_reward_model_to_go_on(database: Database) -> None:
    with database.write() as session:
        project = add_project(session)
        add_model(session, "v0")
        prompts = add_prompts(session, project, 3)
        for task in add_round(session, project, prompts, ["v0"]):
            add_ranking(session, task, [2, 1])
        old = add_model(session, "old", kind="policy", project_id=project.id, parent_id="v0")
        old.created_at = utc_now() - timedelta(days=1)

        def state() -> LoopState:
            return get_loop_state(session, project.id)

        assert state().next_step == NextStep.TRAIN_REWARD_MODEL
        tuning = add_job(session, project, "dpo", "running")
        assert state().next_step == NextStep.WATCH_DPO
        assert state().tuning_job is not None
        assert state().tuning_job.id == tuning.id
        tuning.state = "succeeded"
        add_model(session, "v1", kind="policy", project_id=project.id, parent_id="v0")
        assert state().next_step == NextStep.COMPARE_POLICY

        # A reward model that came after it asks for a policy of its own.
        add_model(session, "rm1", kind="reward_model", project_id=project.id)
        assert state().next_step == NextStep.TUNE_POLICY


def test_finished_prompts_are_ranked_while_others_are_still_written(database: Database) -> None:
    with database.write() as session:
        project = add_project(session)
        add_model(session, "v0")
        add_job(session, project, "generation", "running", progress=0.4, stage="2 of 5 prompts")
        add_round(
            session,
            project,
            add_prompts(session, project, 5),
            ["v0"],
            state="generating",
            finished=2,
        )
        state = get_loop_state(session, project.id)
    assert state.next_step == NextStep.RANK
    assert state.rankings_missing == 2
    assert state.latest_round is not None
    assert (state.latest_round.completions, state.latest_round.completions_wanted) == (4, 10)
    assert (state.latest_round.open, state.latest_round.pending) == (2, 3)


def test_training_before_everything_is_ranked_moves_the_loop_on(database: Database) -> None:
    with database.write() as session:
        project = add_project(session)
        add_model(session, "v0")
        tasks = add_round(session, project, add_prompts(session, project, 3), ["v0"])
        add_ranking(session, tasks[0], [1, 2])
        assert get_loop_state(session, project.id).next_step == NextStep.RANK
        add_model(session, "rm1", kind="reward_model", project_id=project.id)
        assert get_loop_state(session, project.id).next_step == NextStep.TUNE_POLICY


def test_a_closed_round_wants_no_more_rankings(database: Database) -> None:
    with database.write() as session:
        project = add_project(session)
        add_model(session, "v0")
        tasks = add_round(
            session, project, add_prompts(session, project, 3), ["v0"], state="closed"
        )
        add_ranking(session, tasks[0], [1, 2])
        state = get_loop_state(session, project.id)
    assert state.rankings_missing == 0
    assert state.next_step == NextStep.TRAIN_REWARD_MODEL


def test_nothing_but_ties_calls_for_another_round(database: Database) -> None:
    with database.write() as session:
        project = add_project(session)
        add_model(session, "v0")
        (task,) = add_round(session, project, add_prompts(session, project, 1), ["v0"])
        add_ranking(session, task, [1, 1])
        state = get_loop_state(session, project.id)
    assert (state.rankings, state.pairs) == (1, 0)
    assert state.next_step == NextStep.START_ROUND


def test_rankings_that_do_not_count_are_not_counted(database: Database) -> None:
    """Superseded and revoked rankings give neither rankings nor pairs; simulated ones are told."""
    with database.write() as session:
        project = add_project(session)
        add_model(session, "v0")
        (task,) = add_round(
            session,
            project,
            add_prompts(session, project, 1),
            ["v0"],
            completions_per_prompt=3,
            labelers_per_task=9,
        )
        add_ranking(session, task, [2, 1, 3], current=False)
        add_ranking(session, task, [1, 2, 3], labeler="bob", revoked_at=utc_now())
        add_ranking(session, task, [2, 1, 3], revision=2)
        add_ranking(session, task, [1, 1, 2], labeler="Simulated 1", source="simulated")
        add_ranking(session, task, [1, None, 2], labeler="eve", source="import")
        add_snapshot(session, project)
        other = add_project(session, "Another")
        add_prompts(session, other, 2)
        state = get_loop_state(session, project.id)
        assert state.pairs == count_pairs(session, project.id).pairs
    assert (state.rankings, state.simulated_rankings, state.labelers) == (3, 1, 3)
    assert state.pairs == 3 + 2 + 1
    assert (state.prompts, state.snapshots) == (1, 1)


def test_pairs_of_identical_texts_are_left_out(database: Database) -> None:
    with database.write() as session:
        project = add_project(session)
        add_model(session, "v0")
        (task,) = add_round(
            session, project, add_prompts(session, project, 1), ["v0"], completions_per_prompt=3
        )
        for completion in session.query(Completion).filter(Completion.position < 2):
            completion.text = "the same"
        session.flush()
        add_ranking(session, task, [1, 2, 3])
        state = get_loop_state(session, project.id)
    assert state.pairs == 2


def test_the_comparison_is_a_mean_over_rankings_with_ties_as_half(database: Database) -> None:
    """Task 1: v1 at ranks 1, 2 and v0 at 3, 4: 4 of 4. Task 2: v1 1, 3, v0 2, 3:
    (1>2, 1>3) = 2, (3<2) = 0, (3=3) = ½, so 2.5 of 4. Mean (1 + 0.625) / 2 = 0.8125."""
    with database.write() as session:
        project = add_project(session)
        add_model(session, "v0")
        add_model(session, "v1")
        prompts = add_prompts(session, project, 2)
        tasks = add_round(session, project, prompts, ["v0", "v1"], completions_per_prompt=4)
        add_ranking(session, tasks[0], [3, 1, 4, 2])
        add_ranking(session, tasks[1], [2, 1, 3, 3], source="simulated")
        result = get_loop_state(session, project.id).comparison
    assert result is not None
    assert (result.policy, result.baseline, result.rate.n) == ("v1", "v0", 2)
    assert result.simulated
    assert result.rate.value == pytest.approx(0.8125)
    assert result.rate.low < 0.5


def test_a_silent_worker_is_not_alive(database: Database) -> None:
    with database.write() as session:
        project = add_project(session)
        assert not get_loop_state(session, project.id).worker_alive
        add_worker(session, silent_seconds=600)
        assert not get_loop_state(session, project.id).worker_alive
    with database.write() as session:
        session.delete(session.get_one(Worker, "w1"))
        session.flush()
        add_worker(session)
        assert get_loop_state(session, project.id).worker_alive


def test_live_leases_are_counted_and_expired_ones_are_not(database: Database) -> None:
    with database.write() as session:
        project = add_project(session)
        add_model(session, "v0")
        tasks = add_round(session, project, add_prompts(session, project, 2), ["v0"])
        user = User(email="a@example.org", handle="a", role="labeler")
        session.add(user)
        session.flush()
        for task, seconds in zip(tasks, (60, -60), strict=True):
            session.add(
                Assignment(
                    project_id=project.id,
                    task_id=task.id,
                    user_id=user.id,
                    slot=0,
                    shown_order=[],
                    lease_expires_at=utc_now() + timedelta(seconds=seconds),
                )
            )
        session.flush()
        state = get_loop_state(session, project.id)
    assert state.ranking_now == 1
    assert state.people_who_rank == 1


def test_the_state_takes_a_bounded_number_of_statements(database: Database) -> None:
    with database.write() as session:
        project = add_project(session)
        add_model(session, "v0")
        for _ in range(5):
            tasks = add_round(session, project, add_prompts(session, project, 4), ["v0"])
            for task in tasks:
                add_ranking(session, task, [1, 2])
    with recorded_statements(database.reader) as statements, database.read() as session:
        get_loop_state(session, project.id)
    assert 0 < len(statements) <= 22


def test_a_summary_counts_each_project_by_itself(database: Database) -> None:
    with database.write() as session:
        first, second = add_project(session, "First"), add_project(session, "Second")
        add_model(session, "v0")
        tasks = add_round(session, first, add_prompts(session, first, 3), ["v0"])
        add_ranking(session, tasks[0], [1, 2], source="simulated")
        add_job(session, first, "ppo", "queued")
        summaries = summarize_projects(session, [first, second])
    assert [
        (s.prompts, s.open_tasks, s.rankings, s.simulated_rankings, s.active_jobs)
        for s in summaries
    ] == [(3, 2, 1, 1, 1), (0, 0, 0, 0, 0)]
