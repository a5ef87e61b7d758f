"""The generated world as records: conversations with their pictures drawn and their words spoken, by number."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sensorium.data.records import Record
from sensorium.data.world.render import render
from sensorium.data.world.scene import Scene
from sensorium.data.world.settings import WorldSpec
from sensorium.data.world.speech import background_noise, speak, wav_bytes
from sensorium.data.world.splits import SPLITS, Split, check_split
from sensorium.data.world.talk import VOICE, Language, Seen, Spoken, Talk, make_talk
from sensorium.errors import ConfigError
from sensorium.messages import Audio, Image, Message, Part, Text

_TAKES = 2**16  # manners in which one voice says one sentence


class World:
    """Conversations by number: the same number is the same conversation, whoever asks and in whatever order.

    Args:
        spec: what is talked about.
        split: train or validation; what they hold never meets (see `sensorium.data.world.splits`).

    Raises:
        ConfigError: the split is unknown; from use: speech is asked for without the extra `world`.
    """

    def __init__(self, spec: WorldSpec, split: str) -> None:
        self.spec = spec
        self.split: Split = check_split(split)
        self._voices = self.split if spec.voices == "split" else spec.voices

    def talk(self, index: int) -> Talk:
        """The conversation of a number from 0 on, before any pixel is drawn or any word is spoken."""
        rng = self._generator(index, 0)
        kinds, shares = self._kinds
        kind = kinds[int(np.searchsorted(shares, rng.random(), side="right"))]
        language = self.spec.languages[int(rng.integers(len(self.spec.languages)))]
        spec = self.spec
        return make_talk(
            kind,
            rng,
            language=language,
            split=self.split,
            languages=spec.languages,
            notes=spec.notes,
            casual=spec.casual,
        )

    def record(self, index: int, *, media: bool = True) -> Record:
        """The conversation of a number as messages; without `media` its words alone, which is quick."""
        messages = self.realise(self.talk(index), index, media=media)
        return Record(messages, f"world:{self.split}:{index}")

    def realise(self, talk: Talk, index: int = 0, *, media: bool = True) -> tuple[Message, ...]:
        """Draw what is seen in a conversation and speak what is said; `index` chooses the voices left open."""
        rng = self._generator(index, 1)
        turns = ((turn.role, tuple(self._parts(turn.parts, rng, media=media))) for turn in talk.turns)
        return tuple(Message(role, parts) for role, parts in turns if parts)

    def _parts(
        self, pieces: tuple[str | Spoken | Seen, ...], rng: np.random.Generator, *, media: bool
    ) -> Iterator[Part]:
        for piece in pieces:
            if isinstance(piece, str):
                yield Text(piece)
            elif not media:
                continue
            elif isinstance(piece, Seen):
                yield Image(data=picture_bytes(piece.scene, self.spec.size))
            else:
                yield Audio(data=self._speech(piece, rng))

    def _speech(self, spoken: Spoken, rng: np.random.Generator) -> bytes:
        voice, take = int(rng.integers(2**31)), int(rng.integers(_TAKES))
        if not spoken.text:
            return wav_bytes(background_noise(rng))
        if spoken.own:
            return own_speech(spoken.text, spoken.language)
        if spoken.voice is not None:
            voice = spoken.voice
        if self.spec.speaker is not None:
            voice = self.spec.speaker
        return wav_bytes(speak(spoken.text, spoken.language, voice, split=self._voices, take=take))

    @cached_property
    def _kinds(self) -> tuple[list[str], npt.NDArray[np.float64]]:
        shares = self.spec.shares
        return list(shares), np.cumsum(list(shares.values()))[:-1]

    def _generator(self, index: int, use: int) -> np.random.Generator:
        if index < 0:
            raise ConfigError(f"record {index} of the world: give a number from 0 on")
        return np.random.default_rng([self.spec.seed, SPLITS.index(self.split), index, use])


def own_speech(text: str, language: Language) -> bytes:
    """A text as the assistant says it, in every split with the same even voice of training: a WAV file."""
    return wav_bytes(speak(text, language, VOICE, split="train", take=None))


def picture_bytes(scene: Scene, size: int) -> bytes:
    """A scene as an uncompressed PPM file of `size` by `size` pixels: nothing is quicker to write and to read."""
    pixels = render(scene, size)
    height, width, _ = pixels.shape
    return b"P6 %d %d 255\n" % (width, height) + pixels.tobytes()
