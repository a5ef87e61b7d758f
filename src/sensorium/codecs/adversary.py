"""What tells reconstructions from originals, patch by patch, and so teaches a codec what its losses do not see."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from sensorium.codecs.spectra import magnitudes

_SLOPE = 0.2
_NORMED = "parametrizations.weight.original"  # what a spectral norm scales
_RESOLUTIONS = ((512, 128), (1024, 256))  # n_fft and hop
SHORTEST = 8 * 256  # samples: three halvings of the frames of the longest hop leave one


class PatchAdversary(nn.Module):
    """Scores of the patches of a picture, high for real ones (Isola et al. 2017, arXiv:1611.07004).

    Spectral norms (Miyato et al. 2018, arXiv:1802.05957) keep it from being certain.
    """

    def __init__(self, channels: int = 3, dims: tuple[int, ...] = (32, 64, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((channels, *dims), dims, strict=False):
            layers += [spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)), nn.LeakyReLU(_SLOPE)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(dims[-1], 1, 3, padding=1)))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(n, channels, height, width) → one map of scores, (n, 1, rows, columns)."""
        return [self.layers(pixels)]


class SpectrumAdversary(nn.Module):
    """Patches of spectra at several resolutions (Jang et al. 2021, UnivNet, arXiv:2106.07889)."""

    def __init__(self, dims: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        self.parts = nn.ModuleList(PatchAdversary(1, dims) for _ in _RESOLUTIONS)

    def forward(self, samples: Tensor) -> list[Tensor]:
        """(n, time) → a map of scores for each resolution, (n, 1, bins, frames)."""
        sizes = (magnitudes(samples, n_fft, hop) for n_fft, hop in _RESOLUTIONS)
        compressed = [size.clamp_min(1e-4).log()[:, None] for size in sizes]
        return [part(size)[0] for part, size in zip(self.parts, compressed, strict=True)]


class ConditionalAdversary(nn.Module):
    """Tells pictures that answer what was asked from painted ones and from wrong ones.

    Two scores: one of patches, which knows nothing of the asking, and one of the whole picture, to which the product
    of its features with the projected vector is added (Miyato & Koyama 2018, arXiv:1802.05637). Spectral norms hold its
    convolutions alone: pictures of few things on much paper differ by so little that scores must be free to grow.
    """

    def __init__(self, condition: int, dims: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *dims), dims, strict=False):
            layers += [spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)), nn.LeakyReLU(_SLOPE)]
        self.patches, self.whole = nn.Sequential(*layers[:-2]), nn.Sequential(*layers[-2:])
        self.of_patches = nn.Conv2d(dims[-2], 1, 3, padding=1)
        self.of_whole = nn.Linear(dims[-1], 1)
        self.condition = nn.Linear(condition, dims[-1], bias=False)

    def forward(self, pixels: Tensor, condition: Tensor) -> list[Tensor]:
        """(n, 3, height, width) and (n, condition) → scores (n, 1, rows, columns) and (n, 1, 1, 1), high for real."""
        patches = self.patches(pixels)
        features = self.whole(patches).sum((2, 3))  # (n, dims[-1])
        asked = self.condition(F.rms_norm(condition, condition.shape[-1:], eps=1e-6))
        score = self.of_whole(features) + (features * asked).mean(1, keepdim=True)
        return [self.of_patches(patches), score[:, :, None, None]]


@torch.no_grad()
def draw_adversary(adversary: nn.Module, generator: torch.Generator) -> None:
    """Draw fresh weights, which spectral norms rescale, and the vectors that these norms find the scale by."""
    for module in adversary.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = dict(module.named_parameters()).get(_NORMED, module.weight)
            nn.init.normal_(weight, std=weight[0].numel() ** -0.5, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            for vector in module.buffers():
                vector.copy_(F.normalize(torch.randn(vector.shape, generator=generator), dim=0))


def _alone(tensor: Tensor) -> Tensor:
    """The sum over one process."""
    return tensor


def scored_by_adversary(scores: list[Tensor]) -> Tensor:
    """What a codec loses by what it made: the negative mean score, (n,)."""
    return torch.stack([-score.mean((1, 2, 3)) for score in scores]).mean(0)


def adversary_loss(real: list[Tensor], made: list[Tensor]) -> Tensor:
    """The hinge loss (Lim & Ye 2017, arXiv:1705.02894) of telling real from made, (n,)."""
    losses = [F.relu(1 - a).mean((1, 2, 3)) + F.relu(1 + b).mean((1, 2, 3)) for a, b in zip(real, made, strict=True)]
    return torch.stack(losses).mean(0) / 2


def opposed(
    adversary: nn.Module,
    share: float,
    wanted: Tensor,
    made: Tensor,
    true: Tensor,
    weight: Tensor,
    *given: Tensor,
    summed: Callable[[Tensor], Tensor] = _alone,
) -> Tensor:
    """One step of the game for both sides, a scalar: neither's loss moves the other.

    Args:
        adversary: scores what is made or true, with what else is `given`.
        share: how hard it pulls at what makes, relative to what is wanted.
        wanted: the loss of reconstruction, (n,).
        made: pictures or sounds that were made.
        true: those that they should be.
        weight: the last weight of what made them.
        given: what the adversary is told beside them; nothing there learns from the game.
        summed: the sum of a tensor over all processes, which must then ask together.
    """
    given = tuple(each.detach() for each in given)
    told = adversary_loss(adversary(true, *given), adversary(made.detach(), *given)).sum()
    # The adversary as it is, and not as it learns, says what is to be mended.
    fixed = {name: weight.detach() for name, weight in adversary.named_parameters()}
    scored = scored_by_adversary(torch.func.functional_call(adversary, fixed, (made, *given))).sum()
    return wanted.sum() + share * balance(wanted.sum(), scored, weight, summed) * scored + told


def balance(wanted: Tensor, opposed: Tensor, weight: Tensor, summed: Callable[[Tensor], Tensor] = _alone) -> Tensor:
    """How much `opposed` must be multiplied by to pull at `weight` as hard as `wanted` does (Esser et al. 2021, VQGAN).

    Args:
        wanted: the loss of reconstruction, a scalar.
        opposed: what the adversary makes a codec lose, a scalar.
        weight: the codec's last weight.
        summed: as in `opposed`: losses are sums over rows, and so are their gradients.
    """
    (a,) = torch.autograd.grad(wanted, weight, retain_graph=True)
    (b,) = torch.autograd.grad(opposed, weight, retain_graph=True)
    a, b = summed(a), summed(b)
    ratio: Tensor = (a.norm() / (b.norm() + 1e-6)).clamp(0.0, 1e4).detach()
    return ratio
