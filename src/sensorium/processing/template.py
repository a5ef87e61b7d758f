"""Conversations as one text with control tokens: our own chat template, and those of published checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise, product
from typing import NamedTuple, TypeAlias

from sensorium.errors import DataError, RequestError
from sensorium.messages import ROLES, Image, Message, Text
from sensorium.processing.media import Kind
from sensorium.processing.sandbox import CompiledTemplate
from sensorium.processing.seal import secret

OUR_TEMPLATE = """\
<|bos|>
{%- for message in messages -%}
<|{{ message.role }}|>{{ message.content }}<|end|>
{%- endfor -%}
{%- if add_generation_prompt -%}
<|assistant|>
{%- endif -%}
"""
"""The template of models trained here: `<|bos|>`, then `<|role|>words<|end|>` for each message.

Pictures and recordings stand among the words where the message has them.
"""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a rendered conversation.

    Attributes:
        text: its characters.
        control: it is the spelling of one control token, written by the template itself.
        learned: the assistant's own words, or what ends its turn.
        shows: it is the placeholder of the next picture or recording of the conversation.
    """

    text: str
    control: bool
    learned: bool
    shows: Kind | None = None


class ChatTemplate:
    """A chat template that nobody can break out of by what they write.

    A checkpoint's template pastes messages between control tokens as text, so that `<|im_end|>` inside a message would
    end it. Here every spelling of a control is broken by a mark before rendering, every message stands between marks,
    and only spellings that come out whole, outside any message, are the template's own.

    A template that takes content in parts writes the placeholder of a picture or recording itself. For any other, and
    for ours, placeholders stand in the words as marks, which are not the spelling that a user could write either.

    Args:
        source: Jinja, as `transformers` runs it.
        controls: spellings of the tokenizer's control tokens.
        variables: what the template may use, such as `bos_token`.
        ends: spellings of the controls that end a text; the one that ends a turn is found by trying.
        placeholders: kind of media → the control that stands for it, for what messages may hold beside words.

    Attributes:
        end_of_turn: the control that the template writes after the assistant's words, None where there is none.

    Raises:
        CheckpointError: when the source is not a template.
    """

    def __init__(
        self,
        source: str,
        controls: Collection[str],
        variables: Mapping[str, str],
        ends: Collection[str] = (),
        placeholders: Mapping[Kind, str] | None = None,
    ) -> None:
        self.source = source
        self._generation = (secret(), secret())
        self._template = CompiledTemplate(source, self._generation)
        self._variables = {"tools": None, "documents": None} | dict(variables)
        self._controls = frozenset(controls)
        self._spellings = "|".join(map(re.escape, sorted(controls, key=len, reverse=True))) or r"(?!)"
        # In any case of letters, lest a template that lowers its text mends what was not broken.
        self._spelled = re.compile(f"(?=(?:{self._spellings}))(.)", re.DOTALL | re.IGNORECASE)
        self._last_cut: tuple[_Marks | None, re.Pattern[str]] = (None, self._spelled)
        self._placeholders = dict(placeholders or {})
        self._shown = {spelling: kind for kind, spelling in self._placeholders.items()}
        self._takes_parts = bool(self._placeholders) and self._takes(in_parts=True)
        self._takes_text = not self._takes_parts or self._takes(in_parts=False)
        self.end_of_turn = self._find_end_of_turn()
        self._ends = frozenset(ends) | {self.end_of_turn}

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> list[Segment]:
        """Put a conversation together.

        Learned are the assistant's words with the control that ends its turn; where the template marks them itself
        (`{% generation %}`), what it marks.

        Args:
            messages: the conversation, of words and of what there are placeholders for.
            add_generation_prompt: end with the opening of the assistant's turn.

        Returns:
            The segments in order; together they are the text that `transformers` renders, each placeholder once.

        Raises:
            DataError: when the template refuses the conversation (an order of roles it does not know) or fails, or
                when it alters the assistant's words so that they cannot be told from its own.
            RequestError: when a message holds an image or audio.
        """
        return _with_turn_ends(
            self._stretches(messages, add_generation_prompt), self._ends, self._template.marks_generation
        )

    def _stretches(self, messages: Sequence[Message], add_generation_prompt: bool) -> list[_Stretch]:
        """The rendered text, cut at the borders of messages and at the control tokens that are the template's own."""
        turns = [self._pieces(message) for message in messages]
        marks = _Marks.apart_from([piece.text for pieces in turns for piece in pieces])
        cut = self._cut(marks)
        speaker: str | None = None
        generated = False
        stretches = []
        for piece in cut.split(self._rendered(messages, turns, marks, add_generation_prompt)):
            if piece in marks.openings:
                speaker = marks.openings[piece]
            elif piece == marks.closing:
                speaker = None
            elif piece in self._generation:
                generated = piece == self._generation[0]
            elif piece in marks.shown:
                kind = marks.shown[piece]
                stretches.append(_Stretch(self._placeholders[kind], True, speaker, generated, kind))
            elif piece or speaker is not None:  # an empty message is one too
                control = speaker is None and piece in self._controls
                shows = self._shown.get(piece) if control else None
                stretches.append(_Stretch(piece.replace(marks.within, ""), control, speaker, generated, shows))
        return stretches

    def _pieces(self, message: Message) -> list[_Piece]:
        """What a message holds: words, and the kinds of what stands between them."""
        pieces = []
        for part in message.parts:
            if isinstance(part, Text):
                pieces.append(_Piece(part.text))
                continue
            kind: Kind = "image" if isinstance(part, Image) else "audio"
            if kind not in self._placeholders:
                lacks = "see images" if kind == "image" else "hear audio"
                raise RequestError(f"this model cannot {lacks}: it reads text only (send text parts)")
            pieces.append(_Piece("", kind))
        return pieces

    def _cut(self, marks: _Marks) -> re.Pattern[str]:
        """What parts a rendered text: borders of messages and of generation, and controls that are whole."""
        known, pattern = self._last_cut
        if known is not marks:
            controls = f"(?:{self._spellings})(?!{marks.within})"
            pattern = re.compile(f"({marks.cuts}|{'|'.join(self._generation)}|{controls})")
            self._last_cut = (marks, pattern)
        return pattern

    def _rendered(
        self, messages: Sequence[Message], turns: Sequence[Sequence[_Piece]], marks: _Marks, add_generation_prompt: bool
    ) -> str:
        """The text with marks around each message, or without them where the template would notice them."""
        broken = [self._broken(pieces, marks.within) for pieces in turns]
        roles = [message.role for message in messages]

        def run(mark: _Mark, marked: Collection[str]) -> str:
            contents = [
                self._content(pieces, role if role in marked else None, marks, mark)
                for role, pieces in zip(roles, broken, strict=True)
            ]
            return self._run(roles, contents, add_generation_prompt)

        plain = run(marks.around, ())
        # A template may look at how a message begins or ends: then blanks are left outside, then others' words alone.
        for mark, marked in product((marks.around, marks.inside), (ROLES, ("assistant",))):
            try:
                text = run(mark, marked)
            except DataError:
                continue
            if marks.paired(text) and marks.without(text) == plain:
                return text
        learns = "assistant" in roles and not add_generation_prompt
        if learns and not self._template.marks_generation:
            raise DataError(
                "the chat template alters the assistant's words, so they cannot be learned "
                "(put {% generation %} … {% endgeneration %} around them)"
            )
        return plain

    def _run(self, roles: Sequence[str], contents: Sequence[_Content], add_generation_prompt: bool) -> str:
        plain = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        return self._template.render(
            self._variables | {"messages": plain, "add_generation_prompt": add_generation_prompt}
        )

    def _broken(self, pieces: Sequence[_Piece], within: str) -> list[_Piece]:
        """A message with a mark in every spelling of a control, also where it goes over from one piece to the next."""
        if len(pieces) == 1:
            return [_Piece(self._spelled.sub(rf"\1{within}", pieces[0].text), pieces[0].kind)]
        breaks = [match.end(1) for match in self._spelled.finditer("".join(piece.text for piece in pieces))]
        broken, begin = [], 0
        for piece in pieces:
            end = begin + len(piece.text)
            edges = [begin, *(place for place in breaks if begin < place <= end), end]
            text = within.join(piece.text[a - begin : b - begin] for a, b in pairwise(edges))
            broken.append(_Piece(text, piece.kind))
            begin = end
        return broken

    def _content(self, pieces: Sequence[_Piece], role: str | None, marks: _Marks, mark: _Mark) -> _Content:
        """A message as the template takes it, where a role is given marked as its words."""
        if len(pieces) == 1 and pieces[0].kind is None and self._takes_text:
            return pieces[0].text if role is None else mark(pieces[0].text, role)
        texts = [marks.of_kind[piece.kind] if piece.kind else piece.text for piece in pieces]
        if self._takes_parts and (not self._takes_text or any(piece.kind for piece in pieces)):
            words = texts if role is None else [mark(text, role) for text in texts]
            paired = zip(pieces, words, strict=True)
            return [{"type": piece.kind} if piece.kind else {"type": "text", "text": text} for piece, text in paired]
        return "".join(texts) if role is None else mark("".join(texts), role)

    def _takes(self, *, in_parts: bool) -> bool:
        """Try a message: whether its words come out, and in parts also a placeholder for each of its media."""
        words = secret()
        shown: list[dict[str, str]] = [{"type": kind} for kind in self._placeholders] if in_parts else []
        content: _Content = [*shown, {"type": "text", "text": words}] if in_parts else words
        try:
            text = self._run(["user"], [content], add_generation_prompt=False)
        except DataError:
            return False
        listed = in_parts and "'type'" in text  # the list itself was written, as Python spells it
        written = all(text.count(spelling) == 1 for spelling in self._placeholders.values()) or not in_parts
        return words in text and written and not listed

    def _find_end_of_turn(self) -> str | None:
        """Try a conversation: the control after the assistant's words, the same in the middle and at the end."""
        turns = [Message.user("1"), Message.assistant("2")] * 2
        try:
            stretches = self._stretches(turns, add_generation_prompt=False)
        except DataError:
            return None
        ends = set()
        for index, stretch in enumerate(stretches):
            if stretch.speaker == "assistant":
                ends.add(next((after.text for after in stretches[index + 1 :] if after.control), None))
        return ends.pop() if len(ends) == 1 else None


_Content: TypeAlias = str | list[dict[str, str]]
_Mark: TypeAlias = Callable[[str, str], str]  # words, role


class _Piece(NamedTuple):
    """Words of a message, or the kind of what it shows or plays there."""

    text: str
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class _Stretch:
    text: str
    control: bool
    speaker: str | None
    generated: bool
    shows: Kind | None = None


_PRIVATE = re.compile("[\U000f0000-\U000ffffd]")


class _Marks:
    """Characters to find one's way by in a rendered text: private-use ones, which no filter alters."""

    def __init__(self, characters: Sequence[str]) -> None:
        self.within, self.closing, image, audio, *openings = characters
        self.of_kind: dict[Kind, str] = {"image": image, "audio": audio}
        self.shown: dict[str, Kind] = {image: "image", audio: "audio"}
        self.openings = dict(zip(openings, ROLES, strict=True))
        self._opening_of = dict(zip(ROLES, openings, strict=True))
        borders = self.closing + "".join(openings)
        self.cuts = f"[{borders}{image}{audio}]"
        self._border = re.compile(f"[{borders}]")

    @classmethod
    def apart_from(cls, texts: Sequence[str]) -> _Marks:
        """Marks that occur in none of the texts: chosen after they are known, so nobody can write them."""
        return cls._choose(frozenset(character for text in texts for character in _PRIVATE.findall(text)))

    @staticmethod
    @lru_cache(maxsize=64)
    def _choose(taken: frozenset[str]) -> _Marks:
        free = (chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in taken)
        return _Marks(list(islice(free, 4 + len(ROLES))))

    def around(self, text: str, role: str) -> str:
        """Marks at the very ends of a message."""
        return f"{self._opening_of[role]}{text}{self.closing}"

    def inside(self, text: str, role: str) -> str:
        """Marks within the blanks at the ends, for templates that trim."""
        words = text.strip()
        if not words:
            return text
        before, after = text.split(words, 1)
        return f"{before}{self.around(words, role)}{after}"

    def paired(self, text: str) -> bool:
        """Whether each opening mark is followed by a closing one, and nothing else."""
        found = self._border.findall(text)
        return len(found) % 2 == 0 and all((mark == self.closing) == bool(i % 2) for i, mark in enumerate(found))

    def without(self, text: str) -> str:
        """A text without its marks."""
        return self._border.sub("", text)


def _with_turn_ends(stretches: Sequence[_Stretch], ends: Collection[str | None], marked: bool) -> list[Segment]:
    """Decide what is learned: with the assistant's words, all up to the control that ends its turn."""
    if marked:
        return [Segment(s.text, s.control, s.generated, s.shows) for s in stretches if s.text]
    learned = [stretch.speaker == "assistant" for stretch in stretches]
    last: int | None = None  # where the assistant stopped speaking, until a control follows
    for index, stretch in enumerate(stretches):
        if stretch.speaker is not None:
            last = index if stretch.speaker == "assistant" else None
        elif stretch.control and last is not None:
            if stretch.text in ends:
                learned[last : index + 1] = [True] * (index + 1 - last)
            last = None
    known = zip(stretches, learned, strict=True)
    return [Segment(s.text, s.control, taught, s.shows) for s, taught in known if s.text]
