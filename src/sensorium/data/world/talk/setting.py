"""The chance that makes a talk, and the ways of saying a thing, divided between the splits."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from sensorium.data.world.scene import Group, Scene, draw_scene
from sensorium.data.world.splits import SPLITS, Split, check_split, pairs, side
from sensorium.data.world.talk.types import LANGUAGES, Language, Piece, Seen, Spoken, Talk, Turn, check_language

T = TypeVar("T")

_HELD_OUT_SENTENCES = 0.15

# What may stand before a question or a request; each way of putting it is a sentence of its own.
QUESTIONS = {
    "en": ("{}", "Tell me, {}", "Please tell me, {}", "Can you tell me, {}", "I would like to know, {}", "Well, {}"),
    "zh": ("{}", "请问，{}", "请告诉我，{}", "我想知道，{}", "你说，{}", "告诉我，{}"),
}
REQUESTS = {
    "en": ("{}", "Please {}", "Now {}", "Now please {}", "Kindly {}", "I want you to {}"),
    "zh": ("{}", "请{}", "请你{}", "现在请{}", "麻烦你{}", "我想请你{}"),
}
PLAIN = {"en": ("{}",), "zh": ("{}",)}


class Phrases:
    """Ways of saying one thing: every opening with every core, each a sentence that is either trained on or held out.

    The side of a sentence is that of its hash, whoever says it. Cores hold `{names}` of what is filled in; an English
    one begins in lower case.

    Raises:
        ValueError: a split would have no sentence.
    """

    def __init__(
        self, en: Iterable[str], zh: Iterable[str], openings: Mapping[str, tuple[str, ...]] = QUESTIONS
    ) -> None:
        self._sentences: dict[tuple[Language, Split], tuple[str, ...]] = {}
        for language, cores in zip(LANGUAGES, (tuple(en), tuple(zh)), strict=True):
            every = [_opened(opening, core) for core in cores for opening in openings[language]]
            for split in SPLITS:
                chosen = tuple(text for text in every if sentence_side(text) == split)
                if not chosen:
                    raise ValueError(f"no sentence for {split} among {every}")
                self._sentences[language, split] = chosen

    def of(self, language: Language, split: Split) -> tuple[str, ...]:
        """The sentences of a split, with the places to be filled."""
        return self._sentences[language, split]


def sentence_side(sentence: str) -> Split:
    """The split that a sentence (with its places open) belongs to."""
    return side(f"sentence {sentence}", _HELD_OUT_SENTENCES)


def _opened(opening: str, core: str) -> str:
    text = opening.replace("{}", core)
    return text if text[0] == "{" else text[0].upper() + text[1:]


class Setting:
    """One talk in the making: its language, its split, and all its chance.

    Args:
        rng: what scenes are drawn from; the dice for everything else are seeded from it.
        language: "en" or "zh".
        split: "train" or "validation".
        languages: those that may be mixed with it.

    Raises:
        ConfigError: an unknown language or split.
    """

    def __init__(
        self, rng: np.random.Generator, language: str, split: str, languages: Sequence[Language] = LANGUAGES
    ) -> None:
        self.languages = languages
        self.language: Language = check_language(language)
        self.split: Split = check_split(split)
        self.rng = rng
        self.dice = random.Random(int(rng.integers(2**63)))

    def in_other_language(self) -> Setting:
        """Of the same split, in another language that may be spoken; in the same where there is but one."""
        others = [language for language in self.languages if language != self.language]
        return Setting(self.rng, self.pick(others), self.split, self.languages) if others else self

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices."""
        return choices[int(self.dice.random() * len(choices))]

    def chance(self, probability: float) -> bool:
        """True with the probability."""
        return self.dice.random() < probability

    def say(self, phrases: Phrases, **words: object) -> str:
        """One of the split's sentences, its places filled."""
        text = self.pick(phrases.of(self.language, self.split)).format(**words)
        return text[0].upper() + text[1:]

    def say_in_any_language(self, phrases: Phrases) -> str:
        """One of the split's sentences without places, whatever the talk's own language is."""
        return self.pick(phrases.of(self.pick(LANGUAGES), self.split))

    def speak(self, text: str, voice: int | None = None) -> Spoken:
        """The text in some voice, or the given one."""
        return Spoken(text, self.language, self.voice() if voice is None else voice)

    def voice(self) -> int:
        """The number of some voice."""
        return self.dice.getrandbits(31)

    def pairs(self, n: int, *, kinds: bool = True, colours: bool = False) -> list[tuple[str, str]]:
        """Some (colour, kind) of the split, all different; of different kinds, or colours, where that is asked."""
        choice = pairs(self.split)
        found: list[tuple[str, str]] = []
        while len(found) < n:
            colour, kind = self.pick(choice)
            taken = (kinds and any(kind == other for _, other in found)) or (
                colours and any(colour == other for other, _ in found)
            )
            if not taken and (colour, kind) not in found:
                found.append((colour, kind))
        return found

    def groups(self, *counts: int, kinds: bool = True, colours: bool = False) -> list[Group]:
        """Groups of the given counts, of different kinds, or colours, where that is asked."""
        found = self.pairs(len(counts), kinds=kinds, colours=colours)
        return [Group(count, *pair) for count, pair in zip(counts, found, strict=True)]

    def scene(self, theme: str, groups: Sequence[Group] | None = None, **given: Any) -> Scene:
        """A scene of the split."""
        return draw_scene(self.rng, split=self.split, theme=theme, groups=groups, **given)

    def arranged(self, *pieces: Piece | None) -> tuple[Piece, ...]:
        """The pieces that there are, at times in another order; neighbours that are written become one."""
        present = [piece for piece in pieces if piece]
        if self.chance(0.25):
            self.dice.shuffle(present)
        joined: list[Piece] = []
        for piece in present:
            if joined and isinstance(piece, str) and isinstance(joined[-1], str):
                joined[-1] += ("" if self.language == "zh" else " ") + piece
            else:
                joined.append(piece)
        return tuple(joined)

    def talk(self, kind: str, asked: Iterable[Piece], answer: str, facts: dict[str, Any]) -> Talk:
        """A talk of one question and its written answer."""
        return Talk(kind, self.language, (Turn("user", tuple(asked)), Turn("assistant", (answer,))), facts)


def speakable(text: str, language: Language, breaths: float = 1.0) -> bool:
    """Whether words can be said in so many breaths, each of ten English words or twenty Chinese characters."""
    return len(text) <= 20 * breaths if language == "zh" else text.count(" ") < 10 * breaths


Maker = Callable[[Setting], Talk]


def shown(scene: Scene, *pieces: Piece) -> tuple[Piece, ...]:
    """A picture and what is said to it."""
    return (Seen(scene), *pieces)
