"""What a job was started with and what came out of it, in words for its page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.jobs.kind import JobKind
from app.jobs.schema import config_fields, label_of, show_value
from app.models import Job, Model, Snapshot
from app.web.job_forms import describe_snapshot
from app.web.reward_words import HEADLINES, Summary, summarise_report

INTERVAL = "_ci95"
"""Ending of the name of a 95% interval; it belongs to the figure of the same or the mean's name."""


KL_DECIMALS = 3
"""What two ways to compute a log-probability differ by adds up to 1e-4 of a completion: an untuned
policy has a KL of 0, and not of -0.0001011."""

TOLD = ("kept_iteration", "stopped", "judge")
"""Outputs of a tuning job that its page says in a sentence."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One field of a config."""

    label: str
    value: str
    help: str = ""
    href: str | None = None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure, with its 95% interval where there is one."""

    label: str
    value: Any
    interval: list[float] | None = None
    before: Any = None
    before_interval: list[float] | None = None
    best_of: Any = None
    best_of_interval: list[float] | None = None

    @property
    def change(self) -> float | None:
        """After minus before."""
        numbers = (int, float)
        if isinstance(self.value, numbers) and isinstance(self.before, numbers):
            return self.value - self.before
        return None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a job made."""

    model: Model | None
    snapshot: Snapshot | None
    comparison: list[Figure]
    """Figures before and after, on the same held-out prompts."""
    best_of_n: int | None
    """Of how many completions of the starting policy the best are compared with too."""
    prompts: int | None
    judge: str | None
    """The reward model that gave the rewards before and after."""
    wins: list[Figure]
    """How often the new completion of a prompt beats the old one."""
    figures: list[Figure]
    report: Summary | None
    """Of a reward model, what its report comes to."""
    samples: list[dict[str, Any]]
    """What the policy wrote before and after, prompt by prompt."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.model or self.comparison or self.wins or self.figures)


def describe_config(session: Session, kind: JobKind | None, job: Job) -> list[Setting]:
    """The config in the form's words, with links to what it names."""
    if kind is None:
        return [
            Setting(label=label_of(name), value=show_value(value))
            for name, value in job.config.items()
        ]
    settings = []
    for item in config_fields(kind.config_type):
        value = job.config.get(item.name)
        text, href = show_value(value), None
        if isinstance(value, bool):
            text = "yes" if value else "no"
        if value and item.reference:
            text, href = _describe_reference(session, item.reference, str(value))
        if text and item.unit:
            text = f"{text} {item.unit}"
        settings.append(Setting(label=item.label, value=text, help=item.help, href=href))
    return settings


def _describe_reference(session: Session, reference: str, value: str) -> tuple[str, str | None]:
    if reference == "snapshot":
        snapshot = session.get(Snapshot, value)
        return (describe_snapshot(snapshot), f"/snapshots/{value}") if snapshot else (value, None)
    if reference == "round":
        return "Open the round", f"/rounds/{value}"
    return value, f"/models/{value}" if session.get(Model, value) else None


def describe_result(session: Session, job: Job) -> Result:
    """The model a job made, and its figures; before and after side by side where there are both."""
    outputs = dict(job.outputs)
    model_id, snapshot_id = outputs.pop("model_id", None), outputs.pop("snapshot_id", None)
    before, after = outputs.pop("before", None), outputs.pop("after", None)
    metrics, wins = outputs.pop("metrics", None), outputs.pop("comparison", None)
    best_of = outputs.pop("best_of", None) or {}
    for told in TOLD:
        outputs.pop(told, None)
    compared = isinstance(before, Mapping) and isinstance(after, Mapping)
    plain = {name: value for name, value in outputs.items() if _is_plain(value)}
    model = session.get(Model, model_id) if model_id else None
    report = summarise_report(model) if model else None
    if report is not None:
        metrics = {name: value for name, value in (metrics or {}).items() if name in HEADLINES}
    return Result(
        model=model,
        snapshot=session.get(Snapshot, snapshot_id) if snapshot_id else None,
        comparison=list_figures(after, before, best_of) if compared else [],
        best_of_n=best_of.get("n"),
        prompts=after.get("prompts") if compared else None,
        judge=find_judge(job) if compared else None,
        wins=list_figures(wins or {}),
        figures=[*list_figures(metrics or {}), *list_figures(plain)],
        report=report,
        samples=pair_samples(model.metrics.get("samples")) if model else [],
    )


def find_judge(job: Job) -> str | None:
    """The reward model that gave the rewards of a tuning job's report."""
    found = job.outputs.get("judge") or job.config.get("reward_model")
    return found if isinstance(found, str) else None


def pair_samples(samples: Any) -> list[dict[str, Any]]:
    """What a policy wrote before and after, prompt by prompt."""
    if not isinstance(samples, Mapping):
        return []
    rows = zip(samples.get("before", []), samples.get("after", []), strict=False)
    return [{"prompt": after["prompt"], "before": before, "after": after} for before, after in rows]


def list_figures(
    values: Mapping[str, Any],
    before: Mapping[str, Any] | None = None,
    best_of: Mapping[str, Any] | None = None,
) -> list[Figure]:
    """Every plain figure with its interval beside it; of columns those that are not empty."""
    before, best_of = before or {}, best_of or {}
    return [
        Figure(
            label=label_of(name),
            value=_shown(name, value),
            interval=_find_interval(values, name),
            before=_shown(name, before.get(name)),
            before_interval=_find_interval(before, name),
            best_of=_shown(name, best_of.get(name)),
            best_of_interval=_find_interval(best_of, name),
        )
        for name, value in values.items()
        if _is_plain(value) and not (before and _is_no_row(name, value, before.get(name)))
    ]


def _shown(name: str, value: Any) -> Any:
    return round(value, KL_DECIMALS) if name == "kl" and isinstance(value, float) else value


def _is_no_row(name: str, value: Any, before: Any) -> bool:
    """What a table of before and after leaves out: its size, and what nobody could measure."""
    return name == "prompts" or (value is None and before is None)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _find_interval(values: Mapping[str, Any], name: str) -> list[float] | None:
    for candidate in (name + INTERVAL, name.removesuffix("_mean") + INTERVAL):
        found = values.get(candidate)
        if isinstance(found, list) and len(found) == 2 and None not in found:
            return found
    return None
