"""A reward model as PPO uses it: prompts and completions in, rewards out."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from app.inference.loading import LoadedModel, ModelUnavailable, load_model
from app.inference.scoring import score_pairs
from app.training.report import TrainingError
from app.training.rollouts import Prompt, Scorer


def return_freed_memory() -> None:
    """Give the system what freed tensors left in the heap, where the C library is glibc.

    Sampling with SmolLM2-135M leaves some 400 MB, in pieces that glibc keeps for itself.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def load_scorer(reward_model_dir: Path, positive_class: int | None = None) -> Scorer:
    """The reward model of a folder, with its own tokenizer, as a function of texts.

    It scores exactly as the inference server does, on texts cut where its training cut them. On a
    CPU its weights are in memory only while it scores: they are mapped from their file, which takes
    a hundredth of the time that scoring does, and training needs the room in between.

    `positive_class` is the preferred class of a two-class model whose config does not name it.

    Raises:
        TrainingError: the folder holds no reward model; later, it no longer does, or a reward is
            not finite.
    """

    def load(tokenizer: PreTrainedTokenizerBase | None = None) -> LoadedModel:
        try:
            return load_model(
                reward_model_dir, "reward_model", positive_class=positive_class, tokenizer=tokenizer
            )
        except ModelUnavailable as error:
            raise TrainingError(f"Cannot load the reward model: {error}") from error

    first = load()
    tokenizer = first.tokenizer
    kept = None if first.model.device.type == "cpu" else first

    def score(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
        if kept is None:
            return_freed_memory()
        loaded = kept or load(tokenizer)
        pairs = [(p.messages, text) for p, text in zip(prompts, completions, strict=True)]
        try:
            scores = score_pairs(
                loaded.model, tokenizer, pairs, loaded.context_length, loaded.positive_class
            )
        except ModelUnavailable as error:
            raise TrainingError(str(error)) from error
        return [result.reward for result in scores]

    return score
