"""Eyes and ears by themselves: encoders of published folders, of torchvision's files, and of models of ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from sensorium.config import ResNetConfig, SpeechConfig, VisionConfig, read_json
from sensorium.errors import CheckpointError, ConfigError
from sensorium.hub import encoder_names as names
from sensorium.hub import encoder_settings as settings
from sensorium.hub.assemble import Piece, blank_module, read_weights
from sensorium.hub.folder import load_pretrained
from sensorium.hub.front_ends import read_audio_config, read_image_config, usual_image_config
from sensorium.hub.resolve import resolve_model
from sensorium.hub.settings import Settings
from sensorium.hub.weights import Weights, open_file, open_weights
from sensorium.nn.encoders import SpeechEncoder, VisionEncoder, make_speech_encoder, make_vision_encoder

Part = TypeVar("Part", bound=nn.Module)

_HEADS = (
    r"classifier\..*",
    r"fc\.(weight|bias)",
    r"(vit\.)?pooler\..*",
    r"(vit\.)?embeddings\.mask_token",
    r"decoder\..*",
)
_BUFFERS = (r".*\.num_batches_tracked", r"(.*\.)?position_ids")
_OTHER_HALF = (r"text_model\..*", r"(text|visual)_projection\.(weight|bias)", r"logit_(scale|bias)")
_WHISPER_REST = (r"(model\.)?decoder\..*", r"proj_out\.weight", r"projector\..*", r"classifier\..*", r"layer_weights")


def load_vision(name_or_path: str | Path) -> tuple[VisionConfig, VisionEncoder]:
    """Load an encoder of pictures, in float32 on the CPU.

    Args:
        name_or_path: a folder (or hub id) of ViT, CLIP, SigLIP or ResNet in the layout of transformers, with the
            ResNets' names also as torchvision's; a weight file of torchvision's ResNets; or a model of ours with eyes.

    Returns:
        Its settings, without a projector, and the encoder in evaluation mode.

    Raises:
        ConfigError: a family or setting we do not compute.
        CheckpointError: weights that are missing, surplus, broken or misfit.
    """
    path = resolve_model(name_or_path)
    if path.is_file():
        return _torchvision(Weights(open_file(path), path))
    raw, where = read_config(path)
    if "format" in raw:
        model = load_pretrained(path).model
        if model.config.vision is None or model.vision is None:
            raise ConfigError(f"{path} is a model without eyes")
        return model.config.vision.model_copy(update={"projector": None, "grounding": False}), model.vision.encoder
    return _published_vision(path, raw, where)


def load_speech(name_or_path: str | Path) -> tuple[SpeechConfig, SpeechEncoder]:
    """Load an encoder of speech, in float32 on the CPU.

    Args:
        name_or_path: a folder (or hub id) of a Whisper in the layout of transformers, or a model of ours with ears.

    Returns:
        Its settings, without a projector, and the encoder in evaluation mode.

    Raises:
        ConfigError: a family or setting we do not compute.
        CheckpointError: weights that are missing, surplus, broken or misfit.
    """
    path = resolve_model(name_or_path)
    raw, where = read_config(path)
    if "format" in raw:
        model = load_pretrained(path).model
        if model.config.speech is None or model.speech is None:
            raise ConfigError(f"{path} is a model without ears")
        return model.config.speech.model_copy(update={"projector": None, "ctc": False}), model.speech.encoder
    if raw.get("model_type") != "whisper":
        raise ConfigError(f"{where}: model_type {raw.get('model_type')!r} does not listen (only whisper)")
    encoder = settings.read_whisper(raw, where)
    audio = read_audio_config(path, encoder)
    config = SpeechConfig.parse({"audio": audio, "encoder": encoder, "projector": None}, where)
    module = blank_module(lambda: make_speech_encoder(encoder))
    found = names.pieces(
        names.WHISPER, shapes_of(module), theirs=("model.encoder.", "encoder.", ""), absent=names.WHISPER_ABSENT
    )
    return config, filled(module, open_weights(path), found, ignored=_WHISPER_REST)


def _published_vision(path: Path, raw: dict[str, Any], where: str) -> tuple[VisionConfig, VisionEncoder]:
    kind = raw.get("model_type")
    if kind == "resnet":
        image = read_image_config(path, "resnet", None)
        fields = settings.read_resnet(raw, where) | {"image_size": image.size[0]}
        resnet = ResNetConfig.parse(fields, where)
        config = _vision_config(image, resnet, where)
        return config, _fill_vision(config, open_weights(path), names.RESNET, ("", "resnet."), (*_HEADS, *_BUFFERS))
    if kind == "vit":
        vit = settings.read_vit(Settings(raw, where))
        config = _vision_config(read_image_config(path, "vit", vit.image_size), vit, where)
        return config, _fill_vision(config, open_weights(path), names.VIT, ("", "vit."), (*_HEADS, *_BUFFERS))
    if kind in ("clip", "clip_vision_model", "siglip", "siglip_vision_model"):
        family = kind.partition("_")[0]
        found = settings.part_of(raw, "vision_config", where) if kind == family else Settings(raw, where)
        read, table = (
            (settings.read_clip_vision, names.CLIP_VISION)
            if family == "clip"
            else (settings.read_siglip_vision, names.SIGLIP_VISION)
        )
        vit = read(found)
        config = _vision_config(read_image_config(path, family, vit.image_size), vit, where)
        ignored = (*_OTHER_HALF, *_BUFFERS, r"classifier\..*")
        return config, _fill_vision(config, open_weights(path), table, ("vision_model.", ""), ignored)
    raise ConfigError(f"{where}: model_type {kind!r} does not look (only vit, clip, siglip, resnet)")


def _torchvision(weights: Weights) -> tuple[VisionConfig, VisionEncoder]:
    """A ResNet of which only the weights are at hand: they tell its shape, and ImageNet how pictures are prepared."""
    shapes = {name: stored.shape for name, stored in weights.tensors.items()}
    stages: list[list[int]] = []
    for name in shapes:
        matched = re.fullmatch(r"layer(\d+)\.(\d+)\.conv1\.weight", name)
        if matched:
            stage, block = int(matched[1]) - 1, int(matched[2])
            stages += [[] for _ in range(stage + 1 - len(stages))]
            stages[stage].append(block)
    if not stages or "conv1.weight" not in shapes:
        raise CheckpointError(f"{weights.path} holds no ResNet by torchvision's names (conv1, bn1, layer1.0.conv1, …)")
    bottleneck = "layer1.0.conv3.weight" in shapes
    last = "conv3" if bottleneck else "conv2"
    dims = [shapes.get(f"layer{stage + 1}.0.{last}.weight", (0,))[0] for stage in range(len(stages))]
    fields = {
        "image_size": 224,
        "stem_dim": shapes["conv1.weight"][0],
        "dims": dims,
        "depths": [len(blocks) for blocks in stages],
        "block": "bottleneck" if bottleneck else "basic",
    }
    resnet = ResNetConfig.parse(fields, str(weights.path))
    image = usual_image_config("resnet", 224).model_copy(update={"resample": "bilinear"})
    config = _vision_config(image, resnet, str(weights.path))
    return config, _fill_vision(config, weights, names.RESNET, ("",), (*_HEADS, *_BUFFERS))


def _vision_config(image: Any, encoder: Any, where: str) -> VisionConfig:
    return VisionConfig.parse({"image": image, "encoder": encoder, "projector": None}, where)


def _fill_vision(
    config: VisionConfig,
    weights: Weights,
    table: Sequence[names.Names],
    prefixes: Sequence[str],
    ignored: Collection[str],
) -> VisionEncoder:
    module = blank_module(lambda: make_vision_encoder(config.encoder))
    return filled(module, weights, names.pieces(table, shapes_of(module), theirs=prefixes), ignored=ignored)


def filled(module: Part, weights: Weights, pieces: Sequence[Piece], *, ignored: Collection[str]) -> Part:
    """A blank module with its weights, in float32 on the CPU and in evaluation mode; raises as `load_vision`."""
    state = read_weights(
        weights, pieces, shapes_of(module), ignored=ignored, dtype=torch.float32, device=torch.device("cpu")
    )
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval()


def shapes_of(module: nn.Module) -> Mapping[str, tuple[int, ...]]:
    """Names and shapes of a module's weights."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def read_config(path: Path) -> tuple[dict[str, Any], str]:
    """The `config.json` of a folder, and where it is, for errors."""
    where = path / "config.json"
    raw = read_json(where)
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} must hold an object of settings")
    return raw, str(where)
