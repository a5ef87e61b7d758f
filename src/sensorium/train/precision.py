"""The one place that chooses what training computes in, and how fast that could go."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from sensorium.nn.linear import has_fast_product, product


def compute_dtype(device: torch.device) -> torch.dtype:
    """Bfloat16 on a GPU, float32 on a CPU, where half precision is emulated and slow. Weights stay float32."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Around each forward pass: products in `compute_dtype`."""
    if device.type == "cpu":
        return nullcontext()
    return torch.autocast(device.type, compute_dtype(device))


def measure_peak(device: torch.device) -> float:
    """The matrix-product rate (FLOP/s) of this device at this thread count: the best of a few square products."""
    size, tries = (768, 4) if device.type == "cpu" else (8192, 8)
    a = torch.ones(size, size, device=device, dtype=compute_dtype(device))
    products: list[Callable[[Tensor, Tensor], Tensor]] = [torch.mm, product] if has_fast_product(a) else [torch.mm]
    best = 0.0
    for multiply in products * tries:
        started = now(device)
        multiply(a, a)
        best = max(best, 2 * size**3 / (now(device) - started))
    return best


def now(device: torch.device) -> float:
    """Seconds on a clock that never goes back, after the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
