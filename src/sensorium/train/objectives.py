"""What a stage learns: an objective makes batches, may disturb them, and gives a loss summed over what it counts.

The loop knows nothing else, so that a new stage (contrastive pairs, CTC, codecs) is one more small class here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence as Many
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sensorium.config import AugmentConfig, nearest
from sensorium.data.batches import Batch, BatchStream
from sensorium.data.encoding import Encoder
from sensorium.data.spec import DatasetSpec
from sensorium.errors import ConfigError
from sensorium.messages import Message
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor, Sequence
from sensorium.train.codecs import ImageCodecObjective, SpeechCodecObjective
from sensorium.train.grounding import GroundingObjective
from sensorium.train.mixed import Mixed
from sensorium.train.painter import PainterObjective
from sensorium.train.pairs import CTC, Contrastive, media_flops
from sensorium.train.recipe import Stage

_UNLEARNED = -100


class AnyBatch(Protocol):
    """What the loop asks of a batch of whatever kind."""

    def rows_of(self, rank: int, world: int) -> Self:
        """The rows `rank::world`, with what belongs to them."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        ...


B = TypeVar("B", bound=AnyBatch)
B_co = TypeVar("B_co", covariant=True)


class Stream(Protocol[B_co]):
    """An endless (or once-through) supply of global batches, the same on every process, with a cursor."""

    def __iter__(self) -> Self:
        """Itself."""
        ...

    def __next__(self) -> B_co:
        """The next global batch."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The cursor, fit for JSON."""
        ...

    @property
    def waited(self) -> float:
        """Seconds that the caller has spent waiting for batches."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where a cursor stood."""
        ...

    def close(self) -> None:
        """Let go of threads and files."""
        ...


class Objective(Protocol[B]):
    """One way of learning. `B` is its batch: a dataclass whose tensors have one row per example."""

    @property
    def gathers(self) -> bool:
        """Whether its loss compares rows of all processes, which must then ask for it together, even without a row."""
        ...

    @property
    def adversary(self) -> nn.Module | None:
        """What opposes the model while it learns, and learns beside it."""
        ...

    def conclude(self, model: Omni) -> None:
        """What is left to do to the model at the end of the stage."""
        ...

    def stream(self, specs: Many[DatasetSpec], *, rows: int, seed: int, repeat: bool) -> Stream[B]:
        """Batches of `rows` examples."""
        ...

    def prepare(self, batch: B, seed: int) -> B:
        """The batch as it will be learned, by chance (such as masking) drawn from `seed` alone."""
        ...

    def count(self, batch: B) -> int:
        """What the batch's loss is divided by: learned tokens, pairs, frames."""
        ...

    def n_bytes(self, batch: B) -> int:
        """UTF-8 bytes that the counted tokens stand for; 0 where bits per byte means nothing."""
        ...

    def loss(self, model: Omni, batch: B) -> Tensor:
        """The loss in nats, summed over what `count` counts."""
        ...

    def flops(self, model: Omni, batch: B) -> float:
        """Floating-point operations of one forward and backward pass over the batch."""
        ...


class _Everything:
    """A processor for pretraining: of a conversation too, every word is learned, whoever says it."""

    def __init__(self, processor: Processor) -> None:
        self._processor, self.tokenizer = processor, processor.tokenizer

    def augmented(self, settings: AugmentConfig, generator: np.random.Generator) -> _Everything:
        return _Everything(self._processor.augmented(settings, generator))

    def encode_text(self, text: str) -> Sequence:
        return self._processor.encode_text(text)

    def encode_messages(self, messages: Many[Message]) -> Sequence:
        encoded = self._processor.encode_messages(messages)
        learned = np.ones(len(encoded), dtype=bool)
        learned[:1] = False  # nothing stands before it
        for feature in encoded.features:
            learned[feature.start : feature.end] = False
        return Sequence(encoded.token_ids, learned, encoded.features)


class CausalLM:
    """Predict each token from those before it, in the same document; of conversations every word."""

    shift = True  # targets are the next tokens
    gathers = False
    adversary = None

    def __init__(self, stage: Stage, processor: Processor, model: Omni) -> None:
        self.stage, self.processor = stage, processor
        self.encoder: Encoder = _Everything(processor)
        _require(model, causal=True, stage=stage)

    def stream(self, specs: Many[DatasetSpec], *, rows: int, seed: int, repeat: bool) -> Stream[Batch]:
        """Packed batches of `rows` rows of `stage.time` tokens."""
        return BatchStream(
            specs,
            self.encoder,
            rows=rows,
            time=self.stage.time,
            seed=seed,
            repeat=repeat,
            shift=self.shift,
            workers=self.stage.workers if repeat else 0,
        )

    def conclude(self, model: Omni) -> None:
        """Nothing is left to do."""

    def prepare(self, batch: Batch, seed: int) -> Batch:  # noqa: ARG002 (nothing is left to chance)
        """The batch as it is."""
        return batch

    def count(self, batch: Batch) -> int:
        """Learned tokens."""
        return int((batch.targets >= 0).sum())

    def n_bytes(self, batch: Batch) -> int:
        """UTF-8 bytes of the learned text."""
        return batch.n_bytes

    def loss(self, model: Omni, batch: Batch) -> Tensor:
        """Summed cross-entropy of the learned tokens, that of codes by its weight."""
        weight = self.stage.code_weight
        first = min((codec.first_id for codec in model.config.codecs().values()), default=None)
        if first is None or weight == 1.0:
            return model.loss(
                batch.input_ids, batch.targets, batch.media, positions=batch.positions, document_ids=batch.document_ids
            )
        states = model.hidden_states(
            batch.input_ids, batch.media, positions=batch.positions, document_ids=batch.document_ids
        )
        codes = batch.targets >= first
        words = model.fusion.loss(model.decoder, states, batch.targets.masked_fill(codes, _UNLEARNED))
        return words + weight * model.fusion.loss(model.decoder, states, batch.targets.masked_fill(~codes, _UNLEARNED))

    def flops(self, model: Omni, batch: Batch) -> float:
        """By the model's own count, with the output matrix at learned positions only, and the encoders'."""
        rows, time = batch.input_ids.shape
        decoding = model.flops(rows, time, learned=self.count(batch), media=batch.media)
        return decoding + media_flops(model, batch.media)


class ChatLM(CausalLM):
    """Predict the assistant's words only, every turn of them: the processor marks what is learned."""

    def __init__(self, stage: Stage, processor: Processor, model: Omni) -> None:
        super().__init__(stage, processor, model)
        if processor.template is None:
            raise ConfigError(f"stage {stage.name!r} is chat, but the model has no chat template (use causal)")
        self.encoder = processor


class MaskedLM(CausalLM):
    """Recover hidden tokens from both sides (BERT, Devlin et al. 2019), with a bidirectional model.

    Of the share `stage.mask` of tokens to recover, 80% are hidden, 10% replaced at random and 10% left as they are.
    """

    shift = False

    def __init__(self, stage: Stage, processor: Processor, model: Omni) -> None:
        self.stage, self.processor = stage, processor
        self.encoder = _Everything(processor)
        _require(model, causal=False, stage=stage)
        tokenizer = processor.tokenizer
        if tokenizer.mask_id is None:
            raise ConfigError(f"stage {stage.name!r} is masked, but the tokenizer has no mask token")
        self._mask_id: int = tokenizer.mask_id
        self._is_control = torch.zeros(model.config.decoder.vocab_size, dtype=torch.bool)
        self._is_control[sorted(set(tokenizer.control_ids.values()))] = True
        words = torch.arange(tokenizer.vocab_size)
        self._words = words[~self._is_control[: tokenizer.vocab_size]]

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """Hide some tokens; the targets become those very tokens, at their own places."""
        generator = torch.Generator().manual_seed(seed)
        ids = batch.input_ids
        maskable = (batch.targets >= 0) & ~self._is_control[ids]
        chosen = maskable & (torch.rand(ids.shape, generator=generator) < self.stage.mask)
        fate = torch.rand(ids.shape, generator=generator)
        at_random = self._words[torch.randint(len(self._words), ids.shape, generator=generator)]
        seen = torch.where(fate < 0.8, self._mask_id, torch.where(fate < 0.9, at_random, ids))
        return dataclasses.replace(
            batch, input_ids=torch.where(chosen, seen, ids), targets=torch.where(chosen, ids, -100)
        )

    def n_bytes(self, batch: Batch) -> int:
        """UTF-8 bytes of the hidden tokens: bits per byte is of those alone."""
        return self.processor.tokenizer.n_bytes(batch.targets[batch.targets >= 0].tolist())


OBJECTIVES: dict[str, Callable[[Stage, Processor, Omni], Objective[Any]]] = {
    "causal": CausalLM,
    "masked": MaskedLM,
    "chat": ChatLM,
    "ctc": CTC,
    "contrastive": Contrastive,
    "grounding": GroundingObjective,
    "image_codec": ImageCodecObjective,
    "speech_codec": SpeechCodecObjective,
    "painter": PainterObjective,
}


def make_objective(stage: Stage, processor: Processor, model: Omni) -> Objective[Any]:
    """The stage's objective, with its auxiliary one where it has one.

    Raises:
        ConfigError: the model or its tokenizer cannot serve it.
    """
    if stage.objective not in OBJECTIVES:
        raise ConfigError(f"unknown objective {stage.objective!r}{nearest(stage.objective, OBJECTIVES)}")
    main = OBJECTIVES[stage.objective](stage, processor, model)
    if stage.auxiliary is None:
        return main
    extra = OBJECTIVES[stage.auxiliary.objective](stage, processor, model)
    return Mixed(main, extra, stage.auxiliary)


def share_of(batch: B, rank: int, world: int) -> B:
    """The rows `rank::world` of a batch: what one process of `world` works on."""
    return batch if world == 1 else batch.rows_of(rank, world)


def moved(batch: B, device: torch.device) -> B:
    """The batch on a device."""
    return batch if device.type == "cpu" else batch.to(device)


def _require(model: Omni, *, causal: bool, stage: Stage) -> None:
    config = model.config.decoder
    if config.causal != causal:
        needed = "a causal" if causal else "a bidirectional"
        raise ConfigError(f"stage {stage.name!r} is {stage.objective}, which needs {needed} model")
    if stage.time > config.max_positions:
        raise ConfigError(
            f"stage {stage.name!r} reads {stage.time} tokens at a time, above the model's {config.max_positions}"
        )
