"""Which language words are in, as far as their letters tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal


def is_chinese(text: str) -> bool:
    """Whether more than half of the letters are Chinese characters."""
    return 2 * sum("\u4e00" <= character <= "\u9fff" for character in text) > sum(map(str.isalpha, text))


def run_on(texts: Iterable[str]) -> str:
    """Texts one after the other, with a blank between them but after Chinese."""
    words = ""
    for text in filter(None, map(str.strip, texts)):
        words += text if not words or is_chinese(words[-2:]) else f" {text}"
    return words


def quoted(words: str) -> str:
    """What was heard, to stand among what was typed: in quotation marks, on one line, and with none inside."""
    return f'"{" ".join(words.replace(chr(34), chr(39)).split())}"'


def is_quoted(words: str) -> bool:
    """Whether a text ends in a quotation."""
    return words.endswith('"')


def beside(*texts: str) -> str:
    """What was heard and what was typed, one after the other, in any language with a blank between them."""
    return " ".join(filter(None, map(str.strip, texts)))


def language_of(text: str) -> Literal["en", "zh"]:
    """`zh` where a text is Chinese, else `en`."""
    return "zh" if is_chinese(text) else "en"
