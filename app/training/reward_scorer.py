"""A reward model as PPO uses it: prompts and completions in, rewards out."""

from collections.abc import Sequence
from pathlib import Path

from app.inference.loading import ModelUnavailable, load_model
from app.inference.scoring import score_pairs
from app.training.report import TrainingError
from app.training.rollouts import Prompt, Scorer


def load_scorer(reward_model_dir: Path) -> Scorer:
    """The reward model of a folder, with its own tokenizer, as a function of texts.

    It scores exactly as the inference server does, on texts cut where its training cut them.

    Raises:
        TrainingError: the folder holds no reward model.
    """
    try:
        loaded = load_model(reward_model_dir, "reward_model")
    except ModelUnavailable as error:
        raise TrainingError(f"Cannot load the reward model: {error}") from error

    def score(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
        pairs = [(p.messages, text) for p, text in zip(prompts, completions, strict=True)]
        scores = score_pairs(
            loaded.model, loaded.tokenizer, pairs, loaded.context_length, loaded.positive_class
        )
        return [result.reward for result in scores]

    return score
