"""Open-Assistant: ranked replies of a prompt, flattened or as the original message trees."""

from collections.abc import Iterator
from typing import Any

from app.preferences.foreign.shape import ForeignFormat, Row
from app.preferences.foreign.taking import (
    check_any_prompt,
    check_rank,
    details,
    take_objects,
    take_text,
)
from app.projects.messages import Message, check_text
from app.projects.reading import RowError

ROLES = {"prompter": "user", "assistant": "assistant"}


def _rankings(row: Row) -> Iterator[Row]:
    if isinstance(row.get("prompt"), dict):
        yield from _tree(row)
    else:
        yield _flat(row)


def _flat(row: Row) -> Row:
    """`{tree, depth, prompt: [messages], completions: [{id, text, rank}]}`."""
    if row.get("prompt") is None:
        raise RowError("prompt is missing")
    replies = take_objects(row, "completions", "objects with id, text and rank")
    about_prompt, rest = details(row, ("prompt", "completions", "external_id", "labeler"))
    ids = [reply.get("id") for reply in replies]
    return {
        "prompt": check_any_prompt(row["prompt"], "prompt"),
        "completions": [
            {"text": take_text(reply, "text"), "model": reply.get("model")} for reply in replies
        ],
        "ranks": _ranks(replies, "completions"),
        "labeler": row.get("labeler"),
        "external_id": row.get("external_id"),
        "metadata": about_prompt,
        "origin": {"format": "oasst", **rest, "completion_ids": ids},
    }


def _ranks(replies: list[Row], name: str) -> list[int | None]:
    return [
        check_rank(reply.get("rank"), f"{name}[{place}].rank", first=0)
        for place, reply in enumerate(replies)
    ]


def _tree(row: Row) -> Iterator[Row]:
    """A ranking for every message of the prompter whose replies people put in order.

    A message that cannot be read takes what follows it along; the rest of the tree is read on.
    """
    found, problem = 0, ""
    # The conversation so far, and the message that it goes on with.
    waiting: list[tuple[list[Message], Any]] = [([], row["prompt"])]
    while waiting:
        lead, node = waiting.pop()
        if isinstance(node, dict) and node.get("deleted") is True:
            continue
        try:
            messages, replies = _read_message(lead, node)
            waiting += [(messages, reply) for reply in reversed(replies)]
            answers = [reply for reply in replies if _is_answer(reply)]
            ranked = sum(answer.get("rank") is not None for answer in answers)
            ranking = _tree_ranking(row, node, messages, answers) if ranked > 1 else None
        except RowError as error:
            problem = problem or str(error)
            continue
        if ranking is not None and messages[-1]["role"] == "user":
            found += 1
            yield ranking
    if problem or not found:
        raise RowError(problem or "no message of this tree has two replies with a rank")


def _read_message(lead: list[Message], node: Any) -> tuple[list[Message], list[Any]]:
    """The conversation up to a message, and the replies to it."""
    if not isinstance(node, dict) or node.get("role") not in ROLES:
        raise RowError("a message of the tree has no role; accepted: prompter, assistant")
    replies = node.get("replies") or []
    if not isinstance(replies, list):
        raise RowError("replies must be a list of messages")
    text = check_text(node.get("text"), f"message {node.get('message_id')}: text")
    return [*lead, {"role": ROLES[node["role"]], "content": text}], replies


def _is_answer(reply: Any) -> bool:
    return (
        isinstance(reply, dict)
        and reply.get("role") == "assistant"
        and reply.get("deleted") is not True
    )


def _tree_ranking(row: Row, node: Row, messages: list[Message], answers: list[Row]) -> Row:
    tree = row.get("message_tree_id")
    message_id = node.get("message_id")
    origin = {
        "format": "oasst",
        "tree": tree,
        "message_id": message_id,
        "completion_ids": [answer.get("message_id") for answer in answers],
        "lang": [answer.get("lang") for answer in answers],
        "labels": [answer.get("labels") for answer in answers],
    }
    return {
        "prompt": messages,
        "completions": [
            {"text": take_text(answer, "text"), "model": answer.get("model_name")}
            for answer in answers
        ],
        "ranks": _ranks(answers, "replies"),
        "external_id": message_id,
        "metadata": {"lang": node["lang"]} if node.get("lang") else {},
        "origin": {name: value for name, value in origin.items() if _says_something(value)},
    }


def _says_something(value: Any) -> bool:
    return any(item is not None for item in value) if isinstance(value, list) else value is not None


def _matches(row: Row) -> bool:
    prompt, completions = row.get("prompt"), row.get("completions")
    if isinstance(prompt, dict):
        return "message_tree_id" in row or "replies" in prompt
    return (
        prompt is not None
        and "ranks" not in row
        and isinstance(completions, list)
        and any(isinstance(item, dict) and "rank" in item for item in completions)
    )


OASST = ForeignFormat(
    name="oasst",
    title="Open-Assistant trees",
    direction="Rank 0 is best; equal ranks are ties, a reply without a rank is unranked.",
    columns=(("prompt", "completions"), ("message_tree_id", "prompt")),
    matches=_matches,
    rankings=_rankings,
)
