"""A conversation with a model: what was said, and how the next reply is made to fit."""

from __future__ import annotations

import bisect
import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.cli.making import write_media
from sensorium.errors import DataError, RequestError
from sensorium.messages import (
    Audio,
    AudioDelta,
    Delta,
    Image,
    ImageDelta,
    Message,
    Text,
    TextDelta,
    conversation_from,
)

if TYPE_CHECKING:
    from sensorium.api import Model
    from sensorium.inference.grammar import ReplyKind

ROOM_FOR_REPLY = 256  # tokens kept free for a reply whose length was not limited; a quarter of a small context


class Conversation:
    """The turns so far, the sampling settings, and the model that takes the next turn; `cancel` ends its reply.

    `shown` are pictures and recordings that go with the next message. `reply` and `voice` are what is answered with,
    and who speaks; pictures and speech of replies are written to `folder`, a temporary one unless it is set.
    """

    def __init__(self, model: Model, *, system: str | None, sampling: dict[str, Any]) -> None:
        self.model = model
        self.sampling: dict[str, Any] = {}
        self.set_sampling(sampling)
        self.cancel = threading.Event()
        self.messages: list[Message] = []
        self.shown: list[Image | Audio] = []
        self.reply: ReplyKind = "auto"
        self.voice: str | Path | None = None
        self.folder: Path | None = None
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
        self.shown = []
        self.forgotten = 0

    def show(self, part: Image | Audio) -> None:
        """Keep a picture or recording for the next message.

        Raises:
            RequestError: the model cannot take it, or it does not fit the model's context.
            DataError: it cannot be read.
        """
        sequence = self.model.processor.encode_messages([Message.user([*self.shown, part])], add_generation_prompt=True)
        context = self.model.config.decoder.max_positions
        if len(sequence) >= context:
            raise RequestError(
                f"{part.path or 'it'} takes {len(sequence)} tokens, which leaves no room in the model's context of "
                f"{context} (give a shorter one, or send what is shown already)"
            )
        self.shown.append(part)

    def say(self, text: str) -> Iterator[str]:
        """Take the user's turn, with all that is `shown`, and stream the reply, piece by piece.

        Whatever was written when the reply is cancelled, or no longer read, stays in the conversation. A turn that
        the model refuses does not.

        Raises:
            RequestError: the message alone does not fit the model's context.
        """
        words = [Text(text)] if text else []
        return self._reply([*self.messages, Message.user([*self.shown, *words])], sent=len(self.shown))

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

    def _reply(self, messages: list[Message], *, sent: int = 0) -> Iterator[str]:
        """Stream the reply to a conversation, whose last message holds the first `sent` of what is shown."""
        from sensorium.forms import collected  # it imports torch, which commands that fail early do not wait for

        kept, forgotten = self._fitting(messages)
        deltas: list[Delta] = []
        taken = False
        try:
            stream = self.model.stream(kept, reply=self.reply, voice=self.voice, cancel=self.cancel, **self.sampling)
            for delta in stream:
                taken, self.forgotten = True, forgotten
                deltas.append(delta)
                if isinstance(delta, TextDelta):
                    yield delta.text
                elif isinstance(delta, ImageDelta):
                    yield self._noted(self._place(".png"), [delta])
            if any(isinstance(delta, AudioDelta) for delta in deltas):
                yield self._noted(self._place(".wav"), deltas)
        finally:
            if taken:
                self.messages = [*messages, _trimmed(collected(iter(deltas))[0])]
                self.shown = self.shown[sent:]

    def _place(self, ending: str) -> Path:
        """A file of the folder that is not there yet."""
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="sensorium-"))
        number = 1
        while (path := self.folder / f"answer-{number}{ending}").exists():
            number += 1
        return path

    @staticmethod
    def _noted(place: Path, deltas: list[Delta]) -> str:
        """What was made, written to a place, and a line that says where it is."""
        return "".join(f"\n[{path}]" for path in write_media(place, deltas))

    def _fitting(self, messages: list[Message]) -> tuple[list[Message], int]:
        """The instructions and as many of the last turns as leave room for a reply (at least the last one).

        Also returns how many turns were left out.
        """
        context = self.model.config.decoder.max_positions
        room = self.sampling.get("max_tokens") or min(ROOM_FOR_REPLY, context // 4)
        head = [message for message in messages if message.role == "system"]
        turns = [message for message in messages if message.role != "system"]
        starts = [index for index, message in enumerate(turns) if message.role == "user"] or [0]

        def fits(start: int) -> bool:
            sequence = self.model.processor.encode_messages(head + turns[start:], add_generation_prompt=True)
            return len(sequence) + room <= context

        start = starts[0]
        if len(starts) > 1 and not fits(start):
            # By halving: each attempt may read pictures and recordings again.
            start = starts[bisect.bisect_left(starts, True, lo=1, hi=len(starts) - 1, key=fits)]
        return head + turns[start:], start


def _trimmed(message: Message) -> Message:
    """A reply without the blanks at the ends of its words, and without what is left empty by that."""
    parts = [Text(part.text.strip()) if isinstance(part, Text) else part for part in message.parts]
    kept = [part for part in parts if not isinstance(part, Text) or part.text]
    return Message.assistant(kept or "")
