"""`podium demo`: add the demo project, and on wish rank its first round with simulated labelers."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.demo.labelers import SimulationProgress, simulate_labelers
from app.demo.project import create_demo_project
from app.models import Job, JobState, Project, Role, Round, User
from app.projects.loop import LoopState, get_loop_state
from app.projects.rounds import create_round
from app.registry.service import ensure_starters
from app.settings import Settings

STARTER_POLICY = "smollm2-135m-instruct"
COMPLETIONS_PER_PROMPT = 4
LABELERS_PER_TASK = 2
SIMULATED_LABELERS = 3
SAMPLING = {"temperature": 0.8, "top_p": 0.95, "max_new_tokens": 48, "seed": 0}

POLL_SECONDS = 1.0
SAY_EVERY_SECONDS = 5.0
WORKER_PATIENCE_SECONDS = 60.0
"""A worker that starts beside this command needs a moment before it is seen."""


def run_demo(
    database: Database,
    settings: Settings,
    *,
    simulate_labelers: bool,
    echo: Callable[[str], None],
) -> None:
    """Add the demo project; with `simulate_labelers` also start its first round and rank it.

    Running again adds nothing twice and goes on where it stopped. The database is migrated
    already. Generating needs a worker and the inference process (`podium up`); without one this
    says so and leaves the round queued.
    """
    with database.write() as session:
        ensure_starters(session)
        project = create_demo_project(session, find_first_admin(session))
    url = f"{settings.base_url}/projects/{project.id}"
    echo(f"The project “{project.name}” is there: {url}")
    if not simulate_labelers:
        echo("Next: open it and start a round, or run `podium demo --simulate-labelers`.")
        return
    with database.write() as session:
        round_ = ensure_round(session, project)
    if wait_and_rank(database, project.id, round_, echo):
        with database.read() as session:
            state = get_loop_state(session, project.id)
        echo(describe_end(state))
        echo(f"Next: open {url} and train a reward model.")
    else:
        echo("Run `podium demo --simulate-labelers` again to go on.")


def find_first_admin(session: Session) -> User | None:
    """The admin who was there first, in whose name the demo is made."""
    return session.scalar(
        select(User)
        .where(User.role == Role.ADMIN, User.disabled_at.is_(None))
        .order_by(User.created_at)
        .limit(1)
    )


def ensure_round(session: Session, project: Project) -> Round:
    """The project's newest round, started now if it has none."""
    newest = session.scalar(
        select(Round).where(Round.project_id == project.id).order_by(Round.number.desc()).limit(1)
    )
    if newest is not None:
        return newest
    return create_round(
        session,
        find_first_admin(session),
        project,
        policies=[STARTER_POLICY],
        completions_per_prompt=COMPLETIONS_PER_PROMPT,
        sampling=SAMPLING,
        labelers_per_task=LABELERS_PER_TASK,
    )


@dataclass
class Speaker:
    """Says a line of progress now and then, not at every ranking."""

    echo: Callable[[str], None]
    last: float = 0.0
    made_before: int = 0

    def progress(self, progress: SimulationProgress) -> None:
        """Take note of a ranking."""
        made = self.made_before + progress.made
        left = progress.expected - progress.made
        line = f"{made:,} simulated rankings made, {left:,} more of what is open"
        if progress.eta_seconds is not None and left:
            line += f", about {describe_seconds(progress.eta_seconds)} left"
        self.say(line)

    def say(self, line: str, *, at_once: bool = False) -> None:
        """Say it, unless something was said a moment ago."""
        now = time.monotonic()
        if at_once or now - self.last >= SAY_EVERY_SECONDS:
            self.last = now
            self.echo(line)


def wait_and_rank(
    database: Database, project_id: str, round_: Round, echo: Callable[[str], None]
) -> bool:
    """Rank what is open as it comes until the round is done; False when it cannot go on."""
    speaker = Speaker(echo)
    started = time.monotonic()
    while True:
        # Read first: what opens after this is ranked in the next turn.
        with database.read() as session:
            state = get_loop_state(session, project_id)
            job = session.get(Job, round_.job_id) if round_.job_id else None
        report = simulate_labelers(
            database, project_id, labelers=SIMULATED_LABELERS, on_progress=speaker.progress
        )
        speaker.made_before += report.rankings
        if state.latest_round is None or not state.latest_round.pending:
            return True
        if job is None or JobState(job.state).final:
            reason = f": {job.reason}" if job is not None and job.reason else "."
            speaker.say(
                f"The generation job ended before every prompt was written{reason}", at_once=True
            )
            return False
        if state.worker_alive:
            speaker.say(describe_progress(state, job, speaker.made_before))
        elif time.monotonic() - started > WORKER_PATIENCE_SECONDS:
            speaker.say(
                "No worker is running, so nothing is generated. Start Podium with "
                "`podium up` in another terminal; the round is queued and begins by itself.",
                at_once=True,
            )
            return False
        else:
            speaker.say("Waiting for a worker. Is Podium running (`podium up`)?")
        time.sleep(POLL_SECONDS)


def describe_progress(state: LoopState, job: Job, made: int) -> str:
    """A line for the terminal: what is written, what is ranked, and how long it will take."""
    newest = state.latest_round
    assert newest is not None, "there is a round while we wait for it"
    written = newest.tasks - newest.pending
    line = f"{written} of {newest.tasks} prompts written, {made} simulated rankings made"
    if job.eta_seconds is not None:
        line += f", about {describe_seconds(job.eta_seconds)} left"
    return line


def describe_seconds(seconds: float) -> str:
    """ "1 m 15 s" or "40 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest} s" if minutes else f"{rest} s"


def describe_end(state: LoopState) -> str:
    """What the project holds now."""
    return (
        f"Done: {state.completions:,} completions, {state.rankings:,} rankings "
        f"({state.simulated_rankings:,} of them simulated), {state.pairs:,} pairs."
    )
