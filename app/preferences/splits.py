"""Parts of a snapshot for training and testing, the same ones for everybody and for ever.

Prompts (or labelers) are put in an order that only the seed and they themselves decide: that of
the SHA-256 of both. The order is cut where the shares say. What is stored are the places of the
cuts, so that a ranking alone tells its part.
"""

import hashlib
import secrets
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from app.errors import Invalid
from app.models import Snapshot

PART_NAME_LENGTH = 40
MOST_PARTS = 5
LAST_KEY = "f" * 64


class SplitBy(StrEnum):
    """What is never in two parts."""

    PROMPT = "prompt"
    LABELER = "labeler"


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """How to part a snapshot: shares of its prompts, or of its labelers, by name."""

    shares: Mapping[str, float]
    by: SplitBy = SplitBy.PROMPT
    seed: int = 0

    def check(self) -> None:
        """Invalid names what cannot be: names, shares that do not add up to 1."""
        if not 2 <= len(self.shares) <= MOST_PARTS:
            raise _invalid(f"a split has 2 to {MOST_PARTS} parts")
        for name, share in self.shares.items():
            if not name.isidentifier() or len(name) > PART_NAME_LENGTH:
                raise _invalid(f"“{name}” cannot name a part; take letters, digits and _")
            if not 0 < share < 1:
                raise _invalid(f"the share of {name} must be between 0 and 1")
        if abs(sum(self.shares.values()) - 1) > 1e-6:
            raise _invalid("the shares must add up to 1")


def _invalid(reason: str) -> Invalid:
    return Invalid(
        f"The snapshot cannot be split: {reason}.", fields={"splits": 'such as {"train": 0.9, …}'}
    )


@dataclass(frozen=True, kw_only=True)
class SplitPart:
    """One part with what it holds; keys up to `last_key` belong to it."""

    name: str
    share: float
    last_key: str
    groups: int
    """Prompts, or labelers."""
    rankings: int
    pairs: int


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The parts of a snapshot, in the order of their keys."""

    by: SplitBy
    seed: int
    parts: tuple[SplitPart, ...]

    def part_of(self, prompt_hash: str, labeler: str) -> str:
        """The part that a ranking belongs to."""
        key = split_key(self.seed, labeler if self.by == SplitBy.LABELER else prompt_hash)
        return self.parts[bisect_left([part.last_key for part in self.parts], key)].name

    def get_part(self, name: str) -> SplitPart:
        """The part of this name; Invalid lists those there are."""
        for part in self.parts:
            if part.name == name:
                return part
        names = ", ".join(part.name for part in self.parts)
        raise Invalid(f"There is no part “{name}”.", fields={"split": f"one of {names}"})

    def without_labeler(self, labeler: str, others: Iterable[str]) -> Self:
        """Of parts by labeler the same ones for all others, without a trace of one.

        A cut at their key is a hash of their name, which tells whoever guesses the name that it
        was among those split. It moves to a random place between the labelers beside them.
        """
        key = split_key(self.seed, labeler)
        ordered = sorted(split_key(self.seed, other) for other in others)
        parts = list(self.parts)
        for position, part in enumerate(parts[:-1]):
            if part.last_key == key:
                before = [parts[position - 1].last_key] if position else ["0"]
                before += [other for other in ordered if other < key]
                after = [parts[position + 1].last_key]
                after += [other for other in ordered if other > key]
                first, last = int(max(before), 16), int(min(after), 16)
                cut_at = first + secrets.randbelow(last - first)
                parts[position] = replace(part, last_key=f"{cut_at:064x}")
        return replace(self, parts=tuple(parts))

    def as_json(self) -> dict[str, Any]:
        """As the snapshot stores it."""
        return {
            "by": self.by.value,
            "seed": self.seed,
            "parts": [
                {
                    "name": part.name,
                    "share": part.share,
                    "last_key": part.last_key,
                    "groups": part.groups,
                    "rankings": part.rankings,
                    "pairs": part.pairs,
                }
                for part in self.parts
            ],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `as_json` gave."""
        parts = tuple(SplitPart(**part) for part in values["parts"])
        return cls(by=SplitBy(values["by"]), seed=values["seed"], parts=parts)


def get_splits(snapshot: Snapshot) -> Splits:
    """How the snapshot was parted; Invalid where it was not."""
    if snapshot.splits is None:
        raise Invalid(
            "This snapshot was not split when it was made.",
            code="no_splits",
            fields={"split": "leave it out, or freeze the rankings again with splits"},
        )
    return Splits.from_json(snapshot.splits)


def split_key(seed: int, name: str) -> str:
    """Where a prompt (by its hash) or a labeler stands in the order of this seed."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def cut(plan: SplitPlan, groups: Mapping[str, tuple[int, int]]) -> Splits:
    """Cut the order of the groups where the plan's shares say.

    `groups` has the rankings and pairs of each prompt hash or labeler. Every part gets at least
    one group.

    Raises:
        Invalid: fewer groups than parts.
    """
    if len(groups) < len(plan.shares):
        noun = "labeler" if plan.by == SplitBy.LABELER else "prompt"
        raise _invalid(f"{len(plan.shares)} parts need as many {noun}s; found {len(groups)}")
    ordered = sorted((split_key(plan.seed, name), counts) for name, counts in groups.items())
    names = list(plan.shares)
    parts: list[SplitPart] = []
    start, filled = 0, 0.0
    for position, name in enumerate(names):
        filled += plan.shares[name]
        after = len(names) - position - 1
        end = min(max(round(filled * len(ordered)), start + 1), len(ordered) - after)
        inside = ordered[start:end]
        parts.append(
            SplitPart(
                name=name,
                share=plan.shares[name],
                last_key=inside[-1][0] if after else LAST_KEY,
                groups=len(inside),
                rankings=sum(counts[0] for _, counts in inside),
                pairs=sum(counts[1] for _, counts in inside),
            )
        )
        start = end
    return Splits(by=plan.by, seed=plan.seed, parts=tuple(parts))
