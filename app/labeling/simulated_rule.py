"""The rule that simulated labelers rank by: pure, documented in docs/simulated-labelers.md.

It prefers a completion in plain, short words that takes about twenty-four of them, finishes its
last sentence, does not repeat itself and stays in ASCII letters. Plain words and length are what a
small BERT learns from a few dozen tasks, and neither "the longer wins" nor "the shorter wins"
explains the rule. Each labeler has a taste of its own and judges with some noise, so that labelers
agree often and not always.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

RULE_NAME = "brief-and-plain"

TARGET_WORDS = 24
LENGTH_WEIGHT = 1.0
FINISHED_WEIGHT = 0.3
PLAIN_WEIGHT = 2.0
VARIETY_WEIGHT = 0.5
LETTERS_WEIGHT = 0.6
LIST_WEIGHT = 0.2
NOISE = 0.1
TIE_MARGIN = 0.06
PLAIN_LETTERS = 5.0
"""Mean letters of a word at which wording is neither plain nor heavy."""

SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]*_]*$")
LIST_LINE = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+\S", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What the rule sees of a completion; shares lie between 0 and 1."""

    words: int
    finished: bool
    """The text ends where a sentence ends."""
    plainness: float
    """5 less the mean letters of its words, cut to −1 to 1; 0 without a word of letters."""
    variety: float
    """Share of different bigrams among its lower-case bigrams of words; 1 for fewer than two."""
    letters: float
    """Share of ASCII letters among its letters; 0 where there are none."""
    is_list: bool
    """At least two of its lines are list items."""


@dataclass(frozen=True, kw_only=True)
class Taste:
    """How one simulated labeler differs from the next."""

    target_words: float = TARGET_WORDS
    likes_lists: float = 0.0
    """From −1, dislikes them, to 1."""


def measure_completion(text: str) -> Measures:
    """Measure one completion."""
    text = text.strip()
    words = re.findall(r"\w+(?:['’]\w+)*", text.lower())
    bigrams = list(pairwise(words))
    letters = [character for character in text if character.isalpha()]
    plain = sum(character.isascii() for character in letters)
    spelled = re.findall(r"[^\W\d_]+", text)
    length = sum(map(len, spelled)) / len(spelled) if spelled else PLAIN_LETTERS
    return Measures(
        words=len(words),
        plainness=max(-1.0, min(1.0, PLAIN_LETTERS - length)),
        finished=bool(SENTENCE_END.search(text)),
        variety=len(set(bigrams)) / len(bigrams) if bigrams else 1.0,
        letters=plain / len(letters) if letters else 0.0,
        is_list=len(LIST_LINE.findall(text)) >= 2,
    )


def utility(measures: Measures, taste: Taste | None = None) -> float:
    """How much a labeler of this taste likes a completion, before noise.

    u = 1.0·fit + 0.3·finished + 2.0·plainness + 0.5·(2·variety − 1) + 0.6·letters
        + 0.2·likes_lists·is_list,
    where fit = 1 − |words − target| / target, at least −1. An empty completion gets −5.
    """
    taste = taste or Taste()
    if measures.words == 0:
        return -5.0
    fit = max(-1.0, 1.0 - abs(measures.words - taste.target_words) / taste.target_words)
    return (
        LENGTH_WEIGHT * fit
        + FINISHED_WEIGHT * measures.finished
        + PLAIN_WEIGHT * measures.plainness
        + VARIETY_WEIGHT * (2 * measures.variety - 1)
        + LETTERS_WEIGHT * measures.letters
        + LIST_WEIGHT * taste.likes_lists * measures.is_list
    )


def make_taste(labeler: int, seed: int = 0) -> Taste:
    """The taste of the labeler of this number; the same number and seed give the same taste."""
    random = Random(f"{seed}/{labeler}")  # noqa: S311  # a simulation, nothing secret
    return Taste(
        target_words=TARGET_WORDS + random.uniform(-3, 3), likes_lists=random.uniform(-1, 1)
    )


def rank_completions(
    prompt: str, texts: Sequence[str], *, labeler: int, seed: int = 0
) -> list[int]:
    """Rank the completions of a prompt as this labeler does: 1 is best, close ones tie.

    The noise depends on seed, labeler, prompt and text alone: neither on the order in which
    completions are shown nor on the machine, and identical texts always tie.
    """
    taste = make_taste(labeler, seed)
    values = [
        utility(measure_completion(text), taste) + _noise(seed, labeler, prompt, text)
        for text in texts
    ]
    ranks = [0] * len(texts)
    rank, leader = 0, 0.0
    for place in sorted(range(len(texts)), key=lambda place: -values[place]):
        if rank == 0 or leader - values[place] > TIE_MARGIN:
            rank, leader = rank + 1, values[place]
        ranks[place] = rank
    return ranks


def _noise(seed: int, labeler: int, prompt: str, text: str) -> float:
    random = Random(f"{seed}/{labeler}/{prompt}/{text}")  # noqa: S311  # nothing secret
    return random.gauss(0.0, NOISE)
