"""The eyes and ears of published models that converse: their settings and tensors, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sensorium.config import PlaceholderConfig, ProjectorConfig, SpeechConfig, VisionConfig, ViTConfig, WhisperConfig
from sensorium.errors import ConfigError
from sensorium.hub import encoder_names as names
from sensorium.hub import encoder_settings as settings
from sensorium.hub.assemble import Piece
from sensorium.hub.front_ends import read_audio_config, read_image_config, read_tiles_config, read_whole_processor
from sensorium.hub.settings import Settings
from sensorium.processing.processor import Processor

Shapes = Mapping[str, tuple[int, ...]]

_LLAVA_EYES: dict[str, Any] = {
    "intermediate_size": 4096, "hidden_size": 1024, "patch_size": 14, "image_size": 336, "num_hidden_layers": 24,
    "num_attention_heads": 16,
}  # fmt: skip
_IDEFICS3_EYES: dict[str, Any] = {"hidden_size": 1152, "num_attention_heads": 16, "patch_size": 32}
_QWEN2_AUDIO_EARS: dict[str, Any] = {
    "num_mel_bins": 128, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120, "d_model": 1280,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sense:
    """What a published model has beside its decoder.

    Attributes:
        parts: `vision` or `speech` of the model's settings.
        tensors: (our beginning, their beginnings, table of names) of each module.
        absent: pattern of our weights that they have not, and that are zero.
        ignored: patterns of tensors without effect.
        reorder: weights of ours whose rows are theirs in another order.
    """

    parts: Mapping[str, VisionConfig | SpeechConfig]
    tensors: tuple[tuple[str, tuple[str, ...], tuple[names.Names, ...]], ...]
    absent: str | None = None
    ignored: tuple[str, ...] = ()
    reorder: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)

    def pieces(self, shapes: Shapes) -> list[Piece]:
        """Every weight of ours (`shapes`) beside the decoder as a part of one of their tensors."""
        found = [
            piece
            for ours, theirs, table in self.tensors
            for piece in names.pieces(table, shapes, ours=ours, theirs=theirs, absent=self.absent)
        ]
        return [replace(piece, reorder=self.reorder.get(piece.ours[0])) for piece in found]


def read_llava(folder: Path, raw: Mapping[str, Any], processor: Processor | None) -> Sense:
    """LLaVA (Liu et al. 2023, arXiv:2310.03744): CLIP's or SigLIP's patches from one of the later blocks, and an MLP.

    Blocks above that one, and the norm behind them, are not read. `image_seq_length` has no effect: how many
    placeholders a picture takes follows from its encoder.
    """
    where = str(folder / "config.json")
    found = Settings(raw, where)
    eyes = raw.get("vision_config")
    given = settings.part_of(raw, "vision_config", where) if eyes else Settings(_LLAVA_EYES, where)
    kind = given.raw.get("model_type", "clip_vision_model")
    if kind not in ("clip_vision_model", "siglip_vision_model"):
        raise ConfigError(f"{given.where}: model_type {kind!r} is not supported (only CLIP's and SigLIP's eyes)")
    clip = kind == "clip_vision_model"
    whole = settings.read_clip_vision(given) if clip else settings.read_siglip_vision(given)
    strategy = found.get("vision_feature_select_strategy", "default")
    if strategy not in ("default", "full") or (strategy == "default" and not clip):
        reason = "default or full" if clip else "full: default drops the first of SigLIP's patches"
        raise ConfigError(f"{where}: vision_feature_select_strategy = {strategy!r} is not supported ({reason})")
    kept = _kept_layers(found, whole.n_layers)
    own = {"n_layers": kept, "final_norm": False, "pooling": "none", "pooled_norm": False}
    encoder = ViTConfig.parse(dict(whole) | own | {"drop_class": strategy == "default"}, where)
    projector = ProjectorConfig.parse(
        {
            "kind": "mlp",
            "activation": found.activation("projector_hidden_act", "gelu"),
            "bias": found.get("multimodal_projector_bias", True),
        },
        where,
    )
    config = {
        "image": read_image_config(folder, "clip" if clip else "siglip", encoder.image_size),
        "encoder": encoder,
        "projector": projector,
        "placeholder": PlaceholderConfig(token=_token(found, processor, "image", 32_000, "<image>")),
    }
    prefixes = [f"{outer}vision_tower.{inner}" for inner in ("vision_model.", "") for outer in ("", "model.")]
    unread = "|".join(str(layer) for layer in range(kept, whole.n_layers)) or "-"
    inside = r"(model\.)?vision_tower\.(vision_model\.)?"
    ignored = (f"{inside}encoder\\.layers\\.({unread})\\..*", f"{inside}post_layernorm\\..*", f"{inside}head\\..*")
    return Sense(
        {"vision": VisionConfig.parse(config, where)},
        (
            ("vision.encoder.", tuple(prefixes), names.CLIP_VISION if clip else names.SIGLIP_VISION),
            ("vision.projector.map.", _beginnings("multi_modal_projector."), names.LLAVA_PROJECTOR),
        ),
        ignored=ignored,
    )


def read_idefics3(folder: Path, raw: Mapping[str, Any], processor: Processor | None) -> Sense:
    """Idefics3 (Laurençon et al. 2024, arXiv:2408.12637) and SmolVLM: SigLIP's patches of each tile, shuffled."""
    where = str(folder / "config.json")
    found = Settings(raw, where)
    given = settings.part_of(raw, "vision_config", where)
    given = Settings(_IDEFICS3_EYES | {k: v for k, v in given.raw.items() if v is not None}, given.where)
    body = settings.read_siglip_vision(given)
    encoder = ViTConfig.parse(dict(body) | {"pooling": "none"}, where)
    factor = found.whole("scale_factor") if found.raw.get("scale_factor") is not None else 2
    config = {
        "image": read_tiles_config(folder, encoder.image_size),
        "encoder": encoder,
        "projector": {"kind": "pixel_shuffle", "factor": factor, "bias": False},
        "placeholder": _tiled(_token(found, processor, "image", 128_257, "<image>")),
    }
    vision = VisionConfig.parse(config, where)
    said, file = read_whole_processor(folder)
    if said.get("image_seq_len") not in (None, vision.n_places):
        raise ConfigError(
            f"{file}: image_seq_len = {said['image_seq_len']!r}, but a tile becomes {vision.n_places} vectors"
        )
    order = _bucketed(encoder.grid)
    straight = torch.equal(order, torch.arange(len(order)))
    return Sense(
        {"vision": vision},
        (
            ("vision.encoder.", ("model.vision_model.",), names.SIGLIP_VISION),
            ("vision.projector.", ("model.connector.",), names.IDEFICS3_CONNECTOR),
        ),
        reorder={} if straight else {"vision.encoder.position.weight": lambda table: table[order]},
    )


def read_qwen2_audio(folder: Path, raw: Mapping[str, Any], processor: Processor | None) -> Sense:
    """Qwen2-Audio (Chu et al. 2024, arXiv:2407.10759): Whisper that sees no silence, features averaged in pairs."""
    where = str(folder / "config.json")
    found = Settings(raw, where)
    given = settings.part_of(raw, "audio_config", where)
    kind = given.raw.get("model_type", "qwen2_audio_encoder")
    if kind != "qwen2_audio_encoder":
        raise ConfigError(f"{given.where}: model_type {kind!r} is not supported (only qwen2_audio_encoder)")
    ears = _QWEN2_AUDIO_EARS | {key: value for key, value in given.raw.items() if value is not None}
    body = settings.read_whisper(ears, given.where)
    encoder = WhisperConfig.parse(dict(body) | {"pool": 2, "trim": True}, where)
    config = {
        "audio": read_audio_config(folder, encoder),
        "encoder": encoder,
        "projector": {"kind": "linear"},
        "placeholder": {"token": _token(found, processor, "audio", 151_646, "<|AUDIO|>")},
    }
    return Sense(
        {"speech": SpeechConfig.parse(config, where)},
        (
            ("speech.encoder.", _beginnings("audio_tower."), names.WHISPER),
            ("speech.projector.", _beginnings("multi_modal_projector."), names.QWEN2_AUDIO_PROJECTOR),
        ),
        absent=names.WHISPER_ABSENT,
    )


def _beginnings(name: str) -> tuple[str, ...]:
    return name, f"model.{name}"


def _kept_layers(found: Settings, n_layers: int) -> int:
    """Blocks up to the one whose features are shown: `vision_feature_layer` counts the embeddings as 0."""
    layer = found.get("vision_feature_layer", -2)
    if isinstance(layer, list) and len(layer) == 1:
        layer = layer[0]
    if not isinstance(layer, int) or isinstance(layer, bool):
        raise ConfigError(f"{found.where}: vision_feature_layer = {layer!r} is not supported (one whole number)")
    kept = layer if layer >= 0 else n_layers + 1 + layer
    if not 1 <= kept <= n_layers:
        raise ConfigError(
            f"{found.where}: vision_feature_layer = {layer} is none of the {n_layers} blocks (1 to {n_layers}, "
            f"or -{n_layers} to -1)"
        )
    return kept


def _token(found: Settings, processor: Processor | None, kind: str, usual: int, spelling: str) -> str:
    """How the placeholder is spelled: the tokenizer's name of the id that the model replaces."""
    index = found.raw.get(f"{kind}_token_index")
    index = found.get(f"{kind}_token_id", usual) if index is None else index
    if processor is None:
        return spelling
    spelled = [name for name, control in processor.tokenizer.control_ids.items() if control == index]
    if not spelled:
        raise ConfigError(
            f"{found.where}: {kind}_token_id = {index!r} is no control token of the tokenizer "
            "(take the tokenizer that belongs to these weights)"
        )
    return spelled[0]


def _tiled(token: str) -> PlaceholderConfig:
    """How Idefics3 writes a picture: tiles behind their row and column, and the whole behind a mark of its own."""
    around = "<fake_token_around_image>"
    return PlaceholderConfig(
        token=token, begin=around, end=around, style="tiles", row_col="<row_{row}_col_{column}>", whole="<global-img>"
    )


def _bucketed(grid: int) -> Tensor:
    """The row of the position table that each patch takes: its place as a fraction, in one of `grid` buckets.

    In float32 some fractions fall into the bucket below their own, and the published weights have learned that.
    """
    borders = torch.arange(1 / grid, 1.0, 1 / grid)
    places = (torch.arange(grid, dtype=torch.float32) * (1.0 / torch.tensor([grid]))).clamp(max=1.0 - 1e-6)
    rows = torch.bucketize(places, borders, right=True)
    return (rows[:, None] * grid + rows).flatten()
