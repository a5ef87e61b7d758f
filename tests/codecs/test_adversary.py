"""The game of codec and adversary: how hard each pulls, and at whom."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sensorium.codecs.adversary import (
    PatchAdversary,
    SpectrumAdversary,
    adversary_loss,
    balance,
    draw_adversary,
    scored_by_adversary,
)


def drawn(adversary: nn.Module, seed: int = 0) -> nn.Module:
    draw_adversary(adversary, torch.Generator().manual_seed(seed))
    return adversary


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_patches_of_pictures_and_of_spectra_are_scored() -> None:
    (score,) = drawn(PatchAdversary(3, (8, 8, 16)))(noise(2, 3, 16, 24))
    assert score.shape == (2, 1, 2, 3)
    scores = drawn(SpectrumAdversary((4, 4, 8)))(noise(2, 4_000))
    assert [each.shape for each in scores] == [(2, 1, 32, 4), (2, 1, 64, 2)]
    assert all(torch.isfinite(each).all() and each.std() > 0 for each in (score, *scores))


def test_no_layer_stretches_what_it_is_given() -> None:
    adversary = drawn(PatchAdversary(3, (8, 8)))
    for _ in range(30):
        adversary(noise(1, 3, 16, 16))
    for module in adversary.modules():
        if isinstance(module, nn.Conv2d):
            assert torch.linalg.matrix_norm(module.weight.flatten(1), 2).item() == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("kind", [PatchAdversary, SpectrumAdversary])
def test_a_drawn_adversary_is_that_of_its_seed_whatever_was_drawn_before(kind: type[nn.Module]) -> None:
    """Not only its weights: what its norms begin with, too."""
    found = []
    for before, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(before)
        found.append(drawn(kind(), seed).state_dict())
    first, again, other = found
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_the_adversary_loses_by_scores_within_the_margin() -> None:
    real = [torch.tensor([2.0, 0.5]).view(2, 1, 1, 1), torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)]
    made = [torch.tensor([-3.0, 0.0]).view(2, 1, 1, 1), torch.tensor([0.5, -0.5]).view(2, 1, 1, 1)]
    # By resolution: relu(1 - real) + relu(1 + made), each picture by itself, halved.
    expected = [((0 + 0) + (0 + 1.5)) / 2 / 2, ((0.5 + 1) + (2 + 0.5)) / 2 / 2]
    assert adversary_loss(real, made).tolist() == pytest.approx(expected)
    assert scored_by_adversary(made).tolist() == pytest.approx([(3 - 0.5) / 2, (0 + 0.5) / 2])


def test_what_is_balanced_pulls_as_hard_as_what_is_wanted() -> None:
    weight = nn.Parameter(noise(4, 3))
    given = noise(10, 3, seed=1)
    wanted, opposed = ((given @ weight.T) ** 2).mean(), (0.01 * given @ weight.T).sin().sum()
    ratio = balance(wanted, opposed, weight)
    assert not ratio.requires_grad
    pulls = [
        torch.autograd.grad(loss, weight, retain_graph=True)[0].norm().item() for loss in (wanted, ratio * opposed)
    ]
    assert pulls[0] == pytest.approx(pulls[1], rel=1e-3)
    assert pulls[0] > 0


def test_an_adversary_that_says_nothing_does_not_weigh_endlessly() -> None:
    weight = nn.Parameter(noise(3))
    assert balance(weight.square().sum() * 1e9, (0 * weight).sum(), weight).item() == 1e4
