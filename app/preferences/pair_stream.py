"""Stored rankings as a stream of pairs. Nothing here touches the database."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from app.preferences.filters import PairFilters
from app.preferences.pairs import expand_ranking, pair_weight
from app.preferences.stored_rankings import RankedCompletion, StoredRanking

_expand = lru_cache(4096)(expand_ranking)
"""Thousands of rankings say one of few things."""


class Pair(NamedTuple):
    """One preferred-first pair of a ranking."""

    ranking: StoredRanking
    chosen: RankedCompletion
    rejected: RankedCompletion
    chosen_rank: int
    rejected_rank: int
    weight: float


Sides = tuple[RankedCompletion, RankedCompletion, int, int]
"""Chosen, rejected, and the rank of each."""


class PairStream(Iterator[Pair]):
    """The pairs of rankings, to be taken one by one or, which is quicker, ranking by ranking."""

    def __init__(
        self,
        rankings: Iterator[StoredRanking],
        filters: PairFilters | None = None,
        *,
        include_identical: bool = False,
    ) -> None:
        self._rankings = rankings
        self._filters = filters
        self._include_identical = include_identical
        self._pairs = (
            Pair(ranking, *sides, pair_weight(len(ranking.completions)))
            for ranking, found in self.by_ranking()
            for sides in found
        )

    def __next__(self) -> Pair:
        return next(self._pairs)

    def by_ranking(self) -> Iterator[tuple[StoredRanking, list[Sides]]]:
        """Each ranking with its pairs, best first; those without any too."""
        for ranking in self._rankings:
            sides = ranking_sides(ranking, self._filters, include_identical=self._include_identical)
            yield ranking, sides


def ranking_sides(
    ranking: StoredRanking, filters: PairFilters | None = None, *, include_identical: bool = False
) -> list[Sides]:
    """The two sides of each pair of one ranking, best first; of those, what the filters take."""
    completions, ranks = ranking.completions, ranking.ranks
    found = [
        (completions[better], completions[worse], ranks[better] or 0, ranks[worse] or 0)
        for better, worse in _expand(tuple(ranks))
    ]
    if not include_identical:
        found = [sides for sides in found if sides[0].text != sides[1].text]
    if filters is not None and filters.selects_pairs:
        found = [sides for sides in found if filters.takes_pair(sides[0].text, sides[1].text)]
    return found


def ranking_pairs(
    ranking: StoredRanking, filters: PairFilters | None = None, *, include_identical: bool = False
) -> Iterator[Pair]:
    """The pairs of one ranking, best first; of those, what the filters take."""
    return PairStream(iter([ranking]), filters, include_identical=include_identical)
