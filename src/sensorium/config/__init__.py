"""Typed, frozen, validated settings, saved beside the weights they describe."""

from sensorium.config.augment import AugmentConfig
from sensorium.config.base import Config, Layers, Positive, Probability, Size, nearest, read_json
from sensorium.config.encoders import (
    ConvSpeechConfig,
    EmbedderConfig,
    FramesConfig,
    FusionConfig,
    PatchesConfig,
    ProjectorConfig,
    RecurrentSpeechConfig,
    ResNetConfig,
    SpeechConfig,
    SpeechEncoderConfig,
    VisionConfig,
    VisionEncoderConfig,
    ViTConfig,
    WhisperConfig,
)
from sensorium.config.media import AudioConfig, ImageConfig, PlaceholderConfig
from sensorium.config.model import ModelConfig
from sensorium.config.sampling import SamplingConfig
from sensorium.config.transformer import Activation, RopeScaling, TransformerConfig

__all__ = [
    "Activation",
    "AudioConfig",
    "AugmentConfig",
    "Config",
    "ConvSpeechConfig",
    "EmbedderConfig",
    "FramesConfig",
    "FusionConfig",
    "ImageConfig",
    "Layers",
    "ModelConfig",
    "PatchesConfig",
    "PlaceholderConfig",
    "Positive",
    "Probability",
    "ProjectorConfig",
    "RecurrentSpeechConfig",
    "ResNetConfig",
    "RopeScaling",
    "SamplingConfig",
    "Size",
    "SpeechConfig",
    "SpeechEncoderConfig",
    "TransformerConfig",
    "ViTConfig",
    "VisionConfig",
    "VisionEncoderConfig",
    "WhisperConfig",
    "nearest",
    "read_json",
]
