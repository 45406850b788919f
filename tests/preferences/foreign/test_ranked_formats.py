"""Many answers with ranks or scores: Open-Assistant, UltraFeedback, Nectar, HelpSteer3, TL;DR."""

from typing import Any

import pytest

from app.preferences.foreign import get_format
from tests.preferences.foreign.examples import BAD, EXAMPLES, GOOD, USER, tree_message
from tests.preferences.foreign.reading import preview, read, read_one, refuse, said


def reply(text: str, rank: Any, **fields: Any) -> dict[str, Any]:
    return tree_message(text, "assistant", rank, **fields)


def tree(*replies: dict[str, Any]) -> dict[str, Any]:
    prompt = tree_message("Why?", "prompter", replies=list(replies), lang="en")
    return {"message_tree_id": "t1", "tree_state": "ready_for_export", "prompt": prompt}


def ranked(ranks: list[Any]) -> dict[str, Any]:
    answers = [{"answer": f"a{n}", "rank": rank} for n, rank in enumerate(ranks)]
    return {"prompt": "Why?", "answers": answers}


def test_rank_0_of_open_assistant_is_best_and_its_ids_are_kept() -> None:
    ranking = read_one(EXAMPLES["oasst"])
    assert said(ranking) == {"It is not.": 2, "Air scatters blue light most.": 1}
    assert ranking.origin == {
        "format": "oasst",
        "tree": "t1",
        "depth": 0,
        "completion_ids": ["a", "b"],
    }


def test_every_ranked_message_of_a_tree_is_a_ranking() -> None:
    deep = tree_message("More?", "prompter", replies=[reply("x", 1), reply("y", 0)])
    row = tree(
        reply("good", 0, replies=[deep], labels={"quality": {"value": 0.75}}, lang="en"),
        reply("bad", 1, model_name="m1"),
        reply("late", None),
        reply("gone", 2, deleted=True),
    )
    top, below = read(row)
    assert said(top) == {"good": 1, "bad": 2, "late": None}
    assert top.completions[1] == ("bad", "m1")
    assert top.metadata == {"lang": "en"}
    assert top.external_id == "m-Why?"
    assert top.origin == {
        "format": "oasst",
        "tree": "t1",
        "message_id": "m-Why?",
        "completion_ids": ["m-good", "m-bad", "m-late"],
        "lang": ["en", None, None],
        "labels": [{"quality": {"value": 0.75}}, None, None],
    }
    assert [message["content"] for message in below.messages] == ["Why?", "good", "More?"]
    assert said(below) == {"x": 2, "y": 1}


def test_a_bad_branch_of_a_tree_leaves_the_others_in() -> None:
    bad = tree_message("More?", "prompter", replies=[reply("x", "1"), reply("y", "0")])
    good = tree_message("Else?", "prompter", replies=[reply("x", 1), reply("y", 0)])
    found = preview([tree(reply("a", 0, replies=[bad]), reply("b", 1, replies=[good]))])
    assert [ranking.messages[-1]["content"] for ranking in found.rankings] == ["Why?", "Else?"]
    assert [rejected.reason for rejected in found.rejected] == [
        "ranking 2 of this row: replies[0].rank is '1'; accepted: a whole number from 0 (the "
        "best), or null"
    ]


def test_a_tree_without_ranks_says_so() -> None:
    row = tree(reply("a", None), reply("b", 0))
    assert refuse(row) == "no message of this tree has two replies with a rank"


def test_a_deep_tree_is_read_without_recursion() -> None:
    row: dict[str, Any] = reply("x", 0)
    for _ in range(400):
        row = tree_message("q", "prompter", replies=[reply("a", 0, replies=[row]), reply("b", 1)])
    assert sum(1 for _ in get_format("oasst").rankings({"prompt": row})) == 400


def test_scores_of_ultrafeedback_read_upwards_and_tie() -> None:
    scores = [7.0, None, 9.5, 7.0]
    completions = [
        {"model": f"m{n}", "response": f"r{n}", "overall_score": score}
        for n, score in enumerate(scores)
    ]
    ranking = read_one({"instruction": "Why?", "source": "flan", "completions": completions})
    assert said(ranking) == {"r0": 2, "r1": None, "r2": 1, "r3": 2}
    assert ranking.metadata == {"source": "flan"}
    assert ranking.completions[2] == ("r2", "m2")


def test_without_an_overall_score_the_mean_of_the_ratings_counts() -> None:
    def answer(text: str, *ratings: str) -> dict[str, Any]:
        given = {f"aspect{n}": {"Rating": rating} for n, rating in enumerate(ratings)}
        return {"response": text, "annotations": given}

    row = {"instruction": "Why?", "completions": [answer("a", "1", "N/A"), answer("b", "2", "1")]}
    # The means: 1 and 1.5.
    assert said(read_one(row)) == {"a": 2, "b": 1}
    bad = {"instruction": "Why?", "completions": [answer("a", "good"), answer("b", "2")]}
    assert "completions[0].annotations.aspect0.Rating is 'good'" in refuse(bad)
    none = {"instruction": "Why?", "completions": [answer("a"), answer("b")]}
    assert "no completion has a score" in refuse(none)


@pytest.mark.parametrize(("scores", "ranks"), [((8.5, 4.0), [1, 2]), ((7.0, 7.0), [1, 1])])
def test_binarized_pairs_of_one_score_are_ties(
    scores: tuple[float, float], ranks: list[int]
) -> None:
    row = {
        "prompt": USER["content"],
        "prompt_id": "abc",
        "chosen": [USER, GOOD],
        "rejected": [USER, BAD],
        "messages": [USER, GOOD],
        "score_chosen": scores[0],
        "score_rejected": scores[1],
    }
    found = preview([row])
    assert found.format.name == "ultrafeedback"
    (ranking,) = found.rankings
    assert ranking.ranks == ranks
    assert ranking.prompt_external_id == "abc"
    assert ranking.origin == {
        "format": "ultrafeedback",
        "score_chosen": scores[0],
        "score_rejected": scores[1],
    }


def test_nectar_reads_its_transcript_and_rank_1_is_best() -> None:
    row = EXAMPLES["nectar"] | {
        "prompt": "\n\nHuman: Hi \n\nAssistant: Hello \n\nHuman: Why? \n\nAssistant: ",
        "answers": [{"answer": "x", "model": "m", "rank": 2.0}, {"answer": "y", "rank": 1.0}],
    }
    ranking = read_one(row)
    assert [message["content"] for message in ranking.messages] == ["Hi", "Hello", "Why?"]
    assert said(ranking) == {"x": 2, "y": 1}
    assert ranking.metadata == {"turns": 1, "source": ["lmsys-chat-1m"], "good_natured": True}


def test_ties_and_unranked_answers_are_kept() -> None:
    assert read_one(ranked([2, 1, 2, None])).ranks == [2, 1, 2, None]


@pytest.mark.parametrize(
    ("ranks", "reason"),
    [
        (["1", "2"], "answers[0].rank is '1'; accepted: a whole number from 1 (the best), or null"),
        ([0, 1], "answers[0].rank is 0"),
        ([1.5, 1], "answers[0].rank is 1.5"),
        ([True, 1], "answers[0].rank is True"),
        ([1], "answers has 1; a ranking needs two or more"),
        ([None, None], "every completion is unranked"),
        (list(range(1, 11)), "completions: 10 of them; accepted: 2 to 9"),
    ],
)
def test_bad_ranks_are_named(ranks: list[Any], reason: str) -> None:
    assert reason in refuse(ranked(ranks), format_name="nectar")


@pytest.mark.parametrize(
    ("preference", "ranks"),
    [(-3, [1, 2]), (-1, [1, 2]), (0, [1, 1]), (1, [2, 1]), (3, [2, 1])],
)
def test_a_negative_preference_of_helpsteer3_is_for_the_first(
    preference: int, ranks: list[int]
) -> None:
    ranking = read_one(EXAMPLES["helpsteer3"] | {"overall_preference": preference})
    assert ranking.ranks == ranks
    assert ranking.metadata == {"domain": "stem", "language": "english"}
    assert ranking.origin == {"format": "helpsteer3", "overall_preference": preference}


def test_each_individual_preference_is_a_ranking_of_its_own() -> None:
    single = [
        {"score": -1, "reasoning": "shorter", "feedback1": "ok", "feedback2": "long"},
        {"score": 0, "reasoning": "same"},
        {"score": -1, "reasoning": "clearer"},
    ]
    found = read(EXAMPLES["helpsteer3"] | {"individual_preference": single})
    assert [ranking.ranks for ranking in found] == [[1, 2], [1, 1], [1, 2]]
    assert [ranking.comment for ranking in found] == ["shorter", "same", "clearer"]
    assert len({ranking.external_id for ranking in found}) == 3
    assert found[0].origin == {
        "format": "helpsteer3",
        "overall_preference": 2,
        "score": -1,
        "feedback1": "ok",
        "feedback2": "long",
    }


@pytest.mark.parametrize("value", [4, -4, "2", None, 0.5])
def test_a_preference_out_of_range_is_named(value: Any) -> None:
    reason = refuse(EXAMPLES["helpsteer3"] | {"overall_preference": value})
    assert reason.startswith("overall_preference is ")
    assert reason.endswith("accepted: a whole number from -3 to 3")


def test_a_comparison_of_summaries_keeps_its_worker_and_policies() -> None:
    ranking = read_one(EXAMPLES["summarize-from-feedback"])
    assert ranking.messages[0]["content"] == (
        "SUBREDDIT: r/AskReddit\n\nTITLE: A title\n\nPOST: A long post.\n\nTL;DR:"
    )
    assert said(ranking) == {"It is not.": 2, "It is.": 1}
    assert [model for _, model in ranking.completions] == ["ref", "sup2"]
    assert (ranking.labeler, ranking.prompt_external_id) == ("w9", "t3_1")
    assert ranking.metadata == {"subreddit": "AskReddit"}
    assert ranking.origin == {
        "format": "summarize-from-feedback",
        "batch": "batch3",
        "extra": {"confidence": 5},
        "split": "train",
    }


def test_an_article_takes_the_place_of_a_post() -> None:
    ranking = read_one(EXAMPLES["summarize-from-feedback"] | {"info": {"article": "News."}})
    assert ranking.messages[0]["content"] == "ARTICLE: News.\n\nTL;DR:"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"choice": 2}, "choice is 2; accepted: a whole number from 0 to 1"),
        ({"choice": "0"}, "choice is '0'"),
        ({"summaries": [{"text": "x"}]}, "summaries has 1; a ranking needs two or more"),
        ({"info": {"id": "x"}}, "info has neither post nor article"),
    ],
)
def test_bad_comparisons_are_named(change: dict[str, Any], reason: str) -> None:
    assert reason in refuse(EXAMPLES["summarize-from-feedback"] | change)
