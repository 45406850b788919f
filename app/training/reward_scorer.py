"""A reward model as PPO uses it: prompts and completions in, rewards out."""

from collections.abc import Sequence
from pathlib import Path

from app.inference.loading import ModelUnavailable, load_model
from app.inference.scoring import score_pairs
from app.training.report import TrainingError
from app.training.rollouts import Prompt, Scorer


def load_scorer(reward_model_dir: Path, positive_class: int | None = None) -> Scorer:
    """The reward model of a folder, with its own tokenizer, as a function of texts.

    It scores exactly as the inference server does, on texts cut where its training cut them.

    `positive_class` is the preferred class of a two-class model whose config does not name it.

    Raises:
        TrainingError: the folder holds no reward model; later, a reward that is not finite.
    """
    try:
        loaded = load_model(reward_model_dir, "reward_model", positive_class=positive_class)
    except ModelUnavailable as error:
        raise TrainingError(f"Cannot load the reward model: {error}") from error

    def score(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
        pairs = [(p.messages, text) for p, text in zip(prompts, completions, strict=True)]
        try:
            scores = score_pairs(
                loaded.model, loaded.tokenizer, pairs, loaded.context_length, loaded.positive_class
            )
        except ModelUnavailable as error:
            raise TrainingError(str(error)) from error
        return [result.reward for result in scores]

    return score
