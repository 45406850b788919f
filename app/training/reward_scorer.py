"""A reward model as PPO uses it: prompts and completions in, rewards out."""

from collections.abc import Sequence
from pathlib import Path

from app.training.rollouts import Prompt, Scorer


def load_scorer(reward_model_dir: Path) -> Scorer:
    """The reward model of a folder, its own tokenizer included, as a function of texts."""
    raise NotImplementedError
