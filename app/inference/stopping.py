"""When a completion ends: the model's own end tokens, stop strings, a cancelled request."""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Called after each step with the rows still running and their new tokens; returns the rows to end.
StepHook = Callable[[list[int], list[int]], Collection[int]]


def end_of_turn_ids(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase | None" = None
) -> tuple[int, ...]:
    """The tokens that end a completion: the model's, and the tokenizer's end-of-text."""
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    found = set(configured) if isinstance(configured, list | tuple) else {configured}
    if tokenizer is not None:
        found.add(tokenizer.eos_token_id)
    return tuple(sorted(token for token in found if token is not None))


def closing_token(tokenizer: "PreTrainedTokenizerBase", stops: Collection[int]) -> int:
    """The token that the policy writes after a finished completion, one of `stops`.

    By the chat template where there is one: what it puts after an assistant's text. Otherwise the
    tokenizer's end-of-text. Some models know several ends, and only one is right in a chat.
    """
    if tokenizer.chat_template:
        text = "Yes."
        conversation = [
            {"role": "user", "content": "Yes or no?"},
            {"role": "assistant", "content": text},
        ]
        rendered = str(tokenizer.apply_chat_template(conversation, tokenize=False))
        after = rendered[rendered.rindex(text) + len(text) :] if text in rendered else ""
        for token in list(tokenizer.encode(after, add_special_tokens=False)):
            if token in stops:
                return int(token)
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no end-of-text token")
    return int(tokenizer.eos_token_id)


class StopWatch:
    """A step hook that ends rows whose text holds a stop string or whose request was cancelled.

    `owners` names the request of each row; `stop_strings` are one entry a request.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        owners: Sequence[int],
        stop_strings: Sequence[Sequence[str]],
        cancelled: Callable[[int], bool] | None,
    ) -> None:
        self.tokenizer = tokenizer
        self.owners = owners
        self.stop_strings = [stop_strings[owner] for owner in owners]
        self.cancelled = cancelled
        self.tokens: list[list[int]] = [[] for _ in owners]
        self.needed = cancelled is not None or any(self.stop_strings)

    def __call__(self, rows: list[int], tokens: list[int]) -> list[int]:
        """Take in each running row's new token; return the rows that end with it."""
        gone = set()
        if self.cancelled is not None:
            gone = {owner for owner in {self.owners[row] for row in rows} if self.cancelled(owner)}
        ended = []
        for row, token in zip(rows, tokens, strict=True):
            self.tokens[row].append(token)
            if self.owners[row] in gone or self._holds_stop_string(row):
                ended.append(row)
        return ended

    def _holds_stop_string(self, row: int) -> bool:
        stops = self.stop_strings[row]
        if not stops:
            return False
        # A token is at least one byte, so a stop string that ends in the newest token lies in as
        # many tokens as it has bytes; a few more keep a cut character at the edge out of the way.
        reach = max(len(stop.encode()) for stop in stops) + 4
        tail = self.tokenizer.decode(self.tokens[row][-reach:], skip_special_tokens=True)
        return any(stop in tail for stop in stops)
