"""Spectra: what a transform takes apart its inverse puts together, and sizes are those of numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from sensorium.codecs.spectra import hann, log_mel_frames, magnitudes, mel_table, overlap_added, whisper_log_mel
from sensorium.config import AudioConfig
from sensorium.processing.mel import log_mel


def sound(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def spectrum(samples: torch.Tensor, n_fft: int, hop: int) -> torch.Tensor:
    """With its phases, cut as `magnitudes` cuts: (n, frames, bins)."""
    side = (n_fft - hop) // 2
    padded = F.pad(samples, (side, side))
    window = torch.hann_window(n_fft)
    return torch.stft(padded, n_fft, hop, window=window, center=False, return_complex=True).transpose(1, 2)


@given(st.sampled_from([(160, 40), (80, 40), (640, 160), (100, 30)]), st.integers(1, 20), st.integers(0, 1000))
def test_the_inverse_gives_back_the_sound_up_to_its_ends(sizes: tuple[int, int], frames: int, seed: int) -> None:
    n_fft, hop = sizes
    samples = sound(2, frames * hop, seed=seed)
    cut = spectrum(samples, n_fft, hop)
    assert cut.shape == (2, frames, n_fft // 2 + 1)
    torch.testing.assert_close(overlap_added(cut, n_fft, hop), samples, rtol=0, atol=1e-4)
    torch.testing.assert_close(magnitudes(samples, n_fft, hop), cut.abs().transpose(1, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("time", [1, 39, 40, 41, 400])
def test_each_begun_hop_has_a_frame_around_its_middle(time: int) -> None:
    samples = sound(1, time)
    sizes = magnitudes(samples, 160, 40)
    frames = -(-time // 40)
    assert sizes.shape == (1, 81, frames)
    padded = np.zeros(60 + 40 * frames + 60)
    padded[60 : 60 + time] = samples[0].numpy()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(160) / 160)
    for frame in range(frames):
        expected = np.abs(np.fft.rfft(padded[40 * frame : 40 * frame + 160] * window))
        np.testing.assert_allclose(sizes[0, :, frame], expected, rtol=1e-4, atol=1e-4)


def test_a_frame_reaches_no_further_than_its_window() -> None:
    cut = spectrum(sound(1, 800), 160, 40)
    other = cut.clone()
    other[0, 10] += 1
    moved = (overlap_added(cut, 160, 40) - overlap_added(other, 160, 40)).abs()[0].nonzero().flatten()
    assert moved.min() >= 10 * 40 - 60
    assert moved.max() < 11 * 40 + 60


def test_mel_filters_weigh_a_mean_and_silence_has_a_floor() -> None:
    filters = mel_table(4_000, 160, 12, "cpu")
    torch.testing.assert_close(filters.sum(1), torch.ones(12))
    mels = log_mel_frames(torch.zeros(1, 100), 4_000, 160, 40, 12)
    assert mels.shape == (1, 12, 3)
    torch.testing.assert_close(mels, torch.full((1, 12, 3), float(np.log(1e-5))))
    one = sound(1, 400)
    torch.testing.assert_close(
        log_mel_frames(0.5 * one, 4_000, 160, 40, 12), log_mel_frames(one, 4_000, 160, 40, 12) - np.log(2)
    )


def test_silence_has_a_gradient() -> None:
    samples = torch.zeros(1, 200, requires_grad=True)
    magnitudes(samples, 160, 40).sum().backward()
    assert samples.grad is not None
    assert torch.isfinite(samples.grad).all()


def test_what_is_kept_serves_training_whoever_asked_first() -> None:
    """Tables are made once; those made while a model spoke must not stand in the way of one that learns."""
    with torch.inference_mode():
        log_mel_frames(torch.zeros(1, 200), 3_000, 96, 24, 7)
    assert hann(96, "cpu") is hann(96, "cpu")
    samples = sound(1, 200).requires_grad_()
    log_mel_frames(samples, 3_000, 96, 24, 7).sum().backward()
    assert samples.grad is not None
    assert samples.grad.abs().sum() > 0


@pytest.mark.parametrize(("n_fft", "hop", "n_mels", "length"), [(400, 160, 80, 16_000), (128, 50, 20, 3_333)])
def test_what_ears_take_is_the_same_of_many_sounds_at_once(n_fft: int, hop: int, n_mels: int, length: int) -> None:
    config = AudioConfig(sample_rate=16_000, n_fft=n_fft, hop=hop, n_mels=n_mels)
    samples = np.random.default_rng(3).normal(0.0, [[0.001], [0.3]], (2, length)).astype(np.float32)
    found = whisper_log_mel(torch.from_numpy(samples), 16_000, n_fft, hop, n_mels)
    for row, sound in zip(found.numpy(), samples, strict=True):
        np.testing.assert_allclose(row, log_mel(sound, config), atol=1e-4)
