"""Replies as tests read them, and what ends them early."""

from __future__ import annotations

import io
import threading
import wave
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
from making import tokenizer

from sensorium.api import Model
from sensorium.messages import Audio, Delta, Done, Image, Message

CONTROLS = tokenizer().control_ids
IMAGE_BEGIN, IMAGE_END = CONTROLS["<|image_begin|>"], CONTROLS["<|image_end|>"]
AUDIO_BEGIN, AUDIO_END = CONTROLS["<|audio_begin|>"], CONTROLS["<|audio_end|>"]
END = CONTROLS["<|end|>"]
FRAMES = {IMAGE_BEGIN, IMAGE_END, AUDIO_BEGIN, AUDIO_END, CONTROLS["<|image|>"], CONTROLS["<|audio|>"], END}
WHOLE = {"max_tokens": 40, "logit_bias": {END: 4.0, AUDIO_BEGIN: 5.0, IMAGE_BEGIN: 5.0}}  # replies of all kinds


class After(threading.Event):
    """An event that is set once it was looked at so many times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._left = looks

    def is_set(self) -> bool:
        self._left -= 1
        return self._left < 0


def ended(deltas: Sequence[Delta]) -> Done:
    (done,) = (delta for delta in deltas if isinstance(delta, Done))
    assert deltas[-1] is done
    return done


def kinds(message: Message) -> list[str]:
    return [type(part).__name__.lower() for part in message.parts]


def samples(sound: Audio) -> np.ndarray:
    assert sound.data is not None
    with wave.open(io.BytesIO(sound.data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 4_000)
        return np.frombuffer(file.readframes(10**6), "<i2")


def is_picture(part: Any) -> bool:
    assert isinstance(part, Image)
    assert part.data is not None
    opened = PIL.Image.open(io.BytesIO(part.data))
    return (opened.format, opened.size, opened.mode) == ("PNG", (12, 8), "RGB")


def belief(model: Model, messages: Sequence[Message], reply: Sequence[int]) -> np.ndarray:
    """Scores of the next token, read anew without a cache."""
    sequence = model.processor.encode_messages(messages, add_generation_prompt=True)
    scores: np.ndarray = model.logits([*sequence.token_ids.tolist(), *reply], sequence.features)[-1].astype(np.float64)
    return scores


def words(text: str) -> list[int]:
    return tokenizer().encode(text)
