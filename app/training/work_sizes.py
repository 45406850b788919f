"""How much goes through a model at once: enough to fill the processor, little enough to be held."""

from typing import Any

import torch

LARGEST_GROUP = 4096
"""Tokens whose activations are held at once, at most."""
ACTIVATION_BYTES = 1_200_000_000
"""On a CPU, where more tokens at once are no faster once there are a few hundred."""
ACTIVATION_BYTES_PER_UNIT = 128
"""What training holds of a token in each layer for each hidden unit, in fp32. Measured with 72
texts of 256 tokens on a 135M-parameter causal backbone: 40 GB."""
CACHE_BYTES = 400_000_000
"""On a CPU. With 135M parameters some 75 rows of 108 tokens have room, and 32 decode as fast."""


def tokens_to_train(model: Any, device: torch.device) -> int:
    """How many tokens a training pass may have."""
    config = model.config.get_text_config()
    a_token: int = ACTIVATION_BYTES_PER_UNIT * config.hidden_size * config.num_hidden_layers
    return min(LARGEST_GROUP, _room(device, ACTIVATION_BYTES) // a_token)


def tokens_to_cache(model: Any, device: torch.device) -> int:
    """How many tokens, of all rows together, a decode may hold keys and values of."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    heads = getattr(config, "num_key_value_heads", None) or heads
    element = next(model.parameters()).element_size()
    a_token: int = 2 * config.num_hidden_layers * heads * size * element
    return _room(device, CACHE_BYTES) // a_token


def _room(device: torch.device, on_cpu: int) -> int:
    if device.type != "cuda":
        return on_cpu
    # Of all its memory and not of what is free now: the groups, and with them the rounding, have to
    # be the same in a resumed run.
    memory: int = torch.cuda.get_device_properties(device).total_memory
    return memory // 4
