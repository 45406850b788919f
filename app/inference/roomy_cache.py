"""A key-value cache with room for the whole completion, instead of a new copy at every token."""

from typing import Any

import torch
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # untyped in transformers
    """The cache of one layer; `keys` and `values` are the filled part of larger tensors.

    Args:
        filled: the layer as the prompts left it.
        rows: int64 [R], which of its rows each row begins from.
        room: how many tokens may follow.
    """

    def __init__(self, filled: DynamicLayer, rows: torch.Tensor, room: int) -> None:
        super().__init__()
        self.dtype, self.device = filled.dtype, filled.device
        self.is_initialized = True
        self._room = tuple(_with_room(one, rows, room) for one in (filled.keys, filled.values))
        self._fill(filled.get_seq_length())

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the states of new tokens, [R, heads, tokens, size], and return those of all."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, start:end] = states
        return self._fill(end)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows only."""
        length = self.get_seq_length()
        self._room = tuple(room[indices] for room in self._room)
        self._fill(length)

    def _fill(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = (room[:, :, :length] for room in self._room)
        self.keys, self.values = keys, values
        return keys, values


def make_room(cache: Any, rows: torch.Tensor, room: int) -> None:
    """Let the cache go on with `rows` of it, int64 [R], each with `room` more tokens.

    Layers that are not plain growing ones (sliding windows, recurrent states) stay what they are.
    """
    for number, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.get_seq_length() > 0:
            cache.layers[number] = RoomyLayer(layer, rows, room)
        else:
            layer.batch_select_indices(rows)


def _with_room(states: torch.Tensor | None, rows: torch.Tensor, room: int) -> torch.Tensor:
    assert states is not None
    _, heads, length, size = states.shape
    larger = states.new_empty((len(rows), heads, length + room, size))
    larger[:, :, :length] = states[rows]
    return larger
