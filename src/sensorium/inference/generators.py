"""Two ways from a conversation to a picture behind one interface: code by code, or in one pass by a GAN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias

from sensorium.config import ModelConfig
from sensorium.errors import RequestError
from sensorium.inference.engine import Engine
from sensorium.messages import Image, Message
from sensorium.processing.codes import png_bytes
from sensorium.processing.media import media_of
from sensorium.processing.processor import Processor

GeneratorKind: TypeAlias = Literal["autoregressive", "gan"]


class Generator(Protocol):
    """Makes the pictures that a conversation asks for."""

    def generate(self, conversation: Sequence[Message], *, seed: int | None = None, n: int = 1) -> list[Image]:
        """`n` pictures that answer a conversation, as PNG files; the same ones for the same seed."""
        ...


class Replying(Protocol):
    """What answers conversations, such as `sensorium.Model`."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def config(self) -> ModelConfig:
        """Settings of its parts."""

    def chat(self, messages: Sequence[Message], *, reply: Literal["image"], **sampling: Any) -> Message | list[Message]:
        """The reply to a conversation, or a list of `n` of them."""


class Painting(Protocol):
    """What has an engine to paint with, such as `sensorium.Model`."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def config(self) -> ModelConfig:
        """Settings of its parts."""

    @property
    def processor(self) -> Processor:
        """Turns conversations into prompts."""

    @property
    def engine(self) -> Engine:
        """Paints."""


class AutoregressiveGenerator:
    """Pictures as the decoder writes them, one code after the other.

    Args:
        model: what replies.
        sampling: settings of every reply, such as `image_temperature` and `image_guidance`.

    Raises:
        RequestError: the model has no image codec.
    """

    def __init__(self, model: Replying, **sampling: Any) -> None:
        if model.config.image_codec is None:
            raise RequestError(f"{model.name} cannot draw code by code: it has no image codec (config: image_codec)")
        self._model, self._sampling = model, sampling

    def generate(self, conversation: Sequence[Message], *, seed: int | None = None, n: int = 1) -> list[Image]:
        """See `Generator`.

        Raises:
            RequestError, DataError: as `Model.chat`.
        """
        replies = self._model.chat(conversation, reply="image", **self._sampling | {"seed": seed, "n": n})
        replies = [replies] if isinstance(replies, Message) else replies
        return [part for reply in replies for part in reply.parts if isinstance(part, Image)]


class GANGenerator:
    """Pictures by the painter: what is asked, shown and said becomes one vector, and with noise a picture, at once.

    Args:
        model: what paints.

    Raises:
        RequestError: the model has no painter.
    """

    def __init__(self, model: Painting) -> None:
        if model.config.painter is None:
            raise RequestError(f"{model.name} cannot paint in one pass: it has no painter (config: painter)")
        self._model = model

    def generate(self, conversation: Sequence[Message], *, seed: int | None = None, n: int = 1) -> list[Image]:
        """See `Generator`.

        Raises:
            RequestError: a conversation longer than the context or with what the model does not take, a seed or
                number out of range.
            DataError: a picture or recording of the conversation cannot be read.
        """
        prompt = self._model.processor.encode_messages(conversation, add_generation_prompt=True)
        media = media_of([prompt.features]) if prompt.features else None
        pixels = self._model.engine.paint(prompt.token_ids.tolist(), media=media, seed=seed, n=n)
        return [Image(data=png_bytes(each)) for each in pixels]
