"""The learning rate at every step."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.train.schedule import Shape, rate


def test_warmup_rises_in_a_straight_line_and_reaches_the_peak() -> None:
    assert [rate(step, 100, shape="constant", warmup=4) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert rate(4, 100, shape="constant", warmup=0.1) == 0.5  # a share of the horizon


def test_cosine_is_half_way_down_in_the_middle() -> None:
    assert rate(10, 110, shape="cosine", warmup=10) == 1.0
    assert rate(60, 110, shape="cosine", warmup=10) == pytest.approx(0.5)
    assert rate(60, 110, shape="cosine", warmup=10, floor=0.2) == pytest.approx(0.6)
    assert rate(35, 110, shape="cosine", warmup=10) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))


def test_wsd_stays_then_falls_in_a_straight_line() -> None:
    rates = [rate(step, 10, shape="wsd", decay=0.4) for step in range(10)]
    assert rates == pytest.approx([1, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


@given(
    shape=st.sampled_from(["cosine", "wsd", "constant"]),
    horizon=st.integers(1, 500),
    warmup=st.floats(0, 20),
    decay=st.floats(0.01, 1),
    floor=st.floats(0, 1),
)
def test_every_rate_lies_between_nothing_and_the_peak(
    shape: Shape, horizon: int, warmup: float, decay: float, floor: float
) -> None:
    for step in range(horizon):
        share = rate(step, horizon, shape=shape, warmup=warmup, decay=decay, floor=floor)
        assert 0.0 <= share <= 1.0 + 1e-12
