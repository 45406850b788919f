"""Finished tuning jobs of a project side by side: what PPO and DPO made of the same policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.dependencies import Admin, ReadSession
from app.jobs import service
from app.jobs.schema import label_of
from app.models import Job, JobState, Model, Snapshot
from app.projects.service import get_project
from app.web.job_results import Figure, find_judge, list_figures
from app.web.plots import ForestPlot, Interval, plot_forest
from app.web.reward_plots import reward_format
from app.web.reward_words import Share
from app.web.templating import render

router = APIRouter()

KINDS = ("ppo", "dpo")
MOST_JOBS = 5
"""Columns of a table."""
SAMPLE_COLUMNS = 3
SECOND = "second_opinion"
"""In a job's config and at the start of its figures' names."""
JUDGES = {
    "reward_mean": "reward model",
    "gold_mean": "gold rule",
    "second_opinion_mean": "second opinion",
}
"""The figures that name a winner, and who gives them."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A finished job with the policy that it made."""

    job: Job
    name: str
    """Of the policy; of one that is gone, of the job."""
    title: str
    model: Model | None
    snapshot: Snapshot | None
    seconds: float | None
    after: Mapping[str, Any]
    wins: Mapping[str, Any]
    kept_iteration: int | None
    stopped: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """A figure of everyone; None where somebody has none."""

    label: str
    start: Figure | None
    best_of: Figure | None
    cells: list[Figure | None]
    share: bool = False
    """Whether it is read in percent."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Jobs that started from one policy and answered the same held-out prompts the same way, so
    that their figures can be held against each other. The newest first."""

    policy: str
    judge: str | None
    second_opinion: str | None
    """The reward model that judged all of them without being tuned against."""
    prompts: int
    contenders: list[Contender]
    left_out: int
    best_of_n: int | None
    finding: str
    plots: list[ForestPlot]
    rows: list[Row]
    samples: list[tuple[str, list[tuple[str, Mapping[str, Any] | None]]]]
    """Prompts, each with the completions of the start and of the contenders."""
    other: str
    """Address of the form of the other kind of job, filled in; empty where both are there."""


@router.get("/projects/{project_id}/jobs/compare")
def show_comparison(
    request: Request, project_id: str, session: ReadSession, user: Admin, job: str = ""
) -> HTMLResponse:
    """Finished tuning jobs in groups that can be compared; that of `job` first, and it in it."""
    project = get_project(session, project_id, user)
    finished = session.scalars(
        select(Job)
        .where(
            Job.project_id == project.id,
            Job.kind.in_(KINDS),
            Job.state == JobState.SUCCEEDED,
        )
        .order_by(Job.id.desc())
    ).all()
    grouped: dict[tuple[Any, ...], list[Job]] = {}
    for one in finished:
        if isinstance(one.outputs.get("after"), Mapping):
            grouped.setdefault(group_key(one), []).append(one)
    ordered = sorted(grouped.values(), key=lambda jobs: all(one.id != job for one in jobs))
    groups = [_describe_group(session, project.id, jobs, job) for jobs in ordered]
    return render(
        request,
        "jobs/compare.html",
        {"project": project, "groups": groups, "asked": job},
    )


def group_key(job: Job) -> tuple[Any, ...]:
    """What has to be the same for the figures of two jobs to be comparable."""
    config = job.config
    return (
        config.get("policy"),
        find_judge(job),
        tuple(sorted(job.outputs.get("held_out_prompts") or ())),
        config.get("temperature"),
        config.get("max_new_tokens"),
        config.get("seed"),
    )


def _describe_group(session: Session, project_id: str, jobs: Sequence[Job], asked: str) -> Group:
    shown = sorted(jobs, key=lambda one: one.id != asked)[:MOST_JOBS]
    shown.sort(key=lambda one: one.id, reverse=True)
    seconds = {one.config.get(SECOND) for one in shown}
    second = seconds.pop() if len(seconds) == 1 else None
    contenders = [_describe_contender(session, one, second) for one in shown]
    before = _comparable(shown[0].outputs.get("before") or {}, second)
    best_of: Mapping[str, Any] = next(
        (
            _comparable(one.outputs["best_of"], second)
            for one in shown
            if one.outputs.get("best_of")
        ),
        {},
    )
    policy, judge = str(shown[0].config.get("policy")), find_judge(shown[0])
    return Group(
        policy=policy,
        judge=judge,
        second_opinion=second,
        prompts=before.get("prompts") or 0,
        contenders=contenders,
        left_out=len(jobs) - len(shown),
        best_of_n=best_of.get("n"),
        finding=find_winner(contenders),
        plots=_plot_judges(policy, before, best_of, contenders),
        rows=_list_rows(before, best_of, contenders),
        samples=_list_samples(policy, contenders),
        other=_address_of_other(project_id, policy, judge, shown, contenders),
    )


def _comparable(figures: Mapping[str, Any], second: str | None) -> dict[str, Any]:
    """Without the second opinion where not all asked the same one."""
    return {name: value for name, value in figures.items() if second or not name.startswith(SECOND)}


def _describe_contender(session: Session, job: Job, second: str | None) -> Contender:
    outputs = job.outputs
    model = session.get(Model, outputs["model_id"]) if outputs.get("model_id") else None
    snapshot_id = outputs.get("snapshot_id") or (model.snapshot_id if model else None)
    kind = service.job_kinds().get(job.kind)
    title = kind.title if kind else job.kind
    started, ended = job.started_at, job.finished_at
    return Contender(
        job=job,
        name=model.id if model else f"{title} {job.id[-6:]}",
        title=title,
        model=model,
        snapshot=session.get(Snapshot, snapshot_id) if snapshot_id else None,
        seconds=(ended - started).total_seconds() if started and ended else None,
        after=_comparable(outputs["after"], second),
        wins=_comparable(outputs.get("comparison") or {}, second),
        kept_iteration=outputs.get("kept_iteration"),
        stopped=outputs.get("stopped") or "",
    )


def find_winner(contenders: Sequence[Contender]) -> str:
    """Who is ahead by which judge, and whether surely; the judges' disagreement is the news."""
    if len(contenders) < 2:
        return "Only one job so far, so there is nothing to hold it against."
    winners: dict[str, str] = {}
    said = []
    for name, judge in JUDGES.items():
        ranked = sorted(
            (one for one in contenders if isinstance(one.after.get(name), int | float)),
            key=lambda one: -one.after[name],
        )
        if len(ranked) < 2:
            continue
        first, second = ranked[:2]
        winners[name] = first.name
        sure = all(_lies_above(first.after, one.after, name) for one in ranked[1:])
        said.append(
            f"By the {judge} {first.name} is ahead"
            + ("" if sure else f", but its interval meets that of {second.name}")
            + "."
        )
    if not said:
        return "No judge saw two of them: there are only KL and lengths to compare."
    if len(set(winners.values())) > 1:
        said.append(
            "The judges disagree: read the samples, and ask people before you promote one of them."
        )
    return " ".join(said)


def _lies_above(figures: Mapping[str, Any], others: Mapping[str, Any], name: str) -> bool:
    mine, theirs = _share(figures, name), _share(others, name)
    return mine.low is not None and theirs.high is not None and mine.low > theirs.high


def _share(figures: Mapping[str, Any], name: str) -> Share:
    low, high = figures.get(f"{name.removesuffix('_mean')}_ci95") or (None, None)
    return Share(value=figures.get(name), low=low, high=high, n=figures.get("prompts") or 0)


def _plot_judges(
    policy: str,
    before: Mapping[str, Any],
    best_of: Mapping[str, Any],
    contenders: Sequence[Contender],
) -> list[ForestPlot]:
    """A plot for each judge that there was."""
    plots = []
    prompts = before.get("prompts")
    for name, judge in JUDGES.items():
        untuned = {**best_of, "prompts": prompts} if best_of else {}
        rows: list[tuple[str, str, Interval]] = [
            (f"{policy}, untuned", f"/models/{policy}", _share(before, name)),
            (f"best of {best_of.get('n')}, untuned", "", _share(untuned, name)),
            *(
                (one.name, f"/models/{one.name}" if one.model else "", _share(one.after, name))
                for one in contenders
            ),
        ]
        rows = [row for row in rows if row[2].value is not None]
        values = [figure.value for _, _, figure in rows if figure.value is not None]
        if not values:
            continue
        plots.append(
            plot_forest(
                f"by-{name.removesuffix('_mean')}",
                f"By the {judge}",
                rows,
                row_title="Policy",
                noun="prompt",
                finding=f"The mean over held-out prompts that the {judge} gives.",
                floor=None,
                ceiling=None,
                format_=reward_format(max(values) - min(values)),
            )
        )
    return plots


def _list_rows(
    before: Mapping[str, Any], best_of: Mapping[str, Any], contenders: Sequence[Contender]
) -> list[Row]:
    """What was measured before and after in the report's order, then how often each one wins."""
    start = _by_label(before)
    best = _by_label({name: value for name, value in best_of.items() if name != "n"})
    after = [_by_label(one.after) for one in contenders]
    wins = [_by_label(one.wins) for one in contenders]
    rows = [
        Row(
            label=label,
            start=start.get(label),
            best_of=best.get(label),
            cells=[one.get(label) for one in after],
        )
        for label in dict.fromkeys([*start, *(label for one in after for label in one)])
        if label != label_of("prompts")
    ]
    rows += [
        Row(
            label=label,
            start=None,
            best_of=None,
            cells=[one.get(label) for one in wins],
            share=True,
        )
        for label in dict.fromkeys(label for one in wins for label in one)
    ]
    return [row for row in rows if any(cell and cell.value is not None for cell in row.cells)]


def _by_label(figures: Mapping[str, Any]) -> dict[str, Figure]:
    return {figure.label: figure for figure in list_figures(figures)}


def _list_samples(
    policy: str, contenders: Sequence[Contender]
) -> list[tuple[str, list[tuple[str, Mapping[str, Any] | None]]]]:
    """The prompts of which every shown contender kept what it wrote."""
    shown = [one for one in contenders if one.model is not None][:SAMPLE_COLUMNS]
    kept = [one.model.metrics.get("samples") or {} for one in shown if one.model is not None]
    if not shown or any(not one.get("after") for one in kept):
        return []
    by_prompt = [{row.get("prompt_id"): row for row in one["after"]} for one in kept]
    found = []
    for start in kept[0].get("before", []):
        prompt_id = start.get("prompt_id")
        if all(prompt_id in one for one in by_prompt):
            cells = [(f"{policy}, untuned", start)]
            cells += [
                (one.name, rows[prompt_id]) for one, rows in zip(shown, by_prompt, strict=True)
            ]
            found.append((start.get("prompt", ""), cells))
    return found


def _address_of_other(
    project_id: str,
    policy: str,
    judge: str | None,
    jobs: Sequence[Job],
    contenders: Sequence[Contender],
) -> str:
    kinds = {one.kind for one in jobs}
    if len(kinds) != 1 or judge is None:
        return ""
    kind = "dpo" if kinds == {"ppo"} else "ppo"
    config = jobs[0].config
    same = {
        name: config[name]
        for name in ("eval_prompts", "temperature", "max_new_tokens", "seed", SECOND)
        if config.get(name) is not None
    }
    if kind == "dpo" and contenders[0].snapshot is not None:
        same["snapshot_id"] = contenders[0].snapshot.id
    query = {"kind": kind, "policy": policy, "reward_model": judge, **same}
    return f"/projects/{project_id}/jobs/new?{urlencode(query)}"
