import tracemalloc

import choix
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from app.labeling import aggregation
from app.labeling.aggregation import ConsensusMethod, aggregate
from app.labeling.consensus import consensus_row, iter_consensus
from app.labeling.rankings import store_ranking
from app.labeling.revocation import revoke_rankings
from app.models import Completion
from app.preferences.filters import PairFilters
from app.preferences.queries import iter_rankings

from ..preferences.conftest import load_rankings
from ..preferences.conftest import make_project as make_empty_project
from ..preferences.conftest import ranking as ranking_line
from .factory import make_project, make_tasks

EVERY = list(ConsensusMethod)
ORDERS = st.integers(2, 6).flatmap(
    lambda count: st.lists(
        st.lists(st.none() | st.integers(1, 4), min_size=count, max_size=count).filter(
            lambda ranks: any(rank is not None for rank in ranks)
        ),
        min_size=1,
        max_size=5,
    )
)


@pytest.mark.parametrize("method", EVERY)
def test_one_labeler_alone_is_the_consensus(method):
    assert aggregate([[2, 1, 3, 3]], method).ranks == [2, 1, 3, 3]
    assert aggregate([[2, None, 1]], method).ranks == [2, None, 1]


@pytest.mark.parametrize("method", EVERY)
def test_labelers_who_all_say_the_same_are_the_consensus(method):
    assert aggregate([[4, 2, 1, 3]] * 5, method).ranks == [4, 2, 1, 3]


@pytest.mark.parametrize("method", EVERY)
def test_an_exact_split_is_a_tie(method):
    assert aggregate([[1, 2, 3], [3, 2, 1]], method).ranks == [1, 1, 1]


@pytest.mark.parametrize("method", EVERY)
def test_a_cycle_of_majorities_is_shared(method):
    """A over B, B over C, C over A by two to one each; D below all."""
    orders = [[1, 2, 3, 4], [3, 1, 2, 4], [2, 3, 1, 4]]
    assert aggregate(orders, method).ranks == [1, 1, 1, 2]


def test_majority_and_mean_rank_may_differ():
    """Three say A, B, C and two say B, C, A: A beats both by 3 to 2, though B has the better mean
    rank: (2 + 2 + 2 + 1 + 1)/5 = 1.6 against (1 + 1 + 1 + 3 + 3)/5 = 1.8."""
    orders = [[1, 2, 3]] * 3 + [[3, 1, 2]] * 2
    majority = aggregate(orders, ConsensusMethod.MAJORITY)
    assert (majority.ranks, majority.scores) == ([1, 2, 3], [2, 1, 0])
    borda = aggregate(orders, ConsensusMethod.BORDA)
    assert borda.ranks == [2, 1, 3]
    # Share of others put below = (3 − mean rank) / 2.
    assert borda.scores == pytest.approx([0.6, 0.7, 0.2])


@settings(max_examples=60, deadline=None)
@given(ORDERS, st.sampled_from(EVERY), st.randoms())
def test_neither_completions_nor_labelers_depend_on_their_order(orders, method, random):
    places = list(range(len(orders[0])))
    random.shuffle(places)
    moved = [[order[place] for place in places] for order in orders]
    random.shuffle(moved)
    before = aggregate(orders, method).ranks
    assert aggregate(moved, method).ranks == [before[place] for place in places]


@settings(max_examples=60, deadline=None)
@given(ORDERS, st.sampled_from(EVERY))
def test_what_anybody_ranked_has_a_dense_rank_and_nothing_else(orders, method):
    ranks = aggregate(orders, method).ranks
    for place, rank in enumerate(ranks):
        assert (rank is None) == all(order[place] is None for order in orders)
    given_ranks = {rank for rank in ranks if rank is not None}
    assert given_ranks == set(range(1, len(given_ranks) + 1))


@settings(max_examples=60, deadline=None)
@given(ORDERS)
def test_an_order_of_majorities_without_cycles_is_kept(orders):
    ranks = aggregate(orders, ConsensusMethod.MAJORITY).ranks
    count = len(ranks)

    def beats(i, j):
        said = [(o[i], o[j]) for o in orders if o[i] is not None and o[j] is not None]
        return sum(a < b for a, b in said) > sum(a > b for a, b in said)

    ranked = [i for i in range(count) if ranks[i] is not None]
    if not all(beats(i, j) or beats(j, i) for i in ranked for j in ranked if i < j):
        return
    wins = sorted(sum(beats(i, j) for j in ranked) for i in ranked)
    if wins == list(range(len(ranked))):
        assert all(ranks[i] < ranks[j] for i in ranked for j in ranked if beats(i, j))


@pytest.mark.parametrize(
    "orders",
    [
        [[1, 2, 3]] * 4,
        [[1, 2, 3, 4], [2, 1, 4, 3], [1, 3, 2, 4]],
        [[1, 1, 2], [2, 1, 3], [3, 1, 2], [1, 2, 2]],
        [[1, 2, None, 3], [None, 1, 2, 3], [2, 1, 3, 4]],
    ],
)
def test_bradley_terry_is_what_choix_finds(orders):
    """Twenty copies of each opinion, a tie ten each way, and two of the prior's tenth of a win for
    each side of every pair have the same maximum."""
    count = len(orders[0])
    comparisons = []
    for i in range(count):
        for j in range(count):
            if i == j:
                continue
            comparisons += [(i, j)] * round(20 * aggregation.PRIOR_WINS)
            for order in orders:
                if order[i] is not None and order[j] is not None and order[i] <= order[j]:
                    comparisons += [(i, j)] * (20 if order[i] < order[j] else 10)
    expected = choix.opt_pairwise(count, comparisons, alpha=0.0, method="BFGS", tol=1e-10)
    scores = aggregate(orders, ConsensusMethod.BRADLEY_TERRY).scores
    assert sum(scores) == pytest.approx(0, abs=1e-9)
    assert scores == pytest.approx(expected - expected.mean(), abs=1e-4)


def test_bradley_terry_of_a_sweep_by_hand():
    """One labeler puts A over B: w = 1.1 against 0.1, so θ_A − θ_B = log 11."""
    first, second = aggregate([[1, 2]], ConsensusMethod.BRADLEY_TERRY).scores
    assert first - second == pytest.approx(2.3978952727983707, abs=1e-9)


def test_bradley_terry_of_nine_completions_and_a_hundred_labelers_converges():
    scores = aggregate([list(range(1, 10))] * 100, ConsensusMethod.BRADLEY_TERRY).scores
    assert scores == sorted(scores, reverse=True)
    assert all(abs(score) < 60 for score in scores)


def rank(session, task, labeler, ranks, **fields):
    ids = session.scalars(
        select(Completion.id).where(Completion.task_id == task.id).order_by(Completion.position)
    ).all()
    fields = {"source": "app"} | fields
    pairs = dict(zip(ids, ranks, strict=True))
    return store_ranking(session, task=task, labeler=labeler, ranks=pairs, **fields)


def test_the_consensus_of_a_project_has_one_ranking_a_task(database):
    with database.write() as session:
        project = make_project(session)
        first, second, _ = make_tasks(session, project, 3, wanted=3)
        for labeler, ranks in (("ann", (1, 2, 3)), ("bob", (1, 3, 2)), ("cyd", (3, 2, 1))):
            rank(session, first, labeler, ranks, comment="mine")
        rank(session, first, "ann", (3, 2, 1), is_repeat=True, external_id="again")
        rank(session, second, "rule", (1, 1, 2), source="simulated")
        session.flush()
        tasks = list(iter_consensus(session, project.id, ConsensusMethod.MAJORITY))
        assert [task.rankings[0].task_id for task in tasks] == sorted([first.id, second.id])
        rows = {row["task_id"]: row for row in map(consensus_row, tasks)}
        row = rows[first.id]
        # Two of three put the last over the second.
        assert row["ranks"] == [1, 3, 2]
        assert row["labeler"] == "consensus-majority"
        # Ann and Bob agree on 2 of 3 pairs, Ann and Cyd on none, Bob and Cyd on 1.
        assert (row["labelers"], row["agreement"]) == (3, pytest.approx(3 / 9))
        assert row["simulated"] is False
        assert row["comment"] == ""
        assert rows[second.id]["simulated"] is True
        assert (rows[second.id]["labelers"], rows[second.id]["agreement"]) == (1, None)

        people = PairFilters(simulated=False)
        assert len(list(iter_consensus(session, project.id, ConsensusMethod.BORDA, people))) == 1
        revoke_rankings(session, None, project.id, "cyd", reason="clicked through")
        (only, _) = iter_consensus(session, project.id, ConsensusMethod.MAJORITY)
        assert consensus_row(only)["ranks"] == [1, 2, 2]


def test_tasks_of_more_rankings_than_are_read_at_once_stay_whole(database, monkeypatch):
    monkeypatch.setattr("app.preferences.queries.CHUNK_RANKINGS", 2)
    with database.write() as session:
        project = make_project(session)
        for task in make_tasks(session, project, 5, wanted=3):
            for labeler in ("ann", "bob", "cyd"):
                rank(session, task, labeler, (1, 2, 3))
        found = list(iter_consensus(session, project.id, ConsensusMethod.MAJORITY))
        assert [len(task.rankings) for task in found] == [3] * 5


def test_a_consensus_can_be_imported_elsewhere(sqlite_database):
    project_id = make_empty_project(sqlite_database)
    load_rankings(
        sqlite_database,
        project_id,
        [
            ranking_line(ranks=order, labeler=f"l{n}")
            for n, order in enumerate([[1, 2, None], [1, 2, 3], [2, 1, 3]])
        ],
    )
    with sqlite_database.read() as session:
        rows = [
            consensus_row(task)
            for task in iter_consensus(session, project_id, ConsensusMethod.MAJORITY)
        ]
    for row in rows:
        row["created_at"] = row["created_at"].isoformat()
    elsewhere = make_empty_project(sqlite_database, "Elsewhere")
    report = load_rankings(sqlite_database, elsewhere, rows)
    assert (report.created, report.rejected_total) == (1, 0)
    with sqlite_database.read() as session:
        (stored,) = iter_rankings(session, elsewhere)
        assert stored.labeler == "consensus-majority"
        assert dict(zip((c.text for c in stored.completions), stored.ranks, strict=True)) == {
            "a": 1,
            "b": 2,
            "c": 3,
        }


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_tasks(sqlite_database):
    def peak(count):
        project_id = make_empty_project(sqlite_database, f"{count}")
        text = "x" * 2000
        load_rankings(
            sqlite_database,
            project_id,
            [
                ranking_line(prompt=f"{n}?", texts=[text + "a", text + "b"], ranks=[1, 2])
                for n in range(count)
            ],
        )
        with sqlite_database.read() as session:
            tracemalloc.start()
            for task in iter_consensus(session, project_id, ConsensusMethod.BORDA):
                consensus_row(task)
            used = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return used

    small, large = peak(400), peak(2400)
    assert large < 1.5 * small
