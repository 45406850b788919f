"""A labeler's home: what is waiting for them, what they did, and how fast."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from app.dependencies import AppDatabase, Labeler, ReadSession
from app.labeling.pace import PACE_DAYS, measure_pace
from app.labeling.slots import expire_leases, has_expired_leases
from app.labeling.waiting import list_waiting
from app.web.plots import plot_days
from app.web.templating import render

router = APIRouter()


def free_expired_leases(database: AppDatabase) -> None:
    """Before pages that count what is waiting: tasks whose lease ran out wait as well."""
    with database.read() as session:
        if not has_expired_leases(session):
            return
    with database.write() as session:
        expire_leases(session)


@router.get("/queue", dependencies=[Depends(free_expired_leases)])
def show_queue(request: Request, session: ReadSession, user: Labeler) -> Response:
    """What is waiting, what was done today, and the last days."""
    pace = measure_pace(session, user)
    waiting = list_waiting(session, user, pace)
    return render(
        request,
        "rank/queue.html",
        {
            "waiting": waiting,
            "pace": pace,
            "pace_days": PACE_DAYS,
            "done": sum(item.done for item in waiting),
            "plot": plot_days("days", "Your last days", pace.days, pace.today),
        },
    )
