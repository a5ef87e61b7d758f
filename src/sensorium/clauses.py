"""Text in clauses: what is spoken in one breath."""

from __future__ import annotations

import re

_END = re.compile(r"(?<=[.!?;:,])\s+|(?<=[。！？；：，])")
_SHORTEST = 12  # characters below which a clause joins the next, a Chinese one counting as three
_WIDE = re.compile(r"[\u2e80-\u9fff\uff00-\uffef]")


def clauses(text: str) -> list[str]:
    """A text cut behind punctuation, nothing lost: joined, the clauses are the text again.

    Very short ones join the next, or at the end the one before. White space goes with the clause in front of it.
    """
    found: list[str] = []
    begin = 0
    for end in [*(match.end() for match in _END.finditer(text)), len(text)]:
        if end > begin and (_breadth(text[begin:end]) >= _SHORTEST or end == len(text)):
            found.append(text[begin:end])
            begin = end
    if len(found) > 1 and _breadth(found[-1]) < _SHORTEST:
        found[-2:] = [found[-2] + found[-1]]
    return found


def _breadth(text: str) -> int:
    return len(text) + 2 * len(_WIDE.findall(text))
