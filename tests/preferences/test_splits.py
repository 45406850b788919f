import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from app.db import Database
from app.errors import Invalid
from app.preferences.queries import iter_frozen_pairs, iter_frozen_rankings
from app.preferences.snapshots import create_snapshot, freeze
from app.preferences.splits import SplitBy, SplitPlan, Splits, cut, get_splits
from tests.preferences.conftest import load_rankings, make_project, ranking

PLAN = SplitPlan(shares={"train": 0.7, "test": 0.3})


@given(
    st.dictionaries(
        st.text(min_size=1), st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=3
    ),
    st.sampled_from([{"train": 0.9, "test": 0.1}, {"a": 0.6, "b": 0.2, "c": 0.2}]),
    st.integers(0, 99),
)
def test_every_group_is_in_one_part_and_shares_are_exact(
    groups: dict[str, tuple[int, int]], shares: dict[str, float], seed: int
) -> None:
    splits = cut(SplitPlan(shares=shares, seed=seed), groups)
    assert Splits.from_json(splits.as_json()) == splits
    found: dict[str, list[str]] = {name: [] for name in shares}
    for name in groups:
        found[splits.part_of(name, "whoever")].append(name)
    for part in splits.parts:
        inside = found[part.name]
        assert part.groups == len(inside) >= 1
        assert part.rankings == sum(groups[name][0] for name in inside)
        assert abs(part.groups - part.share * len(groups)) <= len(shares)


def test_the_seed_decides_and_nothing_else(database: Database) -> None:
    """The same prompts in another project, brought in another order, come into the same parts."""
    lines = [ranking(prompt=f"Question {number}?", labeler="ann") for number in range(40)]
    parts = []
    for name, given_lines in (("first", lines), ("second", lines[::-1])):
        project_id = make_project(database, name)
        load_rankings(database, project_id, given_lines)
        with database.write() as session:
            snapshot = create_snapshot(session, None, project_id, plan=PLAN)
            other = create_snapshot(
                session, None, project_id, plan=SplitPlan(shares=PLAN.shares, seed=1)
            )
            assert snapshot.sha256 == other.sha256
        with database.read() as session:
            found = {
                split: {
                    item.prompt.messages[0]["content"]
                    for item in iter_frozen_rankings(session, snapshot, split=split)
                }
                for split in ("train", "test")
            }
            pairs = sum(
                len(list(iter_frozen_pairs(session, snapshot, split=split))) for split in found
            )
            reseeded = {
                item.prompt.messages[0]["content"]
                for item in iter_frozen_rankings(session, other, split="test")
            }
        assert (len(found["train"]), len(found["test"])) == (28, 12)
        assert not found["train"] & found["test"]
        assert reseeded != found["test"]
        stored = get_splits(snapshot)
        assert pairs == snapshot.pairs == sum(part.pairs for part in stored.parts)
        parts.append(found)
    assert parts[0] == parts[1]


def test_a_labeler_is_in_one_part_when_asked_for(database: Database, project_id: str) -> None:
    load_rankings(
        database,
        project_id,
        [ranking(prompt=f"{n}?", labeler=f"person {n % 4}") for n in range(12)],
    )
    plan = SplitPlan(shares={"train": 0.75, "test": 0.25}, by=SplitBy.LABELER)
    with database.write() as session:
        snapshot = create_snapshot(session, None, project_id, plan=plan)
    with database.read() as session:
        train, test = (
            {item.labeler for item in iter_frozen_rankings(session, snapshot, split=split)}
            for split in ("train", "test")
        )
    assert (len(train), len(test), train & test) == (3, 1, set())


@pytest.mark.parametrize(
    "shares",
    [{"train": 1.0}, {"train": 0.5, "test": 0.4}, {"a b": 0.5, "c": 0.5}, {"a": 1.5, "b": -0.5}],
)
def test_a_split_that_cannot_be_is_refused(
    database: Database, project_id: str, shares: dict[str, float]
) -> None:
    load_rankings(database, project_id, [ranking(prompt=f"{n}?") for n in range(5)])
    with pytest.raises(Invalid, match="cannot be split"):
        freeze(database, None, project_id, plan=SplitPlan(shares=shares))


def test_fewer_prompts_than_parts_and_parts_that_there_are_not(
    database: Database, project_id: str
) -> None:
    load_rankings(database, project_id, [ranking()])
    with pytest.raises(Invalid, match="2 parts need as many prompts; found 1"):
        freeze(database, None, project_id, plan=PLAN)
    whole = freeze(database, None, project_id)
    with database.read() as session, pytest.raises(Invalid, match="was not split"):
        list(iter_frozen_rankings(session, whole, split="train"))


def test_hashing_does_not_hold_the_writer(
    sqlite_database: Database, sqlite_project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a snapshot is read and hashed, somebody else writes."""
    load_rankings(sqlite_database, sqlite_project_id, [ranking()])
    from app.preferences import snapshots

    iter_rankings = snapshots.iter_rankings

    def write_meanwhile(*arguments: object) -> object:
        with sqlite_database.write() as session:
            session.execute(text("UPDATE project SET guidelines = 'changed meanwhile'"))
        return iter_rankings(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(snapshots, "iter_rankings", write_meanwhile)
    assert freeze(sqlite_database, None, sqlite_project_id).pairs == 3
