"""Every filter says the same in counts, in exports and in snapshots, on both databases."""

from typing import Any

import pytest
from sqlalchemy import select, update

from app.db import Database
from app.errors import Invalid
from app.models import Prompt
from app.preferences.filters import PairFilters
from app.preferences.pair_counts import count_pairs
from app.preferences.queries import iter_pairs, iter_rankings
from app.preferences.snapshots import create_snapshot
from app.projects.tags import list_tags
from tests.preferences.conftest import load_rankings, ranking


@pytest.fixture
def filled(database: Database, project_id: str) -> str:
    """Three tasks: "Why?" by two who agree on 2 of 3 pairs, "How?" by two who agree on nothing,
    "Where?" by one."""
    load_rankings(
        database,
        project_id,
        [
            ranking(prompt="Why?", texts=["a", "bbbb", "cc"], ranks=[1, 2, 3], labeler="ann"),
            ranking(prompt="Why?", texts=["a", "bbbb", "cc"], ranks=[1, 3, 2], labeler="bob"),
            ranking(prompt="How?", texts=["x", "yy"], ranks=[1, 2], labeler="ann"),
            ranking(
                prompt="How?",
                texts=["x", "yy"],
                ranks=[2, 1],
                labeler="bob",
                flags=[["harmful"], []],
            ),
            ranking(prompt="Where?", texts=["here", "th"], ranks=[1, 1], labeler="ann"),
        ],
    )
    with database.write() as session:
        for prompt in session.scalars(select(Prompt)):
            word = prompt.messages[0]["content"]
            session.execute(
                update(Prompt)
                .where(Prompt.id == prompt.id)
                .values(
                    tags=["short", word.rstrip("?").lower()],
                    details={"level": len(word), "topic": word, "checked": word == "Why?"},
                )
            )
    return project_id


def rankings_and_pairs(
    database: Database, project_id: str, **filters: Any
) -> tuple[list[str], list[tuple[str, str]]]:
    """Who ranked what, and the pairs of it, with the counts checked against both."""
    chosen = PairFilters(**filters)
    with database.read() as session:
        rankings = list(iter_rankings(session, project_id, chosen))
        pairs = list(iter_pairs(session, project_id, chosen))
        counts = count_pairs(session, project_id, chosen)
    if chosen.selects_pairs:
        rankings = list({pair.ranking.id: pair.ranking for pair in pairs}.values())
    assert counts.pairs == len(pairs)
    assert counts.rankings == len(rankings)
    assert counts.labelers == len({item.labeler for item in rankings})
    assert counts.prompts == len({item.prompt.id for item in rankings})
    words = [f"{item.prompt.messages[0]['content']} {item.labeler}" for item in rankings]
    return words, [(pair.chosen.text, pair.rejected.text) for pair in pairs]


def test_tags_and_metadata_of_the_prompt(database: Database, filled: str) -> None:
    assert rankings_and_pairs(database, filled, tag="how")[0] == ["How? ann", "How? bob"]
    assert len(rankings_and_pairs(database, filled, tag="short")[0]) == 5
    assert rankings_and_pairs(database, filled, tag="sho")[0] == []
    assert rankings_and_pairs(database, filled, metadata="topic=Where?")[0] == ["Where? ann"]
    assert len(rankings_and_pairs(database, filled, metadata="level=4")[0]) == 4
    assert len(rankings_and_pairs(database, filled, metadata="checked=true")[0]) == 2
    assert rankings_and_pairs(database, filled, metadata="nothing=1")[0] == []
    with pytest.raises(Invalid, match="not a condition"):
        rankings_and_pairs(database, filled, metadata="topic")
    with database.read() as session:
        assert list_tags(session, filled) == [("short", 3), ("how", 1), ("where", 1), ("why", 1)]


def test_flags_that_some_completion_carries(database: Database, filled: str) -> None:
    assert rankings_and_pairs(database, filled, flag="harmful")[0] == ["How? bob"]
    assert rankings_and_pairs(database, filled, flag="harm")[0] == []
    assert len(rankings_and_pairs(database, filled, without_flag="harmful")[0]) == 4


def test_agreement_of_the_task_by_hand(database: Database, filled: str) -> None:
    # "Why?": both put a before b and a before c, and differ on b and c: 2 of 3. "How?": 0 of 1.
    assert rankings_and_pairs(database, filled, min_agreement=0.6)[0] == ["Why? ann", "Why? bob"]
    assert rankings_and_pairs(database, filled, min_agreement=0.7)[0] == []
    assert rankings_and_pairs(database, filled, max_agreement=0.1)[0] == ["How? ann", "How? bob"]
    assert len(rankings_and_pairs(database, filled, min_agreement=0, max_agreement=1)[0]) == 4


def test_length_differences_choose_among_the_pairs_of_a_ranking(
    database: Database, filled: str
) -> None:
    rankings, pairs = rankings_and_pairs(database, filled, max_length_difference=-1)
    assert pairs == [("a", "bbbb"), ("a", "cc"), ("a", "cc"), ("a", "bbbb"), ("cc", "bbbb"),
                     ("x", "yy")]  # fmt: skip
    assert rankings == ["Why? ann", "Why? bob", "How? ann"]
    _, near = rankings_and_pairs(
        database, filled, min_length_difference=-1, max_length_difference=1
    )
    assert near == [("a", "cc"), ("a", "cc"), ("x", "yy"), ("yy", "x")]


def test_snapshots_hold_what_the_filters_on_the_page_count(database: Database, filled: str) -> None:
    for filters in (
        PairFilters(max_length_difference=-1),
        PairFilters(tag="why", min_agreement=0.5),
        PairFilters(without_flag="harmful"),
    ):
        with database.write() as session:
            snapshot = create_snapshot(session, None, filled, filters=filters)
            counts = count_pairs(session, filled, filters)
            assert PairFilters.from_json(snapshot.filters) == filters
        assert (snapshot.rankings, snapshot.pairs) == (counts.rankings, counts.pairs)
        assert (snapshot.prompts, snapshot.labelers) == (counts.prompts, counts.labelers)
