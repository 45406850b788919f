from itertools import combinations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau
from sqlalchemy import select

from app.labeling.agreement import measure_agreement, measure_project_agreement
from app.labeling.estimates import NO_ESTIMATE
from app.labeling.judgements import load_judged_tasks
from app.labeling.rankings import store_ranking
from app.labeling.revocation import restore_rankings, revoke_rankings
from app.models import Completion
from app.preferences.filters import PairFilters

from ..conftest import SHARED
from ..preferences.conftest import load_rankings
from ..preferences.conftest import make_project as make_empty_project
from ..preferences.conftest import ranking as ranking_line
from .factory import make_project, make_tasks, make_user
from .judged import judged_task, judgement


def values(agreement):
    return {
        name: getattr(agreement, name).value
        for name in ("pairwise_agreement", "kendall_tau_b", "kendall_w", "krippendorff_alpha")
    }


def test_figures_by_hand():
    """Task 1: A 1 2 3, B 1 1 2, C 3 2 1. Task 2: A and B say 1 2, nobody else.

    Task 1, on pairs (1,2), (1,3), (2,3): A < < <, B = < <, C > > >. A and B agree on 2 of 3, A and
    C on 0, B and C on 0; task 2: 1 of 1. Agreement 3 of 10. τ_b: A,B 2/√(3·2) = 0.8165, A,C −1,
    B,C −0.8165, task 2: 1; mean 0. W of task 1: mid-ranks A 1 2 3, B 1.5 1.5 3, C 3 2 1, sums
    5.5 5.5 7, mean 6, S = 1.5, 12·1.5 / (9·24 − 3·6) = 1/11; W of task 2 is 1; mean 6/11.
    """
    tasks = [
        judged_task({"A": [1, 2, 3], "B": [1, 1, 2], "C": [3, 2, 1]}, task_id="t1"),
        judged_task({"A": [1, 2], "B": [1, 2]}, task_id="t2"),
    ]
    agreement = measure_agreement(tasks)
    assert (agreement.tasks, agreement.labelers, agreement.rankings) == (2, 3, 5)
    assert agreement.pairwise_agreement.value == 0.3
    assert agreement.pairwise_agreement.n == 10
    assert agreement.kendall_tau_b.value == pytest.approx(0)
    assert agreement.kendall_tau_b.n == 4
    assert agreement.kendall_w.value == pytest.approx(6 / 11)
    assert agreement.kendall_w.n == 2
    assert agreement.krippendorff_alpha.n == 5
    assert (agreement.tau_b_undefined, agreement.w_undefined) == (0, 0)
    ab, ac, bc = agreement.labeler_pairs
    assert [(one.first, one.second, one.tasks) for one in (ab, ac, bc)] == [
        ("A", "B", 2),
        ("A", "C", 1),
        ("B", "C", 1),
    ]
    assert (ab.pairwise_agreement.value, ab.pairwise_agreement.n) == (0.75, 4)
    # p_o = 3/4, shares of ties 0 and 1/4: p_e = 3/8, κ = (3/4 − 3/8) / (5/8) = 3/5.
    assert ab.cohen_kappa.value == pytest.approx(0.6)
    assert ab.kendall_tau_b.value == pytest.approx((1 + 2 / 6**0.5) / 2)
    assert ac.kendall_tau_b.value == -1
    assert (ac.cohen_kappa.value, ac.cohen_kappa.low) == (-1, None)


def test_labelers_who_agree_are_one_and_who_reverse_are_minus_one():
    orders = [[1, 2, 3, 4], [2, 1, 4, 3], [4, 3, 2, 1]]
    alike = [
        judged_task({"a": order, "b": order, "c": order}, task_id=f"t{place}")
        for place, order in enumerate(orders)
    ]
    agreement = measure_agreement(alike)
    assert set(values(agreement).values()) == {1}
    for name in values(agreement):
        estimate = getattr(agreement, name)
        assert (estimate.low, estimate.high) == (1, 1)
    against = [
        judged_task({"a": order, "b": [5 - rank for rank in order]}, task_id=f"t{place}")
        for place, order in enumerate(orders)
    ]
    agreement = measure_agreement(against)
    assert agreement.pairwise_agreement.value == 0
    assert agreement.kendall_tau_b.value == -1
    assert agreement.kendall_w.value == 0
    assert agreement.labeler_pairs[0].cohen_kappa.value == -1
    assert agreement.krippendorff_alpha.value < -0.5


def test_a_labeler_alone_agrees_with_nobody():
    agreement = measure_agreement([judged_task({"a": [1, 2, 3]})])
    assert (agreement.tasks, agreement.labelers, agreement.rankings) == (0, 1, 1)
    assert set(values(agreement).values()) == {None}
    assert agreement.krippendorff_alpha == NO_ESTIMATE
    assert agreement.labeler_pairs == []
    assert measure_agreement([]).tasks == 0


def test_who_ties_all_agrees_where_others_tie_and_has_no_correlation():
    tasks = [
        judged_task({"a": [1, 1, 1], "b": [1, 1, 1]}, task_id="t1"),
        judged_task({"a": [1, 1, 1], "b": [1, 2, 3]}, task_id="t2"),
    ]
    agreement = measure_agreement(tasks)
    assert agreement.pairwise_agreement.value == 0.5
    assert (agreement.kendall_tau_b.value, agreement.tau_b_undefined) == (None, 2)
    # Task 1 has no W; in task 2 the tied labeler adds nothing to the spread of the other.
    assert (agreement.kendall_w.n, agreement.w_undefined) == (1, 1)
    all_tied = measure_agreement(tasks[:1])
    assert all_tied.krippendorff_alpha == NO_ESTIMATE
    assert all_tied.labeler_pairs[0].cohen_kappa == NO_ESTIMATE


def test_completions_left_unranked_are_left_out():
    partial = judged_task({"a": [1, 2, None, 3], "b": [1, 2, 3, None]})
    agreement = measure_agreement([partial])
    assert (agreement.pairwise_agreement.value, agreement.pairwise_agreement.n) == (1, 1)
    assert (agreement.kendall_tau_b.value, agreement.kendall_w.value) == (1, 1)
    assert agreement.krippendorff_alpha.n == 2
    nothing_shared = measure_agreement([judged_task({"a": [1, None], "b": [None, 1]})])
    assert nothing_shared.pairwise_agreement == NO_ESTIMATE
    assert nothing_shared.tau_b_undefined == 0
    assert (nothing_shared.tasks, nothing_shared.w_undefined) == (1, 1)


def test_repeats_are_no_second_opinion_and_simulated_labelers_are_counted():
    task = judged_task(
        [
            judgement("a", [1, 2, 3]),
            judgement("a", [3, 2, 1], is_repeat=True),
            judgement("rule", [1, 2, 3], simulated=True),
        ]
    )
    agreement = measure_agreement([task])
    assert agreement.pairwise_agreement.value == 1
    assert (agreement.rankings, agreement.simulated_rankings) == (2, 1)
    assert len(agreement.labeler_pairs) == 1


ORDERS = st.integers(2, 5).flatmap(
    lambda count: st.lists(
        st.lists(st.none() | st.integers(1, 4), min_size=count, max_size=count),
        min_size=1,
        max_size=4,
    )
)


@settings(max_examples=40, deadline=None)
@given(st.lists(ORDERS, min_size=1, max_size=4), st.randoms())
def test_neither_completions_nor_labelers_nor_tasks_depend_on_their_order(drawn, random):
    def tasks(shuffled):
        made = []
        for number, orders in enumerate(drawn):
            places = list(range(len(orders[0])))
            named = list(enumerate(orders))
            if shuffled:
                random.shuffle(places)
                random.shuffle(named)
            made.append(
                judged_task(
                    {f"l{name}": [order[place] for place in places] for name, order in named},
                    task_id=f"t{number}",
                )
            )
        if shuffled:
            random.shuffle(made)
        return made

    straight, moved = measure_agreement(tasks(False)), measure_agreement(tasks(True))
    assert values(moved) == pytest.approx(values(straight))
    assert len(moved.labeler_pairs) == len(straight.labeler_pairs)
    for one, other in zip(moved.labeler_pairs, straight.labeler_pairs, strict=True):
        assert (one.first, one.second, one.tasks) == (other.first, other.second, other.tasks)
        for name in ("pairwise_agreement", "cohen_kappa", "kendall_tau_b"):
            mine, theirs = getattr(one, name), getattr(other, name)
            assert mine.n == theirs.n
            for end in ("value", "low", "high"):
                assert getattr(mine, end) == pytest.approx(getattr(theirs, end), abs=1e-9)


def rank(session, task, labeler, order, **fields):
    """The ranks are those of the texts first, second, third, whatever the order stored."""
    completions = dict(
        session.execute(
            select(Completion.text, Completion.id).where(Completion.task_id == task.id)
        ).all()
    )
    ranks = {completions[text]: rank for text, rank in order.items()}
    return store_ranking(session, task=task, labeler=labeler, ranks=ranks, source="app", **fields)


STRAIGHT = {"first": 1, "second": 2, "third": 3}
REVERSED = {"third": 1, "second": 2, "first": 3}


def test_rankings_are_aligned_by_completion_and_not_by_place(database):
    with database.write() as session:
        project = make_project(session)
        tasks = make_tasks(session, project, 2, wanted=2)
        for task in tasks:
            shown = list(
                session.scalars(select(Completion.id).where(Completion.task_id == task.id))
            )
            rank(session, task, "ann", STRAIGHT, shown_order=shown)
            # The same order, its completions named and shown the other way round.
            same = dict(reversed(STRAIGHT.items()))
            rank(session, task, "bob", same, shown_order=shown[::-1])
        judged = load_judged_tasks(session, project.id)
        assert [task.id for task in judged] == sorted(task.id for task in tasks)
        ann, bob = judged[0].judgements
        assert ann.ranks == bob.ranks == [1, 2, 3]
        assert sorted(ann.shown) == [0, 1, 2]
        assert bob.shown == ann.shown[::-1]
        agreement = measure_agreement(judged)
        assert set(values(agreement).values()) == {1}


def test_only_what_counts_is_compared(database):
    with database.write() as session:
        project = make_project(session)
        (task,) = make_tasks(session, project, 1, wanted=3)
        make_user(session, "boss", "admin")
        rank(session, task, "ann", STRAIGHT)
        rank(session, task, "bob", REVERSED)
        assert measure_project_agreement(session, project.id).kendall_tau_b.value == -1
        # An edit supersedes what was said before.
        rank(session, task, "bob", STRAIGHT)
        rank(session, task, "bob", REVERSED, is_repeat=True, external_id="again")
        rank(session, task, "cyd", REVERSED)
        rank(session, task, "cyd", REVERSED, is_repeat=True, external_id="once more")
        agreement = measure_project_agreement(session, project.id)
        assert (agreement.rankings, agreement.labelers) == (3, 3)
        assert agreement.pairwise_agreement.value == pytest.approx(1 / 3)
        revoke_rankings(session, None, project.id, "cyd", reason="Clicked through.")
        agreement = measure_project_agreement(session, project.id)
        assert (agreement.rankings, agreement.labelers) == (2, 2)
        assert agreement.pairwise_agreement.value == 1
        revoke_rankings(session, None, project.id, "bob", reason="Clicked through too.")
        assert measure_project_agreement(session, project.id).rankings == 1
        # The latest revocation stays; an earlier one is undone.
        restore_rankings(session, None, project.id, "cyd")
        agreement = measure_project_agreement(session, project.id)
        assert (agreement.rankings, agreement.pairwise_agreement.value) == (2, 0)
        # As many are revoked as before, but others.
        restore_rankings(session, None, project.id, "bob")
        revoke_rankings(session, None, project.id, "cyd", reason="After all.")
        assert measure_project_agreement(session, project.id).pairwise_agreement.value == 1
        restore_rankings(session, None, project.id, "cyd")
        assert measure_project_agreement(session, project.id).rankings == 3


def test_filters_choose_rankings(database):
    with database.write() as session:
        project = make_project(session)
        (first,) = make_tasks(session, project, 1, wanted=2)
        (second,) = make_tasks(session, project, 1, wanted=2, number=2)
        rule = make_user(session, "rule")
        rule.simulation_rule = "plain-words"
        session.flush()
        for task, order in ((first, STRAIGHT), (second, REVERSED)):
            rank(session, task, "ann", STRAIGHT)
            rank(session, task, "bob", order)
            rank(session, task, rule, REVERSED)
        everybody = measure_project_agreement(session, project.id)
        assert (everybody.rankings, everybody.simulated_rankings) == (6, 2)
        people = measure_project_agreement(session, project.id, PairFilters(simulated=False))
        assert (people.rankings, people.simulated_rankings) == (4, 0)
        assert people.pairwise_agreement.value == 0.5
        for task, tau in ((first, 1), (second, -1)):
            filters = PairFilters(round_id=task.round_id, simulated=False)
            one = measure_project_agreement(session, project.id, filters)
            assert (one.tasks, one.kendall_tau_b.value) == (1, tau)


def test_what_nothing_changed_in_is_not_computed_again(database, monkeypatch):
    with database.write() as session:
        project = make_project(session)
        (task,) = make_tasks(session, project, 1, wanted=2)
        rank(session, task, "ann", STRAIGHT)
        first = measure_project_agreement(session, project.id)
        assert measure_project_agreement(session, project.id) is first
        assert measure_project_agreement(session, project.id, PairFilters(simulated=False)) == first
        rank(session, task, "bob", STRAIGHT)
        assert measure_project_agreement(session, project.id).rankings == 2


OASST = SHARED / "data/oasst_rankings.jsonl"


@pytest.mark.skipif(not OASST.exists(), reason="../shared/data is not here")
def test_agreement_on_real_rankings_falls_as_labelers_err_more(sqlite_database):
    """Ranked by people; three labelers of known noise rank each task near that order."""
    import numpy

    random = numpy.random.default_rng(11)
    lines = [orjson.loads(line) for line in OASST.read_bytes().splitlines()]
    found = []
    expected = []
    for noise in (0.0, 0.7, 1.5, 5.0):
        project_id = make_empty_project(sqlite_database, f"noise {noise}")
        rankings, taus = [], []
        for line in lines:
            people = numpy.array([item["rank"] for item in line["completions"]], dtype=float)
            orders = []
            for labeler in ("ann", "bob", "cyd"):
                seen = people + random.normal(0, noise, len(people)) if noise else people
                order = (seen.argsort().argsort() + 1).tolist()
                orders.append(order)
                # Every labeler's file lists the completions in an order of its own.
                places = random.permutation(len(order))
                rankings.append(
                    {
                        "prompt": line["prompt"],
                        "completions": [
                            {"text": line["completions"][place]["text"]} for place in places
                        ],
                        "ranks": [order[place] for place in places],
                        "labeler": labeler,
                    }
                )
            texts = {item["text"] for item in line["completions"]}
            if len(texts) == len(line["completions"]):
                taus += [kendalltau(a, b).statistic for a, b in combinations(orders, 2)]
        report = load_rankings(sqlite_database, project_id, rankings)
        assert report.rejected_total == 0
        with sqlite_database.read() as session:
            agreement = measure_project_agreement(session, project_id)
        assert agreement.tasks == len(lines)
        assert [one.tasks for one in agreement.labeler_pairs] == [len(lines)] * 3
        found.append(values(agreement))
        expected.append(float(numpy.mean(taus)))
    assert set(found[0].values()) == {1}
    for name in found[0]:
        falling = [one[name] for one in found]
        assert falling == sorted(falling, reverse=True)
        assert falling[0] - falling[1] > 0.1
        assert falling[1] - falling[2] > 0.1
    assert [one["kendall_tau_b"] for one in found] == pytest.approx(expected, abs=0.02)


def test_an_import_is_compared_by_completion_whatever_order_it_lists(sqlite_database):
    project_id = make_empty_project(sqlite_database)
    load_rankings(
        sqlite_database,
        project_id,
        [
            ranking_line(texts=["a", "b", "c"], ranks=[1, 2, 3], labeler="ann"),
            {
                **ranking_line(labeler="bob"),
                "completions": [
                    {"text": "c", "model": "m0"},
                    {"text": "b", "model": "m1"},
                    {"text": "a", "model": "m0"},
                ],
                "ranks": [3, 2, 1],
            },
        ],
    )
    with sqlite_database.read() as session:
        agreement = measure_project_agreement(session, project_id)
    assert (agreement.tasks, agreement.kendall_tau_b.value) == (1, 1)
