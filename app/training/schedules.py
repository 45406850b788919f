"""How a learning rate changes over a run."""

WARMUP_SHARE = 0.1


def scheduled_rate(peak: float, step: int, steps: int) -> float:
    """Linear warm-up over the first tenth of the steps, then linear decay to zero.

    `step` counts from 1; the last step still moves, by 1/(steps − warm-up) of the peak.
    """
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step <= warmup:
        return peak * step / warmup
    return peak * (steps - step + 1) / (steps - warmup + 1)
