"""What a run begins with: its tokenizer, trained or taken over, and the model before the first step of a stage."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from sensorium.config import Config, FusionConfig, ImageCodes, ModelConfig, SamplingConfig, VisionConfig
from sensorium.data.spec import DatasetSpec
from sensorium.data.streams import record_stream
from sensorium.errors import ConfigError
from sensorium.hub.folder import load_pretrained
from sensorium.hub.growing import grown, numbered
from sensorium.hub.pretrained import Pretrained
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer
from sensorium.train.recipe import Recipe, TokenizerSpec
from sensorium.train.seeds import derive

_TOKENIZER_FILE = "tokenizer.json"
PARTS = ("vision", "speech", "fusion", "embedder", "image_codec", "speech_codec", "painter")


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
        ConfigError: the vocabulary asked for is smaller than the tokenizer's, or `init` has a part already, with other
            settings than the recipe asks for.
    """
    if recipe.init is not None:
        return _with_parts(trainable_copy(recipe.init, device), recipe, processor)
    assert recipe.model is not None
    needed = processor.tokenizer.vocab_size
    words = recipe.model.vocab_size or needed
    if words < needed:
        raise ConfigError(f"model.vocab_size = {words}, below the {needed} tokens of the tokenizer (leave it out)")
    parts, vocabulary = numbered(_parts(recipe), {}, words)
    settings = recipe.model.model_dump() | {"vocab_size": vocabulary}
    config = ModelConfig.parse({"decoder": settings} | parts, f"recipe {recipe.name}")
    model = Omni(config)
    model.reset_parameters(derive(recipe.seed, "weights"))
    return Pretrained(config, model.to(device), processor, SamplingConfig(), None, recipe.name)


def _parts(recipe: Recipe) -> dict[str, Config]:
    """The parts beside the decoder that the recipe asks for."""
    asked = {name: getattr(recipe, name) for name in PARTS}
    return {name: part for name, part in asked.items() if part is not None}


def _with_parts(pretrained: Pretrained, recipe: Recipe, processor: Processor) -> Pretrained:
    """The model of `init` with the parts it lacks, and a row for every token."""
    config = pretrained.config
    vocabulary = max(config.decoder.vocab_size, processor.tokenizer.vocab_size)
    parts, vocabulary = numbered(_parts(recipe), config.codecs(), vocabulary)
    for name, part in parts.items():
        has = getattr(config, name)
        if isinstance(has, VisionConfig) and isinstance(part, VisionConfig) and part.grounding:
            has = has.model_copy(update={"grounding": True})  # a map that may be added, and is drawn anew
        if isinstance(has, ImageCodes) and isinstance(part, ImageCodes) and part.embed_places:
            has = has.model_copy(update={"embed_places": True})  # and so may these tables
        if has is not None and has != part and not (name == "fusion" and has == FusionConfig()):
            raise ConfigError(
                f"{recipe.init} has {name} already, with other settings (leave {name} out to keep its own)"
            )
    decoder = config.decoder.model_copy(update={"vocab_size": vocabulary})
    wanted = ModelConfig.parse(dict(config) | parts | {"decoder": decoder}, str(recipe.init))
    if wanted == config:
        return pretrained
    larger = grown(pretrained, wanted, processor, seed=derive(recipe.seed, "weights"))
    larger.model.to(pretrained.model.device)
    return larger


def trainable_copy(name_or_path: str | Path, device: torch.device) -> Pretrained:
    """A model from its folder in float32, in memory of its own: what loading maps belongs to the file."""
    pretrained = load_pretrained(name_or_path, dtype=torch.float32, device=device)
    for tensor in (*pretrained.model.parameters(), *pretrained.model.buffers()):
        tensor.data = tensor.data.clone()
    pretrained.model.decoder.tie_weights()
    return pretrained


def _make_processor(recipe: Recipe) -> Processor:
    """The recipe's processor, with a token for all that the recipe's parts are shown by."""
    processor = _begun_processor(recipe)
    placeholders = [part.placeholder for part in (recipe.vision, recipe.speech) if part is not None]
    names = [name for each in placeholders for name in (each.token, each.begin, each.end) if name]
    codecs = [codec for codec in (recipe.image_codec, recipe.speech_codec) if codec is not None]
    names += [name for codec in codecs for name in (codec.begin, codec.end)]
    return processor.with_tokenizer(processor.tokenizer.with_controls(names))


def _begun_processor(recipe: Recipe) -> Processor:
    if recipe.init is not None:
        return _processor_of(recipe.init)
    assert recipe.tokenizer is not None
    if recipe.tokenizer.from_ is not None:
        processor = _processor_of(recipe.tokenizer.from_)
        return processor.with_tokenizer(processor.tokenizer.with_locations(recipe.tokenizer.locations))
    return Processor(_train_tokenizer(recipe, recipe.tokenizer))


def _processor_of(name_or_path: str) -> Processor:
    processor = load_pretrained(name_or_path).processor
    if processor is None:
        raise ConfigError(f"{name_or_path} has no tokenizer (its weights alone cannot be trained further)")
    return processor


def _train_tokenizer(recipe: Recipe, spec: TokenizerSpec) -> Tokenizer:
    assert spec.vocab_size is not None
    specs = spec.data or tuple(data for stage in recipe.stages for data in stage.data)
    return Tokenizer.train(_texts(specs, recipe.seed), spec.vocab_size, locations=spec.locations)


def _texts(specs: Sequence[DatasetSpec], seed: int) -> Iterator[str]:
    """Every text and message of the data sets, once."""
    for spec in specs:
        for record in record_stream(spec, seed=seed, repeat=False, media=False):
            if isinstance(record.content, str):
                yield record.content
            else:
                yield from (message.text for message in record.content)
