"""The one place that chooses what training computes in, and how fast that could go."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from sensorium.errors import ConfigError
from sensorium.nn.linear import has_fast_product, product

Compute: TypeAlias = Literal["auto", "float32", "bfloat16"]


def compute_dtype(device: torch.device, wanted: Compute = "auto") -> torch.dtype:
    """What products are computed in: by default bfloat16 on a GPU and float32 on a CPU. Weights stay float32.

    Raises:
        ConfigError: bfloat16 is wanted of a CPU that emulates it, hundreds of times slower than float32.
    """
    if wanted == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype = torch.bfloat16 if wanted == "bfloat16" else torch.float32
    if dtype == torch.bfloat16 and device.type == "cpu":
        half, full = (_best_rate(device, kind, size=256, tries=3) for kind in (dtype, torch.float32))
        if half < full:
            raise ConfigError(
                f"compute = 'bfloat16': this CPU reaches {half / 1e9:.1f} GFLOP/s in bfloat16 and {full / 1e9:.1f} in "
                "float32 (set compute: float32)"
            )
    return dtype


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Around each forward pass: products in `dtype`."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def measure_peak(device: torch.device, dtype: torch.dtype) -> float:
    """The matrix-product rate (FLOP/s) of this device at this thread count: the best of a few square products."""
    size, tries = (768, 4) if device.type == "cpu" else (8192, 8)
    return _best_rate(device, dtype, size=size, tries=tries)


def _best_rate(device: torch.device, dtype: torch.dtype, *, size: int, tries: int) -> float:
    a = torch.ones(size, size, device=device, dtype=dtype)
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
