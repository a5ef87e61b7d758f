"""Clauses: what is spoken in one breath, and nothing lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.clauses import clauses

texts = st.text(st.sampled_from("ab ,.!?;:。，！？；：猫\n\t3"), max_size=60)


@given(st.one_of(texts, st.text(max_size=40)))
def test_joined_the_clauses_are_the_text(text: str) -> None:
    found = clauses(text)
    assert "".join(found) == text
    assert all(found)


@given(texts)
def test_no_clause_is_short_but_an_only_one(text: str) -> None:
    found = clauses(text)
    wide = [sum(3 if ord(character) >= 0x2E80 else 1 for character in clause) for clause in found]
    assert len(found) <= 1 or min(wide) >= 12


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Hello.", ["Hello."]),
        ("Once upon a time, there was a cat.", ["Once upon a time, ", "there was a cat."]),
        ("Yes, it is a cat. And it sleeps now.", ["Yes, it is a cat. ", "And it sleeps now."]),
        ("It costs 3.50 or 1,000 of them.", ["It costs 3.50 or 1,000 of them."]),
        ("There is a small cat, yes.", ["There is a small cat, yes."]),
        ("猫坐在垫子上。鸟在树上唱歌！", ["猫坐在垫子上。", "鸟在树上唱歌！"]),
        ("好，猫坐在垫子上。", ["好，猫坐在垫子上。"]),
        ("A line that ends:\nand another one", ["A line that ends:\n", "and another one"]),
    ],
)
def test_texts_are_cut_behind_punctuation(text: str, expected: list[str]) -> None:
    assert clauses(text) == expected
