"""How many CPU threads to decode with: a small model is fastest on one, and two fight when anything else runs."""

from __future__ import annotations

import functools
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL_BYTES = 48 << 20  # weights that one core streams as fast as several wait for each other


def threads_for(weight_bytes: int) -> int:
    """Threads to decode a model of so many bytes with: one for a small model, else what a short trial finds faster."""
    return 1 if weight_bytes <= SMALL_BYTES else fastest_threads()


@functools.cache
def fastest_threads() -> int:
    """One thread or one per core, by how fast they add up 4 MB here and now; tried once, in some 50 ms.

    Several threads must win even in their slow runs: on a busy machine each waits for the one that was put aside,
    and decoding with two was measured up to ten times slower than with one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    numbers = torch.ones(1 << 20)

    def deciles(threads: int) -> list[float]:
        with torch_threads(threads):
            return statistics.quantiles((_timed(numbers) for _ in range(60)), n=10)

    return cores if cores > 1 and deciles(cores)[8] < 0.8 * deciles(1)[4] else 1


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Compute with `count` threads inside, and with as many as before after."""
    before = torch.get_num_threads()
    if count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _timed(numbers: torch.Tensor) -> float:
    start = time.perf_counter()
    numbers.sum()
    return time.perf_counter() - start
