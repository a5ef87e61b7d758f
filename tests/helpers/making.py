"""Small models that see, hear, draw and speak, with all their weights random, and what they are asked."""

from __future__ import annotations

import io
import json
from functools import lru_cache
from typing import Any

import numpy as np
import PIL.Image
import torch
from media_parts import hearing, seeing
from torch import nn

from sensorium.api import Model
from sensorium.config import (
    FusionConfig,
    ImageCodecConfig,
    ModelConfig,
    SamplingConfig,
    SpeechCodecConfig,
    TransformerConfig,
)
from sensorium.hub.pretrained import Pretrained, coding
from sensorium.inference.engine import Engine
from sensorium.messages import Image
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer

TEXT = "The cat sat on the mat. 猫坐在垫子上。 Draw a red ball, then say it aloud! 画一个球。 Once upon a time, a bird."
IMAGE_CODEC: dict[str, Any] = {
    "size": (8, 12),
    "dims": (8, 16),
    "encoder_depths": (0, 1),
    "decoder_depths": (1, 1),
    "levels": (4, 3),
    "embed_places": True,
}  # 2 rows of 3 codes
SPEECH_CODEC: dict[str, Any] = {
    "sample_rate": 4_000,
    "hop": 40,
    "n_fft": 160,
    "n_mels": 12,
    "frames_per_code": 2,
    "encoder_dim": 8,
    "encoder_layers": 1,
    "dim": 16,
    "code_layers": 1,
    "frame_layers": 2,
    "levels": (3, 4),
    "voice_dim": 4,
    "voices": ("anna", "bob"),
}  # 80 samples to a code
MAKING: dict[str, Any] = json.loads(
    json.dumps({"image_codec": IMAGE_CODEC, "speech_codec": SPEECH_CODEC})
)  # in recipes
N_CODES, SAMPLES_PER_CODE = 6, 80


@lru_cache(1)
def tokenizer() -> Tokenizer:
    """One for all: words of English and Chinese, and the controls."""
    return Tokenizer.train([TEXT] * 4, 360)


@torch.no_grad()
def shaken(part: nn.Module, scale: float = 0.3, seed: int = 5) -> nn.Module:
    """The same part in eval mode, every weight of it moved by chance, so that none is zero."""
    generator = torch.Generator().manual_seed(seed)
    for weight in part.parameters():
        weight += scale * torch.randn(weight.shape, generator=generator)
    return part.eval()


def make_config(
    *, eyes: bool = True, ears: bool = True, draws: bool = True, voices: Any = ("anna", "bob"), fusion: str = "feature"
) -> ModelConfig:
    """Settings of a model with these parts; without `voices` (None) it does not speak."""
    words, taken = tokenizer().vocab_size, tokenizer().vocab_size
    parts: dict[str, Any] = {}
    if draws:
        parts["image_codec"] = ImageCodecConfig(first_id=taken, **IMAGE_CODEC)
        taken += parts["image_codec"].codebook_size
    if voices is not None:
        parts["speech_codec"] = SpeechCodecConfig(first_id=taken, **{**SPEECH_CODEC, "voices": voices})
        taken += parts["speech_codec"].codebook_size
    decoder = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_positions": 512}
    return ModelConfig(
        decoder=TransformerConfig(vocab_size=taken + words % 2, **decoder),
        vision=seeing() if eyes else None,
        speech=hearing() if ears else None,
        fusion=FusionConfig.parse({"strategy": fusion}, "fusion"),
        **parts,
    )


def make_model(**parts: Any) -> Model:
    """A model of `make_config`, far from sure of anything."""
    omni = Omni(make_config(**parts))
    omni.reset_parameters(1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in omni.decoder.named_parameters():
            if weight.dim() == 2:
                scale = 0.35 if "embeddings" in name else 1.5 * weight.shape[1] ** -0.5
                weight.copy_(torch.randn(weight.shape, generator=generator) * scale)
    for codec in (omni.image_codec, omni.speech_codec):
        if codec is not None:
            shaken(codec, 0.1)
    omni.eval()
    processor = coding(Processor(tokenizer()), omni)
    model = Model(Pretrained(omni.config, omni, processor, SamplingConfig(seed=3), name="maker"), threads=1)
    model._engine = Engine(omni, processor, threads=1, compile=False)  # nothing compiles while tests run
    return model


def scribble(seed: int = 0, size: tuple[int, int] = (12, 8)) -> Image:
    """A picture of width × height, smooth and of many colours."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(levels).resize(size, PIL.Image.Resampling.BILINEAR).save(stream, "PNG")
    return Image(data=stream.getvalue())


def retouched(picture: Image, row: int, column: int, by: int) -> Image:
    """The same picture, one square of 4 × 4 pixels brighter or darker."""
    assert picture.data is not None
    pixels = np.asarray(PIL.Image.open(io.BytesIO(picture.data))).astype(int)
    square = pixels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
    square[1, 2] = np.clip(square[1, 2] + by, 0, 255)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return Image(data=stream.getvalue())
