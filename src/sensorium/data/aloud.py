"""Written conversations whose answers are said as well: each clause in words, then its sound."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from sensorium.clauses import breadth, clauses
from sensorium.data.records import Record
from sensorium.data.world.speech import speak, wav_bytes
from sensorium.data.world.splits import Split
from sensorium.data.world.talk import ALOUD, VOICE, Language
from sensorium.languages import is_chinese
from sensorium.messages import Audio, Message, Part, Text

_LONGEST = 160  # breadth of all answers of a conversation
_UNSAYABLE = "<"  # begins places of a picture, which are not for the ear


def aloud(record: Record, dice: random.Random, split: Split) -> Record:
    """A conversation whose user asks, with the first turn where that can be, for spoken answers, and is given them.

    They are said in the assistant's own, even voice. Answers that are not words alone, or name places of a picture,
    stay as they are; so does a record that is no conversation, or is too long to be said.

    Args:
        record: a document or conversation.
        dice: chooses how it is asked for.
        split: whose ways of asking.

    Raises:
        ConfigError: the extra `world` is not installed.
    """
    if isinstance(record.content, str):
        return record
    messages = list(record.content)
    said = [index for index, message in enumerate(messages) if message.role == "assistant" and _can_be_said(message)]
    words = "".join(messages[index].text for index in said)
    asked = said[0] - 1 if said else -1
    if asked < 0 or messages[asked].role != "user" or breadth(words) > _LONGEST:
        return record
    language: Language = "zh" if is_chinese(words) else "en"
    for index in said:
        messages[index] = _said(messages[index], language)
    messages[asked] = _asking(messages[asked], dice.choice(ALOUD.of(language, split)), language)
    return replace(record, content=tuple(messages))


def _can_be_said(answer: Message) -> bool:
    """Whether an answer is words alone, with something in each clause to pronounce."""
    return (
        all(isinstance(part, Text) for part in answer.parts)
        and bool(answer.text.strip())
        and all(any(map(str.isalnum, clause)) for clause in clauses(answer.text))
        and _UNSAYABLE not in answer.text
    )


def _said(answer: Message, language: Language) -> Message:
    """An answer with each clause followed by its sound."""

    def parts() -> Iterator[Part]:
        for words in clauses(answer.text):
            yield Text(words)
            yield Audio(data=wav_bytes(speak(words.strip(), language, VOICE, split="train", take=None)))

    return Message.assistant(tuple(parts()))


def _asking(question: Message, request: str, language: Language) -> Message:
    """A question that asks to be answered aloud, behind its last words or as words of its own."""
    *before, last = question.parts
    if not isinstance(last, Text):
        return Message.user((*question.parts, Text(request)))
    return Message.user((*before, Text(last.text + ("" if language == "zh" else " ") + request)))
