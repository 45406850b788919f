"""What labeling tools and arenas export: Argilla, Label Studio, LMArena."""

import copy
from typing import Any

import argilla
import pytest

from tests.preferences.foreign.examples import (
    BAD,
    EXAMPLES,
    GOOD,
    USER,
    annotation,
    ranker_task,
)
from tests.preferences.foreign.reading import preview, read, read_one, refuse, said

BETTER, WORSE = GOOD["content"], BAD["content"]


def record(**responses: Any) -> dict[str, Any]:
    return EXAMPLES["argilla"] | {"responses": responses}


def older(value: Any, status: str = "submitted") -> dict[str, Any]:
    values = {question: {"value": given} for question, given in value.items()}
    response = {"user_id": "u1", "status": status, "values": values}
    return EXAMPLES["argilla-v1"] | {"responses": [response]}


def test_each_user_of_an_argilla_record_is_a_labeler() -> None:
    first, second = read(EXAMPLES["argilla"])
    assert said(first) == {WORSE: 2, BETTER: 1}
    assert said(second) == {WORSE: 1, BETTER: 2}
    assert (first.labeler, second.labeler) == ("u1", "u2")
    assert first.external_id == "argilla:rec-1:u1"
    assert first.metadata == {"topic": "physics"}
    assert first.origin == {
        "format": "argilla",
        "record_id": "rec-1",
        "question": "ranking",
        "options": ["response-1", "response-2"],
    }


def test_what_the_argilla_package_writes_is_read() -> None:
    user = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
    written = argilla.Record(
        id="r9",
        fields={"instruction": "Why?", "response1": "a", "response2": "b"},
        metadata={"topic": "sky"},
        responses=[argilla.Response("ranking", ["response2", "response1"], user_id=user)],
    ).to_dict()
    found = preview([written])
    assert found.format.name == "argilla"
    (ranking,) = found.rankings
    assert said(ranking) == {"a": 2, "b": 1}
    assert ranking.labeler == user


def test_ranks_of_argilla_may_tie() -> None:
    value = [{"value": "response-1", "rank": 1}, {"value": "response-2", "rank": 1}]
    assert read_one(older({"ranking": value})).ranks == [1, 1]
    assert read_one(record(ranking=[{"value": value, "user_id": "u"}])).ranks == [1, 1]


def test_ratings_of_two_fields_rank_them_and_are_kept() -> None:
    ranking = read_one(older({"rating-1": 3, "rating-2": 5, "why": "clear"}))
    assert said(ranking) == {WORSE: 2, BETTER: 1}
    assert ranking.ratings == [3, 5]
    assert ranking.origin is not None
    assert ranking.origin["question"] == "rating-1, rating-2"
    tied = read_one(older({"response-1-quality": 4, "response-2-quality": 4}))
    assert tied.ranks == [1, 1]


def test_the_name_of_the_best_field_is_a_ranking() -> None:
    assert said(read_one(older({"best": "response-2"}))) == {WORSE: 2, BETTER: 1}


def test_drafts_and_discarded_answers_are_left_out() -> None:
    value = {"ranking": [{"value": "response-1", "rank": 1}]}
    assert refuse(older(value, "discarded")) == "responses holds no submitted answer"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([{"value": "response-1", "rank": "1"}], "responses.ranking[0].rank is '1'"),
        (["reply-9"], "responses.ranking[0] is 'reply-9'; accepted: a name of fields, prompt,"),
        (["response-1", "response-1"], "responses.ranking names response-1 twice"),
        (["response-1"], "completions must be a list of 2 to 9"),
        (5, "responses has no ranking"),
    ],
)
def test_bad_argilla_values_are_named(value: Any, reason: str) -> None:
    assert reason in refuse(record(ranking=[{"value": value, "user_id": "u"}]))


def test_each_annotation_of_label_studio_is_a_labeler() -> None:
    row = copy.deepcopy(EXAMPLES["label-studio"])
    row["annotations"] += [
        annotation(2, {"id": 9, "email": "ann@example.org"}, {"selected": "left"}),
        annotation(3, 5, {"selected": "left"}) | {"was_cancelled": True},
    ]
    first, second = read(row)
    assert said(first) == {"It is not.": 2, "It is.": 1}
    assert said(second) == {"It is not.": 1, "It is.": 2}
    assert (first.labeler, second.labeler) == ("4", "ann@example.org")
    assert (first.external_id, first.active_ms) == ("label-studio:1", 4288)
    assert str(first.created_at) == "2026-03-09 22:16:08.728353+00:00"


@pytest.mark.parametrize(
    ("names", "to_name"),
    [
        (("response_a", "response_b"), "x,y"),
        (("text1", "text2"), "txt-1,txt-2"),
        (("mine", "yours"), "mine,yours"),
        (("answer1", "answer2"), "answer1"),
    ],
)
def test_the_sides_are_found_in_the_data(names: tuple[str, str], to_name: str) -> None:
    row = {
        "data": {"question": "Why?", names[0]: "a", names[1]: "b"},
        "annotations": [annotation(1, 1, {"selected": "right"}, to_name)],
    }
    assert said(read_one(row)) == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("ranker", "ranks"),
    [
        (["b", "a", "c"], [2, 1, 3]),
        (["b", "a"], [2, 1, None]),
        ({"rank": ["c", "a", "b"]}, [2, 3, 1]),
        ([["b"], ["a", "c"]], [2, 1, 2]),
        ({"best": ["b"], "worst": ["a", "c"]}, [2, 1, 2]),
        ({"worst": ["a", "c"], "best": ["b"]}, [2, 1, 2]),
        ({"biased_results": ["a"], "relevant_results": ["b"], "_": ["c"]}, [2, 1, None]),
        ({"tier_10": ["a"], "tier_2": ["b"], "tier_3": ["c"]}, [3, 1, 2]),
        ({"first": ["a"], "second": ["b"], "rest": ["c"]}, [1, 2, 3]),
        ({"best": [], "good enough": ["b"], "worst": ["a", "c"]}, [2, 1, 2]),
        ({"picked": ["b"], "_": ["a", "c"]}, [None, 1, None]),
    ],
)
def test_rankers_are_read_in_every_shape(ranker: Any, ranks: list[int | None]) -> None:
    ranking = read_one(ranker_task(ranker))
    assert said(ranking) == dict(zip(["text a", "text b", "text c"], ranks, strict=True))


def test_one_annotation_a_row_is_read_too() -> None:
    row = {
        "id": 3,
        "annotation_id": 12,
        "annotator": 2,
        "prompt": "Why?",
        "answer1": "a",
        "answer2": "b",
        "comparison": [{"selected": "left"}],
        "lead_time": 1.5,
    }
    found = preview([row])
    assert found.format.name == "label-studio"
    assert said(found.rankings[0]) == {"a": 1, "b": 2}
    assert (found.rankings[0].labeler, found.rankings[0].active_ms) == ("2", 1500)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ranker_task(["a", "x"]), "ranker names items that no list of data holds: a, x"),
        (ranker_task(["a", "a"]), "ranker names an item twice"),
        (ranker_task({"_": ["a", "b", "c"]}), "every item is left unranked"),
        (ranker_task("a"), "ranker must be a list of ids"),
        (
            EXAMPLES["label-studio"] | {"annotations": [annotation(1, 1, {"selected": "both"})]},
            "annotations[0].result: selected is 'both'; accepted: left, right",
        ),
        (
            EXAMPLES["label-studio"] | {"annotations": [annotation(1, 1, {"choices": ["x"]})]},
            "annotations[0].result has neither value.selected (left, right) nor value.ranker",
        ),
        (EXAMPLES["label-studio"] | {"annotations": []}, "annotations holds none"),
        (
            EXAMPLES["label-studio"] | {"data": {"answer1": "a", "answer2": "b"}},
            "data has no prompt; accepted: prompt, question",
        ),
        (
            EXAMPLES["label-studio"] | {"data": {"prompt": "a", "x": "b"}},
            "data does not say what was compared: found prompt, x",
        ),
    ],
)
def test_bad_tasks_of_label_studio_are_named(row: dict[str, Any], reason: str) -> None:
    assert reason in refuse(row)


@pytest.mark.parametrize(
    ("winner", "ranks"),
    [
        ("model_a", [1, 2]),
        ("model_b", [2, 1]),
        ("tie", [1, 1]),
        ("tie (bothbad)", [1, 1]),
        ("both_bad", [1, 1]),
    ],
)
def test_battles_name_their_winner_and_both_bad_is_a_tie(winner: str, ranks: list[int]) -> None:
    ranking = read_one(EXAMPLES["lmarena"] | {"winner": winner})
    assert ranking.ranks == ranks
    assert ranking.completions == [(WORSE, "m1"), (BETTER, "m2")]
    assert ranking.labeler == "arena_user_973"
    assert ranking.external_id == "q-58210e39"
    assert ranking.origin is not None
    assert ranking.origin["winner"] == winner
    assert str(ranking.created_at) == "2023-04-24 15:53:11.130000+00:00"


def test_battles_of_parts_and_of_columns_are_read() -> None:
    parts = [
        [
            {"role": item["role"], "content": [{"type": "text", "text": item["content"]}]}
            for item in c
        ]
        for c in ([USER, BAD], [USER, GOOD])
    ]
    row = EXAMPLES["lmarena"] | {"conversation_a": parts[0], "conversation_b": parts[1]}
    assert said(read_one(row)) == {WORSE: 2, BETTER: 1}
    columns = {
        "id": 30192,
        "model_a": "m1",
        "model_b": "m2",
        "prompt": ["Why?"],
        "response_a": ["a"],
        "response_b": ["b"],
        "winner_model_a": 0,
        "winner_model_b": 0,
        "winner_tie": 1,
    }
    assert read_one(columns).ranks == [1, 1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"winner": "model_c"}, "winner is 'model_c'; accepted: model_a, model_b, tie"),
        ({"conversation_b": [USER]}, "accepted: one answer of the assistant"),
        (
            {"conversation_a": [USER, BAD, USER, BAD], "conversation_b": [USER, GOOD, USER, GOOD]},
            "conversation_a has 3 messages after what conversation_a and conversation_b share",
        ),
        ({"tstamp": "yesterday"}, "tstamp is 'yesterday'; accepted: seconds since 1970"),
    ],
)
def test_bad_battles_are_named(change: dict[str, Any], reason: str) -> None:
    assert reason in refuse(EXAMPLES["lmarena"] | change)
