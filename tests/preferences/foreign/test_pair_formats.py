"""Pairs: TRL's datasets, transcripts, Podium's own."""

from typing import Any

import pytest

from app.preferences.storing import ParsedRanking
from tests.preferences.foreign.examples import BAD, EXAMPLES, GOOD, TRANSCRIPT, USER
from tests.preferences.foreign.reading import preview, read, read_one, refuse, said

SYSTEM = {"role": "system", "content": "Be brief."}
BETTER, WORSE = GOOD["content"], BAD["content"]


def order(ranking: ParsedRanking) -> tuple[Any, dict[str, int | None]]:
    return [(item["role"], item["content"]) for item in ranking.messages], said(ranking)


def test_a_trl_pair_keeps_its_ids_models_and_what_it_says_of_the_prompt() -> None:
    row = EXAMPLES["trl"] | {
        "id": "arg1_arg2",
        "topic": "sky",
        "prompt_id": "p7",
        "chosen_model": "m1",
        "margin": 2.5,
        "labeler": "lena",
    }
    ranking = read_one(row)
    assert ranking.external_id == "arg1_arg2"
    assert ranking.prompt_external_id == "p7"
    assert ranking.metadata == {"topic": "sky"}
    assert ranking.origin == {"format": "trl", "margin": 2.5}
    assert ranking.completions == [(BETTER, "m1"), (WORSE, None)]
    assert (ranking.labeler, ranking.is_chat) == ("lena", False)


@pytest.mark.parametrize("number", [7, "7"])
def test_a_number_that_may_count_rows_is_no_external_id(number: Any) -> None:
    ranking = read_one(EXAMPLES["trl"] | {"id": number})
    assert ranking.external_id is None
    assert ranking.origin == {"format": "trl", "id": number}


def test_the_implicit_prompt_of_texts_is_what_both_begin_with() -> None:
    ranking = read_one({"chosen": "The sky is blue.", "rejected": "The sky is green."})
    # TRL's extract_prompt gives the space to the answers.
    assert order(ranking) == ([("user", "The sky is")], {" blue.": 1, " green.": 2})


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": USER["content"], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": USER["content"], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
    ],
)
def test_conversations_are_read_with_and_without_their_prompt(row: dict[str, Any]) -> None:
    ranking = read_one(row)
    assert order(ranking) == ([("user", USER["content"])], {BETTER: 1, WORSE: 2})


def test_a_system_message_that_only_the_sides_have_is_kept() -> None:
    row = {
        "prompt": USER["content"],
        "chosen": [SYSTEM, USER, GOOD],
        "rejected": [SYSTEM, USER, BAD],
    }
    assert read_one(row).messages == [SYSTEM, USER]


def test_other_words_for_speakers_and_texts_are_understood() -> None:
    sides = [[{"from": "human", "value": "Why?"}, {"from": "gpt", "value": text}] for text in "ab"]
    ranking = read_one({"chosen": sides[0], "rejected": sides[1]})
    assert order(ranking) == ([("user", "Why?")], {"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "rejected": "b"}, "chosen is missing"),
        ({"prompt": "a", "chosen": "b", "rejected": None}, "rejected is missing"),
        ({"prompt": "a", "chosen": " ", "rejected": "b"}, "chosen is empty"),
        ({"chosen": "yes", "rejected": "no"}, "there is no prompt"),
        ({"chosen": "same", "rejected": "same"}, "accepted: a prompt, or an answer after it"),
        ({"chosen": [USER, GOOD], "rejected": [BAD]}, "chosen and rejected"),
        ({"chosen": [USER], "rejected": [USER]}, "accepted: one answer of the assistant"),
        (
            {"chosen": [USER, GOOD, USER, GOOD], "rejected": [USER, BAD, USER, GOOD]},
            "chosen has 3 messages after what chosen and rejected share",
        ),
        ({"chosen": [{"role": "tool", "content": "x"}], "rejected": [BAD]}, "the role 'tool'"),
    ],
)
def test_pairs_that_cannot_be_read_say_which_field(row: dict[str, Any], reason: str) -> None:
    name = "trl-conversational" if isinstance(row.get("chosen"), list) else "trl"
    assert reason in refuse(row, format_name=name)


def test_two_answers_of_the_same_words_stay_two() -> None:
    ranking = read_one({"prompt": [USER], "chosen": [GOOD], "rejected": [GOOD]})
    assert ranking.completions == [(BETTER, None), (BETTER, None)]
    assert ranking.ranks == [1, 2]


def test_a_transcript_parts_at_its_last_answer() -> None:
    lead = f"Be brief.{TRANSCRIPT} Guess!\n\nIs it\nhard?\n\nHuman: Yes.\n\nAssistant:"
    ranking = read_one({"chosen": f"{lead} a\n\nb", "rejected": f"{lead} c"})
    assert [message["role"] for message in ranking.messages] == [
        "system",
        "user",
        "assistant",
        "user",
    ]
    assert ranking.messages[2]["content"] == "Guess!\n\nIs it\nhard?"
    assert said(ranking) == {"a\n\nb": 1, "c": 2}


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (f"{TRANSCRIPT} a", f"{TRANSCRIPT}", "completions[1].text is empty"),
        (f"{TRANSCRIPT} a", f"{TRANSCRIPT} b\n\nHuman: c", "rejected does not end with an answer"),
        (f"{TRANSCRIPT} a\n\nHuman: x\n\nAssistant: y", f"{TRANSCRIPT} b", "chosen has 3 messages"),
        ("plain", f"{TRANSCRIPT} b", "chosen is no transcript"),
    ],
)
def test_bad_transcripts_say_why(chosen: str, rejected: str, reason: str) -> None:
    row = {"chosen": chosen, "rejected": rejected}
    assert reason in refuse(row, format_name="hh")


def unpaired(prompt: str, *labelled: str) -> list[dict[str, Any]]:
    """`a+` is a desirable completion a."""
    return [
        {"prompt": prompt, "completion": item[:-1], "label": item[-1] == "+"} for item in labelled
    ]


def test_unpaired_lines_of_one_prompt_that_stand_together_are_a_ranking() -> None:
    rows = unpaired("p", "a+", "b-", "c+") + unpaired("q", "d-", "e+")
    first, second = read(*rows)
    assert said(first) == {"a": 1, "c": 1, "b": 2}
    assert said(second) == {"d": 2, "e": 1}


def test_unpaired_pairs_one_after_the_other_come_back_as_they_were() -> None:
    # Of a > b > c: each pair as its chosen and its rejected line.
    found = read(*unpaired("p", "a+", "b-", "a+", "c-", "b+", "c-"))
    assert [said(ranking) for ranking in found] == [{"a": 1, "b": 2, "c": 2}, {"b": 1, "c": 2}]


def test_unpaired_runs_are_cut_at_nine_completions() -> None:
    found = read(*unpaired("p", *(f"{n}{'+-'[n % 2]}" for n in range(12))))
    assert [len(ranking.completions) for ranking in found] == [9, 3]


def test_unpaired_lines_without_the_other_label_are_refused_each() -> None:
    rows = [*unpaired("p", "a+", "b+"), *unpaired("q", "c-"), *unpaired("p", "d-")]
    found = preview(rows)
    assert found.rankings == []
    assert [rejected.line for rejected in found.rejected] == [1, 2, 3, 4]
    assert "the other label stands beside it" in found.rejected[0].reason


def test_unpaired_bad_labels_are_named_and_the_others_kept() -> None:
    rows = unpaired("p", "a+", "b-")
    rows.insert(1, {"prompt": "p", "completion": "x", "label": "good"})
    rows.insert(1, {"prompt": "p", "completion": None, "label": True})
    found = preview(rows)
    assert [said(ranking) for ranking in found.rankings] == [{"a": 1, "b": 2}]
    assert [rejected.reason for rejected in found.rejected] == [
        "completion is missing",
        "label is 'good'; accepted: true (desirable) or false",
    ]


def test_unpaired_messages_are_read_too() -> None:
    rows = [
        {"prompt": [USER], "completion": [GOOD], "label": True},
        {"prompt": [USER], "completion": [BAD], "label": False},
    ]
    assert said(read_one_of(rows)) == {BETTER: 1, WORSE: 2}


def read_one_of(rows: list[dict[str, Any]]) -> ParsedRanking:
    (ranking,) = read(*rows)
    return ranking


def test_podium_pairs_keep_labeler_models_time_and_ids() -> None:
    ranking = read_one(EXAMPLES["podium-pairs"])
    assert (ranking.labeler, ranking.ranking_id) == ("lena", "r1")
    assert ranking.external_id == "r1:c1:c2"
    assert ranking.completions == [(BETTER, "m1"), (WORSE, None)]
    assert ranking.is_chat is False
    assert str(ranking.created_at) == "2026-03-09 22:16:08+00:00"
    assert ranking.origin == {
        "format": "podium-pairs",
        "ranking_id": "r1",
        "task_id": "t1",
        "prompt_id": "p1",
        "round": 2,
        "chosen_id": "c1",
        "rejected_id": "c2",
        "chosen_rank": 1,
        "rejected_rank": 3,
        "weight": 0.5,
        "guidelines_version": 4,
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chosen_rank": 3}, "must be better, a lower number"),
        ({"chosen_rank": 0}, "chosen_rank is 0; accepted: a whole number from 1"),
        ({"round": "x"}, "round is 'x'; accepted: a number"),
    ],
)
def test_podium_pairs_that_contradict_themselves_are_refused(
    change: dict[str, Any], reason: str
) -> None:
    assert reason in refuse(EXAMPLES["podium-pairs"] | change)
