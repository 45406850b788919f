"""The stations of the loop page: a project's state in words, numbers and one next button."""

from dataclasses import replace

from app.models import JobState, Role, User
from app.projects.loop import LoopState
from app.projects.next_step import JobProgress, NextStep
from app.web.next_steps import Link, dpo_url, next_action, ppo_url
from app.web.station import Bar, Note, Station
from app.web.verdict_station import build_verdict_station

NEXT_STATION = {
    NextStep.ADD_PROMPTS: "prompts",
    NextStep.START_ROUND: "completions",
    NextStep.WATCH_GENERATION: "completions",
    NextStep.REPAIR_GENERATION: "completions",
    NextStep.RANK: "rankings",
    NextStep.TRAIN_REWARD_MODEL: "reward-model",
    NextStep.WATCH_REWARD_MODEL: "reward-model",
    NextStep.TUNE_POLICY: "tuning",
    NextStep.WATCH_PPO: "tuning",
    NextStep.WATCH_DPO: "tuning",
    NextStep.COMPARE_POLICY: "next-round",
    NextStep.DECIDE_POLICY: "next-round",
}


def build_stations(state: LoopState, project_id: str, user: User) -> list[Station]:
    """The eight stations in the order of the loop; one of them carries the next button."""
    base = f"/projects/{project_id}"
    stations = [
        _prompts(state, base),
        _completions(state, base),
        _rankings(state, user),
        _pairs(state, base),
        _reward_model(state, base, user),
        _tuning(state, base, user),
        _policy(state),
        build_verdict_station(state),
    ]
    key = NEXT_STATION[state.next_step]
    action = next_action(state, base)
    allowed = user.role == Role.ADMIN or state.next_step == NextStep.RANK
    if user.role != Role.ADMIN:
        stations = [_without_admin_links(station) for station in stations]
    return [
        replace(station, is_next=True, action=action if allowed else None)
        if station.key == key
        else station
        for station in stations
    ]


def _without_admin_links(station: Station) -> Station:
    """The same station for a researcher, who may not open jobs, people or the forms."""

    def closed(url: str) -> bool:
        return url.startswith(("/jobs/", "/people")) or url.endswith(
            ("/rounds/new", "/rankings/import")
        )

    return replace(
        station,
        links=tuple(link for link in station.links if not closed(link.url)),
        notes=tuple(
            replace(note, url=None) if note.url and closed(note.url) else note
            for note in station.notes
        ),
    )


def _job_notes(job: JobProgress | None) -> tuple[Note, ...]:
    """What a job that did not succeed has to say for itself."""
    if job is None:
        return ()
    if job.state == JobState.FAILED:
        reason = job.reason or "it failed without a reason"
        return (Note(text=f"Last job failed: {reason}", tone="problem", url=f"/jobs/{job.id}"),)
    if job.state == JobState.CANCELLED:
        return (Note(text="Last job was cancelled", url=f"/jobs/{job.id}"),)
    return ()


def _prompts(state: LoopState, base: str) -> Station:
    station = Station(
        key="prompts", title="Prompts", icon="message-2", meaning="What the model is asked."
    )
    if not state.prompts:
        return replace(station, unit="prompts", notes=(Note(text="Import a file, or type a few."),))
    return replace(
        station,
        tone="done",
        value=state.prompts,
        unit="prompt" if state.prompts == 1 else "prompts",
        links=(Link(label="Browse and add", url=f"{base}/prompts"),),
    )


def _completions(state: LoopState, base: str) -> Station:
    station = Station(
        key="completions",
        title="Completions",
        icon="writing",
        meaning="What a policy writes: several for every prompt.",
    )
    newest = state.latest_round
    if newest is None:
        waits = "A round has them written." if state.prompts else "Wait for prompts."
        return replace(station, unit="completions", notes=(Note(text=waits),))
    job = state.active_job("generation")
    notes = [
        Note(
            text=f"Round {newest.number}"
            + (": " + ", ".join(newest.policies) if newest.policies else ": imported"),
            url=f"/rounds/{newest.id}",
        )
    ]
    if newest.short:
        noun = "prompt" if newest.short == 1 else "prompts"
        notes.append(Note(text=f"{newest.short} {noun} came back too short", tone="problem"))
    notes.extend(_job_notes(state.jobs.get("generation")))
    bar = None
    if job is not None:
        bar = Bar(
            value=newest.completions,
            maximum=max(newest.completions_wanted, 1),
            label=f"{newest.completions:,} of {newest.completions_wanted:,} in this round",
        )
    links = [Link(label="Rounds", url=f"{base}/rounds")]
    if not job:
        links.append(Link(label="New round", url=f"{base}/rounds/new"))
    return replace(
        station,
        tone=_tone(state.jobs.get("generation"), done=state.completions > 0),
        value=state.completions,
        unit="completion" if state.completions == 1 else "completions",
        notes=tuple(notes),
        bar=bar,
        job=job,
        links=tuple(links),
    )


def _rankings(state: LoopState, user: User) -> Station:
    station = Station(
        key="rankings",
        title="Rankings",
        icon="list-numbers",
        meaning="People order the completions, best first, not knowing who wrote them.",
    )
    notes = []
    if state.simulated_rankings:
        share = (
            "all of them"
            if state.simulated_rankings == state.rankings
            else f"{state.simulated_rankings:,} of them"
        )
        notes.append(Note(text=f"{share} simulated", tone="simulated"))
    if state.labelers:
        noun = "labeler" if state.labelers == 1 else "labelers"
        notes.append(Note(text=f"by {state.labelers:,} {noun}"))
    if state.ranking_now:
        noun = "task" if state.ranking_now == 1 else "tasks"
        notes.append(Note(text=f"{state.ranking_now:,} {noun} being ranked now"))
    if not notes and not state.rankings_missing:
        notes.append(Note(text="Wait for completions."))
    links = []
    if state.rankings_missing and user.role == Role.ADMIN:
        label = "Invite labelers" if state.people_who_rank == 0 else "People"
        links.append(Link(label=label, url="/people"))
        if state.people_who_rank == 0:
            notes.append(Note(text="No labeler has an account yet."))
    wanted = state.rankings + state.rankings_missing
    return replace(
        station,
        tone=("working" if state.rankings_missing else ("done" if state.rankings else "empty")),
        value=state.rankings,
        unit="ranking" if state.rankings == 1 else "rankings",
        notes=tuple(notes),
        bar=Bar(
            value=state.rankings,
            maximum=wanted,
            label=f"{state.rankings_missing:,} still wanted",
        )
        if state.rankings_missing
        else None,
        links=tuple(links),
    )


def _pairs(state: LoopState, base: str) -> Station:
    station = Station(
        key="pairs",
        title="Pairs",
        icon="arrows-left-right",
        meaning="Each ranking gives preferred-first pairs: four completions make up to six.",
    )
    if not state.rankings:
        note = Note(text="Come by themselves with the first ranking.")
        made_elsewhere = Link(label="Import rankings", url=f"{base}/rankings/import")
        return replace(station, unit="pairs", notes=(note,), links=(made_elsewhere,))
    notes: tuple[Note, ...] = ()
    if state.snapshots:
        noun = "snapshot" if state.snapshots == 1 else "snapshots"
        notes = (Note(text=f"{state.snapshots:,} frozen {noun}", url=f"{base}/snapshots"),)
    return replace(
        station,
        tone="done" if state.pairs else "empty",
        value=state.pairs,
        unit="pair" if state.pairs == 1 else "pairs",
        notes=notes,
        links=(Link(label="Browse and export", url=f"{base}/pairs"),),
    )


def _tone(job: JobProgress | None, *, done: bool) -> str:
    if job is not None and job.active:
        return "working"
    if job is not None and job.state == JobState.FAILED:
        return "failed"
    return "done" if done else "empty"


def _reward_model(state: LoopState, base: str, user: User) -> Station:
    station = Station(
        key="reward-model",
        title="Reward model",
        icon="award",
        meaning="Learns to score completions the way people rank them.",
    )
    job = state.active_job("reward_model")
    notes: list[Note] = []
    model = state.reward_model
    value, unit = ("Trained" if model is not None else "None yet"), ""
    if model is not None:
        notes.append(Note(text=model.name, url=f"/models/{model.id}"))
        if (accuracy := model.metrics.get("accuracy")) is not None:
            value, unit = f"{accuracy:.0%}", "of held-out pairs right"
            if pairs := model.metrics.get("eval_pairs"):
                unit = f"of {pairs:,} held-out pairs right"
        if model.simulated_labels:
            notes.append(Note(text="simulated rankings", tone="simulated"))
    elif job is None:
        notes.append(Note(text="Pairs are ready." if state.pairs else "Waits for pairs."))
    notes.extend(_job_notes(state.jobs.get("reward_model")))
    if job is not None:
        value, unit = "Training", ""
    can_train = state.pairs > 0 and job is None and user.role == Role.ADMIN
    early_or_again = state.next_step != NextStep.TRAIN_REWARD_MODEL
    links: tuple[Link, ...] = ()
    if can_train and early_or_again:
        label = "Train again" if model is not None else "Train already"
        links = (Link(label=label, url=f"{base}/jobs/new?kind=reward_model"),)
    return replace(
        station,
        tone=_tone(state.jobs.get("reward_model"), done=model is not None),
        value=value,
        unit=unit,
        notes=tuple(notes),
        job=job,
        links=links,
    )


def _tuning(state: LoopState, base: str, user: User) -> Station:
    station = Station(
        key="tuning",
        title="Tuning",
        icon="trending-up",
        meaning="PPO moves the policy towards more reward; DPO learns from the rankings "
        "themselves. Both hold it near where it began.",
    )
    job = state.tuning_job
    by_rankings: tuple[Link, ...] = ()
    if user.role == Role.ADMIN and state.pairs and not (job and job.active):
        by_rankings = (Link(label="Tune with DPO", url=dpo_url(base)),)
    if job is None:
        waits = "Waits for a reward model, or for DPO for nothing but rankings."
        if state.reward_model is not None:
            waits = f"{state.reward_model.name} is ready to guide it."
        return replace(station, value="Not started", notes=(Note(text=waits),), links=by_rankings)
    links = []
    if not job.active:
        links.append(Link(label="See the job", url=f"/jobs/{job.id}"))
        again = user.role == Role.ADMIN and state.reward_model is not None
        if again and state.next_step != NextStep.TUNE_POLICY:
            links.append(Link(label="Tune with PPO", url=ppo_url(state, base)))
    return replace(
        station,
        tone=_tone(job, done=job.state == JobState.SUCCEEDED),
        value="Tuning" if job.state == JobState.RUNNING else job.state.capitalize(),
        notes=_job_notes(job),
        job=job if job.active else None,
        links=(*links, *by_rankings),
    )


def _policy(state: LoopState) -> Station:
    station = Station(
        key="policy",
        title="New policy",
        icon="box",
        meaning="The tuned model, ready to write completions.",
    )
    policy = state.policy
    if policy is None:
        return replace(station, value="None yet", notes=(Note(text="PPO or DPO makes it."),))
    before, after = policy.metrics.get("before", {}), policy.metrics.get("after", {})
    notes = [Note(text=policy.name, url=f"/models/{policy.id}")]
    value, unit = "Ready", ""
    old, new = before.get("reward_mean"), after.get("reward_mean")
    if old is not None and new is not None:
        value = f"{new - old:+.2f}".replace("-", "−")
        unit = "reward on held-out prompts"
        notes.append(Note(text=f"from {_signed(old)} to {_signed(new)}"))
    if (kl := after.get("kl")) is not None:
        notes.append(Note(text=f"KL to the old policy {kl:.1f} nats"))
    if policy.simulated_labels:
        notes.append(Note(text="simulated rankings", tone="simulated"))
    return replace(
        station,
        tone="done",
        value=value,
        unit=unit,
        notes=tuple(notes),
        links=(Link(label="Open the model", url=f"/models/{policy.id}"),),
    )


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
