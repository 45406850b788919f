"""Rankings as they are read from the database, with all they speak of."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from app.projects.messages import Message


class RankedPrompt(NamedTuple):
    """The prompt of a ranking."""

    id: str
    messages: list[Message]
    is_chat: bool
    content_hash: str
    """The same for the same messages, in every project."""
    external_id: str | None
    tags: list[str]
    metadata: dict[str, Any]


class RankedCompletion(NamedTuple):
    """A completion of a ranked task."""

    id: str
    text: str
    model: str | None
    """The registry's id, or the model's name as an import gave it."""
    finish_reason: str | None = None
    token_count: int | None = None


class StoredRanking(NamedTuple):
    """A ranking with all it speaks of; `ranks` are in the order of `completions`."""

    id: str
    task_id: str
    purpose: str
    """That of its task."""
    round_number: int
    labeler: str
    simulated: bool
    source: str
    external_id: str | None
    is_repeat: bool
    shown_order: list[str]
    comment: str
    active_ms: int | None
    guidelines_version: int
    created_at: datetime
    origin: dict[str, Any] | None
    """Of an imported one what its source said beside it."""
    gold: dict[str, int] | None
    """Of a gold task the known ranks by completion id."""
    prompt: RankedPrompt
    completions: list[RankedCompletion]
    ranks: list[int | None]
    ratings: Sequence[int | None]
    flags: Sequence[Sequence[str]]

    def in_order(self) -> list[tuple[int | None, RankedCompletion, int | None, Sequence[str]]]:
        """Rank, completion, rating and flags of each, the best first and the unranked last."""
        rows = list(zip(self.ranks, self.completions, self.ratings, self.flags, strict=True))
        return sorted(rows, key=lambda row: (row[0] is None, row[0]))
