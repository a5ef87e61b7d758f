"""A conversation with a model: what was said, and how the next reply is made to fit."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.errors import DataError, RequestError
from sensorium.messages import Message, TextDelta, conversation_from

if TYPE_CHECKING:
    from sensorium.api import Model

ROOM_FOR_REPLY = 256  # tokens kept free for a reply whose length was not limited; a quarter of a small context


class Conversation:
    """The turns so far, the sampling settings, and the model that takes the next turn; `cancel` ends its reply."""

    def __init__(self, model: Model, *, system: str | None, sampling: dict[str, Any]) -> None:
        self.model = model
        self.sampling: dict[str, Any] = {}
        self.set_sampling(sampling)
        self.cancel = threading.Event()
        self.messages: list[Message] = []
        self.forgotten = 0
        self.set_system(system)

    def set_sampling(self, changes: dict[str, Any]) -> None:
        """Change sampling settings. Raises `RequestError` for several replies at once: a conversation has one."""
        if changes.get("n", 1) > 1:
            raise RequestError(
                f"n = {changes['n']}: a conversation goes on from one reply (use /regenerate for another)"
            )
        self.sampling.update(changes)

    def set_system(self, text: str | None) -> None:
        """Replace the instructions above the conversation; None or nothing removes them."""
        turns = [message for message in self.messages if message.role != "system"]
        self.messages = [*([Message.system(text)] if text else []), *turns]

    def reset(self) -> None:
        """Forget every turn but the instructions."""
        self.messages = [message for message in self.messages if message.role == "system"]
        self.forgotten = 0

    def say(self, text: str) -> Iterator[str]:
        """Take the user's turn and stream the reply, piece by piece.

        Whatever was written when the reply is cancelled, or no longer read, stays in the conversation. A turn that
        the model refuses does not.

        Raises:
            RequestError: the message alone does not fit the model's context.
        """
        return self._reply([*self.messages, Message.user(text)])

    def regenerate(self) -> Iterator[str]:
        """Drop the last reply and stream another. Raises `RequestError` when nothing was said yet."""
        asked = [index for index, message in enumerate(self.messages) if message.role == "user"]
        if not asked:
            raise RequestError("nothing to answer again: say something first")
        return self._reply(self.messages[: asked[-1] + 1])

    def save(self, path: Path) -> None:
        """Write the conversation as one line of JSONL, the form that chat fine-tuning reads."""
        line = json.dumps({"messages": [message.to_dict() for message in self.messages]}, ensure_ascii=False)
        partial = path.with_name(f".{path.name}.partial")
        try:
            partial.write_text(line + "\n", encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror}") from None

    def load(self, path: Path) -> None:
        """Go on from a saved conversation (the first of the file). Raises `DataError` naming what is wrong."""
        try:
            line = path.read_text(encoding="utf-8").partition("\n")[0]
            self.messages = conversation_from(json.loads(line), folder=path.parent)
            self.forgotten = 0
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise DataError(f"{path} is not a conversation in JSON: {error}") from None
        except DataError as error:
            raise DataError(f"{path}: {error}") from None

    def _reply(self, messages: list[Message]) -> Iterator[str]:
        kept, forgotten = self._fitting(messages)
        written: list[str] = []
        taken = False
        try:
            for delta in self.model.stream(kept, cancel=self.cancel, **self.sampling):
                taken, self.forgotten = True, forgotten
                if isinstance(delta, TextDelta):
                    written.append(delta.text)
                    yield delta.text
        finally:
            if taken:
                self.messages = [*messages, Message.assistant("".join(written).strip())]

    def _fitting(self, messages: list[Message]) -> tuple[list[Message], int]:
        """The instructions and as many of the last turns as leave room for a reply (at least the last one).

        Also returns how many turns were left out.
        """
        context = self.model.config.decoder.max_positions
        room = self.sampling.get("max_tokens") or min(ROOM_FOR_REPLY, context // 4)
        head = [message for message in messages if message.role == "system"]
        turns = [message for message in messages if message.role != "system"]
        starts = [index for index, message in enumerate(turns) if message.role == "user"] or [0]
        for start in starts:
            kept = head + turns[start:]
            sequence = self.model.processor.encode_messages(kept, add_generation_prompt=True)
            if start == starts[-1] or len(sequence.token_ids) + room <= context:
                break
        return kept, start
