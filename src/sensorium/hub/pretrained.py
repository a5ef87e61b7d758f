"""A model that is ready to use: weights, settings and the words it knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from sensorium.config import ModelConfig, SamplingConfig
from sensorium.errors import CheckpointError
from sensorium.nn.omni import Omni
from sensorium.processing.codes import Codecs
from sensorium.processing.processor import Processor


@dataclass
class Pretrained:
    """What a model folder holds, in memory.

    Attributes:
        config: settings of every part.
        model: the weights, in evaluation mode.
        processor: turns messages into tokens and back; None when the folder has no tokenizer (token ids only).
        sampling: how the model likes to be sampled.
        path: the folder or file it came from.
        name: what to call it.
        stored_dtype: what its weights are stored as, which may be less than what it computes in.
    """

    config: ModelConfig
    model: Omni
    processor: Processor | None
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    path: Path | None = None
    name: str = "model"
    stored_dtype: torch.dtype = torch.float32


def check_vocabulary(processor: Processor | None, config: ModelConfig, where: Path) -> None:
    """Raise `CheckpointError` when the tokenizer can produce an id that the weights have no row for."""
    if processor is not None and processor.tokenizer.vocab_size > config.decoder.vocab_size:
        raise CheckpointError(
            f"{where}: the tokenizer has {processor.tokenizer.vocab_size} tokens, the weights only "
            f"{config.decoder.vocab_size} (take the tokenizer that belongs to these weights)"
        )


def coding(processor: Processor, model: Omni) -> Processor:
    """The processor of a model, with the model's own codecs where it has some."""
    if not model.config.codecs():
        return processor.with_config(model.config)
    return processor.with_codecs(Codecs(model.config, model.image_codec, model.speech_codec))
