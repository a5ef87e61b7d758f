"""Clauses: what is spoken in one breath, and nothing lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.clauses import breadth, clauses, ends_clause

texts = st.text(st.sampled_from("ab ,.!?;:。，！？；：猫\n\t3"), max_size=60)


@given(st.one_of(texts, st.text(max_size=40)))
def test_joined_the_clauses_are_the_text(text: str) -> None:
    found = clauses(text)
    assert "".join(found) == text
    assert all(found)


@given(texts)
def test_no_clause_is_short_but_the_last(text: str) -> None:
    assert all(breadth(clause) >= 12 for clause in clauses(text)[:-1])


@given(texts)
def test_who_reads_a_text_letter_by_letter_finds_the_same_clauses(text: str) -> None:
    if any(text[at] in ".!?;:," and not text[at + 1].isspace() for at in range(len(text) - 1)):
        return  # a point within a number or name: that it does not end a clause is known a letter later
    found, begin = [], 0
    for end in range(1, len(text.rstrip()) + 1):
        if ends_clause(text[begin:end]):
            found.append(text[begin:end])
            begin = end
    whole = clauses(text)
    assert whole[: len(found)] == found or "".join(found) == text.rstrip()
    digits = any(clause[-2:-1].isdigit() for clause in whole if clause[-1:] in set(".!?;:,"))
    assert digits or len(whole) - len(found) <= 1


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
    ],
)
def test_a_clause_ends_with_its_punctuation_unless_it_is_short_or_a_number_may_go_on(text: str, ends: bool) -> None:
    assert ends_clause(text) == ends
