from app.db import Database
from app.models import Ranking, Task, utc_now
from app.preferences.pair_counts import count_pairs
from app.projects.pair_counts import count_loop_pairs
from tests.projects.loop_states import (
    add_model,
    add_project,
    add_prompts,
    add_ranking,
    add_round,
)
from tests.statements import recorded_statements


def test_the_count_stays_right_as_rankings_come_change_and_go(database: Database) -> None:
    """Each step is compared with a count from the beginning."""
    with database.write() as session:
        project = add_project(session)
        add_model(session, "v0")
        tasks = add_round(
            session,
            project,
            add_prompts(session, project, 4),
            ["v0"],
            completions_per_prompt=3,
            labelers_per_task=5,
        )

    def both() -> int:
        with database.read() as session:
            remembered = count_loop_pairs(session, project.id)
            assert remembered == count_pairs(session, project.id).pairs
        return remembered

    assert both() == 0
    with database.write() as session:
        first = add_ranking(session, session.get_one(Task, tasks[0].id), [2, 1, 3])
    assert both() == 3
    assert both() == 3
    with database.write() as session:
        add_ranking(session, session.get_one(Task, tasks[1].id), [1, 1, 2])
    assert both() == 5
    with database.write() as session:
        session.get_one(Ranking, first.id).current = False
        session.flush()
        edited = add_ranking(session, session.get_one(Task, tasks[0].id), [1, 1, 1], revision=2)
    assert both() == 2
    with database.write() as session:
        other = add_ranking(session, session.get_one(Task, tasks[2].id), [1, 2, 3])
        session.get_one(Ranking, edited.id).revoked_at = utc_now()
    assert both() == 5
    with database.write() as session:
        session.get_one(Ranking, other.id).revoked_at = utc_now()
        session.get_one(Ranking, edited.id).revoked_at = None
    assert both() == 2


def test_what_is_known_already_is_not_expanded_again(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        project = add_project(session)
        add_model(session, "v0")
        (task,) = add_round(session, project, add_prompts(session, project, 1), ["v0"])
        add_ranking(session, task, [2, 1])
    with recorded_statements(sqlite_database.reader) as statements:
        for _ in range(3):
            with sqlite_database.read() as session:
                assert count_loop_pairs(session, project.id) == 1
    assert len([one for one in statements if "ranking_entry" in one]) == 1
