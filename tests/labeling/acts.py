"""What labelers do with their tasks."""

from datetime import timedelta

from app.labeling.queue import lease_next_task
from app.labeling.rankings import submit_ranking
from app.labeling.submissions import Submission
from app.models import Assignment, utc_now


def in_order(assignment: Assignment) -> Submission:
    return Submission(ranks={c: place for place, c in enumerate(assignment.shown_order, start=1)})


def lapse(session, assignment: Assignment) -> None:
    assignment.lease_expires_at = utc_now() - timedelta(seconds=1)
    session.flush()


def rank_all(session, user, project) -> list[Assignment]:
    done = []
    while assignment := lease_next_task(session, user, project.id, lease_seconds=60):
        submit_ranking(session, user, assignment.id, in_order(assignment))
        done.append(assignment)
    return done


def lease_and_rank(session, user, project) -> Assignment:
    assignment = lease_next_task(session, user, project.id, lease_seconds=60)
    submit_ranking(session, user, assignment.id, in_order(assignment))
    return assignment
