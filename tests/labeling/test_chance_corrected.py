import krippendorff
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.labeling import chance_corrected
from app.labeling.chance_corrected import (
    alpha_from_distances,
    cohen_kappa,
    krippendorff_alpha,
    ordinal_alpha,
    task_coincidences,
)

NONE = numpy.nan
THREE_CODERS = [
    [NONE, NONE, NONE, NONE, NONE, 3, 4, 1, 2, 1, 1, 3, 3, NONE, 3],
    [1, NONE, 2, 1, 3, 3, 4, 3, NONE, NONE, NONE, NONE, NONE, NONE, NONE],
    [NONE, NONE, 2, 1, 3, 4, 4, NONE, 2, 1, 1, 3, 3, NONE, 4],
]
"""Fifteen units; published: nominal 0.691, interval 0.811."""
FOUR_CODERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
    [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
]
"""Krippendorff 2011, twelve units; published: nominal 0.743, ordinal 0.815, interval 0.849,
ratio 0.797."""


def count_values(matrix, values):
    data = numpy.array(matrix, dtype=float)
    return numpy.array([(data == value).sum(axis=0) for value in range(1, values + 1)]).T * 1.0


def distances(metric, values):
    numbers = numpy.arange(1.0, values + 1)
    difference = numbers[:, None] - numbers[None, :]
    if metric == "nominal":
        return (difference != 0) * 1.0
    if metric == "interval":
        return difference**2
    return (difference / (numbers[:, None] + numbers[None, :])) ** 2


@pytest.mark.parametrize(
    ("matrix", "values", "metric", "published"),
    [
        (THREE_CODERS, 4, "nominal", 0.691),
        (THREE_CODERS, 4, "interval", 0.811),
        (FOUR_CODERS, 5, "nominal", 0.743),
        (FOUR_CODERS, 5, "ordinal", 0.815),
        (FOUR_CODERS, 5, "interval", 0.849),
        (FOUR_CODERS, 5, "ratio", 0.797),
    ],
)
def test_alpha_is_the_published_one(matrix, values, metric, published):
    package = krippendorff.alpha(reliability_data=matrix, level_of_measurement=metric)
    assert package == pytest.approx(published, abs=5e-4)
    counts = count_values(matrix, values)
    # Two "tasks" of several units each: their coincidences add up to those of all.
    coincidences = task_coincidences(counts, [0, 5]).sum(axis=0)
    ours = (
        ordinal_alpha(coincidences)
        if metric == "ordinal"
        else alpha_from_distances(coincidences, distances(metric, values))
    )
    assert float(ours) == pytest.approx(package, abs=1e-12)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(2, 40), st.integers(2, 6))
def test_alpha_of_resampled_sums_is_that_of_the_package(seed, values, units, labelers):
    random = numpy.random.default_rng(seed)
    data = random.integers(1, values + 1, (labelers, units)).astype(float)
    data[random.random(data.shape) < 0.2] = numpy.nan
    counts = count_values(data, values)
    starts = sorted({0, *random.integers(0, units, 3).tolist()})
    coincidences = task_coincidences(counts, starts)
    if (counts.sum(axis=1) < 2).all():
        return
    with numpy.errstate(divide="ignore", invalid="ignore"):
        package = krippendorff.alpha(value_counts=counts, level_of_measurement="ordinal")
    assert ordinal_alpha(coincidences.sum(axis=0)) == pytest.approx(
        package, abs=1e-12, rel=1e-12, nan_ok=True
    )
    # A resample of tasks is the same as units given again.
    drawn = random.integers(0, len(starts), len(starts))
    bounds = [*starts, units]
    again = numpy.concatenate([counts[bounds[task] : bounds[task + 1]] for task in drawn])
    if (again.sum(axis=1) < 2).all():
        return
    with numpy.errstate(divide="ignore", invalid="ignore"):
        package = krippendorff.alpha(value_counts=again, level_of_measurement="ordinal")
    assert ordinal_alpha(coincidences[drawn].sum(axis=0)) == pytest.approx(
        package, abs=1e-11, rel=1e-11, nan_ok=True
    )


def test_alpha_too_large_for_the_package_is_the_same(monkeypatch):
    counts = count_values(FOUR_CODERS, 5)
    coincidences = task_coincidences(counts, [0, 5])
    by_package = krippendorff_alpha(counts, coincidences)
    monkeypatch.setattr(chance_corrected, "PACKAGE_CELLS", 0)
    monkeypatch.setattr(chance_corrected, "UNITS_AT_ONCE", 5)
    assert (task_coincidences(counts, [0, 5]) == coincidences).all()
    assert krippendorff_alpha(counts, coincidences) == pytest.approx(by_package, abs=1e-12)


def test_alpha_is_undefined_where_all_values_are_one():
    counts = numpy.array([[2.0], [3.0]])
    assert krippendorff_alpha(counts, task_coincidences(counts, [0])) is None
    counts = numpy.array([[2.0, 0.0], [3.0, 0.0]])
    assert krippendorff_alpha(counts, task_coincidences(counts, [0])) is None


def test_kappa_by_hand():
    """A says 1, 2, 3 and B says 1, 1, 2 of three completions. Of the six oriented pairs A calls
    3 better and 3 worse, B 2 better, 2 equal and 2 worse; they agree on 4 (first and second over
    third, both ways). p_o = 4/6, p_e = 3/6·2/6 + 0·2/6 + 3/6·2/6 = 1/3, κ = (2/3 − 1/3)/(2/3).
    """
    assert float(cohen_kappa(numpy.array([2.0, 3.0, 0.0, 1.0]))) == pytest.approx(0.5)


def oriented_kappa(table):
    """κ of a table of better, equal, worse, each pair counted as (i, j) and as (j, i)."""
    both = table + table[::-1, ::-1]
    with numpy.errstate(divide="ignore", invalid="ignore"):
        shares = both / both.sum()
        expected = (shares.sum(axis=1) * shares.sum(axis=0)).sum()
        return (numpy.trace(shares) - expected) / (1 - expected)


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=9, max_size=9))
def test_kappa_is_that_of_the_table_counted_in_both_orientations(cells):
    table = numpy.array(cells, dtype=float).reshape(3, 3)
    sums = numpy.array([numpy.trace(table), table.sum(), table[1].sum(), table[:, 1].sum()])
    kappa = float(cohen_kappa(sums))
    # Naming the two completions of a pair the other way round makes no difference.
    assert kappa == pytest.approx(oriented_kappa(table), abs=1e-9, nan_ok=True)
    assert kappa == pytest.approx(oriented_kappa(table[::-1, ::-1]), abs=1e-9, nan_ok=True)


def test_kappa_at_its_ends():
    kappas = cohen_kappa(
        numpy.array([[9.0, 9, 0, 0], [0, 9, 0, 0], [4.5, 9, 0, 0], [9, 9, 9, 9], [0, 0, 0, 0]])
    )
    assert kappas[:3].tolist() == [1, -1, 0]
    assert numpy.isnan(kappas[3:]).all()
