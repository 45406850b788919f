"""Linear layers packed for decoding on a CPU.

A decode step multiplies a few rows by every weight of the model. BLAS lays the weight out anew for
each of these products; oneDNN can do that once for all steps of a completion. LoRA adapters are
merged into the packed copy, so that they cost nothing at each step, and the weights themselves stay
untouched, bit for bit.

The operators are private to torch (its compiler uses them), so their absence only means that
nothing is packed. docs/benchmarks.md says what it gives.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# One row is a product of a matrix and a vector, which BLAS does without packing; a few steps do not
# pay for the copy.
FEWEST_ROWS = 2
FEWEST_STEPS = 12


@contextmanager
def packed_linears(model: nn.Module, rows: int, steps: int) -> Iterator[None]:
    """Let the linear layers of a float32 CPU model compute from packed copies while inside.

    Without gradients only. The copies take as much memory as the layers' weights, until the end.

    Args:
        model: any module; adapters of PEFT's LoRA that are on are merged into the copies.
        rows: rows of each product, which the layout is chosen for; others compute as well.
        steps: how many products each layer will do.
    """
    packed: list[nn.Module] = []
    try:
        if _pays(model, rows, steps):
            # One after the other, so that a merged weight is gone before the next is made.
            for module, weight, bias in _linear_layers(model):
                packed.append(module)
                module.forward = _packed_forward(weight, bias, rows)
        yield
    finally:
        for module in packed:
            module.__dict__.pop("forward", None)


def _pays(model: nn.Module, rows: int, steps: int) -> bool:
    weight = next(model.parameters())
    return (
        rows >= FEWEST_ROWS
        and steps >= FEWEST_STEPS
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch gives it no types
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


def _linear_layers(model: nn.Module) -> Iterator[tuple[nn.Module, Tensor, Tensor | None]]:
    """Every linear layer with its weight and bias; one with adapters as a whole."""
    waiting: list[nn.Module] = [model]
    while waiting:
        module: Any = waiting.pop()
        if type(module) is nn.Linear:
            yield module, module.weight, module.bias
        elif hasattr(module, "get_delta_weight"):
            if type(module.base_layer) is nn.Linear and not any(module.use_dora.values()):
                yield module, _merged_weight(module), module.base_layer.bias
        else:
            waiting.extend(module.children())


def _merged_weight(layer: Any) -> Tensor:
    weight: Tensor = layer.base_layer.weight
    if layer.disable_adapters or layer.merged:
        return weight
    for adapter in layer.active_adapters:
        if adapter in layer.lora_A:
            weight = weight + layer.get_delta_weight(adapter)
    return weight


def _packed_forward(weight: Tensor, bias: Tensor | None, rows: int) -> Callable[..., Tensor]:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), rows)

    def forward(hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(hidden, packed, bias, "none", [], "")
        return product

    return forward
