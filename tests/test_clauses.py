"""Clauses: what is spoken in one breath, and nothing lost."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sensorium.clauses import breadth, can_be_said, clauses, ends_clause

texts = st.text(st.sampled_from("ab ,.!?;:。，！？；：猫\n\t3"), max_size=60)


@given(st.one_of(texts, st.text(max_size=40)))
def test_joined_the_clauses_are_the_text(text: str) -> None:
    found = clauses(text)
    assert "".join(found) == text
    assert all(found)


@given(texts)
def test_no_clause_is_short_but_the_last_and_none_is_mute_behind_another(text: str) -> None:
    found = clauses(text)
    assert all(breadth(clause) >= 12 for clause in found[:-1])
    assert len(found) <= 1 or can_be_said(found[-1])


@given(st.text(st.sampled_from("ab猫,.!?;:。，！？；： "), max_size=60))
def test_who_reads_a_text_letter_by_letter_finds_the_same_clauses(text: str) -> None:
    # A point within a word ends no clause, which shows a letter too late.
    assume(not any(mark in ".!?;:," and not after.isspace() for mark, after in pairwise(text)))
    found, begin = [], 0
    for end in range(1, len(text) + 1):
        if ends_clause(text[begin:end]) and can_be_said(text[begin:end]) and can_be_said(text[end:]):
            found.append(text[begin:end])
            begin = end
    assert [*found, *([text[begin:]] if text[begin:] else [])] == clauses(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Hello.", ["Hello."]),
        ("Once upon a time, there was a cat.", ["Once upon a time,", " there was a cat."]),
        ("Yes, it is a cat. And it sleeps now.", ["Yes, it is a cat.", " And it sleeps now."]),
        ("It costs 3.50 or 1,000 of them.", ["It costs 3.50 or 1,000 of them."]),
        ("There is a small cat, yes.", ["There is a small cat,", " yes."]),
        ("猫坐在垫子上。鸟在树上唱歌！", ["猫坐在垫子上。", "鸟在树上唱歌！"]),
        ("好，猫坐在垫子上。", ["好，猫坐在垫子上。"]),
        ("Here it ends. \n", ["Here it ends. \n"]),
        ("There were about 12, and they went.", ["There were about 12, and they went."]),
        ("他说：“猫坐在垫子上。”", ["他说：“猫坐在垫子上。”"]),
        ("我很好，你好吗？！", ["我很好，", "你好吗？！"]),
        ("What a lovely day. :)", ["What a lovely day. :)"]),
        ("A line that ends:\nand another one", ["A line that ends:", "\nand another one"]),
    ],
)
def test_texts_are_cut_behind_punctuation(text: str, expected: list[str]) -> None:
    assert clauses(text) == expected


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("Once upon a time,", True),
        ("Once upon a time", False),
        ("Yes,", False),
        ("Once upon a time, ", False),
        ("It costs about 3.", False),
        ("它大概要三块，", True),
        ("他有12个，还有3。", True),
        ("", False),
        ("Once upon a time.\n", False),
    ],
)
def test_a_clause_ends_with_its_punctuation_unless_it_is_short_or_a_number_may_go_on(text: str, ends: bool) -> None:
    assert ends_clause(text) == ends
