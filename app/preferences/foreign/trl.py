"""TRL's datasets: preference, standard and conversational, and unpaired preference."""

from collections import deque
from collections.abc import Iterator
from typing import Any

from app.preferences.foreign.shape import ForeignFormat, Row, Rows
from app.preferences.foreign.taking import (
    check_any_prompt,
    check_conversation,
    details,
    split_conversations,
    stable_id,
    take_text,
)
from app.projects.messages import Message
from app.projects.reading import RejectedLine, RowError, SourceRow

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
ROW_IDS = ("label", "id", "external_id")
MOST_WAITING = 100


def pair_row(name: str, row: Row, prompt: Any, texts: list[str], ranks: list[int]) -> Row:
    """A row with a pair under Podium's names; its other columns describe the prompt, or go to
    the origin."""
    about_prompt, rest = details(row, TAKEN)
    models = (row.get("chosen_model"), row.get("rejected_model"))
    external_id = row.get("external_id")
    if external_id is None:
        external_id = stable_id(row.get("id"))
        if external_id is not None:
            del rest["id"]
    return {
        "prompt": prompt,
        "prompt_external_id": row.get("prompt_id"),
        "completions": [
            {"text": text, "model": model} for text, model in zip(texts, models, strict=True)
        ],
        "ranks": ranks,
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


def _is_label(value: Any) -> bool:
    return _read_label(value) is not None


def _read_label(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str):
        return {"true": True, "false": False, "1": True, "0": False}.get(value.strip().lower())
    return None


def _gather(rows: Rows) -> Rows:
    """One row for a desirable and an undesirable completion of the same prompt.

    Only lines of one prompt that stand together are matched, so that memory stays flat: each
    with the next of the other label. Those left over at the end of such a run go with the last of
    the other label; a run with one label alone tells of no preference.
    """
    run: deque[SourceRow] = deque()
    last: dict[bool, SourceRow] = {}
    key: Any = None
    for row in rows:
        if isinstance(row, RejectedLine):
            yield row
            continue
        values = row.values
        label = _read_label(values.get("label"))
        if label is None or values.get("prompt") is None or values.get("completion") is None:
            yield row
            continue
        if values["prompt"] != key:
            yield from _leftover(run, last)
            key = values["prompt"]
            run, last = deque(), {}
        last[label] = row
        if run and _read_label(run[0].values["label"]) != label:
            yield _join(run.popleft(), row)
        elif len(run) >= MOST_WAITING:
            yield RejectedLine(row.line, f"{MOST_WAITING} before it wait for the other label")
        else:
            run.append(row)
    yield from _leftover(run, last)


def _leftover(run: deque[SourceRow], last: dict[bool, SourceRow]) -> Rows:
    for row in run:
        label = bool(_read_label(row.values["label"]))
        other = last.get(not label)
        yield row if other is None else _join(row, other)


def _join(one: SourceRow, other: SourceRow) -> SourceRow:
    good, bad = (one, other) if _read_label(one.values["label"]) else (other, one)
    both = {name: value for name, value in one.values.items() if name not in ROW_IDS}
    both |= {"chosen": good.values["completion"], "rejected": bad.values["completion"]}
    del both["completion"]
    line = max(one.line, other.line)
    return SourceRow(line, both, one.size_bytes + other.size_bytes)


def _unpaired(row: Row) -> Iterator[Row]:
    if "chosen" not in row:
        _check_unpaired(row)
    if isinstance(row["chosen"], list):
        prompt, texts = conversational_pair(row)
    else:
        prompt = check_any_prompt(row["prompt"], "prompt")
        texts = [take_text(row, "chosen"), take_text(row, "rejected")]
    yield pair_row("trl-unpaired", row, prompt, texts, [1, 2])


def _check_unpaired(row: Row) -> None:
    for name in ("prompt", "completion"):
        if row.get(name) is None:
            raise RowError(f"{name} is missing")
    if not _is_label(row.get("label")):
        raise RowError(f"label is {row.get('label')!r}; accepted: true (desirable) or false")
    raise RowError(
        "no completion of the same prompt with the other label stands beside it; "
        "accepted: lines of one prompt together, true and false among them"
    )


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
TRL_UNPAIRED = ForeignFormat(
    name="trl-unpaired",
    title="TRL unpaired preference",
    direction="label true is better than label false of the same prompt, in lines that stand "
    "together; completions of the same label are not compared.",
    columns=(("prompt", "completion", "label"),),
    matches=lambda row: {"prompt", "completion", "label"} <= row.keys(),
    rankings=_unpaired,
    gather=_gather,
)
