"""Losses of direct preference optimisation, over all pairs of a task at once.

Shape letters: K completions of one task, R rankings of it.
"""

from torch import Tensor

from app.training.losses import mean_over_rankings, pairwise_ranking_loss


def dpo_loss(
    log_ratios: Tensor,
    preferred: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Loss of one task: every preferred-first pair (i, j) of its rankings, from K log-ratios.

    L = mean over pairs of −(1−ε)·log σ(β·(d_i − d_j)) − ε·log σ(−β·(d_i − d_j))

    with d_k = log π(y_k|x) − log π_ref(y_k|x): Rafailov et al. 2023, equation 7, and for ε > 0 the
    conservative DPO of Mitchell 2023, which takes each preference to be wrong with probability ε.
    β·d_k is the implicit reward of a completion, and the loss is that of a reward model which gives
    it.

    Args:
        log_ratios: [K] float, d; summed over the completion's tokens, or their mean for the
            length-normalised variant.
        preferred: [R, K, K] bool from `preference_matrix`.
        beta: β, how much a difference in log-ratio counts.
        label_smoothing: ε, from 0 to below ½.
        weights: [R] float, or None for equal weights.

    Returns:
        A scalar; 0 (with gradient 0) for a task without any pair.
    """
    return pairwise_ranking_loss(
        beta * log_ratios, preferred, weights, label_smoothing=label_smoothing
    )


def ipo_loss(
    log_ratios: Tensor, preferred: Tensor, *, beta: float, weights: Tensor | None = None
) -> Tensor:
    """As `dpo_loss`, with a squared loss that wants every margin to be the same.

    L = mean over pairs of (d_i − d_j − 1/(2β))²

    Azar et al. 2023, equation 17, with τ = β. It cannot be driven to infinity by a preference that
    everybody shares. `log_ratios` are means over tokens: the authors confirmed to TRL that the
    paper's results were made so, and a sum would ask long completions for smaller steps.

    Args:
        log_ratios, preferred, weights: as in `dpo_loss`.
        beta: τ; the margin aimed at is 1/(2β).
    """
    margins = log_ratios[:, None] - log_ratios[None, :]
    return mean_over_rankings((margins - 1 / (2 * beta)).square(), preferred, weights)
