"""Pictures as plain pixels and recordings as plain samples: what codecs turn into codes."""

from __future__ import annotations

import copy
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

from sensorium.config import AudioConfig, AugmentConfig, ImageConfig, ModelConfig, SpeechCodes
from sensorium.messages import Audio, Image
from sensorium.processing.audio import load_audio
from sensorium.processing.augment import augment_audio, augment_image
from sensorium.processing.images import image_tiles, load_image

Values: TypeAlias = npt.NDArray[np.float32]


class RawMedia:
    """Reads media as a model's codecs take them, within the limits that its eyes and ears set.

    Args:
        config: the model's.
        size: (height, width) of pictures, where it is not the codec's.
    """

    def __init__(self, config: ModelConfig, size: tuple[int, int] | None = None) -> None:
        image, speech = config.image_codec, config.speech_codec
        size = size if size is not None or image is None else image.size
        self._image = _image_settings(size, config) if size is not None else ImageConfig()
        self._audio = _audio_settings(speech, config) if speech is not None else AudioConfig()
        self._chance: tuple[AugmentConfig, np.random.Generator] | None = None

    def augmented(self, settings: AugmentConfig, generator: np.random.Generator) -> Self:
        """The same, but every picture and recording is varied by chance."""
        varied = copy.copy(self)
        varied._chance = (settings, generator)
        return varied

    def pixels(self, part: Image) -> Values:
        """A picture stretched to that size: (3, height, width) float32 within -1..1.

        Raises:
            DataError: it cannot be read, or is beyond its limits.
        """
        picture = load_image(part, self._image)
        if self._chance is not None:
            picture = augment_image(picture, *self._chance)
        return image_tiles(picture, self._image).values[0]

    def samples(self, part: Audio) -> Values:
        """A recording at the codec's rate: (n,) float32.

        Raises:
            DataError: it cannot be read, or is beyond its limits.
        """
        samples = load_audio(part, self._audio)
        if self._chance is None:
            return samples
        longest = int(self._audio.max_seconds * self._audio.sample_rate)
        return augment_audio(samples, *self._chance, sample_rate=self._audio.sample_rate, longest=longest)


def _image_settings(size: tuple[int, int], config: ModelConfig) -> ImageConfig:
    limits = config.vision.image if config.vision is not None else ImageConfig()
    return ImageConfig(size=size, max_bytes=limits.max_bytes, max_pixels=limits.max_pixels)


def _audio_settings(codec: SpeechCodes, config: ModelConfig) -> AudioConfig:
    limits = config.speech.audio if config.speech is not None else AudioConfig()
    return AudioConfig(sample_rate=codec.sample_rate, max_seconds=limits.max_seconds, max_bytes=limits.max_bytes)
