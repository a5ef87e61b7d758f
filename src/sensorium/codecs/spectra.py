"""Spectra of sound, forth and back: log-mel frames, and overlap-added inverse transforms."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

_FLOOR = 1e-5  # amplitude below this counts as this
POWER_FLOOR = 1e-10  # to Whisper's ears, power below this counts as this
POWER_RANGE = 8.0  # how far below the loudest they still tell apart, in powers of ten


def log_mel_frames(samples: Tensor, sample_rate: int, n_fft: int, hop: int, n_mels: int) -> Tensor:
    """Natural logarithm of mel amplitudes: samples (n, time) → (n, n_mels, frames), one frame per begun `hop`.

    The middle of frame i is the middle of the i-th hop; beyond the ends is silence.
    """
    sizes = magnitudes(samples, n_fft, hop)  # (n, bins, frames)
    filters = mel_table(sample_rate, n_fft, n_mels, str(samples.device))
    return (filters @ sizes).clamp_min(_FLOOR).log()


def whisper_log_mel(samples: Tensor, sample_rate: int, n_fft: int, hop: int, n_mels: int) -> Tensor:
    """Log-mel frames as Whisper's ears take them, `processing.mel.log_mel`, of many sounds at once, with gradients.

    Samples (n, time), more than half of `n_fft`, → (n, n_mels, time // hop).
    """
    padded = F.pad(samples.float(), (n_fft // 2, n_fft // 2), mode="reflect")
    spectrum = torch.stft(
        padded, n_fft, hop, window=hann(n_fft, str(samples.device)), center=False, return_complex=True
    )
    power = torch.view_as_real(spectrum[..., : samples.shape[1] // hop]).square().sum(-1)
    filters = mel_table(sample_rate, n_fft, n_mels, str(samples.device), even=False)
    levels = (filters @ power).clamp_min(POWER_FLOOR).log10()
    return (torch.maximum(levels, levels.amax((1, 2), keepdim=True) - POWER_RANGE) + 4.0) / 4.0


def magnitudes(samples: Tensor, n_fft: int, hop: int) -> Tensor:
    """Sizes of the bins of a short-time Fourier transform: (n, time) → (n, n_fft // 2 + 1, frames)."""
    side = (n_fft - hop) // 2
    padded = F.pad(samples.float(), (side, side + -samples.shape[1] % hop))
    spectrum = torch.stft(
        padded, n_fft, hop, window=hann(n_fft, str(samples.device)), center=False, return_complex=True
    )
    parts = torch.view_as_real(spectrum)
    return (parts.square().sum(-1) + 1e-12).sqrt()  # the gradient of a bare size has no end at zero


def overlap_added(spectrum: Tensor, n_fft: int, hop: int) -> Tensor:
    """The sound of spectra: (n, frames, n_fft // 2 + 1) complex → (n, frames * hop), the inverse of `magnitudes`' cut.

    Each frame reaches `(n_fft - hop) // 2` samples beyond its own hop on both sides, and no further.
    """
    window = hann(n_fft, str(spectrum.device))
    frames = torch.fft.irfft(spectrum, n_fft) * window  # (n, frames, n_fft)
    count, side = frames.shape[1], (n_fft - hop) // 2
    size = (1, (count - 1) * hop + n_fft)

    def added(columns: Tensor) -> Tensor:
        return F.fold(columns, size, (1, n_fft), stride=(1, hop))[:, 0, 0, side : side + count * hop]

    envelope = added(window.square()[None, :, None].expand(1, n_fft, count))
    return added(frames.transpose(1, 2)) / envelope.clamp_min(1e-3)


@functools.lru_cache(16)
def hann(n_fft: int, device: str) -> Tensor:
    """Hann's window, (n_fft,)."""
    with torch.inference_mode(False):  # whoever asks first, training may ask next
        return torch.hann_window(n_fft, device=device)


@functools.lru_cache(16)
def mel_table(sample_rate: int, n_fft: int, n_mels: int, device: str, *, even: bool = True) -> Tensor:
    """Mel filters (n_mels, n_fft // 2 + 1): weights that add up to 1 for each mel, or those of `mel_filters`."""
    filters = mel_filters(sample_rate, n_fft, n_mels)
    if even:
        filters = filters / filters.sum(1, keepdims=True).clip(1e-9)
    with torch.inference_mode(False):
        return torch.from_numpy(filters.astype(np.float32)).to(device)


def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> npt.NDArray[np.float64]:
    """Slaney's triangular filters from 0 Hz to half the rate, of equal area: (n_mels, n_fft // 2 + 1).

    Slaney, "Auditory Toolbox" (1998): the mel scale is linear below 1 kHz and logarithmic above.
    """
    corners = _hertz(np.linspace(0.0, _mel(sample_rate / 2), n_mels + 2))
    bins = np.linspace(0.0, sample_rate // 2, n_fft // 2 + 1)
    widths = np.diff(corners)
    distances = corners[:, None] - bins  # (n_mels + 2, bins)
    rising, falling = -distances[:-2] / widths[:-1, None], distances[2:] / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    areas: npt.NDArray[np.float64] = triangles * (2.0 / (corners[2:] - corners[:-2]))[:, None]
    return areas


_BREAK_HZ, _BREAK_MEL, _PER_MEL = 1000.0, 15.0, math.log(6.4) / 27.0


def _mel(hertz: float) -> float:
    if hertz < _BREAK_HZ:
        return 3.0 * hertz / 200.0
    return _BREAK_MEL + math.log(hertz / _BREAK_HZ) / _PER_MEL


def _hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    beyond = np.maximum(mels - _BREAK_MEL, 0.0)
    return np.where(mels < _BREAK_MEL, 200.0 * mels / 3.0, _BREAK_HZ * np.exp(beyond * _PER_MEL))
