"""What codecs learn by: giving back what they were given, and an adversary that tells the two apart."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.codecs import losses
from sensorium.codecs.adversary import (
    SHORTEST,
    PatchAdversary,
    SpectrumAdversary,
    draw_adversary,
    opposed,
)
from sensorium.codecs.image import ImageCodec
from sensorium.codecs.spectra import whisper_log_mel
from sensorium.codecs.speech import SpeechCodec
from sensorium.config import MimiConfig
from sensorium.data.raw import RawBatch, RawStream
from sensorium.data.spec import DatasetSpec
from sensorium.errors import ConfigError
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.raw import RawMedia
from sensorium.train.distributed import summed
from sensorium.train.optim import unfrozen
from sensorium.train.recipe import Stage
from sensorium.train.seeds import derive

_SQUARES, _EDGES, _STRUCTURE = 4.0, 0.5, 0.2  # weights of the losses beside that of pixels
_SMALLEST = 8  # pixels of a side that the adversary and SSIM can compare
_RECORDINGS = 16  # by which a voice is known


class _CodecObjective:
    """What both codecs share: their batches, and the game with the adversary, where the stage has one.

    The codec and its adversary take their steps together, on one batch: neither's loss moves the other.
    """

    gathers = False
    kind: str

    def __init__(self, stage: Stage, adversary: Callable[[], nn.Module]) -> None:
        self._stage = stage
        self.adversary: nn.Module | None = None
        if stage.adversary:
            self.adversary = adversary()
            draw_adversary(self.adversary, torch.Generator().manual_seed(derive(0, "adversary", stage.name)))

    def conclude(self, model: Omni) -> None:
        """Nothing is left to do."""

    def count(self, batch: RawBatch) -> int:
        """Pictures or recordings."""
        return len(batch.values)

    def n_bytes(self, batch: RawBatch) -> int:  # noqa: ARG002 (the protocol's)
        """None: nothing is written."""
        return 0

    def _opposed(self, codec: ImageCodec | SpeechCodec, wanted: Tensor, made: Tensor, true: Tensor) -> Tensor:
        """The loss of reconstruction (n,), with that of the game in training: a scalar."""
        adversary, last = self.adversary, codec.last_weight
        if adversary is None or not torch.is_grad_enabled():
            return wanted.sum()
        return opposed(adversary, self._stage.adversary, wanted, made, true, last, summed=summed)


class ImageCodecObjective(_CodecObjective):
    """Pictures through their codes and back: pixels, edges and structure (SSIM) are to be the same.

    With `stage.perception`, so is what the model's own eyes, which must be frozen, make of them.
    """

    def __init__(self, stage: Stage, processor: Processor, model: Omni) -> None:  # noqa: ARG002 (the protocol's)
        if model.config.image_codec is None:
            raise ConfigError("objective image_codec needs a model with an image codec (set image_codec)")
        if not isinstance(model.image_codec, ImageCodec):
            raise ConfigError(f"objective image_codec trains codecs of ours, not {model.config.image_codec.kind!r}")
        if min(model.config.image_codec.size) < _SMALLEST:
            raise ConfigError(
                f"objective image_codec compares pictures of {_SMALLEST} pixels a side or more, not "
                f"{model.config.image_codec.size} (set image_codec.size)"
            )
        if stage.perception:
            _check_sense(model.vision, model, stage, "vision", "eyes")
        super().__init__(stage, PatchAdversary)
        self._media, self._workers = RawMedia(model.config), stage.workers

    def stream(self, specs: Many[DatasetSpec], *, rows: int, seed: int, repeat: bool) -> RawStream:
        """Pictures."""
        workers = self._workers if repeat else 0
        return RawStream(specs, self._media, "image", rows=rows, seed=seed, repeat=repeat, workers=workers)

    def prepare(self, batch: RawBatch, seed: int) -> RawBatch:  # noqa: ARG002 (nothing is left to chance)
        """The batch as it is."""
        return batch

    def loss(self, model: Omni, batch: RawBatch) -> Tensor:
        """Summed over pictures."""
        codec = model.image_codec
        assert isinstance(codec, ImageCodec)
        drawn, _ = codec(batch.values)
        with torch.autocast(drawn.device.type, enabled=False):
            drawn, true = drawn.float(), batch.values
            wanted = losses.pixel_distance(drawn, true) + _SQUARES * (drawn - true).square().mean((1, 2, 3))
            wanted = wanted + _EDGES * losses.gradient_distance(drawn, true)
            wanted = wanted + _STRUCTURE * (1 - losses.structural_similarity(drawn, true, stride=4))
            if self._stage.perception:
                wanted = wanted + self._stage.perception * _seen_apart(model, drawn, true)
            return self._opposed(codec, wanted, drawn, true)

    def flops(self, model: Omni, batch: RawBatch) -> float:
        """Six per weight and code, though convolutions run at more places than there are codes."""
        codec = model.image_codec
        assert isinstance(codec, ImageCodec)
        flops = 6.0 * _weights(codec) * codec.config.n_codes
        if self._stage.perception and model.vision is not None and model.config.vision is not None:
            flops += 6.0 * _weights(model.vision.encoder) * model.config.vision.encoder.n_features
        return flops * len(batch.values)


class SpeechCodecObjective(_CodecObjective):
    """Recordings through their codes and back, cut to `time` codes; another stretch of the same tells who speaks.

    With `stage.perception`, what the model's own ears, which must be frozen, hear in both is to be the same, too.
    """

    def __init__(self, stage: Stage, processor: Processor, model: Omni) -> None:  # noqa: ARG002 (the protocol's)
        codec = model.config.speech_codec
        if codec is None:
            raise ConfigError("objective speech_codec needs a model with a speech codec (set speech_codec)")
        if isinstance(codec, MimiConfig):
            raise ConfigError(f"objective speech_codec trains codecs of ours, not {codec.kind!r}")
        for name in stage.voices:
            if name not in codec.voices:
                raise ConfigError(f"stage {stage.name!r}: voice {name!r} is none of speech_codec.voices")
        super().__init__(stage, SpectrumAdversary)
        self._media, self._workers = RawMedia(model.config), stage.workers
        self._rate, self._length = codec.sample_rate, stage.time * codec.samples_per_code
        if stage.perception:
            _check_sense(model.speech, model, stage, "speech", "ears")
            self._check_ears(model)
        if stage.adversary and self._length < SHORTEST:
            raise ConfigError(
                f"stage {stage.name!r}: time = {stage.time} are {self._length} samples, and an adversary needs "
                f"{SHORTEST} (raise time)"
            )

    def stream(self, specs: Many[DatasetSpec], *, rows: int, seed: int, repeat: bool) -> RawStream:
        """Recordings, whole."""
        workers = self._workers if repeat else 0
        return RawStream(specs, self._media, "audio", rows=rows, seed=seed, repeat=repeat, workers=workers)

    def prepare(self, batch: RawBatch, seed: int) -> RawBatch:
        """Two stretches of each recording, drawn apart: one to give back, and one to know the voice by."""
        generator = torch.Generator().manual_seed(seed)
        return replace(batch, values=self._cut(batch, generator), references=self._cut(batch, generator))

    def loss(self, model: Omni, batch: RawBatch) -> Tensor:
        """Summed over recordings."""
        codec = model.speech_codec
        assert isinstance(codec, SpeechCodec)
        spoken, _ = codec(batch.values, batch.references)
        with torch.autocast(spoken.device.type, enabled=False):
            spoken = spoken.float()
            wanted = losses.spectral_distance(spoken, batch.values, self._rate)
            if self._stage.perception:
                wanted = wanted + self._stage.perception * _heard_apart(model, spoken, batch.values)
            return self._opposed(codec, wanted, spoken, batch.values)

    @torch.inference_mode()
    def conclude(self, model: Omni) -> None:
        """Know the named voices: each is the mean of what is heard of a few of its recordings."""
        codec = model.speech_codec
        assert isinstance(codec, SpeechCodec)
        for name, spec in self._stage.voices.items():
            stream = RawStream([spec], self._media, "audio", rows=_RECORDINGS, repeat=False, prefetch=0)
            batch = next(stream)
            heard = [
                codec.voice_of(row[None, :length].to(model.device))
                for row, length in zip(batch.values, batch.lengths.tolist(), strict=True)
            ]
            voice = F.normalize(torch.cat(heard).mean(0), dim=0)
            codec.voice_named(name).copy_(voice)

    def flops(self, model: Omni, batch: RawBatch) -> float:
        """Six per weight and frame, and those of the ears, per weight and feature."""
        codec = model.speech_codec
        assert isinstance(codec, SpeechCodec)
        flops = 6.0 * _weights(codec) * batch.values.numel() / codec.config.hop
        if self._stage.perception and model.speech is not None and model.config.speech is not None:
            ears = model.config.speech
            heard = ears.encoder.n_features(self._length // ears.audio.hop)
            flops += 6.0 * _weights(model.speech.encoder) * heard * len(batch.values)
        return flops

    def _check_ears(self, model: Omni) -> None:
        """Raise `ConfigError` unless the model's ears can hear the stretches that the codec learns from."""
        assert model.config.speech is not None
        audio, longest = model.config.speech.audio, model.config.speech.encoder.max_frames
        if audio.sample_rate != self._rate:
            raise ConfigError(
                f"perception needs ears that hear at the codec's {self._rate} samples a second, not "
                f"{audio.sample_rate} (set perception: 0)"
            )
        if not audio.n_fft // 2 < self._length < (longest + 1) * audio.hop:
            raise ConfigError(
                f"stage {self._stage.name!r}: time = {self._stage.time} are {self._length} samples, and its ears hear "
                f"more than {audio.n_fft // 2} and less than {(longest + 1) * audio.hop} (change time)"
            )

    def _cut(self, batch: RawBatch, generator: torch.Generator) -> Tensor:
        """(rows, length): a stretch of each recording from anywhere in it; a shorter one is followed by silence."""
        free = (batch.lengths - self._length).clamp_min(0)
        starts = (torch.rand(len(free), generator=generator) * (free + 1)).long()
        missing = max(0, int((starts + self._length).max()) - batch.values.shape[1])
        values = F.pad(batch.values, (0, missing))
        return torch.stack([row[start : start + self._length] for row, start in zip(values, starts, strict=True)])


def _check_sense(sense: nn.Module | None, model: Omni, stage: Stage, name: str, called: str) -> None:
    if sense is None:
        raise ConfigError(f"perception needs a model with {called} (set {name}, or perception: 0)")
    moving = unfrozen(dict(model.named_parameters()), stage.freeze)
    if any(weight.startswith(f"{name}.encoder.") for weight in moving):
        raise ConfigError(f'perception goes by {called} that stay as they are (freeze "{name}.*")')


def _seen_apart(model: Omni, drawn: Tensor, true: Tensor) -> Tensor:
    """How far apart pictures are to the model's eyes: pixels (n, 3, height, width) twice → (n,)."""
    assert model.vision is not None
    assert model.config.vision is not None
    image, side, eyes = model.config.vision.image, model.config.vision.encoder.image_size, model.vision.encoder
    mean, std = (drawn.new_tensor(each).view(3, 1, 1) for each in (image.mean, image.std))

    def seen(pixels: Tensor) -> Tensor:
        if pixels.shape[2:] != (side, side):
            pixels = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
        features: Tensor = eyes((pixels / 2 + 0.5 - mean) / std)
        return features

    return _perceptual_distance(eyes, seen, drawn, true)


def _heard_apart(model: Omni, spoken: Tensor, true: Tensor) -> Tensor:
    """How far apart sounds are to the model's ears: samples (n, time) at the codec's rate twice → (n,)."""
    assert model.speech is not None
    assert model.config.speech is not None
    audio, ears = model.config.speech.audio, model.speech.encoder

    def heard(samples: Tensor) -> Tensor:
        mels = whisper_log_mel(samples, audio.sample_rate, audio.n_fft, audio.hop, audio.n_mels)
        features: Tensor = ears(mels, torch.full((len(mels),), mels.shape[2], device=mels.device))[0]
        return features

    return _perceptual_distance(ears, heard, spoken, true)


def _perceptual_distance(sense: nn.Module, perceived: Callable[[Tensor], Tensor], made: Tensor, true: Tensor) -> Tensor:
    """How far apart the features are that a sense, without chance, perceives of both: (n,)."""
    learns = sense.training
    sense.eval()  # no chance is to come between the two
    try:
        with torch.no_grad():
            wanted = perceived(true)
        return losses.feature_distance(perceived(made), wanted)
    finally:
        sense.train(learns)


def _weights(codec: nn.Module) -> int:
    return sum(weight.numel() for weight in codec.parameters())
