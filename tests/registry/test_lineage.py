import pytest
from sqlalchemy import select

from app.db import Database
from app.models import Model, ModelKind, Ranking, RankingEntry, Snapshot, SnapshotRanking
from app.preferences.filters import PairFilters
from app.preferences.queries import iter_frozen_pairs
from app.preferences.revisions import get_ranking
from app.preferences.snapshots import create_snapshot
from app.registry.labelers import ModelLabelers, get_model_labelers
from app.registry.lineage import Ancestor, find_ancestry
from app.registry.ranking_lineage import RankingLineage, get_ranking_lineage
from app.registry.service import get_model
from tests.preferences.conftest import load_rankings, make_project, ranking
from tests.projects.rounds_factory import make_model
from tests.registry.family import Family, erase, make_family
from tests.statements import recorded_statements


@pytest.fixture
def family(database: Database) -> Family:
    return make_family(database)


def trace(database: Database, ranking_id: str) -> RankingLineage:
    with database.read() as session:
        return get_ranking_lineage(session, get_ranking(session, ranking_id))


def teachers(database: Database, model_id: str) -> ModelLabelers:
    with database.read() as session:
        return get_model_labelers(session, get_model(session, model_id))


def flatten(ancestor: Ancestor | None) -> list[Ancestor]:
    """An ancestor and all that stand above it."""
    if ancestor is None:
        return []
    return [ancestor, *flatten(ancestor.parent), *flatten(ancestor.reward_model)]


def test_a_ranking_leads_to_every_snapshot_model_and_round_of_all_its_revisions(
    database: Database, family: Family
) -> None:
    for ranking_id in (family.first_revision, family.second_revision):
        found = trace(database, ranking_id)
        assert [one.id for one in found.revisions] == [
            family.first_revision,
            family.second_revision,
        ]
        assert [(one.snapshot.name, one.ranking.revision) for one in found.holdings] == [
            ("First", 1),
            ("Second", 2),
        ]
        assert [model.id for model in found.reward_models] == ["judge", "judge-2"]
        assert {model.id for model in found.policies} == {"tuned", "child"}
        assert [round_.id for round_ in found.rounds] == [family.round_id]


def test_a_holding_names_the_part_and_the_pairs_that_the_snapshot_really_has(
    database: Database, family: Family
) -> None:
    first, second = trace(database, family.first_revision).holdings
    assert second.part is None, "the second snapshot was not split"
    with database.read() as session:
        for holding in (first, second):
            snapshot = session.get_one(Snapshot, holding.snapshot.id)
            frozen = iter_frozen_pairs(session, snapshot, split=holding.part)
            assert holding.pairs == sum(p.ranking.id == holding.ranking.id for p in frozen)
    assert first.part in ("train", "test")
    assert (first.pairs, second.pairs) == (3, 2), "of the second ccccc over a is too long"


def test_revoked_and_erased_rankings_keep_their_lineage(database: Database, family: Family) -> None:
    for ranking_id, pairs in ((family.bob, 3), (family.cyd, 0)):
        found = trace(database, ranking_id)
        (holding,) = found.holdings
        assert (holding.snapshot.id, holding.pairs) == (family.first_snapshot, pairs)
        assert holding.part is not None, "a split by prompt needs no name"
        assert "tuned" in {model.id for model in found.models}
    assert trace(database, family.bob).ranking.revoked_at is not None
    gone = trace(database, family.cyd)
    assert gone.ranking.erased_at is not None
    assert gone.said[family.cyd].ranks == [None, None, None]


def test_a_ranking_that_no_snapshot_holds_has_touched_nothing(
    database: Database, family: Family
) -> None:
    found = trace(database, family.fay)
    assert (found.holdings, found.models, found.rounds) == ([], [], [])
    assert [one.id for one in found.revisions] == [family.fay]


def test_a_policy_leads_down_to_its_labelers(database: Database, family: Family) -> None:
    for model_id in ("judge", "tuned", "child"):
        found = teachers(database, model_id)
        assert [snapshot.id for snapshot in found.snapshots] == [family.first_snapshot]
        assert [
            (one.labeler, one.rankings, one.pairs, one.simulated, one.revoked)
            for one in found.labelers
        ] == [("ann", 2, 5, False, 0), ("bob", 1, 3, False, 1), ("bot", 1, 3, True, 0)]
        assert found.erased is not None
        assert (found.erased.rankings, found.erased.simulated_rankings) == (1, 0)
        assert (found.rankings, found.pairs, found.simulated_rankings, found.revoked) == (
            4,
            11,
            1,
            1,
        )
        assert found.simulated_share == 0.25
        assert [round_.number for round_ in found.labelers[0].rounds] == [1]
        assert found.labelers[0].guidelines_versions == {1: 2}


def test_a_ranking_in_two_snapshots_counts_once_and_revisions_apart(
    database: Database, family: Family
) -> None:
    """judge-2 started from judge, so both snapshots are behind it. Of ann it saw the revision of
    "Why?" (3 pairs in the first, 2 others in the second) and "How?" (2 pairs, in both)."""
    found = teachers(database, "judge-2")
    assert [one.name for one in found.snapshots] == ["First", "Second"]
    ann = found.labelers[0]
    assert (ann.labeler, ann.rankings, ann.pairs) == ("ann", 3, 7)


def test_models_that_share_their_ancestors_are_looked_at_once(sqlite_database: Database) -> None:
    """Each policy starts from the one before and is tuned against a reward model that starts from
    it too, so that there are 2^30 ways up from the last."""
    project_id = make_project(sqlite_database)
    load_rankings(sqlite_database, project_id, [ranking(labeler="ann")])
    with sqlite_database.write() as session:
        snapshot = create_snapshot(session, None, project_id)
        make_model(session, "p0", snapshot_id=snapshot.id)
        for number in range(30):
            make_model(session, f"r{number}", ModelKind.REWARD_MODEL, parent_id=f"p{number}")
            make_model(
                session, f"p{number + 1}", parent_id=f"p{number}", reward_model_id=f"r{number}"
            )
        found = get_model_labelers(session, session.get_one(Model, "p30"))
        assert [one.labeler for one in found.labelers] == ["ann"]
        (first,) = session.scalars(select(Ranking.id))
        lineage = get_ranking_lineage(session, get_ranking(session, first))
        assert len(lineage.models) == 61
        nodes = flatten(find_ancestry(session, session.get_one(Model, "p30")))
        assert {node.model.id for node in nodes} == {model.id for model in lineage.models}
        told = [node for node in nodes if not node.told_above]
        assert len(nodes) <= 2 * 61
        assert all(node.parent for node in told if node.model.parent_id)


def test_a_model_without_snapshots_was_taught_by_nobody(database: Database, family: Family) -> None:
    found = teachers(database, "alone")
    assert (found.snapshots, found.labelers, found.erased) == ([], [], None)
    assert found.simulated_share is None


@pytest.mark.parametrize("texts", [("a", "bbb", "ccccc"), ("a", "a", "ccccc")])
@pytest.mark.parametrize(
    "filters",
    [
        [PairFilters()],
        [PairFilters(), PairFilters(max_length_difference=-1)],
        [PairFilters(min_length_difference=1), PairFilters(max_length_difference=-3)],
    ],
)
def test_pairs_of_labelers_are_those_of_the_snapshots_each_once(
    database: Database, texts: tuple[str, ...], filters: list[PairFilters]
) -> None:
    project_id = make_project(database)
    orders: dict[str, list[int | None]] = {
        "ann": [1, 2, 3],
        "bob": [3, 2, 1],
        "cyd": [1, 1, 2],
        "dot": [2, 1, None],
    }
    lines = [ranking(texts=texts, ranks=ranks, labeler=name) for name, ranks in orders.items()]
    load_rankings(database, project_id, lines)
    with database.write() as session:
        parent = None
        frozen: set[tuple[str, str, str, str]] = set()
        for number, chosen in enumerate(filters):
            snapshot = create_snapshot(session, None, project_id, filters=chosen)
            frozen |= {
                (p.ranking.labeler, p.ranking.id, p.chosen.id, p.rejected.id)
                for p in iter_frozen_pairs(session, snapshot)
            }
            parent = make_model(
                session,
                f"m{number}",
                parent_id=parent.id if parent else None,
                snapshot_id=snapshot.id,
            )
        found = get_model_labelers(session, session.get_one(Model, f"m{len(filters) - 1}"))
    expected = {name: sum(pair[0] == name for pair in frozen) for name in orders}
    pairs = {one.labeler: one.pairs for one in found.labelers}
    assert pairs == {name: count for name, count in expected.items() if name in pairs}
    assert found.pairs == len(frozen)


def test_pairs_are_counted_again_once_something_is_erased(
    database: Database, family: Family
) -> None:
    before = teachers(database, "tuned")
    with database.write() as session:
        erase(session, family.project_id, "bob")
    after = teachers(database, "tuned")
    assert before.erased
    assert after.erased
    assert (before.erased.rankings, after.erased.rankings) == (1, 2)
    assert after.pairs == before.pairs - 3
    assert "bob" not in {one.labeler for one in after.labelers}
    assert after.revoked == 0


def test_labelers_are_counted_in_as_many_queries_however_many_rankings_there_are(
    sqlite_database: Database,
) -> None:
    project_id = make_project(sqlite_database)
    counts = []
    for size in (3, 120):
        lines = [
            ranking(prompt=f"{size} {number}?", labeler=f"l{number % 60}") for number in range(size)
        ]
        load_rankings(sqlite_database, project_id, lines)
        with sqlite_database.write() as session:
            snapshot = create_snapshot(session, None, project_id)
            make_model(session, f"of-{size}", snapshot_id=snapshot.id)
        with sqlite_database.read() as session:
            model = get_model(session, f"of-{size}")
            with recorded_statements(session.connection()) as statements:
                found = get_model_labelers(session, model)
        assert found.rankings == snapshot.rankings
        assert found.pairs == snapshot.pairs
        counts.append(len(statements))
    assert len(found.labelers) == 60
    assert counts[0] == counts[1] <= 6


def test_a_lineage_holds_what_the_tables_say(database: Database, family: Family) -> None:
    """Each ranking of the project, traced, names just the snapshots that have a row for it."""
    with database.read() as session:
        for ranking_id in session.scalars(select(Ranking.id)):
            found = get_ranking_lineage(session, get_ranking(session, ranking_id))
            ids = {one.id for one in found.revisions}
            rows = session.execute(
                select(SnapshotRanking.snapshot_id, SnapshotRanking.ranking_id).where(
                    SnapshotRanking.ranking_id.in_(ids)
                )
            )
            held = {(one.snapshot.id, one.ranking.id) for one in found.holdings}
            assert held == {tuple(row) for row in rows}
            assert (
                session.scalar(
                    select(RankingEntry.rank).where(RankingEntry.ranking_id == ranking_id).limit(1)
                )
                or found.ranking.erased_at
            )
