import pytest
from sqlalchemy import func, select

from app.accounts.users import authenticate
from app.db import Database
from app.demo.labelers import SimulationProgress, simulate_labelers
from app.demo.project import create_demo_project
from app.demo.prompts import MULTI_TURN_PROMPTS, demo_prompts
from app.labeling.queue import lease_next_task
from app.labeling.simulated_rule import RULE_NAME
from app.models import (
    Assignment,
    Membership,
    Project,
    Prompt,
    Ranking,
    RankingEntry,
    Task,
    TaskState,
    User,
)
from tests.projects.loop_states import add_model, add_project, add_prompts, add_round


def count(database: Database, what: type) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(what)) or 0


def test_the_demo_project_is_added_once(database: Database) -> None:
    for _ in range(2):
        with database.write() as session:
            project = create_demo_project(session, None)
    assert count(database, Project) == 1
    assert count(database, Prompt) == len(demo_prompts()) >= 48
    with database.read() as session:
        chats = session.scalar(select(func.count()).where(Prompt.is_chat))
    assert chats == len(MULTI_TURN_PROMPTS) >= 4
    assert "rank" in project.guidelines


def test_what_an_admin_changed_in_the_demo_project_stays(database: Database) -> None:
    with database.write() as session:
        create_demo_project(session, None).guidelines = "Our own."
    with database.write() as session:
        assert create_demo_project(session, None).guidelines == "Our own."


def test_demo_prompts_are_all_different() -> None:
    texts = [str(messages) for messages, _ in demo_prompts()]
    assert len(texts) == len(set(texts))


@pytest.fixture
def project(database: Database) -> Project:
    with database.write() as session:
        project = add_project(session)
        add_model(session, "v0")
        prompts = add_prompts(session, project, 5)
        add_round(session, project, prompts, ["v0"], completions_per_prompt=3, labelers_per_task=2)
    return project


def test_simulated_labelers_rank_what_is_open_and_are_marked(
    database: Database, project: Project
) -> None:
    seen: list[SimulationProgress] = []
    report = simulate_labelers(database, project.id, labelers=3, on_progress=seen.append)
    assert report.rankings == 10
    assert sum(report.by_labeler.values()) == 10
    assert [step.made for step in seen] == list(range(1, 11))
    assert {step.expected for step in seen} == {10}
    with database.read() as session:
        assert set(session.scalars(select(Task.state))) == {TaskState.COMPLETE}
        assert set(session.scalars(select(Ranking.source))) == {"simulated"}
        people = session.scalars(select(User)).all()
        assert {person.simulation_rule for person in people} == {RULE_NAME}
        assert {person.name for person in people} == {"Simulated 1", "Simulated 2", "Simulated 3"}
        assert all(person.password_hash is None for person in people)
        assert authenticate(session, people[0].email, "") is None
        assert session.scalar(select(func.count()).where(RankingEntry.rank.is_(None))) == 0


def test_running_again_ranks_nothing_twice(database: Database, project: Project) -> None:
    simulate_labelers(database, project.id)
    assert simulate_labelers(database, project.id).rankings == 0
    assert count(database, Ranking) == 10
    assert count(database, User) == 3


def test_fewer_labelers_than_wanted_give_one_ranking_each(
    database: Database, project: Project
) -> None:
    seen: list[SimulationProgress] = []
    report = simulate_labelers(database, project.id, labelers=1, on_progress=seen.append)
    assert report.rankings == 5
    assert seen[0].expected == 5
    with database.read() as session:
        assert set(session.scalars(select(Task.state))) == {TaskState.OPEN}


def test_people_and_simulated_labelers_share_one_queue(
    database: Database, project: Project
) -> None:
    with database.write() as session:
        person = User(email="ann@example.org", handle="ann", role="labeler")
        session.add(person)
        session.flush()
        held = lease_next_task(session, person, project.id, lease_seconds=600)
        assert held is not None
    assert simulate_labelers(database, project.id).rankings == 9


def test_a_restricted_project_takes_simulated_labelers_in(
    database: Database, project: Project
) -> None:
    with database.write() as session:
        session.get_one(Project, project.id).restricted = True
    assert simulate_labelers(database, project.id, labelers=2).rankings == 10
    assert count(database, Membership) == 2


def test_the_same_seed_gives_the_same_rankings(database: Database, project: Project) -> None:
    """Labeler by labeler and text by text, whatever ids and orders the database chose."""
    simulate_labelers(database, project.id, labelers=2, seed=4)
    with database.read() as session:
        rows = session.execute(
            select(
                Ranking.labeler, Ranking.task_id, RankingEntry.completion_id, RankingEntry.rank
            ).join(RankingEntry, RankingEntry.ranking_id == Ranking.id)
        ).all()
    with database.write() as session:
        for table in (RankingEntry, Ranking):
            session.query(table).delete()
        session.query(Assignment).delete()
        for task in session.scalars(select(Task)):
            task.rankings_got = task.slots_taken = 0
            task.state = TaskState.OPEN
    simulate_labelers(database, project.id, labelers=2, seed=4)
    with database.read() as session:
        again = session.execute(
            select(
                Ranking.labeler, Ranking.task_id, RankingEntry.completion_id, RankingEntry.rank
            ).join(RankingEntry, RankingEntry.ranking_id == Ranking.id)
        ).all()
    assert sorted(map(tuple, rows)) == sorted(map(tuple, again))
