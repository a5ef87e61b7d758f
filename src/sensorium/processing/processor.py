"""Messages and documents to token sequences: the same one trains and serves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from sensorium.errors import CheckpointError, RequestError
from sensorium.messages import Message
from sensorium.processing.files import read_settings
from sensorium.processing.template import OUR_TEMPLATE, ChatTemplate
from sensorium.processing.tokenizer import CONTROLS, Tokenizer


@dataclass(frozen=True)
class Sequence:
    """Tokens, and which of them a model should learn to write.

    Attributes:
        token_ids: (time,) int32.
        learned: (time,) bool; `learned[i]`: token `i` is to be predicted from those before it.
    """

    token_ids: np.ndarray
    learned: np.ndarray

    def __len__(self) -> int:
        return len(self.token_ids)


class Processor:
    """Turns conversations and documents into sequences.

    Args:
        tokenizer: cuts text.
        template: Jinja source of the chat template. Without one, a tokenizer trained here has `OUR_TEMPLATE`; any other
            belongs to a model that only continues text.
        stop_ids: token ids that end a reply, beyond the tokenizer's end of text and the template's end of turn.
    """

    def __init__(self, tokenizer: Tokenizer, template: str | None = None, stop_ids: Iterable[int] = ()) -> None:
        self.tokenizer = tokenizer
        stops = {*stop_ids} | ({tokenizer.eos_id} if tokenizer.eos_id is not None else set())
        self.template: ChatTemplate | None = None
        if template is None and set(CONTROLS) <= tokenizer.control_ids.keys():
            template = OUR_TEMPLATE
        if template is not None:
            ends = [name for name, index in tokenizer.control_ids.items() if index in stops]
            variables = {f"{role}_token": name for role, name in tokenizer.roles.items()}
            self.template = ChatTemplate(template, tokenizer.control_ids, variables, ends)
            if self.template.end_of_turn is not None:
                stops.add(tokenizer.control_ids[self.template.end_of_turn])
        self._stop_ids = tuple(sorted(stops))

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
            DataError: when the template refuses the conversation, or the text holds a lone surrogate.
            RequestError: when the model has no chat template, or a message holds an image or audio.
        """
        if self.template is None:
            raise RequestError("this model has no chat template, it only continues text (use complete)")
        segments = self.template.render(messages, add_generation_prompt=add_generation_prompt)
        ids, spans = self.tokenizer.encode_pieces((segment.text, segment.control) for segment in segments)
        # A token that reaches into the assistant's words is one of them: counted by a running sum over characters.
        characters = np.repeat([s.learned for s in segments], [len(s.text) for s in segments])
        before = np.concatenate([[0], np.cumsum(characters)])
        return Sequence(ids, before[spans[:, 1]] > before[spans[:, 0]])

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read from a model folder, ours or Hugging Face's.

        Raises:
            CheckpointError: when a file is missing or broken.
        """
        folder = Path(folder)
        tokenizer = Tokenizer.load(folder)
        config = read_settings(folder / "tokenizer_config.json")
        stops = _ids(config, "stop_token_ids", folder / "tokenizer_config.json")
        for name in ("generation_config.json", "config.json"):
            ends = _ids(read_settings(folder / name), "eos_token_id", folder / name)
            if ends:
                stops += ends
                break
        return cls(tokenizer, _read_template(folder, config), stops)

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json`, `tokenizer_config.json` and, if there is a template, `chat_template.jinja`."""
        self.tokenizer.save(folder, {"stop_token_ids": list(self.stop_ids)})
        if self.template is not None:
            (Path(folder) / "chat_template.jinja").write_bytes(self.template.source.encode())


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
