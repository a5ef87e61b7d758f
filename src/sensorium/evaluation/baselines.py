"""What can be scored without a model, computed on the very examples the model is asked."""

from __future__ import annotations

import lzma
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from sensorium.evaluation.examples import Example


def baseline(name: str, metric: str, examples: Sequence[Example]) -> float:
    """The score of a baseline of bits per byte or of a choice, on the metric's scale."""
    if metric == "bits_per_byte":
        return _COMPRESSORS[name](b"\n".join(example.reference.encode("utf-8") for example in examples))
    assert metric == "accuracy"
    if name == "random":
        return float(np.mean([1 / len(example.candidates) for example in examples]))
    return float(np.mean([_picks(name, example) for example in examples]))


def most_frequent(references: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The answer given most often in each language, of (language, answer); the first of several."""
    counts: dict[str, Counter[str]] = {}
    for language, reference in references:
        counts.setdefault(language, Counter())[reference] += 1
    return {language: counter.most_common(1)[0][0] for language, counter in counts.items()}


def _uniform(_text: bytes) -> float:
    """Every byte as likely as any other."""
    return math.log2(256)


def _byte_entropy(text: bytes) -> float:
    """The best that any model can do that looks at single bytes only: it even knows this text's own frequencies."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def _xz(text: bytes) -> float:
    """A strong general compressor, given all documents at once."""
    return 8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) / len(text)


_COMPRESSORS: dict[str, Callable[[bytes], float]] = {
    "uniform": _uniform,
    "byte_entropy": _byte_entropy,
    "xz": _xz,
}


def _picks(name: str, example: Example) -> float:
    """The chance that a simple rule picks the reference; ties are broken by lot."""
    values = [_appeal(name, candidate, example) for candidate in example.candidates]
    best = max(values)
    tied = [candidate for candidate, value in zip(example.candidates, values, strict=True) if value == best]
    return tied.count(example.reference) / len(tied)


def _appeal(name: str, candidate: str, example: Example) -> float:
    if name == "longest":
        return len(candidate.encode("utf-8"))
    if name == "shortest":
        return -len(candidate.encode("utf-8"))
    assert name == "word_overlap"
    said = set(_words(" ".join(message.text for message in example.context)))
    words = set(_words(candidate))
    return len(said & words) / len(words) if words else 0.0


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
