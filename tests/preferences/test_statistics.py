"""What the pairs behind filters look like, on both databases, against plain counting."""

import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from app.db import Database
from app.models import Ranking
from app.preferences.filters import PairFilters
from app.preferences.pair_stream import Pair
from app.preferences.queries import iter_pairs, iter_rankings
from app.preferences.statistics import (
    clustered_share,
    count_model_ranks,
    count_pairs_by_day,
    length_spans,
    measure_lengths,
    measure_model_wins,
)
from tests.preferences.conftest import load_rankings, ranking

FILTERS = [
    PairFilters(),
    PairFilters(labeler="ann"),
    PairFilters(max_length_difference=-1),
    PairFilters(min_length_difference=-50, max_length_difference=50),
]


@pytest.fixture
def some_rankings(database: Database, project_id: str) -> str:
    """A project with ties, unranked and identical texts, unlike lengths and two labelers."""
    chance = random.Random(5)
    lines = []
    for task in range(30):
        texts = ["word " * chance.randint(0, 60) + "." for _ in range(4)]
        texts[3] = texts[0] if task % 7 == 0 else texts[3]
        for labeler in ("ann", "bob"):
            ranks = [chance.choice([1, 2, 3, 4, None]) for _ in texts]
            ranks[0] = 1
            lines.append(ranking(prompt=f"Q{task}", texts=texts, ranks=ranks, labeler=labeler))
    assert load_rankings(database, project_id, lines).created == 60
    with database.write() as session:
        session.execute(
            update(Ranking)
            .where(Ranking.project_id == project_id, Ranking.labeler == "ann")
            .values(created_at=datetime(2026, 3, 1, 23, 59, tzinfo=UTC))
        )
    return project_id


def all_pairs(database: Database, project_id: str, filters: PairFilters) -> list[Pair]:
    with database.read() as session:
        return list(iter_pairs(session, project_id, filters))


@pytest.mark.parametrize("filters", FILTERS, ids=lambda filters: str(filters.as_json()))
def test_days_add_up_to_the_pairs_in_utc(
    database: Database, some_rankings: str, filters: PairFilters
) -> None:
    expected = Counter(
        pair.ranking.created_at.date() for pair in all_pairs(database, some_rankings, filters)
    )
    with database.read() as session:
        assert count_pairs_by_day(session, some_rankings, filters) == expected


@pytest.mark.parametrize("filters", FILTERS, ids=lambda filters: str(filters.as_json()))
def test_models_win_the_share_of_pairs_that_counting_gives(
    database: Database, some_rankings: str, filters: PairFilters
) -> None:
    won: Counter[str | None] = Counter()
    played: Counter[str | None] = Counter()
    for pair in all_pairs(database, some_rankings, filters):
        if pair.chosen.model != pair.rejected.model:
            won[pair.chosen.model] += 1
            played.update([pair.chosen.model, pair.rejected.model])
    with database.read() as session:
        wins = measure_model_wins(session, some_rankings, filters)
    assert {one.model: one.share.n for one in wins} == played
    for one in wins:
        assert one.share.value == pytest.approx(won[one.model] / played[one.model])
        assert one.share.value is not None
        assert one.share.low is not None
        assert one.share.high is not None
        assert one.share.low <= one.share.value <= one.share.high
    shares = [one.share.value for one in wins]
    assert shares == sorted(shares, key=lambda share: -(share or 0))


@pytest.mark.parametrize("filters", FILTERS, ids=lambda filters: str(filters.as_json()))
def test_lengths_are_those_of_the_texts(
    database: Database, some_rankings: str, filters: PairFilters
) -> None:
    pairs = all_pairs(database, some_rankings, filters)
    longer = [len(pair.chosen.text) - len(pair.rejected.text) for pair in pairs]
    with database.read() as session:
        lengths = measure_lengths(session, some_rankings, filters)
    assert sum(span.pairs for span in lengths.spans) == len(pairs)
    for span in lengths.spans:
        inside = [
            difference
            for difference in longer
            if (span.low is None or difference >= span.low)
            and (span.high is None or difference <= span.high)
        ]
        assert span.pairs == len(inside)
    unequal = [difference for difference in longer if difference]
    assert lengths.longer_wins.n == len(unequal)
    assert lengths.longer_wins.value == pytest.approx(
        sum(difference > 0 for difference in unequal) / len(unequal)
    )
    assert lengths.mean_chosen == pytest.approx(
        sum(len(pair.chosen.text) for pair in pairs) / len(pairs)
    )


def test_ranks_are_counted_by_model_with_ties_and_the_unranked(
    database: Database, some_rankings: str
) -> None:
    ranks: Counter[tuple[str | None, int | None]] = Counter()
    tied: Counter[str | None] = Counter()
    with database.read() as session:
        for one in iter_rankings(session, some_rankings):
            for completion, rank in zip(one.completions, one.ranks, strict=True):
                ranks[completion.model, rank] += 1
                tied[completion.model] += rank is not None and one.ranks.count(rank) > 1
        found = count_model_ranks(session, some_rankings)
    for row in found:
        assert row.ranks == {
            rank: count
            for (model, rank), count in ranks.items()
            if model == row.model and rank is not None
        }
        assert row.unranked == ranks[row.model, None]
        assert row.tied == tied[row.model]


def test_ranks_leave_out_rankings_without_a_pair_of_the_wanted_lengths(
    database: Database, project_id: str
) -> None:
    lines = [
        ranking(prompt="short wins", texts=["aa", "a"], ranks=[2, 1]),
        ranking(prompt="long wins", texts=["aa", "a"], ranks=[1, 2]),
    ]
    load_rankings(database, project_id, lines)
    with database.read() as session:
        found = count_model_ranks(session, project_id, PairFilters(max_length_difference=-1))
    assert {one.model: one.ranks for one in found} == {"m0": {2: 1}, "m1": {1: 1}}


def test_nothing_gives_nothing(database: Database, project_id: str) -> None:
    with database.read() as session:
        assert count_pairs_by_day(session, project_id) == {}
        assert measure_model_wins(session, project_id) == []
        assert count_model_ranks(session, project_id) == []
        lengths = measure_lengths(session, project_id)
    assert lengths.longer_wins.value is None
    assert lengths.mean_chosen is None
    assert sum(span.pairs for span in lengths.spans) == 0


def test_interval_of_a_clustered_share_is_the_linearised_one() -> None:
    # Tasks (won, pairs): (3, 4), (1, 4), (2, 2). p = 6/10. Residuals won − p·pairs: 0.6, −1.4, 0.8,
    # squares 0.36 + 1.96 + 0.64 = 2.96; Var = 3/2 · 2.96 / 100 = 0.0444; 1.959964·√ = 0.41299.
    share = clustered_share(6, 10, 9 + 1 + 4, 12 + 4 + 4, 16 + 16 + 4, 3)
    assert share.value == pytest.approx(0.6)
    assert share.low == pytest.approx(0.6 - 0.41299, abs=1e-4)
    assert share.high == 1.0
    assert share.n == 10


def test_a_single_task_has_no_interval() -> None:
    share = clustered_share(3, 4, 9, 12, 16, 1)
    assert (share.value, share.low, share.high, share.n) == (0.75, None, None, 4)


def test_length_spans_cover_every_difference_once() -> None:
    spans = length_spans()
    for difference in range(-2500, 2501):
        holding = [
            (low, high)
            for low, high in spans
            if (low is None or difference >= low) and (high is None or difference <= high)
        ]
        assert len(holding) == 1, difference
