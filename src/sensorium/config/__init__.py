"""Typed, frozen, validated settings, saved beside the weights they describe."""

from sensorium.config.augment import AugmentConfig
from sensorium.config.base import Config, Layers, Positive, Probability, Size, nearest, read_json
from sensorium.config.codecs import (
    AnyImageCodecConfig,
    AnySpeechCodecConfig,
    CodeRange,
    ImageCodecConfig,
    ImageCodes,
    JanusVQConfig,
    MimiConfig,
    SpeechCodecConfig,
    SpeechCodes,
)
from sensorium.config.fusion import EmbedderConfig, FusionConfig
from sensorium.config.media import AudioConfig, ImageConfig, PlaceholderConfig
from sensorium.config.model import ModelConfig
from sensorium.config.painter import PainterConfig
from sensorium.config.projector import ProjectorConfig
from sensorium.config.sampling import SamplingConfig
from sensorium.config.speech import (
    ConvSpeechConfig,
    FramesConfig,
    RecurrentSpeechConfig,
    SpeechConfig,
    SpeechEncoderConfig,
    WhisperConfig,
)
from sensorium.config.transformer import Activation, RopeScaling, TransformerConfig
from sensorium.config.vision import PatchesConfig, ResNetConfig, VisionConfig, VisionEncoderConfig, ViTConfig

__all__ = [
    "Activation",
    "AnyImageCodecConfig",
    "AnySpeechCodecConfig",
    "AudioConfig",
    "AugmentConfig",
    "CodeRange",
    "Config",
    "ConvSpeechConfig",
    "EmbedderConfig",
    "FramesConfig",
    "FusionConfig",
    "ImageCodecConfig",
    "ImageCodes",
    "ImageConfig",
    "JanusVQConfig",
    "Layers",
    "MimiConfig",
    "ModelConfig",
    "PainterConfig",
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
    "SpeechCodecConfig",
    "SpeechCodes",
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
