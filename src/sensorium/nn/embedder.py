"""Words, pictures and recordings as vectors in one space, where what belongs together lies close."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.config import ModelConfig
from sensorium.nn.init import draw_weights
from sensorium.nn.linear import apply_linear

FIRST_LOGIT_SCALE = math.log(1 / 0.07)  # CLIP's first temperature
MOST_LOGIT_SCALE = math.log(100)
FIRST_LOGIT_BIAS = -10.0  # SigLIP's first bias: in a batch nearly all pairs are false


class Embedder(nn.Module):
    """Projections into the common space, and the scale (and bias) that turn its cosines into scores.

    `logit_scale` is a logarithm. CLIP: Radford et al. 2021, arXiv:2103.00020; SigLIP: Zhai et al. 2023,
    arXiv:2303.15343.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        settings = config.embedder
        assert settings is not None
        self.config = settings
        self.text = nn.Linear(config.decoder.dim, settings.dim, bias=settings.text_bias)
        self.vision = (
            nn.Linear(config.vision.encoder.dim, settings.dim, bias=False)
            if config.vision is not None and settings.project_images
            else None
        )
        self.speech = (
            nn.Linear(config.speech.encoder.dim, settings.dim, bias=False) if config.speech is not None else None
        )
        self.logit_scale = nn.Parameter(torch.tensor(FIRST_LOGIT_SCALE))
        self.logit_bias = nn.Parameter(torch.tensor(FIRST_LOGIT_BIAS)) if settings.logit_bias else None

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh projections; scale and bias start where CLIP's and SigLIP's do."""
        draw_weights(self, generator)
        self.logit_scale.fill_(FIRST_LOGIT_SCALE)
        if self.logit_bias is not None:
            self.logit_bias.fill_(FIRST_LOGIT_BIAS)

    def scale(self) -> Tensor:
        """What cosines are multiplied by: at most 100 (CLIP, section 2.5), without a limit where a bias joins them."""
        limited = self.logit_scale if self.logit_bias is not None else self.logit_scale.clamp(max=MOST_LOGIT_SCALE)
        return limited.exp()

    def bias(self) -> Tensor | float:
        """What is then added."""
        return 0.0 if self.logit_bias is None else self.logit_bias

    def of_text(self, hidden_states: Tensor, input_ids: Tensor, padding: Tensor | None = None) -> Tensor:
        """The decoder's states (n, time, dim) of texts → unit vectors (n, dim); `padding` is true where real."""
        return _unit(apply_linear(self.text, self._pooled(hidden_states, input_ids, padding)))

    def of_images(self, pooled: Tensor) -> Tensor:
        """Pooled pictures (n, encoder's dim) → unit vectors (n, dim)."""
        return _unit(pooled if self.vision is None else apply_linear(self.vision, pooled))

    def of_audio(self, pooled: Tensor) -> Tensor:
        """Pooled recordings (n, encoder's dim) → unit vectors (n, dim)."""
        assert self.speech is not None
        return _unit(apply_linear(self.speech, pooled))

    def _pooled(self, hidden_states: Tensor, input_ids: Tensor, padding: Tensor | None) -> Tensor:
        """One state per text, (n, dim)."""
        real = torch.ones_like(input_ids, dtype=torch.bool) if padding is None else padding
        pool = self.config.text_pool
        if pool == "mean":
            weights = real / real.sum(1, keepdim=True).clamp_min(1)
            return (hidden_states * weights[..., None].to(hidden_states.dtype)).sum(1)
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        last = torch.where(real, places, 0).amax(1)  # (n,)
        if pool == "eos":
            ends = real & (input_ids == self.config.eos_id)
            last = torch.where(ends.any(1), ends.int().argmax(1), last)
        return hidden_states[torch.arange(len(last), device=last.device), last]


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=-1, eps=1e-12)
