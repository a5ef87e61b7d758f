"""One reply in the making: tokens are chosen by what may come next, and become words, pictures and sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from sensorium.codecs.streaming import AnyStream, stream_of
from sensorium.config import SamplingConfig
from sensorium.inference.decoding import Rows
from sensorium.inference.grammar import Grammar, Making, State, Vocabulary
from sensorium.inference.sampler import Constraint, Sampler, as_asked, guided, raw_logprobs
from sensorium.inference.text import TextStream
from sensorium.messages import AudioDelta, Delta, Done, FinishReason, ImageDelta, TextDelta
from sensorium.processing.codes import Codecs, Shown, pcm16, png_bytes

_APART = 2**20  # between the seeds of drafts, as replies count up from theirs
Samplers: TypeAlias = dict[State | Literal["sketch"], Sampler]


def samplers(
    sampling: SamplingConfig,
    vocabulary: Vocabulary,
    *,
    prompt: Sequence[int],
    index: int,
    constraint: Constraint | None,
) -> Samplers:
    """One for words, and where the model makes them for pictures and speech, which no penalty of words touches.

    Where a picture is asked for, the words of its sketch are left to chance, too: it may be drawn in many ways.

    Raises:
        RequestError: a biased token lies outside the vocabulary.
    """
    found: Samplers = {
        "words": Sampler(sampling, vocabulary.n_words, prompt=prompt, index=index, constraint=constraint)
    }
    if vocabulary.picture is not None:
        found["picture"] = Sampler(_of_pictures(sampling), vocabulary.picture.codebook_size, index=index)
        found["sketch"] = Sampler(_of_sketches(sampling), vocabulary.n_words, index=index)
    if vocabulary.speech is not None:
        settings = _plain(sampling, sampling.speech_temperature, sampling.speech_top_p)
        found["speech"] = Sampler(settings, len(vocabulary.speech.candidates_at(0)) + 1, index=index)
    return found


def _of_pictures(sampling: SamplingConfig) -> SamplingConfig:
    return _plain(sampling, sampling.image_temperature, sampling.image_top_p)


def _of_sketches(sampling: SamplingConfig) -> SamplingConfig:
    own = sampling.sketch_temperature
    return _plain(sampling, sampling.image_temperature if own is None else own, sampling.image_top_p)


def _plain(sampling: SamplingConfig, temperature: float, top_p: float) -> SamplingConfig:
    return SamplingConfig(temperature=temperature, top_p=top_p, seed=sampling.seed)


@dataclass
class Studio:
    """Where a reply's pictures and speech are made."""

    codecs: Codecs
    stream: AnyStream | None
    before: Shown | None = None  # the last picture, which the next one changes

    @classmethod
    def of(cls, codecs: Codecs | None, making: Making) -> Studio | None:
        """That of a model's codecs, with somebody's voice or the model's own; None for a model without codecs.

        Where there is no voice at all nothing is ever said.
        """
        if codecs is None:
            return None
        voice, before = making.voice, None
        if making.reference is not None and making.pixels is not None:
            before = Shown(making.reference, making.pixels)
        if codecs.speech is None:
            return cls(codecs, None, before)
        if voice is None and codecs.speech.config.takes_voice:
            if not codecs.speech.config.voices:
                return cls(codecs, None, before)
            voice = codecs.voice()
        return cls(codecs, stream_of(codecs.speech, voice), before)

    def draft(self, codes: Sequence[int]) -> bytes:
        """The PNG file of a picture that may yet be another."""
        return self.codecs.picture(codes, of=self.before)

    def picture(self, codes: Sequence[int], index: int) -> ImageDelta:
        """A picture that is all there, as a delta."""
        pixels = self.codecs.pixels(codes, of=self.before)
        self.before = Shown(tuple(codes), pixels)
        return ImageDelta(png_bytes(pixels), index=index)

    def sound(self, samples: Tensor | None, index: int) -> Iterator[AudioDelta]:
        """Samples as a delta, where there are some."""
        if samples is not None and self.codecs.speech is not None:
            yield AudioDelta(pcm16(samples.numpy()), self.codecs.speech.config.sample_rate, index)


class Reply:
    """One reply: which tokens it has, and what they set free."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        grammar: Grammar,
        samplers: Samplers,
        text: TextStream,
        studio: Studio | None,
        sampling: SamplingConfig,
        *,
        stop_ids: frozenset[int],
        limit: int,
        prompt_tokens: int,
        index: int,
    ) -> None:
        self._grammar, self._samplers, self._text, self._studio = grammar, samplers, text, studio
        self._vocabulary = vocabulary
        self._sampling, self._stop_ids, self._limit = sampling, stop_ids, limit
        self._prompt_tokens, self._index = prompt_tokens, index
        self.token_ids: list[int] = []
        self._sketch = ""
        self._drafters: list[Sampler] = []
        self.ended = False
        self.wordless: Rows | None = None  # what it makes in a conversation without words, while it is made

    @property
    def wordless_ids(self) -> list[int]:
        """The tokens of its pictures and speech, as in a conversation without words."""
        return [token for token in self.token_ids if self._vocabulary.is_made(token)]

    @property
    def guidance(self) -> float:
        """How far the next token leans on what was asked: 0 unless it is a code to choose, of picture or speech."""
        sampling, state = self._sampling, self._grammar.state
        if state == "words" or self._grammar.forced is not None:
            return 0.0
        if state == "speech":
            return sampling.speech_guidance
        if sampling.image_edit_guidance is None or not self._grammar.goes_by_another:
            return sampling.image_guidance
        return sampling.image_edit_guidance

    @property
    def begins_to_draw(self) -> bool:
        """Whether the next token is the first code of a picture, to be chosen."""
        return self._grammar.state == "picture" and self._grammar.forced is None and not self._grammar.codes

    @property
    def sketch(self) -> str:
        """The words since the last picture: what the next one is drawn by."""
        return self._sketch.strip()

    @property
    def drafters(self) -> list[Sampler]:
        """Who chooses the codes of each draft of the next picture: first who would choose those of a single one."""
        picture = self._vocabulary.picture
        assert picture is not None
        self._drafters = self._drafters or [self._samplers["picture"]]
        settings, apart = _of_pictures(self._sampling), range(len(self._drafters), self.candidates)
        self._drafters += [Sampler(settings, picture.codebook_size, index=self._index + n * _APART) for n in apart]
        return self._drafters[: self.candidates]

    @property
    def candidates(self) -> int:
        """How many drafts the next picture has."""
        sampling = self._sampling
        if sampling.image_edit_candidates is None or not self._grammar.goes_by_another:
            return sampling.image_candidates
        return sampling.image_edit_candidates

    def draft(self, codes: Sequence[int]) -> bytes:
        """The PNG file of a picture that it may show."""
        assert self._studio is not None
        return self._studio.draft(codes)

    def settle(self, codes: Sequence[int]) -> None:
        """Take all codes of the picture that begins as chosen."""
        self.wordless = None
        self._grammar.settle(codes)

    def take_settled(self) -> list[Delta]:
        """Take all codes that are chosen already; what they set free, and the end where there is no room for more."""
        made: list[Delta] = []
        while self._grammar.is_settled and not self.ended:
            made += self.take(torch.empty(0))
        return made

    def take(self, scores: Tensor, blind: Tensor | None = None) -> Iterator[Delta]:
        """Choose the next token from scores (vocab_size,); yield what it sets free, and the end if it is one.

        `blind` are the scores without pictures, to lean away from.
        """
        state = self._grammar.state
        token = self._grammar.forced
        if token is None:
            token = self._chosen(scores, blind)
        elif state == "words":
            self._samplers["words"].record(token)
        self.token_ids.append(token)
        if state == "words" and token in self._stop_ids:
            yield from self.end("stop")
            return
        self._grammar.take(token)
        yield from self._made(state, token, scores)
        if self._text.stopped or self._grammar.finished:
            yield from self.end("stop")
        elif len(self.token_ids) >= self._limit:
            yield from self.end("length")

    def end(self, reason: FinishReason) -> Iterator[Delta]:
        """Let go of text and sound held back, and close the reply."""
        self.ended = True
        if not self._text.stopped:
            yield from self._delta(self._text.finish())
        if self._studio is not None and self._studio.stream is not None:
            yield from self._studio.sound(self._studio.stream.flush(), self._index)
        if self._text.stopped:
            reason = "stop"
        yield Done(reason, self._prompt_tokens, len(self.token_ids), self._index)

    def _chosen(self, scores: Tensor, blind: Tensor | None) -> int:
        grammar, sampling = self._grammar, self._sampling
        candidates = grammar.candidates(scores)
        if grammar.state == "words" and blind is not None:
            candidates = guided(candidates, grammar.candidates(blind), sampling.guidance)
        if grammar.state != "words" and self.wordless is not None:
            candidates = as_asked(candidates, grammar.candidates(self.wordless.scores[0]), self.guidance)
        sampler = self._samplers["sketch" if grammar.sketches else grammar.state]
        return grammar.token(sampler.choose(candidates))

    def _made(self, state: State, token: int, scores: Tensor) -> Iterator[Delta]:
        """What the token just taken, which was chosen in a state, sets free."""
        grammar, studio = self._grammar, self._studio
        if state == "words" and grammar.state == "words":
            top = None if self._sampling.logprobs is None else raw_logprobs(scores, token, self._sampling.logprobs)
            yield from self._delta(self._text.push(token, top))
        elif state == "words":  # a picture or speech begins: what was held back of the words comes before it
            yield from self._delta(self._text.pause())
        elif studio is not None and state == "picture" and grammar.state == "words":
            self.wordless, self._sketch = None, ""
            yield studio.picture(grammar.codes, self._index)
        elif (
            studio is not None and studio.stream is not None and state == "speech" and studio.codecs.speech is not None
        ):
            if grammar.state == "words":
                self.wordless = None
                yield from studio.sound(studio.stream.flush(), self._index)
            else:
                code = token - studio.codecs.speech.config.first_id
                yield from studio.sound(studio.stream.push(code), self._index)

    def _delta(self, text: str) -> Iterator[Delta]:
        if text:
            self._sketch += text
            yield TextDelta(text, self._index, self._text.logprobs())
