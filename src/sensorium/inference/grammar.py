"""What a reply may hold next: words, whole pictures, speech behind its words. Nothing malformed can be sampled."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from sensorium.clauses import can_be_said, ends_clause
from sensorium.config import CodeRange, ModelConfig
from sensorium.errors import RequestError
from sensorium.processing.codes import Codecs
from sensorium.processing.tokenizer import Tokenizer

ReplyKind: TypeAlias = Literal["auto", "text", "image", "speech"]
State: TypeAlias = Literal["words", "picture", "speech"]
LONGEST_CLAUSE = 20.0  # seconds of speech after which a clause ends in any case
LONGEST_UNSPOKEN = 32  # tokens of words after which a spoken reply says them in any case
LONGEST_SKETCH = 128  # tokens of words after which a reply that is a picture draws it in any case


@dataclass(frozen=True)
class Making:
    """What a reply is to be made of.

    Attributes:
        reply: words alone, a picture (behind a sketch in words, if the model makes one), speech (each clause in words,
            then aloud), or as the model sees fit.
        pictures: how many, where the reply is a picture.
        reference: tokens of the last picture of the conversation, which the next one goes by.
        pixels: of that picture, (3, height, width) within -1..1: they stay where its codes do.
        voice: (voice_dim,) who speaks; None is the model's own voice, or says that its codes hold it.
        script: the words to say, clause by clause, as tokens: nothing else is written.
        points: whether places in a picture may be named: there is one, or will be.
    """

    reply: ReplyKind = "auto"
    pictures: int = 1
    reference: tuple[int, ...] | None = None
    pixels: Tensor | None = None
    voice: Tensor | None = None
    script: tuple[tuple[int, ...], ...] | None = None
    points: bool = True


WORDS = Making("text")


class Vocabulary:
    """The tokens of a model by what they are for.

    Args:
        config: the model's.
        tokenizer: its.
        stop_ids: tokens that end a reply.
        codecs: what turns codes into pictures and speech; without them none are written.
    """

    def __init__(
        self, config: ModelConfig, tokenizer: Tokenizer, stop_ids: Iterable[int], codecs: Codecs | None
    ) -> None:
        self.n_words = min(config.decoder.vocab_size, tokenizer.vocab_size)
        self.stop_ids = sorted(index for index in set(stop_ids) if index < self.n_words)
        self.picture = config.image_codec if codecs is not None and codecs.image is not None else None
        self.speech = config.speech_codec if codecs is not None and codecs.speech is not None else None
        self._tokenizer = tokenizer
        self._places = [index for index in tokenizer.location_ids if index < self.n_words]
        controls = tokenizer.control_ids
        self.n_codes = 0 if self.picture is None else self.picture.n_codes
        self.picture_begin, self.picture_end = _edges(self.picture, controls)
        self.speech_begin, self.speech_end = _edges(self.speech, controls)
        edges = (self.picture_begin, self.picture_end, self.speech_begin, self.speech_end)
        self._edges = {index for index in edges if index >= 0}
        self._frames = set(self._edges)
        for part in (config.vision, config.speech):
            if part is not None and self._frames and part.placeholder.token in controls:
                self._frames.add(controls[part.placeholder.token])

    @property
    def makes(self) -> bool:
        """Whether the model writes pictures or speech at all."""
        return bool(self._frames)

    def heard(self, words: Sequence[int]) -> tuple[bool, bool]:
        """Of tokens of words, whether there is anything to say, and whether they are a clause, to be said at once."""
        text = self._tokenizer.decode(words)
        return can_be_said(text), can_be_said(text) and ends_clause(text)

    def is_made(self, token: int) -> bool:
        """Whether a token is part of a picture or of speech: one of its codes, or of what frames them."""
        codes = [codec.ids for codec in (self.picture, self.speech) if codec is not None]
        return token in self._edges or any(token in ids for ids in codes)

    def forbidden(self, *, but: Iterable[int] = (), points: bool = True) -> Tensor | None:
        """(n_words,) true for the frames of pictures and speech, but some; None where there are no frames.

        Without `points` it is true for the tokens of places, too.
        """
        if not self._frames:
            return None
        mask = torch.zeros(self.n_words, dtype=torch.bool)
        mask[list(self._frames - set(but))] = True
        if not points:
            mask[self._places] = True
        return mask

    def picture_length(self, *, edits: bool) -> int:
        """Tokens that a picture takes, with its begin and end, and with the one it goes by."""
        return self.n_codes + 2 + (self.n_codes + 1 if edits else 0)


class Grammar:
    """Where a reply stands, and which tokens may come next.

    Args:
        vocabulary: the model's.
        making: what is asked for.
        limit: tokens that the reply may have.

    Raises:
        RequestError: the model cannot make what is asked for, or the reply has no room for it.
    """

    def __init__(self, vocabulary: Vocabulary, making: Making, *, limit: int) -> None:
        self._vocabulary, self._making, self._limit = vocabulary, making, limit
        self.state: State = "words"
        self.codes: list[int] = []  # of the picture or stretch of speech at hand
        self.finished = False
        self._reference = making.reference
        self._queue: list[int] = []  # tokens that must come, first one first
        self._settled: deque[int] = deque()  # codes of the picture at hand that are chosen already
        self._pictures, self._taken = 0, 0
        self._words: list[int] = []  # tokens since the last picture or speech
        self._sayable = self._due = False  # whether these can be said, and must be before anything else
        self._clauses = iter(making.script or ())
        self._check()
        openings = self._openings()
        self._mask = vocabulary.forbidden(but=openings, points=making.points)
        self._mask_without_room = vocabulary.forbidden(
            but=set(openings) - {vocabulary.picture_begin}, points=making.points
        )
        if making.script is not None:
            self._next_clause()

    @property
    def sketches(self) -> bool:
        """Whether the words at hand are those that a picture is drawn by."""
        return self.state == "words" and self._making.reply == "image" and not self.finished

    @property
    def goes_by_another(self) -> bool:
        """Whether the picture at hand, or the next one, follows one of the conversation."""
        return self._reference is not None

    @property
    def is_settled(self) -> bool:
        """Whether the next code of the picture at hand is chosen already."""
        return bool(self._settled)

    @property
    def forced(self) -> int | None:
        """The one token that can come next, None where there is a choice."""
        if self._queue:
            return self._queue[0]
        if self._settled:
            return self._settled[0]
        if self.state == "words" and self._due:
            return self._vocabulary.speech_begin
        if self.sketches and (len(self._words) >= LONGEST_SKETCH or self._taken + self._to_draw() >= self._limit):
            return self._vocabulary.picture_begin
        if self.state == "picture" and len(self.codes) == self._vocabulary.n_codes:
            return self._vocabulary.picture_end
        if self.state == "speech" and len(self.codes) >= self._longest() and self._is_whole():
            return self._vocabulary.speech_end
        return None

    def candidates(self, scores: Tensor) -> Tensor:
        """The scores (vocab_size,) of what may come next, in the order that `token` counts."""
        vocabulary = self._vocabulary
        if self.state != "words":
            ids = self._ids()
            codes = scores[ids.start : ids.stop]
            if self.state == "picture":
                return codes
            ends = scores[vocabulary.speech_end : vocabulary.speech_end + 1]
            ending = bool(self.codes) and self._is_whole()
            return torch.cat((codes, ends if ending else torch.full_like(ends, -math.inf)))
        words = scores[: vocabulary.n_words]
        if self._mask is None or self._mask_without_room is None:
            return words
        roomy = self._limit - self._taken >= vocabulary.picture_length(edits=self._reference is not None)
        words = words.masked_fill(self._mask if roomy else self._mask_without_room, -math.inf)
        if self.sketches:
            return self._leading_to(vocabulary.picture_begin, words)
        if self._making.reply != "speech":
            return words
        if self._sayable:
            return self._leading_to(vocabulary.speech_begin, words)
        words[vocabulary.speech_begin] = -math.inf
        if not self.codes:
            words[vocabulary.stop_ids] = -math.inf
        return words

    def token(self, candidate: int) -> int:
        """The token of a place among the candidates."""
        if self.state == "words":
            return candidate
        ids = self._ids()
        return ids[candidate] if candidate < len(ids) else self._vocabulary.speech_end

    def take(self, token: int) -> None:
        """Go on behind a token of the reply."""
        self._taken += 1
        vocabulary = self._vocabulary
        queued = bool(self._queue)
        if queued:
            self._queue.pop(0)
        if self.state == "picture":
            if token == vocabulary.picture_end:
                self._end_picture()
            elif not queued:
                self.codes.append(token)
                if self._settled:
                    self._settled.popleft()
        elif self.state == "speech":
            if token == vocabulary.speech_end:
                self._begin_words()
                self._next_clause()
            else:
                self.codes.append(token)
        elif token == vocabulary.picture_begin and vocabulary.picture is not None:
            self.state, self.codes = "picture", []
            if self._reference is not None:
                self._queue = [*self._reference, vocabulary.picture_begin]
        elif token == vocabulary.speech_begin and vocabulary.speech is not None:
            self.state, self.codes = "speech", []
        else:
            self._words.append(token)
            if self._making.reply == "speech":
                self._sayable, self._due = vocabulary.heard(self._words)
                self._due |= len(self._words) >= LONGEST_UNSPOKEN

    def settle(self, codes: Sequence[int]) -> None:
        """Take all codes of the picture that was just begun as chosen."""
        self._settled = deque(codes)

    def _ids(self) -> range:
        """Tokens that the next code of a picture or of speech is one of."""
        codec = self._vocabulary.picture if self.state == "picture" else self._vocabulary.speech
        assert codec is not None
        return codec.candidates_at(len(self.codes))

    def _is_whole(self) -> bool:
        """Whether the speech at hand could end: no frame is begun."""
        assert self._vocabulary.speech is not None
        return len(self.codes) % self._vocabulary.speech.codes_per_frame == 0

    def _begin_words(self) -> None:
        self.state, self._words = "words", []
        self._sayable = self._due = False

    def _end_picture(self) -> None:
        self._begin_words()
        self._pictures += 1
        self._reference = tuple(self.codes)
        self.finished = self._making.reply == "image" and self._pictures >= self._making.pictures

    def _to_draw(self) -> int:
        """Tokens that the pictures still asked for take, sketches aside."""
        first = self._vocabulary.picture_length(edits=self._reference is not None)
        left = self._making.pictures - self._pictures
        return first + (left - 1) * self._vocabulary.picture_length(edits=True)

    def _next_clause(self) -> None:
        """Queue the words of the next clause of a script, and the beginning of its speech."""
        if self._making.script is None:
            return
        clause = next(self._clauses, None)
        self.finished = clause is None
        self._queue = [] if clause is None else [*clause, self._vocabulary.speech_begin]

    def _leading_to(self, begin: int, words: Tensor) -> Tensor:
        """Scores of words, changed in place, that do not end before what they lead to: there it begins."""
        stops = self._vocabulary.stop_ids
        words[begin] = torch.cat((words[stops], words[begin : begin + 1])).logsumexp(0)
        words[stops] = -math.inf
        return words

    def _openings(self) -> list[int]:
        """Beginnings that a reply may hold between its words."""
        vocabulary, reply = self._vocabulary, self._making.reply
        draws = reply in ("auto", "image") and vocabulary.picture is not None
        opening = [vocabulary.picture_begin] if draws else []
        return opening + ([vocabulary.speech_begin] if reply in ("auto", "speech") and self._has_voice() else [])

    def _has_voice(self) -> bool:
        """Whether there is somebody who could speak."""
        speech = self._vocabulary.speech
        return speech is not None and (self._making.voice is not None or not speech.takes_voice or bool(speech.voices))

    def _longest(self) -> int:
        assert self._vocabulary.speech is not None
        return math.ceil(LONGEST_CLAUSE * self._vocabulary.speech.codes_per_second)

    def _check(self) -> None:
        vocabulary, making = self._vocabulary, self._making
        if making.reply == "image" and vocabulary.picture is None:
            raise RequestError("this model cannot draw: it has no image codec (ask for a reply in words)")
        if (making.reply == "speech" or making.script is not None) and vocabulary.speech is None:
            raise RequestError("this model cannot speak: it has no speech codec (ask for a reply in words)")
        if (making.reply == "speech" or making.script is not None) and not self._has_voice():
            raise RequestError(
                "this model has no voice of its own: its speech codec comes without (give a recording of one)"
            )
        if making.reply == "image" and making.pictures < 1:
            raise RequestError(f"pictures = {making.pictures}: ask for 1 or more")
        if making.reply == "image" and self._to_draw() > self._limit:
            raise RequestError(
                f"{making.pictures} picture(s) take {self._to_draw()} tokens, and the reply may have {self._limit} "
                "(raise max_tokens, ask for fewer, or shorten the conversation)"
            )


def _edges(codec: CodeRange | None, controls: Mapping[str, int]) -> tuple[int, int]:
    return (-1, -1) if codec is None else (controls[codec.begin], controls[codec.end])


def script_of(texts: Sequence[str], tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
    """Clauses as the tokens that a reply consists of.

    Raises:
        RequestError: there is nothing to say.
    """
    script = tuple(tuple(tokenizer.encode(text)) for text in texts)
    if not any(script):
        raise RequestError("there is nothing to say: the text is empty")
    return script
