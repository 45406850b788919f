import pytest
import torch

from app.inference import decoding
from app.inference.decoding import DrawTable, draw_tokens

# Probabilities 0.5, 0.3, 0.15, 0.05 in shuffled places 2, 0, 3, 1.
LOGITS = torch.tensor([[0.3, 0.05, 0.5, 0.15]]).log()


def shares(top_p: float, top_k: int | None, temperature: float = 1.0) -> torch.Tensor:
    """What share of an even sweep of uniforms goes to each token."""
    sweep = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    rows = len(sweep)
    table = DrawTable.build([temperature] * rows, [top_p] * rows, [top_k] * rows)
    tokens, _ = draw_tokens(LOGITS.repeat(rows, 1), table, sweep)
    return torch.bincount(tokens, minlength=4) / rows


@pytest.mark.parametrize(
    ("top_p", "top_k", "temperature", "expected"),
    [
        (1.0, None, 1.0, [0.3, 0.05, 0.5, 0.15]),
        # 0.5 + 0.3 reaches 0.7; the rest of the mass goes, and what is left is 0.5/0.8, 0.3/0.8.
        (0.7, None, 1.0, [0.375, 0.0, 0.625, 0.0]),
        (0.01, None, 1.0, [0.0, 0.0, 1.0, 0.0]),
        # top_k leaves 0.5, 0.3, 0.15 of mass 0.95; 0.5 + 0.3 is 0.84 of it, short of 0.9.
        (0.9, 3, 1.0, [0.3 / 0.95, 0.0, 0.5 / 0.95, 0.15 / 0.95]),
        (0.8, 3, 1.0, [0.375, 0.0, 0.625, 0.0]),
        (1.0, 1, 1.0, [0.0, 0.0, 1.0, 0.0]),
        (0.5, None, 0.0, [0.0, 0.0, 1.0, 0.0]),
        # Temperature 1/2 squares the odds: 9 : 0.25 : 25 : 2.25 of 36.5.
        (1.0, None, 0.5, [9 / 36.5, 0.25 / 36.5, 25 / 36.5, 2.25 / 36.5]),
    ],
)
def test_tokens_come_in_the_shares_the_options_say(
    top_p: float, top_k: int | None, temperature: float, expected: list[float]
) -> None:
    found = shares(top_p, top_k, temperature)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("top_p", "top_k"), [(0.99, None), (0.5, None), (0.9, 40), (1.0, 3)])
def test_few_candidates_give_what_the_whole_vocabulary_gives(
    monkeypatch: pytest.MonkeyPatch, top_p: float, top_k: int | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(64, 500, generator=generator) * torch.linspace(0.5, 4, 64)[:, None]
    uniforms = torch.rand(64, generator=generator, dtype=torch.float64)
    table = DrawTable.build([1.0] * 64, [top_p] * 64, [top_k] * 64)
    results = []
    for candidates in (16, 500):
        monkeypatch.setattr(decoding, "NUCLEUS_CANDIDATES", candidates)
        results.append(draw_tokens(logits, table, uniforms)[0])
    assert torch.equal(*results)


def test_logprob_is_over_the_whole_vocabulary_before_narrowing() -> None:
    table = DrawTable.build([0.5], [0.1], [1])
    tokens, logprobs = draw_tokens(LOGITS, table, torch.tensor([0.5], dtype=torch.float64))
    assert tokens.tolist() == [2]
    assert logprobs.exp().item() == pytest.approx(25 / 36.5)


def test_greedy_logprob_is_that_of_temperature_one() -> None:
    table = DrawTable.build([0.0], [1.0], [None])
    _, logprobs = draw_tokens(LOGITS, table, torch.tensor([0.5], dtype=torch.float64))
    assert logprobs.exp().item() == pytest.approx(0.5)


def test_impossible_tokens_are_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    sweep = torch.tensor([0.0, 0.25, 0.5, 0.75, 1 - 2**-53], dtype=torch.float64)
    table = DrawTable.build([1.0] * 5, [1.0] * 5, [None] * 5)
    tokens, _ = draw_tokens(logits.repeat(5, 1), table, sweep)
    assert tokens.tolist() == [1, 1, 3, 3, 3]


def test_a_large_vocabulary_is_inverted_as_its_whole_cumulative_sum_would_be() -> None:
    generator = torch.Generator().manual_seed(1)
    # Some likely tokens and a long tail of unlikely ones; not a multiple of a block.
    logits = torch.randn(200, 49_155, generator=generator) * 3
    uniforms = torch.rand(200, generator=generator, dtype=torch.float64)
    table = DrawTable.build([1.0] * 200, [1.0] * 200, [None] * 200)
    tokens, logprobs = draw_tokens(logits, table, uniforms)
    cumulative = logits.double().softmax(dim=-1).cumsum(dim=-1)
    expected = torch.searchsorted(cumulative, uniforms[:, None], right=True).squeeze(1)
    assert (tokens == expected).float().mean() > 0.98  # a boundary may move by float32 rounding
    assert ((tokens - expected).abs() <= 1).all()
    exact = logits.double().log_softmax(dim=-1).gather(1, tokens[:, None]).squeeze(1)
    torch.testing.assert_close(logprobs.double(), exact, atol=1e-5, rtol=0)


def test_logits_that_are_not_numbers_show_in_the_logprob() -> None:
    table = DrawTable.build([1.0], [1.0], [None])
    logits = torch.full((1, 600), torch.nan)
    tokens, logprobs = draw_tokens(logits, table, torch.tensor([0.5], dtype=torch.float64))
    assert 0 <= tokens.item() < 600
    assert logprobs.isnan().all()
