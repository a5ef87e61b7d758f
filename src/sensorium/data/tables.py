"""Rows of tables, whatever they were read from, as documents and conversations: by the names of their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sensorium.data.asking import asked, shown
from sensorium.data.media_files import MediaPart
from sensorium.data.records import Content, DataFile, dialogue, text_content
from sensorium.data.turns import MEDIA_KEYS, conversation_of, record_media
from sensorium.errors import DataError
from sensorium.messages import conversation_from

TALKS = ("messages", "conversations", "conversation")
PAIRS = (
    ("user", "assistant"),
    ("question", "answer"),
    ("question", "answers"),
    ("question", "multiple_choice_answer"),
    ("prompt", "response"),
    ("source", "target"),
)
TEXTS = tuple("text txt caption captions transcription transcript sentence normalized_text lab description alt".split())
LABELS = ("label", "labels", "class", "cls", "class_name", "category", "fine_label", "digit", "name")


def record_content(value: object, file: DataFile) -> Content:
    """The content of a record object: `text`, or `messages`, or either as LLaVA and ShareGPT have it (`conversations`).

    With `image`, `images`, `audio` or `audios`, a record may hold whatever a row of a table does.

    Raises:
        DataError: unless it has exactly one of these, in the right form.
    """
    if not isinstance(value, Mapping):
        raise DataError(f"a record must be an object with 'text' or 'messages', not {type(value).__name__}")
    held = {str(key): inner for key, inner in value.items() if inner is not None}
    media = record_media(held, file.folder)
    if media or "conversations" in held:
        rest = {key: inner for key, inner in held.items() if key not in MEDIA_KEYS}
        return row_content(rest, media, file)
    if ("text" in held) == ("messages" in held):
        found = ", ".join(sorted(map(str, value))) or "nothing"
        raise DataError(f"a record needs exactly one of 'text' and 'messages' (it has {found})")
    if "text" in held:
        return text_content(held["text"])
    return tuple(conversation_from(held["messages"], folder=file.folder))


def row_content(row: Mapping[str, Any], media: Sequence[MediaPart], file: DataFile) -> Content:
    """What a row teaches: a conversation it holds, a question with its answer, a text, or the name of a class.

    Args:
        row: columns by name, without those that are null; class numbers are already names.
        media: the row's pictures and recordings, in order.
        file: says how they are asked about, and where relative paths begin.

    Raises:
        DataError: when no column is known, or one does not hold what its name says.
    """
    talk = next((row[name] for name in TALKS if name in row), None)
    if talk is not None:
        return conversation_of(talk, media, file.folder, system=row.get("system"))
    for question, answer in PAIRS:
        if question in row and answer in row:
            pair = text_content(row[question]), _first(row[answer])
            return shown(media, *pair) if media else dialogue(pair)
    text = next((row[name] for name in TEXTS if name in row), None)
    if text is not None:
        return asked(media, _first(text), file) if media else _first(text)
    label = next((row[name] for name in LABELS if name in row), None)
    if label is not None and media:
        return asked(media, _first(label).replace("_", " "), file, kind="label")
    found = ", ".join(sorted(map(str, row))) or "nothing"
    wanted = "messages, question and answer, text, caption, transcription or label" if media else "text or messages"
    raise DataError(f"a record needs {wanted} (it has {found})")


def _first(value: Any) -> str:
    """A text, the first of several, or a number as it is written."""
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, Mapping) and "text" in value:  # answers as {"text": [...], "answer_start": [...]}
        return _first(value["text"])
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else text_content(value)
