"""How far labelers agree: over a project, and labeler by labeler.

Everything is aligned by task and completion. Rankings of one labeler that repeat an earlier one
are no second opinion and stay out.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from sqlalchemy.orm import Session

from app.labeling.comparing import agreements, kendall_tau_b, kendall_w, pair_signs, ties
from app.labeling.estimates import (
    NO_ESTIMATE,
    Estimate,
    bootstrap_intervals,
    mean_estimate,
    ratio_estimate,
    ratio_estimates,
)
from app.labeling.judgements import JudgedTask, Judgement, load_judged_tasks
from app.labeling.remembering import remembered
from app.preferences.filters import PairFilters


@dataclass(frozen=True, kw_only=True)
class LabelerPairAgreement:
    """Two labelers on the tasks that both ranked; `first` comes before `second` by name."""

    first: str
    second: str
    tasks: int
    """Tasks that both ranked."""
    pairwise_agreement: Estimate
    """Share of completion pairs on which they say the same; n = completion pairs."""
    cohen_kappa: Estimate
    """The same beyond chance; n = completion pairs."""
    kendall_tau_b: Estimate
    """Mean over tasks; n = tasks on which it is defined (neither ties all)."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far the labelers of a set of rankings agree."""

    tasks: int
    """Tasks with rankings by at least two labelers."""
    labelers: int
    """Labelers with any ranking in the set."""
    rankings: int
    """Rankings in the set, repeats left out."""
    simulated_rankings: int
    """Of those, by simulated labelers."""
    pairwise_agreement: Estimate
    """Share of completion pairs on which two labelers say the same of better, equal, worse, over
    all labeler pairs and tasks; n = completion pairs, each once for every labeler pair."""
    kendall_tau_b: Estimate
    """Mean over labeler pairs and tasks; n = labeler pairs, summed over tasks."""
    tau_b_undefined: int
    """Labeler pairs, summed over tasks, left out because one of the two ties all."""
    kendall_w: Estimate
    """Mean over tasks, corrected for ties; n = tasks."""
    w_undefined: int
    """Tasks left out: everybody ties all, or fewer than two completions were ranked by all."""
    krippendorff_alpha: Estimate
    """Ordinal, completions as units, ranks as values; n = completions with at least two ranks."""
    labeler_pairs: list[LabelerPairAgreement]
    """Every two labelers with a task in common, by name."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two labelers say of one task; `first` comes before `second` by labeler."""

    first: Judgement
    second: Judgement
    agreed: int
    pairs: int
    tau_b: float | None
    first_ties: int
    second_ties: int


def compare_judgements(task: JudgedTask) -> Iterator[Comparison]:
    """Every two labelers of a task."""
    firsts = sorted(task.firsts, key=lambda judgement: judgement.labeler)
    signed = [(judgement, pair_signs(judgement.ranks)) for judgement in firsts]
    for (first, a), (second, b) in combinations(signed, 2):
        agreed, pairs = agreements(a, b)
        first_ties, second_ties = ties(a, b)
        yield Comparison(first, second, agreed, pairs, kendall_tau_b(a, b), first_ties, second_ties)


@dataclass
class _Sums:
    """What figures are computed from, one entry a task."""

    agreed: list[float] = field(default_factory=list)
    pairs: list[float] = field(default_factory=list)
    tau_b: list[float] = field(default_factory=list)
    tau_b_defined: list[float] = field(default_factory=list)
    first_ties: list[float] = field(default_factory=list)
    second_ties: list[float] = field(default_factory=list)

    def add(self, comparisons: Sequence[Comparison]) -> None:
        """Append a task's."""
        taus = [one.tau_b for one in comparisons if one.tau_b is not None]
        self.agreed.append(sum(one.agreed for one in comparisons))
        self.pairs.append(sum(one.pairs for one in comparisons))
        self.tau_b.append(sum(taus))
        self.tau_b_defined.append(len(taus))
        self.first_ties.append(sum(one.first_ties for one in comparisons))
        self.second_ties.append(sum(one.second_ties for one in comparisons))


def measure_agreement(tasks: Sequence[JudgedTask]) -> Agreement:
    """Every figure of agreement; tasks with a single labeler are counted and give none.

    Neither the order of the tasks nor that of labelers or completions makes a difference.
    """
    tasks = sorted(tasks, key=lambda task: task.id)
    shared = [task for task in tasks if len(task.firsts) > 1]
    overall = _Sums()
    by_pair: dict[tuple[str, str], _Sums] = defaultdict(_Sums)
    compared = 0
    for task in shared:
        comparisons = list(compare_judgements(task))
        compared += sum(1 for one in comparisons if one.pairs)
        overall.add(comparisons)
        for one in comparisons:
            by_pair[one.first.labeler, one.second.labeler].add([one])
    concordances = [kendall_w([item.ranks for item in task.firsts]) for task in shared]
    defined = [value for value in concordances if value is not None]
    firsts = [judgement for task in tasks for judgement in task.firsts]
    tau_b = ratio_estimate(overall.tau_b, overall.tau_b_defined)
    return Agreement(
        tasks=len(shared),
        labelers=len({judgement.labeler for judgement in firsts}),
        rankings=len(firsts),
        simulated_rankings=sum(judgement.simulated for judgement in firsts),
        pairwise_agreement=ratio_estimate(overall.agreed, overall.pairs),
        kendall_tau_b=tau_b,
        tau_b_undefined=compared - tau_b.n,
        kendall_w=mean_estimate(defined),
        w_undefined=len(shared) - len(defined),
        krippendorff_alpha=_alpha_estimate(shared),
        labeler_pairs=_measure_pairs(by_pair),
    )


def measure_project_agreement(
    session: Session, project_id: str, filters: PairFilters | None = None
) -> Agreement:
    """`measure_agreement` of the rankings of a project that count and fit the filters.

    Remembered until a ranking comes or is revoked.
    """
    filters = filters or PairFilters()
    return remembered(
        session,
        "agreement",
        project_id,
        filters,
        lambda: measure_agreement(load_judged_tasks(session, project_id, filters)),
    )


def _measure_pairs(by_pair: dict[tuple[str, str], _Sums]) -> list[LabelerPairAgreement]:
    names = sorted(by_pair)
    sums = [by_pair[name] for name in names]
    shares = ratio_estimates([(one.agreed, one.pairs) for one in sums])
    taus = ratio_estimates([(one.tau_b, one.tau_b_defined) for one in sums])
    kappas = _kappa_estimates(sums)
    return [
        LabelerPairAgreement(
            first=first,
            second=second,
            tasks=len(one.pairs),
            pairwise_agreement=share,
            cohen_kappa=kappa,
            kendall_tau_b=tau,
        )
        for (first, second), one, share, kappa, tau in zip(
            names, sums, shares, kappas, taus, strict=True
        )
    ]


def _kappa_estimates(sums: Sequence[_Sums]) -> list[Estimate]:
    if not sums:
        return []
    import numpy

    from app.labeling.chance_corrected import cohen_kappa

    columns = [(one.agreed, one.pairs, one.first_ties, one.second_ties) for one in sums]
    values = cohen_kappa(numpy.array([[sum(column) for column in four] for four in columns], float))
    intervals = bootstrap_intervals(columns, cohen_kappa)
    return [
        NO_ESTIMATE
        if numpy.isnan(value)
        else Estimate(value=float(value), low=low, high=high, n=round(sum(one.pairs)))
        for value, (low, high), one in zip(values, intervals, sums, strict=True)
    ]


def _alpha_estimate(tasks: Iterable[JudgedTask]) -> Estimate:
    """Krippendorff's α; a task that has no completion with two ranks has no part in it."""
    import numpy

    from app.labeling.chance_corrected import krippendorff_alpha, ordinal_alpha, task_coincidences

    units: list[list[int]] = []
    first_units: list[int] = []
    for task in tasks:
        columns = zip(*(judgement.ranks for judgement in task.firsts), strict=True)
        given = [[rank for rank in column if rank is not None] for column in columns]
        pairable = [ranks for ranks in given if len(ranks) > 1]
        if pairable:
            first_units.append(len(units))
            units += pairable
    if not units:
        return NO_ESTIMATE
    highest = max(max(ranks) for ranks in units)
    places = [unit * highest + rank - 1 for unit, ranks in enumerate(units) for rank in ranks]
    counts = numpy.bincount(places, minlength=len(units) * highest).astype(float)
    value_counts = counts.reshape(len(units), highest)
    coincidences = task_coincidences(value_counts, first_units)
    value = krippendorff_alpha(value_counts, coincidences)
    if value is None:
        return NO_ESTIMATE
    square = (highest, highest)
    columns_of_sums = coincidences.reshape(len(first_units), -1).T
    (low, high), *_ = bootstrap_intervals(
        [list(columns_of_sums)],
        lambda sums: ordinal_alpha(sums.reshape(*sums.shape[:-1], *square)),
    )
    return Estimate(value=value, low=low, high=high, n=len(units))
