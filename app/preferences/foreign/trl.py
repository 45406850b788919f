"""TRL's preference datasets, standard and conversational."""

from collections.abc import Iterator, Sequence
from typing import Any

from app.preferences.foreign.shape import ForeignFormat, Row
from app.preferences.foreign.taking import (
    check_any_prompt,
    check_conversation,
    details,
    split_conversations,
    stable_id,
    take_text,
)
from app.projects.messages import Message
from app.projects.reading import RowError

TAKEN = (
    "prompt",
    "chosen",
    "rejected",
    "labeler",
    "comment",
    "external_id",
    "prompt_id",
    "chosen_model",
    "rejected_model",
)


def pair_row(name: str, row: Row, prompt: Any, texts: Sequence[str], ranks: Sequence[int]) -> Row:
    """A row of answers under Podium's names; its other columns describe the prompt, or go to the
    origin."""
    about_prompt, rest = details(row, TAKEN)
    completions: list[Row] = [{"text": text} for text in texts]
    for completion, side in zip(completions, ("chosen_model", "rejected_model"), strict=False):
        completion["model"] = row.get(side)
    external_id = row.get("external_id")
    if external_id is None:
        external_id = stable_id(row.get("id"))
        if external_id is not None:
            del rest["id"]
    return {
        "prompt": prompt,
        "prompt_external_id": row.get("prompt_id"),
        "completions": completions,
        "ranks": list(ranks),
        "labeler": row.get("labeler"),
        "comment": row.get("comment"),
        "external_id": external_id,
        "metadata": about_prompt,
        "origin": {"format": name, **rest},
    }


def _standard(row: Row) -> Iterator[Row]:
    chosen, rejected = take_text(row, "chosen"), take_text(row, "rejected")
    if row.get("prompt") is not None:
        prompt = check_any_prompt(row["prompt"], "prompt")
    else:
        prompt, chosen, rejected = _split_texts(chosen, rejected)
    yield pair_row("trl", row, prompt, [chosen, rejected], [1, 2])


def _split_texts(chosen: str, rejected: str) -> tuple[str, str, str]:
    """What both texts begin with is the prompt, up to the space before the first difference."""
    shared = 0
    for one, other in zip(chosen, rejected, strict=False):
        if one != other:
            break
        shared += 1
    if shared and chosen[shared - 1] == " ":
        shared -= 1
    if not chosen[:shared].strip():
        raise RowError("there is no prompt, and chosen and rejected begin with no text in common")
    if not chosen[shared:].strip() or not rejected[shared:].strip():
        raise RowError(
            "there is no prompt, and chosen or rejected is only what both begin with; "
            "accepted: a prompt, or an answer after it in both"
        )
    return chosen[:shared], chosen[shared:], rejected[shared:]


def conversational_pair(row: Row) -> tuple[Any, list[str]]:
    """The prompt and the two answers of a row whose `chosen` and `rejected` are messages."""
    sides = []
    for name in ("chosen", "rejected"):
        if row.get(name) is None:
            raise RowError(f"{name} is missing")
        sides.append(check_conversation(row[name], name))
    if row.get("prompt") is None:
        return split_conversations(sides, ("chosen", "rejected"))
    prompt = check_any_prompt(row["prompt"], "prompt")
    lead: list[Message] = (
        prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    )
    # Some repeat the prompt at the head of both sides, and some leave out its system message.
    whole = [side if side[: len(lead)] == lead else lead + side for side in sides]
    if all(len(side) > 1 and side[0]["role"] != "assistant" for side in sides):
        whole = sides
    messages, answers = split_conversations(whole, ("chosen", "rejected"))
    return (prompt if messages == lead else messages), answers


def _conversational(row: Row) -> Iterator[Row]:
    prompt, texts = conversational_pair(row)
    yield pair_row("trl-conversational", row, prompt, texts, [1, 2])


def _is_transcript(value: str) -> bool:
    return "\n\nHuman:" in value and "\n\nAssistant:" in value


def _is_standard(row: Row) -> bool:
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        return False
    return "prompt" in row or not (_is_transcript(chosen) and _is_transcript(rejected))


TRL = ForeignFormat(
    name="trl",
    title="TRL preference, texts",
    direction="chosen is better than rejected; there are no ties.",
    columns=(("chosen", "rejected"),),
    matches=lambda row: _is_standard(row) and "chosen_rank" not in row,
    rankings=_standard,
)
TRL_CONVERSATIONAL = ForeignFormat(
    name="trl-conversational",
    title="TRL preference, messages",
    direction="chosen is better than rejected; there are no ties.",
    columns=(("chosen", "rejected"),),
    matches=lambda row: (
        isinstance(row.get("chosen"), list)
        and isinstance(row.get("rejected"), list)
        and "score_chosen" not in row
    ),
    rankings=_conversational,
)
