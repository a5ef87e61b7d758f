"""How far a picture or a sound is from what it should be: means over its pixels or bins, one number for each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sensorium.codecs.spectra import magnitudes, mel_table

_SSIM_WINDOW = 7
# (n_fft, hop, mels) of the spectra that sounds are compared by.
_RESOLUTIONS = ((256, 64, 32), (512, 128, 48), (1024, 256, 80))
_FLOOR = 1e-5


def pixel_distance(drawn: Tensor, true: Tensor) -> Tensor:
    """Mean absolute difference of pixels: (n, 3, height, width) twice → (n,)."""
    return (drawn - true).abs().mean((1, 2, 3))


def gradient_distance(drawn: Tensor, true: Tensor) -> Tensor:
    """Mean absolute difference of the steps between neighbouring pixels, which are edges: → (n,)."""
    difference = drawn - true
    return difference.diff(dim=2).abs().mean((1, 2, 3)) + difference.diff(dim=3).abs().mean((1, 2, 3))


def structural_similarity(drawn: Tensor, true: Tensor, *, stride: int = 1) -> Tensor:
    """SSIM (Wang et al. 2004) over windows of 7×7, pixels within -1..1: (n, 3, height, width) twice → (n,), 1 if equal.

    The mean over windows that lie within the picture, every `stride` pixels, with sample variances, as scikit-image
    has it.
    """
    area = _SSIM_WINDOW**2
    joint = torch.cat((drawn, true, drawn * drawn, true * true, drawn * true), 1)
    mean_a, mean_b, square_a, square_b, product = F.avg_pool2d(joint, _SSIM_WINDOW, stride=stride).chunk(5, 1)
    unbiased = area / (area - 1)
    variance_a = (square_a - mean_a * mean_a) * unbiased
    variance_b = (square_b - mean_b * mean_b) * unbiased
    covariance = (product - mean_a * mean_b) * unbiased
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (similarity / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))).mean((1, 2, 3))


def feature_distance(made: Tensor, true: Tensor) -> Tensor:
    """Squared difference of what an encoder makes of pictures or sounds, as a share of all (Johnson et al. 2016).

    Features (n, places, dim) twice → (n,).
    """
    return (made - true).square().sum((1, 2)) / true.square().sum((1, 2)).clamp_min(1e-6)


def peak_signal_to_noise(drawn: Tensor, true: Tensor) -> Tensor:
    """PSNR in dB, pixels within -1..1: (n, 3, height, width) twice → (n,)."""
    return 10 * (4.0 / (drawn - true).square().mean((1, 2, 3)).clamp_min(1e-10)).log10()


def spectral_distance(spoken: Tensor, true: Tensor, sample_rate: int) -> Tensor:
    """How far apart two sounds are at several resolutions of time and pitch: samples (n, time) twice → (n,).

    For each: the spectral convergence and the mean difference of log sizes (Yamamoto et al. 2020, arXiv:1910.11480),
    and that of log-mel sizes, all with equal weight.
    """
    total = torch.zeros(len(spoken), device=spoken.device)
    for n_fft, hop, n_mels in _RESOLUTIONS:
        ours, theirs = magnitudes(spoken, n_fft, hop), magnitudes(true, n_fft, hop)
        filters = mel_table(sample_rate, n_fft, n_mels, str(spoken.device))
        apart = (ours - theirs).square().sum((1, 2)).clamp_min(1e-12).sqrt()  # a bare root has no slope at zero
        convergence = apart / theirs.square().sum((1, 2)).sqrt().clamp_min(1e-3)
        total = total + convergence + _log_distance(ours, theirs) + _log_distance(filters @ ours, filters @ theirs)
    return total / len(_RESOLUTIONS)


def _log_distance(ours: Tensor, theirs: Tensor) -> Tensor:
    return (ours.clamp_min(_FLOOR).log() - theirs.clamp_min(_FLOOR).log()).abs().mean((1, 2))
