"""Which language words are in, as far as their letters tell."""

from __future__ import annotations

from typing import Literal


def is_chinese(text: str) -> bool:
    """Whether more than half of the letters are Chinese characters."""
    return 2 * sum("\u4e00" <= character <= "\u9fff" for character in text) > sum(map(str.isalpha, text))


def language_of(text: str) -> Literal["en", "zh"]:
    """`zh` where a text is Chinese, else `en`."""
    return "zh" if is_chinese(text) else "en"
