import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.evaluation.metrics import (
    bootstrap_interval,
    character_errors,
    exact_match,
    proportion_interval,
    token_f1,
    word_errors,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Published values of the Clopper-Pearson interval.
        (0, 10, 0.0, 0.3085),
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (10, 10, 0.6915, 1.0),
        (81, 263, 0.2527, 0.3676),
    ],
)
def test_exact_interval_of_a_proportion(successes: int, n: int, low: float, high: float) -> None:
    assert proportion_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 200), st.data())
def test_a_proportion_lies_in_its_interval_and_mirrors(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    low, high = proportion_interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    mirrored = proportion_interval(n - successes, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_bootstrap_of_a_ratio() -> None:
    bits, n_bytes = [10.0, 40.0, 20.0, 30.0] * 25, [10, 20, 20, 10] * 25
    low, high = bootstrap_interval(bits, n_bytes, seed=0)
    assert low < sum(bits) / sum(n_bytes) < high
    # The spread that theory gives for a ratio of sums (delta method).
    ratio, mean = 100 / 60, 15
    variance = sum((b - ratio * n) ** 2 for b, n in zip(bits, n_bytes, strict=True)) / 100 / 100 / mean**2
    assert (high - low) / 2 == pytest.approx(1.96 * math.sqrt(variance), rel=0.1)
    assert bootstrap_interval(bits, n_bytes, seed=0) == (low, high)
    assert bootstrap_interval([2.0] * 5, [1.0] * 5, seed=1) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "f1"),
    [
        ("The cat!", "a  CAT", 1, 1),
        ("black cat", "cat", 0, 2 / 3),
        ("dog", "cat", 0, 0),
        ("", "cat", 0, 0),
        ("", "the", 1, 1),
        ("红色的猫", "红 色 的 猫。", 1, 1),
        ("红猫", "红色的猫", 0, 2 / 3),
        ("cat cat", "cat", 0, 2 / 3),
        ("３ ７", "3 7", 1, 1),
        ("3 7 1", "3 7", 0, 4 / 5),
        ("７ 3", "3 7", 0, 1),
        ("是的，", "是的。", 1, 1),
    ],
)
def test_answers_are_compared_by_their_words(answer: str, reference: str, exact: float, f1: float) -> None:
    assert exact_match(answer, reference) == exact
    assert token_f1(answer, reference) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("answer", "reference", "words", "characters"),
    [
        ("the cat sat", "The cat sat.", (0, 3), (0, 9)),
        ("the cat", "the cat sat", (1, 3), (3, 9)),
        ("a cat sat down", "the cat sat", (2, 3), (7, 9)),
        ("", "the cat sat", (3, 3), (9, 9)),
        ("it\u2019s Ben's", "It's bens!", (0, 2), (0, 7)),
        ("今天下雪", "今天在下雨。", (1, 1), (2, 5)),
        ("今天 在下雨", "今天在下雨", (2, 1), (0, 5)),
        ("ＡＢＣ", "abc", (0, 1), (0, 3)),
        ("something", "...", (1, 0), (9, 0)),
    ],
)
def test_transcripts_are_compared_by_the_fewest_changes(
    answer: str, reference: str, words: tuple[int, int], characters: tuple[int, int]
) -> None:
    assert word_errors(answer, reference) == words
    assert character_errors(answer, reference) == characters
