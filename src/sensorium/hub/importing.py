"""Hugging Face folders read as models of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sensorium.config import ModelConfig, SamplingConfig, TransformerConfig, read_json
from sensorium.errors import ConfigError
from sensorium.hub.assemble import blank_model, expected_shapes, fill_model
from sensorium.hub.families import family_of
from sensorium.hub.pretrained import Pretrained, check_vocabulary
from sensorium.hub.weights import Weights, open_weights
from sensorium.processing.processor import Processor


def read_huggingface(folder: Path, raw: dict[str, Any], dtype: torch.dtype | None, device: torch.device) -> Pretrained:
    """Load a Hugging Face folder of a family we know.

    Args:
        folder: holds `config.json`, weights and, where the model speaks, a tokenizer.
        raw: the parsed `config.json`.
        dtype: what to compute in, see `load_pretrained`.
        device: where the weights shall live.

    Raises:
        ConfigError: a family or setting we do not compute.
        CheckpointError: weights that are missing, surplus, broken or misfit.
    """
    where = str(folder / "config.json")
    family = family_of(raw, where)
    decoder = family.configure(raw, where)
    processor = load_processor(folder)
    check_vocabulary(processor, ModelConfig(decoder=decoder), folder)
    weights = open_weights(folder)
    embedding, head = family.spellings(family.embedding), family.spellings(family.head)
    decoder = settle_tying(decoder, weights, embedding, head)
    config = ModelConfig(decoder=decoder)
    model = blank_model(config)
    pieces = family.pieces(expected_shapes(model), decoder.n_layers)
    fill_model(model, weights, pieces, ignored=family.ignored, dtype=dtype, device=device)
    stored = weights.tensors[next(name for name in pieces[0].theirs if name in weights.tensors)].dtype
    return Pretrained(
        config, model, processor, read_sampling(folder, raw), folder, stored_dtype=stored or torch.float32
    )


def load_processor(folder: Path, config: ModelConfig | None = None) -> Processor | None:
    """The processor of a folder for a model of these settings, or None when it has no tokenizer that we read."""
    has_tokenizer = (folder / "tokenizer.json").is_file()
    has_gpt2_files = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    return Processor.load(folder, config) if has_tokenizer or has_gpt2_files else None


def settle_tying(
    config: TransformerConfig, weights: Weights, embedding: Sequence[str], head: Sequence[str]
) -> TransformerConfig:
    """Decide, as transformers does, what a file means whose configuration ties the two tables.

    It may hold either table or both; both and different means that they are not tied after all.

    Args:
        config: the decoder's.
        weights: the tensors on disk; of two equal tables one is forgotten.
        embedding: the names that the table of tokens goes by, the usual one first.
        head: those of the output table.
    """
    if not config.tie_embeddings:
        return config
    tensors = weights.tensors
    first, second = (next((name for name in spelled if name in tensors), None) for spelled in (embedding, head))
    if second is None:
        return config
    if first is None:
        tensors[embedding[0]] = tensors.pop(second)
    elif torch.equal(tensors[first].mapped(), tensors[second].mapped()):
        del tensors[second]
    else:
        return config.model_copy(update={"tie_embeddings": False})
    return config


def read_sampling(folder: Path, raw: dict[str, Any]) -> SamplingConfig:
    """How the checkpoint asks to be sampled, with every token that ends its reply."""
    path = folder / "generation_config.json"
    wishes = read_json(path) if path.is_file() else {}
    if not isinstance(wishes, dict):
        raise ConfigError(f"{path} must hold an object")
    ends = wishes.get("eos_token_id", raw.get("eos_token_id"))
    ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    values: dict[str, Any] = {"stop_token_ids": tuple(ends)}
    if wishes.get("do_sample"):
        defaults = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
        values |= {key: default if wishes.get(key) is None else wishes[key] for key, default in defaults.items()}
    elif wishes.get("do_sample") is False:
        values["temperature"] = 0.0
    return SamplingConfig.parse(values, str(path))
