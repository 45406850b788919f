"""How each labeler works, and how the project does: pace, agreement, gold, slots, consistency."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from statistics import median

from sqlalchemy.orm import Session

from app.labeling.estimates import NO_ESTIMATE, Estimate
from app.labeling.judgements import JudgedTask, Judgement, load_judged_tasks
from app.labeling.labelers import LabelerRecord, list_labeler_records
from app.labeling.remembering import remembered
from app.labeling.tallies import Figures, Tally, monday
from app.preferences.filters import PairFilters

MS_PER_HOUR = 3_600_000


@dataclass(frozen=True, kw_only=True)
class WeekQuality:
    """One week of rankings (UTC): of a labeler, or of the whole project."""

    week: date
    """Its Monday."""
    rankings: int
    """Rankings made in the week, repeats included."""
    agreement: Estimate
    """Pairwise agreement. A labeler's rankings of the week with all others of the same tasks;
    of the project, two rankings count in the week of the later one. n = completion pairs."""
    gold_accuracy: Estimate
    """n = pairs that gold orders."""
    median_active_ms: float | None
    first_slot: Estimate
    """n = pairs with the completion shown first."""


@dataclass(frozen=True, kw_only=True)
class LabelerQuality:
    """One labeler's work in a project; all of them are estimates over the tasks they ranked."""

    labeler: str
    user_id: str | None
    """None for a labeler whom only imports name."""
    simulated: bool
    paused: bool
    rankings: int
    """Rankings that count, repeats included."""
    revoked: int
    """Rankings that were revoked and do not count."""
    first_at: datetime | None
    last_at: datetime | None
    days: dict[date, int]
    """Rankings on each day (UTC) that has any."""
    per_active_hour: float | None
    """Rankings an hour of active time, of those whose active time is known."""
    median_active_ms: float | None
    active_ms: list[int]
    """Of each ranking whose active time is known, in the order made."""
    agreement: Estimate
    """Pairwise agreement with every other labeler of the same tasks; n = completion pairs, each
    once for every other labeler."""
    tau_b: Estimate
    """Mean Kendall's τ_b with every other labeler; n = others, summed over tasks."""
    gold_accuracy: Estimate
    """Share of the pairs that gold orders strictly which the labeler orders the same, a tie being
    half; n = those pairs."""
    calibration_agreement: Estimate
    """`agreement` on calibration tasks alone."""
    first_slot: Estimate
    """Share of pairs with the completion shown first that it won, a tie being half. 0.5 is fair,
    however many completions there are; n = those pairs."""
    self_consistency: Estimate
    """Share of completion pairs on which a repeat says what the labeler said first; n = pairs."""
    skips: int
    skip_reasons: dict[str, int]
    """By the key of the reason: what stands before ": "; the most frequent first."""
    weeks: list[WeekQuality]
    """The weeks with any ranking, the oldest first."""


@dataclass(frozen=True, kw_only=True)
class ProjectQuality:
    """Everybody's work in a project, each figure as `LabelerQuality` defines it."""

    labelers: list[LabelerQuality]
    """Everybody with a ranking, revoked ones included, by name."""
    first_slot: Estimate
    position_wins: list[tuple[int, Estimate]]
    """For each place on the page, from 1, the share of its pairs that the completion shown there
    won, a tie being half; n = those pairs."""
    weeks: list[WeekQuality]
    gold_accuracy: Estimate
    calibration_agreement: Estimate
    """Pairwise agreement of all labelers on calibration tasks; n = completion pairs."""
    self_consistency: Estimate


def measure_quality(
    session: Session, project_id: str, filters: PairFilters | None = None
) -> ProjectQuality:
    """The quality of every labeler of the project and of all together.

    Remembered until a ranking, a skip, a pause, a gold order or a calibration task changes.
    """
    filters = filters or PairFilters()
    return remembered(
        session,
        "quality",
        project_id,
        filters,
        lambda: summarize_quality(
            load_judged_tasks(session, project_id, filters),
            list_labeler_records(session, project_id, filters),
        ),
    )


def summarize_quality(
    tasks: Sequence[JudgedTask], records: Sequence[LabelerRecord]
) -> ProjectQuality:
    """The figures of all judgements; pure."""
    tally = Tally()
    made: dict[str, list[Judgement]] = defaultdict(list)
    for task in sorted(tasks, key=lambda task: task.id):
        tally.add_task(task)
        for judgement in task.judgements:
            made[judgement.labeler].append(judgement)
    everything = _in_order(item for judgements in made.values() for item in judgements)
    figures = tally.figures()
    return ProjectQuality(
        labelers=[
            _labeler(record, _in_order(made.get(record.labeler, [])), figures) for record in records
        ],
        first_slot=figures.position_wins[0][1] if figures.position_wins else NO_ESTIMATE,
        position_wins=figures.position_wins,
        weeks=_weeks("", everything, figures),
        gold_accuracy=figures.get("gold"),
        calibration_agreement=figures.get("calibration"),
        self_consistency=figures.get("consistency"),
    )


def _in_order(judgements: Iterable[Judgement]) -> list[Judgement]:
    """In the order they were made."""
    return sorted(judgements, key=lambda judgement: (judgement.created_at, judgement.ranking_id))


def _labeler(
    record: LabelerRecord, judgements: Sequence[Judgement], figures: Figures
) -> LabelerQuality:
    name = record.labeler
    active = _active_ms(judgements)
    return LabelerQuality(
        labeler=name,
        user_id=record.user_id,
        simulated=record.simulated,
        paused=record.paused,
        rankings=len(judgements),
        revoked=record.revoked,
        first_at=judgements[0].created_at if judgements else None,
        last_at=judgements[-1].created_at if judgements else None,
        days=dict(Counter(judgement.created_at.date() for judgement in judgements)),
        per_active_hour=len(active) * MS_PER_HOUR / sum(active) if sum(active) else None,
        median_active_ms=float(median(active)) if active else None,
        active_ms=active,
        agreement=figures.get("agreement", name),
        tau_b=figures.get("tau_b", name),
        gold_accuracy=figures.get("gold", name),
        calibration_agreement=figures.get("calibration", name),
        first_slot=figures.get("first_slot", name),
        self_consistency=figures.get("consistency", name),
        skips=sum(record.skip_reasons.values()),
        skip_reasons=record.skip_reasons,
        weeks=_weeks(name, judgements, figures),
    )


def _weeks(labeler: str, judgements: Iterable[Judgement], figures: Figures) -> list[WeekQuality]:
    return [
        WeekQuality(
            week=week,
            rankings=len(made),
            agreement=figures.get("agreement", labeler, week),
            gold_accuracy=figures.get("gold", labeler, week),
            median_active_ms=float(median(active)) if (active := _active_ms(made)) else None,
            first_slot=figures.get("first_slot", labeler, week),
        )
        for week, made in _by_week(judgements)
    ]


def _by_week(judgements: Iterable[Judgement]) -> Iterator[tuple[date, list[Judgement]]]:
    weeks: dict[date, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        weeks[monday(judgement.created_at)].append(judgement)
    yield from sorted(weeks.items())


def _active_ms(judgements: Iterable[Judgement]) -> list[int]:
    return [item.active_ms for item in judgements if item.active_ms is not None]
