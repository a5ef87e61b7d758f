"""The learning rate as a pure function of the step: warm-up, then cosine, warm-up–stable–decay, or constant."""

from __future__ import annotations

import math
from typing import Literal

Shape = Literal["cosine", "wsd", "constant"]


def rate(
    step: int, horizon: int, *, shape: Shape, warmup: float = 0.0, decay: float = 0.2, floor: float = 0.0
) -> float:
    """The share of the peak learning rate to use at a step.

    Args:
        step: steps already taken, 0 to `horizon - 1`.
        horizon: steps of the whole stage.
        shape: `cosine` (Loshchilov & Hutter 2017) falls along half a wave; `wsd` (Hu et al. 2024) stays at the
            peak and falls in a straight line at the end; `constant` stays.
        warmup: the straight rise from nothing: a share of the horizon below 1, a number of steps from 1 on.
        decay: the share of the horizon in which `wsd` falls.
        floor: the share of the peak reached at the very end.

    Returns:
        A factor between 0 and 1. It depends on nothing but its arguments, so a resumed run sees the same rates.
    """
    rise = warmup_steps(warmup, horizon)
    if step < rise:
        return (step + 1) / rise
    if shape == "constant":
        return 1.0
    if shape == "cosine":
        progress = (step - rise) / max(1, horizon - rise)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    start = decay_start(decay, horizon)
    if step < start:
        return 1.0
    progress = (step - start) / max(1, horizon - start)
    return 1 - (1 - floor) * min(1.0, progress)


def warmup_steps(warmup: float, horizon: int) -> int:
    """Steps of the rise: `warmup` is a share of the horizon below 1, a number of steps from 1 on."""
    return round(warmup * horizon) if warmup < 1 else round(warmup)


def decay_start(decay: float, horizon: int) -> int:
    """The step from which the `wsd` schedule falls."""
    return horizon - round(decay * horizon)
