import numpy
import pytest

from app.labeling.estimates import (
    Estimate,
    bootstrap_intervals,
    mean_estimate,
    ratio_estimate,
    ratio_estimates,
)
from app.labeling.resampling import percentile_intervals, resampled_sums

NOTHING = Estimate(value=None, low=None, high=None, n=0)


def test_a_ratio_is_sum_over_sum_and_counts_its_denominators():
    estimate = ratio_estimate([1, 3, 0], [2, 4, 4])
    assert (estimate.value, estimate.n) == (0.4, 10)
    assert estimate.low <= 0.4 <= estimate.high
    assert mean_estimate([0.5, 1.0]).value == 0.75
    assert mean_estimate([0.5, 1.0]).n == 2


def test_there_is_no_interval_of_less_than_two_tasks():
    assert ratio_estimate([], []) == NOTHING
    assert ratio_estimate([0, 0], [0, 0]) == NOTHING
    assert ratio_estimate([1], [2]) == Estimate(value=0.5, low=None, high=None, n=2)
    # A task that says nothing is none.
    assert ratio_estimate([1, 0], [2, 0]) == Estimate(value=0.5, low=None, high=None, n=2)


def test_all_alike_gives_an_interval_without_width():
    assert mean_estimate([0.5] * 9) == Estimate(value=0.5, low=0.5, high=0.5, n=9)


def test_the_same_data_give_the_same_interval():
    rows = ([place % 7 * 0.13 for place in range(40)], [1 + place % 3 for place in range(40)])
    assert ratio_estimate(*rows) == ratio_estimate(*rows)
    assert ratio_estimate(*rows, seed=1) != ratio_estimate(*rows)


def test_figures_computed_together_are_what_each_is_alone():
    figures = [([1, 0, 2], [2, 2, 2]), ([1], [1]), ([], []), ([3, 1, 0], [3, 3, 3])]
    assert ratio_estimates(figures) == [ratio_estimate(*figure) for figure in figures]


def test_each_resample_draws_as_many_tasks_as_there_are():
    rows = numpy.column_stack([numpy.ones(7), numpy.arange(7)]).astype(float)
    sums = resampled_sums(rows, resamples=500, seed=0)
    assert sums.shape == (500, 2)
    assert (sums[:, 0] == 7).all()
    assert sums[:, 1].min() >= 0
    assert sums[:, 1].max() <= 42
    assert sums[:, 1].mean() == pytest.approx(21, abs=0.8)
    assert len(set(sums[:, 1])) > 10


def test_many_tasks_are_drawn_a_bounded_number_at_a_time(monkeypatch):
    rows = numpy.arange(30.0)[:, None]
    whole = resampled_sums(rows, resamples=50, seed=3)
    monkeypatch.setattr("app.labeling.resampling.DRAWS_AT_ONCE", 70)
    assert (resampled_sums(rows, resamples=50, seed=3) == whole).all()


def test_percentiles_are_those_of_numpy_and_pass_over_the_undefined():
    values = numpy.random.default_rng(0).normal(size=(101, 3))
    values[::4, 1] = numpy.nan
    values[:, 2] = numpy.nan
    expected = [tuple(numpy.nanpercentile(values[:, column], [2.5, 97.5])) for column in range(2)]
    low, high = zip(*percentile_intervals(values), strict=True)
    assert low[:2] == pytest.approx([pair[0] for pair in expected])
    assert high[:2] == pytest.approx([pair[1] for pair in expected])
    assert (low[2], high[2]) == (None, None)


def test_a_statistic_of_sums_is_given_those_of_each_figure():
    first = ([1.0, 2.0], [1.0, 1.0])
    second = ([10.0, 10.0], [2.0, 2.0])
    intervals = bootstrap_intervals([first, second], lambda sums: sums[..., 0] / sums[..., 1])
    assert intervals == [(1.0, 2.0), (5.0, 5.0)]


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """200 sets of 60 tasks, each of 6 pairs won with a chance of its own around 0.7: of 95%
    intervals 190 should hold 0.7, and a percentile bootstrap of so few tasks somewhat fewer."""
    random = numpy.random.default_rng(5)
    held = 0
    for _ in range(200):
        chances = random.beta(7, 3, size=60)
        won = random.binomial(6, chances)
        estimate = ratio_estimate(won.tolist(), [6] * 60)
        held += estimate.low <= 0.7 <= estimate.high
    assert 180 <= held <= 198
