"""CLIP and SigLIP read whole: words, pictures and the space they share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sensorium.config import EmbedderConfig, ModelConfig, TransformerConfig, VisionConfig
from sensorium.errors import ConfigError
from sensorium.hub import encoder_names as names
from sensorium.hub import encoder_settings as settings
from sensorium.hub.assemble import Piece, blank_model, expected_shapes, fill_model
from sensorium.hub.front_ends import read_image_config
from sensorium.hub.importing import load_processor
from sensorium.hub.pretrained import Pretrained, check_vocabulary
from sensorium.hub.settings import Settings
from sensorium.hub.weights import open_weights

DUAL_FAMILIES = ("clip", "siglip")

_IGNORED = (r".*\.position_ids",)
_HIGHEST = 2  # as `eos_token_id`, the mark of old files whose text ends at its highest id


def read_dual(folder: Path, raw: dict[str, Any], dtype: torch.dtype | None, device: torch.device) -> Pretrained:
    """Load a CLIP or SigLIP folder: the decoder reads words, `embed_text` and `embed_images` compare them.

    Args:
        folder: holds `config.json`, weights and, where texts are to be given as text, a tokenizer.
        raw: the parsed `config.json`.
        dtype: what to compute in, see `load_pretrained`.
        device: where the weights shall live.

    Raises:
        ConfigError: a setting we do not compute.
        CheckpointError: weights that are missing, surplus, broken or misfit.
    """
    where = str(folder / "config.json")
    family = str(raw["model_type"])
    config = (_clip if family == "clip" else _siglip)(folder, raw, where)
    processor = load_processor(folder)
    check_vocabulary(processor, config, folder)
    weights = open_weights(folder)
    model = blank_model(config)
    shapes = expected_shapes(model)
    eyes = names.CLIP_VISION if family == "clip" else names.SIGLIP_VISION
    pieces = [
        *names.pieces(names.DUAL_TEXT, shapes, ours="decoder.", theirs=("text_model.",)),
        *names.pieces(eyes, shapes, ours="vision.encoder.", theirs=("vision_model.",)),
        *_embedder_pieces(family),
    ]
    fill_model(model, weights, pieces, ignored=_IGNORED, dtype=dtype, device=device)
    stored = weights.tensors["text_model.embeddings.token_embedding.weight"].dtype
    return Pretrained(config, model, processor, path=folder, stored_dtype=stored or torch.float32)


def _clip(folder: Path, raw: dict[str, Any], where: str) -> ModelConfig:
    words = settings.part_of(raw, "text_config", where)
    decoder = settings.read_clip_text(words)
    embedder = EmbedderConfig.parse(
        {
            "dim": Settings(raw, where).get("projection_dim", 512),
            "text_pool": "eos",
            "eos_id": _end(words, decoder),
        },
        where,
    )
    eyes = settings.read_clip_vision(settings.part_of(raw, "vision_config", where))
    vision = VisionConfig(image=read_image_config(folder, "clip", eyes.image_size), encoder=eyes, projector=None)
    return ModelConfig(decoder=decoder, vision=vision, embedder=embedder)


def _siglip(folder: Path, raw: dict[str, Any], where: str) -> ModelConfig:
    words = settings.part_of(raw, "text_config", where)
    decoder = settings.read_siglip_text(words)
    eyes = settings.read_siglip_vision(settings.part_of(raw, "vision_config", where))
    dim = words.get("projection_size", decoder.dim)
    if eyes.pooling == "none":
        raise ConfigError(f"{where}: without vision_use_head there is no vector of a picture to compare")
    if dim != eyes.dim:
        raise ConfigError(
            f"{where}: texts become vectors of {dim} and pictures of {eyes.dim}, which cannot be compared"
        )
    embedder = EmbedderConfig.parse(
        {"dim": dim, "text_pool": "last", "text_bias": True, "project_images": False, "logit_bias": True}, where
    )
    vision = VisionConfig(image=read_image_config(folder, "siglip", eyes.image_size), encoder=eyes, projector=None)
    return ModelConfig(decoder=decoder, vision=vision, embedder=embedder)


def _end(words: Settings, decoder: TransformerConfig) -> int:
    """The id whose state is a text's vector."""
    end = words.get("eos_token_id", 49_407)
    if not isinstance(end, int) or isinstance(end, bool) or end < 0:
        raise ConfigError(f"{words.where}: eos_token_id = {end!r} is not supported (one whole number)")
    return decoder.vocab_size - 1 if end == _HIGHEST else end


def _embedder_pieces(family: str) -> list[Piece]:
    scale = Piece(("logit_scale",), ("embedder.logit_scale",), reshaped=True)
    if family == "clip":
        return [
            scale,
            Piece(("text_projection.weight",), ("embedder.text.weight",)),
            Piece(("visual_projection.weight",), ("embedder.vision.weight",)),
        ]
    return [
        scale,
        Piece(("logit_bias",), ("embedder.logit_bias",), reshaped=True),
        Piece(("text_model.head.weight",), ("embedder.text.weight",)),
        Piece(("text_model.head.bias",), ("embedder.text.bias",)),
    ]
