"""Each setting of a published processor is honoured, as its own code does, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import transformers

from sensorium.config import AudioConfig, ImageConfig, WhisperConfig
from sensorium.errors import ConfigError
from sensorium.hub.encoders import load_speech, load_vision
from sensorium.hub.front_ends import image_config, read_audio_config, read_image_config
from sensorium.processing.images import image_tiles

SHORT = {"shortest_edge": 20}
CROP = {"height": 16, "width": 16}
SQUARE = {"height": 16, "width": 16}

PROCESSORS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "vit": ("vit", "ViTImageProcessorPil", {"size": SQUARE}),
    "vit bicubic": ("vit", "ViTImageProcessorPil", {"size": SQUARE, "resample": 3}),
    "vit nearest": ("vit", "ViTImageProcessorPil", {"size": SQUARE, "resample": 0}),
    "vit lanczos": ("vit", "ViTImageProcessorPil", {"size": SQUARE, "resample": 1}),
    "vit box": ("vit", "ViTImageProcessorPil", {"size": SQUARE, "resample": 4}),
    "vit hamming": ("vit", "ViTImageProcessorPil", {"size": SQUARE, "resample": 5}),
    "vit levels": (
        "vit",
        "ViTImageProcessorPil",
        {"size": SQUARE, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
    ),
    "vit raw": ("vit", "ViTImageProcessorPil", {"size": SQUARE, "do_normalize": False}),
    "vit rescaled": ("vit", "ViTImageProcessorPil", {"size": SQUARE, "rescale_factor": 1 / 128}),
    "vit not square": ("vit", "ViTImageProcessorPil", {"size": {"height": 12, "width": 20}}),
    "clip": ("clip", "CLIPImageProcessorPil", {"size": SHORT, "crop_size": CROP}),
    "clip uncropped": ("clip", "CLIPImageProcessorPil", {"size": {"shortest_edge": 16}, "crop_size": CROP}),
    "clip by a number": ("clip", "CLIPImageProcessorPil", {"size": 20, "crop_size": 16}),
    "clip stretched": ("clip", "CLIPImageProcessorPil", {"size": SQUARE, "do_center_crop": False}),
    "siglip": ("siglip", "SiglipImageProcessorPil", {"size": SQUARE}),
    "convnext below 384": ("resnet", "ConvNextImageProcessorPil", {"size": {"shortest_edge": 16}}),
    "convnext crop": ("resnet", "ConvNextImageProcessorPil", {"size": {"shortest_edge": 16}, "crop_pct": 0.5}),
    "convnext from 384": ("resnet", "ConvNextImageProcessorPil", {"size": {"shortest_edge": 384}}),
}


def picture(width: int = 50, height: int = 37) -> PIL.Image.Image:
    noise = np.random.default_rng(3).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return PIL.Image.fromarray(noise).resize((width, height), PIL.Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", [(50, 37), (31, 64), (16, 16)])
@pytest.mark.parametrize("name", PROCESSORS)
def test_pictures_are_prepared_as_the_published_processor_does(
    name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    family, kind, settings = PROCESSORS[name]
    processor = getattr(transformers, kind)(**settings)
    processor.save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "preprocessor_config.json").read_text())
    config = image_config(raw, "file", family)
    theirs = processor(picture(*size), return_tensors="np")["pixel_values"][0]
    (ours,) = image_tiles(picture(*size), config).values
    level = max(1 / (255 * std) for std in config.std)  # one of 255 levels
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= level + 1e-5
    assert np.abs(ours - theirs).mean() < 0.2 * level


@pytest.mark.parametrize(
    ("family", "raw", "expected"),
    [
        (
            "resnet",
            {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875, "resample": 3},
            {"size": (224, 224), "resize": "crop", "shortest_edge": 256},
        ),
        (
            "clip",
            {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224, "do_center_crop": True},
            {"size": (224, 224), "resize": "crop", "shortest_edge": 224},
        ),
        ("vit", {"feature_extractor_type": "ViTFeatureExtractor", "size": 384}, {"size": (384, 384)}),
        ("vit", {"image_processor_type": "ViTImageProcessorFast"}, {"size": (224, 224), "resample": "bilinear"}),
        ("siglip", {}, {"size": (224, 224), "resample": "bicubic", "mean": (0.5, 0.5, 0.5)}),
        ("clip", {}, {"mean": (0.48145466, 0.4578275, 0.40821073), "resample": "bicubic"}),
        ("vit", {"image_mean": 0.25, "image_std": [0.5, 0.5, 0.5]}, {"mean": (0.25, 0.25, 0.25)}),
    ],
)
def test_old_and_short_files(family: str, raw: dict[str, Any], expected: dict[str, Any]) -> None:
    config = image_config(raw, "file", family)
    assert {key: getattr(config, key) for key in expected} == expected


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("vit", {"do_resize": False}, "do_resize = False"),
    ("vit", {"do_rescale": False}, "do_rescale = False"),
    ("vit", {"do_pad": True}, "do_pad = True"),
    ("vit", {"do_thumbnail": True}, "do_thumbnail = True"),
    ("vit", {"do_flip_channel_order": True}, "do_flip_channel_order = True"),
    ("vit", {"size_divisor": 32}, "size_divisor = 32"),
    ("vit", {"resample": 9}, "resample = 9"),
    ("vit", {"rescale_factor": 0}, "rescale_factor = 0"),
    ("vit", {"image_mean": [0.5]}, r"image_mean = \[0.5\] must be three numbers"),
    ("vit", {"image_std": [0.5, 0.5, 0]}, "std"),
    ("vit", {"size": {"longest_edge": 9}}, r"size = \{'longest_edge': 9\} is not supported"),
    ("vit", {"size": {"height": 9, "width": 9}, "do_center_crop": True, "crop_size": 7}, "crop_size"),
    ("vit", {"image_processor_type": "DonutImageProcessor"}, "image_processor_type 'DonutImageProcessor'"),
    ("clip", {"do_center_crop": False}, "without a crop"),
    ("clip", {"crop_size": {"shortest_edge": 9}}, "without a crop"),
    ("resnet", {"size": {"height": 9, "width": 9}}, "size"),
    ("resnet", {"size": 9, "crop_pct": 2}, "crop_pct = 2"),
    ("resnet", {"size": 9, "do_center_crop": True}, "do_center_crop"),
]


@pytest.mark.parametrize(("family", "raw", "message"), REFUSED)
def test_what_we_do_not_do_to_pictures_is_refused(family: str, raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as found:
        image_config(raw, "there.json", family)
    assert str(found.value).startswith("there.json: ")
    assert "\n" not in str(found.value)


EARS = WhisperConfig(n_mels=8, dim=8, n_layers=1, n_heads=2, hidden_dim=8, max_frames=200)


def listener(folder: Path, **settings: Any) -> Path:
    usual = {"feature_size": 8, "chunk_length": 2, "feature_extractor_type": "WhisperFeatureExtractor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(usual | settings))
    return folder


def test_recordings_are_prepared_as_the_file_says(tmp_path: Path) -> None:
    assert read_audio_config(tmp_path, EARS) == AudioConfig(n_mels=8, window_seconds=2.0, pad_to_window=True)
    listener(tmp_path, sampling_rate=8000, hop_length=80, n_fft=256)
    assert read_audio_config(tmp_path, EARS) == AudioConfig(
        n_mels=8, sample_rate=8000, hop=80, n_fft=256, window_seconds=2.0, pad_to_window=True
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"padding_value": 1.0}, "padding_value = 1.0 is not supported"),
        ({"dither": 0.1}, "dither = 0.1 is not supported"),
        ({"do_normalize": True}, "do_normalize = True is not supported"),
        ({"padding_side": "left"}, "padding_side = 'left' is not supported"),
        ({"feature_extractor_type": "Wav2Vec2FeatureExtractor"}, "only WhisperFeatureExtractor"),
        ({"chunk_length": 30}, "windows of 3000 frames, but the encoder reads 200"),
        ({"hop_length": 0}, "must be whole numbers above 0"),
        ({"feature_size": 80}, "recordings have 80 mels, but the encoder reads 8"),
    ],
)
def test_what_we_do_not_do_to_recordings_is_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    _whisper(listener(tmp_path, **settings))
    with pytest.raises(ConfigError, match=message):
        load_speech(tmp_path)


def test_both_processors_in_one_file_come_first(tmp_path: Path) -> None:
    own = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 0}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(own))
    assert read_image_config(tmp_path, "vit", 32).resample == "nearest"
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": own | {"resample": 4}}))
    assert read_image_config(tmp_path, "vit", 32).resample == "box"
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "CLIPProcessor"}))
    assert read_image_config(tmp_path, "vit", 32).resample == "nearest"


def test_pictures_of_another_size_than_the_encoders_are_refused(tmp_path: Path) -> None:
    assert read_image_config(tmp_path, "siglip", 48) == ImageConfig(size=(48, 48))
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(ConfigError, match="prepared as 224x224, but the encoder reads 48x48"):
        read_image_config(tmp_path, "siglip", 48)
    (tmp_path / "preprocessor_config.json").write_text("[]")
    with pytest.raises(ConfigError, match="must hold an object"):
        read_image_config(tmp_path, "siglip", 48)


def _whisper(folder: Path) -> None:
    config = transformers.WhisperConfig(
        num_mel_bins=8, d_model=8, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=8, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=8, max_source_positions=100, vocab_size=9, pad_token_id=0,
        bos_token_id=0, eos_token_id=0, decoder_start_token_id=0, begin_suppress_tokens=None,
    )  # fmt: skip
    transformers.WhisperModel(config).save_pretrained(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "model_type 'bert' does not look"),
        ({}, "model_type None does not look"),
        ({"model_type": "resnet", "layer_type": "wide"}, "block"),
        ({"model_type": "resnet", "depths": [1, 2]}, "one of each per stage"),
        ({"model_type": "resnet", "hidden_act": "quick_gelu"}, "hidden_act 'quick_gelu' is not supported in a ResNet"),
        ({"model_type": "resnet", "num_channels": 1}, "num_channels = 1"),
        ({"model_type": "vit", "image_size": [32, 16]}, r"image_size = \[32, 16\] must be a square"),
        ({"model_type": "vit", "hidden_size": 30}, "not a multiple of n_heads"),
        ({"model_type": "vit", "num_hidden_layers": "three"}, "num_hidden_layers = 'three' must be a whole number"),
        ({"model_type": "vit", "layer_norm_eps": "small"}, "norm_eps"),
        ({"model_type": "siglip", "vision_config": 7}, "vision_config must hold an object"),
    ],
)
def test_a_folder_we_cannot_look_with_is_refused_in_one_line(
    config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=message) as found:
        load_vision(tmp_path)
    assert "\n" not in str(found.value)


def test_a_folder_that_does_not_listen_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ConfigError, match="model_type 'vit' does not listen"):
        load_speech(tmp_path)
