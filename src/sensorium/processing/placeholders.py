"""How pictures and recordings stand in a conversation: prepared for their encoders, and written as placeholders."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from sensorium.config import AudioConfig, AugmentConfig, ModelConfig, PlaceholderConfig
from sensorium.errors import ConfigError, DataError, RequestError
from sensorium.messages import Audio, Image
from sensorium.processing.audio import load_audio
from sensorium.processing.augment import augment_audio, augment_image, augment_mel
from sensorium.processing.codes import Codecs, Ids
from sensorium.processing.images import image_tiles, load_image
from sensorium.processing.limits import named
from sensorium.processing.media import Feature, Kind
from sensorium.processing.mel import audio_windows


@dataclass(frozen=True, slots=True)
class Codes:
    """Tokens of a picture or of speech, which take the place of one placeholder."""

    ids: Ids

    @property
    def length(self) -> int:
        """How many there are."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of how a medium is written: plain text, a control token, placeholders of a feature, or codes.

    `learned`: a model learns to write it, where it stands in the assistant's words.
    """

    text: str
    control: bool
    holds: Feature | Codes | None = None
    learned: bool = False


class Placeholders:
    """What a model makes of pictures and recordings.

    Args:
        config: the model's.
        controls: spellings of its tokenizer's control tokens.

    Attributes:
        tokens: kind → spelling of the control that stands for it, for what a conversation with the model can hold.
        shown: the kinds of those that it can be shown; others it can only write itself.

    Raises:
        ConfigError: the tokenizer has no such control.
    """

    def __init__(self, config: ModelConfig | None, controls: Collection[str]) -> None:
        self._config = config
        self._chance: tuple[AugmentConfig, np.random.Generator] | None = None
        self._controls = "|".join(map(re.escape, sorted(controls, key=len, reverse=True))) or r"(?!)"
        self.tokens: dict[Kind, str] = {}
        if config is not None and config.vision is not None and config.vision.projector is not None:
            self.tokens["image"] = config.vision.placeholder.token
        if config is not None and config.speech is not None and config.speech.projector is not None:
            self.tokens["audio"] = config.speech.placeholder.token
        self.shown = frozenset(self.tokens)
        if config is not None and config.image_codec is not None:
            self.tokens.setdefault("image", config.image_codec.begin)
        if config is not None and config.speech_codec is not None:
            self.tokens.setdefault("audio", config.speech_codec.begin)
        for kind, token in self.tokens.items():
            if token not in controls:
                raise ConfigError(
                    f"the tokenizer has no control token {token!r} to stand for {kind} (add it with with_controls)"
                )
        edges = [edge for codec in (config.codecs() if config else {}).values() for edge in (codec.begin, codec.end)]
        for edge in edges:
            if edge not in controls:
                raise ConfigError(
                    f"the tokenizer has no control token {edge!r} for codes to stand between (see with_controls)"
                )
        if len(set(edges)) < len(edges):
            raise ConfigError(f"codecs share a begin or end token: {', '.join(edges)} (each needs its own)")
        if len(set(self.tokens.values())) < len(self.tokens):
            raise ConfigError(f"pictures and recordings cannot both be written {self.tokens['image']!r}")

    def augmented(self, settings: AugmentConfig, generator: np.random.Generator) -> Placeholders:
        """The same, but every picture and recording is varied by chance."""
        varied = copy.copy(self)
        varied._chance = (settings, generator)
        return varied

    def features(self, part: Image | Audio) -> list[Feature]:
        """A picture or recording prepared for its encoder: one feature for each tile or window, from position 0 on.

        Raises:
            RequestError: the model has no encoder for it.
            DataError: it cannot be read, or is beyond its limits.
        """
        return self._image(part)[0] if isinstance(part, Image) else self._audio(part)

    def written(self, part: Image | Audio) -> list[Stretch]:
        """A picture or recording as it stands in a conversation, each feature once.

        Raises:
            RequestError: the model cannot be shown it in a conversation.
            DataError: it cannot be read, is beyond its limits, or is too short to be heard.
        """
        kind: Kind = "image" if isinstance(part, Image) else "audio"
        if kind not in self.shown:
            raise RequestError(_cannot(kind, self._config))
        assert self._config is not None
        if isinstance(part, Image):
            assert self._config.vision is not None
            features, rows, columns = self._image(part)
            spelled = _spelled(self._config.vision.placeholder, rows, columns)
        else:
            assert self._config.speech is not None
            features = self._audio(part)
            placeholder = self._config.speech.placeholder
            spelled = (placeholder.begin, *[None] * len(features), placeholder.end)
        if any(feature.length == 0 for feature in features):
            raise DataError(f"{named(part)} is too short to be heard")
        return list(self._stretches(spelled, features, self.tokens[kind]))

    def drawn(self, part: Image, codecs: Codecs, before: Image | None) -> list[Stretch]:
        """A picture as the model writes it itself: behind the codes of the one before it, which it may go by.

        Raises:
            DataError: a picture cannot be read, or is beyond its limits.
        """
        codec, token = codecs.config.image_codec, self.tokens["image"]
        assert codec is not None
        begin = Stretch(codec.begin, control=True)
        shown = None if before is None else codecs.shown(before)
        given = (
            [] if shown is None else [Stretch(token, control=True, holds=Codes(np.array(shown.ids, np.int32))), begin]
        )
        return [
            replace(begin, learned=True),
            *given,
            Stretch(token, control=True, holds=Codes(codecs.picture_ids(part, of=shown)), learned=True),
            Stretch(codec.end, control=True),
        ]

    def said(self, part: Audio, codecs: Codecs) -> list[Stretch]:
        """A recording as the model says it itself.

        Raises:
            DataError: it cannot be read, or is beyond its limits.
        """
        codec, token = codecs.config.speech_codec, self.tokens["audio"]
        assert codec is not None
        return [
            Stretch(codec.begin, control=True, learned=True),
            Stretch(token, control=True, holds=Codes(codecs.speech_ids(part)), learned=True),
            Stretch(codec.end, control=True, learned=True),
        ]

    def _image(self, part: Image) -> tuple[list[Feature], int, int]:
        if self._config is None or self._config.vision is None:
            raise RequestError(_cannot("image", self._config))
        settings = self._config.vision.image
        picture = load_image(part, settings)
        if self._chance is not None:
            picture = augment_image(picture, *self._chance)
        values, rows, columns = image_tiles(picture, settings)
        length = self._config.image_places()
        return [Feature("image", 0, length, tile) for tile in values], rows, columns

    def _audio(self, part: Audio) -> list[Feature]:
        if self._config is None or self._config.speech is None:
            raise RequestError(_cannot("audio", self._config))
        settings = self._config.speech.audio
        samples = load_audio(part, settings)
        if self._chance is not None:
            window = int(settings.window_seconds * settings.sample_rate)
            longest = max(-(-len(samples) // window), 1) * window
            samples = augment_audio(samples, *self._chance, sample_rate=settings.sample_rate, longest=longest)
        found = []
        for index, values in enumerate(audio_windows(samples, settings)):
            if self._chance is not None:
                values = augment_mel(values, *self._chance)
            frames = _heard(len(samples), index, values, settings)
            found.append(Feature("audio", 0, self._config.audio_places(frames), values, frames))
        return found

    def _stretches(self, spelled: Sequence[str | None], features: Sequence[Feature], token: str) -> Iterator[Stretch]:
        left = iter(features)
        for text in spelled:
            if text is None:
                yield Stretch(token, control=True, holds=next(left))
            elif text:
                for index, piece in enumerate(re.split(f"({self._controls})", text)):
                    if piece:
                        yield Stretch(piece, control=index % 2 == 1)


@lru_cache(64)
def _spelled(placeholder: PlaceholderConfig, rows: int, columns: int) -> tuple[str | None, ...]:
    """What is written for a picture; None stands for the placeholders of its next tile."""
    if placeholder.style == "plain":
        return (placeholder.begin, *[None] * max(1, rows * columns + (rows > 0)), placeholder.end)
    written: list[str | None] = []
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            place = placeholder.row_col.replace("{row}", str(row)).replace("{column}", str(column))
            written += [placeholder.begin + place, None]
        written.append("\n")
    written += ["\n" if rows else "", placeholder.begin + placeholder.whole, None, placeholder.end]
    return tuple(written)


def _heard(n_samples: int, index: int, values: np.ndarray, config: AudioConfig) -> int:
    """Frames of a window that hear samples, and not only the silence that fills it up."""
    if not config.pad_to_window:
        return int(values.shape[1])
    size = round(config.window_seconds * config.sample_rate)
    samples = min(size, n_samples - index * size)
    return min(-(-samples // config.hop), int(values.shape[1]))


def _cannot(kind: Kind, config: ModelConfig | None) -> str:
    sense = "see images" if kind == "image" else "hear audio"
    if config is None or (config.vision is None and config.speech is None):
        return f"this model cannot {sense}: it reads text only (send text parts)"
    part = config.vision if kind == "image" else config.speech
    if part is None:
        return f"this model cannot {sense} (send what it can take)"
    return f"this model cannot {sense} in a conversation: it only compares them (use embed)"
