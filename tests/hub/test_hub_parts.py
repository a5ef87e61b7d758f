"""Every part of a model is stored in its folder and read back: eyes, ears, fusion, the common space."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fusing
import pytest
import torch

from sensorium.config import (
    AudioConfig,
    ImageConfig,
    ModelConfig,
    ProjectorConfig,
    RecurrentSpeechConfig,
    ResNetConfig,
    SpeechConfig,
    VisionConfig,
    ViTConfig,
    WhisperConfig,
)
from sensorium.errors import CheckpointError
from sensorium.hub.folder import load_pretrained, save_pretrained
from sensorium.hub.pretrained import Pretrained
from sensorium.nn.omni import Omni

BLOCKS = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
IMAGE, AUDIO = ImageConfig(size=(16, 16)), AudioConfig(n_mels=8, window_seconds=0.4)
RESAMPLER = ProjectorConfig(kind="resampler", n_queries=5, norm=True)
PARTS = {
    "resnet and recurrent": (
        VisionConfig(image=IMAGE, encoder=ResNetConfig(image_size=16, stem="small", stem_dim=8, dims=(16, 24),
                                                       depths=(1, 2)),
                     projector=ProjectorConfig(kind="pixel_shuffle", factor=2, positions=True)),
        SpeechConfig(audio=AUDIO, encoder=RecurrentSpeechConfig(n_mels=8, dim=16, n_layers=2, max_frames=40), ctc=True),
    ),
    "clip and whisper": (
        VisionConfig(image=IMAGE, encoder=ViTConfig(image_size=16, patch_size=8, class_token=True, embedding_norm=True,
                                                    pooling="class", pooled_norm=True, **BLOCKS), projector=RESAMPLER),
        SpeechConfig(audio=AUDIO, encoder=WhisperConfig(n_mels=8, max_frames=40, pool=2, trim=True, **BLOCKS)),
    ),
    "siglip": (
        VisionConfig(image=IMAGE, encoder=ViTConfig(image_size=16, patch_size=8, pooling="attention", **BLOCKS)),
        None,
    ),
}  # fmt: skip


def random_model(config: ModelConfig) -> Omni:
    """Every tensor random, running means and variances of batch norms as well."""
    model = fusing.randomised(Omni(config))
    generator = torch.Generator().manual_seed(8)
    for buffer in [buffer for name, buffer in model.named_buffers() if name in model.state_dict()]:
        buffer.uniform_(0.5, 1.5, generator=generator)
    return model


def assert_comes_back(model: Omni, folder: Path) -> None:
    save_pretrained(Pretrained(model.config, model, None), folder)
    loaded = load_pretrained(folder).model
    assert loaded.config == model.config
    expected = model.state_dict()
    assert {name: tensor.tolist() for name, tensor in loaded.state_dict().items()} == {
        name: tensor.tolist() for name, tensor in expected.items()
    }
    plan = "wiwaw" if model.speech is not None else "wiwiw"
    ids, _, media = fusing.document(model.config, plan, 1)
    calls = [lambda each: each.logits(ids, media), lambda each: each.embed_text(ids)]
    calls.append(lambda each: each.embed_images(media.images))
    if media.audio is not None:
        calls.append(lambda each: each.embed_audio(media.audio, media.audio_frames))
    with torch.no_grad():
        for call in calls:
            # A mapped weight may lie elsewhere than a fresh one, and products of one row are then rounded elsewise.
            torch.testing.assert_close(call(loaded), call(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fusion", fusing.FUSIONS)
def test_a_model_of_every_fusion_comes_back_as_it_was(fusion: str, tmp_path: Path) -> None:
    assert_comes_back(random_model(fusing.make_config(fusion)), tmp_path / "model")


@pytest.mark.parametrize("parts", PARTS)
def test_every_encoder_and_projector_comes_back_as_it_was(parts: str, tmp_path: Path) -> None:
    vision, speech = PARTS[parts]
    config = fusing.make_config().model_copy(update={"vision": vision, "speech": speech})
    assert_comes_back(random_model(config), tmp_path / "model")


def test_a_part_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    model = fusing.build("feature")
    save_pretrained(Pretrained(model.config, model, None), tmp_path / "model")
    crossed = fusing.make_config("cross")
    (tmp_path / "model" / "config.json").write_text(crossed.model_dump_json(exclude_none=True), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"lacks the tensor 'fusion\.layers\.0\."):
        load_pretrained(tmp_path / "model")
    deaf = replace(Pretrained(model.config, model, None), config=model.config.model_copy(update={"speech": None}))
    (tmp_path / "model" / "config.json").write_text(deaf.config.model_dump_json(exclude_none=True), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"'embedder\.speech\.weight' and \d+ more, which .* has no use for"):
        load_pretrained(tmp_path / "model")
