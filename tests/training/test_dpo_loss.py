"""DPO's losses against numbers worked out by hand and against TRL's own code."""

import math
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from app.training.dpo_loss import dpo_loss, ipo_loss
from app.training.losses import preference_matrix


def pair() -> Tensor:
    return preference_matrix([[1, 2]])


def test_one_pair_by_hand():
    # d = (−1, −3), beta 0.5: margin 0.5·2 = 1, −log σ(1) = log(1 + e⁻¹) = 0.313262.
    loss = dpo_loss(torch.tensor([-1.0, -3.0]), pair(), beta=0.5)
    assert loss.item() == pytest.approx(0.313262, abs=1e-6)
    # A tenth of the preferences wrong: 0.9·0.313262 + 0.1·1.313262, the second −log σ(−1).
    smoothed = dpo_loss(torch.tensor([-1.0, -3.0]), pair(), beta=0.5, label_smoothing=0.1)
    assert smoothed.item() == pytest.approx(0.413262, abs=1e-6)
    # IPO: (2 − 1/(2·0.5))² = 1.
    assert ipo_loss(torch.tensor([-1.0, -3.0]), pair(), beta=0.5).item() == pytest.approx(1.0)


def test_the_gradient_of_one_pair_by_hand():
    # dL/dd_chosen = −beta·σ(−margin) = −0.5·σ(−1) = −0.5·0.268941; the rejected one's is opposite.
    log_ratios = torch.tensor([-1.0, -3.0], requires_grad=True)
    dpo_loss(log_ratios, pair(), beta=0.5).backward()
    torch.testing.assert_close(log_ratios.grad, torch.tensor([-0.1344707, 0.1344707]))
    # IPO: dL/dd_chosen = 2·(2 − 1) = 2.
    log_ratios = torch.tensor([-1.0, -3.0], requires_grad=True)
    ipo_loss(log_ratios, pair(), beta=0.5).backward()
    torch.testing.assert_close(log_ratios.grad, torch.tensor([2.0, -2.0]))


@pytest.mark.parametrize("beta", [0.01, 0.1, 5.0])
def test_the_loss_is_ln_2_where_the_policy_is_the_reference(beta):
    preferred = preference_matrix([[1, 2, 3, 3], [2, 1, 3, None]])
    assert dpo_loss(torch.zeros(4), preferred, beta=beta).item() == pytest.approx(math.log(2))


def test_a_ranking_of_three_is_the_mean_of_its_three_pairs():
    log_ratios = torch.tensor([0.5, -0.25, 2.0])
    expected = [
        dpo_loss(log_ratios[[better, worse]], pair(), beta=0.3).item()
        for better, worse in ((0, 1), (0, 2), (1, 2))
    ]
    whole = dpo_loss(log_ratios, preference_matrix([[1, 2, 3]]), beta=0.3)
    assert whole.item() == pytest.approx(sum(expected) / 3)


def test_ties_and_unranked_completions_give_no_pair():
    log_ratios = torch.tensor([0.5, -0.25, 2.0], requires_grad=True)
    for ranks in ([1, 1, 1], [1, None, None], [2, 2, None]):
        for loss in (dpo_loss, ipo_loss):
            value = loss(log_ratios, preference_matrix([ranks]), beta=0.1)
            assert value.item() == 0
            value.backward()
            assert not log_ratios.grad.any()
    # Two ties and a third behind: the tied two are not compared with each other.
    tied = dpo_loss(log_ratios, preference_matrix([[1, 1, 2]]), beta=0.1)
    pairs = [dpo_loss(log_ratios[[better, 2]], pair(), beta=0.1) for better in (0, 1)]
    assert tied.item() == pytest.approx((pairs[0] + pairs[1]).item() / 2)


def trl_loss(own: Tensor, reference: Tensor, lengths: list[int], kind: str, **arguments) -> float:
    """What TRL's DPO trainer makes of one pair, its model replaced by given log-probabilities.

    `own`, `reference`: [2, C] log-probabilities of tokens, chosen first, 0 behind the end.
    """
    from trl.trainer.dpo_trainer import DPOTrainer

    width = own.shape[1]
    mask = torch.zeros(2, 1 + width, dtype=torch.long)  # one token of prompt
    for row, length in enumerate(lengths):
        mask[row, 1 : 1 + length] = 1

    def model(**_inputs):
        nothing = torch.zeros_like(own)
        return SimpleNamespace(
            log_probs=own, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
        )

    model.training = True
    trainer = SimpleNamespace(
        model=model,
        accelerator=SimpleNamespace(
            device=torch.device("cpu"), gather_for_metrics=lambda x: x, gather=lambda x: x
        ),
        precompute_ref_logps=True,
        aux_loss_enabled=False,
        ld_alpha=None,
        f_divergence_type="reverse_kl",
        loss_types=[kind],
        loss_weights=[1.0],
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
        **arguments,
    )
    inputs = {
        "input_ids": torch.zeros_like(mask),
        "attention_mask": mask,
        "completion_mask": mask,
        "ref_chosen_logps": reference[:1].sum(dim=1),
        "ref_rejected_logps": reference[1:].sum(dim=1),
    }

    return float(DPOTrainer._compute_loss(trainer, model, inputs, False))


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        ("sigmoid", lambda d, n: dpo_loss(d, pair(), beta=0.3)),
        ("sigmoid_norm", lambda d, n: dpo_loss(d / n, pair(), beta=0.3)),
        ("ipo", lambda d, n: ipo_loss(d / n, pair(), beta=0.3)),
        # With one pair to a batch there is nothing to sort, and AOT is the conservative DPO.
        ("aot", lambda d, n: dpo_loss(d, pair(), beta=0.3, label_smoothing=0.2)),
    ],
)
def test_the_losses_are_those_of_trl(kind, ours):
    generator = torch.Generator().manual_seed(5)
    lengths = [4, 6]
    counted = torch.arange(6) < torch.tensor(lengths)[:, None]
    own, reference = (
        torch.where(counted, -3 * torch.rand(2, 6, generator=generator), 0.0) for _ in range(2)
    )
    theirs = trl_loss(own, reference, lengths, kind, beta=0.3, label_smoothing=0.2)
    log_ratios = (own - reference).sum(dim=1)
    assert ours(log_ratios, torch.tensor(lengths)).item() == pytest.approx(theirs, abs=1e-6)


def test_descending_the_loss_moves_apart_what_the_ranking_puts_apart():
    log_ratios = nn.Parameter(torch.zeros(3))
    preferred = preference_matrix([[2, 1, 3]])
    for _ in range(50):
        dpo_loss(log_ratios, preferred, beta=1.0).backward()
        with torch.no_grad():
            log_ratios -= log_ratios.grad
            log_ratios.grad = None
    assert log_ratios[1] > log_ratios[0] + 1 > log_ratios[2] + 2
