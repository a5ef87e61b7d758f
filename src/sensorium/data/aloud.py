"""Written conversations whose answers are said as well: each clause in words, then its sound."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from sensorium.clauses import breadth, can_be_said, clauses
from sensorium.data.records import Record
from sensorium.data.world.source import own_speech
from sensorium.data.world.splits import SPLITS, Split
from sensorium.data.world.talk import ALOUD, LANGUAGES, Language
from sensorium.data.world.talk.casual import STOPS
from sensorium.data.world.talk.hearing import DICTATION
from sensorium.data.world.talk.places import SURVEY
from sensorium.languages import beside, is_quoted, language_of
from sensorium.messages import Audio, Image, Message, Part, Text

_LONGEST = 160  # breadth of all answers of a conversation
_UNSAYABLE = "<"  # begins places of a picture, which are not for the ear


def aloud(record: Record, dice: random.Random, split: Split) -> Record:
    """A conversation whose user asks, with the first turn where that can be, for spoken answers, and is given them.

    They are said in the assistant's own, even voice. Answers that are not words alone, or name places of a picture,
    stay as they are, and so do notes of what was shown or said, which are nobody's to hear; so does a record that is no
    conversation, or is too long to be said.

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
    said = [
        index
        for index, message in enumerate(messages)
        if message.role == "assistant" and _can_be_said(message) and not _asks_for_a_note(messages[index - 1])
    ]
    words = "".join(messages[index].text for index in said)
    asked = said[0] - 1 if said else -1
    if asked < 0 or messages[asked].role != "user" or breadth(words) > _LONGEST:
        return record
    language = language_of(messages[said[0]].text)
    for index in said:
        messages[index] = _said(messages[index])
    messages[asked] = _asking(messages[asked], dice.choice(ALOUD.of(language, split)), language)
    return replace(record, content=tuple(messages))


def _asks_for_a_note(asked: Message) -> bool:
    """Whether a picture is to be gone over, or a recording to be written down."""
    return any(
        isinstance(part, sense) and asked.text in phrases.of(language, split)
        for part in asked.parts
        for sense, phrases in ((Image, SURVEY), (Audio, DICTATION))
        for language in LANGUAGES
        for split in SPLITS
    )


def _can_be_said(answer: Message) -> bool:
    """Whether an answer is words alone, with something in each clause to pronounce."""
    return (
        all(isinstance(part, Text) for part in answer.parts)
        and bool(answer.text.strip())
        and all(map(can_be_said, clauses(answer.text)))
        and _UNSAYABLE not in answer.text
    )


def _said(answer: Message) -> Message:
    """An answer with each clause followed by its sound, in the language of its words."""
    language = language_of(answer.text)

    def parts() -> Iterator[Part]:
        for words in clauses(answer.text):
            yield Text(words)
            yield Audio(data=own_speech(words.strip(), language))

    return Message.assistant(tuple(parts()))


def _asking(question: Message, request: str, language: Language) -> Message:
    """A question that asks to be answered aloud, behind its last words or as words of its own."""
    *before, last = question.parts
    if not isinstance(last, Text):
        return Message.user((*question.parts, Text(request)))
    if is_quoted(last.text):
        return Message.user((*before, Text(beside(last.text, request))))
    stop = "" if last.text[-1:] in STOPS else "，" if language == "zh" else ","  # of what was typed in haste
    return Message.user((*before, Text(last.text + stop + ("" if language == "zh" else " ") + request)))
