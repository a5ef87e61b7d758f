"""What a recipe says about the generated world."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from sensorium.config import Config, Probability, nearest
from sensorium.data.world.talk import KINDS, LANGUAGES, WRITTEN, Language


class WorldSpec(Config):
    """Which conversations of the generated world are held, and how large its pictures are.

    `kinds` are the talks by name, each with its share (a plain list shares alike); left out, all whose answers are
    words. `languages` share alike, and some talks mix them. `size` is the side of the pictures in pixels. `voices` are
    those of the split, or those kept for who judges speech, whatever the split; `speaker` is the one of them who says
    everything. `notes` is the probability that what the user shows and says is gone over and written down before it is
    answered, as a model does that takes note first (the drills of the eyes stay as they are). `casual` is the
    probability that the user types in haste, without a capital or a stop. Another `seed` is another world of the same
    sort: other conversations, within the same splits.
    """

    kinds: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    languages: Annotated[tuple[Language, ...], Field(min_length=1)] = LANGUAGES
    size: Annotated[int, Field(ge=16, le=1024)] = 64
    voices: Literal["split", "judge"] = "split"
    speaker: Annotated[int, Field(ge=0)] | None = None
    notes: Probability = 0.0
    casual: Probability = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @field_validator("kinds", mode="before")
    @classmethod
    def _shares(cls, value: Any) -> Any:
        return dict.fromkeys(value, 1.0) if isinstance(value, list | tuple) else value

    @field_validator("kinds")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value.keys() - KINDS.keys():
            raise ValueError(f"the world knows no talk of the kind {name!r}{nearest(name, KINDS)}")
        return value

    @model_validator(mode="after")
    def _voiced(self) -> Self:
        if self.voices == "judge" and "speaker" in self.shares:
            raise ValueError("talk of the kind 'speaker' is about the voices of its split (leave it out of kinds)")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Each kind with its share; they add up to 1."""
        kinds = self.kinds or dict.fromkeys(WRITTEN, 1.0)
        total = sum(kinds.values())
        return {name: share / total for name, share in kinds.items()}
