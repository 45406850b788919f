from app.labeling.history import find_last_version_read, list_own_rankings, list_ranked_projects
from app.labeling.queue import lease_next_task
from app.labeling.rankings import submit_ranking
from app.labeling.revocation import revoke_rankings
from app.labeling.submissions import Submission
from tests.labeling.factory import make_project, make_tasks, make_user


def rank(session, user, project, *ranks, version=None):
    assignment = lease_next_task(session, user, project.id, lease_seconds=600)
    return submit(session, user, assignment, *ranks, version=version)


def submit(session, user, assignment, *ranks, version=None):
    given = dict(zip(assignment.shown_order, ranks, strict=True))
    submission = Submission(ranks=given, guidelines_version=version)
    submit_ranking(session, user, assignment.id, submission)
    return assignment


def test_own_rankings_come_newest_first_with_their_order_and_earlier_revisions(database):
    with database.write() as session:
        ada, bob, project = make_user(session), make_user(session, "bob"), make_project(session)
        make_tasks(session, project, 3, wanted=2)
        first = rank(session, ada, project, 2, 1, 2)
        second = rank(session, ada, project, 1, 2, 3)
        rank(session, bob, project, 1, 1, 1)
        submit(session, ada, first, 3, 2, 1)
        found = list_own_rankings(session, ada, limit=10)
        assert [item.latest.ranking.assignment_id for item in found] == [first.id, second.id]
        assert [item.latest.order for item in found] == ["C > B > A", "A > B > C"]
        assert [revision.order for revision in found[0].earlier] == ["B > A = C"]
        assert found[1].earlier == []
        assert found[0].excerpt.startswith("Question ")


def test_pages_go_on_after_the_last_one_and_projects_filter(database):
    with database.write() as session:
        user = make_user(session)
        projects = [make_project(session, name=name) for name in ("Zebra", "Apple")]
        for project in projects:
            make_tasks(session, project, 2)
            rank(session, user, project, 1, 2, 3)
            rank(session, user, project, 1, 2, 3)
        everything = list_own_rankings(session, user, limit=10)
        first = list_own_rankings(session, user, limit=3)
        cursor = first[-1].latest.ranking.id
        rest = list_own_rankings(session, user, limit=3, before_id=cursor)
        ids = [item.latest.ranking.id for item in [*first, *rest]]
        assert ids == [item.latest.ranking.id for item in everything]
        assert len(ids) == 4
        of_one = list_own_rankings(session, user, limit=10, project_id=projects[0].id)
        assert [item.project.name for item in of_one] == ["Zebra", "Zebra"]
        assert [one.name for one in list_ranked_projects(session, user)] == ["Apple", "Zebra"]


def test_revoked_rankings_stay_in_the_history(database):
    with database.write() as session:
        user, project = make_user(session), make_project(session)
        make_tasks(session, project, 1)
        rank(session, user, project, 1, 2, 3)
        revoke_rankings(session, None, project.id, user.handle, reason="careless")
        (item,) = list_own_rankings(session, user, limit=10)
        assert item.latest.ranking.revoked_at is not None


def test_the_version_read_last_is_that_of_the_newest_ranking_in_the_project(database):
    with database.write() as session:
        user, project = make_user(session), make_project(session)
        project.guidelines_version = 3
        make_tasks(session, project, 2)
        assert find_last_version_read(session, user, project.id) is None
        rank(session, user, project, 1, 2, 3, version=1)
        assert find_last_version_read(session, user, project.id) == 1
        rank(session, user, project, 1, 2, 3, version=2)
        assert find_last_version_read(session, user, project.id) == 2
