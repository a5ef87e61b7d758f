"""Running the model to write: a prompt is read once, then each step reads one token per row against the cache."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sensorium.inference.compiled import CompiledStep, Step, plain_step
from sensorium.inference.threads import threads_for, torch_threads
from sensorium.nn.attention import KVCache
from sensorium.nn.omni import Omni

PREFILL_CHUNK = 512  # tokens of a prompt read at once: bounds the memory of the mask, and the wait for a cancellation
SLOTS = 128  # the cache grows by so many at a time, or by an eighth: attention pays for every slot, used or not
PATIENCE = 256  # steps that compile="auto" waits before it compiles: a short visit would never win them back


@dataclass
class Rows:
    """Replies being written side by side: their cache, and the position each one's next token takes."""

    cache: KVCache
    positions: Tensor  # (rows, 1)
    scores: Tensor  # (rows, vocab_size): what comes next, on the CPU, float32

    def keep(self, rows: Sequence[int]) -> None:
        """Forget every row but these (or repeat one)."""
        index = torch.tensor(rows, device=self.positions.device)
        self.cache = self.cache.rows(index)
        self.positions, self.scores = self.positions[index], self.scores[index.cpu()]


class Decoder:
    """The model as the engine uses it; holds no state between replies, so that several threads may share it."""

    def __init__(self, model: Omni, *, threads: int | None, compile: bool | Literal["auto"]) -> None:
        self._model = model
        weight_bytes = sum(weight.numel() * weight.element_size() for weight in model.parameters())
        self.threads = threads_for(weight_bytes) if threads is None else threads
        self._plain = plain_step(model)
        self._compiled = CompiledStep(model, self.threads)
        self._compile = compile
        self._steps = 0

    @torch.inference_mode()
    def read(self, token_ids: Sequence[int], *, cancel: threading.Event | None = None) -> Rows | None:
        """Read a prompt into one row; None when `cancel` was set meanwhile."""
        device = self._model.device
        cache = self._new_cache(len(token_ids))
        ids = torch.tensor([token_ids], device=device)
        positions = torch.arange(len(token_ids), device=device)[None]
        with torch_threads(self.threads):
            for start in range(0, len(token_ids), PREFILL_CHUNK):
                if cancel is not None and cancel.is_set():
                    return None
                chunk = slice(start, start + PREFILL_CHUNK)
                hidden_states = self._model.decoder(ids[:, chunk], positions=positions[:, chunk], cache=cache)
            scores = self._model.decoder.logits(hidden_states[:, -1])
        return Rows(cache, positions[:, -1:] + 1, scores.float().cpu())

    @torch.inference_mode()
    def step(self, rows: Rows, token_ids: Sequence[int]) -> None:
        """Read the next token of every row and update `rows`."""
        ids = torch.tensor(token_ids, device=self._model.device)[:, None]
        last = int(rows.positions.max())
        if last >= rows.cache.capacity:
            rows.cache = rows.cache.grown(self._capacity(last + 1))
        step = self._plain if len(token_ids) > 1 else self._step_for_one()
        with torch_threads(self.threads):
            scores = step(ids, rows.positions, rows.cache)
        rows.scores = scores.float().cpu()
        rows.positions = rows.positions + 1

    def compile(self) -> bool:
        """Compile the step now; false when this machine cannot."""
        self._compiled.prepare(wait=True)
        return self._compiled.step is not None

    def _step_for_one(self) -> Step:
        self._steps += 1
        if self._compile is True or (self._compile == "auto" and self._steps > PATIENCE):
            self._compiled.prepare(wait=self._compile is True)
        return self._compiled.step or self._plain

    @torch.inference_mode()
    def hidden_states(self, token_ids: Sequence[int]) -> Tensor:
        """(time, dim) float32 states after the final norm, without a cache, on the CPU."""
        with torch_threads(self.threads):
            return self._uncached(token_ids).float().cpu()

    @torch.inference_mode()
    def logits(self, token_ids: Sequence[int]) -> Tensor:
        """(time, vocab_size) float32 scores of what follows each token, without a cache, on the CPU."""
        with torch_threads(self.threads):
            return self._model.decoder.logits(self._uncached(token_ids)).float().cpu()

    def _uncached(self, token_ids: Sequence[int]) -> Tensor:
        states: Tensor = self._model.decoder(torch.tensor([token_ids], device=self._model.device))[0]
        return states

    def _new_cache(self, length: int) -> KVCache:
        model = self._model
        return KVCache(model.config.decoder, 1, self._capacity(length + 1), dtype=model.dtype, device=model.device)

    def _capacity(self, length: int) -> int:
        return (length + length // 8) // SLOTS * SLOTS + SLOTS
