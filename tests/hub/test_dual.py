"""CLIP and SigLIP as one model: words and pictures land in one space, where `transformers` puts them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sensorium.config import ModelConfig
from sensorium.errors import CheckpointError, ConfigError
from sensorium.hub.encoders import load_vision
from sensorium.hub.folder import load_pretrained, save_pretrained
from sensorium.nn.omni import Omni

TOLERANCE = 1e-4
BREAKS = 1e-3
VOCAB, TIME, END = 61, 12, 60

_BODY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
_TEXT = _BODY | {"vocab_size": VOCAB, "max_position_embeddings": 16}
_EYES = _BODY | {"image_size": 16, "patch_size": 4, "hidden_size": 24}


def randomise(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            if name in ("logit_scale", "logit_bias"):
                tensor.copy_(1.5 + 0.3 * noise if name == "logit_scale" else -0.7 + 0.3 * noise)
            elif tensor.dim() >= 2 and "position" not in name and "probe" not in name:
                tensor.copy_(2.2 * noise * tensor[0].numel() ** -0.5)
            else:
                tensor.copy_(1 + 0.4 * noise if tensor.dim() == 1 and name.endswith("weight") else 0.4 * noise)


def clip(text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None, **settings: Any) -> Any:
    config = transformers.CLIPConfig(
        text_config=_TEXT | {"eos_token_id": END} | (text or {}),
        vision_config=_EYES | (vision or {}),
        **({"projection_dim": 20} | settings),
    )
    model = transformers.CLIPModel(config)
    randomise(model)
    return model.eval()


def siglip(text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None) -> Any:
    config = transformers.SiglipConfig(
        text_config=_TEXT | {"projection_size": 24} | (text or {}), vision_config=_EYES | (vision or {})
    )
    model = transformers.SiglipModel(config)
    randomise(model)
    return model.eval()


def texts(end: int = END) -> Tensor:
    """(3, TIME) ids: the first ends at once and goes on after it, the last ends with its last."""
    ids = torch.randint(0, VOCAB - 3, (3, TIME), generator=torch.Generator().manual_seed(3))
    ids[0, 4] = ids[0, 8] = ids[1, 9] = ids[2, -1] = end
    return ids


def pictures() -> Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def theirs(model: Any, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    output = model(input_ids=ids, pixel_values=pictures())
    assert output.logits_per_text.std() > 0.2
    return output.text_embeds, output.image_embeds, output.logits_per_text


@torch.no_grad()
def ours(model: Omni, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    words, seen = model.embed_text(ids), model.embed_images(pictures())
    assert model.embedder is not None
    return words, seen, words @ seen.T * model.embedder.scale() + model.embedder.bias()


def difference(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> float:
    return max(float((a - b).abs().max() / b.std()) for a, b in zip(one, other, strict=True))


def switched(config: ModelConfig, model: Omni, part: str, changes: dict[str, Any]) -> Omni:
    if part == "vision":
        assert config.vision is not None
        encoder = config.vision.encoder.model_copy(update=changes)
        changed = config.model_copy(update={"vision": config.vision.model_copy(update={"encoder": encoder})})
    else:
        changed = config.model_copy(update={part: getattr(config, part).model_copy(update=changes)})
    other = Omni(changed).eval()
    weights = model.state_dict()
    other.load_state_dict({name: weights.get(name, torch.zeros(t.shape)) for name, t in other.state_dict().items()})
    return other


# name: (their model, their texts, the part of ours and its setting; the comparison must then fail)
CASES: dict[str, tuple[Callable[[], Any], Tensor, str, dict[str, Any]]] = {
    "clip first end": (clip, texts(), "embedder", {"text_pool": "last"}),
    "clip end": (clip, texts(), "embedder", {"eos_id": 3}),
    "clip another end": (lambda: clip({"eos_token_id": 59}), texts(59), "embedder", {"eos_id": 60}),
    "clip old end": (lambda: clip({"eos_token_id": 2}), texts(), "embedder", {"eos_id": 2}),
    "clip causality": (clip, texts(), "decoder", {"causal": False}),
    "clip heads": (lambda: clip({"num_attention_heads": 8}), texts(), "decoder", {"n_heads": 4}),
    "clip positions": (clip, texts(), "decoder", {"positions": "none"}),
    "clip text gelu": (lambda: clip({"hidden_act": "gelu"}), texts(), "decoder", {"activation": "gelu_quick"}),
    "clip text norm eps": (lambda: clip({"layer_norm_eps": 0.1}), texts(), "decoder", {"norm_eps": 1e-5}),
    "clip vision relu": (
        lambda: clip(vision={"hidden_act": "relu"}),
        texts(),
        "vision",
        {"activation": "gelu_quick"},
    ),
    "clip vision pooled norm": (clip, texts(), "vision", {"pooled_norm": False}),
    "siglip last": (siglip, texts(), "embedder", {"text_pool": "mean"}),
    "siglip bias": (siglip, texts(), "embedder", {"logit_bias": False}),
    "siglip text bias": (siglip, texts(), "embedder", {"text_bias": False}),
    "siglip both ways": (siglip, texts(), "decoder", {"causal": True}),
    "siglip text gelu": (lambda: siglip({"hidden_act": "relu"}), texts(), "decoder", {"activation": "gelu_tanh"}),
    "siglip text norm eps": (lambda: siglip({"layer_norm_eps": 0.1}), texts(), "decoder", {"norm_eps": 1e-6}),
    "siglip vision heads": (
        lambda: siglip(vision={"num_attention_heads": 2}),
        texts(),
        "vision",
        {"n_heads": 4},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_vectors_equal_the_reference_until_the_setting_is_switched_off(case: str, tmp_path: Path) -> None:
    build, ids, part, off = CASES[case]
    reference = build()
    reference.save_pretrained(tmp_path)
    expected = theirs(reference, ids)
    pretrained = load_pretrained(tmp_path)
    assert difference(ours(pretrained.model, ids), expected) < TOLERANCE
    assert difference(ours(switched(pretrained.config, pretrained.model, part, off), ids), expected) > BREAKS


@pytest.mark.parametrize("build", [clip, siglip])
def test_every_tensor_matters(build: Callable[[], Any], tmp_path: Path) -> None:
    build().save_pretrained(tmp_path)
    model = load_pretrained(tmp_path).model
    before = ours(model, texts())
    for name, tensor in model.state_dict().items():
        if name.endswith("attention.k.bias") or name == "decoder.head.weight":  # softmax is blind; no words come out
            continue
        kept = tensor.clone()
        with torch.no_grad():
            tensor.mul_(0.5).add_(0.1)
        assert difference(ours(model, texts()), before) > 1e-5, name
        with torch.no_grad():
            tensor.copy_(kept)


@pytest.mark.parametrize("build", [clip, siglip])
def test_a_steep_scale_is_kept(build: Callable[[], Any], tmp_path: Path) -> None:
    reference = build()
    with torch.no_grad():
        reference.logit_scale.fill_(4.77 if build is siglip else 4.605)  # as they are published
    reference.save_pretrained(tmp_path)
    model = load_pretrained(tmp_path).model
    assert difference(ours(model, texts()), theirs(reference, texts())) < TOLERANCE


@pytest.mark.parametrize("build", [clip, siglip])
def test_the_eyes_of_a_pair_load_alone(build: Callable[[], Any], tmp_path: Path) -> None:
    reference = build()
    reference.save_pretrained(tmp_path)
    config, eyes = load_vision(tmp_path)
    with torch.no_grad():
        pooled = reference.vision_model(pictures()).pooler_output
        assert difference((eyes.pooled(pictures()),), (pooled,)) < TOLERANCE
    assert config.image.size == (16, 16)
    assert config.image.resize == ("crop" if build is clip else "stretch")


@pytest.mark.parametrize("build", [clip, siglip])
def test_saved_as_ours_it_stays_the_same(build: Callable[[], Any], tmp_path: Path) -> None:
    build().save_pretrained(tmp_path / "theirs")
    pretrained = load_pretrained(tmp_path / "theirs")
    save_pretrained(pretrained, tmp_path / "ours")
    again = load_pretrained(tmp_path / "ours")
    assert again.config == pretrained.config
    for one, other in zip(ours(again.model, texts()), ours(pretrained.model, texts()), strict=True):
        assert torch.equal(one, other)
    config, eyes = load_vision(tmp_path / "ours")
    assert config == pretrained.config.vision
    with torch.no_grad():
        assert pretrained.model.vision is not None
        assert torch.equal(eyes.pooled(pictures()), pretrained.model.vision.encoder.pooled(pictures()))


def test_settings_that_old_files_hold_twice(tmp_path: Path) -> None:
    reference = clip()
    reference.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    raw = json.loads(path.read_text())
    raw["text_config_dict"] = raw.pop("text_config")
    raw["vision_config_dict"] = raw["vision_config"]
    raw["text_config"] = {"hidden_size": 8}
    path.write_text(json.dumps(raw))
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    tensors["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(tensors, tmp_path / "model.safetensors")
    assert difference(ours(load_pretrained(tmp_path).model, texts()), theirs(reference, texts())) < TOLERANCE


@pytest.mark.parametrize(
    ("build", "changes", "message"),
    [
        (clip, {"text_config": {"hidden_act": "mish"}}, "hidden_act 'mish' is not supported"),
        (clip, {"text_config": {"eos_token_id": [1, 2]}}, "eos_token_id = \\[1, 2\\] is not supported"),
        (clip, {"text_config": {"hidden_size": 0}}, "hidden_size = 0 must be a whole number"),
        (clip, {"vision_config": {"num_channels": 1}}, "num_channels = 1, but pictures have 3"),
        (clip, {"vision_config": {"patch_size": [4, 8]}}, "patch_size = \\[4, 8\\] must be a square"),
        (clip, {"vision_config": {"patch_size": 5}}, "16 is not a multiple of patch_size 5"),
        (clip, {"vision_config": {"head_dim": 7}}, "head_dim 7 must be"),
        (clip, {"quantization_config": {"bits": 4}}, "quantization_config = .* is not supported"),
        (siglip, {"quantization_config": {"bits": 4}}, "quantization_config = .* is not supported"),
        (siglip, {"vision_config": {"vision_use_head": False}}, "without vision_use_head there is no vector"),
        (siglip, {"text_config": {"projection_size": 20}}, "texts become vectors of 20 and pictures of 24"),
    ],
)
def test_what_we_do_not_compute_is_refused(
    build: Callable[[], Any], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    build().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    raw = json.loads(path.read_text())
    for key, value in changes.items():
        raw[key] = raw[key] | value if isinstance(raw.get(key), dict) else value
    path.write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match=message) as found:
        load_pretrained(tmp_path)
    assert "\n" not in str(found.value)


def test_a_missing_or_surplus_tensor_is_named(tmp_path: Path) -> None:
    clip().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = load_file(path)
    save_file({name: tensor for name, tensor in whole.items() if name != "logit_scale"}, path)
    with pytest.raises(CheckpointError, match="lacks the tensor 'logit_scale'"):
        load_pretrained(tmp_path)
    save_file(whole | {"vision_model.encoder.layers.9.mlp.fc1.bias": torch.zeros(3)}, path)
    for load in (load_pretrained, load_vision):
        with pytest.raises(CheckpointError, match=r"'vision_model.encoder.layers.9.mlp.fc1.bias', which the"):
            load(tmp_path)
