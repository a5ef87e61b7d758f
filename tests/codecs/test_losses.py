"""Distances between what was and what was given back, against their formulas written out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from sensorium.codecs import losses


def pixels(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape or (3, 3, 12, 9), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def sounds(seed: int) -> Tensor:
    return pixels(seed, 2, 3_000)


def by_windows(drawn: np.ndarray, true: np.ndarray) -> float:
    """SSIM of two pictures (3, height, width) within -1..1, window by window."""
    found = []
    for channel in range(3):
        for y in range(drawn.shape[1] - 6):
            for x in range(drawn.shape[2] - 6):
                a, b = (each[channel, y : y + 7, x : x + 7].astype(np.float64).ravel() for each in (drawn, true))
                (var_a, cov), (_, var_b) = np.cov(a, b)
                c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
                above = (2 * a.mean() * b.mean() + c1) * (2 * cov + c2)
                found.append(above / ((a.mean() ** 2 + b.mean() ** 2 + c1) * (var_a + var_b + c2)))
    return float(np.mean(found))


def test_structural_similarity_is_that_of_its_definition() -> None:
    drawn, true = pixels(0), pixels(1)
    near = (true + 0.2 * drawn).clamp(-1, 1)
    for one in (drawn, near):
        expected = [by_windows(a.numpy(), b.numpy()) for a, b in zip(one, true, strict=True)]
        assert losses.structural_similarity(one, true).tolist() == pytest.approx(expected, abs=1e-5)


def test_peak_signal_to_noise_is_that_of_its_formula() -> None:
    drawn, true = pixels(0), pixels(1)
    expected = 10 * np.log10(4 / ((drawn - true).numpy() ** 2).mean((1, 2, 3)))
    np.testing.assert_allclose(losses.peak_signal_to_noise(drawn, true), expected, rtol=1e-5)
    assert losses.peak_signal_to_noise(torch.full((1, 3, 4, 4), 0.2), torch.zeros(1, 3, 4, 4)).item() == pytest.approx(
        20
    )


def test_pixels_and_edges_are_mean_differences() -> None:
    drawn, true = pixels(0), pixels(1)
    off = (drawn - true).numpy()
    np.testing.assert_allclose(losses.pixel_distance(drawn, true), np.abs(off).mean((1, 2, 3)), rtol=1e-5)
    edges = np.abs(np.diff(off, axis=2)).mean((1, 2, 3)) + np.abs(np.diff(off, axis=3)).mean((1, 2, 3))
    np.testing.assert_allclose(losses.gradient_distance(drawn, true), edges, rtol=1e-5)
    assert losses.gradient_distance(true + 0.3, true).abs().max() < 1e-6


def test_sounds_are_compared_at_three_resolutions() -> None:
    from sensorium.codecs.spectra import magnitudes, mel_table

    spoken, true = sounds(0), sounds(1)
    total = np.zeros(2)
    for n_fft, hop, n_mels in ((256, 64, 32), (512, 128, 48), (1024, 256, 80)):
        ours, theirs = (magnitudes(each, n_fft, hop).double().numpy() for each in (spoken, true))
        filters = mel_table(4_000, n_fft, n_mels, "cpu").double().numpy()
        total += np.sqrt(((ours - theirs) ** 2).sum((1, 2)) / (theirs**2).sum((1, 2)))
        total += np.abs(np.log(ours) - np.log(theirs)).mean((1, 2))
        mels = [np.log(np.maximum(filters @ each, 1e-5)) for each in (ours, theirs)]
        total += np.abs(mels[0] - mels[1]).mean((1, 2))
    np.testing.assert_allclose(losses.spectral_distance(spoken, true, 4_000), total / 3, rtol=1e-4)


def dissimilarity(drawn: Tensor, true: Tensor) -> Tensor:
    return 1 - losses.structural_similarity(drawn, true)


def noise_ratio(drawn: Tensor, true: Tensor) -> Tensor:
    return -losses.peak_signal_to_noise(drawn, true)


def heard(spoken: Tensor, true: Tensor) -> Tensor:
    return losses.spectral_distance(spoken.flatten(1)[:, :300], true.flatten(1)[:, :300], 4_000)


DISTANCES = [losses.pixel_distance, losses.gradient_distance, dissimilarity, heard]


@pytest.mark.parametrize("distance", DISTANCES)
def test_what_is_equal_is_nowhere_apart(distance: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert distance(pixels(2), pixels(2)).tolist() == pytest.approx([0.0] * 3, abs=1e-6)


@pytest.mark.parametrize("distance", [*DISTANCES, noise_ratio])
def test_more_noise_is_further_apart(distance: Callable[[Tensor, Tensor], Tensor]) -> None:
    true, noise = 0.5 * pixels(2), pixels(3)
    far = torch.stack([distance(true + scale * noise, true) for scale in (0.0, 0.01, 0.05, 0.2, 0.5)])
    assert (far.diff(dim=0) > 0).all()


@pytest.mark.parametrize("distance", DISTANCES)
def test_each_picture_or_sound_is_compared_by_itself(distance: Callable[[Tensor, Tensor], Tensor]) -> None:
    drawn, true = pixels(0), pixels(1)
    alone = [distance(a[None], b[None]).item() for a, b in zip(drawn, true, strict=True)]
    assert distance(drawn, true).tolist() == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize("distance", [*DISTANCES, losses.peak_signal_to_noise])
def test_gradients_are_numbers_even_at_no_distance(distance: Callable[[Tensor, Tensor], Tensor]) -> None:
    drawn = pixels(2).requires_grad_()
    distance(drawn, pixels(2)).sum().backward()
    assert drawn.grad is not None
    assert torch.isfinite(drawn.grad).all()
