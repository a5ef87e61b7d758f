"""Codecs by themselves: those of published folders, and those of models of ours."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from sensorium.codecs.janus_vq import JanusVQ
from sensorium.codecs.kinds import AnyImageCodec, AnySpeechCodec
from sensorium.codecs.mimi import Mimi
from sensorium.errors import CheckpointError, ConfigError
from sensorium.hub import encoder_names as names
from sensorium.hub.assemble import blank_module
from sensorium.hub.codec_settings import read_janus_vq, read_mimi
from sensorium.hub.encoder_settings import part_of
from sensorium.hub.encoders import filled, read_config, shapes_of
from sensorium.hub.folder import load_pretrained
from sensorium.hub.resolve import resolve_model
from sensorium.hub.settings import Settings
from sensorium.hub.weights import StoredTensor, Weights, open_weights

_SUM = re.compile(r"(quantizer\..*\.codebook\.)embed_sum")
_LEAST = 1e-5  # that a vector of a codebook was used
_MIMI_REST = (r"quantizer\..*\.codebook\..*",)  # codebooks that are not used, and how often vectors of any were
_JANUS_EYES = (("image_size", 384), ("patch_size", 16))
_JANUS_REST = (
    r"(model\.)?(vision_model|aligner|generation_embeddings|generation_aligner|generation_head|language_model)\..*",
    r"lm_head\..*",
)


def load_image_codec(name_or_path: str | Path) -> AnyImageCodec:
    """Load a codec of pictures, in float32 on the CPU and in evaluation mode; its `config` comes with it.

    Args:
        name_or_path: a folder (or hub id) of a Janus or of its VQ model alone, in the layout of transformers; or a
            model of ours with an image codec.

    Raises:
        ConfigError: a family or setting we do not compute.
        CheckpointError: weights that are missing, surplus, broken or misfit.
    """
    path = _folder(name_or_path)
    raw, where = read_config(path)
    if "format" in raw:
        own = load_pretrained(path, dtype=torch.float32).model.image_codec
        if own is None:
            raise ConfigError(f"{path} is a model without an image codec")
        return own
    kind = raw.get("model_type")
    if kind == "janus":
        eyes = part_of(raw, "vision_config", where)
        side, patch = (eyes.whole(key) if key in eyes.raw else usual for key, usual in _JANUS_EYES)
        config = read_janus_vq(part_of(raw, "vq_config", where), grid=side // patch)
    elif kind == "janus_vqgan":
        config = read_janus_vq(Settings(raw, where))
    else:
        raise ConfigError(f"{where}: model_type {kind!r} is no codec of pictures (only janus, janus_vqgan)")
    module = blank_module(lambda: JanusVQ(config))
    prefixes = ("model.vqmodel.", "vqmodel.", "") if kind == "janus" else ("",)
    found = names.pieces(names.JANUS_VQ, shapes_of(module), theirs=prefixes)
    return filled(module, open_weights(path), found, ignored=_JANUS_REST)


def load_speech_codec(name_or_path: str | Path, *, codebooks: int | None = None) -> AnySpeechCodec:
    """Load a codec of speech, in float32 on the CPU and in evaluation mode; its `config` comes with it.

    Args:
        name_or_path: a folder (or hub id) of a Mimi in the layout of transformers, or a model of ours with a speech
            codec.
        codebooks: how many of a published Mimi's are used; more of them sound better and make longer rows.

    Raises:
        ConfigError: a family or setting we do not compute, or a number of codebooks that it does not have.
        CheckpointError: weights that are missing, surplus, broken or misfit.
    """
    path = _folder(name_or_path)
    raw, where = read_config(path)
    if "format" in raw:
        own = load_pretrained(path, dtype=torch.float32).model.speech_codec
        if own is None:
            raise ConfigError(f"{path} is a model without a speech codec")
        if codebooks not in (None, own.config.codes_per_frame):
            raise ConfigError(f"{path} speaks with {own.config.codes_per_frame} codebook(s), not {codebooks}")
        return own
    if raw.get("model_type") != "mimi":
        raise ConfigError(f"{where}: model_type {raw.get('model_type')!r} is no codec of speech (only mimi)")
    config = read_mimi(raw, where, codebooks)
    module = blank_module(lambda: Mimi(config))
    found = names.pieces(names.MIMI, shapes_of(module))
    ignored = _MIMI_REST if module.acoustic is not None else (*_MIMI_REST, r"quantizer\.acoustic_.*")
    return filled(module, _with_codebooks(open_weights(path)), found, ignored=ignored)


def _folder(name_or_path: str | Path) -> Path:
    path = resolve_model(name_or_path)
    if path.is_file():
        raise ConfigError(f"{path} is a file, not the folder of a codec (give the folder with its config.json)")
    return path


def _with_codebooks(weights: Weights) -> Weights:
    """The tensors, and for each codebook that is stored as a sum and the number of its terms, what that amounts to."""
    tensors = dict(weights.tensors)
    for name, total in weights.tensors.items():
        matched = _SUM.fullmatch(name)
        used = weights.tensors.get(f"{matched[1]}cluster_usage") if matched else None
        if matched is None or used is None:
            continue
        if used.shape != total.shape[:1] or None in (used.dtype, total.dtype):
            raise CheckpointError(f"{weights.path}: {matched[1]}cluster_usage and embed_sum are no codebook together")

        def embed(total: StoredTensor = total, used: StoredTensor = used) -> Tensor:
            return total.fresh().float() / used.fresh().float().clamp_min(_LEAST)[:, None]

        tensors[f"{matched[1]}embed"] = StoredTensor(total.shape, torch.float32, embed, embed)
    return Weights(tensors, weights.path)
