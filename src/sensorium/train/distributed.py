"""Several processes as one: started by torchrun, each takes its rows of the same batch, and gradients are summed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from sensorium.errors import ConfigError

_BUCKET = 8_000_000  # numbers per all-reduce: large enough for the network, small enough for memory


@dataclass(frozen=True, slots=True)
class World:
    """Where this process stands among the others (its `rank` of `size`), and what it computes on and in."""

    rank: int
    size: int
    device: torch.device
    dtype: torch.dtype = torch.float32

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def sum(self, numbers: Tensor) -> Tensor:
        """Elementwise sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(numbers)
        return numbers

    def sum_gradients(self, weights: Iterable[Tensor]) -> None:
        """Make every process's gradient the sum over all; a weight unused here counts as zero.

        One that no process uses stays without a gradient, so that it neither moves nor decays, as with one process.
        """
        if self.size == 1:
            return
        weights = list(weights)
        used = self.sum(torch.tensor([float(weight.grad is not None) for weight in weights], device=self.device))
        for bucket in _buckets([weight for weight, users in zip(weights, used.tolist(), strict=True) if users]):
            gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in bucket]
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            dist.all_reduce(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in gradients])
            for weight, part in zip(bucket, parts, strict=True):
                weight.grad = part.view_as(weight)

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """Make every process's tensors the mean over all, in place."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = self.sum(torch.cat([tensor.reshape(-1) for tensor in bucket])) / self.size
            for tensor, part in zip(bucket, torch.split(flat, [one.numel() for one in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def share(self, number: float) -> float:
        """The main process's number, on every process."""
        if self.size == 1:
            return number
        held = torch.tensor([number], dtype=torch.float64, device=self.device)
        dist.broadcast(held, src=0)
        return float(held.item())

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Every process's tensor (of one shape), by rank; on the CPU."""
        if self.size == 1:
            return [tensor.cpu()]
        gathered = [torch.empty_like(tensor, device=self.device) for _ in range(self.size)]
        dist.all_gather(gathered, tensor.to(self.device))
        return [one.cpu() for one in gathered]

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined(device: str = "auto") -> Iterator[World]:
    """Join the processes that torchrun started, or be the only one.

    Args:
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:1`.

    Raises:
        ConfigError: there is no such device.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    chosen = _device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    started_here = size > 1 and not dist.is_initialized()
    if started_here:
        # The main process trains the tokenizer and writes models while the others wait.
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=timedelta(hours=2))
    try:
        yield World(rank, size, chosen)
    finally:
        if started_here:
            dist.destroy_process_group()


def gathered(rows: Tensor) -> Tensor:
    """The rows of every process, in order of rank; their gradients flow back to where they came from.

    Outside a group of processes these are the rows themselves.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    if rows.is_floating_point() and not rows.requires_grad:
        rows = rows.detach().requires_grad_()  # the way back is one that all processes go together, or wait for ever
    everywhere: Tensor = _Gathered.apply(rows)  # type: ignore[no-untyped-call]
    return everywhere


def summed(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes, which must ask together; no gradient passes."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total


def of_the_row_before(rows: Tensor) -> Tensor:
    """For each row that of the one before it in the whole batch, of which processes hold `rank::world`; no gradient."""
    rows = rows.detach()
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows.roll(1, 0)
    counts = _rows_by_rank(len(rows))
    starts = [sum(counts[:rank]) for rank in range(len(counts))]
    places = sorted((index, rank) for rank, count in enumerate(counts) for index in range(count))
    order = [starts[rank] + index for index, rank in places]
    return gathered(rows).detach()[order].roll(1, 0)[dist.get_rank() :: len(counts)]


def rows_before(n_rows: int) -> int:
    """How many rows of `gathered` come before this process's `n_rows`."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return 0
    return sum(_rows_by_rank(n_rows)[: dist.get_rank()])


def _rows_by_rank(n_rows: int) -> list[int]:
    counts: list[int | None] = [None] * dist.get_world_size()
    dist.all_gather_object(counts, n_rows)
    return [count or 0 for count in counts]


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        counts = _rows_by_rank(len(rows))
        ctx.begin, ctx.end = sum(counts[: dist.get_rank()]), sum(counts[: dist.get_rank() + 1])
        # Processes may hold one row more or less: all send as many as the one that holds most.
        sent = torch.cat((rows, rows.new_zeros((max(counts) - len(rows), *rows.shape[1:]))))
        received = [torch.empty_like(sent) for _ in counts]
        dist.all_gather(received, sent.contiguous())
        return torch.cat([one[:count] for one, count in zip(received, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.begin : ctx.end]


def _device(name: str, local_rank: int) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r} (use auto, cpu or cuda)") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} cannot train (use auto, cpu or cuda)")
    if device.type == "cpu":
        return device
    index = local_rank if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise ConfigError(f"device cuda:{index} does not exist: {torch.cuda.device_count()} GPUs are visible")
    return torch.device("cuda", index)


def _buckets(weights: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for weight in weights:
        bucket.append(weight)
        if sum(one.numel() for one in bucket) >= _BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
