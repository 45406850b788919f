"""Argilla's records: ranking questions, a rating for each answer, or the name of the best one.

An option of a question stands for the field of that name, or of the same number: `response-2` and
`2` are the field `response-2`.
"""

import re
from collections.abc import Iterator
from typing import Any

from app.labeling.flags import RATINGS
from app.preferences.foreign.shape import ForeignFormat, Row
from app.preferences.foreign.taking import (
    check_any_prompt,
    check_rank,
    is_whole,
    ranks_from_scores,
)
from app.projects.messages import check_text
from app.projects.reading import RowError

PROMPTS = ("prompt", "instruction", "question", "query", "chat", "conversation", "context", "input")
LEFT_OUT = ("draft", "discarded", "pending", "missing")
Ranks = dict[str, int | None]
"""The rank of each field that a question speaks of."""


def _newer(row: Row) -> Iterator[Row]:
    """`{id, fields, responses: {question: [{value, user_id}]}}`."""
    responses = row.get("responses")
    if not isinstance(responses, dict):
        raise RowError("responses must be an object of questions, each a list of value and user_id")
    by_user: dict[str, Row] = {}
    for question, given in responses.items():
        if not isinstance(given, list):
            raise RowError(f"responses.{question} must be a list of objects with value, user_id")
        for place, item in enumerate(given):
            if not isinstance(item, dict):
                raise RowError(f"responses.{question}[{place}] must be an object with value")
            if item.get("status") not in LEFT_OUT:
                user = str(item.get("user_id") or f"#{place}")
                by_user.setdefault(user, {})[question] = item.get("value")
    yield from _records("argilla", row, by_user)


def _older(row: Row) -> Iterator[Row]:
    """`{fields, responses: [{user_id, values: {question: {value}}, status}], external_id}`."""
    responses = row.get("responses")
    if not isinstance(responses, list):
        raise RowError("responses must be a list of objects with values and user_id")
    by_user: dict[str, Row] = {}
    for place, response in enumerate(responses):
        values = response.get("values") if isinstance(response, dict) else None
        if not isinstance(values, dict):
            raise RowError(f"responses[{place}] must be an object with values")
        if response.get("status") in LEFT_OUT:
            continue
        by_user[str(response.get("user_id") or f"#{place}")] = {
            question: value.get("value") if isinstance(value, dict) else value
            for question, value in values.items()
        }
    yield from _records("argilla-v1", row, by_user)


def _records(name: str, row: Row, by_user: dict[str, Row]) -> Iterator[Row]:
    fields = row.get("fields")
    if not isinstance(fields, dict) or not fields:
        raise RowError("fields must be an object with a prompt and its answers")
    if not by_user:
        raise RowError("responses holds no submitted answer")
    metadata = row.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise RowError("metadata must be an object")
    record_id = row.get("external_id") or row.get("id") or row.get("_server_id")
    for user, values in by_user.items():
        question, ranks, ratings = _read_values(values, fields)
        options = [field for field in fields if field in ranks]
        prompt_name = _prompt_name(fields, options)
        others = {key: value for key, value in values.items() if key != question}
        rest = {key: fields[key] for key in fields if key not in (prompt_name, *options)}
        origin = {
            "format": name,
            "record_id": record_id,
            "question": question,
            "options": options,
            "values": others,
            "fields": rest,
        }
        yield {
            "prompt": check_any_prompt(fields[prompt_name], f"fields.{prompt_name}"),
            "completions": [
                {"text": _answer(fields, option), "model": metadata.get(f"{option}_model")}
                for option in options
            ],
            "ranks": [ranks[option] for option in options],
            "ratings": [ratings.get(option) for option in options],
            "labeler": None if user.startswith("#") else user,
            "external_id": f"argilla:{record_id}:{user}" if record_id else None,
            "metadata": metadata,
            "origin": {key: value for key, value in origin.items() if value not in (None, {})},
        }


def _answer(fields: Row, name: str) -> str:
    """The text of a field; of a chat its last message."""
    value = fields[name]
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = value[-1].get("content")
    return check_text(value, f"fields.{name}")


def _prompt_name(fields: Row, options: list[str]) -> str:
    rest = [name for name in fields if name not in options]
    if not rest:
        raise RowError(f"fields has no prompt; accepted: {', '.join(PROMPTS)}")
    return next((name for name in PROMPTS if name in rest), rest[0])


def _read_values(values: Row, fields: Row) -> tuple[str, Ranks, dict[str, int]]:
    """The question that puts fields in order, their ranks, and their ratings if it gives them."""
    for question, value in values.items():
        if isinstance(value, list) and value:
            return question, _ranked(value, f"responses.{question}", fields), {}
    for question, value in values.items():
        if isinstance(value, str) and value in fields:
            stem = _stem(value)
            alike = [name for name in fields if _stem(name) == stem]
            if len(alike) > 1:
                return question, {name: 1 if name == value else 2 for name in alike}, {}
    return _rated(values, fields)


def _ranked(value: list[Any], where: str, fields: Row) -> Ranks:
    """Options in order, the best first, or each with its rank."""
    ranks: Ranks = {}
    for place, item in enumerate(value):
        option = item
        rank: int | None = place + 1
        if isinstance(item, dict):
            option = item.get("value")
            rank = check_rank(item.get("rank", rank), f"{where}[{place}].rank", first=1)
        field = _find_field(option, fields)
        if field is None:
            raise RowError(
                f"{where}[{place}] is {str(option)[:60]!r}; accepted: a name of fields, "
                f"{', '.join(fields)}"
            )
        if field in ranks:
            raise RowError(f"{where} names {field} twice")
        ranks[field] = rank
    return ranks


def _rated(values: Row, fields: Row) -> tuple[str, Ranks, dict[str, int]]:
    """A question with a number for each of several fields: the highest is best."""
    scores: dict[str, float] = {}
    questions = []
    for question, value in values.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            field = _find_field(question, fields, inside=True)
            if field is not None:
                scores[field] = value
                questions.append(question)
    if len(scores) < 2:
        raise RowError(
            "responses has no ranking; accepted: a ranking question, or a rating of two or more "
            f"fields, among {', '.join(fields)}"
        )
    ranks = dict(zip(scores, ranks_from_scores(list(scores.values())), strict=True))
    fits = all(is_whole(score) and int(score) in RATINGS for score in scores.values())
    ratings = {field: int(score) for field, score in scores.items()} if fits else {}
    return ", ".join(questions), ranks, ratings


def _find_field(name: Any, fields: Row, *, inside: bool = False) -> str | None:
    """The field that an option, or with `inside` the name of a question, stands for."""
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str):
        return None
    if name in fields:
        return name
    if inside:
        named = [field for field in fields if field in name and field not in PROMPTS]
        if named:
            return max(named, key=len)
    mark = _mark(name)
    alike = [field for field in fields if mark and _mark(field) == mark and field not in PROMPTS]
    return alike[0] if len(alike) == 1 else None


def _mark(name: str) -> str:
    """What tells it from its neighbours: the last number, or a letter at its end."""
    numbers = re.findall(r"\d+", name)
    if numbers:
        return str(numbers[-1])
    last = re.split(r"[-_ .]", name.lower())[-1]
    return last if len(last) == 1 else ""


def _stem(name: str) -> str:
    return re.sub(r"([-_ .]?[A-Za-z]|[-_ .]?\d+)$", "", name)


ARGILLA = ForeignFormat(
    name="argilla",
    title="Argilla 2 records",
    direction="A ranking's first option is best; with ranks, 1 is best and equal ranks are ties. "
    "Of ratings the highest is best, equal ones tie.",
    columns=(("fields", "responses"),),
    matches=lambda row: (
        isinstance(row.get("fields"), dict) and isinstance(row.get("responses"), dict)
    ),
    rankings=_newer,
)
ARGILLA_V1 = ForeignFormat(
    name="argilla-v1",
    title="Argilla 1 records",
    direction="Rank 1 is best, equal ranks are ties. Of ratings the highest is best, equal ones "
    "tie.",
    columns=(("fields", "responses"),),
    matches=lambda row: (
        isinstance(row.get("fields"), dict) and isinstance(row.get("responses"), list)
    ),
    rankings=_older,
)
