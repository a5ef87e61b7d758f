"""Pictures and speech that a model itself writes: as tokens of its vocabulary, and back as files that anyone opens."""

from __future__ import annotations

import copy
import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.codecs.kinds import AnyImageCodec, AnySpeechCodec
from sensorium.codecs.mimi import Mimi
from sensorium.config import AugmentConfig, ModelConfig
from sensorium.errors import ConfigError, RequestError
from sensorium.messages import Audio, Image
from sensorium.processing.raw import RawMedia

Ids: TypeAlias = npt.NDArray[np.int32]
Samples: TypeAlias = npt.NDArray[np.float32]
C = TypeVar("C", bound=nn.Module)
_CHANGED = 0.1  # how far a pixel, within -1..1, moves before its code is another


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture that another one goes by: its codes as tokens, and its pixels, (3, height, width) within -1..1."""

    ids: tuple[int, ...]
    pixels: Tensor


class Codecs:
    """The codecs of a model, on the CPU, as its processor uses them.

    Args:
        config: the model's.
        image: its image codec, if it has one.
        speech: its speech codec, if it has one.
    """

    def __init__(self, config: ModelConfig, image: AnyImageCodec | None, speech: AnySpeechCodec | None) -> None:
        self.config = config
        self.image: AnyImageCodec | None = None if image is None else _on_cpu(image)
        self.speech: AnySpeechCodec | None = None if speech is None else _on_cpu(speech)
        self._media = RawMedia(config)

    def augmented(self, settings: AugmentConfig, generator: np.random.Generator) -> Self:
        """The same, but every picture and recording is varied by chance before it is encoded."""
        varied = copy.copy(self)
        varied._media = self._media.augmented(settings, generator)
        return varied

    def __reduce__(self) -> tuple[type[Codecs], tuple[object, ...]]:
        return Codecs, (self.config, self.image, self.speech)

    def picture_ids(self, part: Image, *, of: Shown | None = None) -> Ids:
        """A picture as tokens, row by row: (n_codes,).

        Args:
            part: the picture.
            of: the one that it is a change of: its codes stay where all pixels do, but for a twentieth of their range.

        Raises:
            RequestError: the model has no image codec.
            DataError: the picture cannot be read, or is beyond its limits.
        """
        ids, pixels = self._read(part)
        if of is None:
            return ids
        unlike = (pixels - of.pixels).abs().amax(0)[None, None]
        changed = F.adaptive_max_pool2d(unlike, self._image()[0].config.grid).flatten().numpy() > _CHANGED
        chosen: Ids = np.where(changed, ids, np.asarray(of.ids, dtype=ids.dtype))
        return chosen

    def shown(self, part: Image) -> Shown:
        """A picture that another one may go by. Raises as `picture_ids`."""
        ids, pixels = self._read(part)
        return Shown(tuple(ids.tolist()), pixels)

    @torch.inference_mode()
    def speech_ids(self, part: Audio) -> Ids:
        """A recording as tokens: (n,).

        Raises:
            RequestError: the model has no speech codec.
            DataError: the recording cannot be read, or is beyond its limits.
        """
        codec, first = self._speech()
        return _ids(codec.encode(torch.from_numpy(self._media.samples(part))[None])[0], first)

    def picture(self, ids: Sequence[int], *, of: Shown | None = None) -> bytes:
        """The PNG file of the tokens of a whole picture; arguments and errors are those of `pixels`."""
        return png_bytes(self.pixels(ids, of=of))

    @torch.inference_mode()
    def pixels(self, ids: Sequence[int], *, of: Shown | None = None) -> Tensor:
        """The tokens of a whole picture as pixels, (3, height, width) within -1..1.

        Args:
            ids: (n_codes,) tokens.
            of: the picture that this one is a change of: its pixels stay where codes are as they were.

        Raises:
            RequestError: the model has no image codec, or these are not the codes of one whole picture.
        """
        codec, first = self._image()
        n_codes = codec.config.n_codes
        if len(ids) != n_codes:
            raise RequestError(f"a picture has {n_codes} codes, and here are {len(ids)}")
        codes = torch.tensor(ids, dtype=torch.int64).view(1, *codec.config.grid) - first
        drawn = codec.decode(codes)
        if of is not None:
            drawn = _changed(drawn, of.pixels[None], codes != torch.tensor(of.ids).view(codes.shape) - first)
        return drawn[0]

    @torch.inference_mode()
    def voice(self, given: str | Audio | None = None) -> Tensor:
        """Somebody's voice, (voice_dim,): by name, out of a recording, or the model's own.

        Raises:
            RequestError: the model has no speech codec, one whose codes say who speaks, or no voice of that name; the
                recording is silent, or shorter than a quarter of a second.
            DataError: the recording cannot be read.
        """
        codec, _ = self._speech()
        if isinstance(codec, Mimi):
            raise RequestError("this model's speech codec takes no voice: its codes say who speaks (leave voice out)")
        if not isinstance(given, Audio):
            return codec.voice_named(given)
        samples = torch.from_numpy(self._media.samples(given))
        if len(samples) < codec.config.sample_rate // 4 or not float(samples.abs().max()) > 1e-4:
            raise RequestError("the recording of the voice is silent, or shorter than a quarter of a second")
        return codec.voice_of(samples[None])[0]

    @torch.inference_mode()
    def _read(self, part: Image) -> tuple[Ids, Tensor]:
        codec, first = self._image()
        pixels = torch.from_numpy(np.ascontiguousarray(self._media.pixels(part)))
        return _ids(codec.encode(pixels[None]).flatten(), first), pixels

    def _image(self) -> tuple[AnyImageCodec, int]:
        if self.image is None:
            raise RequestError("this model cannot draw: it has no image codec")
        return self.image, self.image.config.first_id

    def _speech(self) -> tuple[AnySpeechCodec, int]:
        if self.speech is None:
            raise RequestError("this model cannot speak: it has no speech codec")
        return self.speech, self.speech.config.first_id


def check_codes(config: ModelConfig, n_words: int) -> None:
    """Raise `ConfigError` when codes of a model are tokens of its tokenizer, too."""
    for name, codec in config.codecs().items():
        if codec.first_id < n_words:
            raise ConfigError(
                f"{name}: its codes begin at token {codec.first_id}, but the tokenizer has {n_words} tokens of its own"
            )


def png_bytes(pixels: Tensor) -> bytes:
    """The PNG file of pixels (3, height, width) within -1..1."""
    levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous()
    buffer = io.BytesIO()
    PIL.Image.fromarray(levels.numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def pcm16(samples: Samples) -> bytes:
    """Samples within -1..1 as 16-bit little-endian mono PCM."""
    return np.round(np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()


def wav_bytes(pcm: bytes, sample_rate: int) -> bytes:
    """The WAV file of 16-bit mono PCM."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm)
    return buffer.getvalue()


def _changed(drawn: Tensor, before: Tensor, changed: Tensor) -> Tensor:
    """What is drawn where codes changed, and what was there before elsewhere, which fade over one code's breadth.

    Pixels (1, 3, height, width) twice and which codes changed, (1, rows, columns) → pixels.
    """
    near = F.max_pool2d(changed[:, None].float(), 3, stride=1, padding=1)
    share = F.interpolate(near, drawn.shape[2:], mode="bilinear")
    return before + share * (drawn - before)


def _ids(codes: Tensor, first: int) -> Ids:
    ids: Ids = (codes + first).numpy().astype(np.int32)
    return ids


def _on_cpu(codec: C) -> C:
    """The codec itself where it computes on the CPU in float32, else a copy that does."""
    weight = next(codec.parameters())
    if weight.device.type == "cpu" and weight.dtype == torch.float32:
        return codec
    return copy.deepcopy(codec).to("cpu", torch.float32).eval()
