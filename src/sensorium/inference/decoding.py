"""Running the model to write: a prompt is read once, then each step reads one token per row against the cache."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sensorium.inference.compiled import CompiledStep, Step, fused_step, narrow_step, plain_step
from sensorium.inference.threads import threads_for, torch_threads
from sensorium.nn.attention import KVCache
from sensorium.nn.features import Features
from sensorium.nn.media import Media
from sensorium.nn.omni import Omni

PREFILL_CHUNK = 512  # tokens of a prompt read at once: bounds the memory of the mask, and the wait for a cancellation
SLOTS = 128  # the cache grows by so many at a time, or by an eighth: attention pays for every slot, used or not
PATIENCE = 256  # steps that compile="auto" waits before it compiles: a short visit would never win them back


@dataclass
class Rows:
    """Replies being written side by side: their cache, and the position each one's next token takes."""

    cache: KVCache
    positions: Tensor  # (rows, 1)
    scores: Tensor  # (rows, vocab_size), or of those asked for in `step`: what comes next, on the CPU, float32

    def keep(self, rows: Sequence[int]) -> None:
        """Forget every row but these (or repeat one)."""
        index = torch.tensor(rows, device=self.positions.device)
        self.cache = self.cache.rows(index)
        self.positions, self.scores = self.positions[index], self.scores[index.cpu()]

    def become(self, other: Rows) -> None:
        """Go on where others stand."""
        self.cache, self.positions, self.scores = other.cache, other.positions, other.scores

    def copies(self, row: int, n: int) -> Rows:
        """One of them, so many times."""
        index = torch.full((n,), row, device=self.positions.device)
        return Rows(self.cache.rows(index), self.positions[index], self.scores[index.cpu()])

    def beside(self, other: Rows) -> list[Rows]:
        """These and others as one, to be read in one step; two where their caches hold features of their own."""
        if type(self.cache) is not KVCache or type(other.cache) is not KVCache:
            return [self, other]
        positions, scores = torch.cat((self.positions, other.positions)), torch.cat((self.scores, other.scores))
        return [Rows(self.cache.beside(other.cache), positions, scores)]


class Decoder:
    """The model as the engine uses it; holds no state between replies, so that several threads may share it."""

    def __init__(self, model: Omni, *, threads: int | None, compile: bool | Literal["auto"]) -> None:
        self._model = model
        weight_bytes = sum(weight.numel() * weight.element_size() for weight in model.parameters())
        self.threads = threads_for(weight_bytes) if threads is None else threads
        self._plain, self._fused = plain_step(model), fused_step(model)
        self._compiled = CompiledStep(model, self.threads)
        self._compile = compile
        self._steps = 0

    @torch.inference_mode()
    def read(
        self, token_ids: Sequence[int], media: Media | None = None, *, cancel: threading.Event | None = None
    ) -> Rows | None:
        """Read a prompt, and what stands in it, into one row; None when `cancel` was set meanwhile."""
        model, time = self._model, len(token_ids)
        ids = torch.tensor([token_ids], device=model.device)
        positions = torch.arange(time, device=model.device)[None]
        with torch_threads(self.threads):
            features = model.perceive(media, rows=1, time=time)
            cache = model.new_cache(1, self._capacity(time + 1), features)
            for start in range(0, time, PREFILL_CHUNK):
                if cancel is not None and cancel.is_set():
                    return None
                chunk = slice(start, start + PREFILL_CHUNK)
                states = model.hidden_states(
                    ids[:, chunk], _inside(features, chunk), positions=positions[:, chunk], cache=cache
                )
            scores = model.logits_of(states[:, -1:])[:, -1]
        return Rows(cache, positions[:, -1:] + 1, scores.float().cpu())

    @torch.inference_mode()
    def step(self, rows: Rows, token_ids: Sequence[int], *, among: slice | None = None) -> None:
        """Read the next token of every row and update `rows`.

        Args:
            rows: what is written; each with a score for every token, or `among` these alone, until the next step.
            token_ids: the token that each has been given.
            among: tokens of which one comes next. No other is scored, but where pictures stand beside the sequence.
        """
        ids = torch.tensor(token_ids, device=self._model.device)[:, None]
        last = int(rows.positions.max())
        if last >= rows.cache.capacity:
            rows.cache = rows.cache.grown(self._capacity(last + 1))
        if type(rows.cache) is not KVCache:
            step = self._fused
        elif among is not None:
            step = narrow_step(self._model, among)
        else:
            step = self._plain if len(token_ids) > 1 else self._step_for_one()
        with torch_threads(self.threads):
            scores = step(ids, rows.positions, rows.cache)
        if step is self._fused and among is not None:
            scores = scores[:, among]
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
            states: Tensor = self._model.decoder(torch.tensor([token_ids], device=self._model.device))[0]
        return states.float().cpu()

    @torch.inference_mode()
    def logits(self, token_ids: Sequence[int], media: Media | None = None) -> Tensor:
        """(time, vocab_size) float32 scores of what follows each token, without a cache, on the CPU."""
        with torch_threads(self.threads):
            scores = self._model.logits(torch.tensor([token_ids], device=self._model.device), media)[0]
        return scores.float().cpu()

    @torch.inference_mode()
    def log_probabilities(self, token_ids: Tensor, places: Tensor, media: Media) -> Tensor:
        """How likely the tokens at some places are behind those before them: (rows, places) float32 nats, on the CPU.

        Args:
            token_ids: (rows, time) int64.
            places: (places,) int64, none of them 0.
            media: the pictures and recordings whose placeholders stand in the rows.
        """
        model = self._model
        with torch_threads(self.threads):
            states = model.hidden_states(token_ids.to(model.device), media.to(model.device))
            if isinstance(states, Tensor):  # of every place alone, so that no other needs scores
                scores = model.logits_of(states[:, places - 1])
            else:
                scores = model.logits_of(states)[:, places - 1]
            known = scores.float().log_softmax(-1).cpu()
        return known.gather(2, token_ids[:, places, None])[..., 0]

    @torch.inference_mode()
    def text_vector(self, token_ids: Sequence[int]) -> Tensor:
        """A text in the common space: (dim,) float32, on the CPU."""
        with torch_threads(self.threads):
            vector = self._model.embed_text(torch.tensor([token_ids], device=self._model.device))[0]
        return vector.float().cpu()

    @torch.inference_mode()
    def paintings(
        self, token_ids: Sequence[int], media: Media | None = None, *, n: int, generator: torch.Generator | None
    ) -> Tensor:
        """What a prompt asks for, painted `n` times with noise drawn from `generator`: (n, 3, height, width) float32.

        Pixels lie within -1..1, on the CPU.
        """
        model, painter = self._model, self._model.painter
        assert painter is not None
        ids = torch.tensor([token_ids], device=model.device)
        noise = painter.noise(n, generator).to(model.device, model.dtype)
        with torch_threads(self.threads):
            fused = model.fused(ids, torch.tensor([len(token_ids)], device=model.device), media)
            pixels: Tensor = painter(fused.expand(n, -1), noise)
        return pixels.float().cpu()

    @torch.inference_mode()
    def media_vectors(self, media: Media) -> Tensor:
        """Pictures, then recordings, in the common space: (n, dim) float32, on the CPU."""
        with torch_threads(self.threads):
            vectors = [self._model.embed_images(media.images)] if media.images is not None else []
            if media.audio is not None:
                vectors.append(self._model.embed_audio(media.audio, media.audio_frames))
        return torch.cat(vectors).float().cpu()

    def _capacity(self, length: int) -> int:
        return (length + length // 8) // SLOTS * SLOTS + SLOTS


def _inside(features: Features | None, chunk: slice) -> Features | None:
    return None if features is None else features.between(chunk.start, chunk.stop)
