"""Encoders by their settings: what looks and what listens."""

from __future__ import annotations

from typing import TypeAlias

from sensorium.config import (
    ConvSpeechConfig,
    PatchesConfig,
    RecurrentSpeechConfig,
    SpeechEncoderConfig,
    VisionEncoderConfig,
    ViTConfig,
    WhisperConfig,
)
from sensorium.nn.patches import Patches
from sensorium.nn.resnet import ResNet
from sensorium.nn.speech import ConvSpeech, Frames, RecurrentSpeech
from sensorium.nn.vit import ViT
from sensorium.nn.whisper import Whisper

# Each maps pixels (n, 3, height, width) to features (n, n_features, dim), and by `pooled` to vectors (n, dim).
VisionEncoder: TypeAlias = ViT | ResNet | Patches
# Each maps log-mel (n, mels, frames) and real frames (n,) to features (n, places, dim) and real places (n,), and by
# `pooled` to vectors (n, dim).
SpeechEncoder: TypeAlias = Whisper | ConvSpeech | RecurrentSpeech | Frames


def make_vision_encoder(config: VisionEncoderConfig) -> VisionEncoder:
    """The encoder of pictures that these settings describe."""
    if isinstance(config, ViTConfig):
        return ViT(config)
    return Patches(config) if isinstance(config, PatchesConfig) else ResNet(config)


def make_speech_encoder(config: SpeechEncoderConfig) -> SpeechEncoder:
    """The encoder of recordings that these settings describe."""
    if isinstance(config, WhisperConfig):
        return Whisper(config)
    if isinstance(config, ConvSpeechConfig):
        return ConvSpeech(config)
    return RecurrentSpeech(config) if isinstance(config, RecurrentSpeechConfig) else Frames(config)
