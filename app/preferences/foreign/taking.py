"""What the readers of all formats take out of a row: texts, whole numbers, conversations."""

import re
from collections.abc import Collection, Sequence
from typing import Any

from app.preferences.foreign.shape import Row
from app.projects.messages import Message, check_text
from app.projects.reading import RowError

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
PROMPT_DETAILS = (
    "topic",
    "category",
    "category_tag",
    "domain",
    "lang",
    "language",
    "source",
    "dataset",
    "subset",
    "split",
    "turns",
    "good_natured",
    "is_code",
)
"""Columns that say something of the prompt; every other becomes part of the origin."""
TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


def take_text(row: Row, name: str) -> str:
    """The text under the key."""
    if row.get(name) is None:
        raise RowError(f"{name} is missing")
    return check_text(row[name], name)


def take_objects(row: Row, name: str, meaning: str) -> list[Row]:
    """The list of objects under the key, at least two of them."""
    value = row.get(name)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RowError(f"{name} must be a list of {meaning}")
    if len(value) < 2:
        raise RowError(f"{name} has {len(value)}; a ranking needs two or more")
    return value


def is_whole(value: Any) -> bool:
    """Whether it is a whole number, be it written 1 or 1.0."""
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def check_rank(value: Any, name: str, first: int) -> int | None:
    """The rank as Podium counts it, 1 being the best; `first` is the best one of the source."""
    if value is None:
        return None
    if not is_whole(value) or value < first:
        raise RowError(
            f"{name} is {_short(value)}; accepted: a whole number from {first} (the best), or null"
        )
    return int(value) - first + 1


def check_score(value: Any, name: str, least: int, most: int) -> int:
    """A whole number between two others."""
    if not is_whole(value) or not least <= value <= most:
        raise RowError(
            f"{name} is {_short(value)}; accepted: a whole number from {least} to {most}"
        )
    return int(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def ranks_from_scores(scores: Sequence[float | None]) -> list[int | None]:
    """The highest score is rank 1, equal ones tie, without a score there is no rank."""
    ordered = sorted({score for score in scores if score is not None}, reverse=True)
    ranks = {score: place for place, score in enumerate(ordered, start=1)}
    return [None if score is None else ranks[score] for score in scores]


def check_conversation(value: Any, name: str) -> list[Message]:
    """A list of messages in whatever words it names speakers and texts; it may end anyhow."""
    if not isinstance(value, list) or not value:
        raise RowError(f"{name} must be a list of messages with role and content")
    return [_check_message(item, f"{name}: message {n}") for n, item in enumerate(value, start=1)]


def _check_message(item: Any, where: str) -> Message:
    if not isinstance(item, dict):
        raise RowError(f"{where} must be an object with role and content")
    if item.get("tool_calls"):
        raise RowError(f"{where} calls a tool; accepted: messages of text")
    role = item.get("role", item.get("from"))
    if not isinstance(role, str) or role.lower() not in ROLES:
        raise RowError(f"{where} has the role {_short(role)}; accepted: system, user, assistant")
    content = item.get("content", item.get("value", item.get("text")))
    if isinstance(content, list):
        content = _join_parts(content, where)
    return {"role": ROLES[role.lower()], "content": check_text(content, f"{where}: content")}


def _join_parts(parts: list[Any], where: str) -> str:
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    if len(texts) != len(parts) or not all(isinstance(text, str) for text in texts):
        raise RowError(f"{where} holds more than text; accepted: parts of the type text")
    return "\n".join(str(text) for text in texts)


def check_any_prompt(value: Any, name: str) -> Any:
    """A prompt that is a text or a conversation."""
    return check_conversation(value, name) if isinstance(value, list) else check_text(value, name)


def split_conversations(
    conversations: Sequence[list[Message]], names: Sequence[str]
) -> tuple[list[Message], list[str]]:
    """What conversations share is the prompt; each must go on with one answer of its own."""
    shared = 0
    for turns in zip(*conversations, strict=False):
        if any(turn != turns[0] for turn in turns):
            break
        shared += 1
    # Of the same conversation twice, the last message is still the answer.
    shared = min(shared, *(len(conversation) - 1 for conversation in conversations))
    answers = []
    for conversation, name in zip(conversations, names, strict=True):
        rest = conversation[shared:]
        if len(rest) != 1 or rest[0]["role"] != "assistant":
            raise RowError(
                f"{name} has {len(rest)} messages after what {' and '.join(names)} share; "
                "accepted: one answer of the assistant"
            )
        answers.append(rest[0]["content"])
    if not shared:
        raise RowError(f"{' and '.join(names)} share no prompt")
    return list(conversations[0][:shared]), answers


def read_transcript(text: str, name: str) -> list[Message]:
    """The messages of a transcript, `\\n\\nHuman: …\\n\\nAssistant: …`; what stands before the
    first turn is the system's."""
    head, *turns = TURN.split(text)
    if not turns:
        raise RowError(f"{name} is no transcript; accepted: “\\n\\nHuman: …\\n\\nAssistant: …”")
    messages = [{"role": "system", "content": head.strip()}] if head.strip() else []
    for speaker, content in zip(turns[::2], turns[1::2], strict=True):
        role = "user" if speaker == "Human" else "assistant"
        messages.append({"role": role, "content": content.removeprefix(" ")})
    return messages


def details(row: Row, taken: Collection[str]) -> tuple[Row, Row]:
    """Of the columns not taken: what is said of the prompt, and what remains for the origin."""
    rest = {name: value for name, value in row.items() if value is not None and name not in taken}
    about_prompt = {name: rest.pop(name) for name in PROMPT_DETAILS if name in rest}
    return about_prompt, rest


def stable_id(value: Any) -> str | None:
    """An id that will not be met in another file: a number may just count the rows."""
    if isinstance(value, str) and value.strip() and not value.strip().isdigit():
        return value
    return None
