import pytest

from app.errors import Invalid
from app.labeling.flags import FLAGS
from app.labeling.submissions import (
    CheckedSubmission,
    Submission,
    check_reason,
    check_submission,
    dense_ranks,
)

TASK = ("a", "b", "c")


def check(submission: Submission, **options) -> CheckedSubmission:
    return check_submission(submission, TASK, **{"accepted_flags": FLAGS, **options})


def problems(**submission) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        check(Submission(**{"ranks": {"a": 1, "b": 2, "c": 3}, **submission}))
    return caught.value.fields


def test_ranks_become_dense():
    assert dense_ranks({"a": 1, "b": 1, "c": 3}) == {"a": 1, "b": 1, "c": 2}
    assert dense_ranks({"a": 7, "b": None, "c": 2}) == {"a": 2, "b": None, "c": 1}


def test_a_missing_completion_is_named():
    assert list(problems(ranks={"a": 1, "c": 2})) == ["ranks.b"]


def test_a_foreign_completion_is_named():
    assert list(problems(ranks={"a": 1, "b": 2, "c": 3, "x": 4})) == ["ranks.x"]


def test_a_key_that_is_not_text_is_named_readably():
    assert list(problems(ranks={"a": 1, "b": 2, "c": 3, "\ud800": 4})) == ["ranks.?"]


@pytest.mark.parametrize("rank", [0, -1, "first", "1", True, 1.0, 1.5, [1], {}])
def test_only_whole_numbers_from_one_are_ranks(rank):
    assert list(problems(ranks={"a": 1, "b": rank, "c": 3})) == ["ranks.b"]


def test_null_is_a_rank_of_imports_only():
    ranks = {"a": 1, "b": None, "c": 2}
    assert list(problems(ranks=ranks)) == ["ranks.b"]
    assert check(Submission(ranks=ranks), allow_unranked=True).ranks == ranks


@pytest.mark.parametrize("rating", [0, 8, "good", True, 2.0])
def test_ratings_are_one_to_seven(rating):
    assert list(problems(ratings={"b": rating})) == ["ratings.b"]


def test_unknown_flags_are_refused_and_known_ones_kept_once():
    assert list(problems(flags={"a": ["boring"]})) == ["flags.a"]
    assert list(problems(flags={"a": "unsafe"})) == ["flags.a"]
    assert list(problems(flags={"a": [{}]})) == ["flags.a"]
    checked = check(
        Submission(ranks={"a": 1, "b": 1, "c": 1}, flags={"a": ["unsafe", "unsafe"], "b": []})
    )
    assert checked.flags == {"a": ["unsafe"]}


def test_a_project_accepts_its_own_flags_alone():
    flagged = Submission(ranks={"a": 1, "b": 1, "c": 1}, flags={"a": ["rude"]})
    assert check(flagged, accepted_flags=["rude"]).flags == {"a": ["rude"]}
    with pytest.raises(Invalid) as caught:
        check(flagged, accepted_flags=[])
    assert caught.value.fields == {"flags.a": "must be a list of no flags"}


def test_where_any_flag_is_accepted_its_name_is_still_text_of_some_length():
    ranks = {"a": 1, "b": 1, "c": 1}
    odd = Submission(ranks=ranks, flags={"a": ["Räuberpistole", "x", "x"]})
    assert check(odd, accepted_flags=None).flags == {"a": ["Räuberpistole", "x"]}
    for name in ("", "x" * 101, 3, "nul \0", None):
        with pytest.raises(Invalid):
            check(Submission(ranks=ranks, flags={"a": [name]}), accepted_flags=None)


@pytest.mark.parametrize("comment", ["nul \0", "half \ud800", "x" * 10_001, 3])
def test_comments_that_no_database_stores_are_refused(comment):
    assert list(problems(comment=comment)) == ["comment"]


@pytest.mark.parametrize("active_ms", [-1, 1.5, True, 10**12])
def test_active_time_is_a_sane_count_of_milliseconds(active_ms):
    assert list(problems(active_ms=active_ms)) == ["active_ms"]


def test_every_problem_is_named_at_once():
    fields = problems(ranks={"a": 0, "x": 1}, ratings={"a": 9})
    assert set(fields) == {"ranks.a", "ranks.x", "ranks.b", "ranks.c", "ratings.a"}


def test_a_draft_may_lack_ranks_but_not_be_malformed():
    draft = check(Submission(ranks={"a": 2}), allow_missing=True)
    assert draft.ranks == {"a": 2}
    with pytest.raises(Invalid):
        check(Submission(ranks={"a": 0}), allow_missing=True)


@pytest.mark.parametrize("reason", ["", "  ", None, "\0"])
def test_a_skip_needs_a_reason(reason):
    with pytest.raises(Invalid):
        check_reason(reason)
