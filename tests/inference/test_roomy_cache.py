import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicSlidingWindowLayer

from app.inference.roomy_cache import RoomyLayer, make_room

ROWS = torch.tensor([0, 0, 1])


def states(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def grown_both_ways() -> tuple[DynamicCache, DynamicCache]:
    """A cache with room and a plain one, after the same prefill, choice of rows and steps."""
    caches = DynamicCache(), DynamicCache()
    for cache, roomy in zip(caches, (True, False), strict=True):
        for layer in range(2):
            cache.update(states(2, 3, 5, 4), states(2, 3, 5, 4) + 1, layer)
        if roomy:
            make_room(cache, ROWS, room=2)
        else:
            cache.batch_select_indices(ROWS)
        for layer in range(2):
            cache.update(states(3, 3, 1, 4), states(3, 3, 1, 4) + 1, layer)
        cache.batch_select_indices(torch.tensor([0, 2]))
        for layer in range(2):
            cache.update(states(2, 3, 1, 4), states(2, 3, 1, 4) + 1, layer)
    return caches


def test_it_holds_what_a_plain_cache_holds() -> None:
    roomy, plain = grown_both_ways()
    assert roomy.get_seq_length() == plain.get_seq_length() == 7
    for ours, theirs in zip(roomy.layers, plain.layers, strict=True):
        assert type(ours) is RoomyLayer
        assert ours.keys is not None
        assert ours.values is not None
        assert torch.equal(ours.keys, theirs.keys)
        assert torch.equal(ours.values, theirs.values)


def test_a_step_writes_into_the_room_and_copies_nothing() -> None:
    cache = DynamicCache()
    cache.update(states(1, 3, 5, 4), states(1, 3, 5, 4), 0)
    make_room(cache, torch.tensor([0]), room=2)
    before = cache.layers[0].keys
    after, _ = cache.update(states(1, 3, 1, 4), states(1, 3, 1, 4), 0)
    assert before is not None
    assert after.data_ptr() == before.data_ptr()


def test_a_layer_with_a_window_stays_what_it_is() -> None:
    layer = DynamicSlidingWindowLayer(sliding_window=4)
    cache = DynamicCache()
    cache.layers = [layer]
    cache.update(states(2, 3, 5, 4), states(2, 3, 5, 4), 0)
    make_room(cache, ROWS, room=2)
    assert cache.layers[0] is layer
    assert layer.keys is not None
    assert len(layer.keys) == len(ROWS)
