"""Encoders see what they are shown and nothing else: shapes, padding, determinism, bad input, learning."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sensorium.config import (
    ConvSpeechConfig,
    FramesConfig,
    PatchesConfig,
    RecurrentSpeechConfig,
    ResNetConfig,
    SpeechEncoderConfig,
    VisionEncoderConfig,
    ViTConfig,
    WhisperConfig,
)
from sensorium.errors import RequestError
from sensorium.nn.batch_norm import BatchNorm
from sensorium.nn.encoders import SpeechEncoder, VisionEncoder, make_speech_encoder, make_vision_encoder
from sensorium.nn.speech import by_length

_VIT = {"image_size": 16, "patch_size": 4, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
_SPEECH = {"n_mels": 5, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_frames": 40}
VISION: dict[str, VisionEncoderConfig] = {
    "vit": ViTConfig(**_VIT),
    "vit with a convolutional stem": ViTConfig(**_VIT, stem="conv"),
    "vit shown with its class token": ViTConfig(**_VIT, class_token=True, drop_class=False, pooling="class"),
    "vit as CLIP": ViTConfig(
        **_VIT, class_token=True, embedding_norm=True, final_norm=False, pooling="class", pooled_norm=True
    ),
    "vit as SigLIP": ViTConfig(**_VIT, pooling="attention"),
    "resnet": ResNetConfig(image_size=32, stem_dim=8, dims=(16, 32), depths=(1, 2)),
    "small resnet": ResNetConfig(
        image_size=16, stem="small", stem_dim=8, dims=(8, 12), depths=(2, 1), block="basic", activation="gelu"
    ),
    "patches": PatchesConfig(image_size=16, patch_size=4),
}
SPEECH: dict[str, SpeechEncoderConfig] = {
    "whisper": WhisperConfig(**_SPEECH),
    "whisper trimmed": WhisperConfig(**_SPEECH, trim=True),
    "whisper pooled": WhisperConfig(**_SPEECH, trim=True, pool=2),
    "conv": ConvSpeechConfig(**_SPEECH),
    "conv of three": ConvSpeechConfig(**_SPEECH, strides=(1, 4, 2), kernel=3),
    "recurrent": RecurrentSpeechConfig(n_mels=5, dim=16, n_layers=2, max_frames=40),
    "frames": FramesConfig(n_mels=5, stack=4, max_frames=40),
}


def see(config: VisionEncoderConfig, seed: int = 0) -> VisionEncoder:
    encoder = make_vision_encoder(config)
    encoder.reset_parameters(torch.Generator().manual_seed(seed))
    return encoder.eval()


def hear(config: SpeechEncoderConfig, seed: int = 0) -> SpeechEncoder:
    encoder = make_speech_encoder(config)
    encoder.reset_parameters(torch.Generator().manual_seed(seed))
    return encoder.eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scrambled(encoder: nn.Module) -> None:
    """Weights as left behind by something else."""
    for tensor in encoder.state_dict().values():
        tensor.fill_(7.0)


@pytest.mark.parametrize("name", VISION)
def test_a_picture_gives_as_many_features_as_the_settings_say(name: str) -> None:
    config = VISION[name]
    pictures = noise(3, 3, config.image_size, config.image_size)
    encoder = see(config)
    assert encoder(pictures).shape == (3, config.n_features, config.dim)
    assert encoder.pooled(pictures).shape == (3, config.dim)


@pytest.mark.parametrize("name", VISION)
def test_each_picture_is_seen_alone(name: str) -> None:
    config = VISION[name]
    pictures = noise(3, 3, config.image_size, config.image_size)
    encoder = see(config)
    torch.testing.assert_close(encoder(pictures[1:2])[0], encoder(pictures)[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.pooled(pictures[1:2])[0], encoder.pooled(pictures)[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", VISION)
def test_features_tell_pictures_and_places_apart(name: str) -> None:
    config = VISION[name]
    features = see(config)(noise(2, 3, config.image_size, config.image_size))
    assert (features[0] - features[1]).abs().amax() > 0.1
    assert (features[:, 1:] - features[:, :-1]).abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("name", VISION)
def test_fresh_eyes_are_drawn_from_the_generator_alone(name: str) -> None:
    first, second, other = see(VISION[name]), make_vision_encoder(VISION[name]), see(VISION[name], seed=1)
    scrambled(second)
    second.reset_parameters(torch.Generator().manual_seed(0))
    for (key, one), two in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(one, two), key
    if first.state_dict():
        assert any(
            not torch.equal(one, two)
            for one, two in zip(first.state_dict().values(), other.state_dict().values(), strict=True)
        )


@pytest.mark.parametrize("name", SPEECH)
def test_fresh_ears_are_drawn_from_the_generator_alone(name: str) -> None:
    first, second = hear(SPEECH[name]), make_speech_encoder(SPEECH[name])
    scrambled(second)
    second.reset_parameters(torch.Generator().manual_seed(0))
    for (key, one), two in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(one, two), key


@pytest.mark.parametrize("name", VISION)
def test_a_picture_of_another_size_is_refused(name: str) -> None:
    size = VISION[name].image_size
    with pytest.raises(RequestError, match=rf"do not fit this encoder, which reads \(n, 3, {size}, {size}\)"):
        see(VISION[name])(noise(1, 3, size, size + 4))
    with pytest.raises(RequestError, match="do not fit"):
        see(VISION[name]).pooled(noise(1, 1, size, size))


def test_an_encoder_without_pooling_gives_no_vector() -> None:
    with pytest.raises(RequestError, match="set pooling"):
        see(ViTConfig(**_VIT, pooling="none")).pooled(noise(1, 3, 16, 16))


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 8, 39, 40])
@pytest.mark.parametrize("name", SPEECH)
def test_a_recording_gives_as_many_features_as_the_settings_say(name: str, frames: int) -> None:
    config = SPEECH[name]
    features, lengths = hear(config)(noise(2, 5, frames), torch.tensor([frames, 1]))
    assert lengths.tolist() == [config.n_features(frames), config.n_features(1)]
    assert features.shape[0] == 2
    assert features.shape[1] >= config.n_features(frames)
    assert features.shape[2] == config.dim


@pytest.mark.parametrize("frames", [1, 2, 5, 8, 13])
@pytest.mark.parametrize("name", [name for name in SPEECH if not name.startswith("whisper")])
def test_what_lies_beyond_a_recording_never_matters(name: str, frames: int) -> None:
    config = SPEECH[name]
    encoder = hear(config)
    recording = noise(1, 5, frames)
    alone, _ = encoder(recording, torch.tensor([frames]))
    batch = noise(3, 5, 21, seed=1)  # the rest of each row is noise
    batch[1, :, :frames] = recording[0]
    lengths = torch.tensor([21, frames, 4])
    features, places = encoder(batch, lengths)
    real = config.n_features(frames)
    torch.testing.assert_close(features[1, :real], alone[0], rtol=1e-4, atol=1e-5)
    assert places[1] == real
    torch.testing.assert_close(
        encoder.pooled(batch, lengths)[1], encoder.pooled(recording, lengths[1:2])[0], rtol=1e-4, atol=1e-5
    )


def test_recordings_of_like_length_are_heard_together_and_come_back_in_order() -> None:
    heard: list[list[int]] = []

    def encode(audio: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        heard.append([audio.shape[2], *frames.tolist()])
        return audio.transpose(1, 2), frames

    audio, frames = noise(5, 2, 40), torch.tensor([5, 40, 0, 33, 6])
    features, lengths = by_length(encode, audio, frames)
    assert heard == [[40, 40, 33], [6, 5, 6], [1, 0]]
    assert lengths.tolist() == frames.tolist()
    for row, length in enumerate(frames.tolist()):
        assert torch.equal(features[row, :length], audio[row, :, :length].T)
    assert not features[0, 6:].any()
    heard.clear()
    assert by_length(encode, audio[:, :, :7], frames.clamp(4, 7))[0].shape == (5, 7, 2)
    assert heard == [[7, 5, 7, 4, 7, 6]]


@pytest.mark.parametrize("frames", [1, 6, 13, 21, 37])
@pytest.mark.parametrize("name", [name for name in SPEECH if name.startswith("whisper")])
def test_whisper_hears_the_silence_of_its_window_the_same_whether_given_or_not(name: str, frames: int) -> None:
    config = SPEECH[name]
    encoder = hear(config)
    recording = noise(1, 5, frames)
    lengths = torch.tensor([frames])
    alone, places = encoder(recording, lengths)
    for width in (frames + 1, 40):
        filled = torch.full((1, 5, width), recording.amin().item())
        filled[..., :frames] = recording
        features, same = encoder(filled, lengths)
        real = int(places)
        assert same.tolist() == places.tolist() == [config.n_features(frames)]
        torch.testing.assert_close(features[0, :real], alone[0, :real], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SPEECH)
def test_a_recording_that_does_not_fit_is_refused(name: str) -> None:
    encoder = hear(SPEECH[name])
    with pytest.raises(RequestError, match=r"reads \(n, 5, frames\)"):
        encoder(noise(1, 6, 8), torch.tensor([8]))
    with pytest.raises(RequestError, match="41 frames exceed the encoder's 40"):
        encoder(noise(1, 5, 41), torch.tensor([41]))


def test_frozen_batch_norm_neither_measures_nor_changes() -> None:
    norm = BatchNorm(3).train()
    x = 2 + noise(4, 3, 5, 5)
    assert norm(x).mean().abs() < 1e-5
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean((0, 2, 3)))
    before = norm.running_mean.clone()
    norm.requires_grad_(False)
    torch.testing.assert_close(norm(x), norm.eval()(x))
    assert torch.equal(norm.running_mean, before)


def test_batch_norm_of_a_single_value_per_channel_goes_by_what_was_measured() -> None:
    norm = BatchNorm(3).train()
    torch.testing.assert_close(norm(torch.ones(1, 3, 1, 1)), torch.ones(1, 3, 1, 1))


@pytest.mark.parametrize("name", VISION)
def test_eyes_learn_to_tell_left_from_right(name: str) -> None:
    config = VISION[name]
    half = config.image_size // 2
    pictures = torch.full((16, 3, config.image_size, config.image_size), -1.0) + 0.1 * noise(
        16, 3, config.image_size, config.image_size
    )
    sides = torch.arange(16) % 2
    pictures[sides == 0, :, :, :half] += 2
    pictures[sides == 1, :, :, half:] += 2
    encoder = see(config).train()
    head = nn.Linear(config.dim * config.n_features, 2)
    nn.init.zeros_(head.weight)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(12):
        loss = nn.functional.cross_entropy(head(encoder(pictures).flatten(1)), sides)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3
    assert all(weight.grad is not None for key, weight in encoder.named_parameters() if "pool" not in key)


@pytest.mark.parametrize("name", [name for name in SPEECH if name != "frames"])
def test_every_weight_of_the_ears_learns(name: str) -> None:
    encoder = hear(SPEECH[name]).train()
    features, _ = encoder(noise(2, 5, 24), torch.tensor([24, 17]))
    (features * noise(*features.shape, seed=2)).sum().backward()
    for key, weight in encoder.named_parameters():
        assert weight.grad is not None, key
        assert weight.grad.abs().sum() > 0, key
