"""What the quality figures are summed from: by labeler, week and place on the page. Pure."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache

from app.labeling.agreement import compare_judgements
from app.labeling.comparing import agreements, gold_score, pair_signs, slot_wins
from app.labeling.estimates import NO_ESTIMATE, Estimate, ratio_estimates
from app.labeling.judgements import JudgedTask, Judgement
from app.models import TaskPurpose

EVERYBODY = ""
Scope = tuple[str, str, date | None]
"""A figure's name, the labeler (or `EVERYBODY`), and the week (None for all)."""


def monday(moment: datetime) -> date:
    """The Monday of the week (UTC) that a moment lies in."""
    return _monday(moment.date())


@lru_cache(maxsize=4096)
def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


@dataclass(slots=True)
class _Rows:
    """A numerator and a denominator for each task."""

    task: str | None = None
    """The last one."""
    won: list[float] = field(default_factory=list)
    of: list[float] = field(default_factory=list)

    def add(self, task: str, won: float, of: float) -> None:
        """Count `won` of `of`; what is of one task comes in succession."""
        if task == self.task:
            self.won[-1] += won
            self.of[-1] += of
        else:
            self.task = task
            self.won.append(won)
            self.of.append(of)


class Figures:
    """The estimates of a tally."""

    def __init__(
        self, estimates: dict[Scope, Estimate], position_wins: list[tuple[int, Estimate]]
    ) -> None:
        self._estimates = estimates
        self.position_wins = position_wins

    def get(self, figure: str, labeler: str = EVERYBODY, week: date | None = None) -> Estimate:
        """The estimate of a scope; of nothing where it has none."""
        return self._estimates.get((figure, labeler, week), NO_ESTIMATE)


class Tally:
    """Sums over tasks, which are added one after the other.

    A labeler has one ranking of a task that is not a repeat, and so one week: what is kept by week
    is theirs as a whole when the weeks are put together.
    """

    def __init__(self) -> None:
        self._rows: dict[Scope, _Rows] = defaultdict(_Rows)
        self._slots: dict[int, _Rows] = defaultdict(_Rows)

    def _add(
        self, figure: str, labeler: str, week: date | None, task: JudgedTask, won: float, of: int
    ) -> None:
        if of:
            self._rows[figure, labeler, week].add(task.id, won, of)

    def add_task(self, task: JudgedTask) -> None:
        """Count everything that was said of a task."""
        weeks = {judgement.labeler: monday(judgement.created_at) for judgement in task.firsts}
        self._add_agreement(task, weeks)
        self._add_repeats(task)
        for judgement in task.firsts:
            if task.gold is not None:
                self._add_gold(task, judgement, task.gold, weeks[judgement.labeler])
            self._add_slots(task, judgement, weeks[judgement.labeler])

    def _add_agreement(self, task: JudgedTask, weeks: dict[str, date]) -> None:
        """Each comparison counts for both labelers, and once for everybody."""
        calibration = task.purpose == TaskPurpose.CALIBRATION
        for one in compare_judgements(task):
            both = one.first.labeler, one.second.labeler
            latest = max(weeks[labeler] for labeler in both)
            self._add("agreement", EVERYBODY, latest, task, one.agreed, one.pairs)
            for labeler in both:
                self._add("agreement", labeler, weeks[labeler], task, one.agreed, one.pairs)
                if one.tau_b is not None:
                    self._add("tau_b", labeler, None, task, one.tau_b, 1)
            if calibration:
                for labeler in (EVERYBODY, *both):
                    self._add("calibration", labeler, None, task, one.agreed, one.pairs)

    def _add_repeats(self, task: JudgedTask) -> None:
        """A repeat against what the same labeler said first."""
        first = {judgement.labeler: judgement for judgement in task.firsts}
        for judgement in task.judgements:
            if judgement.is_repeat and judgement.labeler in first:
                earlier = pair_signs(first[judgement.labeler].ranks)
                agreed, pairs = agreements(earlier, pair_signs(judgement.ranks))
                for labeler in (EVERYBODY, judgement.labeler):
                    self._add("consistency", labeler, None, task, agreed, pairs)

    def _add_gold(
        self, task: JudgedTask, judgement: Judgement, gold: list[int], week: date
    ) -> None:
        right, pairs = gold_score(judgement.ranks, gold)
        self._add("gold", judgement.labeler, week, task, right, pairs)
        self._add("gold", EVERYBODY, week, task, right, pairs)
        self._add("gold", EVERYBODY, None, task, right, pairs)

    def _add_slots(self, task: JudgedTask, judgement: Judgement, week: date) -> None:
        wins = slot_wins(judgement.ranks, judgement.shown)
        for slot, (won, pairs) in enumerate(wins, start=1):
            if pairs:
                self._slots[slot].add(task.id, won, pairs)
        if wins:
            won, pairs = wins[0]
            for labeler in (EVERYBODY, judgement.labeler):
                self._add("first_slot", labeler, week, task, won, pairs)

    def figures(self) -> Figures:
        """The estimates of all that was added."""
        rows = dict(self._rows)
        for (figure, labeler, week), of_week in self._rows.items():
            if labeler != EVERYBODY and week is not None:
                whole = rows.setdefault((figure, labeler, None), _Rows())
                whole.won.extend(of_week.won)
                whole.of.extend(of_week.of)
        slots = sorted(self._slots)
        estimates = ratio_estimates(
            [(one.won, one.of) for one in (*rows.values(), *(self._slots[slot] for slot in slots))]
        )
        return Figures(
            dict(zip(rows, estimates[: len(rows)], strict=True)),
            list(zip(slots, estimates[len(rows) :], strict=True)),
        )
