"""The whole model: a decoder now, and the place where encoders and fusion join it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.config import ModelConfig
from sensorium.nn.positions import RotaryPositions, SinusoidalPositions
from sensorium.nn.transformer import Transformer


class Omni(nn.Module):
    """Every trainable part of a model under one roof; its state dict is what a model folder stores."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder = Transformer(config.decoder)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.decoder.embeddings.token.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return self.decoder.embeddings.token.weight.dtype

    def reset_buffers(self, device: torch.device) -> None:
        """Compute every buffer that no file stores, such as rotary frequencies, after the model was built on `meta`."""
        for module in self.modules():
            if isinstance(module, RotaryPositions | SinusoidalPositions):
                module.reset_buffers(device)

    def reset_parameters(self, seed: int) -> None:
        """Draw fresh weights, the same for the same seed whatever was drawn before."""
        self.decoder.reset_parameters(torch.Generator().manual_seed(seed))

    def logits(self, input_ids: Tensor) -> Tensor:
        """(batch, time) token ids → (batch, time, vocab_size) scores."""
        return self.decoder.logits(self.decoder(input_ids))
