"""A reward model while it is trained: a trunk with one head or an ensemble of them.

Heads are the outputs of one linear layer, so that their mean is a head again: what is saved is an
ordinary classifier with one output, and the single heads lie beside it in `HEADS_FILE`.

Shape letters: N completions, H heads.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.pytorch_utils import Conv1D

from app.inference.classifying import classifier_logits
from app.inference.formatting import EncodedPair, encode_completions
from app.inference.loading import LOAD_ERRORS, best_device, load_reason, text_limit
from app.inference.shared_prompts import shares_prompts
from app.training.configs import RewardModelConfig
from app.training.policy import LORA_ALPHA_PER_RANK
from app.training.ranked_task import RankedTask
from app.training.report import TrainingError
from app.training.seeds import derive_seed
from app.training.work_sizes import tokens_to_train

HEADS_FILE = "reward_heads.safetensors"
"""In the model's folder, of an ensemble: `weight` float32 [H, hidden] and, where the head has one,
`bias` [H]. Their mean is the model's own head."""
HEAD_SPREAD = 0.02
"""Standard deviation of a new head's weights: BERT's and Llama's."""
SCORE_TOKENS = 8192
"""Padded tokens of one forward pass without gradient."""


class RewardNetwork:
    """The model with its tokenizer, and how it computes.

    Args:
        model: a sequence classifier with one output for each head, dropout off.
        tokenizer: the backbone's.
        adapters: the PEFT wrapper of `model`, or None where every weight is trained.
        max_length: most tokens of a text; what is longer is cut.
        precision: what the training passes compute in, where that is not float32.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        adapters: Any | None = None,
        max_length: int,
        precision: torch.dtype | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.precision = precision
        self.heads = int(model.config.num_labels)
        self.share_prompts = shares_prompts(model)
        self._adapters = adapters
        self._head = find_head(model, self.heads)
        if precision is not None and self._head is not None:
            _keep_exact(self._head)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(iter(self.model.parameters())).device
        return device

    @property
    def group_tokens(self) -> int:
        """How many tokens may be trained on at once."""
        return max(self.max_length, tokens_to_train(self.model, self.device))

    @property
    def reads_plain_text(self) -> bool:
        """Whether prompts are laid out neither as a chat nor as a segment of their own."""
        return self.tokenizer.cls_token_id is None and not self.tokenizer.chat_template

    def encode(self, task: RankedTask) -> list[EncodedPair]:
        """Token ids of every completion with its prompt."""
        return encode_completions(self.tokenizer, task.messages, task.completions, self.max_length)

    def train_rewards(self, pairs: Sequence[EncodedPair]) -> Tensor:
        """What every head gives, float32 [N, H] on the CPU, with gradient."""
        with torch.autocast(
            self.device.type, dtype=self.precision, enabled=self.precision is not None
        ):
            return self._rewards(pairs)

    @torch.no_grad()
    def rewards(self, pairs: Sequence[EncodedPair]) -> Tensor:
        """The same without gradient and in float32, as the model will be served."""
        return self._rewards(pairs)

    def _rewards(self, pairs: Sequence[EncodedPair]) -> Tensor:
        logits = classifier_logits(
            self.model,
            self.tokenizer.pad_token_id,
            pairs,
            SCORE_TOKENS,
            share_prompts=self.share_prompts,
        )
        return logits + getattr(self.model.config, "podium_reward_offset", 0.0)

    def shift(self, offset: float) -> None:
        """Add `offset` to every reward from now on, in the head's bias.

        A head without a bias (Llama's `score`) gets the offset in the config instead, as
        `podium_reward_offset`, which scoring adds.
        """
        if self._head is not None and self._head.bias is not None:
            with torch.no_grad():
                self._head.bias.add_(offset)
        else:
            config = self.model.config
            config.podium_reward_offset = getattr(config, "podium_reward_offset", 0.0) + offset

    def parameter_groups(self, head_rate: float) -> list[dict[str, Any]]:
        """Trunk and head for the optimizer; the head learns `head_rate` times as fast."""
        head = [] if self._head is None else list(self._head.parameters())
        ids = {id(weight) for weight in head}
        trunk = [
            weight
            for weight in self.model.parameters()
            if weight.requires_grad and id(weight) not in ids
        ]
        groups = [{"params": trunk, "rate_factor": 1.0}, {"params": head, "rate_factor": head_rate}]
        return [group for group in groups if group["params"]]

    def trained_state(self) -> dict[str, Tensor]:
        """What training changes: every weight, or adapters and head."""
        return {
            name: weight.detach()
            for name, weight in self.model.named_parameters()
            if weight.requires_grad
        }

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Go on from `trained_state`."""
        self.model.load_state_dict(state, strict=False)

    def save(self, folder: Path) -> None:
        """Write an ordinary classifier with one output, adapters merged in and heads averaged.

        The network cannot be trained on afterwards.
        """
        model = self.model if self._adapters is None else self._adapters.merge_and_unload()
        if self.heads > 1 and self._head is not None:
            kept = {name: weight.detach().cpu() for name, weight in self._head.named_parameters()}
            save_file(
                {name: weight.contiguous() for name, weight in kept.items()}, folder / HEADS_FILE
            )
            _average(self._head)
            model.config.num_labels = model.num_labels = 1
        model.config.podium_max_length = self.max_length
        model.config.use_cache = True
        model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def load_network(backbone_dir: Path, config: RewardModelConfig) -> RewardNetwork:
    """The backbone as a reward model to be trained; a backbone without a head gets a new one.

    Every head of an ensemble is drawn from a seed of its own. LoRA goes on every linear layer of
    the trunk; its B is zero, so that training starts from the backbone itself.

    Raises:
        TrainingError: the folder holds no usable backbone, its tokenizer can neither pad nor end a
            text, or its head is not a linear layer that could be an ensemble.
    """
    torch.manual_seed(config.seed)  # a new head and LoRA's A come from the global generator
    tokenizer, model = _load_classifier(backbone_dir, config.heads)
    head = find_head(model, config.heads)
    if config.heads > 1:
        if head is None:
            raise TrainingError(
                f"The head of {backbone_dir.name} is not a linear layer, so there can be no "
                "ensemble of it; set heads to 1."
            )
        _draw_heads(head, config.seed)
        model.config.podium_reward_offset = 0.0
    adapters = None
    if config.lora_rank is not None:
        adapters = _add_adapters(model, head, config.lora_rank)
    model.to(best_device()).eval()
    if config.gradient_checkpointing:
        _checkpoint_gradients(model)
    return RewardNetwork(
        model,
        tokenizer,
        adapters=adapters,
        max_length=min(config.max_length, text_limit(model, tokenizer)),
        precision=training_type(config.precision, best_device()),
    )


def training_type(precision: str, device: torch.device) -> torch.dtype | None:
    """bfloat16 where it is asked for or, with `auto`, has units on this device; None is float32."""
    if precision == "auto" and device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Private, and the only way to tell: without such units bfloat16 is many times slower.
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if precision == "bf16" or (precision == "auto" and native) else None


def find_head(model: nn.Module, outputs: int) -> nn.Linear | None:
    """The linear layer that makes the rewards: the last one with that many outputs."""
    heads = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module.out_features == outputs
    ]
    return heads[-1] if heads else None


def _load_classifier(backbone_dir: Path, heads: int) -> tuple[Any, Any]:
    try:
        tokenizer = AutoTokenizer.from_pretrained(backbone_dir, local_files_only=True)
        model = AutoModelForSequenceClassification.from_pretrained(
            backbone_dir,
            num_labels=heads,
            dtype=torch.float32,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # another number of heads: new ones
        )
    except LOAD_ERRORS as error:
        raise TrainingError(
            f"Cannot load the backbone {backbone_dir.name}: {load_reason(error)}"
        ) from error
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise TrainingError(
                f"The tokenizer of {backbone_dir.name} has neither a padding nor an end-of-text "
                "token, so texts cannot be batched; set pad_token in its tokenizer_config.json."
            )
        tokenizer.pad_token = tokenizer.eos_token
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    model.config.problem_type = "regression"
    model.config.use_cache = False
    return tokenizer, model


def _draw_heads(head: nn.Linear, seed: int) -> None:
    with torch.no_grad():
        for number, weights in enumerate(head.weight):
            generator = torch.Generator().manual_seed(derive_seed(seed, "head", number))
            weights.copy_(torch.randn(len(weights), generator=generator) * HEAD_SPREAD)
        if head.bias is not None:
            head.bias.zero_()


def _average(head: nn.Linear) -> None:
    """Make one head of many: the mean of linear maps is the map of the mean weights."""
    head.weight = nn.Parameter(head.weight.detach().mean(dim=0, keepdim=True))
    if head.bias is not None:
        head.bias = nn.Parameter(head.bias.detach().mean(dim=0, keepdim=True))
    head.out_features = 1


def _add_adapters(model: Any, head: nn.Module | None, rank: int) -> Any:
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    ]
    adapters = get_peft_model(
        model,
        LoraConfig(
            r=rank,
            lora_alpha=LORA_ALPHA_PER_RANK * rank,
            lora_dropout=0.0,
            target_modules=linear,
        ),
    )
    if head is not None:
        head.requires_grad_(True)
    return adapters


def _checkpoint_gradients(model: Any) -> None:
    """transformers does it only while `training`, which would turn dropout on."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "activation_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()


def _keep_exact(head: nn.Linear) -> None:
    """Compute the head in float32 under autocast: bfloat16 knows 1 and 1.008, and a loss is about
    the differences of rewards."""

    def forward(input: Tensor) -> Tensor:  # noqa: A002  # as nn.Linear names it
        with torch.autocast(input.device.type, enabled=False):
            return functional.linear(input.float(), head.weight, head.bias)

    head.forward = forward  # type: ignore[method-assign]  # of this one layer, not of its class
