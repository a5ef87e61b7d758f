"""Handwritten digits, from the 1,797 of 8x8 pixels that scikit-learn brings along."""

from __future__ import annotations

from functools import cache

import numpy as np

from sensorium.data.world.splits import check_split, side
from sensorium.errors import ConfigError


def samples(split: str, digit: int) -> tuple[int, ...]:
    """The numbers of the handwritings of a digit that a split may show; the rest are never shown there.

    Raises:
        ConfigError: the split is unknown, the digit is not one, or scikit-learn is absent.
    """
    if not 0 <= digit <= 9:
        raise ConfigError(f"{digit} is no digit: give 0 to 9")
    return _samples(check_split(split), digit)


@cache
def _samples(split: str, digit: int) -> tuple[int, ...]:
    _, digits = _handwriting()
    return tuple(int(i) for i in np.flatnonzero(digits == digit) if side(f"handwriting {i}") == split)


def writing(number: int) -> np.ndarray:
    """How dark the ink of one handwriting is: (8, 8) uint8, 0 for paper. Raises `ConfigError` as `samples` does."""
    ink, _ = _handwriting()
    if not 0 <= number < len(ink):
        raise ConfigError(f"handwriting {number} is not there: give 0 to {len(ink) - 1}")
    page: np.ndarray = ink[number]
    return page


@cache
def _handwriting() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ConfigError("handwritten digits need scikit-learn: pip install 'sensorium[world]'") from error
    bundle = load_digits()
    ink = np.round(bundle.data.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return ink, bundle.target
