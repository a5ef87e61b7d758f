"""Scores with their 95% confidence intervals."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

import jiwer
import numpy as np

Interval = tuple[float, float]
_RESAMPLES = 2_000


def exact_match(answer: str, reference: str) -> float:
    """1 when the same words stand in both, else 0: case, punctuation, articles (SQuAD's rule) and width are ignored."""
    return float(_words(answer) == _words(reference))


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of the shares of the answer's words and of the reference's that the other has too (SQuAD)."""
    ours, theirs = _words(answer), _words(reference)
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs))


def word_errors(answer: str, reference: str) -> tuple[int, int]:
    """Words replaced, left out and put in, by the fewest changes, and the words of the reference.

    Case, punctuation and width do not count, and an apostrophe parts no word.
    """
    return _edits(_spoken(answer).split(), _spoken(reference).split())


def character_errors(answer: str, reference: str) -> tuple[int, int]:
    """The same of characters, spaces ignored: for a language that puts none between words."""
    return _edits(list("".join(_spoken(answer).split())), list("".join(_spoken(reference).split())))


def proportion_interval(successes: int, n: int) -> Interval:
    """The exact interval of a proportion (Clopper & Pearson 1934), each tail holding at most 2.5%."""
    low = 0.0 if successes == 0 else _bisect(lambda p: _upper_tail(successes, n, p) - 0.025)
    high = 1.0 if successes == n else _bisect(lambda p: 0.025 - (1.0 - _upper_tail(successes + 1, n, p)))
    return low, high


def bootstrap_interval(numerators: Sequence[float], denominators: Sequence[float], *, seed: int) -> Interval:
    """Percentile bootstrap of a ratio of sums, such as bits per byte; examples are drawn with replacement."""
    above, below = np.asarray(numerators, float), np.asarray(denominators, float)
    drawn = np.random.default_rng(seed).integers(len(above), size=(_RESAMPLES, len(above)))
    low, high = np.quantile(above[drawn].sum(axis=1) / below[drawn].sum(axis=1), (0.025, 0.975))
    return float(low), float(high)


def _words(text: str) -> list[str]:
    """Words of Latin script, and single characters of Chinese, where no space parts the words; all of usual width."""
    text = unicodedata.normalize("NFKC", text).casefold()
    words = re.findall(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+", text)
    return [word for word in words if word not in ("a", "an", "the")]


def _spoken(text: str) -> str:
    """What is heard of a text: no case, no punctuation ("it's" is one word), no width."""
    text = re.sub(r"['\u2019]", "", unicodedata.normalize("NFKC", text).casefold())
    return re.sub(r"[\W_]+", " ", text)


def _edits(ours: Sequence[str], theirs: Sequence[str]) -> tuple[int, int]:
    if not theirs:
        return len(ours), 0
    found = jiwer.process_words(" ".join(theirs), " ".join(ours))
    return found.substitutions + found.deletions + found.insertions, len(theirs)


def _upper_tail(successes: int, n: int, p: float) -> float:
    """P(X >= successes) for X binomial (n, p), 0 < p < 1."""
    logs = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
        for k in range(successes, n + 1)
    )
    return math.fsum(math.exp(value) for value in logs)


def _bisect(rising: Callable[[float], float]) -> float:
    """The zero of a rising function on (0, 1)."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
