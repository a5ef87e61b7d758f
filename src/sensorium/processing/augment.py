"""Varied examples for training: each function draws from its generator only what its settings switch on."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageEnhance
import soxr

from sensorium.config import AugmentConfig

Samples: TypeAlias = npt.NDArray[np.float32]
Values: TypeAlias = npt.NDArray[np.float32]

_NOISE_SPAN = 30.0  # dB between the loudest and the softest noise
_PAUSES = 0.5  # of the recordings have pauses around them
_MOST_TIME = 0.2  # of a spectrogram's frames that one mask may hide


def augment_image(picture: PIL.Image.Image, config: AugmentConfig, rng: np.random.Generator) -> PIL.Image.Image:
    """Crop, turn, flip and recolour an RGB picture; where turning bares a corner the nearest edge is drawn out."""
    if config.crop < 1.0:
        picture = _cropped(picture, config.crop, rng)
    if config.rotation:
        picture = _turned(picture, float(rng.uniform(-config.rotation, config.rotation)))
    if config.flip and rng.random() < config.flip:
        picture = picture.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    if config.flip_rows and rng.random() < config.flip_rows:
        picture = picture.transpose(PIL.Image.Transpose.FLIP_TOP_BOTTOM)
    for strength, enhance in (
        (config.brightness, PIL.ImageEnhance.Brightness),
        (config.contrast, PIL.ImageEnhance.Contrast),
        (config.saturation, PIL.ImageEnhance.Color),
    ):
        if strength:
            picture = enhance(picture).enhance(float(rng.uniform(1.0 - strength, 1.0 + strength)))
    if config.hue:
        picture = _recoloured(picture, float(rng.uniform(-config.hue, config.hue)))
    return picture


def augment_audio(
    samples: Samples, config: AugmentConfig, rng: np.random.Generator, *, sample_rate: int, longest: int
) -> Samples:
    """Change the speed (with it pitch and length), the loudness and the background of a recording, (n,) float32.

    Pauses around it are seconds of `sample_rate` samples, and make it no longer than `longest` samples.
    """
    if config.speed and len(samples):
        samples = _faster(samples, float(rng.uniform(1.0 - config.speed, 1.0 + config.speed)))
    loudness = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
    if config.pause and len(samples) and rng.random() < _PAUSES:
        most = max(min(int(config.pause * sample_rate), (longest - len(samples)) // 2), 0)
        samples = np.pad(samples, (int(rng.integers(most + 1)), int(rng.integers(most + 1))))
    if config.noise_db is not None:
        distance = float(rng.uniform(config.noise_db, config.noise_db + _NOISE_SPAN))
        noise = rng.standard_normal(len(samples), dtype=np.float32)
        samples = samples + noise * np.float32(loudness * 10 ** (-distance / 20))
    if config.gain_db:
        samples = samples * np.float32(10 ** (float(rng.uniform(-config.gain_db, config.gain_db)) / 20))
    return samples


def augment_mel(mel: Values, config: AugmentConfig, rng: np.random.Generator) -> Values:
    """Hide bands and stretches of a spectrogram, (n_mels, frames): they become as silent as its most silent point."""
    if not config.mel_masks and not config.time_masks:
        return mel
    hidden, silence = mel.copy(), mel.min()
    n_mels, frames = mel.shape
    for _ in range(config.mel_masks):
        start, stop = _stretch(n_mels, min(config.mel_width, n_mels), rng)
        hidden[start:stop] = silence
    for _ in range(config.time_masks):
        start, stop = _stretch(frames, min(config.time_width, int(_MOST_TIME * frames)), rng)
        hidden[:, start:stop] = silence
    return hidden


def _stretch(length: int, widest: int, rng: np.random.Generator) -> tuple[int, int]:
    width = int(rng.integers(widest + 1))
    start = int(rng.integers(length - width + 1))
    return start, start + width


def _cropped(picture: PIL.Image.Image, least: float, rng: np.random.Generator) -> PIL.Image.Image:
    """A part with the picture's aspect, of at least a share of its area."""
    side = float(np.sqrt(rng.uniform(least, 1.0)))
    width, height = max(round(picture.width * side), 1), max(round(picture.height * side), 1)
    left, top = int(rng.integers(picture.width - width + 1)), int(rng.integers(picture.height - height + 1))
    return picture.crop((left, top, left + width, top + height))


def _turned(picture: PIL.Image.Image, degrees: float) -> PIL.Image.Image:
    width, height = picture.size
    across = math.ceil(math.hypot(width, height))
    left, top = (across - width) // 2 + 1, (across - height) // 2 + 1
    wide = np.pad(np.asarray(picture), ((top, top), (left, left), (0, 0)), mode="edge")
    turned = PIL.Image.fromarray(wide).rotate(degrees, PIL.Image.Resampling.BICUBIC)
    return turned.crop((left, top, left + width, top + height))


def _recoloured(picture: PIL.Image.Image, turn: float) -> PIL.Image.Image:
    hue, saturation, value = picture.convert("HSV").split()
    shift = round(256 * turn) % 256
    hue = hue.point([(level + shift) % 256 for level in range(256)])
    return PIL.Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def _faster(samples: Samples, speed: float) -> Samples:
    """Resample as though the recording ran `speed` times as fast."""
    if len(samples) < 2:
        return samples
    faster: Samples = soxr.resample(samples, speed, 1.0)
    return faster if len(faster) else samples[:1]
