from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database
from app.errors import AppError, Conflict, Invalid
from app.jobs.kinds import generation
from app.jobs.service import finish_job, get_job
from app.models import (
    Assignment,
    Completion,
    Job,
    JobState,
    ModelKind,
    Project,
    Prompt,
    Round,
    RoundState,
    TaskState,
    User,
    utc_now,
)
from app.projects.round_counts import round_counts
from app.projects.rounds import (
    accept_round,
    close_round,
    create_round,
    open_task_if_ready,
    position_policies,
    reopen_round,
    retry_round,
    settle_round,
)
from app.projects.task_import import import_tasks
from tests.projects.rounds_factory import make_model, make_project, prompt_texts, tasks_of


def start(session: Session, project: Project, **options: Any) -> Round:
    options.setdefault("policies", ["first"])
    return create_round(session, None, project, **options)


def add_completions(session: Session, task_id: str, positions: range, policy: str) -> None:
    for position in positions:
        session.add(
            Completion(task_id=task_id, position=position, text=f"t{position}", model_id=policy)
        )
    session.flush()


def end_job(session: Session, round_: Round, state: JobState = JobState.FAILED) -> None:
    assert round_.job_id is not None
    finish_job(session, get_job(session, round_.job_id), state, kind=generation.KIND, reason="test")


def test_a_round_has_a_pending_task_for_each_prompt_and_a_queued_job(database: Database) -> None:
    with database.write() as session:
        make_model(session, "first")
        project = make_project(session, prompts=3)
        round_ = start(session, project, completions_per_prompt=3, labelers_per_task=2)
        round_id, job_id = round_.id, round_.job_id
    with database.read() as session:
        tasks = tasks_of(session, round_id)
        assert [task.state for task in tasks] == [TaskState.PENDING] * 3
        assert {task.rankings_wanted for task in tasks} == {2}
        round_ = session.get_one(Round, round_id)
        assert (round_.number, round_.state) == (1, RoundState.GENERATING)
        job = session.get_one(Job, job_id)
        assert (job.kind, job.state, job.config) == (
            "generation",
            JobState.QUEUED,
            {"round_id": round_id},
        )
        counts = round_counts(session, round_id)
        assert (counts.tasks, counts.pending, counts.completions_wanted) == (3, 3, 9)
        assert (counts.rankings_wanted, counts.rankings_got) == (6, 0)


def test_the_seed_that_was_drawn_is_kept(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        make_model(session, "first")
        project = make_project(session)
        drawn = start(session, project).sampling
        given = start(session, project, sampling={"seed": 7, "temperature": 0.5}).sampling
    assert isinstance(drawn["seed"], int)
    assert given == {"temperature": 0.5, "top_p": 0.95, "max_new_tokens": 48, "seed": 7}


def test_prompts_with_the_fewest_tasks_come_first_under_a_limit(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        make_model(session, "first")
        project = make_project(session, prompts=5)
        texts = []
        for _ in range(3):
            round_ = start(session, project, prompt_limit=2)
            texts.append(prompt_texts(session, tasks_of(session, round_.id)))
    assert texts == [["Prompt 0", "Prompt 1"], ["Prompt 2", "Prompt 3"], ["Prompt 4", "Prompt 0"]]


def test_completions_are_dealt_to_the_policies_in_turn(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        make_model(session, "first")
        make_model(session, "second")
        project = make_project(session)
        round_ = start(session, project, policies=["first", "second"], completions_per_prompt=5)
    assert position_policies(round_) == ["first", "second", "first", "second", "first"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"policies": []}, "policies"),
        ({"policies": ["nobody"]}, "policies"),
        ({"policies": ["judge"]}, "policies"),
        ({"policies": ["old"]}, "policies"),
        ({"policies": ["first", "first"]}, "policies"),
        ({"completions_per_prompt": 1}, "completions_per_prompt"),
        ({"completions_per_prompt": 10}, "completions_per_prompt"),
        (
            {"policies": ["first", "second", "third"], "completions_per_prompt": 2},
            "completions_per_prompt",
        ),
        ({"labelers_per_task": 0}, "labelers_per_task"),
        ({"prompt_limit": 0}, "prompt_limit"),
        ({"sampling": {"temperature": 3}}, "sampling.temperature"),
        ({"sampling": {"top_p": 0}}, "sampling.top_p"),
        ({"sampling": {"max_new_tokens": 0}}, "sampling.max_new_tokens"),
        ({"sampling": {"seed": "x"}}, "sampling.seed"),
        ({"sampling": {"heat": 1}}, "sampling.heat"),
        ({"sampling": {"temperature": 0}}, "sampling.temperature"),
    ],
)
def test_a_round_that_could_not_work_is_refused_naming_the_field(
    sqlite_database: Database, options: dict[str, Any], field: str
) -> None:
    with sqlite_database.write() as session:
        for name in ("first", "second", "third"):
            make_model(session, name)
        make_model(session, "judge", ModelKind.REWARD_MODEL)
        make_model(session, "old", archived_at=utc_now())
        project = make_project(session)
        with pytest.raises(Invalid) as refused:
            start(session, project, **options)
        assert field in refused.value.fields
        assert session.scalar(select(func.count()).select_from(Job)) == 0


def test_a_project_without_prompts_or_archived_starts_no_round(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        make_model(session, "first")
        project = make_project(session, prompts=0)
        with pytest.raises(Invalid, match="no prompts"):
            start(session, project)
    with sqlite_database.write() as session:
        project = make_project(session, name="Old")
        project.archived_at = utc_now()
        with pytest.raises(Conflict):
            start(session, project)


def test_a_task_opens_once_all_its_completions_are_there(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        make_model(session, "first")
        round_ = start(session, make_project(session, prompts=1), completions_per_prompt=3)
        (task,) = tasks_of(session, round_.id)
        add_completions(session, task.id, range(2), "first")
        assert not open_task_if_ready(session, task, 3)
        add_completions(session, task.id, range(2, 3), "first")
        assert open_task_if_ready(session, task, 3)
        assert task.state == TaskState.OPEN


def test_settling_opens_tasks_with_two_and_names_the_others_short(database: Database) -> None:
    with database.write() as session:
        make_model(session, "first")
        round_ = start(session, make_project(session, prompts=3), completions_per_prompt=3)
        enough, one, none = tasks_of(session, round_.id)
        add_completions(session, enough.id, range(2), "first")
        add_completions(session, one.id, range(1), "first")
        one.problem = "the server answered 500"
        settle_round(session, round_)
        round_id = round_.id
        assert enough.state == TaskState.OPEN, "objects in the session know too"
    with database.read() as session:
        enough, one, none = tasks_of(session, round_id)
        assert (enough.state, one.state, none.state) == ("open", "short", "short")
        assert one.problem == "the server answered 500"
        assert none.problem == "Fewer than two completions were made."
        assert session.get_one(Round, round_id).state == RoundState.OPEN
        counts = round_counts(session, round_id)
        assert counts.rankings_wanted == 1, "short tasks want no ranking"
        assert [problem.task_id for problem in counts.problems] == [one.id, none.id]


def test_a_retry_takes_what_is_missing_and_nobody_has_looked_at(database: Database) -> None:
    with database.write() as session:
        make_model(session, "first")
        round_ = start(session, make_project(session, prompts=4), completions_per_prompt=3)
        full, seen, unseen, none = tasks_of(session, round_.id)
        add_completions(session, full.id, range(3), "first")
        add_completions(session, seen.id, range(2), "first")
        add_completions(session, unseen.id, range(2), "first")
        with pytest.raises(Conflict):
            retry_round(session, None, round_)
        end_job(session, round_)
        assert round_.state == RoundState.OPEN, "a job's end opens the round"
        accept_round(session, None, round_)
        user = User(email="l@example.org", role="labeler", handle="l1")
        session.add(user)
        session.flush()
        session.add(
            Assignment(
                project_id=seen.project_id,
                task_id=seen.id,
                user_id=user.id,
                slot=0,
                shown_order=[],
                lease_expires_at=utc_now(),
            )
        )
        session.flush()
        first_job = round_.job_id
        job = retry_round(session, None, round_)
        assert round_.job_id == job.id != first_job
        assert round_.state == RoundState.GENERATING
        states = [item.state for item in (full, seen, unseen, none)]
        assert states == ["open", "open", "pending", "pending"]
        assert none.problem is None


def test_nothing_missing_is_a_conflict(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        make_model(session, "first")
        round_ = start(session, make_project(session, prompts=1), completions_per_prompt=2)
        (task,) = tasks_of(session, round_.id)
        add_completions(session, task.id, range(2), "first")
        end_job(session, round_, JobState.SUCCEEDED)
        settle_round(session, round_)
        with pytest.raises(Conflict, match="Every task"):
            retry_round(session, None, round_)


def test_a_round_is_closed_and_reopened_but_not_while_it_generates(
    sqlite_database: Database,
) -> None:
    with sqlite_database.write() as session:
        make_model(session, "first")
        round_ = start(session, make_project(session))
        with pytest.raises(Conflict, match="still being made"):
            close_round(session, None, round_)
        end_job(session, round_)
        close_round(session, None, round_)
        assert round_.state == RoundState.CLOSED
        assert round_.closed_at is not None
        reopen_round(session, None, round_)
        assert (round_.state, round_.closed_at) == (RoundState.OPEN, None)


def task(prompt: Any = "Why?", *texts: str, **extra: Any) -> dict[str, Any]:
    given = texts or ("one", "two")
    return {"prompt": prompt, "completions": [{"text": text} for text in given], **extra}


def test_imported_tasks_are_open_at_once_and_bad_ones_are_named(database: Database) -> None:
    chat = [{"role": "user", "content": "Prompt 1"}]
    tasks: list[Any] = [
        task("Prompt 0"),
        task(chat, "a", "a"),
        task("Prompt 0"),
        task("Prompt 0", "two", "one"),
        {"prompt": "x", "completions": [{"text": "only one"}]},
        task("x", "", "two"),
        {"completions": []},
        "nonsense",
        task("x", extra=1),
        {"prompt": "x", "completions": [{"text": "a", "model": "first"}, {"text": "b"}]},
        {"prompt": "y", "completions": [{"text": "a", "model": "gpt"}, {"text": "\ud800"}]},
        {"prompt": "y", "completions": [{"text": "a", "model": "gpt"}, {"text": "b"}]},
    ]
    with database.write() as session:
        make_model(session, "first")
        project = make_project(session, prompts=2)
        imported = import_tasks(session, None, project, tasks, labelers_per_task=3)
        round_id, project_id = imported.round.id, project.id
    assert (imported.created, imported.duplicates) == (5, 1)
    assert [item.index for item in imported.rejected] == [4, 5, 6, 7, 8, 10]
    assert imported.rejected[1].reason == "completions[0].text is empty"
    assert imported.rejected[4].reason.startswith("unknown fields: extra")
    with database.read() as session:
        stored = tasks_of(session, round_id)
        assert {item.state for item in stored} == {TaskState.OPEN}
        assert {item.rankings_wanted for item in stored} == {3}
        prompts = session.scalar(select(func.count()).where(Prompt.project_id == project_id))
        assert prompts == 4, "the two that were there are shared"
        models = set(
            session.execute(select(Completion.model_id, Completion.model_label).distinct())
        )
        assert models == {(None, None), ("first", None), (None, "gpt")}
        counts = round_counts(session, round_id)
        assert (counts.completions, counts.completions_wanted) == (10, 10)
        assert session.get_one(Round, round_id).completions_per_prompt == 2


@pytest.mark.parametrize(
    ("tasks", "labelers"), [([], 1), ([{"prompt": "x"}], 1), ([task()], 0), ([task()], 101)]
)
def test_an_import_without_a_good_task_or_labelers_is_refused(
    sqlite_database: Database, tasks: list[Any], labelers: int
) -> None:
    with sqlite_database.write() as session:
        project = make_project(session)
        with pytest.raises(AppError) as refused:
            import_tasks(session, None, project, tasks, labelers)
        assert refused.value.status == 422
        assert refused.value.fields
        assert session.scalar(select(func.count()).select_from(Round)) == 0
