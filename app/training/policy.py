"""Policy, value head and reference on one trunk.

With LoRA the adapters on are the policy and the adapters off are the reference: one copy of the
weights serves both, and a checkpoint holds the adapters alone. Without LoRA every weight is trained
and the reference is the model it started as; on a CPU that one is mapped from its file whenever it
is asked, and takes no memory in between. There is no dropout anywhere: the ratio of the first
minibatch has to be 1.

Shape letters: B completions, P prompt tokens (padded on the left), C completion tokens (padded on
the right), T = P + C, H hidden size, V vocabulary. Masks: True means "counts".
"""

import copy
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoTokenizer

from app.inference.loading import LOAD_ERRORS, best_device, load_reason, load_weights
from app.training.logprobs import token_logprobs, token_logprobs_and_entropies
from app.training.report import TrainingError
from app.training.states import Sequences, predicting_states
from app.training.task_logprobs import can_share_prompts

# The update is scaled by alpha / rank = 2, PEFT's and QLoRA's usual choice.
LORA_ALPHA_PER_RANK = 2
WEIGHT_SUFFIXES = {".safetensors", ".bin", ".gguf", ".pt", ".pth", ".h5", ".msgpack"}


@dataclass(frozen=True)
class TokenOutputs:
    """What the policy says about each sampled token, float32 [B, C] each.

    `logprobs` and `values` carry gradients, `entropies` do not. `values` is V of the state before
    the token. Where `completion_mask` is False they are finite and mean nothing.
    """

    logprobs: Tensor
    entropies: Tensor
    values: Tensor


class Policy(nn.Module):
    """A causal language model with a value head, and the reference it started as.

    Args:
        model: the causal language model, its adapters injected where LoRA is on.
        adapters: the PEFT wrapper of `model`, or None for full fine-tuning.
        reference: gives `model` as it was at first, frozen; None with LoRA.
    """

    def __init__(
        self, model: Any, adapters: Any | None, reference: Callable[[], Any] | None
    ) -> None:
        super().__init__()
        self.model = model
        # In a list, so that the weights are not registered (and saved) a second time.
        self._adapters = [adapters]
        self._reference = reference
        self.shares_prompts = can_share_prompts(model)
        self.value_head = nn.Linear(model.config.get_text_config().hidden_size, 1)
        # V = 0 at first: a random head would shape the first advantages by noise.
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are; sequences come from and outputs go to the CPU, being small."""
        return self.value_head.weight.device

    def forward(self, sequences: Sequences, temperature: float) -> TokenOutputs:
        """Logprobs at the sampling temperature, entropies and values of the sampled tokens.

        The value head reads the trunk's last hidden state and its loss reaches the trunk, as in
        Ziegler et al. 2019: the states it has to tell apart are the policy's own.
        """
        hidden = self._states(self.model, sequences)
        tokens = sequences.tokens.to(self.device)
        weight, bias = _head(self.model)
        logprobs, entropies = token_logprobs_and_entropies(
            hidden, weight, tokens, temperature, bias
        )
        values = self.value_head(hidden).squeeze(-1)
        return TokenOutputs(logprobs.cpu(), entropies.cpu(), values.cpu())

    def ref_logprobs(self, sequences: Sequences, temperature: float) -> Tensor:
        """The reference's logprobs of the sampled tokens, float32 [B, C], without gradient."""
        tokens = sequences.tokens.to(self.device)
        with torch.no_grad(), self.reference() as model:
            hidden = self._states(model, sequences)
            weight, bias = _head(model)
            return token_logprobs(hidden, weight, tokens, temperature, bias).cpu()

    def _states(self, model: Any, sequences: Sequences) -> Tensor:
        return predicting_states(model, sequences, self.device, share_prompts=self.shares_prompts)

    @contextmanager
    def reference(self) -> Iterator[Any]:
        """The reference as a causal language model: the adapters off, or the frozen start."""
        (adapters,) = self._adapters
        if self._reference is not None:
            yield self._reference()
        elif adapters is not None:
            with adapters.disable_adapter():
                yield self.model

    def trained_state(self) -> dict[str, Tensor]:
        """What training changes: adapters (or every weight) and the value head."""
        trained = {name for name, weight in self.named_parameters() if weight.requires_grad}
        return {name: weight for name, weight in self.state_dict().items() if name in trained}

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Go on from `trained_state`."""
        self.load_state_dict(state, strict=False)

    def save(self, folder: Path, source: Path) -> None:
        """Write the policy as an ordinary model folder, its adapters merged in for good.

        Tokenizer, chat template and generation config are the files of `source`, byte for byte.
        The policy cannot be trained on afterwards.
        """
        (adapters,) = self._adapters
        model = self.model if adapters is None else adapters.merge_and_unload()
        model.save_pretrained(folder)
        for path in source.iterdir():
            weights = path.suffix in WEIGHT_SUFFIXES or path.name.endswith(".index.json")
            if path.is_file() and path.name != "config.json" and not weights:
                shutil.copyfile(path, folder / path.name)


def load_policy(policy_dir: Path, lora_rank: int | None, seed: int) -> tuple[Any, Policy]:
    """Tokenizer and policy from a model folder, in float32.

    LoRA goes on every linear layer but the language-model head (Dettmers et al. 2023 §4 needed all
    of them to match full fine-tuning); its B is zero, so that the policy starts as the reference.

    Raises:
        TrainingError: the folder holds no causal language model with a usable tokenizer, or one
            whose logits are more than its head times its last hidden state.
    """
    torch.manual_seed(seed)  # LoRA's A is drawn from the global generator
    try:
        tokenizer = AutoTokenizer.from_pretrained(policy_dir, local_files_only=True)
    except LOAD_ERRORS as error:
        raise _cannot_load(policy_dir, error) from error
    model = _load_model(policy_dir)
    if tokenizer.eos_token_id is None:
        raise TrainingError(
            f"The tokenizer of {policy_dir.name} has no end-of-text token, so no completion could "
            "end; set eos_token in its tokenizer_config.json."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    _check_logits(model, tokenizer.eos_token_id, policy_dir.name)
    device = best_device()
    model.to(device)
    adapters = reference = None
    if lora_rank is None:
        reference = _frozen(policy_dir, model)
        model.requires_grad_(True)
    else:
        adapters = get_peft_model(
            model,
            LoraConfig(
                task_type="CAUSAL_LM",
                r=lora_rank,
                lora_alpha=LORA_ALPHA_PER_RANK * lora_rank,
                lora_dropout=0.0,
                target_modules="all-linear",
            ),
        )
    return tokenizer, Policy(model, adapters, reference).to(device)


def _load_model(policy_dir: Path) -> Any:
    try:
        return load_weights(policy_dir, "policy")
    except LOAD_ERRORS as error:
        raise _cannot_load(policy_dir, error) from error


def _cannot_load(policy_dir: Path, error: Exception) -> TrainingError:
    return TrainingError(f"Cannot load the policy {policy_dir.name}: {load_reason(error)}")


def _frozen(policy_dir: Path, model: Any) -> Callable[[], Any]:
    """The model of the folder, which `model` was just loaded from and moved to its device.

    A GPU keeps a copy: its memory is filled through the bus, not by mapping a file.
    """
    if model.device.type == "cpu":
        return lambda: _load_model(policy_dir).eval().requires_grad_(False)
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    return lambda: copied


def _head(model: Any) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the language-model head."""
    head = model.get_output_embeddings()
    return head.weight, getattr(head, "bias", None)


def _check_logits(model: Any, token: int, name: str) -> None:
    """Refuse a model that scales or caps its logits after the head (Gemma 2, Granite, Cohere)."""
    ids = torch.full((1, 2), token)
    with torch.no_grad():
        output = model.eval()(input_ids=ids, output_hidden_states=True)
        head = model.get_output_embeddings()
        ours = head(model.base_model(input_ids=ids).last_hidden_state)
    if not torch.isfinite(output.logits).all():
        raise TrainingError(
            f"The policy {name} gives logits that are not finite: its weights are damaged. Start "
            "from another one."
        )
    if not torch.allclose(ours, output.logits, atol=1e-3, rtol=1e-3):
        raise TrainingError(
            f"The policy {name} changes its logits after the language-model head, which PPO here "
            "does not support."
        )
