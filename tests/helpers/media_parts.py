"""Small pictures, recordings and models with eyes and ears."""

import io

import numpy as np
import PIL.Image
import soundfile

from sensorium.config import (
    AudioConfig,
    ConvSpeechConfig,
    ImageConfig,
    ModelConfig,
    PlaceholderConfig,
    ProjectorConfig,
    SpeechConfig,
    TransformerConfig,
    VisionConfig,
    ViTConfig,
)
from sensorium.messages import Audio, Image

IMAGE, AUDIO = "<|image|>", "<|audio|>"
DECODER = TransformerConfig(vocab_size=600, dim=16, n_layers=1, n_heads=2, hidden_dim=16, max_positions=512)
PATCHES = ViTConfig(image_size=16, patch_size=8, dim=8, n_layers=1, n_heads=2, hidden_dim=8)
WAVES = ConvSpeechConfig(dim=8, n_layers=1, n_heads=2, hidden_dim=8, strides=(4, 4))
FRAMES_PER_PLACE = 16


def picture(colour: str = "red", size: tuple[int, int] = (16, 16)) -> Image:
    """A plain PNG of width × height."""
    stream = io.BytesIO()
    PIL.Image.new("RGB", size, colour).save(stream, "PNG")
    return Image(data=stream.getvalue())


def tone(seconds: float = 0.5, hertz: float = 440.0) -> Audio:
    """A sine at 16 kHz as WAV."""
    stream = io.BytesIO()
    time = np.arange(int(seconds * 16_000)) / 16_000
    soundfile.write(stream, 0.5 * np.sin(2 * np.pi * hertz * time), 16_000, format="WAV")
    return Audio(data=stream.getvalue())


def seeing(**placeholder: str) -> VisionConfig:
    """Pictures of 16×16, four places each."""
    image = ImageConfig(size=(16, 16), resize="tiles" if placeholder.get("style") == "tiles" else "stretch")
    default = {"token": IMAGE, "begin": "<|image_begin|>", "end": "<|image_end|>"}
    return VisionConfig(
        image=image, encoder=PATCHES, placeholder=PlaceholderConfig.parse(placeholder or default, "test")
    )


def hearing(window_seconds: float = 30.0, **placeholder: str) -> SpeechConfig:
    """Recordings with a place for every 16 frames of 10 ms."""
    default = {"token": AUDIO, "begin": "<|audio_begin|>", "end": "<|audio_end|>"}
    return SpeechConfig(
        audio=AudioConfig(window_seconds=window_seconds),
        encoder=WAVES,
        projector=ProjectorConfig(kind="linear"),
        placeholder=PlaceholderConfig.parse(placeholder or default, "test"),
    )


def model_of(vision: VisionConfig | None = None, speech: SpeechConfig | None = None) -> ModelConfig:
    """Settings of a model with these parts."""
    return ModelConfig(decoder=DECODER, vision=vision, speech=speech)
