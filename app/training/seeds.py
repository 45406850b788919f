"""Random streams derived from a seed and a purpose, so that nothing random is held in memory."""

from hashlib import blake2b

import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed of its own for each purpose: the same in every process, unrelated between purposes."""
    digest = blake2b(":".join(map(str, (seed, *purpose))).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def permutation(count: int, seed: int, *purpose: str | int) -> torch.Tensor:
    """The numbers 0 … count − 1 in an order of its own for each purpose: int64 [count]."""
    generator = torch.Generator().manual_seed(derive_seed(seed, *purpose))
    return torch.randperm(count, generator=generator)
