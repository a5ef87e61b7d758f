"""Models of ours written as Hugging Face folders, in whichever family can say all that they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sensorium.config import SamplingConfig, TransformerConfig
from sensorium.errors import ConfigError
from sensorium.hub.assemble import expected_shapes
from sensorium.hub.families import FAMILIES, Family
from sensorium.hub.pretrained import Pretrained
from sensorium.hub.rope import relevant_scaling
from sensorium.hub.weights import WEIGHTS_FILE, write_weights
from sensorium.processing.processor import Processor


def write_huggingface(pretrained: Pretrained, folder: Path, dtype: torch.dtype) -> None:
    """Write configuration, weights and tokenizer into an existing folder, for transformers to load.

    It is the decoder alone: eyes, ears and codecs are left out, and so are the places of a picture's codes.

    Raises:
        ConfigError: no family can express the model; the setting in the way is named.
        CheckpointError: a weight overflows `dtype`.
    """
    config = pretrained.config.decoder
    family = expressing_family(config)
    tokens = _token_ids(pretrained)
    settings = {
        "architectures": [family.architecture],
        "model_type": family.name,
        "torch_dtype": str(dtype).removeprefix("torch."),
        **family.write(config),
        **tokens,
    }
    _write_json(folder / "config.json", settings)
    _write_json(folder / "generation_config.json", tokens | _wishes(pretrained.sampling))
    write_weights(folder / WEIGHTS_FILE, _their_tensors(pretrained, family), dtype)
    if pretrained.processor is not None:
        _write_processor(pretrained.processor, folder, config.max_positions)


def expressing_family(config: TransformerConfig) -> Family:
    """The family whose settings say all that a model is: written theirs and read back, nothing is lost.

    Raises:
        ConfigError: there is none; the error names what the nearest family cannot say.
    """
    lost: dict[str, list[str]] = {}
    for family in FAMILIES.values():
        try:
            back = family.configure(family.write(config), family.name)
        except ConfigError:
            continue
        lost[family.name] = _differences(config, back)
        if not lost[family.name]:
            return family
    nearest = min(lost, key=lambda name: len(lost[name]))
    settings = ", ".join(f"{name} = {getattr(config, name)!r}" for name in lost[nearest])
    raise ConfigError(
        f"no Hugging Face family can express this model: the nearest, {nearest}, does not know {settings}"
    )


def _differences(ours: TransformerConfig, theirs: TransformerConfig) -> list[str]:
    first, second = _canonical(ours), _canonical(theirs)
    return [name for name in first if first[name] != second[name]]


def _canonical(config: TransformerConfig) -> dict[str, Any]:
    """Settings with what follows from others filled in, and without what cannot change a logit."""
    values = config.model_dump(exclude={"dropout", "attention_dropout"})
    values |= {"n_kv_heads": config.kv_heads, "head_dim": config.head_size}
    if config.attention_scale == config.head_size**-0.5:
        values["attention_scale"] = None
    if config.sliding_layers is not None and len(set(config.sliding_layers)) == config.n_layers:
        values["sliding_layers"] = None
    if not config.sliding_layers and config.sliding_layers is not None:
        values["sliding_window"] = values["sliding_layers"] = None
    rotary = config.positions == "rope"
    values["rope_theta"] = config.rope_theta if rotary else None
    values["rope_scaling"] = relevant_scaling(config.rope_scaling) if rotary else None
    return values


def _their_tensors(pretrained: Pretrained, family: Family) -> dict[str, Tensor]:
    weights = pretrained.model.state_dict()
    shapes = expected_shapes(pretrained.model)
    tensors: dict[str, Tensor] = {}
    for piece in family.pieces(shapes, pretrained.config.decoder.n_layers):
        parts = [weights[name] for name in piece.ours]
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
        tensors[piece.theirs[0]] = tensor.t() if piece.transposed else tensor
        if piece.theirs[0] in family.aliases:
            tensors[family.aliases[piece.theirs[0]]] = tensor.clone()
    return tensors


def _token_ids(pretrained: Pretrained) -> dict[str, Any]:
    """Special tokens as configurations name them; every token that ends a reply counts as an end."""
    processor = pretrained.processor
    ends = set(pretrained.sampling.stop_token_ids)
    ids: dict[str, Any] = {}
    if processor is not None:
        ends |= set(processor.stop_ids)
        ids = {"bos_token_id": processor.tokenizer.bos_id, "pad_token_id": processor.tokenizer.pad_id}
    if ends:
        ids["eos_token_id"] = sorted(ends) if len(ends) > 1 else ends.pop()
    return {key: value for key, value in ids.items() if value is not None}


def _wishes(sampling: SamplingConfig) -> dict[str, Any]:
    wishes: dict[str, Any] = {"do_sample": sampling.temperature > 0}
    if sampling.temperature > 0:
        wishes |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
        wishes |= {"min_p": sampling.min_p} if sampling.min_p else {}
    if sampling.repetition_penalty != 1.0:
        wishes["repetition_penalty"] = sampling.repetition_penalty
    return wishes


def _write_processor(processor: Processor, folder: Path, max_positions: int) -> None:
    processor.save(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model_max_length"] = max_positions
    if processor.template is not None:
        # Beside chat_template.jinja, for versions of transformers that look for it here.
        config["chat_template"] = processor.template.source
    _write_json(path, config)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
