"""How training examples are varied: pictures, recordings and their spectrograms."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sensorium.config.base import Config, Probability

Share = Annotated[float, Field(gt=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=0, le=1000)]


class AugmentConfig(Config):
    """What may be done to an example, and how strongly. All is off at first; each is drawn anew for each example.

    Pictures: `flip` (left and right) and `flip_rows` (top and bottom) are probabilities, `crop` the least share of the
    area that is kept, `rotation` the most degrees to either side, `brightness`, `contrast`, `saturation` the most
    change of each (0.2 is a factor from 0.8 to 1.2), `hue` the most turn of the colour circle, 0.5 being half. Flips,
    crops and turns move things, and other colours rename them: they are for data whose answers do not change by that.

    Recordings: `noise_db` is the least distance of white noise below the signal (30 dB more is the most), `speed` the
    most change of speed and pitch, `gain_db` the most change of loudness, `pause` the most seconds of silence before
    and behind what is said, in every other recording.

    Spectrograms (SpecAugment, Park et al. 2019, arXiv:1904.08779): up to `mel_masks` bands of at most `mel_width`
    mels, and `time_masks` stretches of at most `time_width` frames and a fifth of all, are set to silence.

    Conversations that are answered by a picture or aloud lose all that the user writes or says, and the sketch of the
    picture or the words of the speech, with probability `drop_words`: what pictures and speech are like by themselves
    is what guidance leans away from (Ho & Salimans 2022, arXiv:2207.12598).
    """

    flip: Probability = 0.0
    flip_rows: Probability = 0.0
    crop: Share = 1.0
    rotation: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    brightness: Strength = 0.0
    contrast: Strength = 0.0
    saturation: Strength = 0.0
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0

    drop_words: Probability = 0.0

    noise_db: Annotated[float, Field(ge=-20.0, le=120.0)] | None = None
    speed: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    gain_db: Annotated[float, Field(ge=0.0, le=60.0)] = 0.0
    pause: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0

    mel_masks: Count = 0
    mel_width: Annotated[int, Field(gt=0)] = 15
    time_masks: Count = 0
    time_width: Annotated[int, Field(gt=0)] = 40
