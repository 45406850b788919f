"""What an erasure leaves of snapshots, of the files made of them and of training on them."""

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.db import Database
from app.errors import Conflict, Invalid
from app.jobs.kinds.ranked_inputs import check_rankings
from app.models import (
    Job,
    JobState,
    Ranking,
    Snapshot,
)
from app.preferences.erased_files import remove_erased_files, remove_leftovers
from app.preferences.filters import PairFilters
from app.preferences.formats import (
    PairFormat,
    PairSchema,
    RankingFormat,
    RankingSchema,
    export_pairs,
)
from app.preferences.frozen_tasks import iter_ranked_tasks
from app.preferences.queries import iter_frozen_rankings
from app.preferences.snapshot_diff import Reason, diff_snapshots
from app.preferences.snapshot_files import keep_card, keep_dataset, keep_pairs, keep_rankings
from app.preferences.snapshots import (
    draft_snapshot,
    store_snapshot,
)
from app.preferences.splits import SplitBy, SplitPlan, Splits, cut, split_key
from tests.preferences.conftest import load_rankings, ranking
from tests.preferences.erasing import NAME, SAID, erase, freeze, load_two_labelers


def kept_files(database: Database, snapshot: Snapshot, folder: Path) -> Iterator[Path]:
    for schema in PairSchema:
        for layout in PairFormat:
            yield keep_pairs(database, snapshot, schema, layout, folder).path
        yield keep_card(database, snapshot, schema, folder).path
        yield keep_dataset(database, snapshot, schema, folder).path
    for ranking_schema in RankingSchema:
        for ranking_layout in RankingFormat:
            yield keep_rankings(database, snapshot, ranking_schema, ranking_layout, folder).path


def rankings_in(paths: Iterator[Path]) -> dict[str, bytes]:
    found = {}
    for path in paths:
        content = path.read_bytes()
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                content = b"".join(archive.read(name) for name in archive.namelist())
        found[path.name] = content
    return found


def test_no_download_holds_what_was_erased_and_only_the_hash_of_the_day_stays(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    load_two_labelers(database, project_id)
    snapshot = freeze(database, project_id)
    before = rankings_in(kept_files(database, snapshot, tmp_path))
    plain = keep_pairs(database, snapshot, PairSchema.PLAIN, PairFormat.JSONL, tmp_path)
    assert hashlib.sha256(plain.path.read_bytes()).hexdigest() == snapshot.sha256
    assert any(NAME.encode() in content for content in before.values())
    done = erase(database, project_id)
    assert remove_erased_files(done, tmp_path, tmp_path) == len(before)
    assert list(tmp_path.glob(f"{snapshot.id}-*")) == []
    with database.read() as session:
        now = session.get_one(Snapshot, snapshot.id)
        assert (now.sha256, now.pairs, now.rankings) == (snapshot.sha256, 36, 12)
        assert now.erased_rankings == 6
        assert {one.labeler for one in iter_frozen_rankings(session, now)} == {"bea"}
        frozen = [one for task in iter_ranked_tasks(session, now) for one in task.rankings]
        assert {one.labeler for one in frozen} == {"bea"}
        assert len(frozen) == 6
    after = rankings_in(kept_files(database, now, tmp_path))
    assert len(after) == len(before)
    assert not after.keys() & before.keys()
    for content in after.values():
        assert NAME.encode() not in content
        assert SAID.encode() not in content
    plain = keep_pairs(database, now, PairSchema.PLAIN, PairFormat.JSONL, tmp_path)
    lines = plain.path.read_bytes().splitlines()
    assert len(lines) == 18
    assert hashlib.sha256(plain.path.read_bytes()).hexdigest() != now.sha256
    # The same as when only the others had ever been frozen.
    others = freeze(database, project_id)
    assert hashlib.sha256(plain.path.read_bytes()).hexdigest() == others.sha256


def test_what_a_crash_left_is_removed_at_the_next_start(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    load_two_labelers(database, project_id)
    snapshot = freeze(database, project_id)
    other = freeze(database, project_id, filters=PairFilters(labeler="bea"))
    stale = list(kept_files(database, snapshot, tmp_path))
    good = list(kept_files(database, other, tmp_path))
    with database.write() as session:
        jobs = [
            Job(
                kind="reward_model",
                project_id=project_id,
                state=JobState.SUCCEEDED,
                config={"snapshot_id": one.id},
            )
            for one in (snapshot, other)
        ]
        session.add_all(jobs)
    for job in jobs:
        (tmp_path / "runs" / job.id).mkdir(parents=True)
        (tmp_path / "runs" / job.id / "tasks.jsonl").write_text("{}")
    erase(database, project_id)
    with database.read() as session:
        assert remove_leftovers(session, tmp_path, tmp_path / "runs") == len(stale) + 1
        assert remove_leftovers(session, tmp_path, tmp_path / "runs") == 0
    assert not any(path.exists() for path in stale)
    assert all(path.exists() for path in good)
    kept = [(tmp_path / "runs" / job.id / "tasks.jsonl").exists() for job in jobs]
    assert kept == [False, True]


def test_a_file_written_during_the_erasure_is_not_kept(
    database: Database, project_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_two_labelers(database, project_id)
    snapshot = freeze(database, project_id)

    def write_slowly(*arguments: Any) -> Iterator[bytes]:
        yield from export_pairs(*arguments)
        # On PostgreSQL and on SQLite the reader goes on seeing what was.
        erase(database, project_id)

    monkeypatch.setattr("app.preferences.snapshot_files.export_pairs", write_slowly)
    with pytest.raises(Conflict) as refused:
        keep_pairs(database, snapshot, PairSchema.PLAIN, PairFormat.JSONL, tmp_path)
    assert refused.value.code == "rankings_erased"
    assert list(tmp_path.glob(f"{snapshot.id}-*")) == []


def test_training_reads_the_tasks_of_which_something_is_left(
    database: Database, project_id: str
) -> None:
    load_two_labelers(database, project_id)
    load_rankings(database, project_id, [ranking(prompt="theirs alone", labeler=NAME)])
    snapshot = freeze(database, project_id)
    erase(database, project_id)
    with database.read() as session:
        now = session.get_one(Snapshot, snapshot.id)
        tasks = list(iter_ranked_tasks(session, now))
        assert [len(task.rankings) for task in tasks] == [1] * 6
    erase(database, project_id, "bea")
    with database.read() as session:
        assert list(iter_ranked_tasks(session, session.get_one(Snapshot, snapshot.id))) == []


def test_a_diff_says_that_they_were_erased(database: Database, project_id: str) -> None:
    load_two_labelers(database, project_id)
    first = freeze(database, project_id)
    second = freeze(database, project_id, filters=PairFilters(labeler="bea"))
    done = erase(database, project_id)
    with database.read() as session:
        diff = diff_snapshots(
            session, session.get_one(Snapshot, first.id), session.get_one(Snapshot, second.id)
        )
        assert diff.only_first.reasons == {Reason.ERASED: 6}
        assert diff.only_first.pairs == 0
        assert diff.only_first.labelers == []
        example = diff.only_first.examples[Reason.ERASED][0]
        assert example.labeler == done.pseudonym


def test_a_job_that_is_learning_from_them_is_not_pulled_from_under(
    database: Database, project_id: str, tmp_path: Path
) -> None:
    load_two_labelers(database, project_id)
    snapshot = freeze(database, project_id)
    with database.write() as session:
        job = Job(
            kind="reward_model",
            project_id=project_id,
            state=JobState.RUNNING,
            config={"snapshot_id": snapshot.id},
        )
        session.add(job)
    with pytest.raises(Conflict, match="learning") as refused:
        erase(database, project_id)
    assert refused.value.code == "used_by_job"
    with database.write() as session:
        assert session.scalar(select(func.count()).where(Ranking.labeler == NAME)) == 6
        session.get_one(Job, job.id).state = JobState.FAILED
    done = erase(database, project_id)
    assert done.job_ids == [job.id]
    copy = tmp_path / job.id / "tasks.jsonl"
    copy.parent.mkdir()
    copy.write_text("{}")
    remove_erased_files(done, tmp_path / "exports", tmp_path)
    assert not copy.exists()


def test_what_is_frozen_meanwhile_is_refused_or_found(database: Database, project_id: str) -> None:
    load_two_labelers(database, project_id)
    with database.read() as session:
        draft = draft_snapshot(session, project_id)
    erase(database, project_id)
    with pytest.raises(Conflict, match="erased meanwhile"), database.write() as session:
        store_snapshot(session, None, draft)


def test_a_part_that_ended_at_the_labeler_no_longer_tells_their_name(
    database: Database, project_id: str
) -> None:
    names = [f"labeler{number}" for number in range(8)]
    load_rankings(database, project_id, [ranking(prompt=name, labeler=name) for name in names])
    plan = SplitPlan(by=SplitBy.LABELER, shares={"train": 0.5, "test": 0.5}, seed=7)
    snapshot = freeze(database, project_id, plan=plan)
    assert snapshot.splits is not None
    before = Splits.from_json(snapshot.splits)
    (last,) = [name for name in names if split_key(7, name) == before.parts[0].last_key]
    erase(database, project_id, last)
    with database.read() as session:
        now = session.get_one(Snapshot, snapshot.id)
        assert now.splits is not None
        after = Splits.from_json(now.splits)
        assert after.parts[0].last_key != before.parts[0].last_key
        for name in names:
            if name != last:
                assert after.part_of("", name) == before.part_of("", name)
        parts = [len(list(iter_frozen_rankings(session, now, split=part))) for part in plan.shares]
        assert sum(parts) == 7


def test_cuts_stay_in_order_when_one_labeler_after_the_other_is_erased() -> None:
    names = [f"labeler{number}" for number in range(9)]
    plan = SplitPlan(by=SplitBy.LABELER, shares={"a": 0.3, "b": 0.3, "c": 0.4})
    splits = cut(plan, dict.fromkeys(names, (1, 1)))
    parts = {name: splits.part_of("", name) for name in names}
    while names:
        splits = splits.without_labeler(names.pop(), names)
        keys = [part.last_key for part in splits.parts]
        assert keys == sorted(keys)
        assert {name: splits.part_of("", name) for name in names} == {
            name: parts[name] for name in names
        }


def test_nothing_is_trained_on_a_snapshot_of_which_all_was_erased(
    database: Database, project_id: str
) -> None:
    load_two_labelers(database, project_id)
    snapshot = freeze(database, project_id)
    erase(database, project_id)
    with database.read() as session:
        check_rankings(session, project_id, snapshot.id)
    erase(database, project_id, "bea")
    with pytest.raises(Invalid, match="no pair"), database.read() as session:
        check_rankings(session, project_id, snapshot.id)
