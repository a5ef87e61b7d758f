"""What a conversation about a scene is made of, before any pixel is drawn or any word is spoken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeGuard, get_args

from sensorium.data.world.scene import Scene
from sensorium.errors import ConfigError

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


@dataclass(frozen=True, slots=True)
class Spoken:
    """Words that are heard, or none. `voice` seeds the choice of a voice: the same number is the same voice.

    `own`: the assistant says it, whose voice is one of training's in every split, and always even.
    """

    text: str
    language: Language
    voice: int | None = None
    own: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A scene that is shown."""

    scene: Scene


Piece: TypeAlias = str | Spoken | Seen


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side writes, says or shows at a time."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """The written words, joined."""
        return "".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation, and in `facts` (plain data for JSON) the exact truth that its answers are scored by."""

    kind: str
    language: Language
    turns: tuple[Turn, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """The written words of the last turn."""
        return self.turns[-1].text


def check_language(language: str) -> Language:
    """The language as a checked name. Raises `ConfigError` for any other."""
    if _is_language(language):
        return language
    raise ConfigError(f"language is {language!r}: give one of {', '.join(LANGUAGES)}")


def _is_language(language: str) -> TypeGuard[Language]:
    return language in LANGUAGES
