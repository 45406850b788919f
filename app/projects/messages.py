"""Chat messages as prompts hold them: checked, hashed and shown as text."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import orjson

from app.projects.reading import RowError, contains_nul

ROLES = ("system", "user", "assistant")
Message = dict[str, str]


def plain_messages(text: str) -> list[Message]:
    """A plain prompt as messages: what the user says."""
    return [{"role": "user", "content": text}]


def check_text(value: object, name: str) -> str:
    """The value as a text with something in it; RowError says what is wrong with it."""
    if not isinstance(value, str):
        raise RowError(f"{name} must be text")
    if not value.strip():
        raise RowError(f"{name} is empty")
    if contains_nul(value):
        raise RowError(f"{name} holds a NUL character")
    return value


def check_messages(value: object, name: str = "messages") -> list[Message]:
    """The value as a conversation that a model can continue.

    Roles are system (first only), user and assistant; the last message is the user's. RowError
    says which message is wrong.
    """
    if not isinstance(value, list) or not value:
        raise RowError(f"{name} must be a list of messages with role and content")
    messages = []
    for number, item in enumerate(value, start=1):
        where = f"{name}: message {number}"
        if not isinstance(item, dict):
            raise RowError(f"{where} must be an object with role and content")
        unknown = sorted(str(key) for key in item.keys() - {"role", "content"})
        if unknown:
            raise RowError(f"{where} has unknown fields: {', '.join(unknown)}")
        role = item.get("role")
        if role not in ROLES:
            raise RowError(f"{where} has the role {role!r}; accepted: {', '.join(ROLES)}")
        if role == "system" and number > 1:
            raise RowError(f"{where} is from the system, which may only come first")
        content = check_text(item.get("content"), f"{where}: content")
        messages.append({"role": role, "content": content})
    if messages[-1]["role"] != "user":
        raise RowError(f"{name}: the last message must be the user's")
    return messages


def check_prompt(value: object, name: str = "prompt") -> tuple[list[Message], bool]:
    """A prompt that is a text or a list of messages: its messages, and whether it is a chat."""
    if isinstance(value, list):
        return check_messages(value, name), True
    return plain_messages(check_text(value, name)), False


def messages_hash(messages: Sequence[Message]) -> str:
    """SHA-256 of the messages as canonical JSON: what makes a prompt the same prompt.

    A text and a chat of that one user message are the same.
    """
    canonical = [[message["role"], message["content"]] for message in messages]
    return hashlib.sha256(json_bytes(canonical)).hexdigest()


def json_bytes(value: object) -> bytes:
    """The value as compact JSON in UTF-8; UnicodeEncodeError where a text holds half a character.

    `orjson` writes the bytes that the standard library does, in a tenth of the time.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def prompt_text(messages: Sequence[Message]) -> str:
    """The prompt as plain text: a lone user message is its own text, a conversation names each
    speaker, a turn a paragraph (the layout of `app.inference.formatting.prompt_text`)."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def prompt_value(messages: list[Message], is_chat: bool) -> Any:
    """The prompt as REST gives it: plain text, or the list of messages."""
    return messages if is_chat else messages[0]["content"]
