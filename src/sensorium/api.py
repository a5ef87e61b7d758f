"""The public face: load a model by name or path, then chat, stream, complete, fill in, score and embed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium.clauses import can_be_said, clauses
from sensorium.config import ModelConfig, SamplingConfig, nearest
from sensorium.errors import ConfigError, RequestError
from sensorium.forms import (
    Conversation,
    Media,
    check_senses,
    collected,
    conversation_of,
    ended_early,
    joined,
    media_parts,
    part_of,
    voice_of,
)
from sensorium.hub.folder import Pretrained, load_pretrained, save_pretrained
from sensorium.inference.engine import Engine, Prompt
from sensorium.inference.generators import AutoregressiveGenerator, GANGenerator, Generator, GeneratorKind
from sensorium.inference.grammar import Making, ReplyKind, script_of
from sensorium.inference.noting import NoteTaker
from sensorium.languages import run_on
from sensorium.messages import Audio, AudioDelta, Delta, Image, Message, Part, Text
from sensorium.processing.codes import Shown, wav_bytes
from sensorium.processing.media import Feature, media_of
from sensorium.processing.processor import Processor, pictureless, wordless
from sensorium.processing.tokenizer import Tokenizer

SAY_ALOUD = "Say: {text}"
WRITE_DOWN = "Write down what you hear."


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
    def engine(self) -> Engine:
        """What computes, on token ids."""
        return self._engine

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

    @cached_property
    def _note_taker(self) -> NoteTaker:
        """What notes what is shown and said, and remembers it."""
        return NoteTaker(self._engine, self.processor)

    def chat(
        self,
        messages: Conversation,
        *,
        image: Media | None = None,
        audio: Media | None = None,
        reply: ReplyKind = "auto",
        voice: str | Media | None = None,
        pictures: int = 1,
        cancel: threading.Event | None = None,
        **sampling: Any,
    ) -> Message | list[Message]:
        """Answer a conversation.

        Args:
            messages: what the user says, a message, or the whole conversation, as messages or dicts.
            image: a picture for the last message: a path, the bytes of a file, or an `Image`.
            audio: a recording for the last message, in the same forms.
            reply: what to answer with: `text`, `image`, `speech` (each clause in words, then aloud), or `auto`, as the
                model sees fit. A picture goes by the last one of the conversation, where there is one.
            voice: who speaks: the name of a voice of the model's, or a short recording of somebody; by default the
                model's own.
            pictures: how many, where the reply is `image`; before each, a model that sketches says what stands where.
            cancel: once set, the answer ends where it stands.
            sampling: settings of `SamplingConfig`, such as `temperature=0.7, max_tokens=100`; those left out are
                the model's own.

        Returns:
            The assistant's message; a list of them when `n` is more than 1. Pictures in it are PNG files, recordings
            WAV files.

        Raises:
            RequestError: a sampling value out of range, a conversation longer than the context, a kind of input that
                the model does not take, or a kind of answer or a voice that it does not have.
            DataError: a message has the wrong form.
        """
        deltas = self.stream(
            messages, image=image, audio=audio, reply=reply, voice=voice, pictures=pictures, cancel=cancel, **sampling
        )
        replies = collected(deltas)
        return replies if len(replies) > 1 else replies[0]

    def stream(
        self,
        messages: Conversation,
        *,
        image: Media | None = None,
        audio: Media | None = None,
        reply: ReplyKind = "auto",
        voice: str | Media | None = None,
        pictures: int = 1,
        cancel: threading.Event | None = None,
        **sampling: Any,
    ) -> Iterator[Delta]:
        """Answer a conversation piece by piece; arguments and errors are those of `chat`.

        Yields:
            `TextDelta`s of whole characters, `ImageDelta`s of whole pictures, `AudioDelta`s as soon as there is sound,
            then one `Done` per reply, saying why it ended.
        """
        settings = self._sampling(sampling)
        conversation = conversation_of(messages, [*media_parts(Image, image), *media_parts(Audio, audio)])
        for message in conversation:
            for part in message.parts:
                if not (message.role == "assistant" and self._writes(part)):  # what it made stands there as codes
                    check_senses(part, self.config, self.name)
        making = self._making(conversation, reply, voice, pictures)
        unseen = pictureless(conversation)
        answer = self._answering(conversation, unseen, settings, making, cancel)
        if not NoteTaker.serves(conversation, settings):
            return answer

        def taking_notes() -> Iterator[Delta]:
            take, best = self._note_taker.noted, answer
            noted = take(conversation, settings, reply=reply, cancel=cancel)
            blind = take(unseen, settings, reply=reply, cancel=cancel) if settings.guidance else unseen
            with suppress(RequestError):  # they leave no room to answer
                best = self._answering(noted, blind, settings, making, cancel)
            yield from best

        return taking_notes()

    def draw(
        self,
        request: str,
        *,
        image: Media | None = None,
        pictures: int = 1,
        generator: GeneratorKind = "autoregressive",
        **sampling: Any,
    ) -> Image | list[Image]:
        """A picture of what is asked for, or a given one changed by words.

        Args:
            request: what to draw, or how to change `image`.
            image: the picture to change.
            pictures: how many; several come as a list, each going by the one before (those of `gan` do not).
            generator: what makes them, see `generator`.
            sampling: as in `chat`, such as `image_temperature`, `image_guidance`, `seed`; `gan` takes `seed` alone.

        Raises:
            RequestError, DataError: as `chat`.
        """
        if generator != "autoregressive":
            makes = self.generator(generator)
            for name in sampling.keys() - {"seed"}:
                raise RequestError(f"{name} means nothing to a painter, which makes a picture at once (leave it out)")
            asked = conversation_of(request, media_parts(Image, image))
            painted = makes.generate(asked, seed=sampling.get("seed"), n=pictures)
            return painted if pictures > 1 else painted[0]
        message = self.chat(request, image=image, reply="image", pictures=pictures, **sampling | {"n": 1})
        assert isinstance(message, Message)
        drawn = [part for part in message.parts if isinstance(part, Image)]
        if not drawn:
            raise RequestError(
                "nothing was drawn before the reply ended (it was cancelled, or stop_token_ids name a code)"
            )
        return drawn if pictures > 1 else drawn[0]

    def generator(self, kind: GeneratorKind = "autoregressive") -> Generator:
        """What makes pictures of conversations: `autoregressive`, code by code, or `gan`, in one pass.

        Raises:
            RequestError: an unknown kind, or the model has no image codec, or no painter.
        """
        if kind not in get_args(GeneratorKind):
            raise RequestError(f"generator = {kind!r}{nearest(str(kind), get_args(GeneratorKind))}")
        return AutoregressiveGenerator(self) if kind == "autoregressive" else GANGenerator(self)

    def say(self, text: str, *, voice: str | Media | None = None, **sampling: Any) -> Audio:
        """A text spoken, word by word: a WAV file. Arguments and errors are those of `stream_speech`."""
        deltas = list(self.stream_speech(text, voice=voice, **sampling))
        sounds = [delta for delta in deltas if isinstance(delta, AudioDelta)]  # of one clause after the other
        if not sounds or ended_early(deltas):
            raise RequestError("the text was not spoken to its end (raise max_tokens, or say it in parts)")
        return Audio(data=wav_bytes(b"".join(sound.pcm16 for sound in sounds), sounds[0].sample_rate))

    def stream_speech(
        self,
        text: str,
        *,
        voice: str | Media | None = None,
        cancel: threading.Event | None = None,
        **sampling: Any,
    ) -> Iterator[Delta]:
        """Speak a text, and nothing else.

        Args:
            text: what to say.
            voice: as in `chat`.
            cancel: once set, the speech ends where it stands.
            sampling: as in `chat`, such as `speech_temperature` and `seed`.

        Yields:
            As `stream`: the words of each clause, then its sound.

        Raises:
            RequestError: the text is empty or has no sound, or the model cannot speak, or has no such voice.
            DataError: the recording of the voice cannot be read.
        """
        settings = self._sampling(sampling | {"n": 1})
        if not isinstance(text, str):
            raise RequestError(f"the text to say must be a string, not {type(text).__name__}")
        if text.strip() and not can_be_said(text):
            raise RequestError(f"there is nothing to say in {text.strip()[:40]!r}: no letter and no digit")
        script = script_of(clauses(text.strip()), self.tokenizer)
        conversation = [Message.user(SAY_ALOUD.format(text=text.strip()))]
        prompt, _ = self.processor.prompt(conversation)
        making = Making("speech", voice=voice_of(voice, self.processor.codecs, self.name), script=script)
        without = self._wordless(conversation, settings)
        return self._engine.stream(prompt, settings, cancel=cancel, making=making, wordless=without)

    def transcribe(self, audio: Media, **sampling: Any) -> str:
        """The words of a recording, in the language that is spoken; a long one stretch by stretch (`listen_seconds`).

        Args:
            audio: a path, the bytes of a file, or an `Audio`.
            sampling: as in `chat`.

        Raises:
            RequestError, DataError: as `chat`.
        """
        heard = self._note_taker.pieces(media_parts(Audio, audio), self._sampling(sampling))
        if not heard:
            raise RequestError("there is nothing to write down: give a recording")
        talks = ([Message.user((piece, Text(WRITE_DOWN)))] for piece in heard)
        written = [self.chat(talk, reply="text", **sampling | {"n": 1}) for talk in talks]
        return run_on(message.text for message in written if isinstance(message, Message))

    @property
    def voices(self) -> tuple[str, ...]:
        """Names of the voices that the model comes with, its own first; none where it cannot speak."""
        codec = self.config.speech_codec
        return codec.voices if codec is not None else ()

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
        part = part_of(part)
        if isinstance(part, Text):
            if not part.text:
                raise RequestError("the text to embed is empty")
            return self._engine.embed(self.processor.encode_text(part.text).token_ids.tolist())
        check_senses(part, self.config, self.name, embedding=True)
        features = self.processor.features(part)
        if isinstance(part, Image):
            features = features[-1:]  # the whole picture stands behind its tiles
        return self._engine.embed_media(media_of([features]))

    def save(self, folder: str | Path) -> None:
        """Write a model folder that `load` reads."""
        save_pretrained(self._pretrained, Path(folder))

    def _answering(
        self,
        conversation: Sequence[Message],
        unseen: Sequence[Message],
        settings: SamplingConfig,
        making: Making,
        cancel: threading.Event | None,
    ) -> Iterator[Delta]:
        """The answer to a conversation as it stands, or with notes; `unseen` is the same without its pictures.

        What is wrong with it is raised here, before the first delta.
        """
        prompt, media = self.processor.prompt(conversation)
        return self._engine.stream(
            prompt,
            settings,
            media=media,
            blind=self.processor.prompt(unseen) if settings.guidance and list(unseen) != list(conversation) else None,
            cancel=cancel,
            making=making,
            wordless=self._wordless(conversation, settings) if making.reply != "text" else None,
        )

    def _wordless(self, conversation: Sequence[Message], settings: SamplingConfig) -> Prompt | None:
        """The prompt of a conversation without its words, where something is to lean away from it."""
        return self.processor.prompt(wordless(conversation)) if settings.leans_on_words else None

    def _making(
        self, conversation: Sequence[Message], reply: ReplyKind, voice: str | Media | None, pictures: int
    ) -> Making:
        """What a reply is to be made of, with the codes of the picture that a new one goes by."""
        if reply not in get_args(ReplyKind):
            raise RequestError(f"reply = {reply!r}{nearest(str(reply), get_args(ReplyKind))}")
        codecs = self.processor.codecs
        last: Shown | None = None
        shown = [part for message in conversation for part in message.parts if isinstance(part, Image)]
        if reply in ("auto", "image") and codecs is not None and codecs.image is not None:
            last = codecs.shown(shown[-1]) if shown else None
        spoken = voice_of(voice, codecs, self.name)
        if last is None:
            points = bool(shown) or reply in ("auto", "image")
            return Making(reply, pictures, voice=spoken, points=points)
        return Making(reply, pictures, reference=last.ids, pixels=last.pixels, voice=spoken)

    def _writes(self, part: Part) -> bool:
        """Whether the model could have made such a part itself."""
        codecs = self.processor.codecs
        return codecs is not None and (codecs.image if isinstance(part, Image) else codecs.speech) is not None

    def _sampling(self, changes: Mapping[str, Any]) -> SamplingConfig:
        """The model's own sampling settings with the caller's in their place."""
        if isinstance(changes.get("stop"), str):
            changes = {**changes, "stop": (changes["stop"],)}
        defaults = self._pretrained.sampling.model_dump()
        try:
            return SamplingConfig.parse({**defaults, **changes}, "sampling")
        except ConfigError as error:
            raise RequestError(str(error)) from None
