"""How long a round's completions will take, from how long others took here."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Job, JobState, Round

SECONDS_PER_TOKEN = 0.021
"""For one token of one completion: the starter policy with four completions of 48 tokens on two
CPU cores, about four seconds a prompt."""
JOBS_REMEMBERED = 5
FEWEST_TIMED = 8
"""Completions a job must have made for its speed to say something."""


def measured_seconds_per_token(session: Session) -> float | None:
    """Seconds that the latest generation jobs took for each token they were allowed.

    None before there is one that succeeded here.
    """
    jobs = session.scalars(
        select(Job)
        .where(Job.kind == "generation", Job.state == JobState.SUCCEEDED)
        .order_by(Job.id.desc())
        .limit(JOBS_REMEMBERED)
    ).all()
    seconds, tokens = 0.0, 0
    for job in jobs:
        run = job.outputs.get("run") or {}
        round_ = session.get(Round, job.config.get("round_id"))
        made = run.get("made_now", 0)
        if round_ is None or made < FEWEST_TIMED:
            continue
        seconds += run.get("seconds", 0.0)
        tokens += made * round_.sampling.get("max_new_tokens", 0)
    return seconds / tokens if tokens else None
