"""Codecs by their settings: our own, and published ones in their place."""

from __future__ import annotations

from typing import TypeAlias

from sensorium.codecs.image import ImageCodec
from sensorium.codecs.janus_vq import JanusVQ
from sensorium.codecs.mimi import Mimi
from sensorium.codecs.speech import SpeechCodec
from sensorium.config import AnyImageCodecConfig, AnySpeechCodecConfig, ImageCodecConfig, SpeechCodecConfig

# Each turns pixels (n, 3, height, width) into codes (n, rows, columns) by `encode`, and back by `decode`.
AnyImageCodec: TypeAlias = ImageCodec | JanusVQ
# Each turns samples (n, time) into codes (n, codes) by `encode`, and back by `decode`, with a voice where it takes one.
AnySpeechCodec: TypeAlias = SpeechCodec | Mimi


def make_image_codec(config: AnyImageCodecConfig) -> AnyImageCodec:
    """The codec of pictures that these settings describe."""
    return ImageCodec(config) if isinstance(config, ImageCodecConfig) else JanusVQ(config)


def make_speech_codec(config: AnySpeechCodecConfig) -> AnySpeechCodec:
    """The codec of speech that these settings describe."""
    return SpeechCodec(config) if isinstance(config, SpeechCodecConfig) else Mimi(config)
