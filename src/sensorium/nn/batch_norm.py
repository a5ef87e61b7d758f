"""Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167), as residual networks are published with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.Module):
    """Normalises each channel of (n, channels, height, width) over a batch in training, by running means otherwise.

    The running mean and variance are buffers that a model folder stores. Frozen weights freeze them as well, and
    where a batch holds a single value per channel the running ones are used, as there is nothing to measure.
    Processes that train together each normalise by their own rows, so that the gradients of several are not quite
    those of one (nor are those of several small batches those of a large one); running values are their mean.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def reset_parameters(self) -> None:
        """As new: no scale, no shift, nothing measured."""
        for tensor, value in ((self.weight, 1.0), (self.bias, 0.0), (self.running_mean, 0.0), (self.running_var, 1.0)):
            nn.init.constant_(tensor, value)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) → the same."""
        measures = self.training and self.weight.requires_grad and x.numel() > x.shape[1]
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, measures, self.momentum, self.eps
        )
