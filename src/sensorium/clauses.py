"""Text in clauses: what is spoken in one breath."""

from __future__ import annotations

import re

_MARK = r"(?<!\d)[.!?;:,]{}|[。！？；：，]"  # what ends a clause; behind a digit a number may go on
_END, _ENDING = re.compile(_MARK.format(r"(?=\s)")), re.compile(f"(?:{_MARK.format('')})" + r"\Z")
_SHORTEST = 12  # characters below which a clause joins the next, a Chinese one counting as three
_WIDE = re.compile(r"[\u2e80-\u9fff\uff00-\uffef]")


def clauses(text: str) -> list[str]:
    """A text cut behind punctuation, nothing lost: joined, the clauses are the text again.

    A very short one joins the next, unless it is the last: who writes word by word does not know what comes. The last
    one has whatever cannot be said behind it. White space goes with the clause behind it, as with the words of a
    tokenizer.
    """
    found: list[str] = []
    begin = 0
    for end in (match.end() for match in _END.finditer(text)):
        if breadth(text[begin:end]) >= _SHORTEST and can_be_said(text[end:]):
            found.append(text[begin:end])
            begin = end
    return [*found, text[begin:]] if text else []


def ends_clause(text: str) -> bool:
    """Whether the words so far may be said: they end in punctuation, not within a number, and are not very short.

    That a point stood within a name (`example.com`) shows a word too late.
    """
    return _ENDING.search(text) is not None and breadth(text) >= _SHORTEST


def can_be_said(text: str) -> bool:
    """Whether anything in a text has a sound: a letter or a digit."""
    return any(map(str.isalnum, text))


def breadth(text: str) -> int:
    """About how long a text takes to say: its characters, a Chinese one counting as three."""
    text = text.strip()
    return len(text) + 2 * len(_WIDE.findall(text))
