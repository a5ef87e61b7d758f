"""What a run begins with: its tokenizer, trained or taken over, and the model before the first step of a stage."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from sensorium.config import ModelConfig, SamplingConfig, TransformerConfig
from sensorium.data.spec import DatasetSpec
from sensorium.data.stream import RecordStream
from sensorium.errors import ConfigError
from sensorium.hub.folder import load_pretrained
from sensorium.hub.pretrained import Pretrained
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer
from sensorium.train.recipe import Recipe, TokenizerSpec
from sensorium.train.seeds import derive

_TOKENIZER_FILE = "tokenizer.json"


def prepare_processor(recipe: Recipe, folder: Path) -> None:
    """Make sure that the run's folder holds its processor: `tokenizer.json` is there only when all of it is."""
    if (folder / _TOKENIZER_FILE).exists():
        return
    draft = folder / ".processor"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    _make_processor(recipe).save(draft)
    for file in sorted(draft.iterdir(), key=lambda file: file.name == _TOKENIZER_FILE):
        file.replace(folder / file.name)
    draft.rmdir()


def first_model(recipe: Recipe, processor: Processor, device: torch.device) -> Pretrained:
    """The model before the first stage: fresh weights drawn from the recipe's seed, or those of `init`.

    Raises:
        ConfigError: the vocabulary asked for is smaller than the tokenizer's.
    """
    if recipe.init is not None:
        return trainable_copy(recipe.init, device)
    assert recipe.model is not None
    needed = processor.tokenizer.vocab_size
    vocabulary = recipe.model.vocab_size or needed
    if vocabulary < needed:
        raise ConfigError(f"model.vocab_size = {vocabulary}, below the {needed} tokens of the tokenizer (leave it out)")
    settings = recipe.model.model_dump() | {"vocab_size": vocabulary}
    config = ModelConfig(decoder=TransformerConfig(**settings))
    model = Omni(config)
    model.reset_parameters(derive(recipe.seed, "weights"))
    return Pretrained(config, model.to(device), processor, SamplingConfig(), None, recipe.name)


def trainable_copy(name_or_path: str | Path, device: torch.device) -> Pretrained:
    """A model from its folder in float32, in memory of its own: what loading maps belongs to the file."""
    pretrained = load_pretrained(name_or_path, dtype=torch.float32, device=device)
    for weight in pretrained.model.parameters():
        weight.data = weight.data.clone()
    pretrained.model.decoder.tie_weights()
    return pretrained


def _make_processor(recipe: Recipe) -> Processor:
    if recipe.init is not None:
        return _processor_of(recipe.init)
    assert recipe.tokenizer is not None
    if recipe.tokenizer.from_ is not None:
        return _processor_of(recipe.tokenizer.from_)
    return Processor(_train_tokenizer(recipe, recipe.tokenizer))


def _processor_of(name_or_path: str) -> Processor:
    processor = load_pretrained(name_or_path).processor
    if processor is None:
        raise ConfigError(f"{name_or_path} has no tokenizer (its weights alone cannot be trained further)")
    return processor


def _train_tokenizer(recipe: Recipe, spec: TokenizerSpec) -> Tokenizer:
    assert spec.vocab_size is not None
    specs = spec.data or tuple(data for stage in recipe.stages for data in stage.data)
    return Tokenizer.train(_texts(specs, recipe.seed), spec.vocab_size)


def _texts(specs: Sequence[DatasetSpec], seed: int) -> Iterator[str]:
    """Every text and message of the data sets, once."""
    for spec in specs:
        for record in RecordStream(spec, seed=seed, repeat=False):
            if isinstance(record.content, str):
                yield record.content
            else:
                yield from (message.text for message in record.content)
