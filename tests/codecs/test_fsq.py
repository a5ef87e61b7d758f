"""Finite scalar quantisation: every code is a place on a grid, and every place a code."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sensorium.codecs.fsq import FSQ
from sensorium.errors import RequestError

GRIDS = [(8, 5, 5, 5), (8, 8, 6, 5), (3,), (2,), (2, 2), (64,), (7, 2, 4)]
levels = st.lists(st.integers(2, 9), min_size=1, max_size=4)


def unbounded(values: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Numbers that are squeezed to these values: the inverse of the bound in the paper's formula."""
    half = torch.tensor([(level - 1) * 1.001 / 2 for level in grid], dtype=torch.float64)
    offset = torch.tensor([0.0 if level % 2 else 0.5 for level in grid], dtype=torch.float64)
    steps = values.double() * torch.tensor([level // 2 for level in grid])
    return (((steps + offset) / half).atanh() - (offset / half).atanh()).float()


@pytest.mark.parametrize("grid", GRIDS)
def test_every_code_is_reached_and_its_values_give_it_back(grid: tuple[int, ...]) -> None:
    quantiser = FSQ(grid)
    every = torch.arange(math.prod(grid))
    assert quantiser.codebook_size == len(every)
    values = quantiser.values(every)
    assert len(values.unique(dim=0)) == len(every)
    quantised, codes = quantiser(unbounded(values, grid))
    assert torch.equal(codes, every)
    torch.testing.assert_close(quantised, values)


@given(levels, st.lists(st.floats(-1e4, 1e4, width=32), min_size=4, max_size=4))
def test_whatever_comes_in_values_lie_within_one_and_are_those_of_their_code(
    grid: list[int], given: list[float]
) -> None:
    quantiser = FSQ(grid)
    z = torch.tensor(given)[: len(grid)]
    values, code = quantiser(z)
    assert values.abs().max() <= 1
    assert code.dtype == torch.int64
    torch.testing.assert_close(values, quantiser.values(code))


def test_the_first_level_counts_least() -> None:
    assert FSQ((3, 4)).values(torch.tensor([0, 1, 2, 3, 11])).tolist() == [
        [-1.0, -1.0],
        [0.0, -1.0],
        [1.0, -1.0],
        [-1.0, -0.5],
        [1.0, 0.5],
    ]


def test_the_gradient_goes_straight_through_the_rounding() -> None:
    grid = (8, 5, 3)
    z = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    values, _ = FSQ(grid)(z)
    weights = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    (values * weights).sum().backward()
    half = torch.tensor([(level - 1) * 1.001 / 2 for level in grid])
    offset = torch.tensor([0.5, 0.0, 0.0])
    squeezed = (z.detach() + (offset / half).atanh()).tanh()
    slope = (1 - squeezed**2) * half / torch.tensor([4.0, 2.0, 1.0])
    torch.testing.assert_close(z.grad, weights * slope)


@pytest.mark.parametrize("wrong", [-1, 12, 10_000])
def test_a_code_outside_the_codebook_is_named(wrong: int) -> None:
    with pytest.raises(RequestError, match=rf"code {wrong} is outside the codebook of 0\.\.11"):
        FSQ((3, 4)).values(torch.tensor([[3, wrong]]))
