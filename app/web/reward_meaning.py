"""What the reward of a reward model means, in words."""

from dataclasses import dataclass
from pathlib import Path

from app.errors import Invalid
from app.models import Model, ModelKind, ModelSource
from app.registry.weights import read_config


@dataclass(frozen=True, kw_only=True)
class RewardMeaning:
    """What a reward says, and of a classifier which class means preferred."""

    words: str
    positive: str = ""
    """Such as "POSITIVE (class 0)"; empty for a model with one output."""
    negative: str = ""


def describe_reward(model: Model, folder: Path | None) -> RewardMeaning | None:
    """Of a reward model; None of every other. `folder` has its files where they are here."""
    if model.kind != ModelKind.REWARD_MODEL:
        return None
    classes = _find_classes(model, folder)
    if classes is not None:
        positive, negative = classes
        return RewardMeaning(
            positive=positive,
            negative=negative,
            words=f"The reward is the logit of {positive} less that of {negative}: at 0 both are "
            f"as likely, at +1 it is 73% sure of {positive}. Nothing centres these rewards.",
        )
    if model.source == ModelSource.JOB:
        return RewardMeaning(
            words="Rewards average 0 on the completions it was trained on. Of two completions of a "
            "prompt that lie 1 apart it is 73% sure that people prefer the higher."
        )
    return RewardMeaning(
        words="The reward is its one output as it is, so 0 means nothing of itself: compare "
        "completions of the same prompt. If it was trained on pairs, it is 73% sure that people "
        "prefer the higher of two that lie 1 apart."
    )


def _find_classes(model: Model, folder: Path | None) -> tuple[str, str] | None:
    """The preferred class and the other one; None for a model with one output."""
    try:
        config = read_config(folder) if folder is not None else {}
    except Invalid:
        config = {}
    labels = config.get("id2label")
    names = labels if isinstance(labels, dict) else {}
    chosen = model.positive_class
    # What transformers takes where the config names neither classes nor their number is two.
    if chosen is None and config and (len(names) or int(config.get("num_labels", 2))) == 2:
        # Nobody named one of them: app/inference/loading.py takes this one.
        chosen = int(config.get("positive_class", 1))
    if chosen not in (0, 1):
        return None

    def named(number: int) -> str:
        name = str(names.get(str(number), ""))
        return f"{name} (class {number})" if name else f"class {number}"

    return named(chosen), named(1 - chosen)
