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


def language_of(text: str) -> Literal["en", "zh"]:
    """`zh` where a text is Chinese, else `en`."""
    return "zh" if is_chinese(text) else "en"
