"""How varied a set of texts is: what a policy that has found one trick gives away."""

import re
from collections.abc import Sequence

REPEATED_WORDS = 4
_word = re.compile(r"\w+(?:['’]\w+)*")


def distinct_n(texts: Sequence[str], n: int) -> float | None:
    """The share of different n-grams of words among all of them (Li et al. 2016).

    It falls with the number of words looked at, so compare it between sets of like size. None where
    no text has n words.
    """
    found = [gram for text in texts for gram in _n_grams(text, n)]
    return len(set(found)) / len(found) if found else None


def repetition(texts: Sequence[str], n: int = REPEATED_WORDS) -> float | None:
    """The share of n-grams of words that a text already had (seq-rep-n, Welleck et al. 2020).

    The mean over the texts of at least n words; None where there is none.
    """
    shares = [1 - len(set(grams)) / len(grams) for text in texts if (grams := _n_grams(text, n))]
    return sum(shares) / len(shares) if shares else None


def _n_grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = _word.findall(text.lower())
    return list(zip(*(words[start:] for start in range(n)), strict=False))
