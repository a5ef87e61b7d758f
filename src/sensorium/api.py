"""The public face: load a model by name or path, then chat, stream, complete, fill in, score and embed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium.config import ModelConfig, SamplingConfig
from sensorium.data.media_files import media_kind
from sensorium.errors import ConfigError, DataError, RequestError
from sensorium.hub.folder import Pretrained, load_pretrained, save_pretrained
from sensorium.inference.engine import Engine, Prompt
from sensorium.messages import Audio, Delta, Done, Image, Message, Part, Text, TextDelta
from sensorium.processing.media import Feature, media_of
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer

Conversation: TypeAlias = str | Message | Sequence[Message | Mapping[str, Any]]
Media: TypeAlias = str | Path | bytes | Image | Audio


def load(
    name_or_path: str | Path = "seedling",
    *,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    threads: int | None = None,
) -> Model:
    """Load a model.

    Args:
        name_or_path: a shipped model (`seedling`), a model folder, ours or Hugging Face's, or a hub id.
        device: where to compute, such as `cpu` or `cuda`.
        dtype: what to compute in; by default float32 on the CPU, the stored precision elsewhere.
        threads: CPU threads to decode with; by default chosen by the model's size.

    Raises:
        CheckpointError, ConfigError: the model is missing, broken, or of an unknown kind.
    """
    return Model(load_pretrained(name_or_path, dtype=dtype, device=device), threads=threads)


class Model:
    """A model ready to answer. Made by `load`."""

    def __init__(self, pretrained: Pretrained, *, threads: int | None = None) -> None:
        self._pretrained = pretrained
        self._engine = Engine(pretrained.model, pretrained.processor, threads=threads)

    @property
    def name(self) -> str:
        """What the model is called."""
        return self._pretrained.name

    @property
    def config(self) -> ModelConfig:
        """The model's settings."""
        return self._pretrained.config

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self.processor.tokenizer

    @property
    def processor(self) -> Processor:
        """What turns messages into tokens and back. Raises `RequestError` when the model came without a tokenizer."""
        if self._pretrained.processor is None:
            raise RequestError(f"{self.name} came without a tokenizer: it takes token ids only (use logits)")
        return self._pretrained.processor

    def chat(
        self,
        messages: Conversation,
        *,
        image: Media | None = None,
        audio: Media | None = None,
        cancel: threading.Event | None = None,
        **sampling: Any,
    ) -> Message | list[Message]:
        """Answer a conversation.

        Args:
            messages: what the user says, a message, or the whole conversation, as messages or dicts.
            image: a picture for the last message: a path, the bytes of a file, or an `Image`.
            audio: a recording for the last message, in the same forms.
            cancel: once set, the answer ends where it stands.
            sampling: settings of `SamplingConfig`, such as `temperature=0.7, max_tokens=100`; those left out are
                the model's own.

        Returns:
            The assistant's message; a list of them when `n` is more than 1.

        Raises:
            RequestError: a sampling value out of range, a conversation longer than the context, or a kind of
                input that the model does not take.
            DataError: a message has the wrong form.
        """
        deltas = self.stream(messages, image=image, audio=audio, cancel=cancel, **sampling)
        replies = [Message.assistant(text) for text in joined(deltas)]
        return replies if len(replies) > 1 else replies[0]

    def stream(
        self,
        messages: Conversation,
        *,
        image: Media | None = None,
        audio: Media | None = None,
        cancel: threading.Event | None = None,
        **sampling: Any,
    ) -> Iterator[Delta]:
        """Answer a conversation piece by piece; arguments and errors are those of `chat`.

        Yields:
            `TextDelta`s of whole characters, then one `Done` per reply, saying why it ended.
        """
        settings = self._sampling(sampling)
        conversation = _conversation(messages, [*_media(Image, image), *_media(Audio, audio)])
        for message in conversation:
            for part in message.parts:
                self._check_senses(part)
        sequence = self.processor.encode_messages(conversation, add_generation_prompt=True)
        media = media_of([sequence.features]) if sequence.features else None
        blind = self._without_pictures(conversation) if settings.guidance else None
        return self._engine.stream(sequence.token_ids.tolist(), settings, media=media, blind=blind, cancel=cancel)

    def complete(self, text: str, *, cancel: threading.Event | None = None, **sampling: Any) -> str | list[str]:
        """Continue a text, as a base model does.

        Returns:
            The continuation without the text itself; a list of them when `n` is more than 1.

        Raises:
            RequestError: a sampling value out of range, or a text longer than the context.
        """
        texts = list(joined(self.stream_completion(text, cancel=cancel, **sampling)))
        return texts if len(texts) > 1 else texts[0]

    def stream_completion(
        self, text: str, *, cancel: threading.Event | None = None, **sampling: Any
    ) -> Iterator[Delta]:
        """Continue a text piece by piece; see `complete` and `stream`."""
        settings = self._sampling(sampling)
        if not isinstance(text, str):
            raise RequestError(f"the text to continue must be a string, not {type(text).__name__}")
        sequence = self.processor.encode_prompt(text)
        return self._engine.stream(sequence.token_ids.tolist(), settings, cancel=cancel)

    def fill_mask(self, text: str, top_k: int = 5) -> list[list[tuple[str, float]]]:
        """What a BERT-family model would put in each mask, written as its tokenizer's mask token (`[MASK]`).

        Returns:
            For each mask, in order, the `top_k` likeliest tokens with their probabilities, best first.

        Raises:
            RequestError: the model has no mask token, or the text has no mask.
        """
        tokenizer = self.tokenizer
        if tokenizer.mask_id is None or self.config.decoder.causal:
            raise RequestError(f"{self.name} cannot fill masks: it is no BERT-family model with a mask token")
        if not 1 <= top_k <= tokenizer.vocab_size:
            raise RequestError(f"top_k = {top_k} is outside 1..{tokenizer.vocab_size}")
        ends = [[] if end is None else [end] for end in (tokenizer.bos_id, tokenizer.eos_id)]
        ids = [*ends[0], *tokenizer.encode(text, controls=True), *ends[1]]
        masks = [position for position, token in enumerate(ids) if token == tokenizer.mask_id]
        if not masks:
            mask = tokenizer.decode([tokenizer.mask_id], controls=True)
            raise RequestError(f"the text has no {mask} to fill")
        probabilities = torch.from_numpy(self._engine.logits(ids)[masks]).softmax(-1)
        found = probabilities.topk(top_k)
        return [
            [(tokenizer.decode([token]), probability) for token, probability in zip(*row, strict=True)]
            for row in zip(found.indices.tolist(), found.values.tolist(), strict=True)
        ]

    def logits(self, token_ids: Sequence[int], features: Sequence[Feature] = ()) -> NDArray[np.float32]:
        """Scores of what follows each token: (time, vocab_size) float32.

        Args:
            token_ids: what is read.
            features: the pictures and recordings whose placeholders are among the tokens, as the processor gives both.

        Raises:
            RequestError: no tokens, unknown ones, more than the model's context, or features that do not fit them.
        """
        return self._engine.logits(token_ids, media_of([features]) if features else None)

    def embed(self, part: str | Path | Part) -> NDArray[np.float32]:
        """A text, picture or recording as a vector of length 1, (dim,).

        Where the model has an embedder, all three lie in one space: their products say how well they belong together.
        Otherwise a text's vector is the mean of the last layer's states over its tokens.

        Args:
            part: a string is a text, a `Path` a file that its name tells to be a picture or a recording.

        Raises:
            RequestError: the text is empty, or longer than the model's context; the model cannot embed such a part.
            DataError: the picture or recording cannot be read.
        """
        part = _part(part)
        if isinstance(part, Text):
            if not part.text:
                raise RequestError("the text to embed is empty")
            return self._engine.embed(self.processor.encode_text(part.text).token_ids.tolist())
        self._check_senses(part, embedding=True)
        features = self.processor.features(part)
        if isinstance(part, Image):
            features = features[-1:]  # the whole picture stands behind its tiles
        return self._engine.embed_media(media_of([features]))

    def save(self, folder: str | Path) -> None:
        """Write a model folder that `load` reads."""
        save_pretrained(self._pretrained, Path(folder))

    def _without_pictures(self, conversation: Sequence[Message]) -> Prompt | None:
        """The prompt of a conversation whose pictures are taken out; None where there are none."""
        left = [tuple(part for part in message.parts if not isinstance(part, Image)) for message in conversation]
        if left == [message.parts for message in conversation]:
            return None
        blind = [replace(message, parts=parts) for message, parts in zip(conversation, left, strict=True)]
        sequence = self.processor.encode_messages(blind, add_generation_prompt=True)
        media = media_of([sequence.features]) if sequence.features else None
        return sequence.token_ids.tolist(), media

    def _check_senses(self, part: Part, *, embedding: bool = False) -> None:
        """Raise `RequestError` unless the model takes in such a part: in a conversation, or to embed it."""
        if isinstance(part, Text):
            return
        sees = isinstance(part, Image)
        sense, what = ("see", "a picture") if sees else ("hear", "a recording")
        organ = self.config.vision if sees else self.config.speech
        if organ is None:
            takes = (
                "reads only text"
                if self.config.vision is None and self.config.speech is None
                else "has no " + ("eyes" if sees else "ears")
            )
            given = "what is to be embedded is" if embedding else "the conversation holds"
            raise RequestError(f"{self.name} cannot {sense}: {given} {what}, but this model {takes}")
        if embedding and self.config.embedder is None:
            raise RequestError(
                f"{self.name} cannot embed {what}: it has no common space of words, pictures and recordings"
            )

    def _sampling(self, changes: Mapping[str, Any]) -> SamplingConfig:
        """The model's own sampling settings with the caller's in their place."""
        if isinstance(changes.get("stop"), str):
            changes = {**changes, "stop": (changes["stop"],)}
        defaults = self._pretrained.sampling.model_dump()
        try:
            return SamplingConfig.parse({**defaults, **changes}, "sampling")
        except ConfigError as error:
            raise RequestError(str(error)) from None


def joined(deltas: Iterator[Delta]) -> list[str]:
    """The whole text of each reply of a stream, in order."""
    texts: dict[int, list[str]] = {}
    for delta in deltas:
        if isinstance(delta, TextDelta):
            texts.setdefault(delta.index, []).append(delta.text)
        elif isinstance(delta, Done):
            texts.setdefault(delta.index, [])
    return ["".join(texts[index]) for index in sorted(texts)]


def _conversation(messages: Conversation, media: Sequence[Part]) -> list[Message]:
    """Any accepted form of a conversation as messages, with media given apart put before the last one's words."""
    if isinstance(messages, str):
        messages = [Message.user(messages)]
    elif isinstance(messages, Message):
        messages = [messages]
    if not isinstance(messages, Sequence):
        raise DataError(f"a conversation must be a string, a Message or a list of them, not {type(messages).__name__}")
    conversation = []
    for index, message in enumerate(messages):
        if not isinstance(message, Message):
            try:
                message = Message.from_dict(message)
            except DataError as error:
                raise DataError(f"message {index}: {error}") from None
        conversation.append(message)
    if not conversation:
        raise DataError("a conversation must have at least one message")
    if media:
        last = conversation[-1]
        conversation[-1] = Message(last.role, (*media, *last.parts))
    return conversation


def _media(kind: type[Image] | type[Audio], given: Media | None) -> list[Part]:
    """A picture or recording in any accepted form, as no or one part."""
    if given is None:
        return []
    if isinstance(given, kind):
        return [given]
    if isinstance(given, bytes):
        return [kind(data=given)]
    if isinstance(given, str | Path):
        return [kind(path=Path(given))]
    raise RequestError(f"{kind.__name__.lower()} must be a path, bytes or {kind.__name__}, not {type(given).__name__}")


def _part(given: str | Path | Part) -> Part:
    """What is to be embedded, in any accepted form, as a part."""
    if isinstance(given, str):
        return Text(given)
    if isinstance(given, Path):
        kind = media_kind(given.name)
        if kind is None:
            raise RequestError(
                f"{given} is by its name no picture or recording (say which: Image(path=…), Audio(path=…))"
            )
        return Image(path=given) if kind == "image" else Audio(path=given)
    if isinstance(given, Text | Image | Audio):
        return given
    raise RequestError(f"what to embed must be a string, a Path, Text, Image or Audio, not {type(given).__name__}")
