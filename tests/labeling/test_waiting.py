from datetime import timedelta

from sqlalchemy.orm import Session

from app.labeling.pace import PACE_DAYS, measure_pace
from app.labeling.pauses import pause_labeler
from app.labeling.queue import lease_next_task, skip_assignment
from app.labeling.rankings import submit_ranking
from app.labeling.revocation import revoke_rankings
from app.labeling.submissions import Submission
from app.labeling.waiting import WaitingProject, WhyEmpty, list_waiting
from app.models import Assignment, Project, Round, RoundState, User, utc_now
from tests.labeling.factory import make_project, make_tasks, make_user
from tests.statements import recorded_statements


def rank_next(
    session: Session, user: User, project: Project, active_ms: int | None = None
) -> Assignment:
    assignment = lease_next_task(session, user, project.id, lease_seconds=600)
    assert assignment is not None
    ranks = {completion: rank for rank, completion in enumerate(assignment.shown_order, 1)}
    submit_ranking(session, user, assignment.id, Submission(ranks=ranks, active_ms=active_ms))
    return assignment


def look(session: Session, user: User) -> dict[str, WaitingProject]:
    found = list_waiting(session, user, measure_pace(session, user))
    return {item.project.name: item for item in found}


def test_each_project_says_what_is_waiting_or_why_nothing_is(database):
    with database.write() as session:
        ada, bob = make_user(session), make_user(session, "bob")
        projects = {
            name: make_project(session, name=name)
            for name in ("fresh", "generating", "leased", "mine", "complete", "paused", "ready",
                         "in hand", "closed")
        }  # fmt: skip
        session.add(Round(project_id=projects["generating"].id, number=1))
        for name, count in (("leased", 1), ("mine", 1), ("complete", 1), ("paused", 2),
                            ("ready", 3), ("in hand", 2), ("closed", 2)):  # fmt: skip
            make_tasks(session, projects[name], count)
        lease_next_task(session, bob, projects["leased"].id, lease_seconds=600)
        skipped = lease_next_task(session, ada, projects["mine"].id, lease_seconds=600)
        skip_assignment(session, ada, skipped.id, "unclear")
        rank_next(session, ada, projects["complete"])
        pause_labeler(session, None, projects["paused"].id, ada, reason="Read the guidelines.")
        rank_next(session, ada, projects["ready"])
        lease_next_task(session, ada, projects["in hand"].id, lease_seconds=600)
        session.query(Round).filter(Round.project_id == projects["closed"].id).update(
            {"state": RoundState.CLOSED}
        )
        session.flush()
        seen = look(session, ada)
        assert {name: item.why_empty for name, item in seen.items()} == {
            "fresh": WhyEmpty.NO_ROUND,
            "generating": WhyEmpty.GENERATING,
            "leased": WhyEmpty.ALL_LEASED,
            "mine": WhyEmpty.ALL_MINE,
            "complete": WhyEmpty.COMPLETE,
            "closed": WhyEmpty.COMPLETE,
            "paused": WhyEmpty.PAUSED,
            "ready": None,
            "in hand": None,
        }
        assert (seen["ready"].waiting, seen["ready"].done, seen["ready"].done_today) == (2, 1, 1)
        assert (seen["paused"].waiting, seen["paused"].pause.reason) == (0, "Read the guidelines.")
        assert seen["in hand"].live is not None
        assert list(seen)[:2] == ["in hand", "ready"]


def test_more_projects_need_no_more_statements(database):
    with database.write() as session:
        user = make_user(session)
        counts = []
        for number in range(4):
            make_tasks(session, make_project(session, name=f"Work {number}"), number % 2)
            with recorded_statements(session.connection()) as statements:
                look(session, user)
            counts.append(len(statements))
        assert counts[1] == counts[2] == counts[3] <= 7


def test_revoked_rankings_are_counted_apart(database):
    with database.write() as session:
        user, project = make_user(session), make_project(session)
        make_tasks(session, project, 3)
        rank_next(session, user, project)
        rank_next(session, user, project)
        revoke_rankings(session, None, project.id, user.handle, reason="careless")
        rank_next(session, user, project)
        item = look(session, user)[project.name]
        assert (item.done, item.revoked) == (1, 2)


def test_pace_counts_the_last_days_where_the_person_is(database):
    with database.write() as session:
        user, project = make_user(session), make_project(session)
        user.preferences = {"time_zone": "Pacific/Kiritimati"}  # 14 hours ahead of UTC
        make_tasks(session, project, 6)
        for days, active_ms in ((0, 30_000), (0, 90_000), (1, 60_000), (PACE_DAYS, 5), (2, None)):
            assignment = rank_next(session, user, project, active_ms)
            assignment.finished_at -= timedelta(days=days)
        session.flush()
        pace = measure_pace(session, user)
        today = (utc_now() + timedelta(hours=14)).date()
        assert pace.today == today
        assert pace.days == {
            today: 2,
            today - timedelta(days=1): 1,
            today - timedelta(days=2): 1,
        }
        assert (pace.done_today, pace.measured, pace.median_active_ms) == (2, 3, 60_000)
        assert pace.per_active_hour == 60  # three rankings in three minutes


def test_there_is_no_rate_before_a_minute_of_work(database):
    with database.write() as session:
        user, project = make_user(session), make_project(session)
        make_tasks(session, project, 1)
        rank_next(session, user, project, 59_999)
        pace = measure_pace(session, user)
        assert (pace.measured, pace.per_active_hour) == (1, None)
