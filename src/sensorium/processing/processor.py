"""Messages and documents to token sequences: the same one trains and serves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np

from sensorium.config import AugmentConfig, ModelConfig
from sensorium.errors import CheckpointError, DataError, RequestError
from sensorium.messages import Audio, Image, Message, Text
from sensorium.nn.media import Media
from sensorium.processing.codes import Codecs, check_codes
from sensorium.processing.files import read_settings
from sensorium.processing.media import Feature, Kind, media_of
from sensorium.processing.placeholders import Codes, Placeholders, Stretch
from sensorium.processing.template import OUR_TEMPLATE, ChatTemplate, Segment
from sensorium.processing.tokenizer import TURNS, Tokenizer

__all__ = ["Feature", "Processor", "Sequence"]


@dataclass(frozen=True)
class Sequence:
    """Tokens, and which of them a model should learn to write.

    Attributes:
        token_ids: (time,) int32.
        learned: (time,) bool; `learned[i]`: token `i` is to be predicted from those before it.
        features: pictures and recordings in order, each with its placeholders among the tokens.
    """

    token_ids: np.ndarray
    learned: np.ndarray
    features: tuple[Feature, ...] = ()

    def __len__(self) -> int:
        return len(self.token_ids)


class Processor:
    """Turns conversations and documents into sequences.

    Args:
        tokenizer: cuts text.
        template: Jinja source of the chat template. Without one, a tokenizer trained here has `OUR_TEMPLATE`; any other
            belongs to a model that only continues text.
        stop_ids: token ids that end a reply, beyond the tokenizer's end of text and the template's end of turn.
        config: the model's, which says how it sees and hears; without one it reads text only.
        codecs: the model's, by which pictures and speech of the assistant's are tokens that it writes.

    Raises:
        ConfigError: the tokenizer lacks a token that the config asks for, or has ids that are codes of the model.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: str | None = None,
        stop_ids: Iterable[int] = (),
        config: ModelConfig | None = None,
        codecs: Codecs | None = None,
    ) -> None:
        self.tokenizer, self.config, self.codecs = tokenizer, config, codecs
        self._chance: tuple[AugmentConfig, np.random.Generator] | None = None
        if config is not None:
            check_codes(config, tokenizer.vocab_size)
        self._placeholders = Placeholders(config, tokenizer.control_ids.keys())
        self._tokens = self._placeholders.tokens
        stops = {*stop_ids} | ({tokenizer.eos_id} if tokenizer.eos_id is not None else set())
        self.template: ChatTemplate | None = None
        if template is None and set(TURNS) <= tokenizer.control_ids.keys():
            template = OUR_TEMPLATE
        if template is not None:
            ends = [name for name, index in tokenizer.control_ids.items() if index in stops]
            variables = {f"{role}_token": name for role, name in tokenizer.roles.items()}
            self.template = ChatTemplate(template, tokenizer.control_ids, variables, ends, self._tokens)
            if self.template.end_of_turn is not None:
                stops.add(tokenizer.control_ids[self.template.end_of_turn])
        self._stop_ids = tuple(sorted(stops))

    def with_config(self, config: ModelConfig) -> Processor:
        """The same for a model of these settings. Raises `ConfigError` when the tokenizer lacks a token for them."""
        return Processor(self.tokenizer, self._source, self.stop_ids, config)

    def with_codecs(self, codecs: Codecs) -> Processor:
        """The same for the model that these are the codecs of."""
        return Processor(self.tokenizer, self._source, self.stop_ids, codecs.config, codecs)

    def with_tokenizer(self, tokenizer: Tokenizer) -> Processor:
        """The same with a tokenizer that has more tokens."""
        return Processor(tokenizer, self._source, self.stop_ids, self.config, self.codecs)

    def augmented(self, settings: AugmentConfig, generator: np.random.Generator) -> Processor:
        """The same for training: every picture and recording of a conversation is varied by chance."""
        varied = Processor.__new__(Processor)
        varied.__dict__ |= self.__dict__ | {"_placeholders": self._placeholders.augmented(settings, generator)}
        varied._chance = (settings, generator)
        if self.codecs is not None:
            varied.codecs = self.codecs.augmented(settings, generator)
        return varied

    def __reduce__(self) -> tuple[type[Processor], tuple[Any, ...]]:
        return Processor, (self.tokenizer, self._source, self.stop_ids, self.config, self.codecs)

    @property
    def _source(self) -> str | None:
        return None if self.template is None else self.template.source

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Token ids that end a reply, in order."""
        return self._stop_ids

    def encode_text(self, text: str) -> Sequence:
        """One document to pretrain on: begin, text, end (those of the two that the tokenizer has).

        All is learned but the begin token.

        Raises:
            DataError: when the text holds a lone surrogate.
        """
        begin = [] if self.tokenizer.bos_id is None else [self.tokenizer.bos_id]
        end = [] if self.tokenizer.eos_id is None else [self.tokenizer.eos_id]
        ids = np.array([*begin, *self.tokenizer.encode(text), *end], dtype=np.int32)
        learned = np.ones(len(ids), dtype=bool)
        learned[: len(begin)] = False
        return Sequence(ids, learned)

    def encode_prompt(self, text: str) -> Sequence:
        """A text to be continued: what the tokenizer puts before a plain text, then the text. Nothing is learned.

        Raises:
            DataError: when the text holds a lone surrogate.
        """
        ids = np.array([*self.tokenizer.prompt_ids, *self.tokenizer.encode(text)], dtype=np.int32)
        return Sequence(ids, np.zeros(len(ids), dtype=bool))

    def encode_messages(self, messages: Many[Message], *, add_generation_prompt: bool = False) -> Sequence:
        """A conversation, through the chat template. Learned are the assistant's words and the end of its turns.

        Args:
            messages: the conversation.
            add_generation_prompt: end with the opening of the assistant's next turn.

        Raises:
            DataError: when the template refuses the conversation, the text holds a lone surrogate, or a picture or
                recording cannot be read.
            RequestError: when the model has no chat template, or a message holds what it cannot take.
        """
        if self.template is None:
            raise RequestError("this model has no chat template, it only continues text (use complete)")
        messages = self._perhaps_wordless(messages)
        written = list(self._written(messages))
        segments = self.template.render(messages, add_generation_prompt=add_generation_prompt)
        if not self._tokens:
            return self._encoded([(segment.text, segment.control, segment.learned, None) for segment in segments])
        return self._encoded(_expanded(segments, written))

    def _written(self, messages: Many[Message]) -> Iterator[tuple[Kind, list[Stretch]]]:
        """How each picture and recording of a conversation stands in it: shown to the model, or written by itself."""
        last: Image | None = None
        for message in messages:
            own = message.role == "assistant" and self.codecs is not None
            for part in message.parts:
                if isinstance(part, Image):
                    draws = own and self.codecs is not None and self.codecs.image is not None
                    yield "image", self._drawn(part, last) if draws else self._placeholders.written(part)
                    last = part
                elif isinstance(part, Audio):
                    speaks = own and self.codecs is not None and self.codecs.speech is not None
                    yield "audio", self._said(part) if speaks else self._placeholders.written(part)

    def prompt(self, messages: Many[Message]) -> tuple[list[int], Media | None]:
        """A conversation as an engine reads it, before the assistant's next turn: tokens, and the media among them."""
        sequence = self.encode_messages(messages, add_generation_prompt=True)
        return sequence.token_ids.tolist(), media_of([sequence.features]) if sequence.features else None

    def _perhaps_wordless(self, messages: Many[Message]) -> Many[Message]:
        """In training, by chance, a conversation that is answered by a picture or aloud, without any words."""
        if self._chance is None or self.codecs is None:
            return messages
        settings, generator = self._chance
        made = [part for message in messages if message.role == "assistant" for part in message.parts]
        draws = self.codecs.image is not None and any(isinstance(part, Image) for part in made)
        speaks = self.codecs.speech is not None and any(isinstance(part, Audio) for part in made)
        dropped = settings.drop_words and (draws or speaks) and generator.random() < settings.drop_words
        return wordless(messages) if dropped else messages

    def _drawn(self, part: Image, before: Image | None) -> list[Stretch]:
        assert self.codecs is not None
        return self._placeholders.drawn(part, self.codecs, before)

    def _said(self, part: Audio) -> list[Stretch]:
        assert self.codecs is not None
        return self._placeholders.said(part, self.codecs)

    def features(self, part: Image | Audio) -> list[Feature]:
        """A picture or recording by itself, prepared for its encoder: a feature for each tile or window.

        Raises:
            RequestError: when the model has no encoder for it.
            DataError: when it cannot be read, or is beyond its limits.
        """
        return self._placeholders.features(part)

    def _encoded(self, pieces: Many[_Piece]) -> Sequence:
        ids, spans = self.tokenizer.encode_pieces((text, control) for text, control, _, _ in pieces)
        # A token that reaches into the assistant's words is one of them: counted by a running sum over characters.
        lengths = [len(text) for text, _, _, _ in pieces]
        before = np.concatenate([[0], np.cumsum(np.repeat([learned for _, _, learned, _ in pieces], lengths))])
        learned = before[spans[:, 1]] > before[spans[:, 0]]
        held = [holds for _, _, _, holds in pieces if holds is not None]
        if not held:
            return Sequence(ids, learned)
        # Each placeholder was written once: nothing can stand between several, so that all may be put in afterwards.
        starts = (np.cumsum(lengths) - lengths)[[holds is not None for _, _, _, holds in pieces]]
        controls = [self.tokenizer.control_ids[token] for token in self._tokens.values()]
        places = np.flatnonzero(np.isin(ids, controls) & np.isin(spans[:, 0], starts))
        if len(places) != len(held):
            raise DataError(f"the conversation has {len(places)} placeholders for {len(held)} features")
        counts = np.ones(len(ids), dtype=np.int64)
        counts[places] = [holds.length for holds in held]
        shown = [isinstance(holds, Feature) for holds in held]
        learned[places[shown]] = False
        begins = (np.cumsum(counts) - counts)[places].tolist()
        ids, learned = np.repeat(ids, counts), np.repeat(learned, counts)
        features = []
        for begin, holds in zip(begins, held, strict=True):
            if isinstance(holds, Feature):
                features.append(holds.moved(begin))
            else:
                ids[begin : begin + holds.length] = holds.ids
        return Sequence(ids, learned, tuple(features))

    @classmethod
    def load(cls, folder: Path, config: ModelConfig | None = None) -> Self:
        """Read from a model folder, ours or Hugging Face's.

        Args:
            folder: where the files are.
            config: the model's, which says how it sees and hears.

        Raises:
            CheckpointError: when a file is missing or broken.
            ConfigError: when the tokenizer lacks a token that the config asks for.
        """
        folder = Path(folder)
        tokenizer = Tokenizer.load(folder)
        settings = read_settings(folder / "tokenizer_config.json")
        stops = _ids(settings, "stop_token_ids", folder / "tokenizer_config.json")
        for name in ("generation_config.json", "config.json"):
            ends = _ids(read_settings(folder / name), "eos_token_id", folder / name)
            if ends:
                stops += ends
                break
        return cls(tokenizer, _read_template(folder, settings), stops, config)

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json`, `tokenizer_config.json` and, if there is a template, `chat_template.jinja`."""
        self.tokenizer.save(folder, {"stop_token_ids": list(self.stop_ids)})
        if self.template is not None:
            (Path(folder) / "chat_template.jinja").write_bytes(self.template.source.encode())


def wordless(messages: Many[Message]) -> list[Message]:
    """A conversation without what its user writes and says: what he shows stays.

    So it is with an answer that holds a picture or speech, whose sketch or words are left out. One without stays as it
    is where it answers to a picture; where words answer to words, both sides are left out, as the answer tells what
    was said.
    """
    messages = list(messages)
    spoken = {
        index
        for first, (asked, answer) in enumerate(pairwise(messages))
        if (asked.role, answer.role) == ("user", "assistant")
        and not any(isinstance(part, Image) for part in asked.parts)
        and all(isinstance(part, Text) for part in answer.parts)
        for index in (first, first + 1)
    }
    left = [_without_words(message) for index, message in enumerate(messages) if index not in spoken]
    return left or [Message.user("")]


def pictureless(messages: Many[Message]) -> list[Message]:
    """A conversation without its pictures."""
    return [
        replace(message, parts=tuple(part for part in message.parts if not isinstance(part, Image)))
        for message in messages
    ]


def _without_words(message: Message) -> Message:
    if message.role == "user":
        return Message("user", tuple(part for part in message.parts if isinstance(part, Image)) or (Text(""),))
    made = tuple(part for part in message.parts if not isinstance(part, Text))
    return Message(message.role, made) if message.role == "assistant" and made else message


_Piece: TypeAlias = tuple[str, bool, bool, Feature | Codes | None]  # text, control, learned, what it stands for


def _expanded(segments: Many[Segment], written: Many[tuple[Kind, Many[Stretch]]]) -> list[_Piece]:
    """The segments of a conversation, each placeholder replaced by how the next medium of its kind is written.

    Raises:
        DataError: the template wrote more placeholders than there are media, or fewer.
    """
    left = {kind: [stretches for of, stretches in written if of == kind] for kind in ("image", "audio")}
    for kind, media in left.items():
        places = sum(segment.shows == kind for segment in segments)
        if places != len(media):
            raise DataError(
                f"the chat template writes {places} placeholders of {kind} for {len(media)} in the messages"
            )
    waiting = {kind: iter(media) for kind, media in left.items()}
    return list(
        chain.from_iterable(
            [(segment.text, segment.control, segment.learned, None)]
            if segment.shows is None
            else [
                (stretch.text, stretch.control, segment.learned and stretch.learned, stretch.holds)
                for stretch in next(waiting[segment.shows])
            ]
            for segment in segments
        )
    )


def _ids(settings: Mapping[str, Any], key: str, path: Path) -> list[int]:
    value = settings.get(key)
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if any(not isinstance(index, int) or isinstance(index, bool) or index < 0 for index in ids):
        raise CheckpointError(f"{path}: {key} must be token ids, not {value!r}")
    return ids


def _read_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """The chat template: `chat_template.jinja`, else the one in `tokenizer_config.json` (or its `default`)."""
    path = folder / "chat_template.jinja"
    if path.exists():
        try:
            return path.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from None
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
        template = named.get("default")
    if template is not None and not isinstance(template, str):
        raise CheckpointError(f"{folder / 'tokenizer_config.json'}: chat_template must be a string")
    return template
