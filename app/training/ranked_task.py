"""What a reward model is trained on, and how it is split."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from torch import Tensor

from app.training.losses import preference_matrix, rank_margins, rating_margins
from app.training.report import TrainingError
from app.training.seeds import permutation

LEAST_LABELERS = 3
"""With fewer, leaving one out would leave a model of one person."""
PRIOR_PAIRS = 20
LEAST_WEIGHT = 0.05


@dataclass(frozen=True, kw_only=True)
class RankedTask:
    """One prompt with its completions and every labeler's ranking of them.

    `rankings` holds one list of K ranks per labeler: 1 is best, equal ranks are ties, None is
    unranked. `weights` has one entry per ranking; None means they all count the same.
    `length_difference` (least, most) leaves only the pairs whose preferred text is so many
    characters longer than the other one; None for no bound. `finished` says of each completion
    whether it ended by itself; None means they all did.

    Who said what: `ranking_ids` and `labelers` have one entry per ranking, `completion_ids` one per
    completion. A labeler goes by the id of one of their rankings and not by name, so that what is
    made of it names nobody whom erasing has forgotten. `ratings` are 1 to 7, as `rankings`.
    """

    prompt_id: str
    messages: list[dict[str, str]]
    completions: list[str]
    rankings: list[list[int | None]]
    weights: list[float] | None = None
    length_difference: Sequence[int | None] = (None, None)
    finished: list[bool] | None = None
    task_id: str = ""
    round_id: str = ""
    completion_ids: list[str] | None = None
    ranking_ids: list[str] | None = None
    labelers: list[str] | None = None
    ratings: list[list[int | None]] | None = None

    def preferences(self) -> Tensor:
        """The `preference_matrix` of its pairs, [R, K, K] bool."""
        return preference_matrix(self.rankings, self.completions, self.length_difference)

    def pair_count(self) -> int:
        """How many preferred-first pairs all rankings together give."""
        return int(self.preferences().sum())

    def margins(self, kind: str) -> Tensor | None:
        """[R, K, K] float by distance in `rank` or `rating`; None for `none` or without ratings."""
        if kind == "rank":
            return rank_margins(self.rankings)
        if kind == "rating" and self.ratings is not None:
            return rating_margins(self.ratings)
        return None

    def sample_rows(self, rewards: Tensor) -> list[dict[str, object]]:
        """The completions with their rewards [K] and first ranks, as rows to look at."""
        return [
            {
                "prompt": self.messages[-1]["content"],
                "completion": text,
                "reward": reward,
                "rank": rank,
            }
            for text, reward, rank in zip(
                self.completions, rewards.tolist(), self.rankings[0], strict=True
            )
        ]

    def only_rankings(self, places: Sequence[int]) -> "RankedTask":
        """The same task with some of its rankings."""
        return replace(
            self,
            rankings=[self.rankings[place] for place in places],
            weights=_pick(self.weights, places),
            ranking_ids=_pick(self.ranking_ids, places),
            labelers=_pick(self.labelers, places),
            ratings=_pick(self.ratings, places),
        )


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


def _pick(values: Sequence[Any] | None, places: Sequence[int]) -> list[Any] | None:
    return None if values is None else [values[place] for place in places]


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


def hold_out_labelers(
    tasks: Sequence[RankedTask], share: float, seed: int
) -> tuple[list[RankedTask], list[RankedTask]]:
    """Training tasks without the rankings of some labelers, and the same with those alone.

    Labelers are drawn as long as all that were drawn made at most `share` of the rankings. With
    fewer than three labelers, or where everybody made more than that, nobody is. Tasks that are
    left without a pair are left out.
    """
    counts = Counter(name for task in tasks for name in task.labelers or ())
    names = sorted(counts)
    if len(names) < LEAST_LABELERS:
        return list(tasks), []
    room = share * counts.total()
    drawn: set[str] = set()
    for place in permutation(len(names), seed, "labelers").tolist():
        if counts[names[place]] <= room:
            room -= counts[names[place]]
            drawn.add(names[place])
    kept: list[RankedTask] = []
    left_out: list[RankedTask] = []
    for task in tasks:
        theirs = [place for place, name in enumerate(task.labelers or ()) if name in drawn]
        others = [place for place in range(len(task.rankings)) if place not in theirs]
        for places, into in ((others, kept), (theirs, left_out)):
            part = task.only_rankings(places)
            if places and part.pair_count():
                into.append(part)
    # Where the others only ever tie there would be nothing left to learn from.
    return (kept, left_out) if kept else (list(tasks), [])


def weigh_labelers(tasks: Sequence[RankedTask]) -> list[RankedTask]:
    """The same tasks, each ranking weighted by how often others agree with its labeler.

    w = max(0.05, 2a − 1), where a is the share of completion pairs, ordered by the labeler and by
    somebody else, on which both say the same: 1 for somebody everybody agrees with, next to nothing
    for one who agrees as by chance. a leans on the average of all by `PRIOR_PAIRS` pairs, so that
    few common pairs decide little. Weights matter only within a task, where several people ranked.
    """
    same, total = Counter[str](), Counter[str]()
    for task in tasks:
        preferred = task.preferences()
        for (a, one), (b, other) in combinations(enumerate(task.labelers or ()), 2):
            both = preferred[a] & (preferred[b] | preferred[b].T)
            agreed, ordered = int((preferred[a] & preferred[b]).sum()), int(both.sum())
            for name in (one, other):
                same[name] += agreed
                total[name] += ordered
    if not total.total():
        return list(tasks)
    average = same.total() / total.total()
    weights = {
        name: max(LEAST_WEIGHT, 2 * (same[name] + PRIOR_PAIRS * average) / (n + PRIOR_PAIRS) - 1)
        for name, n in total.items()
    }
    usual = max(LEAST_WEIGHT, 2 * average - 1)
    return [
        replace(task, weights=[weights.get(name, usual) for name in task.labelers])
        if task.labelers
        else task
        for task in tasks
    ]
