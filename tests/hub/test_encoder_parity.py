"""Encoders give what those of `transformers` give, setting by setting and tensor by tensor, and for a reason each."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sensorium.config import WhisperConfig
from sensorium.hub import encoder_names as names
from sensorium.hub.encoders import load_speech, load_vision
from sensorium.nn.encoders import make_speech_encoder, make_vision_encoder

TOLERANCE = 1e-4
BREAKS = 1e-3

_BODY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
_EYES = _BODY | {"image_size": 32, "patch_size": 8}
_RESNET = {"embedding_size": 12, "hidden_sizes": [16, 24, 32], "depths": [1, 2, 1]}
_EARS = {
    "vocab_size": 20,
    "num_mel_bins": 6,
    "d_model": 32,
    "encoder_layers": 3,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 24,
    "max_source_positions": 20,
    "max_target_positions": 8,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "decoder_start_token_id": 0,
    "begin_suppress_tokens": None,
}
SIDE = 32
Outputs = tuple[Tensor, Tensor | None]


def randomise(model: nn.Module) -> None:
    """Every weight and buffer at random: those of norms around 1, matrices by fan-in, variances above 0."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            if not tensor.is_floating_point():
                tensor.fill_(41) if name.endswith("num_batches_tracked") else None
            elif name.endswith("running_var"):
                tensor.copy_((0.5 * noise).exp())
            elif tensor.dim() >= 2 and "position" not in name and "cls_token" not in name and "probe" not in name:
                # What MLPs write outweighs the rest, so that two kinds of GELU can be told apart.
                gain = 8.0 if name.endswith("fc2.weight") else 1.2 if name.endswith("fc1.weight") else 2.2
                tensor.copy_(gain * noise * tensor[0].numel() ** -0.5)
            elif tensor.dim() == 1 and name.endswith("weight"):
                tensor.copy_(1 + 0.4 * noise)
            else:
                tensor.copy_(0.4 * noise)


def reference(kind: str, settings: dict[str, Any]) -> transformers.PreTrainedModel:
    """A tiny model of `transformers`, eager so that it shows its attention."""
    made: dict[str, Callable[[], transformers.PreTrainedModel]] = {
        "vit": lambda: transformers.ViTModel._from_config(
            transformers.ViTConfig(**(_EYES | settings)), attn_implementation="eager"
        ),
        "clip": lambda: transformers.CLIPVisionModel._from_config(
            transformers.CLIPVisionConfig(**(_EYES | settings)), attn_implementation="eager"
        ),
        "siglip": lambda: transformers.SiglipVisionModel._from_config(
            transformers.SiglipVisionConfig(**(_EYES | settings)), attn_implementation="eager"
        ),
        "resnet": lambda: transformers.ResNetModel(transformers.ResNetConfig(**(_RESNET | settings))),
        "whisper": lambda: transformers.WhisperModel._from_config(
            transformers.WhisperConfig(**(_EARS | settings)), attn_implementation="eager"
        ),
    }
    model = made[kind]()
    randomise(model)
    return model.eval()


def write(model: transformers.PreTrainedModel, folder: Path) -> None:
    """The folder, and for a ResNet the processor's file that alone knows the size of its pictures."""
    model.save_pretrained(folder)
    if model.config.model_type == "resnet":
        (folder / "preprocessor_config.json").write_text(
            f'{{"feature_extractor_type": "ConvNextFeatureExtractor", "size": {SIDE}, "crop_pct": 0.875}}'
        )


def pictures() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


def recordings(n_mels: int = 6, frames: int = 40) -> Tensor:
    return torch.randn(2, n_mels, frames, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def expected(kind: str, model: transformers.PreTrainedModel) -> Outputs:
    """Features and pooled vectors of the reference, shown to depend on what is seen, by attention that chooses."""
    if kind == "whisper":
        encoder = model.get_encoder()
        output = encoder(recordings(encoder.config.num_mel_bins), output_attentions=True)
        features, pooled = output.last_hidden_state, output.last_hidden_state.mean(1)
    elif kind == "resnet":
        output = model(pictures())
        features, pooled = output.last_hidden_state.flatten(2).transpose(1, 2), output.pooler_output.flatten(1)
    else:
        output = model(pictures(), output_attentions=True)
        features, pooled = output.last_hidden_state, output.pooler_output
        if kind == "vit":  # its pooler is a head of its own; classifiers read the class token
            pooled = features[:, 0]
        if kind != "siglip":
            features = features[:, 1:]
    assert (features[0] - features[1]).std() > 0.1 * features.std()
    for attention in output.get("attentions") or ():  # (batch, heads, queries, keys)
        assert ((attention - 1 / attention.shape[-1]).abs().sum(-1) / 2).mean() > 0.1, "attention is close to uniform"
    return features, pooled


@torch.no_grad()
def outputs(module: nn.Module) -> Outputs:
    config: Any = module.config
    if config.kind == "whisper":
        sound = recordings(config.n_mels)
        frames = torch.tensor([40, 40])
        return module(sound, frames)[0], module.pooled(sound, frames)
    return module(pictures()), module.pooled(pictures()) if getattr(config, "pooling", "mean") != "none" else None


def difference(ours: Outputs, theirs: Outputs) -> float:
    """The largest difference, relative to the spread; without end where shapes differ."""
    worst = 0.0
    for one, other in zip(ours, theirs, strict=True):
        if one is None or other is None:
            continue
        worst = max(worst, float((one - other).abs().max() / other.std()) if one.shape == other.shape else 1e9)
    return worst


def load(kind: str, folder: Path) -> tuple[Any, Any]:
    return load_speech(folder) if kind == "whisper" else load_vision(folder)


def switched(module: Any, off: dict[str, Any]) -> nn.Module:
    """The same weights under other settings; what these add is neutral, what they drop is left out."""
    config = module.config.model_copy(update=off)
    other = make_speech_encoder(config) if config.kind == "whisper" else make_vision_encoder(config)
    weights = module.state_dict()
    state = {}
    for name, blank in other.state_dict().items():
        stored = weights.get(name)
        if stored is not None and stored.shape == blank.shape:
            state[name] = stored
        elif stored is not None:  # one row of positions less
            state[name] = stored[-len(blank) :]
        else:
            state[name] = torch.ones(blank.shape) if "norm" in name and "weight" in name else torch.zeros(blank.shape)
    other.load_state_dict(state)
    return other.eval()


# name: (kind, settings of theirs, what to switch off in ours; the comparison must then fail)
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "vit heads": ("vit", {}, {"n_heads": 2}),
    "vit fewer heads": ("vit", {"num_attention_heads": 2}, {"n_heads": 4}),
    "vit biases": ("vit", {}, {"qkv_bias": False}),
    "vit without biases": ("vit", {"qkv_bias": False}, {"n_heads": 2}),
    "vit patch bias": ("vit", {}, {"patch_bias": False}),
    "vit class token": ("vit", {}, {"class_token": False, "pooling": "mean"}),
    "vit pooling": ("vit", {}, {"pooling": "mean"}),
    "vit final norm": ("vit", {}, {"final_norm": False}),
    "vit norm eps": ("vit", {"layer_norm_eps": 0.1}, {"norm_eps": 1e-12}),
    "vit usual norm eps": ("vit", {}, {"norm_eps": 0.1}),
    "vit norm of embeddings": ("vit", {}, {"embedding_norm": True}),
    "vit gelu": ("vit", {}, {"activation": "gelu_tanh"}),
    "vit gelu tanh": ("vit", {"hidden_act": "gelu_pytorch_tanh"}, {"activation": "gelu"}),
    "vit gelu quick": ("vit", {"hidden_act": "quick_gelu"}, {"activation": "gelu"}),
    "vit relu": ("vit", {"hidden_act": "relu"}, {"activation": "gelu"}),
    "vit sizes as pairs": ("vit", {"image_size": [32, 32], "patch_size": [4, 4]}, {"n_heads": 2}),
    "vit inner width": ("vit", {"intermediate_size": 40}, {"activation": "relu"}),
    "vit with another pooler": ("vit", {"pooler_act": "relu", "pooler_output_size": 24}, {"n_heads": 2}),
    "clip norm of embeddings": ("clip", {}, {"embedding_norm": False}),
    "clip no final norm": ("clip", {}, {"final_norm": True}),
    "clip pooled norm": ("clip", {}, {"pooled_norm": False}),
    "clip pooling": ("clip", {}, {"pooling": "mean"}),
    "clip class token": ("clip", {}, {"class_token": False, "pooling": "mean"}),
    "clip biases": ("clip", {}, {"qkv_bias": False}),
    "clip heads": ("clip", {"num_attention_heads": 8}, {"n_heads": 4}),
    "clip norm eps": ("clip", {"layer_norm_eps": 0.1}, {"norm_eps": 1e-5}),
    "clip gelu quick": ("clip", {}, {"activation": "gelu"}),
    "clip gelu": ("clip", {"hidden_act": "gelu"}, {"activation": "gelu_quick"}),
    "clip patches": ("clip", {"patch_size": 16}, {"n_heads": 2}),
    "siglip pooling": ("siglip", {}, {"pooling": "mean"}),
    "siglip without a head": ("siglip", {"vision_use_head": False}, {"final_norm": False}),
    "siglip final norm": ("siglip", {}, {"final_norm": False}),
    "siglip pooled norm": ("siglip", {}, {"pooled_norm": True}),
    "siglip patch bias": ("siglip", {}, {"patch_bias": False}),
    "siglip biases": ("siglip", {}, {"qkv_bias": False}),
    "siglip heads": ("siglip", {"num_attention_heads": 2}, {"n_heads": 4}),
    "siglip norm eps": ("siglip", {"layer_norm_eps": 0.1}, {"norm_eps": 1e-6}),
    "siglip gelu tanh": ("siglip", {}, {"activation": "gelu"}),
    "siglip gelu": ("siglip", {"hidden_act": "gelu"}, {"activation": "gelu_tanh"}),
    "resnet-18": (
        "resnet",
        {"layer_type": "basic", "hidden_sizes": [12, 16, 24, 32], "depths": [2, 2, 2, 2], "hidden_act": "gelu"},
        {"activation": "relu"},
    ),
    "resnet-50": ("resnet", {"hidden_sizes": [16, 24, 32, 40], "depths": [3, 4, 6, 3]}, {"activation": "silu"}),
    "resnet relu": ("resnet", {}, {"activation": "gelu"}),
    "resnet gelu": ("resnet", {"hidden_act": "gelu"}, {"activation": "relu"}),
    "resnet silu": ("resnet", {"hidden_act": "silu"}, {"activation": "relu"}),
    "resnet basic relu": ("resnet", {"layer_type": "basic"}, {"activation": "gelu"}),
    "resnet basic silu": ("resnet", {"layer_type": "basic", "hidden_act": "silu"}, {"activation": "relu"}),
    "resnet first stage halves": ("resnet", {"downsample_in_first_stage": True}, {"downsample_in_first_stage": False}),
    "resnet first stage keeps": ("resnet", {}, {"downsample_in_first_stage": True}),
    "resnet halves in the middle": ("resnet", {}, {"downsample_in_bottleneck": True}),
    "resnet halves at first": ("resnet", {"downsample_in_bottleneck": True}, {"downsample_in_bottleneck": False}),
    "whisper heads": ("whisper", {}, {"n_heads": 2}),
    "whisper gelu": ("whisper", {}, {"activation": "gelu_tanh"}),
    "whisper relu": ("whisper", {"activation_function": "relu"}, {"activation": "gelu"}),
    "whisper pool": ("whisper", {}, {"pool": 2}),
    "whisper mels": ("whisper", {"num_mel_bins": 8}, {"n_heads": 2}),
    "whisper scaled words": ("whisper", {"scale_embedding": True}, {"n_heads": 2}),
    "whisper inner width": ("whisper", {"encoder_ffn_dim": 40}, {"activation": "relu"}),
}


@pytest.mark.parametrize("case", CASES)
def test_features_equal_the_reference_until_the_setting_is_switched_off(case: str, tmp_path: Path) -> None:
    kind, settings, off = CASES[case]
    model = reference(kind, settings)
    write(model, tmp_path)
    config, module = load(kind, tmp_path)
    assert config.encoder == module.config
    assert config.projector is None
    theirs = expected(kind, model)
    assert difference(outputs(module), theirs) < TOLERANCE
    assert difference(outputs(switched(module, off)), theirs) > BREAKS


@pytest.mark.parametrize("kind", ["vit", "clip"])
def test_the_class_token_is_a_feature_where_it_is_asked_for(kind: str, tmp_path: Path) -> None:
    model = reference(kind, {})
    write(model, tmp_path)
    shown = switched(load_vision(tmp_path)[1], {"drop_class": False})
    with torch.no_grad():
        theirs = model(pictures()).last_hidden_state
    assert difference((outputs(shown)[0], None), (theirs, None)) < TOLERANCE
    assert outputs(shown)[0].shape[1] == shown.config.n_features == theirs.shape[1]


@pytest.mark.parametrize("kind", ["vit", "clip", "siglip", "resnet", "resnet-18", "whisper"])
def test_every_tensor_matters(kind: str, tmp_path: Path) -> None:
    model = reference(kind.partition("-")[0], {"layer_type": "basic"} if kind == "resnet-18" else {})
    write(model, tmp_path)
    _, module = load(kind, tmp_path)
    before = outputs(module)
    for name, tensor in module.state_dict().items():
        if name.endswith("attention.k.bias"):  # softmax is blind to it
            continue
        kept = tensor.clone()
        with torch.no_grad():
            tensor.mul_(0.5).add_(0.1)
        assert difference(outputs(module), before) > 1e-5, name
        with torch.no_grad():
            tensor.copy_(kept)
    assert difference(outputs(module), before) == 0


TORCHVISION = [
    (r"^embedder\.embedder\.convolution", "conv1"),
    (r"^embedder\.embedder\.normalization", "bn1"),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.convolution", r"layer{}.\2.conv{}"),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.normalization", r"layer{}.\2.bn{}"),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.convolution", r"layer{}.\2.downsample.0"),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.normalization", r"layer{}.\2.downsample.1"),
]


def torchvision_name(name: str) -> str:
    for pattern, spelled in TORCHVISION:
        found = re.match(pattern, name)
        if found:
            counted = [str(int(number) + 1) for index, number in enumerate(found.groups()) if index != 1]
            return re.sub(pattern, spelled.format(*counted), name)
    return name


@pytest.mark.parametrize("layer_type", ["basic", "bottleneck"])
def test_a_resnet_by_torchvisions_names(layer_type: str, tmp_path: Path) -> None:
    depths = [2, 2, 2, 2] if layer_type == "basic" else [3, 4, 6, 3]
    model = reference("resnet", {"layer_type": layer_type, "hidden_sizes": [16, 24, 32, 40], "depths": depths})
    write(model, tmp_path)
    tensors = {torchvision_name(name): tensor for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    assert {"conv1.weight", "bn1.running_var", "layer2.0.downsample.1.running_mean", "layer4.1.bn2.bias"} <= set(
        tensors
    )
    assert "layer2.0.downsample.0.weight" in tensors
    tensors |= {"fc.weight": torch.randn(10, 40), "fc.bias": torch.randn(10)}
    save_file(tensors, tmp_path / "model.safetensors")
    theirs = expected("resnet", model)
    assert difference(outputs(load_vision(tmp_path)[1]), theirs) < TOLERANCE

    torch.save(tensors, tmp_path / "resnet.pth")
    config, module = load_vision(tmp_path / "resnet.pth")
    assert config.image.size == (224, 224)
    assert (config.image.shortest_edge, config.image.resample, config.image.resize) == (256, "bilinear", "crop")
    assert difference(outputs(switched(module, {"image_size": SIDE})), theirs) < TOLERANCE


HEADED: dict[str, Callable[[], transformers.PreTrainedModel]] = {
    "vit": lambda: transformers.ViTForImageClassification(transformers.ViTConfig(**_EYES)),
    "vit for masks": lambda: transformers.ViTForMaskedImageModeling(transformers.ViTConfig(**_EYES, encoder_stride=8)),
    "clip": lambda: transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**_EYES)),
    "siglip": lambda: transformers.SiglipForImageClassification(
        transformers.SiglipConfig(vision_config=_EYES, text_config=_BODY)
    ),
    "resnet": lambda: transformers.ResNetForImageClassification(transformers.ResNetConfig(**_RESNET)),
    "whisper": lambda: transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**_EARS)),
    "whisper for classes": lambda: transformers.WhisperForAudioClassification(
        transformers.WhisperConfig(**_EARS, use_weighted_layer_sum=True)
    ),
}


@pytest.mark.parametrize("name", HEADED)
def test_heads_of_other_tasks_are_left_behind(name: str, tmp_path: Path) -> None:
    kind = name.partition(" ")[0]
    model = HEADED[name]()
    randomise(model)
    write(model.eval(), tmp_path)
    body = {"vit": "vit", "clip": "vision_model", "siglip": "vision_model", "resnet": "resnet"}
    inner = model if kind == "whisper" else getattr(model, body[kind])
    if kind == "whisper":
        with torch.no_grad():
            features = model.get_encoder()(recordings()).last_hidden_state
        theirs: Outputs = (features, features.mean(1))
    else:
        inner.config._attn_implementation = "eager"
        theirs = expected(kind, inner)
    assert difference(outputs(load(kind, tmp_path)[1]), theirs) < TOLERANCE


LAYOUTS: dict[str, tuple[str, Callable[[str], str]]] = {
    "vit as it is in memory": ("vit", lambda name: name),
    "vit under its prefix": ("vit", lambda name: f"vit.{name}"),
    "clip under its prefix": ("clip", lambda name: f"vision_model.{name}"),
    "siglip under its prefix": ("siglip", lambda name: f"vision_model.{name}"),
    "resnet under its prefix": ("resnet", lambda name: f"resnet.{name}"),
    "whisper under its prefix": ("whisper", lambda name: f"model.{name}"),
    "whisper's encoder alone": ("whisper", lambda name: name.removeprefix("encoder.")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_layouts_of_the_same_tensors(layout: str, tmp_path: Path) -> None:
    kind, renamed = LAYOUTS[layout]
    model = reference(kind, {})
    write(model, tmp_path)
    tensors = {renamed(name): tensor.contiguous() for name, tensor in model.state_dict().items()}
    if kind == "clip":
        tensors["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(tensors, tmp_path / "model.safetensors")
    assert difference(outputs(load(kind, tmp_path)[1]), expected(kind, model)) < TOLERANCE


@pytest.mark.parametrize("frames", [40, 39, 27, 6])
def test_whisper_pooled_and_trimmed_is_qwen2_audios(frames: int) -> None:
    settings = {key: value for key, value in _EARS.items() if not key.startswith(("decoder", "pad", "bos", "eos"))}
    model = transformers.Qwen2AudioForConditionalGeneration._from_config(
        transformers.Qwen2AudioConfig(
            audio_config=settings,
            text_config=_BODY | {"model_type": "qwen2", "vocab_size": 20, "num_key_value_heads": 2},
            audio_token_index=19,
        ),
        attn_implementation="eager",
    ).eval()
    tower = model.model.audio_tower
    randomise(tower)
    config = WhisperConfig(n_mels=6, dim=32, n_layers=3, n_heads=4, hidden_dim=48, max_frames=40, pool=2, trim=True)
    module = make_speech_encoder(config).eval()
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = names.pieces(names.WHISPER, shapes, absent=names.WHISPER_ABSENT)
    stored = tower.state_dict()
    module.load_state_dict(
        {
            piece.ours[0]: stored[piece.theirs[0]] if piece.theirs else torch.zeros(shapes[piece.ours[0]])
            for piece in found
        }
    )
    heard, lengths = recordings(), torch.tensor([frames, 12])
    halved, pooled = tower._get_feat_extract_output_lengths(lengths)
    hidden = torch.arange(20) >= halved[:, None]
    mask = torch.zeros(2, 1, 20, 20).masked_fill_(hidden[:, None, None, :], -torch.inf)
    with torch.no_grad():
        theirs = tower(heard, attention_mask=mask).last_hidden_state
        ours, places = module(heard, lengths)
    assert places.tolist() == pooled.tolist() == [config.n_features(frames), config.n_features(12)]
    for row, count in enumerate(pooled.tolist()):
        assert difference((ours[row, :count], None), (theirs[row, :count], None)) < TOLERANCE
