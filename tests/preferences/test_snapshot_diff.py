import pytest
from sqlalchemy import select

from app.db import Database
from app.errors import Invalid
from app.labeling.rankings import store_ranking
from app.models import Completion, Ranking, RankingEntry, Snapshot, Task, utc_now
from app.preferences.filters import PairFilters
from app.preferences.queries import iter_frozen_pairs
from app.preferences.snapshot_diff import Reason, SnapshotDiff, diff_snapshots
from app.preferences.snapshots import create_snapshot
from tests.preferences.conftest import load_rankings, make_project, ranking


def freeze(database: Database, project_id: str, **filters: object) -> Snapshot:
    with database.write() as session:
        chosen = PairFilters(**filters)  # type: ignore[arg-type]
        return create_snapshot(session, None, project_id, filters=chosen)


def compare(database: Database, first: Snapshot, second: Snapshot) -> SnapshotDiff:
    """The diff, after it was held against the pairs that the two snapshots really give."""
    with database.read() as session:
        diff = diff_snapshots(session, first, second)
        pairs = [
            {(p.ranking.id, p.chosen.id, p.rejected.id) for p in iter_frozen_pairs(session, one)}
            for one in (first, second)
        ]
    assert diff.common.pairs == len(pairs[0] & pairs[1])
    assert diff.only_first.pairs == len(pairs[0] - pairs[1])
    assert diff.only_second.pairs == len(pairs[1] - pairs[0])
    return diff


def revise(database: Database, labeler: str, ranks: list[int]) -> None:
    with database.write() as session:
        earlier = session.scalars(select(Ranking).where(Ranking.labeler == labeler)).one()
        completions = session.scalars(
            select(Completion.id)
            .where(Completion.task_id == earlier.task_id)
            .order_by(Completion.position)
        )
        store_ranking(
            session,
            task=session.get_one(Task, earlier.task_id),
            labeler=labeler,
            ranks=dict(zip(completions, ranks, strict=True)),
            source="import",
        )


def test_every_ranking_that_only_one_snapshot_holds_has_its_reason(
    database: Database, project_id: str
) -> None:
    names = ("ann", "bob", "cyd", "dot", "eve")
    load_rankings(database, project_id, [ranking(labeler=name) for name in names])
    load_rankings(database, project_id, [ranking(prompt="Bot?", labeler="bot", simulated=True)])
    first = freeze(database, project_id)
    revise(database, "ann", [3, 2, 1])
    with database.write() as session:
        bob = session.scalars(select(Ranking).where(Ranking.labeler == "bob")).one()
        bob.revoked_at = utc_now()
        cyd = session.scalars(select(Ranking).where(Ranking.labeler == "cyd")).one()
        cyd.erased_at, cyd.current, cyd.labeler = utc_now(), False, "erased-1"
        for entry in session.scalars(select(RankingEntry).where(RankingEntry.ranking_id == cyd.id)):
            session.delete(entry)
        session.get_one(Snapshot, first.id).erased_rankings = 1
    load_rankings(database, project_id, [ranking(prompt="New?", labeler="fay")])
    second = freeze(database, project_id, simulated=False)
    with database.read() as session:
        first = session.get_one(Snapshot, first.id)
    diff = compare(database, first, second)
    assert (diff.common.rankings, diff.common.pairs) == (2, 6)
    assert diff.only_first.reasons == {
        Reason.ERASED: 1,
        Reason.SUPERSEDED: 1,
        Reason.REVOKED: 1,
        Reason.LEFT_OUT: 1,
    }
    assert (diff.only_first.rankings, diff.only_first.pairs) == (4, 9)
    assert diff.only_second.reasons == {Reason.REVISED: 1, Reason.NEWER: 1}
    assert (diff.only_first.labelers, diff.only_second.labelers) == (["bob", "bot"], ["fay"])
    assert (diff.only_first.prompts, diff.only_second.prompts) == (1, 1)
    assert [(one.name, one.first, one.second) for one in diff.filters] == [
        ("simulated", None, False)
    ]
    (superseded,) = diff.only_first.examples[Reason.SUPERSEDED]
    (revised,) = diff.only_second.examples[Reason.REVISED]
    assert (superseded.labeler, superseded.prompt, superseded.revision) == ("ann", "Why?", 1)
    assert superseded.counterpart_id == revised.ranking_id
    assert revised.counterpart_id == superseded.ranking_id
    assert not diff.same_content
    backwards = compare(database, second, first)
    assert (backwards.only_second, backwards.only_first) == (diff.only_first, diff.only_second)


def test_the_same_rankings_under_other_length_filters_differ_in_pairs_alone(
    database: Database, project_id: str
) -> None:
    texts = ("a", "bbb", "ccccc", "d")
    load_rankings(database, project_id, [ranking(texts=texts, ranks=[1, 2, 3, 4], labeler="ann")])
    shorter = freeze(database, project_id, max_length_difference=-1)
    longer = freeze(database, project_id, min_length_difference=-2)
    diff = compare(database, shorter, longer)
    assert (diff.common.rankings, diff.only_first.rankings, diff.only_second.rankings) == (1, 0, 0)
    assert (diff.common.pairs, diff.only_first.pairs, diff.only_second.pairs) == (2, 1, 3)


def test_a_snapshot_is_the_same_as_itself_and_as_its_twin(
    database: Database, project_id: str
) -> None:
    load_rankings(database, project_id, [ranking(labeler="ann")])
    first, second = freeze(database, project_id), freeze(database, project_id)
    for other in (first, second):
        diff = compare(database, first, other)
        assert diff.same_content
        assert (diff.only_first, diff.common.rankings) == (diff.only_second, 1)
        assert diff.only_first.rankings == diff.only_first.pairs == 0


def test_snapshots_of_two_projects_cannot_be_compared(
    sqlite_database: Database, sqlite_project_id: str
) -> None:
    other = make_project(sqlite_database, "Q")
    load_rankings(sqlite_database, sqlite_project_id, [ranking()])
    load_rankings(sqlite_database, other, [ranking()])
    first, second = freeze(sqlite_database, sqlite_project_id), freeze(sqlite_database, other)
    with sqlite_database.read() as session, pytest.raises(Invalid) as refused:
        diff_snapshots(session, first, second)
    assert refused.value.code == "other_project"
