"""Speech decoded while its codes still come: the same sound as in one piece."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from sensorium.codecs.kinds import AnySpeechCodec
from sensorium.codecs.mimi import Mimi, Past
from sensorium.codecs.speech import SpeechCodec
from sensorium.errors import RequestError

CHUNK = 8  # codes that are decoded at a time
_FRAMES = 4  # of a codec of whole frames: a third of a second of Mimi's


class SpeechStream:
    """Turns the codes of one stretch of speech into samples as soon as nothing that follows can change them.

    Args:
        codec: decodes.
        voice: (voice_dim,) who speaks.
        chunk: codes of sound that are handed out at a time; smaller ones come sooner and cost more.
    """

    def __init__(self, codec: SpeechCodec, voice: Tensor, *, chunk: int = CHUNK) -> None:
        self._codec, self._voice, self._chunk = codec, voice[None], chunk
        self._codes: list[int] = []
        self._given = 0  # codes whose sound was handed out

    def push(self, code: int) -> Tensor | None:
        """Take the next code; samples (n,) where a chunk is ready, which waits for the codes that have a part in it.

        Raises:
            RequestError: a code outside the codebook.
        """
        if not 0 <= code < self._codec.config.codebook_size:
            raise RequestError(f"code {code} is outside the codebook of 0..{self._codec.config.codebook_size - 1}")
        self._codes.append(code)
        ready = len(self._codes) - self._codec.context
        return self._decoded(ready) if ready - self._given >= self._chunk else None

    def flush(self) -> Tensor | None:
        """The samples that are left at the end, None where there are none. The next code begins a new stretch."""
        rest = self._decoded(len(self._codes)) if len(self._codes) > self._given else None
        self._codes, self._given = [], 0
        return rest

    @torch.inference_mode()
    def _decoded(self, until: int) -> Tensor:
        """The sound of the codes from the first that was not handed out to `until`."""
        begin = max(0, self._given - self._codec.context)
        codes = torch.tensor([self._codes[begin:]], dtype=torch.int64)
        samples = self._codec.decode(codes, self._voice)[0]
        size = self._codec.config.samples_per_code
        chosen = samples[(self._given - begin) * size : (until - begin) * size]
        self._given = until
        return chosen


class FrameStream:
    """Turns the codes of one stretch of speech into samples frame by frame, by a decoder that never looks ahead.

    Args:
        codec: decodes.
        chunk: frames of sound that are handed out at a time.
    """

    def __init__(self, codec: Mimi, *, chunk: int = _FRAMES) -> None:
        self._codec, self._size = codec, chunk * codec.config.codes_per_frame
        self._codes: list[int] = []
        self._past = Past()

    def push(self, code: int) -> Tensor | None:
        """Take the next code; samples (n,) where it completes a chunk.

        Raises:
            RequestError: a code whose codebook it is not the turn of.
        """
        self._codec.check_turn(code, len(self._codes))
        self._codes.append(code)
        return self._decoded() if len(self._codes) == self._size else None

    def flush(self) -> Tensor | None:
        """The samples of the whole frames that are left, None where there are none. A new stretch begins."""
        rest = self._decoded() if len(self._codes) >= self._codec.config.codes_per_frame else None
        self._codes, self._past = [], Past()
        return rest

    @torch.inference_mode()
    def _decoded(self) -> Tensor:
        samples = self._codec.decode(torch.tensor([self._codes], dtype=torch.int64), past=self._past)[0]
        self._codes = []
        return samples


AnyStream: TypeAlias = SpeechStream | FrameStream


def stream_of(codec: AnySpeechCodec, voice: Tensor | None) -> AnyStream:
    """What decodes a stretch of speech as it comes, in a voice (voice_dim,) where the codec takes one."""
    if isinstance(codec, Mimi):
        return FrameStream(codec)
    assert voice is not None
    return SpeechStream(codec, voice)
