"""Whisper's encoder (Radford et al. 2022, arXiv:2212.04356), also as Qwen2-Audio pools and trims it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.config import WhisperConfig
from sensorium.nn.attention import Visibility, visibility
from sensorium.nn.init import draw_weights, wave_table
from sensorium.nn.norms import make_norm
from sensorium.nn.speech import check_audio, pooled_mean, real_places
from sensorium.nn.transformer import Block

_REACH = 2  # frames beyond a recording's end that the convolutions of its last feature read


class Whisper(nn.Module):
    """Two convolutions, the second of stride 2, learned positions, blocks and a norm."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.block_config = config.blocks()
        self.conv1 = nn.Conv1d(config.n_mels, config.dim, 3, padding=1)
        self.conv2 = nn.Conv1d(config.dim, config.dim, 3, stride=2, padding=1)
        self.position = nn.Embedding(config.max_frames // 2, config.dim)
        self.blocks = nn.ModuleList(Block(self.block_config, layer) for layer in range(config.n_layers))
        self.final_norm = make_norm("layer", config.dim, self.block_config.norm_eps)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights; positions start as sines and cosines."""
        draw_weights(self, generator, n_layers=self.config.n_layers)
        self.position.weight.copy_(wave_table(self.position.num_embeddings, self.config.dim))

    def forward(self, audio: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Features of recordings; the silence that fills a window counts as heard unless `trim` is set.

        Args:
            audio: (n, n_mels, frames) log-mel, filled up here by each recording's lowest value where shorter than
                the window.
            frames: (n,) real frames of each.

        Returns:
            (n, places, dim) features, and (n,) how many are real.

        Raises:
            RequestError: another number of mels, or more frames than the window.
        """
        config = self.config
        check_audio(audio, frames, config.n_mels, config.max_frames)
        if config.trim:
            halved = torch.where(frames > 0, (frames - 1) // 2 + 1, 0)
            audio = _filled(audio, min(audio.shape[2] + _REACH, config.max_frames))
        else:
            halved = torch.full_like(frames, config.max_frames // 2)
            audio = _filled(audio, config.max_frames)
        x = F.gelu(self.conv1(audio))
        x = F.gelu(self.conv2(x)).transpose(1, 2)[:, : self.position.num_embeddings]  # (n, halved, dim)
        x = x + self.position.weight[: x.shape[1]]
        positions = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])
        visible = Visibility()
        if config.trim:
            visible = visibility(self.block_config, None, positions, padding=real_places(halved, x.shape[1]))
        for block in self.blocks:
            x = block(x, positions, None, visible)
        lengths = halved
        if config.pool == 2:
            x = F.avg_pool1d(x.transpose(1, 2), 2).transpose(1, 2)  # (n, halved / 2, dim)
            lengths = halved // 2
        return self.final_norm(x), lengths

    def pooled(self, audio: Tensor, frames: Tensor) -> Tensor:
        """(n, n_mels, frames) and (n,) → (n, dim), the mean over real features."""
        return pooled_mean(*self(audio, frames))


def _filled(audio: Tensor, frames: int) -> Tensor:
    """(n, mels, fewer) → (n, mels, frames), each recording continued by its lowest value."""
    missing = frames - audio.shape[2]
    if missing <= 0:
        return audio
    lowest = audio.amin((1, 2), keepdim=True)  # (n, 1, 1)
    return torch.cat((audio, lowest.expand(-1, audio.shape[1], missing)), dim=2)
