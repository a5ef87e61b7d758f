"""How the next token is chosen."""

from __future__ import annotations

from pydantic import Field, field_validator

from sensorium.config.base import Config, Positive, Probability


class SamplingConfig(Config):
    """How the next token is chosen; also `generation_config.json`. Temperature 0 is greedy.

    Penalties follow CTRL (`repetition_penalty`, 1 is off) and OpenAI's API (`presence_penalty` and
    `frequency_penalty`, 0 is off). `top_k` 0, `top_p` 1 and `min_p` 0 switch each filter off.

    `guidance` makes a reply lean on the pictures of a conversation, over what all else in it suggests by habit (0 is
    off; it takes two replies' work): see `sampler.guided`.

    Codes of pictures and of speech have temperatures and `top_p` of their own, as the likeliest code at every place is
    seldom a picture of anything, and `image_guidance` makes pictures keep to what was asked (Ho & Salimans 2022,
    arXiv:2207.12598; 0 is off, and it takes twice the work). Of pictures that go by an earlier one, it may have another
    strength, `image_edit_guidance`: the harder a change is pressed, the more is lost of what was there. In the same
    way `speech_guidance` makes speech keep to its words. Where a picture is asked for, its sketch takes no penalties,
    bias or stop strings either: its words are chosen with `sketch_temperature` (none: `image_temperature`) and
    `image_top_p`. With a low one, only what is as likely one way as another is left to chance.

    With `image_look`, `image_candidates` drafts are drawn of each picture, and the model looks at them and shows the
    best one: it answers each of these requests (one in each of its languages) with what it would sketch a picture by,
    and the draft that most likely led to the sketch at hand is the best. Pictures that go by an earlier one, also of
    the same reply, may have another number of them, `image_edit_candidates`. See `drafts.Easel`.

    With `look_first` and `listen_first` a model takes note before it answers: it meets one of these requests (one in
    each of its languages) for each picture that the user shows, and for what the user says, so that what is where, and
    what was said, is settled before it is talked about. See `noting.NoteTaker`. Recordings longer than `listen_seconds`
    are cut in their pauses, and written down stretch by stretch (at least a second; 0: in one piece).
    """

    max_tokens: Positive | None = None
    temperature: float = Field(default=0.8, ge=0.0, le=100.0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    min_p: Probability = 0.0
    repetition_penalty: float = Field(default=1.0, gt=0.0, le=100.0)
    presence_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    frequency_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    guidance: float = Field(default=0.0, ge=0.0, le=100.0)
    image_temperature: float = Field(default=1.0, ge=0.0, le=100.0)
    image_top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    sketch_temperature: float | None = Field(default=None, ge=0.0, le=100.0)
    image_guidance: float = Field(default=0.0, ge=0.0, le=100.0)
    image_edit_guidance: float | None = Field(default=None, ge=0.0, le=100.0)
    image_candidates: int = Field(default=1, ge=1, le=32)
    image_edit_candidates: int | None = Field(default=None, ge=1, le=32)
    image_look: tuple[str, ...] = Field(default=(), max_length=8)
    look_first: tuple[str, ...] = Field(default=(), max_length=8)
    listen_first: tuple[str, ...] = Field(default=(), max_length=8)
    listen_seconds: float = Field(default=0.0, ge=0.0, le=3600.0)
    speech_temperature: float = Field(default=0.7, ge=0.0, le=100.0)
    speech_top_p: float = Field(default=0.9, gt=0.0, le=1.0)
    speech_guidance: float = Field(default=0.0, ge=0.0, le=100.0)
    logit_bias: dict[int, float] = Field(default_factory=dict)
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    n: int = Field(default=1, ge=1, le=128)
    logprobs: int | None = Field(default=None, ge=0, le=20)

    @field_validator("listen_seconds")
    @classmethod
    def _words_fit(cls, value: float) -> float:
        if 0 < value < 1:
            raise ValueError("give at least 1, or 0 for recordings in one piece")
        return value

    @property
    def leans_on_words(self) -> bool:
        """Whether pictures or speech are to lean on what was asked."""
        return bool(self.image_guidance or self.image_edit_guidance or self.speech_guidance)
