import hashlib
from pathlib import Path

import pytest
from sqlalchemy import select

from app.db import Database
from app.errors import Invalid
from app.models import Model, Ranking, Snapshot, utc_now
from app.preferences.filters import PairFilters
from app.preferences.formats import PairFormat, PairSchema, export_pairs
from app.preferences.frozen_tasks import iter_ranked_tasks
from app.preferences.queries import iter_frozen_pairs, iter_pairs
from app.preferences.snapshot_files import keep_pairs
from app.preferences.snapshots import (
    count_revoked,
    create_snapshot,
    list_snapshot_models,
    list_snapshots,
)
from tests.preferences.conftest import load_rankings, ranking


def freeze(database: Database, project_id: str, **filters: object) -> Snapshot:
    with database.write() as session:
        return create_snapshot(
            session,
            None,
            project_id,
            name="s",
            filters=PairFilters(**filters),  # type: ignore[arg-type]
        )


def frozen_bytes(database: Database, snapshot: Snapshot) -> bytes:
    with database.read() as session:
        pairs = iter_frozen_pairs(session, snapshot)
        return b"".join(export_pairs(pairs, PairSchema.PLAIN, PairFormat.JSONL))


def test_same_filters_on_the_same_rankings_give_the_same_hash(
    database: Database, project_id: str
) -> None:
    load_rankings(
        database,
        project_id,
        [
            ranking(labeler="ann"),
            ranking(labeler="bot", simulated=True),
            ranking(prompt="Twice?", texts=["x", "x", "y"], ranks=[1, 2, 3], labeler="ann"),
        ],
    )
    first, second = freeze(database, project_id), freeze(database, project_id)
    assert first.sha256 == second.sha256
    assert first.sha256 == hashlib.sha256(frozen_bytes(database, first)).hexdigest()
    assert (first.rankings, first.pairs, first.prompts) == (3, 8, 2)
    assert (first.identical_pairs, first.simulated_rankings) == (1, 1)
    people = freeze(database, project_id, simulated=False)
    assert (people.pairs, people.simulated_rankings, people.filters) == (5, 0, {"simulated": False})
    assert people.sha256 != first.sha256
    with database.read() as session:
        assert [item.id for item in list_snapshots(session, project_id)] == [
            people.id,
            second.id,
            first.id,
        ]


def test_snapshot_stays_the_same_whatever_happens_to_its_rankings(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    load_rankings(database, project_id, [ranking(labeler="ann"), ranking(labeler="bob")])
    snapshot = freeze(database, project_id)
    before = frozen_bytes(database, snapshot)
    kept = keep_pairs(database, snapshot, PairSchema.TRL, PairFormat.PARQUET, tmp_path)
    content = kept.path.read_bytes()
    with database.write() as session:
        ann, bob = session.scalars(select(Ranking).order_by(Ranking.id))
        ann.revoked_at = utc_now()
        bob.current = False
    load_rankings(database, project_id, [ranking(prompt="New?")])
    assert frozen_bytes(database, snapshot) == before
    with database.read() as session:
        assert count_revoked(session, snapshot.id) == 1
        assert len(list(iter_pairs(session, project_id))) == 3
    kept.path.unlink()
    again = keep_pairs(database, snapshot, PairSchema.TRL, PairFormat.PARQUET, tmp_path)
    assert again == kept
    assert again.path.read_bytes() == content
    assert [path.name for path in tmp_path.glob("*.partial")] == []


def test_nothing_to_freeze_is_refused_and_leaves_nothing(
    database: Database, project_id: str
) -> None:
    load_rankings(database, project_id, [ranking(ranks=[1, 1, 1])])
    for filters in ({}, {"labeler": "nobody"}):
        with pytest.raises(Invalid) as refused:
            freeze(database, project_id, **filters)
        assert refused.value.code == "empty_snapshot"
    with database.read() as session:
        assert list_snapshots(session, project_id) == []


def test_training_reads_each_task_once_with_every_ranking(
    database: Database, project_id: str
) -> None:
    load_rankings(
        database,
        project_id,
        [
            ranking(labeler="ann"),
            ranking(labeler="bob", ranks=[1, None, 1], simulated=True),
            ranking(prompt="Other?", texts=["x", "y"], ranks=[2, 1], labeler="ann"),
        ],
    )
    snapshot = freeze(database, project_id)
    load_rankings(database, project_id, [ranking(labeler="eve", ranks=[3, 2, 1])])
    with database.read() as session:
        first, second = iter_ranked_tasks(session, snapshot)
    assert first.messages == [{"role": "user", "content": "Why?"}]
    assert first.completions == ["a", "b", "c"]
    assert [(r.labeler, r.simulated, r.ranks) for r in first.rankings] == [
        ("ann", False, [2, 1, 3]),
        ("bob", True, [1, None, 1]),
    ]
    assert (second.completions, second.rankings[0].ranks) == (["x", "y"], [2, 1])


def test_lineage_names_reward_models_and_the_policies_tuned_against_them(
    database: Database, project_id: str
) -> None:
    load_rankings(database, project_id, [ranking()])
    snapshot = freeze(database, project_id)
    with database.write() as session:
        reward_model = Model(
            id="rm", name="rm", kind="reward_model", source="job", snapshot_id=snapshot.id
        )
        session.add_all([reward_model, Model(id="old", name="o", kind="policy", source="job")])
        session.flush()
        session.add(Model(id="pi", name="pi", kind="policy", source="job", reward_model_id="rm"))
    with database.read() as session:
        assert [item.id for item in list_snapshot_models(session, snapshot.id)] == ["rm", "pi"]
