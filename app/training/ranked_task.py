"""What a reward model is trained on, and how it is split."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from app.training.losses import preference_matrix
from app.training.report import TrainingError
from app.training.seeds import permutation


@dataclass(frozen=True, kw_only=True)
class RankedTask:
    """One prompt with its completions and every labeler's ranking of them.

    `rankings` holds one list of K ranks per labeler: 1 is best, equal ranks are ties, None is
    unranked. `weights` has one entry per ranking; None means they all count the same.
    `length_difference` (least, most) leaves only the pairs whose preferred text is so many
    characters longer than the other one; None for no bound. `finished` says of each completion
    whether it ended by itself; None means they all did.
    """

    prompt_id: str
    messages: list[dict[str, str]]
    completions: list[str]
    rankings: list[list[int | None]]
    weights: list[float] | None = None
    length_difference: Sequence[int | None] = (None, None)
    finished: list[bool] | None = None

    def preferences(self) -> Tensor:
        """The `preference_matrix` of its pairs, [R, K, K] bool."""
        return preference_matrix(self.rankings, self.completions, self.length_difference)

    def pair_count(self) -> int:
        """How many preferred-first pairs all rankings together give."""
        return int(self.preferences().sum())


def useful_tasks(tasks: Sequence[RankedTask]) -> list[RankedTask]:
    """The tasks with at least one pair.

    Raises:
        TrainingError: no task has a pair, or a ranking does not fit its completions.
    """
    for task in tasks:
        for ranks in task.rankings:
            if len(ranks) != len(task.completions):
                raise TrainingError(
                    f"A ranking of prompt {task.prompt_id} has {len(ranks)} ranks for "
                    f"{len(task.completions)} completions."
                )
        if task.weights is not None and len(task.weights) != len(task.rankings):
            raise TrainingError(f"A task of prompt {task.prompt_id} has not one weight a ranking.")
    useful = [task for task in tasks if task.rankings and task.pair_count()]
    if not useful:
        raise TrainingError(
            "There is no pair to train on: every ranking ties, skips or repeats its completions."
        )
    return useful


def split_tasks(
    tasks: Sequence[RankedTask], eval_fraction: float, seed: int
) -> tuple[list[RankedTask], list[RankedTask]]:
    """Training and held-out tasks, no prompt in both; tasks without any pair are in neither.

    With two prompts or more at least one is held out and at least one stays, whatever the
    fraction. The same prompts and seed give the same split in whatever order the tasks come.

    Raises:
        TrainingError: no task has a pair, or a ranking does not fit its completions.
    """
    useful = useful_tasks(tasks)
    prompts = sorted({task.prompt_id for task in useful})
    count = min(max(1, round(eval_fraction * len(prompts))), len(prompts) - 1)
    order = permutation(len(prompts), seed, "split").tolist()
    held_out = {prompts[position] for position in order[:count]}
    train = [task for task in useful if task.prompt_id not in held_out]
    return train, [task for task in useful if task.prompt_id in held_out]
