import pytest
from sqlalchemy.orm import Session

from app.db import Database
from app.errors import Invalid, NotFound
from app.labeling.agreement import measure_agreement
from app.labeling.judgements import load_judged_tasks
from app.labeling.people import (
    agreement_of_all,
    compare_with_others,
    find_revoked_note,
    foresee_revocation,
    get_account,
    get_project_labeler,
    list_project_labelers,
)
from app.labeling.revocation import revoke_rankings
from tests.web.crowd import Person, seed_crowd

CROWD = [
    Person(name="ada", noise=0.3),
    Person(name="ben"),
    Person(name="kim", noise=3.0),
    Person(name="elsewhere", account=False, share=0.5),
]


def seed(session: Session) -> str:
    return seed_crowd(session, CROWD, tasks=40, labelers_per_task=2, repeat_share=0.2).id


def test_agreement_of_all_is_that_of_the_project(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        project_id = seed(session)
        measured = measure_agreement(load_judged_tasks(session, project_id))
        labelers = list_project_labelers(session, project_id)
    assert agreement_of_all(labelers) == pytest.approx(measured.pairwise_agreement.value)
    assert agreement_of_all([]) is None


def test_a_labeler_with_others_is_as_in_the_agreement_of_all_pairs(
    sqlite_database: Database,
) -> None:
    with sqlite_database.write() as session:
        tasks = load_judged_tasks(session, seed(session))
    pairs = measure_agreement(tasks).labeler_pairs
    for name in ("ada", "elsewhere", "kim"):
        expected = {
            pair.second if pair.first == name else pair.first: pair.pairwise_agreement
            for pair in pairs
            if name in (pair.first, pair.second)
        }
        assert dict(compare_with_others(tasks, name)) == expected
    assert compare_with_others(tasks, "nobody") == []


@pytest.mark.parametrize("labeler", ["kim", "elsewhere"])
def test_what_is_foreseen_is_what_revoking_does(database: Database, labeler: str) -> None:
    with database.write() as session:
        project_id = seed(session)
        foreseen = foresee_revocation(session, project_id, labeler)
        done = revoke_rankings(session, None, project_id, labeler, reason="Hasty")
        assert (foreseen.rankings, foreseen.reopened_tasks) == (done.rankings, done.reopened_tasks)
        assert done.rankings > 0
        assert done.reopened_tasks > 0
        again = foresee_revocation(session, project_id, labeler)
        assert (again.rankings, again.reopened_tasks) == (0, 0)
        note = find_revoked_note(session, project_id, labeler)
        assert note is not None
        assert (note.reason, note.by) == ("Hasty", None)
        assert find_revoked_note(session, project_id, "ada") is None
        assert get_project_labeler(session, project_id, labeler).rankings == 0


def test_who_only_skipped_is_listed_without_figures(database: Database) -> None:
    with database.write() as session:
        people = [Person(name="ada"), Person(name="ben")]
        project_id = seed_crowd(session, people, tasks=4, skip_share=1.0, gold_every=0).id
        ada, ben = list_project_labelers(session, project_id)
    assert (ada.labeler, ben.labeler) == ("ada", "ben")
    assert ada.rankings == 0
    assert ada.agreement.value is None
    assert ada.skips == sum(ada.skip_reasons.values()) == 4


def test_accounts_are_found_by_name(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        project_id = seed(session)
        assert get_account(session, project_id, "ada").handle == "ada"
        with pytest.raises(Invalid) as caught:
            get_account(session, project_id, "elsewhere")
        assert caught.value.code == "labeler_without_account"
        with pytest.raises(NotFound):
            get_account(session, project_id, "nobody")
