"""In which order a labeler sees the completions of a task.

What stands first is preferred a little for standing there. A task's completions are laid out in a
random order of their own, and its labelers see that order through the rows of a balanced Latin
square (Williams 1949): within N labelers every completion stands once at every place and, for an
even N, once right after every other; for an odd N that takes 2N labelers.
"""

import hashlib
import random
from collections.abc import Sequence


def balanced_row(count: int, row: int) -> list[int]:
    """Row `row` of the square: which of `count` things stands at each place."""
    first = [0]
    for step in range(1, count):
        first.append((step + 1) // 2 if step % 2 else count - step // 2)
    shifted = [(place + row) % count for place in first]
    mirrored = count % 2 == 1 and (row // count) % 2 == 1
    return shifted[::-1] if mirrored else shifted


def present(task_id: str, completion_ids: Sequence[str], row: int) -> list[str]:
    """The completions as the labeler of this row sees them.

    `row` counts the labelers that the task was given to before. The same task and row give the
    same order, whatever the order of `completion_ids`.
    """
    ids = sorted(completion_ids)
    seed = int.from_bytes(hashlib.sha256(task_id.encode()).digest()[:8], "big")
    random.Random(seed).shuffle(ids)  # noqa: S311  # fairness, not secrecy: the ids tell nothing
    return [ids[place] for place in balanced_row(len(ids), row)]
