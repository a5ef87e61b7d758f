"""Which language words are in, as far as their letters tell."""

from __future__ import annotations


def is_chinese(text: str) -> bool:
    """Whether more than half of the letters are Chinese characters."""
    return 2 * sum("\u4e00" <= character <= "\u9fff" for character in text) > sum(map(str.isalpha, text))
