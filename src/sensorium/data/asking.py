"""Pictures and recordings that come with a label or a text, as conversations: what is asked about them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from sensorium.data.media_files import MediaPart, media_digest
from sensorium.data.records import Content, DataFile, text_content
from sensorium.data.requests import prompt_fields
from sensorium.errors import DataError
from sensorium.languages import is_chinese
from sensorium.messages import Audio, Message, Text

_PROMPTS = {
    # (a recording, a label): in English, in Chinese
    (False, True): ("What is this?", "这是什么？"),
    (False, False): ("Describe the picture.", "描述这幅图。"),
    (True, True): ("What do you hear?", "你听到了什么？"),
    (True, False): ("Write down what you hear.", "写下你听到的话。"),
}


def asked(
    media: Sequence[MediaPart],
    text: object,
    file: DataFile,
    *,
    kind: Literal["label", "text"] = "text",
) -> Content:
    """A conversation in which the user shows pictures or plays recordings, asks, and is answered with a text.

    Of several prompts the picture or recording chooses one, lest the question tell the answer. A prompt is the data
    set's (`prompts` of its file), else the source's (its option `prompt`), else a common question in the language of
    the text.

    Args:
        media: what the user shows, before the question.
        text: the answer, put into the file's `answer` for `{text}`.
        file: whose wording is used.
        kind: whether the text is the name of a class or a text of its own.

    Raises:
        DataError: when there is no picture or recording, or the text is none.
    """
    words = text_content(text).strip()
    hears = isinstance(media[0], Audio) if media else False
    own = [prompt.format() for prompt in file.prompts if not prompt_fields(prompt)]
    common = _PROMPTS[hears, kind == "label"][is_chinese(words)]
    wordings = own or [file.options.get("prompt", common)]
    return shown(media, wordings[_draw(media) % len(wordings)], file.answer.format(text=words))


def _draw(media: Sequence[MediaPart]) -> int:
    """A number that a picture or recording draws by its bytes, or cheaply by the name of its file."""
    part = media[0] if media else None
    if part is None:
        return 0
    key = part.path.name.encode(errors="surrogateescape") if part.path is not None else media_digest(part)
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")


def shown(media: Sequence[MediaPart], question: str, answer: str) -> Content:
    """Pictures or recordings with a question, and its answer. Raises `DataError` when one of the three is missing."""
    if not media:
        raise DataError("there is no picture or recording to ask about")
    question, answer = question.strip(), answer.strip()
    if not question or not answer:
        raise DataError(f"the {'answer' if question else 'question'} about a picture or recording is empty")
    return (Message.user([*media, Text(question)]), Message.assistant(answer))
