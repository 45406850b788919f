"""UltraFeedback: scored completions of an instruction, and the pairs binarized from them."""

from collections.abc import Iterator
from typing import Any

from app.preferences.foreign.shape import ForeignFormat, Row
from app.preferences.foreign.taking import (
    details,
    ranks_from_scores,
    take_objects,
    take_text,
)
from app.preferences.foreign.trl import conversational_pair, pair_row
from app.projects.reading import RowError


def _rankings(row: Row) -> Iterator[Row]:
    yield _binarized(row) if "chosen" in row or "rejected" in row else _original(row)


def _binarized(row: Row) -> Row:
    """`{prompt, prompt_id, chosen, rejected, score_chosen, score_rejected}`."""
    prompt, texts = conversational_pair(row)
    scores = [_number(row.get(name), name) for name in ("score_chosen", "score_rejected")]
    tied = scores[0] is not None and scores[0] == scores[1]
    # `messages` is the chosen conversation once more.
    told = {name: value for name, value in row.items() if name != "messages"}
    return pair_row("ultrafeedback", told, prompt, texts, [1, 1] if tied else [1, 2])


def _original(row: Row) -> Row:
    """`{source, instruction, completions: [{model, response, annotations, overall_score}]}`."""
    answers = take_objects(row, "completions", "objects with response and overall_score")
    scores = [_score(answer, f"completions[{place}]") for place, answer in enumerate(answers)]
    if all(score is None for score in scores):
        raise RowError(
            "no completion has a score; accepted: overall_score, or a Rating in its annotations"
        )
    about_prompt, rest = details(row, ("instruction", "completions", "models", "id"))
    said = [
        {key: value for key, value in answer.items() if key not in ("response", "model")}
        for answer in answers
    ]
    return {
        "prompt": take_text(row, "instruction"),
        "completions": [
            {"text": take_text(answer, "response"), "model": answer.get("model")}
            for answer in answers
        ],
        "ranks": ranks_from_scores(scores),
        "metadata": about_prompt,
        "origin": {"format": "ultrafeedback", **rest, "completions": said},
    }


def _score(answer: Row, where: str) -> float | None:
    """The overall score; without one, the mean of the ratings."""
    if answer.get("overall_score") is not None:
        return _number(answer["overall_score"], f"{where}.overall_score")
    annotations = answer.get("annotations")
    if not isinstance(annotations, dict):
        return None
    ratings = []
    for name, annotation in annotations.items():
        rating = annotation.get("Rating") if isinstance(annotation, dict) else None
        if rating not in (None, "N/A"):
            ratings.append(_number(rating, f"{where}.annotations.{name}.Rating"))
    given = [rating for rating in ratings if rating is not None]
    return sum(given) / len(given) if given else None


def _number(value: Any, name: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise RowError(f"{name} is {str(value)[:40]!r}; accepted: a number") from error
    if isinstance(value, bool) or number != number:
        raise RowError(f"{name} is {value!r}; accepted: a number")
    return number


def _matches(row: Row) -> bool:
    if isinstance(row.get("chosen"), list):
        return "score_chosen" in row and "score_rejected" in row
    completions = row.get("completions")
    return (
        "instruction" in row
        and isinstance(completions, list)
        and any(isinstance(item, dict) and "response" in item for item in completions)
    )


ULTRAFEEDBACK = ForeignFormat(
    name="ultrafeedback",
    title="UltraFeedback, original and binarized",
    direction="The highest overall_score is best (without one, the mean of the ratings); equal "
    "scores are ties. Binarized, chosen is better, and equal scores are a tie.",
    columns=(("instruction", "completions"), ("chosen", "rejected", "score_chosen")),
    matches=_matches,
    rankings=_rankings,
)
